"""Which values are copied from a document, and what each of them can be."""

import json
import time

import pytest

from gemma_edge.documents.document import Document, Page
from gemma_edge.documents.open import open_document
from gemma_edge.engine.constraint import TextConstraint
from gemma_edge.engine.grounding import HELD, NUMBER, ROWS, VERBATIM
from gemma_edge.engine.protocol import Grounding, JsonConstraint
from gemma_edge.extraction import Vision
from gemma_edge.extraction.grounding import (
    ALL,
    choose_held,
    describe_held,
    find_candidates,
    mark_leaves,
    rule_at,
    rule_of,
    unknown_fields,
)
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import Options, page_modes
from gemma_edge.extraction.recipe import bare_recipe
from gemma_edge.extraction.schema import make_part, parse_schema
from tests.scripted import ScriptedEngine

STRING = {"type": "string"}
INVOICE = """Ternova GmbH         Invoice R-2024-0117
Lindenstr. 14        Date 18 March 2024, due 03/25/2024

Pos  Article                    Qty   Unit price      Amount
1    Pressure sensor PT-100      12        84.50    1,014.00
     with a cable
2    Calibration certificate      2        65.00      130.00

Net 1,144.00 EUR, VAT 19 % 217.36 EUR, total 1,361.36 EUR
IBAN DE89 3704 0044 0532 0130 00, billing@ternova.example, +49 711 123456
"""


def document(text: str) -> Document:
    return Document("invoice", (Page(1, text),))


def grounding(schema: str, text: str = INVOICE) -> tuple[dict[str, object], Grounding]:
    decoding = make_part(parse_schema(schema).source, strict=False).decoding
    return decoding, find_candidates(document(text), decoding)


def holds(schema: str, value: object, text: str = INVOICE) -> bool:
    decoding, found = grounding(schema, text)
    constraint = TextConstraint(JsonConstraint(schema=json.dumps(decoding), grounding=found))
    return constraint.take(json.dumps(value, ensure_ascii=False)) and constraint.complete


@pytest.mark.parametrize(
    ("name", "schema", "rule"),
    [
        ("vendor", STRING, VERBATIM),
        ("description", STRING, VERBATIM),
        ("vendor", {"type": ["string", "null"]}, VERBATIM),
        ("summary", STRING, ""),
        ("documentType", STRING, ""),
        ("note", {**STRING, "description": "Summarize the letter"}, ""),
        ("currency", {**STRING, "description": "ISO 4217 code"}, ""),
        ("period", {**STRING, "description": "Canonical label of the period"}, ""),
        ("segment", {**STRING, "description": "Its name. 'NA' for the whole company."}, ""),
        ("site", {**STRING, "description": "Where 'it' happened"}, VERBATIM),
        ("due", {**STRING, "format": "date"}, "date"),
        ("sent", {**STRING, "format": "date-time"}, ""),
        ("contact", {**STRING, "format": "email"}, "email"),
        ("code", {**STRING, "pattern": "^A"}, VERBATIM),
        ("invoice_date", STRING, "like date"),
        ("grandTotal", STRING, "like amount"),
        ("tax_id", STRING, VERBATIM),
        ("billingAddress", STRING, "like address"),
        ("email_address", STRING, "like email"),
        ("ip_address", STRING, VERBATIM),
        ("address_line", STRING, VERBATIM),
        ("quantity", {"type": "integer"}, NUMBER),
        ("page_count", {"type": "integer"}, ""),
        ("paid", {"type": "boolean"}, ""),
        ("size", {"enum": ["S", "M"]}, ""),
        ("either", {"type": ["string", "number"]}, VERBATIM),
        ("summary", {**STRING, "x-gemma-edge": "verbatim"}, VERBATIM),
        ("vendor", {**STRING, "x-gemma-edge": "text"}, ""),
        ("price", {"type": "object", "x-gemma-edge": "money"}, "money"),
    ],
)
def test_the_rule(name: str, schema: dict[str, object], rule: str) -> None:
    assert rule_of(name, schema) == rule


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ("day: date", ["18 March 2024", "03/25/2024"], ["2024-03-18", "25 March 2024"]),
        ("total: amount", ["1,361.36", "1,361.36 EUR", "130.00"], ["1361.36", "18 March"]),
        ("total: money", ["1,361.36 EUR"], ["1,361.36 USD"]),
        ("rate: percent", ["19 %", "19"], ["20 %"]),
        ("cur: currency", ["EUR"], ["USD"]),
        ("iban: iban", ["DE89 3704 0044 0532 0130 00"], ["DE89370400440532013000"]),
        ("mail: email", ["billing@ternova.example"], ["billing@ternova.com"]),
        ("phone: phone", ["+49 711 123456"], ["+49 711 1234567"]),
        ("size num", [1361.36, 1014, 12], [1361.37, 99]),
        ("vendor", ["Ternova GmbH", "Ternova GmbH Lindenstr. 14"], ["Ternova", "Ternova AG"][1:]),
        ("summary", ["whatever is said"], []),
        ("kind: letter|invoice", ["letter"], ["memo"]),
    ],
)
def test_what_a_value_can_be(schema: str, right: list[object], wrong: list[object]) -> None:
    name = schema.split(":")[0].split()[0]
    assert [value for value in right if not holds(schema, {name: value})] == []
    assert [value for value in wrong if holds(schema, {name: value})] == []
    assert holds(schema, {name: None})


