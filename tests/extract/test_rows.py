"""The rows of tables, as the readers lay them out, and which column a field is."""

import json
import time
from typing import Any

import pytest

from gemma_edge.documents.document import Document, Page
from gemma_edge.documents.html import read_html
from gemma_edge.documents.open import read_document
from gemma_edge.documents.sheets import read_separated
from gemma_edge.engine.constraint import TextConstraint
from gemma_edge.engine.grounding import HELD, ROWS
from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.extraction.grounding import find_candidates, find_rows, not_held, wants_every
from gemma_edge.extraction.recipe_file import load_recipe
from gemma_edge.extraction.rows import Table, find_tables, trace_rows
from gemma_edge.extraction.schema import make_part, parse_schema
from tests.documents.conftest import render_pdf, typed
from tests.documents.office_files import render_xlsx

INVOICE = """Ternova GmbH         Invoice R-2024-0117
Lindenstr. 14        Date 18 March 2024, due 03/25/2024

Pos  Article                    Qty   Unit price      Amount
1    Pressure sensor PT-100      12        84.50    1,014.00
     with a cable
2    Calibration certificate      2        65.00      130.00
     Shipping                                          12.00

     Subtotal                                       1,156.00
     VAT 19 %                                         219.64
     Total                                          1,375.64
"""
TURNOVER = "Revenue     1,000.00   900.00\nIncome      100.00     90.00\nTaxes  30.00  20.00"
BANK = """Buchungstag  Verwendungszweck              Soll       Haben
01.03.2024   Gehalt März                           2.100,00
02.03.2024   Miete                       900,00
             Hausverwaltung Kraus
05.03.2024   Strom                       (45.00)
"""


def cells(*texts: str) -> list[list[tuple[str, ...]]]:
    return [[row.cells for row in table.rows] for table in find_tables(texts)]


def items_of(*texts: str) -> Table:
    """The table with the most rows."""
    return max(find_tables(texts), key=lambda table: len(table.rows))


def make(schema: str | dict[str, Any], *texts: str) -> tuple[dict[str, Any], Document]:
    source = parse_schema(schema if isinstance(schema, str) else json.dumps(schema)).source
    pages = tuple(Page(number, text) for number, text in enumerate(texts, 1))
    return make_part(source, strict=False).decoding, Document("a", pages)


def holds(schema: str | dict[str, Any], value: Any, *texts: str) -> bool:
    decoding, document = make(schema, *texts)
    grounding = find_candidates(document, decoding)
    constraint = TextConstraint(JsonConstraint(schema=json.dumps(decoding), grounding=grounding))
    return constraint.take(json.dumps(value, ensure_ascii=False)) and constraint.complete


def test_an_invoice() -> None:
    table = items_of(INVOICE)
    assert table.heads == ("Pos", "Article", "Qty", "Unit price", "Amount")
    assert [row.cells for row in table.rows] == [
        ("1", "Pressure sensor PT-100\nwith a cable", "12", "84.50", "1,014.00"),
        ("2", "Calibration certificate", "2", "65.00", "130.00"),
        ("", "Shipping", "", "", "12.00"),
    ]
    first = table.rows[0]
    printed = [INVOICE[start:end] for start, end in first.spans]
    assert printed[1] == "with a cable"
    assert printed[0].split()[0] == "1"


