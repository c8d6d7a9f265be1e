"""Conversations that are kept: gone on with, listed, shown, deleted, and those that are not."""

import json

import pytest

from gemma_edge.errors import ExitStatus
from tests.cli.test_chat import Typist

WORLD = {"environment": {"NO_COLOR": "1"}, "width": 200}


@pytest.fixture
def converse(shell):
    """A conversation of these lines; what stood on stderr, and the engine."""

    def run(*lines, answers=(), flags=(), status=0):
        engine = shell.script(answers)
        ran = shell.run("chat", *flags, terminal=True, ask=Typist(*lines, EOFError), **WORLD)
        assert ran.status == status, ran.stderr
        return ran.stderr, engine

    return run


def sessions(shell, *argv, **more):
    return shell.run("sessions", *argv, model=False, **(WORLD | more))


def names(shell) -> list[str]:
    listed = json.loads(sessions(shell, "--json").stdout)["sessions"]
    return [each["name"] for each in listed]


def texts(engine, number=-1) -> list[str]:
    return [message.text for message in engine.requests[number].messages]


def test_a_conversation_is_listed_and_gone_on_with(shell, converse):
    converse("what is tea?", "/system Be brief.", "more", answers=["leaves", "water"])
    ran = sessions(shell)
    assert "what is tea?" in ran.stdout
    assert "2 questions" in ran.stdout
    told, engine = converse("and milk?", answers=["no"], flags=["-c"])
    assert "what is tea? · 2 questions so far" in told
    assert "water" in told
    assert texts(engine) == [
        "Be brief.", "what is tea?", "leaves", "more", "water", "and milk?",
    ]  # fmt: skip
    assert len(names(shell)) == 1


def test_a_name_is_a_name(shell, converse):
    """What is like the name of another conversation, or of its title, begins a new one."""
    told, _ = converse("My password is tea", answers=["1"], flags=["--session", "work"])
    assert "session work is new" in told
    _, engine = converse("again", answers=["3"], flags=["--session", "work"])
    assert texts(engine) == ["My password is tea", "1", "again"]
    for name in ("pass", "wor", "WORK", "my password is tea", "My password is tea"):
        told, engine = converse("hi", answers=["2"], flags=["--session", name])
        assert texts(engine) == ["hi"]
        assert f"session {name} is new" in told
    assert len(names(shell)) == 6
    shell.script(["5"])
    ran = shell.run("chat", "--session", "assw", "one question", **WORLD)
    assert (ran.stdout, texts(shell.engine)) == ("5\n", ["one question"])
    told, _ = converse(flags=["--session", "a/b"], status=ExitStatus.USAGE)
    assert "`a/b` cannot be the name of a session" in told
    told, _ = converse(flags=["--session", ""], status=ExitStatus.USAGE)
    assert "the session has no name" in told


def test_a_look_up_may_be_fuzzy_and_says_what_it_took(shell, converse):
    converse("about tea", "/think", answers=[("a plan", "leaves")], flags=["--session", "one"])
    shown = sessions(shell, "show", "tea")
    assert "leaves" in shown.stdout and "`tea` is taken for one" in shown.stderr
    assert sessions(shell, "show", "one").stderr == ""
    told, _ = converse("hi", "/load TEA", "/show thought", answers=[("my thought", "x")],
                       flags=["--session", "two", "--think"])  # fmt: skip
    assert "one · about tea · 1 question so far" in told
    assert "there was no thought" in told  # that was of the other conversation


def test_nothing_to_go_on_with(converse):
    told, engine = converse(flags=["-c"], status=ExitStatus.INPUT)
    assert told.startswith("error: there is no session")
    assert engine.requests == []


def test_a_conversation_without_a_word_leaves_nothing(shell, converse):
    converse("/help", "/set temperature 1")
    assert names(shell) == []
    assert "no session is kept yet" in sessions(shell).stderr


