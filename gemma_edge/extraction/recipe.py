"""A recipe: a schema with what an expert knows beside it.

    schema      what is wanted
    rules       what the model has to know, in words; ``not``, ``worked`` and ``examples`` too
    normalize   how the documents write dates and numbers
    compute     what code makes of the values
    check       what has to hold between them
    recognize   by what a document of this kind is recognized, where nobody names a recipe

The model copies what is printed. ``Recipe.finish`` does the rest: it converts, computes and checks,
with decimals and dates. What is computed is printed at the top level, under its own name: that is
where a table has its columns, and where checks and the schema find it. If the schema declares it,
the schema judges it too; a closed schema has to declare it.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

from gemma_edge.errors import InputError
from gemma_edge.extraction import read_data
from gemma_edge.extraction.expressions import CENTS, WORDS, Expression, explain, parse_expression
from gemma_edge.extraction.json_schema import Json, Views, render_path, step_into, views_of
from gemma_edge.extraction.schema import Schema
from gemma_edge.extraction.values import Habits, Order, normalize
from gemma_edge.records import dataclass

# What a recipe is made of besides its schema, and how each part is written on a command line.

Severity = Literal["error", "warn"]

_FIELD = re.compile(r"\s*([^\s:\"'][^:\"']{0,79}?)\s*:\s+(\S.*)", re.DOTALL)
_HABIT_HINT = "date=dmy, decimal=, region=DE and currency=EUR are habits"
# What documents may do in their own way, and the choices, or the form of a code.
HABITS: dict[str, Any] = {
    "date": get_args(Order),
    "decimal": (".", ","),
    "region": re.compile(r"[A-Z]{2}"),
    "currency": re.compile(r"[A-Z]{3}"),
}
_COMPUTED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)\s*(.+)", re.DOTALL)


def _line() -> Any:
    """The line of the recipe's file, 0 where there is none; two parts that say the same are the
    same."""
    return field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """``text`` about ``field``, a place in the schema like ``items.price``; "" is about all."""

    text: str
    field: str = ""
    line: int = _line()


@dataclass(frozen=True, slots=True)
class CounterExample:
    """What looks like the value of ``field`` and is not: ``text`` as a document prints it, or
    ``like`` in words; ``why`` it is not."""

    field: str
    text: str = ""
    like: str = ""
    why: str = ""
    line: int = _line()


@dataclass(frozen=True, slots=True)
class Example:
    """Another document, as text, and the answer to it as the model writes it: as printed. ``name``
    is the file, "" where the text stands in the recipe."""

    text: str
    expect: Any
    name: str = ""
    line: int = _line()


@dataclass(frozen=True, slots=True)
class Computed:
    """A value that code computes and the model is never asked for."""

    name: str
    expression: Expression
    line: int = _line()


@dataclass(frozen=True, slots=True)
class Check:
    """What has to hold; ``fields`` are asked again where it does not. ``tolerance`` is how far
    ``~=`` goes, ``why`` says in words what does not hold."""

    expression: Expression
    severity: Severity = "error"
    fields: tuple[str, ...] = ()
    tolerance: Decimal = CENTS
    why: str = ""
    line: int = _line()


@dataclass(frozen=True, slots=True)
class Signs:
    """By what a document of this kind is recognized: ``names`` of the kind, which its title prints,
    and ``words`` that stand in it, in all its languages. A `*` is the rest of a word. ``called`` is
    what a person calls it, with its article."""

    called: str = ""
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def _parse_rule(text: str, fields: tuple[str, ...]) -> Rule:
    """``--rule "total: after tax"`` is about a field if there is one of that name."""
    found = _FIELD.fullmatch(text)
    if found and found[1] in fields:
        return Rule(found[2].strip(), found[1])
    return Rule(_not_empty(text, "rule"))


def _parse_counter_example(text: str) -> CounterExample:
    """``--not "total: Balance forward 1,204.00"``; behind `` -- `` may stand why."""
    found = _FIELD.fullmatch(_not_empty(text, "counter-example"))
    if not found:
        hint = '--not "total: Balance forward 1,204.00 -- of the previous invoice"'
        raise InputError(f"the counter-example `{text[:80]}` names no field", hint=hint)
    shown, _, why = found[2].partition(" -- ")
    return CounterExample(found[1], shown.strip(), why=why.strip())


def _parse_computed(text: str) -> Computed:
    found = _COMPUTED.fullmatch(text)
    if not found:
        hint = '--compute "items_sum = sum(items.amount)"'
        raise InputError(f"`{text[:80]}` computes nothing: name = expression", hint=hint)
    return Computed(found[1], parse_expression(found[2]))


def set_habit(habits: Habits, name: str, value: str) -> Habits:
    """One habit of how the documents write: ``date`` is ``dmy``, ``decimal`` is ``,``.

    Raises:
        InputError: there is no such habit, or it cannot be that.
    """
    allowed = HABITS.get(name)
    if allowed is None:
        known = ", ".join(HABITS)
        raise InputError(f"`{name[:40]}` is no habit; there are {known}", hint=_HABIT_HINT)
    if isinstance(allowed, tuple) and value not in allowed:
        raise InputError(f"`{value[:20]}` is none of {' '.join(allowed)}", hint=_HABIT_HINT)
    if isinstance(allowed, re.Pattern) and not allowed.fullmatch(value):
        code = "DE" if name == "region" else "EUR"
        raise InputError(f"`{value[:20]}` is no code like {code}", hint=_HABIT_HINT)
    changed: Any = {name: value}
    return replace(habits, **changed)


def _not_empty(text: str, what: str) -> str:
    if not text.strip():
        raise InputError(f"the {what} is empty", hint="write what the document's reader must know")
    return text.strip()


# What a recipe tells the model: rendered by `instructions.txt`, which people edit.


def render_instructions(
    rules: Sequence[Rule],
    counter_examples: Sequence[CounterExample],
    worked: Sequence[str],
    examples: Sequence[Example],
) -> str:
    """The lines after the form; "" where there is nothing to say."""
    if not (rules or counter_examples or worked or examples):
        return ""
    shown = [
        {"text": each.text.strip(), "answer": json.dumps(each.expect, ensure_ascii=False)}
        for each in examples
    ]
    filled = _template().render(
        rules=rules, counter_examples=counter_examples, worked=worked, examples=shown
    )
    return str(filled).strip()


@lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import StrictUndefined  # noqa: PLC0415  (40 ms that a bare schema does not need)
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    text = read_data("prompts/instructions.txt")
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(text)


# The fields of a schema by their names, as rules and expressions write them: `items.price`; a dot
# goes through lists.

ANSWER = "answer"  # the name of an answer that is no object, for expressions
_MAX_LISTS = 5  # lists in lists

# What is known of a value: the schemas that describe it; None where nothing is.
Known = Views | None


class Fields:
    """The fields of one schema; ``more`` are names beside them, of which nothing is known."""

    def __init__(self, source: Json, more: Sequence[str] = ()) -> None:
        self._root, self._more = source, tuple(more)
        self._top = views_of(source, [(source, True)])

    def names(self) -> tuple[str, ...]:
        return (*_names(self._top), *self._more)

    def problem(self, path: str) -> str:
        """Why ``path`` names no field, "" where it does; ``[2]`` in it is any item."""
        found: Known = self._top
        for name in re.sub(r"\[[^\[\]]*\]", "", path).strip().split("."):
            if found is self._top and name in self._more:
                return ""
            reason, found = self._into(found, name)
            if reason:
                return reason
        return ""

    def schemas(self, path: str) -> Views:
        """The schemas that describe what ``path`` names; none where it names nothing."""
        found: Known = self._top
        for name in path.split("."):
            _, found = self._into(found, name)
        return self._unlisted(found or [])

    def problems(self, tree: ast.AST) -> Iterator[str]:
        yield from self._visit(tree, {})

    def _visit(self, node: ast.AST, bound: Mapping[str, Known]) -> Iterator[str]:
        if isinstance(node, ast.GeneratorExp | ast.ListComp):
            inner = dict(bound)
            for loop in node.generators:
                reason, rows = self._place(loop.iter, inner)
                yield from filter(None, (reason,))
                assert isinstance(loop.target, ast.Name)
                inner[loop.target.id] = rows
                for test in loop.ifs:
                    yield from self._visit(test, inner)
            yield from self._visit(node.elt, inner)
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            reason, _ = self._place(node, bound)
            yield from (reason,) if reason else self._below(node, bound)
        else:
            for child in ast.iter_child_nodes(node):
                if not (isinstance(node, ast.Call) and child is node.func):
                    yield from self._visit(child, bound)

    def _below(self, node: ast.expr, bound: Mapping[str, Known]) -> Iterator[str]:
        """The parts of ``(a - b).days``, which is no field."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        if not isinstance(node, ast.Name):
            yield from self._visit(node, bound)

    def _place(self, node: ast.expr, bound: Mapping[str, Known]) -> tuple[str, Known]:
        if isinstance(node, ast.Name):
            if node.id in bound:
                return "", bound[node.id]
            if node.id in self._more or (node.id in WORDS and node.id not in _names(self._top)):
                return "", None
            return self._into(self._top, node.id)
        if isinstance(node, ast.Subscript):
            reason, found = self._place(node.value, bound)
            key = node.slice.value if isinstance(node.slice, ast.Constant) else None
            return (reason, found) if not isinstance(key, str) else self._into(found, key)
        if isinstance(node, ast.Attribute):
            reason, found = self._place(node.value, bound)
            return (reason, None) if reason else self._into(found, node.attr)
        return "", None

    def _into(self, found: Known, name: str) -> tuple[str, Known]:
        if found is None:
            return "", None
        views = self._unlisted(found)
        subs = step_into(views, name)
        if subs:
            return "", views_of(self._root, subs)
        names = _names(views) + (self._more if found is self._top else ())
        if not names:
            return "" if _says_nothing(views) else f"nothing is in it called `{name}`", None
        close = get_close_matches(name, names, 1)
        known = f"`{close[0]}`?" if close else f"there are {', '.join(names)}"
        return f"there is no field `{name}`; {known}", None

    def _unlisted(self, views: Views) -> Views:
        for _ in range(_MAX_LISTS):
            items = step_into(views, 0)
            if not items:
                break
            views = views_of(self._root, items)
        return views


