"""Which of its places a value has: by its neighbours, in the record and down the page.

The fields of one record stand close together, records stand in their order, a field of a list has
a column, and a field that stands alone has a label. A place that another value has taken is taken.
"""

import re
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from math import log, log1p
from statistics import median, median_low
from typing import Any, NamedTuple

from gemma_edge.extraction.evidence.search import Occurrence, Span, TextIndex
from gemma_edge.extraction.json_schema import Json, ValuePath, resolve
from gemma_edge.extraction.values import fold

# What a field may be called in a document, and how well the text beside a value says so.

Names = tuple[str, ...]  # the keys that lead to a field; the places in lists are left out
_DEEPEST = 40  # keys of a path; a schema that holds itself ends there
_MOST = 5000  # fields
_WORDS = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])|\d+")
_LABEL_WORDS = re.compile(r"[^\W\d_]+|#")
_GAP = re.compile(r"\s{2,}|[:|\t]\s*")
_KEY, _PARENT, _SAID = 1.0, 0.35, 0.25  # weights of a field's own words, its object's, the rest
_ENOUGH = 0.5  # support from the same line; the lines above are not asked then
_PREFIX = 4  # letters from which the beginning of a word stands for it ("Inv." is not enough)
_ALSO_WORTH = 0.7  # of a word that only means the same
_LABEL_COST = 8  # the last words of a label that are read
_LABEL_WORDS_LOOKED = 80  # characters before a value, on its line
_ABOVE = 3  # lines above a value in which its label may stand
_TAX: Names = ("vat", "gst", "mwst", "ust", "tva", "iva", "btw")
# What forms print for the words of keys; the rest is left to descriptions.
_ALSO: Mapping[str, Names] = {
    "number": ("no", "nr", "num", "#", "id"), "no": ("number", "nr", "#"), "id": ("no", "number"),
    "total": ("due", "payable", "balance"), "tax": _TAX, "taxes": ("tax", *_TAX),
    "vat": ("tax", "mwst"), "rate": ("tax", *_TAX),
    "date": ("dated", "issued"), "quantity": ("qty",), "qty": ("quantity",),
    "price": ("rate", "cost"), "amount": ("total",), "phone": ("tel", "telephone"),
    "customer": ("client", "bill", "buyer"), "vendor": ("seller", "supplier"),
    "po": ("purchase", "order"), "iban": ("account",), "subtotal": ("sub", "net"),
}  # fmt: skip
_EMPTY_WORDS = frozenset(("that", "this", "such", "with", "from", "when", "where", "which")
    + ("value", "field", "string", "number", "null", "format", "example"))  # fmt: skip


class Hint(NamedTuple):
    """What a schema says of a field: its title and description, and whether its values come from
    a list of the schema's own."""

    text: str = ""
    chosen: bool = False


Hints = Mapping[Names, Hint]


def field_hints(source: Json) -> Hints:
    """The hints of a JSON Schema, for each field by the keys that lead to it."""
    found: dict[Names, Hint] = {}
    seen: set[tuple[Names, int]] = set()
    waiting: deque[tuple[Names, Any]] = deque([((), source)])
    while waiting and len(found) < _MOST:
        names, schema = waiting.popleft()
        if not isinstance(schema, dict) or len(names) > _DEEPEST or (names, id(schema)) in seen:
            continue
        seen.add((names, id(schema)))
        before = found.get(names, Hint())
        said = " ".join(str(schema.get(word, "")) for word in ("title", "description"))
        chosen = "enum" in schema or "const" in schema or schema.get("type") == "boolean"
        found[names] = Hint(f"{before.text} {said}".strip(), before.chosen or chosen)
        if isinstance(schema.get("$ref"), str):
            waiting.append((names, resolve(source, schema["$ref"])))
        for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            views = schema.get(keyword)
            waiting.extend((names, view) for view in (views if isinstance(views, list) else ()))
        waiting.append((names, schema.get("items")))
        properties = schema.get("properties")
        if isinstance(properties, dict):
            waiting.extend(((*names, name), sub) for name, sub in properties.items())
    return found


