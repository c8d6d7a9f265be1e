"""Recipe files: read, with the line of every error; found by name, saved, checked for mistakes."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, get_args

import yaml

from gemma_edge.disk import encode, write_atomically
from gemma_edge.documents.document import read_file, shown
from gemma_edge.errors import GemmaEdgeError, InputError, SchemaError, UsageError
from gemma_edge.extraction.expressions import CENTS, Expression, parse_expression
from gemma_edge.extraction.json_schema import (
    Checker,
    ValuePath,
    iter_leaves,
    parse_json,
    refuse_half,
    render_path,
)
from gemma_edge.extraction.recipe import (
    HABITS,
    Check,
    Computed,
    CounterExample,
    Example,
    Fields,
    Recipe,
    Rule,
    Severity,
    Signs,
    set_habit,
    unknown_names,
)
from gemma_edge.extraction.schema import (
    Schema,
    check_source,
    is_file_name,
    parse_schema,
    read_text,
    unwrap,
)
from gemma_edge.extraction.schema_trial import examine
from gemma_edge.extraction.values import Habits, read_number
from gemma_edge.records import dataclass
from gemma_edge.trust import is_network, lies_below
from gemma_edge.units import render_bytes

# YAML as people write recipes: read by PyYAML's safe loader, within bounds, every error with its
# line. Only JSON's values exist: `no` is a country and `2024-01-01` a text, not false and a date.

MAX_BYTES = 1 << 20
MAX_NODES = 20_000  # of the file as it is written out; the largest shipped recipe has 300
MAX_DEPTH = 60

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,30})(\.\d{1,30})?(?:[eE][+-]?\d{1,2})?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file and the line it stands on; ``value`` is a dict of names to nodes, a list
    of nodes, or a scalar. ``file`` is its name for people; ``text_line`` is where a text begins,
    which is below the ``|`` of a block."""

    value: Any
    line: int
    file: str
    key_lines: tuple[tuple[str, int], ...] = ()
    text_line: int = 0

    def error(self, what: str, *, hint: str = "", line: int | None = None) -> InputError:
        return InputError(f"{self.file}, line {line or self.line}: {what}", hint=hint or _HINT)

    def plain(self) -> Any:
        if isinstance(self.value, dict):
            return {name: each.plain() for name, each in self.value.items()}
        if isinstance(self.value, list):
            return [each.plain() for each in self.value]
        return self.value

    def text(self, what: str) -> str:
        """A text that is not empty; a number is one too.

        Raises:
            InputError: it is something else.
        """
        if isinstance(self.value, dict | list | bool):
            raise self.error(f"{what} is a text")
        text = "" if self.value is None else str(self.value).strip()
        if not text:
            raise self.error(f"{what} is empty")
        return text

    def items(self, what: str) -> list["Node"]:
        """The elements of a list; a single text is a list of one.

        Raises:
            InputError: it is something else.
        """
        if isinstance(self.value, list):
            return self.value
        if isinstance(self.value, str):
            return [self]
        raise self.error(f"{what} is a list: one `- …` a line")

    def members(self, what: str, known: tuple[str, ...] = ()) -> dict[str, "Node"]:
        """The members of a mapping, of which only ``known`` ones may be there.

        Raises:
            InputError: it is something else, or has a key that is not known.
        """
        if not isinstance(self.value, dict):
            raise self.error(f"{what} has keys: {', '.join(known) or 'name: value'}")
        for name, line in self.key_lines:
            if known and name not in known:
                close = get_close_matches(name, known, 1, 0.5)
                meant = f"`{close[0]}`?" if close else f"there are {', '.join(known)}"
                split = self.value[name].value is None
                hint = "in { } a comma divides: put the text in quotes" if split else ""
                raise self.error(f"{what} has no key `{name[:40]}`; {meant}", line=line, hint=hint)
        return dict(self.value)


_HINT = "gemma-edge recipes show invoice prints one that is right"