def test_rows_of_two_lines() -> None:
    text = """Rank  HT/LN  Name                 Fed.  YB    Team                    Time
                                                                 50m         (R.T.)
  1    1/4   Fusao TAKAHASHI      JPN   1933  JUMP
                                                                 44.01       (   1.02)
  2    1/5   Mitsunobu YOSHIZAWA  JPN   1932  CLUB DE NATATION DE LA GARDE
                                                               1:46.80       (   1.02)
       1/8   Carlos SALAZAR       MEX   1933  CLUB BANCARIO
                                                                   DNS
"""
    table = items_of(text)
    assert [row.cells[:3] + row.cells[-2:-1] for row in table.rows] == [
        ("1", "1/4", "Fusao TAKAHASHI", "44.01"),
        ("2", "1/5", "Mitsunobu YOSHIZAWA", "1:46.80"),
        ("", "1/8", "Carlos SALAZAR", "DNS"),
    ]
    assert [row.cells[5] for row in table.rows][1] == "CLUB DE NATATION DE LA GARDE"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        # Head of two lines, numbers with a unit, a row that begins in the line above.
        (
            """                           Unit
Item        Quantity      price     Amount
Nail          12 Stk      0,10 €    1,20 €
Long nail
with head      2 Stk      1,10 €    2,20 €
Total                               3,40 €""",
            [
                ("Nail\nLong nail", "12 Stk", "0,10 €", "1,20 €"),
                ("Long nail\nwith head", "2 Stk", "1,10 €", "2,20 €"),
            ],
        ),
        # Words above the numbers.
        (
            """Pressure sensor
       12 x 84.50       1,014.00
Certificate
with seal
        2 x 65.00         130.00""",
            [
                ("Pressure sensor\n12 x 84.50", "1,014.00"),
                ("Certificate\nwith seal\n2 x 65.00", "130.00"),
            ],
        ),
        # No columns at all.
        (
            "2 x Coffee beans 3.50 7.00\nCake 4.20 4.20\nTOTAL 11.20\nCASH 20.00\nCHANGE 8.80",
            [("2 x Coffee beans", "3.50", "7.00"), ("Cake", "4.20", "4.20")],
        ),
        # A currency in a cell of its own, dashes for nothing, sums in the middle.
        (
            """Cash                         $   2,216.4     $   2,913.4
Receivables                      3,503.5         3,428.2
Total current assets             5,719.9         6,341.6
Goodwill                               —           (45.0)""",
            [
                ("Cash", "$ 2,216.4", "$ 2,913.4"), ("Receivables", "3,503.5", "3,428.2"),
                ("Total current assets", "5,719.9", "6,341.6"), ("Goodwill", "—", "(45.0)"),
            ],
        ),
        # A text that leaves no room before the next column.
        (
            """Text                      Qty     Price
Nail                       12      0.10
A nail with a long name    12      0.10
A nail with a longer name 112      0.10""",
            [
                ("Nail", "12", "0.10"), ("A nail with a long name", "12", "0.10"),
                ("A nail with a longer name", "112", "0.10"),
            ],
        ),
    ],
    ids=["head of two lines", "words above", "no columns", "currency apart", "no room"],
)  # fmt: skip
def test_rows(text: str, rows: list[tuple[str, ...]]) -> None:
    assert [row.cells for row in items_of(text).rows] == rows


def test_debit_and_credit_are_columns_of_different_rows() -> None:
    table = items_of(BANK)
    assert [row.cells[1:] for row in table.rows] == [
        ("Gehalt März", "", "2.100,00"),
        ("Miete\nHausverwaltung Kraus", "900,00", ""),
        ("Strom", "(45.00)", ""),
    ]
    schema = "bookings[]: {date: date, text, debit num, credit num}"
    row = {"date": "02.03.2024", "text": "Miete Hausverwaltung Kraus", "debit": 900, "credit": None}
    assert holds(schema, {"bookings": [row]}, BANK)
    assert not holds(schema, {"bookings": [{**row, "debit": None, "credit": 900}]}, BANK)


def test_several_tables_and_a_table_over_pages() -> None:
    head = "Date        Text               Amount\n"
    one = f"{head}01.03.2024  Rent March         900.00\n02.03.2024  Power               45.00\n"
    two = "03.03.2024  Gas                 45.00\n04.03.2024  Water               15.00\n"
    vat = "\n\nRate        Net       Tax\n19 %     756.30    143.70\n7 %       42.06      2.94\n"
    for second in (head + two, two):  # repeated, and not
        found = find_tables([f"{one}\n\n                 Page 1", second + vat])
        named = [table for table in found if table.heads == ("Date", "Text", "Amount")]
        assert [[row.page for row in table.rows] for table in named] == [[0, 0], [1, 1]]
        assert [len(table.rows) for table in found if "Rate" in table.heads] == [2]
    schema = (
        "bookings[]: {date: date, text, amount num}, taxes[]: {rate: percent, net num, tax num}"
    )
    decoding, document = make(schema, one, two + vat)
    assert {key: len(rows) for key, rows in find_rows(document, decoding).items()} == {
        "date, text, amount": 4,
        "rate, net, tax": 2,
    }


def test_a_pdf() -> None:
    """Columns of a proportional font, amounts that end together, two pages."""
    names = ["Pressure sensor", "Wire", "Calibration certificate, printed", "M8 screw"] * 10

    def line(at: int, y: float) -> list[tuple[float, float, float, str]]:
        amount = f"{(at + 1) * 12.5:.2f}"
        parts = [(50, str(at + 1)), (80, names[at]), (330 - 5 * len(str(at)), str(at + 2)),
                 (500 - 5 * len(amount), amount)]  # fmt: skip
        return [(x, y, 10, text) for x, text in parts]

    heads = ((50, "Pos"), (80, "Article"), (310, "Quantity"), (460, "Amount"))
    head = [(x, 100.0, 10.0, text) for x, text in heads]
    pages = [[*head, *(each for at in range(20) for each in line(at + 20 * page, 120 + 14 * at))]
             for page in (0, 1)]  # fmt: skip
    document = read_document(render_pdf(pages, font="Helvetica"), "a.pdf")
    decoding, _ = make("items[]: {article, quantity int, amount num}", "")
    ((_, rows),) = find_candidates(document, decoding).rows
    assert [dict(row.columns)["article"].text for row in rows] == names
    assert [dict(row.columns)["quantity"].text for row in rows] == [str(at + 2) for at in range(40)]
    assert [row.begins for row in rows] == [True] + [False] * 39


