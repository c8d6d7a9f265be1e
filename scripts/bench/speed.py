"""How fast answers come against llama-server's code: same model, prompt, threads, greedy, in turns.

    receipts   seconds a receipt, the peer's with ``json_schema`` / ours               goal 2.5
    json       an invoice under a schema, tokens a second while decoding, ours / peer's    2.5
    summary    of a letter, the same; the peer drafts nothing                              1.5
    rewriting  of the letter, the same                                                     1.5
    chat       a question without a text, the same                                         1.0

For each model, with the spread of the rounds. ``receipts`` counts all that a person waits for, the
reading too; ``peer_complete`` is the share of the peer's answers that end and are valid within
``--tokens`` (where they do not, the ratio is the least that it can be). ``bound`` is the ratio if
our answers took no time at all: what the reading of the prompts leaves. ``draft`` is what was
drafted and accepted of the tokens. ``--only NAME`` for one of them.

Run it through ``scripts/bench.py speed``, which makes what it needs.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from engine import BATCH_TOKENS, Peer, run_engine
from extract import bounded_schema
from measure import alternate, cores, note, ratio
from receipts import CONTEXT_TOKENS, RECEIPTS, Score, ours, read_receipts, theirs

from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.protocol import GREEDY, Event, Finished, JsonConstraint, Message, Request
from gemma_edge.extraction.pages import Options, PageInput, PageQuestion, make_message
from gemma_edge.planning.plan import Plan

HERE = Path(__file__).parent
GOALS = {"receipts": 2.5, "json": 2.5, "summary": 1.5, "rewriting": 1.5, "chat": 1.0}
QUESTIONS = {
    "summary": "Summarize this letter in its own words: copy the sentences that matter most.",
    "rewriting": "Write this letter again, word for word, with the spelling corrected.",
}
CHAT = "Why is the sky blue during the day and red in the evening? Explain it to a child."


class Counted:
    """An engine whose answers are counted: tokens, and what was drafted of them."""

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine = engine
        self.tokens = self.drafted = self.accepted = self.forced = 0
        self.prompt_seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, request: Request) -> Any:
        """The answer, counted at its end."""
        return self._count(self._engine.generate(request))

    def warm(self, request: Request) -> Any:
        """The reading, timed."""
        return self._count(self._engine.warm(request))

    def _count(self, events: Any) -> Any:
        event: Event
        for event in events:
            if isinstance(event, Finished):
                usage = event.usage
                self.tokens += usage.generated_tokens
                self.forced += usage.forced_tokens
                self.drafted += usage.drafted_tokens
                self.accepted += usage.accepted_tokens
                self.prompt_seconds += event.timings.prompt_seconds
            yield event

    @property
    def counts(self) -> dict[str, int]:
        """For the report."""
        names = ("tokens", "forced", "drafted", "accepted")
        return {name: getattr(self, name) for name in names}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, by model."""
    paths = [path for path in (options.instruct, options.model) if path]
    return {Path(path).name: measure_model(path, options) for path in paths}


def measure_model(path: str, options: argparse.Namespace) -> dict[str, Any]:
    """The rows that are wanted, of one model."""
    note(Path(path).name)
    plan = Plan(
        model=Path(path), context_tokens=CONTEXT_TOKENS, batch_tokens=BATCH_TOKENS,
        threads=options.threads,
    )  # fmt: skip
    engine = LlamaEngine(plan)
    peer = Peer(options.peer_python, path, options.threads, CONTEXT_TOKENS)
    found: dict[str, Any] = {}
    try:
        if options.only in ("", "receipts"):
            found["receipts"] = measure_receipts(engine, peer, options)
        for name, asked in requests(options.tokens).items():
            if options.only in ("", name):
                found[name] = measure_answer(engine, peer, name, options.rounds, asked)
    finally:
        peer.close()
        engine.close()
    return found


