"""Held-out cases as plain data. Their seeds are never used in training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from demo_model import chat, documents, papers, pdf, shapes
from demo_model.documents import Digits, Document
from demo_model.papers import Paper
from demo_model.words import chance

HELD_OUT = "held out"


@dataclass
class DocumentCase:
    """A document, the JSON Schema asked of it, and the right values."""

    document: str
    schema: dict[str, Any]
    gold: dict[str, Any]


@dataclass
class ChatCase:
    """A conversation up to a user turn, and the right answer."""

    messages: list[dict[str, str]]
    gold: str
    think: bool = False
    kind: str = ""


@dataclass
class PictureCase:
    """One or two pictures, a question, and the right answer."""

    images: list[Image.Image]
    question: str
    gold: str
    kind: str = ""


@dataclass
class PaperCase:
    """A document of ``papers.py`` as a file, and as it was drawn."""

    path: Path
    paper: Paper


def _document(rng: Random, size: int, longest: int) -> Document:
    """A business document of at most ``longest`` characters."""
    while True:
        document = documents.business(rng, size)
        if len(document.text) <= longest:
            return document


def _document_case(document: Document, fields: list[str]) -> DocumentCase:
    values = document.gold(fields)
    gold = {name: float(v) if isinstance(v, Digits) else v for name, v in values.items()}
    return DocumentCase(document.text, document.schema(fields), gold)


def document_cases(
    seed: int, count: int, sizes: tuple[int, ...] = (0, 1, 2, 3, 4)
) -> list[DocumentCase]:
    """Invoices, bills, receipts and letters with all or some of their fields asked."""
    rng = Random(f"{HELD_OUT}/documents/{seed}/{sizes}")
    cases = []
    for _ in range(count):
        document = _document(rng, rng.choice(sizes), 1600)
        fields = (
            list(document.values)[:7] if chance(rng, 0.5) else documents.pick_fields(rng, document)
        )
        cases.append(_document_case(document, fields))
    return cases


def paper_cases(
    seed: int, kind: str, count: int, folder: Path, *, unfamiliar: bool
) -> Iterator[PaperCase]:
    """Documents of a kind as PDF files in ``folder``; ``unfamiliar`` ones with labels, separators
    and orders of their parts that training never shows."""
    rng = Random(f"{HELD_OUT}/{kind}/{seed}{'' if unfamiliar else '/familiar'}")
    for number in range(count):
        paper = papers.MAKERS[kind](rng, rng.choice((0, 1, 1, 2)), held_out=unfamiliar)
        path = folder / f"{kind}-{number:03d}.pdf"
        pdf.write(path, paper.text, "held out")
        yield PaperCase(path, paper)


def record_cases(seed: int, count: int) -> list[DocumentCase]:
    """Lists of made-up labels and values."""
    rng = Random(f"{HELD_OUT}/records/{seed}")
    cases = []
    for _ in range(count):
        document = documents.record(rng, rng.choice((0, 1, 2)))
        fields = documents.pick_fields(rng, document)
        cases.append(_document_case(document, fields))
    return cases


def question_cases(seed: int, count: int) -> list[ChatCase]:
    """Plain questions about a document."""
    rng = Random(f"{HELD_OUT}/questions/{seed}")
    cases = []
    for _ in range(count):
        document = _document(rng, rng.choice((0, 1, 2)), 1600)
        asked, gold = documents.question(rng, document)
        prompt = documents.question_prompt(document.text, asked)
        cases.append(ChatCase([{"role": "user", "content": prompt}], gold, kind="question"))
    return cases


def chat_cases(seed: int, count: int) -> list[ChatCase]:
    """Conversations cut at a random user turn; a quarter with thinking on."""
    rng = Random(f"{HELD_OUT}/chat/{seed}")
    cases = []
    for _ in range(count):
        held = chat.conversation(rng)
        upto = rng.randint(1, len(held.turns))
        messages = [{"role": "system", "content": held.system}] if held.system else []
        for turn in held.turns[: upto - 1]:
            messages += [{"role": "user", "content": turn.user},
                         {"role": "assistant", "content": turn.answer}]  # fmt: skip
        last = held.turns[upto - 1]
        messages.append({"role": "user", "content": last.user})
        think = chance(rng, 0.25)
        kind = "chat, thinking" if think else "chat, system turn" if held.system else "chat"
        cases.append(ChatCase(messages, last.answer, think, kind))
    return cases


def picture_cases(seed: int, count: int) -> list[PictureCase]:
    """Pictures of any size: descriptions, counts, colours, shapes; a quarter are pairs."""
    rng = Random(f"{HELD_OUT}/pictures/{seed}")
    cases = []
    for _ in range(count):
        pair = chance(rng, 0.25)
        scenes, images = [], []
        for _ in range(2 if pair else 1):
            side = rng.randint(180, 900)
            ratio = rng.choice((1, 1.33, 1.5, 0.75, 0.67))
            scenes.append(shapes.scene(rng, int(side * ratio), side))
            images.append(shapes.draw(rng, scenes[-1]))
        asked = shapes.pair_questions(rng, *scenes) if pair else scenes[0].questions(rng)
        question, gold = asked[0] if chance(rng, 0.7) else rng.choice(asked[1:])
        described = (question, gold) == asked[0]
        kind = (
            "two pictures" if pair else "picture, description" if described else "picture, question"
        )
        cases.append(PictureCase(images, question, gold, kind))
    return cases
