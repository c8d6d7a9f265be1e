"""Office files by what is in them, and Word files to text.

New files are ZIP archives, old ones are OLE files; both can be bombs, so all of this runs in the
child process of ``open.py``.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from gemma_edge.documents.document import (
    MAX_CHARS,
    PLAIN,
    AttachedFile,
    ExtractedText,
    ReadOptions,
    Writer,
    cut_note,
    hidden_note,
    lowered,
    power,
    raised,
    render_row,
)
from gemma_edge.documents.workbooks import read_sheets
from gemma_edge.errors import InputError
from gemma_edge.trust import printable
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from docx.document import Document as Word


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MAX_UNPACKED_BYTES = 400 << 20
MAX_ENTRIES = 20_000
_OTHERS = (  # an entry that tells the kind, what it is, what to do
    ("ppt/presentation.xml", "a PowerPoint file", "save it as PDF"),
    ("META-INF/container.xml", "an e-book (EPUB)", "convert it to PDF or HTML"),
    ("Index/Document.iwa", "a Pages, Numbers or Keynote file", "export it as PDF"),
    ("AndroidManifest.xml", "an Android app", "name a document"),
)
_OPEN_DOCUMENT = {
    "text": ("an OpenDocument text", "save it as .docx or PDF"),
    "presentation": ("an OpenDocument presentation", "save it as PDF"),
}
_STREAMS = (  # of an OLE file: the name of a stream, what it is, what to do
    ("EncryptedPackage", "encrypted with a password", "save it without one, or as PDF"),
    ("WordDocument", "an old Word file (.doc)", "save it as .docx or PDF"),
    ("PowerPoint Document", "an old PowerPoint file (.ppt)", "save it as PDF"),
    ("__properties_version1.0", "an Outlook message (.msg)", "save it as .eml or PDF"),
)


def _damaged(name: str, error: Exception) -> InputError:
    message = f"{name} is damaged ({printable(' '.join(str(error).split()))[:120]})"
    return InputError(message, hint="copy it again, or open it and save it anew")


def read_office(data: bytes, name: str, options: ReadOptions = PLAIN) -> Iterator[ExtractedText]:
    """The file by the reader of its kind, in one piece or several.
    Raises InputError: of a kind that is not read, encrypted, damaged, or a bomb."""
    if data.startswith(OLE):
        return _read_ole(data, name, options)
    _check_entries(data, name)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > MAX_UNPACKED_BYTES or len(entries) > MAX_ENTRIES:
                raise InputError(
                    f"{name} unpacks to {render_bytes(unpacked)} in {len(entries):,} files; at "
                    f"most {render_bytes(MAX_UNPACKED_BYTES)} in {MAX_ENTRIES:,} are read",
                    hint="save it smaller, or as PDF",
                )
            names = {entry.filename for entry in entries}
            mimetype = archive.read("mimetype")[:200] if "mimetype" in names else b""
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError,
            zlib.error) as error:  # fmt: skip
        raise _damaged(name, error) from None
    if "word/document.xml" in names:
        try:
            return iter([read_docx(data, name, options)])
        except (SyntaxError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            # SyntaxError is lxml's: a part is no XML
            raise _damaged(name, error) from None
    kind = mimetype.decode("latin-1").partition("application/vnd.oasis.opendocument.")[2]
    if names & {"xl/workbook.xml", "xl/workbook.bin"} or kind.startswith("spreadsheet"):
        return read_sheets(data, name, options)
    other = ("a ZIP archive", "unpack it, and name what is in it")
    what, hint = _OPEN_DOCUMENT.get(kind.partition("-")[0].strip(), other)
    for entry, title, way in _OTHERS:
        if entry in names:
            what, hint = title, way
    raise InputError(f"{name} is {what}", hint=hint)


def _check_entries(data: bytes, name: str) -> None:
    """Before any of them is listed, which takes a kilobyte each. The end of the archive tells their
    number (APPNOTE.TXT, 4.3.16), 65,535 where there are more."""
    at = data.rfind(b"PK\x05\x06")
    told = int.from_bytes(data[at + 10 : at + 12], "little") if at >= 0 else 0
    many = data.count(b"PK\x01\x02") if told > MAX_ENTRIES else told
    if many > MAX_ENTRIES:
        raise InputError(
            f"{name} holds {many:,} files; at most {MAX_ENTRIES:,} are read",
            hint="save it smaller, or as PDF",
        )


def _read_ole(data: bytes, name: str, options: ReadOptions) -> Iterator[ExtractedText]:
    def holds(stream: str) -> bool:
        """Whether an entry of the directory has this name: UTF-16 with its end, in 64 bytes."""
        return (stream + "\0").encode("utf-16-le") in data

    if holds("Workbook") or holds("Book"):
        return read_sheets(data, name, options)
    for stream, what, hint in _STREAMS:
        if holds(stream):
            raise InputError(f"{name} is {what}", hint=hint)
    raise InputError(f"{name} is an old Office file", hint="save it as .docx, .xlsx or PDF")


_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVELS = 9
_MAX_PARENTS = 20  # of styles; a loop of them must end
_LONGEST_LABEL = 200  # characters of the pattern of a number; Word takes 31
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


class Numbering:
    """The numbers that Word draws before paragraphs ("2.1", "(b)", "IV.", a bullet): they are in no
    text of the file, but counted by rules of its numbering and styles. Paragraphs are counted in
    the order in which they are asked for."""

    def __init__(self, word: Any) -> None:
        self._styles = {
            style.get(f"{_W}styleId"): style for style in word.styles.element.iter(f"{_W}style")
        }
        self._lists: dict[str, Any] = {}
        self._levels: dict[str, dict[int, tuple[str, str, int]]] = {}
        self._counts: dict[str, list[int]] = {}
        self._starts: dict[str, dict[int, int]] = {}  # of lists that start anew
        # python-docx would make one where there is none.
        roots = [getattr(part, "element", None) for part in _parts(word, "numbering")]
        if roots and roots[0] is not None:
            self._learn(roots[0])

    def label(self, paragraph: Any) -> str:
        """``"2.1 "`` of a numbered paragraph, ``"- "`` of one with a bullet, ``"# "`` of a
        heading, else nothing."""
        own = paragraph.find(f"{_W}pPr")
        style = _value(own, "pStyle")
        of_styles = list(self._properties(style))
        numbers = [each.find(f"{_W}numPr") for each in (own, *of_styles) if each is not None]
        found = next((each for each in numbers if each is not None), None)
        number, level = _value(found, "numId"), _number(_value(found, "ilvl") or "0")
        shape = self._levels.get(number, {}).get(level)
        outline = next(filter(None, (_value(each, "outlineLvl") for each in of_styles)), "")
        depth = _number(outline) + 1 if outline else _LEVELS
        heading = "#" * depth + " " if depth < _LEVELS else ""
        return heading + (self._count(number, level, shape) if shape else "")

    def _learn(self, root: Any) -> None:
        shapes = {
            abstract.get(f"{_W}abstractNumId"): {
                _number(level.get(f"{_W}ilvl")): (
                    _value(level, "numFmt") or "decimal",
                    _value(level, "lvlText")[:_LONGEST_LABEL],
                    _number(_value(level, "start") or "1"),
                )
                for level in abstract.iter(f"{_W}lvl")
            }
            for abstract in root.iter(f"{_W}abstractNum")
        }
        for each in root.iter(f"{_W}num"):
            name, abstract = each.get(f"{_W}numId"), _value(each, "abstractNumId")
            self._levels[name] = shapes.get(abstract, {})
            # Lists of one shape count on; one that starts anew says so.
            own = each.find(f"{_W}lvlOverride") is not None
            self._lists[name] = name if own else f"shape {abstract}"
            for level in each.iter(f"{_W}lvlOverride"):
                start = _value(level, "startOverride")
                if start:
                    self._starts.setdefault(name, {})[_number(level.get(f"{_W}ilvl"))] = _number(
                        start
                    )

    def _properties(self, style: str) -> Iterator[Any]:
        """Of a style and those that it is based on."""
        for _ in range(_MAX_PARENTS):
            found = self._styles.get(style)
            if found is None:
                return
            yield found.find(f"{_W}pPr")
            style = _value(found, "basedOn")

    def _count(self, number: str, level: int, shape: tuple[str, str, int]) -> str:
        kind, pattern, _ = shape
        if kind == "bullet":
            return "- "
        if kind == "none" or not 0 <= level < _LEVELS:
            return ""
        shapes = self._levels[number]
        starts = self._starts.get(number, {})
        counts = self._counts.setdefault(self._lists[number], [0] * _LEVELS)
        counts[level + 1 :] = [0] * (_LEVELS - level - 1)
        for above in range(level + 1):
            kind, _, start = shapes.get(above, ("decimal", "", 1))
            if not counts[above]:
                counts[above] = starts.get(above, start)
            elif above == level:
                counts[above] += 1
            pattern = pattern.replace(f"%{above + 1}", render_number(counts[above], kind))
        return f"{pattern} " if pattern.strip() else ""


def render_number(value: int, kind: str) -> str:
    """A number in one of Word's kinds; one that is not known is decimal."""
    if kind in ("lowerLetter", "upperLetter") and value > 0:
        repeated, index = divmod(value - 1, 26)
        text = chr(ord("a") + index) * min(repeated + 1, 9)
    elif kind in ("lowerRoman", "upperRoman") and 0 < value < 4000:  # noqa: PLR2004
        text = ""
        for size, sign in _ROMAN:
            text += sign * (value // size)
            value %= size
    else:
        return f"{value:02}" if kind == "decimalZero" else str(value)
    return text.upper() if kind.startswith("upper") else text


def _value(parent: Any, tag: str) -> str:
    found = parent.find(f"{_W}{tag}") if parent is not None else None
    return (found.get(f"{_W}val") or "") if found is not None else ""


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) <= 9 else 0  # noqa: PLR2004