class Labels:
    def __init__(self, index: TextIndex, hints: Hints | None) -> None:
        self._index, self._hints = index, hints or {}
        self._fields: dict[Names, _Field] = {}
        self._known: dict[tuple[Names, Span, bool], float] = {}

    def hint(self, names: Names) -> Hint:
        return self._hints.get(names, Hint())

    def support(self, names: Names, span: Span, *, above: bool = True) -> float:
        asked = (names, span, above)
        if asked not in self._known:
            self._known[asked] = self._support(self._field(names), span, above=above)
        return self._known[asked]

    def _support(self, field: "_Field", span: Span, *, above: bool) -> float:
        line = self._index.line(span.start)
        start = max(self._index.line_span(line).start, span.start - _LABEL_WORDS_LOOKED)
        parts = [part for part in _GAP.split(self._index.text[start : span.start]) if part.strip()]
        nearest = enumerate(reversed(parts))
        best = max((field.match(part) / (1 + at) for at, part in nearest), default=0.0)
        if best >= _ENOUGH or not above:
            return best if best >= _ENOUGH else 0.0
        heads = (self._above(line - up, span) for up in range(1, _ABOVE + 1) if line >= up)
        return max([best, *(0.9**up * field.match(text) for up, text in enumerate(heads))])

    def match(self, names: Names, label: str) -> float:
        """From 0 to 1: how much a text names a field."""
        return self._field(names).match(label)

    def _above(self, line: int, span: Span) -> str:
        shift = self._index.line_span(line).start
        shift -= self._index.line_span(self._index.line(span.start)).start
        for start, end in self._index.parts(line):
            if start < span.end + shift and end > span.start + shift:
                return self._index.text[start:end]
        return ""

    def _field(self, names: Names) -> "_Field":
        if names not in self._fields:
            said = [word for word in split_words(self.hint(names).text) if len(word) >= _PREFIX]
            words = dict.fromkeys((word for word in said if word not in _EMPTY_WORDS), _SAID)
            for name in names[:-1]:
                words.update(dict.fromkeys(split_words(name), _PARENT))
            for name in names[-1:]:
                words.update(dict.fromkeys(split_words(name), _KEY))
            self._fields[names] = _Field(words)
        return self._fields[names]


class _Field:
    def __init__(self, words: Mapping[str, float]) -> None:
        self._words = words
        self._also = {also: word for word in words for also in _ALSO.get(word, ())}
        self._begun: dict[str, str] = {w[:_PREFIX]: w for w in words if len(w) >= _PREFIX}
        self._total = max(_KEY, sum(weight for weight in words.values() if weight >= _KEY))
        self._known: dict[str, float] = {}

    def match(self, label: str) -> float:
        """From 0 to 1: how many of the field's words a label holds, less where it says other
        things too."""
        if label not in self._known:
            said = [fold(word) for word in _LABEL_WORDS.findall(label)][-_LABEL_COST:]
            worth = {word: value for word, value in map(self._met, said) if value}
            found = min(1.0, sum(worth.values()) / self._total)
            self._known[label] = found * (0.6 + 0.4 * len(worth) / len(set(said))) if worth else 0.0
        return self._known[label]

    def _met(self, said: str) -> tuple[str, float]:
        if said in self._words:
            return said, self._words[said]
        begun = self._begun.get(said[:_PREFIX]) if len(said) >= _PREFIX else None
        if begun and (begun.startswith(said) or said.startswith(begun)):
            return begun, self._words[begun]
        also = self._also.get(said)
        return (also, _ALSO_WORTH * self._words[also]) if also else (said, 0.0)


def split_words(text: str) -> list[str]:
    """The words of a key or of a sentence, folded: ``invoiceNumber`` and ``invoice_number`` are
    the same."""
    return [fold(word) for word in _WORDS.findall(text)]


# The leaves of the data as records, and the way that records take down the pages.

_WEAK_CHARS = 2  # a value of so few characters is printed anywhere


@dataclass
class Leaf:
    """A value with the places where it may stand, and the one that was chosen."""

    path: ValuePath
    value: Any
    candidates: Sequence[Occurrence]
    chosen: Occurrence | None = None
    names: Names = field(init=False)  # its keys, without the places in lists

    def __post_init__(self) -> None:
        self.names = tuple(part for part in self.path if isinstance(part, str))

    @property
    def starts(self) -> list[int]:
        return [candidate.span.start for candidate in self.candidates]


