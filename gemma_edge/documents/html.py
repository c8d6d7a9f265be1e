"""HTML to text: paragraphs, lists, tables row by row.

What a browser does not show is left out; nothing is fetched, no script runs. It reads hostile
bytes, so it runs in the child process of ``open.py``: Python's own parser finds the tags, a tree of
bounded depth is made of them in one pass, and is walked without recursion.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import islice
from typing import NamedTuple

from gemma_edge.documents.document import (
    PLAIN,
    ExtractedText,
    ReadOptions,
    Writer,
    cut_note,
    decode_labelled,
    decode_text,
    hidden_note,
    lowered,
    raised,
    render_row,
)

_MAX_TAGS = 1_000_000  # the largest reports have half as many
_MAX_DEPTH = 512  # what is deeper stands beside its parent, as in browsers
_MAX_SPAN = 100  # columns or rows of one cell: the file may claim a billion
_CHARSET = re.compile(
    rb"(?i:<(?:meta\s[^>]{0,200}?charset|\?xml\s[^>]{0,100}?encoding)\s*=\s*[\"']?)"
    rb"([\w.:+-]{2,40})"
)


def read_html(data: bytes, name: str, options: ReadOptions = PLAIN) -> ExtractedText:
    """A page of HTML as one page of text, its title first.
    Raises InputError: no text."""
    label = "" if options.encoding else label_of(data)
    if label:
        text, notes = decode_labelled(data, label, name)
    else:
        text, notes = decode_text(data, name, options.encoding)
    markup, many = _bounded(text)
    found, characters, is_cut = html_to_text(markup, hidden=options.hidden)
    notes += hidden_note(name, characters, options)
    notes += (f"{name} is cut: {_MAX_TAGS:,} tags are the most that is read",) if many else ()
    notes += (cut_note(name),) if is_cut and not many else ()
    return ExtractedText(((found, "HTML"),), notes)


def html_to_text(markup: str, *, hidden: bool = False) -> tuple[str, int, bool]:
    """The text, the characters of hidden text that are not in it (or, with ``hidden``, are in it),
    and whether it is cut."""
    markup, many = _bounded(markup)
    tree = _Tree(is_xml=markup.lstrip()[:5].lower() == "<?xml")
    tree.feed(markup)
    tree.close()
    flow = _Flow(_Styles("".join(tree.css), tree.has_pictures), reads_hidden=hidden)
    title = " ".join("".join(tree.title).split())
    if title:
        flow.text(title)
        flow.block(apart=True)
    is_known = not tree.has_styles_elsewhere
    flow.walk(tree.root, _Look() if is_known else _Look(color=None, back=None))
    text = flow.finish()
    return text, flow.hidden, many or flow.writer.is_full


def label_of(data: bytes) -> str:
    """What a page says that it is written in, its ``<meta>`` or as XML does, or nothing."""
    found = _CHARSET.search(data[:4096])
    # Where its name could be read byte by byte, it is in none of these (HTML standard, 13.2.3.2).
    label = found[1].decode("ascii") if found else ""
    return "utf-8" if label.lower().startswith(("utf-16", "utf-32")) else label


def _bounded(markup: str) -> tuple[str, bool]:
    """As many tags as are read, and whether there were more."""
    if markup.count("<") <= _MAX_TAGS:
        return markup, False
    end = next(islice(re.finditer("<", markup), _MAX_TAGS, None)).start()
    return markup[:end], True


# The tree.

_VOID = frozenset(
    ("area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input")
    + ("keygen", "link", "meta", "param", "source", "track", "wbr")
)
_APART = frozenset(
    ("p", "table", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "pre", "blockquote")
)
_BLOCKS = _APART | frozenset(
    ("address", "article", "aside", "body", "caption", "center", "dd", "details", "dialog", "div")
    + ("dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "html")
    + ("legend", "li", "main", "menu", "nav", "optgroup", "search", "section", "summary", "tbody")
    + ("td", "tfoot", "th", "thead", "tr")
)
_CELLS, _PARTS = ("td", "th"), ("tbody", "thead", "tfoot", "caption", "colgroup")
_IN_TABLE = frozenset((*_CELLS, *_PARTS, "tr", "table"))
_AROUND_P = ("table", "td", "th", "caption", "button", "object")
# By a tag that begins: those that it ends, and within which (HTML standard, 13.1.2.4).
_ENDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **{name: (("p",), _AROUND_P) for name in _BLOCKS - _IN_TABLE | {"table"}},
    "li": (("li", "p"), ("ul", "ol", "menu", "table", *_CELLS)),
    "dt": (("dt", "dd", "p"), ("dl", "table", *_CELLS)),
    "dd": (("dt", "dd", "p"), ("dl", "table", *_CELLS)),
    "option": (("option",), ("select", "datalist")),
    "optgroup": (("option", "optgroup"), ("select",)),
    **dict.fromkeys(("rb", "rt", "rp", "rtc"), (("rb", "rt", "rp", "rtc"), ("ruby",))),
    **dict.fromkeys(_CELLS, (_CELLS, ("table", "tr"))),
    "tr": ((*_CELLS, "tr", "caption", "colgroup"), ("table",)),
    **dict.fromkeys(_PARTS, ((*_CELLS, "tr", *_PARTS), ("table",))),
    "body": (("head",), ()),
}


_NOTHING: dict[str, str] = {}


class _Tag:
    """``rows`` and ``columns`` are those of a table, ``inner`` whether there are others in it: 1
    where they are lists or rows, 2 where one has rows and columns."""

    __slots__ = ("attrs", "children", "columns", "inner", "name", "parent", "rows")

    def __init__(self, name: str, attrs: dict[str, str], parent: "_Tag | None") -> None:
        self.name, self.attrs, self.parent = name, attrs, parent
        self.children: list[_Tag | str] = []
        self.rows = self.columns = self.inner = 0


class _Tree(HTMLParser):
    """Ends what was left open, as browsers do; each tag takes the same time, however deep."""

    def __init__(self, *, is_xml: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.root = _Tag("", {}, None)
        self.title: list[str] = []
        self.css: list[str] = []
        self.has_styles_elsewhere = self.has_pictures = False
        self._open = [self.root]
        self._places: dict[str, list[int]] = {}  # in ``_open``, of each name
        self._cells: list[int] = []  # of the row, for each open table
        self._is_xml = is_xml
        self._has_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        closes, within = _ENDS.get(tag, ((), ()))
        if closes:
            self._end(closes, within)
        if tag == "table" or tag in _CELLS:
            self._mend_table(tag)
        if self._is_deep(tag):
            self._close(len(self._open) - 1)
        parent = self._open[-1]
        said = {name: value or "" for name, value in reversed(attrs)} if attrs else _NOTHING
        new = _Tag(tag, said, parent)
        parent.children.append(new)
        self.has_pictures |= tag == "img" or "background" in said
        if tag in _VOID:
            self.has_styles_elsewhere |= tag == "link" and "stylesheet" in said.get("rel", "")
            return
        self._count(new)
        self._places.setdefault(tag, []).append(len(self._open))
        self._open.append(new)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        is_foreign = self._is_xml or any(map(self._places.get, ("svg", "math")))
        # The parser does not wait for the end of a script or a style that has ended itself.
        if tag not in _VOID and (is_foreign or tag in self.CDATA_CONTENT_ELEMENTS):
            self._close(len(self._open) - 1)

    def handle_endtag(self, tag: str) -> None:
        if tag == "br":
            self.handle_starttag(tag, [])
        within = ("table",) if tag in _IN_TABLE else _AROUND_P[:4]
        self._end((tag,), () if tag == "table" else within, nearest=True)

    def handle_data(self, data: str) -> None:
        above = self._open[-1]
        if above.name == "style":
            self.css.append(data)
            self.has_styles_elsewhere |= "@import" in data
            self.has_pictures |= "url(" in data
        elif above.name == "title" and not self._has_title and not self._places.get("svg"):
            self.title.append(data)
        above.children.append(data)

    def unknown_decl(self, data: str) -> None:
        if self._is_xml and data.startswith("CDATA["):
            self.handle_data(data[len("CDATA[") :])

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Where it ends, as the parser asks; Word and Outlook write conditions of their own as
        such, which some versions of Python take for errors."""
        sign = "]]>" if self.rawdata.startswith("<![CDATA[", i) else ">"
        end = self.rawdata.find(sign, i)
        if end >= 0 and sign != ">" and report:
            self.unknown_decl(self.rawdata[i + 3 : end])
        return end + len(sign) if end >= 0 else -1

    def _end(
        self, names: tuple[str, ...], within: tuple[str, ...], *, nearest: bool = False
    ) -> None:
        """Ends the outermost (or the nearest) of those names that is open within the nearest of
        ``within``, and all in it."""
        around = [places[-1] for name in within if (places := self._places.get(name))]
        least = max(around, default=0)
        found = []
        for name in names:
            places = self._places.get(name)
            if places and places[-1] > least:
                found.append(places[-1] if nearest else places[bisect_left(places, least + 1)])
        if found:
            self._close(min(found))

    def _close(self, place: int) -> None:
        while len(self._open) > max(1, place):
            closed = self._open.pop()
            self._places[closed.name].pop()
            if closed.name == "title":
                self._has_title = any(map(str.strip, self.title))
            elif closed.name == "table":
                self._cells.pop()
                around = self._around()
                if around is not None:
                    is_wide = closed.columns > 1 and closed.rows > 1
                    around.inner = max(around.inner, closed.inner, 2 if is_wide else 1)

    def _is_deep(self, tag: str) -> bool:
        """Whether the innermost tag has to end for this one; cells are kept where they can be."""
        if tag in _IN_TABLE or self._open[-1].name in _IN_TABLE:
            return len(self._open) >= 2 * _MAX_DEPTH
        return len(self._open) >= _MAX_DEPTH

    def _mend_table(self, tag: str) -> None:
        """A cell without a row gets one; a table in another, but in no cell, ends that."""
        places = self._places.get("table")
        if not places:
            return
        inside = ("tr",) if tag in _CELLS else (*_CELLS, "caption")
        if any(self._places.get(name, [0])[-1:] > places[-1:] for name in inside):
            return
        if tag in _CELLS:
            self.handle_starttag("tr", [])
        else:
            self._close(places[-1])

    def _around(self) -> _Tag | None:
        places = self._places.get("table")
        return self._open[places[-1]] if places else None

    def _count(self, tag: _Tag) -> None:
        if tag.name == "table":
            self._cells.append(0)
        elif self._cells and (around := self._around()) is not None:
            if tag.name == "tr":
                around.rows += 1
                self._cells[-1] = 0
            elif tag.name in _CELLS:
                self._cells[-1] += 1
                around.columns = max(around.columns, self._cells[-1])


