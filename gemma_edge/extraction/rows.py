"""The rows of the tables of a document's text, and which column a field of an entry is. Pure.

Text keeps its columns apart by runs of spaces, or by ``|`` where it comes from cells. Lines whose
cells begin, end or stand in the middle of the same columns are a table. A row is a line of it with
those that go on with it: lines whose cells stand in other columns, and lines of words alone. What
is not certain is no table: a list whose rows are wrong is worse than one that is free.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any, NamedTuple

from gemma_edge.extraction.values import Habits, read_number

_CELL = re.compile(r"\S+(?: \S+)*")
_PIPE = re.compile(r"(?:(?<!\s)\s+)?\|\s*")
_PIPED = re.compile(r"\S\s*\|(?:\s|$)|^\s*\|\s")
_RULE = re.compile(r"[\s|:+_=.*~#\u2010-\u2015\u2500-\u257f-]*")  # a line that is only drawn
_OPEN = re.compile(r"[(\[<]|[^\w\s]{0,2}[$€£¥₹%][^\w\s]{0,2}")
_DASHES = re.compile(r"[\s()*]*[-\u2010-\u2015\u2212]+[\s()*]*")
_NUMBER_WORD = re.compile(r"[^\w\s]{0,2}\d[\d.,'’]*[^\w\s]{0,2}")
_TIMES = re.compile(  # "2 x 7.25", "0,532 kg x 2,99 €/kg", "3 @ $1.20 each"
    r"\s*\d[\d.,]*\s?(?:[^\W\d]{1,5}\.?\s)?\s?[xX×*@à]\s?(?:[A-Z]{3}\s?|[^\w\s]\s?)?\d[\d.,]*"
    r"(?:\s?(?:[^\w\s]|[A-Z]{3}))?(?:\s?/?\s?[^\W\d]{1,5}\.?)?\s*"
)
_AMOUNT = re.compile(r"\d[.,]\d{2}(?!\d)|\d[.,]\d{3}(?!\d)")
_CALLED = re.compile(r"[^\W\d_]{2}")  # letters of a name
_WORD = re.compile(r"[^\W\d_]+|#")
_TOTAL = re.compile(
    r"\W*(?:\d{1,2}(?:[.,]\d+)?\s*%\W*)?"
    r"(?:(?:grand|sub|net|order|invoice|page|amount|balance|sum|montant|importe)[\s-]*)?"
    r"(?:sub-?total|totale?s?|total\w*|sum|summe|zwischensumme|gesamt(?:betrag|summe|preis)?|suma"
    r"|razem|totaal|subtotaal|(?:end|rechnungs)betrag|übertrag|carried|brought|due"
    r"|sous-total|montant (?:tva|ttc|ht)|(?:net )?à payer|base imponible|cuota iva)\b",
    re.IGNORECASE,
)
# What follows a total, and is no row there.
_PAID = re.compile(
    r"\W*(?:cash|change|round\w*|discount|payment|paid|tender\w*|card|visa|mastercard|ec|tax|vat|gst"
    r"|mwst|ust|tva|iva|net|bar|rückgeld|gegeben|rabatt|skonto|deposit|balance|previous|qty|items?"
    r"|credit|debit)\b",
    re.IGNORECASE,
)
# What is charged or carried forward beside what was bought.
_BESIDE = re.compile(
    r"\W*(?:shipping|freight|postage|delivery|handling|carriage|surcharge|fee|versand|porto|fracht"
    r"|liefer\w*|zuschlag|gebühr|pfand|livraison|frais|port|transport|envío|envio|gastos|portes"
    r"|spedizione|trasporto|verzend\w*|opening|closing|anfangs\w*|end\w*|alter|neuer|ancien|nouveau"
    r"|solde|saldo)\b",
    re.IGNORECASE,
)
_PIPE_WIDTH = 1000  # of a column of cells
_NEAR = 2  # characters by which the edges of one column may differ
_APART = 6  # lines between two rows of one table
_ALSO = 3  # lines that a row may go on in, and those of a head
_HEAD_ABOVE = 8  # lines above a table in which a head that stands apart is sought
_LEAST_ROWS = 2
_LAST = 3  # rows at the end of a table without a head that an answer may leave out
_MOST_CELLS = 40  # of a line whose columns are told by spaces
_MOST_PIPED = 200  # of one with signs between its cells; longer ones are no rows that are read
_DIGITS = 0.4  # of the letters and digits of a cell that is a value
_SHORT = 12  # characters of a number with its unit
_LONG = 40  # characters of the longest value
_TELLS = 0.3  # how alike a name and the words of a head are
_MARK = 5  # letters of a word beside numbers that says no more than what they are
_PREFIX = 4  # letters with which one word stands for another

# What names and heads of tables say for the same column.
_SAME = (
    "description desc beschreibung bezeichnung article artikel item items product produkt leistung"
    " designation désignation descripción concepto descrizione omschrijving opis particulars"
    " details text buchungstext verwendungszweck memo narrative service",
    "quantity qty menge anzahl qté quantité cantidad cant quantità aantal ilość pieces stück",
    "price rate preis einzelpreis prix precio prezzo prijs cena cost ep p pu",
    "amount total betrag gesamt gesamtpreis summe montant importe importo bedrag kwota wartość"
    " sum totale subtotal",
    "date datum fecha data buchungstag booked",
    "vat tax mwst ust tva iva btw gst",
    "number no nr num pos position # rank rang platz",
    "debit soll withdrawal withdrawals withdrawn out",
    "credit haben deposit deposits deposited in",
    "balance saldo solde",
    "time zeit temps result",
    "team club verein",
    "name names nom nombre nome naam",
)  # fmt: skip
_MEANS: Mapping[str, str] = {
    word: group.split()[0] for group in _SAME for word in group.split()
}  # fmt: skip
_NO_HABITS = Habits()
_FILLS = frozenset(("line", "of", "the", "per", "a", "and", "value", "printed", "each", "this"))


class Cell(NamedTuple):
    left: float
    right: float
    text: str


class Row(NamedTuple):
    """``page`` counts the texts from 0, ``spans`` are the places of its lines in that text.
    ``cells`` are its texts by column, "" where there is none; ``text`` is all of it, with how many
    at which price below, and lines around it that may be of the next row as well."""

    page: int
    spans: tuple[tuple[int, int], ...]
    cells: tuple[str, ...]
    text: str


class Table(NamedTuple):
    """``heads`` are the words over each column, "" where there are none; ``below`` is the line that
    follows its last row."""

    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    below: str = ""


class Field(NamedTuple):
    """A copied value of an entry: where it stands in it (``price.amount``), its title, and whether
    it is a number, a date or another value with digits, and an amount. ``rule`` is what it is held
    to."""

    path: str
    title: str = ""
    is_value: bool = False
    is_amount: bool = False
    rule: str = ""


@dataclass(slots=True)
class _Column:
    """``left``, ``right`` and ``middle`` are edges that all cells so far share; None where they do
    not. ``first`` and ``last`` are its outermost characters."""

    left: float | None
    right: float | None
    middle: float | None
    first: float
    last: float
    values: int = 0

    @classmethod
    def of(cls, cell: Cell) -> "_Column":
        column = cls(cell.left, cell.right, (cell.left + cell.right) / 2, cell.left, cell.right)
        column.values += _is_value(cell.text)
        return column

    def far(self, cell: Cell) -> float:
        """How far a cell is from the edges that it should share."""
        edges = (
            (self.left, cell.left), (self.right, cell.right),
            (self.middle, (cell.left + cell.right) / 2),
        )  # fmt: skip
        return min((abs(a - b) for a, b in edges if a is not None), default=_PIPE_WIDTH)

    def add(self, cell: Cell) -> None:
        middle = (cell.left + cell.right) / 2
        self.left = self.left if _is_near(self.left, cell.left) else None
        self.right = self.right if _is_near(self.right, cell.right) else None
        self.middle = self.middle if _is_near(self.middle, middle) else None
        self.first, self.last = min(self.first, cell.left), max(self.last, cell.right)
        self.values += _is_value(cell.text)

    def overlap(self, cell: Cell) -> float:
        return min(self.last, cell.right) - max(self.first, cell.left)


def _is_near(edge: float | None, other: float) -> bool:
    return edge is not None and abs(edge - other) <= _NEAR


@dataclass(slots=True)
class _Draft:
    """A table in the making: its columns, and by line the cells in each of them. ``places`` tells
    the columns by their left edges, where signs stand between all cells."""

    columns: list[_Column] = field(default_factory=list)
    places: dict[float | None, int] = field(default_factory=dict)
    lines: dict[int, dict[int, Cell]] = field(default_factory=dict)
    first: int = -1
    last: int = -1
    has_head: bool = False

    def match(self, cells: Sequence[Cell]) -> dict[int, Cell]:
        """The cells by the column that each is in; those in none are left out. Where one shares an
        edge with its column, others need only stand over theirs."""
        found: dict[int, Cell] = {}
        if _is_piped(cells):
            places = {column.left: at for at, column in enumerate(self.columns)}
            return {places[cell.left]: cell for cell in cells if cell.left in places}
        for cell in cells:
            free = [at for at in range(len(self.columns)) if at not in found]
            best = min(free, key=lambda at: self.columns[at].far(cell), default=None)
            if best is not None and self.columns[best].far(cell) <= _NEAR:
                found[best] = cell
        known = {id(cell) for cell in found.values()}
        over = {
            at: cell
            for cell in cells
            if id(cell) not in known and (at := self._only_over(cell)) is not None
            if at not in found
        }
        all_are = len(over) == len(cells) == len(self.columns) > _LEAST_ROWS
        return {**found, **over} if found or all_are else {}

    def _only_over(self, cell: Cell) -> int | None:
        """The one column of its kind that a cell stands over."""
        over = [at for at, column in enumerate(self.columns) if column.overlap(cell) > 0]
        alike = [at for at in over if bool(self.columns[at].values) == _is_value(cell.text)]
        return alike[0] if len(over) == len(alike) == 1 else None

    def take(self, line: int, cells: Sequence[Cell], matched: Mapping[int, Cell]) -> None:
        self.first = line if self.first < 0 else self.first
        self.last = line
        here = dict(matched)
        known = {id(cell) for cell in matched.values()}
        for at, cell in matched.items():
            self.columns[at].add(cell)
        for cell in cells:
            if id(cell) not in known:
                here[len(self.columns)] = cell
                self.columns.append(_Column.of(cell))
        self.lines[line] = here

    def first_words(self, lines: Sequence[int]) -> str:
        """The first cell of words in these lines, "" where there is none."""
        cells = chain.from_iterable(sorted(self.lines[line].items()) for line in lines)
        return next((cell.text for _, cell in cells if not _is_value(cell.text)), "")

    def order(self) -> None:
        """The columns from left to right."""
        order = sorted(
            range(len(self.columns)),
            key=lambda at: (self.columns[at].first + self.columns[at].last, at),
        )
        place = {old: new for new, old in enumerate(order)}
        self.columns = [self.columns[at] for at in order]
        self.lines = {
            line: {place[at]: cell for at, cell in cells.items()}
            for line, cells in self.lines.items()
        }


def find_tables(texts: Sequence[str]) -> list[Table]:
    """The tables of each text, a page, in their order. One that goes on from the page before has
    its head, where it has none of its own."""
    found: list[Table] = []
    before: tuple[_Draft, tuple[str, ...]] | None = None
    for number, text in enumerate(texts):
        page = _PageLines(text)
        for draft in _drafts(page):
            heads, first = _heads(draft, page)
            draft.has_head = any(heads)
            if not any(heads) and before is not None:
                heads = _carried(draft, *before)
            if any(heads):
                before = (draft, heads)
            rows = tuple(_rows(draft, page, number, first))
            if rows:
                found.append(Table(heads, rows, page.below(rows[-1])))
    return found


class _PageLines:
    """The lines of a page, where each begins, and its cells."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.cells = list(map(_cells, self.lines))

    def span(self, line: int) -> tuple[int, int]:
        text = self.lines[line]
        start = self.starts[line]
        return start + len(text) - len(text.lstrip()), start + len(text.rstrip())

    def below(self, row: Row) -> str:
        """The first line below a row that is not only drawn, "" where there is none near."""
        lines = self.text[row.spans[-1][1] :].split("\n", _APART)[1:_APART]
        return next((line.strip() for line in lines if not _RULE.fullmatch(line)), "")

    def is_words(self, line: int) -> bool:
        """Whether a line is one cell without a number for a value."""
        cells = self.cells[line]
        return len(cells) == 1 and not _is_value(cells[0].text)


