"""Changing what was said, and how much room it takes: over the scripted engine."""

import pytest

from gemma_edge.chat.conversation import Conversation
from gemma_edge.chat.journal import Attachment, Journal, render_file, title_of
from gemma_edge.documents.document import Picture
from gemma_edge.engine.protocol import Chunk, Finished, Notice, Sampling
from gemma_edge.errors import DoesNotFit, EngineStopped, OutOfMemory, ProjectorError, UsageError
from tests.scripted import ScriptedEngine

PICTURE = Picture(bytes(48 * 48 * 3), 48, 48, "dot.png")


def run(events):
    """The text of an answer."""
    return "".join(e.text for e in events if isinstance(e, Chunk) and e.channel == "answer")


def texts(session):
    return [message.text for message in session.turns]


def talk(answers, *questions, **options):
    engine = ScriptedEngine(answers, **options)
    session = Conversation(engine, "Be short.")
    for question in questions:
        run(session.say(question))
    return engine, session


def test_undo_takes_the_last_pair_back():
    _, session = talk(["1", "2"], "a", "b")
    assert session.undo()
    assert texts(session) == ["a", "1"]
    assert session.undo()
    assert not session.undo()
    assert texts(session) == []


def test_edit_asks_the_same_in_other_words():
    engine, session = talk(["1", "2", "3"], "a")
    run(session.add(PICTURE, Attachment("f", "x", 1)).say("b"))
    assert run(session.edit("c")) == "3"
    assert texts(session) == ["a", "1", "f:\n```\nx\n```\n\nc", "3"]
    assert engine.requests[-1].messages[-1].pictures == (PICTURE,)
    assert len(engine.requests[-1].messages) == 4


def test_what_is_added_to_a_question_in_other_words_goes_with_it_and_is_kept(tmp_path):
    engine = ScriptedEngine(["1", "2"])
    session = Conversation(engine, journal=Journal.create(tmp_path, "one"))
    run(session.add(PICTURE, Attachment("f", "x", 1)).say("a"))
    other = Picture(bytes([1] * 48 * 48 * 3), 48, 48, "other.png")
    run(session.add(other, Attachment("g", "y", 1)).edit("b"))
    assert engine.requests[-1].messages[-1].pictures == (PICTURE, other)
    session.journal.close()
    kept = Conversation(engine, journal=Journal.open(tmp_path / "one"))
    assert kept.history.exchanges == session.history.exchanges
    assert [file.name for file in kept.history.exchanges[-1].question.files] == ["f", "g"]
    kept.journal.close()


def test_regenerate_throws_other_dice():
    engine, session = talk(["1", "2", "3", "4"])
    session.sampling = Sampling(seed=7)
    run(session.say("a"))
    run(session.regenerate())
    run(session.regenerate())
    run(session.say("b"))
    assert [request.sampling.seed for request in engine.requests] == [7, 8, 9, 7]
    assert texts(session) == ["a", "3", "b", "4"]


def test_a_refused_change_leaves_all_as_it_was():
    engine, session = talk(["1"], "a", context_tokens=12)
    for change in (lambda: session.edit("w " * 30), session.regenerate, session.continue_answer):
        engine.answers.clear()
        with pytest.raises(Exception, match=r"too many|no answer left"):
            run(change())
        assert texts(session) == ["a", "1"]
        assert session.history.open is None
        assert session.history.earlier == []


def test_nothing_to_change_is_said():
    session = Conversation(ScriptedEngine())
    for change in (session.say_again, session.regenerate, session.continue_answer, session.compact):
        with pytest.raises(UsageError, match=r"nothing|no answer"):
            list(change())
    with pytest.raises(UsageError):
        session.edit("x")
    assert session.drop(3) == 0


