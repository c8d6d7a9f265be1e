"""Reading ahead, going on, and a thought that cannot eat the answer: what a conversation needs."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.prompt import PromptBuilder
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Finished,
    Message,
    Prefill,
    Request,
    Sampling,
)
from gemma_edge.errors import DoesNotFit
from tests.engine.conftest import answer, demo_plan, picture
from tests.scripted import ScriptedEngine

SEEN = Message("user", "Describe this image.", (picture(),))
ASKED = Request(messages=(Message("user", "What can you do?"),), sampling=GREEDY)


@pytest.fixture(params=["engine", "remote", "scripted"])
def any_engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "scripted":
        return ScriptedEngine(["yes"] * 9, context_tokens=2048)
    engine: Engine = request.getfixturevalue(request.param)
    return engine


@pytest.fixture(params=["engine", "remote"])
def real(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(request.param)
    return engine


def warm(engine: Engine, *messages: Message, think: bool = False) -> Finished:
    *readings, last = engine.warm(Request(messages=messages, think=think))
    assert all(isinstance(event, Prefill) for event in readings)
    assert isinstance(last, Finished)
    assert last.usage.generated_tokens == 0
    return last


@pytest.mark.parametrize("think", [False, True])
def test_after_a_warm_history_the_next_turn_evaluates_its_own_tokens(
    real: Engine, think: bool
) -> None:
    first = Request(messages=(SEEN,), think=think, sampling=GREEDY)
    said, _ = answer(real, first)
    history = (SEEN, Message("model", said))
    warmed = warm(real, *history, think=think)
    assert warmed.reason == "end"
    question = Message("user", "What color is it?")
    request = Request(messages=(*history, question), think=think, sampling=GREEDY)
    _, finished = answer(real, request)
    new = real.count(request).total_tokens - warmed.usage.prompt_tokens
    assert finished.usage.evaluated_tokens == new
    assert finished.usage.cached_tokens == warmed.usage.prompt_tokens
    assert finished.usage.encoded_pictures == 0


def test_warming_changes_no_answer(engine: LlamaEngine) -> None:
    said, _ = answer(engine, Request(messages=(SEEN,), sampling=GREEDY))
    asked = Request(
        messages=(SEEN, Message("model", said), Message("user", "Why?")), sampling=GREEDY
    )
    cold = LlamaEngine(demo_plan())
    expected, _ = answer(cold, asked)
    cold.close()
    warm(engine, *asked.messages[:2])
    assert answer(engine, asked)[0] == expected


def test_what_is_warm_already_is_not_read_again(real: Engine) -> None:
    warm(real, *ASKED.messages)
    again = warm(real, *ASKED.messages)
    assert again.usage.evaluated_tokens == 0
    assert again.usage.cached_tokens == again.usage.prompt_tokens


def test_undone_and_regenerated_turns_cost_little(engine: LlamaEngine) -> None:
    """There is a checkpoint at the end of each question and of each warm history."""
    words = " ".join(f"w{number}" for number in range(150))
    history = [Message("user", f"First. {words}")]
    said, _ = answer(engine, Request(messages=(*history,), sampling=GREEDY, max_tokens=200))
    history.append(Message("model", said))
    warm(engine, *history)
    second = Request(
        messages=(*history, Message("user", f"Second. {words}")), sampling=GREEDY, max_tokens=200
    )
    answer(engine, second)
    _, again = answer(engine, second)
    assert again.usage.evaluated_tokens < 20
    instead = replace(second, messages=(*history, Message("user", "Another.")), max_tokens=4)
    _, edited = answer(engine, instead)
    assert edited.usage.evaluated_tokens < 30


def test_a_short_question_needs_no_checkpoint_of_its_own(engine: LlamaEngine) -> None:
    """It would cost a pass over the weights before the first token."""
    words = " ".join(f"w{number}" for number in range(150))
    history = (Message("user", words), Message("model", "Yes."))
    warm(engine, *history)
    before = len(engine._cache._checkpoints)
    for text, more in (("Why?", 0), (words, 1)):
        answer(engine, replace(ASKED, messages=(*history, Message("user", text)), max_tokens=2))
        assert len(engine._cache._checkpoints) == before + more


def test_too_much_to_warm_is_refused_with_numbers(any_engine: Engine) -> None:
    with pytest.raises(DoesNotFit, match=r"needs [\d,]+ tokens.*holds 2,048"):
        any_engine.warm(Request(messages=(Message("user", "word " * 5000),)))


def test_cancelled_it_keeps_what_was_read(real: Engine) -> None:
    long = Request(messages=(Message("user", "word " * 900),), sampling=GREEDY)
    list(real.warm(ASKED))
    events = real.warm(long)
    real.cancel()
    *_, last = events
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"
    assert last.usage.cached_tokens + last.usage.evaluated_tokens < last.usage.prompt_tokens
    assert answer(real, ASKED)[0]


def test_closed_early_it_leaves_the_engine_ready(any_engine: Engine) -> None:
    events = any_engine.warm(Request(messages=(Message("user", "word " * 900),)))
    if hasattr(events, "close"):
        events.close()
    assert answer(any_engine, ASKED)[0]


def test_an_answer_goes_on_where_it_was_cut(real: Engine) -> None:
    """Also after the history was read as history: the header of the answer is written anew."""
    whole, first = answer(real, ASKED)
    cut, finished = answer(real, replace(ASKED, max_tokens=6))
    assert finished.reason == "length"
    goes_on = replace(ASKED, messages=(*ASKED.messages, Message("model", cut)), goes_on=True)
    rest, finished = answer(real, goes_on)
    assert cut + rest == whole
    assert finished.usage.evaluated_tokens < 5
    said = finished.usage.prompt_tokens - first.usage.prompt_tokens
    assert 0 < said <= 6
    warm(real, *goes_on.messages)
    assert cut + answer(real, goes_on)[0] == whole
    assert real.count(goes_on).total_tokens == finished.usage.prompt_tokens


def test_what_goes_on_comes_back_to_the_question(prompter: PromptBuilder) -> None:
    """The header stands before the answer now, and the history will write it differently."""
    said = replace(ASKED, messages=(*ASKED.messages, Message("model", "I can")), goes_on=True)
    asked, goes_on = prompter.prompt(ASKED), prompter.prompt(said)
    assert goes_on.history_units == asked.history_units < len(asked.units) < len(goes_on.units)
    assert list(goes_on.units[: len(asked.units)]) == list(asked.units)


@pytest.mark.parametrize("budget", [0, 1, 3, 10, None])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_spent_thought_is_closed_and_the_answer_follows(
    engine: LlamaEngine, budget: int | None, seed: int
) -> None:
    request = replace(
        ASKED, think=True, max_thought_tokens=budget, max_tokens=120, sampling=Sampling(seed=seed)
    )
    events = list(engine.generate(request))
    finished = events[-1]
    assert isinstance(finished, Finished)
    spoken = {c: "" for c in ("thought", "answer")}
    for event in events:
        if isinstance(event, Chunk):
            spoken[event.channel] += event.text
    assert spoken["answer"].strip()
    assert finished.usage.thought_tokens <= 90
    if budget is not None:
        assert finished.usage.thought_tokens <= budget + 4  # its opening, a newline, its end


def test_a_tiny_limit_still_leaves_room_for_an_answer(engine: LlamaEngine) -> None:
    request = replace(ASKED, think=True, max_tokens=12)
    text, finished = answer(engine, request)
    assert text.strip()
    assert finished.usage.thought_tokens <= 10


def test_answers_and_readings_wait_for_each_other(either_order: Callable[[], None]) -> None:
    either_order()


@pytest.fixture
def either_order(remote: Engine) -> Callable[[], None]:
    """A reading in another thread, cancelled, is over before the answer begins."""
    import threading

    def run() -> None:
        done: list[Finished] = []
        long = Request(messages=(Message("user", "word " * 900),))
        thread = threading.Thread(target=lambda: done.append(warm(remote, *long.messages)))
        thread.start()
        while thread.is_alive():
            remote.cancel()
            thread.join(0.01)
        assert answer(remote, ASKED)[0]
        assert len(done) == 1

    return run