def _cells(line: str) -> tuple[Cell, ...]:
    if _RULE.fullmatch(line):
        return ()
    if _PIPED.search(line):
        parts = _PIPE.split(line.strip().strip("|").strip())
        if len(parts) > _MOST_PIPED:
            return ()
        return tuple(
            Cell(at * _PIPE_WIDTH, at * _PIPE_WIDTH + 1, part)
            for at, part in enumerate(parts)
            if part
        )
    found: list[Cell] = []
    for each in _CELL.finditer(line.expandtabs(8).replace("\u00a0", " ")):
        cell = Cell(each.start(), each.end(), each[0])
        if found and _OPEN.fullmatch(found[-1].text) and _is_value(cell.text):
            cell = Cell(found[-1].left, cell.right, f"{found.pop().text} {cell.text}")
        found.append(cell)
    if len(found) > _MOST_CELLS:  # no table that a person reads
        return ()
    return tuple(found) if len(found) > 1 else _by_numbers(line) or tuple(found)


def _by_numbers(line: str) -> tuple[Cell, ...]:
    """Cells of a line that keeps no columns apart: the numbers with which it ends, counted from
    its end, and what stands before them."""
    words = line.split()
    numbers: list[str] = []
    while words and _NUMBER_WORD.fullmatch(words[-1]):
        numbers.append(words.pop())
    if not words or not any(map(_AMOUNT.search, numbers)) or _TIMES.fullmatch(line):
        return ()
    if words[-1].endswith(":"):  # a number of which spaces keep the thousands apart
        numbers = [" ".join(reversed(numbers))]
    end = len(numbers) * _PIPE_WIDTH
    head = Cell(-1, 0, " ".join(words))
    return (head, *(Cell(end - at * _PIPE_WIDTH, end - at * _PIPE_WIDTH + 1, number)
                    for at, number in reversed(list(enumerate(numbers)))))  # fmt: skip