def read_yaml(text: str, name: str) -> Node:
    """The one document of ``text``; ``name`` is the file's, for errors.

    Raises:
        InputError: no YAML, too large, a key twice, or nodes without end.
    """
    where, said, root = name, "", None
    text = encode(text).decode("utf-8")  # stdin may have had bytes that are none
    if len(text.encode("utf-8")) > MAX_BYTES:
        raise InputError(f"{name} is larger than {render_bytes(MAX_BYTES)}", hint=_HINT)
    try:
        root = _compose(text)
    except yaml.MarkedYAMLError as error:
        if mark := error.problem_mark or error.context_mark:
            where = f"{name}, line {mark.line + 1}, column {mark.column + 1}"
        said = " ".join(filter(None, (error.context, error.problem)))
    except yaml.YAMLError as error:  # a control character
        said = " ".join(str(error).split())[:120]
    except RecursionError:
        raise InputError(f"{name} is nested too deeply", hint=_HINT) from None
    if said:
        raise InputError(f"{where}: not YAML: {said}", hint=_HINT)
    if root is None:
        raise InputError(f"{name} is empty", hint=_HINT)
    return _build(root, name, 0, count())


def _compose(text: str) -> yaml.Node | None:
    """By libyaml where PyYAML has it, which is ten times as fast; what it refuses PyYAML's own
    parser says better."""
    if (fast := getattr(yaml, "CSafeLoader", None)) is not None:
        with suppress(yaml.YAMLError):
            found: yaml.Node | None = yaml.compose(text, Loader=fast)
            return found
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _build(node: yaml.Node, file: str, depth: int, counter: Iterator[int]) -> Node:
    """PyYAML's nodes to ours; aliases are written out, and so counted."""
    here = Node(None, node.start_mark.line + 1, file)
    if isinstance(node, yaml.ScalarNode):
        _refuse_half(node, here)
    if next(counter) >= MAX_NODES or depth > MAX_DEPTH:
        much = f"more than {MAX_NODES:,} values" if depth <= MAX_DEPTH else "nested too deeply"
        raise here.error(f"{much}; do its aliases (*name) multiply?")
    if node.tag.startswith(("tag:yaml.org,2002:python", "!")):
        raise here.error(f"{node.tag[:60]} is no value of a recipe")
    if isinstance(node, yaml.SequenceNode):
        items = [_build(each, file, depth + 1, counter) for each in node.value]
        return replace(here, value=items)
    if isinstance(node, yaml.MappingNode):
        members: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise here.error("a key is a word, not a list", line=line)
            _refuse_half(key, here)
            if key.value in lines:
                raise here.error(f"the key `{key.value[:40]}` is there already", line=line)
            lines[key.value] = line
            members[key.value] = _build(value, file, depth + 1, counter)
        return replace(here, value=members, key_lines=tuple(lines.items()))
    style = getattr(node, "style", None)
    value = node.value if style else _scalar(node.value, node.tag == "tag:yaml.org,2002:str")
    return replace(here, value=value, text_line=here.line + (style in ("|", ">")))


def _refuse_half(node: yaml.ScalarNode, here: Node) -> None:
    try:
        refuse_half(node.value)
    except ValueError as error:
        raise here.error(str(error), line=node.start_mark.line + 1) from None


def _scalar(text: str, is_text: bool) -> Any:
    if text in _WORDS:
        return text if is_text else _WORDS[text]
    if not _NUMBER.fullmatch(text):
        return text
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


# The parts of a recipe.

MAX_EXAMPLE = 20_000  # characters of one example; it stands in every prompt
_KEYS = (
    "description", "schema", "rules", "not", "worked", "examples", "normalize", "compute", "check",
    "recognize",
)  # fmt: skip
_LINE_OF_SCHEMA = re.compile(r"schema, line (\d+), ")
_NAME = re.compile(r"[A-Za-z_]\w*")
_WORKED = "worked arithmetic"


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
    reader = _FileReader(folder, trust)
    schema = reader.schema(members["schema"])
    checks = members.get("check")
    described = members.get("description")
    return Recipe(
        name,
        schema,
        description=described.text("the description") if described else "",
        rules=tuple(_each(members.get("rules"), "rules", _rule)),
        counter_examples=tuple(_each(members.get("not"), "not", _counter_example)),
        worked=tuple(_each(members.get("worked"), "worked", lambda node: node.text(_WORKED))),
        examples=tuple(_each(members.get("examples"), "examples", reader.example)),
        habits=_habits(members["normalize"]) if "normalize" in members else Habits(),
        compute=tuple(_compute(members["compute"])) if "compute" in members else (),
        checks=tuple(_each(checks, "check", _check)),
        notes=schema.remarks,
        signs=_signs(members["recognize"]) if "recognize" in members else Signs(),
    )


def _each(node: Node | None, what: str, read: Callable[[Node], Any]) -> Iterator[Any]:
    if node is not None:
        yield from (read(each) for each in node.items(what))


