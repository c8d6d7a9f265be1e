"""Bars: as lines for a terminal, and as a picture in an SVG or PNG file.

A plot is sections of bars; those of one section have one scale. A bar may belong to one of several
series, which have a colour each and are named beside it.
"""

import io
import textwrap
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from gemma_edge.records import dataclass

# ----------------------------------------------------------------------------
# What is shown.


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """``said`` stands at its end; ``low`` and ``high`` are how far single rounds were off."""

    label: str
    series: int
    value: float
    low: float
    high: float
    said: str


@dataclass(frozen=True, slots=True)
class Section:
    """Bars of one scale; those of one label stand together."""

    title: str
    bars: tuple[Bar, ...]

    @property
    def most(self) -> float:
        return max((each.high for each in self.bars), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """``series`` are the names, ``lines`` stand below the title, ``foot`` below the bars."""

    title: str
    lines: tuple[str, ...]
    series: tuple[str, ...]
    sections: tuple[Section, ...]
    foot: str


# ----------------------------------------------------------------------------
# On a terminal.

_LEAST_CELLS, _MOST_CELLS = 5, 40
_NAME_COLUMNS = 20


def render_lines(plot: Plot, width: int) -> list[str]:
    """Lines of at most ``width`` columns, as far as labels leave room for a bar."""
    names = [_cut(name, _NAME_COLUMNS) for name in plot.series]
    names = names if len(names) > 1 else [""]
    every = [bar for section in plot.sections for bar in section.bars]
    if not every:
        return []
    label = max(len(bar.label) for bar in every)
    name = max(map(len, names))
    said = max(len(bar.said) for bar in every)
    cells = width - 4 - label - (name + 2 if name else 0) - 1 - said - 1
    cells = max(_LEAST_CELLS, min(_MOST_CELLS, cells))
    lines: list[str] = []
    for section in plot.sections:
        lines.append(section.title)
        last = ""
        for bar in section.bars:
            head = "" if bar.label == last else bar.label
            last = bar.label
            who = f"{names[bar.series]:{name}}  " if name else ""
            full = max(1, round(cells * bar.value / section.most)) if section.most else 0
            lines.append(f"  {head:{label}}  {who}{'█' * full} {bar.said}")
    return lines


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


# ----------------------------------------------------------------------------
# As a picture: where everything lies, once for both formats.

# Colours that also those can tell apart who see fewer (Okabe and Ito, "Color Universal Design").
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_INK, _PALE, _PAPER = "#1a1a1a", "#666666", "#ffffff"
_WIDTH, _MARGIN, _LABEL_WIDTH, _SAID_WIDTH = 860, 24, 150, 110
_BAR_HEIGHT, _ROW, _LINE = 14, 20, 20
_TITLE_SIZE, _TEXT_SIZE = 18, 13
_TEXT_COLUMNS = 110  # of a line that is as wide as the picture


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class _Text:
    """``left`` is its left edge, ``base`` the line that it stands on."""

    left: float
    base: float
    text: str
    size: int = _TEXT_SIZE
    colour: str = _INK


_Shape = _Box | _Text


def _lay_out(plot: Plot) -> tuple[list[_Shape], int]:
    """All shapes, and the height that they take, in px."""
    shapes: list[_Shape] = []
    base = _MARGIN + _TITLE_SIZE
    shapes.append(_Text(_MARGIN, base, plot.title, _TITLE_SIZE))
    for line in plot.lines:
        for part in textwrap.wrap(line, _TEXT_COLUMNS):
            base += _LINE
            shapes.append(_Text(_MARGIN, base, part, colour=_PALE))
    if len(plot.series) > 1:
        base += 6
        for index, name in enumerate(plot.series):
            base += _LINE
            shapes.append(_Box(_MARGIN, base - 11, 12, 12, _colour(index)))
            shapes.append(_Text(_MARGIN + 20, base, name))
    for section in plot.sections:
        base += 2 * _LINE
        shapes.append(_Text(_MARGIN, base, section.title, _TEXT_SIZE + 1))
        base += 6
        found, base = _bars(section, base)
        shapes += found
    base += 16
    for part in textwrap.wrap(plot.foot, _TEXT_COLUMNS):
        base += _LINE
        shapes.append(_Text(_MARGIN, base, part))
    return shapes, base + _MARGIN


def _bars(section: Section, base: int) -> tuple[list[_Shape], int]:
    """The shapes of a section below ``base``, and the line that is reached with them."""
    shapes: list[_Shape] = []
    left = _MARGIN + _LABEL_WIDTH
    scale = (_WIDTH - left - _SAID_WIDTH - _MARGIN) / section.most if section.most else 0.0
    last = ""
    for bar in section.bars:
        base += _ROW if bar.label == last or not last else _ROW + 6
        if bar.label != last:
            shapes.append(_Text(_MARGIN, base, bar.label))
        last = bar.label
        top = base - _BAR_HEIGHT + 2
        colour = _colour(bar.series)
        shapes.append(_Box(left, top, max(1.0, scale * bar.value), _BAR_HEIGHT, colour))
        end = scale * bar.value
        if bar.high > bar.low:
            middle = top + _BAR_HEIGHT / 2
            length = scale * (bar.high - bar.low)
            shapes.append(_Box(left + scale * bar.low, middle, length, 1, _INK))
            shapes += [_Box(left + scale * edge, middle - 3, 1, 7, _INK)
                       for edge in (bar.low, bar.high)]  # fmt: skip
            end = scale * bar.high
        shapes.append(_Text(left + end + 8, base, bar.said))
    return shapes, base


def _colour(series: int) -> str:
    return _COLOURS[series % len(_COLOURS)]


def render_svg(plot: Plot) -> str:
    """An SVG document; it needs nothing from elsewhere."""
    shapes, height = _lay_out(plot)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="Helvetica, Arial, sans-serif" role="img">',
        f"<title>{escape(plot.title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>',
    ]
    for each in shapes:
        if isinstance(each, _Box):
            lines.append(
                f'<rect x="{each.left:.1f}" y="{each.top:.1f}" width="{each.width:.1f}" '
                f'height="{each.height:.1f}" fill={quoteattr(each.colour)}/>'
            )
        else:
            lines.append(
                f'<text x="{each.left:.1f}" y="{each.base:.1f}" font-size="{each.size}" '
                f"fill={quoteattr(each.colour)}>{escape(each.text)}</text>"
            )
    return "\n".join([*lines, "</svg>", ""])


_SCALE = 2  # pixels a px, for screens that have so many


def render_png(plot: Plot) -> bytes:
    """A PNG file, twice as large as the SVG."""
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  (only where one is wanted)

    shapes, height = _lay_out(plot)
    image = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), _PAPER)
    draw = ImageDraw.Draw(image)
    for each in shapes:
        if isinstance(each, _Box):
            right, bottom = each.left + each.width, each.top + each.height
            corners = [each.left, each.top, right, bottom]
            left, top, right, bottom = (round(_SCALE * side) for side in corners)
            draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), each.colour)
        else:
            font = ImageFont.load_default(each.size * _SCALE)
            place = each.left * _SCALE, each.base * _SCALE
            draw.text(place, each.text, each.colour, font, anchor="ls")
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def as_sections(rows: Sequence[tuple[str, Sequence[Bar]]]) -> tuple[Section, ...]:
    """Sections of those that have any bars."""
    return tuple(Section(title, tuple(bars)) for title, bars in rows if bars)
