"""Sample texts of every task, to learn the vocabulary from and to check the tokenizer with."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from demo_model import asks, chat, documents, papers, shapes


def prompts() -> list[str]:
    """What the shipped recipes ask, without a document."""
    return [asks.question(each) for each in (*asks.kinds(), asks.recipe("general"))]


def sample_texts(seed: int, count: int) -> Iterator[str]:
    """Texts of every task, to learn the vocabulary from."""
    rng = Random(f"{seed}/texts")
    for _ in range(count):
        paper = papers.random_paper(rng, rng.choice((0, 1, 2)))
        yield paper.text
        yield asks.ask_some(rng, paper).rest
        yield asks.ask_kind(rng, paper).rest
        document = documents.random_document(rng, rng.choice((0, 1)))
        asked = asks.ask_plain(document, documents.pick_fields(rng, document))
        yield asked.prompt + asked.answer
        yield " ".join(documents.question(rng, document))
        held = chat.conversation(rng)
        yield held.system or ""
        for turn in held.turns:
            yield f"{turn.user} {turn.answer} {turn.thought}"
        for _ in range(3):
            scene = shapes.scene(rng, 400, 400)
            yield " ".join(q + " " + a for q, a in scene.questions(rng))
            yield " ".join(q + " " + a for q, a in shapes.pair_questions(rng, scene, scene))
        yield "system user model thought document says the null string number "
