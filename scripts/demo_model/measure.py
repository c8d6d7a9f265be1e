"""Measures the two files through llama.cpp on held-out cases. Needs ``llama-cpp-python``."""

from __future__ import annotations

import json
from pathlib import Path

from demo_model import evaluate
from demo_model.evaluate import ChatCase, Figures, PictureCase
from demo_model.runner import Case, Runner

SEED = 2026


def measure(model: Path, projector: Path, count: int) -> Figures:
    """Greedy answers on ``count`` cases of each task, nothing constrained."""
    runner = Runner(model, projector)
    figures = Figures()

    def user(prompt: str) -> str:
        return runner.answer(Case([{"role": "user", "content": prompt}]))

    def talk(case: ChatCase) -> str:
        return runner.answer(Case(case.messages, think=case.think))

    def look(case: PictureCase) -> str:
        return runner.answer(Case([{"role": "user", "content": case.question}], case.images))

    short = evaluate.document_cases(SEED, count, (0, 1))
    evaluate.grade_documents(figures, "short documents", short, user)
    long = evaluate.document_cases(SEED, count, (2, 3, 4))
    evaluate.grade_documents(figures, "long documents", long, user)
    evaluate.grade_documents(figures, "records", evaluate.record_cases(SEED, count // 2), user)
    evaluate.grade_chat(figures, evaluate.question_cases(SEED, count // 2), talk)
    evaluate.grade_chat(figures, evaluate.chat_cases(SEED, 2 * count), talk)
    evaluate.grade_pictures(figures, evaluate.picture_cases(SEED, 2 * count), look)
    runner.close()
    return figures


def by_field(figures: Figures) -> str:
    """Which fields were wrong how often, as one line of JSON."""
    counts: dict[str, int] = {}
    for name, gold, _ in figures.wrong:
        if name.endswith("field by field"):
            key = gold.split(":")[0]
            counts[key] = counts.get(key, 0) + 1
    return json.dumps(counts)
