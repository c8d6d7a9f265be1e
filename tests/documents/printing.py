"""Words where a printer would put them, for the tests of the layout."""

import random
from itertools import pairwise
from unicodedata import normalize

from gemma_edge.documents.layout import Piece, render_layout

PAGE = (600.0, 800.0)
PROSE = """\
the method that we propose in this section learns from few examples and keeps what it has learned
while the cost of every step stays bounded by the size of its window so that a small machine can
"""
PROSE_WORDS = PROSE.split()

_SPACE = 2.6  # pt, between words of ``typeset``


def laid_out(words, width=PAGE[0], height=PAGE[1]):
    """The text; its words stand where they say, each once, in order."""
    pieces = list(words)
    text, found = render_layout(pieces, width, height)
    assert all(text[word.start : word.end] == word.text for word in found)
    assert all(one.end <= two.start for one, two in pairwise(found))
    boxes = sorted((_letters(piece.text), *piece[1:5]) for piece in pieces)
    assert sorted((_letters(word.text), *word.box) for word in found) == boxes
    return text


def _letters(text):
    """Letters and digits, those of marks above and below the line as they are on it; a mark may
    get brackets, and brackets may be turned."""
    return "".join(filter(str.isalnum, normalize("NFKC", text))) or text.translate(_TURNED)


_TURNED = str.maketrans(")]}", "([{")


def word(text, left, base, *, width=6.0, size=12.0, **more):
    """``width`` pt a character, standing on ``base``."""
    right = left + width * len(text)
    return Piece(text, left, base - 0.8 * size, right, base + 0.2 * size, base, **more)


def line(text, left, base, **more):
    """A typed line: words of ``text`` where a typewriter puts them."""
    out, at = [], 0
    for part in text.split(" "):
        if part:
            out.append(word(part, left + 6.0 * at, base, **more))
        at += len(part) + 1
    return out


def typeset(text, left, base, *, right=None, size=10.0):
    """A line in a proportional font, from ``left``, or up to ``right``."""
    widths = [sum(map(_width, part)) for part in text.split(" ")]
    at = left if right is None else right - sum(widths) - _SPACE * (len(widths) - 1)
    out = []
    for part, width in zip(text.split(" "), widths, strict=True):
        out.append(word(part, at, base, width=width / len(part), size=size))
        at += width + _SPACE
    return out


def _width(char):
    return 2.3 if char in "iljt.,'()" else 7.7 if char in "MWmw" else 5.1


def prose(left, top, lines, *, cells=40, pitch=12.0, seed=0, justified=False):
    """A column of running text, ``cells`` characters of 5 pt wide; its first words are "first"
    and its last "last"."""
    rng, out = random.Random(seed), []
    for row in range(lines):
        chosen = ["first"] if row == 0 else []
        while sum(map(len, chosen)) + len(chosen) < cells - 6:
            chosen.append(rng.choice(PROSE_WORDS))
        if row == lines - 1:
            chosen[-1] = "last"
        gap = 5.0
        if justified and row < lines - 1:
            gap = 5.0 * (cells - 2 - sum(map(len, chosen))) / (len(chosen) - 1)
        at = left
        for text in chosen:
            out.append(word(text, at, top + pitch * row, width=5.0, size=10.0))
            at = out[-1].right + gap
    return out