def test_a_name_alone_holds_to_nothing_that_is_not_there() -> None:
    """A plain string that is named like a date may be any words where there is no date."""
    assert holds("start_date", {"start_date": "Easter"}, "It begins at Easter")
    assert not holds("start_date", {"start_date": "begins"}, "It begins on 18 March 2024")


@pytest.mark.parametrize(
    "printed",
    ["March 2024", "12.03.", "03/12", "12 Mar", "Mar 14", "2019", "Spring 2010", "2019–2020",
     "present", "18 March 2024", "03/25/2024", "März 2024"],
)  # fmt: skip
def test_dates_are_seldom_whole(printed: str) -> None:
    text = f"Lecturer\n{printed}\nDublin"
    assert holds("start_date", {"start_date": printed}, text)
    assert not holds("start_date", {"start_date": "Dublin"}, text)


@pytest.mark.parametrize("dash", [" - ", " – ", ", "])
def test_two_dates_beside_each_other_are_two(dash: str) -> None:
    days = ["2 de noviembre de 2017", "10 de junio de 2018", "6. März 2024", "12 March 2031"]
    text = f"Periodo {dash.join(days)}"
    assert [day for day in days if not holds("start: date", {"start": day}, text)] == []
    assert not holds("start: date", {"start": f"2017{dash}10 de junio"}, text)
    assert not holds("start: date", {"start": f"2018{dash}6. März"}, text)


def test_a_sign_of_a_currency_may_be_given_as_its_code() -> None:
    assert holds("currency", {"currency": "EUR"}, "in total 5.00 €")
    assert holds("currency", {"currency": "€"}, "in total 5.00 €")
    assert not holds("currency", {"currency": "USD"}, "in total 5.00 €")


def test_the_marks_of_a_list_are_no_words() -> None:
    text = "Skills\n  • Python and\n  • SQL\n - Go\n  -5 degrees"
    assert holds("skills", {"skills": "Python and SQL Go"}, text)
    assert not holds("skills", {"skills": "• SQL"}, text)
    assert holds("temperature", {"temperature": "-5 degrees"}, text)


def test_a_pattern_holds_to_what_it_finds() -> None:
    schema = json.dumps(
        {"type": "object", "properties": {"no": {**STRING, "pattern": "^R-\\d{4}-\\d{4}$"}}}
    )
    assert holds(schema, {"no": "R-2024-0117"})
    assert not holds(schema, {"no": "R-2024-0118"})
    assert not holds(schema, {"no": "R-2024-0118"}, "no such number")
    assert holds(schema, {"no": None}, "no such number")


RECEIPT = """NO 122.124 JALAN DEDAP 2/4
DOC NO CS00031663   DATE 25/12/2018
E8318   35.10 LITRE   RM 80.91
FREE 2016 CNY CALENDAR 420G
ROUNDING   -0.01
TOTAL   RM 80.90
DISCOUNT   0.00
GST 6.00%   4.58
"""


def test_what_is_no_amount_and_no_date() -> None:
    """Where a document prints cents and days: numbers of something, quantities, parts of names."""
    amounts = dict(grounding("total: amount", RECEIPT)[1].candidates)["amount"]
    assert {"80.90", "RM 80.90", "-0.01", "0.00", "4.58"} <= {*amounts}
    assert not {"E8318", "35.10", "2016 CNY", "420G", "2018", "00031663"} & {*amounts}
    dates = dict(grounding("date", RECEIPT)[1].candidates)["like date"]
    assert dates == ("25/12/2018",)