def test_a_typed_pdf_with_words_around() -> None:
    document = read_document(render_pdf([typed(INVOICE)]), "a.pdf")
    assert [row.cells[1] for row in items_of(document.pages[0].text).rows] == [
        "Pressure sensor PT-100\nwith a cable", "Calibration certificate", "Shipping",
    ]  # fmt: skip


def test_sheets_csv_and_html() -> None:
    rows = [
        ["Item", "Qty", "Price"],
        ["Nail", 12, 0.1],
        ["Screw", 2, 1.1],
        ["Free gift", None, None],
    ]
    sheet = read_document(render_xlsx({"May": rows}), "a.xlsx").text
    csv = read_separated(b"Item;Qty;Price\nNail;12;0.1\nScrew;2;1.1\nFree gift;;\n", "a.csv").pages[
        0
    ][0]
    markup = "".join(
        f"<tr>{''.join(f'<td>{cell or str()}</td>' for cell in row)}</tr>" for row in rows
    )
    html = read_html(f"<html><p>Hello<table>{markup}</table></html>".encode(), "a.html").pages[0][0]
    for text in (sheet, csv, html):
        table = items_of(text)
        assert table.heads == ("Item", "Qty", "Price")
        found = [("Nail", "12", "0.1"), ("Screw", "2", "1.1"), ("Free gift", "", "")]
        assert [row.cells for row in table.rows] == found


def test_columns_cannot_mix() -> None:
    """The head says where each value stands, also where the names are others."""
    schema = "items[]: {description, quantity int, price num, total num}"
    one = {"description": "Pressure sensor PT-100", "quantity": 12, "price": 84.5, "total": 1014}
    two = {"description": "Calibration certificate", "quantity": 2, "price": 65, "total": 130}
    three = {"description": "Shipping", "quantity": None, "price": None, "total": 12}
    for entries in ([], [one], [two], [one, two], [one, two, three]):
        assert holds(schema, {"items": entries}, INVOICE)
    long = "Pressure sensor PT-100 with a cable"
    assert holds(schema, {"items": [{**one, "description": long}]}, INVOICE)
    wrong: list[dict[str, Any]] = [
        {**one, "price": 1014}, {**one, "total": 84.5}, {**one, "quantity": 100},
        {**one, "description": "Calibration certificate"}, {**one, "total": None},
        {**three, "quantity": 12}, {**one, "description": "Ternova GmbH"},
    ]  # fmt: skip
    assert [entry for entry in wrong if holds(schema, {"items": [entry]}, INVOICE)] == []
    assert not holds(schema, {"items": [two, one]}, INVOICE)
    assert not holds(schema, {"items": [one, one]}, INVOICE)
    total = {"description": "Total", "quantity": None, "price": None, "total": 1375.64}
    assert not holds(schema, {"items": [total]}, INVOICE)


def test_a_cell_that_is_certain_is_copied_by_whole_lines() -> None:
    text = "Article         Amount\nSensor, confi-    2.50\n  dential\nNail              1.50\n"
    schema = "items[]: {article, amount num}"
    for article, right in (
        ("Sensor, confidential", True), ("Sensor, confi- dential", True), ("Sensor, confi-", True),
        ("Sensor", False), (None, False),
    ):  # fmt: skip
        assert holds(schema, {"items": [{"article": article, "amount": 2.5}]}, text) is right


def test_titles_and_descriptions_name_columns() -> None:
    properties = {
        "a": {"type": "string", "title": "Article"},
        "b": {"type": "number", "description": "The unit price without tax"},
        "c": {"type": "number", "title": "Amount"},
    }
    item = {"type": "object", "properties": properties, "required": list("abc")}
    for items in (item, {"$ref": "#/$defs/Item"}):
        schema = {
            "type": "object",
            "properties": {"lines": {"type": "array", "items": items}},
            "$defs": {"Item": item},
        }
        right = {"a": "Calibration certificate", "b": 65, "c": 130}
        assert holds(schema, {"lines": [right]}, INVOICE)
        assert not holds(schema, {"lines": [{**right, "b": 130, "c": 65}]}, INVOICE)
        assert not holds(schema, {"lines": [right, right]}, INVOICE)


