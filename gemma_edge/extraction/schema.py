"""A schema from what a person gives: a file, JSON text, an example, a Python class, or the
one-line language; checked. And parts of it as schemas of their own.
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import field, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from gemma_edge.documents.document import read_file, shown
from gemma_edge.engine.grounding import VERBATIM
from gemma_edge.errors import InputError, SchemaError, UsageError
from gemma_edge.extraction.decoding import close_schema, render_form
from gemma_edge.extraction.grounding import FREE, mark_leaves
from gemma_edge.extraction.json_schema import (
    ANNOTATIONS,
    CORE,
    EXAMPLE_HINT,
    FORMATS,
    MAX_TEXT_BYTES,
    RULES,
    SCALARS,
    TYPES,
    Checker,
    Json,
    Kinds,
    Subschema,
    ValuePath,
    every,
    find_flaw,
    kind_of,
    local_references,
    parse_json,
    refuse_half,
    render_path,
    resolve,
    step_into,
    views_of,
)
from gemma_edge.extraction.values import CONVERTED, MARK, as_printed, typed
from gemma_edge.isolation import Child, ChildError, ChildStopped, Limits
from gemma_edge.records import dataclass
from gemma_edge.trust import is_network, printable

# The one-line schema language to JSON Schema.
#
#     vendor, date: date, total num, currency: USD|EUR, items[]: {name, qty int}, note?: by hand
#
#     fields   a comma or a line break between them; in a text, or braces, of several lines commas
#              belong to the descriptions
#     name     any word, or "several words" in quotes; `?` after it: the value may be missing;
#              `[]` after it: a list
#     type     a word after the name, or alone after the colon: str, num, int, bool, or one of the
#              semantic types (`values.py`): date, money, amount, percent, …
#     { … }    after the name or the colon: an object
#     a|b      after the colon: one of these
#     else     what stands after the colon describes the field; quote it to use commas
#
# It is a superset of the language of the `llm` command, except that an unknown type is an error
# there is not: it silently reads `totl nmu` as a string.

# The words for people: what is written, and what it means.
WORDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("str", "string"), "text as it is printed; what a name without a type is"),
    (("num", "number", "float", "decimal"), "a number"),
    (("int", "integer"), "a whole number"),
    (("bool", "boolean"), "true or false"),
    (("text",), "text that the model writes itself, such as a summary or a translation"),
    (("verbatim",), "text as it is printed, whatever the name of its field says"),
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
_SIMPLE = zip(("string", "number", "integer", "boolean"), WORDS, strict=False)
TYPE_WORDS: dict[str, Json] = {
    **{word: {"type": kind} for kind, (words, _) in _SIMPLE for word in words},
    **{mark: {"type": "string", MARK: mark} for mark in (FREE, VERBATIM)},
    **{kind: typed(kind) for kind in CONVERTED},
}
MAX_DEPTH = 20  # of nested { }
_HINT = "like this: vendor, date: date, total num, currency: USD|EUR, items[]: {name, qty int}"
_TYPES_HINT = f"types: str, num, int, bool, {', '.join(CONVERTED)}; a description follows a colon"
_NAME = re.compile(r'"((?:[^"\\]|\\.?)+)(?:"|\Z)|[^\s,:;?|{}\[\]"]+')
_TYPED = re.compile(r"([A-Za-z]+)\s*(\[\])?")
_CHOICE = re.compile(r'(?:^|\|)((?:[^|"]|"[^"]*"?)*)')
_NUMBERS: dict[str, Any] = {"integer": int, "number": float}


def parse_oneline(text: str) -> Json:
    """The schema of an object with the fields of ``text``.

    Raises:
        SchemaError: the text is not of the language; the message names the column.
    """
    # Within one line a comma divides fields, so that is the rule unless line breaks do it.
    reader = _LineParser(text, "\n" if "\n" in text.strip() else ",")
    reader.skip()
    if reader.at_end():
        raise SchemaError("the schema is empty", hint=_HINT)
    schema = reader.fields(0)
    if not reader.at_end():
        raise reader.error(f'"{reader.text[reader.at]}" closes nothing')
    return schema


class _LineParser:
    def __init__(self, text: str, divider: str) -> None:
        self.text, self.at, self.divider = text, 0, divider

    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def peek(self, mark: str) -> bool:
        return self.text.startswith(mark, self.at)

    def take(self, mark: str) -> bool:
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
        at = min(self.at if at is None else at, len(self.text))
        lines = self.text[:at].split("\n")
        where = f"column {len(lines[-1]) + 1}"
        if "\n" in self.text.strip():
            where = f"line {len(lines)}, {where}"
        return SchemaError(f"schema, {where}: {what}", hint=hint)

    def fields(self, depth: int) -> Json:
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
                word = re.match(r"[^\s,:{}]*", self.text[self.at + 1 : self.at + 40])
                behind = word[0] if word else ""
                raise self.error(f'a comma is missing before "{self.text[self.at]}{behind}"')
            self.at += 1
        if not properties:
            raise self.error("a field is missing here")
        return {"type": "object", "properties": properties, "required": required}

    def field(self, depth: int) -> tuple[str, Json, bool]:
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
        try:
            return json.loads(found[0]) if found[1] else found[0]
        except ValueError:
            problem = f"{found[0][:40]} is no name as JSON writes it"
            raise self.error(problem, at=found.start()) from None

    def type_word(self, name: str) -> Json | None:
        self.skip(" \t")
        start = self.at
        found = re.compile(r"[^\s,:{}\[\]?|]+").match(self.text, self.at)
        if not found:
            return None
        self.at = found.end()
        schema = TYPE_WORDS.get(found[0].lower())
        if schema is None:
            close = get_close_matches(found[0].lower(), TYPE_WORDS, 1)
            meant = f'; "{close[0]}"?' if close else ""
            what = f'"{found[0]}" after "{name}" is not a type{meant}'
            raise self.error(what, at=start, hint=_TYPES_HINT)
        return dict(schema)

    def object(self, depth: int) -> Json:
        opened, outer = self.at - 1, self.divider
        chars = (self.text[at] for at in range(opened, len(self.text)))
        depths = accumulate((char == "{") - (char == "}") for char in chars)
        inside = sum(1 for _ in takewhile(bool, depths))
        self.divider = "\n" if self.text.find("\n", opened, opened + inside) >= 0 else ","
        schema = self.fields(depth + 1)
        self.divider = outer
        if not self.take("}"):
            raise self.error("this { is not closed", at=opened)
        return schema

    def rest(self) -> str:
        start, quoted = self.at, False
        before: list[str] = []  # but blanks; two are enough to tell
        while not self.at_end():
            char = self.text[self.at]
            if char == '"' and (quoted or before in ([], ["|"])):
                quoted = not quoted
            elif not quoted and (char in "}\n" or char == self.divider):
                break
            elif not quoted and char == "{":
                raise self.error("a { stands only right after a name or its colon")
            before += [char] if char not in " \t" and len(before) <= 1 else []
            self.at += 1
        if quoted:
            raise self.error("this quote is not closed", at=start)
        return self.text[start : self.at].strip()

    def meaning(self, rest: str, schema: Json | None, start: int) -> tuple[Json | None, Json, bool]:
        typed = _TYPED.fullmatch(rest)
        if schema is None and typed and typed[1].lower() in TYPE_WORDS:
            return dict(TYPE_WORDS[typed[1].lower()]), {}, bool(typed[2])
        parts = [_unquoted(part) for part in _CHOICE.findall(rest)]
        if len(parts) > 1 and (schema or {}).get("type") != "object":
            return self.choice(parts, schema, start), {}, False
        return schema, {"description": _unquoted(rest)}, False

    def choice(self, parts: list[str], schema: Json | None, start: int) -> Json:
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
    if is_list:
        return {"type": "array", "items": schema, **described}
    if optional:
        schema = {**schema, "type": [schema["type"], "null"]}
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return {**schema, **described}


# `file.py:Class`: the JSON Schema of a class, asked of a Python process of its own. Reading a
# class runs the file, so it takes a person's word (`--trust`); in another process it cannot
# change this one, and a time limit ends it.

_CLASS_SECONDS = 60
_CLASS = re.compile(r"([^\n]+\.py)(?::([A-Za-z_]\w*))?", re.IGNORECASE)
_MAX_REASON = 300  # characters


def _read_class(found: re.Match[str], *, trust: bool) -> Any:
    """The JSON Schema of ``file.py:Class``, as Pydantic says it.

    Raises:
        UsageError: no class is named, or the file may not be run.
        InputError: there is no such file.
        SchemaError: running it fails, or the class has no schema.
    """
    text, path, name = found[0], Path(found[1]).expanduser(), found[2]
    if not path.is_file():
        raise InputError(f"{shown(path)} does not exist", hint="check the name; file.py:Class")
    if name is None:
        what = f"{shown(path)} is Python: which class is meant is not said"
        raise UsageError(what, hint=f"{shown(path)}:Class")
    if not trust:
        what = f"{shown(text)} is Python, and reading a class runs the whole file"
        raise UsageError(what, hint="--trust, if you would run it yourself")
    program = "gemma_edge.extraction.schema_class_child:main"
    with Child(program, limits=Limits(seconds=_CLASS_SECONDS), trusted=True) as child:
        try:
            return child.call({"path": str(path.resolve()), "name": name}).header["schema"]
        except ChildError as error:
            why = f"it stopped: {error}" if isinstance(error, ChildStopped) else str(error)
            hint = "run the file by itself and see"
            if "pydantic" in why and "No module named" in why:
                hint = f"{Path(sys.executable).name} -m pip install pydantic"
            reason = " ".join(why.split())[:_MAX_REASON]
            raise SchemaError(f"{shown(text)}: {reason}", hint=hint) from None


# A schema from examples of what is wanted. Keys keep their order; a key that an example lacks is
# not required; a value that is null somewhere may be null; lists are described by all of their
# elements. A text that is a date in every example gets that format; nothing else is guessed.

_FORMATS = (
    ("date", re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")),
    (
        "date-time",
        re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE),
    ),
)


def infer_schema(examples: Sequence[Any]) -> Json:
    """The schema that all ``examples``, parsed JSON, are valid by; ``{}`` of none, or of nulls."""
    groups: dict[str, list[Any]] = {}
    for example in examples:
        groups.setdefault(kind_of(example), []).append(example)
    has_null = groups.pop("null", None) is not None
    if "number" in groups:
        groups["number"] += groups.pop("integer", [])
    parts = [_describe(kind, values) for kind, values in groups.items()]
    if not parts:
        return {}
    if len(parts) == 1:
        part = parts[0]
        return {**part, "type": [part["type"], "null"]} if has_null else part
    if groups.keys() <= SCALARS:
        return {"type": [*groups, *(["null"] if has_null else [])]}
    return {"anyOf": [*parts, *([{"type": "null"}] if has_null else [])]}


def _describe(kind: str, values: list[Any]) -> Json:
    if kind == "object":
        names = dict.fromkeys(name for value in values for name in value)
        return {
            "type": "object",
            "properties": {
                name: infer_schema([value[name] for value in values if name in value])
                for name in names
            },
            "required": [name for name in names if all(name in value for value in values)],
        }
    if kind == "array":
        elements = [element for value in values for element in value]
        return {"type": "array", **({"items": infer_schema(elements)} if elements else {})}
    if kind == "string":
        for name, pattern in _FORMATS:
            if all(pattern.fullmatch(value) for value in values):
                return {"type": "string", "format": name}
    return {"type": kind}


# The schema inside what others put round it, and whether a JSON object is a schema at all. OpenAI
# (chat and responses), Anthropic, Gemini, Ollama, vLLM, MCP, tools and functions, and the files of
# MaskBench. Gemini's own dialect (`"type": "OBJECT"`, `nullable`) is read as what it means.

# The keys that hold a schema, or a wrapper of one; the innermost wins.
_WRAPPERS = (
    ("response_format", "json_schema", "schema", "function", "parameters", "input_schema")
    + ("inputSchema", "outputSchema", "output_format", "text", "format", "structured_outputs")
    + ("json", "guided_json", "generationConfig", "generation_config", "responseSchema")
    + ("response_schema", "responseJsonSchema", "response_json_schema", "tools")
    + ("functionDeclarations", "function_declarations", "schema_definition")
)
_MAX_WRAPPERS = 8
_STRONG_LISTS = frozenset(("anyOf", "allOf", "oneOf", "enum"))


def unwrap(value: Any, name: str) -> Json | None:
    """The schema inside the wrappers; None where there is a JSON object, but no schema.

    Raises:
        SchemaError: it is no JSON object, or holds several tools.
    """
    inner = value
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(inner, dict) or is_schema(inner):
            break
        found = next((inner[key] for key in _WRAPPERS if _may_hold(inner.get(key))), None)
        if isinstance(found, list):  # a request may declare several tools, each with a schema
            if len(found) > 1:
                what = f"{name} holds {len(found):,} tools, and a schema is one of them"
                raise SchemaError(what, hint="save the one that you want as a file")
            found = found[0]
        if found is None:
            break
        inner = found
    if isinstance(inner, dict) and is_schema(inner):
        return _without_dialect(inner)
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a string", bool: "true or false"}.get(type(value), "a value")
        raise SchemaError(f"{name} is {kind}, not a JSON Schema", hint=EXAMPLE_HINT)
    return None


def _may_hold(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def is_schema(value: Json) -> bool:
    """Whether it says something as a JSON Schema.

    ``{"type": "json_schema"}`` and a tool's ``{"type": "function"}`` are wrappers, and
    ``{"type": "invoice", "items": [{"name": "Desk"}]}`` is an example: the words are keywords, but
    their values are not, or other keys stand beside them.
    """
    if value.get("type") in ("json_schema", "function"):
        return False
    words = CORE & value.keys()
    if any(_is_strong(value, word) for word in words):
        return True
    known = CORE | RULES | ANNOTATIONS
    return bool(words) and value.keys() <= known and _could_be(value)


def _could_be(value: Json) -> bool:
    """Whether ``format`` and ``items``, which are ordinary words too, are used as keywords."""
    items = value.get("items")
    rows = isinstance(items, list) and not any(
        isinstance(each, bool) or (isinstance(each, dict) and is_schema(each)) for each in items
    )
    return not (rows and items) and isinstance(value.get("format", ""), str)


def _is_strong(value: Json, word: str) -> bool:
    said = value[word]
    if word == "type":
        kinds = said if isinstance(said, list) else [said]
        return bool(kinds) and all(
            isinstance(kind, str) and kind.lower() in TYPES for kind in kinds
        )
    if word in ("properties", "$defs", "definitions", "patternProperties"):
        return isinstance(said, dict) and all(isinstance(sub, dict | bool) for sub in said.values())
    if word == "$ref":
        return isinstance(said, str)
    return word in _STRONG_LISTS and isinstance(said, list)


def _without_dialect(schema: Json) -> Json:
    if not any(_is_shouted(sub.get("type")) for sub in every(schema)):
        return schema
    schema = deepcopy(schema)
    for sub in every(schema):
        if _is_shouted(sub.get("type")):
            sub["type"] = sub["type"].lower()
            if sub.pop("nullable", False) is True:
                sub["type"] = [sub["type"], "null"]
                if "enum" in sub:
                    sub["enum"] = [*sub["enum"], None]
        sub.pop("propertyOrdering", None)
    return schema


def _is_shouted(kind: Any) -> bool:
    return isinstance(kind, str) and kind.isupper() and kind.lower() in TYPES


def _resembles_schema(value: Any) -> bool:
    """Whether there is a schema somewhere in it: then it is no example."""
    if isinstance(value, dict):
        return any(_is_strong(value, word) for word in CORE & value.keys()) or any(
            map(_resembles_schema, value.values())
        )
    return isinstance(value, list) and any(map(_resembles_schema, value))


# JSON, but no schema; as a field it would be a surprise.
_JSON_WORD = re.compile(r"true|false|null|-*(?:\d+(?:\.\d*)?|\.\d+)")
_LOOKS_LIKE_PATH = re.compile(
    r"[^\s,:{}/]*/[^\s,:{}]*|[^\s,:{}]*\.(?:json|txt|schema)", re.IGNORECASE
)


@dataclass(frozen=True)
class Schema:
    """``source`` is the user's own JSON Schema, its properties in their order; ``notes`` say how
    it was read, where that is not as it stands. ``nullable``: it is not a JSON Schema that
    somebody wrote (but names in a line, or an example), and any value of it may be missing."""

    source: Json = field(repr=False)
    notes: tuple[str, ...] = ()
    nullable: bool = False

    @cached_property
    def decoding(self) -> Json:
        """What the decoder is held to: objects closed, every key required, every leaf nullable,
        so that a missing value is null and not invented; semantic types as they are printed."""
        return close_schema(as_printed(self.source), nullable=True)

    @cached_property
    def strict_decoding(self) -> Json:
        return close_schema(as_printed(self.source), nullable=False)

    @cached_property
    def checker(self) -> Checker:
        return Checker(self.source)

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        named = [each["format"] for each in every(self.source) if "format" in each]
        unknown = [name for name in dict.fromkeys(named) if name not in FORMATS]
        if not unknown:
            return self.notes
        names = ", ".join(f'"{printable(name)}"' for name in unknown)
        return (*self.notes, f"the schema's format {names} is not a known one; it is not checked")

    def form(self) -> str:
        return render_form(self.source)


def is_file_name(text: str) -> bool:
    """Whether a text looks like the name of a schema's file, or of a class in one."""
    text = text.strip()
    named = _CLASS.fullmatch(text) or _LOOKS_LIKE_PATH.fullmatch(text) or is_network(text)
    return bool(named) and not text.startswith(("{", "["))


