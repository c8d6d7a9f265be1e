"""The one-line schema language to JSON Schema. Pure.

    vendor, date: date, total num, currency: USD|EUR, items[]: {name, qty int}, note?: by hand

    fields   a comma or a line break between them; in a text, or braces, of several lines commas
             belong to the descriptions
    name     any word, or "several words" in quotes; ``?`` after it: the value may be missing;
             ``[]`` after it: a list
    type     a word after the name, or alone after the colon: str, num, int, bool, or one of the
             semantic types (``semantic.py``): date, money, amount, percent, …
    { … }    after the name or the colon: an object
    a|b      after the colon: one of these
    else     what stands after the colon describes the field; quote it to use commas

It is a superset of the language of the ``llm`` command, except that an unknown type is an error
there is not: it silently reads ``totl nmu`` as a string.
"""

import json
import re
from difflib import get_close_matches
from typing import Any

from gemma_edge.errors import SchemaError
from gemma_edge.extract.schemas.semantic import CONVERTED, typed
from gemma_edge.extract.schemas.walk import Json

TYPES: dict[str, Json] = {
    **dict.fromkeys(("str", "string", "text"), {"type": "string"}),
    **dict.fromkeys(("num", "number", "float", "decimal"), {"type": "number"}),
    **dict.fromkeys(("int", "integer"), {"type": "integer"}),
    **dict.fromkeys(("bool", "boolean"), {"type": "boolean"}),
    **{kind: typed(kind) for kind in CONVERTED},
}
# The words for people: what is written, and what it means.
WORDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("str", "string", "text"), "text, as it is printed; what a name without a type is"),
    (("num", "number", "float", "decimal"), "a number"),
    (("int", "integer"), "a whole number"),
    (("bool", "boolean"), "true or false"),
    (("date",), '"6. März 2024", "03/25/2024" to 2024-03-06, 2024-03-25 (ISO 8601)'),
    (("money",), '"1.234,56 EUR" to {"amount": 1234.56, "currency": "EUR"}; "$" stays "$"'),
    (("amount",), '"1.234,56", "$ 1,234.56" to the number alone; "3 pcs" to 3'),
    (("percent",), '"7,5 %", "7.5" to 7.5'),
    (("currency",), '"€", "zł" to EUR, PLN (ISO 4217); "$", of many countries, as it is printed'),
    (("country",), '"Deutschland", "DEU" to DE (ISO 3166)'),
    (("iban",), "without spaces; its length and check digits have to be right"),
    (("email",), "an address; the domain in small letters"),
    (("phone",), '"+49 (0)30 / 123-456" to +4930123456; without a country, as it is printed'),
    (("a|b|c",), "one of these"),
    (("{name, …}",), "an object"),
    (("name[]",), "a list"),
    (("name?",), "may be missing, also by the last check"),
)
MAX_DEPTH = 20  # of nested { }
_HINT = "like this: vendor, date: date, total num, currency: USD|EUR, items[]: {name, qty int}"
_TYPES_HINT = f"types: str, num, int, bool, {', '.join(CONVERTED)}; a description follows a colon"
_NAME = re.compile(r'"((?:[^"\\]|\\.)+)"|[^\s,:;?|{}\[\]"]+')
_TYPED = re.compile(r"([A-Za-z]+)\s*(\[\])?")
_CHOICE = re.compile(r'(?:^|\|)((?:[^|"]|"[^"]*"?)*)')
_NUMBERS: dict[str, Any] = {"integer": int, "number": float}


def parse_oneline(text: str) -> Json:
    """The schema of an object with the fields of ``text``.

    Raises:
        SchemaError: the text is not of the language; the message names the column.
    """
    # Within one line a comma divides fields, so that is the rule unless line breaks do it.
    reader = _Reader(text, "\n" if "\n" in text.strip() else ",")
    reader.skip()
    if reader.at_end():
        raise SchemaError("the schema is empty", hint=_HINT)
    schema = reader.fields(0)
    if not reader.at_end():
        raise reader.error(f'"{reader.text[reader.at]}" closes nothing')
    return schema