# How characters look, where that says something of what they mean.


class _Look(NamedTuple):
    """Of characters: ``mark`` is ``^`` above their line, ``_`` below it, ``m`` in a formula."""

    mark: str = ""
    is_struck: bool = False
    is_hidden: bool = False
    font: str = ""


_PLAIN_LOOK, _MATH_LOOK = _Look(), _Look("m")
_OFF = ("0", "false", "off", "none")
_MARKS = {"superscript": "^", "subscript": "_"}
_RAISED_FROM, _TINY = 4, 3  # half points: above or below the line, the size of what nobody reads
_SWITCHES = frozenset(("vanish", "strike", "dstrike"))
_WHITE = frozenset(("FFFFFF", "background1", "bg1"))

_Properties = dict[str, str]


def _properties_of(parent: Any) -> _Properties:
    """What an ``rPr`` says of the looks that count here."""
    found: _Properties = {}
    for each in parent if parent is not None else ():
        name = each.tag.rpartition("}")[2] if isinstance(each.tag, str) else ""
        value = each.get(f"{_W}val")
        if name in _SWITCHES:
            found[name] = "" if value in _OFF else "1"
        elif name in ("vertAlign", "position", "sz"):
            found[name] = value or ""
        elif name == "color":
            found[name] = each.get(f"{_W}themeColor") or (value or "").upper()
        elif name == "shd":
            found[name] = "1" if _is_fill(each) else ""
        elif name == "highlight":
            found["shd"] = "" if value in ("none", "white") else "1"
        elif name == "rFonts":
            found[name] = (each.get(f"{_W}ascii") or each.get(f"{_W}hAnsi") or "").lower()
    return found


