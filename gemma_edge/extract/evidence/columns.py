"""What the records of a list have in common: columns of a table, the rhythm of a form. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import median, median_low

from gemma_edge.extract.evidence.forms import Candidate
from gemma_edge.extract.evidence.index import Span, TextIndex
from gemma_edge.extract.evidence.labels import Labels, Names
from gemma_edge.extract.evidence.leaves import Leaf, Record
from gemma_edge.extract.paths import ValuePath

MANY = 3  # records from which a list has columns
_HEADS = 4  # lines above the first record in which the heads of its columns may stand
_READ = 24  # records whose fields are looked for in the heads
_CLEAR = 24  # candidates of a value below which its place is worth learning from
_STRONG_LABEL = 0.5  # support from which a text is the head of a field
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

    def read_heads(self, records: Sequence[Record]) -> None:
        """The columns of a table by their heads, where at least two fields have one."""
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
                    if match >= max(_STRONG_LABEL, found.get(names, (0.0, part))[0]):
                        found[names] = match, part
        if len(found) > 1:
            for names, (_, part) in found.items():
                self._columns[names] = self._edges(part)

    def learn(self, records: Sequence[Record], weights: Mapping[ValuePath, float]) -> bool:
        """From the places that were chosen: where the fields of a list stand on their lines, and
        how many lines from the field that tells its records apart best. Whether there was enough
        to learn from."""
        edges: dict[Names, list[tuple[float, float]]] = {}
        lines: dict[Names, list[int]] = {}
        told: Counter[Names] = Counter()
        for record in records:
            for leaf in record.leaves:
                if leaf.chosen and len(leaf.candidates) < _CLEAR:
                    edges.setdefault(leaf.names, []).append(self._edges(leaf.chosen.span))
                    told[leaf.names] += round(100 * weights[leaf.path])
        if not told:
            return False
        guide = max(told, key=told.__getitem__)
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

    def _line_of(self, each: Candidate) -> int:
        return self._line(each.span.start)

    def off(self, leaf: Leaf, each: Candidate, record: Record) -> float:
        """What speaks against a place: it is off its column, or off the rhythm of the records."""
        return self._off_rhythm(leaf, each, record) + _OFF_COLUMN * self._off_column(leaf, each)

    def _off_rhythm(self, leaf: Leaf, each: Candidate, record: Record) -> float:
        """Lines by which a place differs from where the field stands in the other records."""
        guide = record.guide
        if guide is None or guide is leaf or guide.chosen is None or leaf.names not in self._apart:
            return 0.0
        lines = self._line_of(each) - self._line_of(guide.chosen) - self._apart[leaf.names]
        return min(_RHYTHM, abs(lines))

    def _edges(self, span: Span) -> tuple[float, float]:
        return self._index.left_edge(span.start), self._index.left_edge(span.end - 1)

    def _off_column(self, leaf: Leaf, each: Candidate) -> float:
        column = self._columns.get(leaf.names)
        if column is None:
            return 0.0
        left, right = self._edges(each.span)
        return min(1.0, min(abs(left - column[0]), abs(right - column[1])) / _COLUMN)