def test_where_the_head_does_not_tell() -> None:
    """Any cell of the row that is no other field's."""
    schema = "items[]: {article, x num, amount num}"
    entry = {"article": "Calibration certificate", "x": 65, "amount": 130}
    assert holds(schema, {"items": [entry]}, INVOICE)
    assert holds(schema, {"items": [{**entry, "x": None}]}, INVOICE)
    assert not holds(schema, {"items": [{**entry, "x": 130}]}, INVOICE)
    assert not holds(schema, {"items": [{**entry, "x": 84.5}]}, INVOICE)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ("items[]: {article, qty int, amount num}", "Sensor, twelve of them, and a certificate"),
        ("years[]: {name, revenue num, income num}", TURNOVER),
        ("skills[]: {name, where}", "Python (expert), Go (beginner)"),
        ("parties[]: {name, role}", "between Acme Corp, the seller,\nand Beta GmbH, the buyer"),
        (
            "parties[]: {name, role}",
            "Anna Meier        Bob Kraus\nSome Street 1     Other Street 2",
        ),
        ("amounts[]: {label, amount num}", INVOICE),
        ("authors[]: {name, email: email}", "a@b.org   1.00   2.00\nc@d.org   3.00   4.00"),
    ],
)
def test_no_rows_where_the_layout_gives_none_and_it_is_said(schema: str, text: str) -> None:
    decoding, document = make(schema, text)
    grounding = find_candidates(document, decoding)
    name = schema.partition("[")[0]
    assert decoding["properties"][name][HELD] == ROWS
    assert not grounding.rows
    line = f"{name}: no rows were found, entries are only held to words"
    assert line in not_held(decoding, grounding)


def test_lists_of_words_with_a_head() -> None:
    text = """Name              Role             City
Anna Meier        Tenant           Bonn
Bob Kraus         Landlord         Berlin
"""
    schema = "people[]: {name, role}"
    anna, bob = {"name": "Anna Meier", "role": "Tenant"}, {"name": "Bob Kraus", "role": "Landlord"}
    assert holds(schema, {"people": [anna, bob]}, text)
    assert not holds(schema, {"people": [{**anna, "role": "Landlord"}]}, text)
    assert not holds(schema, {"people": [bob, anna]}, text)


def test_free_leaves_and_lists_in_entries() -> None:
    schema = {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "article": {"type": "string"},
                        "price": {"type": "object", "properties": {"amount": {"type": "number"}}},
                        "category": {"type": "string"},
                        "words": {"type": "array", "items": {"type": "string"}},
                        "numbers": {"type": "array", "items": {"type": "number"}},
                    },
                },
            }
        },
    }
    entry = {
        "article": "Calibration certificate", "price": {"amount": 130.0}, "category": "paper work",
        "words": ["certificate"], "numbers": [65, 130.0],
    }  # fmt: skip
    assert holds(schema, {"items": [entry]}, INVOICE.replace("130.00", "130.0"))
    assert not holds(schema, {"items": [{**entry, "words": ["Shipping"]}]}, INVOICE)
    assert not holds(schema, {"items": [{**entry, "numbers": [84.5]}]}, INVOICE)


@pytest.mark.parametrize(
    ("least", "most", "right"),
    [(0, None, range(4)), (1, None, (1, 2, 3)), (2, None, (2, 3)), (0, 2, (0, 1, 2)),
     (0, 1, (0, 1)), (2, 2, (2,)), (0, 9, range(4)), (3, 3, (3,))],
)  # fmt: skip
def test_counts_are_kept(least: int, most: int | None, right: Any) -> None:
    limits = {"minItems": least} | ({} if most is None else {"maxItems": most})
    properties = {"article": {"type": "string"}, "amount": {"type": "number"}}
    schema = {
        "type": "object",
        "properties": {
            "items": {
                "type": "array", **limits,
                "items": {"type": "object", "properties": properties},
            }
        },
        "required": ["items"],
    }  # fmt: skip
    names = ["Pressure sensor PT-100", "Calibration certificate", "Shipping"]
    entries = [{"article": a, "amount": n} for a, n in zip(names, (1014, 130, 12), strict=True)]
    found = [n for n in range(4) if holds(schema, {"items": entries[:n]}, INVOICE)]
    assert found == list(right)
    if 1 in right:
        assert holds(schema, {"items": entries[2:]}, INVOICE)
    if 2 in right:
        assert not holds(schema, {"items": entries[1::-1]}, INVOICE)


