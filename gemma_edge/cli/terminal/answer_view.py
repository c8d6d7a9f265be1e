"""An answer on a terminal: Markdown, drawn while it streams. What is finished is printed once."""

from collections.abc import Callable, Mapping

from gemma_edge.cli.terminal.live import Live
from gemma_edge.cli.terminal.markdown import (
    WHOLE,
    Block,
    code_lines,
    render_lines,
    split_blocks,
    split_list,
)

FRAME_SECONDS = 0.08  # more often is not seen
SHARE = 10  # drawing takes a tenth of the time at most: on a small machine the model needs it


class AnswerView:
    """Text goes in, lines come out on ``live``. Between ``add`` and ``finish`` the last block is
    drawn again and again; everything above it is done."""

    def __init__(
        self,
        live: Live,
        environment: Mapping[str, str],
        clock: Callable[[], float],
        *,
        colour: bool,
    ) -> None:
        self._live = live
        self._environment = environment
        self._clock = clock
        self._colour = colour
        self._tail = ""  # the source that is not printed yet
        self._code_lines = 0  # of the fence in it that are
        self._gap = False  # whether a blank line comes before the next block
        self._due = float("-inf")

    def add(self, text: str) -> None:
        """The next piece; it is drawn when a frame is due."""
        self._tail += text
        now = self._clock()
        if now >= self._due:
            self._draw()
            self._due = now + max(FRAME_SECONDS, SHARE * (self._clock() - now))

    def finish(self) -> None:
        """Print what is left."""
        blocks = split_blocks(self._tail)
        for block in blocks:
            self._put(block)
        if not blocks and self._tail.strip():
            self._live.put(self._tail.strip().split("\n"))
        self._live.clear()
        self._tail, self._gap = "", False

    def _draw(self) -> None:
        blocks = split_blocks(self._tail)
        for block in blocks[:-1]:
            self._put(block)
        if not blocks:
            return
        last = blocks[-1]
        self._tail = last.source
        lines = self._render(last)
        if len(lines) > self._live.rows:
            lines = self._shorten(last, lines)
        self._live.draw([""] * self._gap + lines)

    def _shorten(self, block: Block, lines: list[str]) -> list[str]:
        """Print the beginning of a block that is higher than the screen, where that is final."""
        if block.kind in ("bullet_list", "ordered_list"):
            done, rest = split_list(block.source)
            if done:
                self._put(Block(block.kind, done))
                self._tail, self._gap = rest, False
                return self._render(Block(block.kind, rest))
        elif block.kind == "fence" and (whole := code_lines(block)) > self._code_lines:
            self._live.put([""] * self._gap + self._render(block, whole))
            self._code_lines, self._gap = whole, False
            return self._render(block)
        return lines

    def _put(self, block: Block) -> None:
        self._live.put([""] * self._gap + self._render(block))
        self._code_lines, self._gap = 0, True

    def _render(self, block: Block, end: int | None = None) -> list[str]:
        part = (self._code_lines, end) if block.kind == "fence" else WHOLE
        return render_lines(
            block, self._live.columns, self._environment, colour=self._colour, part=part
        )