# What can be seen of it: the few properties that hide text, of tags and of rules with one name.

_Color = tuple[int, int, int] | str | None
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_COLORS = {
    "white": _WHITE, "black": _BLACK, "red": (255, 0, 0), "lime": (0, 255, 0),
    "blue": (0, 0, 255), "yellow": (255, 255, 0), "cyan": (0, 255, 255), "aqua": (0, 255, 255),
    "magenta": (255, 0, 255), "fuchsia": (255, 0, 255), "silver": (192, 192, 192),
    "gray": (128, 128, 128), "grey": (128, 128, 128), "maroon": (128, 0, 0),
    "olive": (128, 128, 0), "green": (0, 128, 0), "purple": (128, 0, 128), "teal": (0, 128, 128),
    "navy": (0, 0, 128), "snow": (255, 250, 250), "ivory": (255, 255, 240),
    "whitesmoke": (245, 245, 245), "ghostwhite": (248, 248, 255), "floralwhite": (255, 250, 240),
    "azure": (240, 255, 255), "mintcream": (245, 255, 250), "seashell": (255, 245, 238),
}  # fmt: skip
_LEAST_CONTRAST = 1.1  # 1 is none; grey print that a person still reads has 1.5
_LEAST_SIZE = 2.0  # px
_FAR = 500.0  # px off the page
_PX = {
    "px": 1.0, "pt": 4 / 3, "em": 16.0, "rem": 16.0, "ex": 8.0, "in": 96.0, "cm": 37.8, "mm": 3.78,
    "pc": 16.0, "ch": 8.0, "vw": 10.0, "vh": 10.0, "%": 10.0, "": 1.0,
}  # fmt: skip
_LENGTH = re.compile(r"([+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}))([a-z%]{0,4})")
_READ = frozenset(
    ("display", "visibility", "opacity", "font", "font-size", "color", "background", "overflow")
    + ("background-color", "background-image", "position", "left", "top", "right", "bottom")
    + ("margin-left", "margin-top", "text-indent", "clip", "clip-path", "height", "max-height")
    + ("width", "max-width", "transform", "text-decoration", "text-decoration-line", "white-space")
    + ("vertical-align", "list-style-type", "list-style", "overflow-y", "overflow-x")
)
_ON_SCREEN = {("screen",), ("all",), ("only", "screen")}
_SIMPLE = re.compile(r"([a-z][a-z0-9]*|\*)?((?:[.#][\w-]+)*)", re.IGNORECASE)
_MOST_COMPOUND = 50  # rules with several names, for each of them
_Rules = dict[str, str]