def _is_value(text: str) -> bool:
    """Whether a cell is a number, a date, a time, a code, a number with its unit, or the dash that
    stands for one."""
    digits = sum(map(str.isdigit, text))
    if not digits or len(text) > _LONG:
        return _DASHES.fullmatch(text) is not None
    known = sum(map(str.isalnum, text))
    return digits >= _DIGITS * known or (text[0].isdigit() and len(text) <= _SHORT)


def _drafts(page: _PageLines) -> list[_Draft]:
    """The tables of a page as lines, from above: those with values, and of the lines that are in
    none of them those of words alone."""
    drafts = _grown(page, range(len(page.lines)))
    inside = {line for draft in drafts for line in range(draft.first, draft.last + 1)}
    rest = [line for line in range(len(page.lines)) if line not in inside]
    drafts += _grown(page, rest, words=True)
    for draft in drafts:
        draft.order()
        _split(draft)
        _settle(draft)
    return sorted(drafts, key=lambda draft: draft.first)


def _grown(page: _PageLines, lines: Iterable[int], *, words: bool = False) -> list[_Draft]:
    done: list[_Draft] = []
    near: list[_Draft] = []
    for line in lines:
        cells = page.cells[line]
        if not words and _ends_tables(page, near, line):
            done += near
            near = []
        done += [draft for draft in near if line - draft.last > _APART]
        near = [draft for draft in near if line - draft.last <= _APART]
        values = any(_is_value(cell.text) for cell in cells)
        if len(cells) > 1:
            _place(near, line, cells, begins=values != words or _is_piped(cells))
        elif cells:
            _place_alone(near, line, cells[0])
    return [draft for draft in _joined([*done, *near]) if len(draft.columns) > 1]


