"""``gemma-edge extract``: read documents into JSON that a schema accepts."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gemma_edge.cli import options as flags
from gemma_edge.cli.app_batch import DOCUMENTS, find_sources
from gemma_edge.cli.app_extract import EVIDENCES, FORMS, ExtractOptions, RecipeOptions
from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import whole_text
from gemma_edge.cli.options import PASSWORD_VARIABLE, Job, ModelOptions, ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import TILES, PageNumbers, parse_page_numbers
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.extraction.pages import STRATEGIES, VISIONS

ASKING, READING = "What is asked", "How it is read"
SHOWING, MANY = "What comes out", "Many documents"


def _choice(value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise typer.BadParameter(f"`{value}` is none of {', '.join(choices)}")
    return value


def _pages(text: str) -> PageNumbers:
    try:
        return parse_page_numbers(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` does not name pages, like 3, 1-4 or 2,-1") from None


def _tiles(text: str) -> int:
    if text in map(str, TILES):
        return int(text)
    raise typer.BadParameter(f"`{text}` is neither 2 (halves) nor 4 (quarters)")


@flags.takes_model
def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="A PDF, image, office or text file, - for stdin."),
    ],
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema", "-s", metavar="SCHEMA", rich_help_panel=ASKING, show_default=False,
            help='A JSON Schema (file, JSON text, - for stdin), or names: "vendor, total num".',
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", "-r", metavar="NAME|FILE", rich_help_panel=ASKING, show_default=False,
            help="A recipe: schema, rules and checks; `gemma-edge recipes list` shows them.",
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule", metavar="TEXT", rich_help_panel=ASKING, show_default=False,
            help='What the model must know, like "total: after tax"; repeatable.',
        ),
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option(
            "--not", metavar="TEXT", rich_help_panel=ASKING, show_default=False,
            help='What looks right and is wrong: "total: Balance forward"; repeatable.',
        ),
    ] = None,
    worked: Annotated[
        list[str] | None,
        typer.Option(
            "--worked", metavar="TEXT", rich_help_panel=ASKING, show_default=False,
            help='Arithmetic as an example: "3 x 4.75 = 14.25"; repeatable.',
        ),
    ] = None,
    example: Annotated[
        list[str] | None,
        typer.Option(
            "--example", metavar="FILE=JSON", rich_help_panel=ASKING, show_default=False,
            help="Another document and its answer, two files; repeatable.",
        ),
    ] = None,
    normalize: Annotated[
        list[str] | None,
        typer.Option(
            "--normalize", metavar="NAME=VALUE", rich_help_panel=ASKING, show_default=False,
            help="How the document writes: date=dmy, decimal=, region=DE, currency=EUR; "
            "repeatable.",
        ),
    ] = None,
    compute: Annotated[
        list[str] | None,
        typer.Option(
            "--compute", metavar="NAME=EXPR", rich_help_panel=ASKING, show_default=False,
            help='Computed by code: "items_sum = sum(items.amount)"; repeatable.',
        ),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            "--check", metavar="EXPR", rich_help_panel=ASKING, show_default=False,
            help='What has to hold: "items_sum ~= total"; repeatable.',
        ),
    ] = None,
    save_recipe: Annotated[
        str | None,
        typer.Option(
            "--save-recipe", metavar="NAME|FILE", rich_help_panel=ASKING, show_default=False,
            help="Keep all of this as a recipe.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", rich_help_panel=ASKING,
            help="A value that is not found makes the result invalid.",
        ),
    ] = False,
    trust: flags.Trust = False,
    pages: Annotated[
        PageNumbers | None,
        typer.Option(
            "--pages", metavar="LIST", parser=_pages, rich_help_panel=READING, show_default=False,
            help="Only these, like 1-3,8,-1 (the last).",
        ),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", rich_help_panel=READING, show_default=False,
            help=f"For an encrypted PDF; or {PASSWORD_VARIABLE}.",
        ),
    ] = None,
    vision: Annotated[
        str,
        typer.Option(
            "--vision", metavar="|".join(VISIONS), parser=partial(_choice, choices=VISIONS),
            rich_help_panel=READING,
            help="Pages as pictures: scans, all of them, or none.",
        ),
    ] = "auto",
    tiles: Annotated[
        int | None,
        typer.Option(
            "--tiles", metavar="2|4", parser=_tiles, rich_help_panel=READING, show_default=False,
            help="Cut pictures of pages in halves or quarters: for small print.",
        ),
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy", metavar="|".join(STRATEGIES),
            parser=partial(_choice, choices=STRATEGIES), rich_help_panel=READING,
            help="The document in one piece, or by windows of pages.",
        ),
    ] = "auto",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", rich_help_panel=READING,
            help="Show pages, tokens, passes and time; read nothing.",
        ),
    ] = False,
    evidence: Annotated[
        str | None,
        typer.Option(
            "--evidence", metavar="|".join(EVIDENCES), parser=partial(_choice, choices=EVIDENCES),
            rich_help_panel=SHOWING, show_default=False,
            help="Where each value stands: in the result, or in FILE.evidence.json.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", rich_help_panel=SHOWING, show_default=False,
            help="A page to review it: the document beside its values.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", rich_help_panel=MANY, show_default=False,
            help="Write answers there (.jsonl, .csv, .md, .db); what is in it is not done again.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="|".join(FORMS), parser=partial(_choice, choices=FORMS),
            rich_help_panel=MANY, show_default=False, help="Of the answers (default: json).",
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", metavar="N", min=1, max=32, rich_help_panel=MANY, show_default=False,
            help="Documents that are read ahead of the model (default: 2).",
        ),
    ] = 2,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", metavar="FILE", rich_help_panel=MANY, show_default=False,
            help="eval: score these instead of reading the documents.",
        ),
    ] = None,
    max_tokens: flags.MaxTokens = None,
    *,
    placed: ModelOptions,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:  # fmt: skip
    """Read documents into JSON. A value that is not in one is null.

    Several documents, a folder or a quoted pattern give a line of JSON each. `extract eval DIR`
    scores the answers about its documents against gold data beside them (bill.gold.json for
    bill.pdf); `extract diff A B` compares two files of answers.

    \b
    gemma-edge extract bill.pdf --schema "vendor, date, total num"
    gemma-edge extract bill.pdf -r invoice --html review.html
    gemma-edge extract bill.pdf -r invoice --check "subtotal + tax ~= total"
    gemma-edge extract contract.pdf -s contract.schema.json --dry-run
    gemma-edge extract bills/ -r invoice --out bills.csv
    gemma-edge extract eval bills/ -r invoice
    """
    asked = ExtractOptions(
        files=tuple(files),
        recipe=RecipeOptions(
            schema=schema, recipe=recipe, trust=trust, save_as=save_recipe,
            rules=_texts(rule), counter_examples=_texts(unlike), worked=_texts(worked),
            examples=_texts(example), habits=_texts(normalize), compute=_texts(compute),
            checks=_texts(check),
        ),
        pages=pages,
        password=password,
        vision=next(each for each in VISIONS if each == vision),
        tiles=tiles or 1,
        strategy=next(each for each in STRATEGIES if each == strategy),
        strict=strict,
        max_tokens=max_tokens,
        dry_run=dry_run,
        evidence=next((each for each in EVIDENCES if each == evidence), None),
        html=html,
        out=out,
        form=next((each for each in FORMS if each == form), None),
        jobs=jobs,
        answers=answers,
        scored=json or evidence is not None or html is not None,
    )  # fmt: skip
    return partial(run, asked, placed, ShowOptions(json=json, quiet=quiet))


def _texts(values: list[str] | None) -> tuple[str, ...]:
    return tuple(map(whole_text, values or ()))


def run(
    asked: ExtractOptions, model: ModelOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """One document or many, or what `eval` and `diff` do with answers."""
    output.quiet = show.quiet
    first = str(asked.files[0])
    if first == "eval" and not asked.files[0].is_file():
        from gemma_edge.cli.extract_many import evaluate  # noqa: PLC0415  (--help needs none)

        return evaluate(asked, model, show, context, output)
    if first == "diff" and not asked.files[0].is_file():
        from gemma_edge.cli.extract_many import show_difference  # noqa: PLC0415

        if len(asked.files) != 3:  # noqa: PLR2004  (diff, and two files)
            raise UsageError("two files are compared", hint="gemma-edge extract diff A B")
        return show_difference(asked.files[1], asked.files[2], show, output)
    sources = find_sources(
        asked.files, clipboard=False, context=context, output=output, wanted=DOCUMENTS
    )
    if sources.many or len(sources.each) > 1 or asked.out is not None or asked.form is not None:
        from gemma_edge.cli.extract_many import extract_many  # noqa: PLC0415

        return extract_many(sources.each, asked, model, context, output)
    from gemma_edge.cli.app_extract import extract_one  # noqa: PLC0415

    return extract_one(sources.each[0], asked, model, show, context, output)
