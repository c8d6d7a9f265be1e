"""Images one after another: a record each, errors kept apart, what is done is not done again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import cast

from gemma_edge.cli.batch.output import BatchOptions, Records, Sidecars, open_records
from gemma_edge.cli.batch.progress import Going
from gemma_edge.cli.batch.run import Counts, go_through
from gemma_edge.cli.batch.sources import Source
from gemma_edge.cli.context import Context
from gemma_edge.cli.describe.answering import Answer, Asking, answer, render_answer, render_data
from gemma_edge.cli.describe.looking import Looking, Seen, iter_seen, render_smaller, smaller_budget
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.loading.loading import Prepared, open_engine, prepare
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.describe.records import Key, Record
from gemma_edge.describe.tasks import Task
from gemma_edge.documents.picture import MAX_TOKENS
from gemma_edge.documents.record_lines import digest, task_digest
from gemma_edge.engine.protocol import Engine
from gemma_edge.errors import (
    DoesNotFit,
    EngineStopped,
    ExitStatus,
    GemmaEdgeError,
    InputError,
    Interrupted,
    UsageError,
)

# A photograph needs the usual detail; anything else may be a screen or a page of small letters.
_PHOTOS = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif"))


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read ahead: its hash, and its images, the first of them decoded already.
    Without images it is done."""

    sha256: str
    images: Iterator[Seen] | None