def _declared(text: str) -> tuple[_Rules, _Rules]:
    """The properties that are read, and those of them that are important."""
    usual: _Rules = {}
    important: _Rules = {}
    for part in text.split(";"):
        name, colon, value = part.partition(":")
        name = name.strip().lower()
        if colon and name in _READ:
            value, mark, _ = value.strip().lower().partition("!")
            (important if mark else usual)[name] = value.strip()
    return usual, important


class _Styles:
    """The rules of a page by tag, class and id. Where a rule may or may not be meant (``ul li a``,
    ``:hover``) its colours are not known."""

    def __init__(self, css: str, has_pictures: bool) -> None:
        self.has_pictures = has_pictures  # text that is placed may stand on one
        self._rules: dict[str, tuple[_Rules, _Rules]] = {}
        self._compound: dict[str, list[tuple[frozenset[str], _Rules, _Rules]]] = {}
        first, *rest = css.split("/*")
        self._read(first + "".join(part.partition("*/")[2] for part in rest))

    def _read(self, css: str) -> None:
        passed = 0  # blocks around that do not hold on a screen
        prelude = ""
        parts = re.split(r"([{}])", css.replace("<!--", "").replace("-->", ""))
        for text, sign in zip(parts[::2], [*parts[1::2], ""], strict=False):
            if sign == "{":
                prelude = text.rpartition(";")[2].strip()
                if passed or prelude.startswith("@"):
                    media = [each.split() for each in prelude.lower()[6:].split(",")]
                    holds = prelude[:6].lower() == "@media" and _ON_SCREEN & {*map(tuple, media)}
                    passed += bool(passed or not holds)
                    prelude = ""
            elif sign == "}":
                if passed:
                    passed -= 1
                elif prelude:
                    self._rule(prelude, text)
                prelude = ""

    def _rule(self, selectors: str, text: str) -> None:
        usual, important = _declared(text)
        if not usual and not important:
            return
        for selector in selectors.split(","):
            *above, last = re.split(r"[\s>+~]+", selector.strip()[:200]) or [""]
            plain = re.split(r"[:\[]", last)[0]
            found = _SIMPLE.fullmatch(plain)
            if found is None or not plain:
                continue
            names = [found[1].lower()] if found[1] else []
            names += re.findall(r"[.#][^.#]+", found[2])
            if above or plain != last:
                doubted = {each.partition("-")[0] for each in usual | important}
                doubt = {"color": "color", "background-color": "background"}
                self._add(names[-1], {a: "" for a, b in doubt.items() if b in doubted}, {})
            elif len(names) == 1:
                self._add(names[0], usual, important)
            else:
                several = self._compound.setdefault(names[-1], [])
                if len(several) < _MOST_COMPOUND:
                    several.append((frozenset(names), usual, important))

    def _add(self, name: str, usual: _Rules, important: _Rules) -> None:
        before = self._rules.get(name, ({}, {}))
        self._rules[name] = before[0] | usual, before[1] | important

    def of(self, tag: _Tag) -> _Rules:
        """What is declared of a tag."""
        attrs = tag.attrs
        if not self._rules and not self._compound:
            if not attrs:
                return _NOTHING
            usual, important = _declared(attrs.get("style", ""))
            return _attributes(tag) | usual | important
        found = _attributes(tag)
        rules = [*self._meant(tag), _declared(attrs.get("style", ""))]
        for usual, _ in rules:
            found |= usual
        for _, important in rules:
            found |= important
        return found

    def _meant(self, tag: _Tag) -> list[tuple[_Rules, _Rules]]:
        """The rules of which a tag is one, the least particular first."""
        attrs = tag.attrs
        names = ["*", tag.name, *(f".{each}" for each in attrs.get("class", "").split())]
        names += [f"#{attrs['id'].strip()}"] if "id" in attrs else []
        rules = [self._rules[name] for name in names if name in self._rules]
        compound = [name for name in names if name in self._compound]
        has = frozenset(names) if compound else frozenset()
        for name in compound:
            rules += [rule[1:] for rule in self._compound[name] if rule[0] <= has]
        return rules