def test_load_goes_to_another_and_back(shell, converse):
    converse("one", answers=["1"], flags=["--session", "first"])
    told, engine = converse(
        "two", "/load first", "three", "/sessions", "/load nowhere", "/load",
        answers=["2", "3"], flags=["--session", "second"],
    )  # fmt: skip
    assert texts(engine) == ["one", "1", "three"]
    assert "one · 1 question so far" in told
    assert "there is no session `nowhere`" in told
    assert sorted(names(shell)) == ["first", "second"]
    _, engine = converse("four", answers=["4"], flags=["--session", "second"])
    assert texts(engine) == ["two", "2", "four"]


def test_what_the_command_line_gave_belongs_to_the_first_session_alone(shell, converse, tmp_path):
    (tmp_path / "words.txt").write_text("some words")
    converse("one", "/system Be slow.", answers=["1"], flags=["--session", "first"])
    flags = ["--session", "second", "--system", "Be quick.", "--file", str(tmp_path / "words.txt")]
    _, engine = converse("two", "/load first", "three", answers=["2", "3"], flags=flags)
    assert texts(engine, 0)[0] == "Be quick."
    assert "some words" in texts(engine, 0)[1]
    assert texts(engine) == ["Be slow.", "one", "1", "three"]
    told, _ = converse("/load first", flags=["--private"])
    assert "error: a private conversation is not kept" in told


def test_one_question_is_not_kept_but_goes_on_with_what_is(shell, converse):
    shell.script(["1", "2", "3"])
    assert shell.run("chat", "alone", **WORLD).stdout == "1\n"
    assert names(shell) == []
    assert shell.run("chat", "--session", "kept", "first", **WORLD).stdout == "2\n"
    assert shell.run("chat", "-c", "second", **WORLD).stdout == "3\n"
    assert texts(shell.engine) == ["first", "2", "second"]
    assert names(shell) == ["kept"]


def test_private_is_not_kept(shell, converse):
    converse("a secret", "/save x", answers=["1"], flags=["--private"])
    assert names(shell) == []
    for other in (["-c"], ["--session", "x"]):
        told, _ = converse(flags=["--private", *other], status=ExitStatus.USAGE)
        assert "a private conversation is not kept" in told


def test_show_and_rm(shell, converse):
    converse("what is *tea*?", answers=["leaves"], flags=["--session", "tea"])
    shown = sessions(shell, "show", "tea")
    assert shown.stdout.startswith("# what is *tea*?\n")
    assert "leaves" in shown.stdout
    assert json.loads(sessions(shell, "show", "tea", "--json").stdout)["turns"][0]["answer"] == (
        "leaves"
    )
    removed = sessions(shell, "rm", "tea", now=lambda: 1e9)
    assert (removed.status, removed.stdout) == (0, "")
    assert removed.stderr.startswith("tea deleted, ")
    assert "until 2001-09-16 `gemma-edge sessions restore tea` brings it back" in removed.stderr
    assert names(shell) == []
    assert sessions(shell, "rm", "tea").status == ExitStatus.INPUT
    assert sessions(shell, "rm").status == ExitStatus.USAGE
    assert "there is no command `sessions move`" in sessions(shell, "move").stderr


def test_deleted_by_a_name_alone_or_after_a_question(shell, converse):
    converse("My password is tea", answers=["1"], flags=["--session", "work"])
    for part in ("pass", "wor", "My password is tea", "WORK"):
        ran = sessions(shell, "rm", part)
        assert ran.status == ExitStatus.INPUT
        assert f"there is no session `{part}`; like it: work" in ran.stderr
        assert "gemma-edge sessions rm work" in ran.stderr
        asked = sessions(shell, "rm", part, terminal=True, stdin="n\n")
        assert "delete work (My password is tea)? [y/N]" in asked.stderr
        told, _ = converse(f"/sessions rm {part}", flags=["--private"])
        assert f"there is no session `{part}`; like it: work" in told
    assert names(shell) == ["work"]
    assert sessions(shell, "rm", "../sessions").status == ExitStatus.INPUT
    assert sessions(shell, "rm", "pass", terminal=True, stdin="y\n").status == 0
    assert names(shell) == []


