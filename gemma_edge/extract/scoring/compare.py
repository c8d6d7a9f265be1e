"""What differs between two sets of answers: document by document, value by value. Pure.

Records are paired by what is in them, and values by what they mean, as ``evaluate`` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from gemma_edge.extract.paths import render_path
from gemma_edge.extract.scoring.cells import iter_cells
from gemma_edge.extract.values.meaning import NOTHING, canonical

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
        """What became of it."""
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
        """How many values of each field differ, the most first."""
        counts: dict[str, int] = {}
        for change in self.changes:
            counts[change.field] = counts.get(change.field, 0) + 1
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
    return Comparison(
        tuple(changes), len(shared), same,
        tuple(name for name in left if name not in right),
        tuple(name for name in right if name not in left),
    )  # fmt: skip


def compare_data(file: str, before: Any, after: Any) -> list[Change]:
    """The values in which two answers for one document differ."""
    return [
        Change(file, cell.field, render_path(cell.path), cell.gold, cell.found)
        for cell in iter_cells(before, after)
        if not cell.is_right
    ]


def _by_file(records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Records by their name without its folders, where those are all different."""
    names = {str(record.get("file", "")) for record in records}
    short = {PurePath(name).name for name in names}
    if len(short) == len(names):
        return {PurePath(str(record.get("file", ""))).name: record for record in records}
    return {str(record.get("file", "")): record for record in records}
