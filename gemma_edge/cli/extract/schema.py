"""``gemma-edge schema``: look at a schema before a document is read with it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.extract.schema_trial import run_trials
from gemma_edge.cli.inputs import read_piped, whole_text
from gemma_edge.cli.options import Job, ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.extract.schemas.inferring import infer_schema
from gemma_edge.extract.schemas.json_text import parse_values
from gemma_edge.extract.schemas.oneline import TYPES, WORDS
from gemma_edge.extract.schemas.schema import Schema, check_source, parse_schema, read_text
from gemma_edge.extract.schemas.semantic import CONVERTED, MARK

STDIN = "-"
BUNDLED = "demo"
RUNGS = {"": "exactly", "coerce_one_of": "with oneOf read as anyOf", "lenient": "in part"}
FATES = {
    "decoding": "✔ enforced",
    "afterwards": "– afterwards",
    "refused": "✘ refused",
    "read": "  no rule",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaOptions:
    """What is asked. ``what`` are schemas, examples or files, as the action wants them;
    ``model`` names a vocabulary for ``test``."""

    action: str
    what: tuple[str, ...] = ()
    decoding: bool = False
    strict: bool = False
    trust: bool = False
    model: str = BUNDLED
    store: StoreOptions = StoreOptions()


def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    action: Annotated[
        str, typer.Argument(metavar="ACTION", help="show, check, infer, types or test; see above.")
    ],
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="WHAT", help="A schema as `extract --schema` takes it, or files."),
    ] = None,
    decoding: Annotated[
        bool, typer.Option("--decoding", help="show: what the decoder is held to instead.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="As `extract --strict`: no value may be missing.")
    ] = False,
    trust: flags.Trust = False,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="NAME|PATH", show_default=False,
            help="test: whose tokens to use (default: the bundled model's).",
        ),
    ] = BUNDLED,
    models_dir: flags.ModelsDir = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:  # fmt: skip
    """Look at a schema before a document is read with it.

    `show` prints it as JSON Schema, `check` says what becomes of each keyword, `infer` makes one
    from examples, `types` lists the words of the one-line language and what each becomes, and
    `test` tries the instances of {"schema": …, "tests": [{"valid": true, "data": …}]}: --json
    prints one line a file.

    \b
    gemma-edge schema show "vendor, date: date, items[]: {name, price num}"
    gemma-edge schema check invoice.schema.json
    gemma-edge schema infer bill1.json bill2.json > bills.schema.json
    gemma-edge schema show models.py:Invoice --trust
    gemma-edge schema test schemas/*.json
    """
    asked = SchemaOptions(
        action=action, what=tuple(what or ()), decoding=decoding, strict=strict, trust=trust,
        model=model, store=StoreOptions(offline=True, models_dir=models_dir),
    )  # fmt: skip
    return partial(run, asked, ShowOptions(json=json, quiet=quiet))


def run(asked: SchemaOptions, show: ShowOptions, context: Context, output: Output) -> ExitStatus:
    """One action; all of them are offline, and none loads the weights of a model."""
    output.quiet = show.quiet
    action = ACTIONS.get(asked.action)
    if action is None:
        raise UsageError(
            f"`{asked.action}` is none of {', '.join(ACTIONS)}", hint="gemma-edge schema --help"
        )
    return action(asked, show, context, output)


def _show(asked: SchemaOptions, show: ShowOptions, context: Context, output: Output) -> ExitStatus:
    schema = _only_schema(asked, context, output)
    shown = schema.source
    if asked.decoding:
        shown = schema.strict_decoding if asked.strict else schema.decoding
    output.note(f"the model reads: {schema.form()}")
    output.document(shown)
    return ExitStatus.OK


def _check(asked: SchemaOptions, show: ShowOptions, context: Context, output: Output) -> ExitStatus:
    from gemma_edge.extract.schemas.examining import examine  # noqa: PLC0415  (25 ms of llguidance)

    schema = _only_schema(asked, context, output)
    found = examine(schema, strict=asked.strict)
    rung = RUNGS[found.enforced.rung] if found.enforced else ""
    if show.json:
        output.document(
            {
                "enforced": rung or None,
                "refusal": found.refusal or None,
                "keywords": [
                    {"keyword": each.keyword, "fate": each.fate, "reason": each.reason or None,
                     "place": each.place, "places": each.places}
                    for each in found.rulings
                ],
            }
        )  # fmt: skip
    else:
        rows = []
        for fate, title in FATES.items():
            plain = [each for each in found.rulings if each.fate == fate and not each.reason]
            if plain:
                words = ", ".join(f"{each.keyword} {each.places}" for each in plain)
                rows.append((title, words, "", ""))
            rows += [
                (title, each.keyword, _places(each.place, each.places), each.reason)
                for each in found.rulings
                if each.fate == fate and each.reason
            ]
        for title, *cells in rows:
            output.page("  ".join(cell for cell in (title.ljust(12), *cells) if cell))
    if found.enforced is None:
        output.problem(found.refusal)
        return ExitStatus.INPUT
    output.note(
        f"enforced while decoding {rung}; the answer is checked by the schema itself in any case"
    )
    return ExitStatus.OK


def _places(place: str, count: int) -> str:
    return place if count == 1 else f"{place} and {count - 1:,} more"


def _infer(asked: SchemaOptions, show: ShowOptions, context: Context, output: Output) -> ExitStatus:
    if not asked.what:
        raise UsageError("there is no example", hint="gemma-edge schema infer FILE.json")
    examples: list[Any] = []
    for each in asked.what:
        name = "stdin" if each == STDIN else Path(each).name
        is_text = each.lstrip().startswith(("{", "["))
        text = _piped(context, output) if each == STDIN else each if is_text else read_text(each)
        examples += parse_values(text, "the example" if is_text else name)
    output.document(check_source(infer_schema(examples), "the inferred schema"))
    count = len(examples)
    output.note(f"from {count:,} example{'' if count == 1 else 's'}; edit what it cannot know")
    return ExitStatus.OK


def _types(asked: SchemaOptions, show: ShowOptions, context: Context, output: Output) -> ExitStatus:
    if asked.what:
        raise UsageError("`types` takes nothing more", hint="gemma-edge schema types")
    if show.json:
        rows = [
            {"words": list(words), "means": means, "schema": TYPES.get(words[0])}
            for words, means in WORDS
        ]
        output.document(rows)
    else:
        output.table([(", ".join(words), means) for words, means in WORDS])
    output.note(
        f"{', '.join(CONVERTED)}: the model copies what is printed, code converts it, and the "
        f'schema judges the result; in a JSON Schema, "format": "date" and "{MARK}": "money"'
    )
    return ExitStatus.OK


def _test(asked: SchemaOptions, show: ShowOptions, context: Context, output: Output) -> ExitStatus:
    if not asked.what:
        raise UsageError("there is no file to test", hint="gemma-edge schema test FILE.json")
    return run_trials(
        asked.what, asked.model, asked.store, show, context, output, strict=asked.strict
    )


ACTIONS: dict[str, Callable[[SchemaOptions, ShowOptions, Context, Output], ExitStatus]] = {
    "show": _show,
    "check": _check,
    "infer": _infer,
    "types": _types,
    "test": _test,
}


def _only_schema(asked: SchemaOptions, context: Context, output: Output) -> Schema:
    if len(asked.what) != 1:
        many = f"{len(asked.what)} schemas were given" if asked.what else "there is no schema"
        raise UsageError(
            f"{many}, and `{asked.action}` takes one",
            hint=f'gemma-edge schema {asked.action} "vendor, total num"',
        )
    (text,) = asked.what
    schema = parse_schema(
        _piped(context, output) if text == STDIN else whole_text(text), trust=asked.trust
    )
    for note in schema.remarks:
        output.note(note)
    return schema


def _piped(context: Context, output: Output) -> str:
    if context.stdin_is_terminal:
        raise UsageError("`-` reads stdin, and stdin is a terminal", hint="name a file")
    return read_piped(context, output)