def _rule(node: Node) -> Rule:
    if not isinstance(node.value, dict):
        return Rule(node.text("a rule"), line=node.line)
    members = node.members("a rule", ("field", "rule"))
    if "rule" not in members:
        raise node.error("`rule` is missing here")
    return Rule(_text(members, "rule"), _text(members, "field"), node.line)


def _counter_example(node: Node) -> CounterExample:
    members = node.members("a counter-example", ("field", "text", "like", "why"))
    if "field" not in members:
        raise node.error("`field` is missing here")
    if not {"text", "like"} & members.keys():
        raise node.error("a counter-example has a `text`, as printed, or says what it is `like`")
    field, text, like, why = (_text(members, name) for name in ("field", "text", "like", "why"))
    return CounterExample(field, text, like, why, node.line)


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
    if tolerance is not CENTS and not (type(tolerance) in (int, float) and tolerance >= 0):
        raise members["tolerance"].error("the tolerance is a number, like 0.02")
    return Check(
        _expression(members["expr"]),
        severity,  # type: ignore[arg-type]
        tuple(each.text("a field") for each in fields),
        Decimal(str(tolerance)),
        _text(members, "why"),
        node.line,
    )


def _habits(node: Node) -> Habits:
    habits = Habits()
    for name, each in node.members("normalize", tuple(HABITS)).items():
        with _located_at(each):
            habits = set_habit(habits, name, each.text(f"normalize: {name}"))
    return habits


def _signs(node: Node) -> Signs:
    """Names and words are lists, or a text with commas between them."""
    members = node.members("recognize", ("as", "names", "words"))
    if not {"names", "words"} & members.keys():
        raise node.error("`recognize` has `names` of the kind, or `words` that stand in it")
    names, words = (tuple(_each(members.get(key), key, _word)) for key in ("names", "words"))
    return Signs(_text(members, "as"), sum(names, ()), sum(words, ()))


def _word(node: Node) -> tuple[str, ...]:
    said = (" ".join(each.split()) for each in re.split(r"[,\n]", node.text("a word")))
    words = tuple(dict.fromkeys(filter(None, said)))
    for word in words:
        if not word.strip("* ") or "*" in word[1:-1]:
            raise node.error(f"`{word[:40]}` is no word; a `*` is its beginning or its end")
    return words


def _expression(node: Node) -> Expression:
    with _located_at(node):
        return parse_expression(node.text("an expression"))


def _text(members: dict[str, Node], name: str) -> str:
    return members[name].text(f"`{name}`") if name in members else ""


@contextmanager
def _located_at(node: Node) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        if error.message.startswith(f"{node.file}, line "):
            raise
        message = f"line {node.line}: {error.message}"
        if inner := _LINE_OF_SCHEMA.match(error.message):
            message = f"line {node.text_line + int(inner[1]) - 1}, {error.message[inner.end() :]}"
        raise type(error)(f"{node.file}, {message}", hint=error.hint) from None


class _FileReader:
    def __init__(self, folder: Path | None, trust: bool) -> None:
        self._folder, self._trust = folder, trust

    def schema(self, node: Node) -> Schema:
        with _located_at(node):
            if isinstance(node.value, str):
                if is_file_name(node.value):
                    path = self._beside(node, node.value.strip())
                    return parse_schema(str(path), trust=self._trust)
                return parse_schema(node.value, files=False)
            source = node.plain()
            if isinstance(source, dict) and set(source) == {"$ref"}:
                return parse_schema(str(self._beside(node, source["$ref"])), trust=self._trust)
            inner = unwrap(source, "the schema")
            if inner is None:
                raise SchemaError("the schema says nothing", hint="one field a line: total num")
            return Schema(check_source(inner, "the schema"))

    def example(self, node: Node) -> Example:
        members = node.members("an example", ("text", "file", "expect"))
        if "expect" not in members or len({"text", "file"} & members.keys()) != 1:
            raise node.error("an example has a `text` or a `file`, and what to `expect`")
        name, text = _text(members, "file"), _text(members, "text")
        if "file" in members:
            from gemma_edge.documents.open import open_document  # noqa: PLC0415  (a PDF needs a process)

            with _located_at(members["file"]):
                text = open_document(self._beside(members["file"], name)).text
        if len(text) > MAX_EXAMPLE:
            what = f"the example is longer than {MAX_EXAMPLE:,} characters"
            raise node.error(what, hint="a short one shows the form as well")
        return Example(text, self._expected(members["expect"]), name, node.line)

    def _expected(self, node: Node) -> Any:
        if not isinstance(node.value, str):
            return node.plain()
        with _located_at(node):
            if node.value.lstrip().startswith(("{", "[")):
                return parse_json(node.value, "what is expected")
            path = self._beside(node, node.value)
            data = read_file(path, max_bytes=MAX_BYTES)
            return parse_json(data.decode("utf-8-sig", "replace"), shown(path.name))

    def _beside(self, node: Node, name: Any) -> Path:
        if self._folder is None or not isinstance(name, str):
            raise node.error(f"`{str(name)[:60]}` is no file beside it")
        if is_network(name):
            what = f"`{shown(name)[:60]}` lies in the network, where no recipe leads"
            raise node.error(what, hint="copy it into the recipe's folder")
        path = self._folder / Path(name).expanduser()
        if not self._trust and not lies_below(path, self._folder):
            what = f"`{shown(name)[:60]}` is not in the recipe's folder"
            raise node.error(what, hint="--trust, if you know who wrote the recipe")
        return path


