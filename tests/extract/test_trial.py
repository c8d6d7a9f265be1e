"""Instances that are known to be valid or not, against decoding and against the last check."""

import json

import pytest

from gemma_edge.errors import SchemaError
from gemma_edge.extraction.schema import parse_schema
from gemma_edge.extraction.schema_trial import UNDECLARED, Instance, read_instances, try_schema

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "size": {"type": ["integer", "null"]},
    },
    "required": ["name", "size"],
}


def tried(data, *, valid=True, strict=False, in_tokens=lambda _wanted: lambda _text: True):
    schema = parse_schema(json.dumps(SCHEMA))
    trial = try_schema(schema, [Instance(valid, data)], in_tokens, strict=strict)
    return trial, trial.outcomes[0]


@pytest.mark.parametrize(
    "data",
    [
        {"name": "a", "size": 1},
        {"size": None, "tags": ["x"], "name": "a"},
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_valid_data_is_decodable_in_any_order(data, strict):
    trial, outcome = tried(data, strict=strict)
    assert (outcome.decodable, outcome.accepted, trial.wrong) == (True, True, 0)
    assert trial.enforced.relaxed == "lenient"


def test_what_is_only_checked_afterwards_is_rejected_in_the_end():
    trial, outcome = tried({"name": "a", "size": 1, "tags": ["x", "x"]}, valid=False)
    assert (outcome.decodable, outcome.accepted, trial.wrong) == (True, False, 0)
    assert "non-unique" in outcome.problems[0]


def test_a_null_that_the_schema_does_not_allow_is_wrong_in_the_end():
    assert tried({"name": None, "size": 1}, valid=False)[1].decodable
    assert not tried({"name": None, "size": 1}, valid=False, strict=True)[1].decodable
    assert not tried({"name": None, "size": 1}, valid=False)[1].accepted


def test_an_answer_that_says_more_is_not_the_data():
    _, outcome = tried({"name": "a"}, valid=False)
    assert not outcome.decodable
    assert "a required key is missing" in outcome.why


def test_keys_that_are_not_declared():
    _, outcome = tried({"name": "a", "size": 1, "more": 2})
    assert (outcome.decodable, outcome.undeclared, outcome.accepted) == (False, True, True)
    assert outcome.why == f"`more`: {UNDECLARED}"


def test_a_wrong_verdict_is_counted():
    assert tried({"name": "a", "size": 1}, valid=False)[0].wrong == 1


def test_the_tokens_of_a_model_have_a_say():
    _, outcome = tried({"name": "a", "size": 1}, in_tokens=lambda _wanted: lambda _text: False)
    assert not outcome.decodable
    assert "tokens" in outcome.why


def test_a_schema_that_decoding_refuses():
    schema = parse_schema('{"type": "string", "enum": ["a"], "pattern": "^b$"}')
    instances = [Instance(False, "a")]
    trial = try_schema(schema, instances, lambda _wanted: lambda _text: True, strict=True)
    assert trial.enforced is None
    assert "Unsatisfiable" in trial.refusal
    assert (trial.outcomes[0].decodable, trial.outcomes[0].accepted) == (False, False)


@pytest.mark.parametrize(
    "value", [[], {}, {"schema": {}}, {"tests": []}, {"schema": {}, "tests": [{"valid": 1}]}]
)
def test_files_of_another_form(value):
    with pytest.raises(SchemaError, match=r"t\.json"):
        read_instances(value, "t.json")
