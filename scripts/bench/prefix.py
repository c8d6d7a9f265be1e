"""A second question about a document: its first token against that of the first question, which
read the document. Each round has a document of its own, and processes of its own.

    same_process_ratio  another question / the first one, in one process         goal 0.02
    new_process_ratio   another question in a new process / the first one        goal 0.10
    with_load_ratio     the same, with the start of the process and of the model on both sides
    kept_bytes          what the document takes on the disk
    saved_seconds       what the engine itself says that it saved

Run it through ``scripts/bench.py prefix``, which makes what it needs.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import cores, note

from gemma_edge.engine import load
from gemma_edge.engine.protocol import GREEDY, Chunk, Engine, Finished, Message, Request
from gemma_edge.planning.plan import Plan

HERE = Path(__file__).parent
GOALS = {"same_process_ratio": 0.02, "new_process_ratio": 0.10}
QUESTIONS = ("Who wrote this document?", "What is the total of all invoices?")
_ANSWER_TOKENS, _SPARE_TOKENS = 4, 1024


def document(number: int, engine: Engine, tokens: int) -> str:
    """Invoices one after another, of about so many tokens, and unlike those of another round."""
    page = (HERE / "invoice.txt").read_text(encoding="utf-8")
    size = engine.count(Request(messages=(Message("user", page),))).total_tokens
    pages = [f"Round {number}, page {each}\n{page}" for each in range(max(1, tokens // size))]
    return "\n\n".join(pages)


def ask(engine: Engine, text: str, question: str) -> tuple[float, Finished]:
    """Seconds to the first token, and how the answer ended."""
    whole = f"{text}\n\n---\n"
    message = Message("user", whole + question, documents=(len(whole),))
    request = Request(messages=(message,), sampling=GREEDY, max_tokens=_ANSWER_TOKENS)
    begun, first, finished = time.perf_counter(), 0.0, None
    for event in engine.generate(request):
        if isinstance(event, Chunk):
            first = first or time.perf_counter() - begun
        elif isinstance(event, Finished):
            finished = event
    assert finished is not None
    return first, finished


def one_round(number: int, plan: Plan, tokens: int) -> dict[str, float]:
    """The seconds of one round, by name, and what was read and kept."""
    assert plan.remember is not None
    begun = time.perf_counter()
    engine = load(plan)
    try:
        _ = engine.info
        loaded = time.perf_counter() - begun
        text = document(number, engine, tokens)
        first, read = ask(engine, text, QUESTIONS[0])
        same, _ = ask(engine, text, QUESTIONS[1])
    finally:
        engine.close()
    begun = time.perf_counter()
    engine = load(plan)
    try:
        _ = engine.info
        loaded_again = time.perf_counter() - begun
        new, taken = ask(engine, text, QUESTIONS[1])
    finally:
        engine.close()
    if not taken.usage.restored_tokens:
        raise RuntimeError("the second process took nothing from the disk")
    newest = max(plan.remember.rglob("*.kv"), key=lambda path: path.stat().st_mtime)
    found = {
        "first_seconds": first, "same_process_seconds": same, "new_process_seconds": new,
        "same_process_ratio": same / first, "new_process_ratio": new / first,
        "with_load_ratio": (loaded_again + new) / (loaded + first),
        "prompt_tokens": read.usage.prompt_tokens, "kept_bytes": newest.stat().st_size,
        "saved_seconds": taken.timings.saved_seconds,
    }  # fmt: skip
    note(f"round {number}: " + ", ".join(f"{name} {each:.3f}" for name, each in found.items()))
    return found


def summary(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Medians, with the least and the most of the ratios."""
    found: dict[str, Any] = {}
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        found[name] = round(statistics.median(values), 4)
        if name.endswith("_ratio"):
            found[f"{name}_spread"] = [round(min(values), 4), round(max(values), 4)]
    return found


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", help="not needed here")
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=10_000, help="of the document")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(
            model=Path(options.model), context_tokens=options.tokens + _SPARE_TOKENS,
            batch_tokens=512, threads=options.threads, remember=Path(folder),
        )  # fmt: skip
        rounds = [one_round(each, plan, options.tokens) for each in range(1, options.rounds + 1)]
    result = summary(rounds)
    for name, goal in GOALS.items():
        reached = "reached" if result[name] <= goal else "missed"
        note(f"{name} {result[name]}, goal {goal}: {reached}")
    sys.stdout.write(json.dumps({**result, "rounds": options.rounds}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