def unknown_names(
    source: Json, compute: Iterable[Computed], checks: Iterable[Check], known: Sequence[str] = ()
) -> Iterator[tuple[str, int]]:
    """(what expressions name that is not there, the line); ``known`` are computed before."""
    names = [*known, *(() if Fields(source).names() else (ANSWER,))]
    for each in compute:
        before = [name for name in names if name != each.name]
        for said in Fields(source, before).problems(each.expression.tree):
            yield f"`{each.name}` is computed of what is not there: {said}", each.line
        names.append(each.name)
    fields = Fields(source, names)
    for check in checks:
        for said in fields.problems(check.expression.tree):
            yield f"the check `{check.expression.text}` names what is not there: {said}", check.line


def _names(views: Views) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for view, _ in views for name in view.get("properties", ())))


def _says_nothing(views: Views) -> bool:
    return not any(view.keys() & {"type", "enum", "const"} for view, _ in views) or any(
        view.get("type") == "object" for view, _ in views
    )


# The recipe, and what it makes of an answer.


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """``text`` is the equation with the numbers filled in, or what could not be read; ``fields``
    are the places to ask again for, and may be none. "warn" leaves the result valid. ``check`` is
    the expression, "" where a value could not be converted."""

    text: str
    fields: tuple[str, ...] = ()
    severity: Severity = "error"
    check: str = ""


