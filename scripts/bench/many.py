"""Many short documents with one recipe: documents a minute, one at a time, several at once, and
with one call each to llama-server's code. Same model, texts, schema and threads, greedy.

    many_ratio   documents a minute of ours, so many at once, over the peer's     goal 3
    at_once      the same over ours, one at a time
    alone_ratio  ours, one at a time, over the peer's

Documents are the receipts of ``bench.py receipts``. Ours are extracted as the command does it, by
an engine in a process of its own. Runs take turns in rounds of ``--round`` documents, the peer
reads the first ``--peer-limit`` of each round. Run it through ``scripts/bench.py many``.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from engine import BATCH_TOKENS, Peer
from measure import cores, note
from receipts import RECEIPTS, SCHEMA, Receipt, read_receipts, theirs

from gemma_edge.documents.document import Document, Page
from gemma_edge.engine import load
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.protocol import Engine
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import Options
from gemma_edge.extraction.recipe import Recipe, bare_recipe
from gemma_edge.extraction.schema import parse_schema
from gemma_edge.planning.plan import Plan

CONTEXT_TOKENS = 16_384
PEER_CONTEXT_TOKENS = 4096
ANSWER_TOKENS = 400
GOALS = {"many_ratio": 3.0}


def read_all(
    engine: Engine, recipe: Recipe, options: Options, receipts: Sequence[Receipt], count: int
) -> list[Any]:
    """The data of each, so many at once."""

    def read(receipt: Receipt) -> Any:
        document = Document(receipt.name, (Page(1, receipt.text),))
        return extract(engine, document, recipe, options).data

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(read, receipts))


def timed(work: Callable[[], list[Any]]) -> tuple[float, list[Any]]:
    """Seconds, and what it gives."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, by model."""
    receipts = read_receipts(options.receipts, options.limit)
    paths = [path for path in (options.instruct, options.model) if path]
    return {"models": {Path(path).name: _measure_model(path, receipts, options) for path in paths}}


def _measure_model(
    path: str, receipts: Sequence[Receipt], options: argparse.Namespace
) -> dict[str, Any]:
    note(Path(path).name)
    plan = Plan(
        model=Path(path), context_tokens=CONTEXT_TOKENS, batch_tokens=BATCH_TOKENS,
        threads=options.threads,
    )  # fmt: skip
    recipe = bare_recipe(parse_schema(json.dumps(SCHEMA)))
    limits = Options(max_tokens=options.tokens)
    renders = LlamaEngine(replace(plan, context_tokens=512))
    engines = {
        count: load(replace(plan, sequences=count, patient=True)) for count in (1, options.at_once)
    }
    peer: Peer | None = None
    seconds = dict.fromkeys((1, options.at_once, 0), 0.0)
    documents = dict.fromkeys(seconds, 0)
    same = 0
    try:
        for engine in engines.values():
            read_all(engine, recipe, limits, receipts[:1], 1)  # what is read once
        if options.peer_python:
            peer = Peer(options.peer_python, path, options.threads, PEER_CONTEXT_TOKENS)
        for start in range(0, len(receipts), options.round):
            some = receipts[start : start + options.round]
            found = {}
            for count, engine in engines.items():
                work = partial(read_all, engine, recipe, limits, some, count)
                spent, found[count] = timed(work)
                seconds[count] += spent
                documents[count] += len(some)
            same += sum(map(_is_same, found[1], found[options.at_once]))
            if peer and seconds[0] < options.peer_seconds:
                asked = some[: options.peer_limit]
                ask = theirs(peer, renders, options.tokens)
                spent, _ = timed(lambda ask=ask, asked=asked: [ask(each) for each in asked])  # type: ignore[misc]
                seconds[0] += spent
                documents[0] += len(asked)
            note(f"  {seconds} {documents}")
    finally:
        if peer:
            peer.close()
        for engine in engines.values():
            engine.close()
        renders.close()
    rate = {count: 60 * documents[count] / seconds[count] for count in seconds if seconds[count]}
    return _figures(rate, options.at_once) | {"documents": len(receipts), "same_data": same}


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other)


def _figures(rate: dict[int, float], count: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "documents_a_minute": {
            "alone": round(rate[1], 1), "many": round(rate[count], 1),
            "peer": round(rate.get(0, 0.0), 1),
        },
        "at_once": round(rate[count] / rate[1], 2),
    }  # fmt: skip
    if 0 in rate:
        found["alone_ratio"] = round(rate[1] / rate[0], 2)
        found["many_ratio"] = round(rate[count] / rate[0], 2)
    return found


def main() -> int:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="")
    parser.add_argument("--instruct", default="")
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--receipts", type=Path, default=RECEIPTS)
    parser.add_argument("--limit", type=int, default=50, help="documents (default: 50)")
    parser.add_argument("--round", type=int, default=10, help="documents a round")
    parser.add_argument("--peer-limit", type=int, default=3, help="of the peer in each round")
    parser.add_argument("--peer-seconds", type=float, default=300.0)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=ANSWER_TOKENS)
    parser.add_argument("--threads", type=int, default=cores())
    json.dump(measure(parser.parse_args()), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
