"""Numbers of a spreadsheet as a person sees them, by the format codes of their cells
(ECMA-376 part 1, 18.8.30 and 18.8.31). Pure.

``0.19`` as ``0%`` is ``19%``; a date whose day and month could be taken for each other is followed
by the date that it is: ``06/03/2024 (2024-03-06)``.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from gemma_edge.records import dataclass

GENERAL_DIGITS = 15  # what Excel itself shows of a number (its specification)
_LONGEST_CODE = 500  # characters; Excel takes 255
_MOST_PLACES = 60  # digits behind the point, or of a fraction
_EXACT = Context(prec=600)  # the largest number that a cell holds has 309 digits

# Codes that a file names by their number alone. Those of dates and money are written as the system
# of the reader has them: dates are given as ISO 8601 then, money without a currency.
BUILT_IN = {
    1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 5: "#,##0", 6: "#,##0", 7: "#,##0.00",
    8: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??",
    14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM",
    19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd hh:mm", 37: "#,##0;(#,##0)",
    38: "#,##0;(#,##0)", 39: "#,##0.00;(#,##0.00)", 40: "#,##0.00;(#,##0.00)",
    41: '#,##0;(#,##0);"-"', 42: '#,##0;(#,##0);"-"', 43: '#,##0.00;(#,##0.00);"-"',
    44: '#,##0.00;(#,##0.00);"-"', 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0",
    49: "@", 32: "hh:mm", 33: "hh:mm:ss", 34: "hh:mm", 35: "hh:mm:ss", 55: "hh:mm", 56: "hh:mm:ss",
    **dict.fromkeys((27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58), "yyyy-mm-dd"),
}  # fmt: skip

_TOKEN = re.compile(
    r'"([^"]*)"?'  # 1: as it is
    r"|\\(.)"  # 2: so, too
    r"|[_*](.)"  # 3: a blank, or as many as fill the cell
    r"|\[([^\]]*)\]?"  # 4: a condition, a colour, a currency, time that has passed
    r"|(general)|(am/pm|a/p)"  # 5, 6
    r"|(y+|m+|d+|h+|s+|b+|g+|aaaa?|e(?![+-]))"  # 7: of a date
    r"|(e[+-])|([0#?])|(@)"  # 8 to 10
    r"|(.)",  # 11
    re.IGNORECASE | re.DOTALL,
)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq,
    "<>": operator.ne,
}  # fmt: skip

_MONTHS = {  # by the first letters of a language, January first
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
    "dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro "
    "dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
}
_DAYS = {  # Monday first
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "it": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
    "pt": "segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo",
    "nl": "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
    "ja": "月 火 水 木 金 土 日",
    "zh": "一 二 三 四 五 六 日",
}
_SHORT_DAY = {"de": 2, "nl": 2}  # letters; three elsewhere
_LANGUAGES = {  # of the low ten bits of Windows's number
    0x04: "zh", 0x07: "de", 0x0A: "es", 0x0C: "fr", 0x10: "it", 0x11: "ja", 0x13: "nl", 0x16: "pt",
    0x1E: "th",
}  # fmt: skip
_ERAS = (  # of Japan: their first day, name, letter
    ("2019-05-01", "令和", "R"), ("1989-01-08", "平成", "H"), ("1926-12-25", "昭和", "S"),
    ("1912-07-30", "大正", "T"), ("0001-01-01", "明治", "M"),
)  # fmt: skip
_BEFORE_MEIJI, _BUDDHIST = 1867, 543
_SYSTEM = {"f800": "yyyy-mm-dd", "f400": "hh:mm:ss"}  # as the system of the reader writes them
_MINUSES = "-(\u2212\u2013\u25b2\u25b3"  # of accountants; triangles in Japan
_LAST_DAY = 2958466  # after 9999-12-31


class _Token(NamedTuple):
    kind: str  # text, digit, point, comma, percent, slash, exponent, date, passed, noon, …
    text: str


class _Plain(NamedTuple):
    """A number of the usual shape, all its digits in one piece: ``(#,##0.00)``."""

    before: str
    least: int  # digits before the point
    is_grouped: bool
    places: int
    power: int  # of ten, that it is multiplied with
    behind: str

    def render(self, value: float) -> str:
        number = Decimal(f"{value:.{GENERAL_DIGITS}g}").scaleb(self.power)
        rounded = number.quantize(Decimal(1).scaleb(-self.places), ROUND_HALF_UP, _EXACT)
        text = f"{rounded:,f}" if self.is_grouped else f"{rounded:f}"
        if not self.least and rounded < 1:
            text = text[1:]
        elif self.least > 1:
            text = text.rjust(self.least + self.places + (self.places > 0), "0")
        return self.before + text + self.behind


@dataclass(frozen=True, slots=True)
class _Section:
    """One of the parts of a code, with what it is for."""

    kind: str  # general, number, fraction, date, text
    tokens: tuple[_Token, ...]
    language: str = "en"
    is_buddhist: bool = False
    condition: tuple[str, float] | None = None
    plain: _Plain | None = None
    has_sign: bool = False  # says of itself that a number is negative

    def is_for(self, value: float) -> bool:
        return self.condition is None or _COMPARE[self.condition[0]](value, self.condition[1])


def render_general(value: float) -> str:
    """A number without a format: 15 digits of it."""
    digits = GENERAL_DIGITS
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """What one code makes of numbers and of texts."""

    sections: tuple[_Section, ...]
    of_text: _Section | None

    def number(self, value: float, *, from_1904: bool = False) -> str:
        """The number, or the date that it counts the days of since 1900 (or 1904)."""
        if not self.sections:
            return render_general(value)
        section, is_signed = self._choose(value)
        if section.kind == "general":
            text = _literal(section, render_general(abs(value)))
        elif section.kind == "date":
            moment = value + 1462 if from_1904 else value
            if not 0 <= moment < _LAST_DAY and not _has_passed(section):
                return render_general(value)
            return _render_date(section, value if _has_passed(section) else moment)
        elif section.kind == "fraction":
            text = _render_fraction(section, abs(value))
        elif section.plain:
            text = section.plain.render(abs(value))
        elif section.kind == "number":
            text = _render_number(section, abs(value))
        else:
            text = _literal(section, "")
        return f"-{text}" if is_signed and value < 0 and text else text

    def text(self, text: str) -> str:
        """A text that stands in a cell with this format."""
        return text if self.of_text is None else _literal(self.of_text, text)

    def _choose(self, value: float) -> tuple[_Section, bool]:
        """The section for a number, and whether a minus is still to be written."""
        sections = self.sections
        if any(each.condition for each in sections):
            found = next((each for each in sections if each.is_for(value)), sections[-1])
            only_negative = found.condition is not None and (
                found.condition[0] in ("<", "<=") and found.condition[1] <= 0
            )
            last = found is sections[-1] and len(sections) > 1 and found.condition is None
            above = last and any(each.is_for(0) for each in sections[:-1])
            return found, not (only_negative or above) or not found.has_sign
        if value < 0 and len(sections) > 1:  # one that is only red would lose its sign here
            return sections[1], not sections[1].has_sign
        if value == 0 and len(sections) > 2:  # noqa: PLR2004
            return sections[2], False
        return sections[0], True


@lru_cache(1024)
def parse_format(code: str) -> NumberFormat:
    """What a format code means; one that is too long, or empty, is ``General``."""
    if not code.strip() or len(code) > _LONGEST_CODE:
        return NumberFormat((), None)
    sections = list(map(_section, _split(code)))
    of_text = None
    if any(token.kind == "at" for token in sections[-1].tokens) or len(sections) > 3:  # noqa: PLR2004
        of_text = sections.pop()
    if sections and all(each.kind == "general" and len(each.tokens) == 1 for each in sections):
        sections = []
    return NumberFormat(tuple(sections[:3]), of_text)


def _split(code: str) -> Iterator[list[re.Match[str]]]:
    part: list[re.Match[str]] = []
    for found in _TOKEN.finditer(code):
        if found[11] == ";":
            yield part
            part = []
        else:
            part.append(found)
    yield part


def _section(matches: Sequence[re.Match[str]]) -> _Section:
    tokens: list[_Token] = []
    language, is_buddhist, condition = "en", False, None
    for found in matches:
        inner = found[4]
        if inner is None:
            fills = found[3] is not None and tokens and tokens[-1].text == "-"
            tokens += [] if fills else [_token(found)]  # a minus stays at its number
        elif compared := _CONDITION.fullmatch(inner):
            condition = compared[1], float(compared[2])
        elif inner[:1] == "$":
            sign, _, place = inner[1:].partition("-")
            if place.lower() in _SYSTEM:
                return _section(list(_TOKEN.finditer(_SYSTEM[place.lower()])))
            tokens += [_Token("text", sign)] if sign else []
            language, is_buddhist = _place(place.lower())
        elif set(inner.lower()) in ({"h"}, {"m"}, {"s"}):
            tokens.append(_Token("passed", inner.lower()))
    kind = _kind({token.kind for token in tokens})
    signs = "".join(token.text for token in tokens if token.kind == "text")
    has_sign = kind == "text" or any(sign in signs for sign in _MINUSES)
    plain = _plain(tokens) if kind == "number" else None
    timed = tuple(_minutes(tokens))
    return _Section(kind, timed, language, is_buddhist, condition, plain, has_sign)


def _kind(kinds: set[str]) -> str:
    if kinds & {"date", "passed", "noon"}:
        return "date"
    if "general" in kinds:
        return "general"
    if "digit" in kinds:
        return "fraction" if "slash" in kinds and "exponent" not in kinds else "number"
    return "text"


_DIGITS = re.compile(r"(?:#,##)?([#0]{1,30})(?:\.(0{1,30}))?(,{0,5})")


def _plain(tokens: Sequence[_Token]) -> _Plain | None:
    kinds = ("digit", "point", "comma")
    marks = [at for at, token in enumerate(tokens) if token.kind in kinds]
    first, last = marks[0], marks[-1]
    inner = tokens[first : last + 1]
    found = _DIGITS.fullmatch("".join(token.text for token in inner))
    others = [token.kind for token in (*tokens[:first], *tokens[last + 1 :])]
    is_whole = all(token.kind in kinds for token in inner)
    if not found or not is_whole or {*others} - {"text", "percent"} or "#" in found[1].lstrip("#"):
        return None
    before, behind = ("".join(token.text for token in each)
                      for each in (tokens[:first], tokens[last + 1 :]))  # fmt: skip
    power = 2 * others.count("percent") - 3 * len(found[3])
    places = len(found[2] or "")
    return _Plain(before, found[1].count("0"), found[0][:2] == "#,", places, power, behind)


def _place(text: str) -> tuple[str, bool]:
    """The language and whether years are Buddhist: of ``407``, ``de-de``, ``107041e``."""
    if re.fullmatch(r"[0-9a-f]{1,8}", text):
        number = int(text, 16)
        return _LANGUAGES.get(number & 0x3FF, "en"), number >> 16 & 0xFF == 7  # noqa: PLR2004
    return text[:2], False


def _token(found: re.Match[str]) -> _Token:
    text = found[0]
    if found[1] is not None or found[2] is not None:
        return _Token("text", found[1] or found[2] or "")
    if found[3] is not None:
        return _Token("text", " ")
    for group, kind in ((5, "general"), (6, "noon"), (7, "date"), (8, "exponent"), (9, "digit"),
                        (10, "at")):  # fmt: skip
        if found[group]:
            return _Token(kind, text.lower() if kind == "date" else text)
    return _Token(
        {".": "point", ",": "comma", "%": "percent", "/": "slash"}.get(text, "text"), text
    )


def _minutes(tokens: Sequence[_Token]) -> list[_Token]:
    """The same, with ``n`` for the m that are minutes: those behind hours or before seconds."""
    told = [at for at, token in enumerate(tokens) if token.kind in ("date", "passed")]
    out = list(tokens)
    for index, at in enumerate(told):
        kind, text = tokens[at]
        if kind == "passed" or text[0] != "m" or len(text) > 2:  # noqa: PLR2004
            continue
        before = tokens[told[index - 1]].text[0] if index else ""
        after = tokens[told[index + 1]].text[0] if index + 1 < len(told) else ""
        if before == "h" or after == "s":
            out[at] = _Token("date", "n" * len(text))
    return out


def _literal(section: _Section, inner: str) -> str:
    """The section with ``inner`` where its number or text goes; its own signs as they are."""
    return "".join(
        inner if kind in ("general", "at") else text
        for kind, text in section.tokens
        if kind not in ("digit",)
    )


# Numbers.


def _render_number(section: _Section, value: float) -> str:
    tokens = section.tokens
    digits = [at for at, token in enumerate(tokens) if token.kind == "digit"]
    exponent = next(
        (at for at, token in enumerate(tokens) if token.kind == "exponent"), len(tokens)
    )
    point = next(
        (at for at, token in enumerate(tokens) if token.kind == "point" and at < exponent), exponent
    )
    whole = [at for at in digits if at < point]
    places = [at for at in digits if point < at < exponent][:_MOST_PLACES]
    commas = [at for at, token in enumerate(tokens) if token.kind == "comma" and at < exponent]
    last = max([*whole, *places], default=0)
    last_whole = whole[-1] if whole else 0
    is_grouped = any(whole[0] < at < last_whole for at in commas) if whole else False
    scale = sum(at > last or last_whole < at < point for at in commas)
    number = Decimal(f"{value:.{GENERAL_DIGITS}g}")
    number = number.scaleb(2 * sum(token.kind == "percent" for token in tokens) - 3 * scale)
    power = 0
    if exponent < len(tokens):
        number, power = _normal(number, max(1, len(whole)), len(places))
    rounded = number.quantize(Decimal(1).scaleb(-len(places)), ROUND_HALF_UP, _EXACT)
    before, _, behind = f"{rounded:f}".partition(".")
    written = _whole_digits(tokens, whole, before.lstrip("0"), is_grouped)
    for index, at in enumerate(places):
        is_end = not behind[index:].strip("0")
        sign = tokens[at].text
        written[at] = behind[index] if not is_end or sign == "0" else " " if sign == "?" else ""
    power_digits = [at for at in digits if at > exponent]
    if power_digits:
        shown = str(abs(power)).rjust(sum(tokens[at].text == "0" for at in power_digits), "0")
        written.update(dict.fromkeys(power_digits, ""))
        written[power_digits[0]] = shown
    out = []
    for at, (kind, text) in enumerate(tokens):
        if kind == "digit":
            out.append(written.get(at, ""))
        elif kind == "point" and at == point:
            out.append(text if any(written[each].strip() for each in places) else "")
        elif kind == "exponent":
            out.append("E" + ("-" if power < 0 else "+" if text[1] == "+" else ""))
        elif kind != "comma" or not whole or at < whole[0]:
            out.append(text)
    return "".join(out)


def _normal(number: Decimal, width: int, places: int) -> tuple[Decimal, int]:
    """The number as it stands before a power of ten, and the power: a multiple of ``width``."""
    if not number:
        return number, 0
    power = number.adjusted() // width * width
    scaled = number.scaleb(-power)
    rounded = scaled.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _EXACT)
    if rounded.adjusted() >= width:
        return scaled.scaleb(-width), power + width
    return scaled, power


