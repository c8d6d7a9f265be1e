"""What an extraction costs under a schema: the time to the complete, valid answer, against
llama-server's grammar. Same model, prompt, schema and threads, greedy, in turns.

    schema_ratio            llama-server's decode time to a complete answer / ours    goal 1.5
    schema_token_ratio      tokens a second while decoding, ours / llama-server's
    constraint_ms_per_token what holding the schema costs a token of ours             goal 1 ms

A token that llama-server spends on white space counts in its time and in its tokens: what a person
waits for is the answer. Where llama-server has no valid answer within ``--tokens`` (``complete``
says so), the ratio is a lower bound. The model is the public instruct model where there is one: a
base model often ends nothing by itself. Run it through ``scripts/bench.py extract``, which makes
what it needs.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from engine import BATCH_TOKENS, Peer, run_engine
from measure import Run, alternate, cores, note, ratio

from gemma_edge.engine.answer import RunningAnswer
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.protocol import GREEDY, JsonConstraint, Request
from gemma_edge.extraction.json_schema import Checker
from gemma_edge.extraction.pages import PageInput, PageQuestion, make_message
from gemma_edge.extraction.schema import Schema, parse_schema
from gemma_edge.planning.plan import Plan

CONTEXT_TOKENS = 4096
ROWS = 3  # of invoice.txt
HERE = Path(__file__).parent
RATIO_GOAL, CONSTRAINT_GOAL_MS = 1.5, 1.0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, by name."""
    schema = bounded_schema()
    sheet = PageInput(1, (HERE / "invoice.txt").read_text(encoding="utf-8"))
    message = make_message([sheet], PageQuestion(schema.form()), several=False)
    held = json.dumps(schema.decoding)
    request = Request(
        messages=(message,), max_tokens=options.tokens, sampling=GREEDY,
        constraint=JsonConstraint(schema=held),
    )  # fmt: skip
    model = options.instruct or options.model
    plan = Plan(
        model=Path(model), context_tokens=CONTEXT_TOKENS, batch_tokens=BATCH_TOKENS,
        threads=options.threads,
    )  # fmt: skip
    engine = LlamaEngine(plan)
    peer = Peer(options.peer_python, model, options.threads, CONTEXT_TOKENS)
    prompt = engine.render(request).removeprefix("<bos>")  # the peer adds Gemma's itself
    subjects = {
        "ours": partial(run_engine, engine, request),
        "server": partial(peer.run, prompt, options.tokens, held),
    }
    try:
        runs = alternate(subjects, options.rounds)
        cost = constraint_cost(engine, request, runs["ours"][0].text)
    finally:
        peer.close()
        engine.close()
    found = figures(runs, schema, options.tokens)
    return {"model": Path(model).name, **found, "constraint_ms_per_token": cost}


def bounded_schema() -> Schema:
    """The invoice's schema with no more rows than the invoice has: a small model seldom ends a
    list by itself."""
    source = json.loads((HERE / "invoice.schema.json").read_text(encoding="utf-8"))
    source["properties"]["items"]["maxItems"] = ROWS
    return parse_schema(json.dumps(source))


def figures(runs: dict[str, list[Run]], schema: Schema, limit: int) -> dict[str, Any]:
    """Ratios from the runs, after a look whether they can be compared at all."""
    ours, server = runs["ours"], runs["server"]
    if ours[0].prompt_tokens != server[0].prompt_tokens:
        raise RuntimeError(
            f"the prompts differ: {ours[0].prompt_tokens}, {server[0].prompt_tokens}"
        )
    return {
        "schema_ratio": time_ratio(ours, server),
        "schema_token_ratio": ratio(ours, server),
        "prompt_tokens": ours[0].prompt_tokens,
        "answer_tokens": {name: taken[0].tokens for name, taken in runs.items()},
        "complete": {
            name: taken[0].tokens < limit and is_valid(taken[0].text, schema.checker)
            for name, taken in runs.items()
        },
    }


def time_ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Any]:
    """The ratio of the median decode times, theirs to ours, and the spread of the rounds' own."""
    pairs = [other.seconds / mine.seconds for mine, other in zip(ours, theirs, strict=True)]
    medians = [statistics.median(run.seconds for run in runs) for runs in (ours, theirs)]
    return {
        "ratio": round(medians[1] / medians[0], 3),
        "ours_seconds": round(medians[0], 3),
        "theirs_seconds": round(medians[1], 3),
        "spread": [round(min(pairs), 3), round(max(pairs), 3)],
        "rounds": len(pairs),
    }


def is_valid(text: str, checker: Checker) -> bool:
    """Whether an answer is JSON that the schema accepts."""
    try:
        return not checker.check(json.loads(text)).problems
    except ValueError:
        return False


def constraint_cost(engine: LlamaEngine, request: Request, text: str) -> dict[str, Any]:
    """Milliseconds a token for all that the constraint does: the same answer followed again, as
    the decode loop follows it, without evaluating anything."""
    taken = [_follow(engine, request, text.encode()) for _ in range(5)]
    return {
        "ms": round(statistics.median(taken), 4),
        "spread": [round(min(taken), 4), round(max(taken), 4)],
    }


def _follow(engine: LlamaEngine, request: Request, text: bytes) -> float:
    answer: RunningAnswer = engine._answer(request, request.max_tokens or CONTEXT_TOKENS)
    piece, tokenize = engine._model.piece, engine._model.tokenize
    said = b"".join(map(piece, answer.opening()))
    spent, tokens = 0.0, 0
    while answer.reason is None and len(said) < len(text):
        token = tokenize(text[len(said) :].decode(), special=False)[0]
        constraint = answer.constraint
        assert constraint is not None
        start = time.perf_counter()
        constraint.allowed(token)
        following = answer.step(token)
        spent += time.perf_counter() - start
        tokens += len(following)
        said += b"".join(map(piece, following))
    return 1000 * spent / max(tokens, 1)


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--instruct", default="", help="an instruct model, measured instead")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=700, help="the longest answer")
    result = measure(parser.parse_args())
    found = result["schema_ratio"]["ratio"]
    reached = "reached" if found >= RATIO_GOAL else "missed"
    bound = (
        "" if result["complete"]["server"] else " (at least: the server's answer is not complete)"
    )
    note(f"schema_ratio {found}{bound}, goal {RATIO_GOAL}: {reached}")
    cost = result["constraint_ms_per_token"]["ms"]
    reached = "reached" if cost < CONSTRAINT_GOAL_MS else "missed"
    note(f"constraint_ms_per_token {cost}, goal {CONSTRAINT_GOAL_MS}: {reached}")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