def test_a_deletion_can_be_undone(shell, converse):
    for name in ("a", "b c"):
        converse(f"{name}?", answers=["1"], flags=["--session", name])
    now = {"now": lambda: 1e9}
    assert sessions(shell, "restore", **now).status == ExitStatus.INPUT
    assert "sessions restore 'b c'`" in sessions(shell, "rm", "b c", **now).stderr
    sessions(shell, "rm", "a", **now)
    assert "deleted: b c, a" in sessions(shell, **now).stderr.replace("a, b c", "b c, a")
    assert "several sessions were deleted" in sessions(shell, "restore", **now).stderr
    assert sessions(shell, "restore", "a", **now).status == 0
    assert "--session 'b c' goes on with it" in sessions(shell, "restore", **now).stderr
    assert sorted(names(shell)) == ["a", "b c"]
    told, _ = converse("/sessions rm a", "/sessions restore a", flags=["--private"])
    assert "a deleted, " in told and "a is back" in told
    sessions(shell, "rm", "a", "--forever", **now)
    assert sessions(shell, "restore", "a", **now).status == ExitStatus.INPUT
    sessions(shell, "rm", "b c", **now)
    late = sessions(shell, "restore", "b c", now=lambda: 1e9 + 8 * 86_400)
    assert late.status == ExitStatus.INPUT
    assert not [path for path in shell.home.rglob("journal.jsonl")]


def test_a_refused_first_message_leaves_no_session(shell, converse):
    shell.script(["1"], context_tokens=9)
    ran = shell.run("chat", "--session", "new", "a secret " * 20, **WORLD)
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert names(shell) == []
    assert not [path for path in shell.home.rglob("sessions/*")]
    told, engine = converse("hello", answers=["2"], flags=["--session", "new"])
    assert texts(engine) == ["hello"]


def test_a_cache_that_is_not_of_this_engine_is_told_and_read_again(shell, converse):
    converse("one", answers=["1"], flags=["--session", "kept"])
    (cache,) = shell.home.rglob("cache.kv")
    told, _ = converse(flags=["-c"])
    assert "read again" not in told
    cache.write_bytes(b"damaged")
    told, engine = converse("/stats", flags=["-c"])
    assert "the conversation is read again: " in told
    assert {request.messages[-1].text for request in engine.warmed} == {"1"}


def test_it_goes_on_with_its_own_model_where_none_is_named(shell, converse):
    converse("one", answers=["1"])
    shell.script(["2"])
    typist = Typist("two", EOFError)
    ran = shell.run("chat", "-c", model=False, terminal=True, ask=typist, **WORLD)
    assert ran.status == 0, ran.stderr
    assert [plan.model for plan in shell.plans] == [shell.model, shell.model]
    shell.model.rename(shell.model.with_suffix(".old"))
    shell.script(["3"])
    ran = shell.run("chat", "-c", "three", model=False, **WORLD)
    assert "the model of this conversation is not there any more: " in ran.stderr
    assert ran.stdout == "3\n"


def test_a_persona(shell, converse, tmp_path):
    folder = shell.home / ".local" / "share" / "gemma-edge" / "personas"
    folder.mkdir(parents=True)
    (folder / "pirate.toml").write_text(
        'system = "You are a pirate."\nthink = true\nmax_tokens = 5\n'
        "[sampling]\ntemperature = 0.5\ntop_k = 3\n"
    )
    _, engine = converse("hi", answers=["arr"], flags=["--as", "pirate", "--temperature", "0.1"])
    (request,) = engine.requests
    assert request.messages[0].text == "You are a pirate."
    assert (request.sampling.temperature, request.sampling.top_k) == (0.1, 3)
    assert (request.think, request.max_tokens) == (True, 5)
    told, _ = converse(flags=["--as", "pirat"], status=ExitStatus.INPUT)
    assert "did you mean `pirate`?" in told
