"""What is printed to what the schema means, over whole answers."""

import json
import re

import pytest

from gemma_edge.extraction.json_schema import Checker, render_path
from gemma_edge.extraction.schema import parse_oneline, parse_schema
from gemma_edge.extraction.values import (
    CONVERTED,
    KINDS,
    MARK,
    Habits,
    as_printed,
    infer_habits,
    kind_of_leaf,
    normalize,
    read_date,
    read_number,
    typed,
)

DATE = {"type": "string", "format": "date"}


def run(data, source, text="", **habits):
    found = normalize(data, source, Habits(**habits), text)
    return found.data, {render_path(each.path): each.reading.problem for each in found.unread}


def test_every_type_has_a_schema_and_what_is_read_is_valid_by_it():
    assert CONVERTED.keys() == KINDS.keys()
    printed = {
        "date": "6 May 2024", "money": "5 kr", "amount": "1.234,50", "percent": "7 %",
        "currency": "$", "country": "Deutschland", "iban": "DE89 3704 0044 0532 0130 00",
        "email": "A@EXAMPLE.org", "phone": "030 123456",
    }  # fmt: skip
    for kind, text in printed.items():
        source = {"type": "object", "properties": {"a": typed(kind)}, "required": ["a"]}
        data, _ = run({"a": text}, source)
        assert Checker(source).check(data).problems == (), (kind, data)
        assert Checker(as_printed(source)).check({"a": text}).problems == ()
        assert Checker(as_printed(source)).check({"a": 5}).problems


def test_the_decoder_is_held_to_texts_and_the_user_to_values():
    schema = parse_schema("due?: date, total money, rows[]: {rate percent}, note")
    held = schema.decoding["properties"]
    text = {"type": ["string", "null"]}
    assert (held["due"], held["total"], held["note"]) == (text, text, text)
    assert held["rows"]["items"]["properties"] == {"rate": text}
    assert schema.source["properties"]["due"]["format"] == "date"
    assert schema.strict_decoding["properties"]["total"] == {"type": "string"}


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [
        (DATE, "date"),
        ({"format": "date", "description": "of birth"}, "date"),
        ({"type": ["string", "null"], "format": "date"}, "date"),
        ({**DATE, "pattern": "^2024"}, None),
        ({**DATE, "enum": ["2024-01-01"]}, None),
        ({"type": "string", "format": "date-time"}, None),
        ({"type": "string", "format": "email"}, None),
        ({"type": "string", MARK: "iban"}, "iban"),
        ({"type": "string", MARK: "barcode"}, None),
        (True, None),
    ],
)
def test_what_is_a_semantic_leaf(leaf, kind):
    assert kind_of_leaf(leaf) == kind


@pytest.mark.parametrize(
    "leaf",
    [
        DATE,
        {"anyOf": [DATE, {"type": "null"}]},
        {"$ref": "#/$defs/day"},
        {"allOf": [{"$ref": "#/$defs/day"}]},
    ],
)
def test_a_date_is_found_wherever_the_schema_says_it(leaf):
    source = {
        "$defs": {"day": DATE, "row": {"properties": {"d": leaf}}},
        "properties": {
            "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}},
            "map": {"additionalProperties": leaf},
            "pair": {"prefixItems": [leaf, {"type": "string"}]},
        },
    }
    printed = {"rows": [{"d": "1 May 2024"}, {"d": None}], "map": {"x": "2 May 2024"},
               "pair": ["3 May 2024", "3 May 2024"]}  # fmt: skip
    assert run(printed, source)[0] == {
        "rows": [{"d": "2024-05-01"}, {"d": None}], "map": {"x": "2024-05-02"},
        "pair": ["2024-05-03", "3 May 2024"],
    }  # fmt: skip
    day = as_printed(source)["$defs"]["day"]
    assert day == {"type": "string"}


def test_what_is_no_value_stays_as_printed_and_the_schema_says_no():
    source = parse_oneline("due: date, total amount, rows[]: {rate percent}")
    printed = {"due": "30 days net", "total": "on request", "rows": [{"rate": "a few %"}]}
    data, unread = run(printed, source)
    assert data == printed
    assert set(unread) == {"due", "total", "rows[0].rate"}
    assert len(Checker(source).check(data).problems) == 3


