"""What is wrong with a recipe before a document is read with it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gemma_edge.extract.paths import ValuePath
from gemma_edge.extract.recipes.parts import CounterExample, Example, Rule, Severity
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.extract.schemas.check import Checker
from gemma_edge.extract.schemas.examining import examine
from gemma_edge.extract.schemas.fields import Fields, unknown_names
from gemma_edge.extract.values.normalize import place
from gemma_edge.extract.values.types_number import read_number
from gemma_edge.extract.values.types_reading import Habits

_NUMBER = re.compile(r"\d[\d.,'’ \u00a0\u202f]*\d|\d")
_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class Finding:
    """``text`` is one line; ``line`` is of the recipe's file, 0 where that says nothing. A "warn"
    does no harm to the result."""

    text: str
    line: int = 0
    severity: Severity = "error"


def lint(recipe: Recipe) -> list[Finding]:
    """Everything that is found, in the order of the file."""
    found = [
        *_fields(recipe), *_counter_examples(recipe), *_expressions(recipe), *_schema(recipe),
        *(finding for example in recipe.examples for finding in _example(recipe, example)),
    ]  # fmt: skip
    return sorted(found, key=lambda finding: finding.line)


def _fields(recipe: Recipe) -> Iterator[Finding]:
    """Rules about fields that are not there, or that the model never writes."""
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
            yield Finding(f"{what} is about `{part.field}`: {said}", part.line)


def _counter_examples(recipe: Recipe) -> Iterator[Finding]:
    """What is said twice, or said to be wrong and expected all the same."""
    fields = Fields(recipe.asked.source)
    seen: set[tuple[str, str]] = set()
    for each in recipe.counter_examples:
        if not each.text:
            continue
        key = each.field, _folded(each.text)
        if key in seen:
            yield Finding(f'{each.field} is not "{each.text}": that is said twice', each.line)
        seen.add(key)
        allowed = [
            value for view, _ in fields.schemas(each.field) for value in view.get("enum", ())
        ]
        if any(isinstance(value, str) and _folded(value) == key[1] for value in allowed):
            yield Finding(
                f'{each.field} is not "{each.text}", and the schema offers it as a choice',
                each.line,
            )
        for example in recipe.examples:
            for path, value in _leaves(example.expect):
                name = ".".join(str(part) for part in path if isinstance(part, str))
                if name == each.field and isinstance(value, str) and _folded(value) == key[1]:
                    yield Finding(
                        f'{each.field} is not "{each.text}", and {_name(example)} expects it',
                        each.line,
                    )


def _expressions(recipe: Recipe) -> Iterator[Finding]:
    """Names that are not there, and values that have no place."""
    names: list[str] = []
    declared = Fields(recipe.schema.source).names()
    for said, line in unknown_names(recipe.asked.source, recipe.compute, recipe.checks):
        yield Finding(said, line)
    for each in recipe.compute:
        if each.name not in declared and recipe.schema.source.get("additionalProperties") is False:
            yield Finding(
                f"the schema is closed, so it has to declare the computed `{each.name}`", each.line
            )
        names.append(each.name)
    fields = Fields(recipe.asked.source, names)
    for check in recipe.checks:
        if not check.expression.names:
            yield Finding(f"the check `{check.expression.text}` looks at no field", check.line)
        for path in check.fields:
            said = fields.problem(path)
            if said or path in names:
                why = said or "it is computed, and cannot be asked again"
                yield Finding(f"the check asks again for `{path}`: {why}", check.line)


def _schema(recipe: Recipe) -> Iterator[Finding]:
    """What the decoder is not held to, and the last check alone finds."""
    found = examine(recipe.asked)
    if found.enforced is None:
        yield Finding(f"no answer is possible: {found.refusal}")
    for each in found.rulings:
        if each.fate == "afterwards" and "copied as it is printed" not in each.reason:
            more = f" and {each.places - 1:,} more" if each.places > 1 else ""
            yield Finding(
                f"{each.keyword} at {each.place}{more} is checked only afterwards: {each.reason}",
                severity="warn",
            )


def _example(recipe: Recipe, example: Example) -> Iterator[Finding]:
    """An example has to be an answer that the model could give, and one that passes."""
    name, line = _name(example), example.line
    wrong = Checker(recipe.decoding).check(example.expect, strict=True).problems
    for problem in wrong:
        yield Finding(f"{name} is not as the model writes it, as printed: {problem}", line)
    for path, value in _leaves(example.expect):
        if not _stands(value, example.text, recipe, path):
            shown = json.dumps(value, ensure_ascii=False)[:_SHOWN]
            yield Finding(f"{name}: {place(path)} is {shown}, and that is not in its text", line)
    if wrong:
        return
    outcome = recipe.finish(example.expect, example.text)
    for failure in outcome.failures:
        yield Finding(f"{name} fails a check of its own: {failure.text}", line)
    for problem in recipe.schema.checker.check(outcome.output).problems:
        yield Finding(f"{name} is not valid by the schema: {problem}", line)


def _name(example: Example) -> str:
    return f"the example {example.name}" if example.name else "the example"


def _leaves(value: Any, path: ValuePath = ()) -> Iterator[tuple[ValuePath, Any]]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in pairs:
            yield from _leaves(each, (*path, key))
    elif value is not None and not isinstance(value, bool):
        yield path, value


def _stands(value: Any, text: str, recipe: Recipe, path: ValuePath) -> bool:
    """Whether a value is printed. A choice of the schema's need not be."""
    if isinstance(value, str):
        name = ".".join(part for part in path if isinstance(part, str))
        chosen = any("enum" in view for view, _ in Fields(recipe.asked.source).schemas(name))
        return chosen or _folded(value) in _folded(text)
    printed = (found[0] for found in _NUMBER.finditer(text))
    return any(value in map(float, read_number(each, Habits())) for each in printed) or (
        str(value) in text
    )


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