def _is_fill(shading: Any) -> bool:
    """Whether a ``shd`` gives anything but white behind the text."""
    fill = (shading.get(f"{_W}fill") or "auto").upper()
    is_pattern = shading.get(f"{_W}val") not in (None, "clear", "nil")
    return fill not in ("AUTO", "FFFFFF") or is_pattern or bool(shading.get(f"{_W}themeFill"))


class _Looks:
    """The looks of runs, with those of their styles."""

    def __init__(self, word: Any) -> None:
        root = word.styles.element
        self._styles = {style.get(f"{_W}styleId"): style for style in root.iter(f"{_W}style")}
        self._kept: dict[str, _Properties] = {}
        self._defaults = _properties_of(root.find(f"{_W}docDefaults/{_W}rPrDefault/{_W}rPr"))
        normal = [style for style in self._styles.values()
                  if style.get(f"{_W}default") in ("1", "true")
                  and style.get(f"{_W}type") == "paragraph"]  # fmt: skip
        self._normal = normal[0].get(f"{_W}styleId") if normal else ""

    def of_paragraph(self, paragraph: Any) -> _Properties:
        own = paragraph.find(f"{_W}pPr")
        found = {**self._defaults, **self._of_style(_value(own, "pStyle") or self._normal)}
        shading = own.find(f"{_W}shd") if own is not None else None
        return {**found, "shd": "1"} if shading is not None and _is_fill(shading) else found

    def of_run(self, run: Any, before: _Properties, *, is_shaded: bool) -> _Look:
        own = run.find(f"{_W}rPr")
        if own is not None:
            style = _value(own, "rStyle")
            before = {**before, **(self._of_style(style) if style else {}), **_properties_of(own)}
        mark = _MARKS.get(before.get("vertAlign", ""), "")
        height = before.get("position", "0")
        if (
            not mark
            and height.lstrip("+-").isdecimal()
            and _number(height.lstrip("+-")) >= _RAISED_FROM
        ):
            mark = "_" if height[0] == "-" else "^"
        size = before.get("sz", "")
        is_tiny = size.isdecimal() and _number(size) <= _TINY
        is_white = before.get("color", "") in _WHITE and not (is_shaded or before.get("shd"))
        is_hidden = bool(before.get("vanish")) or is_tiny or is_white
        is_struck = bool(before.get("strike") or before.get("dstrike"))
        return _Look(mark, is_struck, is_hidden, before.get("rFonts", ""))

    def is_shaded_table(self, table: Any) -> bool:
        """Whether its style puts colours behind the text."""
        style = self._styles.get(_value(table.find(f"{_W}tblPr"), "tblStyle"))
        for _ in range(_MAX_PARENTS):
            if style is None:
                return False
            if any(map(_is_fill, style.iter(f"{_W}shd"))):
                return True
            style = self._styles.get(_value(style, "basedOn"))
        return False

    def _of_style(self, name: str) -> _Properties:
        if name not in self._kept:
            layers: list[_Properties] = []
            at = name
            for _ in range(_MAX_PARENTS):
                style = self._styles.get(at)
                if style is None:
                    break
                layers.append(_properties_of(style.find(f"{_W}rPr")))
                shading = style.find(f"{_W}pPr/{_W}shd")
                layers += [{"shd": "1"}] if shading is not None and _is_fill(shading) else []
                at = _value(style, "basedOn")
            self._kept[name] = {key: each[key] for each in reversed(layers) for key in each}
        return self._kept[name]


# Signs of fonts whose letters are pictures, by their number in the font.