@dataclass
class Row:
    """The leaves of one element of a list; ``below`` is where the lists in it begin. Of ``many``
    in one list only the first stand near the heads of their columns, so these say nothing;
    ``guide`` is the leaf that tells such a record from the others best."""

    path: ValuePath
    leaves: list[Leaf] = field(default_factory=list)
    below: int | None = None
    centre: int | None = None
    many: bool = False
    guide: Leaf | None = None


def _cheapest_path(
    steps: Sequence[Sequence[tuple[int, float]]], between: Callable[[int, int], float]
) -> list[int]:
    """One place of each step, so that the costs of the places and of the moves ``between`` them
    are the least in sum (Viterbi)."""
    if not steps:
        return []
    costs = [cost for _, cost in steps[0]]
    origins: list[list[int]] = []  # for each place but the first ones, the one to come from
    for before, here in zip(steps, steps[1:], strict=False):
        best = [
            min((costs[at] + between(other, place), at) for at, (other, _) in enumerate(before))
            for place, _ in here
        ]
        costs = [total + cost for (total, _), (_, cost) in zip(best, here, strict=True)]
        origins.append([at for _, at in best])
    at = min(range(len(costs)), key=costs.__getitem__)
    found = [steps[-1][at][0]]
    for origin, step in zip(reversed(origins), reversed(steps[:-1]), strict=True):
        at = origin[at]
        found.append(step[at][0])
    return found[::-1]


def _record_path(path: ValuePath) -> ValuePath:
    """The element of a list that a leaf is a member of; of a list of plain values at the top, the
    value itself; else the whole document, ``()``."""
    ends = [at + 1 for at, part in enumerate(path) if isinstance(part, int)]
    for end in reversed(ends):
        if end < len(path) and isinstance(path[end], str):
            return path[:end]
    return path[: ends[-1]] if ends else ()


def _depth(record: Row) -> int:
    return sum(isinstance(part, int) for part in record.path)


def _is_weak(value: Any) -> bool:
    return isinstance(value, bool) or _strength(str(value)) <= _WEAK_CHARS


def _strength(text: str) -> int:
    """Characters; one of a script that writes whole words with them counts twice."""
    return sum(1 + (char >= "\u2e80") for char in text if not char.isspace())


# What the records of a list have in common: columns of a table, the rhythm of a form.

MANY = 3  # records from which a list has columns
_HEADS = 4  # lines above the first record in which the heads of its columns may stand
_READ = 24  # records whose fields are looked for in the heads
_CLEAR = 24  # candidates of a value below which its place is worth learning from
_STRONG_HEAD = 0.5  # support from which a text is the head of a field
_RHYTHM = 4.0  # the most that a place off its record's rhythm costs; a line costs 1
_COLUMN = 24.0  # points by which a value may stand beside its column
_OFF_COLUMN = 1.5


