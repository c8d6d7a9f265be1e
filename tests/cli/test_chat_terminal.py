"""The conversation on a real terminal: what is typed, pasted, resized, interrupted, resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from tests.cli.terminals import ALT_ENTER, CTRL_C, CTRL_D, CTRL_R, PASTE, Terminal

COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-79]|4[0-79]|9[0-7])[0-9;]*m")
NUMBERS = " ".join(map(str, range(1, 150)))


def journals(folder: Path) -> list[Path]:
    return sorted((folder / "data" / "gemma-edge" / "sessions").glob("*/journal.jsonl"))


def test_the_prompt_is_there_before_the_machine_was_looked_at(terminal):
    began = time.monotonic()
    chat = terminal(SLOW_PLAN="1.5", answers=["Hello."])
    chat.wait_for_line()
    seconds = time.monotonic() - began
    assert "looking at this machine …" in chat.page
    assert "8k context" not in chat.page
    assert seconds < 1.2  # 0.25 s where nothing else runs; a busy machine has its time
    chat.enter("hi")  # while it is planned
    chat.wait_for("Hello.")
    assert chat.page.index("32k context") > chat.page.index("› hi")
    chat.type(CTRL_D)
    assert chat.end() == ExitStatus.OK


@pytest.mark.slow
def test_what_is_refused_is_told_when_it_comes(terminal):
    chat = terminal("--require-gpu", SLOW_PLAN="0.7")
    chat.wait_for_line()
    chat.type("a question that nobody will answer")
    assert chat.end() == ExitStatus.DOES_NOT_FIT
    assert "error: " in chat.page
    assert "hint: " in chat.page
    again = terminal()
    again.wait_for_line()
    again.type("\x1b[A")  # what was typed is not lost
    again.wait_for("a question that nobody will answer")


@pytest.mark.slow
def test_a_download_is_asked_about_where_it_can_be_answered(terminal, tmp_path):
    world = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    chat = terminal("--model", "auto", SLOW_PLAN="0.5", **world)
    chat.wait_for_line()
    chat.type("half a ")
    chat.wait_for("download it?")  # the line is as wide as the page
    chat.wait_for("the demo model answers [Y/n]")
    chat.type("n\r")
    chat.wait_for("the bundled demo model answers")
    chat.settle(0.5)
    chat.type("message\r")
    chat.wait_for("half a message")
    chat.wait_for("198 199")
    chat.wait_for_line()
    chat.type(CTRL_D)
    assert chat.end() == ExitStatus.OK


def test_a_paste_that_is_too_long_hides_no_error_and_its_hint_can_be_typed(terminal, tmp_path):
    chat = terminal(SLOW_CONTEXT="60", answers=["well"])
    chat.wait_for_line()
    chat.type(PASTE.format("\n".join(f"line {number} of a secret" for number in range(60))))
    chat.wait_for("line 59 of a secret")
    chat.type("\r")
    chat.wait_for("Up brings the message back")
    chat.wait_for_line()
    seen = " ".join("".join("".join(row) for row in chat.screen.lines).split())
    assert "error: this message takes" in seen and "hint: less text" in seen
    assert journals(tmp_path) == []
    kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"secret" in path.read_bytes()]
    chat.type("\x1b[A")
    chat.wait_for("line 59 of a secret", times=2)
    chat.type(CTRL_C)
    chat.wait_for("Ctrl-C again leaves")
    chat.enter("short")
    chat.wait_for("well")
    chat.type(CTRL_D)
    assert chat.end() == ExitStatus.OK


def test_lines_by_alt_enter_by_fence_and_by_paste(terminal):
    chat = terminal(answers=["", "", ""])
    chat.wait_for_line()
    chat.enter("one" + ALT_ENTER + "two")
    chat.wait_for("I read 2 lines, from “one” to “two”.")
    chat.wait_for_line()
    chat.enter('"""begin\rmiddle\rend"""')
    chat.wait_for("I read 3 lines, from “begin” to “end”.")
    chat.wait_for_line()
    chat.enter(PASTE.format("\r".join(f"line {number} / 200" for number in range(1, 201))))
    chat.wait_for("I read 200 lines, from “line 1 / 200” to “line 200 / 200”.")
    chat.wait_for_line()


@pytest.mark.slow
def test_a_resize_while_it_streams_loses_nothing(terminal):
    chat = terminal(columns=60, answers=[NUMBERS])
    chat.wait_for_line()
    chat.enter("count")
    chat.wait_for(" 40 ")
    chat.resize(40)
    chat.wait_for(" 80 ")
    chat.resize(70)
    chat.wait_for_line()
    assert NUMBERS in " ".join(chat.page.split())
    assert " ".join(chat.page.split()).count(" 30 31 32 ") == 1
    chat.enter("/exit")
    assert chat.end() == ExitStatus.OK


@pytest.mark.slow
def test_keys_of_the_meantime_stay_out_of_the_answer_and_are_not_lost(terminal):
    chat = terminal(answers=[NUMBERS, ""])
    chat.wait_for_line()
    chat.enter("count")
    chat.wait_for(" 20 ")
    chat.type("typed ahead")
    chat.wait_for(" 149")
    chat.wait_for("› typed ahead")
    assert NUMBERS in " ".join(chat.page.split())
    chat.type("\r")
    chat.wait_for("I read 1 lines, from “typed ahead”")


def test_kill_9_in_an_answer_and_the_conversation_goes_on(terminal, tmp_path):
    chat = terminal(answers=[NUMBERS])
    chat.wait_for_line()
    chat.enter("count slowly")
    chat.wait_for(" 30 ")
    os.kill(chat.process.pid, signal.SIGKILL)
    again = terminal("-c", answers=["150 151", ""])
    again.wait_for("count slowly · 1 question so far")
    again.wait_for("/continue goes on")
    again.wait_for_line()
    again.enter("/continue")
    again.wait_for("150 151")
    again.wait_for_line()
    again.enter("and now?")
    again.wait_for("I read 1 lines")
    again.enter("/exit")
    assert again.end() == ExitStatus.OK
    (journal,) = journals(tmp_path)
    kinds = [json.loads(line)["type"] for line in journal.read_text("utf-8").splitlines()]
    assert kinds.count("question") == 2
    assert "continue" in kinds


@pytest.mark.slow
def test_private_writes_nothing(terminal, tmp_path):
    chat = terminal("--private", answers=["a secret answer"])
    chat.wait_for_line()
    chat.enter("a secret")
    chat.wait_for("a secret answer")
    chat.wait_for_line()
    chat.type(CTRL_D)
    assert chat.end() == ExitStatus.OK
    kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"secret" in path.read_bytes()]
    assert not journals(tmp_path)


@pytest.mark.slow
def test_the_history_of_other_days_is_searched(terminal):
    first = terminal(answers=["yes"])
    first.wait_for_line()
    first.enter("an unusual alphabet")
    first.wait_for("yes")
    first.wait_for_line()
    first.type(CTRL_D)
    first.end()
    second = terminal(answers=[""])
    second.wait_for_line()
    second.type(CTRL_R + "alpha")
    second.wait_for("an unusual alphabet")
    second.type("\r")
    second.type("\r")
    second.wait_for("from “an unusual alphabet”")


def test_a_history_that_cannot_be_written_stops_nobody(terminal, tmp_path):
    chat = terminal(answers=["yes", "again"])
    chat.wait_for_line()
    chat.enter("hello")
    chat.wait_for("yes")
    chat.wait_for_line()
    (history,) = tmp_path.rglob("history")
    history.unlink()
    history.mkdir()
    chat.enter("and now")
    chat.wait_for("again")
    assert "Press ENTER" not in chat.page


@pytest.mark.slow
def test_an_editor_writes_the_message(terminal, tmp_path):
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nprintf "from\\nthe editor" > "$1"\n')
    editor.chmod(0o755)
    chat = terminal(answers=[""], EDITOR=str(editor), VISUAL="")
    chat.wait_for_line()
    chat.type("\x18\x05")  # Ctrl-X Ctrl-E
    chat.wait_for("the editor")
    chat.type("\r")
    chat.wait_for("I read 2 lines, from “from” to “the editor”.")


@pytest.mark.slow
def test_tab_completes_commands_and_paths(terminal, tmp_path):
    (tmp_path / "a-file-to-read.txt").write_text("words")
    chat = terminal(answers=[""])
    chat.wait_for_line()
    chat.type("/fi")
    chat.wait_for("/file FILE|-")
    chat.type("\t ")
    chat.type(str(tmp_path / "a-fi"))
    chat.wait_for("a-file-to-read.txt")  # offered
    chat.type("\t")
    chat.settle(0.5)
    chat.type("\r")
    chat.wait_for("a-file-to-read.txt: ")


def test_wide_characters(terminal):
    chat = terminal(answers=["お茶 🍵 " * 30])
    chat.wait_for_line()
    chat.type("日本茶X\x7f🍵")  # a typing error taken back
    chat.wait_for("› 日本茶🍵")
    chat.type("\r")
    chat.wait_for_line()
    assert "".join(chat.page.split()).count("お茶🍵") == 30
    assert "X" not in chat.page


def test_nothing_but_the_answer_goes_to_stdout(terminal, tmp_path):
    target = tmp_path / "answers.txt"
    more = {"answers": [["a thought", "# One\n\n*two*"], "three"]}
    chat = terminal("--think", stdout=target, **more)
    chat.wait_for_line()
    chat.enter("hi")
    chat.wait_for_line()
    chat.enter("/help")
    chat.wait_for("Ctrl-D")
    chat.wait_for_line()
    chat.enter("again")
    chat.wait_for_line()
    chat.type(CTRL_D)
    chat.end()
    assert target.read_text("utf-8") == "# One\n\n*two*\nthree\n"
    assert "a thought" in chat.page
    assert "three" not in chat.page


def test_a_pipe_in_and_a_pipe_out(terminal, tmp_path):
    chat = terminal(answers=[])  # for its model
    command = [sys.executable, *chat.command, "-p", "what is it?"]
    done = subprocess.run(
        command, input=b"first\nlast\n", capture_output=True, check=False, timeout=30,
        cwd=chat.cwd, env=chat.environment | {"SLOW_ANSWERS": '[""]'},
    )  # fmt: skip
    assert done.stdout.decode() == "I read 4 lines, from “first” to “what is it?”.\n"
    assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "settings", "drawn"), [
    ((), {"NO_COLOR": "", "TERM": "xterm-256color"}, "colour"),
    ((), {"NO_COLOR": "1", "TERM": "xterm-256color"}, "rendered"),
    (("--plain",), {"TERM": "xterm-256color"}, "as written"),
    ((), {"TERM": "dumb"}, "as written"),
])  # fmt: skip
def test_how_an_answer_looks(terminal, flags, settings, drawn):
    chat = terminal(*flags, answers=["# Title\n\n```python\nx = 'a'\n```"], **settings)
    chat.wait_for_line()
    chat.enter("hi")
    chat.wait_for("x = 'a'")
    chat.wait_for_line()
    assert ("# Title" in chat.page) == (drawn == "as written")
    assert ("```" in chat.page) == (drawn == "as written")
    assert bool(COLOUR.search(chat.raw)) == (drawn == "colour")
    if settings["TERM"] == "dumb":
        assert "\x1b" not in chat.raw
    chat.enter("/exit")
    assert chat.end() == ExitStatus.OK


def test_a_thought_is_folded_and_can_be_shown(terminal):
    chat = terminal("--think", answers=[["let me see\nand think", "42"]])
    chat.wait_for_line()
    chat.enter("6 x 7")
    chat.wait_for("▸ thought for")
    chat.wait_for("42")
    chat.wait_for_line()
    assert "let me see" not in chat.page
    chat.enter("/show thought")
    chat.wait_for("let me see and think")


def test_one_question_at_a_terminal_is_drawn_too_with_its_thought(terminal):
    chat = terminal("--think", "6 x 7", answers=[["let me see", "it is **42**"]])
    assert chat.end() == ExitStatus.OK
    assert "let me see\nit is 42\n" in chat.page
    assert "›" not in chat.page


@pytest.mark.slow
def test_sixty_columns_and_nothing_runs_over_an_edge(terminal):
    chat = terminal(columns=60, rows=70)
    chat.wait_for_line()
    for line in ("/help", "/set", "/show", "/stats"):
        chat.enter(line)
        chat.wait_for_line()
    assert not chat.screen.folded
    assert "/exit" in chat.page


@pytest.mark.slow
def test_the_line_of_a_second_terminal_is_its_own(terminal):
    """Two at once: each has its session, and one that is open cannot be opened again."""
    first, second = terminal("--session", "shared", answers=["one"]), None
    first.wait_for_line()
    first.enter("hi")
    first.wait_for("one")
    first.wait_for_line()
    second = Terminal(
        *first.command, "--session", "shared", **{**first.world, "SLOW_ANSWERS": "[]"}
    )
    assert second.end() == ExitStatus.INPUT
    assert "is open in another terminal" in second.page.replace("\n  ", " ")
    second.close()
    first.type(CTRL_C)
    first.wait_for("again leaves")
    first.type(CTRL_C)
    assert first.end() == ExitStatus.INTERRUPTED