def parse_schema(text_or_path: str, *, trust: bool = False, files: bool = True) -> Schema:
    """A JSON Schema (a file, or its text), an example, a Python class or the one-line language.

    What begins with ``{`` or ``[`` is JSON. What names a file is that file; what only looks like
    the name of one is an error; without ``files`` nothing names one. ``file.py:Class`` runs the
    file, and only with ``trust``. The rest is the one-line language. A JSON object that is no
    schema is an example of the answer.

    Raises:
        SchemaError: not JSON, not a schema, a reference that leaves it, or a wrong line.
        InputError: the file cannot be read.
        UsageError: a Python class without ``trust``.
    """
    text, name = text_or_path.strip(), "the schema"
    if files and not text.startswith(("{", "[")):
        if named := _CLASS.fullmatch(text):
            return Schema(check_source(_read_class(named, trust=trust), shown(text)))
        if _LOOKS_LIKE_PATH.fullmatch(text):
            name, text = shown(text), read_text(text)
        elif _is_file(text):  # a folder may have one of any name
            found = parse_schema(read_text(text), files=False)
            return replace(found, notes=(f"{shown(text)} is the file of this name", *found.notes))
    if not text.startswith(("{", "[")) and not _JSON_WORD.fullmatch(text):
        return Schema(check_source(parse_oneline(text), name), nullable=True)
    value = parse_json(text, name)
    source = unwrap(value, name)
    if source is not None:
        return Schema(check_source(source, name))
    if not value or _resembles_schema(value):
        raise SchemaError(f"{name} is JSON, but says nothing as a schema", hint=EXAMPLE_HINT)
    note = f"{name} is no JSON Schema: it is read as an example of the answer"
    return Schema(check_source(infer_schema([value]), name), (note,), nullable=True)


