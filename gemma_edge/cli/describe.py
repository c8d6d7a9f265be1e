"""``gemma-edge describe``: say what is in one or several images, together or one after another."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from dataclasses import replace as changed
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, cast

from gemma_edge.app.load import Prepared, open_engine, prepare
from gemma_edge.app.runtime import Runtime
from gemma_edge.catalog import ModelFiles
from gemma_edge.cli.app_batch import (
    BatchOptions,
    Counts,
    Going,
    Records,
    Sidecars,
    Source,
    find_sources,
    go_through,
    open_records,
)
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import (
    PASSWORD_VARIABLE,
    REMEMBER_VARIABLE,
    Detail,
    FetchFlags,
    Job,
    MaxTokens,
    ModelFlags,
    ModelOptions,
    Password,
    SeedFlags,
    ShowFlags,
    Trust,
    argument,
    build,
    option,
    parse_pages,
    parse_tiles,
    whole_text,
)
from gemma_edge.cli.output import Output, cancel_on_interrupt
from gemma_edge.cli.runtime import open_runtime
from gemma_edge.cli.streaming import collect, conclude, cut_short, render_status, stream_text
from gemma_edge.description import (
    KINDS,
    Key,
    Kind,
    Record,
    Task,
    describe,
    schema_text,
    unique_tags,
)
from gemma_edge.documents.document import (
    MAX_TOKENS,
    PageNumbers,
    Picture,
    digest,
    render_cost,
    shown,
    task_digest,
)
from gemma_edge.documents.images import fit_tiles, iter_images, origin_of, wants_detail
from gemma_edge.engine.protocol import (
    GREEDY,
    Engine,
    EngineInfo,
    Finished,
    JsonConstraint,
    Sampling,
)
from gemma_edge.errors import (
    DoesNotFit,
    EngineError,
    EngineStopped,
    ExitStatus,
    GemmaEdgeError,
    InputError,
    Interrupted,
    UsageError,
)
from gemma_edge.extraction.job import ask_by_schema
from gemma_edge.extraction.schema import Schema, parse_schema
from gemma_edge.units import render_bytes

# ----------------------------------------------------------------------------
# From files to pictures in the detail that the task and the image need.


_FEW = 4  # frames
MAX_TOGETHER = 64  # pictures in one prompt; at the usual 280 tokens they take 18,000


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """How images are read. ``detail_tokens`` is what a person asked for, ``least_tokens`` what
    the task needs; without either the image decides."""

    detail_tokens: int | None = None
    least_tokens: int | None = None
    tiles: int = 1
    pages: PageNumbers | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The pictures of one page or image, several where it was cut; ``page`` is 0 where its file
    is one image. ``unread`` says how to see the frames that were left out, if any were."""

    pictures: tuple[Picture, ...]
    page: int
    unread: str = ""


def wanted_tokens(looking: Looking, sources: Sequence[Source]) -> int | None:
    """The budget that the plan has to pay for; ``None``: the model's usual one. Every file is
    opened, so a wrong one is told before a model is downloaded or loaded.

    Raises:
        InputError, UsageError: one of them cannot be read.
    """
    needs = False
    for source in sources:
        images = iter_images(
            source.read(), source.name, pages=looking.pages, password=looking.password
        )
        needs |= wants_detail(next(images))
    return looking.detail_tokens or looking.least_tokens or (MAX_TOKENS if needs else None)


def iter_seen(
    looking: Looking, source: Source, data: bytes, files: ModelFiles, paid_tokens: int
) -> Iterator[Seen]:
    """The pages or frames of a file, one after another. ``paid_tokens`` is the largest picture
    that the plan has room for, 0 for any.

    Raises:
        InputError, UsageError: it cannot be read.
    """
    most = _most_tokens(looking, files, paid_tokens)
    images = iter_images(
        data, source.name, pages=looking.pages, max_tokens=most * looking.tiles,
        password=looking.password,
    )  # fmt: skip
    for image in images:
        budget = looking.detail_tokens or looking.least_tokens
        if not budget:
            budget = MAX_TOKENS if wants_detail(image) else files.image_tokens
        name = source.path.name if source.path else source.name
        pictures = fit_tiles(image, name, min(budget, most), looking.tiles)
        origin = origin_of(image)
        more = f"--pages 1-{min(origin.pages, _FEW)} reads more" if origin.note else ""
        yield Seen(pictures, origin.page, more)


