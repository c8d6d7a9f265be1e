"""``gemma-edge recipes``: what a recipe says, and a person's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gemma_edge.cli.completion import recipe_names
from gemma_edge.cli.context import Context, recipes_dir
from gemma_edge.cli.flags import Actions, argument, option
from gemma_edge.cli.options import ShowFlags, Trust
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, GemmaEdgeError, UsageError
from gemma_edge.records import dataclass

if TYPE_CHECKING:
    from gemma_edge.extraction.recipe import Recipe
    from gemma_edge.extraction.recipe_file import LintFinding

_FIELDS = 6  # fields that a line of the list names


HELP = """\
What `extract` is told about a kind of document: a schema, what an expert knows of it, and
arithmetic that code does.

\b
gemma-edge recipes
gemma-edge recipes show invoice
gemma-edge recipes save our-invoices invoice
gemma-edge recipes lint our-invoices ./receipts.yaml
gemma-edge extract bill.pdf -r our-invoices

A recipe is a YAML file:

\b
schema: |
  vendor: who issues it
  date: date
  items[]: {name, qty amount, price amount, amount amount}
  tax?: amount
  total: amount
rules:
  - {field: total, rule: "what is to be paid, after tax"}
not:
  - {field: total, text: Balance forward 12.00, why: of another invoice}
worked:
  - 3 x 4.75 = 14.25, and 7 % tax of it is 1.00, so total is 15.25
normalize: {date: dmy, decimal: ","}
compute:
  items_sum: sum(items.amount)
check:
  - items_sum + (tax or 0) ~= total
  - {expr: all(i.qty * i.price ~= i.amount for i in items), severity: warn}
recognize:
  as: a bill
  names: bill, invoice, *rechnung
  words: amount due, bill to, zahlbar

Checks that do not hold are asked again, with the numbers. `~=` is equal within 0.02, and what
depends on a value that is missing is not checked. There are sum, min, max, len, round, abs,
any, all, date, default, previous, following and mrz.