def describe_each(  # noqa: PLR0913, PLR0917  (what, how, of whom, and the world)
    sources: Sequence[Source],
    looking: Looking,
    asking: Asking,
    batch: BatchOptions,
    model: ModelOptions,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Describe every image by itself. A file that cannot be read is one error line; the rest goes
    on, and the exit status is that of the worst.

    Raises:
        UsageError: flags that do not go together.
        GemmaEdgeError: no model, or no room for the answers.
    """
    if batch.sidecar and len(asking.tasks) > 1:
        raise UsageError("--sidecar writes one text an image, not one a question",
                         hint="--out answers.jsonl")  # fmt: skip
    prepared = prepare(
        model, context, output, sight="needed", image_tokens=_paid_tokens(looking, sources)
    )
    task = task_digest(_settings(looking, asking, prepared))
    going = Going(output, context.clock, len(sources))
    sidecars = Sidecars(asking.kind, replace=batch.replace) if batch.sidecar else None
    with (
        open_records(batch.out, batch.form, output, silent=batch.sidecar) as records,
        ExitStack() as stack,
    ):
        run = _Run(looking, asking, prepared, task, records, sidecars, output, going)
        run.go(sources, batch.jobs, lambda: _load(prepared, context, output, stack))
    output.note(_render_end(run.counts, going))
    return run.counts.status


def _render_end(counts: Counts, going: Going) -> str:
    images = f"{counts.done:,} image{'' if counts.done == 1 else 's'} described"
    lost = f"{counts.lost:,} lost detail (--detail max and --tiles 4 keep more)"
    return going.render_end(
        done=images, kept=counts.kept, failed=counts.failed, remark=lost if counts.lost else ""
    )


def _paid_tokens(looking: Looking, sources: Sequence[Source]) -> int | None:
    """The budget that the plan must have room for, before any image was opened."""
    asked = looking.detail_tokens or looking.least_tokens
    photos = all(source.path and source.path.suffix.lower() in _PHOTOS for source in sources)
    return asked or (None if photos else MAX_TOKENS)


def _settings(looking: Looking, asking: Asking, prepared: Prepared) -> dict[str, object]:
    """All that could change an answer, as plain data."""
    first = asking.tasks[0]
    adapters = [[each.path.name, each.scale] for each in prepared.plan.adapters]
    return {
        "model": prepared.files.model.name, "kind": first.kind, "language": first.language,
        "form": first.form, "schema": asking.schema.source if asking.schema else None,
        "sampling": repr(asking.sampling), "max_tokens": asking.max_tokens,
        "detail": looking.detail_tokens, "tiles": looking.tiles,
        **({"adapters": adapters} if adapters else {}),
    }  # fmt: skip


def _load(prepared: Prepared, context: Context, output: Output, stack: ExitStack) -> Engine:
    engine = stack.enter_context(open_engine(prepared, context, output))
    output.note(prepared.render(engine.info))
    return engine


@dataclass(slots=True)
class _Run:
    """One batch on its way. The model is loaded when the first image needs it."""

    looking: Looking
    asking: Asking
    prepared: Prepared
    task: str
    records: Records
    sidecars: Sidecars | None
    output: Output
    going: Going
    counts: Counts = field(default_factory=Counts)
    engine: Engine | None = None
    noted: set[str] = field(default_factory=set)

    def go(self, sources: Sequence[Source], jobs: int, load: Callable[[], Engine]) -> None:
        """File after file, until the last or until someone stops it."""
        go_through(
            sources, self._read, lambda source, read: self._describe(source, read, load),
            lambda source, error: self._fail(Record(file=source.name), error),
            jobs, self.going, self.counts,
        )  # fmt: skip

    def _read(self, source: Source) -> _Read:
        """In a thread: the bytes, their hash, and the first image of them."""
        data = source.read()
        known = digest(data)
        if self._is_done(source, known, 0):
            return _Read(known, None)
        paid = self.prepared.plan.image_tokens
        seen = iter_seen(self.looking, source, data, self.prepared.files, paid)
        return _Read(known, chain(list(islice(seen, 1)), seen))

    def _is_done(self, source: Source, known: str, page: int) -> bool:
        """All that was asked for is there: the records, the text beside the image."""
        if self.sidecars is not None and not self.sidecars.is_there(source, page):
            return False
        return self._recorded(known, page) if self.records.keeps else self.sidecars is not None

    def _recorded(self, known: str, page: int) -> bool:
        return all(self._key(known, page, task) in self.records.before.done
                   for task in self.asking.tasks)  # fmt: skip

    def _key(self, known: str, page: int, task: Task) -> Key:
        return known, page, task.question, self.task

    def _describe(self, source: Source, read: _Read, load: Callable[[], Engine]) -> None:
        """All images of one file."""
        if read.images is None:
            self.counts.kept += 1
            return
        for seen in read.images:
            if self._is_done(source, read.sha256, seen.page):
                self.counts.kept += 1
                continue
            if self.sidecars is not None and self._recorded(read.sha256, seen.page):
                key = self._key(read.sha256, seen.page, self.asking.tasks[0])
                text = render_data(self.records.before.done[key], self.asking.kind)
                self.sidecars.write(source, seen.page, text)
                self.counts.kept += 1
                continue
            self.engine = self.engine or load()
            if most := smaller_budget(self.engine.info, seen.pictures):
                seen = self._again(source, seen.page, most)
            self._ask(source, seen, read.sha256)

    def _again(self, source: Source, page: int, most: int) -> Seen:
        """The same image or page in less detail: the plan that was loaded is smaller."""
        self._note_once(render_smaller(most))
        images = iter_seen(self.looking, source, source.read(), self.prepared.files, most)
        return next(seen for seen in images if seen.page == page)

    def _ask(self, source: Source, seen: Seen, known: str) -> None:
        """Every question about one image; one that does not fit is that image's error."""
        blank = Record(
            file=source.name, page=seen.page, sha256=known, task=self.task,
            model=self.prepared.files.name, tokens=sum(each.tokens for each in seen.pictures),
            lost="; ".join(each.lost for each in seen.pictures if each.lost),
        )  # fmt: skip
        self.counts.lost += any(each.whole_tokens for each in seen.pictures)
        for task in self.asking.tasks:
            record = replace(blank, question=task.question)
            if record.key in self.records.before.done:
                continue
            try:
                found = self._answer(seen, task)
            except (InputError, UsageError, DoesNotFit, EngineStopped) as error:
                self._fail(record, error)
                return
            for note in found.notes:  # it may be so of every image; the records tell
                self._note_once(note, f"{source.name}: {note} (said of the first only)")
            for problem in found.problems:
                self.counts.worsen(ExitStatus.RESULT)
                self.output.problem(f"{source.name}: {problem}")
            self.records.write(replace(record, answer=found.data, problems=found.problems))
            if self.sidecars is not None:
                text = render_answer(found, self.asking.kind)
                self.sidecars.write(source, seen.page, text)
        self.counts.done += 1

    def _answer(self, seen: Seen, task: Task) -> Answer:
        """One answer; asked again where the engine stopped in the middle of it.

        Raises:
            Interrupted: Ctrl-C.
        """
        engine = cast("Engine", self.engine)
        with cancel_on_interrupt(engine):
            try:
                found = answer(engine, [seen], task, self.asking, self.output)
            except EngineStopped as stop:
                self.output.note(f"{stop.message}; asking again")
                found = answer(engine, [seen], task, self.asking, self.output)
        if found.finished.reason == "cancelled":
            raise Interrupted("stopped")
        return found

    def _note_once(self, note: str, said: str = "") -> None:
        if note not in self.noted:
            self.noted.add(note)
            self.output.note(said or note)

    def _fail(self, record: Record, error: GemmaEdgeError) -> None:
        """One line, one record, and on."""
        self.counts.failed += 1
        self.counts.worsen(error.exit_status)
        self.output.error(error.message)
        self.records.write(replace(record, task=self.task, error=error.message, hint=error.hint))
