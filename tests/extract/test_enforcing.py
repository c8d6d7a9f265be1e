"""How far decoding is held to a schema, and what becomes of each keyword."""

import json

import pytest

from gemma_edge.errors import SchemaError
from gemma_edge.extraction.decoding import enforce, refusal, refused_keywords, relieve
from gemma_edge.extraction.job import iter_constraints
from gemma_edge.extraction.schema import parse_schema
from gemma_edge.extraction.schema_trial import examine

LOOKING = "^(?!x).*$"  # llguidance has no look-around


def obj(properties, **more):
    return {"type": "object", "properties": properties, **more}


def fates(source, **more):
    found = examine(parse_schema(json.dumps(source)), **more)
    return {each.keyword: (each.fate, each.places) for each in found.rulings}, found


@pytest.mark.parametrize(
    ("schema", "relaxed"),
    [
        (obj({"a": {"type": "string", "format": "date"}}), ""),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "coerce_one_of"),
        ({"type": "array", "uniqueItems": True}, "lenient"),
        (obj({"a": {"type": "string", "pattern": LOOKING}}), "lenient"),
    ],
)
def test_the_first_rung_that_holds(schema, relaxed):
    held = enforce(schema)
    assert held.relaxed == relaxed
    assert bool(held.reason) == bool(relaxed)
    assert refusal(held.schema, held.relaxed) == ""


def test_only_the_pattern_that_is_refused_is_given_up():
    good, bad = {"type": "string", "pattern": "^a$"}, {"type": "string", "pattern": LOOKING}
    held = enforce(obj({"good": good, "bad": bad}))
    assert held.schema["properties"] == {"good": good, "bad": {"type": "string"}}
    assert [(each.keyword, each.value) for each in held.dropped] == [("pattern", LOOKING)]
    assert "look-around" in held.dropped[0].reason


def test_keys_that_a_pattern_described_are_free_and_not_forbidden():
    held = enforce({"type": "object", "patternProperties": {"a": {}, "b": {}}})
    assert held.schema == {"type": "object", "additionalProperties": True}


def test_a_reference_to_itself_with_keywords_beside_it():
    node = obj({"next": {"$ref": "#/$defs/n", "properties": {"z": {"type": "string"}}}})
    other = obj({"t": {"$ref": "#/$defs/t", "minLength": 2}})
    schema = {"$ref": "#/$defs/n", "$defs": {"n": node, "t": {"type": "string"}, "o": other}}
    held = enforce(schema)
    assert [each.keyword for each in held.dropped] == ["properties"]
    assert held.schema["$defs"]["o"] == other  # it is not to blame


def test_what_nothing_can_satisfy_is_refused_with_the_reason():
    with pytest.raises(SchemaError, match="Unsatisfiable"):
        enforce({"enum": []})
    assert relieve({"enum": []}) is None


def test_refused_keywords_of_one_schema():
    node = {"type": "object", "properties": {"a": {"not": {}}}, "not": {}, "maxProperties": 1}
    assert set(refused_keywords(node)) == {"not", "maxProperties"}
    assert refused_keywords(node, "lenient") == {}


def test_extraction_tries_what_is_left_of_the_schema_last():
    tried = list(iter_constraints(obj({"a": {"type": "string", "pattern": LOOKING}})))
    assert [relaxed for relaxed, _ in tried] == ["", "coerce_one_of", "lenient", "lenient"]
    assert tried[-1][1] == obj({"a": {"type": "string"}})


def test_every_keyword_has_a_fate():
    source = obj(
        {
            "id": {"type": "string", "pattern": LOOKING, "description": "d", "x-own": 1},
            "tags": {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
            "page": {"type": "string", "format": "A4", "minLength": 1},
            "free": {"type": "object", "unevaluatedProperties": False},
        },
        required=["id"],
        title="T",
    )
    found, _ = fates(source)
    assert found == {
        "type": ("decoding", 6),
        "properties": ("decoding", 1),
        "required": ("decoding", 1),
        "items": ("decoding", 1),
        "minLength": ("decoding", 1),
        "pattern": ("afterwards", 1),
        "uniqueItems": ("afterwards", 1),
        "unevaluatedProperties": ("afterwards", 1),
        "description": ("read", 1),
        "x-own": ("read", 1),
        "format": ("read", 1),
        "title": ("read", 1),
    }


def test_the_decoder_holds_to_all_of_a_plain_schema():
    found, examined = fates(obj({"a": {"type": "string", "format": "email"}}))
    assert {fate for fate, _ in found.values()} == {"decoding"}
    assert examined.enforced is not None and examined.enforced.relaxed == ""


def test_a_semantic_type_is_copied_as_printed_and_checked_afterwards():
    found, examined = fates(obj({"a": {"type": "string", "format": "date"}}))
    assert found["format"] == ("afterwards", 1)
    assert found["properties"] == ("decoding", 1)
    assert {each.reason for each in examined.rulings if each.fate == "afterwards"} == {
        "the date is copied as it is printed, and converted by code"
    }
    money = parse_schema("total money")
    assert [each.place for each in examine(money).rulings if each.fate == "afterwards"] == [
        "#/properties/total"
    ] * 4


def test_one_of_whose_branches_can_be_told_apart_is_held():
    apart = [obj({"k": {"const": k}}, required=["k"]) for k in ("a", "b")]
    alike = [obj({"k": {"type": "string"}}), obj({"k": {"type": "string", "minLength": 2}})]
    found, _ = fates(obj({"u": {"type": "array", "uniqueItems": True}, "o": {"oneOf": apart}}))
    assert found["oneOf"] == ("decoding", 1)
    found, examined = fates({"oneOf": alike})
    assert found["oneOf"] == ("afterwards", 1)
    assert any("read as anyOf" in each.reason for each in examined.rulings)


def test_a_schema_that_decoding_refuses_is_said_to_be():
    found, examined = fates({"type": "string", "enum": ["a"], "pattern": "^b$"}, strict=True)
    assert examined.enforced is None
    assert "Unsatisfiable" in examined.refusal
    assert {fate for fate, _ in found.values()} == {"refused"}


def test_a_keyword_of_another_draft_is_no_rule():
    source = {"$schema": "https://json-schema.org/draft/2020-12/schema",
              **obj({"a": {}, "b": {}}), "dependencies": {"a": ["b"]}}  # fmt: skip
    found, _ = fates(source)
    assert found["dependencies"] == ("read", 1)