def _whole_digits(
    tokens: Sequence[_Token], whole: Sequence[int], digits: str, is_grouped: bool
) -> dict[int, str]:
    """What stands at each of the places before the point; the first takes what is left over."""
    written: dict[int, str] = {}
    count, end = 0, len(digits)
    for at in reversed(whole):
        first = at == whole[0]
        taken = digits[:end] if first else digits[max(0, end - 1) : end]
        end = max(0, end - 1)
        if not taken:
            taken = {"0": "0", "?": " "}.get(tokens[at].text, "")
        text = ""
        for digit in reversed(taken):
            comma = "," if is_grouped and count and count % 3 == 0 and digit != " " else ""
            text = digit + comma + text
            count += 1
        written[at] = text
    return written


def _render_fraction(section: _Section, value: float) -> str:
    tokens = section.tokens
    slash = next(at for at, token in enumerate(tokens) if token.kind == "slash")
    start = slash
    while start and tokens[start - 1].kind == "digit":
        start -= 1
    end = slash + 1
    while end < len(tokens) and (tokens[end].kind == "digit" or tokens[end].text.isdecimal()):
        end += 1
    below = "".join(token.text for token in tokens[slash + 1 : end])
    if start == slash or not below:
        return _render_number(section, value)
    wholes = [at for at, token in enumerate(tokens[:start]) if token.kind == "digit"]
    exact = Fraction(f"{value:.{GENERAL_DIGITS}g}")
    whole = int(exact) if wholes else 0
    if below.isdecimal() and below.strip("0"):
        bottom = int(below[:9])
        top = int((exact - whole) * bottom + Fraction(1, 2))
    else:
        near = (exact - whole).limit_denominator(10 ** min(len(below), 9) - 1)
        top, bottom = near.numerator, near.denominator
    if wholes and top == bottom:
        whole, top = whole + 1, 0
    parts = [str(whole)] if wholes and (whole or not top or tokens[wholes[0]].text == "0") else []
    parts += [f"{top}/{bottom}"] if top or not wholes else []
    first = wholes[0] if wholes else start
    signs = ["".join(text for kind, text in each if kind != "digit")
             for each in (tokens[:first], tokens[end:])]  # fmt: skip
    return signs[0] + " ".join(parts) + signs[1]