# Recipes by name or by file: a person's own first, then those that ship.

ENDINGS = (".yaml", ".yml")
_LIST_HINT = "gemma-edge recipes list"


def shipped() -> dict[str, Any]:
    folder = files("gemma_edge.extraction").joinpath("recipes")
    found = (each for each in folder.iterdir() if each.name.endswith(ENDINGS))
    return dict(sorted((each.name.rpartition(".")[0], each) for each in found))


def owned(folders: Sequence[Path]) -> dict[str, Path]:
    """The recipes of ``folders``, the first of a name."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix.lower() in ENDINGS:
                found.setdefault(recipe_name(path.stem), path)
    return found


def recipe_name(text: str) -> str:
    """``Résumé`` to ``resume``: names have no case, no accents and no spaces."""
    plain = unicodedata.normalize("NFKD", text.strip().casefold())
    bare = "".join(char for char in plain if not unicodedata.combining(char))
    return re.sub(r"[\s_]+", "-", bare)


def looks_like_path(text: str) -> bool:
    return text.lower().endswith(ENDINGS) or "/" in text or "\\" in text


def load_recipe(name_or_path: str, folders: Sequence[Path] = (), *, trust: bool = False) -> Recipe:
    """A recipe file (``my.yaml``, ``./recipes/my``), or one by its name: first in ``folders``, then
    among those that ship. What it names lies in its own folder; ``trust`` lets it lie elsewhere,
    and its schema be a Python class.

    Raises:
        InputError: there is none, or a line of it is wrong, or names what is not there.
        UsageError: its schema is a Python class, without ``trust``.
    """
    recipe, file = load_unverified(name_or_path, folders, trust=trust)
    for said, line in unknown_names(recipe.asked.source, recipe.compute, recipe.checks):
        raise InputError(f"{file}, line {line}: {said}", hint=f"gemma-edge recipes lint {file}")
    return recipe


def load_all(
    folders: Sequence[Path] = (), *, trust: bool = False
) -> tuple[list[Recipe], list[str]]:
    """All recipes that have a name, those of ``folders`` first; and a line for each file that
    cannot be read, which hides none of the others. ``trust`` as of ``load_recipe``."""
    found: list[Recipe] = []
    problems: list[str] = []
    own = owned(folders)
    for name in (*own, *(each for each in shipped() if each not in own)):
        try:
            found.append(load_recipe(name, folders, trust=trust))
        except GemmaEdgeError as error:
            problems.append(f"the recipe {name} cannot be read: {error.message}")
    return found, problems


def load_unverified(
    name_or_path: str, folders: Sequence[Path], *, trust: bool = False
) -> tuple[Recipe, str]:
    """A recipe whose expressions may name what is not there, and its file's name for people.

    Raises:
        InputError, UsageError: as ``load_recipe``, but for that.
    """
    text, name, path = find(name_or_path, folders)
    if path is None:
        file = f"{name}{ENDINGS[0]}"
        return read_recipe(text, name, file), file
    file = shown(path if looks_like_path(name_or_path) else path.name)
    return read_recipe(text, name, file, path.parent, trust=trust), file


def find(name_or_path: str, folders: Sequence[Path]) -> tuple[str, str, Path | None]:
    """The text of a recipe, its name, and its file; None for one that ships.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    if looks_like_path(name_or_path):
        path = Path(name_or_path).expanduser()
        return read_text(str(path)), recipe_name(path.stem), path
    name = recipe_name(name_or_path)
    own, theirs = owned(folders), shipped()
    if name in own:
        return read_text(str(own[name])), name, own[name]
    if name in theirs:
        return theirs[name].read_text(encoding="utf-8"), name, None
    near = get_close_matches(name, [*own, *theirs], 1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"there is no recipe `{shown(name_or_path)[:60]}`", hint=guess + _LIST_HINT)