def test_continue_goes_on_where_it_was_cut():
    engine, session = talk(["one two three", "three four"])
    session.max_tokens = 2
    run(session.say("count"))
    assert texts(session) == ["count", "one two "]
    session.max_tokens = None
    assert run(session.continue_answer()) == "three four"
    assert texts(session) == ["count", "one two three four"]
    request = engine.requests[-1]
    assert request.goes_on
    assert [m.text for m in request.messages] == ["Be short.", "count", "one two "]
    assert session.history.earlier == []


def test_drop_leaves_out_the_oldest():
    engine, session = talk(["1", "2", "3", "4"], "a", "b", "c")
    assert session.drop(2) == 2
    assert texts(session) == ["c", "3"]
    run(session.say("d"))
    assert [m.text for m in engine.requests[-1].messages] == ["Be short.", "c", "3", "d"]
    assert session.drop(99) == 2


def test_compact_stands_for_the_older_turns():
    engine, session = talk(["1", "2", "3", "You asked a and b.", "4"], "a", "b", "c")
    assert run(session.compact()) == "You asked a and b."
    asked = engine.requests[-1]
    assert [m.text for m in asked.messages[:-1]] == ["Be short.", "a", "1", "b", "2"]
    assert "Summarize" in asked.messages[-1].text
    assert session.history.summary == "You asked a and b."
    first = "[What was said before, in short:\nYou asked a and b.]\n\nc"
    assert texts(session) == [first, "3"]
    run(session.say("d"))
    assert texts(session) == [first, "3", "d", "4"]
    session.undo()
    session.undo()
    assert session.history.summary
    assert texts(session) == []


def test_compact_of_one_turn_and_of_a_summary():
    long = "a long answer " * 5
    engine, session = talk([long, "sum one", long, "sum two", "3"], "a")
    run(session.compact())
    run(session.say("b"))
    run(session.compact())
    assert "sum one" in engine.requests[-1].messages[1].text
    run(session.say("c"))
    assert texts(session)[0] == "[What was said before, in short:\nsum two]\n\nc"


def test_a_cancelled_summary_changes_nothing():
    engine, session = talk(["1", "2", "long summary here"], "a", "b")
    for event in session.compact():
        if isinstance(event, Chunk):
            engine.cancel()
    assert session.history.summary == ""
    assert texts(session) == ["a", "1", "b", "2"]


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        ("word " * 99, "with the summary it would take 126 tokens, now it takes 36"),
        ("word " * 999, "the summary came to no end within 256 tokens"),
        ("", "the summary came to no end within 0 tokens"),
    ],
)
def test_a_summary_that_makes_no_room_is_not_taken(summary, says):
    _, session = talk(["1 " * 10, "2 " * 10, summary], "a", "b", context_tokens=2048)
    events = list(session.compact())
    assert isinstance(events[-1], Finished)
    assert events[-2] == Notice(f"{says}: the conversation is as before")
    assert (session.history.summary, len(session.history.exchanges)) == ("", 2)


def test_a_summary_does_not_think_but_keeps_the_prompt():
    engine, session = talk(["one two three " * 5, ("hm", "sum")], "a")
    session.think = True
    assert run(session.compact()) == "sum"
    assert (engine.requests[-1].think, engine.requests[-1].max_thought_tokens) == (True, 0)


def test_the_meter_is_what_the_engine_counts():
    engine, session = talk(["one two"], context_tokens=100)
    empty = session.meter()
    assert (empty.used_tokens, empty.template_tokens, empty.text_tokens) == (6, 4, 2)
    run(session.add(PICTURE).say("a b c"))
    meter = session.meter()
    assert (meter.used_tokens, meter.context_tokens, meter.free_tokens) == (14, 100, 86)
    assert (meter.text_tokens, meter.picture_tokens, meter.template_tokens) == (7, 1, 6)
    assert session.meter("d e").used_tokens == 14 + 2 + 2
    assert session.add(PICTURE, Attachment("f", "x")).meter("d e").picture_tokens == 2
    file = session.count_file("log.txt", "four words are here")
    assert (file.name, file.tokens) == ("log.txt", 4 + 3)  # its name and two fences


