"""A recipe to the text of a file, and to a person's own folder."""

import os
from pathlib import Path
from typing import Any

import yaml

from gemma_edge.documents.files import shown
from gemma_edge.errors import InputError, UsageError
from gemma_edge.extract.expressions.expression import CENTS
from gemma_edge.extract.recipes.finding import ENDINGS, recipe_name
from gemma_edge.extract.recipes.parts import Check, CounterExample, Rule
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.extract.values.types_reading import Habits

_WIDTH = 100  # columns of a file


def render_recipe(recipe: Recipe) -> str:
    """The YAML that reads as ``recipe``; what lay in other files stands in it."""
    habits = {name: value for name in Habits.__slots__ if (value := getattr(recipe.habits, name))}
    whole: dict[str, Any] = {
        "description": recipe.description,
        "schema": recipe.schema.source,
        "rules": [_rule(each) for each in recipe.rules],
        "not": [_counter_example(each) for each in recipe.counter_examples],
        "worked": list(recipe.worked),
        "examples": [{"text": each.text, "expect": each.expect} for each in recipe.examples],
        "normalize": habits,
        "compute": {each.name: each.expression.text for each in recipe.compute},
        "check": [_check(each) for each in recipe.checks],
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
    if path.exists() and not replace:
        raise UsageError(
            f"there is a recipe {shown(path)} already",
            hint=f"another name, or remove it; gemma-edge recipes save {path.stem} … --replace",
        )
    half = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(text, encoding="utf-8", newline="\n")
        os.replace(half, path)
    except OSError as error:
        raise InputError(
            f"{shown(path)} cannot be written ({error.strerror or error})", hint="check the folder"
        ) from None
    return path


def _rule(rule: Rule) -> Any:
    return {"field": rule.field, "rule": rule.text} if rule.field else rule.text


def _counter_example(each: CounterExample) -> dict[str, str]:
    said = {"field": each.field, "text": each.text, "like": each.like, "why": each.why}
    return {name: value for name, value in said.items() if value}


def _check(check: Check) -> Any:
    more: dict[str, Any] = {}
    if check.severity != "error":
        more["severity"] = check.severity
    if check.fields:
        more["fields"] = list(check.fields)
    if check.tolerance != CENTS:
        more["tolerance"] = float(check.tolerance)
    if check.why:
        more["why"] = check.why
    return {"expr": check.expression.text, **more} if more else check.expression.text


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
