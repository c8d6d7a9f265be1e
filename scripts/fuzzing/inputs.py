"""Hostile inputs: good ones that are damaged, and bad ones that are put together from pieces.

All of them are made with the ``Random`` that is handed in, so that the same seed makes the same
input, and so that hypothesis can choose and shrink them in the tests.
"""

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

MAX_BYTES = 256 << 10  # of an input: what is slow in a small file is what matters
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


class Case(NamedTuple):
    """One input: a file's name, which may say what it is, and its bytes."""

    name: str
    data: bytes


Change = Callable[[Random, bytes, Sequence[bytes]], bytes]

# What has tripped somebody: signs without a width, halves of characters, numbers that are none.
NASTY = tuple(
    text.encode("utf-8", "surrogatepass")
    for text in (
        "\x00", "\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\r", "\n", "\r\n", "\x0c", "\u2028",
        "\ufeff", "\u202e", "\u2066", "\u200b", "\ud800", "\udfff", "\U0010ffff", "²²²²", "٣٤", "Ⅻ",
        "ﬁ", "İ", "ß",
        "e\u0301" * 9, "-", "--help", "-1", "0", "1e999", "-0.0", "NaN", "Infinity", "1" * 400,
        "99999999999999999999", "2147483648", "9223372036854775808", "18446744073709551615", "../",
        "/dev/zero", "file:///etc/passwd", "\\\\host\\share\\x", "{{", "}}", "{%", "%}", "${x}",
        "%s%n", "\\", "'", '"', "`", "<", ">", "&", "&amp;", "<!--", "-->", "]]>", "(", ")", "[",
        "]", "{", "}", ",", ";", ":", "|", "=", "#", "*", "a" * 300, " " * 300, "\t",
    )
)  # fmt: skip


@cache
def words_of(kind: str) -> tuple[bytes, ...]:
    """Pieces of a format, out of ``words.txt``: below its name, each with a ``·`` behind it, and
    escaped as in Python."""
    found: dict[str, list[bytes]] = {}
    text = Path(__file__).with_name("words.txt").read_text(encoding="utf-8")
    section: list[bytes] = []
    for line in text.splitlines():
        if line.startswith("[") and line[1:-1].isalpha():
            section = found.setdefault(line[1:-1], [])
            continue
        coding = "latin-1" if section is found.get("images") else "utf-8"
        for word in line.split("·")[:-1]:
            escaped = word.encode("latin-1", "backslashreplace")
            section.append(escaped.decode("unicode_escape").encode(coding))
    return tuple(found[kind])