@dataclass(frozen=True, slots=True)
class RecipeResult:
    """``data`` is converted and has every value that the model was asked for; ``computed`` are the
    others. ``notes`` are worth a line: what was not checked, and what decided an ambiguity."""

    data: Any
    computed: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[CheckFailure, ...] = ()
    notes: tuple[str, ...] = ()
    order: tuple[str, ...] = field(default=(), repr=False)

    @property
    def output(self) -> Any:
        """What is printed, and judged by the schema: the computed values at the top level, in the
        schema's place where it declares them, else at the end."""
        if not self.computed or not isinstance(self.data, dict):
            return self.data
        whole = {**self.data, **self.computed}
        first = {name: whole[name] for name in self.order if name in whole}
        return {**first, **whole}


@dataclass(frozen=True)
class Recipe:
    """``schema`` is the user's own: it judges what is printed. ``notes`` say how it was read."""

    name: str
    schema: Schema
    description: str = ""
    rules: tuple[Rule, ...] = ()
    counter_examples: tuple[CounterExample, ...] = ()
    worked: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    habits: Habits = Habits()
    compute: tuple[Computed, ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    signs: Signs = Signs()

    @cached_property
    def asked(self) -> Schema:
        names = {each.name for each in self.compute}
        declared = self.schema.source.get("properties", {})
        if not names & set(declared):
            return self.schema
        rest = {name: sub for name, sub in declared.items() if name not in names}
        source = {**self.schema.source, "properties": rest}
        if isinstance(source.get("required"), list):
            source["required"] = [name for name in source["required"] if name not in names]
        return replace(self.schema, source=source)

    def form(self) -> str:
        return self.asked.form()

    def render_instructions(self) -> str:
        """Rules, counter-examples, worked arithmetic and examples as the model reads them, after
        the form; "" where there are none."""
        return render_instructions(self.rules, self.counter_examples, self.worked, self.examples)

    def with_(  # noqa: PLR0913 (one argument a flag)
        self,
        *,
        schema: Schema | None = None,
        rules: Iterable[str] = (),
        counter_examples: Iterable[str] = (),
        worked: Iterable[str] = (),
        examples: Iterable[Example] = (),
        normalize: Iterable[str] = (),
        compute: Iterable[str] = (),
        checks: Iterable[str] = (),
    ) -> "Recipe":
        """The recipe with more in it, as flags write it, or another schema. A value that is
        computed already is computed anew.

        Raises:
            InputError: a flag's text is not of its form, or names a field that is not there.
        """
        known = tuple((schema or self.schema).source.get("properties", ()))
        added = tuple(map(_parse_computed, compute))
        more = tuple(Check(parse_expression(each)) for each in checks)
        names = {each.name for each in added}
        habits = self.habits
        for each in normalize:
            name, _, value = each.partition("=")
            habits = set_habit(habits, name.strip(), value.strip())
        changed = replace(
            self,
            schema=schema or self.schema,
            rules=(*self.rules, *(_parse_rule(each, known) for each in rules)),
            counter_examples=(
                *self.counter_examples,
                *map(_parse_counter_example, counter_examples),
            ),
            worked=(*self.worked, *worked),
            examples=(*self.examples, *examples),
            habits=habits,
            compute=(*(each for each in self.compute if each.name not in names), *added),
            checks=(*self.checks, *more),
        )
        computed = [each.name for each in changed.compute]
        for said, _ in unknown_names(changed.asked.source, added, more, computed):
            raise InputError(said, hint=f"fields: {', '.join(known)}")
        return changed

    def finish(self, data: Any, text: str = "") -> RecipeResult:
        """Convert, compute and check ``data``, parsed JSON as the model wrote it. ``text`` is the
        document's: it may show the order of day and month, or the decimal sign. Never raises."""
        try:
            read = normalize(data, self.asked.source, self.habits, text)
        except RecursionError:
            return RecipeResult(data, notes=("nested too deeply to be converted and checked",))
        failures, notes = list[CheckFailure](), list[str]()
        for each in read.unread:
            place, reading = render_path(each.path, "the answer"), each.reading
            said = f'{place}: "{each.text}" '
            if reading.partly is not None:  # what is certain of it is a value of its type
                notes.append(said + reading.problem)
            else:
                said += "" if reading.choices else f"is not read as {each.kind}: "
                failures.append(CheckFailure(said + reading.problem, (place,)))
        known = dict(read.data) if isinstance(read.data, dict) else {ANSWER: read.data}
        computed: dict[str, Any] = {}
        for wanted in self.compute:
            found = wanted.expression.evaluate(known)
            known[wanted.name] = computed[wanted.name] = found.value
            if reason := found.problem or _because(found.nulls):
                notes.append(f"{wanted.name} is not computed: {reason}")
        for check in self.checks:
            self._check(check, known, failures, notes)
        order = tuple(self.schema.source.get("properties", ()))
        return RecipeResult(
            read.data, computed, tuple(failures), (*read.notes, *dict.fromkeys(notes)), order
        )

    def _check(
        self, check: Check, data: dict[str, Any], failures: list[CheckFailure], notes: list[str]
    ) -> None:
        """Three-valued: what depends on a missing value is not checked, and told."""
        found = check.expression.evaluate(data, tolerance=check.tolerance)
        if found.truth == "unknown":
            reason = found.problem or _because(found.nulls) or "it has no value"
            notes.append(f"not checked: {check.expression.text} ({reason})")
        elif found.truth == "fails":
            shown = explain(check.expression, data, tolerance=check.tolerance)
            said = f"{check.why}: {shown}" if check.why else shown
            fields = check.fields or self._fields(check.expression.names)
            failures.append(CheckFailure(said, fields, check.severity, check.expression.text))

    def _fields(self, names: Sequence[str]) -> tuple[str, ...]:
        made = {each.name: each.expression.names for each in self.compute}
        fields: dict[str, None] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop(0)
            if name in made:
                waiting += made.pop(name)
            else:
                fields[name] = None
        return tuple(name for name in self.asked.source.get("properties", ()) if name in fields)

    @cached_property
    def fingerprint(self) -> str:
        said = [
            self.schema.source,
            [
                {name: value for name, value in said.items() if name != "line"}
                for parts in (self.rules, self.counter_examples, self.examples)
                for said in map(asdict, parts)
            ],
            self.worked,
            asdict(self.habits),
            [(each.name, each.expression.text) for each in self.compute],
            [
                (each.expression.text, each.severity, each.fields, str(each.tolerance), each.why)
                for each in self.checks
            ],
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def bare_recipe(schema: Schema) -> Recipe:
    return Recipe("", schema, notes=schema.remarks)


def _because(nulls: Sequence[str]) -> str:
    if not nulls:
        return ""
    return f"{', '.join(nulls)} {'is' if len(nulls) == 1 else 'are'} null"