def _is_file(text: str) -> bool:
    """Whether there is a file, or a pipe such as ``<(command)``, of that name."""
    try:
        return Path(text).exists() and not Path(text).is_dir()
    except (OSError, ValueError):  # too long for a name, or a NUL in it
        return False


def read_text(path: str) -> str:
    """A text file within the limit, without its byte order mark.

    Raises:
        InputError: it cannot be read, or is not UTF-8 (a SchemaError).
    """
    name = shown(path)
    data = read_file(path, max_bytes=MAX_TEXT_BYTES)
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise SchemaError(f"{name} is not UTF-8 text", hint="save it as UTF-8") from None


def check_source(source: Json, name: str) -> Json:
    """The schema itself, if it is one that can be used; its references lead from its root.

    Raises:
        SchemaError: it breaks the rules of JSON Schema, or refers to what is not in it.
    """
    try:
        refuse_half(json.dumps(source, ensure_ascii=False))
    except ValueError as error:
        raise SchemaError(
            f"{name}: {error}", hint="leave it out, or write the other half"
        ) from None
    source = local_references(source)
    for schema in every(source):
        for keyword in ("$dynamicRef", "$recursiveRef"):
            if keyword in schema:
                raise SchemaError(f"{name} uses {keyword}, which is not read", hint="use $ref")
        reference = schema.get("$ref", "")
        if not isinstance(reference, str):
            raise SchemaError(f"{name} has a $ref that is no text", hint='like "#/$defs/item"')
        if reference and resolve(source, reference) is None:
            what, hint = "which is not in it, and nothing is fetched", "copy what it refers to"
            if reference.startswith("#"):
                what, hint = "and there is nothing there", "define it"
            problem = f'{name} refers to "{printable(reference)}", {what}'
            raise SchemaError(problem, hint=f"{hint} under $defs")
    flaw = find_flaw(source)
    if flaw:
        raise SchemaError(f"{name} is not a valid JSON Schema: {flaw}", hint=EXAMPLE_HINT)
    return source


