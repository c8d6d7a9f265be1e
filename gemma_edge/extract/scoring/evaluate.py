"""How right answers are: counted cell by cell against gold data, field by field, worst first.

A value counts when it is there and means the same. One that is wrong is missing and too much at
once; a null that should be null is right. An answer that is no data has nothing right. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemma_edge.extract.paths import render_path
from gemma_edge.extract.scoring.cells import Cell, iter_cells, lone_cells
from gemma_edge.extract.values.meaning import NOTHING, canonical

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
        """Count the other's cells too."""
        self.right += other.right
        self.missing += other.missing
        self.extra += other.extra
        self.values += other.values
        self.grounded += other.grounded

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
        """The harmonic mean of both."""
        return _share(2 * self.right, 2 * self.right + self.missing + self.extra)

    @property
    def grounding(self) -> float | None:
        """The share of values that have a place in the document; None where none was looked
        for."""
        return self.grounded / self.values if self.values else None

    @property
    def is_whole(self) -> bool:
        """Whether everything is right, and nothing else is there."""
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
    """All documents, the worst first, and all fields, the worst first."""

    total: Tally
    fields: Mapping[str, Tally]
    documents: tuple[Graded, ...] = field(default=())

    @property
    def whole(self) -> int:
        """Documents in which every cell is right."""
        return sum(each.total.is_whole for each in self.documents)

    @property
    def failed(self) -> int:
        """Documents without an answer."""
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
    for cell in lone_cells(gold) if error else iter_cells(gold, answer):
        tally = _tally(cell, places)
        if not tally.is_whole:
            wrong.append(cell)
        fields.setdefault(cell.field, Tally()).add(tally)
    total = Tally()
    for each in fields.values():
        total.add(each)
    return Graded(name, total, fields, tuple(wrong), error)


def summarize(documents: Sequence[Graded]) -> Report:
    """All of them together."""
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
