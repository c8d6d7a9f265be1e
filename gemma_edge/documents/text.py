"""Bytes of a text file to text: encodings told apart, binary files refused in words. Pure."""

import codecs

from gemma_edge.errors import InputError

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = frozenset(range(0x20)) - frozenset(b"\t\n\r\f\v\x1b")
_MAX_CONTROLS = 0.02  # share of control characters above which bytes are not text


def decode_text(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """The text with ``\\n`` line ends, and notes on how it was read.

    UTF-8; UTF-16 and UTF-32 by their byte order mark; else Windows-1252 with a note.

    Raises:
        InputError: binary, empty, or not decodable.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if not encoding and _is_binary(data):
        raise InputError(
            f"{name} is not text (it holds binary data)", hint="name a PDF or a text file"
        )
    text, notes = _decode(data, encoding, name)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(
            f"{name} is empty (only white space)", hint="check how it was saved or copied"
        )
    return text, notes


def _is_binary(data: bytes) -> bool:
    if b"\0" in data:
        return True
    controls = sum(byte in _CONTROLS for byte in data[:65536])
    return controls > _MAX_CONTROLS * min(len(data), 65536)


def _decode(data: bytes, encoding: str, name: str) -> tuple[str, tuple[str, ...]]:
    try:
        return data.decode(encoding or "utf-8"), ()
    except UnicodeDecodeError as error:
        if encoding:
            raise InputError(
                f"{name} begins like {encoding.upper()} text but is not (byte {error.start:,})",
                hint="save it as UTF-8",
            ) from None
    # Windows-1252 leaves five bytes without a character; Latin-1 has one for each.
    for fallback, label in (("cp1252", "Windows-1252"), ("latin-1", "Latin-1")):
        try:
            return data.decode(fallback), (f"{name} is not UTF-8; it was read as {label}",)
        except UnicodeDecodeError:
            continue
    raise AssertionError("Latin-1 decodes any byte")
