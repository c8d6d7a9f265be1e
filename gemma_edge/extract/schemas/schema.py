"""A schema from what a person gives: a file, JSON text, an example, a Python class, or the
one-line language; checked."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gemma_edge.documents.files import read_file, shown
from gemma_edge.errors import SchemaError
from gemma_edge.extract.schemas.check import Checker, find_flaw
from gemma_edge.extract.schemas.class_schema import names_class, read_class
from gemma_edge.extract.schemas.decoding import close_schema
from gemma_edge.extract.schemas.form import render_form
from gemma_edge.extract.schemas.formats import known_formats
from gemma_edge.extract.schemas.inferring import infer_schema
from gemma_edge.extract.schemas.json_text import EXAMPLE_HINT, MAX_TEXT_BYTES, parse_json
from gemma_edge.extract.schemas.oneline import parse_oneline
from gemma_edge.extract.schemas.semantic import as_printed
from gemma_edge.extract.schemas.walk import Json, every, resolve
from gemma_edge.extract.schemas.wrapping import resembles_schema, unwrap

_LOOKS_LIKE_PATH = re.compile(r"[^\s,:{}]*(\.json|\.txt|\.schema|/[^\s,:{}]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Schema:
    """``source`` is the user's own JSON Schema, its properties in their order; ``notes`` say how
    it was read, where that is not as it stands."""

    source: Json = field(repr=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def decoding(self) -> Json:
        """What the decoder is held to: objects closed, every key required, every leaf nullable,
        so that a missing value is null and not invented; semantic types as they are printed."""
        return close_schema(as_printed(self.source), nullable=True)

    @cached_property
    def strict_decoding(self) -> Json:
        """The same without the nulls that the user's schema does not allow."""
        return close_schema(as_printed(self.source), nullable=False)

    @cached_property
    def checker(self) -> Checker:
        """Judges answers by ``source``."""
        return Checker(self.source)

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """``notes``, and the formats that nothing can check."""
        named = [each["format"] for each in every(self.source) if "format" in each]
        unknown = [name for name in dict.fromkeys(named) if name not in known_formats()]
        if not unknown:
            return self.notes
        names = ", ".join(f'"{name}"' for name in unknown)
        return (*self.notes, f"the schema's format {names} is not a known one; it is not checked")

    def form(self) -> str:
        """The schema as the model reads it: ``{"vendor": string, "total": number}``."""
        return render_form(self.source)


def parse_schema(text_or_path: str, *, trust: bool = False) -> Schema:
    """A JSON Schema (a file, or its text), an example, a Python class or the one-line language.

    What begins with ``{`` or ``[`` is JSON. What names a file is that file; what only looks like
    the name of one is an error. ``file.py:Class`` runs the file, and only with ``trust``. The
    rest is the one-line language. A JSON object that is no schema is an example of the answer.

    Raises:
        SchemaError: not JSON, not a schema, a reference that leaves it, or a wrong line.
        InputError: the file cannot be read.
        UsageError: a Python class without ``trust``.
    """
    text, name = text_or_path.strip(), "the schema"
    if not text.startswith(("{", "[")) and names_class(text):
        return Schema(check_source(read_class(text, trust=trust), shown(text)))
    if not text.startswith(("{", "[")) and (_is_file(text) or _LOOKS_LIKE_PATH.fullmatch(text)):
        name = shown(text)
        text = read_text(text)
    if not text.startswith(("{", "[")) and not _is_json_word(text):
        return Schema(check_source(parse_oneline(text), name))
    value = parse_json(text, name)
    source = unwrap(value, name)
    if source is not None:
        return Schema(check_source(source, name))
    if not value or resembles_schema(value):
        raise SchemaError(f"{name} is JSON, but says nothing as a schema", hint=EXAMPLE_HINT)
    note = f"{name} is no JSON Schema: it is read as an example of the answer"
    return Schema(check_source(infer_schema([value]), name), (note,))


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


def _is_json_word(text: str) -> bool:
    """``true``, ``null``, ``12``: JSON, but no schema; as a field it would be a surprise."""
    return text in ("true", "false", "null") or text.lstrip("-").replace(".", "", 1).isdecimal()


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
        raise SchemaError(f"{name} is not a valid JSON Schema: {flaw}", hint=EXAMPLE_HINT)
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
