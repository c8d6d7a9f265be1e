"""``gemma-edge describe``: say what is in one or several images, together or one after another."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gemma_edge.app.request import BatchRequest, DescribeRequest, ModelRequest
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import argument, build, option
from gemma_edge.cli.options import (
    PASSWORD_VARIABLE,
    ClusterFlags,
    Detail,
    EngineFlags,
    MaxTokens,
    ModelFlags,
    Password,
    RawCells,
    RememberFlags,
    SeedFlags,
    ShareFlags,
    ShowFlags,
    Trust,
    parse_at_once,
    parse_pages,
    parse_tiles,
    whole_text,
)
from gemma_edge.cli.output import Output
from gemma_edge.description import KINDS, Kind
from gemma_edge.documents.document import PageNumbers
from gemma_edge.engine.protocol import Sampling
from gemma_edge.errors import ExitStatus
from gemma_edge.records import dataclass

if TYPE_CHECKING:
    from gemma_edge.app.batch import Source
    from gemma_edge.app.cluster import Cluster
    from gemma_edge.app.describe import Description, ImageSet, Questions
    from gemma_edge.app.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class AskFlags:
    """What about them: fields of ``DescribeRequest``."""

    questions: Annotated[tuple[str, ...], option(
        "--question", "-q", metavar="TEXT", parser=whole_text,
        help="Ask something about them instead; repeatable."
    )] = ()  # fmt: skip
    kind: Annotated[Kind | None, option(
        "--as", metavar="KIND", choices=KINDS, help=f"{', '.join(KINDS)} (default: caption)."
    )] = None  # fmt: skip
    schema: Annotated[str | None, option(
        "--schema", "-s", metavar="SCHEMA", parser=whole_text,
        help="For --as json: a JSON Schema (file or text), or names."
    )] = None  # fmt: skip
    trust: Trust = False
    language: Annotated[
        str, option("--lang", metavar="LANG", parser=whole_text, help="Answer in: de, German.")
    ] = ""
    max_tokens: MaxTokens = None
    sampling: SeedFlags


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFlags:
    """How closely: fields of ``DescribeRequest``."""

    detail_tokens: Detail = None
    tiles: Annotated[int, option(
        "--tiles", metavar="2|4", parser=parse_tiles,
        help="Cut what loses detail into overlapping halves or quarters."
    )] = 1  # fmt: skip
    pages: Annotated[PageNumbers | None, option(
        "--pages", metavar="LIST", parser=parse_pages,
        help="Pages of a PDF or TIFF, frames of what moves, like 1-3,7."
    )] = None  # fmt: skip
    password: Password = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EachFlags:
    """One after another."""

    each: Annotated[bool, option("--each", help="One after another; a line of JSON each.")] = False
    out: Annotated[Path | None, option(
        "--out", "-o", metavar="FILE",
        help="Write the lines there (.csv: as CSV); what is in it is not done again."
    )] = None  # fmt: skip
    csv: Annotated[bool, option("--csv", help="CSV instead of lines of JSON.")] = False
    raw_cells: RawCells = False
    sidecar: Annotated[
        bool, option("--sidecar", help="Write photo.jpg.alt.txt beside each photo.jpg.")
    ] = False
    replace: Annotated[
        bool, option("--replace", help="Write over what --sidecar wrote before.")
    ] = False
    jobs: Annotated[int, option(
        "--jobs", metavar="N", min=1, max=32, help="Images that are decoded at once (default: 2)."
    )] = 2  # fmt: skip
    at_once: Annotated[int, option(
        "--at-once", metavar="N|auto", parser=parse_at_once,
        help="Images that are answered at once (default: up to 8, where that is faster)."
    )] = 0  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeFlags:
    """Which images, what about them, how closely, and one by one or together."""

    files: Annotated[tuple[Path, ...], argument(
        "FILE",
        "Images and PDFs, looked at together; - for stdin. A folder or a quoted "
        "pattern: one after another."
    )] = ()  # fmt: skip
    clipboard: Annotated[bool, option("--clipboard", help="Look at what was copied.")] = False
    asking: AskFlags
    looking: LookFlags
    batch: EachFlags
    share: ShareFlags
    cluster: ClusterFlags
    model: ModelFlags
    keeping: RememberFlags
    store: EngineFlags
    show: ShowFlags


def command(flags: DescribeFlags, context: Context, output: Output) -> ExitStatus:
    """Look at images and say what they show.

    \b
    gemma-edge describe photo.jpg
    gemma-edge describe before.png after.png -q "what changed?"
    gemma-edge describe scan.pdf --as ocr --pages 1-3
    gemma-edge describe photos/ --sidecar --lang de
    gemma-edge describe "photos/**/*.jpg" --as tags --out tags.jsonl
    """
    from gemma_edge.app.batch import IMAGES, find_sources
    from gemma_edge.app.describe import begin_reading, parse_questions
    from gemma_edge.cli.inputs import read_stdin
    from gemma_edge.cli.streaming import cluster_of, open_runtime

    model = build(ModelRequest, flags.model, flags.keeping)
    cluster = cluster_of(flags.cluster, flags.share, "")
    questions = parse_questions(_request(flags, context))
    for remark in questions.schema.remarks if questions.schema else ():
        output.note(remark)
    sources = find_sources(
        flags.files, IMAGES, clipboard=flags.clipboard, note=output.note,
        read_stdin=None if context.stdin_is_terminal else partial(read_stdin, context),
    )  # fmt: skip
    runtime = open_runtime(flags.store, context, output)
    if cluster is None:  # else it is another machine that plans
        begin_reading(sources.each)
        runtime.begin()  # while the images are opened
    each = flags.batch
    together = not (each.each or each.out is not None or each.csv or each.sidecar)
    if sources.many or not together or cluster is not None:
        return _describe_each(
            sources.each, questions, model, flags, runtime, context, output, cluster
        )
    return _describe_together(sources.each, questions, model, runtime, flags.show, output)


def _request(flags: DescribeFlags, context: Context) -> DescribeRequest:
    asking = flags.asking
    usual: Kind = (
        "json" if asking.schema is not None else "alt" if flags.batch.sidecar else "caption"
    )
    return build(
        DescribeRequest, asking, flags.looking, kind=asking.kind or usual,
        sampling=build(Sampling, asking.sampling),
        password=flags.looking.password or context.environment.get(PASSWORD_VARIABLE) or None,
    )  # fmt: skip


def _describe_each(  # noqa: PLR0913, PLR0917  (what, how, by whom, and the environment)
    sources: "Sequence[Source]",
    questions: "Questions",
    model: ModelRequest,
    asked: DescribeFlags,
    runtime: "Runtime",
    context: Context,
    output: Output,
    cluster: "Cluster | None",
) -> ExitStatus:
    from gemma_edge.app.describe import Describing, are_photos, describe_batch
    from gemma_edge.cli.streaming import BatchProgress, in_job

    progress = BatchProgress(output, context.clock)
    flags = asked.batch
    silent = flags.sidecar and flags.out is None
    batch = BatchRequest(
        out=flags.out, form="csv" if flags.csv else None, jobs=flags.jobs,
        at_once=flags.at_once, raw_cells=flags.raw_cells,
    )  # fmt: skip
    batch = in_job(batch, asked.share, context, output, shares=cluster is None)
    work = Describing(
        questions=questions, photos=are_photos(sources), sidecar=flags.sidecar,
        replaces=flags.replace,
    )  # fmt: skip
    runtime = replace(runtime, on_event=progress)
    if cluster is not None:
        from gemma_edge.app.cluster import answer_on_cluster

        counts = answer_on_cluster(sources, work, model, batch, cluster, runtime)
    else:
        counts = describe_batch(
            sources, work, model, batch, runtime,
            emit=(lambda _record: None) if silent else output.record,
        )  # fmt: skip
    done = f"{counts.done:,} image{'' if counts.done == 1 else 's'} described"
    lost = f"{counts.lost:,} lost detail (--detail max and --tiles 4 keep more)"
    output.note(progress.render_end(counts, done, lost if counts.lost else ""))
    return counts.status


def _describe_together(  # noqa: PLR0913, PLR0917  (what, how, by whom, and the environment)
    sources: "Sequence[Source]",
    questions: "Questions",
    model: ModelRequest,
    runtime: "Runtime",
    show: ShowFlags,
    output: Output,
) -> ExitStatus:
    """Text comes word by word; data, and what becomes part of a document, whole."""
    from gemma_edge.app.describe import open_images
    from gemma_edge.cli.streaming import render_status, show_event

    streams = not show.json and questions.schema is None
    if streams:
        runtime = replace(runtime, on_event=partial(show_event, output=output))
    answers: list[Description] = []
    status = ExitStatus.OK
    with open_images(sources, questions, model, runtime) as images:
        for task in questions.tasks:
            if len(questions.tasks) > 1:
                output.note(f"› {task.question}")
            found = images.ask(task)
            answers.append(found)
            output.end_line()
            if not streams and not show.json:
                _show(found, questions.kind, output)
            for note in found.notes:
                output.note(note)
            output.status(render_status(found.finished, images.engine.info))
            if images.interrupted:
                status = ExitStatus.INTERRUPTED
                break
            for problem in found.problems:
                output.problem(problem)
                status = ExitStatus.RESULT
        if show.json:
            output.document(_as_document(images, answers))
    return status


def _show(found: "Description", kind: Kind, output: Output) -> None:
    from gemma_edge.app.describe import render_answer

    if kind == "json" and found.data is not None:
        output.document(found.data)
    else:
        output.data(render_answer(found.text if found.data is None else found.data, kind))


def _as_document(images: "ImageSet", found: "Sequence[Description]") -> dict[str, Any]:
    """One answer lies open; of several, each with its question."""
    pictures = [
        {"name": picture.name, "width": picture.width, "height": picture.height,
         "tokens": picture.tokens, "resized": picture.lost or None}
        for view in images.views
        for picture in view.pictures
    ]  # fmt: skip
    answers = [
        {"answer": each.data, "problems": list(each.problems), **asdict(each.finished)}
        for each in found
    ]
    head = {"model": images.engine.info.name, "images": pictures}
    if len(answers) == 1:
        return {**head, **answers[0]}
    asked = (
        {"question": each.question, **answer} for each, answer in zip(found, answers, strict=True)
    )
    return {**head, "answers": list(asked)}