_WINGDINGS = {
    0x6C: "●", 0x6E: "■", 0x6F: "☐", 0x70: "☐", 0x71: "☐", 0x72: "☐", 0x75: "◆", 0x76: "❖",
    0x9F: "•", 0xA1: "○", 0xA7: "▪", 0xA8: "☐", 0xAB: "★", 0xD8: "➢", 0xDF: "←", 0xE0: "→",
    0xE1: "↑", 0xE2: "↓", 0xE8: "➔", 0xEF: "⇦", 0xF0: "⇨", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒",
    0xFE: "☑", 0x28: "☎", 0x2A: "✉", 0x4A: "☺", 0x4C: "☹", 0x20: " ",
}  # fmt: skip
_WINGDINGS_2 = {
    0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒", 0x97: "●", 0xA2: "■",
    0xA3: "☐", 0x30: "☐", 0x20: " ",
}  # fmt: skip
_WEBDINGS = {0x61: "✓", 0x63: "☐", 0x67: "■", 0x72: "✗", 0x6E: "●", 0x20: " "}
_SYMBOL = {
    **dict(enumerate("ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ", 0x41)),
    **dict(enumerate("αβχδεφγηιϕκλμνοπθρστυϖωξψζ", 0x61)),
    **dict(enumerate("0123456789:;<=>?≅", 0x30)),
    0x20: " ", 0x21: "!", 0x22: "∀", 0x23: "#", 0x24: "∃", 0x25: "%", 0x26: "&", 0x28: "(",
    0x29: ")", 0x2A: "∗", 0x2B: "+", 0x2C: ",", 0x2D: "−", 0x2E: ".", 0x2F: "/", 0xA0: "€",
    0xA2: "′", 0xA3: "≤", 0xA5: "∞", 0xAB: "↔", 0xAC: "←", 0xAD: "↑", 0xAE: "→", 0xAF: "↓",
    0xB0: "°", 0xB1: "±", 0xB2: "″", 0xB3: "≥", 0xB4: "×", 0xB6: "∂", 0xB7: "•", 0xB8: "÷",
    0xB9: "≠", 0xBA: "≡", 0xBB: "≈", 0xBC: "…", 0xC5: "⊕", 0xC6: "∅", 0xC7: "∩", 0xC8: "∪",
    0xCE: "∈", 0xD0: "∠", 0xD1: "∇", 0xD2: "®", 0xD3: "©", 0xD4: "™", 0xD5: "∏", 0xD6: "√",
    0xD7: "⋅", 0xD9: "∧", 0xDA: "∨", 0xDE: "⇒", 0xE0: "◊", 0xE5: "∑", 0xF2: "∫",
}  # fmt: skip
_SIGN_FONTS = {
    "wingdings": _WINGDINGS, "wingdings 2": _WINGDINGS_2, "webdings": _WEBDINGS, "symbol": _SYMBOL,
}  # fmt: skip
_PRIVATE = range(0xF020, 0xF100)  # where Word puts the characters of such fonts
_UNKNOWN = "\ufffd"


def _signs(text: str, font: str) -> str:
    """Text in the font as its signs are; ``\ufffd`` where a sign is not known."""
    table = _SIGN_FONTS.get(font)
    if table is None:
        if not any(ord(each) in _PRIVATE for each in text):
            return text
        table = _WINGDINGS
        return "".join(
            table.get(ord(each) & 0xFF, _UNKNOWN) if ord(each) in _PRIVATE else each
            for each in text
        )
    return "".join(table.get(ord(each) & 0xFF, _UNKNOWN) for each in text)


# Formulas in one line: (a+b)/2, x², √(x), ∑ᵢ₌₁ⁿ.

_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"


def _formula(element: Any) -> str:
    """An element of a formula, and what is in it."""
    if not isinstance(element.tag, str):
        return ""
    name = element.tag.rpartition("}")[2]
    render = _FORMULAS.get(name) if element.tag.startswith(_M) else None
    if element.tag in _TEXTS:
        return element.text or ""
    if name.endswith("Pr") or element.tag in _SKIPPED:
        return ""
    return render(element) if render else "".join(map(_formula, element))


def _part(element: Any, name: str) -> str:
    found = element.find(f"{_M}{name}")
    return _formula(found).strip() if found is not None else ""


def _setting(element: Any, path: str, other: str = "") -> str:
    found = element.find("/".join(f"{_M}{name}" for name in path.split("/")))
    return found.get(f"{_M}val", "1") if found is not None else other


def _bracketed(text: str) -> str:
    is_whole = text[:1] == "(" and text.find(")") == len(text) - 1
    simple = is_whole or all(each.isalnum() or each in ".,'" for each in text)
    return text if simple else f"({text})"


def _fraction(element: Any) -> str:
    above, below = _part(element, "num"), _part(element, "den")
    if _setting(element, "fPr/type") == "noBar":
        return f"({above} over {below})"
    return f"{_bracketed(above)}/{_bracketed(below)}"


def _script(element: Any) -> str:
    """Something with an index, a power, or both; ``sPre`` has them before it."""
    marks = lowered(_part(element, "sub")) + power(_part(element, "sup"))
    base = _part(element, "e")
    return marks + base if element.tag == f"{_M}sPre" else base + marks


def _root(element: Any) -> str:
    return f"{power(_part(element, 'deg'))}√{_bracketed(_part(element, 'e'))}"


def _sum(element: Any) -> str:
    sign = _setting(element, "naryPr/chr", "∫")
    limits = lowered(_part(element, "sub")) + power(_part(element, "sup"))
    return f"{sign}{limits} {_part(element, 'e')}"


