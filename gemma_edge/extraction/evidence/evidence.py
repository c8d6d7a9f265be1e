"""Where each extracted value stands in its document: computed from the text, never asked of the
model.

    exact        printed letter for letter (white space apart)
    normalized   printed in another form that means the same: "17. August 2007", "(1,234.50)"
    scaled       printed as 1,234 in a table "in thousands", where the value is 1234000
    fuzzy        something similar is printed; ``score`` says how similar
    not_found    nowhere; the model may have made it up, or taken it from a picture

A value that is null claims nothing and has no evidence.
"""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from gemma_edge.documents.document import E_INVOICE, MAX_TOKENS, Box, Document, Page
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Event,
    JsonConstraint,
    Message,
    Request,
    TokenScore,
)
from gemma_edge.extraction import read_data
from gemma_edge.extraction.evidence.choose import Chooser, Hints, Labels, Leaf
from gemma_edge.extraction.evidence.search import Forms, Occurrence, Place, Status
from gemma_edge.extraction.json_schema import ValuePath, iter_leaves
from gemma_edge.extraction.merge import JsonText
from gemma_edge.records import dataclass

# How sure the model was of each value: a score from its own probabilities.
#
# The walk goes over the answer's JSON text, so that each token belongs to the values whose
# characters it wrote. For one value with the chosen tokens t1 to tn, p the model's probability of
# each before any mask and m the mass of what the constraint allowed there:
#
#     probability = sqrt(geometric mean of p * least p)    one doubtful digit is enough to doubt
#     legal       = least m                                the model wanted something else
#     score       = probability * legal * ground
#
# `ground` is 1 for exact, 0.97 for normalized, 0.95 for scaled, the similarity for fuzzy, 0.8 for
# a box that the model gave, 0.5 for not found. It is a score, not a probability: it orders values,
# and `eval` can show how often a score is right.

_GROUND: Mapping[str, float] = {"exact": 1.0, "normalized": 0.97, "scaled": 0.95}
_LOCATED, _NOT_FOUND = 0.8, 0.5
_TINY = 1e-9  # a probability of 0 has no logarithm


class Confidence(NamedTuple):
    """Of one leaf; both from 0 to 1, see above."""

    probability: float
    legal: float


def leaf_confidence(
    answer_text: str, scores: Sequence[TokenScore]
) -> Mapping[ValuePath, Confidence]:
    """The confidence of each leaf of an answer, null too. A value that was dictated by the
    constraint was not chosen, and counts as sure."""
    found: dict[ValuePath, Confidence] = {}
    ends = list(accumulate(len(score.text) for score in scores))
    for path, start, end in JsonText(answer_text).leaves:
        tokens = scores[bisect_right(ends, start) : bisect_right(ends, end - 1) + 1]
        found[path] = _of([token for token in tokens if not token.forced])
    return found


def confidence_score(own: Confidence, status: str, similarity: float, source: str) -> float:
    ground = _GROUND.get(status, similarity if status == "fuzzy" else _NOT_FOUND)
    if source == "located":
        ground = max(ground, _LOCATED)
    return round(own.probability * own.legal * ground, 3)


def _of(tokens: Sequence[TokenScore]) -> Confidence:
    if not tokens:
        return Confidence(1.0, 1.0)
    logs = [math.log(max(_TINY, token.probability)) for token in tokens]
    probability = math.exp((sum(logs) / len(logs) + min(logs)) / 2)
    return Confidence(min(1.0, probability), min(1.0, *(token.legal for token in tokens)))


