"""Documents one after another: a record each, errors kept apart, what is done is not done again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemma_edge.cli.batch.progress import Going
from gemma_edge.cli.batch.run import Counts, go_through
from gemma_edge.cli.batch.sources import Source
from gemma_edge.cli.context import Context
from gemma_edge.cli.extract.options import Form
from gemma_edge.cli.extract.output import Sink, form_of, open_sink
from gemma_edge.cli.extract.show import evidence_record
from gemma_edge.cli.output import Output
from gemma_edge.documents import Document
from gemma_edge.errors import (
    DoesNotFit,
    EngineError,
    EngineStopped,
    ExitStatus,
    GemmaEdgeError,
    ProjectorError,
)
from gemma_edge.extract.job.extraction import Extraction
from gemma_edge.extract.records.keys import content_key, settings_key
from gemma_edge.extract.records.records import Record, record_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EachOptions:
    """Where the answers go, and how many documents are read at once; ``form`` is None where the
    name of ``out`` says it."""

    out: Path | None = None
    form: Form | None = None
    evidence: bool = False
    jobs: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is done with each document.

    ``settings`` is all that could change an answer but the document: the recipe's fingerprint,
    the model, the options, as plain data. ``columns`` are those of a table of the answers. ``read``
    runs in a thread beside the model. ``load`` opens the model, if it is not open: what is wrong
    with it is wrong with all documents. ``extract`` then runs here. ``after`` is told of each
    answer: it writes what goes beside it.
    """

    settings: Mapping[str, Any]
    model: str
    columns: Sequence[str]
    read: Callable[[bytes, str], Document]
    load: Callable[[], None]
    extract: Callable[[Document], Extraction]
    after: Callable[[Source, Document, Extraction], None] | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """A document that was read ahead; None where its answer is there already."""

    key: str
    document: Document | None


def extract_each(
    sources: Sequence[Source], task: Task, options: EachOptions, context: Context, output: Output
) -> ExitStatus:
    """Extract from every document by itself. One that cannot be read is one error line; the rest
    goes on, and the exit status is that of the worst.

    Raises:
        GemmaEdgeError: no model, or no room for the answers.
    """
    form = form_of(options.out, options.form)
    if options.out is not None:  # a folder may hold what was written there
        sources = [each for each in sources if not _is_same(each.path, options.out)]
    if form == "sqlite":  # it has a table for them
        options = replace(options, evidence=True)
    with open_sink(options.out, form, task.columns, output) as sink:
        return run_each(sources, task, options, sink, context, output)


def run_each(  # noqa: PLR0913, PLR0917  (what, how, where to, and the world)
    sources: Sequence[Source],
    task: Task,
    options: EachOptions,
    sink: Sink,
    context: Context,
    output: Output,
) -> ExitStatus:
    """The same into a sink that is open."""
    going = Going(output, context.clock, len(sources), "documents")
    settings = settings_key({**task.settings, "evidence": options.evidence})
    run = _Run(task, options, settings, sink, context, output)
    go_through(sources, run.read, run.use, run.fail, options.jobs, going, run.counts)
    counts = run.counts
    done = f"{counts.done:,} document{'' if counts.done == 1 else 's'} extracted"
    remark = f"{run.invalid:,} not valid" if run.invalid else ""
    output.note(going.render_end(done=done, kept=counts.kept, failed=counts.failed, remark=remark))
    return counts.status


def _is_same(path: Path | None, out: Path) -> bool:
    return path is not None and path.exists() and out.exists() and path.samefile(out)


class _Run:
    """One batch on its way."""

    def __init__(  # noqa: PLR0913, PLR0917  (the parts of run_each)
        self, task: Task, options: EachOptions, settings: str, sink: Sink, context: Context,
        output: Output,
    ) -> None:  # fmt: skip
        self.counts = Counts()
        self.invalid = 0
        self._task, self._options, self._settings = task, options, settings
        self._sink, self._context, self._output = sink, context, output

    def read(self, source: Source) -> _Read:
        """In a thread: the bytes, their key, and the document in them."""
        data = source.read()
        key = content_key(data, self._settings)
        if key in self._sink.done:
            return _Read(key, None)
        return _Read(key, self._task.read(data, source.name))

    def use(self, source: Source, read: _Read) -> None:
        """One document to one record."""
        document = read.document
        if document is None:
            self.counts.kept += 1
            return
        self._task.load()
        options, started = self._options, self._context.clock()
        try:
            found = self._extract(document)
        except (DoesNotFit, EngineError, ProjectorError) as error:
            self.fail(source, error)
            return
        record = record_of(
            found, file=source.name, key=read.key, pages=len(document.pages),
            model=self._task.model, seconds=self._context.clock() - started,
            notes=document.notes,
            evidence=tuple(map(evidence_record, found.evidence)) if options.evidence else None,
        )  # fmt: skip
        for problem in found.problems:
            self._output.problem(f"{source.name}: {problem}")
        if found.problems:
            self.invalid += 1
            self.counts.worsen(ExitStatus.RESULT)
        if self._task.after is not None:
            self._task.after(source, document, found)
        self._sink.write(record)
        self.counts.done += 1

    def fail(self, source: Source, error: GemmaEdgeError) -> None:
        """One line, one record, and on."""
        self.counts.failed += 1
        self.counts.worsen(error.exit_status)
        said = error.message
        self._output.error(said if source.name in said else f"{source.name}: {said}")
        self._sink.write(Record(file=source.name, error=error.message, hint=error.hint))

    def _extract(self, document: Document) -> Extraction:
        """One answer; asked again where the engine stopped in the middle of it."""
        try:
            return self._task.extract(document)
        except EngineStopped as stop:
            self._output.note(f"{stop.message}; asking again")
            return self._task.extract(document)
