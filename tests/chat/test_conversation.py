"""A conversation over the Engine protocol: what is kept, what is sent, what is forgotten."""

import time

import pytest

import gemma_edge
from gemma_edge.chat.conversation import Conversation
from gemma_edge.documents.document import Picture
from gemma_edge.engine.protocol import Chunk, Finished, Notice, Sampling
from gemma_edge.errors import DoesNotFit, EngineError, EngineStopped, ProjectorError
from tests.scripted import ScriptedEngine

PICTURE = Picture(bytes(48 * 48 * 3), 48, 48, "dot.png")


def said(session, text, pictures=()):
    return "".join(e.text for e in session.add(*pictures).say(text) if isinstance(e, Chunk))


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
        list(session.add(*pictures).say("a b c d e"))
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


def test_ask_gives_the_whole_answer_without_its_thought():
    conversation = Conversation(ScriptedEngine([("hm hm", "It is 42.")]), think=True)
    assert conversation.ask("6 x 7") == "It is 42."
    assert conversation.finished.reason == "end"


def test_an_engine_that_dies_is_asked_again():
    engine = Mortal(["one two three"] * 3, deaths=[1, 2])
    conversation = Conversation(engine)
    assert conversation.ask("count") == "one two three"
    assert texts(conversation.turns) == [("user", "count"), ("model", "one two three")]


def test_what_was_attached_goes_with_one_message_and_stays_if_it_is_refused(tmp_path):
    pytest.importorskip("PIL.Image").new("RGB", (480, 480)).save(tmp_path / "a.png")
    (tmp_path / "log.txt").write_text("disk full")
    engine = ScriptedEngine(["a", "b"], context_tokens=200)
    conversation = Conversation(engine)
    assert conversation.attach(tmp_path / "a.png") == ("a.png 480x480, 100 tokens",)
    assert conversation.attach(str(tmp_path / "log.txt")) == ("log.txt: 5 tokens",)
    with pytest.raises(DoesNotFit):
        conversation.ask("word " * 200)
    assert (len(conversation.pictures), len(conversation.files)) == (1, 1)
    conversation.ask("what?")
    assert (conversation.pictures, conversation.files) == ((), ())
    conversation.ask("and?")
    first, second = (request.messages[-1] for request in engine.requests)
    assert ("disk full" in first.text, len(first.pictures)) == (True, 1)
    assert (second.text, second.pictures) == ("and?", ())
    question = conversation.undo()
    assert question.text == "and?"
    conversation.undo()
    assert [file.name for file in conversation.files] == ["log.txt"]


def test_a_model_without_eyes_takes_no_image(tmp_path):
    pytest.importorskip("PIL.Image").new("RGB", (48, 48)).save(tmp_path / "a.png")
    with pytest.raises(ProjectorError):
        Conversation(ScriptedEngine(vision=False)).attach(tmp_path / "a.png")


def test_a_persona_gives_what_is_not_given_otherwise(tmp_path):
    path = tmp_path / "pirate.toml"
    path.write_text('system = "Arr."\nthink = true\n[sampling]\ntemperature = 0.5\ntop_k = 3\n')
    engine = ScriptedEngine(["a"])
    conversation = Conversation(
        engine, persona=str(path), think=False, sampling=Sampling(temperature=0.1)
    )
    conversation.ask("hi")
    (request,) = engine.requests
    assert request.messages[0].text == "Arr."
    assert (request.think, request.sampling) == (False, Sampling(temperature=0.1, top_k=3))


def test_a_conversation_is_kept_and_goes_on(tmp_path):
    with Conversation(ScriptedEngine(["a"]), journal=tmp_path / "one") as first:
        first.ask("hi")
    engine = ScriptedEngine(["b"])
    with Conversation(engine, journal=str(tmp_path / "one")) as again:
        assert again.restore_cache().tokens > 0
        assert again.ask("more") == "b"
    assert texts(engine.requests[0].messages) == [("user", "hi"), ("model", "a"), ("user", "more")]


def test_it_is_read_ahead_while_nobody_asks():
    engine = ScriptedEngine(["a", "b"])
    conversation = Conversation(engine)
    conversation.ask("hi")
    done = []
    conversation.first, conversation.changed = lambda: done.append("first"), lambda: None
    conversation.start_prefill()
    assert conversation.ask("more") == "b"
    assert (done, conversation.pending) == (["first"], False)
    conversation.start_prefill()
    while conversation.used is None or conversation.used.used_tokens < 10:
        time.sleep(0.001)
    conversation.stop_prefill()
    assert texts(engine.warmed[-1].messages)[-1] == ("model", "b")


def test_what_comes_before_reading_ahead_may_fail():
    def fail():
        raise EngineError("no model")

    conversation = Conversation(ScriptedEngine(["a"]))
    conversation.first = fail
    conversation.start_prefill()
    with pytest.raises(EngineError, match="no model"):
        conversation.ask("hi")
    assert conversation.pending


def test_it_is_public():
    assert gemma_edge.Conversation is Conversation