# Dates and times.


def _has_passed(section: _Section) -> bool:
    return any(token.kind == "passed" for token in section.tokens)


def _render_date(section: _Section, value: float) -> str:
    """A day and a time of day, or time that has passed."""
    tokens = section.tokens
    point = next((at for at, token in enumerate(tokens) if token.kind == "point"
                  and at and tokens[at - 1].text[:1] == "s"), len(tokens))  # fmt: skip
    places = min(3, sum(token.kind == "digit" for token in tokens[point:]))
    exact = Decimal(f"{abs(value):.{GENERAL_DIGITS}g}") * 86400 * 10**places
    ticks = int((exact + Decimal("0.5")).to_integral_value(ROUND_FLOOR))
    seconds, fraction = divmod(ticks, 10**places)
    moment = _moment(seconds)
    is_noon = any(token.kind == "noon" for token in tokens)
    out: list[str] = []
    for at, (kind, text) in enumerate(tokens):
        if kind == "passed":
            of = {"h": 3600, "m": 60, "s": 1}[text[0]]
            out.append(str(seconds // of).rjust(len(text), "0"))
        elif kind == "date":
            out.append(_date_part(text, moment, section, is_noon=is_noon))
        elif kind == "noon":
            half = "PM" if moment.hour >= 12 else "AM"  # noqa: PLR2004
            out.append(half if len(text) > 3 else half[0])  # noqa: PLR2004
        elif kind == "digit":
            out.append(str(fraction).rjust(places, "0") if at == point + 1 else "")
        else:
            out.append("" if kind == "at" else text)
    shown = ("-" if value < 0 else "") + "".join(out)
    is_early = moment.day <= 12 and moment.day != moment.month  # noqa: PLR2004
    return f"{shown} ({moment.date()})" if is_early and _is_ambiguous(tokens) else shown


def _moment(seconds: int) -> datetime:
    """The day after so many seconds since 1900; Excel's calendar has a 29 February 1900."""
    days, rest = divmod(seconds, 86400)
    days += days < 60  # noqa: PLR2004
    begun = datetime(1899, 12, 30)  # noqa: DTZ001
    return begun + timedelta(days=min(days, _LAST_DAY - 1), seconds=rest)


def _date_part(text: str, moment: datetime, section: _Section, *, is_noon: bool) -> str:
    sign, length = text[0], len(text)
    if sign in "ymdeg":
        return _day_part(sign, length, moment, section)
    if sign == "a":
        day = _DAYS["zh" if section.language == "zh" else "ja"].split()[moment.weekday()]
        long = "星期" if section.language == "zh" else "曜日"
        if section.language == "zh":
            return ("周" if length == 3 else long) + day  # noqa: PLR2004
        return day + (long if length > 3 else "")  # noqa: PLR2004
    if sign == "b":
        year = moment.year + _BUDDHIST
        return str(year) if length > 2 else f"{year % 100:02}"  # noqa: PLR2004
    hour = (moment.hour - 1) % 12 + 1 if is_noon else moment.hour
    number = {"h": hour, "n": moment.minute, "s": moment.second}[sign]
    return str(number).rjust(min(length, 2), "0")


def _day_part(sign: str, length: int, moment: datetime, section: _Section) -> str:
    year = moment.year + (_BUDDHIST if section.is_buddhist else 0)
    if sign == "y":
        return str(year) if length > 2 else f"{year % 100:02}"  # noqa: PLR2004
    if sign in "eg":
        return _era(sign, length, moment, section)
    if length <= 2:  # noqa: PLR2004
        return str(moment.month if sign == "m" else moment.day).rjust(length, "0")
    language = section.language
    if sign == "m":
        name = _MONTHS.get(language, _MONTHS["en"]).split()[moment.month - 1]
        if length == 5:  # noqa: PLR2004
            return name[0]
        return name[:3] if length == 3 else name  # noqa: PLR2004
    name = _DAYS.get(language, _DAYS["en"]).split()[moment.weekday()]
    return name[: _SHORT_DAY.get(language, 3)] if length == 3 else name  # noqa: PLR2004


def _era(sign: str, length: int, moment: datetime, section: _Section) -> str:
    in_eras = section.language == "ja" or any(t.text[0] == "g" for t in section.tokens if t.text)
    if not in_eras:
        return str(moment.year) if sign == "e" else ""
    begun, name, letter = next(era for era in _ERAS if str(moment.date()) >= era[0])
    if sign == "g":
        return name if length > 2 else name[0] if length == 2 else letter  # noqa: PLR2004
    first = int(begun[:4]) if begun > "1" else _BEFORE_MEIJI + 1
    return str(moment.year - first + 1)


def _is_ambiguous(tokens: Sequence[_Token]) -> bool:
    """Whether a day and a month are both numbers, in an order that is not the same everywhere."""
    days = [(at, token.text) for at, token in enumerate(tokens)
            if token.kind == "date" and token.text[0] in "ymde"]  # fmt: skip
    for (at, first), (after, second) in zip(days, days[1:], strict=False):
        if {first[0], second[0]} == {"d", "m"} and max(len(first), len(second)) <= 2:  # noqa: PLR2004
            between = "".join(token.text for token in tokens[at + 1 : after]).strip()
            is_first = days[0][0] == at
            return is_first and between in ("/", "-", "")
    return False
