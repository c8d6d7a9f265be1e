"""What a field may be called in a document, and how well the text beside a value says so. Pure."""

import re
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from gemma_edge.extract.evidence.index import Span, TextIndex
from gemma_edge.extract.schemas.walk import Json, resolve
from gemma_edge.extract.values.types_reading import fold

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
_LABEL = 8  # the last words of a label that are read
_LOOKED = 80  # characters before a value, on its line
_ABOVE = 3  # lines above a value in which its label may stand
# What forms print for the words of keys; the rest is left to descriptions.
_ALSO: Mapping[str, Names] = {
    "number": ("no", "nr", "num", "#", "id"), "no": ("number", "nr", "#"), "id": ("no", "number"),
    "total": ("due", "payable", "balance"), "tax": ("vat", "gst", "mwst"), "vat": ("tax", "mwst"),
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
    """Judges candidates of one document by the text around them."""

    def __init__(self, index: TextIndex, hints: Hints | None) -> None:
        self._index, self._hints = index, hints or {}
        self._fields: dict[Names, _Field] = {}
        self._known: dict[tuple[Names, Span, bool], float] = {}

    def hint(self, names: Names) -> Hint:
        """What is known of a field."""
        return self._hints.get(names, Hint())

    def support(self, names: Names, span: Span, *, above: bool = True) -> float:
        """From 0 to 1: how much the text before a value, or ``above`` it, names its field."""
        asked = (names, span, above)
        if asked not in self._known:
            self._known[asked] = self._support(self._field(names), span, above=above)
        return self._known[asked]

    def _support(self, field: "_Field", span: Span, *, above: bool) -> float:
        line = self._index.line(span.start)
        start = max(self._index.line_span(line).start, span.start - _LOOKED)
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
        """The text of a line that stands above a value, up to the gaps of its column."""
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
    """The words of one field with their weights, ready to be met in many labels."""

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
            said = [fold(word) for word in _LABEL_WORDS.findall(label)][-_LABEL:]
            worth = {word: value for word, value in map(self._met, said) if value}
            found = min(1.0, sum(worth.values()) / self._total)
            self._known[label] = found * (0.6 + 0.4 * len(worth) / len(set(said))) if worth else 0.0
        return self._known[label]

    def _met(self, said: str) -> tuple[str, float]:
        """The field's word that a label's word stands for, and what that is worth."""
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
