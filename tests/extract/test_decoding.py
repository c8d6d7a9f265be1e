"""The schema that the decoder is held to."""

import json

import pytest

from gemma_edge.extraction.decoding import close_schema
from gemma_edge.extraction.schema import parse_oneline


def closed(source, nullable=True):
    return close_schema(source, nullable=nullable)


def obj(properties, **more):
    return {"type": "object", "properties": properties, **more}


def test_closed_complete_nullable_and_in_order():
    source = obj(
        {
            "z": {"type": "string", "title": "Z", "default": "x", "examples": ["y"]},
            "a": {"type": ["number", "string"], "minimum": 0},
            "e": {"enum": ["x", "y"]},
            "c": {"const": 1},
            "n": {"type": ["integer", "null"]},
            "any": {},
            "rows": {"type": "array", "items": obj({"q": {"type": "integer"}})},
        },
        required=["a"],
        title="T",
    )
    out = closed(source)
    assert out == {
        "type": "object",
        "properties": {
            "z": {"type": ["string", "null"]},
            "a": {"type": ["number", "string", "null"], "minimum": 0},
            "e": {"enum": ["x", "y", None]},
            "c": {"const": 1},
            "n": {"type": ["integer", "null"]},
            "any": {},
            "rows": {
                "type": "array",
                "items": obj(
                    {"q": {"type": ["integer", "null"]}}, required=["q"], additionalProperties=False
                ),
            },
        },
        "required": ["z", "a", "e", "n", "any", "rows"],
        "additionalProperties": False,
    }
    assert json.dumps(out["properties"]).index('"z"') < json.dumps(out["properties"]).index('"a"')


def test_strict_adds_no_null_and_requires_what_the_user_requires():
    source = obj({"a": {"type": "string"}, "b": {"type": "number"}}, required=["b"])
    assert closed(source, nullable=False) == {**source, "additionalProperties": False}


def test_an_object_may_be_null_only_where_it_may_be_missing():
    source = obj({"a": obj({"x": {"type": "string"}}), "b": obj({"x": {}})}, required=["a"])
    out = closed(source)["properties"]
    assert out["a"]["type"] == "object"
    assert out["b"]["type"] == ["object", "null"]


def test_a_list_may_be_empty_or_null_where_it_may_not():
    source = obj({"a": {"type": "array"}, "b": {"type": "array", "minItems": 1}})
    out = closed(source)["properties"]
    assert out["a"] == {"type": "array"}
    assert out["b"]["type"] == ["array", "null"]


def test_maps_stay_maps_and_only_maps_stay_open():
    numbers = {"type": "object", "additionalProperties": {"type": "number"}}
    patterns = {"type": "object", "patternProperties": {"^x": {"type": "string"}}}
    free = {"type": "object"}
    source = obj({"m": numbers, "p": patterns, "f": free}, additionalProperties=True)
    out = closed({**source, "required": ["m", "p", "f"]})
    assert out["properties"]["m"]["additionalProperties"] == {"type": ["number", "null"]}
    assert out["properties"]["p"]["patternProperties"] == {"^x": {"type": ["string", "null"]}}
    assert out["properties"]["f"] == free
    assert out["additionalProperties"] is False


def test_definitions_are_rewritten_once_and_recursion_ends():
    source = {
        "$defs": {
            "node": obj({"v": {"$ref": "#/$defs/word"}, "next": {"$ref": "#/$defs/node"}}),
            "word": {"type": "string"},
            "unused": {"type": "number"},
        },
        "$ref": "#/$defs/node",
    }
    out = closed(source)
    assert set(out["$defs"]) == {"node", "word"}
    node = out["$defs"]["node"]
    assert node["required"] == ["v", "next"]
    assert node["properties"] == {
        "v": {"anyOf": [{"$ref": "#/$defs/word"}, {"type": "null"}]},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    }


def test_a_schema_that_is_its_own_root():
    source = obj(
        {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}}
    )
    out = closed(source)
    assert out["properties"]["children"]["items"] == {"$ref": "#/$defs/root"}
    assert out["$defs"]["root"]["properties"]["children"]["items"] == {"$ref": "#/$defs/root"}


def test_choices_get_one_null():
    source = obj({"a": {"anyOf": [{"type": "string"}, {"type": "number"}]},
                  "b": {"oneOf": [{"type": "string"}, {"type": "null"}]}})  # fmt: skip
    out = closed(source)["properties"]
    assert out["a"] == {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}
    assert out["b"] == {"oneOf": [{"type": "string"}, {"type": "null"}]}


def test_each_branch_of_a_union_is_closed():
    source = {"anyOf": [obj({"a": {"type": "string"}}), obj({"b": {"type": "string"}})]}
    out = closed(source)
    assert [branch["additionalProperties"] for branch in out["anyOf"]] == [False, False]


def test_what_several_schemas_describe_is_closed_around_all_of_them():
    source = {
        "$defs": {"base": obj({"id": {"type": "string"}})},
        "allOf": [{"$ref": "#/$defs/base"}, obj({"total": {"type": "number"}})],
        "properties": {"note": {"type": "string"}},
    }
    out = closed(source)
    assert set(out["properties"]) == {"id", "total", "note"}
    assert out["additionalProperties"] is False
    assert "additionalProperties" not in out["$defs"]["base"]
    assert "additionalProperties" not in out["allOf"][1]


def test_required_names_without_a_description_are_allowed():
    out = closed(obj({"a": {"type": "string"}}, required=["b"]))
    assert out["properties"]["b"] is True
    assert out["required"] == ["a", "b"]


def test_keys_that_exclude_each_other_are_not_all_required():
    source = obj({"a": {}, "b": {}}, oneOf=[{"required": ["a"]}, {"required": ["b"]}])
    assert "required" not in closed(source)
    assert closed(obj({"a": {}, "b": {}}, maxProperties=1)).get("required") is None


def test_a_property_that_nothing_can_fill_is_left_out():
    out = closed(obj({"a": {"type": "object", "enum": ["x"]}, "b": {"type": "string"}, "c": False}))
    assert out["required"] == ["b"]
    assert out["properties"]["a"] is out["properties"]["c"] is False


def test_conditions_keep_their_meaning():
    condition = {"properties": {"a": {"const": 1}}, "required": ["a"]}
    out = closed(obj({"a": {"type": "integer"}}, **{"if": condition, "not": condition}))
    assert out["if"] == out["not"] == condition


def test_older_drafts_ignore_what_stands_beside_a_reference():
    source = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"n": {"type": "number"}},
        "properties": {"a": {"$ref": "#/definitions/n", "type": "string"}},
    }
    assert closed(source)["properties"]["a"]["anyOf"][0] == {"$ref": "#/$defs/n"}


@pytest.mark.parametrize("line", ["a", "a?, b[]: {c: x|y}", "a: {b: {c?}}"])
def test_the_source_is_not_touched(line):
    source = parse_oneline(line)
    before = json.dumps(source)
    close_schema(source, nullable=True)
    assert json.dumps(source) == before
