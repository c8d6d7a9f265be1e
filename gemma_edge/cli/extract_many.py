"""``gemma-edge extract eval``: how right answers are, against gold data beside the documents."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from gemma_edge.app.load import Prepared, VisionMode, open_engine, prepare
from gemma_edge.app.runtime import Runtime
from gemma_edge.cli.app_batch import (
    DOCUMENTS,
    Counts,
    Going,
    Shape,
    Source,
    go_through,
    open_at_end,
    write_line,
)
from gemma_edge.cli.app_extract import (
    ExtractOptions,
    Form,
    evidence_record,
    page_tokens,
    read_recipe,
    shorten,
    with_places,
    write_beside,
)
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import PASSWORD_VARIABLE, ModelOptions, ShowFlags
from gemma_edge.cli.output import Output, cancel_on_interrupt
from gemma_edge.cli.runtime import open_runtime
from gemma_edge.cli.streaming import show_aside
from gemma_edge.documents.document import MAX_TOKENS, Document, iter_objects, read_file, shown
from gemma_edge.documents.open import read_document
from gemma_edge.engine.protocol import Engine
from gemma_edge.errors import (
    DoesNotFit,
    EngineError,
    EngineStopped,
    ExitStatus,
    GemmaEdgeError,
    InputError,
    ProjectorError,
    UsageError,
)
from gemma_edge.extraction.job import Extraction, extract
from gemma_edge.extraction.json_schema import parse_json
from gemma_edge.extraction.merge import render_path
from gemma_edge.extraction.pages import Options, plan_passes
from gemma_edge.extraction.recipe import Recipe
from gemma_edge.extraction.records import (
    Database,
    Record,
    as_document,
    columns_of,
    content_key,
    read_database,
    read_rows,
    record_of,
    render_head,
    render_row,
    settings_key,
)
from gemma_edge.extraction.records import Form as Table
from gemma_edge.extraction.schema import read_text
from gemma_edge.extraction.scoring import (
    Cell,
    Change,
    Comparison,
    Graded,
    Report,
    Tally,
    compare,
    grade,
    summarize,
)

# ----------------------------------------------------------------------------
# Where the answers of many documents go: lines of JSON on stdout or in a file, CSV, a Markdown
# table, SQLite; each whole before the next begins, and known again when the batch is run again.


_ENDINGS: dict[str, Form] = {
    ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".md": "markdown",
    ".markdown": "markdown", ".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite",
}  # fmt: skip

_MAX_BYTES = 1 << 31
_TABLES: dict[Form, Table] = {"csv": "csv", "markdown": "markdown"}


@dataclass(frozen=True, slots=True)
class Sink:
    """Takes records. ``done`` are the keys of answers that are there already; ``told`` are files
    with their error, which is not told again."""

    put: Callable[[Record], None]
    done: frozenset[str] = frozenset()
    told: frozenset[tuple[str, str]] = frozenset()

    def write(self, record: Record) -> None:
        """Keep one record.

        Raises:
            DoesNotFit: it cannot be written.
        """
        if (record.file, record.error) not in self.told:
            self.put(record)


def form_of(out: Path | None, asked: Form | None) -> Form:
    """What was asked for, or what the file's name says, or lines of JSON.

    Raises:
        UsageError: a database on stdout.
    """
    named = _ENDINGS.get(out.suffix.lower(), "json") if out is not None else "json"
    form = asked or named
    if form == "sqlite" and out is None:
        raise UsageError("SQLite is written to a file", hint="--out answers.db")
    return form


@contextmanager
def open_sink(
    out: Path | None, form: Form, columns: Sequence[str], output: Output
) -> Iterator[Sink]:
    """stdout, or the end of the file ``out``; ``columns`` are those of a table.

    Raises:
        InputError: the file holds something else, or cannot be read.
        DoesNotFit: it cannot be written.
    """
    if form == "sqlite" and out is not None:
        with closing(Database(out)) as database:
            yield Sink(database.write, database.done, database.told)
    elif out is None:
        yield Sink(_on_stdout(form, columns, output))
    else:
        with open_at_end(out, _shape(form, columns), output) as (file, text):
            done, told = _before(text, form)
            yield Sink(lambda each: write_line(file, _render(each, form, columns)), done, told)


def check_answers(path: Path) -> Form:
    """The form of a file whose records can be read again.

    Raises:
        UsageError: a table, which keeps no more than its cells.
    """
    form = _ENDINGS.get(path.suffix.lower(), "json")
    if form in _TABLES:
        raise UsageError(
            f"{shown(path)} is a table", hint="name lines of JSON (.jsonl) or a database (.db)"
        )
    return form


def read_answers(path: Path, output: Output) -> list[Mapping[str, Any]]:
    """The records of a file that a batch wrote: lines of JSON, or a database. Lines that are no
    record are told.

    Raises:
        InputError: it cannot be read, or holds something else.
        UsageError: a table.
    """
    if check_answers(path) == "sqlite":
        return list(read_database(path))
    text = read_file(path, max_bytes=_MAX_BYTES).decode("utf-8", "replace")
    records: list[Mapping[str, Any]] = list(iter_objects(text))
    left_out = sum(1 for line in text.split("\n") if line.strip()) - len(records)
    if left_out:
        lines = "a line that is" if left_out == 1 else f"{left_out:,} lines that are"
        output.note(f"{shown(path)}: left out {lines} no JSON object")
    return records


def _on_stdout(form: Form, columns: Sequence[str], output: Output) -> Callable[[Record], None]:
    table, begun = _TABLES.get(form), False

    def put(record: Record) -> None:
        nonlocal begun
        if table is None:
            output.event(as_document(record))
            return
        if not begun:
            output.data(render_head(columns, table))
            begun = True
        output.data(render_row(record, columns, table))

    return put


def _shape(form: Form, columns: Sequence[str]) -> Shape:
    table = _TABLES.get(form)
    if table is None:
        return Shape("json", "", "lines of JSON", lambda found: found.startswith("{"))
    head = render_head(columns, table)
    first = head.partition("\n")[0]
    says = "CSV" if table == "csv" else "a Markdown table"
    return Shape(table, head, f"{says} with these columns", lambda found: found == first)


def _render(record: Record, form: Form, columns: Sequence[str]) -> str:
    table = _TABLES.get(form)
    if table is None:
        return json.dumps(as_document(record), ensure_ascii=False)
    return render_row(record, columns, table)


def _before(text: str, form: Form) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """The keys of the answers, and the errors, that a text holds."""
    table = _TABLES.get(form)
    done, told = set(), set()
    for row in read_rows(text, table) if table else iter_objects(text):
        if row.get("error"):
            told.add((str(row.get("file")), str(row["error"])))
        elif row.get("key"):
            done.add(str(row["key"]))
    return frozenset(done), frozenset(told)


# ----------------------------------------------------------------------------
# Documents one after another: a record each, errors kept apart, what is done is not done again.


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


SCHEMA_NAME = "schema.json"  # of a folder: what its documents are read into
_GOLD = (".gold.json", ".json")  # in place of a document's ending
_SHOWN_CELLS, _SHOWN_DOCUMENTS, _SHOWN_CHARS = 3, 10, 60

RunEach = Callable[[Sequence[Source], Sink], ExitStatus]


@dataclass(frozen=True, slots=True)
class Pair:
    """A document, and the file that says what is in it."""

    source: Source
    gold: Path


def evaluate_folder(  # noqa: PLR0913, PLR0917  (what is scored, by what, and how it is shown)
    folder: Path,
    answers: Path | None,
    out: Path | None,
    run: RunEach,
    show: ShowFlags,
    output: Output,
) -> ExitStatus:
    """Score every document of ``folder`` that has gold data. Its answers are those of the file
    ``answers``, or what ``run`` writes: into the file ``out`` where there is one, else into the
    sink that it is given.

    Raises:
        InputError: there is no gold data, or one of the files cannot be read.
        UsageError: ``answers`` or ``out`` is a table, from which data cannot be read.
    """
    pairs = find_pairs(folder)
    gold = [parse_json(read_text(str(pair.gold)), shown(pair.gold)) for pair in pairs]
    status, records = ExitStatus.OK, list[Mapping[str, Any]]()
    if answers is None:
        if out is not None:
            check_answers(out)
        sources = [pair.source for pair in pairs]
        status = run(sources, Sink(lambda record: records.append(as_document(record))))
        if status == ExitStatus.INTERRUPTED:
            return status
    kept = answers or out
    report = summarize(_grade_all(pairs, gold, read_answers(kept, output) if kept else records))
    if show.json:
        output.document(as_json(report))
    else:
        show_report(report, output)
    return status


def find_pairs(folder: Path) -> list[Pair]:
    """The documents of a folder that have gold data beside them: ``bill.gold.json`` or
    ``bill.json`` for ``bill.pdf``; by name.

    Raises:
        InputError: it is no folder, or there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{shown(folder)} is not a folder", hint="gemma-edge extract eval DIR")
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in DOCUMENTS.suffixes or not path.is_file():
            continue
        gold = next((each for end in _GOLD if (each := path.with_suffix(end)).is_file()), None)
        if gold is not None:
            found.append(Pair(Source(shown(path), path), gold))
    if not found:
        raise InputError(
            f"{shown(folder)} has no document with gold data beside it",
            hint="bill.gold.json, beside bill.pdf, says what is in it",
        )
    return found


