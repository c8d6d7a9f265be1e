"""Held-out cases as plain data, the grading of answers, and the table of figures.

``document_cases``, ``chat_cases`` and ``picture_cases`` need neither torch nor llama.cpp, so that
any engine can be measured on them. Their seeds are never used in training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from demo_model import chat, documents, pdf, shapes
from demo_model.documents import Document
from demo_model.words import chance

HELD_OUT = "held out"


@dataclass
class DocumentCase:
    """A document, the form asked of it, and the right values."""

    document: str
    form: str
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
class Figures:
    """Right and asked, by name."""

    right: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    wrong: list[tuple[str, str, str]] = field(default_factory=list)
    """(name, gold, answer) of what was wrong."""

    def count(self, name: str, ok: bool, gold: str = "", answer: str = "") -> None:
        """Add one case."""
        self.right[name] = self.right.get(name, 0) + ok
        self.asked[name] = self.asked.get(name, 0) + 1
        if not ok:
            self.wrong.append((name, gold, answer))

    def table(self) -> str:
        """A Markdown table."""
        lines = ["| held-out cases | right | of | % |", "|-|-:|-:|-:|"]
        for name, asked in self.asked.items():
            right = self.right[name]
            lines.append(f"| {name} | {right} | {asked} | {100 * right / asked:.1f} |")
        return "\n".join(lines)


def _document(rng: Random, size: int, longest: int) -> Document:
    """A business document of at most ``longest`` characters."""
    while True:
        document = documents.business(rng, size)
        if len(document.text) <= longest:
            return document


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
        gold = json.loads(document.answer(fields))
        cases.append(DocumentCase(document.text, document.form(fields), gold))
    return cases


def pdf_cases(seed: int, count: int, folder: Path) -> list[tuple[Path, DocumentCase]]:
    """One-page PDFs with selectable text in ``folder``, each with its case."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for i, case in enumerate(document_cases(seed, count, (0, 1, 2))):
        path = folder / f"document-{i:03d}.pdf"
        pdf.write(path, case.document, f"Document {i}")
        out.append((path, case))
    return out


def record_cases(seed: int, count: int) -> list[DocumentCase]:
    """Lists of made-up labels and values."""
    rng = Random(f"{HELD_OUT}/records/{seed}")
    cases = []
    for _ in range(count):
        document = documents.record(rng, rng.choice((0, 1, 2)))
        fields = documents.pick_fields(rng, document)
        gold = json.loads(document.answer(fields))
        cases.append(DocumentCase(document.text, document.form(fields), gold))
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


def parse(answer: str) -> dict[str, Any]:
    """The JSON of an answer, empty where it is none."""
    try:
        value = json.loads(answer)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def said(answer: str) -> str:
    """An answer without its thought channel."""
    return answer.rsplit("<channel|>", 1)[-1].strip()


def grade_documents(
    figures: Figures, name: str, cases: Iterable[DocumentCase], ask: Callable[[str], str]
) -> None:
    """Ask every case's form and count documents and fields."""
    for case in cases:
        answer = ask(documents.form_prompt(case.document, case.form))
        got = parse(answer)
        same = {key: got.get(key, "") == value for key, value in case.gold.items()}
        gold = json.dumps(case.gold, ensure_ascii=False)
        figures.count(f"{name}, all fields", all(same.values()), gold, answer)
        for key, ok in same.items():
            figures.count(
                f"{name}, field by field", ok, f"{key}: {case.gold[key]}", str(got.get(key))
            )


def grade_chat(figures: Figures, cases: Iterable[ChatCase], ask: Callable[[ChatCase], str]) -> None:
    """Count conversations whose answer is exactly right."""
    for case in cases:
        answer = ask(case)
        ok = said(answer) == case.gold and ("<channel|>" in answer) == case.think
        figures.count(
            case.kind, ok, case.messages[-1]["content"][-60:] + " => " + case.gold, answer
        )


def grade_pictures(
    figures: Figures, cases: Iterable[PictureCase], ask: Callable[[PictureCase], str]
) -> None:
    """Count pictures whose answer is exactly right."""
    for case in cases:
        answer = ask(case)
        figures.count(
            case.kind, said(answer) == case.gold, f"{case.question} => {case.gold}", answer
        )