def requests(tokens: int) -> dict[str, tuple[Request, str | None]]:
    """What is asked, by name, with the schema for the peer."""
    schema = bounded_schema()
    sheet = PageInput(1, (HERE / "invoice.txt").read_text(encoding="utf-8"))
    held = json.dumps(schema.decoding)
    asked = {
        "json": (
            Request(
                messages=(make_message([sheet], PageQuestion(schema.form()), several=False),),
                max_tokens=tokens, sampling=GREEDY, constraint=JsonConstraint(schema=held),
            ),
            held,
        )
    }  # fmt: skip
    letter = (HERE / "letter.txt").read_text(encoding="utf-8")
    texts = {name: f"{letter}\n\n{question}" for name, question in QUESTIONS.items()}
    result: dict[str, tuple[Request, str | None]] = {**asked}
    for name, text in {**texts, "chat": CHAT}.items():
        message = Message("user", text)
        result[name] = (Request(messages=(message,), max_tokens=tokens, sampling=GREEDY), None)
    return result


def measure_answer(
    engine: LlamaEngine, peer: Peer, name: str, rounds: int, asked: tuple[Request, str | None]
) -> dict[str, Any]:
    """Tokens a second while decoding, in turns."""
    request, schema = asked
    counted = Counted(engine)
    prompt = engine.render(request).removeprefix("<bos>")  # the peer adds Gemma's itself
    runs = alternate(
        {
            f"{name}, ours": partial(run_engine, counted, request),  # type: ignore[arg-type]
            f"{name}, server": partial(peer.run, prompt, request.max_tokens or 0, schema),
        },
        rounds,
    )
    mine, other = runs.values()
    if mine[0].prompt_tokens != other[0].prompt_tokens:
        raise RuntimeError(f"the prompts differ: {mine[0].prompt_tokens} {other[0].prompt_tokens}")
    return {**ratio(mine, other), "goal": GOALS[name], "draft": counted.counts}


def measure_receipts(engine: LlamaEngine, peer: Peer, options: argparse.Namespace) -> Any:
    """Seconds a receipt, in turns; the last one warms both up and is not counted."""
    receipts = read_receipts(options.receipts, options.limit + 1)
    counted = Counted(engine)
    read: dict[str, Callable[..., Score]] = {
        "ours": ours(counted, Options(max_tokens=options.tokens)),  # type: ignore[arg-type]
        "server": theirs(peer, engine, options.tokens),
    }
    scores: dict[str, list[Score]] = {name: [] for name in read}
    for number, receipt in enumerate([receipts[-1], *receipts[:-1]]):
        for name in list(read)[:: 1 if number % 2 else -1]:
            score = read[name](receipt)
            if number:
                scores[name].append(score)
        if not number:
            counted.prompt_seconds = 0.0
    mine, other = ([score.seconds for score in some] for some in scores.values())
    pairs = [slow / fast for slow, fast in zip(other, mine, strict=True)]
    return {
        "ratio": round(sum(other) / sum(mine), 3),
        "ours_seconds": round(statistics.mean(mine), 3),
        "theirs_seconds": round(statistics.mean(other), 3),
        "spread": [round(min(pairs), 3), round(max(pairs), 3)],
        "receipts": len(mine),
        "bound": round(sum(other) / counted.prompt_seconds, 3),
        "peer_complete": _share(scores["server"]),
        "exact_ratio": round(_exact(scores["ours"]) / max(1, _exact(scores["server"])), 2),
        "goal": GOALS["receipts"],
        "draft": counted.counts,
    }


def _share(scores: Sequence[Score]) -> float:
    return round(sum(score.complete for score in scores) / len(scores), 3)


def _exact(scores: Sequence[Score]) -> int:
    return sum(score.exact for score in scores)


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--model", default="")
    parser.add_argument("--instruct", default="")
    parser.add_argument("--only", choices=GOALS, default="")
    parser.add_argument("--receipts", type=Path, default=RECEIPTS)
    parser.add_argument("--limit", type=int, default=10, help="receipts")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=300, help="the longest answer")
    result = measure(parser.parse_args())
    for model, rows in result.items():
        for name, row in rows.items():
            reached = "reached" if row["ratio"] >= row["goal"] else "missed"
            note(f"{model}: {name} {row['ratio']} {row['spread']}, goal {row['goal']}: {reached}")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