def _attributes(tag: _Tag) -> _Rules:
    """What attributes of old say, as properties."""
    attrs = tag.attrs
    found: _Rules = {}
    if not attrs:
        return found
    if tag.name == "a" and "href" in attrs:
        found["color"] = "#0000ee"
    if "bgcolor" in attrs:
        found["background-color"] = _old_color(attrs["bgcolor"])
    if "background" in attrs:
        found["background-image"] = "url"
    if tag.name == "font" and "color" in attrs:
        found["color"] = _old_color(attrs["color"])
    if tag.name == "body" and "text" in attrs:
        found["color"] = _old_color(attrs["text"])
    return found


def _old_color(text: str) -> str:
    text = text.strip().lower()
    return f"#{text}" if re.fullmatch("[0-9a-f]{6}", text) else text


class _Look(NamedTuple):
    """How a tag looks, as far as what is in it has it from there."""

    is_gone: bool = False
    is_seen: bool = True
    size: float = 16.0
    color: _Color = _BLACK
    back: _Color = _WHITE
    is_struck: bool = False
    is_pre: bool = False
    shift: str = ""  # super or sub, of this tag alone

    @property
    def hides(self) -> bool:
        return (
            self.is_gone or not self.is_seen or self.size < _LEAST_SIZE
            or _is_same(self.color, self.back)
        )  # fmt: skip


def _look(above: _Look, tag: _Tag, styles: _Styles) -> _Look:
    name, rules = tag.name, styles.of(tag)
    is_gone = above.is_gone or _is_gone(tag, rules)
    is_struck = above.is_struck or name in ("del", "s", "strike")
    is_pre = above.is_pre or name in ("pre", "textarea", "listing", "xmp")
    shift = {"sup": "super", "sub": "sub"}.get(name, "")
    if not rules:
        if (is_gone, is_struck, is_pre, shift) == (above.is_gone, *above[-3:]):
            return above
        return above._replace(is_gone=is_gone, is_struck=is_struck, is_pre=is_pre, shift=shift)
    seen = rules.get("visibility", "")
    line = rules.get("text-decoration", "") + rules.get("text-decoration-line", "")
    space = rules.get("white-space", "")
    is_placed = rules.get("position") in ("absolute", "fixed") and styles.has_pictures
    return _Look(
        is_gone,
        above.is_seen if seen not in ("hidden", "collapse", "visible") else seen == "visible",
        _size(above.size, rules),
        _color(rules["color"], above.color) if "color" in rules else above.color,
        _back(None if is_placed else above.back, rules),
        is_struck or "line-through" in line,
        space.startswith(("pre", "break-spaces")) if space else is_pre,
        shift or {"super": "super", "sub": "sub"}.get(rules.get("vertical-align", ""), ""),
    )


