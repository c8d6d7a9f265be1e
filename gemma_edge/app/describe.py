"""Images to words or data: pictures in the detail that they need, questions, answers.

``open_images`` looks at several together, ``describe_batch`` at one after another. Nothing is
printed here.
"""

import contextlib
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from gemma_edge import description
from gemma_edge.app.at_once import for_many
from gemma_edge.app.batch import (
    FILE_ERRORS,
    Answering,
    Batch,
    Counts,
    Emit,
    RecordFormat,
    Source,
    form_of,
    open_batch,
    write_whole,
)
from gemma_edge.app.loaded import LoadedEngine, Prepared
from gemma_edge.app.request import BatchRequest, DescribeRequest, ModelRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.app.shards import open_answers, open_beside, share
from gemma_edge.app.standby import open_engine, prepare
from gemma_edge.catalog import ModelFiles
from gemma_edge.description import Format, ImageRecord, ImageTask, Key, Kind
from gemma_edge.documents import document
from gemma_edge.documents.document import MAX_TOKENS, Picture
from gemma_edge.documents.images import (
    begin_decoding,
    fit_tiles,
    iter_images,
    origin_of,
    wants_detail,
)
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    EngineInfo,
    Finished,
    JsonConstraint,
    Sampling,
)
from gemma_edge.errors import EngineError, GemmaEdgeError, Interrupted, UsageError
from gemma_edge.extraction.job import ask_by_schema
from gemma_edge.extraction.schema import Schema, parse_schema
from gemma_edge.records import dataclass

# ----------------------------------------------------------------------------
# What is asked.


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """A request that was understood: a task for each question, all of one kind. ``schema`` holds
    the answers; without it they are text."""

    request: DescribeRequest
    tasks: tuple[ImageTask, ...]
    schema: Schema | None
    sampling: Sampling

    @property
    def kind(self) -> Kind:
        return self.tasks[0].kind

    @property
    def detail_tokens(self) -> int | None:
        """The budget of a picture that a person or the task asks for; without it the image
        decides."""
        return self.request.detail_tokens or self.tasks[0].detail_tokens


@dataclass(frozen=True, slots=True)
class Description:
    """An answer about images. ``data`` is what ``text`` says by a schema, or the text itself where
    no schema was asked for; ``None`` where it says nothing. Without ``problems`` it is whole and
    valid."""

    question: str
    text: str
    data: Any
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    finished: Finished

    def __str__(self) -> str:
        return self.text.strip()


def parse_questions(request: DescribeRequest) -> Questions:
    """What is asked, checked.
    Raises SchemaError, InputError: the schema cannot be read or enforced; UsageError: flags that do
    not go together."""
    kind = request.kind
    if request.schema is not None and kind != "json":
        raise UsageError(f"--schema does not go with --as {kind}", hint="--as json --schema SCHEMA")
    text = description.schema_text(kind) if request.schema is None else request.schema
    schema = parse_schema(text, trust=request.trust, files=request.files) if text else None
    form = schema.form() if schema is not None and kind == "json" else ""
    tasks = tuple(
        ImageTask(kind=kind, question=question, language=request.language, form=form)
        for question in request.questions or ("",)
    )
    sampling = request.sampling or Sampling()
    exact = tasks[0].copies and sampling == Sampling()
    sampling = GREEDY if exact else sampling
    return Questions(request=request, tasks=tasks, schema=schema, sampling=sampling)


# ----------------------------------------------------------------------------
# From files to pictures in the detail that the task and the image need.


_FEW = 4  # frames
MAX_TOGETHER = 64  # pictures in one prompt; at the usual 280 tokens they take 18,000


@dataclass(frozen=True, slots=True)
class View:
    """The pictures of one page or image, several where it was cut; ``page`` is 0 where its file
    is one image. ``unread`` says how to see the frames that were left out, if any were."""

    pictures: tuple[Picture, ...]
    page: int
    unread: str = ""


def begin_reading(sources: Sequence[Source]) -> None:
    """The process that decodes images starts beside what is done until they are read. A PDF has
    one of its own."""
    if any(each.path is None or each.path.suffix.lower() != ".pdf" for each in sources):
        begin_decoding()


