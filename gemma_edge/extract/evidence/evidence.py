"""Where each extracted value stands in its document: computed from the text, never asked of the
model. Pure.

    exact        printed letter for letter (white space apart)
    normalized   printed in another form that means the same: "17. August 2007", "(1,234.50)"
    fuzzy        something similar is printed; ``score`` says how similar
    not_found    nowhere; the model may have made it up, or taken it from a picture

A value that is null claims nothing and has no evidence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gemma_edge.documents import Box, Document
from gemma_edge.extract.evidence.choice import Chooser
from gemma_edge.extract.evidence.confidence import Confidence, confidence_score
from gemma_edge.extract.evidence.forms import Candidate, Forms, Status
from gemma_edge.extract.evidence.index import Place
from gemma_edge.extract.evidence.labels import Hints, Labels
from gemma_edge.extract.evidence.leaves import Leaf
from gemma_edge.extract.paths import ValuePath

Source = Literal["text", "ocr layer", "located"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One leaf of the data and its place.

    ``score`` is 0 to 1. ``start`` and ``end`` are offsets in the text of ``page``, ``text`` is
    what is printed there, ``boxes`` are in points, one for each line of it; ``further`` holds the
    rest of a value that goes on over the end of the page. ``places`` counts where else it could
    stand. ``source`` is ``located`` where only the model says so: then there is a box, but no
    text, and ``status`` stays ``not_found``. ``confidence`` is a score from 0 to 1, no
    probability, and None where the answer's tokens were not scored.
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

    @property
    def found(self) -> bool:
        """Whether the document's own text holds it."""
        return self.status != "not_found"


def ground(
    document: Document, data: Any, printed: Any = None, hints: Hints | None = None
) -> tuple[Evidence, ...]:
    """Evidence for each leaf of ``data`` that is not null, in the order of the data.

    ``printed`` is the data as the model copied it, before it was converted: a date there is looked
    for as it was copied. ``hints`` (``field_hints`` of the schema) name the fields as a document
    may.
    """
    forms = Forms(document)
    leaves = [
        Leaf(path, value, _candidates(forms, value, _copied(printed, path)))
        for path, value in iter_leaves(data)
        if value is not None
    ]
    objects = frozenset(_objects(data))
    Chooser(forms.index, Labels(forms.index, hints)).choose(leaves, objects)
    return tuple(_evidence(forms, leaf) for leaf in leaves)


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


def iter_leaves(data: Any, *, empty: bool = False) -> Iterator[tuple[ValuePath, Any]]:
    """The values of JSON data that hold no others, each with its path; ``empty`` lists and objects
    only where they are asked for."""
    waiting: list[tuple[ValuePath, Any]] = [((), data)]
    while waiting:
        here, value = waiting.pop()
        if isinstance(value, dict) and (value or not empty):
            waiting.extend(((*here, key), member) for key, member in reversed(value.items()))
        elif isinstance(value, list) and (value or not empty):
            numbered = list(enumerate(value))
            waiting.extend(((*here, at), member) for at, member in reversed(numbered))
        else:
            yield here, value


def _objects(data: Any) -> Iterator[ValuePath]:
    """The paths of elements of lists that are objects."""
    waiting: list[tuple[ValuePath, Any]] = [((), data)]
    while waiting:
        here, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(((*here, key), member) for key, member in value.items())
        elif isinstance(value, list):
            waiting.extend(((*here, at), member) for at, member in enumerate(value))
            yield from ((*here, at) for at, member in enumerate(value) if isinstance(member, dict))


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


def _candidates(forms: Forms, value: Any, copied: Any) -> list[Candidate]:
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


def _evidence(forms: Forms, leaf: Leaf) -> Evidence:
    chosen = leaf.chosen
    if chosen is None:
        return Evidence(path=leaf.path, value=leaf.value, places=len(leaf.candidates))
    first, *further = forms.index.places(chosen.span)
    kind = forms.index.page_at(chosen.span.start).kind
    return Evidence(
        path=leaf.path,
        value=leaf.value,
        status=chosen.status,
        score=round(chosen.score, 3),
        page=first.page,
        start=first.start,
        end=first.end,
        text=forms.index.text[chosen.span.start : chosen.span.end],
        boxes=first.boxes,
        further=tuple(further),
        places=len(leaf.candidates),
        source="ocr layer" if kind.endswith("ocr-layer") else "text",
    )
