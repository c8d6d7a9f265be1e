"""The numbers that Word draws before paragraphs ("2.1", "(b)", "IV.", a bullet): they are in no
text of the file, but counted by rules of its numbering and styles. Pure over python-docx's tree.
"""

from typing import Any

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVELS = 9
_DIGITS = 9
_MAX_PARENTS = 20  # of styles; a loop of them must end
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_MAX_ROMAN = 4000


class Numbering:
    """Counts the numbered paragraphs of one document, in the order in which they are asked for."""

    def __init__(self, word: Any) -> None:
        self._styles = {
            style.get(f"{_W}styleId"): style for style in word.styles.element.iter(f"{_W}style")
        }
        self._lists: dict[str, Any] = {}
        self._levels: dict[str, dict[int, tuple[str, str, int]]] = {}
        self._counts: dict[str, list[int]] = {}
        root = _numbering_of(word)
        if root is not None:
            self._learn(root)

    def label(self, paragraph: Any) -> str:
        """``"2.1 "`` of a numbered paragraph, ``"- "`` of one with a bullet, ``"# "`` of a
        heading, else nothing."""
        properties = paragraph.find(f"{_W}pPr")
        style = _value(properties, "pStyle")
        number, level = self._place(properties, style)
        shape = self._levels.get(number, {}).get(level)
        return self._heading(style) + (self._count(number, level, shape) if shape else "")

    def _learn(self, root: Any) -> None:
        shapes = {
            abstract.get(f"{_W}abstractNumId"): {
                _number(level.get(f"{_W}ilvl")): (
                    _value(level, "numFmt") or "decimal",
                    _value(level, "lvlText"),
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

    def _place(self, properties: Any, style: str) -> tuple[str, int]:
        """The list and the level of a paragraph, its own or its style's."""
        for _ in range(_MAX_PARENTS):
            own = properties.find(f"{_W}numPr") if properties is not None else None
            if own is not None:
                return _value(own, "numId"), _number(_value(own, "ilvl") or "0")
            found = self._styles.get(style)
            if found is None:
                break
            properties, style = found.find(f"{_W}pPr"), _value(found, "basedOn")
        return "", 0

    def _heading(self, style: str) -> str:
        """The signs of a heading by the level of its outline."""
        for _ in range(_MAX_PARENTS):
            found = self._styles.get(style)
            if found is None:
                return ""
            level = _value(found.find(f"{_W}pPr"), "outlineLvl")
            if level:
                depth = _number(level) + 1
                return "#" * depth + " " if depth < _LEVELS else ""
            style = _value(found, "basedOn")
        return ""

    def _count(self, number: str, level: int, shape: tuple[str, str, int]) -> str:
        kind, pattern, _ = shape
        if kind == "bullet":
            return "- "
        if kind == "none" or not 0 <= level < _LEVELS:
            return ""
        shapes = self._levels[number]
        counts = self._counts.setdefault(self._lists[number], [0] * _LEVELS)
        for above in range(level + 1):
            start = shapes.get(above, ("", "", 1))[2]
            if above == level:
                counts[above] = counts[above] + 1 if counts[above] else start
            elif not counts[above]:
                counts[above] = start
        counts[level + 1 :] = [0] * (_LEVELS - level - 1)
        for above in range(level + 1):
            kind = shapes.get(above, ("decimal", "", 1))[0]
            pattern = pattern.replace(f"%{above + 1}", render_number(counts[above], kind))
        return f"{pattern} " if pattern.strip() else ""


def render_number(value: int, kind: str) -> str:
    """A number in one of Word's kinds; one that is not known is decimal."""
    if kind in ("lowerLetter", "upperLetter") and value > 0:
        repeated, index = divmod(value - 1, 26)
        text = chr(ord("a") + index) * min(repeated + 1, 9)
    elif kind in ("lowerRoman", "upperRoman") and 0 < value < _MAX_ROMAN:
        text = ""
        for size, sign in _ROMAN:
            text += sign * (value // size)
            value %= size
    elif kind == "decimalZero":
        return f"{value:02}"
    else:
        return str(value)
    return text.upper() if kind.startswith("upper") else text


def _numbering_of(word: Any) -> Any:
    """The root of numbering.xml, None where there is none (python-docx would make one)."""
    for part in word.part.rels.values():
        if not part.is_external and part.reltype.endswith("/numbering"):
            return getattr(part.target_part, "element", None)
    return None


def _value(parent: Any, tag: str) -> str:
    found = parent.find(f"{_W}{tag}") if parent is not None else None
    return (found.get(f"{_W}val") or "") if found is not None else ""


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) <= _DIGITS else 0