def _ends_tables(page: _PageLines, near: Sequence[_Draft], line: int) -> bool:
    """Whether a line is the head of the next table: words over several columns that stand apart
    from the rows above, or that follow rows without a head."""
    cells = page.cells[line]
    apart = all(line - draft.last > 1 for draft in near)
    if _is_piped(cells):
        return apart
    if len(cells) <= _LEAST_ROWS or any(_is_value(cell.text) for cell in cells):
        return False
    return apart or not any(_lines_above(draft, page, draft.first) for draft in near)


def _is_piped(cells: Sequence[Cell]) -> bool:
    return len(cells) > 1 and cells[-1].left >= _PIPE_WIDTH and cells[0].left >= 0


def _place(near: list[_Draft], line: int, cells: tuple[Cell, ...], *, begins: bool) -> None:
    """Add a line to the table that most of its cells are in, or begin one with it."""
    matched = [(draft.match(cells), draft) for draft in near]
    found, draft = max(matched, key=lambda each: len(each[0]), default=({}, None))
    if draft is not None and len(found) * 2 >= len(cells) and len(found) >= _LEAST_ROWS:
        draft.take(line, cells, found)
    elif begins:
        draft = _Draft()
        draft.take(line, cells, {})
        near.append(draft)


def _place_alone(near: list[_Draft], line: int, cell: Cell) -> None:
    """A value that stands alone goes on with the row above it; among rows of cells what stands
    alone is one whose other cells are empty."""
    if _TIMES.fullmatch(cell.text):  # how many at which price: no row
        return
    for draft in near:
        if line - draft.last != 1:
            continue
        if _is_piped([*draft.lines[draft.last].values()]):
            cell = Cell(0, 1, cell.text)
        elif not _is_value(cell.text):
            continue
        if found := draft.match([cell]):
            at = next(iter(found))
            if draft.columns[at].left == 0 or (
                at not in draft.lines[draft.last] and draft.columns[at].values
            ):
                draft.take(line, [cell], found)
                return


def _joined(drafts: list[_Draft]) -> list[_Draft]:
    """Tables whose lines stand between each other's are one: its rows have two lines, and begin
    with the first column."""
    found: list[_Draft] = []
    owners: dict[int, _Draft] = {}  # of each line
    for draft in sorted(drafts, key=lambda each: min(column.first for column in each.columns)):
        other = owners.get(max(draft.lines) - 1)
        if other is None or not _are_between(other, draft):
            found.append(draft)
            owners |= dict.fromkeys(draft.lines, draft)
            continue
        shift = len(other.columns)
        other.columns += draft.columns
        other.last = max(other.last, draft.last)
        for line, cells in draft.lines.items():
            if line > other.first:  # else it is of the head
                other.lines[line] = {at + shift: cell for at, cell in cells.items()}
                owners[line] = other
    return found


def _are_between(one: _Draft, other: _Draft) -> bool:
    """Whether each line of the second stands right below a line of the first."""
    lines = [line for line in other.lines if line > one.first]
    return len(lines) >= _LEAST_ROWS and all(line - 1 in one.lines for line in lines)


def _split(draft: _Draft) -> None:
    """A text that leaves no room before the number in the next column ends before it."""
    for cells in draft.lines.values():
        for at, cell in list(cells.items()):
            words, _, last = cell.text.rpartition(" ")
            if not words or not _is_value(last):
                continue
            for beside in range(at + 1, len(draft.columns)):
                column = draft.columns[beside]
                if beside not in cells and column.values and _is_near(column.right, cell.right):
                    cells[at] = Cell(cell.left, cell.right - len(last) - 1, words)
                    cells[beside] = Cell(cell.right - len(last), cell.right, last)


def _settle(draft: _Draft) -> None:
    """Edges of the columns by the lines that fill most of them: a total that stands below with an
    edge in common says nothing of where the head of a column is."""
    full = [cells for cells in draft.lines.values() if 2 * len(cells) > len(draft.columns)]
    for at, column in enumerate(draft.columns):
        cells = [cells[at] for cells in full if at in cells]
        if cells:
            fresh = _Column.of(cells[0])
            for cell in cells[1:]:
                fresh.add(cell)
            fresh.values = column.values
            draft.columns[at] = fresh
    lines = [[*cells.values()] for cells in draft.lines.values()]
    if all(_is_piped(cells) for cells in lines if len(cells) > 1):
        draft.places = {column.left: at for at, column in enumerate(draft.columns)}


# ----------------------------------------------------------------------------
# Heads.


