"""Answers about parts of a document to one: rows joined, duplicates decided by where they stand on
the page, single values taken from where the document has them. Pure.

A row is the same as another if most of its values stand at the same places of the same pages;
equal values alone prove nothing: a list may well hold the same row twice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from gemma_edge.extract.paths import ValuePath, render_path

_SHOWN = 40  # characters of a value in a note


class Place(NamedTuple):
    """Where a value stands: a page and an offset in its text."""

    page: int
    start: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value: of which answer, where in it, and where in the document, if it was found."""

    value: Any
    answer: int
    path: ValuePath
    place: Place | None = None


Tree: TypeAlias = "Leaf | list[Tree] | dict[str, Tree]"


def trace(data: Any, answer: int, path: ValuePath = ()) -> Tree:
    """Data as a tree whose leaves know where they come from."""
    if isinstance(data, dict):
        return {name: trace(each, answer, (*path, name)) for name, each in data.items()}
    if isinstance(data, list):
        return [trace(each, answer, (*path, index)) for index, each in enumerate(data)]
    return Leaf(data, answer, path)


def locate(tree: Tree, places: Mapping[ValuePath, Place], path: ValuePath = ()) -> Tree:
    """The tree with the places of its leaves."""
    if isinstance(tree, dict):
        return {name: locate(each, places, (*path, name)) for name, each in tree.items()}
    if isinstance(tree, list):
        return [locate(each, places, (*path, index)) for index, each in enumerate(tree)]
    return replace(tree, place=places.get(path))


def plain(tree: Tree) -> Any:
    """The data of a tree."""
    if isinstance(tree, dict):
        return {name: plain(each) for name, each in tree.items()}
    if isinstance(tree, list):
        return [plain(each) for each in tree]
    return tree.value


def iter_leaves(tree: Tree, path: ValuePath = ()) -> Iterator[tuple[ValuePath, Leaf]]:
    """Each leaf with its path, in order."""
    if isinstance(tree, Leaf):
        yield path, tree
        return
    members = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for step, each in members:
        yield from iter_leaves(each, (*path, step))


class Merger:
    """Joins the answers of one document, in the order of its pages. ``conflicts`` are sentences
    about values that differ."""

    def __init__(self) -> None:
        self.conflicts: list[str] = []

    def windows(self, first: Tree, second: Tree) -> Tree:
        """The answer about the pages up to here, and the one about the next pages."""
        return self._both(first, second, (), repeats=False)

    def continued(self, first: Tree, second: Tree) -> Tree:
        """An answer that was cut, and what was asked for after the cut; that may begin with the
        entry which was shown to it."""
        return self._both(first, second, (), repeats=True)

    def _both(self, first: Tree, second: Tree, path: ValuePath, *, repeats: bool) -> Tree:
        if isinstance(first, dict) and isinstance(second, dict):
            names = [*first, *(name for name in second if name not in first)]
            return {
                name: self._both(first[name], second[name], (*path, name), repeats=repeats)
                if name in first and name in second
                else first.get(name, second.get(name, Leaf(None, 0, ())))
                for name in names
            }
        if isinstance(first, list) and isinstance(second, list):
            return self._rows(first, second, path, repeats=repeats)
        if isinstance(first, Leaf) and isinstance(second, Leaf):
            return self._value(first, second, path)
        return second if isinstance(first, Leaf) else first  # null, and a list or an object

    def _value(self, first: Leaf, second: Leaf, path: ValuePath) -> Leaf:
        """What the document has before what it has not, the first of two that it has."""
        if second.value is None or first.value is None:
            return second if first.value is None else first
        found = [leaf for leaf in (first, second) if leaf.place is not None] or [first, second]
        if first.value != second.value:
            at = render_path(path) or "the answer"
            told = ", ".join(map(_with_page, (first, second)))
            self.conflicts.append(f"{at}: {told}; {_shown(found[0].value)} was taken")
        return found[0]

    def _rows(self, first: list[Tree], second: list[Tree], path: ValuePath, *, repeats: bool) -> Tree:
        rows = list(first)
        new = second[_repeated(first, second) :] if repeats else second
        known = _Rows(rows)
        for number, row in enumerate(new):
            same = known.find(row)
            if same is None and not number and rows and _goes_on(rows[-1], row, repeats):
                same = len(rows) - 1
            if same is None:
                rows.append(row)
            else:
                rows[same] = self._one_row(rows[same], row, (*path, same), repeats=repeats)
        return rows

    def _one_row(self, old: Tree, new: Tree, path: ValuePath, *, repeats: bool) -> Tree:
        """Two readings of one row: the fuller one counts, the other fills its gaps. A row that is
        cut by the end of a window differs; that is no conflict."""
        quiet = Merger()
        if not isinstance(old, dict) or not isinstance(new, dict):
            return quiet._both(old, new, path, repeats=repeats)
        first, second = (new, old) if _filled(new) > _filled(old) else (old, new)
        values = quiet._both(_without_lists(first), _without_lists(second), path, repeats=repeats)
        assert isinstance(values, dict)
        lists = quiet._both(_lists(old), _lists(new), path, repeats=repeats)
        assert isinstance(lists, dict)
        return {name: {**values, **lists}[name] for name in {**old, **new}}


