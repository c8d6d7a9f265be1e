"""Markdown as lines for a terminal, block by block: what is finished is told from what still grows.

Rich draws it. What rich would hide is kept in sight: HTML, the address of a link, a line's end.
"""

import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, ListItem, Markdown
from rich.segment import Segment
from rich.syntax import Syntax
from rich.theme import Theme

from gemma_edge.records import dataclass

Part = tuple[int, int | None]  # the first line, from 0, and the one after the last
WHOLE: Part = (0, None)

_RESET = "\x1b[0m"
_TRAILING = re.compile(r"(?:m[0-9;]*\[\x1b| )+")  # from the end of a line backwards
CODE_THEME = "ansi_dark"  # the terminal's own colours, so that it can be read on any background
_STYLES = Theme(
    {
        f"markdown.{part}": style
        for style, parts in {
            "bold underline": "h1",
            "bold": "h2 h3 h4 table.header",
            "italic": "h5 h6",
            "cyan": "code",
            "underline": "link_url",
            "dim": "hr table.border",
            "none": "code_block block_quote link item.bullet item.number",
        }.items()
        for part in parts.split()
    }  # fmt: skip
)


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the source that stands by itself: a paragraph, a list, a table, a fence."""

    kind: str
    source: str


def split_blocks(source: str) -> list[Block]:
    """The blocks of ``source`` in order, with everything that is between them in the one before;
    only the last can change when more text comes."""
    lines = source.split("\n")
    tops = [
        (token.type.removesuffix("_open"), token.map[0])
        for token in _parser().parse(source)
        if token.level == 0 and token.nesting >= 0 and token.map
    ]
    ends = [*(start for _, start in tops), len(lines)][1:]
    return [
        Block(kind, "\n".join(lines[start if number else 0 : end]))
        for number, ((kind, start), end) in enumerate(zip(tops, ends, strict=True))
    ]


def split_list(source: str) -> tuple[str, str]:
    """A list's items that are finished, and the last one; the first is "" for a list of one."""
    starts = [
        token.map[0]
        for token in _parser().parse(source)
        if token.type == "list_item_open" and token.level == 1 and token.map  # of the outer list
    ]
    if len(starts) <= 1:
        return "", source
    lines = source.split("\n")
    return "\n".join(lines[: starts[-1]]), "\n".join(lines[starts[-1] :])


def render_lines(
    block: Block, width: int, environment: Mapping[str, str], *, colour: bool, part: Part = WHOLE
) -> list[str]:
    """Lines with escape codes, none wider than ``width`` columns, no blank ones around them;
    ``part`` says which lines of a fence's code."""
    written = io.StringIO()
    console = Console(
        file=written, width=width, force_terminal=True, no_color=not colour, highlight=False,
        emoji=False, legacy_windows=False, theme=_STYLES, _environ=environment,
    )  # fmt: skip
    console.print(_Answer(block.source, part))
    lines = [_ended(line) for line in written.getvalue().split("\n")]
    if block.kind == "fence":
        return lines[:-1]  # blank ones are code
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    return lines


def _ended(line: str) -> str:
    """Spaces that only fill a line would be copied with it."""
    trailing = _TRAILING.match(line[::-1])
    kept = line[: len(line) - trailing.end()] if trailing else line
    return kept + _RESET if kept and "\x1b" in line[len(kept) :] else kept


class _LeftHeading(Heading):
    """A heading where a text begins, also of the first level."""

    LEVEL_ALIGN = dict.fromkeys(Heading.LEVEL_ALIGN, "left")


class _Code(CodeBlock):
    """Code that can be copied: no frame, and no background that would fill the lines."""

    part = WHOLE

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> "_Code":
        code = cls((token.info or "").partition(" ")[0] or "text", markdown.code_theme)
        code.part = markdown.part if isinstance(markdown, _Answer) else WHOLE
        return code

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Indented by two columns. The lexer reads all of it, whatever part is shown."""
        start, end = self.part
        yield Syntax(
            str(self.text).removesuffix("\n"), self.lexer_name, theme=self.theme, word_wrap=True,
            background_color="default", padding=(0, 0, 0, 2), line_range=(start + 1, end),
        )  # fmt: skip


class _Item(ListItem):
    """Numbers as they are written, with a full stop; each item looks the same whatever the others
    are, so that a list can be printed in parts."""

    def render_number(
        self, console: Console, options: ConsoleOptions, number: int, last_number: int
    ) -> RenderResult:
        """`` 1. text``, later lines under the text."""
        label = f" {number}. "
        narrow = options.update(width=max(1, options.max_width - len(label)))
        for line in console.render_lines(self.elements, narrow, style=self.style):
            yield Segment(label)
            yield from line
            yield Segment.line()
            label = " " * len(label)


class _Answer(Markdown):
    """Markdown as models write it."""

    elements = {
        **Markdown.elements, "heading_open": _LeftHeading, "fence": _Code, "code_block": _Code,
        "list_item_open": _Item,
    }  # fmt: skip

    def __init__(self, source: str, part: Part) -> None:
        super().__init__("", code_theme=CODE_THEME, hyperlinks=False)
        self.part = part
        self.parsed = _parser().parse(source)
        for token in self.parsed:
            for child in token.children or ():
                _keep_in_sight(child)


def _keep_in_sight(token: Token) -> None:
    """A line's end stays one, since models mean it; an image that nobody loads is its words."""
    if token.type == "softbreak":
        token.type = "hardbreak"
    elif token.type == "image":
        shown = f"[image: {token.content} ({token.attrs.get('src', '')})]"
        token.type, token.tag, token.content, token.children = "text", "", shown, None


@cache
def _parser() -> MarkdownIt:
    settings: dict[str, Any] = {"html": False}
    parser = MarkdownIt("commonmark", settings).enable(["table", "strikethrough"])
    return parser.disable("reference")  # a definition would be swallowed


# The bottom of a terminal's page: lines that are printed for good, and below them a few that are
# drawn again. Only lines that changed are written, all in one write, so nothing flickers; what is
# printed for good is never touched again, so it can be scrolled back to.


Size = Callable[[], os.terminal_size]

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036; others ignore it
_TOGETHER = ("\x1b[?2026h", "\x1b[?2026l")


class Live:
    """``write`` takes text with escape codes, ``size`` says how large the terminal is now, and
    ``reflows`` whether it folds long lines again when it becomes narrower."""

    def __init__(self, write: Callable[[str], None], size: Size, *, reflows: bool = True) -> None:
        self._write, self._size, self._reflows = write, size, reflows
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
        if not self._reflows:
            return 1
        return max(1, -(-cell_len(_CODES.sub("", line)) // max(1, self._size().columns)))


def _shared(before: Sequence[str], after: Sequence[str]) -> int:
    pairs = zip(before, after, strict=False)
    differ = (number for number, (old, new) in enumerate(pairs) if old != new)
    return next(differ, min(len(before), len(after)))


# An answer on a terminal: Markdown, drawn while it streams. What is finished is printed once.


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
        self._live, self._clock = live, clock
        self._environment, self._colour = environment, colour
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
        elif block.kind == "fence" and (whole := block.source.count("\n") - 1) > self._code_lines:
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


# What stands in an answer's Markdown, without drawing it.


_FENCE = re.compile(
    r"^ {0,3}(`{3,}(?!`)|~{3,}(?!~))[^\n]*\n(.*?)(?:^ {0,3}\1[`~]*\s*$|\Z)",
    re.DOTALL | re.MULTILINE,
)


def last_fence(text: str) -> str:
    """The code of the last fence, "" where there is none."""
    found = _FENCE.findall(text)
    return found[-1][1] if found else ""
