"""Whatever is done to a conversation, in whatever order: what is on disk is what is here."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_edge.chat.conversation import Conversation
from gemma_edge.chat.journal import Journal, read_history
from gemma_edge.engine.protocol import Chunk
from gemma_edge.errors import EngineError, EngineStopped, GemmaEdgeError
from tests.scripted import ScriptedEngine


class Fickle(ScriptedEngine):
    """Ends each answer as it is told: whole, refused, stopped, cancelled or left after n words."""

    def __init__(self):
        super().__init__()
        self.how, self.words, self.count_ = "whole", 0, 0

    def generate(self, request):
        if self.how == "refused":
            raise EngineError("refused")
        self.count_ += 1
        self.answers = [("a thought", f"answer {self.count_} in some words")]
        for number, event in enumerate(super().generate(request)):
            if number == self.words:
                if self.how == "stopped":
                    raise EngineStopped("stopped")
                if self.how == "cancelled":
                    self.cancel()
            yield event


ASKS = ("say", "again", "regenerate", "edit", "continue", "compact")
ENDS = ("whole", "refused", "stopped", "cancelled", "left")
asks = st.tuples(st.sampled_from(ASKS), st.sampled_from(ENDS), st.integers(0, 4), st.booleans())
changes = st.sampled_from(["undo", "drop", "clear", "system", "title", "reopen"])


def ask(session, engine, step):
    name, how, words, session.think = step
    engine.how, engine.words = how, words
    calls = {
        "say": lambda: session.say("a question"),
        "again": session.say_again,
        "regenerate": session.regenerate,
        "edit": lambda: session.edit("other words"),
        "continue": session.continue_answer,
        "compact": session.compact,
    }
    try:
        events = calls[name]()
        for number, event in enumerate(events):
            assert isinstance(event, object)
            if how == "left" and number == words:
                events.close()
                break
    except GemmaEdgeError:
        pass


def change(session, name):
    if name == "undo":
        session.undo()
    elif name == "drop":
        session.drop(1)
    elif name == "clear":
        session.clear()
    elif name == "system":
        session.system = "Be kind." if session.system != "Be kind." else None
    else:
        session.title = "A title"


def seen(history):
    return (
        history.exchanges, history.earlier, history.open, history.summary, history.system,
        history.title, history.model,
    )  # fmt: skip


@settings(max_examples=150)
@given(steps=st.lists(st.one_of(asks, changes), max_size=12))
def test_what_is_on_disk_is_what_is_here(steps):
    with tempfile.TemporaryDirectory() as folder:
        engine = Fickle()
        session = Conversation(
            engine, "Be short.", journal=Journal.create(Path(folder)), model="E4B"
        )
        for step in steps:
            if isinstance(step, tuple):
                before = len(session.history.exchanges)
                ask(session, engine, step)
                assert len(session.history.exchanges) <= before + 1
            elif step != "reopen":
                change(session, step)
            elif session.journal.exists:
                session.journal.close()
                session = Conversation(engine, journal=Journal.open(session.journal.path))
            assert session.journal is not None
            if session.journal.exists:
                history = read_history(session.journal.path)
                assert seen(history) == seen(session.history)
                assert history.notes == []
            roles = [message.role for message in session.turns]
            assert roles == ["user", "model"] * (len(roles) // 2)
            assert all(e.answered for e in session.history.exchanges)
        session.journal.close()


def test_the_engine_of_these_tests_says_something():
    engine = Fickle()
    session = Conversation(engine, think=True)
    ask(session, engine, ("say", "whole", 0, True))
    assert session.history.exchanges[0].answer == "answer 1 in some words"
    ask(session, engine, ("say", "left", 3, True))
    assert session.history.exchanges[1].answer == "answer 2 "
    chunks = [e for e in session.say("x") if isinstance(e, Chunk)]
    assert chunks
