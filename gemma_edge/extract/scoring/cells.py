"""Two pieces of JSON as cells that stand beside each other, records paired by what is in them.

The order of records means nothing, a missing key is null, and values are the same when they mean
the same: ``1,234.50`` and 1234.5, ``24 Nov 2026`` and ``2026-11-24``. Pure.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemma_edge.extract.paths import ValuePath
from gemma_edge.extract.scoring.assignment import best_pairs
from gemma_edge.extract.values.meaning import NOTHING, canonical, fingerprint

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
        """Whether they mean the same."""
        return self.aligned and canonical(self.gold) == canonical(self.found)

    @property
    def field(self) -> str:
        """``items[].qty``: the same for every record."""
        text = ""
        for step in self.path:
            text += "[]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
        return text or "(all)"


def iter_cells(gold: Any, found: Any) -> Iterator[Cell]:
    """All cells of both."""
    yield from _pair(gold, found, (), ())


def lone_cells(gold: Any) -> Iterator[Cell]:
    """The cells of gold data without any answer: none of them is right, not even an empty one."""
    for path, value in iter_leaves(gold):
        yield Cell(path, value, None, (), aligned=False)


def iter_leaves(value: Any, path: ValuePath = ()) -> Iterator[tuple[ValuePath, Any]]:
    """Every value that holds no others, with its path; an empty list or object is one."""
    if isinstance(value, dict) and value:
        for key, member in value.items():
            yield from iter_leaves(member, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from iter_leaves(item, (*path, index))
    else:
        yield path, value


def _pair(gold: Any, found: Any, at: ValuePath, found_at: ValuePath) -> Iterator[Cell]:
    """The cells of two values that belong together."""
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
    """The cells of values of which neither is the counterpart of the other."""
    for path, value in iter_leaves(gold, at):
        if canonical(value) is not NOTHING:
            yield Cell(path, value, None, (), aligned=False)
    for path, value in iter_leaves(found, found_at):
        if canonical(value) is not NOTHING:
            yield Cell((*at, *path[len(found_at) :]), None, value, path, aligned=False)


def _pair_lists(gold: list[Any], found: list[Any], at: ValuePath, found_at: ValuePath) -> Iterator[Cell]:
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
    left, right = _sorted(gold), _sorted(found)
    waiting: dict[str, list[int]] = {}
    for at, (print_, _) in enumerate(right):
        waiting.setdefault(print_, []).append(at)
    pairs, rest, used = list[tuple[int, int]](), list[int](), set[int]()
    for print_, index in left:
        if waiting.get(print_):
            at = waiting[print_].pop(0)
            used.add(at)
            pairs.append((index, right[at][1]))
        else:
            rest.append(index)
    others = [index for at, (_, index) in enumerate(right) if at not in used]
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
    """Items that share the most values that few others have; each once."""
    having: dict[tuple[str, Hashable], list[int]] = {}
    for place, index in enumerate(others):
        for name, value in _columns(found[index]).items():
            having.setdefault((name, fingerprint(value)), []).append(place)
    shared: dict[tuple[int, int], int] = {}
    for place, index in enumerate(rest):
        for name, value in _columns(gold[index]).items():
            owners = having.get((name, fingerprint(value)), ())
            for other in owners if len(owners) <= _RARE else ():
                shared[place, other] = shared.get((place, other), 0) + 1
    pairs: dict[int, int] = {}
    used = set()
    for place, other in sorted(shared, key=lambda pair: (-shared[pair], pair)):
        if place not in pairs and other not in used:
            pairs[place] = other
            used.add(other)
    return [(rest[place], others[other]) for place, other in pairs.items()]


def _sorted(items: Sequence[Any]) -> list[tuple[str, int]]:
    """Items by what is in them, so that their order in the list decides nothing."""
    return sorted((repr(fingerprint(item)), index) for index, item in enumerate(items))


def _worth(gold: list[Any], found: list[Any]) -> NDArray[np.int64]:
    """What each pair of items has in common."""
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
    """What is right of one member, for each pair."""
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
