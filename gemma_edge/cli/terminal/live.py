"""The bottom of a terminal's page: lines that are printed for good, and below them a few that are
drawn again. Only lines that changed are written, all in one write, so nothing flickers; what is
printed for good is never touched again, so it can be scrolled back to.
"""

import os
import re
from collections.abc import Callable, Sequence

from rich.cells import cell_len

Size = Callable[[], os.terminal_size]

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036; others ignore it
_TOGETHER = ("\x1b[?2026h", "\x1b[?2026l")


class Live:
    """``write`` takes text with escape codes, ``size`` says how large the terminal is now, and
    ``reflows`` whether it folds long lines again when it becomes narrower."""

    def __init__(self, write: Callable[[str], None], size: Size, *, reflows: bool = True) -> None:
        self._write = write
        self._size = size
        self._reflows = reflows
        self._drawn: list[str] = []

    @property
    def columns(self) -> int:
        """What a line may take: the last column stays free, or the cursor would hang in it."""
        return max(1, self._size().columns - 1)

    @property
    def rows(self) -> int:
        """What may be drawn again: a line that has left the screen cannot be."""
        return max(1, self._size().lines - 2)

    def put(self, lines: Sequence[str]) -> None:
        """Print lines for good, in the place of those that were drawn."""
        self._redraw(lines, keep=False)

    def draw(self, lines: Sequence[str]) -> None:
        """Show lines in the place of those that were drawn before; the last ones, if too many."""
        self._redraw(lines[-self.rows :], keep=True)

    def clear(self) -> None:
        """Take the drawn lines away."""
        self._redraw((), keep=False)

    def _redraw(self, lines: Sequence[str], *, keep: bool) -> None:
        folded = any(self._height(line) > 1 for line in self._drawn)  # it became narrower
        same = 0 if folded else _shared(self._drawn, lines)
        up = sum(self._height(line) for line in self._drawn[same:])
        if up or lines[same:]:
            text = f"\x1b[{up}A\r\x1b[J" if up else ""
            text += "".join(f"{line}\n" for line in lines[same:])
            self._write(_TOGETHER[0] + text + _TOGETHER[1])
        self._drawn = list(lines) if keep else []

    def _height(self, line: str) -> int:
        """The rows that a drawn line takes now."""
        if not self._reflows:
            return 1
        return max(1, -(-cell_len(_CODES.sub("", line)) // max(1, self._size().columns)))


def _shared(before: Sequence[str], after: Sequence[str]) -> int:
    """How many lines at the top are the same."""
    for number, (old, new) in enumerate(zip(before, after, strict=False)):
        if old != new:
            return number
    return min(len(before), len(after))
