"""What is wrong with a recipe, each with its line."""

import json

import pytest

from gemma_edge.extraction.recipe import Fields
from gemma_edge.extraction.recipe_file import lint, read_recipe
from gemma_edge.extraction.schema import parse_schema

GOOD = """\
schema: |
  vendor
  date: date
  items[]: {name, qty amount, price amount}
  currency: USD|EUR
  total: amount
rules:
  - {field: items.price, rule: of one}
not:
  - {field: total, text: "11.00", why: of before}
compute:
  items_sum: sum(items.qty * items.price)
check:
  - {expr: items_sum ~= total, fields: [items, total]}
examples:
  - text: Acme  2 January 2024 / 1 desk  12.00 / total 12.00
    expect: {vendor: Acme, date: 2 January 2024, items: [{name: desk, qty: "1", price: "12.00"}], currency: EUR, total: "12.00"}
"""  # noqa: E501


def findings(text):
    return [(each.line, each.severity, each.text) for each in lint(read_recipe(text, "r", "r"))]


def test_nothing_is_wrong_with_a_good_one():
    assert findings(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("field: items.price", "field: items.prise", 8,
         "the rule is about `items.prise`: there is no field `prise`; `price`?"),
        ("field: items.price", "field: items_sum", 8, "is computed, and the model never asked"),
        ("field: total, text", "field: totl, text", 10,
         "the counter-example is about `totl`: there is no field `totl`; `total`?"),
        ('text: "11.00"', 'text: "12.00"', 10, 'total is not "12.00", and the example expects it'),
        ('field: total, text: "11.00"', "field: currency, text: usd", 10,
         "the schema offers it as a choice"),
        ("compute:", '  - {field: total, text: " 11.00", why: twice}\ncompute:', 11, "said twice"),
        ("sum(items.qty * items.price)", "sum(items.qty * items.prize)", 12,
         "`items_sum` is computed of what is not there: there is no field `prize`; `price`?"),
        ("items_sum ~= total,", "items_sums ~= total,", 14,
         "names what is not there: there is no field `items_sums`; `items_sum`?"),
        ("items_sum ~= total,", "all(row.prise > 0 for row in items),", 14, "no field `prise`"),
        ("items_sum ~= total,", "1 < 2,", 14, "looks at no field"),
        ("fields: [items, total]", "fields: [item, total]", 14,
         "the check asks again for `item`: there is no field `item`; `items`?"),
        ("fields: [items, total]", "fields: [items_sum]", 14, "it is computed, and cannot be"),
        ("{vendor: Acme,", "{vendor: Acme Inc.,", 16,
         'the example: vendor is "Acme Inc.", and that is not in its text'),
        ("{vendor: Acme,", "{", 16, '"vendor" is a required property'),
        ("  total: amount\n", "  total: amount\n  items_sum: A|B\n", 17, "not valid by the schema"),
        ("{vendor: Acme,", "{vendor: Acme, more: 1,", 16, "not as the model writes it, as printed"),
        ('total: "12.00"}', "total: 12}", 16, 'total: 12 is not of types "null", "string"'),
        ('price: "12.00"', 'price: "2.00"', 16,
         "the example fails a check of its own: items_sum 2, total is 12"),
        ("date: 2 January 2024,", 'date: "2024"', 16, "not read as date"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(old, new, line, said):
    assert old in GOOD
    if new.startswith('date: "2024"'):
        new += ","
    found = findings(GOOD.replace(old, new))
    assert found
    assert [each for each in found if each[0] == line and said in each[2]], found
    assert all(severity == "error" for _, severity, _ in found)


def test_numbers_stand_in_a_text_in_any_spelling():
    schema = "schema: total num, n int\nexamples:\n  - "
    for text in ("1.234,50 and 3", "1,234.50 / 3", "1234.5 3"):
        assert findings(f'{schema}{{text: "{text}", expect: {{total: 1234.5, n: 3}}}}') == []
    found = findings(f'{schema}{{text: "1.234,51 3", expect: {{total: 1234.5, n: 3}}}}')
    assert ["total is 1234.5" in text for _, _, text in found] == [True]


def test_a_closed_schema_has_to_declare_what_is_computed():
    closed = {"type": "object", "properties": {"a": {"type": "number"}},
              "additionalProperties": False}  # fmt: skip
    text = f"schema: {json.dumps(closed)}\ncompute: {{b: a + 1}}\n"
    assert "has to declare the computed `b`" in findings(text)[0][2]
    closed["properties"]["b"] = {"type": "number"}
    assert findings(f"schema: {json.dumps(closed)}\ncompute: {{b: a + 1}}\n") == []


def test_what_decoding_does_not_hold_is_a_warning():
    source = {"properties": {"a": {"type": "array", "items": {"type": "string", "format": "date"},
                                   "uniqueItems": True}}}  # fmt: skip
    ((_, severity, text),) = findings(f"schema: {json.dumps(source)}\n")
    assert severity == "warn"
    assert text.startswith("uniqueItems at #/properties/a is checked only afterwards: ")


def test_fields_go_through_lists_references_and_maps():
    source = parse_schema(json.dumps({
        "$defs": {"row": {"properties": {"price": {"type": "number"}}}},
        "properties": {
            "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}},
            "map": {"type": "object", "additionalProperties": {"type": "number"}},
            "free": {}, "name": {"type": "string"},
        },
    })).source  # fmt: skip
    fields = Fields(source, ["made"])
    for path in ("rows", "rows.price", "rows[2].price", "map.anything", "free.any.thing", "made",
                 "made.x", "name"):  # fmt: skip
        assert fields.problem(path) == "", path
    assert fields.problem("rows.prize") == "there is no field `prize`; `price`?"
    assert fields.problem("name.first") == "nothing is in it called `first`"
    assert fields.problem("xyz") == "there is no field `xyz`; there are rows, map, free, name, made"
