"""A real terminal for tests: keys go in at one end of a pty, a person's page comes out."""

import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect

from tests.cli.screen import Screen

ROOT = Path(__file__).parents[2]
CTRL_C, CTRL_D, CTRL_R, ALT_ENTER = "\x03", "\x04", "\x12", "\x1b\r"
PASTE = "\x1b[200~{}\x1b[201~"
SECONDS = 20


class Terminal:
    """A process on a pty, and what stands on its screen. ``raw`` is all that it wrote."""

    def __init__(
        self,
        *command: str,
        columns: int = 60,
        rows: int = 24,
        stdout: Path | None = None,
        **world: str,
    ) -> None:
        settings = {"TERM": "xterm", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
        kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        self.command, self.world, self.cwd = command, world, str(ROOT)
        self.environment = kept | settings | world
        self.screen = Screen(columns, rows)
        self.raw = ""
        self._before = ""
        self._typed = 0  # length of ``raw`` when a key was last pressed
        self._ended = False
        words = [sys.executable, *command]
        if stdout is not None:
            words = ["sh", "-c", f"exec {shlex.join(words)} > {shlex.quote(str(stdout))}"]
        self.process = pexpect.spawn(
            words[0], words[1:], cwd=self.cwd, env=self.environment, encoding="utf-8",
            codec_errors="replace", dimensions=(rows, columns),
        )  # fmt: skip
        self.process.delaybeforesend = None

    def type(self, keys: str) -> None:
        """Press keys."""
        self._typed = len(self.raw)
        self.process.send(keys)

    def enter(self, text: str) -> None:
        """Type a line and press Enter; what is on the page by then is not waited for again."""
        self.settle()
        self._before = self._words()
        self.type(text + "\r")

    def wait_for(self, text: str, seconds: float = SECONDS, *, times: int = 1) -> str:
        """Read until ``text`` is on the page so often since the last ``enter``, which shows it too
        where it is part of the line; spaces and line ends are all the same. Gives the page."""

        def there() -> bool:
            return self._words().count(text) >= self._before.count(text) + times

        self.until(there, f"{text!r}", seconds)
        return self._words()

    def wait_for_line(self, seconds: float = SECONDS) -> None:
        """Until a person may type, and what was typed last has been taken."""
        self.until(lambda: len(self.raw) > self._typed and self._is_asked(), "a prompt", seconds)

    def until(self, there: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        """Read until something is so."""
        deadline = time.monotonic() + seconds
        while not there():
            assert not self._ended or what == "an end", f"it ended without {what}:\n{self.page}"
            assert self._read(deadline - time.monotonic()), f"no {what} in:\n{self.page}"

    def settle(self, seconds: float = 0.15) -> None:
        """Read until nothing more comes."""
        while not self._ended and self._read(seconds):
            pass

    def resize(self, columns: int, rows: int = 24) -> None:
        """As when a person pulls at the window; the page is folded again."""
        self.settle(0.02)
        self.screen.resize(columns, rows)
        self.process.setwinsize(rows, columns)

    def end(self) -> int:
        """Read to the end; the exit status."""
        self.until(lambda: self._ended, "an end")
        self.process.close()
        return self.process.exitstatus

    def close(self) -> None:
        """Kill it, if it lives."""
        self.process.close(force=True)

    @property
    def page(self) -> str:
        """All rows, those that scrolled off included."""
        return self.screen.text()

    def _is_asked(self) -> bool:
        row = "".join(self.screen.lines[self.screen.y])
        return row.strip() in ("›", ">") and self.screen.x == 2

    def _words(self) -> str:
        return re.sub(r"\s+", " ", self.page)

    def _read(self, seconds: float) -> bool:
        """Take in what is there, within so long; False if nothing came."""
        try:
            data = self.process.read_nonblocking(65536, max(0, seconds))
        except pexpect.TIMEOUT:
            return False
        except (pexpect.EOF, OSError):
            self._ended = True
            return True
        self.raw += data
        self.screen.feed(data)
        return True
