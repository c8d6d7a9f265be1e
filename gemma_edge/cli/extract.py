"""``gemma-edge extract``: read a document into JSON that its schema accepts."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import read_piped, read_stdin, whole_text
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.loading import open_engine, prepare
from gemma_edge.cli.options import Job, ModelOptions, ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import show_aside
from gemma_edge.documents import Document, open_document, read_document
from gemma_edge.engine.protocol import Engine, EngineInfo, Message, Request
from gemma_edge.errors import ExitStatus, Interrupted, UsageError
from gemma_edge.extract.job import Extraction, extract
from gemma_edge.extract.schema import Schema, parse_schema
from gemma_edge.units import render_tokens

STDIN = Path("-")
PASSWORD_VARIABLE = "GEMMA_EDGE_PDF_PASSWORD"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    """What the command line asks of an extraction. ``schema`` is a file, JSON, the one-line
    language, or ``-`` for stdin."""

    file: Path
    schema: str
    password: str | None = None
    strict: bool = False
    trust: bool = False
    max_tokens: int | None = None


@flags.takes_model
def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A PDF or text file, - for stdin.")],
    schema: Annotated[
        str,
        typer.Option(
            "--schema", "-s", metavar="SCHEMA",
            help='A JSON Schema (file, JSON text, - for stdin), or names: "vendor, total num".',
        ),
    ],
    password: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help=f"For an encrypted PDF; or {PASSWORD_VARIABLE}."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A value that is not found makes the result invalid.")
    ] = False,
    trust: flags.Trust = False,
    max_tokens: flags.MaxTokens = None,
    *,
    placed: ModelOptions,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:  # fmt: skip
    """Read a document into JSON. A value that is not in it is null.

    \b
    gemma-edge extract bill.pdf --schema "vendor, date, total num"
    gemma-edge extract bill.pdf --schema invoice.schema.json
    gemma-edge extract letter.txt --schema "sender, subject" > letter.json
    """
    asked = ExtractOptions(
        file=file,
        schema=schema,
        password=password,
        strict=strict,
        trust=trust,
        max_tokens=max_tokens,
    )
    return partial(run, asked, placed, ShowOptions(json=json, quiet=quiet))


def run(
    asked: ExtractOptions, model: ModelOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """Schema, document and files first; only then is a model loaded."""
    output.quiet = show.quiet
    schema = parse_schema(_schema_text(asked.schema, context, output), trust=asked.trust)
    document = _open(asked, context)
    for note in document.notes:
        output.note(note)
    prepared = prepare(model, context, output, sight="unused")
    with open_engine(prepared, context, output) as engine:
        output.note(_render_read(document, engine, prepared.render(engine.info)))
        started = context.clock()
        result = _extract(engine, document, schema, asked, output)
        seconds = context.clock() - started
        if show.json:
            output.document(_as_document(result, document, engine.info))
        elif result.data is None:
            output.data(result.text)  # no JSON came of it: shown as it is, with its problem
        else:
            output.document(result.data)
    for note in result.notes:
        output.note(note)
    for problem in result.problems:
        output.problem(problem)
    output.note(_render_result(result, seconds))
    return ExitStatus.RESULT if result.problems else ExitStatus.OK


def _open(asked: ExtractOptions, context: Context) -> Document:
    password = asked.password or context.environment.get(PASSWORD_VARIABLE) or None
    if asked.file != STDIN:
        return open_document(asked.file, password=password)
    if asked.schema == str(STDIN) or context.stdin_is_terminal:
        raise UsageError("there is no document on stdin", hint="extract FILE")
    return read_document(read_stdin(context), "stdin", password=password)


def _schema_text(text: str, context: Context, output: Output) -> str:
    if text != str(STDIN):
        return whole_text(text)
    if context.stdin_is_terminal:
        raise UsageError("`--schema -` reads stdin, and stdin is a terminal", hint="--schema FILE")
    return read_piped(context, output)


def _extract(
    engine: Engine, document: Document, schema: Schema, asked: ExtractOptions, output: Output
) -> Extraction:
    with cancel_on_interrupt(engine):
        result = extract(
            engine, document, schema, strict=asked.strict, max_tokens=asked.max_tokens,
            on_event=partial(show_aside, output=output),
        )  # fmt: skip
    if result.finished.reason == "cancelled":
        raise Interrupted("stopped before the answer was complete")
    return result


def _render_read(document: Document, engine: Engine, loaded: str) -> str:
    """What was read, in pages and tokens, and by whom."""
    count = engine.count(Request(messages=(Message("user", document.text),)))
    pages = len(document.pages)
    extent = f"{pages} page{'' if pages == 1 else 's'}"
    tokens = render_tokens(count.total_tokens - count.template_tokens)
    return f"{document.name}: {extent}, {tokens} · {loaded}"


def _render_result(result: Extraction, seconds: float) -> str:
    usage = result.finished.usage
    verdict = "not valid" if result.problems else "valid"
    forced = f", {usage.forced_tokens:,} of them forced" if usage.forced_tokens else ""
    return f"{verdict} · {seconds:.1f} s · {render_tokens(usage.generated_tokens)}{forced}"


def _as_document(result: Extraction, document: Document, info: EngineInfo) -> dict[str, Any]:
    return {
        "model": info.name,
        "document": {"name": document.name, "pages": len(document.pages)},
        "data": result.data,
        "valid": not result.problems,
        "problems": list(result.problems),
        "notes": list(result.notes),
        **asdict(result.finished),
    }