def _delimited(element: Any) -> str:
    sign = _setting(element, "dPr/sepChr", "|")
    inner = sign.join(_formula(each) for each in element.iterchildren(f"{_M}e"))
    first, last = _setting(element, "dPr/begChr", "("), _setting(element, "dPr/endChr", ")")
    return f"{first}{inner}{last}"


def _matrix(element: Any) -> str:
    rows = [", ".join(_formula(each) for each in row.iterchildren(f"{_M}e"))
            for row in element.iterchildren(f"{_M}mr")]  # fmt: skip
    return f"[{'; '.join(rows)}]"


_FORMULAS: dict[str, Callable[[Any], str]] = {
    "f": _fraction, "sSup": _script, "sSub": _script, "sSubSup": _script, "sPre": _script,
    "rad": _root, "nary": _sum, "d": _delimited, "m": _matrix,
    "func": lambda element: f"{_part(element, 'fName')} {_part(element, 'e')}",
    "limLow": lambda element: _part(element, "e") + lowered(_part(element, "lim")),
    "limUpp": lambda element: _part(element, "e") + power(_part(element, "lim")),
    "eqArr": lambda element: "; ".join(map(_formula, element.iterchildren(f"{_M}e"))),
}  # fmt: skip


# A Word file to text: paragraphs with their numbers, tables row by row, text boxes, heads, notes.
# python-docx opens the package; its parts are walked here, since its own list of paragraphs leaves
# out content controls, text boxes and what was inserted. Hostile bytes: it runs in the child
# process of `open.py`. Pages end where Word ended them when it last saved the file.


_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"
_TEXTS = (f"{_W}t", f"{_M}t")
_P, _TABLE, _ROW, _CELL, _RUN = f"{_W}p", f"{_W}tbl", f"{_W}tr", f"{_W}tc", f"{_W}r"
_BOX = f"{_W}txbxContent"
_DELETED = frozenset((f"{_W}del", f"{_W}moveFrom"))
_INSERTED = frozenset((f"{_W}ins", f"{_W}moveTo"))
_SKIPPED = _DELETED | {_FALLBACK, f"{_W}pPr", f"{_W}rPr", f"{_W}instrText", f"{_W}sdtPr"}
_PAGE = "\f"  # stands in a line where a page ends
_SIGNS = {f"{_W}tab": "\t", f"{_W}ptab": "\t", f"{_W}noBreakHyphen": "-", f"{_W}cr": "\n"}
_SIGNS[f"{_W}lastRenderedPageBreak"] = _PAGE
_DRAWN = (f"{_W}drawing", f"{_W}pict")
_PICTURES = frozenset(("blip", "imagedata", "chart", "relIds"))
_CHECKED, _UNCHECKED = "☒", "☐"

Piece = tuple[str, _Look]


def read_docx(data: bytes, name: str, options: ReadOptions = PLAIN) -> ExtractedText:
    """The body in order, the first head before it, notes and the foot after it.
    Raises InputError: of another kind, or without text."""
    import docx
    from docx.opc.exceptions import PackageNotFoundError

    try:
        word = docx.Document(io.BytesIO(data))
    except (ValueError, KeyError, PackageNotFoundError):
        raise InputError(
            f"{name} is not a Word file that is read (one with macros, a template, or damaged)",
            hint="save it as .docx, or as PDF",
        ) from None
    reader = _WordReader(Numbering(word), _Looks(word), options)
    reader.outside(word, "header")
    reader.blocks(word.element.body)
    reader.notes_at_the_end(word)
    reader.outside(word, "footer")
    pages = reader.pages()
    files, unread = _embedded(word)
    if not any(pages) and not files:
        if reader.pictures:
            hint = "save it as PDF: pages without text are looked at"
            raise InputError(f"{name} holds no text, only pictures", hint=hint)
        hint = "check how it was saved"
        if reader.hidden_characters:
            hint = "what is in it is hidden; --hidden reads it"
        raise InputError(f"{name} holds no text", hint=hint)
    what = "a page as Word saved it" if len(pages) > 1 else "a Word file"
    notes = (*reader.notes(name), *([f"{name}: {unread}"] if unread else []))
    return ExtractedText(tuple((page, what) for page in pages), notes, files)


