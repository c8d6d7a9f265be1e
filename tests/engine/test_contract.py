"""What every engine promises: one suite for the real one, for the same in a process of its own,
and for the scripted one."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from gemma_edge.engine import load
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Finished,
    JsonConstraint,
    Message,
    Request,
    Sampling,
)
from gemma_edge.errors import DoesNotFit, EngineError
from gemma_edge.planning.plan import Plan
from tests.engine.conftest import answer, demo_plan
from tests.scripted import ScriptedEngine

HELLO = Request(messages=(Message("user", "Repeat: one two three four"),), sampling=GREEDY)
# An answer that cannot be over before somebody cancels it.
LONG = Request(
    messages=HELLO.messages,
    sampling=Sampling(temperature=1.0, seed=3),
    constraint=JsonConstraint(schema='{"type": "string", "minLength": 900}'),
)


@pytest.fixture(params=["engine", "remote", "scripted"])
def either(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Engine]]:
    """A function that gives the engine; the scripted one is told what to say."""
    if request.param == "scripted":
        yield lambda text: ScriptedEngine([text] * 4, context_tokens=2048)
    else:
        engine: Engine = request.getfixturevalue(request.param)
        yield lambda _text: engine


@pytest.fixture(params=["engine", "remote"])
def real(request: pytest.FixtureRequest) -> Engine:
    """The two that really decode."""
    engine: Engine = request.getfixturevalue(request.param)
    return engine


def test_both_say_the_same(engine: LlamaEngine, remote: Engine) -> None:
    for seed in (1, 2):
        request = Request(messages=HELLO.messages, sampling=Sampling(seed=seed), max_tokens=30)
        ours, finished = answer(engine, request)
        theirs, also = answer(remote, request)
        assert (ours, finished.usage.generated_tokens) == (theirs, also.usage.generated_tokens)
    assert remote.count(HELLO) == engine.count(HELLO)
    assert replace(remote.info, plan=None) == replace(engine.info, plan=None)


def test_the_speed_is_measured(real: Engine) -> None:
    assert real.measure(4) > 1


def test_the_speed_is_measured_behind_what_the_cache_holds(real: Engine) -> None:
    """It is there: behind all but the last few cells of the context there is no room for it."""
    answer(real, replace(HELLO, max_tokens=1))
    assert real.measure(4, filled=True) > 1
    words = Request(messages=(Message("user", "a " * 980),), max_tokens=1)
    free = real.info.context_tokens - real.count(words).total_tokens
    assert 0 < free < 200
    answer(real, words)
    with pytest.raises(EngineError):
        real.measure(free, filled=True)
    answer(real, words)
    assert real.measure(free) > 1  # from an empty cache


def test_the_time_for_masks_is_a_part_of_the_answer(real: Engine) -> None:
    _, free = answer(real, HELLO)
    _, held = answer(real, replace(HELLO, constraint=LONG.constraint, max_tokens=20))
    assert free.timings.mask_seconds == 0 < held.timings.mask_seconds < held.timings.decode_seconds


def test_chunks_then_exactly_one_finished(either: Callable[[str], Engine]) -> None:
    events = list(either("one two three four").generate(HELLO))
    assert [type(event) for event in events] == [Chunk] * (len(events) - 1) + [Finished]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "end"


def test_usage_adds_up(either: Callable[[str], Engine]) -> None:
    engine = either("one two three four")
    _, finished = answer(engine, HELLO)
    usage = finished.usage
    assert usage.prompt_tokens == usage.cached_tokens + usage.evaluated_tokens
    assert usage.prompt_tokens == engine.count(HELLO).total_tokens
    assert usage.generated_tokens > 0


def test_the_limit_is_kept(either: Callable[[str], Engine]) -> None:
    request = Request(messages=HELLO.messages, sampling=GREEDY, max_tokens=2)
    _, finished = answer(either("one two three four"), request)
    assert (finished.reason, finished.usage.generated_tokens) == ("length", 2)


def test_a_prompt_that_is_too_long_is_refused_with_numbers(
    either: Callable[[str], Engine],
) -> None:
    long = Request(messages=(Message("user", "word " * 5000),))
    with pytest.raises(DoesNotFit, match=r"needs [\d,]+ tokens.*holds 2,048"):
        either("x").generate(long)


def test_cancel_keeps_what_was_said(either: Callable[[str], Engine]) -> None:
    engine = either("one two three four")
    stream = engine.generate(LONG)
    first = next(stream)
    engine.cancel()
    *_, last = stream
    assert isinstance(first, Chunk)
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"


def test_cancelled_before_its_first_event_it_says_nothing(real: Engine) -> None:
    engine = real
    long = Request(messages=(Message("user", "word " * 900),), sampling=GREEDY)
    stream = engine.generate(long)
    engine.cancel()
    *_, last = stream
    assert isinstance(last, Finished)
    assert (last.reason, last.usage.generated_tokens) == ("cancelled", 0)
    assert last.usage.evaluated_tokens < last.usage.prompt_tokens
    text, _ = answer(engine, HELLO)
    assert text


def test_a_closed_stream_leaves_the_engine_ready(either: Callable[[str], Engine]) -> None:
    engine = either("one two three four")
    before, _ = answer(engine, HELLO)
    stream = engine.generate(HELLO)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert answer(engine, HELLO)[0] == before


def test_requests_that_meet_wait_for_each_other(real: Engine) -> None:
    engine = real
    alone, _ = answer(engine, HELLO)
    together: list[str] = []
    threads = [
        threading.Thread(target=lambda: together.append(answer(engine, HELLO)[0])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone] * 4


def test_a_second_answer_inside_the_first_is_refused_not_hung(real: Engine) -> None:
    engine = real
    stream = engine.generate(HELLO)
    next(stream)
    with pytest.raises(Exception, match="still open"):
        next(engine.generate(HELLO))
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("opens", [LlamaEngine, load])
def test_closing_ends_an_answer_that_was_left_open(opens: Callable[[Plan], Engine]) -> None:
    """Freed memory must not be used by a stream that somebody still holds."""
    short_lived = opens(demo_plan())
    stream = short_lived.generate(HELLO)
    next(stream)
    short_lived.close()
    assert list(stream) == []
