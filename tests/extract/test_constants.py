"""A constant is always itself: while decoding, in the verdict, and in what was found."""

import json

import pytest

from gemma_edge.documents.document import Document, Page
from gemma_edge.engine.constraint import TextConstraint
from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.extraction.decoding import enforce
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import Options
from gemma_edge.extraction.recipe import bare_recipe
from gemma_edge.extraction.schema import parse_schema
from tests.extract.closing import Closed, ClosingEngine
from tests.scripted import ScriptedEngine

BILL = Document("bill.txt", (Page(1, "Acme\nTotal: 5.50"),))
DEFS = {
    "One": {"enum": ["x"]},
    "Card": {
        "type": "object",
        "required": ["last4"],
        "properties": {"kind": {"const": "card"}, "last4": {"type": "string"}},
    },
    "Bank": {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": ["bank", "giro"]}, "iban": {"type": "string"}},
    },
    "Cash": {
        "allOf": [
            {
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": {"$ref": "#/$defs/cash"}, "sum": {"type": "number"}},
            }
        ]
    },
    "cash": {"type": "string", "const": "cash"},
    "Electronic": {"anyOf": [{"$ref": "#/$defs/Card"}, {"$ref": "#/$defs/Bank"}]},
}


def schema_of(value, *, required=True):
    wanted = ["v"] if required else []
    source = {"type": "object", "properties": {"v": value}, "required": wanted, "$defs": DEFS}
    return parse_schema(json.dumps(source))


def lets_through(schema, data, *, strict=False):
    held = enforce(schema.strict_decoding if strict else schema.decoding)
    constraint = TextConstraint(
        JsonConstraint(schema=json.dumps(held.schema), relaxed=held.relaxed)
    )
    return constraint.take(json.dumps(data)) and constraint.complete


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    ("value", "itself"),
    [
        ({"const": "x"}, "x"),
        ({"const": 3}, 3),
        ({"const": False}, False),
        ({"const": {"a": [1]}}, {"a": [1]}),
        ({"const": [1, "a"]}, [1, "a"]),
        ({"enum": ["x"]}, "x"),
        ({"enum": [1, 1.0]}, 1),
        ({"type": "string", "enum": ["x", None]}, "x"),
        ({"type": ["string", "null"], "const": "x"}, "x"),
        ({"$ref": "#/$defs/One"}, "x"),
        ({"allOf": [{"$ref": "#/$defs/One"}, {"type": "string"}]}, "x"),
        ({"anyOf": [{"const": "x"}, {"$ref": "#/$defs/One"}]}, "x"),
        ({"type": "string", "anyOf": [{"const": "x"}, {"const": None}]}, "x"),
    ],
)
def test_a_constant_is_never_null(value, itself, required):
    schema = schema_of(value, required=required)
    assert lets_through(schema, {"v": itself})
    assert not lets_through(schema, {"v": None})
    assert schema.checker.check({"v": None}).data == ({"v": itself} if required else {})
    assert lets_through(schema, {}) == (not required)


@pytest.mark.parametrize(
    "value",
    [
        {"const": None},
        {"type": ["string", "null"], "enum": ["x", None]},
        {"anyOf": [{"const": "x"}, {"type": "null"}]},
        {"enum": ["x", "y"]},
        {"type": "string"},
        {"allOf": [{"enum": ["x", "y"]}, {"enum": ["y", "z", "x"]}]},
    ],
)
def test_what_is_no_constant_may_be_null(value):
    assert lets_through(schema_of(value), {"v": None})


UNIONS = [
    {"oneOf": [{"$ref": "#/$defs/Card"}, {"$ref": "#/$defs/Bank"}],
     "discriminator": {"propertyName": "kind"}},
    {"anyOf": [{"$ref": "#/$defs/Card"}, {"$ref": "#/$defs/Bank"}, {"type": "null"}]},
    {"anyOf": [{"$ref": "#/$defs/Electronic"}, {"$ref": "#/$defs/Cash"}]},
    {"type": "array", "items": {"oneOf": [{"$ref": "#/$defs/Bank"}, {"$ref": "#/$defs/Cash"}]}},
]  # fmt: skip


@pytest.mark.parametrize("value", UNIONS)
def test_the_tag_of_a_union_is_never_null(value):
    schema = schema_of(value)

    def answer(branch):
        return {"v": [branch] if value.get("type") == "array" else branch}

    assert lets_through(schema, answer({"kind": "giro", "iban": None}))
    assert not lets_through(schema, answer({"kind": None, "iban": None}))
    assert not lets_through(schema, answer({"kind": None, "last4": None}))
    assert not lets_through(schema, answer({"kind": None, "sum": None}))


def test_a_constant_that_is_the_default_is_there():
    value = {"const": "x", "default": "x"}
    assert not lets_through(schema_of(value, required=False), {})


def test_a_schema_that_refers_to_itself_has_no_constant():
    source = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"const": 1}]}}}
    checker = parse_schema(json.dumps(source)).checker
    assert not checker.constants.fixes(source)


@pytest.mark.parametrize("strict", [True, False])
def test_a_constant_is_not_found_in_the_document(strict):
    source = {
        "type": "object",
        "properties": {"version": {"const": "1.0"}, "vendor": {"type": "string"}, "pay": UNIONS[1]},
        "required": ["version", "vendor", "pay"],
        "$defs": DEFS,
    }
    data = {"version": "1.0", "vendor": "Acme", "pay": {"kind": "giro", "iban": "DE1"}}
    engine = ScriptedEngine([json.dumps(data)])
    recipe = bare_recipe(parse_schema(json.dumps(source)))
    result = extract(engine, BILL, recipe, Options(strict=strict))
    assert result.data == data
    assert not result.problems
    assert [each.path for each in result.evidence] == [("vendor",), ("pay", "iban")]


def test_a_constant_behind_the_cut_is_not_missing():
    source = {
        "type": "object",
        "required": ["vendor", "version", "total"],
        "properties": {
            "vendor": {"type": "string"},
            "version": {"const": 2},
            "total": {"type": "number"},
        },
    }
    text = '{"vendor": "Acme", "version": 2, "total": null}'
    script = [Closed.after(text, "Acme"), '{"total": null}']
    recipe = bare_recipe(parse_schema(json.dumps(source)))
    engine = ClosingEngine(script)
    result = extract(engine, BILL, recipe)
    assert result.data["version"] == 2
    assert "version" not in result.truncated
    assert list(json.loads(engine.requests[1].constraint.schema)["properties"])[-1] == "total"
