"""How right an extraction is at equal weights: real receipts, against llama-server's code with
``json_schema`` and a plain question. Same model, text and threads, greedy.

    exact_ratio    fields equal to gold, ours / the peer's                   goal 3
    printed_share  of our values, those that the receipt prints              goal 1
    complete_share of our answers, those that are complete and valid         goal 1
    time_ratio     seconds a receipt, the peer's / ours                      goal 1.5

Each is given for every model, under ``models``. A receipt is a text beside its gold answer
(``003.txt``, ``003.gold.json``) in ``--receipts``. The peer reads as many of them as
``--peer-limit`` and ``--peer-seconds`` allow, in turns with ours: with a large vocabulary it needs
a minute for one. Ratios are over those that both read. Run it through ``scripts/bench.py
receipts``.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import BATCH_TOKENS, Peer
from measure import cores, note

from gemma_edge.documents.document import Document, Page
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.protocol import Message, Request
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.json_schema import Checker
from gemma_edge.extraction.pages import Options
from gemma_edge.extraction.recipe import bare_recipe
from gemma_edge.extraction.schema import parse_schema
from gemma_edge.planning.plan import Plan

CONTEXT_TOKENS = 4096
ANSWER_TOKENS = 400
RECEIPTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "receipts"
FIELDS = ("company", "date", "address", "total")
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in FIELDS},
    "required": list(FIELDS),
    "additionalProperties": False,
}
QUESTION = "{text}\n\nExtract the company, date, address and total of this receipt as JSON."
GOALS = {"exact_ratio": 3.0, "printed_share": 1.0, "complete_share": 1.0, "time_ratio": 1.5}


@dataclass(frozen=True, slots=True)
class Receipt:
    """The text of a receipt, and what a person read in it."""

    name: str
    text: str
    gold: dict[str, str]


@dataclass(frozen=True, slots=True)
class Score:
    """One answer: fields that are right, values that were given and those that are printed."""

    exact: int
    given: int
    printed: int
    complete: bool
    seconds: float


def read_receipts(folder: Path, limit: int) -> list[Receipt]:
    """The receipts of a folder, by name."""
    found = []
    for path in sorted(folder.glob("*.gold.json"))[: limit or None]:
        name = path.name.removesuffix(".gold.json")
        text = (folder / f"{name}.txt").read_text(encoding="utf-8")
        found.append(Receipt(name, text, json.loads(path.read_text(encoding="utf-8"))))
    if not found:
        raise SystemExit(f"{folder} has no receipts; --receipts FOLDER")
    return found


def judge(receipt: Receipt, data: Any, complete: bool, seconds: float) -> Score:
    """An answer against gold."""
    values = data if isinstance(data, dict) else {}
    given = [str(values[name]) for name in FIELDS if values.get(name) not in (None, "")]
    exact = sum(_same(values.get(name), receipt.gold[name]) for name in FIELDS)
    text = plain(receipt.text)
    return Score(exact, len(given), sum(plain(v) in text for v in given), complete, seconds)


def _same(value: Any, gold: str) -> bool:
    return value is not None and plain(str(value)) == plain(gold)


def plain(text: str) -> str:
    """In capital letters, without punctuation and white space."""
    return re.sub(r"[\W_]+", "", text.upper())


def ours(engine: LlamaEngine, options: Options) -> Callable[[Receipt], Score]:
    """An extraction as the command does it, but for the process around the engine."""
    recipe = bare_recipe(parse_schema(json.dumps(SCHEMA)))

    def read(receipt: Receipt) -> Score:
        document = Document(receipt.name, (Page(1, receipt.text),))
        start = time.perf_counter()
        result = extract(engine, document, recipe, options)
        seconds = time.perf_counter() - start
        note(f"  {receipt.name} {json.dumps(result.data, ensure_ascii=False)}")
        return judge(
            receipt, result.data, not result.truncated and result.data is not None, seconds
        )

    return read


def theirs(peer: Peer, engine: LlamaEngine, tokens: int) -> Callable[[Receipt], Score]:
    """llama-server's code, with the plain question in the model's own template."""
    schema = json.dumps(SCHEMA)
    checker = Checker(SCHEMA)

    def read(receipt: Receipt) -> Score:
        message = Message("user", QUESTION.format(text=receipt.text))
        prompt = engine.render(Request(messages=(message,))).removeprefix("<bos>")
        start = time.perf_counter()
        run = peer.run(prompt, tokens, schema)
        seconds = time.perf_counter() - start
        try:
            data = json.loads(run.text)
        except ValueError:
            data = None
        note(f"  {receipt.name} peer {run.text[:300]}")
        complete = data is not None and not checker.check(data).problems
        return judge(receipt, data, complete, seconds)

    return read


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
    engine = LlamaEngine(plan)
    limits = Options(max_tokens=options.tokens, free=("all",) if options.free else ())
    read = ours(engine, limits)
    mine: list[Score] = []
    other: list[Score] = []
    peer = None
    try:
        if options.peer_python:
            peer = Peer(options.peer_python, path, options.threads, CONTEXT_TOKENS)
        some = receipts[: options.peer_limit or None]
        for number, receipt in enumerate(receipts):  # in turns, so that both share the weather
            mine.append(read(receipt))
            spent = sum(each.seconds for each in other)
            if (
                peer
                and number < len(some)
                and len(other) == number
                and spent < options.peer_seconds
            ):
                other.append(theirs(peer, engine, options.tokens)(receipt))
    finally:
        if peer:
            peer.close()
        engine.close()
    return figures(mine, other)


def figures(mine: Sequence[Score], other: Sequence[Score]) -> dict[str, Any]:
    """The shares and ratios; over the receipts that both read where they are compared."""
    found: dict[str, Any] = {"receipts": len(mine), "ours": _shares(mine)}
    if other:
        found |= {"peer_receipts": len(other), "peer": _shares(other)}
        same = mine[: len(other)]
        right = sum(each.exact for each in other)
        # Where the peer has nothing right, this is the least that the ratio can be.
        found["exact_ratio"] = round(sum(each.exact for each in same) / max(right, 1), 3)
        spent = [sum(each.seconds for each in some) for some in (same, other)]
        found["time_ratio"] = round(spent[1] / spent[0], 3)
    found["printed_share"] = found["ours"]["printed_share"]
    found["complete_share"] = found["ours"]["complete_share"]
    return found


def _shares(scores: Sequence[Score]) -> dict[str, Any]:
    given = sum(each.given for each in scores)
    printed = sum(each.printed for each in scores)
    return {
        "exact_share": round(sum(each.exact for each in scores) / len(scores) / len(FIELDS), 4),
        "printed_share": round(printed / given, 4) if given else None,
        "complete_share": round(sum(each.complete for each in scores) / len(scores), 4),
        "seconds": round(sum(each.seconds for each in scores) / len(scores), 3),
    }


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", default="", help="without it only ours is measured")
    parser.add_argument("--model", default="")
    parser.add_argument("--instruct", default="")
    parser.add_argument("--receipts", type=Path, default=RECEIPTS)
    parser.add_argument("--limit", type=int, default=0, help="receipts that are read; 0: all")
    parser.add_argument("--peer-limit", type=int, default=0, help="receipts of the peer; 0: all")
    parser.add_argument(
        "--peer-seconds", type=float, default=300, help="after which the peer begins no other one"
    )
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--tokens", type=int, default=ANSWER_TOKENS, help="the longest answer")
    parser.add_argument("--free", action="store_true", help="hold ours to nothing but the schema")
    result = measure(parser.parse_args())
    for name, found in result["models"].items():
        for figure, goal in GOALS.items():
            value = found.get(figure)
            if value is not None:
                reached = "reached" if value >= goal else "missed"
                note(f"{name}: {figure} {value}, goal {goal}: {reached}")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