def iter_views(
    questions: Questions, source: Source, data: bytes, files: ModelFiles, paid_tokens: int
) -> Iterator[View]:
    """The pages or frames of a file, one after another. ``paid_tokens`` is the largest picture
    that the plan has room for, 0 for any.
    Raises InputError, UsageError: it cannot be read."""
    request = questions.request
    most = _most_tokens(request, files, paid_tokens)
    images = iter_images(
        data, source.name, pages=request.pages, max_tokens=most * request.tiles,
        password=request.password,
    )  # fmt: skip
    for image in images:
        budget = questions.detail_tokens
        if not budget:
            budget = MAX_TOKENS if wants_detail(image) else files.image_tokens
        name = source.path.name if source.path else source.name
        pictures = fit_tiles(image, name, min(budget, most), request.tiles)
        origin = origin_of(image)
        more = f"--pages 1-{min(origin.pages, _FEW)} reads more" if origin.note else ""
        yield View(pictures, origin.page, more)


def _most_tokens(request: DescribeRequest, files: ModelFiles, paid_tokens: int) -> int:
    if request.detail_tokens:
        return min(request.detail_tokens, paid_tokens or request.detail_tokens)
    # The bundled model has never seen more than its usual detail.
    most = files.image_tokens if files.bundled else MAX_TOKENS
    return min(most, paid_tokens or most)


def _smaller_budget(info: EngineInfo, pictures: Sequence[Picture]) -> int:
    """The budget to look again with, where memory was short and the plan that was loaded has room
    for smaller pictures only; 0 where these fit."""
    most = info.plan.image_tokens if info.plan else 0
    return most if any(picture.tokens > most for picture in pictures) else 0


def _render_smaller(image_tokens: int) -> str:
    return f"memory is short: looked at again, with at most {image_tokens:,} tokens an image"


# ----------------------------------------------------------------------------
# One question about pictures to one whole answer.


def _answer(
    engine: Engine, views: Sequence[View], task: ImageTask, questions: Questions, runtime: Runtime
) -> Description:
    cut = any(len(each.pictures) > 1 for each in views)

    def ask(constraint: JsonConstraint | None) -> tuple[str, Finished]:
        events = description.describe(
            engine, _pictures(views), task.prompt(len(views), cut=cut),
            max_tokens=questions.request.max_tokens, sampling=questions.sampling,
            constraint=constraint,
        )  # fmt: skip
        said: list[str] = []
        with runtime.cancelling(engine):
            try:
                for event in events:
                    runtime.on_event(event)
                    if isinstance(event, Finished):
                        return "".join(said), event
                    if isinstance(event, Chunk) and event.channel == "answer":
                        said.append(event.text)
            finally:
                if isinstance(events, Generator):
                    events.close()  # what cannot be shown ends before its engine is closed
        raise EngineError("the engine stopped without an end", hint="try again")

    if questions.schema is not None:
        strict = questions.kind == "tags"  # one is never null, and each is said once
        found = ask_by_schema(ask, questions.schema, strict=strict)
        data = description.unique_tags(found.data) if strict else found.data
        problems, notes = found.problems, found.notes
        return Description(task.question, found.text, data, problems, notes, found.finished)
    text, finished = ask(None)
    problems = description.cut_short(finished)
    return Description(task.question, text, text.strip(), problems, (), finished)


def _pictures(views: Sequence[View]) -> tuple[Picture, ...]:
    return tuple(picture for each in views for picture in each.pictures)


def render_answer(data: Any, kind: Kind) -> str:
    """An answer, or what a record holds of it, as text: tags with commas between, other data as
    JSON."""
    if isinstance(data, str) and kind in ("tags", "json"):
        with contextlib.suppress(ValueError):
            data = json.loads(data)
    if kind == "tags" and isinstance(data, list):
        return ", ".join(map(str, data))
    return data.strip() if isinstance(data, str) else json.dumps(data, ensure_ascii=False)


# ----------------------------------------------------------------------------
# Several images in one prompt; each question after the other, so that they are read once.


