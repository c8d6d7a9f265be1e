"""``gemma-edge extract``: read documents into JSON that a schema accepts."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from gemma_edge.cli.app_batch import DOCUMENTS, find_sources
from gemma_edge.cli.app_extract import (
    EVIDENCES,
    FORMS,
    EvidenceForm,
    ExtractOptions,
    Form,
    RecipeOptions,
)
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import (
    PASSWORD_VARIABLE,
    FetchFlags,
    Job,
    MaxTokens,
    ModelOptions,
    PlacementFlags,
    ShowFlags,
    Trust,
    argument,
    build,
    option,
    parse_pages,
    parse_tiles,
    whole_text,
)
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import PageNumbers
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.extraction.pages import STRATEGIES, VISIONS, Strategy, Vision

ASKING, READING = "What is asked", "How it is read"
SHOWING, MANY = "What comes out", "Many documents"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFlags:
    """What is asked: fields of ``RecipeOptions``."""

    schema: Annotated[
        str | None,
        option(
            "--schema",
            "-s",
            metavar="SCHEMA",
            panel=ASKING,
            help='A JSON Schema (file, JSON text, - for stdin), or names: "vendor, total num".',
        ),
    ] = None
    recipe: Annotated[
        str | None,
        option(
            "--recipe",
            "-r",
            metavar="NAME|FILE",
            panel=ASKING,
            help="A recipe: schema, rules and checks; `gemma-edge recipes list` shows them.",
        ),
    ] = None
    rules: Annotated[
        tuple[str, ...],
        option(
            "--rule",
            metavar="TEXT",
            panel=ASKING,
            parser=whole_text,
            help='What the model must know, like "total: after tax"; repeatable.',
        ),
    ] = ()
    counter_examples: Annotated[
        tuple[str, ...],
        option(
            "--not",
            metavar="TEXT",
            panel=ASKING,
            parser=whole_text,
            help='What looks right and is wrong: "total: Balance forward"; repeatable.',
        ),
    ] = ()
    worked: Annotated[
        tuple[str, ...],
        option(
            "--worked",
            metavar="TEXT",
            panel=ASKING,
            parser=whole_text,
            help='Arithmetic as an example: "3 x 4.75 = 14.25"; repeatable.',
        ),
    ] = ()
    examples: Annotated[
        tuple[str, ...],
        option(
            "--example",
            metavar="FILE=JSON",
            panel=ASKING,
            parser=whole_text,
            help="Another document and its answer, two files; repeatable.",
        ),
    ] = ()
    habits: Annotated[
        tuple[str, ...],
        option(
            "--normalize",
            metavar="NAME=VALUE",
            panel=ASKING,
            parser=whole_text,
            help="How the document writes: date=dmy, decimal=, region=DE, currency=EUR; "
            "repeatable.",
        ),
    ] = ()
    compute: Annotated[
        tuple[str, ...],
        option(
            "--compute",
            metavar="NAME=EXPR",
            panel=ASKING,
            parser=whole_text,
            help='Computed by code: "items_sum = sum(items.amount)"; repeatable.',
        ),
    ] = ()
    checks: Annotated[
        tuple[str, ...],
        option(
            "--check",
            metavar="EXPR",
            panel=ASKING,
            parser=whole_text,
            help='What has to hold: "items_sum ~= total"; repeatable.',
        ),
    ] = ()
    save_as: Annotated[
        str | None,
        option(
            "--save-recipe",
            metavar="NAME|FILE",
            panel=ASKING,
            help="Keep all of this as a recipe.",
        ),
    ] = None
    trust: Trust = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractFlags:
    """Which documents, how they are read, and what comes out: fields of ``ExtractOptions``."""

    files: Annotated[
        tuple[Path, ...], argument("FILE", "A PDF, image, office or text file, - for stdin.")
    ]
    strict: Annotated[
        bool,
        option(
            "--strict", panel=ASKING, help="A value that is not found makes the result invalid."
        ),
    ] = False
    pages: Annotated[
        PageNumbers | None,
        option(
            "--pages",
            metavar="LIST",
            parser=parse_pages,
            panel=READING,
            help="Only these, like 1-3,8,-1 (the last).",
        ),
    ] = None
    password: Annotated[
        str | None,
        option(
            "--password",
            metavar="TEXT",
            panel=READING,
            help=f"For an encrypted PDF; or {PASSWORD_VARIABLE}.",
        ),
    ] = None
    vision: Annotated[
        Vision,
        option(
            "--vision",
            choices=VISIONS,
            panel=READING,
            show_default=True,
            help="Pages as pictures: scans, all of them, or none.",
        ),
    ] = "auto"
    tiles: Annotated[
        int,
        option(
            "--tiles",
            metavar="2|4",
            parser=parse_tiles,
            panel=READING,
            help="Cut pictures of pages in halves or quarters: for small print.",
        ),
    ] = 1
    strategy: Annotated[
        Strategy,
        option(
            "--strategy",
            choices=STRATEGIES,
            panel=READING,
            show_default=True,
            help="The document in one piece, or by windows of pages.",
        ),
    ] = "auto"
    dry_run: Annotated[
        bool,
        option(
            "--dry-run",
            panel=READING,
            help="Show pages, tokens, passes and time; read nothing.",
        ),
    ] = False
    evidence: Annotated[
        EvidenceForm | None,
        option(
            "--evidence",
            choices=EVIDENCES,
            panel=SHOWING,
            help="Where each value stands: in the result, or in FILE.evidence.json.",
        ),
    ] = None
    html: Annotated[
        Path | None,
        option(
            "--html",
            metavar="FILE",
            panel=SHOWING,
            help="A page to review it: the document beside its values.",
        ),
    ] = None
    out: Annotated[
        Path | None,
        option(
            "--out",
            "-o",
            metavar="FILE",
            panel=MANY,
            help="Write answers there (.jsonl, .csv, .md, .db); what is in it is not done again.",
        ),
    ] = None
    form: Annotated[
        Form | None,
        option("--format", choices=FORMS, panel=MANY, help="Of the answers (default: json)."),
    ] = None
    jobs: Annotated[
        int,
        option(
            "--jobs",
            metavar="N",
            min=1,
            max=32,
            panel=MANY,
            help="Documents that are read ahead of the model (default: 2).",
        ),
    ] = 2
    answers: Annotated[
        Path | None,
        option(
            "--answers",
            metavar="FILE",
            panel=MANY,
            help="eval: score these instead of reading the documents.",
        ),
    ] = None
    max_tokens: MaxTokens = None  # fmt: skip


def command(
    recipe: RecipeFlags,
    asked: ExtractFlags,
    model: PlacementFlags,
    store: FetchFlags,
    show: ShowFlags,
) -> Job:
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
    request = build(
        ExtractOptions,
        asked,
        recipe=build(RecipeOptions, recipe),
        scored=show.json or asked.evidence is not None or asked.html is not None,
    )
    return partial(run, request, build(ModelOptions, model, store=store), show)


def run(
    asked: ExtractOptions, model: ModelOptions, show: ShowFlags, context: Context, output: Output
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