class _Reader:
    """A position in the text, and what may stand there."""

    def __init__(self, text: str, divider: str) -> None:
        self.text, self.at, self.divider = text, 0, divider

    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def peek(self, mark: str) -> bool:
        return self.text.startswith(mark, self.at)

    def take(self, mark: str) -> bool:
        """Step over ``mark``, and over white space before it."""
        before = self.at
        self.skip(" \t")
        if self.peek(mark):
            self.at += len(mark)
            return True
        self.at = before
        return False

    def skip(self, blank: str = " \t\r\n") -> None:
        while not self.at_end() and self.text[self.at] in blank:
            self.at += 1

    def error(self, what: str, *, at: int | None = None, hint: str = _HINT) -> SchemaError:
        """``what`` with the column (and the line, where there are several)."""
        at = min(self.at if at is None else at, len(self.text))
        lines = self.text[:at].split("\n")
        where = f"column {len(lines[-1]) + 1}"
        if "\n" in self.text.strip():
            where = f"line {len(lines)}, {where}"
        return SchemaError(f"schema, {where}: {what}", hint=hint)

    def fields(self, depth: int) -> Json:
        """Fields up to the closing brace or the end."""
        if depth > MAX_DEPTH:
            raise self.error(f"objects are nested deeper than {MAX_DEPTH}")
        dividers = "," if depth and self.divider == "," else ",\n"
        properties: Json = {}
        required: list[str] = []
        while True:
            self.skip(" \t\r\n," if self.divider == "\n" else " \t\r\n")
            if self.at_end() or self.peek("}"):
                break
            start = self.at
            name, schema, optional = self.field(depth)
            if name in properties:
                raise self.error(f'the field "{name}" is there already', at=start)
            properties[name] = schema
            if not optional:
                required.append(name)
            self.skip(" \t\r")
            if self.at_end() or self.peek("}"):
                break
            if self.text[self.at] not in dividers:
                raise self.error(f'a comma is missing before "{self.word()}"')
            self.at += 1
        if not properties:
            raise self.error("a field is missing here")
        return {"type": "object", "properties": properties, "required": required}

    def field(self, depth: int) -> tuple[str, Json, bool]:
        """One field: its name, its schema, and whether it may be missing."""
        name = self.name()
        optional = self.take("?")
        is_list = self.take("[]")
        optional = self.take("?") or optional
        schema = self.type_word(name)
        optional = self.take("?") or optional
        described: Json = {}
        if self.take("{"):
            schema = self.object(depth)
        if self.take(":"):
            self.skip(" \t")
            if schema is None and self.take("{"):
                schema = self.object(depth)
                is_list = self.take("[]") or is_list
            start = self.at
            rest = self.rest()
            if rest:
                schema, described, listed = self.meaning(rest, schema, start)
                is_list = is_list or listed
        return name, _assemble(schema or {"type": "string"}, described, is_list, optional), optional

    def name(self) -> str:
        found = _NAME.match(self.text, self.at)
        if not found:
            raise self.error(f'a field name is missing before "{self.text[self.at]}"')
        self.at = found.end()
        return json.loads(found[0]) if found[1] else found[0]

    def word(self) -> str:
        """The word here, for a message."""
        found = re.compile(r"\S[^\s,:{}]*").match(self.text, self.at)
        return found[0][:40] if found else ""

    def type_word(self, name: str) -> Json | None:
        """A type between the name and the colon."""
        self.skip(" \t")
        start = self.at
        found = re.compile(r"[^\s,:{}\[\]?|]+").match(self.text, self.at)
        if not found:
            return None
        self.at = found.end()
        schema = TYPES.get(found[0].lower())
        if schema is None:
            close = get_close_matches(found[0].lower(), TYPES, 1)
            meant = f'; "{close[0]}"?' if close else ""
            raise self.error(
                f'"{found[0]}" after "{name}" is not a type{meant}', at=start, hint=_TYPES_HINT
            )
        return dict(schema)

    def object(self, depth: int) -> Json:
        """Fields and the closing brace; the opening one is behind."""
        opened, outer = self.at - 1, self.divider
        self.divider = "\n" if "\n" in self.text[opened : self.closing(opened)] else ","
        schema = self.fields(depth + 1)
        self.divider = outer
        if not self.take("}"):
            raise self.error("this { is not closed", at=opened)
        return schema

    def closing(self, opened: int) -> int:
        """Where the brace that opens there is closed, or the end."""
        depth = 0
        for at in range(opened, len(self.text)):
            depth += {"{": 1, "}": -1}.get(self.text[at], 0)
            if not depth:
                return at
        return len(self.text)

    def rest(self) -> str:
        """What stands after a colon: up to the divider or a closing brace, or quoted."""
        start, quoted = self.at, False
        while not self.at_end():
            char = self.text[self.at]
            if char == '"' and (quoted or self.text[start : self.at].strip(" \t") in ("", "|")):
                quoted = not quoted
            elif not quoted and (char in "}\n" or char == self.divider):
                break
            elif not quoted and char == "{":
                raise self.error("a { stands only right after a name or its colon")
            self.at += 1
        if quoted:
            raise self.error("this quote is not closed", at=start)
        return self.text[start : self.at].strip()

    def meaning(self, rest: str, schema: Json | None, start: int) -> tuple[Json | None, Json, bool]:
        """``rest`` as a type, a choice or a description: schema, description, whether a list."""
        typed = _TYPED.fullmatch(rest)
        if schema is None and typed and typed[1].lower() in TYPES:
            return dict(TYPES[typed[1].lower()]), {}, bool(typed[2])
        parts = [_unquoted(part) for part in _CHOICE.findall(rest)]
        if len(parts) > 1 and (schema or {}).get("type") != "object":
            return self.choice(parts, schema, start), {}, False
        return schema, {"description": _unquoted(rest)}, False

    def choice(self, parts: list[str], schema: Json | None, start: int) -> Json:
        """One of ``parts``: strings, or numbers where the type says so."""
        kind = (schema or {}).get("type", "string")
        values: list[Any] = list(parts)
        if "" in values:
            raise self.error("a choice is empty", at=start)
        if kind in _NUMBERS:
            try:
                values = [_NUMBERS[kind](value) for value in values]
            except ValueError:
                raise self.error(f"not every choice is of type {kind}", at=start) from None
        elif kind != "string":
            raise self.error(f"a {kind} has no choices", at=start)
        return {"type": kind, "enum": list(dict.fromkeys(values))}


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _assemble(schema: Json, described: Json, is_list: bool, optional: bool) -> Json:
    """The field's schema; a field that may be missing may also be null."""
    if is_list:
        return {"type": "array", "items": schema, **described}
    if optional:
        schema = {**schema, "type": [schema["type"], "null"]}
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return {**schema, **described}