@dataclass(slots=True)
class ImageSet:
    """Images before an open engine. ``interrupted`` is whether an answer was stopped."""

    engine: LoadedEngine
    views: tuple[View, ...]
    questions: Questions
    runtime: Runtime
    interrupted: bool = False

    def ask(self, task: ImageTask) -> Description:
        """One answer; its pieces are events on the way.
        Raises SchemaError, DoesNotFit, EngineError, ProjectorError: from the engine."""
        found = _answer(self.engine, self.views, task, self.questions, self.runtime)
        self.interrupted |= found.finished.reason == "cancelled"
        return found


@contextmanager
def open_images(
    sources: Sequence[Source], questions: Questions, model: ModelRequest, runtime: Runtime
) -> Iterator[ImageSet]:
    """Look at the images, load a model that sees them, and close it at the end. A wrong image is
    told before a model is downloaded or loaded.
    Raises InputError: an image cannot be read; UsageError: too many of them, or a page that there
    is not; ModelError, ProjectorError, DoesNotFit: no model that sees them."""
    _check_together(len(sources))  # before any of them is opened
    wanted = questions.detail_tokens or _wanted_tokens(questions.request, sources)
    prepared = prepare(model, runtime, vision="needed", image_tokens=wanted)
    views = _look(questions, sources, prepared, prepared.plan.image_tokens, runtime)
    with open_engine(prepared, runtime) as engine:
        runtime.note(prepared.render(engine.info))
        _say_what_it_sees(prepared, runtime)
        if most := _smaller_budget(engine.info, _pictures(views)):
            runtime.note(_render_smaller(most))
            views = _look(questions, sources, prepared, most, runtime)
        yield ImageSet(engine, views, questions, runtime)


def _say_what_it_sees(prepared: Prepared, runtime: Runtime) -> None:
    if prepared.files.sees:
        runtime.note(f"the {prepared.files.title} knows {prepared.files.sees} and nothing else")


def look_with(
    engine: LoadedEngine, sources: Sequence[Source], questions: Questions, runtime: Runtime
) -> ImageSet:
    """The same with a model that is open.
    Raises InputError, UsageError: as above."""
    _check_together(len(sources))
    plan = engine.info.plan or engine.prepared.plan
    views = _look(questions, sources, engine.prepared, plan.image_tokens, runtime)
    return ImageSet(engine, views, questions, runtime)


def _wanted_tokens(request: DescribeRequest, sources: Sequence[Source]) -> int | None:
    """The budget that the plan has to pay for; ``None``: the model's usual one. Every file is
    opened for it."""
    needs = False
    for source in sources:
        images = iter_images(
            source.read(), source.name, pages=request.pages, password=request.password
        )
        needs |= wants_detail(next(images))
    return MAX_TOKENS if needs else None


def _look(
    questions: Questions, sources: Sequence[Source], prepared: Prepared, paid_tokens: int,
    runtime: Runtime,
) -> tuple[View, ...]:  # fmt: skip
    views: list[View] = []
    for source in sources:
        for each in iter_views(questions, source, source.read(), prepared.files, paid_tokens):
            views.append(each)
            _check_together(len(_pictures(views)))
            for picture in each.pictures:
                runtime.note("; ".join(filter(None, (document.render_cost(picture), each.unread))))
    return tuple(views)


def _check_together(count: int) -> None:
    if count > MAX_TOGETHER:
        raise UsageError(
            f"more than {MAX_TOGETHER} images cannot be looked at together",
            hint="--each looks at one after another, --pages 1-8 takes fewer pages",
        )


# ----------------------------------------------------------------------------
# Images one after another: a record for each image and question.


# A photograph needs the usual detail; anything else may be a screen or a page of small letters.
_PHOTOS = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif"))