GROUPS = """Age Group: 90-94
Rank  Name                 Time
1     Fusao TAKAHASHI     44.01
2     Kazuyuki FUKUDA     55.77

Age Group: 85-89
Rank  Name                 Time
1     Tohru FURUKAWA      33.74
2     Shigeo OGASAWARA    39.04
"""


def test_groups_of_rows_go_down_the_page_together() -> None:
    schema = "groups[]: {heading, results[]: {rank int, name, time}, note: text}"
    names = [("Fusao TAKAHASHI", "44.01"), ("Kazuyuki FUKUDA", "55.77"),
             ("Tohru FURUKAWA", "33.74"), ("Shigeo OGASAWARA", "39.04")]  # fmt: skip
    rows = [{"rank": 1 + at % 2, "name": name, "time": time}
            for at, (name, time) in enumerate(names)]  # fmt: skip

    def group(age: str, *numbers: int) -> dict[str, Any]:
        results = [rows[at] for at in numbers]
        return {"heading": age, "results": results, "note": "whatever"}

    right = [
        [], [group("90-94", 0, 1), group("85-89", 2, 3)], [group("90-94", 0), group("85-89", 3)],
        [group("90-94", 0, 1, 2, 3)], [group("90-94"), group("85-89", 2)], [group("85-89")],
        [group("90-94", 1), group("85-89")],
    ]  # fmt: skip
    wrong = [
        [group("90-94", 0, 1), group("85-89", 1)], [group("90-94", 0), group("85-89", 0)],
        [group("85-89", 2), group("90-94", 0)], [group("90-94", 1, 0)], [group("80-84", 0)],
    ]  # fmt: skip
    assert [each for each in right if not holds(schema, {"groups": each}, GROUPS)] == []
    assert [each for each in wrong if holds(schema, {"groups": each}, GROUPS)] == []


def test_rows_of_cells() -> None:
    rows = {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}
    table = {"type": "object", "properties": {"title": {"type": "string"}, "rows": rows}}
    text = "Item  |  Qty | Price\nNail | 12 | 0.10\nScrew |  | 1.10\n"
    nail, screw = ["Nail", "12", "0.10"], ["Screw", None, "1.10"]
    schema = {"type": "object", "properties": {"rows": rows}}
    for entries in ([], [nail], [nail, screw], [screw]):
        assert holds(schema, {"rows": entries}, text)
    for entries in ([screw, nail], [nail, nail], [["Nail", "12"]], [["Nail", "1.10", "12"]]):
        assert not holds(schema, {"rows": entries}, text)
    several = {"type": "object", "properties": {"tables": {"type": "array", "items": table}}}
    one, two = {"title": "Item", "rows": [nail]}, {"title": "Qty", "rows": [screw]}
    assert holds(several, {"tables": [one, two]}, text)
    assert not holds(several, {"tables": [one, one]}, text)
    named = "tables[]: {title?, columns[], rows[]: {cells[]: as printed}}"
    cells = [{"cells": nail}, {"cells": screw}]
    one = {"title": "Item", "columns": ["Item", "Qty", "Price"], "rows": cells}
    assert holds(named, {"tables": [one]}, text)
    assert holds(named, {"tables": [one | {"rows": cells[:1]}, one | {"rows": cells[1:]}]}, text)
    assert not holds(named, {"tables": [one, one]}, text)
    assert not holds(named, {"tables": [one | {"rows": [{"cells": ["Nail", "12"]}]}]}, text)


def test_entries_lead_back_to_their_rows() -> None:
    decoding, document = make("items[]: {article, amount num}", INVOICE)
    rows = find_rows(document, decoding)["article, amount"]
    entries = [
        {"article": "with a cable", "amount": 1014.0},
        {"article": "Calibration certificate", "amount": None, "paid": True},
        {"article": None, "amount": None},
        {"article": "Shipping", "amount": 12},
        {"article": "nowhere", "amount": 99},
    ]
    assert trace_rows(entries, rows) == [0, 1, None, 2, None]
    assert trace_rows(entries[1:2] * 2, rows) == [1, None]
    assert trace_rows([], rows) == trace_rows([{}], rows)[:0] == []
    (start, end), *_ = rows[1].spans
    assert INVOICE[start:end].startswith("2    Calibration")


def make_rows(count: int) -> tuple[str, list[dict[str, Any]]]:
    lines, entries = [], []
    for at in range(count):
        if at % 50 == 0:
            lines += ["", "Pos   Article                       Qty     Price       Amount"]
        name, price = f"Part {at * 7919 % 10007} of kit {at % 13}", 1 + at % 89
        total = price * (1 + at % 9)
        lines.append(f"{at + 1:<6}{name:<30}{1 + at % 9:>3}{price:>7}.25{total:>10}.50")
        entries.append({"article": name, "qty": 1 + at % 9, "price": price + 0.25,
                        "amount": total + 0.5})  # fmt: skip
    return "\n".join(lines), entries


