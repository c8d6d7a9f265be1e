"""References to schemas that are bundled under an ``$id`` of their own."""

import json

import pytest

from gemma_edge.errors import SchemaError
from gemma_edge.extraction.decoding import enforce
from gemma_edge.extraction.schema import parse_schema

NUMBER, TEXT = {"type": "number"}, {"type": "string"}
DRAFT_4 = "http://json-schema.org/draft-04/schema#"


def bundle(reference, definitions, **more):
    return {"type": "object", "properties": {"a": {"$ref": reference}}, "required": ["a"],
            "$defs": definitions, **more}  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [
        bundle("/item", {"I": {"$id": "/item", **NUMBER}}, **{"$id": "https://x.example/root"}),
        bundle(
            "item.json",
            {"I": {"$id": "https://x.example/s/item.json", **NUMBER}},
            **{"$id": "https://x.example/s/root.json"},
        ),
        bundle("https://y.example/n", {"I": {"$id": "https://y.example/n", **NUMBER}}),
        bundle("item.json", {"I": {"$id": "item.json", **NUMBER}}),
        bundle("./b/../item.json", {"I": {"$id": "item.json", **NUMBER}}),
        bundle("item#n", {"I": {"$id": "item", "$defs": {"x": {"$anchor": "n", **NUMBER}}}}),
        bundle("item#/$defs/x", {"I": {"$id": "item", "$defs": {"x": NUMBER}}}),
        bundle("item#/$defs/a~1b%25", {"I": {"$id": "item", "$defs": {"a/b%": NUMBER}}}),
        bundle("urn:example:n", {"I": {"$id": "urn:example:n", **NUMBER}}),
        # what is said in the bundled schema is meant from there
        bundle(
            "item", {"I": {"$id": "item", "$ref": "#/$defs/x", "$defs": {"x": NUMBER}}, "x": TEXT}
        ),
        bundle(
            "o/item",
            {
                "I": {"$id": "o/item", "$ref": "n"},
                "N": {"$id": "o/n", **NUMBER},
                "T": {"$id": "n", **TEXT},
            },
        ),
        bundle("o/item", {"O": {"$id": "o/", "$defs": {"I": {"$id": "item", **NUMBER}}}}),
        bundle("item", {"a/b": {"$id": "item", **NUMBER}}),
        {**bundle("item", {}), "$schema": DRAFT_4, "definitions": {"I": {"id": "item", **NUMBER}}},
        {**bundle("#n", {}), "$schema": DRAFT_4, "definitions": {"I": {"id": "#n", **NUMBER}}},
    ],
)
def test_a_bundled_schema_is_found(source):
    schema = parse_schema(json.dumps(source))
    enforce(schema.decoding)
    assert schema.checker.check({"a": 1}, strict=True).problems == ()
    assert schema.checker.check({"a": "x"}, strict=True).problems
    assert schema.form() == '{"a": number}'


def test_a_bundle_may_refer_to_itself():
    tree = {"$id": "tree", "type": "object", "properties": {"child": {"$ref": "#"}}}
    schema = parse_schema(json.dumps(bundle("tree", {"T": tree})))
    enforce(schema.decoding)
    assert not schema.checker.check({"a": {"child": {"child": {}}}}, strict=True).problems
    assert schema.checker.check({"a": {"child": {"child": 1}}}, strict=True).problems


@pytest.mark.parametrize("reference", ["other.json", "item#nowhere", "item#/$defs/no"])
def test_what_is_not_in_it_is_refused(reference):
    with pytest.raises(SchemaError, match="which is not in it"):
        parse_schema(json.dumps(bundle(reference, {"I": {"$id": "item", **NUMBER}})))


def test_a_property_named_id_is_no_address():
    source = {"type": "object", "properties": {"$id": TEXT, "id": TEXT}}
    assert parse_schema(json.dumps(source)).source == source