@pytest.mark.parametrize("dash", ["—", "-", "--", "...", "n/a", "N.A.", "", " "])
def test_a_dash_is_no_value(dash):
    source = parse_oneline("due: date, total amount, name")
    assert run({"due": dash, "total": dash, "name": dash}, source) == (
        {"due": None, "total": None, "name": dash}, {},
    )  # fmt: skip


def test_a_value_that_is_none_of_a_text_is_left_alone():
    source = parse_oneline("total amount, note, when: date")
    data = {"total": 12.5, "note": "1 May 2024", "when": ["1 May 2024"], "more": "1 May 2024"}
    assert run(data, source) == (data, {})


def test_the_document_decides_what_one_value_cannot():
    source = parse_oneline("date: date, due: date, rows[]: {amount amount}")
    alone, unread = run({"date": "03/04/2024"}, source)
    assert alone == {"date": "03/04/2024"}
    assert unread["date"].startswith("can be 2024-04-03 or 2024-03-04; ")
    beside, _ = run({"date": "03/04/2024", "due": "03/25/2024"}, source)
    assert beside["date"] == "2024-03-04"
    text, _ = run({"date": "03/04/2024"}, source, text="shipped 25/03/2024")
    assert text["date"] == "2024-04-03"
    both, _ = run({"date": "03/04/2024", "due": "03/25/2024"}, source, text="on 25/03/2024")
    assert both["date"] == "03/04/2024"  # they contradict each other
    told, _ = run({"date": "03/04/2024", "due": "03/25/2024"}, source, date="dmy")
    assert told["date"] == "2024-04-03"
    rows, _ = run({"rows": [{"amount": "1.234"}, {"amount": "9,50"}]}, source)
    assert rows["rows"] == [{"amount": 1234}, {"amount": 9.5}]


def test_what_decided_is_said_but_only_if_it_did():
    source = parse_oneline("date: date, due: date")
    found = normalize({"date": "03/04/2024", "due": "03/25/2024"}, source, Habits())
    assert found.notes == ('dates are read as mdy, as "03/25/2024" shows',)
    assert normalize({"date": "1 May 2024", "due": "03/25/2024"}, source, Habits()).notes == ()


@pytest.mark.parametrize(
    ("text", "date", "decimal"),
    [
        ("03/25/2024 and 04/26/2024", "mdy", ""),
        ("25/3/2024", "dmy", ""),
        ("25/3/24", "", ""),  # also the 24th of March 2025
        ("3/4/2024, version 1.2.3, 2024-03-25, 25.03.2024", "", ""),
        ("1/25/2024/7 and 13/25/2024", "", ""),
        ("1.234,56 and 12,345.6", "", ""),
        ("1,234.56 in section 4.2", "", "."),
        ("1.234,56", "", ","),
        ("1.234.567 and 12,5", "", ""),
    ],
)
def test_habits_of_a_text(text, date, decimal):
    known, _ = infer_habits(Habits(), [], text)
    assert (known.date, known.decimal) == (date, decimal)


def test_a_schema_that_refers_to_itself_ends():
    source = {"$defs": {"n": {"properties": {"d": DATE, "next": {"$ref": "#/$defs/n"}}}},
              "$ref": "#/$defs/n"}  # fmt: skip
    data = {"d": "1 May 2024", "next": {"d": "2 May 2024", "next": None}}
    assert json.dumps(run(data, source)[0]).count("2024-05-0") == 2
    assert as_printed(source)["$defs"]["n"]["properties"]["d"] == {"type": "string"}


def test_a_schema_without_semantic_leaves_is_not_copied():
    source = parse_oneline("a, b num")
    assert as_printed(source) is source


@pytest.mark.parametrize("digits", ["\u00b2" * 4, "\u2460" * 4, "\u0968" * 4, "2\u00b2", "\u1369"])
def test_what_looks_like_a_digit_is_read_or_not(digits):
    """`isdigit` takes them for one, `int` does not take all of them."""
    for text in (f"12 March {digits}", f"{digits} March 2024", f"{digits[:2]}.03.2024",
                 f"{digits}-03-01", digits):  # fmt: skip
        found = read_date(text, Habits())
        assert found.value is None or re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", found.value)
        read_number(text, Habits())
