"""The text of a recipe file to a recipe; every error has its line."""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from gemma_edge.documents.files import read_file, shown
from gemma_edge.errors import InputError, SchemaError
from gemma_edge.extract.expressions.expression import CENTS, Expression, parse_expression
from gemma_edge.extract.recipes.parts import (
    HABITS,
    Check,
    Computed,
    CounterExample,
    Example,
    Rule,
    Severity,
    set_habit,
)
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.extract.recipes.yaml import MAX_BYTES, Node, read_yaml
from gemma_edge.extract.schemas.json_text import parse_json
from gemma_edge.extract.schemas.schema import Schema, check_source, parse_schema
from gemma_edge.extract.schemas.wrapping import unwrap
from gemma_edge.extract.values.types_reading import Habits

MAX_EXAMPLE = 20_000  # characters of one example; it stands in every prompt
_KEYS = (
    "description", "schema", "rules", "not", "worked", "examples", "normalize", "compute", "check",
)  # fmt: skip
_LINE_OF_SCHEMA = re.compile(r"schema, line (\d+), ")
_NAME = re.compile(r"[A-Za-z_]\w*")


def read_recipe(
    text: str, name: str, file: str, folder: Path | None = None, *, trust: bool = False
) -> Recipe:
    """The recipe of a file's text; what it refers to lies beside it, in ``folder``.

    Raises:
        InputError: a line of it is wrong.
    """
    root = read_yaml(text, file)
    members = root.members("a recipe", _KEYS)
    if "schema" not in members:
        raise root.error("a recipe has a `schema`")
    reader = _Reader(folder, trust)
    schema = reader.schema(members["schema"])
    checks = members.get("check")
    described = members.get("description")
    return Recipe(
        name,
        schema,
        description=described.text("the description") if described else "",
        rules=tuple(_each(members.get("rules"), "rules", _rule)),
        counter_examples=tuple(_each(members.get("not"), "not", _counter_example)),
        worked=tuple(_each(members.get("worked"), "worked", _worked)),
        examples=tuple(_each(members.get("examples"), "examples", reader.example)),
        habits=read_habits(members["normalize"]) if "normalize" in members else Habits(),
        compute=tuple(_compute(members["compute"])) if "compute" in members else (),
        checks=tuple(_each(checks, "check", _check)),
        notes=schema.remarks,
    )


def _each(node: Node | None, what: str, read: Callable[[Node], Any]) -> Iterator[Any]:
    if node is not None:
        yield from (read(each) for each in node.items(what))


def _rule(node: Node) -> Rule:
    if not isinstance(node.value, dict):
        return Rule(node.text("a rule"), line=node.line)
    members = node.members("a rule", ("field", "rule"))
    return Rule(_needed(node, members, "rule"), _text(members, "field"), node.line)


def _counter_example(node: Node) -> CounterExample:
    members = node.members("a counter-example", ("field", "text", "like", "why"))
    field = _needed(node, members, "field")
    if not {"text", "like"} & members.keys():
        raise node.error("a counter-example has a `text`, as printed, or says what it is `like`")
    text, like, why = (_text(members, name) for name in ("text", "like", "why"))
    return CounterExample(field, text, like, why, node.line)


def _worked(node: Node) -> str:
    return node.text("worked arithmetic")


def _compute(node: Node) -> Iterator[Computed]:
    for name, each in node.members("compute").items():
        if not _NAME.fullmatch(name):
            raise each.error(f"`{name[:40]}` is no name for a computed value")
        yield Computed(name, _expression(each), each.line)


def _check(node: Node) -> Check:
    if not isinstance(node.value, dict):
        return Check(_expression(node), line=node.line)
    keys = ("expr", "severity", "fields", "tolerance", "why")
    members = node.members("a check", keys)
    if "expr" not in members:
        raise node.error("a check has an `expr`")
    severity = _text(members, "severity") or "error"
    if severity not in get_args(Severity):
        raise members["severity"].error(f"`{severity[:20]}` is none of error, warn")
    fields = members["fields"].items("fields") if "fields" in members else []
    tolerance = members["tolerance"].value if "tolerance" in members else CENTS
    if isinstance(tolerance, bool | str) or tolerance is None or tolerance < 0:
        raise members["tolerance"].error("the tolerance is a number, like 0.02")
    return Check(
        _expression(members["expr"]),
        severity,  # type: ignore[arg-type]
        tuple(each.text("a field") for each in fields),
        Decimal(str(tolerance)),
        _text(members, "why"),
        node.line,
    )