class _WordReader:
    """Collects the text of a body."""

    def __init__(self, numbering: Numbering, looks: _Looks, options: ReadOptions) -> None:
        self._numbering, self._looks, self._options = numbering, looks, options
        self._writer = Writer()
        self._pages: list[str] = []
        self._boxes: list[Any] = []
        self._is_shaded = self._is_row_hidden = False
        self.pictures = self._deleted = self._inserted = self._comments = 0
        self.hidden_characters = 0

    def pages(self) -> list[str]:
        self._end_page()
        return self._pages

    def notes(self, name: str) -> tuple[str, ...]:
        counts = (
            (self.pictures, "pictures in it are not looked at; as PDF they are"),
            (self._deleted, "deleted passages (tracked changes) are left out"),
            (self._inserted, "inserted passages (tracked changes) are read"),
            (self._comments, "comments are left out"),
        )
        found = [f"{name}: {what} ({count:,})" for count, what in counts if count]
        hidden = hidden_note(name, self.hidden_characters, self._options)
        return (*found, *hidden, *([cut_note(name)] if self._writer.is_full else []))

    def blocks(self, parent: Any) -> None:
        """Paragraphs and tables below ``parent``, through whatever wraps them, until it is full."""
        for child in parent:
            if self._writer.is_full:
                return
            if child.tag == _P:
                self._paragraph(child)
            elif child.tag == _TABLE:
                self._table(child)
            elif child.tag in _SKIPPED:
                self._deleted += child.tag in _DELETED
            elif isinstance(child.tag, str):
                self._inserted += child.tag in _INSERTED
                self.blocks(child)

    def paragraph_text(self, text: str, *, apart: bool = True) -> None:
        """A paragraph whose text is known; items of a list are not set ``apart``."""
        for number, part in enumerate(text.split(_PAGE)):
            if number:
                self._end_page()
            for line in part.split("\n"):
                if line.strip():
                    self._writer.line(line.strip(" "))
        if apart:
            self._writer.gap()

    def outside(self, word: "Word", kind: str) -> None:
        seen: set[str | int] = set()
        for section in word.sections:
            for each in (getattr(section, f"first_page_{kind}"), getattr(section, kind)):
                if each.is_linked_to_previous or id(each._element) in seen:
                    continue
                if self._writer.is_full:
                    return
                seen.add(id(each._element))
                apart = _WordReader(self._numbering, self._looks, self._options)
                apart.blocks(each._element)
                self.pictures += apart.pictures
                self.hidden_characters += apart.hidden_characters
                text = "\n".join(apart.pages())
                if text and text not in seen:
                    seen.add(text)
                    self.paragraph_text(text)

    def notes_at_the_end(self, word: "Word") -> None:
        from docx.oxml.parser import parse_xml

        def notes(kind: str) -> list[Any]:
            return [note for part in _parts(word, kind)[:1] for note in parse_xml(part.blob)]

        for note in (*notes("footnotes"), *notes("endnotes")):
            if note.get(f"{_W}type") is None:  # else a line that parts them
                self.paragraph_text(f"[note {note.get(f'{_W}id')}] {self._flat(note)}")
        self._comments = len(notes("comments"))

    def _end_page(self) -> None:
        text = self._writer.take()
        if text:  # Word marks one end of a page twice
            self._pages.append(text)

    def _paragraph(self, paragraph: Any) -> None:
        text = self._text_of(paragraph)
        label = ""
        if text.strip(" \t\n" + _PAGE):
            label = self._numbering.label(paragraph)
            rest = text.lstrip(_PAGE)
            text = text[: len(text) - len(rest)] + label + rest
        self.paragraph_text(text, apart=not label or label.startswith("#"))
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            was, self._is_shaded = self._is_shaded, True  # behind it may be any colour
            self.blocks(box)
            self._is_shaded = was

    def _table(self, table: Any) -> None:
        self._writer.gap()
        was = self._is_shaded, self._is_row_hidden
        is_shaded = was[0] or self._looks.is_shaded_table(table)
        rows = _Rows()
        for row in _below(table, _ROW):
            hidden = row.find(f"{_W}trPr/{_W}hidden")
            is_hidden = hidden is not None and hidden.get(f"{_W}val") not in _OFF
            self._is_row_hidden = was[1] or is_hidden
            before = _number(_value(row.find(f"{_W}trPr"), "gridBefore"))
            cells: list[_WordCell] = []
            for cell in _below(row, _CELL):
                shading = cell.find(f"{_W}tcPr/{_W}shd")
                self._is_shaded = is_shaded or (shading is not None and _is_fill(shading))
                cells.append(_WordCell(self._flat(cell), _spanned(cell), _is_carried(cell)))
            for line in rows.add(cells, min(before, _MOST_SPANNED)):
                self._row(line)
            if self._writer.is_full:
                break
        for line in rows.end():
            self._row(line)
        self._is_shaded, self._is_row_hidden = was
        self._writer.gap()

    def _row(self, cells: Sequence[str]) -> None:
        if any(_PAGE in cell for cell in cells[:1]):  # the row begins a page
            self._end_page()
        line = render_row([cell.replace(_PAGE, " ") for cell in cells])
        if line.strip(" |"):
            self._writer.line(line)

    def _flat(self, parent: Any) -> str:
        found = []
        for paragraph in parent.iter(_P):
            if not _within(paragraph, parent, _BOX):
                text = self._text_of(paragraph)
                found.append(self._numbering.label(paragraph) + text if text.strip() else text)
        for box in self._boxes:
            found += [self._flat(box)] if box is not parent else []
        self._boxes = []
        return " ".join(found)

    def _text_of(self, paragraph: Any) -> str:
        """The characters of a paragraph, marked where they are raised, lowered or struck."""
        properties = self._looks.of_paragraph(paragraph)
        pieces = list(self._inline(paragraph, properties, _PLAIN_LOOK))
        looks = {look.mark for text, look in pieces if text.strip()}
        out, last = [], ""
        for look, group in groupby(pieces, key=itemgetter(1)):
            text = "".join(map(itemgetter(0), group))
            if look.is_hidden or (self._is_row_hidden and text.strip()):
                self.hidden_characters += len(text.strip())
                if not self._options.hidden:
                    continue
            if look.mark == "m":
                text = f" {text}" if last.isalnum() and text[:1].isalnum() else text
            elif len(looks) > 1 and look.mark:  # of a line of its own there is no other
                text = raised(text, last) if look.mark == "^" else lowered(text)
            if look.is_struck and (inner := text.strip()):
                text = text.replace(inner, f"~~{inner}~~", 1)
            out.append(text)
            last = text[-1:] or last
        return "".join(out)

    def _inline(self, parent: Any, properties: _Properties, look: _Look) -> Iterator[Piece]:
        """The characters of a paragraph with their looks; the text boxes that hang on it are kept
        for later."""
        for child in parent:
            tag = child.tag
            if tag == _RUN:
                own = self._looks.of_run(child, properties, is_shaded=self._is_shaded)
                yield from self._inline(child, properties, own)
            elif tag == f"{_W}t":
                yield _signs(child.text or "", look.font), look._replace(font="")
            elif tag in _SIGNS:
                yield _SIGNS[tag], _PLAIN_LOOK
            elif tag in _SKIPPED:
                self._deleted += tag in _DELETED
            elif tag in _DRAWN:
                self._draw(child)
            elif tag in _SPECIAL:
                yield from self._special(child, properties, look)
            elif isinstance(tag, str):
                self._inserted += tag in _INSERTED
                yield from self._inline(child, properties, look)

    def _special(self, child: Any, properties: _Properties, look: _Look) -> Iterator[Piece]:
        """What is no text, but shows some."""
        tag = child.tag
        if tag == f"{_W}br":
            yield _PAGE if child.get(f"{_W}type") == "page" else "\n", _PLAIN_LOOK
        elif tag in (f"{_W}footnoteReference", f"{_W}endnoteReference"):
            yield f" [note {child.get(f'{_W}id')}]", _PLAIN_LOOK
        elif tag == f"{_W}sym":
            code = child.get(f"{_W}char") or ""
            number = int(code, 16) if len(code) <= 6 and code.isalnum() and _is_hex(code) else 0  # noqa: PLR2004
            font = (child.get(f"{_W}font") or "").lower()
            is_sign = font in _SIGN_FONTS or number in _PRIVATE
            sign = chr(number) if 0 < number < 0x110000 else _UNKNOWN  # noqa: PLR2004
            yield _signs(sign, font) if is_sign else sign, look._replace(font="")
        elif tag == f"{_W}ffData":
            yield _form_field(child), look._replace(font="")
        elif tag == f"{_W}ruby":
            sound = "".join(text for text, _ in self._inner(child, "rt", properties, look))
            yield from self._inner(child, "rubyBase", properties, look)
            if sound.strip():
                yield f"({sound})", _PLAIN_LOOK
        elif tag == f"{_W}sdt":
            yield from self._control(child, properties, look)
        else:
            yield _formula(child), _MATH_LOOK

    def _inner(
        self, parent: Any, name: str, properties: _Properties, look: _Look
    ) -> Iterator[Piece]:
        for each in parent.iterchildren(f"{_W}{name}"):
            yield from self._inline(each, properties, look)

    def _control(self, control: Any, properties: _Properties, look: _Look) -> Iterator[Piece]:
        """A content control: a box that is checked or not; what says that it is to be filled in
        stands in brackets."""
        pieces = list(self._inner(control, "sdtContent", properties, look))
        box = control.find(f"{_W}sdtPr/{_W14}checkbox")
        if box is not None and not any(text.strip() for text, _ in pieces):
            checked = box.find(f"{_W14}checked")
            is_on = checked is not None and checked.get(f"{_W14}val", "1") not in _OFF
            yield _CHECKED if is_on else _UNCHECKED, _PLAIN_LOOK
            return
        is_empty = control.find(f"{_W}sdtPr/{_W}showingPlcHdr") is not None and box is None
        shown = is_empty and any(text.strip() for text, _ in pieces)
        yield from [("[", _PLAIN_LOOK)] if shown else []
        yield from pieces
        yield from [("]", _PLAIN_LOOK)] if shown else []

    def _draw(self, drawn: Any) -> None:
        # One within another is found again in that one.
        boxes = [
            box
            for box in drawn.iter(_BOX)
            if not _within(box.getparent(), drawn, _BOX) and not _within(box, drawn, _FALLBACK)
        ]
        self._boxes += boxes
        self.pictures += not boxes and _holds_picture(drawn)