# A recipe to the text of a file, and to a person's own folder.

_WIDTH = 100  # columns of a file


def render_recipe(recipe: Recipe) -> str:
    """The YAML that reads as ``recipe``; what lay in other files stands in it."""
    habits = {name: value for name in Habits.__slots__ if (value := getattr(recipe.habits, name))}
    whole: dict[str, Any] = {
        "description": recipe.description,
        "schema": recipe.schema.source,
        "rules": [
            {"field": each.field, "rule": each.text} if each.field else each.text
            for each in recipe.rules
        ],
        "not": [
            {
                name: value
                for name in ("field", "text", "like", "why")
                if (value := getattr(each, name))
            }
            for each in recipe.counter_examples
        ],
        "worked": list(recipe.worked),
        "examples": [{"text": each.text, "expect": each.expect} for each in recipe.examples],
        "normalize": habits,
        "compute": {each.name: each.expression.text for each in recipe.compute},
        "check": [_render_check(each) for each in recipe.checks],
        "recognize": _render_signs(recipe.signs),
    }
    said = {name: value for name, value in whole.items() if value or name == "schema"}
    text: str = yaml.dump(said, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return text


def save_text(text: str, name: str, folder: Path, *, replace: bool = False) -> Path:
    """Write a recipe's text under ``name`` in ``folder``, or to the file that ``name`` is; where
    it is now.

    Raises:
        UsageError: it is no name, or one that is taken.
        InputError: the folder cannot be written.
    """
    path = Path(name).expanduser()
    if path.suffix.lower() not in ENDINGS:
        bare = recipe_name(name)
        if not bare or not all(part.isalnum() for part in bare.split("-")):
            hint = "my-invoice, or a file that ends in .yaml"
            raise UsageError(f"`{shown(name)[:60]}` is no name for a recipe", hint=hint)
        path = folder / f"{bare}{ENDINGS[0]}"
    try:
        write_atomically(path, text, replace=replace)
    except FileExistsError:
        hint = f"another name, or remove it; gemma-edge recipes save {path.stem} … --replace"
        raise UsageError(f"there is a recipe {shown(path)} already", hint=hint) from None
    except OSError as error:
        what = f"{shown(path)} cannot be written ({error.strerror or error})"
        raise InputError(what, hint="check the folder") from None
    return path


def _render_signs(signs: Signs) -> Any:
    said = {"as": signs.called, "names": ", ".join(signs.names), "words": ", ".join(signs.words)}
    return {name: value for name, value in said.items() if value}


def _render_check(check: Check) -> Any:
    said = {
        "expr": check.expression.text,
        "severity": check.severity if check.severity != "error" else None,
        "fields": list(check.fields),
        "tolerance": float(check.tolerance) if check.tolerance != CENTS else None,
        "why": check.why,
    }
    said = {name: value for name, value in said.items() if value not in (None, "", [])}
    return said if len(said) > 1 else check.expression.text


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _render_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _render_text)

# What is wrong with a recipe before a document is read with it.

_PRINTED_NUMBER = re.compile(r"\d[\d.,'’ \u00a0\u202f]*\d|\d")
_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class LintFinding:
    """``text`` is one line; ``line`` is of the recipe's file, 0 where that says nothing. A "warn"
    does no harm to the result."""

    text: str
    line: int = 0
    severity: Severity = "error"


def lint(recipe: Recipe) -> list[LintFinding]:
    found = [
        *_fields(recipe), *_counter_examples(recipe), *_expressions(recipe), *_schema(recipe),
        *(finding for example in recipe.examples for finding in _example(recipe, example)),
    ]  # fmt: skip
    return sorted(found, key=lambda finding: finding.line)


def _fields(recipe: Recipe) -> Iterator[LintFinding]:
    asked, computed = Fields(recipe.asked.source), {each.name for each in recipe.compute}
    parts: list[Rule | CounterExample] = [*recipe.rules, *recipe.counter_examples]
    for part in parts:
        if not part.field:
            continue
        what = "the counter-example" if isinstance(part, CounterExample) else "the rule"
        if part.field in computed:
            said = f"`{part.field}` is computed, and the model never asked for it"
        else:
            said = asked.problem(part.field)
        if said:
            yield LintFinding(f"{what} is about `{part.field}`: {said}", part.line)


