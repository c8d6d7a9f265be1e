"""What a second turn costs: the time to its first token, against reading the conversation again.

    second_turn_ttft_ratio  re-reading / second turn, after a turn with an image and a document of
                            4,096 tokens                                              goal 20

On the bundled model, whose answers are short but whose cache is Gemma 4's (sliding windows, an
image); and on SmolLM2 135M Instruct where it is given with ``--instruct`` (no image). Times are the
listener's, in the engine's own process. Both sides are the same question to the same conversation,
in turns; what was evaluated is counted by the engine, not assumed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import cores, note

from gemma_edge.chat.conversation import Conversation
from gemma_edge.documents.document import Picture
from gemma_edge.engine import load
from gemma_edge.engine.protocol import GREEDY, Chunk, Engine, Finished, Message, Request
from gemma_edge.planning.plan import Plan

CONTEXT_TOKENS, BATCH_TOKENS, DOCUMENT_TOKENS = 8192, 512, 4096
GOAL = 20.0
MODELS = Path(__file__).parents[2] / "models" / "demo"
DEMO = MODELS / "gemma-4-demo-Q8_0.gguf"
PROJECTOR = MODELS / "mmproj-gemma-4-demo-F16.gguf"
QUESTION = "And what is the total of the last line?"


def measure_model(
    model: Path, projector: Path | None, *, threads: int, rounds: int
) -> dict[str, Any]:
    """One model: a first turn, then rounds of the second one, read anew and not."""
    plan = Plan(
        model=model, projector=projector, context_tokens=CONTEXT_TOKENS,
        batch_tokens=BATCH_TOKENS, threads=threads,
    )  # fmt: skip
    engine = load(plan)
    try:
        session = Conversation(engine, sampling=GREEDY, max_tokens=32)
        document = session.count_file("document.txt", _document(session))
        pictures = [_picture()] if projector else []
        for _ in session.add(*pictures, document).say("What does the document say?"):
            pass
        return {
            "document_tokens": document.tokens,
            "image_tokens": sum(picture.tokens for picture in pictures),
            **_rounds(engine, session, rounds),
            **_resume(engine, session),
        }
    finally:
        engine.close()


def _rounds(engine: Engine, session: Conversation, rounds: int) -> dict[str, Any]:
    history = session.messages
    asked = Request(messages=(*history, Message("user", QUESTION)), sampling=GREEDY, max_tokens=8)
    new = engine.count(asked).total_tokens - _warm(engine, session)
    read, second = [], []
    for number in range(rounds + 1):  # the first one is not counted
        engine.measure(1)  # it empties the cache
        reread, usage = _first_token(engine, asked)
        _warm(engine, session)
        follow, used = _first_token(engine, asked)
        assert usage.usage.cached_tokens == 0
        assert used.usage.evaluated_tokens == new, (used.usage, new)
        if number:
            read.append(reread)
            second.append(follow)
            note(f"round {number} of {rounds}  {reread * 1e3:8.1f} ms  {follow * 1e3:6.1f} ms")
    ratios = [slow / fast for slow, fast in zip(read, second, strict=True)]
    return {
        "ratio": round(statistics.median(read) / statistics.median(second), 1),
        "reread_ms": round(statistics.median(read) * 1e3, 1),
        "second_turn_ms": round(statistics.median(second) * 1e3, 1),
        "prompt_tokens": used.usage.prompt_tokens,
        "evaluated_tokens": {"reread": usage.usage.evaluated_tokens, "second_turn": new},
        "spread": [round(min(ratios), 1), round(max(ratios), 1)],
        "rounds": rounds,
    }


def _resume(engine: Engine, session: Conversation) -> dict[str, Any]:
    """From a file, as a session that is opened again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache.kv"
        tokens = _warm(engine, session)
        size = engine.save(path)
        engine.measure(1)
        started = time.perf_counter()
        restored = engine.restore(path)
        seconds = time.perf_counter() - started
        assert restored.tokens == tokens, restored
    return {"restore_ms": round(seconds * 1e3, 1), "saved_bytes": size}


def _warm(engine: Engine, session: Conversation) -> int:
    """Read the history, as a terminal does while a person reads; its tokens."""
    *_, finished = engine.warm(Request(messages=session.messages))
    assert isinstance(finished, Finished)
    return finished.usage.prompt_tokens


def _first_token(engine: Engine, request: Request) -> tuple[float, Finished]:
    """Seconds until the listener has the first piece of text, and how it ended."""
    started = time.perf_counter()
    first = 0.0
    for event in engine.generate(request):
        if isinstance(event, Chunk):
            first = first or time.perf_counter() - started
    assert isinstance(event, Finished)
    return first or time.perf_counter() - started, event


def _document(session: Conversation) -> str:
    """Lines of an invoice, until they take about ``DOCUMENT_TOKENS``."""
    lines: list[str] = []
    step = 64
    while step:
        longer = [*lines, *(_line(len(lines) + number) for number in range(step))]
        if session.count_file("document.txt", "\n".join(longer)).tokens <= DOCUMENT_TOKENS:
            lines = longer
        else:
            step //= 2
    return "\n".join(lines)


def _line(number: int) -> str:
    return f"{number + 1}  Lampreen {number * 37 % 101}  {number * 7 % 13 + 1} x {number % 90}.50"


def _picture() -> Picture:
    """A red square on white."""
    side = 432
    white, red = b"\xff\xff\xff", b"\xff\x00\x00"
    rows = [
        white * side if not side // 4 <= row < side // 2
        else white * (side // 4) + red * (side // 4) + white * (side // 2)
        for row in range(side)
    ]  # fmt: skip
    return Picture(b"".join(rows), side, side, "square.png")


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=cores(), help="of the instruct model")
    parser.add_argument("--rounds", type=int, default=9, help="a third of them for the other")
    parser.add_argument("--instruct", type=Path, help="a GGUF of an instruct model")
    options = parser.parse_args()
    note("bundled model, an image and a document")
    # One thread: a model so small spends its time waiting for the second one.
    figures = measure_model(DEMO, PROJECTOR, threads=1, rounds=options.rounds)
    result: dict[str, dict[str, Any]] = {"second_turn_ttft_ratio": figures}
    if options.instruct is not None:
        note(f"{options.instruct.name}, a document")
        result["second_turn_ttft_ratio_instruct"] = {
            "model": options.instruct.name,
            **measure_model(
                options.instruct, None, threads=options.threads, rounds=max(1, options.rounds // 3)
            ),
        }
    for name, figures in result.items():
        reached = "reached" if figures["ratio"] >= GOAL else "missed"
        note(f"{name} {figures['ratio']}, goal {GOAL:.0f}: {reached}")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