def test_years_and_open_ends_are_dates_of_a_life() -> None:
    text = "Born 12 May 1980\nA school 1996-1999, a firm 2001 - present, another one in 2000"
    for value in ("12 May 1980", "1996", "2001", "present", "2000"):
        assert holds("date", {"date": value}, text)
    assert holds("expiry_date", {"expiry_date": "03/2020"}, "Paid 01/02/2018\nvalid to 03/2020")


def test_a_person_asks_for_any_words_of_the_document() -> None:
    source = mark_leaves(parse_schema("date").source)
    assert choose_held(source, [], ["date"])["properties"]["date"][HELD] == VERBATIM


ITEMS = "items[]: {article, qty int, amount num}"


def test_entries_are_rows_down_the_page() -> None:
    one = {"article": "Pressure sensor PT-100", "qty": 12, "amount": 1014}
    two = {"article": "Calibration certificate", "qty": 2, "amount": 130}
    ((key, rows),) = grounding(ITEMS)[1].rows
    assert (key, len(rows)) == ("article, qty, amount", 2)
    for entries in ([], [one], [two], [one, two], [{**one, "article": "with a cable"}]):
        assert holds(ITEMS, {"items": entries})
    mixed = {**one, "amount": 130}
    for entries in ([two, one], [one, one], [mixed], [{**one, "article": "Ternova GmbH"}]):
        assert not holds(ITEMS, {"items": entries})


@pytest.mark.parametrize(
    "text",
    [
        "Sensor, twelve of them, and a certificate",
        "Revenue     1,000.00   900.00\nIncome      100.00     90.00\nTaxes  30.00  20.00",
    ],
    ids=["no rows", "entries stand in columns"],
)
def test_no_rows_where_the_layout_gives_none(text: str) -> None:
    decoding, found = grounding("years[]: {name, revenue num, income num}", text)
    assert not found.rows
    assert decoding["properties"]["years"][HELD] == ROWS  # type: ignore[index]


def test_a_person_decides() -> None:
    source = parse_schema("vendor, summary, items[]: {name, qty int}").source
    marked = mark_leaves(source)
    free = choose_held(marked, ["items"], [])
    assert HELD not in json.dumps(free["properties"]["items"])
    held = choose_held(marked, [], ["summary"])
    assert held["properties"]["summary"][HELD] == VERBATIM
    assert describe_held(source) == (
        "can only be what is printed: vendor, name, qty; free: summary"
    )
    assert describe_held(source, ["vendor"], ["summary"]) == (
        "can only be what is printed: summary, name, qty; free: vendor"
    )


def test_a_field_is_called_by_its_name_or_by_those_that_lead_to_it() -> None:
    source = parse_schema("name, items[]: {name, qty int}, parts[]: {name}").source
    marked = mark_leaves(source)
    free = choose_held(marked, ["items.name"], [])["properties"]
    assert HELD not in free["items"]["items"]["properties"]["name"]
    assert free["name"][HELD] == VERBATIM
    assert free["parts"]["items"]["properties"]["name"][HELD] == VERBATIM
    assert HELD not in json.dumps(choose_held(marked, [ALL], []))
    assert unknown_fields(source, ["name", "items.qty", "qty", "parts", ALL]) == []
    assert unknown_fields(source, ["qtty", "parts.qty"]) == ["qtty", "parts.qty"]


def test_a_person_can_ask_for_any_printed_words() -> None:
    """A name alone tells the kind of a plain string; what a schema says itself stays."""
    source = parse_schema("total, due: date, age int, size: S|M").source
    held = choose_held(mark_leaves(source), [], [ALL])["properties"]
    assert held["total"][HELD] == VERBATIM
    assert held["due"][HELD] == "date"
    assert held["age"][HELD] == NUMBER
    assert HELD not in held["size"]


def test_what_a_value_at_a_path_is_held_to() -> None:
    node = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
    leaves = {"name": STRING, "next": node, "paid": {"type": "boolean"}}
    source = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "$defs": {"node": {"type": "object", "properties": leaves}},
    }
    decoding = make_part(source, strict=False).decoding
    assert rule_at(decoding, ("rows", 3, "name")) == VERBATIM
    assert rule_at(decoding, ("rows", 0, "next", "next", "name")) == VERBATIM
    assert rule_at(decoding, ("rows", 0, "paid")) == rule_at(decoding, ("rows",)) == ""
    assert rule_at(decoding, ("nothing", 1)) == ""