By `recognize` a document that comes without -r finds its recipe: names of the kind, as titles
print them, and words that stand in it; a `*` is the rest of a word. A recipe without it is found
by its own name and by its fields.
"""

Name = Annotated[
    str, argument("RECIPE", "A name of `recipes list`, or a .yaml file.", complete=recipe_names)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowRecipeFlags:
    """Which recipe, and what of it."""

    name: Name
    prompt: Annotated[bool, option("--prompt", help="What the model reads of it instead.")] = False
    trust: Trust = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveRecipeFlags:
    """Which recipe, and under which name."""

    name: Annotated[str, argument("NAME", "How yours is to be called.")]
    source: Name
    replace: Annotated[bool, option("--replace", help="Over one of that name.")] = False
    trust: Trust = False


def list_command(show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """Name the recipes: those that come with gemma-edge, and your own."""
    from gemma_edge.extraction.recipe_file import owned, shipped  # noqa: PLC0415  (PyYAML)

    own = recipes_dir(context)
    mine = owned([own])
    rows: list[dict[str, Any]] = []
    for name in sorted({*mine, *shipped()}):
        row: dict[str, Any] = {"name": name, "path": str(mine[name]) if name in mine else None}
        try:
            recipe = _load(name, own)
            row |= {"description": recipe.description, "fields": list(_fields(recipe))}
        except GemmaEdgeError as error:  # one that is damaged hides none of the others
            row["problem"] = error.message
        rows.append(row)
    if show.json:
        output.document({"recipes": rows, "folder": str(own)})
    else:
        output.table([(each["name"], _in_words(each)) for each in rows])
    output.note(f"{len(mine)} of your own, in {own}")
    return ExitStatus.OK


def _in_words(row: dict[str, Any]) -> str:
    if "problem" in row:
        return f"cannot be read: {row['problem']}"
    names = row["fields"]
    more = ", …" if len(names) > _FIELDS else ""
    said = row["description"] or "no description"
    return f"{said}{' (yours)' if row['path'] else ''}: {', '.join(names[:_FIELDS])}{more}"


def show_command(
    asked: ShowRecipeFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """Print a recipe.

    \b
    gemma-edge recipes show invoice
    gemma-edge recipes show invoice --prompt
    """
    from gemma_edge.extraction.recipe_file import find  # noqa: PLC0415

    own = recipes_dir(context)
    recipe = _load(asked.name, own, trust=asked.trust)
    if show.json:
        output.document(_as_document(recipe))
    elif asked.prompt:
        output.data("\n".join(filter(None, (recipe.form(), recipe.render_instructions()))))
    else:
        text, _, path = find(asked.name, [own])
        output.data(text)
        output.note(f"it is in {path}" if path else "it comes with gemma-edge")
    for note in recipe.notes:
        output.note(note)
    return ExitStatus.OK


def save_command(
    asked: SaveRecipeFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """Keep a copy of a recipe as your own, to edit.

    \b
    gemma-edge recipes save our-invoices invoice
    """
    from gemma_edge.extraction.recipe_file import find, render_recipe, save_text  # noqa: PLC0415

    own = recipes_dir(context)
    recipe = _load(asked.source, own, trust=asked.trust)
    text, _, path = find(asked.source, [own])
    if path is not None and path.parent != own and _refers(text, asked.trust):
        text = render_recipe(recipe)
        output.note("what lay in files beside it stands in it now")
    kept = save_text(text, asked.name, own, replace=asked.replace)
    if show.json:
        output.document({"path": str(kept)})
    else:
        output.data(str(kept))
    return ExitStatus.OK


def _refers(text: str, trust: bool) -> bool:
    """Whether a recipe, which can be read, cannot without the files beside it."""
    from gemma_edge.extraction.recipe_file import read_recipe  # noqa: PLC0415

    try:
        read_recipe(text, "", "", trust=trust)
    except GemmaEdgeError:
        return True
    return False


def lint_command(
    names: Annotated[
        tuple[str, ...],
        argument(
            "RECIPE", "Names or .yaml files; without any, all of your own.", complete=recipe_names
        ),
    ] = (),
    trust: Trust = False,
    *,
    show: ShowFlags,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Look for what is wrong in recipes: fields that are not there, examples that fail their own
    checks. Status 3 if there is an error.

    \b
    gemma-edge recipes lint our-invoices ./receipts.yaml
    """
    from gemma_edge.extraction.recipe_file import owned  # noqa: PLC0415

    own = recipes_dir(context)
    chosen = names or tuple(owned([own]))
    if not chosen:
        raise UsageError("you have no recipe of your own", hint="gemma-edge recipes lint FILE.yaml")
    wrong, rows = 0, []
    for name in chosen:
        found = [(each.severity, each.line, each.text) for each in _findings(name, own, trust)]
        wrong += any(severity == "error" for severity, *_ in found)
        rows += [{"recipe": name, "severity": severity, "line": line or None, "text": text}
                 for severity, line, text in found]  # fmt: skip
        if not show.json:
            for severity, line, text in found:
                where = f"{name}, line {line}: " if line else f"{name}: "
                where = "" if text.startswith(name) else where
                output.page(f"{'✘' if severity == 'error' else '–'} {where}{text}")
            if not found:
                output.page(f"✔ {name}")
    if show.json:
        output.document({"findings": rows})
    return ExitStatus.INPUT if wrong else ExitStatus.OK


def _findings(name: str, own: Path, trust: bool) -> "list[LintFinding]":
    from gemma_edge.extraction.recipe_file import (  # noqa: PLC0415
        LintFinding,
        lint,
        load_unverified,
    )  # fmt: skip

    try:
        recipe, _ = load_unverified(name, [own], trust=trust)
    except GemmaEdgeError as error:  # the line stands in the message
        return [LintFinding(error.message)]
    return lint(recipe)


def _load(name: str, own: Path, *, trust: bool = False) -> "Recipe":
    from gemma_edge.extraction.recipe_file import load_recipe  # noqa: PLC0415  (30 ms)

    return load_recipe(name, [own], trust=trust)


def _fields(recipe: "Recipe") -> tuple[str, ...]:
    return *recipe.asked.source.get("properties", ()), *(each.name for each in recipe.compute)


def _as_document(recipe: "Recipe") -> dict[str, Any]:
    return {
        "name": recipe.name,
        "description": recipe.description,
        "schema": recipe.schema.source,
        "form": recipe.form(),
        "instructions": recipe.render_instructions(),
        "compute": {each.name: each.expression.text for each in recipe.compute},
        "checks": [
            {"expr": each.expression.text, "severity": each.severity, "fields": list(each.fields)}
            for each in recipe.checks
        ],
        "fingerprint": recipe.fingerprint,
    }


ACTIONS = Actions(
    help=HELP,
    commands={
        "list": list_command, "show": show_command, "save": save_command, "lint": lint_command,
    },
    usual="list",
)  # fmt: skip
