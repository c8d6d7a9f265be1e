"""A conversation over the Engine protocol: what is kept, what is sent, what is forgotten."""

import pytest

from gemma_edge.chat.conversation import Conversation
from gemma_edge.documents.document import Picture
from gemma_edge.engine.protocol import Chunk, Finished, Notice, Sampling
from gemma_edge.engine.scripted import ScriptedEngine
from gemma_edge.errors import DoesNotFit, EngineStopped, ProjectorError

PICTURE = Picture(bytes(48 * 48 * 3), 48, 48, "dot.png")


def said(session, text, pictures=()):
    return "".join(e.text for e in session.say(text, pictures) if isinstance(e, Chunk))


def texts(messages):
    return [(message.role, message.text) for message in messages]


def test_turns_are_kept_and_sent_again():
    engine = ScriptedEngine(["Hello.", "Ann."])
    session = Conversation(engine, "Be short.")
    assert said(session, "I am Ann.") == "Hello."
    assert said(session, "Who am I?") == "Ann."
    assert texts(engine.requests[1].messages) == [
        ("system", "Be short."),
        ("user", "I am Ann."),
        ("model", "Hello."),
        ("user", "Who am I?"),
    ]
    assert texts(session.turns)[-1] == ("model", "Ann.")


def test_thoughts_are_shown_but_not_remembered():
    session = Conversation(ScriptedEngine([("hm hm", "42")]), think=True)
    events = list(session.say("6 x 7"))
    assert {event.channel for event in events[:-1]} == {"thought", "answer"}
    assert isinstance(events[-1], Finished)
    assert texts(session.turns) == [("user", "6 x 7"), ("model", "42")]


def test_a_cancelled_answer_is_kept_as_far_as_it_went():
    engine = ScriptedEngine(["one two three"])
    session = Conversation(engine)
    for event in session.say("count"):
        if isinstance(event, Chunk):
            engine.cancel()
    assert texts(session.turns) == [("user", "count"), ("model", "one ")]


def test_a_closed_stream_is_kept_too():
    session = Conversation(ScriptedEngine(["one two three"]))
    events = session.say("count")
    next(events)
    events.close()
    assert texts(session.turns) == [("user", "count"), ("model", "one ")]


def test_the_engine_is_closed_with_its_listener():
    """Also where somebody else still holds its stream."""

    class Held(ScriptedEngine):
        def generate(self, request):
            self.stream = self.closing(super().generate(request))
            return self.stream

        def closing(self, events):
            try:
                yield from events
            finally:
                self.closed = True

    engine = Held(["one two three"])
    engine.closed = False
    events = Conversation(engine).say("count")
    next(events)
    events.close()
    assert engine.closed


def test_cancelled_before_the_first_word_can_be_asked_again():
    engine = ScriptedEngine([("hm hm", "yes")])
    session = Conversation(engine, think=True)
    for event in session.say("really?"):
        if isinstance(event, Chunk):
            engine.cancel()
    assert session.turns == []


def test_an_empty_answer_is_an_answer():
    session = Conversation(ScriptedEngine([""]))
    assert said(session, "say nothing") == ""
    assert texts(session.turns) == [("user", "say nothing"), ("model", "")]


@pytest.mark.parametrize(
    ("engine", "pictures", "error"),
    [
        (ScriptedEngine(["x"], context_tokens=4), (), DoesNotFit),
        (ScriptedEngine(["x"], vision=False), (PICTURE,), ProjectorError),
    ],
)
def test_a_refused_message_changes_nothing(engine, pictures, error):
    session = Conversation(engine)
    with pytest.raises(error):
        list(session.say("a b c d e", pictures))
    assert session.turns == []


def test_pictures_stay_with_their_turn():
    engine = ScriptedEngine(["A dot.", "Yes."])
    session = Conversation(engine)
    said(session, "what?", [PICTURE])
    said(session, "sure?")
    assert [len(m.pictures) for m in engine.requests[1].messages] == [1, 0, 0]


def test_clear_forgets_the_turns_and_keeps_the_system_prompt():
    engine = ScriptedEngine(["a", "b"])
    session = Conversation(engine, "Be short.", sampling=Sampling(seed=1), max_tokens=5)
    said(session, "one")
    session.clear()
    said(session, "two")
    assert texts(engine.requests[1].messages) == [("system", "Be short."), ("user", "two")]
    assert (engine.requests[1].sampling.seed, engine.requests[1].max_tokens) == (1, 5)


class Restarted(ScriptedEngine):
    """Was started again before each answer."""

    def generate(self, request):
        yield Notice("started again")
        yield from super().generate(request)


def test_a_restart_in_a_conversation_says_that_it_is_kept():
    session = Conversation(Restarted(["a", "b"]))
    assert next(iter(session.say("one"))) == Notice("started again")  # nothing to keep yet
    said(session, "one")
    first, *_ = session.say("two")
    assert first == Notice("started again, the conversation is kept")


class Mortal(ScriptedEngine):
    """Dies after so many events of each answer, as long as there are numbers."""

    def __init__(self, answers, deaths):
        super().__init__(answers)
        self.deaths = list(deaths)

    def generate(self, request):
        left = self.deaths.pop(0) if self.deaths else 1000
        for event in super().generate(request):
            if left == 0:
                raise EngineStopped("the engine stopped", hint="ask it again")
            left -= 1
            yield event


@pytest.mark.parametrize(("answer", "think"), [("one two three", False), (("hm hm", "ok"), True)])
def test_after_a_death_the_same_is_asked_again(answer, think):
    engine = Mortal(["A", answer, answer], deaths=[1000, 1])
    session = Conversation(engine, think=think)
    said(session, "first", [PICTURE])
    with pytest.raises(EngineStopped):
        said(session, "second", [PICTURE])
    whole = "".join(
        e.text for e in session.say_again() if isinstance(e, Chunk) and e.channel == "answer"
    )
    assert whole == (answer[1] if think else answer)
    assert engine.requests[-1] == engine.requests[-2]
    assert texts(session.turns) == [
        ("user", "first"), ("model", "A"), ("user", "second"), ("model", whole),
    ]  # fmt: skip
    assert session.turns[2].pictures == (PICTURE,)


def test_what_was_said_is_not_lost_when_it_dies_again_without_a_word():
    session = Conversation(Mortal(["one two three"] * 2, deaths=[2, 0]))
    with pytest.raises(EngineStopped):
        said(session, "count")
    with pytest.raises(EngineStopped):
        list(session.say_again())
    assert texts(session.turns) == [("user", "count"), ("model", "one two ")]
