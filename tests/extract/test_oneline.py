"""The one-line language: what it says, and where it is wrong."""

import pytest

from gemma_edge.errors import SchemaError
from gemma_edge.extraction.schema import parse_oneline

STRING, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
DATE = {"type": "string", "format": "date", "x-gemma-edge": "date"}


def properties(text):
    return parse_oneline(text)["properties"]


def test_names_and_types():
    assert parse_oneline("vendor, date, total num") == {
        "type": "object",
        "properties": {"vendor": STRING, "date": STRING, "total": NUMBER},
        "required": ["vendor", "date", "total"],
    }


def test_all_of_it_at_once():
    text = (
        "vendor, date: date, total num, currency: USD|EUR, "
        "items[]: {name, qty int, price num}, note?: anything handwritten"
    )
    row = parse_oneline("name, qty int, price num")
    assert parse_oneline(text) == {
        "type": "object",
        "properties": {
            "vendor": STRING,
            "date": DATE,
            "total": NUMBER,
            "currency": {"type": "string", "enum": ["USD", "EUR"]},
            "items": {"type": "array", "items": row},
            "note": {"type": ["string", "null"], "description": "anything handwritten"},
        },
        "required": ["vendor", "date", "total", "currency", "items"],
    }


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("a int: in years", {"type": "integer", "description": "in years"}),
        ("a: in years", {"type": "string", "description": "in years"}),
        ('a: "years, months"', {"type": "string", "description": "years, months"}),
        ("a: b: c", {"type": "string", "description": "b: c"}),
        ("a: numb", {"type": "string", "description": "numb"}),
        ("a:number", NUMBER),
        ("a Boolean", {"type": "boolean"}),
        ("a[]", {"type": "array", "items": STRING}),
        ("a[] int", {"type": "array", "items": INTEGER}),
        ("a: date[]", {"type": "array", "items": DATE}),
        ("a[]: the names", {"type": "array", "items": STRING, "description": "the names"}),
        ("a: in stock | sold out", {"type": "string", "enum": ["in stock", "sold out"]}),
        ('a: "x, y"|"z|"', {"type": "string", "enum": ["x, y", "z|"]}),
        ("a int: 1|2|2", {"type": "integer", "enum": [1, 2]}),
        ("a?: x|y", {"type": ["string", "null"], "enum": ["x", "y", None]}),
        ("a num?", {"type": ["number", "null"]}),
        ("a {b}", parse_oneline("b")),
        ("a: {b}", parse_oneline("b")),
        ("a?: {b}", {**parse_oneline("b"), "type": ["object", "null"]}),
        ("a[]? {b}: rows", {"type": "array", "items": parse_oneline("b"), "description": "rows"}),
        ("a: {b}[]", {"type": "array", "items": parse_oneline("b")}),
    ],
)
def test_one_field(text, schema):
    assert properties(text) == {"a": schema}


def test_lines_are_fields_and_commas_belong_to_descriptions():
    assert properties("\nname\nage int: in years, rounded\n\nrows[]: {a\n b int\n}\n") == {
        "name": STRING,
        "age": {"type": "integer", "description": "in years, rounded"},
        "rows": {"type": "array", "items": parse_oneline("a, b int")},
    }


def test_names_of_all_kinds():
    names = ["größe", "$id", "invoice-no.", "invoice number", 'a "b"', "数量"]
    assert list(properties('größe, $id, invoice-no., "invoice number", "a \\"b\\"", 数量')) == names


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "", "the schema is empty"),
        ("  \n", "", "the schema is empty"),
        ("vendor, total nmber", "column 15", '"nmber" after "total" is not a type; "number"?'),
        ("vendor full name", "column 8", '"full" after "vendor" is not a type'),
        ("a,,b", "column 3", "a field name is missing"),
        (",a", "column 1", "a field name is missing"),
        ("?", "column 1", "a field name is missing"),
        ("{a}", "column 1", "a field name is missing"),
        ("a: {}", "column 5", "a field is missing"),
        ("a: {b", "column 4", "this { is not closed"),
        ("a}", "column 2", '"}" closes nothing'),
        ("a, b, a", "column 7", 'the field "a" is there already'),
        ("a: x {b}", "column 6", "a { stands only right after"),
        ('a: "x', "column 4", "this quote is not closed"),
        ("a: |b", "column 4", "a choice is empty"),
        ("a int: 1|x", "column 8", "not every choice is of type integer"),
        ("a bool: x|y", "column 9", "a boolean has no choices"),
        ("a num num", "column 7", "a comma is missing"),
        ("a: {b}{c}", "column 7", "a { stands only right after"),
        ("ok\nbad nmu", "line 2, column 5", '"nmu" after "bad" is not a type'),
        ("a: {" * 30, "column 85", "nested deeper than 20"),
    ],
)
def test_errors_point_at_the_place(text, where, what):
    with pytest.raises(SchemaError) as caught:
        parse_oneline(text)
    assert where in caught.value.message
    assert what in caught.value.message
    assert caught.value.message.count("\n") == 0
    assert caught.value.hint
