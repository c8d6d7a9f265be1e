"""The text of an answer under a constraint."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_edge.engine.constraint import TextConstraint
from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.extraction.decoding import close_schema
from gemma_edge.extraction.schema import Schema, infer_schema
from gemma_edge.extraction.schema_trial import Instance, spell, try_schema


def obj(properties, **more):
    return {"type": "object", "properties": properties, **more}


def spelled(source, data, *, strict=False):
    decoding = close_schema(source, nullable=not strict)
    constraint = TextConstraint(JsonConstraint(schema=json.dumps(decoding)))
    return spell(decoding, constraint, data, complete=not strict)


TEXT, NUMBER = {"type": "string"}, {"type": "number"}


def test_keys_come_in_the_order_of_the_schema_and_missing_ones_as_null():
    source = obj({"z": TEXT, "a": NUMBER, "m": {"type": "array", "items": TEXT}})
    assert spelled(source, {"a": 1, "z": "x"}).text == '{"z": "x", "a": 1, "m": []}'
    assert spelled(source, {"a": 1, "z": "x"}, strict=True).text == '{"z": "x", "a": 1}'


def test_the_order_is_looked_for_where_the_schema_has_several():
    branches = [obj({"a": TEXT, "b": TEXT}), obj({"b": NUMBER, "a": NUMBER})]
    source = obj({"k": {"anyOf": branches}})
    assert spelled(source, {"k": {"a": 1, "b": 2}}).text == '{"k": {"b": 2, "a": 1}}'


@pytest.mark.parametrize("value", ["é\u007f\n", 1e-7, 1e100, 5.0, -0.5, "", '"\\'])
def test_scalars_in_each_of_their_spellings(value):
    assert json.loads(spelled({"type": ["string", "number"]}, value).text) == value
    assert spelled({"type": "integer"}, 5.0).text == "5"
    assert spelled({"enum": ["é"]}, "é").text == '"é"'


def test_what_stands_in_the_way_is_told():
    found = spelled(obj({"a": {"type": "integer"}, "b": TEXT}), {"a": 1, "b": 2})
    assert (found.text, found.reached, found.stuck) == (None, '{"a": 1, "b": ', "2")
    assert found.undeclared == ()


def test_keys_that_the_schema_does_not_declare():
    source = obj({"a": TEXT, "rows": {"type": "array", "items": obj({"b": TEXT})}})
    found = spelled(source, {"y": 1, "a": "x", "rows": [{"b": "1", "c": 2}]})
    assert found.text is None
    assert sorted(found.undeclared) == ["c", "y"]
    assert spelled(source, {"a": 5, "y": 1}).undeclared == ()  # a is declared, and wrong


def test_a_hopeless_search_ends():
    """Every order of optional keys would be tried, and the last one never fits."""
    names = {f"k{number}": {"type": "integer"} for number in range(30)}
    data = dict.fromkeys(names, 1) | {"k29": "x"}
    assert spelled(obj(names), data, strict=True).text is None


SCALARS = st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=5)
OBJECTS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=4),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=6,
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=60)
@given(OBJECTS)
def test_the_schema_of_an_example_lets_the_example_through(data):
    data = json.loads(json.dumps(data))
    schema = Schema(infer_schema([data]))
    for strict in (False, True):
        trial = try_schema(
            schema,
            [Instance(True, data)],
            lambda _: lambda text: bool(json.loads(text)),
            strict=strict,
        )
        assert trial.outcomes[0].why == ""