_SPECIAL = frozenset(
    f"{_W}{name}"
    for name in ("br", "footnoteReference", "endnoteReference", "sym", "ffData", "ruby", "sdt")
) | {f"{_M}oMath"}


def _is_hex(text: str) -> bool:
    return all(each in "0123456789abcdefABCDEF" for each in text)


def _form_field(data: Any) -> str:
    """What Word draws of a field of an old form: a box, or what is chosen of a list."""
    box, choice = data.find(f"{_W}checkBox"), data.find(f"{_W}ddList")
    if box is not None:
        states = [box.find(f"{_W}{name}") for name in ("checked", "default")]
        state = next((each for each in states if each is not None), None)
        is_on = state is not None and state.get(f"{_W}val", "1") not in _OFF
        return _CHECKED if is_on else _UNCHECKED
    if choice is not None:
        entries = [each.get(f"{_W}val") or "" for each in choice.iter(f"{_W}listEntry")]
        at = _number(_value(choice, "result") or _value(choice, "default"))
        return entries[at] if at < len(entries) else ""
    return ""


class _WordCell(NamedTuple):
    text: str
    span: int
    is_carried: bool  # goes on from the cell above it


class _Rows:
    """Rows of a table, each one row late: merged cells stand in every row that they span, and
    above each of the columns that they head."""

    def __init__(self) -> None:
        self._above: dict[int, str] = {}  # what is carried down, by column
        self._last: list[tuple[int, _WordCell]] = []
        self._left = MAX_CHARS  # that may be repeated

    def add(self, cells: Sequence[_WordCell], before: int) -> Iterator[list[str]]:
        row: list[tuple[int, _WordCell]] = []
        column = before
        for cell in cells:
            row.append((column, cell))
            column += cell.span
        has_text = any(cell.text.strip() for _, cell in row)
        for index, (at, cell) in enumerate(row):
            if not cell.is_carried:
                self._above[at] = cell.text
            elif has_text and not cell.text.strip() and self._left > 0:
                row[index] = at, cell._replace(text=self._above.get(at, "").replace(_PAGE, " "))
                self._left -= len(row[index][1].text)
        last, self._last = self._last, row
        if last:
            yield self._render(last, row)

    def end(self) -> Iterator[list[str]]:
        if self._last:
            yield self._render(self._last, [])

    def _render(
        self, row: Sequence[tuple[int, _WordCell]], below: Sequence[tuple[int, _WordCell]]
    ) -> list[str]:
        count = sum(bool(cell.text.strip()) for _, cell in row)
        filled = [at for at, cell in below if cell.text.strip()]
        line = [""] * (row[0][0] if row else 0)
        for at, cell in row:
            heads = count > 1 and cell.span > 1 and self._left > 0
            heads = heads and sum(at <= each < at + cell.span for each in filled) > 1
            line += [cell.text] + [cell.text if heads else ""] * (cell.span - 1)
            self._left -= len(cell.text) * (cell.span - 1) * heads
        return line