def test_a_thousand_rows() -> None:
    schema = "items[]: {article, qty int, price num, amount num}"
    text, entries = make_rows(1000)
    decoding, document = make(schema, text)
    grounding = find_candidates(document, decoding)
    ((_, rows),) = grounding.rows
    assert len(rows) == 1000
    constraint = TextConstraint(JsonConstraint(schema=json.dumps(decoding), grounding=grounding))
    for some in (entries, entries[::3], entries[40:100], entries[::90]):
        constraint.reset()
        assert constraint.take(json.dumps({"items": some}))
        assert constraint.complete
    for some in (entries[1::-1], entries[:2] + entries[1:2], entries[900:] + entries[:1]):
        constraint.reset()
        assert not constraint.take(json.dumps({"items": some}))


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 64, 65, 300])
def test_every_row_can_be_the_first_the_next_and_the_last(count: int) -> None:
    text, entries = make_rows(count)
    decoding, document = make("items[]: {article, qty int, amount num}", text)
    grounding = find_candidates(document, decoding)
    constraint = TextConstraint(JsonConstraint(schema=json.dumps(decoding), grounding=grounding))
    short = [{key: row[key] for key in ("article", "qty", "amount")} for row in entries]
    for at in range(min(count, 120)):
        for some in (short[at : at + 2], short[: at + 1]):
            constraint.reset()
            assert constraint.take(json.dumps({"items": some}))
            assert constraint.complete


def test_many_small_tables_and_too_many_rows() -> None:
    """Deep grammars end a process: there is none."""
    schema = "items[]: {article, amount num}"
    text = "\n".join(
        f"\nArticle      {'Amount':>{8 + at % 7}}\nNail {at:<8}{at:>{8 + at % 7}}.25"
        for at in range(900)
    )
    decoding, document = make(schema, text)
    grounding = find_candidates(document, decoding)
    constraint = TextConstraint(JsonConstraint(schema=json.dumps(decoding), grounding=grounding))
    entries = [{"article": f"Nail {at}", "amount": at + 0.25} for at in range(900)]
    assert constraint.take(json.dumps({"items": entries}))
    text = "Article      Amount\n" + "\n".join(f"Nail{at:>8}{at:>6}.25" for at in range(4_200))
    decoding, document = make(schema, text)
    assert not find_candidates(document, decoding).rows


def test_pages_that_are_no_tables_cost_little() -> None:
    for text in (
        "\n".join("  ".join(str(at * line % 97) for at in range(400)) for line in range(200)),
        "  ".join(["a1"] * 100_000),
        "\n".join(f"x   {at}   y" for at in range(10_000)),
    ):
        start = time.process_time()
        find_tables([text])
        assert time.process_time() - start < 5


def test_plain_digits_are_quantities_also_beside_cents() -> None:
    schema = "items[]: {description, quantity amount, unit_price amount, amount amount}"
    rows = [
        {"description": "Pressure sensor PT-100 with a cable", "quantity": "12",
         "unit_price": "84.50", "amount": "1,014.00"},
        {"description": "Calibration certificate", "quantity": "2", "unit_price": "65.00",
         "amount": "130.00"},
    ]  # fmt: skip
    assert holds(schema, {"items": rows}, INVOICE)
    rows[0]["quantity"] = "84.50"
    assert not holds(schema, {"items": rows}, INVOICE)
    rows[0] |= {"quantity": "12", "unit_price": "12"}
    assert not holds(schema, {"items": rows}, INVOICE)


def test_rates_of_tax_are_no_rows_of_goods() -> None:
    schema = "taxes[]: {rate percent, net amount, tax amount}"
    assert holds(schema, {"taxes": [{"rate": "19 %", "net": None, "tax": "219.64"}]}, INVOICE)
    printed = "Rate   Net      VAT     \n7 %    10.00     0.70\n19 %   20.00     3.80\n"
    first = {"rate": "7 %", "net": "10.00", "tax": "0.70"}
    assert holds(schema, {"taxes": [first]}, printed)
    assert not holds(schema, {"taxes": [{**first, "tax": "3.80"}]}, printed)


def test_a_column_called_date_is_no_value_date_where_there_is_a_date() -> None:
    text = "Date         Text        Amount\n01.03.2024   Salary       10.00\n"
    text += "02.03.2024   Rent         20.00\n"
    row = {"date": "01.03.2024", "value_date": None, "description": "Salary", "amount": "10.00"}
    for fields in ("date, value_date", "value_date, date"):
        schema = f"rows[]: {{{fields}, description, amount amount}}"
        ordered = dict(zip(fields.split(", "), map(row.get, fields.split(", ")), strict=True))
        assert holds(schema, {"rows": [{**ordered, **row}]}, text), fields


