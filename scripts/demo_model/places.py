"""Documents as PDFs of which it is known where each value stands: to measure evidence by.

The business documents of ``documents.py`` are drawn twice from one seed, the second time with
other letters and digits in one value: where the two differ, that value stands. Invoices with a
table are written here, row by row; their quantities, amounts and page numbers repeat each other.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from demo_model import documents, pdf, words
from demo_model.facts import NUMBERS, Facts, random_facts
from demo_model.words import chance

Path_ = tuple[str | int, ...]
_FIELDS = ("vendor", "customer", "invoice_number", "date", "due_date", "total", "tax", "po_number")
_ROWS_A_PAGE = 34


@dataclass(frozen=True)
class Spot:
    """Characters of one line: page and row from 0, column from 0."""

    page: int
    row: int
    column: int
    length: int


@dataclass(frozen=True)
class Placed:
    """A document's pages of lines, its data, and for each leaf all the spots where it stands."""

    pages: list[list[str]]
    data: Any
    spots: dict[Path_, list[Spot]]

    def box(self, spot: Spot) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a spot in points, as ``pdf.content`` draws it."""
        lines = self.pages[spot.page]
        longest = max(max(map(len, lines)), 1)
        size = min(10.0, (pdf.PAGE[0] - 2 * pdf.MARGIN) / (0.6 * longest))
        leading = min(1.4 * size, (pdf.PAGE[1] - 2 * pdf.MARGIN) / max(len(lines), 1))
        left = pdf.MARGIN + 0.6 * size * spot.column
        base = pdf.MARGIN + leading * spot.row
        return left, base - size, left + 0.6 * size * spot.length, base + 0.3 * size

    def write(self, path: Path) -> None:
        """The document as a PDF, one page for each of ``pages``."""
        font = b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>"
        count = len(self.pages)
        kids = b" ".join(b"%d 0 R" % (5 + 2 * number) for number in range(count))
        objects = [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, count),
            font % b"Courier",
            font % b"Courier-Bold",
        ]
        for number, lines in enumerate(self.pages):
            drawing = pdf.content(lines, pdf.Look())
            objects += [
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R /Resources "
                b"<< /Font << /F1 3 0 R /F2 4 0 R >> >> >>" % (*pdf.PAGE, 6 + 2 * number),
                b"<< /Length %d >>\nstream\n" % len(drawing) + drawing + b"\nendstream",
            ]
        path.write_bytes(pdf.assembled([*objects, b"<< /Producer (gemma-edge) >>"]))


def business(rng: Random, size: int) -> Placed:
    """An invoice, bill, receipt or letter of ``documents.py`` with the spots of its fields."""
    facts = random_facts(rng)
    layout = rng.choices([f for f, _ in documents.LAYOUTS], [w for _, w in documents.LAYOUTS])[0]
    seed = rng.random()

    def draw(drawn: Facts) -> list[str]:
        return [line.rstrip() for line in layout(Random(seed), drawn, size)]

    shown = deepcopy(facts)
    lines = draw(shown)
    data: dict[str, Any] = {}
    spots: dict[Path_, list[Spot]] = {}
    for field in _FIELDS:
        value = shown.values[field]
        if value is None or not _is_drawn(value):
            continue
        changed = deepcopy(facts)
        changed.values[field] = "".join(map(_other, value))
        found = _differences(lines, draw(changed), value if field not in NUMBERS else "")
        if found:
            data[field] = float(value) if field in NUMBERS else value
            spots[(field,)] = found
    return Placed([lines], data, spots)


def _is_drawn(text: str) -> bool:
    """Whether a PDF in WinAnsi encoding can show it."""
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return any(map(str.isalnum, text))


def _other(char: str) -> str:
    """Another character of the same width and kind."""
    if char.isdigit():
        return "123456789"[int(char) % 9] if char != "0" else "0"
    if char.isascii() and char.isalpha():
        return ("N" if char != "N" else "M") if char.isupper() else ("n" if char != "n" else "m")
    return char


def _differences(one: list[str], other: list[str], value: str) -> list[Spot]:
    """Where two drawings differ: the whole value around it, or the run of digits."""
    found = []
    for row, (line, changed) in enumerate(zip(one, other, strict=True)):
        at = 0
        while at < min(len(line), len(changed)):
            if line[at] == changed[at]:
                at += 1
                continue
            start, end = at, at + 1
            if value:
                start = max(line.rfind(value, 0, at + len(value)), 0)
                end = start + len(value)
            else:
                while start and (line[start - 1].isdigit() or line[start - 1] in ".,"):
                    start -= 1
                while end < len(line) and (line[end].isdigit() or line[end] in ".,"):
                    end += 1
            found.append(Spot(0, row, start, end - start))
            at = max(end, at + 1)
    return found


class _Writer:
    """Lines and the spots of the values in them."""

    def __init__(self) -> None:
        self.pages: list[list[str]] = [[]]
        self.spots: dict[Path_, list[Spot]] = {}

    def line(self, *parts: tuple[int, str, Path_ | None]) -> None:
        """A line of ``(column, text, path of the value or None)``."""
        text = ""
        for column, shown, path in parts:
            text = text.ljust(column) + shown
            if path is not None:
                spot = Spot(len(self.pages) - 1, len(self.pages[-1]), column, len(shown))
                self.spots.setdefault(path, []).append(spot)
        self.pages[-1].append(text)


def invoice(rng: Random) -> Placed:
    """One to three pages with a table: small quantities, prices that repeat, a subtotal that is
    often the total, and page numbers."""
    count = rng.choice((2, 3, 5, 8, 14, 40, 70))
    prices = [words.amount(rng) for _ in range(max(2, count // 3))]
    items = [_item(rng, rng.choice(prices)) for _ in range(count)]
    subtotal = round(sum(item["amount"] for item in items), 2)
    tax = 0.0 if chance(rng, 0.5) else round(0.19 * subtotal, 2)
    grouped = "," if chance(rng, 0.5) else ""
    data: dict[str, Any] = {
        "vendor": words.company(rng), "invoice_number": words.reference(rng),
        "date": words.date(rng, words.date_style(rng)), "items": items, "subtotal": subtotal,
        "tax": tax, "total": round(subtotal + tax, 2),
    }  # fmt: skip
    out = _Writer()
    for field, label in (("vendor", "From"), ("invoice_number", "Invoice no."), ("date", "Date")):
        out.line((0, f"{label}:", None), (14, data[field], (field,)))
    out.line()
    _table(rng, out, items, grouped)
    out.line()
    for field, label in (("subtotal", "Subtotal"), ("tax", "Tax"), ("total", "Total due")):
        text = f"{data[field]:{grouped}.2f}"
        out.line((28, label, None), (68 - len(text), text, (field,)))
    for number, page in enumerate(out.pages, 1):
        page.append("")
        page.append(" " * 40 + f"Page {number} of {len(out.pages)}")
    drawn = {field: value for field, value in data.items() if _is_drawn(str(value))}
    spots = {path: found for path, found in out.spots.items() if path[0] in drawn}
    return Placed(out.pages, drawn, spots)


def statement(rng: Random) -> Placed:
    """A bank statement of one to three pages: dates, texts and amounts that repeat, a balance that
    may be one of them, no value in one of two columns, the same head on every page."""
    out = _Writer()
    texts = [words.company(rng).encode("ascii", "ignore").decode()[:26].strip() for _ in range(4)]
    texts += ["Card payment", "Card payment", "Transfer"]
    amounts = [words.amount(rng) % 5000 // 1 / 4 + 1 for _ in range(5)]
    rows: list[dict[str, Any]] = []
    balance, day = 5000.0, 1
    for number in range(rng.choice((4, 9, 30, 80))):
        if number % _ROWS_A_PAGE == 0:
            if number:
                out.pages.append([])
            out.line((0, "Statement 2024-03", None), (60, f"Page {len(out.pages)}", None))
            out.line((0, "Date", None), (12, "Text", None), (47, "Debit", None),
                     (58, "Credit", None), (70, "Balance", None))  # fmt: skip
        amount, paid = rng.choice(amounts), chance(rng, 0.6)
        day = min(28, day + chance(rng, 0.4))
        balance = round(balance + (-amount if paid else amount), 2)
        row: dict[str, Any] = {
            "date": f"2024-03-{day:02}", "text": rng.choice(texts) or "Transfer",
            "debit": amount if paid else None, "credit": None if paid else amount,
            "balance": balance,
        }  # fmt: skip
        shown = f"{amount:,.2f}", f"{balance:,.2f}"
        place: Path_ = ("rows", number)
        out.line(
            (0, f"{day:02}.03.2024", (*place, "date")),
            (12, row["text"], (*place, "text")),
            (
                (52 if paid else 64) - len(shown[0]),
                shown[0],
                (*place, "debit" if paid else "credit"),
            ),
            (77 - len(shown[1]), shown[1], (*place, "balance")),
        )
        rows.append(row)
    return Placed(out.pages, {"rows": rows}, out.spots)


def blocks(rng: Random) -> Placed:
    """Records of several lines each, a label before each value, the fields in one order for the
    whole document, some missing; years and places repeat."""
    out = _Writer()
    fields = ["title", "employer", "city", "from", "to"]
    rng.shuffle(fields)
    cities, titles = ["Rome", "Oslo", "Bonn"], ["Engineer", "Clerk", "Senior engineer"]
    people: list[dict[str, Any]] = []
    for number in range(rng.choice((2, 4, 7))):
        year = rng.randint(1990, 2020)
        record: dict[str, Any] = {
            "title": rng.choice(titles), "city": rng.choice(cities), "from": year,
            "employer": words.company(rng).encode("ascii", "ignore").decode().strip() or "Acme",
            "to": year + rng.choice((0, 1, 1, 2)),
        }  # fmt: skip
        for field in fields:
            if chance(rng, 0.15):
                record[field] = None
                continue
            path: Path_ = ("work", number, field)
            out.line((2, f"{field.capitalize()}:", None), (14, str(record[field]), path))
        out.line()
        people.append(record)
    return Placed(out.pages, {"work": people}, out.spots)


def _item(rng: Random, price: float) -> dict[str, Any]:
    quantity = rng.choice((1, 1, 2, 2, 3, 4, 10))
    name = " ".join(filter(str.isascii, (words.word(rng) for _ in range(rng.choice((1, 2, 3))))))
    return {
        "description": name.capitalize() or "Item",
        "quantity": quantity,
        "price": price,
        "amount": round(quantity * price, 2),
    }


def _table(rng: Random, out: _Writer, items: list[dict[str, Any]], grouped: str) -> None:
    numbered = chance(rng, 0.5)
    heads = ((0, "Pos", None), (5, "Description", None), (38, "Qty", None))
    for number, item in enumerate(items):
        if number % _ROWS_A_PAGE == 0:
            if number:
                out.pages.append([])
            out.line(*(heads if numbered else heads[1:]), (47, "Price", None), (62, "Amount", None))
        price, amount = f"{item['price']:{grouped}.2f}", f"{item['amount']:{grouped}.2f}"
        parts: list[tuple[int, str, Path_ | None]] = [
            (5, item["description"][:30], ("items", number, "description")),
            (40, str(item["quantity"]), ("items", number, "quantity")),
            (52 - len(price), price, ("items", number, "price")),
            (68 - len(amount), amount, ("items", number, "amount")),
        ]
        item["description"] = item["description"][:30].strip()
        out.line(*([(0, str(number + 1), None)] if numbered else []), *parts)