# A part of a schema as a schema of its own: some fields of the root, or single values deep in it.

# Beside these, the fields of an object cannot be asked for one by one.
_WHOLE = frozenset(
    ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "patternProperties", "propertyNames")
    + ("dependencies", "dependentRequired", "dependentSchemas", "minProperties", "maxProperties")
)
_FRAME = ("$schema", "$defs", "definitions")
_SHARED = ("#/$defs/", "#/definitions/")  # what a part of a schema may refer to
_DEEPEST = 6  # objects in objects in which lists are looked for


@dataclass(frozen=True, slots=True)
class SchemaPart:
    """What one request asks for: the schema that the decoder is held to, and the form as the model
    reads it. ``names`` are the fields of the root, empty for all of it."""

    decoding: Json = field(repr=False)
    form: str
    names: tuple[str, ...] = ()


def make_part(source: Json, *, strict: bool, names: tuple[str, ...] = ()) -> SchemaPart:
    return SchemaPart(
        close_schema(as_printed(mark_leaves(source)), nullable=not strict),
        render_form(source),
        names,
    )


def select_fields(source: Json, names: Iterable[str], *, strict: bool) -> SchemaPart:
    root = _object_root(source)
    assert root is not None  # else there are no such fields
    wanted = set(names)
    properties = {name: sub for name, sub in root["properties"].items() if name in wanted}
    required = root.get("required")
    needed = [name for name in properties if isinstance(required, list) and name in required]
    part = _with_properties(source, properties, needed)
    return make_part(part, strict=strict, names=tuple(properties))