@pytest.mark.parametrize(("legal", "free", "told"), [(0.01, (), True), (0.4, (), False),
                                                     (0.01, ("all",), False)])  # fmt: skip
def test_what_the_model_would_rather_have_said_is_told(
    legal: float, free: tuple[str, ...], told: bool
) -> None:
    recipe = bare_recipe(parse_schema("vendor, paid bool"))
    engine = ScriptedEngine(['{"vendor": "Ternova GmbH", "paid": true}'], legal=legal)
    found = extract(engine, document(INVOICE), recipe, Options(free=free))
    said = [note for note in found.notes if "leaned to what is not printed" in note]
    assert [note.split(":")[0] for note in said] == (["vendor"] if told else [])
    assert found.evidence[0].confidence == pytest.approx(legal, abs=0.001)


@pytest.mark.parametrize(
    ("kind", "vision", "held"),
    [
        ("text", "auto", True),
        ("text", "always", False),
        ("scan+ocr-layer", "auto", True),
        ("scan+ocr-layer", "never", True),
        ("mixed", "auto", False),
        ("scan", "auto", False),
    ],
)
def test_a_page_that_shows_more_than_its_text_holds_nothing(
    kind: str, vision: Vision, held: bool
) -> None:
    text = "" if kind == "scan" else "Ternova GmbH"
    mode = page_modes(Document("a.pdf", (Page(1, text, kind=kind),), media="pdf"), vision)[0]  # type: ignore[arg-type]
    assert mode.shows_more is not held


def test_pages_that_are_pictures_free_the_values_and_that_is_told() -> None:
    """Also in a batch: the line is a part of the answer."""
    recipe = bare_recipe(parse_schema("vendor"))
    picture = open_document("examples/shapes.png")
    told = "no value is held to what is printed: page 1, read as a picture"
    for source, options, said in (
        (picture, Options(), True),
        (picture, Options(free=(ALL,)), False),
        (document(INVOICE), Options(), False),
    ):
        engine = ScriptedEngine(['{"vendor": "Ternova"}'])
        found = extract(engine, source, recipe, options)
        constraint = engine.requests[0].constraint
        assert (told in found.notes) is said
        assert constraint is not None
        assert (constraint.grounding is None) is (source is picture)


def test_the_request_carries_the_pages() -> None:
    recipe = bare_recipe(parse_schema("vendor, total num"))
    answer = '{"vendor": "Ternova GmbH", "total": 130}'
    engine = ScriptedEngine([answer, answer])
    extract(engine, document(INVOICE), recipe)
    extract(engine, document(INVOICE), recipe, Options(free=("all",)))
    held, free = (request.constraint for request in engine.requests if request.constraint)
    assert held.grounding is not None
    assert held.grounding.text == INVOICE
    assert free.grounding is None
    assert HELD not in free.schema


def test_a_number_that_is_named_like_an_amount_is_one() -> None:
    text = "Invoice 4711\n12 pens 18.00\n3 inks 21.50\nshipping 4.00\nTotal $1200 of 2031"
    for value in (18, 21.5, 1200):
        assert holds("total num", {"total": value}, text)
    for value in (4711, 12, 2031):
        assert not holds("total num", {"total": value}, text)
        assert holds("code num", {"code": value}, text)
    assert holds("total num", {"total": 3}, "a total of 3")


def test_a_list_of_one_kind_has_each_printed_value_once() -> None:
    text = "Write to a@x.example or b@x.example, on 3 May 2024 and 4 May 2024; 5.00 and 5.00"
    both = ["a@x.example", "b@x.example"]
    for some in ([], both[:1], both[1:], both):
        assert holds("mails[]: email", {"mails": some}, text)
    for some in ([*both, "a@x.example"], both[::-1], [None]):
        assert not holds("mails[]: email", {"mails": some}, text)
        assert not holds("mails[]: email", {"mails": some}, "no address")
    assert holds("mails[]: email", {"mails": []}, "no address")
    assert holds("fees[]: amount", {"fees": ["5.00", "5.00"]}, text)


@pytest.mark.parametrize(
    ("description", "rule"),
    [
        ("The summary, as printed", VERBATIM),
        ("a short summary", ""),
        ("the number of the order", VERBATIM),
        ("the number of pages", ""),
    ],
)
def test_a_description_says_what_is_copied(description: str, rule: str) -> None:
    assert rule_of("entry", {**STRING, "description": description}) == rule