# The row that an entry of a list was read from: its page, as a number from 0 of those with text,
# and its lines, as places in the text of that page.
Rows = Mapping[ValuePath, tuple[int, Sequence[tuple[int, int]]]]
Source = Literal["text", "ocr layer", "located"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One leaf of the data and its place. Of a page of a file that came with the document
    ``file`` names both, ``mail.eml > bill.pdf``, and ``file_page`` counts in that.

    ``score`` is 0 to 1. ``start`` and ``end`` are offsets in the text of ``page``, ``text`` is
    what is printed there, ``boxes`` are in points, one for each line of it; ``further`` holds the
    rest of a value that goes on over the end of the page, or in the cells below. ``places`` counts
    where else it could stand. ``source`` is ``located`` where only the model says so: then there is
    a box, but no text, and ``status`` stays ``not_found``. ``confidence`` is a score from 0 to 1,
    no probability, and None where the answer's tokens were not scored.
    """

    path: ValuePath
    value: Any
    status: Status = "not_found"
    score: float = 0.0
    page: int | None = None
    start: int | None = None
    end: int | None = None
    text: str = ""
    boxes: tuple[Box, ...] = ()
    further: tuple[Place, ...] = ()
    places: int = 0
    source: Source = "text"
    confidence: float | None = None
    file: str = ""
    file_page: int | None = None

    @property
    def found(self) -> bool:
        return self.status != "not_found"


def ground(
    document: Document,
    data: Any,
    printed: Any = None,
    hints: Hints | None = None,
    rows: Rows | None = None,
) -> tuple[Evidence, ...]:
    """Evidence for each leaf of ``data`` that is not null, in the order of the data.

    ``printed`` is the data as the model copied it, before it was converted: a date there is looked
    for as it was copied. ``hints`` (``field_hints`` of the schema) name the fields as a document
    may. ``rows`` is where entries of lists stand that were read from rows (``place_rows``): their
    values stand there.
    """
    forms = Forms(document)
    leaves = []
    for path, value in iter_leaves(data):
        if value is not None:
            found = _occurrences(forms, value, _copied(printed, path))
            leaves.append(Leaf(path, value, _in_row(forms, rows or {}, path, found)))
    Chooser(forms.index, Labels(forms.index, hints)).choose(leaves)
    return tuple(_evidence(document.name, forms, leaf) for leaf in leaves)


def _named(name: str, page: Page, each: Evidence) -> Evidence:
    """The same with the file that its page is of, where that came with the document ``name``."""
    if not page.file:
        return each
    return replace(each, file=f"{name} > {page.file}", file_page=page.file_page)


def with_confidence(
    evidence: tuple[Evidence, ...], known: Mapping[ValuePath, Confidence]
) -> tuple[Evidence, ...]:
    """The same with a score for each leaf whose tokens are known, or that of the value it was
    made of (``total`` for ``total.amount``)."""
    found = []
    for each in evidence:
        lengths = range(len(each.path), -1, -1)
        own = next((known[each.path[:n]] for n in lengths if each.path[:n] in known), None)
        score = own and confidence_score(own, each.status, each.score, each.source)
        found.append(replace(each, confidence=score))
    return tuple(found)


def _copied(printed: Any, path: ValuePath) -> Any:
    """What the model copied for a leaf, or for the object that was made of it; None where that is
    not known."""
    for part in path:
        if not isinstance(printed, dict | list):
            break
        try:
            printed = printed[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return None
    return printed if isinstance(printed, str | int | float) else None


def _in_row(forms: Forms, rows: Rows, path: ValuePath, found: list[Occurrence]) -> list[Occurrence]:
    """Those places of a value that are in the row of its entry, all where none is."""
    for size in range(len(path) + 1 if rows else 0):
        page, lines = rows.get(path[:size], (0, ()))
        spans = [forms.index.span_of(page, *line) for line in lines]
        inside = [
            each for each in found if any(start <= each.span.start < end for start, end in spans)
        ]
        found = inside or found
    return found


def _occurrences(forms: Forms, value: Any, copied: Any) -> list[Occurrence]:
    """Places of what was copied, then of what it means; what was converted is at best
    normalized."""
    found = forms.candidates(value)
    if copied is None or copied == value:
        return found
    copies = [
        each._replace(status="normalized" if each.status == "exact" else each.status, rank=0)
        for each in forms.candidates(copied)
    ]
    return copies or found


def _evidence(name: str, forms: Forms, leaf: Leaf) -> Evidence:
    chosen = leaf.chosen
    if chosen is None:
        return Evidence(path=leaf.path, value=leaf.value, places=len(leaf.candidates))
    spans = (chosen.span, *chosen.further)
    first, *further = (place for span in spans for place in forms.index.places(span))
    page = forms.index.page_at(chosen.span.start)
    found = Evidence(
        path=leaf.path,
        value=leaf.value,
        status=chosen.status,
        score=round(chosen.score, 3),
        page=first.page,
        start=first.start,
        end=first.end,
        text="\n".join(forms.index.text[start:end] for start, end in spans),
        boxes=first.boxes,
        further=tuple(further),
        places=len(leaf.candidates),
        source="ocr layer" if page.kind.endswith("ocr-layer") else "text",
    )
    return _named(name, page, found)


# The second pass for pages without text: the model is asked where the values stand that it read
# from pictures. A box of the model is a claim, not a proof: such evidence is marked `located` and
# stays `not_found` in the text. Boxes are `[y0, x0, y1, x1]` in thousandths of the page, as Gemma
# was trained to give them.

_SCALE = 1000  # Gemma's boxes count to it
_WITH_IMAGES = frozenset(("scan", "scan+ocr-layer", "mixed"))
_BATCH = 24  # values in one question
_SHOWN = 80  # characters of a value in the question
_LARGEST = 0.5  # of a page: a larger box says nothing
_ANSWER_TOKENS = 32  # of one value: four numbers, its own number, brackets
_BOX: dict[str, Any] = {
    "anyOf": [
        {
            "type": "array", "minItems": 4, "maxItems": 4,
            "items": {"type": "integer", "minimum": 0, "maximum": _SCALE},
        },
        {"type": "null"},
    ]
}  # fmt: skip


def locate(
    engine: Engine,
    document: Document,
    evidence: Sequence[Evidence],
    *,
    max_tokens: int = MAX_TOKENS,
    on_event: Callable[[Event], None] | None = None,
) -> tuple[Evidence, ...]:
    """The evidence, with a box for each value that the text does not hold and that the model sees
    on a page without text; ``max_tokens`` is the budget of one page's picture.

    One question a page and 24 values; a value that was seen on one page is not asked on the next.
    Nothing is asked where the model has no eyes, or no page is a picture.

    Raises:
        InputError: a page cannot be drawn.
        DoesNotFit, EngineError: from the engine.
    """
    found = list(evidence)
    for page in document.pages if engine.info.vision else ():
        if page.kind not in _WITH_IMAGES or not document.can_draw(page):
            continue
        missing = [at for at, each in enumerate(found) if each.page is None]
        if not missing:
            break
        from gemma_edge.documents.images import render_page  # noqa: PLC0415

        pictures = render_page(document, page.number, max_tokens=max_tokens)
        for first in range(0, len(missing), _BATCH):
            asked = missing[first : first + _BATCH]
            message = Message("user", render_question([found[at] for at in asked]), pictures)
            answer = _ask(engine, message, len(asked), on_event)
            for number, box in _boxes(answer, page):
                if number <= len(asked):
                    at = asked[number - 1]
                    seen = replace(found[at], page=page.number, boxes=(box,), source="located")
                    found[at] = _named(document.name, page, seen)
    return tuple(found)


def render_question(values: Sequence[Evidence]) -> str:
    lines = []
    for number, each in enumerate(values, 1):
        keys = ".".join(str(part + 1) if isinstance(part, int) else part for part in each.path)
        text = each.value if isinstance(each.value, str) else json.dumps(each.value)
        lines.append(f"{number}: {keys}: {' '.join(text.split())[:_SHOWN]}")
    return read_data("prompts/locate.txt").replace("{values}", "\n".join(lines)).strip()


def _ask(
    engine: Engine, message: Message, count: int, on_event: Callable[[Event], None] | None
) -> str:
    properties = {str(number): _BOX for number in range(1, count + 1)}
    schema = {
        "type": "object", "properties": properties, "required": list(properties),
        "additionalProperties": False,
    }  # fmt: skip
    request = Request(
        messages=(message,),
        max_tokens=_ANSWER_TOKENS * count,
        sampling=GREEDY,
        constraint=JsonConstraint(schema=json.dumps(schema)),
    )
    answer = ""
    for event in engine.generate(request):
        if on_event is not None:
            on_event(event)
        if isinstance(event, Chunk) and event.channel == "answer":
            answer += event.text
    return answer


_COUNT = re.compile("[0-9]{1,9}")


def _boxes(answer: str, page: Page) -> Iterator[tuple[int, Box]]:
    """The numbers of the values that were seen, with their boxes in the page's own units. What is
    no box within the page, or most of the page, is left out."""
    try:
        said = json.loads(answer)
    except ValueError:
        return
    for number, box in said.items() if isinstance(said, dict) else ():
        if not (_COUNT.fullmatch(str(number)) and int(number) and isinstance(box, list)):
            continue
        if len(box) != len(Box._fields) or not all(isinstance(edge, int) for edge in box):
            continue
        y0, x0, y1, x1 = box
        if 0 <= y0 < y1 <= _SCALE and 0 <= x0 < x1 <= _SCALE:
            area = (y1 - y0) * (x1 - x0) / _SCALE**2
            if area <= _LARGEST:
                wide, high = page.width / _SCALE, page.height / _SCALE
                yield int(number), Box(x0 * wide, y0 * high, x1 * wide, y1 * high)


# What an invoice prints, and what the same invoice says as data (Factur-X and the like): where they
# differ, a person has to see both.

_NUMBER = re.compile(r"[0-9][0-9.,'’\u00a0\u202f]{0,20}")
_TOTAL = (
    r"(?:grand total|invoice total|total amount|total due|amount due|gesamtbetrag|rechnungsbetrag"
    r"|endbetrag|gesamtsumme|bruttobetrag|zahlbetrag|zu zahlen|total ttc|net à payer|totale"
    r"|importe total|totaal|total)\b"
)
_OF_INVOICE = r"(?:invoice|rechnung|facture|factura|fattura|factuur)s?"
_NO = r"(?:number|nummer|numéro|número|numero|no|nr|n°|nº|#)"
_DAY = r"(?:invoice date|rechnungsdatum|factuurdatum|\bdate|\bdatum|\bfecha|\bdata)"
# Of a line of the data: how its value is to be looked for, and what stands before a printed one.
_COMPARED: Mapping[str, tuple[type, re.Pattern[str]]] = {
    "Invoice number": (str, re.compile(rf"{_OF_INVOICE}[ -]?{_NO}[.:]{{0,2}} {{0,9}}(\S{{1,40}})")),
    "Invoice date": (
        str,
        re.compile(rf"{_DAY}[.:]{{0,2}} {{1,9}}(\S{{1,12}}(?: \S{{1,12}}){{0,2}})"),
    ),
    "Total": (float, re.compile(_TOTAL)),
    "IBAN": (str, re.compile(r"\b([a-z]{2}[0-9]{2}(?: ?[a-z0-9]{2,4}){3,9})\b")),
}


def differences(document: Document) -> tuple[str, ...]:
    """A line for each invoice as data that says other things than the pages that it belongs to: its
    number, day, total or account, with what is printed."""
    notes = []
    for page in document.pages:
        if not page.reason.startswith(E_INVOICE):
            continue
        holder = page.file.rpartition(" > ")[0]
        printed = tuple(
            each for each in document.pages
            if each.text and not each.reason.startswith(E_INVOICE) and holder in ("", each.file)
        )  # fmt: skip
        found = list(_differences(page, replace(document, pages=printed))) if printed else []
        if found:
            what = "what is printed and what the invoice says as data differ"
            notes.append(f"{document.place(page)}: {what}: {'; '.join(found)}")
    return tuple(notes)


def _differences(page: Page, printed: Document) -> Iterator[str]:
    forms = Forms(printed)
    lines = (line.partition(": ") for line in reversed(page.text.splitlines()))
    values = {label: value for label, _, value in lines if value}  # the first of each
    for label, (kind, before) in _COMPARED.items():
        said = values.get(label)
        try:
            value = kind(said) if said else None
        except ValueError:
            continue
        there = forms.candidates(value) if value is not None else [None]
        if not any(each is None or each.status in ("exact", "normalized") for each in there):
            other = _printed_beside(label, before, printed)
            shown = f"printed {other}" if other else "it is not printed"
            name = label if label.isupper() else label.lower()
            yield f"{name} {said} as data, {shown}"


def _printed_beside(label: str, before: re.Pattern[str], printed: Document) -> str:
    """The value that the pages print for it, "" where none is found: of several totals the last."""
    found = ""
    for page in printed.pages:
        for line in page.text.splitlines():
            match = before.search(line.lower())
            if match is None:
                continue
            if label == "Total":
                numbers = _NUMBER.findall(line, match.end())
                found = numbers[-1].rstrip(".,") if numbers else found
            elif not found:
                found = line[match.start(1) : match.end(1)].strip()
    return found