def record_format(form: Format, *, raw: bool = False) -> RecordFormat[ImageRecord]:
    plain: RecordFormat[ImageRecord] = RecordFormat(
        document=description.as_document, answer=description.answer_of,
        rows=lambda text: description.read_rows(text, form, raw=raw),
    )  # fmt: skip
    if form == "json":
        return plain
    return replace(
        plain, lines="csv", title="CSV with our columns", head=description.render_head("csv"),
        row=lambda record: description.render_record(record, "csv", raw=raw),
        cells=lambda row: document.render_csv(list(row.values()), raw=raw),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Describing:
    """What is done with each image of a batch; another process can be told of it. ``photos``: the
    usual detail is enough for all of them. ``sidecar`` writes a text beside each image,
    ``photo.jpg.alt.txt``, which is kept where it is there unless it ``replaces`` it."""

    questions: Questions
    photos: bool = False
    sidecar: bool = False
    replaces: bool = False

    @property
    def request(self) -> DescribeRequest:
        return self.questions.request

    def prepare(
        self, model: ModelRequest, batch: BatchRequest, runtime: Runtime, count: int
    ) -> Prepared:
        """A plan for ``count`` images; nothing is loaded.
        Raises UsageError: flags that do not go together; GemmaEdgeError: there is no model that
        sees, or no room for it."""
        if self.sidecar and len(self.questions.tasks) > 1:
            raise UsageError("--sidecar writes one text an image, not one a question",
                             hint="--out answers.jsonl")  # fmt: skip
        paid = self.questions.detail_tokens or (None if self.photos else MAX_TOKENS)
        model, at_once = for_many(model, batch, count)
        return prepare(
            model, runtime, vision="needed", image_tokens=paid, at_once=at_once, if_faster=True
        )

    @contextmanager
    def open(
        self, prepared: Prepared, batch: BatchRequest, runtime: Runtime, *, emit: Emit
    ) -> Iterator[Answering]:
        """What describes images with one engine, and may be asked for some more of them.
        Raises GemmaEdgeError: where the answers go to cannot be opened."""
        form: Format = "csv" if form_of(batch.out, batch.form) == "csv" else "json"
        task = document.task_digest(_settings(self.questions, prepared))
        look = record_format(form, raw=batch.raw_cells)
        with (
            open_answers(batch, look, emit, runtime) as sink,
            open_batch(sink, prepared, runtime) as opened,
        ):
            each = _Describer(opened, self, task)
            yield opened.answering(each.read, each.use, each.failed, batch)

    def fail_beside(self, out: Path, source: Source, error: GemmaEdgeError) -> None:
        """Write a row without an answer to where the shares of ``out`` lie."""
        with open_beside(out, record_format("json"), "client") as sink:
            sink.write(_failed(source, error))


def _failed(source: Source, error: GemmaEdgeError) -> ImageRecord:
    return ImageRecord(file=source.name, error=error.message, hint=error.hint)


def are_photos(sources: Sequence[Source]) -> bool:
    """Whether all of them are photographs, by their names."""
    return all(source.path and source.path.suffix.lower() in _PHOTOS for source in sources)


def describe_batch(  # noqa: PLR0913  (what, by whom, and where to)
    sources: Sequence[Source], work: Describing, model: ModelRequest, batch: BatchRequest,
    runtime: Runtime, *, emit: Emit,
) -> Counts:  # fmt: skip
    """Describe every image by itself. A file that cannot be read is one record with its error; the
    rest goes on.
    Raises GemmaEdgeError: no model, or no room for the answers."""
    prepared = work.prepare(model, batch, runtime, len(sources))
    if batch.shard is not None:
        sources = share(sources, batch.shard)
    with work.open(prepared, batch, runtime, emit=emit) as answer:
        return answer(sources)


def _settings(questions: Questions, prepared: Prepared) -> dict[str, object]:
    first, request = questions.tasks[0], questions.request
    adapters = [[each.path.name, each.scale] for each in prepared.plan.adapters]
    return {
        "model": prepared.files.model.name, "kind": first.kind, "language": first.language,
        "form": first.form, "schema": questions.schema.source if questions.schema else None,
        "sampling": repr(questions.sampling), "max_tokens": request.max_tokens,
        "detail": request.detail_tokens, "tiles": request.tiles,
        **({"adapters": adapters} if adapters else {}),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Describer:
    """Turns one file after another into records. ``task`` is the hash of all that could change an
    answer but the image."""

    batch: Batch[ImageRecord]
    work: Describing
    task: str

    @property
    def questions(self) -> Questions:
        return self.work.questions

    def read(self, source: Source) -> tuple[str, Iterator[View]] | None:
        """In a thread: the hash of the bytes, and the images, the first of them decoded already;
        None where all is done."""
        data = source.read()
        known = document.digest(data)
        if self._is_done(source, known, 0):
            return None
        views = self._views(source, data, self.batch.prepared.plan.image_tokens)
        return known, chain(list(islice(views, 1)), views)

    def use(self, source: Source, opened: tuple[str, Iterator[View]]) -> None:
        known, views = opened
        for view in views:
            if self._is_done(source, known, view.page) or self._copies(source, known, view.page):
                self.batch.counts.kept += 1
                continue
            if most := _smaller_budget(self.batch.engine.info, view.pictures):
                self.batch.note_once(_render_smaller(most))
                again = self._views(source, source.read(), most)
                view = next(each for each in again if each.page == view.page)
            self._ask(source, view, known)

    def failed(self, source: Source, error: GemmaEdgeError) -> ImageRecord:
        return replace(_failed(source, error), task=self.task)

    def _views(self, source: Source, data: bytes, most: int) -> Iterator[View]:
        return iter_views(self.questions, source, data, self.batch.prepared.files, most)

    def _is_done(self, source: Source, known: str, page: int) -> bool:
        """All that was asked for is there: the records about this file, the text beside it."""
        if self.work.sidecar and (self.work.replaces or not self._beside(source, page).exists()):
            return False
        before = self.batch.sink.before
        return (
            not self.batch.sink.keeps
            and self.work.sidecar
            or all(
                key in before.done and before.has_row(source, key)
                for key in self._keys(known, page)
            )
        )

    def _keys(self, known: str, page: int) -> list[Key]:
        return [(known, page, task.question, self.task) for task in self.questions.tasks]

    def _copies(self, source: Source, known: str, page: int) -> bool:
        """Whether all is known of such an image; then it is written about this one, too."""
        keys, sink = self._keys(known, page), self.batch.sink
        if not all(key in sink.before.done for key in keys):
            return False
        for key in keys:
            sink.give_row(source, key)
        if self.work.sidecar:
            self.batch.do(partial(self._write_beside, source, page, sink.before.done[keys[0]]))
        return True

    def _beside(self, source: Source, page: int) -> Path:
        if source.path is None:
            raise UsageError(f"there is no file beside {source.name}", hint="leave out --sidecar")
        kind, number = self.questions.kind, f".page{page}" if page else ""
        ending = "json" if kind == "json" else f"{kind}.txt"
        return source.path.with_name(f"{source.path.name}{number}.{ending}")

    def _write_beside(self, source: Source, page: int, data: Any) -> None:
        path = self._beside(source, page)
        if self.work.replaces or not path.exists():
            write_whole(path, render_answer(data, self.questions.kind) + "\n")

    def _ask(self, source: Source, view: View, known: str) -> None:
        """Every question about one image; what is wrong with one is that image's error."""
        batch = self.batch
        blank = ImageRecord(
            file=source.name, page=view.page, sha256=known, task=self.task,
            model=batch.prepared.files.name, tokens=sum(each.tokens for each in view.pictures),
            lost="; ".join(each.lost for each in view.pictures if each.lost),
        )  # fmt: skip
        batch.counts.lost += any(each.whole_tokens for each in view.pictures)
        for task in self.questions.tasks:
            record = replace(blank, question=task.question)
            if batch.sink.give_row(source, record.key):
                continue
            try:
                found = self._answer(view, task)
            except FILE_ERRORS as error:
                batch.fail(replace(record, error=error.message, hint=error.hint), error)
                return
            for note in found.notes:  # it may be so of every image; the records tell
                batch.note_once(note, f"{source.name}: {note} (said of the first only)")
            batch.tell(source.name, found.problems)
            batch.sink.write(replace(record, answer=found.data, problems=found.problems))
            if self.work.sidecar:
                said = found.text if found.data is None else found.data
                batch.do(partial(self._write_beside, source, view.page, said))
        batch.counts.done += 1

    def _answer(self, view: View, task: ImageTask) -> Description:
        runtime = self.batch.runtime
        found = self.batch.ask(lambda e: _answer(e, [view], task, self.questions, runtime))
        if found.finished.reason == "cancelled":
            raise Interrupted("stopped")
        return found