class Columns:
    """The lists of one document: where each field stands on its line (left and right, in points or
    in characters), and how many lines from its record's guide."""

    def __init__(self, index: TextIndex, labels: Labels) -> None:
        self._index, self._labels = index, labels
        self._line = cache(index.line)
        self._columns: dict[Names, tuple[float, float]] = {}
        self._apart: dict[Names, int] = {}

    def read_heads(self, records: Sequence[Row]) -> None:
        if len(records) < MANY:
            return
        places = [record.centre for record in records if record.centre is not None]
        first = self._line(min(places)) if places else 0
        fields = {leaf.names for record in records[:_READ] for leaf in record.leaves}
        found: dict[Names, tuple[float, Span]] = {}
        for line in range(max(0, first - _HEADS), first):
            for part in self._index.parts(line):
                text = self._index.text[part.start : part.end]
                for names in fields:
                    match = self._labels.match(names, text)
                    if match >= max(_STRONG_HEAD, found.get(names, (0.0, part))[0]):
                        found[names] = match, part
        if len(found) > 1:
            for names, (_, part) in found.items():
                self._columns[names] = self._edges(part)

    def learn(self, records: Sequence[Row], weights: Mapping[ValuePath, float]) -> bool:
        """From the places that were chosen: where the fields of a list stand on their lines, and
        how many lines from the field that tells its records apart best. Whether there was enough
        to learn from."""
        edges: dict[Names, list[tuple[float, float]]] = {}
        lines: dict[Names, list[int]] = {}
        telling: Counter[Names] = Counter()
        for record in records:
            for leaf in record.leaves:
                if leaf.chosen and len(leaf.candidates) < _CLEAR:
                    edges.setdefault(leaf.names, []).append(self._edges(leaf.chosen.span))
                    telling[leaf.names] += round(100 * weights[leaf.path])
        if not telling:
            return False
        guide = max(telling, key=telling.__getitem__)
        for record in records:
            record.guide = next((leaf for leaf in record.leaves if leaf.names == guide), None)
            for leaf in record.leaves:
                if leaf.chosen and record.guide and record.guide.chosen:
                    apart = self._line_of(leaf.chosen) - self._line_of(record.guide.chosen)
                    lines.setdefault(leaf.names, []).append(apart)
        enough = {names for names, found in edges.items() if len(found) >= MANY}
        for names in enough:
            left, right = zip(*edges[names], strict=True)
            self._columns[names] = (median(left), median(right))
            self._apart[names] = median_low(lines.get(names, [0]))
        return bool(enough)

    def _line_of(self, each: Occurrence) -> int:
        return self._line(each.span.start)

    def off(self, leaf: Leaf, each: Occurrence, record: Row) -> float:
        """What speaks against a place: it is off its column, or off the rhythm of the records."""
        return self._off_rhythm(leaf, each, record) + _OFF_COLUMN * self._off_column(leaf, each)

    def _off_rhythm(self, leaf: Leaf, each: Occurrence, record: Row) -> float:
        guide = record.guide
        if guide is None or guide is leaf or guide.chosen is None or leaf.names not in self._apart:
            return 0.0
        lines = self._line_of(each) - self._line_of(guide.chosen) - self._apart[leaf.names]
        return min(_RHYTHM, abs(lines))

    def _edges(self, span: Span) -> tuple[float, float]:
        return self._index.left_edge(span.start), self._index.left_edge(span.end - 1)

    def _off_column(self, leaf: Leaf, each: Occurrence) -> float:
        column = self._columns.get(leaf.names)
        if column is None:
            return 0.0
        left, right = self._edges(each.span)
        return min(1.0, min(abs(left - column[0]), abs(right - column[1])) / _COLUMN)


_FAR = 8.0  # lines; what stands farther away does not belong together
_CENTRES = 24  # places of a record that are weighed against each other
_LOOKED = 1000  # candidates of one leaf that may be its record's place
_NEAREST = 12  # candidates on either side of a record that are looked at
_LONE = 120  # candidates of a lone field that are looked at
_STRONG_LABEL, _CLOSE = 0.5, 2.5  # what lets such a value stand: its label, or its record (lines)
# Lines from its record within which a value of fewer printed characters must stand.
_REACHES = ((_WEAK_CHARS + 1, _CLOSE), (8, 8.0), (16, 60.0))
_FEW = 6  # candidates of a value that is known by itself
_LITTLE, _TELLS = 0.15, 0.5  # the least weight of a leaf, and that from which its place tells
_BACKWARD, _SAME_PLACE, _LEFTWARD, _JUMP = 3.0, 3.0, 0.8, 0.3  # costs between two records
_TAKEN, _DISORDER, _RANK, _LABEL = 2.5, 0.4, 0.4, 3.0  # costs of a place
_LONE_LABEL, _LONE_RANK, _LATER = 4.0, 1.5, 0.5