def _grade_all(
    pairs: Sequence[Pair], gold: Sequence[Any], records: Sequence[Mapping[str, Any]]
) -> list[Graded]:
    """Each document with its answer; of several the last counts, and without one it failed."""
    by_name = {PurePath(str(record.get("file", ""))).name: record for record in records}
    graded = []
    for pair, expected in zip(pairs, gold, strict=True):
        name = pair.source.path.name if pair.source.path else pair.source.name
        record = by_name.get(name, {"error": "there is no answer"})
        error = str(record.get("error") or "")
        if not error and record.get("data") is None:
            error = "; ".join(record.get("problems") or ()) or "the answer holds no data"
        graded.append(grade(name, expected, record.get("data"), record.get("evidence"), error))
    return graded


def show_report(report: Report, output: Output) -> None:
    """Fields and documents, the worst first, and rows that sum up."""
    rows = [("field", "F1", "right", "missing", "extra")]
    rows += [
        (name, f"{tally.f1:.3f}", f"{tally.right:,}", f"{tally.missing:,}", f"{tally.extra:,}")
        for name, tally in report.fields.items()
    ]
    output.table(rows)
    bad = [each for each in report.documents if not each.total.is_whole]
    if bad:
        output.data("")
        worst = [("document", "F1", "what is wrong")]
        worst += [
            (each.name, f"{each.total.f1:.3f}", each.error or _first_wrong(each.wrong))
            for each in bad[:_SHOWN_DOCUMENTS]
        ]
        if more := len(bad[_SHOWN_DOCUMENTS:]):
            worst.append(("", "", f"and {more:,} more documents; --json has all of them"))
        output.table(worst)
    output.data("")
    output.table(sums(report))