def test_too_large_a_message_says_the_numbers_and_the_choices():
    engine, session = talk(["1"], "a", context_tokens=20)
    with pytest.raises(DoesNotFit) as raised:
        run(session.say("w " * 20))
    assert raised.value.message == (
        "this message takes 22 tokens, 10 are used already, and the context holds 20: 13 too many"
    )
    assert raised.value.hint == "/compact, /drop, or /ctx with a larger number"
    assert (texts(session), session.history.open, len(engine.requests)) == (["a", "1"], None, 1)
    run_first = Conversation(ScriptedEngine(["x"], context_tokens=5))
    with pytest.raises(DoesNotFit, match="this message takes 12 tokens, and the context holds 5"):
        run(run_first.say("w " * 10))


def test_a_lack_of_memory_is_not_the_message():
    class Poor(ScriptedEngine):
        def generate(self, request):
            raise OutOfMemory("no memory")

    with pytest.raises(OutOfMemory, match="no memory"):
        run(Conversation(Poor()).say("a"))


def test_a_model_without_eyes_is_told_the_names():
    _, session = talk(["1"])
    run(session.add(PICTURE).say("what?"))
    blind = ScriptedEngine(["2"], vision=False)
    assert session.move_to(blind) == (
        "1 image of this conversation: this model sees none, only their names",
    )
    assert run(session.say("and now?")) == "2"
    assert blind.requests[0].messages[1].text == (
        "[dot.png: an image that you cannot see]\n\nwhat?"
    )
    with pytest.raises(ProjectorError):
        run(session.add(PICTURE).say("and this?"))
    assert session.move_to(ScriptedEngine(["3"])) == ()
    assert session.turns[0].pictures == (PICTURE,)


def test_a_resumed_conversation_says_once_that_its_images_are_not_seen(tmp_path):
    session = Conversation(ScriptedEngine(["1"]), journal=Journal.create(tmp_path))
    run(session.add(PICTURE).say("what?"))
    session.journal.close()
    blind = ScriptedEngine(["2", "3"], vision=False)
    session = Conversation(blind, journal=Journal.open(session.journal.path))
    notices = [e.text for _ in "ab" for e in session.say("and?") if isinstance(e, Notice)]
    assert notices == ["1 image of this conversation: this model sees none, only their names"]


def test_a_prefill_reads_the_history_ahead():
    engine, session = talk(["1"])
    assert list(session.prefill()) == []
    run(session.say("a"))
    (finished,) = session.prefill()
    assert isinstance(finished, Finished)
    assert [m.text for m in engine.warmed[0].messages] == ["Be short.", "a", "1"]


def test_after_a_death_in_a_regenerated_answer_the_new_words_are_kept():
    class Mortal(ScriptedEngine):
        def generate(self, request):
            for count, event in enumerate(super().generate(request)):
                if count == 1 and len(self.requests) > 1:
                    raise EngineStopped("the engine stopped")
                yield event

    session = Conversation(Mortal(["old words", "new words", "newer words"]))
    run(session.say("a"))
    with pytest.raises(EngineStopped):
        run(session.regenerate())
    assert texts(session) == ["a", "new "]
    assert session.history.exchanges[0].reason == "stopped"


def test_an_interrupt_before_the_first_word_keeps_the_question():
    class Interrupted(ScriptedEngine):
        def generate(self, request):
            raise KeyboardInterrupt

    session = Conversation(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        run(session.say("a"))
    assert session.history.open.text == "a"
    assert session.undo()
    assert session.history.open is None


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("\n  hello there \nmore", "hello there"),
        ("", ""),
        ("word " * 30, "word word word word word word word word word word word…"),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_a_title_is_the_first_line_cut_at_a_word(text, title):
    assert title_of(text) == title


def test_a_file_is_fenced_by_what_it_does_not_hold():
    assert render_file(Attachment("a.md", "x\n````\ny\n")) == "a.md:\n`````\nx\n````\ny\n`````"
