"""A conversation with the bundled model, in its own process: what a turn costs, and what comes
back after the program has ended."""

from pathlib import Path

import pytest

import gemma_edge
from gemma_edge.chat.conversation import Conversation
from gemma_edge.chat.journal import Journal
from gemma_edge.engine import load
from gemma_edge.engine.protocol import GREEDY, Chunk, Finished
from gemma_edge.errors import DoesNotFit
from tests.engine.conftest import demo_plan, picture


@pytest.fixture(scope="module")
def engine():
    opened = load(demo_plan())
    yield opened
    opened.close()


def run(events):
    """The answer, and how it ended."""
    *chunks, finished = events
    assert isinstance(finished, Finished)
    text = "".join(e.text for e in chunks if isinstance(e, Chunk) and e.channel == "answer")
    return text, finished


def first_turn(session):
    document = session.count_file("data.txt", "\n".join(f"line {number}" for number in range(100)))
    return run(session.add(picture(), document).say("Describe this image."))


@pytest.mark.parametrize("think", [False, True])
def test_a_second_turn_costs_its_own_tokens(engine, think):
    engine.measure(1)
    session = Conversation(engine, "Be short.", think=think, sampling=GREEDY, max_tokens=60)
    _, first = first_turn(session)
    assert first.usage.cached_tokens == 0
    *_, warmed = session.prefill()
    before, after = session.meter().used_tokens, session.meter("What color?").used_tokens
    _, second = run(session.say("What color?"))
    assert second.usage.prompt_tokens == after
    assert second.usage.cached_tokens == warmed.usage.prompt_tokens
    assert second.usage.evaluated_tokens < after - before + 12  # and the header of the answer
    assert second.usage.encoded_pictures == 0


def test_the_meter_is_exact(engine):
    session = Conversation(engine, "Be short.", sampling=GREEDY, max_tokens=40)
    draft = session.add(picture()).meter("Describe this image.")
    _, finished = run(session.say("Describe this image."))
    assert finished.usage.prompt_tokens == draft.used_tokens
    assert draft.picture_tokens == picture().tokens
    total = draft.text_tokens + draft.picture_tokens + draft.template_tokens
    assert total == draft.used_tokens


def test_what_does_not_fit_evaluates_nothing(engine):
    session = Conversation(engine, sampling=GREEDY, max_tokens=20)
    run(session.say("What can you do?"))
    before = session.meter()
    with pytest.raises(DoesNotFit, match=r"this message takes [\d,]+ tokens, \d+ are used already"):
        run(session.say("word " * 3000))
    assert session.meter() == before
    *_, warmed = session.prefill()
    assert warmed.usage.cached_tokens > 0


def test_a_session_is_back_without_reading(engine, tmp_path: Path):
    session = Conversation(engine, sampling=GREEDY, max_tokens=60, journal=Journal.create(tmp_path))
    said, _ = first_turn(session)
    run(session.prefill())
    size = session.save_cache()
    assert size == session.journal.kv_path.stat().st_size
    path = session.journal.path
    session.journal.close()
    fresh = load(demo_plan())
    try:
        again = Conversation(fresh, sampling=GREEDY, max_tokens=60, journal=Journal.open(path))
        restored = again.restore_cache()
        assert (restored.tokens > 500, restored.reason) == (True, "")
        assert again.turns[-1].text == said
        ours, finished = run(again.say("What color?"))
        assert finished.usage.cached_tokens == restored.tokens
        assert finished.usage.encoded_pictures == 0
        assert ours == run(session.say("What color?"))[0]
    finally:
        fresh.close()


def test_the_whole_of_it_from_python():
    greedy = gemma_edge.Sampling(temperature=0)
    with gemma_edge.load("demo") as engine:
        talk = gemma_edge.Conversation(engine, system="Be short.", sampling=greedy)
        talk.attach(Path(__file__).parents[2] / "examples" / "shapes.png")
        assert talk.ask("Describe this image.").startswith("A red circle on the left")
        chunks = [e for e in talk.say("What color?") if isinstance(e, gemma_edge.Chunk)]
        assert "".join(each.text for each in chunks) == talk.turns[-1].text
        assert (talk.finished.reason, talk.meter().picture_tokens) == ("end", 130)


def test_a_summary_makes_room(engine):
    session = Conversation(engine, sampling=GREEDY, max_tokens=40)
    first_turn(session)
    run(session.say("What can you do?"))
    before = session.meter().used_tokens
    text, _ = run(session.compact())
    assert session.history.summary == text.strip()
    assert session.meter().used_tokens < before / 2
    assert len(session.history.exchanges) == 1
    assert run(session.say("What can you do?"))[0]