def sums(report: Report) -> list[tuple[str, str]]:
    """All documents in a few rows: ``value F1``, ``0.943 (precision 0.951, recall 0.936)``."""
    total, count = report.total, len(report.documents)
    rows = [
        (
            "value F1",
            f"{total.f1:.3f} (precision {total.precision:.3f}, recall {total.recall:.3f})",
        ),
        ("documents", f"{report.whole:,} of {count:,} all right"),
    ]
    if total.grounding is not None:
        rows.append(("grounding", f"{total.grounding:.1%} of {total.values:,} values have a place"))
    if report.failed:
        rows.append(("failed", f"{report.failed:,} without an answer"))
    return rows


def as_json(report: Report) -> dict[str, Any]:
    """The whole report as plain data."""
    return {
        **_tally(report.total),
        "documents": len(report.documents),
        "whole_documents": report.whole,
        "document_accuracy": report.whole / len(report.documents),
        "failed": report.failed,
        "fields": {name: _tally(tally) for name, tally in report.fields.items()},
        "each": [
            {"file": each.name, **_tally(each.total), "error": each.error or None,
             "wrong": [_cell(cell) for cell in each.wrong]}
            for each in report.documents
        ],
    }  # fmt: skip


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "f1": tally.f1, "precision": tally.precision, "recall": tally.recall,
        "right": tally.right, "missing": tally.missing, "extra": tally.extra,
        "values": tally.values, "grounding": tally.grounding,
    }  # fmt: skip


def _cell(cell: Cell) -> dict[str, Any]:
    return {"path": render_path(cell.path), "expected": cell.gold, "found": cell.found}


def _first_wrong(cells: Sequence[Cell]) -> str:
    said = [
        f"{render_path(cell.path)}: {_short(cell.found)}, not {_short(cell.gold)}"
        for cell in cells[:_SHOWN_CELLS]
    ]
    more = len(cells) - len(said)
    return "; ".join(said) + (f"; {more:,} more" if more else "")