def _heads(draft: _Draft, page: _PageLines) -> tuple[tuple[str, ...], int]:
    """The words over each column, and the line where the rows begin."""
    lines = sorted(draft.lines)
    has_values = any(column.values for column in draft.columns)
    inside = 0 if has_values else 1  # lines of the table itself that are its head
    most = 1 if _is_piped(page.cells[lines[0]]) else _ALSO
    while has_values and inside < min(most, len(lines) - 1) and _is_head(page.cells[lines[inside]]):
        inside += 1
    start = lines[inside] if inside < len(lines) else lines[-1] + 1
    above = _lines_above(draft, page, lines[0])
    if not inside and not above:
        above = _line_apart(draft, page, lines[0])
    words: list[list[str]] = [[] for _ in draft.columns]
    for line in sorted([*above, *range(lines[0], start)]):
        for cell in page.cells[line]:
            for at, text in _over(draft, cell):
                words[at].append(text)
    return tuple(map(" ".join, words)), start


_YEAR = re.compile(r"(?:19|20)\d\d")


def _is_head(cells: Sequence[Cell]) -> bool:
    """Whether a line has no values but years."""
    return not any(_is_value(cell.text) and not _YEAR.fullmatch(cell.text) for cell in cells)


def _lines_above(draft: _Draft, page: _PageLines, first: int) -> list[int]:
    found: list[int] = []
    for line in range(first - 1, max(-1, first - 1 - _ALSO - 1), -1):
        cells = page.cells[line]
        if not page.lines[line].strip() and not found:
            continue
        if _RULE.fullmatch(page.lines[line]) and page.lines[line].strip():
            continue
        if not _is_head_line(draft, cells, above=bool(found)):
            break
        found.append(line)
        if len(found) == _ALSO:
            break
    wide = [line for line in found if len(page.cells[line]) > 1]
    return found if wide else []


def _line_apart(draft: _Draft, page: _PageLines, first: int) -> list[int]:
    """A head with lines between it and the rows, such as the head of a page."""
    for line in range(first - 1, max(-1, first - 1 - _HEAD_ABOVE), -1):
        cells = page.cells[line]
        over = {at for cell in cells for at, _ in _over(draft, cell)}
        if _is_head(cells) and len(over) > 1 and 2 * len(over) > len(draft.columns):
            return [line]
    return []


def _is_head_line(draft: _Draft, cells: Sequence[Cell], *, above: bool) -> bool:
    if not cells or not _is_head(cells):
        return False
    over = [_over(draft, cell) for cell in cells]
    if not all(over):
        return False
    lone = above or len(cells[0].text.split()) <= _LEAST_ROWS
    return len(cells) > 1 or (lone and len(over[0]) == 1 and len(draft.columns) > 1)


def _over(draft: _Draft, cell: Cell) -> list[tuple[int, str]]:
    """The columns that a cell of a head is over, each with its words."""
    if draft.places and cell.left % _PIPE_WIDTH == 0 and cell.right == cell.left + 1:
        return [(draft.places[cell.left], cell.text)] if cell.left in draft.places else []
    under = [
        at for at, column in enumerate(draft.columns)
        if column.overlap(cell) > 0 or column.far(cell) <= _NEAR
    ]  # fmt: skip
    if not under:
        nearest = min(range(len(draft.columns)), key=lambda at: -draft.columns[at].overlap(cell))
        return [(nearest, cell.text)] if draft.columns[nearest].overlap(cell) >= -_ALSO else []
    exact = [at for at in under if draft.columns[at].far(cell) <= _NEAR]
    if len(exact) == 1 or len(under) == 1:
        return [((exact or under)[0], cell.text)]
    found: dict[int, list[str]] = {}
    for each in re.finditer(r"\S+", cell.text):
        word = Cell(cell.left + each.start(), cell.left + each.end(), each[0])
        best = max(under, key=lambda at: (draft.columns[at].overlap(word), -at))
        found.setdefault(best, []).append(each[0])
    return [(at, " ".join(words)) for at, words in found.items()]


def _carried(draft: _Draft, before: _Draft, heads: tuple[str, ...]) -> tuple[str, ...]:
    """The heads of the page before, where the columns are the same."""
    found = [""] * len(draft.columns)
    for old, head in zip(before.columns, heads, strict=True):
        if draft.places and before.places:
            if old.left in draft.places:
                found[draft.places[old.left]] = head
            continue
        typical = Cell(old.first, old.last, "")
        near = [at for at, each in enumerate(draft.columns) if _are_alike(each, old)]
        if len(near) == 1:
            found[near[0]] = head
        elif not near and head:
            at = max(range(len(found)), key=lambda at: draft.columns[at].overlap(typical))
            found[at] = found[at] or (head if draft.columns[at].overlap(typical) > 0 else "")
    same = sum(map(bool, found))
    return tuple(found) if 2 * same > len(found) else ("",) * len(found)


def _are_alike(one: _Column, other: _Column) -> bool:
    pairs = ((one.left, other.left), (one.right, other.right), (one.middle, other.middle))
    return any(a is not None and _is_near(b, a) for a, b in pairs)


# ----------------------------------------------------------------------------
# Rows.


def _rows(draft: _Draft, page: _PageLines, number: int, first: int) -> Iterator[Row]:
    records = _records(draft, first)
    borders = [-1, *(record[-1] for record in records)]
    ends = [*(record[0] for record in records[1:]), len(page.lines)]
    # Where words stand right above the first row, those of all rows may stand above.
    above = not draft.has_head and first > 0 and page.is_words(first - 1)
    wordless = not any(draft.first_words(record) for record in records)
    for at, record in enumerate(_without_totals(draft, records)):
        if not record:
            continue
        words = draft.first_words(record)
        lines = list(record)
        if above or not words or words[0].islower():
            lines += _run(page, range(record[0] - 1, borders[at], -1))
        below = record[-1] + 1
        if below < ends[at] and _TIMES.fullmatch(page.lines[below]):
            lines.append(below)
            below += 1
        if not (above and wordless):
            lines += _run(page, range(below, ends[at]))
        yield _row(draft, page, number, record, sorted(lines))