_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_LONG_NUMBERS = (0, 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def damaged(rng: Random, data: bytes, words: Sequence[bytes] = ()) -> bytes:
    """The bytes with one to six changes; ``words`` are pieces of the format."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        data = rng.choice(_CHANGES)(rng, data, words)[:MAX_BYTES]
    return data


def _place(rng: Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


def _span(rng: Random, data: bytes) -> tuple[int, int]:
    start = _place(rng, data)
    return start, min(len(data), start + rng.choice((1, 2, 4, 9, 40, 200, 4000)))


def _flip(rng: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 20)) if out else 0):
        out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def _number(rng: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    at = _place(rng, data)
    order = rng.choice("<>")
    size, numbers = rng.choice((("H", _NUMBERS[:7]), ("I", _NUMBERS), ("Q", _LONG_NUMBERS)))
    packed = struct.pack(order + size, rng.choice(numbers))
    return data[:at] + packed + data[at + len(packed) :]


def _digits(rng: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    found = list(re.finditer(rb"\d+", data[:65536]))
    if not found:
        return data
    start, end = rng.choice(found).span()
    other = (b"0", b"-1", b"1e999", b"4294967296", b"9" * 30, b"9" * 5000, "²".encode(), b"")
    return data[:start] + rng.choice(other) + data[end:]


def _cut(rng: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _end(rng: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    return data[: _place(rng, data)]


def _insert(rng: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.choice((*NASTY, *words, *words)) + data[at:]


def _repeat(rng: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    at, (start, end) = _place(rng, data), _span(rng, data)
    piece = rng.choice((data[start:end], rng.choice((*NASTY, *words)))) or b"a"
    times = rng.choice((2, 9, 60, 1000, 30_000))
    return data[:at] + piece * min(times, 1 + MAX_BYTES // len(piece)) + data[at:]


def _move(rng: Random, data: bytes, _words: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    rest = data[:start] + data[end:]
    at = _place(rng, rest)
    return rest[:at] + data[start:end] + rest[at:]


_CHANGES: tuple[Change, ...] = (
    _flip, _number, _digits, _cut, _end, _insert, _insert, _repeat, _repeat, _move,
)  # fmt: skip


def strung(rng: Random, words: Sequence[bytes], most: int = 60) -> bytes:
    """Pieces in a row, with nothing or a blank between, now and then many times the same."""
    out = []
    for _ in range(rng.randrange(1, most)):
        piece = rng.choice((*words, rng.choice(NASTY)))
        out.append(piece * rng.choice((1, 1, 1, 1, 1, 2, 30, 3000)))
        out.append(rng.choice((b"", b"", b" ", b"\n")))
    return b"".join(out)[:MAX_BYTES]


# Data in data: JSON, and what is written like it.


def nasty_value(rng: Random, depth: int = 3) -> Any:
    """Any JSON value; the deeper, the smaller."""
    kind = rng.randrange(9 if depth else 6)
    if kind < 3:
        return rng.choice(
            (None, True, False, 0, -1, 1e308, 10**30, 1 << 63, "", "x", [], {}, 0.1, -5e-324)
        )
    if kind < 6:
        return rng.choice(NASTY).decode("utf-8", "surrogatepass")
    if kind == 6:
        return [nasty_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        keys = (rng.choice(NASTY).decode("utf-8", "surrogatepass") for _ in range(rng.randrange(4)))
        return {key: nasty_value(rng, depth - 1) for key in keys}
    return nested(rng, rng.choice((5, 70, 300, 2000)))


def nested(rng: Random, levels: int) -> Any:
    """Lists or objects in each other."""
    value: Any = 1
    in_list = rng.random() < 0.5
    for _ in range(levels):
        value = [value] if in_list else {"a": value}
    return value


def bent(rng: Random, value: Any, words: Sequence[Any] = ()) -> Any:
    """JSON data with one place changed: a member that is gone, another value, a name more.
    ``words`` are values that mean something in it."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        more = dict(value)
        what = rng.random()
        if what < 0.1:
            del more[key]
        elif what < 0.2:
            more[str(rng.choice((*words, *more)))] = _other(rng, words)
        else:
            more[key] = bent(rng, value[key], words)
        return more
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        what = rng.random()
        if what < 0.1:
            return value[:at] + value[at + 1 :]
        if what < 0.2:
            return value[:at] + [value[at]] * rng.choice((2, 40, 1000)) + value[at:]
        return [*value[:at], bent(rng, value[at], words), *value[at + 1 :]]
    return _other(rng, words)


def _other(rng: Random, words: Sequence[Any]) -> Any:
    return rng.choice(words) if words and rng.random() < 0.5 else nasty_value(rng)


def as_json(value: Any) -> bytes:
    """JSON text; what is nested too deeply for Python's own writer is cut."""
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"[" * 2000


def bent_json(rng: Random, data: bytes, words: Sequence[Any] = ()) -> bytes:
    """JSON, or lines of it, with one to three places changed; what is no JSON as it is."""
    lines = data.split(b"\n") if data.count(b"\n{") else [data]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        try:
            value = json.loads(lines[at])
        except (ValueError, RecursionError):
            continue
        lines[at] = as_json(bent(rng, value, words))
    return b"\n".join(lines)[: 4 * MAX_BYTES]


# Archives: what is in them is damaged, and packed again, so that a reader comes that far.

_DATE = (1980, 1, 1, 0, 0, 0)


def packed(files: dict[str, bytes]) -> bytes:
    """A ZIP archive, the same for the same files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of an archive; none where it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError, OSError):
        return {}


def repacked(rng: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """An archive in which one file is damaged, gone, there twice, or of another name."""
    files = unpacked(data)
    if not files:
        return data
    # What everybody has (styles, themes) matters less than what is read.
    name = max(rng.sample(list(files), min(2, len(files))), key=lambda each: -len(each))
    what = rng.random()
    if what < 0.8:
        files[name] = damaged(rng, files[name], words)
    elif what < 0.9:
        del files[name]
    else:
        files[rng.choice(("../../x", "/etc/x", name + "\0", "word/document.xml"))] = files[name]
    return packed(files)


def corpus(*patterns: str, most_bytes: int = 200 << 10) -> list[Case]:
    """The files beside the repository that match, where somebody put some; small ones."""
    found = (path for pattern in patterns for path in sorted(SHARED.glob(pattern)))
    return [
        Case(path.name, path.read_bytes())
        for path in found
        if path.is_file() and path.stat().st_size <= most_bytes
    ]
