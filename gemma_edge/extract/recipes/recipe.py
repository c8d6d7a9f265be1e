"""A recipe: a schema with what an expert knows beside it. Pure.

    schema      what is wanted
    rules       what the model has to know, in words; ``not``, ``worked`` and ``examples`` too
    normalize   how the documents write dates and numbers
    compute     what code makes of the values
    check       what has to hold between them

The model copies what is printed. ``Recipe.finish`` does the rest: it converts, computes and checks,
with decimals and dates. What is computed is printed at the top level, under its own name: that is
where a table has its columns, and where checks and the schema find it. If the schema declares it,
the schema judges it too; a closed schema has to declare it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

from gemma_edge.errors import InputError
from gemma_edge.extract.expressions.words import explain
from gemma_edge.extract.recipes.instructions import render_instructions
from gemma_edge.extract.recipes.parts import (
    Check,
    Computed,
    CounterExample,
    Example,
    Rule,
    Severity,
    parse_check,
    parse_computed,
    parse_counter_example,
    parse_habit,
    parse_rule,
)
from gemma_edge.extract.schemas.fields import ANSWER, unknown_names
from gemma_edge.extract.schemas.schema import Schema
from gemma_edge.extract.schemas.walk import Json
from gemma_edge.extract.values.normalize import normalize, place
from gemma_edge.extract.values.types_reading import Habits


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
class Outcome:
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

    @cached_property
    def asked(self) -> Schema:
        """The schema of what the model is asked for: without what is computed."""
        names = {each.name for each in self.compute}
        declared = self.schema.source.get("properties", {})
        if not names & set(declared):
            return self.schema
        source = {
            **self.schema.source,
            "properties": {name: sub for name, sub in declared.items() if name not in names},
        }
        required = source.get("required")
        if isinstance(required, list):
            source["required"] = [name for name in required if name not in names]
        return Schema(source, self.schema.notes)

    @cached_property
    def decoding(self) -> Json:
        """What the decoder is held to: a semantic leaf is a text, as it is printed."""
        return self.asked.decoding

    @cached_property
    def strict_decoding(self) -> Json:
        """The same without the nulls that the user's schema does not allow."""
        return self.asked.strict_decoding

    def form(self) -> str:
        """What the model is asked for, as it reads it."""
        return self.asked.form()

    def render_instructions(self) -> str:
        """Rules, counter-examples, worked arithmetic and examples as the model reads them, after
        the form; "" where there are none."""
        return render_instructions(self.rules, self.counter_examples, self.worked, self.examples)

    def with_(  # noqa: PLR0913 (one argument a flag)
        self,
        *,
        name: str | None = None,
        schema: Schema | None = None,
        rules: Sequence[str | Rule] = (),
        counter_examples: Sequence[str | CounterExample] = (),
        worked: Sequence[str] = (),
        examples: Sequence[Example] = (),
        normalize: Sequence[str] = (),
        compute: Sequence[str | Computed] = (),
        checks: Sequence[str | Check] = (),
    ) -> "Recipe":
        """The recipe with more in it, as flags write it. A value that is computed already is
        computed anew; name and schema are replaced.

        Raises:
            InputError: a flag's text is not of its form, or names a field that is not there.
        """
        known = tuple((schema or self.schema).source.get("properties", ()))
        added = [parse_computed(each) if isinstance(each, str) else each for each in compute]
        more = [parse_check(each) if isinstance(each, str) else each for each in checks]
        names = {each.name for each in added}
        changed = replace(
            self,
            name=self.name if name is None else name,
            schema=schema or self.schema,
            rules=self.rules
            + tuple(parse_rule(each, known) if isinstance(each, str) else each for each in rules),
            counter_examples=self.counter_examples
            + tuple(
                parse_counter_example(each) if isinstance(each, str) else each
                for each in counter_examples
            ),
            worked=self.worked + tuple(worked),
            examples=self.examples + tuple(examples),
            habits=reduce(lambda habits, text: parse_habit(text, habits), normalize, self.habits),
            compute=(*(each for each in self.compute if each.name not in names), *added),
            checks=(*self.checks, *more),
        )
        computed = [each.name for each in changed.compute]
        for said, _ in unknown_names(changed.asked.source, added, more, computed):
            raise InputError(said, hint=f"fields: {', '.join(known)}")
        return changed

    def finish(self, data: Any, text: str = "") -> Outcome:
        """Convert, compute and check ``data``, parsed JSON as the model wrote it. ``text`` is the
        document's: it may show the order of day and month, or the decimal sign. Never raises."""
        try:
            read = normalize(data, self.asked.source, self.habits, text)
        except RecursionError:
            return Outcome(data, notes=("nested too deeply to be converted and checked",))
        failures = [
            CheckFailure(f'{place(each.path)}: "{each.text}" {_unread(each.kind, each.reading)}',
                         (place(each.path),))
            for each in read.unread
            if not each.tolerated
        ]  # fmt: skip
        notes = [
            f'{place(each.path)}: "{each.text}" {each.reading.problem}'
            for each in read.unread
            if each.tolerated
        ]
        known = dict(read.data) if isinstance(read.data, dict) else {ANSWER: read.data}
        computed: dict[str, Any] = {}
        for each in self.compute:
            found = each.expression.evaluate(known)
            known[each.name] = computed[each.name] = found.value
            if reason := found.problem or _because(found.nulls):
                notes.append(f"{each.name} is not computed: {reason}")
        for check in self.checks:
            self._check(check, known, failures, notes)
        order = tuple(self.schema.source.get("properties", ()))
        return Outcome(
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
        """The fields that ``names`` stand for: a computed one for those it is computed from."""
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
        """A hash of all that decides the result, for the key of a batch."""
        said = [
            self.schema.source,
            [vars_of(part) for part in (*self.rules, *self.counter_examples, *self.examples)],
            self.worked,
            vars_of(self.habits),
            [(each.name, each.expression.text) for each in self.compute],
            [
                (each.expression.text, each.severity, each.fields, str(each.tolerance), each.why)
                for each in self.checks
            ],
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def vars_of(part: Any) -> dict[str, Any]:
    """What a part says, as plain data."""
    return {name: getattr(part, name) for name in part.__dataclass_fields__ if name != "line"}


def bare_recipe(schema: Schema) -> Recipe:
    """A schema alone: no instructions, nothing computed, nothing checked."""
    return Recipe("", schema, notes=schema.remarks)


def _because(nulls: Sequence[str]) -> str:
    if not nulls:
        return ""
    return f"{', '.join(nulls)} {'is' if len(nulls) == 1 else 'are'} null"


def _unread(kind: str, reading: Any) -> str:
    if reading.choices:
        return str(reading.problem)
    return f"is not read as {kind}: {reading.problem}"