def select_values(source: Json, paths: Sequence[ValuePath], *, strict: bool) -> SchemaPart | None:
    """Single values under their names ("items[2].qty"); None where one cannot stand alone."""
    properties: dict[str, Subschema] = {}
    for path in paths:
        found = schema_at(source, path)
        if found is None:
            return None
        properties[render_path(path)] = found
    part = _with_properties(source, properties, list(properties))
    return make_part(part, strict=strict, names=tuple(properties)) if _stands_alone(part) else None


def fields_of(source: Json) -> tuple[str, ...]:
    """The fields that can be asked for one by one; none where the root is no plain object."""
    root = _object_root(source)
    return tuple(root["properties"]) if root else ()


def lists_of(source: Json) -> tuple[str, ...]:
    """Those of ``fields_of`` that are, or hold, a list of records: what grows with the document."""
    root = _object_root(source)
    if not root:
        return ()
    return tuple(name for name, sub in root["properties"].items() if _holds_records(source, sub))


def schema_at(source: Json, path: ValuePath) -> Subschema | None:
    """What the schema says about the value at ``path``; None where it says nothing or no one
    thing."""
    schemas: list[tuple[Subschema, bool]] = [(source, True)]
    for step in path:
        schemas = step_into(views_of(source, schemas), step)
    return schemas[0][0] if len(schemas) == 1 else None


def _object_root(source: Json) -> Json | None:
    root: Subschema | None = source
    if isinstance(source.get("$ref"), str):
        root = resolve(source, source["$ref"])
    if not isinstance(root, dict) or _WHOLE & root.keys() or "$ref" in root:
        return None
    if not isinstance(root.get("properties"), dict) or not root["properties"]:
        return None
    return root if _stands_alone(source) else None


def _with_properties(source: Json, properties: dict[str, Subschema], required: list[str]) -> Json:
    return {
        **{word: source[word] for word in _FRAME if word in source},
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _stands_alone(source: Json) -> bool:
    """Whether references lead to definitions only, and so still do in a part of it."""
    references = (schema.get("$ref") for schema in every(source))
    return all(each.startswith(_SHARED) for each in references if isinstance(each, str))


def _holds_records(root: Json, schema: Subschema, depth: int = 0) -> bool:
    for view, _ in views_of(root, [(schema, True)]):
        kinds = Kinds(root).of(view.get("items")) if isinstance(view.get("items"), dict) else set()
        if kinds and kinds <= {"object", "null"}:
            return True
        inside = view.get("properties", {}).values()
        if depth < _DEEPEST and any(_holds_records(root, sub, depth + 1) for sub in inside):
            return True
    return False