def _goes_on(last: Tree, row: Tree, repeats: bool) -> bool:
    """Whether ``row`` is the rest of the group before it: its head stands before the cut, or was
    said once more."""
    if not isinstance(last, dict) or not isinstance(row, dict) or last.keys() != row.keys():
        return False
    if not _lists(row):
        return False
    head = _single(row)
    return all(value is None for value in head.values()) or (repeats and head == _single(last))


def _repeated(first: list[Tree], second: list[Tree]) -> int:
    """How many rows of a continued list were there before: the last ones, said once more, or all
    of them, where the model began anew."""
    old, new = list(map(plain, first)), list(map(plain, second))
    most = min(len(old), len(new))
    if most > 1 and old[:most] == new[:most]:
        return most
    return next((n for n in range(most, 0, -1) if old[-n:] == new[:n]), 0)


class _Rows:
    """Finds a row by the places of its values."""

    def __init__(self, rows: list[Tree]) -> None:
        self._at: dict[tuple[ValuePath, Place], list[int]] = {}
        self._counts = [0] * len(rows)
        for index, row in enumerate(rows):
            for key in _places(row):
                self._at.setdefault(key, []).append(index)
                self._counts[index] += 1

    def find(self, row: Tree) -> int | None:
        """The row of which most values stand where those of ``row`` do."""
        keys = list(_places(row))
        votes: dict[int, int] = {}
        for key in keys:
            for index in self._at.get(key, ()):
                votes[index] = votes.get(index, 0) + 1
        if not votes:
            return None
        best = max(votes, key=lambda index: votes[index])
        return best if 2 * votes[best] > min(len(keys), self._counts[best]) else None


def _places(row: Tree) -> Iterator[tuple[ValuePath, Place]]:
    """The places of a row's own values; those of lists within it are other rows."""
    for path, leaf in iter_leaves(row):
        if leaf.place is not None and not any(isinstance(step, int) for step in path):
            yield path, leaf.place


def _single(row: dict[str, Tree]) -> dict[str, Any]:
    """A row's own values, without the lists in it."""
    return {name: plain(each) for name, each in _without_lists(row).items()}


def _without_lists(row: dict[str, Tree]) -> dict[str, Tree]:
    return {name: each for name, each in row.items() if not isinstance(each, list)}


def _lists(row: dict[str, Tree]) -> dict[str, Tree]:
    return {name: each for name, each in row.items() if isinstance(each, list)}


def _filled(row: dict[str, Tree]) -> int:
    """How many of a row's own values say something."""
    return sum(leaf.value is not None for _, leaf in iter_leaves(_without_lists(row)))


def _with_page(leaf: Leaf) -> str:
    where = f"page {leaf.place.page}" if leaf.place else "not found in the document"
    return f"{_shown(leaf.value)} ({where})"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
