"""Schemas from where people have them, and what is no schema."""

import json

import pytest

from gemma_edge.errors import InputError, SchemaError
from gemma_edge.extraction.json_schema import MAX_NESTING
from gemma_edge.extraction.schema import parse_schema

SCHEMA = {"type": "object", "properties": {"vendor": {"type": "string"}, "total": {}}}
TEXT = json.dumps(SCHEMA)


@pytest.mark.parametrize("name", ["invoice.json", "schema", "one line"])
def test_a_file_is_read_whatever_its_name(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text(TEXT, encoding="utf-8-sig")
    assert parse_schema(str(tmp_path / name)).source == SCHEMA
    monkeypatch.chdir(tmp_path)
    assert parse_schema(name).source == SCHEMA


def test_a_file_may_hold_the_one_line_language(tmp_path):
    path = tmp_path / "fields.txt"
    path.write_text("vendor\ntotal num: after tax, in euros\n", encoding="utf-8")
    assert list(parse_schema(str(path)).source["properties"]) == ["vendor", "total"]


@pytest.mark.parametrize(
    "wrapped",
    [
        SCHEMA,
        {"name": "invoice", "strict": True, "schema": SCHEMA},
        {"type": "json_schema", "json_schema": {"name": "invoice", "schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        {"type": "function", "function": {"name": "f", "parameters": SCHEMA}},
        {"name": "f", "description": "d", "input_schema": SCHEMA},
        {"schema": SCHEMA, "tests": [{"valid": True, "data": {}}]},
        {"text": {"format": {"type": "json_schema", "name": "invoice", "schema": SCHEMA}}},
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
        {"generationConfig": {"responseJsonSchema": SCHEMA}},
        {"structured_outputs": {"json": SCHEMA}},
        {"model": "gemma", "format": SCHEMA, "stream": False},
        {"name": "f", "inputSchema": SCHEMA},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
        {"tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}]}]},
    ],
)
def test_wrappers_are_taken_off(wrapped):
    assert parse_schema(f"  {json.dumps(wrapped)}\n").source == SCHEMA


@pytest.mark.parametrize(
    "example",
    [
        {"vendor": "Acme", "total": 5},
        {"type": "invoice", "items": [{"name": "Desk"}]},
        {"format": "A4", "pages": 3},
        {"required": True, "date": "2024-05-06"},
    ],
)
def test_an_example_is_read_as_one_and_that_is_said(example):
    schema = parse_schema(json.dumps(example))
    assert list(schema.source["properties"]) == list(example)
    assert schema.checker.check(example, strict=True).problems == ()
    assert schema.notes == ("the schema is no JSON Schema: it is read as an example of the answer",)


def test_the_dialect_of_gemini_is_read_as_what_it_means():
    dialect = {
        "type": "OBJECT",
        "propertyOrdering": ["a"],
        "properties": {
            "a": {"type": "STRING", "nullable": True, "enum": ["x"]},
            "b": {"type": "ARRAY", "items": {"type": "INTEGER"}},
        },
    }
    assert parse_schema(json.dumps({"responseSchema": dialect})).source == {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", None]},
            "b": {"type": "array", "items": {"type": "integer"}},
        },
    }


def test_a_property_may_be_called_like_a_wrapper_or_a_keyword():
    source = {
        "type": "object",
        "properties": {"schema": {"type": "object"}, "$ref": {"type": "string"}},
    }
    assert parse_schema(json.dumps(source)).source == source


def test_references_within_the_schema():
    for reference in ("#/$defs/a%20b", "#/$defs/c~1d", "#", "#here", "https://x.org/s#/$defs/c~1d"):
        source = {
            "$id": "https://x.org/s",
            "$defs": {"a b": {"type": "string"}, "c/d": {"$anchor": "here", "type": "number"}},
            "properties": {"p": {"$ref": reference}},
        }
        assert parse_schema(json.dumps(source)).decoding["properties"]["p"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "object"', "is not JSON: line 1, column 18"),
        ("{'type': 'object'}", "is not JSON: line 1, column 2"),
        ('{"minimum": NaN, "type": "number"}', "NaN is no JSON value"),
        ('{"maximum": 1e999, "type": "number"}', "the number 1e999 is out of range"),
        ("[1, 2]", "is a list, not a JSON Schema"),
        ("42", "is a value, not a JSON Schema"),
        ("true", "is true or false, not a JSON Schema"),
        ("{}", "says nothing as a schema"),
        ('{"my_own_wrapper": {"type": "object"}}', "says nothing as a schema"),
        ('{"tools": [{"parameters": {}}, {"parameters": {}}]}', "holds 2 tools"),
        ('{"type": "date"}', "is not a valid JSON Schema"),
        ('{"properties": ["vendor"]}', "is not a valid JSON Schema"),
        ('{"type": "string", "pattern": "("}', "the pattern"),
        ('{"$ref": "#/$defs/gone"}', 'refers to "#/$defs/gone", and there is nothing there'),
        ('{"$ref": "https://example.org/s.json"}', "nothing is fetched"),
        ('{"$ref": "other.json#/a"}', "nothing is fetched"),
        ('{"$defs": {}, "$dynamicRef": "#a", "type": "object"}', "$dynamicRef"),
        ('{"items":' * 300 + "{}" + "}" * 300, f"nested deeper than {MAX_NESTING}"),
        ("[" * 100_000, "nested deeper than"),
        ('{"type": "integer", "minimum": ' + "9" * 5000 + "}", "is not JSON"),
        ("", "the schema is empty"),
    ],
)
def test_what_is_no_schema_is_said_in_one_line(text, message):
    with pytest.raises(SchemaError) as caught:
        parse_schema(text)
    assert message in caught.value.message
    assert caught.value.message.count("\n") == 0
    assert caught.value.hint


def test_a_quoted_name_is_a_field():
    assert list(parse_schema('"invoice number"').source["properties"]) == ["invoice number"]


def test_a_file_that_is_not_there_is_not_a_field(tmp_path):
    for name in ("invoice.json", "schemas/invoice", "invoice.schema"):
        with pytest.raises(InputError, match=f"{name} does not exist"):
            parse_schema(name)
    with pytest.raises(InputError, match="is a folder"):
        parse_schema(str(tmp_path))


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "s.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SchemaError, match="is not UTF-8"):
        parse_schema(str(tmp_path / "s.json"))
    (tmp_path / "s.json").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        parse_schema(str(tmp_path / "s.json"))


def test_older_drafts_without_a_name_are_understood():
    source = {"properties": {"n": {"minimum": 1, "exclusiveMinimum": True}, "t": {"items": [{}]}}}
    assert parse_schema(json.dumps(source)).source == source


def test_a_format_that_nobody_knows_is_said_and_not_enforced():
    source = {"type": "object", "properties": {"a": {"type": "string", "format": "A4"}}}
    schema = parse_schema(json.dumps(source))
    assert schema.remarks == ('the schema\'s format "A4" is not a known one; it is not checked',)
    assert "format" not in schema.decoding["properties"]["a"]
    source["properties"]["a"]["format"] = "date"
    assert parse_schema(json.dumps(source)).remarks == ()


def test_a_date_is_a_date_in_any_draft():
    for draft in (
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-07/schema#",
    ):
        schema = parse_schema(json.dumps({"$schema": draft, "type": "string", "format": "date"}))
        assert schema.checker.check("2024-02-29").problems == ()
        assert schema.checker.check("2024-02-30").problems


@pytest.mark.parametrize("text", [
    '{"properties": {"\\ud800": {"type": "string"}}}',
    '{"properties": {"a": {"type": "string", "description": "x\\uDC00y"}}}',
    '{"properties": {"a": {"enum": ["\\ud83d"]}}}', '"\\ud800" num', "a: x\udcffy",
    '{"a": "\\ud800"}',
])  # fmt: skip
def test_half_a_character_in_a_schema_is_refused_by_its_number(text):
    with pytest.raises(SchemaError, match=r"\\ud[89cf]\w\w is half a character|\\ud83d is half"):
        parse_schema(text)


def test_a_whole_character_in_two_halves_is_one():
    found = parse_schema('{"properties": {"\\ud83d\\ude00": {"type": "string"}}}')
    assert list(found.source["properties"]) == ["\U0001f600"]


def test_a_quoted_name_that_json_does_not_read_has_its_place():
    with pytest.raises(SchemaError, match="column 9"):
        parse_schema('vendor, "\\q" num')
