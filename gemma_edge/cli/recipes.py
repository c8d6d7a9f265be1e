"""``gemma-edge recipes``: what a recipe says, and a person's own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gemma_edge.cli.context import Context, recipes_dir
from gemma_edge.cli.options import Job, ShowFlags, Trust, argument, option
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, GemmaEdgeError, UsageError

if TYPE_CHECKING:
    from gemma_edge.extraction.recipe import Recipe
    from gemma_edge.extraction.recipe_file import Finding

_FIELDS = 6  # fields that a line of the list names


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipesFlags:
    """What is asked: an action, and the names or files of recipes."""

    action: Annotated[str, argument("ACTION", "list, show, save or lint; see above.")] = "list"
    what: Annotated[
        tuple[str, ...], argument("RECIPE", "A name of `recipes list`, or a .yaml file.")
    ] = ()
    prompt: Annotated[
        bool, option("--prompt", help="show: what the model reads of it instead.")
    ] = False
    replace: Annotated[bool, option("--replace", help="save: over one of that name.")] = False
    trust: Trust = False


def command(asked: RecipesFlags, show: ShowFlags) -> Job:
    """Recipes for `extract -r`: a schema, what an expert knows of such documents, and arithmetic
    that code does.

    `list` names them, `show` prints one, `save NAME RECIPE` keeps a copy of your own to edit, and
    `lint` looks for what is wrong: fields that are not there, examples that fail their own checks.

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

    Checks that do not hold are asked again, with the numbers. `~=` is equal within 0.02, and what
    depends on a value that is missing is not checked. There are sum, min, max, len, round, abs,
    any, all, date, default, previous, following and mrz.
    """
    return partial(run, asked, show)


def run(asked: RecipesFlags, show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """One action; all of them are offline, and none loads a model."""
    output.quiet = show.quiet
    action = ACTIONS.get(asked.action)
    if action is None:
        raise UsageError(
            f"`{asked.action}` is none of {', '.join(ACTIONS)}", hint="gemma-edge recipes --help"
        )
    return action(asked, show, recipes_dir(context), output)


def _list(asked: RecipesFlags, show: ShowFlags, own: Path, output: Output) -> ExitStatus:
    from gemma_edge.extraction.recipe_file import owned, shipped  # noqa: PLC0415  (PyYAML)

    if asked.what:
        raise UsageError(
            "`list` takes nothing more", hint=f"gemma-edge recipes show {asked.what[0]}"
        )
    mine = owned([own])
    rows: list[dict[str, Any]] = []
    for name in sorted({*mine, *shipped()}):
        row: dict[str, Any] = {"name": name, "path": str(mine[name]) if name in mine else None}
        try:
            recipe = _load(name, own, asked)
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


def _show(asked: RecipesFlags, show: ShowFlags, own: Path, output: Output) -> ExitStatus:
    from gemma_edge.extraction.recipe_file import find  # noqa: PLC0415

    name = _only(asked)
    recipe = _load(name, own, asked)
    if show.json:
        output.document(_as_document(recipe))
    elif asked.prompt:
        output.data("\n".join(filter(None, (recipe.form(), recipe.render_instructions()))))
    else:
        text, _, path = find(name, [own])
        output.data(text)
        output.note(f"it is in {path}" if path else "it comes with gemma-edge")
    for note in recipe.notes:
        output.note(note)
    return ExitStatus.OK


def _save(asked: RecipesFlags, show: ShowFlags, own: Path, output: Output) -> ExitStatus:
    from gemma_edge.extraction.recipe_file import (  # noqa: PLC0415
        find,  # noqa: PLC0415
        render_recipe,
        save_text,
    )

    if len(asked.what) != 2:  # noqa: PLR2004  (a new name, and what is kept under it)
        raise UsageError(
            "`save` takes a name and a recipe", hint="gemma-edge recipes save our-invoices invoice"
        )
    name, source = asked.what
    recipe = _load(source, own, asked)
    text, _, path = find(source, [own])
    if path is not None and path.parent != own and _refers(text, asked):
        text = render_recipe(recipe)
        output.note("what lay in files beside it stands in it now")
    kept = save_text(text, name, own, replace=asked.replace)
    if show.json:
        output.document({"path": str(kept)})
    else:
        output.data(str(kept))
    return ExitStatus.OK


def _refers(text: str, asked: RecipesFlags) -> bool:
    """Whether a recipe, which can be read, cannot without the files beside it."""
    from gemma_edge.extraction.recipe_file import read_recipe  # noqa: PLC0415

    try:
        read_recipe(text, "", "", trust=asked.trust)
    except GemmaEdgeError:
        return True
    return False


def _lint(asked: RecipesFlags, show: ShowFlags, own: Path, output: Output) -> ExitStatus:
    from gemma_edge.extraction.recipe_file import owned  # noqa: PLC0415

    names = asked.what or tuple(owned([own]))
    if not names:
        raise UsageError("you have no recipe of your own", hint="gemma-edge recipes lint FILE.yaml")
    wrong, rows = 0, []
    for name in names:
        found = [(each.severity, each.line, each.text) for each in _findings(name, own, asked)]
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


def _findings(name: str, own: Path, asked: RecipesFlags) -> "list[Finding]":
    from gemma_edge.extraction.recipe_file import (  # noqa: PLC0415  (llguidance)
        Finding,
        lint,
        load_unverified,  # noqa: PLC0415
    )

    try:
        recipe, _ = load_unverified(name, [own], trust=asked.trust)
    except GemmaEdgeError as error:  # the line stands in the message
        return [Finding(error.message)]
    return lint(recipe)


ACTIONS: dict[str, Callable[[RecipesFlags, ShowFlags, Path, Output], ExitStatus]] = {
    "list": _list,
    "show": _show,
    "save": _save,
    "lint": _lint,
}


def _only(asked: RecipesFlags) -> str:
    if len(asked.what) != 1:
        many = f"{len(asked.what)} recipes were named" if asked.what else "no recipe was named"
        raise UsageError(
            f"{many}, and `{asked.action}` takes one",
            hint=f"gemma-edge recipes {asked.action} invoice",
        )
    return asked.what[0]


def _load(name: str, own: Path, asked: RecipesFlags) -> "Recipe":
    from gemma_edge.extraction.recipe_file import load_recipe  # noqa: PLC0415  (30 ms)

    return load_recipe(name, [own], trust=asked.trust)


def _fields(recipe: "Recipe") -> tuple[str, ...]:
    return (
        *recipe.asked.source.get("properties", ()),
        *(each.name for each in recipe.compute),
    )


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
