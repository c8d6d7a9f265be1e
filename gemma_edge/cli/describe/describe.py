"""``gemma-edge describe``: say what is in one or several images, together or one after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gemma_edge.cli import options as flags
from gemma_edge.cli.batch.output import BatchOptions
from gemma_edge.cli.batch.sources import Source, find_sources
from gemma_edge.cli.context import Context
from gemma_edge.cli.describe.answering import AskOptions, parse_asking, pictures_of
from gemma_edge.cli.describe.batch import describe_each
from gemma_edge.cli.describe.looking import (
    Looking,
    Seen,
    check_together,
    iter_seen,
    render_smaller,
    smaller_budget,
    wanted_tokens,
)
from gemma_edge.cli.describe.remembering import Recalled
from gemma_edge.cli.describe.together import Together
from gemma_edge.cli.inputs import whole_text
from gemma_edge.cli.loading.loading import Prepared, open_engine, prepare
from gemma_edge.cli.options import (
    PASSWORD_VARIABLE,
    REMEMBER_VARIABLE,
    Job,
    ModelOptions,
    ShowOptions,
)
from gemma_edge.cli.output import Output
from gemma_edge.describe.tasks import KINDS, Kind
from gemma_edge.documents.page_numbers import PageNumbers, parse_page_numbers
from gemma_edge.documents.picture import TILES, render_cost
from gemma_edge.engine.protocol import Sampling
from gemma_edge.errors import ExitStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeOptions:
    """What the command line asks: which images, how closely, what about them; ``batch`` is how
    they are gone through one after another."""

    files: tuple[Path, ...]
    clipboard: bool
    looking: Looking
    asking: AskOptions
    batch: BatchOptions


def _kind(text: str) -> Kind:
    for kind in KINDS:
        if text == kind:
            return kind
    raise typer.BadParameter(f"`{text}` is none of {', '.join(KINDS)}")


def _pages(text: str) -> PageNumbers:
    try:
        return parse_page_numbers(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` does not name pages, like 3, 1-4 or 2,5-") from None


def _tiles(text: str) -> int:
    if text in map(str, TILES):
        return int(text)
    raise typer.BadParameter(f"`{text}` is neither 2 (halves) nor 4 (quarters)")


@flags.takes_model
def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE", show_default=False,
            help="Images and PDFs, looked at together; - for stdin. A folder or a quoted pattern: "
            "one after another.",
        ),
    ] = None,
    question: Annotated[
        list[str] | None,
        typer.Option(
            "--question", "-q", metavar="TEXT", show_default=False,
            help="Ask something about them instead; repeatable.",
        ),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--as", metavar="KIND", parser=_kind, show_default=False,
            help=f"{', '.join(KINDS)} (default: caption).",
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema", "-s", metavar="SCHEMA", show_default=False,
            help="For --as json: a JSON Schema (file or text), or names.",
        ),
    ] = None,
    trust: flags.Trust = False,
    lang: Annotated[
        str | None,
        typer.Option("--lang", metavar="LANG", show_default=False, help="Answer in: de, German."),
    ] = None,
    detail: flags.Detail = None,
    tiles: Annotated[
        int | None,
        typer.Option(
            "--tiles", metavar="2|4", parser=_tiles, show_default=False,
            help="Cut what loses detail into overlapping halves or quarters.",
        ),
    ] = None,
    pages: Annotated[
        PageNumbers | None,
        typer.Option(
            "--pages", metavar="LIST", parser=_pages, show_default=False,
            help="Pages of a PDF or TIFF, frames of what moves, like 1-3,7.",
        ),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", show_default=False,
            help=f"For an encrypted PDF; or {PASSWORD_VARIABLE}.",
        ),
    ] = None,
    clipboard: Annotated[
        bool, typer.Option("--clipboard", help="Look at what was copied.")
    ] = False,
    each: Annotated[
        bool, typer.Option("--each", help="One after another; a line of JSON each.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", show_default=False,
            help="Write the lines there (.csv: as CSV); what is in it is not done again.",
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="CSV instead of lines of JSON.")] = False,
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="Write photo.jpg.alt.txt beside each photo.jpg.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over what --sidecar wrote before.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", metavar="N", min=1, max=32, show_default=False,
            help="Images that are decoded at once (default: 2).",
        ),
    ] = 2,
    remember: Annotated[
        bool,
        typer.Option(
            "--remember",
            help="Keep on disk what was read of the images, so that later questions about them are "
            f"answered at once; or {REMEMBER_VARIABLE}=1.",
        ),
    ] = False,
    temperature: flags.Temperature = None,
    seed: flags.Seed = None,
    max_tokens: flags.MaxTokens = None,
    *,
    placed: ModelOptions,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:  # fmt: skip
    """Look at images and say what they show.

    \b
    gemma-edge describe photo.jpg
    gemma-edge describe before.png after.png -q "what changed?"
    gemma-edge describe scan.pdf --as ocr --pages 1-3
    gemma-edge describe photos/ --sidecar --lang de
    gemma-edge describe "photos/**/*.jpg" --as tags --out tags.jsonl
    """
    sought = kind or ("json" if schema is not None else "alt" if sidecar else "caption")
    asked = DescribeOptions(
        files=tuple(files or ()),
        clipboard=clipboard,
        looking=Looking(
            detail_tokens=detail, tiles=tiles or 1, pages=pages, password=password,
        ),
        asking=AskOptions(
            kind=sought, schema=whole_text(schema) if schema is not None else None,
            questions=tuple(map(whole_text, question or ())), language=whole_text(lang or ""),
            sampling=Sampling(temperature=temperature, seed=seed),
            max_tokens=max_tokens, trust=trust,
        ),
        batch=BatchOptions(
            each=each, out=out, csv=csv, sidecar=sidecar, replace=replace, jobs=jobs
        ),
    )  # fmt: skip
    placed = changed(placed, remember=remember)
    return partial(run, asked, placed, ShowOptions(json=json, quiet=quiet))


def run(
    asked: DescribeOptions, model: ModelOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """Open the images first: a wrong one is told before a model is loaded."""
    output.quiet = show.quiet
    asking = parse_asking(asked.asking)
    for remark in asking.schema.remarks if asking.schema else ():
        output.note(remark)
    looking = changed(
        asked.looking,
        least_tokens=asking.tasks[0].detail_tokens,
        password=asked.looking.password or context.environment.get(PASSWORD_VARIABLE) or None,
    )
    sources = find_sources(asked.files, clipboard=asked.clipboard, context=context, output=output)
    if sources.many or asked.batch.is_asked:
        return describe_each(sources.each, looking, asking, asked.batch, model, context, output)
    check_together(len(sources.each))  # before any of them is opened
    paid = wanted_tokens(looking, sources.each)
    prepared = prepare(model, context, output, sight="needed", image_tokens=paid)
    seen = _look(looking, sources.each, prepared, prepared.plan.image_tokens, output)
    with open_engine(prepared, context, output) as engine:
        output.note(prepared.render(engine.info))
        if most := smaller_budget(engine.info, pictures_of(seen)):
            output.note(render_smaller(most))
            seen = _look(looking, sources.each, prepared, most, output)
        recalled = Recalled(engine, prepared, pictures_of(seen), output)
        recalled.restore()
        status = Together(engine, seen, asking, output, as_json=show.json).run()
        if status != ExitStatus.INTERRUPTED:
            recalled.save()
        return status


def _look(
    looking: Looking,
    sources: Sequence[Source],
    prepared: Prepared,
    paid_tokens: int,
    output: Output,
) -> tuple[Seen, ...]:
    """All images and pages, with a line for each picture."""
    seen: list[Seen] = []
    for source in sources:
        found = iter_seen(looking, source, source.read(), prepared.files, paid_tokens)
        for each in found:
            seen.append(each)
            check_together(len(pictures_of(seen)))
            for picture in each.pictures:
                output.note("; ".join(filter(None, (render_cost(picture), each.unread))))
    return tuple(seen)