def _without_totals(draft: _Draft, records: Sequence[list[int]]) -> list[list[int]]:
    """Empty in the places of totals: at the end of a table, where cells are missing, and what
    stands below such a one with no more cells than it."""
    widths = [len(_columns_of(draft, record)) for record in records]
    totals = [_is_total(draft, record) for record in records]
    paid = [_PAID.match(draft.first_words(record)) is not None for record in records]
    rest = [at for at in range(len(records)) if not (totals[at] or paid[at])]
    end = max(rest, default=-1) + 1
    end = next((at for at in range(end, len(records)) if totals[at]), len(records))
    found: list[list[int]] = []
    widest = max(widths, default=0)
    below = 0  # the cells of the total above
    for at, record in enumerate(records):
        if at >= end:
            found.append([])
            continue
        if totals[at] and widths[at] < widest:
            below = max(below, widths[at])
        elif widths[at] > below:
            below = 0
        found.append([] if below else record)
    return found


def _records(draft: _Draft, first: int) -> list[list[int]]:
    """The lines of each row: one whose cells stand in columns that the row above it leaves empty
    goes on with it."""
    found: list[list[int]] = []
    taken: set[int] = set()
    for line in sorted(each for each in draft.lines if each >= first):
        columns = set(draft.lines[line])
        words = {at for at in columns if not _is_value(draft.lines[line][at].text)}
        values = columns - words
        near = bool(found) and line - found[-1][-1] <= 1
        indented = bool(taken) and min(columns) > min(taken)
        if near and values and not values & taken and (indented or not columns & taken):
            found[-1].append(line)
            taken |= columns
        else:
            found.append([line])
            taken = columns
    return found


def _columns_of(draft: _Draft, record: Sequence[int]) -> set[int]:
    return {at for line in record for at in draft.lines[line]}


def _is_total(draft: _Draft, record: Sequence[int]) -> bool:
    return _TOTAL.match(draft.first_words(record[:1])) is not None


def _run(page: _PageLines, lines: Iterable[int]) -> list[int]:
    """The lines of words alone that follow each other."""
    found: list[int] = []
    for line in lines:
        if not page.is_words(line) or len(found) == _ALSO:
            break
        found.append(line)
    return found


def _row(
    draft: _Draft, page: _PageLines, number: int, record: Sequence[int], lines: Sequence[int]
) -> Row:
    cells: list[list[str]] = [[] for _ in draft.columns]
    for line in lines:
        here = draft.lines.get(line) if line in record else None
        if here is None and _TIMES.fullmatch(page.lines[line]):
            continue
        if here is None:
            here = _words_in(draft, page.cells[line][0])
        for at, cell in here.items():
            cells[at].append(cell.text)
    text = "\n".join(page.lines[line] for line in lines)
    return Row(number, tuple(map(page.span, lines)), tuple(map("\n".join, cells)), text)


def _words_in(draft: _Draft, cell: Cell) -> dict[int, Cell]:
    """A line of words alone by its column; the first column of words where that is not clear."""
    found = draft.match([cell])
    if found:
        return found
    words = [at for at, column in enumerate(draft.columns) if not column.values]
    best = max(words, key=lambda at: draft.columns[at].overlap(cell), default=0)
    return {best: cell}


# ----------------------------------------------------------------------------
# Fields.


class Chosen(NamedTuple):
    """A row that an entry can be; ``columns`` is where the values of fields stand, ``sure`` are
    those of which the head says so in so many words. ``begins``: it is the first of a table;
    ``bound``: it goes on with the row above, in all the columns that the others fill, so nobody who
    wants that one leaves this one out."""

    row: Row
    columns: Mapping[str, int]
    sure: frozenset[str]
    begins: bool
    bound: bool = False


def choose_rows(tables: Sequence[Table], fields: Sequence[Field]) -> list[Chosen]:
    """The rows that the entries of a list can be, down the pages: of the tables whose heads name
    two of its fields; where none does, of those that have an amount and words as the entries have;
    without fields, when entries are lists of cells, of all. None where that is not certain."""
    named = [(table, _columns(table, fields)) for table in tables]
    known = [
        (table, found) for table, found in named if len(found) > 1 and _is_whole(table, fields)
    ]
    has_head = bool(known)
    if not fields:
        known = [(table, found) for table, found in named if _is_sure(table)]
    elif not known:
        known = [(some, found) for table, found in named if (some := _items_of(table, fields))]
        known = known or _first_goods(named, fields)
        if _is_turned(known, fields):
            return []
    chosen = []
    heads: tuple[str, ...] | None = None
    for table, found in known:
        begins = table.heads != heads
        heads = table.heads
        columns = {path: at for path, (at, _) in found.items()}
        called = {
            each.path: [_meanings(name) for name in (each.path.rpartition(".")[2], each.title)]
            for each in fields
        }
        sure = frozenset(
            path for path, (at, _) in found.items() if _meanings(table.heads[at]) in called[path]
        )
        usual = _usual_cells(table)
        # Without a head, what stands last may be a total in words that are not known.
        is_whole = has_head or _TOTAL.match(table.below) or _PAID.match(table.below)
        certain = len(table.rows) - (0 if is_whole else _LAST)
        for at, row in enumerate(table.rows):
            if _fits(row, fields):
                bound = at < certain and not begins and _is_like(row, usual)
                chosen.append(Chosen(row, columns, sure, begins, bound))
                begins = False
    return chosen


