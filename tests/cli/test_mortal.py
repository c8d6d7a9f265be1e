"""What a person sees of the engine beside its answers: how far it reads, that it was started again,
and after a real death a conversation that goes on."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_edge.engine.protocol import Chunk, Event, Notice, Prefill, Request
from gemma_edge.errors import EngineStopped, ExitStatus
from tests.scripted import ScriptedEngine

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from tests.cli.terminals import CTRL_C, CTRL_D, Terminal

PROGRAM = str(Path(__file__).parent / "mortal_chat.py")
STOPPED = "the engine stopped (out of memory); started again with ubatch 256"


class Eventful(ScriptedEngine):
    """Tells of a restart and of a long prompt before each answer."""

    def generate(self, request: Request) -> Iterator[Event]:
        yield Notice(STOPPED)
        yield Prefill(12288, 30100)
        yield Prefill(24576, 30100)
        yield from super().generate(request)


class Stopping(ScriptedEngine):
    """Dies after the first word of each answer."""

    def generate(self, request: Request) -> Iterator[Event]:
        for event in super().generate(request):
            yield event
            raise EngineStopped(STOPPED, hint="ask it again")


def test_a_restart_is_told_and_progress_is_for_terminals_only(shell):
    shell.engine = Eventful(["Hello."] * 3)
    ran = shell.run("chat", "hi")
    assert (ran.stdout, ran.status) == ("Hello.\n", 0)
    assert f"\n{STOPPED}\n" in ran.stderr
    assert "reading" not in ran.stderr
    drawn = shell.run("chat", "hi", stderr_is_terminal=True, environment={"NO_COLOR": "1"})
    assert drawn.stdout == "Hello.\n"
    assert "reading 12,288 of 30,100 tokens\r" in drawn.stderr
    assert drawn.stderr.count("\n") == ran.stderr.count("\n")  # drawn over, no lines of their own
    quiet = shell.run("chat", "hi", "--quiet", stderr_is_terminal=True)
    assert quiet.stderr == ""


def test_every_event_is_in_the_json_stream(shell):
    shell.engine = Eventful(["Hello."])
    ran = shell.run("chat", "hi", "--json", "--quiet")
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [event["event"] for event in events] == [
        "notice", "reading", "reading", "chunk", "finished",
    ]  # fmt: skip
    assert events[0]["text"] == STOPPED
    assert (events[1]["done_tokens"], events[1]["total_tokens"]) == (12288, 30100)


def test_one_question_ends_with_the_error(shell):
    shell.engine = Stopping(["one two three"])
    ran = shell.run("chat", "count")
    assert (ran.stdout, ran.status) == ("one \n", ExitStatus.FAILED)
    assert ran.stderr.endswith(f"error: {STOPPED}\nhint: ask it again\n")


def test_nobody_waits_for_a_measurement_after_ctrl_c(shell):
    class Interrupted(ScriptedEngine):
        def generate(self, request: Request) -> Iterator[Event]:
            for event in super().generate(request):
                if isinstance(event, Chunk):
                    signal.raise_signal(signal.SIGINT)
                yield event

        def measure(self, tokens: int = 32, *, filled: bool = False) -> float:
            raise AssertionError("measured")

    shell.engine = Interrupted(["one two"])
    ran = shell.run("chat", "hi")
    assert (ran.stdout, ran.status) == ("one \n", ExitStatus.INTERRUPTED)


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[tuple[Terminal, Path]]:
    pid = tmp_path / "pid"
    world = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_DATA_HOME": str(tmp_path / "data")}
    terminal = Terminal(PROGRAM, str(pid), **world)
    yield terminal, pid
    terminal.close()


def read_pid(path: Path) -> int:
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < deadline, "the engine does not load"
        time.sleep(0.02)
    return int(path.read_text())


def test_a_kill_in_the_middle_of_an_answer_and_the_conversation_goes_on(chat):
    import termios

    terminal, pid = chat
    engine = read_pid(pid)
    terminal.wait_for_line()
    settings = termios.tcgetattr(terminal.process.child_fd)
    terminal.enter("Repeat: amber stone river lane")
    terminal.wait_for("amber", times=2)  # the line itself, then the answer
    os.kill(engine, signal.SIGKILL)
    told = terminal.wait_for("conversation is kept")
    assert "the engine stopped (killed" in told
    terminal.wait_for("amber stone river", times=2)  # asked again, by itself
    terminal.wait_for_line()
    assert termios.tcgetattr(terminal.process.child_fd) == settings
    terminal.enter("Repeat: five six")
    terminal.wait_for("five six", times=2)
    terminal.wait_for_line()
    terminal.type(CTRL_D)
    assert terminal.end() == ExitStatus.OK


def test_ctrl_c_reaches_the_parent_alone(chat):
    terminal, pid = chat
    engine = read_pid(pid)
    terminal.wait_for_line()
    terminal.enter("Repeat: amber stone river lane hill")
    terminal.wait_for("amber", times=2)
    terminal.type(CTRL_C)
    terminal.wait_for("stopped; what was said is kept")
    terminal.wait_for_line()
    os.kill(engine, 0)  # it lives
    terminal.type(CTRL_D)
    assert terminal.end() == ExitStatus.OK