def smaller_budget(info: EngineInfo, pictures: Sequence[Picture]) -> int:
    """The budget to look again with, where memory was short and the plan that was loaded has room
    for smaller pictures only; 0 where these fit."""
    most = info.plan.image_tokens if info.plan else 0
    return most if any(picture.tokens > most for picture in pictures) else 0


def render_smaller(image_tokens: int) -> str:
    """Why there is less detail than planned."""
    return f"memory is short: looked at again, with at most {image_tokens:,} tokens an image"


def check_together(count: int) -> None:
    """Refuse what no prompt should hold.

    Raises:
        UsageError: too many pictures.
    """
    if count > MAX_TOGETHER:
        raise UsageError(
            f"more than {MAX_TOGETHER} images cannot be looked at together",
            hint="--each looks at one after another, --pages 1-8 takes fewer pages",
        )


def _most_tokens(looking: Looking, files: ModelFiles, paid_tokens: int) -> int:
    """The largest budget that any image of this run may get."""
    if looking.detail_tokens:
        return min(looking.detail_tokens, paid_tokens or looking.detail_tokens)
    # The bundled model has never seen more than its usual detail.
    most = files.image_tokens if files.bundled else MAX_TOKENS
    return min(most, paid_tokens or most)


# ----------------------------------------------------------------------------
# One question about pictures to one whole answer: text, or data that a schema accepts.


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions:
    """What the flags say. ``schema`` is a file, JSON, or the one-line language."""

    kind: Kind
    schema: str | None = None
    questions: tuple[str, ...] = ()
    language: str = ""
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What is asked of the pictures: a task for each question, all of one kind. ``schema`` holds
    the answers; without it they are text."""

    tasks: tuple[Task, ...]
    schema: Schema | None = None
    sampling: Sampling = Sampling()
    max_tokens: int | None = None

    @property
    def kind(self) -> Kind:
        """The kind of all tasks."""
        return self.tasks[0].kind


@dataclass(frozen=True, slots=True)
class Answer:
    """``data`` is what ``text`` says, or the text itself where no schema was asked for; ``None``
    where it says nothing. Without ``problems`` it is whole and valid."""

    text: str
    data: Any
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    finished: Finished


def parse_asking(options: AskOptions) -> Asking:
    """From flags to what is asked.

    Raises:
        SchemaError, InputError: the schema cannot be read or enforced.
        UsageError: flags that do not go together.
    """
    kind, schema = options.kind, options.schema
    if schema is not None and kind != "json":
        raise UsageError(f"--schema does not go with --as {kind}", hint="--as json --schema SCHEMA")
    text = schema if schema is not None else schema_text(kind)
    held_to = parse_schema(text, trust=options.trust) if text else None
    form = held_to.form() if held_to is not None and kind == "json" else ""
    tasks = tuple(
        Task(kind=kind, question=question, language=options.language, form=form)
        for question in options.questions or ("",)
    )
    exact = tasks[0].copies and options.sampling == Sampling()
    return Asking(
        tasks=tasks, schema=held_to, sampling=GREEDY if exact else options.sampling,
        max_tokens=options.max_tokens,
    )  # fmt: skip


def answer(
    engine: Engine, seen: Sequence[Seen], task: Task, asking: Asking, output: Output
) -> Answer:
    """Ask, and wait for the whole answer.

    Raises:
        SchemaError: no rung of llguidance can enforce the schema.
        DoesNotFit, EngineError, ProjectorError: from the engine.
    """

    def ask(constraint: JsonConstraint | None) -> tuple[str, Finished]:
        events = describe(
            engine, pictures_of(seen), prompt_for(task, seen), max_tokens=asking.max_tokens,
            sampling=asking.sampling, constraint=constraint,
        )  # fmt: skip
        return collect(events, output)

    if asking.schema is not None:
        # A tag is never null, and each is said once.
        strict = asking.kind == "tags"
        found = ask_by_schema(ask, asking.schema, strict=strict)
        data = unique_tags(found.data) if strict else found.data
        return Answer(found.text, data, found.problems, found.notes, found.finished)
    text, finished = ask(None)
    return Answer(text, text.strip(), cut_short(finished), (), finished)


def pictures_of(seen: Sequence[Seen]) -> tuple[Picture, ...]:
    """All pictures, in order."""
    return tuple(picture for each in seen for picture in each.pictures)


def prompt_for(task: Task, seen: Sequence[Seen]) -> str:
    """The text that stands beside them."""
    return task.prompt(len(seen), cut=any(len(each.pictures) > 1 for each in seen))


def render_answer(found: Answer, kind: Kind) -> str:
    """The answer as text: tags with commas between, other data as JSON."""
    return render_data(found.text if found.data is None else found.data, kind)


def render_data(data: Any, kind: Kind) -> str:
    """The same from what a record holds, where data may be JSON in a cell."""
    if isinstance(data, str) and kind in ("tags", "json"):
        with contextlib.suppress(ValueError):
            data = json.loads(data)
    if kind == "tags" and isinstance(data, list):
        return ", ".join(map(str, data))
    return data.strip() if isinstance(data, str) else json.dumps(data, ensure_ascii=False)


# ----------------------------------------------------------------------------
# Images one after another: a record each, errors kept apart, what is done is not done again.


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
    runtime = open_runtime(model.store, context, output)
    prepared = prepare(model, runtime, vision="needed", image_tokens=_paid_tokens(looking, sources))
    task = task_digest(_settings(looking, asking, prepared))
    going = Going(output, context.clock, len(sources))
    sidecars = Sidecars(asking.kind, replace=batch.replace) if batch.sidecar else None
    with (
        open_records(batch.out, batch.form, output, silent=batch.sidecar) as records,
        ExitStack() as stack,
    ):
        run = _Run(looking, asking, prepared, task, records, sidecars, output, going)
        run.go(sources, batch.jobs, lambda: _load(prepared, runtime, stack))
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


def _load(prepared: Prepared, runtime: Runtime, stack: ExitStack) -> Engine:
    engine = stack.enter_context(open_engine(prepared, runtime))
    runtime.note(prepared.render(engine.info))
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


# ----------------------------------------------------------------------------
# Pictures in one prompt: each question after the other, so that the pictures are read once.


class Together:
    """All pictures in one prompt; each question after the other, so that the pictures are read
    once."""

    def __init__(
        self, engine: Engine, seen: tuple[Seen, ...], asking: Asking, output: Output, as_json: bool
    ) -> None:
        self._engine, self._seen, self._asking = engine, seen, asking
        self._output, self._as_json = output, as_json

    def run(self) -> ExitStatus:
        """Ask, show, and say how it ended."""
        results, status = [], ExitStatus.OK
        for task in self._asking.tasks:
            if len(self._asking.tasks) > 1:
                self._output.note(f"› {task.question}")
            if self._as_json or self._asking.schema is not None:
                found, ended = self._whole(task)
                results.append((task, found))
            else:
                ended = self._stream(task)
            status = max(status, ended)
            if ended == ExitStatus.INTERRUPTED:
                break
        if self._as_json:
            self._output.document(_as_document(self._engine, self._seen, results))
        return status

    def _stream(self, task: Task) -> ExitStatus:
        """Text, word by word."""
        with cancel_on_interrupt(self._engine):
            finished = stream_text(
                describe(
                    self._engine, pictures_of(self._seen), prompt_for(task, self._seen),
                    max_tokens=self._asking.max_tokens, sampling=self._asking.sampling,
                ),
                self._output,
            )  # fmt: skip
        self._output.status(render_status(finished, self._engine.info))
        return conclude(finished, self._output)

    def _whole(self, task: Task) -> tuple[Answer, ExitStatus]:
        """Data, or an answer that becomes part of a document."""
        with cancel_on_interrupt(self._engine):
            found = answer(self._engine, self._seen, task, self._asking, self._output)
        if not self._as_json:
            self._show(found)
        for note in found.notes:
            self._output.note(note)
        self._output.status(render_status(found.finished, self._engine.info))
        if found.finished.reason == "cancelled":
            return found, ExitStatus.INTERRUPTED
        for problem in found.problems:
            self._output.problem(problem)
        return found, ExitStatus.RESULT if found.problems else ExitStatus.OK

    def _show(self, found: Answer) -> None:
        if self._asking.kind == "json" and found.data is not None:
            self._output.document(found.data)
        else:
            self._output.data(render_answer(found, self._asking.kind))


def _as_document(
    engine: Engine, seen: Sequence[Seen], results: Sequence[tuple[Task, Answer]]
) -> dict[str, Any]:
    """One answer lies open; of several, each with its question."""
    images = [
        {"name": picture.name, "width": picture.width, "height": picture.height,
         "tokens": picture.tokens, "resized": picture.lost or None}
        for picture in pictures_of(seen)
    ]  # fmt: skip
    answers = [
        {"answer": found.data, "problems": list(found.problems), **asdict(found.finished)}
        for _, found in results
    ]
    head = {"model": engine.info.name, "images": images}
    if len(answers) == 1:
        return {**head, **answers[0]}
    asked = (
        {"question": task.question, **each}
        for (task, _), each in zip(results, answers, strict=True)
    )
    return {**head, "answers": list(asked)}


# ----------------------------------------------------------------------------
# What was read of pictures, kept on disk for the next run where a person wants that.


# As much as one saved cache may take (engine/kv_cache.py): of E4B some 300 pictures at 280 tokens.
CACHE_BYTES = 4 << 30


class Recalled:
    """The cache of an engine after it has read ``pictures``, in a file for the next run. Nothing
    happens where the plan does not remember."""

    def __init__(
        self, engine: Engine, prepared: Prepared, pictures: Sequence[Picture], output: Output
    ) -> None:
        self._engine, self._output = engine, output
        self._path: Path | None = None
        folder = prepared.plan.remember
        if folder is not None:
            plan = prepared.plan
            named = [str(plan.model), *(f"{each.path} {each.scale}" for each in plan.adapters)]
            named += [picture.digest for picture in pictures]
            key = sha256("\n".join(named).encode()).hexdigest()[:32]
            self._path = folder / "read" / f"{key}.kv"
        self._there = False

    def restore(self) -> None:
        """Take back what an earlier run has read, and say why where that cannot be."""
        if self._path is None or not self._path.exists():
            return
        restored = self._engine.restore(self._path)
        self._there = restored.tokens > 0
        if not self._there:
            self._output.note(f"the images are read again: {restored.reason}")
        with contextlib.suppress(OSError):
            os.utime(self._path)  # what was used longest ago goes first

    def save(self) -> None:
        """Keep what was read now. That it cannot be kept costs the next run its time, no more."""
        if self._path is None or self._there:
            return
        from gemma_edge.engine.vision import keep_within  # noqa: PLC0415  (numpy, loaded by then)

        try:
            size_bytes = self._engine.save(self._path)
            keep_within(self._path.parent, CACHE_BYTES)
        except (EngineError, OSError) as error:
            self._output.note(f"the images are not remembered: {error}")
            return
        where = shown(self._path.parent.parent)
        self._output.note(
            f"remembered in {where} ({render_bytes(size_bytes)}); delete it to forget"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AskFlags:
    """What about them: fields of ``AskOptions``."""

    questions: Annotated[
        tuple[str, ...],
        option(
            "--question",
            "-q",
            metavar="TEXT",
            parser=whole_text,
            help="Ask something about them instead; repeatable.",
        ),
    ] = ()
    kind: Annotated[
        Kind | None,
        option(
            "--as",
            metavar="KIND",
            choices=KINDS,
            help=f"{', '.join(KINDS)} (default: caption).",
        ),
    ] = None
    schema: Annotated[
        str | None,
        option(
            "--schema",
            "-s",
            metavar="SCHEMA",
            parser=whole_text,
            help="For --as json: a JSON Schema (file or text), or names.",
        ),
    ] = None
    trust: Trust = False
    language: Annotated[
        str, option("--lang", metavar="LANG", parser=whole_text, help="Answer in: de, German.")
    ] = ""
    max_tokens: MaxTokens = None
    sampling: SeedFlags


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFlags:
    """How closely: fields of ``Looking``."""

    detail_tokens: Detail = None
    tiles: Annotated[
        int,
        option(
            "--tiles",
            metavar="2|4",
            parser=parse_tiles,
            help="Cut what loses detail into overlapping halves or quarters.",
        ),
    ] = 1
    pages: Annotated[
        PageNumbers | None,
        option(
            "--pages",
            metavar="LIST",
            parser=parse_pages,
            help="Pages of a PDF or TIFF, frames of what moves, like 1-3,7.",
        ),
    ] = None
    password: Password = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EachFlags:
    """One after another: fields of ``BatchOptions``."""

    each: Annotated[bool, option("--each", help="One after another; a line of JSON each.")] = False
    out: Annotated[
        Path | None,
        option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write the lines there (.csv: as CSV); what is in it is not done again.",
        ),
    ] = None
    csv: Annotated[bool, option("--csv", help="CSV instead of lines of JSON.")] = False
    sidecar: Annotated[
        bool, option("--sidecar", help="Write photo.jpg.alt.txt beside each photo.jpg.")
    ] = False
    replace: Annotated[
        bool, option("--replace", help="Write over what --sidecar wrote before.")
    ] = False
    jobs: Annotated[
        int,
        option(
            "--jobs",
            metavar="N",
            min=1,
            max=32,
            help="Images that are decoded at once (default: 2).",
        ),
    ] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeFlags:
    """Which images, what about them, how closely, and one by one or together."""

    files: Annotated[
        tuple[Path, ...],
        argument(
            "FILE",
            "Images and PDFs, looked at together; - for stdin. A folder or a quoted "
            "pattern: one after another.",
        ),
    ] = ()
    clipboard: Annotated[bool, option("--clipboard", help="Look at what was copied.")] = False
    asking: AskFlags
    looking: LookFlags
    batch: EachFlags


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberFlags(ModelFlags):
    """The model, and whether what it saw is kept."""

    remember: Annotated[
        bool,
        option(
            "--remember",
            help="Keep on disk what was read of the images, so that later questions about them are "
            f"answered at once; or {REMEMBER_VARIABLE}=1.",
        ),
    ] = False  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeOptions:
    """What the command line asks: which images, how closely, what about them; ``batch`` is how
    they are gone through one after another."""

    files: tuple[Path, ...]
    clipboard: bool
    looking: Looking
    asking: AskOptions
    batch: BatchOptions


def command(flags: DescribeFlags, model: RememberFlags, store: FetchFlags, show: ShowFlags) -> Job:
    """Look at images and say what they show.

    \b
    gemma-edge describe photo.jpg
    gemma-edge describe before.png after.png -q "what changed?"
    gemma-edge describe scan.pdf --as ocr --pages 1-3
    gemma-edge describe photos/ --sidecar --lang de
    gemma-edge describe "photos/**/*.jpg" --as tags --out tags.jsonl
    """
    asking, batch = flags.asking, flags.batch
    usual: Kind = "json" if asking.schema is not None else "alt" if batch.sidecar else "caption"
    asked = DescribeOptions(
        files=flags.files,
        clipboard=flags.clipboard,
        looking=build(Looking, flags.looking),
        asking=build(
            AskOptions, asking, kind=asking.kind or usual, sampling=build(Sampling, asking.sampling)
        ),
        batch=build(BatchOptions, batch),
    )
    return partial(run, asked, build(ModelOptions, model, store=store), show)


def run(
    asked: DescribeOptions, model: ModelOptions, show: ShowFlags, context: Context, output: Output
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
    runtime = open_runtime(model.store, context, output)
    prepared = prepare(model, runtime, vision="needed", image_tokens=paid)
    seen = _look(looking, sources.each, prepared, prepared.plan.image_tokens, output)
    with open_engine(prepared, runtime) as engine:
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
