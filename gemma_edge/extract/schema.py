"""A schema from what a person gives: a file, JSON text, or the one-line language; checked."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from gemma_edge.documents.files import read_file, shown
from gemma_edge.errors import SchemaError
from gemma_edge.extract.check import Checker, find_flaw
from gemma_edge.extract.decoding import close_schema
from gemma_edge.extract.form import render_form
from gemma_edge.extract.oneline import parse_oneline
from gemma_edge.extract.walk import CORE, Json, every, resolve
from gemma_edge.units import render_bytes

MAX_SCHEMA_BYTES = 4 << 20
MAX_NESTING = 200  # lists and objects of the JSON text; the deepest of 500 real schemas has 40

_EXAMPLE_HINT = (
    'for example {"type": "object", "properties": {"vendor": {"type": "string"}}}, '
    'or in one line: "vendor, date, total num"'
)
_LOOKS_LIKE_PATH = re.compile(r"[^\s,:{}]*(\.json|\.txt|\.schema|/[^\s,:{}]*)", re.IGNORECASE)
# How others wrap a schema: OpenAI's response_format and tools, Anthropic's tools, test suites.
_WRAPPERS = ("response_format", "json_schema", "schema", "function", "parameters", "input_schema")


@dataclass(frozen=True)
class Schema:
    """``source`` is the user's own JSON Schema, its properties in their order."""

    source: Json = field(repr=False)

    @cached_property
    def decoding(self) -> Json:
        """What the decoder is held to: objects closed, every key required, every leaf nullable,
        so that a missing value is null and not invented."""
        return close_schema(self.source, nullable=True)

    @cached_property
    def strict_decoding(self) -> Json:
        """The same without the nulls that the user's schema does not allow."""
        return close_schema(self.source, nullable=False)

    @cached_property
    def checker(self) -> Checker:
        """Judges answers by ``source``."""
        return Checker(self.source)

    def form(self) -> str:
        """The schema as the model reads it: ``{"vendor": string, "total": number}``."""
        return render_form(self.source)


def parse_schema(text_or_path: str) -> Schema:
    """A JSON Schema (a file, or its text) or the one-line language.

    What begins with ``{`` or ``[`` is JSON. What names a file is that file; what only looks like
    the name of one is an error. The rest is the one-line language.

    Raises:
        SchemaError: not JSON, not a schema, a reference that leaves it, or a wrong line.
        InputError: the file cannot be read.
    """
    text, name = text_or_path.strip(), "the schema"
    if not text.startswith(("{", "[")) and (_is_file(text) or _LOOKS_LIKE_PATH.fullmatch(text)):
        name = shown(text)
        text = _read(text, name)
    if not text.startswith(("{", "[")) and not _is_json_word(text):
        return Schema(check_source(parse_oneline(text), name))
    return Schema(check_source(unwrap(parse_json(text, name), name), name))


def _is_file(text: str) -> bool:
    """Whether there is a file, or a pipe such as ``<(command)``, of that name."""
    try:
        return Path(text).exists() and not Path(text).is_dir()
    except (OSError, ValueError):  # too long for a name, or a NUL in it
        return False


def _read(path: str, name: str) -> str:
    data = read_file(path, max_bytes=MAX_SCHEMA_BYTES)
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise SchemaError(f"{name} is not UTF-8 text", hint="save it as UTF-8") from None


def _is_json_word(text: str) -> bool:
    """``true``, ``null``, ``12``: JSON, but no schema; as a field it would be a surprise."""
    return text in ("true", "false", "null") or text.lstrip("-").replace(".", "", 1).isdecimal()


def parse_json(text: str, name: str) -> Any:
    """JSON text to Python values; NaN, Infinity and bottomless nesting are refused.

    Raises:
        SchemaError: with the line and the column.
    """
    if len(text) > MAX_SCHEMA_BYTES:
        raise SchemaError(
            f"{name} is larger than {render_bytes(MAX_SCHEMA_BYTES)}", hint="make it smaller"
        )
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise SchemaError(
            f"{name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            hint=_EXAMPLE_HINT,
        ) from None
    except ValueError as error:  # a constant that is not JSON, or a number of 5,000 digits
        raise SchemaError(f"{name} is not JSON: {error}", hint=_EXAMPLE_HINT) from None
    except RecursionError:
        value = None
        _refuse_nesting(name)
    if _nesting(value) > MAX_NESTING:
        _refuse_nesting(name)
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _refuse_nesting(name: str) -> NoReturn:
    raise SchemaError(
        f"{name} is nested deeper than {MAX_NESTING} levels", hint="flatten it, or use $defs"
    )


def _nesting(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_NESTING:
        depth += 1
        level = [
            sub
            for item in level
            if isinstance(item, dict | list)
            for sub in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def unwrap(value: Any, name: str) -> Json:
    """The schema inside the wrappers that others put round it.

    Raises:
        SchemaError: there is no schema in it.
    """
    while isinstance(value, dict) and not _is_schema(value):
        inner = next((value[key] for key in _WRAPPERS if isinstance(value.get(key), dict)), None)
        if inner is None:
            break
        value = inner
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a string", bool: "true or false"}.get(type(value), "a value")
        raise SchemaError(f"{name} is {kind}, not a JSON Schema", hint=_EXAMPLE_HINT)
    if not _is_schema(value):
        raise SchemaError(f"{name} is JSON, but says nothing as a schema", hint=_EXAMPLE_HINT)
    return value


def _is_schema(value: Json) -> bool:
    """Whether it has a keyword of JSON Schema; ``{"type": "json_schema"}`` and a tool's
    ``{"type": "function"}`` are wrappers."""
    return bool(CORE & value.keys()) and value.get("type") not in ("json_schema", "function")


def check_source(source: Json, name: str) -> Json:
    """The schema itself, if it is one that can be used.

    Raises:
        SchemaError: it breaks the rules of JSON Schema, or refers to what is not in it.
    """
    for schema in every(source):
        for keyword in ("$dynamicRef", "$recursiveRef"):
            if keyword in schema:
                raise SchemaError(f"{name} uses {keyword}, which is not read", hint="use $ref")
        reference = schema.get("$ref")
        if isinstance(reference, str) and resolve(source, reference) is None:
            raise _bad_reference(reference, name)
    flaw = find_flaw(source)
    if flaw:
        raise SchemaError(f"{name} is not a valid JSON Schema: {flaw}", hint=_EXAMPLE_HINT)
    return source


def _bad_reference(reference: str, name: str) -> SchemaError:
    if reference.startswith("#"):
        return SchemaError(
            f'{name} refers to "{reference}", and there is nothing there',
            hint="define it under $defs",
        )
    return SchemaError(
        f'{name} refers to "{reference}", which is not in it, and nothing is fetched',
        hint="copy what it refers to under $defs",
    )
