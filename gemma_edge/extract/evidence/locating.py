"""The second pass for pages without text: the model is asked where the values stand that it read
from pictures. Pure over the Engine.

A box of the model is a claim, not a proof: such evidence is marked ``located`` and stays
``not_found`` in the text. Boxes are ``[y0, x0, y1, x1]`` in thousandths of the page, as Gemma was
trained to give them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

from gemma_edge.documents import Box, Document, Page, render_page
from gemma_edge.documents.picture import MAX_TOKENS
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Event,
    JsonConstraint,
    Message,
    Request,
)
from gemma_edge.extract.evidence.evidence import Evidence

SCALE = 1000  # Gemma's boxes count to it
LOOKED_AT = frozenset(("scan", "scan+ocr-layer", "mixed"))
_BATCH = 24  # values in one question
_SHOWN = 80  # characters of a value in the question
_LARGEST = 0.5  # of a page: a larger box says nothing
_ANSWER_TOKENS = 32  # of one value: four numbers, its own number, brackets
_BOX: dict[str, Any] = {
    "anyOf": [
        {
            "type": "array", "minItems": 4, "maxItems": 4,
            "items": {"type": "integer", "minimum": 0, "maximum": SCALE},
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
    if document.media == "text" or not engine.info.vision:
        return tuple(found)
    for page in document.pages:
        if page.kind not in LOOKED_AT:
            continue
        missing = [at for at, each in enumerate(found) if each.page is None]
        if not missing:
            break
        pictures = render_page(document, page.number, max_tokens=max_tokens)
        for first in range(0, len(missing), _BATCH):
            asked = missing[first : first + _BATCH]
            message = Message("user", render_question([found[at] for at in asked]), pictures)
            answer = _ask(engine, message, len(asked), on_event)
            for number, box in _boxes(answer, page):
                if number <= len(asked):
                    at = asked[number - 1]
                    found[at] = replace(found[at], page=page.number, boxes=(box,), source="located")
    return tuple(found)


def render_question(values: Sequence[Evidence]) -> str:
    """The user's turn: the values by number, each with the keys that lead to it."""
    template = (
        files("gemma_edge.extract.evidence").joinpath("locate.txt").read_text(encoding="utf-8")
    )
    lines = []
    for number, each in enumerate(values, 1):
        keys = ".".join(str(part + 1) if isinstance(part, int) else part for part in each.path)
        text = each.value if isinstance(each.value, str) else json.dumps(each.value)
        lines.append(f"{number}: {keys}: {' '.join(text.split())[:_SHOWN]}")
    return template.replace("{values}", "\n".join(lines)).strip()


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


def _boxes(answer: str, page: Page) -> Iterator[tuple[int, Box]]:
    """The numbers of the values that were seen, with their boxes in the page's own units. What is
    no box within the page, or most of the page, is left out."""
    try:
        said = json.loads(answer)
    except ValueError:
        return
    for number, box in said.items() if isinstance(said, dict) else ():
        if not (str(number).isdecimal() and int(number) and isinstance(box, list)):
            continue
        if len(box) != len(Box._fields) or not all(isinstance(edge, int) for edge in box):
            continue
        y0, x0, y1, x1 = box
        if 0 <= y0 < y1 <= SCALE and 0 <= x0 < x1 <= SCALE:
            area = (y1 - y0) * (x1 - x0) / SCALE**2
            if area <= _LARGEST:
                wide, high = page.width / SCALE, page.height / SCALE
                yield int(number), Box(x0 * wide, y0 * high, x1 * wide, y1 * high)