_FILES = (".docx", ".xlsx", ".xlsm", ".pdf", ".html", ".htm", ".txt", ".eml", ".csv")
_MOST_FILES, _MOST_FILE_BYTES = 50, 64 << 20
_KINDS = ("package", "oleObject", "aFChunk")  # of relationships: embedded, embedded, inserted


def _embedded(word: Any) -> tuple[tuple[AttachedFile, ...], str]:
    """The files in a Word file that can be read, and a word on the others."""
    files: list[AttachedFile] = []
    others, left = 0, _MOST_FILE_BYTES
    for kind in _KINDS:
        for part in _parts(word, kind):
            name = str(part.partname).rpartition("/")[2]
            data = part.blob
            if kind == "oleObject":
                name, data = _packed(name, data)
            left -= len(data)
            if data and name.lower().endswith(_FILES) and left > 0 and len(files) < _MOST_FILES:
                files.append(AttachedFile(name, data))
            else:
                others += 1
    return tuple(files), f"files in it that are not read ({others:,})" if others else ""


def _packed(name: str, data: bytes) -> tuple[str, bytes]:
    """The PDF or Office file in an OLE object, which holds it in one piece; nothing where there
    is none."""
    stem = name.rpartition(".")[0] or name
    at, end = data.find(b"%PDF-"), data.rfind(b"%%EOF")
    if 0 <= at < end:
        return f"{stem}.pdf", data[at : end + 5]
    at, end = data.find(b"PK\x03\x04"), data.rfind(b"PK\x05\x06")
    if 0 <= at < end:
        packed = data[at : end + 22]
        kinds = ((b"word/document.xml", ".docx"), (b"xl/workbook.xml", ".xlsx"))
        ending = next((ending for entry, ending in kinds if entry in packed), "")
        return (stem + ending, packed) if ending else (name, b"")
    return name, b""


def _below(parent: Any, tag: str) -> Iterator[Any]:
    for child in parent:
        if child.tag == tag:
            yield child
        elif isinstance(child.tag, str) and child.tag not in (*_SKIPPED, _TABLE, _P):
            yield from _below(child, tag)


def _within(element: Any, root: Any, tag: str) -> bool:
    """Whether ``element`` stands in something with this tag below ``root``."""
    while element is not None and element is not root:
        if element.tag == tag:
            return True
        element = element.getparent()
    return False


_MOST_SPANNED = 63  # columns; Word's own limit


def _spanned(cell: Any) -> int:
    value = _value(cell.find(f"{_W}tcPr"), "gridSpan")
    return max(1, min(_MOST_SPANNED, _number(value)))


def _is_carried(cell: Any) -> bool:
    found = cell.find(f"{_W}tcPr/{_W}vMerge")
    return found is not None and found.get(f"{_W}val", "continue") == "continue"


def _holds_picture(drawn: Any) -> bool:
    return any(
        isinstance(each.tag, str) and each.tag.rpartition("}")[2] in _PICTURES
        for each in drawn.iter()
    )


def _parts(word: Any, kind: str) -> list[Any]:
    """Other parts of the file of this kind."""
    return [
        part.target_part
        for part in word.part.rels.values()
        if not part.is_external and part.reltype.endswith(f"/{kind}")
    ]
