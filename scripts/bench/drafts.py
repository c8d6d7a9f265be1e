"""Whether drafts change an answer: prompts answered greedily with drafts that are looked up and
without any, and each difference explained.

    unexplained   differences that the noise between batch shapes does not explain    goal 0

A draft of seven at every step, whatever it costs, so that as much as possible can go wrong. At the
first token that differs both answers have the same tokens before them. These are evaluated again,
prompt and answer in other pieces each time (one by one, by two, ... with a draft, all at once), and
for each the distance between the logits of the two tokens is taken. The difference is noise where
the distances reach zero within what they differ among each other (``shape_noise``); the rest is
``unexplained`` and an error to look for.

Per text (receipts and an invoice, cut to ``--lines``): a question, a summary, a rewriting, and its
data under a schema, held to what is printed and not. On the bundled model, and on the models that
``scripts/bench.py drafts`` makes. ``--limit`` texts; 40 take a quarter of an hour a model.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from engine import BATCH_TOKENS, DEMO
from extract import bounded_schema
from measure import cores, note
from receipts import CONTEXT_TOKENS, RECEIPTS, SCHEMA

from gemma_edge.documents.document import Document, Page
from gemma_edge.engine.drafting import Choice, Pace
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.kv_cache import Unit
from gemma_edge.engine.protocol import GREEDY, Event, Finished, Message, Request
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import Options
from gemma_edge.extraction.recipe import bare_recipe
from gemma_edge.extraction.schema import Schema, parse_schema
from gemma_edge.planning.plan import Plan

HERE = Path(__file__).parent
FREE_TOKENS, HELD_TOKENS = 64, 200
QUESTIONS = {
    "chat": "Who wrote this, to whom, and what about?",
    "summary": "Summarize the text above in a few sentences.",
    "rewriting": "Write the text above again, with each line as a sentence.",
}
# Tokens of the prompt in a batch, of the answer, and behind its last as a draft that is in vain.
PIECES = (
    (512, 1, 0), (512, 1, 1), (512, 1, 3), (512, 1, 7), (512, 2, 3), (512, 4, 7), (512, 8, 0),
    (512, 512, 0), (100, 1, 7), (16, 4, 3), (4, 1, 0),
)  # fmt: skip


RANDOM_CUTS = 12  # of the same tokens, besides


class Eager(Pace):
    """Drafts as much as it may, so that the same batches are evaluated each time."""

    def worth(self, drafted: Sequence[Choice], beside: int = 0) -> int:
        return len(drafted)


@dataclass(frozen=True, slots=True)
class Difference:
    """At the first token that differs: how far apart the logits of the two are when the tokens
    before them are evaluated in pieces of each size, in the order of ``PIECES``, and in pieces of
    random sizes."""

    kind: str
    name: str
    token: int
    ours: str
    other: str
    apart: tuple[float, ...]

    @property
    def shape_noise(self) -> float:
        return max(self.apart) - min(self.apart)

    @property
    def explained(self) -> bool:
        return min(map(abs, self.apart)) <= self.shape_noise


def cut(tokens: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """In pieces of a size."""
    return (tokens[start : start + size] for start in range(0, len(tokens), size))


def cut_randomly(tokens: Sequence[int], rng: Random) -> Iterator[Sequence[int]]:
    """In pieces of up to 4, 32 or 512."""
    most, start = rng.choice((4, 32, BATCH_TOKENS)), 0
    while start < len(tokens):
        size = rng.randint(1, most)
        yield tokens[start : start + size]
        start += size


class Pair:
    """The same model without drafts and with them."""

    def __init__(self, model: Path, threads: int) -> None:
        plan = Plan(
            model=model, context_tokens=CONTEXT_TOKENS, batch_tokens=BATCH_TOKENS, threads=threads
        )
        self.plain = LlamaEngine(replace(plan, draft="off"))
        self.drafting = LlamaEngine(plan)
        self.drafting._paces = (Eager(), Eager())

    def close(self) -> None:
        """Both engines."""
        self.plain.close()
        self.drafting.close()

    def requests(self, name: str, text: str, schema: Schema) -> Iterator[tuple[str, Request]]:
        """What is asked about a text, by its kind."""
        for kind, question in QUESTIONS.items():
            message = Message("user", f"{text}\n\n{question}")
            yield kind, Request(messages=(message,), sampling=GREEDY, max_tokens=FREE_TOKENS)
        document = Document(name, (Page(1, text),))
        for kind, free in (("held", ()), ("schema", ("all",))):
            asked = Recording(self.plain)
            options = Options(max_tokens=HELD_TOKENS, free=free)
            extract(asked, document, bare_recipe(schema), options)
            yield from ((kind, request) for request in asked.requests)

    def compare(self, kind: str, name: str, request: Request) -> tuple[Difference | None, Finished]:
        """Both answers; where they part, the first token that differs."""
        texts, units, ends = [], [], []
        for engine in (self.plain, self.drafting):
            *events, finished = engine.generate(request)
            assert isinstance(finished, Finished)
            texts.append("".join(getattr(event, "text", "") for event in events))
            units.append([*engine._cache.units])
            ends.append(finished)
        if texts[0] == texts[1] and ends[0].reason == ends[1].reason:
            return None, ends[1]
        return self._difference(kind, name, request, units), ends[1]

    def _difference(
        self, kind: str, name: str, request: Request, units: Sequence[Sequence[Unit]]
    ) -> Difference:
        one, other = units
        length = min(map(len, units))
        at = next((place for place in range(length) if one[place] != other[place]), length)
        prompt = self.plain._prompter.prompt(request).tokens
        said = [unit for unit in one[prompt:at] if isinstance(unit, int)]
        read = [unit for unit in one[:prompt] if isinstance(unit, int)]
        logits = [
            self._logits([*cut(read, size), *cut(said, step)], read, ahead)
            for size, step, ahead in PIECES
        ]
        for rng in map(Random, range(RANDOM_CUTS)):
            pieces = [*cut_randomly(read, rng), *cut_randomly(said, rng)]
            logits.append(self._logits(pieces, read, rng.randrange(8)))
        if request.constraint is not None:
            legal = self._legal(request, said)
            for each in logits:
                each[~legal] = -np.inf
        # What ended an answer was never evaluated; then it is the best but for the other.
        best, second = np.argsort(logits[0])[-2:][::-1]
        first = one[at] if at < len(one) else best
        there = other[at] if at < len(other) else best if best != first else second
        ours, theirs = (
            repr(self.plain._model.piece(token).decode("utf-8", "replace"))
            for token in (first, there)
        )
        apart = tuple(round(float(each[first] - each[there]), 4) for each in logits)
        return Difference(kind, name, at - prompt, ours, theirs, apart)

    def _logits(self, pieces: Sequence[Sequence[int]], tokens: Sequence[int], ahead: int) -> Any:
        """Behind these pieces, with so many of the ``tokens`` ahead in the last batch."""
        cache = self.plain._cache
        cache.forget()
        for piece in pieces[:-1]:
            cache.evaluate([*piece])
        last = len(pieces[-1]) - 1
        drafted = ([*tokens] * ahead)[:ahead]
        cache.evaluate([*pieces[-1], *drafted], range(last, last + 1 + ahead))
        return self.plain._context.logits(last).copy()

    def _legal(self, request: Request, said: Sequence[int]) -> Any:
        constraint = self.plain._answer(request, CONTEXT_TOKENS).constraint
        assert constraint is not None
        for token in said:
            constraint.advance(token)
        return constraint.legal()


class Recording:
    """An engine that keeps what it is asked."""

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine = engine
        self.requests: list[Request] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, request: Request) -> Iterator[Event]:
        """An answer, of which the request is kept."""
        self.requests.append(request)
        return self._engine.generate(request)


def texts_of(options: argparse.Namespace) -> list[tuple[str, str, Schema]]:
    """What is asked about, each with its schema."""
    found = [("invoice", (HERE / "invoice.txt").read_text(encoding="utf-8"), bounded_schema())]
    receipt = parse_schema(json.dumps(SCHEMA))
    for path in sorted(options.receipts.glob("*.txt")):
        found.append((path.stem, path.read_text(encoding="utf-8"), receipt))
    return [
        (name, "\n".join(text.splitlines()[: options.lines]), schema)
        for name, text, schema in found[: options.limit]
    ]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, by model."""
    paths = [path for path in (DEMO, options.instruct, options.model) if path]
    return {Path(path).name: measure_model(Path(path), options) for path in paths}