def _is_gone(tag: _Tag, rules: _Rules) -> bool:
    """Whether nothing in it is shown, whatever that says of itself."""
    if "hidden" in tag.attrs or (tag.name == "dialog" and "open" not in tag.attrs):
        return True
    if not rules:
        return False
    if rules.get("display") == "none" or _px(rules.get("opacity"), 1.0) < 0.05:  # noqa: PLR2004
        return True
    if _px(rules.get("text-indent")) <= -_FAR or "scale(0)" in rules.get("transform", ""):
        return True
    if re.search(r"translate[xy3d]{0,2}\(\s*-[0-9]{4}", rules.get("transform", "")):
        return True
    return _is_off(rules) or (tag.name not in _IN_TABLE and _is_closed(rules))


def _is_off(rules: _Rules) -> bool:
    """Whether it is placed off the page, or cut to nothing."""
    if min(_px(rules.get("margin-left")), _px(rules.get("margin-top"))) <= -2 * _FAR:
        return True
    if rules.get("position") in ("absolute", "fixed", "relative"):
        places = [_px(rules.get(name)) for name in ("left", "top", "right", "bottom")]
        if min(places) <= -_FAR:
            return True
    clip = re.findall("[0-9.]{1,9}", rules.get("clip", ""))
    if len(clip) == 4 and all(_px(each) <= 1 for each in clip):  # noqa: PLR2004
        return True
    return _CUT.match(rules.get("clip-path", "")) is not None


_CUT = re.compile(r"inset\(\s*(?:[5-9][0-9]|100)(?:\.[0-9]{0,9})?%|circle\(\s*0")


def _is_closed(rules: _Rules) -> bool:
    """Whether it has no height or no width, and what is in it does not reach out."""
    if not any(rules.get(name, "")[:6] in ("hidden", "clip") for name in _OVERFLOWS):
        return False
    return any(_px(rules.get(name), _FAR) <= 1 for name in _SIDES)


_OVERFLOWS = ("overflow", "overflow-x", "overflow-y")
_SIDES = ("height", "max-height", "width", "max-width")


def _px(text: str | None, otherwise: float = 0.0) -> float:
    found = _LENGTH.fullmatch(text) if text else None
    if found is None or found[2] not in _PX:
        return otherwise
    return float(found[1]) * _PX[found[2]]


def _size(above: float, rules: _Rules) -> float:
    text = rules.get("font-size", "")
    if not text and "font" in rules:
        sizes = re.findall(r"(?:^|\s)([0-9.]{1,9}[a-z%]{1,4}|0)(?=[\s/]|$)", rules["font"])
        text = sizes[0] if sizes else ""
    found = _LENGTH.fullmatch(text)
    if found is None:
        return above if text in ("", "inherit", "smaller", "larger") else 16.0
    value, unit = float(found[1]), found[2]
    if unit in ("em", "%"):
        return above * value / (100 if unit == "%" else 1)
    return value * _PX.get(unit, 16.0)


def _back(above: _Color, rules: _Rules) -> _Color:
    image = rules.get("background-image", "none") + rules.get("background", "")
    if "url" in image or "gradient" in image:
        return None
    back = above
    for name in ("background", "background-color"):
        text = rules.get(name)
        if text is None:
            continue
        color = _color(text if name != "background" else _color_in(text), above)
        back = above if color == "transparent" else color
    return back


def _color_in(background: str) -> str:
    """The colour among what ``background`` says."""
    found = re.search(r"#[0-9a-f]{3,8}|rgba?\([^()]{0,60}\)", background)
    if found:
        return found[0]
    names = [each for each in background.split() if each in _COLORS or each == "transparent"]
    is_none = background in ("none", "0", "0 0")
    return names[0] if names else "transparent" if is_none else background


def _color(text: str, above: _Color) -> _Color:
    """None: it is not known."""
    text = text.strip()
    if text in _COLORS:
        return _COLORS[text]
    if text in ("inherit", "currentcolor"):
        return above
    parts: list[float] = []
    if re.fullmatch("#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", text):
        digits = text[1:] if len(text) > 5 else "".join(each * 2 for each in text[1:])  # noqa: PLR2004
        parts = [int(digits[at : at + 2], 16) for at in range(0, len(digits), 2)]
    elif text.startswith("rgb") and "%" not in text:
        parts = list(map(_px, re.findall("[0-9.]{1,9}", text)))
    if len(parts) >= 3:  # noqa: PLR2004
        red, green, blue = (min(255, int(each)) for each in parts[:3])
        return "transparent" if parts[3:] == [0] else (red, green, blue)
    return text if re.fullmatch("[a-z]{3,30}", text) and text not in _NO_COLOR else None