def test_a_head_that_only_means_the_same_lets_a_value_be_missing() -> None:
    text = "Article    Units    Amount\nSensor        12     84.50\nCable          2     65.00\n"
    entry = {"article": "Sensor", "unit": None, "amount": 84.5}
    schema = "items[]: {article, unit: as printed, amount num}"
    assert holds(schema, {"items": [entry]}, text)
    assert not holds(schema, {"items": [{**entry, "article": None}]}, text)


FRENCH = """Désignation                       Quantité   Prix unitaire     Montant
Table basse                              4        4 000,00   16 000,00
Chaise pliante, hêtre                    2        4 000,00    8 000,00

                    19 % Montant TVA:   4 560,00 €
                    Montant TTC:       28 560,00 €
"""
SPANISH = """Descripción  Cantidad  Precio unitario      Dto.  Total línea
Mesa baja          37           584,48  2.162,58    19.463,18
                    Neto:       19.463,18
                    Total IVA:     973,16
"""


def test_totals_below_a_table_do_not_move_its_heads() -> None:
    table = items_of(FRENCH)
    assert table.heads == ("Désignation", "Quantité", "Prix unitaire", "Montant")
    assert [row.cells[0] for row in table.rows] == ["Table basse", "Chaise pliante, hêtre"]
    assert items_of(SPANISH).heads[2:4] == ("Precio unitario", "Dto.")
    schema = "items[]: {description, quantity num, unit_price amount, amount amount}"
    entry = {"description": "Table basse", "quantity": 4, "unit_price": "4 000,00"}
    assert holds(schema, {"items": [{**entry, "amount": "16 000,00"}]}, FRENCH)


def test_a_column_is_of_a_field_that_can_stand_in_it() -> None:
    """`VAT` is over the rates and over the amounts; `Value date` is a date, and so is `Booked`."""
    rates = "VAT    Net   VAT  Gross\n10%  39.78  3.98  43.76"
    schema = "taxes[]: {rate percent, net amount, tax amount, gross amount}"
    right = {"rate": "10%", "net": "39.78", "tax": "3.98", "gross": "43.76"}
    assert holds(schema, {"taxes": [right]}, rates)
    assert not holds(schema, {"taxes": [{**right, "tax": "10%"}]}, rates)
    booked = (
        "Booked         Value date     Details         Paid out   Money in\n"
        "Mar 16, 2018   Mar 17, 2018   Direct debit                 709.13\n"
        "Mar 22, 2018   Mar 23, 2018   Standing order     18.51\n"
    )
    schema = "transactions[]: {date: date, value_date: date, money_in amount}"
    entry = {"date": "Mar 16, 2018", "value_date": "Mar 17, 2018", "money_in": "709.13"}
    assert holds(schema, {"transactions": [entry]}, booked)


def test_spaces_that_keep_thousands_apart_and_lines_of_times() -> None:
    assert cells("Solde initial: 8 190,83\nNouveau solde: 8 144,46") == [
        [("Solde initial:", "8 190,83"), ("Nouveau solde:", "8 144,46")]
    ]
    bread = "Bread               34.50\n   2 x 17.25\nSalt                 7.51"
    receipt = f"Tea, green          14.50\n   2 x 7.25\n{bread}"
    assert [row.cells[0] for row in items_of(receipt).rows] == ["Tea, green", "Bread", "Salt"]


TILL = """Brook & Son
Date: 3 May 2024     Slip 31.692
******************************
Tea, green          14.50 A
   2 x 7.25
4 Elm                9.20 A
Apples               1.59 B
   0.532 kg x 2.99 EUR/kg
******************************
{total}              25.29
Cash                 30.00
Change                4.71
"""


@pytest.mark.parametrize("total", ("Total", "Net amount", "Zu zahlen:"))
def test_what_a_till_prints_is_rows_of_words_with_an_amount(total: str) -> None:
    schema = "items[]: {description, quantity? amount, unit_price? amount, amount amount}"
    decoding, document = make(schema, TILL.format(total=total))
    tea = {"description": "Tea, green", "quantity": "2", "unit_price": "7.25", "amount": "14.50"}
    elm = {"description": "Elm", "quantity": "4", "unit_price": None, "amount": "9.20"}
    apples = {"description": "Apples", "quantity": "0.532", "unit_price": "2.99", "amount": "1.59"}
    cash = {**elm, "description": "Cash", "quantity": None, "amount": "30.00"}
    mixed = {**tea, "quantity": "4"}
    grounding = find_candidates(document, decoding, every=True)
    check = TextConstraint(JsonConstraint(schema=json.dumps(decoding), grounding=grounding))
    for entries, right in (
        ([tea, elm, apples], True), ([elm, tea], False), ([tea, elm, elm], False),
        ([mixed], False), ([tea, elm, apples, cash], False),
        ([tea, elm], total == "Zu zahlen:"),  # else the total is known, and with it the last row
    ):  # fmt: skip
        check.reset()
        taken = check.take(json.dumps({"items": entries})) and check.complete
        assert taken is right, entries


