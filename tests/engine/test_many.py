"""Several answers at once in one context: each is what it is alone, whoever comes, goes or fails
beside it, and the cells of the cache are enough for all."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import LlamaContext, Piece
from gemma_edge.engine.process import RemoteEngine
from gemma_edge.engine.protocol import (
    GREEDY,
    Answer,
    Chunk,
    Engine,
    Event,
    Finished,
    JsonConstraint,
    Message,
    Request,
    Sampling,
)
from gemma_edge.engine.scheduler import Scheduler
from gemma_edge.errors import DoesNotFit, EngineError, EngineStopped
from gemma_edge.gguf import read_header
from gemma_edge.planning.dry_run import DryRun
from gemma_edge.planning.memory import account
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import RAM, Plan
from tests.engine.conftest import answer, demo_plan, picture
from tests.planning.memory_machines import machine

RULES = "Repeat what I say, word for word, and nothing else. " * 6
WORDS = (
    "one two three four",
    "red green blue",
    "seven dogs",
    "the red house",
    "green tea",
)  # it is sure of
SCHEMA = JsonConstraint(
    schema=json.dumps(
        {
            "type": "object", "additionalProperties": False, "required": ["a", "b"],
            "properties": {"a": {"type": "string", "maxLength": 40}, "b": {"enum": [1, 2]}},
        }
    )
)  # fmt: skip
LONG = replace(
    Request(messages=(Message("user", "Repeat: one two"),), sampling=Sampling(seed=3)),
    constraint=JsonConstraint(schema='{"type": "string", "minLength": 900}'),
)


def asked(text: str, **more: object) -> Request:
    return Request(
        messages=(Message("system", RULES), Message("user", f"Repeat: {text}")), sampling=GREEDY,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


REQUESTS = [
    *(asked(words) for words in WORDS),
    *(asked(words, constraint=SCHEMA) for words in WORDS),
    *(asked(words, max_tokens=3) for words in WORDS[:2]),
]


def many_plan(sequences: int = 4, **more: int) -> Plan:
    return replace(demo_plan(**more), sequences=sequences)


def together(engine: Engine, requests: list[Request]) -> list[tuple[str, Finished]]:
    """The answers of as many threads, in the order of the requests."""
    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(lambda each: answer(engine, each), requests))


@pytest.fixture(scope="module")
def single() -> Iterator[LlamaEngine]:
    """One answer at a time. Not that of other tests: what it holds changes what they see."""
    opened = LlamaEngine(demo_plan())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def alone(single: LlamaEngine) -> dict[int, str]:
    """What each request gets where nobody else asks."""
    return {number: answer(single, each)[0] for number, each in enumerate(REQUESTS)}


@pytest.fixture(scope="module", params=["engine", "remote"])
def many(request: pytest.FixtureRequest) -> Iterator[Engine]:
    opens: Callable[[Plan], Engine] = LlamaEngine if request.param == "engine" else RemoteEngine
    opened = opens(many_plan())
    yield opened
    opened.close()


def test_together_they_say_what_each_says_alone(many: Engine, alone: dict[int, str]) -> None:
    for start in range(0, len(REQUESTS), 4):  # more would be refused in the line
        found = together(many, REQUESTS[start : start + 4])
        for number, (text, finished) in enumerate(found, start):
            assert text == alone[number]
            assert finished.usage.generated_tokens > 0
    sampled = [replace(each, sampling=Sampling(seed=7)) for each in REQUESTS[:4]]
    assert all(text for text, _ in together(many, sampled))  # a draw falls by the noise, too
    text, finished = answer(many, REQUESTS[0])
    usage = finished.usage
    assert (text, usage.prompt_tokens) == (alone[0], many.count(REQUESTS[0]).total_tokens)
    assert usage.prompt_tokens == usage.cached_tokens + usage.evaluated_tokens


def test_they_really_go_on_together(many: Engine) -> None:
    """Each has words before any has its last."""
    streams = [many.generate(LONG) for _ in range(4)]
    for _ in range(3):
        assert all(isinstance(next(stream), Chunk) for stream in streams)
    with pytest.raises(EngineError, match="still open"):
        next(iter(many.generate(LONG)))
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    assert answer(many, REQUESTS[0])[0]


def test_more_than_there_is_room_for_wait(many: Engine, alone: dict[int, str]) -> None:
    found = together(many, [REQUESTS[number % 5] for number in range(9)])
    assert [text for text, _ in found] == [alone[number % 5] for number in range(9)]


def test_one_is_cancelled_and_the_others_go_on(many: Engine, alone: dict[int, str]) -> None:
    cancelled = many.generate(LONG)
    assert isinstance(cancelled, Answer)
    said: list[Event] = [next(cancelled)]
    other = many.generate(REQUESTS[0])
    first = next(other)
    cancelled.cancel()
    said += cancelled
    assert isinstance(said[-1], Finished)
    assert said[-1].reason == "cancelled"
    rest: list[Event] = [first, *other]
    assert "".join(each.text for each in rest if isinstance(each, Chunk)) == alone[0]
    assert answer(many, REQUESTS[1])[0] == alone[1]


def test_cancel_stops_all(many: Engine) -> None:
    streams = [many.generate(LONG) for _ in range(3)]
    for stream in streams:
        next(stream)
    many.cancel()
    for stream in streams:
        *_, last = stream
        assert isinstance(last, Finished)
        assert last.reason == "cancelled"


def test_left_early_it_frees_its_place(many: Engine, alone: dict[int, str]) -> None:
    for _ in range(6):
        stream = many.generate(LONG)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    found = together(many, REQUESTS[:4])
    assert [text for text, _ in found] == [alone[number] for number in range(4)]


def test_one_that_is_refused_disturbs_nobody(many: Engine, alone: dict[int, str]) -> None:
    stream = many.generate(REQUESTS[0])
    with pytest.raises(DoesNotFit):
        many.generate(Request(messages=(Message("user", "word " * 5000),)))
    assert "".join(each.text for each in stream if isinstance(each, Chunk)) == alone[0]


def test_a_common_beginning_is_read_once(many: Engine) -> None:
    """The first two tell where they part; from then on nobody reads it again."""
    rules = "These rules are new. " * 40
    requests = [
        Request(
            messages=(Message("system", rules), Message("user", f"{word} " * 20)), sampling=GREEDY,
            max_tokens=4,
        )
        for word in ("lion", "bear", "wolf", "fox")
    ]  # fmt: skip
    for each in requests[:2]:
        answer(many, each)
    for _, finished in together(many, requests[2:]):
        assert finished.usage.cached_tokens > 200


def test_a_long_prompt_is_read_beside_an_answer(many: Engine, alone: dict[int, str]) -> None:
    """Nobody waits until it is read; and it is read right."""
    long = Request(
        messages=(Message("user", "word " * 900 + RULES),), sampling=GREEDY, max_tokens=8
    )
    expected, _ = answer(many, replace(long, fresh=True))
    writing = many.generate(LONG)
    next(writing)
    reading = many.generate(replace(long, fresh=True))
    heard = 0
    said = ""
    for event in reading:
        said += event.text if isinstance(event, Chunk) else ""
        heard += isinstance(next(writing), Chunk)
    assert said == expected
    assert heard
    writing.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("bit", "largest"), [(71, 63), (600, 256)])
def test_prompts_beside_answers_in_batches_that_are_quick(
    single: LlamaEngine, monkeypatch: pytest.MonkeyPatch, bit: int, largest: int
) -> None:
    """On the CPU no batch of both has 64 tokens; a longer bit of a prompt has batches of its own,
    by turns with the answers."""
    long = Request(messages=(Message("user", "word " * 900),), sampling=GREEDY, max_tokens=4)
    expected, _ = answer(single, replace(long, fresh=True))
    batches: list[tuple[int, int]] = []  # pieces and tokens
    decode = LlamaContext.decode

    def spied(self: LlamaContext, pieces: Sequence[Piece]) -> None:
        batches.append((len(pieces), sum(len(each.tokens) for each in pieces)))
        decode(self, pieces)

    monkeypatch.setattr(Scheduler, "_bit", lambda self: bit)
    monkeypatch.setattr(LlamaContext, "decode", spied)
    opened = LlamaEngine(replace(many_plan(3), gpu_layers=0))
    try:
        writing = [opened.generate(LONG), opened.generate(replace(LONG, sampling=GREEDY))]
        for each in writing:
            next(each)
        batches.clear()
        text, _ = answer(opened, long)
        for each in writing:
            each.close()
    finally:
        opened.close()
    assert text == expected
    reads = [number for number, (_, tokens) in enumerate(batches) if tokens > 16]
    assert max(tokens for _, tokens in batches) == largest
    if largest == 63:
        assert all(batches[number][0] == 3 for number in reads)
        return
    assert all(batches[number][0] == 1 for number in reads)
    turns = [0]  # tokens that were read between two batches of answers
    for number in range(reads[0], reads[-1] + 1):
        turns[-1] += batches[number][1] if number in reads else 0
        turns += [] if number in reads else [0]
    assert bit - 256 < max(turns) <= bit
    assert len([each for each in turns if each]) == 2


def test_pictures_beside_answers(many: Engine, single: LlamaEngine) -> None:
    seen = [
        Request(
            messages=(Message("user", "What is in the picture?", (picture(color),)),),
            sampling=GREEDY, max_tokens=12,
        )
        for color in ("red", "blue", "green")
    ]  # fmt: skip
    expected = [answer(single, each)[0] for each in seen]
    found = together(many, [*seen, REQUESTS[0]])
    assert [text for text, _ in found[:3]] == expected


def test_where_cells_run_out_the_last_is_read_again(alone: dict[int, str]) -> None:
    """Four of which two fit: what is given up comes back, and says the same."""
    engine = LlamaEngine(many_plan(context_tokens=1024))
    prompt = asked("one two three four five six seven " * 10)
    tall = replace(prompt, constraint=JsonConstraint(schema='{"type":"string","minLength":500}'))
    expected, finished = answer(engine, tall)
    need = finished.usage.prompt_tokens + finished.usage.generated_tokens
    assert 256 < need < 1024 < 4 * finished.usage.generated_tokens + need
    found = together(engine, [tall] * 4)
    assert [text for text, _ in found] == [expected] * 4
    engine.close()


def test_logits_are_those_of_a_cache_of_its_own(f32_path: Path) -> None:
    """Beside three others, behind a borrowed beginning, in 32 bits."""
    plan = replace(many_plan(), model=f32_path, projector=None, kv_type="f32")
    many = LlamaEngine(plan, flash_attention=False)
    single = LlamaEngine(replace(plan, sequences=1), flash_attention=False)
    together(many, [replace(each, max_tokens=6) for each in REQUESTS[:4]])
    for request in (asked("some other words"), REQUESTS[1], asked("again some other words")):
        fresh = single.next_logits(replace(request, fresh=True))
        used = many.next_logits(request)
        assert float(np.abs(fresh - used).max()) < 1e-3
    many.close()
    single.close()


def test_a_process_that_dies_is_told_to_each_and_started_once() -> None:
    """Those that had begun are told; the next process answers again, several at once."""
    engine = RemoteEngine(many_plan())
    expected, _ = answer(engine, REQUESTS[0])
    streams = [engine.generate(LONG) for _ in range(3)]
    for stream in streams:
        next(stream)
    first = engine.pid
    os.kill(first, signal.SIGKILL)
    for stream in streams:
        with pytest.raises(EngineStopped, match="started again"):
            list(stream)
    assert engine.pid != first
    assert [text for text, _ in together(engine, [REQUESTS[0]] * 3)] == [expected] * 3
    assert engine._restarts == 0
    engine.close()


def test_one_that_has_said_nothing_is_asked_again() -> None:
    engine = RemoteEngine(many_plan())
    long = Request(messages=(Message("user", "word " * 1500),), sampling=GREEDY, max_tokens=4)
    expected, _ = answer(engine, long)
    begun = engine.generate(LONG)
    next(begun)
    silent = engine.generate(replace(long, fresh=True))
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineStopped):
        list(begun)
    said = list(silent)
    assert "".join(each.text for each in said if isinstance(each, Chunk)) == expected
    engine.close()


def test_what_it_takes_is_what_was_planned() -> None:
    plan = many_plan(8)
    hardware = machine(instructions=("AVX2", "AVX512"))
    with DryRun() as run:
        header = read_header(plan.model)
        ledger = account(parse_shape(header), None, plan.placement, hardware, run.measure)
    engine = LlamaEngine(replace(plan, ledger=ledger, projector=None))
    assert not [note for note in engine.info.notes if "planned" in note]
    taken = {row.part: row.size_bytes for row in engine.info.allocated}
    for part in ledger.account(RAM).parts:
        if part.name in ("KV window", "KV global", "compute", "output"):
            assert abs(taken[part.name] - part.size_bytes) < (1 << 15), part.name
    engine.close()


def test_what_was_warmed_is_there_when_it_is_asked() -> None:
    """Of two places the one that was used longest ago is not given up for others."""
    engine = LlamaEngine(many_plan(2))
    words = ("red green " * 40, "blue gray " * 40, "one two " * 40)
    others = [
        Request(messages=(Message("user", each),), sampling=GREEDY, max_tokens=2) for each in words
    ]
    page = Request(messages=(Message("user", "lion bear wolf fox " * 60),), sampling=GREEDY)
    answer(engine, others[0])
    list(engine.warm(page))
    for other in others[1:]:
        answer(engine, other)
    _, finished = answer(engine, replace(page, max_tokens=2))
    engine.close()
    assert finished.usage.cached_tokens > 0.9 * finished.usage.prompt_tokens
