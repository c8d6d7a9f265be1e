"""The engine in a process of its own against the same engine here, by the listener's clock.

Overhead is taken on the bundled model: it takes a fraction of a millisecond a token, so what a
process more costs is not lost in the noise. The ratio is taken on a model of a real size.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from measure import Run, alternate

from gemma_edge.engine import load
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.protocol import (
    Chunk,
    Engine,
    Finished,
    JsonConstraint,
    Message,
    Request,
    Sampling,
)
from gemma_edge.planning.plan import Plan

ROUNDS = 15
# Some 290 tokens, each one chosen: the bundled model ends a free answer after a few.
LONG = Request(
    messages=(Message("user", "x"),),
    max_tokens=400,
    sampling=Sampling(temperature=1.0, seed=3),
    constraint=JsonConstraint(schema='{"type": "string", "minLength": 250}'),
)


def run_client(engine: Engine, request: Request) -> Run:
    """One answer as its listener sees it: from the first piece of text to the end."""
    first, pieces = 0.0, []
    for event in engine.generate(request):
        if isinstance(event, Chunk):
            first = first or time.perf_counter()
            pieces.append(event.text)
    seconds = time.perf_counter() - first
    assert isinstance(event, Finished)
    usage = event.usage
    return Run(usage.prompt_tokens, usage.generated_tokens - 1, seconds, "".join(pieces))


def measure_overhead(model: Path, plan: Plan) -> dict[str, Any]:
    """Milliseconds a token that the process costs more, on ``model``, with one thread."""
    plan = replace(plan, model=model, threads=1)
    here, there = LlamaEngine(plan), load(plan)
    subjects = {name: partial(run_client, engine, LONG) for name, engine in (
        ("demo here", here), ("demo worker", there))}  # fmt: skip
    try:
        return overhead(alternate(subjects, ROUNDS))
    finally:
        there.close()
        here.close()


def overhead(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """The median of the rounds' own differences, in milliseconds a token."""
    here, there = ([1e3 / run.rate for run in taken] for taken in runs.values())
    differences = [more - less for less, more in zip(here, there, strict=True)]
    return {
        "ms": round(statistics.median(differences), 3),
        "here_ms": round(statistics.median(here), 3),
        "worker_ms": round(statistics.median(there), 3),
        "spread": [round(min(differences), 3), round(max(differences), 3)],
        "rounds": len(differences),
        "same_text": len({run.text for taken in runs.values() for run in taken}) == 1,
    }