def _counter_examples(recipe: Recipe) -> Iterator[LintFinding]:
    fields = Fields(recipe.asked.source)
    seen: set[tuple[str, str]] = set()
    for each in recipe.counter_examples:
        if not each.text:
            continue
        key = each.field, _folded(each.text)
        if key in seen:
            yield LintFinding(f'{each.field} is not "{each.text}": that is said twice', each.line)
        seen.add(key)
        allowed = [
            value for view, _ in fields.schemas(each.field) for value in view.get("enum", ())
        ]
        if any(isinstance(value, str) and _folded(value) == key[1] for value in allowed):
            yield LintFinding(
                f'{each.field} is not "{each.text}", and the schema offers it as a choice',
                each.line,
            )
        for example in recipe.examples:
            for path, value in iter_leaves(example.expect):
                named = _field_name(path) == each.field
                if named and isinstance(value, str) and _folded(value) == key[1]:
                    yield LintFinding(
                        f'{each.field} is not "{each.text}", and {_name(example)} expects it',
                        each.line,
                    )


def _expressions(recipe: Recipe) -> Iterator[LintFinding]:
    names: list[str] = []
    declared = Fields(recipe.schema.source).names()
    for said, line in unknown_names(recipe.asked.source, recipe.compute, recipe.checks):
        yield LintFinding(said, line)
    for each in recipe.compute:
        if each.name not in declared and recipe.schema.source.get("additionalProperties") is False:
            yield LintFinding(
                f"the schema is closed, so it has to declare the computed `{each.name}`", each.line
            )
        names.append(each.name)
    fields = Fields(recipe.asked.source, names)
    for check in recipe.checks:
        if not check.expression.names:
            yield LintFinding(f"the check `{check.expression.text}` looks at no field", check.line)
        for path in check.fields:
            said = fields.problem(path)
            if said or path in names:
                why = said or "it is computed, and cannot be asked again"
                yield LintFinding(f"the check asks again for `{path}`: {why}", check.line)


def _schema(recipe: Recipe) -> Iterator[LintFinding]:
    found = examine(recipe.asked)
    if found.enforced is None:
        yield LintFinding(f"no answer is possible: {found.refusal}")
    for each in found.rulings:
        if each.fate == "afterwards" and "copied as it is printed" not in each.reason:
            more = f" and {each.places - 1:,} more" if each.places > 1 else ""
            yield LintFinding(
                f"{each.keyword} at {each.place}{more} is checked only afterwards: {each.reason}",
                severity="warn",
            )


def _example(recipe: Recipe, example: Example) -> Iterator[LintFinding]:
    """An example has to be an answer that the model could give, and one that passes."""
    name, line = _name(example), example.line
    wrong = Checker(recipe.asked.decoding).check(example.expect, strict=True).problems
    for problem in wrong:
        yield LintFinding(f"{name} is not as the model writes it, as printed: {problem}", line)
    for path, value in iter_leaves(example.expect):
        if not _stands(value, example.text, recipe, path):
            place = render_path(path, "the answer")
            shown = json.dumps(value, ensure_ascii=False)[:_SHOWN]
            yield LintFinding(f"{name}: {place} is {shown}, and that is not in its text", line)
    if wrong:
        return
    outcome = recipe.finish(example.expect, example.text)
    for failure in outcome.failures:
        yield LintFinding(f"{name} fails a check of its own: {failure.text}", line)
    for problem in recipe.schema.checker.check(outcome.output).problems:
        yield LintFinding(f"{name} is not valid by the schema: {problem}", line)


def _name(example: Example) -> str:
    return f"the example {example.name}" if example.name else "the example"


def _field_name(path: ValuePath) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _stands(value: Any, text: str, recipe: Recipe, path: ValuePath) -> bool:
    """Whether a value is printed. A choice of the schema's need not be, nor what is null or a
    truth."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, str):
        views = Fields(recipe.asked.source).schemas(_field_name(path))
        return any("enum" in view for view, _ in views) or _folded(value) in _folded(text)
    printed = (found[0] for found in _PRINTED_NUMBER.finditer(text))
    return any(value in map(float, read_number(each, Habits())) for each in printed) or (
        str(value) in text
    )


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
