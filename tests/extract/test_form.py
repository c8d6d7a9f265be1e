"""What the model reads of a schema; golden lines."""

import json

import pytest

from gemma_edge.extraction.decoding import MAX_COMMENT, MAX_FORM, render_form
from gemma_edge.extraction.schema import parse_oneline


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("vendor, total num", '{"vendor": string, "total": number}'),
        ("a int, b bool, c: date", '{"a": integer, "b": boolean, "c": date}'),
        ("a: x|y, b int: 1|2", '{"a": "x" | "y", "b": 1 | 2}'),
        ("a?: x|y", '{"a": "x" | "y"}'),
        ("a[], b[]: {c num}", '{"a": [string], "b": [{"c": number}]}'),
        ("a num: after tax", '{"a": number /* after tax */}'),
        ('"größe", "a \\"b\\""', '{"größe": string, "a \\"b\\"": string}'),
    ],
)
def test_the_one_line_language(line, form):
    assert render_form(parse_oneline(line)) == form


@pytest.mark.parametrize(
    ("schema", "form"),
    [
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "email"}, "string"),
        ({"type": ["number", "null"]}, "number"),
        ({"type": ["string", "integer"]}, "integer | string"),
        ({"const": "x"}, '"x"'),
        ({"enum": [None]}, "null"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string"),
        ({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
         "string | [string]"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "{string: number}"),
        ({"type": "object"}, "object"),
        ({"type": "array"}, "[any]"),
        ({"prefixItems": [{"type": "string"}, {"type": "number"}]}, "[string, number]"),
        ({"minLength": 1}, "any"),
        ({"allOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {}}}]},
         '{"a": string, "b": any}'),
    ],
)  # fmt: skip
def test_json_schema(schema, form):
    assert render_form(schema) == form


def test_a_definition_that_is_used_twice_is_written_once():
    row = {"type": "object", "properties": {"x": {"type": "number"}}}
    refs = {"a": {"$ref": "#/$defs/row"}, "b": {"type": "array", "items": {"$ref": "#/$defs/row"}}}
    form = render_form({"$defs": {"row": row}, "properties": refs})
    assert form == '{"a": row, "b": [row]} where row is {"x": number}'
    del refs["b"]
    assert render_form({"$defs": {"row": row}, "properties": refs}) == '{"a": {"x": number}}'


def test_recursion_ends():
    node = {"properties": {"v": {"type": "string"}, "next": {"$ref": "#/$defs/node"}}}
    form = render_form({"$defs": {"node": node}, "$ref": "#/$defs/node"})
    assert form == 'node where node is {"v": string, "next": node}'
    tree = {"properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert render_form(tree) == '{"children": [form]} where form is {"children": [form]}'


def test_definitions_that_merge_each_other_end_too():
    both = {
        "allOf": [{"$ref": "#/$defs/a"}],
        "properties": {"x": {"allOf": [{"$ref": "#/$defs/a"}]}},
    }
    assert render_form({"$defs": {"a": both}, "allOf": [{"$ref": "#/$defs/a"}]})
    doubling = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)} | {
        "d60": {"type": "string"}
    }
    assert render_form({"$defs": doubling, "properties": {"a": {"$ref": "#/$defs/d0"}}})


def test_descriptions_are_short_and_stay_comments():
    schema = {"properties": {"a": {"description": "x */ }\n y " + "word " * 100}}}
    form = render_form(schema)
    assert form.startswith('{"a": any /* x } y word')
    assert form.endswith("word… */}")
    assert len(form) < MAX_COMMENT + 30
    assert form.count("*/") == 1


def test_a_form_that_grows_too_long_goes_without_comments():
    many = {f"f{n}": {"type": "string", "description": "word " * 20} for n in range(300)}
    form = render_form({"properties": many})
    assert len(form) < MAX_FORM
    assert "/*" not in form
    assert form.count("string") == len(many)


def test_a_long_list_of_choices_is_cut():
    form = render_form({"enum": [f"v{n}" for n in range(500)]})
    assert form.endswith(' | "v39" | …')
    assert json.loads(form.split(" | ")[0]) == "v0"