_Kinds = dict[int, bool]  # of cells by their columns: whether each is a value


def _usual_cells(table: Table) -> _Kinds:
    """The columns that half of the rows of a table fill, and whether with values."""
    usual: _Kinds = {}
    for at in range(len(table.heads)):
        kinds = [_is_value(row.cells[at]) for row in table.rows if row.cells[at]]
        if 2 * len(kinds) >= len(table.rows):
            usual[at] = 2 * sum(kinds) - len(kinds) + (kinds[0] - 0.5) > 0
    return usual


def _is_like(row: Row, usual: _Kinds) -> bool:
    """Whether a row fills what the others do, and is called nothing that a list may leave out."""
    if any(not row.cells[at] or _is_value(row.cells[at]) != kind for at, kind in usual.items()):
        return False
    words = next((cell for cell in row.cells if cell and not _is_value(cell)), "")
    return not any(pattern.match(words) for pattern in (_TOTAL, _PAID, _BESIDE))


def _is_whole(table: Table, fields: Sequence[Field]) -> bool:
    """Whether most rows have words where an entry has some: else those of a row may stand in a line
    that was taken for a row of its own. What is paid is no row where there is nothing else. Entries
    of numbers alone, such as rates of tax, are no rows of goods."""
    texts = [[cell for cell in row.cells if cell and not _is_value(cell)] for row in table.rows]
    if all(each.is_value for each in fields):
        worded = sum(any(map(_is_worded, each)) for each in texts)
        return 2 * worded <= len(texts)
    paid = all(not each or _TOTAL.match(each[0]) or _PAID.match(each[0]) for each in texts)
    return 2 * sum(map(bool, texts)) > len(texts) and not paid


def _is_worded(cell: str) -> bool:
    """Whether it is more than a mark or a short name of what a value is."""
    return sum(map(str.isalpha, cell)) > _MARK


def _is_sure(table: Table) -> bool:
    """Whether a table is one, and not only two columns of words, when no field tells."""
    values = sum(any(map(_is_value, row.cells)) for row in table.rows)
    wide = len(table.heads) > 2 or any(table.heads)  # noqa: PLR2004
    return len(table.rows) >= _LEAST_ROWS and 2 * values > len(table.rows) and wide


def _fits(row: Row, fields: Sequence[Field]) -> bool:
    """Whether a row has a value, where an entry has one."""
    return any(map(_is_value, row.cells)) or not any(each.is_value for each in fields)


def _items_of(table: Table, fields: Sequence[Field]) -> Table | None:
    """A table without a known head with those of its rows that are like the entries of a list of
    items: two values or more of which one is an amount, or an amount and what it is paid for. None
    where most of them are not."""
    wanted = min(2, sum(each.is_value for each in fields))
    if not any(each.is_amount for each in fields) or not (wanted > 1 or _are_goods(fields)):
        return None
    if all(each.is_value for each in fields):
        return None
    rows = tuple(row for row in table.rows if _is_item(row, wanted))
    enough = len(rows) >= _LEAST_ROWS and 2 * len(rows) > len(table.rows)
    return table._replace(rows=rows) if enough else None


def _are_goods(fields: Sequence[Field]) -> bool:
    """Whether entries are what was bought: a description and an amount."""
    amounts = any(each.is_amount for each in fields)
    return amounts and any("description" in _meanings(each.path) for each in fields)


def _is_item(row: Row, wanted: int) -> bool:
    values = [cell for cell in row.cells if _is_value(cell)]
    texts = [cell for cell in row.cells if cell and not _is_value(cell)]
    if len(values) < wanted or not any(map(_AMOUNT.search, values)):
        return False
    said = texts[0] if texts else ""
    return bool(said and not _TOTAL.match(said) and not _PAID.match(said))


_Named = tuple[Table, dict[str, tuple[int, float]]]


def _first_goods(named: Sequence[_Named], fields: Sequence[Field]) -> list[_Named]:
    """The first table of amounts, from the first row that is words with one behind up to the total:
    what tills print. What is called something with a colon is none."""
    for table, found in named if _are_goods(fields) else ():
        first = next((at for at, row in enumerate(table.rows) if _is_priced(row)), None)
        if first is None:
            continue
        rest = table.rows[first:]
        below = [*(row.cells[0] for row in rest), table.below]
        last = next((at for at, words in enumerate(below) if _is_summed(words)), 0)
        if last < _LEAST_ROWS or not all(map(_is_priced, rest[:last])):
            return []
        return [(table._replace(rows=rest[:last], below=below[last]), found)]
    return []


def _is_summed(words: str) -> bool:
    """Whether a line is of a total or of what follows one; of others a colon tells."""
    return _TOTAL.match(words) is not None or _PAID.match(words) is not None or ":" in words


