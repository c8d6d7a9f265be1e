"""Which of its places a value has: by its neighbours, in the record and down the page. Pure.

The fields of one record stand close together, records stand in their order, a field of a list has
a column, and a field that stands alone has a label. A place that another value has taken is taken.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from math import log, log1p

from gemma_edge.extract.evidence.columns import MANY, Columns
from gemma_edge.extract.evidence.forms import Candidate
from gemma_edge.extract.evidence.index import TextIndex
from gemma_edge.extract.evidence.labels import Labels
from gemma_edge.extract.evidence.leaves import (
    WEAK_CHARS,
    Leaf,
    Record,
    Shape,
    cheapest_way,
    depth_of,
    is_weak,
    record_path,
    shape_of,
    strength,
)
from gemma_edge.extract.paths import ValuePath

_FAR = 8.0  # lines; what stands farther away does not belong together
_CENTRES = 24  # places of a record that are weighed against each other
_LOOKED = 1000  # candidates of one leaf that may be its record's place
_NEAREST = 12  # candidates on either side of a record that are looked at
_LONE = 120  # candidates of a lone field that are looked at
_STRONG_LABEL, _CLOSE = 0.5, 2.5  # what lets such a value stand: its label, or its record (lines)
# Lines from its record within which a value of fewer printed characters must stand.
_REACHES = ((WEAK_CHARS + 1, _CLOSE), (8, 8.0), (16, 60.0))
_FEW = 6  # candidates of a value that is known by itself
_LITTLE, _TELLS = 0.15, 0.5  # the least weight of a leaf, and that from which its place tells
_BACKWARD, _SAME_PLACE, _LEFTWARD, _JUMP = 3.0, 3.0, 0.8, 0.3  # costs between two records
_TAKEN, _DISORDER, _RANK, _LABEL = 2.5, 0.4, 0.4, 3.0  # costs of a place
_LONE_LABEL, _LONE_RANK, _LATER = 4.0, 1.5, 0.5


class Chooser:
    """Chooses for all leaves of one document."""

    def __init__(self, index: TextIndex, labels: Labels) -> None:
        self._index, self._labels = index, labels
        self._line = cache(index.line)
        self._taken: dict[int, int] = {}
        self._columns = Columns(index, labels)
        self._weights: dict[ValuePath, float] = {}

    def choose(self, leaves: Sequence[Leaf], objects: frozenset[ValuePath]) -> None:
        """Set ``chosen`` where a place is sure enough; ``objects`` are the paths of the elements
        of lists that are objects."""
        self._weigh(leaves)
        records: dict[ValuePath, Record] = {}
        for leaf in leaves:
            path = record_path(leaf.path, objects)
            records.setdefault(path, Record(path)).leaves.append(leaf)
        lone = records.pop((), None)
        ordered = sorted(records.values(), key=lambda record: -depth_of(record.path))
        for _, level in groupby(ordered, key=lambda record: depth_of(record.path)):
            by_shape: dict[Shape, list[Record]] = {}
            for record in level:
                by_shape.setdefault(shape_of(record.path), []).append(record)
            for group in by_shape.values():
                self._settle(group)
                for record in group:
                    self._tell_above(record, records)
        if lone:
            self._choose_lone(lone.leaves)

    def _tell_above(self, record: Record, records: dict[ValuePath, Record]) -> None:
        """The record that holds this one begins before it."""
        places = [leaf.chosen.span.start for leaf in record.leaves if leaf.chosen]
        for length in range(len(record.path) - 1, 0, -1):
            above = records.get(record.path[:length])
            if above is not None and places:
                above.below = min([*places, *([above.below] if above.below is not None else [])])
                return

    def _weigh(self, leaves: Sequence[Leaf]) -> None:
        """How much the place of each leaf says: little where a field has one value in most of its
        records ("USD"), or where the value is printed anywhere ("2")."""
        named = [(leaf.names[-1:], str(leaf.value)) for leaf in leaves]
        values, fields = Counter(named), Counter(name for name, _ in named)
        for leaf, each in zip(leaves, named, strict=True):
            total = fields[each[0]]
            told = 1 - log(values[each]) / log(total) if total > 1 else 1.0
            self._weights[leaf.path] = _LITTLE if is_weak(leaf.value) else max(_LITTLE, told)

    # records of one list

    def _settle(self, records: list[Record]) -> None:
        for record in records:
            record.many = len(records) >= MANY
        self._find_centres(records)
        self._columns.read_heads(records)
        self._assign(records)
        if self._columns.learn(records, self._weights):
            for record in records:
                for leaf in record.leaves:
                    self._release(leaf)
            self._assign(records)

    def _find_centres(self, records: list[Record]) -> None:
        """A place for each record: the cheapest way down the pages."""
        steps = [(record, self._centres(record)) for record in records]
        steps = [(record, centres) for record, centres in steps if centres]
        way = cheapest_way([centres for _, centres in steps], self._step)
        for (record, _), centre in zip(steps, way, strict=True):
            record.centre = centre

    def _centres(self, record: Record) -> list[tuple[int, float]]:
        """Offsets where a record may stand, with what speaks against each."""
        found = sorted((leaf for leaf in record.leaves if leaf.candidates), key=self._ambiguity)
        if not found:
            return []
        starts = {start: 0.0 for leaf in found[:2] for start in leaf.starts[:_LOOKED]}
        for leaf in found[:2]:
            for each in leaf.candidates[:_LONE]:
                support = self._labels.support(leaf.names, each.span, above=not record.many)
                support *= self._weights[leaf.path]
                starts[each.span.start] = max(starts[each.span.start], support)
        if record.below is not None:
            starts.setdefault(record.below, 0.0)
        priced = [
            (start, self._apartness(start, record, found) - support)
            for start, support in starts.items()
        ]
        return sorted(priced, key=lambda item: item[1])[:_CENTRES]

    def _apartness(self, centre: int, record: Record, leaves: list[Leaf]) -> float:
        cost = 0.0
        for leaf in leaves:
            near = self._near(leaf, centre, 1)
            distance = min((self._distance(centre, each.span.start) for each in near), default=_FAR)
            cost += self._weights[leaf.path] * 4 * distance / _FAR
        if record.below is not None:
            lines = self._line(record.below) - self._line(centre)
            cost += 4 * min(_FAR, lines if lines >= 0 else 3 - lines) / _FAR
        return cost

    def _step(self, before: int, here: int) -> float:
        lines = self._line(here) - self._line(before)
        if lines > 0:
            return _JUMP * log1p(lines)
        if lines < 0:
            return _BACKWARD + _JUMP * log1p(-lines)
        return 0.0 if here > before else _SAME_PLACE if here == before else _LEFTWARD

    def _distance(self, one: int, other: int) -> float:
        """Lines between two offsets, up to ``_FAR``; on one line a part of a line."""
        lines = abs(self._line(one) - self._line(other))
        return min(_FAR, lines + 0.25) if lines else min(0.9, abs(one - other) / 400)

    def _near(self, leaf: Leaf, centre: int, count: int) -> Sequence[Candidate]:
        at = bisect_left(leaf.candidates, centre, key=lambda each: each.span.start)
        return leaf.candidates[max(0, at - count) : at + count + 1]

    def _assign(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.centre is None:
                continue
            local = {leaf.path: self._near(leaf, record.centre, _NEAREST) for leaf in record.leaves}
            sure = [leaf for leaf in record.leaves if len(local[leaf.path]) == 1]
            rest = [leaf for leaf in record.leaves if len(local[leaf.path]) > 1]
            previous = record.centre
            for leaf in sorted(sure + rest, key=lambda leaf: self._rank(leaf, record)):  # noqa: B023
                best = min(
                    local[leaf.path],
                    key=lambda each: (self._cost(leaf, each, record, previous), each.span.start),  # noqa: B023
                )
                if self._is_accepted(leaf, best, record):
                    self._take(leaf, best)
                    previous = best.span.start

    def _rank(self, leaf: Leaf, record: Record) -> int:
        """The guide of a record first, what says little last."""
        return 2 if self._says_little(leaf) else int(leaf is not record.guide)

    def _cost(self, leaf: Leaf, each: Candidate, record: Record, previous: int) -> float:
        assert record.centre is not None
        start = each.span.start
        cost = self._distance(record.centre, start) + _RANK * each.rank
        cost += _TAKEN * self._taken.get(start, 0)
        cost += _DISORDER if start < previous else 0.0
        support = self._labels.support(leaf.names, each.span, above=not record.many)
        cost += _LABEL * (1 - support)
        return cost + self._columns.off(leaf, each, record)

    def _is_accepted(self, leaf: Leaf, each: Candidate, record: Record) -> bool:
        """A value that is printed anywhere needs its record or its label beside it."""
        others = [
            other.chosen.span.start
            for other in record.leaves
            if other is not leaf and other.chosen and not self._says_little(other)
        ]
        weak = is_weak(leaf.value) or self._labels.hint(leaf.names).chosen
        printed = strength(self._index.text[each.span.start : each.span.end])
        reaches = (reach for chars, reach in _REACHES if printed < chars)
        reach = _CLOSE if weak else next(reaches, None)
        little = weak or self._says_little(leaf)
        rare = not little and len(leaf.candidates) <= _FEW
        if reach is None or rare or not (little or others):
            return True
        here = self._line(each.span.start)
        close = any(abs(self._line(other) - here) <= reach for other in others)
        return close or self._labels.support(leaf.names, each.span) >= _STRONG_LABEL

    # fields that stand alone

    def _choose_lone(self, leaves: list[Leaf]) -> None:
        for leaf in sorted(leaves, key=self._ambiguity):
            if not leaf.candidates:
                continue
            near = [
                other.chosen.span.start
                for other in leaves
                if other.chosen and len(leaf.path) > 1 and other.path[:-1] == leaf.path[:-1]
            ]
            looked = list(leaf.candidates[:_LONE])
            for place in near:
                looked += self._near(leaf, place, 2)
            best = min(looked, key=lambda each: self._lone_cost(leaf, each, near))
            weak = is_weak(leaf.value) or self._labels.hint(leaf.names).chosen
            close = any(self._distance(best.span.start, place) <= _CLOSE for place in near)
            alone = len(leaf.candidates) == 1 and not isinstance(leaf.value, bool)
            named = self._labels.support(leaf.names, best.span) >= _STRONG_LABEL
            if not weak or close or named or alone:
                self._take(leaf, best)

    def _lone_cost(self, leaf: Leaf, each: Candidate, near: list[int]) -> tuple[float, int]:
        start = each.span.start
        cost = _LONE_RANK * each.rank + _TAKEN * self._taken.get(start, 0)
        cost += _LONE_LABEL * (1 - self._labels.support(leaf.names, each.span))
        cost += _LATER * start / (1 + len(self._index.text))
        if near:
            cost += min(self._distance(start, place) for place in near) / 4
        return cost, start

    def _says_little(self, leaf: Leaf) -> bool:
        return self._weights[leaf.path] < _TELLS

    def _ambiguity(self, leaf: Leaf) -> tuple[bool, int]:
        return self._says_little(leaf), len(leaf.candidates)

    def _take(self, leaf: Leaf, each: Candidate) -> None:
        leaf.chosen = each
        self._taken[each.span.start] = self._taken.get(each.span.start, 0) + 1

    def _release(self, leaf: Leaf) -> None:
        if leaf.chosen:
            self._taken[leaf.chosen.span.start] -= 1
            leaf.chosen = None