def _short(value: Any) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), _SHOWN_CHARS)


# ----------------------------------------------------------------------------
# Many documents through one model; answers scored against gold data; answers compared.


def extract_many(  # noqa: PLR0913, PLR0917  (what, how, and the world)
    sources: Sequence[Source],
    asked: ExtractOptions,
    model: ModelOptions,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Each document by itself, one record a document."""
    if asked.dry_run:
        raise UsageError("--dry-run looks at one document", hint="extract FILE --dry-run")
    recipe = read_recipe(asked, context, output)
    with _task(recipe, asked, model, context, output) as task:
        return extract_each(sources, task, _each(asked), context, output)


def evaluate(
    asked: ExtractOptions, model: ModelOptions, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """``extract eval DIR``: its documents are read, unless there are ``--answers``."""
    folder = _only(asked.files[1:], "extract eval DIR")

    def run(sources: Sequence[Source], sink: Sink) -> ExitStatus:
        wish = asked.recipe
        if wish.schema is None and wish.recipe is None:
            if not (folder / SCHEMA_NAME).is_file():
                raise UsageError(
                    f"there is no --schema, no --recipe, and no {SCHEMA_NAME} in {shown(folder)}",
                    hint='--schema "vendor, date, total num"',
                )
            wish = replace(wish, schema=str(folder / SCHEMA_NAME))
        recipe = read_recipe(replace(asked, recipe=wish), context, output)
        each = replace(_each(asked), evidence=True)
        with _task(recipe, asked, model, context, output) as task:
            if each.out is not None:
                return extract_each(sources, task, each, context, output)
            return run_each(sources, task, each, sink, context, output)

    return evaluate_folder(folder, asked.answers, asked.out, run, show, output)


def _only(paths: Sequence[Path], usage: str) -> Path:
    if len(paths) != 1:
        raise UsageError(f"one folder is asked for, not {len(paths)}", hint=f"gemma-edge {usage}")
    return paths[0]


def _each(asked: ExtractOptions) -> EachOptions:
    return EachOptions(
        out=asked.out, form=asked.form, evidence=asked.evidence == "inline", jobs=asked.jobs
    )


@contextmanager
def _task(
    recipe: Recipe, asked: ExtractOptions, model: ModelOptions, context: Context, output: Output
) -> Iterator[Task]:
    """What is done with each document; the model is loaded for the first one."""
    sight: VisionMode = "unused" if asked.vision == "never" else "possible"
    tokens = None if asked.vision == "never" else MAX_TOKENS
    runtime = open_runtime(model.store, context, output)
    prepared = prepare(model, runtime, vision=sight, image_tokens=tokens)
    options = asked.options(page_tokens(prepared))
    password = asked.password or context.environment.get(PASSWORD_VARIABLE) or None
    with ExitStack() as stack:
        one = _One(recipe, asked, options, prepared, runtime, output, stack)
        yield Task(
            settings={
                "recipe": recipe.fingerprint, "model": prepared.candidate.weights_key,
                "adapters": repr(prepared.plan.adapters),
                "options": asdict(options), "pages": asked.pages.text if asked.pages else "",
            },
            model=prepared.plan.name or prepared.plan.model.stem,
            columns=columns_of(recipe.schema.source, [each.name for each in recipe.compute]),
            read=partial(_read, password=password, asked=asked),
            load=one.load,
            extract=one.extract,
            after=partial(_after, asked=asked, output=output),
        )  # fmt: skip


def _read(data: bytes, name: str, *, password: str | None, asked: ExtractOptions) -> Document:
    return read_document(data, name, password=password, pages=asked.pages)


def _after(
    source: Source, document: Document, found: Extraction, *, asked: ExtractOptions, output: Output
) -> None:
    write_beside(source, document, found, asked, output, folder=True)


@dataclass(slots=True)
class _One:
    """Extracts from one document after another."""

    recipe: Recipe
    asked: ExtractOptions
    options: Options
    prepared: Prepared
    runtime: Runtime
    output: Output
    stack: ExitStack
    engine: Engine | None = None

    def load(self) -> None:
        """Open the model, once."""
        if self.engine is None:
            opened = open_engine(self.prepared, self.runtime)
            self.engine = self.stack.enter_context(opened)
            self.output.note(self.prepared.render(self.engine.info))

    def extract(self, document: Document) -> Extraction:
        """The answer for one document."""
        assert self.engine is not None
        with cancel_on_interrupt(self.engine):
            try:
                passes = plan_passes(
                    document, self.recipe, self.options, self.engine.count,
                    self.engine.info.context_tokens,
                )  # fmt: skip
                if passes.strategy == "windows":
                    count = len(passes.each)
                    self.output.note(f"{document.name}: in {count} passes ({passes.reason})")
                found = extract(
                    self.engine, document, self.recipe, self.options, passes=passes,
                    on_event=partial(show_aside, output=self.output),
                )  # fmt: skip
                return with_places(self.engine, document, found, self.asked, self.options)
            except ProjectorError as error:  # the others may be text
                raise InputError(error.message, hint=error.hint) from None


# ----------------------------------------------------------------------------
# `gemma-edge extract diff`: what differs between two sets of answers.


_MAX_DIFF_BYTES = 1 << 30
_DIFF_SHOWN_CHARS = 80


def show_difference(first: Path, second: Path, show: ShowFlags, output: Output) -> ExitStatus:
    """Two files of answers, or two single answers, value by value.

    Raises:
        InputError: one of them cannot be read, or holds something else.
    """
    found = compare(read_records(first, output), read_records(second, output))
    if show.json:
        output.document(differences_as_json(found))
        return ExitStatus.OK
    for change in found.changes:
        output.data(render_change(change, named=found.documents > 1))
    for side, names in ((first, found.only_first), (second, found.only_second)):
        for name in names:
            output.data(f"{name or 'an answer without a name'}: only in {shown(side)}")
    output.note(render_sum(found))
    return ExitStatus.OK


def read_records(path: Path, output: Output) -> list[Mapping[str, Any]]:
    """The records of a batch; an answer alone is one of no name.

    Raises:
        InputError: it cannot be read, or holds neither.
        UsageError: a table.
    """
    if check_answers(path) != "sqlite":
        try:
            whole = json.loads(read_file(path, max_bytes=_MAX_DIFF_BYTES))
        except (ValueError, RecursionError):  # several lines of JSON, or none
            pass
        else:
            return [_as_record(whole)]
    records = [record for record in read_answers(path, output) if _is_record(record)]
    if not records:
        raise InputError(
            f"{shown(path)} holds no answers",
            hint="gemma-edge extract FOLDER --out answers.jsonl writes them",
        )
    return records


def render_change(change: Change, *, named: bool) -> str:
    """``bill.pdf: items[2].qty: 3 -> 4``."""
    before, after = (
        shorten(json.dumps(value, ensure_ascii=False), _DIFF_SHOWN_CHARS)
        for value in (change.before, change.after)
    )
    name = f"{change.file}: " if named and change.file else ""
    return f"{name}{change.path or '(all)'}: {before} -> {after}"


def render_sum(found: Comparison) -> str:
    """``12 documents: 10 the same, 2 differ in 5 values (items[].qty 4, total 1)``."""
    count = found.documents
    differ, values = count - found.same, len(found.changes)
    line = f"{count:,} document{'' if count == 1 else 's'}: {found.same:,} the same"
    if differ:
        fields = ", ".join(f"{name} {count:,}" for name, count in found.fields.items())
        verb = "differs" if differ == 1 else "differ"
        line += f", {differ:,} {verb} in {values:,} value{'' if values == 1 else 's'} ({fields})"
    return line


def differences_as_json(found: Comparison) -> dict[str, Any]:
    """All of it as plain data."""
    return {
        "documents": found.documents,
        "same": found.same,
        "only_first": list(found.only_first),
        "only_second": list(found.only_second),
        "fields": found.fields,
        "changes": [
            {"file": each.file, "path": each.path, "kind": each.kind, "before": each.before,
             "after": each.after}
            for each in found.changes
        ],
    }  # fmt: skip


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and "file" in value and ("data" in value or "error" in value)


def _as_record(value: Any) -> Mapping[str, Any]:
    """A record as it is, what `extract --json` prints, or an answer alone."""
    if _is_record(value):
        return dict(value)
    is_envelope = isinstance(value, dict) and isinstance(value.get("document"), dict)
    if is_envelope and "data" in value:
        return {"file": str(value["document"].get("name", "")), "data": value["data"]}
    return {"file": "", "data": value}