def _is_priced(row: Row) -> bool:
    is_called = _CALLED.search(row.cells[0]) is not None and ":" not in row.cells[0]
    return is_called and any(map(_AMOUNT.search, row.cells[1:]))


def _is_turned(known: Sequence[tuple[Table, Any]], fields: Sequence[Field]) -> bool:
    """Whether an entry is a column: the names of two fields or more stand where rows begin."""
    begins = [_meanings(row.cells[0]) for table, _ in known for row in table.rows]
    found = []
    for each in fields:
        rows = [at for at, words in enumerate(begins) if words & _meanings(each.path)]
        found += rows if len(rows) == 1 else []
    return len(set(found)) > 1


def _columns(table: Table, fields: Sequence[Field]) -> dict[str, tuple[int, float]]:
    """The column of each field that a head tells, and how alike the words are."""
    heads = [_WORD.findall(head) for head in table.heads]
    columns = [[cell for row in table.rows if (cell := row.cells[at])] for at in range(len(heads))]
    scores = [
        (max(_likeness(name, head) for name in (each.path, each.title) if name),
         _is_called(each.path, head) + _has_kind(each, columns[at]), -at,
         -_count_words(each.path), each.path)
        for each in fields
        for at, head in enumerate(heads)
        if head and _can_be(each, columns[at])
    ]  # fmt: skip
    found: dict[str, tuple[int, float]] = {}
    taken: set[int] = set()
    for score, _, at, _, path in sorted(scores, reverse=True):
        if score >= _TELLS and path not in found and -at not in taken:
            found[path] = (-at, score)
            taken.add(-at)
    return found


def _can_be(each: Field, cells: Sequence[str]) -> bool:
    """Whether a column can be of a field: numbers and dates stand in none of words, and an amount
    in none of percentages."""
    if not each.is_value or not cells:
        return True
    return any(map(_is_value, cells)) and not (each.is_amount and all("%" in c for c in cells))


def _has_kind(each: Field, cells: Sequence[str]) -> bool:
    """Whether a column has values where a field is one, and words where it is not."""
    return 2 * sum(_is_value(cell) == each.is_value for cell in cells) > len(cells)


def _is_called(path: str, head: Sequence[str]) -> bool:
    """Whether a head is the name itself, word for word."""
    name = path.rpartition(".")[2]
    return [word.casefold() for word in head] == [w.casefold() for w in _NAME_PART.findall(name)]


def _count_words(path: str) -> int:
    """The words of a name: `Date` is rather a date than a value date."""
    return len(_NAME_PART.findall(path.rpartition(".")[2]))


_NAME_PART = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])|#")


def _likeness(path: str, head: Sequence[str]) -> float:
    """From 0 to 1: the share of the words of a name and of a head that mean the same."""
    name = path.rpartition(".")[2]
    words, others = _meanings(name), _meanings(" ".join(head))
    initials = "".join(word[0] for word in _NAME_PART.findall(name)).casefold()
    if len(initials) > 1 and initials in (word.casefold() for word in head):
        return 1.0
    same = sum(any(_is_same(word, other) for other in others) for word in words)
    return same / (len(words) + len(others) - same) if same else 0.0


def _meanings(text: str) -> set[str]:
    words = [word.casefold() for word in _NAME_PART.findall(text)]
    found = {_MEANS.get(word, word) for word in words if word not in _FILLS}
    return found or set(words)


def _is_same(word: str, other: str) -> bool:
    short, long = sorted((word, other), key=len)
    return word == other or (len(short) >= _PREFIX and long.startswith(short))


# ----------------------------------------------------------------------------
# The way back.


def trace_rows(entries: Sequence[Any], rows: Sequence[Row]) -> list[int | None]:
    """Which of ``rows`` each entry of an answer was read from, as an index: of those below the row
    of the entry before it the first one that has the most of its values; None where none has half
    of them. Entries go down the page, so an answer that was held to rows finds all of its own."""
    texts = [_Printed(row.text) for row in rows]
    found: list[int | None] = []
    start = 0
    for entry in entries:
        values = [_plain(each) if isinstance(each, str) else each for each in _leaves(entry)]
        best, place = 0, -1
        for at in range(start, len(rows)) if values else ():
            score = sum(map(texts[at].has, values))
            if score > best:
                best, place = score, at
            if score == len(values):
                break
        known = best > 0 and 2 * best >= len(values)
        start = place + 1 if known else start
        found.append(place if known else None)
    return found


_DIGITS_RUN = re.compile(r"\d+(?:[.,'’]\d+)*")


class _Printed:
    """The words and the numbers of a row."""

    def __init__(self, text: str) -> None:
        self._words = _plain(text)
        self._numbers = {
            value for each in _DIGITS_RUN.findall(text) for value in read_number(each, _NO_HABITS)
        }

    def has(self, value: Any) -> bool:
        """Whether a value, words as ``_plain`` gives them, is a run of it or one of its numbers."""
        if isinstance(value, str):
            return value in self._words
        return abs(Decimal(str(value))) in self._numbers


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        yield from chain.from_iterable(map(_leaves, inner))
    elif isinstance(value, str):
        yield from [value] if _plain(value).strip() else []
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _plain(text: str) -> str:
    """Words in small letters between spaces."""
    words = re.findall(r"[^\W_]+", text.casefold())
    return f" {' '.join(words)} "
