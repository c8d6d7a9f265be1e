"""What the bundled model is trained on: made-up documents, the product's prompts, right answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from demo_model import asks, papers  # noqa: E402

from gemma_edge.documents.document import Document, Page  # noqa: E402
from gemma_edge.engine.constraint import TextConstraint  # noqa: E402
from gemma_edge.engine.grounding import without_marks  # noqa: E402
from gemma_edge.engine.protocol import JsonConstraint  # noqa: E402
from gemma_edge.extraction.job import extract  # noqa: E402
from gemma_edge.extraction.pages import Options  # noqa: E402
from gemma_edge.extraction.recognition import GENERAL, Known, recognize  # noqa: E402
from tests.scripted import ScriptedEngine  # noqa: E402

KINDS = sorted(papers.MAKERS)
FREE = {"document_type", "payment_method", "kind", "language"}


def made(kind: str, count: int, *, held_out: bool = False) -> list[papers.Paper]:
    """Documents of one kind and all sizes."""
    rng = Random(f"test/{kind}/{held_out}")
    return [papers.MAKERS[kind](rng, number % 3, held_out=held_out) for number in range(count)]


def document(paper: papers.Paper) -> Document:
    """A paper as the product opens it."""
    return Document("paper", (Page(1, paper.text),))


def leaves(value: Any, name: str = "") -> list[tuple[str, str]]:
    """All texts in an answer with the names of their fields."""
    if isinstance(value, dict):
        return [pair for key, each in value.items() for pair in leaves(each, key)]
    if isinstance(value, list):
        return [pair for each in value for pair in leaves(each, name)]
    return [] if value is None else [(name, value)]


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_each_word_of_an_answer_is_printed(kind: str, held_out: bool) -> None:
    for paper in made(kind, 40, held_out=held_out):
        for name, text in leaves(paper.gold):
            if name not in FREE:
                missing = [word for word in text.split() if word not in paper.text]
                assert not missing, f"{name}: {text}\n{paper.text}"


@pytest.mark.parametrize("kind", KINDS)
def test_amounts_of_lines_make_the_printed_sums(kind: str) -> None:
    """The checks of the recipe hold for the right answer."""
    failed = 0
    for paper in made(kind, 30):
        result = asks.recipe(kind).finish(asks.gold_of(paper), paper.text)
        failed += any(each.check for each in result.failures)
    assert failed <= 2  # a short date may be read another way round


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_has_the_schema_s_form_and_only_what_is_open_is_learned(kind: str) -> None:
    for paper in made(kind, 6):
        rng = Random(paper.text)
        for ask in (asks.ask_recipe(paper), asks.ask_some(rng, paper), asks.ask_line(rng, paper)):
            if ask is None:
                continue
            held = TextConstraint(JsonConstraint(schema=json.dumps(without_marks(ask.schema))))
            for text, chosen in ask.pieces:
                if not chosen:
                    assert held.forced().startswith(text)
                assert held.take(text), (text, ask.answer)
            assert held.complete


@pytest.mark.parametrize("kind", KINDS)
def test_the_prompt_is_what_the_product_asks(kind: str) -> None:
    paper = made(kind, 1)[0]
    ask = asks.ask_recipe(paper)
    engine = ScriptedEngine([ask.answer] * 3)
    extract(engine, document(paper), asks.recipe(kind), Options())
    assert ask.prompt in [request.messages[0].text for request in engine.requests]


def test_the_question_for_the_kind_is_what_the_product_asks() -> None:
    known = Known(asks.kinds(), asks.recipe(GENERAL))
    for paper in made("receipt", 40):  # the first where the words leave a doubt
        engine = ScriptedEngine(['"receipt"'] * 2)
        recognize(engine, document(paper), known, Options())
        if engine.requests:
            break
    asked = engine.requests[-1].messages[0].text
    ask = asks.ask_kind(Random(1), paper)
    assert asked.startswith(ask.shared)
    assert asked.removeprefix(ask.shared).split("\n")[0] == ask.rest.split("\n")[0]


def test_two_draws_are_the_same_and_held_out_documents_are_others() -> None:
    assert [p.text for p in made("receipt", 5)] == [p.text for p in made("receipt", 5)]
    shown = {line.split(":")[0] for p in made("invoice", 300) for line in p.text.split("\n")}
    kept = {line.split(":")[0] for p in made("invoice", 300, held_out=True)
            for line in p.text.split("\n")}  # fmt: skip
    assert any(" > " in line for line in kept - shown)
    assert not any(" > " in line for line in shown)
