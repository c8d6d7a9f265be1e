"""How often the bundled model is right on held-out cases, through gemma-edge itself.

    documents_right   fields of invoices, bills, receipts and letters, read from PDF files
    pictures_right    descriptions and questions, one or two pictures
    chat_right        conversations with follow-up questions, system turns, thoughts

A document is written as a PDF, opened by the same function as a person's, and extracted under its
schema; a picture goes through the same resizing. Graded by equality, nothing is forgiven. Run it
through ``scripts/bench.py accuracy``.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SCRIPTS))

from demo_model import evaluate, pdf  # noqa: E402
from measure import note  # noqa: E402

from gemma_edge import catalog  # noqa: E402
from gemma_edge.description import describe  # noqa: E402
from gemma_edge.documents.images import fit_picture  # noqa: E402
from gemma_edge.documents.open import open_document  # noqa: E402
from gemma_edge.engine import load  # noqa: E402
from gemma_edge.engine.protocol import (  # noqa: E402
    GREEDY,
    Chunk,
    Engine,
    Event,
    Message,
    Request,
)
from gemma_edge.extraction.job import extract  # noqa: E402
from gemma_edge.extraction.recipe import bare_recipe  # noqa: E402
from gemma_edge.extraction.schema import parse_schema  # noqa: E402
from gemma_edge.planning.plan import Plan  # noqa: E402

SEED = 2027  # not the trainer's own
CONTEXT_TOKENS, BATCH_TOKENS = 4096, 512
GOAL = 0.95
SHOWN = 3  # wrong answers printed of each task

Case = tuple[str, bool, str]  # kind, right?, what was wrong


def documents(engine: Engine, count: int) -> Iterator[Case]:
    """Each field of each document is a case."""
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(evaluate.document_cases(SEED, count)):
            path = Path(folder) / f"{number}.pdf"
            pdf.write(path, case.document, "held out")
            recipe = bare_recipe(parse_schema(_schema(case.form)))
            result = extract(engine, open_document(path), recipe)
            got = result.data or {}
            for field, value in case.gold.items():
                kind = "null" if value is None else "value"
                wrong = f"{field}: {value!r} read as {got.get(field)!r}"
                yield kind, got.get(field) == value, wrong


def _schema(form: str) -> str:
    """``{"vendor": string}`` as the JSON Schema that asks for it."""
    names = {"string": {"type": "string"}, "number": {"type": "number"}}
    fields = dict(entry.rsplit(": ", 1) for entry in form.strip("{}").split(", "))
    properties = {json.loads(name): names[kind] for name, kind in fields.items()}
    return json.dumps({"type": "object", "properties": properties, "required": list(properties)})


def pictures(engine: Engine, image_tokens: int, count: int) -> Iterator[Case]:
    """Pictures of any size, alone and in pairs."""
    for case in evaluate.picture_cases(SEED, count):
        shown = [fit_picture(image, "held out", image_tokens) for image in case.images]
        said = _text(describe(engine, shown, case.question, sampling=GREEDY))
        yield case.kind, said == case.gold, f"{case.question} {case.gold!r}, said {said!r}"


def chat(engine: Engine, count: int) -> Iterator[Case]:
    """Conversations up to a user turn."""
    for case in evaluate.chat_cases(SEED, count):
        roles: dict[str, Any] = {"assistant": "model"}
        messages = tuple(
            Message(roles.get(m["role"], m["role"]), m["content"]) for m in case.messages
        )
        request = Request(messages=messages, think=case.think, sampling=GREEDY, max_tokens=200)
        said = _text(engine.generate(request))
        yield case.kind, said == case.gold, f"{case.messages[-1]['content']!r}: {said!r}"


def _text(events: Iterator[Event]) -> str:
    answer = (e.text for e in events if isinstance(e, Chunk) and e.channel == "answer")
    return "".join(answer).strip()


def summarize(cases: Iterator[Case]) -> dict[str, Any]:
    """The share of right answers, in all and by kind."""
    right: dict[str, int] = {}
    asked: dict[str, int] = {}
    shown = 0
    for kind, ok, wrong in cases:
        asked[kind] = asked.get(kind, 0) + 1
        right[kind] = right.get(kind, 0) + ok
        if not ok and shown < SHOWN:
            note(f"  wrong: {wrong}")
            shown += 1
    total = sum(asked.values())
    return {
        "right": sum(right.values()),
        "asked": total,
        "share": round(sum(right.values()) / total, 4),
        "by_kind": {kind: round(right[kind] / asked[kind], 4) for kind in sorted(asked)},
    }


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="cases of each task")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    files = catalog.resolve("demo")
    plan = Plan(
        model=files.model, projector=files.projector, threads=options.threads, gpu_layers=-1,
        context_tokens=CONTEXT_TOKENS, batch_tokens=BATCH_TOKENS,
    )  # fmt: skip
    engine = load(plan)
    result = {
        "documents_right": summarize(documents(engine, options.count)),
        "pictures_right": summarize(pictures(engine, files.image_tokens, options.count)),
        "chat_right": summarize(chat(engine, options.count)),
    }
    engine.close()
    for name, figure in result.items():
        reached = "reached" if figure["share"] >= GOAL else "missed"
        note(f"{name} {figure['share']:.3f} of {figure['asked']}, goal {GOAL}: {reached}")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