def read_habits(node: Node) -> Habits:
    """``normalize``: how the documents write.

    Raises:
        InputError: a habit that is none.
    """
    members = node.members("normalize", tuple(HABITS))
    habits = Habits()
    for name, each in members.items():
        try:
            habits = set_habit(habits, name, each.text(f"normalize: {name}"))
        except InputError as error:
            raise _at(each, error) from None
    return habits


def _expression(node: Node) -> Expression:
    try:
        return parse_expression(node.text("an expression"))
    except InputError as error:
        raise _at(node, error) from None


def _needed(node: Node, members: dict[str, Node], name: str) -> str:
    if name not in members:
        raise node.error(f"`{name}` is missing here")
    return members[name].text(f"`{name}`")


def _text(members: dict[str, Node], name: str) -> str:
    return members[name].text(f"`{name}`") if name in members else ""


def _at(node: Node, error: InputError) -> InputError:
    """An error of what stands in the file, with the file and the line."""
    if error.message.startswith(f"{node.file}, line "):
        return error
    message = f"line {node.line}: {error.message}"
    if inner := _LINE_OF_SCHEMA.match(error.message):
        message = f"line {node.text_line + int(inner[1]) - 1}, {error.message[inner.end() :]}"
    return type(error)(f"{node.file}, {message}", hint=error.hint)


class _Reader:
    """Reads what may lie in other files, beside the recipe."""

    def __init__(self, folder: Path | None, trust: bool) -> None:
        self._folder, self._trust = folder, trust

    def schema(self, node: Node) -> Schema:
        """The one-line language, JSON Schema, or a reference to a file."""
        try:
            if isinstance(node.value, str):
                return parse_schema(node.value, trust=self._trust)
            source = node.plain()
            if isinstance(source, dict) and set(source) == {"$ref"}:
                return parse_schema(str(self._beside(node, source["$ref"])), trust=self._trust)
            inner = unwrap(source, "the schema")
            if inner is None:
                raise SchemaError("the schema says nothing", hint="one field a line: total num")
            return Schema(check_source(inner, "the schema"))
        except InputError as error:
            raise _at(node, error) from None

    def example(self, node: Node) -> Example:
        """``{text: …, expect: {…}}``, or both as files."""
        members = node.members("an example", ("text", "file", "expect"))
        if "expect" not in members or len({"text", "file"} & members.keys()) != 1:
            raise node.error("an example has a `text` or a `file`, and what to `expect`")
        name = ""
        if "file" in members:
            name = _text(members, "file")
            text = self._document(members["file"], name)
        else:
            text = _text(members, "text")
        if len(text) > MAX_EXAMPLE:
            raise node.error(
                f"the example is longer than {MAX_EXAMPLE:,} characters",
                hint="a short one shows the form as well",
            )
        return Example(text, self._expected(members["expect"]), name, node.line)

    def _document(self, node: Node, name: str) -> str:
        from gemma_edge.documents import open_document  # noqa: PLC0415  (a PDF needs a process)

        try:
            return open_document(self._beside(node, name)).text
        except InputError as error:
            raise _at(node, error) from None

    def _expected(self, node: Node) -> Any:
        if not isinstance(node.value, str):
            return node.plain()
        try:
            if node.value.lstrip().startswith(("{", "[")):
                return parse_json(node.value, "what is expected")
            path = self._beside(node, node.value)
            data = read_file(path, max_bytes=MAX_BYTES)
            return parse_json(data.decode("utf-8-sig", "replace"), shown(path.name))
        except InputError as error:
            raise _at(node, error) from None

    def _beside(self, node: Node, name: Any) -> Path:
        if self._folder is None or not isinstance(name, str):
            raise node.error(f"`{str(name)[:60]}` is no file beside it")
        return self._folder / Path(name).expanduser()
