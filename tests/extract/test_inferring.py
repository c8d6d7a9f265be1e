"""A schema from examples."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.extraction.json_schema import Checker, find_flaw
from gemma_edge.extraction.schema import infer_schema

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_examples_are_valid_by_the_schema_that_is_made_from_them(examples):
    examples = json.loads(json.dumps(examples))
    schema = infer_schema(examples)
    assert find_flaw(schema) == ""
    checker = Checker(schema)
    for example in examples:
        assert checker.check(example, strict=True).problems == ()


def test_what_examples_differ_in_is_not_required():
    assert infer_schema([{"a": 1, "b": None, "c": "x"}, {"a": 1.5, "b": 2}]) == {
        "type": "object",
        "properties": {
            "a": {"type": "number"},
            "b": {"type": ["integer", "null"]},
            "c": {"type": "string"},
        },
        "required": ["a", "b"],
    }


def test_lists_are_described_by_all_of_their_elements():
    assert infer_schema([[{"a": "2024-01-02"}, {"a": "2024-12-31"}]])["items"] == {
        "type": "object",
        "properties": {"a": {"type": "string", "format": "date"}},
        "required": ["a"],
    }
    assert infer_schema([[]]) == {"type": "array"}
    assert infer_schema([[1, "a", None]])["items"] == {"type": ["integer", "string", "null"]}
    assert infer_schema([[1, [2]]])["items"] == {
        "anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]
    }


def test_only_what_is_a_date_everywhere_is_a_date():
    assert infer_schema(["2024-01-02", "soon"]) == {"type": "string"}
    assert infer_schema(["2024-13-02"]) == {"type": "string"}
    assert infer_schema(["2024-01-02T03:04:05Z"])["format"] == "date-time"
    assert infer_schema([None]) == {}
