"""Parts of a schema that are asked for alone."""

import json

import pytest

from gemma_edge.engine.grounding import HELD
from gemma_edge.extraction.schema import (
    fields_of,
    lists_of,
    parse_schema,
    schema_at,
    select_fields,
    select_values,
)

LINE = {"type": "object", "properties": {"name": {"type": "string"}, "qty": {"type": "integer"}}}
BILL = {
    "type": "object",
    "required": ["total"],
    "properties": {
        "vendor": {"type": "string"},
        "total": {"$ref": "#/$defs/money"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "group": {
            "type": "object", "properties": {"rows": {"type": ["array", "null"], "items": LINE}}
        },
        "node": {"$ref": "#/$defs/node"},
    },
    "$defs": {
        "money": {"type": "number", "minimum": 0}, "line": LINE,
        "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}},
    },
}  # fmt: skip


def test_fields_are_taken_in_the_order_of_the_schema():
    part = select_fields(BILL, ["items", "vendor"], strict=False)
    assert part.names == ("vendor", "items")
    assert part.decoding["required"] == ["vendor", "items"]
    assert part.form == '{"vendor": string, "items": [{"name": string, "qty": integer}]}'
    assert list(part.decoding["$defs"]) == ["line"]


def test_strict_keeps_what_the_user_requires():
    part = select_fields(BILL, ["vendor", "total"], strict=True)
    assert part.decoding["required"] == ["total"]


def test_lists_of_records_are_what_grows():
    assert lists_of(BILL) == ("items", "group")
    bill = {name: value for name, value in BILL.items() if name != "$defs"}
    wrapped = {"$ref": "#/$defs/bill", "$defs": {**BILL["$defs"], "bill": bill}}
    assert lists_of(wrapped) == ("items", "group")


def test_a_value_deep_in_it_by_its_path():
    part = select_values(BILL, [("items", 3, "qty"), ("total",)], strict=False)
    assert list(part.decoding["properties"]) == ["items[3].qty", "total"]
    assert part.form == '{"items[3].qty": integer, "total": number}'
    assert select_values(BILL, [("nothing",)], strict=False) is None
    assert schema_at(BILL, ("node", "next", "next")) == {"$ref": "#/$defs/node"}


@pytest.mark.parametrize(
    "root",
    [
        {"type": "array", "items": LINE},
        {"anyOf": [BILL, LINE]},
        BILL | {"allOf": [{"required": ["vendor"]}]},
        {"type": "object", "properties": {"a": LINE, "b": {"$ref": "#/properties/a"}}},
        {"type": "object", "properties": {"a": LINE, "b": {"$ref": "#"}}},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ],
)
def test_what_cannot_be_split_is_not(root):
    assert fields_of(root) == lists_of(root) == ()


def test_a_root_that_is_a_reference():
    root = {"$ref": "#/$defs/line", "$defs": {"line": LINE}}
    assert fields_of(root) == ("name", "qty")
    assert json.loads(json.dumps(select_fields(root, ["qty"], strict=False).decoding))


def test_semantic_types_are_asked_as_printed():
    source = parse_schema("paid: date, total: money").source
    part = select_fields(source, ["total"], strict=False)
    assert part.decoding["properties"] == {"total": {"type": ["string", "null"], HELD: "money"}}