def test_one_amount_behind_words_is_no_row_where_it_is_not_sure() -> None:
    schema = "items[]: {description, quantity? amount, amount amount}"
    cash = {"description": "Cash", "quantity": None, "amount": "30.00"}
    for text in (
        "Cash 30.00\nChange 4.71",  # nothing but what is paid
        "Tea  14.50\nTotal 14.50\nCash  30.00",  # one row alone
        "Tea  14.50\nElm   9.20\n\n30.00 Cash",  # no total
    ):
        assert holds(schema, {"items": [cash]}, text), text


def test_each_line_that_a_rule_asks_for_is_an_entry() -> None:
    """Where every line is wanted, none of one table can be left out, but for what may be none."""
    text = INVOICE.replace("     Shipping        ", "3    Shipping   1  12.00")
    schema = "items[]: {article, qty int, amount num}"
    source = parse_schema(schema).source
    assert wants_every(source, [("items", "one entry for each line")])
    for some in ("each line above 100.00", "all over EUR 50", "every one under the limit"):
        assert not wants_every(source, [("items", some)])
    for name in ("invoice", "receipt", "bank-statement"):
        recipe = load_recipe(name)
        rules = [(rule.field, rule.text) for rule in recipe.rules]
        assert wants_every(recipe.asked.source, rules), name
    assert not wants_every(source, [("", "each line")]) and not wants_every(source, [])
    two = parse_schema(f"{schema}, notes[]: {{page int, text}}").source
    assert not wants_every(two, [("items", "each line")])  # nothing is said of the notes
    decoding, document = make(schema, text)
    grounding = find_candidates(document, decoding, every=True)
    check = TextConstraint(JsonConstraint(schema=json.dumps(decoding), grounding=grounding))
    one = {"article": "Pressure sensor PT-100", "qty": 12, "amount": 1014}
    two = {"article": "Calibration certificate", "qty": 2, "amount": 130}
    for entries, right in (([one, two], True), ([], True), ([one], False), ([two], False)):
        check.reset()
        taken = check.take(json.dumps({"items": entries})) and check.complete
        assert taken is right, entries


def test_marks_that_lead_to_a_value_are_no_part_of_it() -> None:
    text = "Invoice no. ..... 2030-536705\nOrder - 91/81/46\nNet -46.37 of .net\nVAT no.: 60/97"
    for right, wrong in (
        ("2030-536705", "..... 2030-536705"),
        ("91/81/46", "- 91/81/46"),
        ("60/97", ".: 60/97"),
    ):
        assert holds("number", {"number": right}, text)
        assert not holds("number", {"number": wrong}, text)
    assert holds("a, b", {"a": "-46.37", "b": ".net"}, text)
    assert holds("flag", {"flag": "--ctx 8192"}, "use --ctx 8192 and __init__")


def test_the_end_of_an_amount_with_spaces_is_no_amount() -> None:
    columns = "Total TTC        8 515,29 EUR\nTVA                405,49 EUR"
    assert holds("total amount", {"total": "8 515,29"}, columns)
    assert not holds("total amount", {"total": "515,29"}, columns)
    assert holds("total amount", {"total": "515,29"}, "8 515,29")  # eight of them, for all we know


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("Acme\nDesk 1\nTotal 9.50", {"pattern": "^[a-f\\d-]{36}$"}),
        ("Acme\nDesk 1\nTotal 9.50", {"minLength": 100}),
        ("Desk and lamp for Acme\n" * 200, {"pattern": "^[a-f\\d-]{36}$"}),
    ],
)
def test_what_no_words_can_be_is_null(text: str, limit: dict[str, Any]) -> None:
    """A string that no printed words fit is not begun: behind its quote there would be no way."""
    schema = {"type": "object", "properties": {"zone": {"type": "string", **limit}}}
    decoding, document = make(schema, text)
    grounding = find_candidates(document, decoding)
    check = TextConstraint(JsonConstraint(schema=json.dumps(decoding), grounding=grounding))
    assert not check.take('{"zone": "')
    check.reset()
    assert check.take('{"zone": null}') and check.complete
