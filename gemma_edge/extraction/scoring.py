"""How right answers are against gold data, and what differs between two sets."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gemma_edge.extraction.json_schema import ValuePath, iter_leaves, render_path
from gemma_edge.extraction.values import NOTHING, canonical, fingerprint
from gemma_edge.records import dataclass

# The best way to pair rows with columns: the assignment problem, exactly.


def best_pairs(worth: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs ``(row, column)``, each row and column at most once, as many as there can be, whose
    ``worth`` together is the largest there is; by row.

    The Hungarian method with potentials (Kuhn 1955, Munkres 1957), row by row: of n rows and m
    columns it takes n * n steps over m columns at once.
    """
    rows, columns = worth.shape
    if rows > columns:
        return sorted((row, column) for column, row in best_pairs(worth.T))
    if not rows:
        return []
    cost = worth.max() - worth
    row_price = np.zeros(rows + 1, np.int64)
    column_price = np.zeros(columns + 1, np.int64)
    taken = np.zeros(columns + 1, np.int64)  # the row (from 1) of each column (from 1); 0: free
    for row in range(1, rows + 1):
        _place(row, cost, row_price, column_price, taken)
    return sorted((int(taken[at]) - 1, at - 1) for at in range(1, columns + 1) if taken[at])


def _place(
    row: int,
    cost: NDArray[np.int64],
    row_price: NDArray[np.int64],
    column_price: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> None:
    """Find a column for one row more, moving others along the cheapest path."""
    columns = cost.shape[1]
    slack = np.full(columns + 1, np.iinfo(np.int64).max // 4)
    before = np.zeros(columns + 1, np.int64)
    seen = np.zeros(columns + 1, bool)
    taken[0], at = row, 0
    while taken[at]:
        seen[at] = True
        current = taken[at]
        reduced = cost[current - 1] - row_price[current] - column_price[1:]
        better = ~seen[1:] & (reduced < slack[1:])
        slack[1:][better] = reduced[better]
        before[1:][better] = at
        following = int(np.where(seen[1:], np.iinfo(np.int64).max, slack[1:]).argmin()) + 1
        step = slack[following]
        row_price[taken[seen]] += step
        column_price[seen] -= step
        slack[1:][~seen[1:]] -= step
        at = following
    while at:
        taken[at] = taken[before[at]]
        at = int(before[at])


# Two pieces of JSON as cells that stand beside each other, records paired by what is in them. The
# order of records means nothing, a missing key is null, and values are the same when they mean
# the same: `1,234.50` and 1234.5, `24 Nov 2026` and `2026-11-24`.

_VALUE, _EMPTY = 1 << 20, 1  # a value that is right is worth more than any number of empty cells
_MOST_EXACT = 1000  # items that differ: seconds; of twice as many, eight times that
_RARE = 16  # items that have a value; one that more have says little about which belong together


@dataclass(frozen=True, slots=True)
class Cell:
    """A value that should be there and the one that is. ``aligned`` is False for what stands in a
    record that has no counterpart; ``path`` is where it stands in the gold data, or where there is
    none, in the answer; ``found_path`` is its place in the answer."""

    path: ValuePath
    gold: Any
    found: Any
    found_path: ValuePath
    aligned: bool = True

    @property
    def is_right(self) -> bool:
        return self.aligned and canonical(self.gold) == canonical(self.found)

    @property
    def field(self) -> str:
        """``items[].qty``: the same for every record."""
        steps = ("[]" if isinstance(step, int) else f".{step}" for step in self.path)
        return "".join(steps).removeprefix(".") or "(all)"


def iter_cells(gold: Any, found: Any) -> Iterator[Cell]:
    yield from _pair(gold, found, (), ())


def _pair(gold: Any, found: Any, at: ValuePath, found_at: ValuePath) -> Iterator[Cell]:
    kinds = {_kind(gold), _kind(found)} - {"null"}
    if kinds == {"object"}:
        left, right = gold or {}, found or {}
        for key in dict.fromkeys((*left, *right)):
            yield from _pair(left.get(key), right.get(key), (*at, key), (*found_at, key))
    elif kinds == {"list"}:
        yield from _pair_lists(gold or [], found or [], at, found_at)
    elif len(kinds) > 1 and kinds != {"leaf"}:
        yield from _alone(gold, found, at, found_at)
    else:
        yield Cell(at, gold, found, found_at)


def _alone(gold: Any, found: Any, at: ValuePath, found_at: ValuePath) -> Iterator[Cell]:
    for path, value in iter_leaves(gold, at, empty=True):
        if canonical(value) is not NOTHING:
            yield Cell(path, value, None, (), aligned=False)
    for path, value in iter_leaves(found, found_at, empty=True):
        if canonical(value) is not NOTHING:
            yield Cell((*at, *path[len(found_at) :]), None, value, path, aligned=False)


def _pair_lists(
    gold: list[Any], found: list[Any], at: ValuePath, found_at: ValuePath
) -> Iterator[Cell]:
    pairs = match(gold, found)
    for index, other in pairs:
        yield from _pair(gold[index], found[other], (*at, index), (*found_at, other))
    matched, used = {index for index, _ in pairs}, {other for _, other in pairs}
    for index, item in enumerate(gold):
        if index not in matched:
            yield from _alone(item, None, (*at, index), ())
    for other, item in enumerate(found):
        if other not in used:
            yield from _alone(None, item, (*at, other), (*found_at, other))


def match(gold: Sequence[Any], found: Sequence[Any]) -> list[tuple[int, int]]:
    """Which item belongs to which, ``(index in gold, index in found)``, by the index in gold:
    the most cells that are right. Order decides nothing.

    Items that are the same are paired first. That is never worse: were the same items x and y
    paired with others instead, those others could be paired with each other for as much. Where
    more than ``_MOST_EXACT`` differ, those that share rare values are paired first.
    """
    waiting: dict[str, list[int]] = {}
    for print_, index in _sorted(found):
        waiting.setdefault(print_, []).append(index)
    pairs, rest = list[tuple[int, int]](), list[int]()
    for print_, index in _sorted(gold):
        if waiting.get(print_):
            pairs.append((index, waiting[print_].pop(0)))
        else:
            rest.append(index)
    others = [index for indices in waiting.values() for index in indices]
    if max(len(rest), len(others)) > _MOST_EXACT:
        likely = _likely(gold, found, rest, others)
        pairs += likely
        rows, columns = {row for row, _ in likely}, {column for _, column in likely}
        rest = [index for index in rest if index not in rows]
        others = [index for index in others if index not in columns]
    for start in range(0, min(len(rest), len(others)), _MOST_EXACT):
        some = rest[start : start + _MOST_EXACT]
        beside = others[start : start + _MOST_EXACT]
        worth = _worth([gold[index] for index in some], [found[index] for index in beside])
        pairs += [(some[row], beside[column]) for row, column in best_pairs(worth)]
    return sorted(pairs)


def _likely(
    gold: Sequence[Any], found: Sequence[Any], rest: Sequence[int], others: Sequence[int]
) -> list[tuple[int, int]]:
    having: dict[tuple[str, Hashable], list[int]] = {}
    for place, index in enumerate(others):
        for name, value in _columns(found[index]).items():
            having.setdefault((name, fingerprint(value)), []).append(place)
    shared: Counter[tuple[int, int]] = Counter()
    for place, index in enumerate(rest):
        for name, value in _columns(gold[index]).items():
            owners = having.get((name, fingerprint(value)), ())
            shared.update((place, other) for other in owners if len(owners) <= _RARE)
    pairs: dict[int, int] = {}
    used = set()
    for place, other in sorted(shared, key=lambda pair: (-shared[pair], pair)):
        if place not in pairs and other not in used:
            pairs[place] = other
            used.add(other)
    return [(rest[place], others[other]) for place, other in pairs.items()]


def _sorted(items: Sequence[Any]) -> list[tuple[str, int]]:
    return sorted((repr(fingerprint(item)), index) for index, item in enumerate(items))


def _worth(gold: list[Any], found: list[Any]) -> NDArray[np.int64]:
    left, right = [_columns(item) for item in gold], [_columns(item) for item in found]
    total = np.zeros((len(gold), len(found)), np.int64)
    if not total.size:
        return total
    for name in dict.fromkeys(key for item in (*left, *right) for key in item):
        total += _common([item.get(name) for item in left], [item.get(name) for item in right])
    return total


def _columns(item: Any) -> dict[str, Any]:
    return item if isinstance(item, dict) else {"": item}


def _common(left: list[Any], right: list[Any]) -> NDArray[np.int64]:
    if any(isinstance(value, dict | list) and value for value in (*left, *right)):
        return _common_parts(left, right)
    numbers: dict[Hashable, int] = {NOTHING: 0}
    rows, columns = (
        np.array([numbers.setdefault(canonical(value), len(numbers)) for value in values])
        for values in (left, right)
    )
    same = rows[:, None] == columns[None, :]
    return np.where(same, np.where(rows[:, None] == 0, _EMPTY, _VALUE), 0)


def _common_parts(left: list[Any], right: list[Any]) -> NDArray[np.int64]:
    """The same where the member has parts of its own; each pair of kinds is looked at once."""
    known: dict[tuple[str, str], int] = {}
    out = np.zeros((len(left), len(right)), np.int64)
    prints = [[repr(fingerprint(value)) for value in values] for values in (left, right)]
    for row, gold in enumerate(left):
        for column, found in enumerate(right):
            key = prints[0][row], prints[1][column]
            if key not in known:
                known[key] = sum(
                    _EMPTY if canonical(cell.gold) is NOTHING else _VALUE
                    for cell in iter_cells(gold, found)
                    if cell.is_right
                )
            out[row, column] = known[key]
    return out


def _kind(value: Any) -> str:
    if canonical(value) is NOTHING:
        return "null"
    return "object" if isinstance(value, dict) else "list" if isinstance(value, list) else "leaf"


# How right answers are: counted cell by cell against gold data, field by field, worst first. A
# value counts when it is there and means the same. One that is wrong is missing and too much at
# once; a null that should be null is right. An answer that is no data has nothing right.

NOT_FOUND = "not_found"  # of evidence: the value stands nowhere in the document


@dataclass(slots=True)
class Tally:
    """Cells: ``right``, expected but ``missing``, given but ``extra``; a wrong one is both.
    ``values`` and ``grounded`` count the answer's values, and those with a place in the
    document."""

    right: int = 0
    missing: int = 0
    extra: int = 0
    values: int = 0
    grounded: int = 0

    def add(self, other: "Tally") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def precision(self) -> float:
        """Of what was given, the share that is right; 1 where nothing was."""
        return _share(self.right, self.right + self.extra)

    @property
    def recall(self) -> float:
        """Of what should be there, the share that is; 1 where nothing should be."""
        return _share(self.right, self.right + self.missing)

    @property
    def f1(self) -> float:
        return _share(2 * self.right, 2 * self.right + self.missing + self.extra)

    @property
    def grounding(self) -> float | None:
        """The share of values that have a place in the document; None where none was looked
        for."""
        return self.grounded / self.values if self.values else None

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.extra


@dataclass(frozen=True, slots=True)
class Graded:
    """One document: its name, its tally, that of each field, and the cells that are not right.
    ``error`` says why there is no answer."""

    name: str
    total: Tally
    fields: Mapping[str, Tally]
    wrong: tuple[Cell, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    total: Tally
    fields: Mapping[str, Tally]
    documents: tuple[Graded, ...] = field(default=())

    @property
    def whole(self) -> int:
        return sum(each.total.is_whole for each in self.documents)

    @property
    def failed(self) -> int:
        return sum(bool(each.error) for each in self.documents)


def grade(
    name: str, gold: Any, answer: Any, evidence: Iterable[Mapping[str, Any]] | None = None,
    error: str = "",
) -> Graded:  # fmt: skip
    """One answer against its gold data. ``evidence`` are what the answer's values are grounded
    on, with ``path`` (``items[2].qty``) and ``status``; ``error`` says that there is no answer."""
    places = {str(each["path"]): str(each["status"]) for each in evidence or ()}
    fields: dict[str, Tally] = {}
    wrong = []
    cells = iter_cells(gold, answer)
    if error:  # none of them is right, not even an empty one
        leaves = iter_leaves(gold, empty=True)
        cells = (Cell(path, value, None, (), aligned=False) for path, value in leaves)
    for cell in cells:
        tally = _tally(cell, places)
        if not tally.is_whole:
            wrong.append(cell)
        fields.setdefault(cell.field, Tally()).add(tally)
    total = Tally()
    for each in fields.values():
        total.add(each)
    return Graded(name, total, fields, tuple(wrong), error)


def summarize(documents: Sequence[Graded]) -> Report:
    total, fields = Tally(), dict[str, Tally]()
    for document in documents:
        total.add(document.total)
        for name, tally in document.fields.items():
            fields.setdefault(name, Tally()).add(tally)
    ordered = sorted(fields.items(), key=lambda each: (each[1].f1, -each[1].missing, each[0]))
    worst = sorted(documents, key=lambda each: (not each.error, each.total.f1, each.name))
    return Report(total, dict(ordered), tuple(worst))


def _tally(cell: Cell, places: Mapping[str, str]) -> Tally:
    gold, found = canonical(cell.gold), canonical(cell.found)
    tally = Tally()
    if cell.is_right:
        tally.right = 1
    elif not cell.found_path and not cell.aligned:  # nothing was given, not even a null
        tally.missing = 1
    else:
        tally.missing, tally.extra = int(gold is not NOTHING), int(found is not NOTHING)
    status = places.get(render_path(cell.found_path))
    if found is not NOTHING and status is not None:
        tally.values, tally.grounded = 1, int(status != NOT_FOUND)
    return tally


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


# What differs between two sets of answers: document by document, value by value. Records are
# paired by what is in them, and values by what they mean, as `grade` does.

Kind = Literal["changed", "added", "removed"]


@dataclass(frozen=True, slots=True)
class Change:
    """One value of a document. ``path`` is its place in the first set, or of what was added, in
    the second; ``field`` is the same for every record of a list."""

    file: str
    field: str
    path: str
    before: Any
    after: Any

    @property
    def kind(self) -> Kind:
        if canonical(self.before) is NOTHING:
            return "added"
        return "removed" if canonical(self.after) is NOTHING else "changed"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``same`` counts the documents without a change; ``only_first`` and ``only_second`` are in
    one of the sets alone; the other documents are in both."""

    changes: tuple[Change, ...]
    documents: int
    same: int
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, int]:
        counts = Counter(change.field for change in self.changes)
        return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def compare(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> Comparison:
    """Two sets of records, as ``records.as_document`` writes them; of several of one file the last
    counts. An error is an answer without data."""
    left, right = _by_file(first), _by_file(second)
    changes: list[Change] = []
    same = 0
    shared = [name for name in left if name in right]
    for name in shared:
        found = compare_data(name, left[name].get("data"), right[name].get("data"))
        changes += found
        same += not found
    only_left = tuple(name for name in left if name not in right)
    only_right = tuple(name for name in right if name not in left)
    return Comparison(tuple(changes), len(shared), same, only_left, only_right)


def compare_data(file: str, before: Any, after: Any) -> list[Change]:
    return [
        Change(file, cell.field, render_path(cell.path), cell.gold, cell.found)
        for cell in iter_cells(before, after)
        if not cell.is_right
    ]


def _by_file(records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    whole = {str(record.get("file", "")): record for record in records}
    short = {PurePath(name).name: record for name, record in whole.items()}
    return short if len(short) == len(whole) else whole