def measure_model(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Counts for one model, and its differences."""
    note(model.name)
    pair = Pair(model, options.threads)
    counts: dict[str, int] = {}
    usage = [0, 0, 0]
    found: list[Difference] = []
    try:
        for name, text, schema in texts_of(options):
            for kind, request in pair.requests(name, text, schema):
                difference, finished = pair.compare(kind, name, request)
                counts[kind] = counts.get(kind, 0) + 1
                used = finished.usage
                more = used.generated_tokens, used.drafted_tokens, used.accepted_tokens
                usage = [a + b for a, b in zip(usage, more, strict=True)]
                if difference is not None:
                    found.append(difference)
                    note(("  noise " if difference.explained else "  ERROR ") + str(difference))
            note(f"{name}: {sum(counts.values())} prompts, {len(found)} differences")
    finally:
        pair.close()
    return {
        "prompts": counts, "tokens": usage[0], "drafted": usage[1], "accepted": usage[2],
        "differences": {kind: sum(each.kind == kind for each in found) for kind in counts},
        "largest_distance": max((abs(each.apart[0]) for each in found), default=0.0),
        "largest_noise": max((each.shape_noise for each in found), default=0.0),
        "unexplained": sum(not each.explained for each in found),
    }  # fmt: skip


def main() -> int:
    """Print one JSON object; 1 where a difference is not explained."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", default="", help="not used")
    parser.add_argument("--model", default="")
    parser.add_argument("--instruct", default="")
    parser.add_argument("--receipts", type=Path, default=RECEIPTS)
    parser.add_argument("--limit", type=int, default=41, help="texts")
    parser.add_argument("--lines", type=int, default=18, help="of each text")
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args()
    result = measure(options)
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if not any(found["unexplained"] for found in result.values()) else 1


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