class Chooser:
    def __init__(self, index: TextIndex, labels: Labels) -> None:
        self._index, self._labels = index, labels
        self._line = cache(index.line)
        self._taken: dict[int, int] = {}
        self._columns = Columns(index, labels)
        self._weights: dict[ValuePath, float] = {}

    def choose(self, leaves: Sequence[Leaf]) -> None:
        self._weigh(leaves)
        records: dict[ValuePath, Row] = {}
        for leaf in leaves:
            path = _record_path(leaf.path)
            records.setdefault(path, Row(path)).leaves.append(leaf)
        lone = records.pop((), None)
        inner_first = sorted(records.values(), key=_depth, reverse=True)
        for _, level in groupby(inner_first, key=_depth):
            lists: dict[tuple[str | None, ...], list[Row]] = {}
            for record in level:
                steps = (None if isinstance(step, int) else step for step in record.path)
                lists.setdefault(tuple(steps), []).append(record)
            for rows in lists.values():
                self._choose_rows(rows)
                for record in rows:
                    self._begin_above(record, records)
        if lone:
            self._choose_lone(lone.leaves)

    def _begin_above(self, record: Row, records: dict[ValuePath, Row]) -> None:
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
            weight = 1 - log(values[each]) / log(total) if total > 1 else 1.0
            self._weights[leaf.path] = _LITTLE if _is_weak(leaf.value) else max(_LITTLE, weight)

    def _choose_rows(self, records: list[Row]) -> None:
        for record in records:
            record.many = len(records) >= MANY
        self._find_centres(records)
        self._columns.read_heads(records)
        self._assign(records)
        if self._columns.learn(records, self._weights):
            for leaf in (leaf for record in records for leaf in record.leaves if leaf.chosen):
                assert leaf.chosen is not None
                self._taken[leaf.chosen.span.start] -= 1
                leaf.chosen = None
            self._assign(records)

    def _find_centres(self, records: list[Row]) -> None:
        steps = [(record, self._centres(record)) for record in records]
        steps = [(record, centres) for record, centres in steps if centres]
        path = _cheapest_path([centres for _, centres in steps], self._step)
        for (record, _), centre in zip(steps, path, strict=True):
            record.centre = centre

    def _centres(self, record: Row) -> list[tuple[int, float]]:
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

    def _apartness(self, centre: int, record: Row, leaves: list[Leaf]) -> float:
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

    def _near(self, leaf: Leaf, centre: int, count: int) -> Sequence[Occurrence]:
        at = bisect_left(leaf.candidates, centre, key=lambda each: each.span.start)
        return leaf.candidates[max(0, at - count) : at + count + 1]

    def _assign(self, records: Iterable[Row]) -> None:
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

    def _rank(self, leaf: Leaf, record: Row) -> int:
        """The guide of a record first, what says little last."""
        return 2 if self._says_little(leaf) else int(leaf is not record.guide)

    def _cost(self, leaf: Leaf, each: Occurrence, record: Row, previous: int) -> float:
        assert record.centre is not None
        start = each.span.start
        cost = self._distance(record.centre, start) + _RANK * each.rank
        cost += _TAKEN * self._taken.get(start, 0)
        cost += _DISORDER if start < previous else 0.0
        support = self._labels.support(leaf.names, each.span, above=not record.many)
        cost += _LABEL * (1 - support)
        return cost + self._columns.off(leaf, each, record)

    def _is_accepted(self, leaf: Leaf, each: Occurrence, record: Row) -> bool:
        """A value that is printed anywhere needs its record or its label beside it."""
        others = [
            other.chosen.span.start
            for other in record.leaves
            if other is not leaf and other.chosen and not self._says_little(other)
        ]
        weak = _is_weak(leaf.value) or self._labels.hint(leaf.names).chosen
        printed = _strength(self._index.text[each.span.start : each.span.end])
        reaches = (reach for chars, reach in _REACHES if printed < chars)
        reach = _CLOSE if weak else next(reaches, None)
        little = weak or self._says_little(leaf)
        rare = not little and len(leaf.candidates) <= _FEW
        if reach is None or rare or not (little or others):
            return True
        here = self._line(each.span.start)
        close = any(abs(self._line(other) - here) <= reach for other in others)
        return close or self._labels.support(leaf.names, each.span) >= _STRONG_LABEL

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
            weak = _is_weak(leaf.value) or self._labels.hint(leaf.names).chosen
            close = any(self._distance(best.span.start, place) <= _CLOSE for place in near)
            alone = len(leaf.candidates) == 1 and not isinstance(leaf.value, bool)
            named = self._labels.support(leaf.names, best.span) >= _STRONG_LABEL
            if not weak or close or named or alone:
                self._take(leaf, best)

    def _lone_cost(self, leaf: Leaf, each: Occurrence, near: list[int]) -> tuple[float, int]:
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

    def _take(self, leaf: Leaf, each: Occurrence) -> None:
        leaf.chosen = each
        self._taken[each.span.start] = self._taken.get(each.span.start, 0) + 1
