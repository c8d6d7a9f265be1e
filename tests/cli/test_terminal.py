"""A real terminal: keys go in at one end of a pty, the screen's bytes come out."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals in the standard library")

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "slow_chat.py"
SETTINGS = {"NO_COLOR": "1", "COLUMNS": "60", "TERM": "xterm"}
CTRL_C, CTRL_D = b"\x03", b"\x04"
READY_SECONDS = 0.3  # CPython's readline misses a signal between its prompt and its first select


class Terminal:
    """A process on a pty."""

    def __init__(self, *flags: str, program: Path = PROGRAM, **environment: str) -> None:
        self.primary, secondary = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(program), *flags],
            stdin=secondary,
            stdout=secondary,
            stderr=secondary,
            start_new_session=True,
            preexec_fn=_take_terminal,
            cwd=ROOT,  # found there without being installed, as in the other tests
            env=os.environ | SETTINGS | {"PYTHONPATH": str(ROOT)} | environment,
        )
        os.close(secondary)
        self.screen = b""

    def type(self, keys: bytes) -> None:
        os.write(self.primary, keys)

    def wait_for(self, text: str, seconds: float = 20) -> str:
        """Read until ``text`` is on the screen; what came before it is forgotten."""
        wanted, deadline = text.encode(), time.monotonic() + seconds
        while wanted not in self.screen:
            ready, _, _ = select.select([self.primary], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {self.screen!r}"
            data = self._read()
            assert data, f"it ended without {text!r}: {self.screen!r}"
            self.screen += data
        before, _, self.screen = self.screen.partition(wanted)
        return (before + wanted).decode()

    def end(self) -> int:
        """Read to the end; the exit status."""
        while data := self._read():
            self.screen += data
        return self.process.wait(timeout=20)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.primary)

    def _read(self) -> bytes:
        try:
            return os.read(self.primary, 4096)
        except OSError:  # Linux says EIO when the other end is closed
            return b""


def _take_terminal() -> None:
    """Make the pty the controlling terminal, so that Ctrl-C becomes SIGINT."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(write_gguf):
    path = write_gguf("model.gguf", {"general.architecture": "gemma4"})
    opened = []

    def start(*flags: str, **environment: str) -> Terminal:
        opened.append(Terminal(str(path), *flags, **environment))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_ctrl_c_in_an_answer_stops_it_and_ctrl_d_leaves(terminal):
    chat = terminal()
    chat.wait_for("› ")
    chat.type(b"count\r")
    chat.wait_for("1 2 3 ")
    chat.type(CTRL_C)
    stopped = chat.wait_for("stopped; what was said is kept")
    assert "150" not in stopped
    chat.wait_for("› ")
    chat.type(b"go on\r")
    chat.wait_for("second answer")
    chat.wait_for("› ")
    chat.type(CTRL_D)
    assert chat.end() == ExitStatus.OK
    assert b"closed" in chat.screen


def test_ctrl_c_at_the_prompt_clears_the_line_and_twice_leaves(terminal):
    chat = terminal()
    chat.wait_for("› ")
    chat.type(b"never sent")
    chat.wait_for("never sent")
    time.sleep(READY_SECONDS)
    chat.type(CTRL_C)
    chat.wait_for("Ctrl-C again leaves, so does Ctrl-D")
    chat.wait_for("› ")
    time.sleep(READY_SECONDS)
    chat.type(CTRL_C)
    assert chat.end() == ExitStatus.INTERRUPTED
    assert b"closed" in chat.screen
    assert b"1 2 3" not in chat.screen


def test_an_ascii_terminal_gets_ascii(terminal):
    chat = terminal(PYTHONIOENCODING="ascii", TERM="dumb")
    screen = chat.wait_for("> ")
    chat.type(b"/exit\r")
    assert chat.end() == ExitStatus.OK
    assert screen.isascii()
    assert "\x1b" not in screen