def test_a_value_of_an_entry_stands_in_its_row() -> None:
    """The same amounts stand in other rows, above and below: the entry tells which was copied."""
    text = """Your last bill was 130.00

Article                    Qty   Unit price      Amount
Pressure sensor             2        65.00      130.00
Cable                       2        65.00      130.00
Calibration                 2        65.00      130.00

Total 390.00, of which 130.00 are due"""
    cable = {"article": "Cable", "qty": 2, "amount": 130}
    entries = [cable, {**cable, "article": "Calibration"}]
    recipe = bare_recipe(parse_schema(ITEMS))
    engine = ScriptedEngine([json.dumps({"items": entries})])
    found = {each.path: each for each in extract(engine, document(text), recipe).evidence}
    lines = text.split("\n")
    for at, line in ((0, 4), (1, 5)):
        begins = sum(len(each) + 1 for each in lines[:line])
        for name in ("article", "qty", "amount"):
            each = found["items", at, name]
            assert each.start is not None
            assert begins <= each.start < begins + len(lines[line]), (at, name)
            assert each.places == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [("urls", "url"), ("addresses", "address"), ("prices", "amount"), ("invoice_dates", "date")],
)
def test_a_name_in_the_plural_says_the_same(name, kind):
    assert rule_of(name, {"type": "string"}) == f"like {kind}"


@pytest.mark.parametrize("unit", ["a", "1", "1.", "a.", "1-", "2024-", "$", "a@", "1,000 ", "Mar "])
def test_hostile_runs_are_read_in_linear_time(unit: str) -> None:
    """What is not linear takes minutes for so much text; this takes a few seconds at most."""
    text = unit * (200_000 // len(unit))
    kinds = "a: date, b: amount, c: email, d: phone, e: iban, f: country, g: currency, h num, url"
    decoding = make_part(parse_schema(kinds).source, strict=False).decoding
    start = time.process_time()
    find_candidates(document(text), decoding)
    assert time.process_time() - start < 20


def candidates(schema: str, text: str) -> set[str]:
    found = dict(grounding(schema, text)[1].candidates)
    return {each for texts in found.values() for each in texts}


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("Revenue $1.5M in 2024", "$1.5M", "1.5"), ("Umsatz 2,5 Mio. €", "2,5 Mio. €", "2,5 €"),
        ("売上 3万円", "3万円", "3"), ("Total Rs. 1,500/-", "Rs. 1,500", ""),
        ("Выручка 3 млн руб.", "3 млн руб", "3"), ("Revenue US$5.00", "US$5.00", ""),
        ("Total １，２３４円", "１，２３４円", ""), ("1,234.50² in total", "1,234.50", "1,2342"),
        ("length 5 m", "5", ""),
    ],
)  # fmt: skip
def test_an_amount_is_never_offered_without_its_scale(text: str, right: str, wrong: str) -> None:
    found = candidates("total: amount", text)
    assert right in found
    assert wrong not in found


def test_a_number_can_be_what_its_scale_makes_of_it() -> None:
    assert {"1500000", "1.5"} <= candidates("total num", "Revenue $1.5M")


def test_days_of_other_calendars_are_dates() -> None:
    text = "令和6年3月6日 and 6 มีนาคม 2567 and ngày 6 tháng 3 năm 2024"
    found = candidates("day: date", text)
    assert {"令和6年3月6日", "6 มีนาคม 2567", "ngày 6 tháng 3 năm 2024"} <= found


def test_a_scale_is_what_the_note_of_a_table_says() -> None:
    text = "Income (in millions, except per share data)\nRevenue   1,234"
    for name in ("scale", "unit_scale", "unitScale"):
        assert holds(f"{name} num", {name: 1_000_000}, text)
        assert not holds(f"{name} num", {name: 1_000}, text)
    assert not holds("scale num", {"scale": 1_000}, "Revenue   1,234")
    assert rule_of("scale", {"enum": ["ones", "thousands"]}) == ""
    assert rule_of("time_scale", {"type": "number"}) == ""


def test_raised_cents_are_a_number_too():
    assert holds("price num", {"price": 12.99}, "Sonderpreis nur 12⁹⁹ €")
    assert not holds("price num", {"price": 1299}, "Sonderpreis nur 12⁹⁹ €")
    assert "12⁹⁹ €" in candidates("price: amount", "Sonderpreis nur 12⁹⁹ €")
