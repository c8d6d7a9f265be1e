"""Measures two files through gemma-edge itself, on held-out cases; without torch or gguf.

A document is written as a PDF, opened by the same function as a person's, and extracted under its
recipe or schema; a picture goes through the same resizing. Graded by equality of what values mean:
of a document, every value that either side has is a case, and one that was not there to be found
is wrong as well.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo_model import asks, evaluate, pdf
from demo_model.papers import MAKERS
from gemma_edge import catalog
from gemma_edge.description import describe
from gemma_edge.documents.images import fit_picture
from gemma_edge.documents.open import open_document
from gemma_edge.engine import load
from gemma_edge.engine.protocol import GREEDY, Chunk, Engine, Event, Message, Request
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import Options
from gemma_edge.extraction.recipe import bare_recipe
from gemma_edge.extraction.recognition import GENERAL, Known, recognize
from gemma_edge.extraction.schema import parse_schema
from gemma_edge.extraction.scoring import iter_cells
from gemma_edge.planning.plan import Plan

SEED = 2027
CONTEXT_TOKENS, BATCH_TOKENS, ANSWER_TOKENS = 4096, 512, 200
IMAGE_TOKENS = 130
UNFAMILIAR = "unfamiliar "
"""Before the names of figures on documents whose print training never showed."""

Case = tuple[str, bool, str]  # kind, right?, what was wrong


@dataclass
class Figure:
    """Right and asked by kind, and what was wrong."""

    right: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, case: Case) -> None:
        """Count a case."""
        kind, ok, wrong = case
        self.asked[kind] = self.asked.get(kind, 0) + 1
        self.right[kind] = self.right.get(kind, 0) + ok
        if not ok:
            self.wrong.append(wrong)

    @property
    def share(self) -> float:
        """The share of right answers."""
        return sum(self.right.values()) / max(sum(self.asked.values()), 1)

    def as_data(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "right": sum(self.right.values()), "asked": sum(self.asked.values()),
            "share": round(self.share, 4),
            "by_kind": {kind: round(self.right[kind] / self.asked[kind], 4)
                        for kind in sorted(self.asked)},
        }  # fmt: skip


def measure(model: Path, projector: Path, count: int, threads: int = 1) -> dict[str, Figure]:
    """``count`` cases of each task, half as many documents of each kind."""
    plan = Plan(
        model=model, projector=projector, threads=threads, gpu_layers=-1,
        context_tokens=CONTEXT_TOKENS, batch_tokens=BATCH_TOKENS,
    )  # fmt: skip
    engine = load(plan)
    figures: dict[str, Figure] = {"kinds": Figure(), UNFAMILIAR + "kinds": Figure()}
    for before in ("", UNFAMILIAR):
        for kind in MAKERS:
            cases = paper_values(
                engine, kind, max(1, count // 2), figures[before + "kinds"], bool(before)
            )
            figures[before + kind] = _count(cases)
    figures["documents"] = _count(document_fields(engine, count))
    figures["pictures"] = _count(pictures(engine, count))
    figures["chat"] = _count(chat(engine, count))
    engine.close()
    return figures


def _count(cases: Iterator[Case]) -> Figure:
    figure = Figure()
    for case in cases:
        figure.add(case)
    return figure


def paper_values(
    engine: Engine, kind: str, count: int, kinds: Figure, unfamiliar: bool
) -> Iterator[Case]:
    """Each value of documents that are read with nothing but their name, as the command does it;
    ``kinds`` counts what they were recognized as."""
    trust = catalog.resolve("demo").trust
    known, options = Known(asks.kinds(), asks.recipe(GENERAL)), Options(trust=trust)
    with tempfile.TemporaryDirectory() as folder:
        for case in evaluate.paper_cases(SEED, kind, count, Path(folder), unfamiliar=unfamiliar):
            document = open_document(case.path)
            recipe = recognize(engine, document, known, options).recipe
            right = recipe.name == kind
            kinds.add((kind, right, f"{kind} taken for {recipe.name}"))
            if not right:
                yield "kind", False, f"{kind} read as {recipe.name}"
                continue
            gold = recipe.finish(asks.gold_of(case.paper), document.text).data
            got = extract(engine, document, recipe, options).data or {}
            computed = {each.name for each in recipe.compute}
            for cell in iter_cells(gold, got):
                if cell.path[0] in computed:
                    continue
                if cell.gold is not None or cell.found is not None:
                    wrong = f"{cell.field}: {cell.gold!r} read as {cell.found!r}"
                    yield cell.field, cell.is_right, wrong


def document_fields(engine: Engine, count: int) -> Iterator[Case]:
    """Each field of invoices, bills, receipts, letters and plain records, asked by a schema."""
    cases = evaluate.document_cases(SEED, count) + evaluate.record_cases(SEED, count // 4)
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(cases):
            path = Path(folder) / f"{number}.pdf"
            pdf.write(path, case.document, "held out")
            recipe = bare_recipe(parse_schema(json.dumps(case.schema)))
            result = extract(engine, open_document(path), recipe, Options())
            got = result.data or {}
            for name, value in case.gold.items():
                kind = "null" if value is None else "value"
                wrong = f"{name}: {value!r} read as {got.get(name)!r}"
                yield kind, got.get(name) == value, wrong


def pictures(engine: Engine, count: int) -> Iterator[Case]:
    """Pictures of any size, alone and in pairs."""
    for case in evaluate.picture_cases(SEED, count):
        shown = [fit_picture(image, "held out", IMAGE_TOKENS) for image in case.images]
        said = _text(describe(engine, shown, case.question, sampling=GREEDY))
        yield case.kind, said == case.gold, f"{case.question} {case.gold!r}, said {said!r}"


def chat(engine: Engine, count: int) -> Iterator[Case]:
    """Conversations up to a user turn, and plain questions about documents."""
    roles: dict[str, Any] = {"assistant": "model"}
    for case in evaluate.chat_cases(SEED, count) + evaluate.question_cases(SEED, count // 4):
        messages = tuple(
            Message(roles.get(each["role"], each["role"]), each["content"])
            for each in case.messages
        )
        request = Request(
            messages=messages, think=case.think, sampling=GREEDY, max_tokens=ANSWER_TOKENS
        )
        said = _text(engine.generate(request))
        yield case.kind, said == case.gold, f"{case.messages[-1]['content'][-60:]!r}: {said!r}"


def _text(events: Iterator[Event]) -> str:
    answer = (e.text for e in events if isinstance(e, Chunk) and e.channel == "answer")
    return "".join(answer).strip()