_NO_COLOR = frozenset(("initial", "unset", "revert", "none", "windowtext", "auto", "canvastext"))


def _is_same(color: _Color, back: _Color) -> bool:
    """Whether print in this colour cannot be told from what is behind it."""
    if color is None or back is None or color == "transparent":
        return color == "transparent"
    if isinstance(color, str) or isinstance(back, str):
        return color == back
    light, dark = sorted((_luminance(color), _luminance(back)), reverse=True)
    return (light + 0.05) / (dark + 0.05) < _LEAST_CONTRAST


def _luminance(color: tuple[int, int, int]) -> float:
    """From 0 to 1 (WCAG 2, relative luminance)."""
    parts = [(each / 255 / 12.92 if each <= 10 else ((each / 255 + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004
             for each in color]  # fmt: skip
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


# The text.

_DROPPED = frozenset(
    ("script", "style", "template", "noscript", "title", "svg", "iframe", "object", "datalist")
    + ("canvas", "video", "audio", "rp", "annotation", "annotation-xml", "noframes")
)
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_STRUCK, _KEPT = "\1", "\2"  # in a line that is being made: ~~, and a space that stays
_UNSEEN = dict.fromkeys(map(ord, "\1\2\xad\u200b\u2060\u2063\u2064\ufeff"))
_JOINED = re.compile(r"(?<=[0-9A-Za-z.,])[\u200c\u200d]+(?=[0-9A-Za-z.,])")
_NO_VALUE = ("hidden", "password", "submit", "button", "image", "reset", "file")


class _Flow:
    """Text as it flows: white space collapses, blocks end lines, cells of a row share one."""

    def __init__(
        self, styles: _Styles, *, reads_hidden: bool = False, in_cell: bool = False
    ) -> None:
        self.writer = Writer()
        self.hidden = 0  # characters
        self._styles, self._reads_hidden, self._in_cell = styles, reads_hidden, in_cell
        self._line: list[str] = []
        self._blocks = 0  # lines that were ended so far
        self._prefix = ""  # of the next line: a bullet, the signs of a heading
        self._numbers: dict[int, int] = {}  # the next item of each ordered list
        self._raised: list[tuple[_Tag, str, int, int]] = []  # open ones, and where they begin

    def text(self, text: str) -> None:
        self._line.append(text)

    def block(self, *, apart: bool) -> None:
        line = "".join(self._line).replace(_STRUCK * 2, "").replace(_STRUCK, "~~")
        line = " ".join(line.split()).replace(_KEPT, " ")
        self._line.clear()
        self._blocks += 1
        if line.strip():
            self.writer.line(self._prefix + _JOINED.sub("", line))
            self._prefix = ""
        if apart:
            self.writer.gap()

    def finish(self) -> str:
        self.block(apart=False)
        return self.writer.take()

    def walk(self, root: _Tag, look: _Look) -> None:
        stack: list[tuple[_Tag, Iterator[_Tag | str], _Look]] = [(root, iter(root.children), look)]
        while stack and not self.writer.is_full:
            tag, rest, look = stack[-1]
            child = next(rest, None)
            if child is None:
                stack.pop()
                self._leave(tag)
            elif isinstance(child, str):
                self._say(child, look)
            else:
                inner = self._enter(child, look)
                if inner is not None:
                    stack.append((child, iter(child.children), inner))

    def _look(self, tag: _Tag, above: _Look) -> _Look | None:
        """How it looks; None where nothing of it is read. What is hidden is counted."""
        look = _look(above, tag, self._styles)
        if look.is_gone and not above.is_gone:
            self.hidden += len(_text_in(tag).replace(" ", ""))
        return None if look.is_gone and not self._reads_hidden else look

    def _say(self, text: str, look: _Look) -> None:
        text = text.translate(_UNSEEN)
        if not text.strip() and not look.is_pre:
            self.text(" " if text else "")
            return
        if look.hides:
            self.hidden += 0 if look.is_gone else len("".join(text.split()))
            if not self._reads_hidden:
                return
        if look.is_pre:
            self._preformatted(text, look)
        else:
            self.text(_struck(text) if look.is_struck else text)

    def _preformatted(self, text: str, look: _Look) -> None:
        for number, line in enumerate(text.split("\n")):
            if number:
                self.block(apart=not "".join(self._line).strip())
            kept = line.expandtabs().replace(" ", _KEPT)
            self.text(_struck(kept) if look.is_struck and kept else kept)

    def _enter(self, tag: _Tag, above: _Look) -> _Look | None:
        """How what is in it looks, or None where that is not to be walked."""
        name = tag.name
        look = None if name in _DROPPED else self._look(tag, above)
        if look is None:
            return None
        if name in _BLOCKS:
            self.block(apart=name in _APART)
            if name == "table" and self._table(tag, look):
                return None
            self._prefix = self._bullet(tag) if name == "li" else _HEADINGS.get(name, self._prefix)
            return look
        if name in _SAID:
            self._say(f" {_SAID[name](tag)} ", look)
            return None
        if look.shift:
            self._raised.append((tag, look.shift, len(self._line), self._blocks))
        self._enter_line(tag, look)
        return look

    def _enter_line(self, tag: _Tag, look: _Look) -> None:
        name, attrs = tag.name, tag.attrs
        if name in ("br", "textarea"):
            self.block(apart=False)
        elif name == "img":
            alt = attrs.get("alt", "").strip()
            self.text(f" [image: {alt}] " if alt else "")
        elif name == "input":
            self._input(tag, look)
        elif attrs.get("role") in ("checkbox", "radio") and "aria-checked" in attrs:
            self.text(" [x] " if attrs["aria-checked"].lower() == "true" else " [ ] ")
        else:
            self.text(_BEFORE.get(name, ""))

    def _leave(self, tag: _Tag) -> None:
        name = tag.name
        if name in _BLOCKS or name == "textarea":
            self.block(apart=name in _APART)
            self._prefix = ""
        elif name in _BEHIND:
            self.text(_BEHIND[name])
        if self._raised and self._raised[-1][0] is tag:
            _, shift, begin, blocks = self._raised.pop()
            mark = "".join(self._line[begin:])
            if blocks == self._blocks and mark.strip():
                before = "".join(self._line[max(0, begin - 9) : begin])[-50:].rstrip(_STRUCK)
                self._line[begin:] = [lowered(mark) if shift == "sub" else raised(mark, before)]

    def _bullet(self, item: _Tag) -> str:
        above = item.parent
        if above is None or above.name != "ol":
            return "- "
        step = -1 if "reversed" in above.attrs else 1
        number = self._numbers.get(id(above))
        if number is None:
            items = sum(isinstance(each, _Tag) and each.name == "li" for each in above.children)
            number = _whole(above.attrs.get("start"), items if step < 0 else 1)
        number = _whole(item.attrs.get("value"), number)
        self._numbers[id(above)] = number + step
        kinds = [self._styles.of(each) for each in (item, above)]
        styles = [each.get("list-style-type", each.get("list-style", "")) for each in kinds]
        kind = next(filter(None, styles), "") or item.attrs.get("type") or above.attrs.get("type")
        return _numbered(number, kind or "1")

    def _input(self, tag: _Tag, look: _Look) -> None:
        kind = tag.attrs.get("type", "text").strip().lower()
        if kind in ("checkbox", "radio"):
            self.text(" [x] " if "checked" in tag.attrs else " [ ] ")
        elif kind not in _NO_VALUE:
            self._say(f" {tag.attrs.get('value', '')} ", look)

    def _table(self, table: _Tag, look: _Look) -> bool:
        """Whether it is one, and not only places things on the page."""
        is_list = table.columns == 1 or (table.inner and table.rows == 1)
        if is_list or table.inner > 1 or not table.columns or self._in_cell:
            return False
        hanging: dict[int, tuple[int, str]] = {}  # by column: further rows of a cell, its text
        for row, inner in self._parts(table, look, "tr", ("table", *_CELLS)):
            if self.writer.is_full:
                break
            if row.name == "tr":
                self._row(row, inner, hanging)
            elif caption := self._within(row, inner):
                self.writer.line(caption)
        self.writer.gap()
        return True

    def _parts(
        self, root: _Tag, look: _Look, name: str, ends: tuple[str, ...]
    ) -> Iterator[tuple[_Tag, _Look]]:
        """The tags of that name under it, and captions, but for those in ``ends``."""
        stack = [(iter(root.children), look)]
        while stack:
            rest, look = stack[-1]
            child = next(rest, None)
            if child is None:
                stack.pop()
            elif isinstance(child, str):
                if child.strip():  # outside of every cell; browsers show it above
                    self._say(child, look)
                    self.block(apart=False)
            elif child.name not in _DROPPED:
                inner = self._look(child, look)
                if inner is None:
                    continue
                if child.name in (name, "caption") or (name == "td" and child.name == "th"):
                    yield child, inner
                elif child.name not in ends:
                    stack.append((iter(child.children), inner))

    def _within(self, tag: _Tag, look: _Look) -> str:
        inner = _Flow(self._styles, reads_hidden=self._reads_hidden, in_cell=True)
        inner.walk(tag, look)
        text = inner.finish()
        self.hidden += inner.hidden
        return " ".join(text.split())

    def _row(self, row: _Tag, look: _Look, hanging: dict[int, tuple[int, str]]) -> None:
        """A row; a cell that spans rows stands in each of them, so that columns stay columns."""
        cells: list[str] = []
        for cell, inner in self._parts(row, look, "td", ("table", "tr")):
            _hang(cells, hanging)
            text = self._within(cell, inner)
            width, height = _span(cell, "colspan"), _span(cell, "rowspan")
            if height > 1:
                hanging |= {
                    len(cells) + at: (height - 1, "" if at else text) for at in range(width)
                }
            cells += [text, *[""] * (width - 1)]
        _hang(cells, hanging)
        line = render_row(cells)
        if line:
            self.writer.line(line)


def _struck(text: str) -> str:
    """Text with the marks of struck text around all but the white space at its ends."""
    inner = text.strip(f" \t\r\n\f{_KEPT}")
    before, _, after = text.partition(inner) if inner else (text, "", "")
    return f"{before}{_STRUCK}{inner}{_STRUCK}{after}" if inner else text


def _text_in(tag: _Tag) -> str:
    """All text in it, white space collapsed."""
    found: list[str] = []
    waiting: list[_Tag | str] = [tag]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            found.append(part)
        elif part.name not in _DROPPED:
            waiting += reversed(part.children)
    return " ".join("".join(found).translate(_UNSEEN).split())


def _chosen(select: _Tag) -> str:
    """The options that are chosen; where none is, the first, as browsers show it."""
    options: list[_Tag] = []
    waiting: list[_Tag | str] = list(reversed(select.children))
    while waiting:
        part = waiting.pop()
        if isinstance(part, _Tag):
            if part.name == "option":
                options.append(part)
            else:
                waiting += reversed(part.children)
    chosen = [each for each in options if "selected" in each.attrs]
    if "multiple" not in select.attrs:
        is_list = _whole(select.attrs.get("size"), 1) > 1
        usable = [each for each in options if "disabled" not in each.attrs] or options
        chosen = chosen[-1:] or ([] if is_list else usable[:1])
    return ", ".join(each.attrs.get("label") or _text_in(each) for each in chosen)


def _measured(tag: _Tag) -> str:
    """What a bar shows: its text, or its value of how much."""
    value, most = tag.attrs.get("value", ""), tag.attrs.get("max", "")
    return _text_in(tag) or (f"{value}/{most}" if value and most else value)


_MATH_DEPTH = 40


def _math(tag: _Tag, depth: int = 0) -> str:
    """A formula in one line: ``x²``, ``1 1/2``, ``(a+b)/c``, ``√(x)``."""
    if depth > _MATH_DEPTH:
        return _text_in(tag)
    parts: list[str] = []
    for child in tag.children:
        is_tag = isinstance(child, _Tag)
        part = _math(child, depth + 1) if isinstance(child, _Tag) else child.strip()
        if not part or (isinstance(child, _Tag) and child.name in _DROPPED):
            continue
        is_mixed = is_tag and "/" in part and parts and parts[-1][-1:].isdigit()
        parts.append(f" {part}" if is_mixed else part)
    two = len(parts) == 2  # noqa: PLR2004
    if tag.name == "mfrac" and two:
        simple = [each.replace(" ", "").replace(".", "").isalnum() for each in parts]
        return "/".join(each if ok else f"({each})" for each, ok in zip(parts, simple, strict=True))
    if tag.name == "msup" and two:
        return parts[0] + raised(parts[1], parts[0])
    if tag.name == "msub" and two:
        return parts[0] + lowered(parts[1])
    if tag.name in ("msqrt", "mtd", "mtr"):
        return f"√({''.join(parts)})" if tag.name == "msqrt" else f"{''.join(parts)} "
    return "".join(parts)


_SAID: dict[str, Callable[[_Tag], str]] = {
    "select": _chosen, "progress": _measured, "meter": _measured, "math": _math,
}  # fmt: skip
_BEFORE = {"rt": "(", "q": '"'}
_BEHIND = {"rt": ")", "q": '"'}


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text and re.fullmatch(r"\s*[+-]?[0-9]{1,9}\s*", text) else otherwise


def _numbered(number: int, kind: str) -> str:
    """The mark of an item in an ordered list: ``3. ``, ``c. ``, ``III. ``."""
    if kind in ("none", "disc", "circle", "square"):
        return "- "
    if number > 0 and (kind in ("a", "A") or kind.endswith(("-alpha", "-latin"))):
        letters = ""
        while number:
            number, rest = divmod(number - 1, 26)
            letters = chr(ord("a") + rest) + letters
        return f"{letters.upper() if kind in ('A',) or kind.startswith('upper') else letters}. "
    if 0 < number < 4000 and (kind in ("i", "I") or kind.endswith("-roman")):  # noqa: PLR2004
        roman = ""
        for value, sign in _ROMAN:
            roman += sign * (number // value)
            number %= value
        return f"{roman.upper() if kind == 'I' or kind.startswith('upper') else roman}. "
    return f"{number:02d}. " if kind == "decimal-leading-zero" else f"{number}. "


_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


def _hang(cells: list[str], hanging: dict[int, tuple[int, str]]) -> None:
    while len(cells) in hanging:
        column = len(cells)
        left, text = hanging.pop(column)
        cells.append(text)
        if left > 1:
            hanging[column] = (left - 1, text)


def _span(cell: _Tag, direction: str) -> int:
    return min(_MAX_SPAN, max(1, _whole(cell.attrs.get(direction), 1)))
