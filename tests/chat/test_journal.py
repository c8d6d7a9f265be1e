"""What is on disk is what was said, whatever happened to the process that said it."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gemma_edge.chat.conversation import Conversation
from gemma_edge.chat.journal import FILE, Attachment, Journal, read_history
from gemma_edge.chat.sessions import list_journals, render_json, render_markdown
from gemma_edge.documents.document import Picture
from gemma_edge.engine.protocol import Chunk, Notice
from gemma_edge.errors import DoesNotFit, InputError, UsageError
from tests.scripted import ScriptedEngine

ROOT = Path(__file__).parents[2]
PICTURE = Picture(bytes(range(48)) * 144, 48, 48, "dot.png", "96x96 -> 48x48", 7)


def talk(session, *texts):
    for text in texts:
        for _ in session.say(text):
            pass


def new(folder, answers, **options):
    return Conversation(ScriptedEngine(answers), journal=Journal.create(folder), **options)


def reopened(session, engine=None, **options):
    """The same conversation in another process, as far as it can tell."""
    path = session.journal.path
    session.journal.close()
    return Conversation(engine or ScriptedEngine([]), journal=Journal.open(path), **options)


def told(history):
    return [(e.question.text, e.answer, e.reason) for e in history.exchanges]


def test_a_conversation_comes_back_whole(tmp_path):
    session = new(tmp_path, [("hm", "one two"), "three"], system="Be short.", think=True)
    file = Attachment("log.txt", "line\n```\nline", 5)
    for _ in session.add(PICTURE, file).say("what?"):
        pass
    talk(session, "and?")
    before = session.history
    after = reopened(session).history
    assert after.exchanges == before.exchanges
    assert after.exchanges[0].thought == "hm"
    assert after.exchanges[0].question.pictures == (PICTURE,)
    assert after.exchanges[0].question.files == (file,)
    assert (after.system, after.title, after.notes) == ("Be short.", "what?", [])
    assert after.messages() == before.messages()


def test_without_a_word_nothing_is_left(tmp_path):
    session = new(tmp_path / "sessions", [], system="x")
    session.title = "never"
    session.clear()
    assert not (tmp_path / "sessions").exists()
    assert session.save_cache() == 0
    assert session.restore_cache().reason == "nothing was saved"


def test_what_was_set_before_the_first_question_is_kept(tmp_path):
    session = new(tmp_path, ["yes"])
    session.system, session.title = "Be kind.", "A talk"
    talk(session, "hello")
    history = reopened(session).history
    assert (history.system, history.title) == ("Be kind.", "A talk")


@pytest.mark.parametrize(
    ("change", "seen", "fates"),
    [
        (lambda s: s.undo(), ["a", "b"], ["undone"]),
        (lambda s: s.drop(2), ["c"], ["dropped", "dropped"]),
        (lambda s: list(s.compact()), ["c"], ["summarized", "summarized"]),
        (lambda s: s.clear(), [], ["cleared"] * 3),
        (lambda s: list(s.edit("z")), ["a", "b", "z"], ["undone"]),
        (lambda s: list(s.regenerate()), ["a", "b", "c"], ["undone"]),
        (lambda s: list(s.continue_answer()), ["a", "b", "c"], []),
    ],
)
def test_originals_are_kept_and_read_back(tmp_path, change, seen, fates):
    session = new(tmp_path, ["1", "2", "3", "new words"])
    talk(session, "a", "b", "c")
    change(session)
    before = session.history
    after = reopened(session).history
    for history in (before, after):
        assert [e.question.text for e in history.exchanges] == seen
        assert [e.fate for e in history.earlier] == fates
    assert told(after) == told(before)
    assert after.summary == before.summary
    text = (tmp_path / "x").parent.rglob(FILE)
    written = next(text).read_text("utf-8")
    assert all(f'"text": "{answer}"' in written for answer in "123")


def test_of_a_refused_message_nothing_is_on_the_disk(tmp_path):
    session = Conversation(
        ScriptedEngine(["1"], context_tokens=9), journal=Journal.create(tmp_path)
    )
    talk(session, "a")
    before = (session.journal.path / FILE).read_bytes()
    with pytest.raises(DoesNotFit, match=r"takes 8 tokens, 6 are used already.*9: 6 too many"):
        talk(session.add(PICTURE), "b c d e f")
    assert (session.journal.path / FILE).read_bytes() == before
    assert not list(session.journal.path.glob("pictures/*"))
    assert told(reopened(session).history) == [("a", "1", "end")]
    assert session.history.open is None


@pytest.mark.parametrize("name", ["", "named"])
def test_a_refused_first_message_leaves_nothing_at_all(tmp_path, name):
    folder = tmp_path / "sessions"
    session = Conversation(
        ScriptedEngine(["1"], context_tokens=9), journal=Journal.create(folder, name)
    )
    for _ in range(2):
        with pytest.raises(DoesNotFit):
            talk(session.add(PICTURE), "a secret " * 9)
        assert not list(folder.iterdir())
        assert session.title == ""
        session.pictures = ()
    talk(session, "a")
    assert told(reopened(session).history) == [("a", "1", "end")]
    assert b"secret" not in b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


def test_two_that_begin_under_one_name_do_not_mix(tmp_path):
    first, second = (
        Conversation(ScriptedEngine(["1"]), journal=Journal.create(tmp_path, "same"))
        for _ in range(2)
    )
    talk(first, "mine")
    first.journal.close()
    notices = [event.text for event in second.say("yours") if isinstance(event, Notice)]
    assert notices == [
        "another conversation has begun as `same` meanwhile; from here on nothing is kept"
    ]
    assert told(read_history(tmp_path / "same")) == [("mine", "1", "end")]


def test_pieces_are_written_when_they_come(tmp_path):
    """The file says what the listener has heard, at every moment."""
    session = new(tmp_path, ["one two three"])
    heard = ""
    for event in session.say("count"):
        if isinstance(event, Chunk):
            heard += event.text
            history = read_history(session.journal.path)
            assert told(history) == [("count", heard, None)]
    assert told(read_history(session.journal.path)) == [("count", "one two three", "end")]


KILLED = """
import sys, time
from pathlib import Path
from gemma_edge.chat.journal import Journal
from gemma_edge.chat.conversation import Conversation
from tests.scripted import ScriptedEngine
engine = ScriptedEngine(["fine", "one two three four"])
session = Conversation(engine, journal=Journal.create(Path(sys.argv[1])))
for _ in session.say("how are you?"): pass
events = session.say("count slowly")
for _ in range(int(sys.argv[2])): next(events)
print(session.journal.path, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("words", "said"), [(1, "one "), (2, "one two ")])
def test_kill_9_loses_nothing(tmp_path, words, said):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), str(words)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    path = Path(process.stdout.readline().strip())
    with pytest.raises(InputError, match="open in another terminal"):
        Journal.open(path)
    os.kill(process.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait()
    process.stdout.close()
    session = Conversation(ScriptedEngine(["five"]), journal=Journal.open(path))
    assert told(session.history) == [("how are you?", "fine", "end"), ("count slowly", said, None)]
    for _ in session.continue_answer():
        pass
    assert told(reopened(session).history)[-1] == ("count slowly", said + "five", "end")


def test_a_question_that_was_never_answered_can_be_asked_again(tmp_path):
    session = new(tmp_path, ["1", "2"])
    talk(session, "a")
    path = session.journal.path
    session.journal.append({"type": "question", "text": "b", "pictures": [], "files": []})
    again = reopened(session, ScriptedEngine(["answer"]))
    assert again.history.open.text == "b"
    for _ in again.say_again():
        pass
    assert told(read_history(path)) == [("a", "1", "end"), ("b", "answer", "end")]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_half_a_line_at_the_end_is_passed_over(tmp_path, cut):
    session = new(tmp_path, ["1", "2"])
    talk(session, "a", "b")
    path = session.journal.path / FILE
    session.journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = Conversation(ScriptedEngine(["3"]), journal=Journal.open(path.parent))
    assert [e.question.text for e in again.history.exchanges] == ["a", "b"]
    talk(again, "c")
    assert [e.question.text for e in read_history(path.parent).exchanges] == ["a", "b", "c"]


def test_damaged_and_unknown_lines_are_noted(tmp_path):
    session = new(tmp_path, ["1"])
    talk(session, "a")
    with (session.journal.path / FILE).open("ab") as file:
        file.write(b'nonsense\n{"type": "future"}\n{"type": "drop"}\n[1]\n{"type": "question"}\n')
    history = reopened(session).history
    assert told(history) == [("a", "1", "end")]
    assert sorted(history.notes) == [
        "2 unreadable lines in the session file",
        "a line of the session file is damaged: `drop`",
        "a line of the session file is damaged: `question`",
        "a line of the session file is of an unknown kind: `future`",
    ]


def test_a_picture_that_is_gone_is_named(tmp_path):
    session = new(tmp_path, ["1"])
    for _ in session.add(PICTURE).say("what?"):
        pass
    kept = session.journal.path / "pictures" / PICTURE.digest
    kept.write_bytes(b"x")
    history = reopened(session).history
    assert history.exchanges[0].question.pictures == ()
    assert "dot.png: an image that cannot be shown any more" in history.messages()[0].text
    assert history.notes == ["dot.png is not beside the session file any more"]


def test_a_picture_is_kept_once(tmp_path):
    session = new(tmp_path, ["1", "2"])
    for text in ("a", "b"):
        for _ in session.add(PICTURE).say(text):
            pass
    assert len(list((session.journal.path / "pictures").iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bits")
def test_for_the_owner_alone(tmp_path):
    mask = os.umask(0)
    try:
        session = new(tmp_path / "sessions", ["1"])
        for _ in session.add(PICTURE).say("a"):
            pass
    finally:
        os.umask(mask)
    for path in (tmp_path / "sessions").rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    assert stat.S_IMODE((tmp_path / "sessions").stat().st_mode) == 0o700


def test_two_that_begin_in_the_same_second(tmp_path):
    sessions = [
        Conversation(ScriptedEngine(["1"]), journal=Journal.create(tmp_path, clock=lambda: 1e9))
        for _ in range(3)
    ]
    for session in sessions:
        talk(session, "a")
    names = {session.journal.name for session in sessions}
    assert len(names) == 3
    assert len({name[:15] for name in names}) == 1


def test_names(tmp_path):
    session = Conversation(ScriptedEngine(["1"]), journal=Journal.create(tmp_path, "trip to Rome"))
    talk(session, "a")
    with pytest.raises(UsageError, match="there is a session `trip to Rome` already"):
        Journal.create(tmp_path, "trip to Rome")
    for name in ("..", "a/b", "a\\b", "x\n", " ", "a:b", "-x", ".x", "x.", "x ", "CON", "nul.txt",
                 "com1", "a\x1b[2J", "a\u202eb", "a\tb", "a\0b", "\udcff"):  # fmt: skip
        with pytest.raises(UsageError, match="cannot be the name"):
            Journal.create(tmp_path, name)
    for name in ("x" * 256, "猫" * 60):
        with pytest.raises(UsageError, match="too long for the name"):
            Journal.create(tmp_path, name)
    for name in ("console", "a.b", "1", "🍵", "👩\u200d🔬", "日記", "it's", "a & b", "#1"):
        talk(Conversation(ScriptedEngine(["1"]), journal=Journal.create(tmp_path, name)), "a")
        assert (tmp_path / name / FILE).is_file()
    (tmp_path / "left" / "lock").mkdir(parents=True)  # by a process that died early
    assert not Journal.create(tmp_path, "left").exists
    with pytest.raises(InputError, match="there is no session `nowhere`"):
        Journal.open(tmp_path / "nowhere")


def test_a_disk_that_refuses_does_not_end_the_conversation(tmp_path):
    """A folder where the file should be: nothing can be written there."""
    session = Conversation(ScriptedEngine(["1", "2"]), journal=Journal.create(tmp_path, "here"))
    (tmp_path / "here" / FILE).mkdir(parents=True)
    events = list(session.say("a"))
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "from here on nothing is kept" in notices[0]
    assert session.journal is None
    assert not [e for e in session.say("b") if isinstance(e, Notice)]
    assert [e.question.text for e in session.history.exchanges] == ["a", "b"]


def test_a_record_a_line_with_its_time(tmp_path):
    started = time.time()
    session = new(tmp_path, ["one two"], model="E4B")
    talk(session, "a")
    lines = (session.journal.path / FILE).read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["type"] for r in records] == ["session", "question", "said", "said", "answered"]
    assert records[0]["model"] == "E4B"
    assert all(abs(r["at"] - started) < 60 for r in records if "at" in r)
    assert session.history.created == pytest.approx(records[0]["at"], abs=1)


@pytest.mark.parametrize(
    "line",
    [
        {"type": "session", "at": -1e18, "model": 5, "system": 7},
        {"type": "session", "at": 1e999, "model": ["x"]},
        {"type": "session", "at": float("nan")}, {"type": "session", "at": "soon"},
        {"type": "question", "text": 5}, {"type": "question", "text": None, "pictures": 3},
        {"type": "question", "text": "x", "pictures": [5], "files": [{"name": 1}]},
        {"type": "question", "text": "\ud800 \x1b[2J\n\0"}, {"type": "said", "text": 5},
        {"type": "title", "title": {"a": 1}}, {"type": "answered"}, {"type": "again", "text": 1},
        {"type": "drop", "count": -1}, {"type": "compact"},
        {"type": "model", "model": "/" + "x" * 5000 + ".gguf"}, {"type": ["question"]}, {}, [], 5,
    ],
    ids=lambda line: json.dumps(line)[:40],
)  # fmt: skip
def test_a_damaged_line_is_a_note_and_the_rest_is_there(tmp_path, line):
    session = new(tmp_path, ["1"])
    talk(session, "a")
    path = session.journal.path
    session.journal.close()
    written = (path / FILE).read_text("utf-8").splitlines()
    for place in (0, len(written)):
        lines = [*written[:place], json.dumps(line), *written[place:]]
        (path / FILE).write_text("\n".join(lines) + "\n", "utf-8")
        (listed,) = list_journals(tmp_path)
        assert 0 <= listed.created < 1e12 and listed.questions in (1, 2)
        history = read_history(path)
        json.loads(render_json(history), parse_constant=pytest.fail)
        assert "## You" in render_markdown(history)
        again = Conversation(ScriptedEngine(["2"]), journal=Journal.open(path))
        assert "a" in [each.question.text for each in again.history.exchanges]
        again.journal.close()
