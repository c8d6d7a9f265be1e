"""Documents to JSON: a recipe, a model with room for the document, and the answer as one value.

``extract_document`` reads one, ``extract_batch`` many, and ``preview`` says what reading one would
cost. Nothing is printed here.
"""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from gemma_edge.app.at_once import for_many
from gemma_edge.app.batch import (
    FILE_ERRORS,
    Answering,
    Batch,
    Before,
    Counts,
    Emit,
    RecordFormat,
    Sink,
    Source,
    form_of,
    open_batch,
    open_out,
    write_whole,
)
from gemma_edge.app.loaded import LoadedEngine, Prepared, VisionMode
from gemma_edge.app.request import BatchRequest, ExtractRequest, Form, ModelRequest, RecipeRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.app.shards import open_answers, open_beside, share
from gemma_edge.app.standby import open_engine, prepare
from gemma_edge.documents.document import MAX_TOKENS, Document, ReadOptions, iter_objects, shown
from gemma_edge.documents.open import open_document, read_document
from gemma_edge.engine.protocol import Engine, EngineInfo
from gemma_edge.errors import (
    DoesNotFit,
    EngineError,
    GemmaEdgeError,
    InputError,
    ProjectorError,
    UsageError,
)
from gemma_edge.extraction import pages, records
from gemma_edge.extraction.evidence.evidence import Evidence, differences, locate
from gemma_edge.extraction.grounding import ALL, describe_held, listed, unknown_fields
from gemma_edge.extraction.job import CheckedAnswer, extract
from gemma_edge.extraction.json_schema import parse_json, render_path
from gemma_edge.extraction.pages import Estimate, Options, PageMode, Passes
from gemma_edge.extraction.recipe import Example, Recipe, bare_recipe
from gemma_edge.extraction.recognition import GENERAL, Known, Recognition, guess, look, recognize
from gemma_edge.extraction.records import DocumentRecord
from gemma_edge.extraction.schema import Schema, fields_of, parse_schema, read_text
from gemma_edge.extraction.schema_trial import Examination, examine
from gemma_edge.records import dataclass
from gemma_edge.units import render_tokens


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was read from a document. With no ``problems`` the ``data`` is whole and valid by the
    schema; None where nothing was read. ``recognized`` says how ``recipe`` was found, where nobody
    named one. ``seconds`` is what the model took."""

    document: Document
    recipe: Recipe
    passes: Passes
    answer: CheckedAnswer
    info: EngineInfo
    seconds: float
    recognized: Recognition | None = None

    @property
    def data(self) -> Any:
        """What was read, as the schema says: plain JSON values."""
        return self.answer.data

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the data, a sentence each."""
        return self.answer.problems

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth a line, but no failure: of the document, then of the answer."""
        return (*self.document.notes, *self.answer.notes)

    @property
    def evidence(self) -> Mapping[str, Evidence]:
        """Where each value stands, by its path: ``evidence["items[0].price"].page``."""
        return {render_path(each.path): each for each in self.answer.evidence}


# ----------------------------------------------------------------------------
# What is asked, and of which document.


# A recipe, or those among which the one for a document is found.
Asked = Recipe | Known


def read_recipe(
    request: RecipeRequest, folders: Sequence[Path], note: Callable[[str], None] = lambda _: None
) -> Asked:
    """The recipe with what was added to it; one of a name is looked for in ``folders``, then among
    those that ship. Without a schema and a name all of them, of which each document gets its own;
    ``note`` is told of those that cannot be read.
    Raises SchemaError, InputError, UsageError: the schema or the recipe cannot be read."""
    schema: Schema | None = None
    if request.schema is not None:
        schema = parse_schema(request.schema, trust=request.trust, files=request.files)
    examples = tuple(map(_example, request.examples))

    def add(recipe: Recipe, schema: Schema | None = None) -> Recipe:
        return recipe.with_(
            schema=schema, rules=request.rules, counter_examples=request.counter_examples,
            worked=request.worked, examples=examples, normalize=request.habits,
            compute=request.compute, checks=request.checks,
        )  # fmt: skip

    if request.recipe is None and schema is not None:
        return add(bare_recipe(schema))
    from gemma_edge.extraction.recipe_file import load_all, load_recipe, owned, shipped  # YAML

    if request.recipe is not None:
        if not request.files and request.recipe not in {*owned(folders), *shipped()}:
            names = listed(sorted({*owned(folders), *shipped()}))
            raise InputError(f"there is no recipe `{request.recipe[:80]}`", hint=f"one of {names}")
        return add(load_recipe(request.recipe, folders, trust=request.trust), schema)
    recipes, problems = load_all(folders, trust=request.trust)
    for problem in problems:
        note(problem)
    general = load_recipe(GENERAL, folders, trust=request.trust)
    rest = tuple(each for each in recipes if each.name != GENERAL)
    return Known(rest, general, add, frozenset(owned(folders)))


def _example(text: str) -> Example:
    """``bill.pdf=bill.json``: a document and its answer."""
    document, sign, answer = text.rpartition("=")
    if not sign or not document or not answer:
        problem = f"the example `{text[:80]}` is not FILE=JSON"
        raise UsageError(problem, hint="--example bill.pdf=bill.json")
    expect = parse_json(read_text(answer), shown(answer))
    return Example(open_document(document).text, expect, shown(document))


def _reading(request: ExtractRequest) -> ReadOptions:
    return ReadOptions(request.encoding, request.hidden)


def read_source(
    source: Source, request: ExtractRequest, ask_password: Callable[[str], str] | None = None,
    early: Callable[[], Document] | None = None,
) -> Document:  # fmt: skip
    """The document of a source; a password that is missing is asked for, where somebody can be
    asked. ``early`` is the same, begun before without one.
    Raises InputError: it cannot be read."""

    def read(password: str | None) -> Document:
        return read_document(
            source.read(), source.name, password=password, pages=request.pages,
            options=_reading(request),
        )  # fmt: skip

    try:
        return early() if early else read(request.password)
    except InputError as error:
        from gemma_edge.documents.pdf import encrypted

        is_locked = error.message == encrypted(source.name, None).message
        if request.password is not None or ask_password is None or not is_locked:
            raise
        return read(ask_password(f"password of {source.name}: "))


# ----------------------------------------------------------------------------
# From a document to a model with room for it: counted exactly before anything is loaded, and a
# larger context asked of the plan where the document needs one.


_STEP = 1024  # contexts are asked for in steps of so many tokens
_FRAME_TOKENS = 2048  # of a prompt besides the document, its form and its rules: far more than any
_MARKER_TOKENS = 16  # round one picture
_LEAST_CHARACTERS = 2  # of a token in the instructions of a recipe


def get_ready(  # noqa: PLR0913  (what is read, by what, and the environment)
    document: Document, recipe: Recipe, request: ExtractRequest, model: ModelRequest,
    runtime: Runtime, *, counted: bool = False, spare: int = 0,
) -> tuple[Prepared, Passes | None]:  # fmt: skip
    """A plan for this document, and how it will be read: None where it surely fits and need not be
    ``counted``. Nothing is loaded but, to count, a vocabulary. There is room for ``spare`` tokens
    more.
    Raises InputError: it has nothing to read; ProjectorError: a page is a picture, and the model
    sees none; DoesNotFit: the document, with ``--strategy whole``, or the model."""
    _check_fields(recipe, request)
    modes = pages.page_modes(document, request.vision)
    prepared = _prepare(document, modes, model, runtime)
    options, context_tokens = _options(request, prepared), prepared.plan.context_tokens
    if not counted and _surely_fits(modes, recipe, options, context_tokens - spare):
        return prepared, None
    with runtime.open_counter(prepared.plan) as counter:
        passes = pages.plan_passes(document, recipe, options, counter.count, context_tokens)
        if passes.whole_tokens + spare > context_tokens and request.strategy != "windows":
            pinned = model.context_tokens is not None
            larger = None if pinned else _enlarged(prepared, passes, model, runtime, spare)
            if larger is not None:
                room = larger.plan.context_tokens
                return larger, pages.plan_passes(document, recipe, options, counter.count, room)
            if request.strategy == "whole" and passes.whole_tokens > context_tokens:
                raise _too_long(document, passes, prepared, context_tokens)
    return prepared, passes


def _prepare(
    document: Document, modes: tuple[PageMode, ...], model: ModelRequest, runtime: Runtime
) -> Prepared:
    if not pages.needs_pictures(modes):
        return prepare(model, runtime, vision="unused")
    try:
        return prepare(model, runtime, vision="needed", image_tokens=MAX_TOKENS)
    except ProjectorError as error:
        mode = next(mode for mode in modes if mode.how in ("picture", "both"))
        page = document.place(mode.page)
        problem = f"{page}, goes in as a picture ({mode.page.kind}), and {error.message}"
        raise ProjectorError(problem, hint=f"{error.hint}{_without_pictures(modes)}") from None


def _without_pictures(modes: tuple[PageMode, ...]) -> str:
    kinds = {mode.page.kind for mode in modes}
    if "scan" in kinds and not kinds & {"text", "mixed", "scan+ocr-layer"}:
        return ""
    layer = " (the OCR layer, where there is one)" if "scan+ocr-layer" in kinds else ""
    return f"; --vision never reads the text alone{layer}"


def _options(request: ExtractRequest, prepared: Prepared) -> Options:
    """The job's own. A page gets the largest budget, but no more than the plan paid for; the
    bundled model has never seen more than its usual one."""
    most = prepared.files.image_tokens if prepared.files.bundled else MAX_TOKENS
    return Options(
        strategy=request.strategy, vision=request.vision, tiles=request.tiles,
        image_tokens=min(most, prepared.plan.image_tokens or most), strict=request.strict,
        max_tokens=request.max_tokens, free=request.free, grounded=request.grounded,
        scored=request.scored or request.max_tokens is not None,  # where a cut is likely, exactly
        trust=prepared.files.trust,
    )  # fmt: skip


def _surely_fits(
    modes: tuple[PageMode, ...], recipe: Recipe, options: Options, context_tokens: int
) -> bool:
    """Whether it fits and is short however it is tokenized: a token is a byte at least."""
    words = [recipe.render_instructions(), recipe.form()]
    words += [mode.page.text for mode in modes if mode.how in ("text", "both")]
    pictures = options.tiles * sum(mode.how in ("picture", "both") for mode in modes)
    document = sum(len(each.encode()) for each in words)
    document += pictures * (options.image_tokens + _MARKER_TOKENS)
    needed = document + _FRAME_TOKENS + pages.answer_room(document)
    return document <= pages.LONG_TOKENS and needed <= context_tokens


def _enlarged(
    prepared: Prepared, passes: Passes, model: ModelRequest, runtime: Runtime, spare: int
) -> Prepared | None:
    """The same model with room for the whole document; None where it reads less, or where it
    would not fit in memory."""
    wanted = -(-(passes.whole_tokens + spare) // _STEP) * _STEP
    if wanted - spare > _trained_tokens(prepared):
        return None
    from gemma_edge.app.load import as_asked, constraints_of, open_planner  # noqa: PLC0415

    if prepared.found is not None:  # it has less room, and waits for others
        prepared.found.process.leave()
    wanted = min(wanted, _trained_tokens(prepared))
    pictures = any(sheet.pictures for one in passes.each for sheet in one.inputs)
    image_tokens = MAX_TOKENS if pictures else None
    asked = replace(model, context_tokens=wanted)
    constraints = constraints_of(asked, vision=pictures or None, image_tokens=image_tokens)
    try:
        with open_planner(runtime) as planner:
            larger = planner.plan([prepared.candidate], constraints)
    except DoesNotFit:
        return None
    plan = as_asked(larger, model, runtime)
    return replace(prepared, plan=plan, words=None, found=None)


def _trained_tokens(prepared: Prepared) -> int:
    return prepared.candidate.header.integer(".context_length") or 0


def _too_long(
    document: Document, passes: Passes, prepared: Prepared, context_tokens: int
) -> DoesNotFit:
    name, trained = prepared.plan.name or prepared.plan.model.stem, _trained_tokens(prepared)
    holds = f"{name} has room for {render_tokens(context_tokens)} here"
    if passes.whole_tokens > trained:
        holds = f"{name} reads at most {render_tokens(trained)}"
    needed = f"{document.name} needs {render_tokens(passes.whole_tokens)} with its answer"
    hint = "--strategy windows reads it in parts; --pages reads less"
    return DoesNotFit(f"{needed}, {holds}", hint=hint)


# ----------------------------------------------------------------------------
# What reading a document would cost; no weights are loaded.


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be read, with which recipe, by which model, at what cost, and what holds the
    schema. ``recognized`` says how the recipe was found, where nobody named one."""

    document: Document
    recipe: Recipe
    prepared: Prepared
    passes: Passes
    cost: Estimate
    schema: Examination
    recognized: Recognition | None = None

    @property
    def page_tokens(self) -> tuple[int, ...]:
        """Of each page of the document; 0 of one that is not read."""
        counts, modes = iter(self.passes.page_tokens), self.passes.modes
        return tuple(next(counts) if mode.how != "nothing" else 0 for mode in modes)


def preview(
    document: Document, asked: Asked, request: ExtractRequest, model: ModelRequest,
    runtime: Runtime,
) -> Preview:  # fmt: skip
    """What ``extract_document`` would do; a kind is told from the words alone.
    Raises InputError, ProjectorError, DoesNotFit: as it would."""
    recognized = guess(document, asked) if isinstance(asked, Known) else None
    recipe = recognized.recipe if recognized else asked
    assert isinstance(recipe, Recipe)
    prepared, passes = get_ready(document, recipe, request, model, runtime, counted=True)
    assert passes is not None
    speed = prepared.plan.speed
    cost = pages.estimate(passes, speed.tokens_per_second if speed else None)
    schema = examine(recipe.asked, strict=request.strict)
    return Preview(document, recipe, prepared, passes, cost, schema, recognized)


# ----------------------------------------------------------------------------
# One document.


def extract_document(
    document: Document, asked: Asked, request: ExtractRequest, model: ModelRequest,
    runtime: Runtime,
) -> Extraction:  # fmt: skip
    """Load a model with room for the document, find its recipe where none is ``asked``, read it,
    and close the model.
    Raises InputError: there is nothing to read, or a page cannot be drawn; ModelError,
    ProjectorError: no model, or one that sees no pictures; DoesNotFit: the document, with the
    strategy ``whole``, or the model; SchemaError: nothing can enforce the schema; EngineError,
    Interrupted: while it answered."""
    expected, spare = _expected(document, asked)
    prepared, passes = get_ready(document, expected, request, model, runtime, spare=spare)
    counted = None if passes is None else (expected, passes)
    with open_engine(prepared, runtime) as engine:
        return extract_with(engine, document, asked, request, runtime, counted=counted)


def _expected(document: Document, asked: Asked) -> tuple[Recipe, int]:
    """The likeliest recipe before there is a model, and how many tokens more another of those that
    are likely may take."""
    if isinstance(asked, Recipe):
        return asked, 0
    seen = look(document, asked)
    expected = guess(document, asked, seen).recipe
    likely = [each.recipe for each in seen.candidates]
    longest = max(map(_length, (*likely, asked.general)))
    return expected, max(0, longest - _length(expected)) // _LEAST_CHARACTERS


def _length(recipe: Recipe) -> int:
    return len(recipe.form()) + len(recipe.render_instructions())


def extract_with(  # noqa: PLR0913  (as above, and what was counted already)
    engine: LoadedEngine, document: Document, asked: Asked, request: ExtractRequest,
    runtime: Runtime, *, counted: tuple[Recipe, Passes] | None = None, brief: bool = False,
) -> Extraction:  # fmt: skip
    """The same with a model that is open; ``counted`` is how it will be read with a recipe.
    ``brief`` says of the document only that it is read in parts.
    Raises InputError, ProjectorError, DoesNotFit, SchemaError, EngineError, Interrupted: as
    above."""
    prepared, context_tokens = engine.prepared, engine.info.context_tokens
    options = _options(request, prepared)
    recipe, recognized, seconds = _found(engine, document, asked, options, runtime)
    _check_fields(recipe, request)
    if recognized is not None and not brief:
        runtime.note(recognized.render(document.name))
    if not brief and (reads := prepared.files.reads) and recipe.name and recipe.name not in reads:
        known = f"the {prepared.files.title} was made to read {listed(reads)}"
        runtime.note(f"{known}: what it says of this {recipe.name} document is a guess")
    passes = counted[1] if counted is not None and counted[0] == recipe else None
    if passes is None or context_tokens < prepared.plan.context_tokens:  # a fallback was loaded
        passes = pages.plan_passes(document, recipe, options, engine.count, context_tokens)
        if request.strategy == "whole" and passes.whole_tokens > context_tokens:
            raise _too_long(document, passes, prepared, context_tokens)
    if not brief or passes.strategy == "windows":
        runtime.note(_render_read(document, passes, "" if brief else prepared.render(engine.info)))
    if not brief and (said := _render_held(recipe, request, passes)):
        runtime.note(said)
    started = runtime.clock()
    with runtime.cancelling(engine):
        listen = runtime.on_event
        answer = extract(engine, document, recipe, options, passes=passes, on_event=listen)
        if request.located:
            answer = _located(engine, document, answer, options)
        answer = replace(answer, notes=(*answer.notes, *differences(document)))
    seconds += runtime.clock() - started
    return Extraction(document, recipe, passes, answer, engine.info, seconds, recognized)


def _found(
    engine: LoadedEngine, document: Document, asked: Asked, options: Options, runtime: Runtime
) -> tuple[Recipe, Recognition | None, float]:
    """The recipe, how it was found, and the seconds that this took."""
    if isinstance(asked, Recipe):
        return asked, None, 0.0
    started = runtime.clock()
    with runtime.cancelling(engine):
        found = recognize(engine, document, asked, options, runtime.on_event)
    return found.recipe, found, runtime.clock() - started


def _located(
    engine: Engine, document: Document, answer: CheckedAnswer, options: Options
) -> CheckedAnswer:
    """With a box for each value that the model read from a picture: a second, cheap question."""
    try:
        evidence = locate(engine, document, answer.evidence, max_tokens=options.image_tokens)
    except (EngineError, DoesNotFit, InputError) as error:  # the data is there all the same
        return replace(answer, notes=(*answer.notes, f"not located: {error.message}"))
    return replace(answer, evidence=evidence)


def _check_fields(recipe: Recipe, request: ExtractRequest) -> None:
    """Raises UsageError: ``free`` or ``grounded`` name a field that the schema has not."""
    source = recipe.asked.source
    if strangers := unknown_fields(source, (*request.free, *request.grounded)):
        what = f'the schema has no field "{strangers[0]}"'
        raise UsageError(what, hint=f"its fields: {listed(fields_of(source))}; `{ALL}` is each")


def _render_held(recipe: Recipe, request: ExtractRequest, passes: Passes) -> str:
    """Which values can only be what is printed, and how to change it; "" where none can be: of
    pages that are read as pictures the answer tells it."""
    held = describe_held(recipe.asked.source, request.free, request.grounded)
    shown = len(passes.each) == 1 and any(mode.shows_more for mode in passes.modes)
    return (
        ""
        if shown or not held or ALL in request.free
        else f"{held} (--free FIELD, --grounded FIELD)"
    )


def _render_read(document: Document, passes: Passes, loaded: str) -> str:
    count, tokens = len(document.pages), render_tokens(sum(passes.page_tokens))
    files = listed(list(dict.fromkeys(filter(None, (page.file for page in document.pages)))))
    read = f"{document.name}: {count} page{'' if count == 1 else 's'}"
    read += f" with {files}, {tokens}" if files else f", {tokens}"
    if passes.strategy == "windows":
        read += f" in {len(passes.each)} passes ({passes.reason})"
    return f"{read} · {loaded}" if loaded else read


def notes_about(document: Document, request: ExtractRequest) -> tuple[str, ...]:
    """What a person may want to know before the document is read."""
    return (*document.notes, *pages.notes_on(pages.page_modes(document, request.vision)))


# ----------------------------------------------------------------------------
# Files beside the data.


def write_evidence(path: Path, found: Extraction) -> None:
    """Where each value stands, as a list in JSON.
    Raises DoesNotFit: it cannot be written."""
    places = [records.evidence_record(each) for each in found.answer.evidence]
    write_whole(path, json.dumps(places, ensure_ascii=False, indent=2) + "\n")


_RESERVED = re.compile(  # devices of Windows, whatever follows the first dot
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])[ ]*(?:\.|$)",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')  # in names of Windows
_NAME_BYTES = 200  # of 255, with room for a digest and an ending
_HEAD_BYTES = 2048  # of a page, where it says what it is about


def identity_of(source: Source) -> str:
    """A document by where it is, not by what is in it."""
    where = os.path.normcase(os.path.abspath(source.path)) if source.path else source.name
    return sha256(os.fsencode(where)).hexdigest()[:16]


def review_names(sources: Sequence[Source]) -> dict[Source, str]:
    """A name for the page about each: ``bill.pdf.html``, and ``bill.pdf-1f0c3a5e.html`` where
    another file would have the same. They are the same in the next run, and differ on every
    system, whatever it takes for the same name."""
    plain = {each: _file_name((each.path or Path(each.name)).name) for each in sources}
    places = {(_folded(name), identity_of(each)) for each, name in plain.items()}
    counts = Counter(name for name, _ in places)
    return {
        each: f"{name}.html" if counts[_folded(name)] == 1 else _longer(name, each)
        for each, name in plain.items()
    }


def review_path(folder: Path, source: Source, names: Mapping[Source, str]) -> Path:
    """Where the page about a document goes; not in the place of one about another document, such
    as of an earlier run."""
    path = folder / names[source]
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return path
    if _identity_line(identity_of(source)).encode() in head:
        return path
    return folder / _longer(_file_name((source.path or Path(source.name)).name), source)


def _file_name(name: str) -> str:
    """What any file system takes: no device, no sign that is forbidden, not too long."""
    name = _FORBIDDEN.sub("_", shown(name).replace("?", "_"))
    name = f"_{name}" if _RESERVED.match(name) else name
    return name.encode()[:_NAME_BYTES].decode("utf-8", "ignore")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _longer(name: str, source: Source) -> str:
    return f"{name}-{identity_of(source)[:8]}.html"


def _identity_line(identity: str) -> str:
    return f'<meta name="gemma-edge-document" content="{identity}">'


def write_review(
    path: Path, found: Extraction, identity: str = "",
    on_page: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """A page of HTML with the document beside its values, which says by its ``identity`` what it
    is about. ``on_page`` is told before each page that is drawn how many are done, of how many.
    Raises InputError: a page cannot be drawn; DoesNotFit: it cannot be written."""
    from gemma_edge.extraction.review import draw_pages, render_review  # 40 ms of jinja2

    answer = found.answer
    images = draw_pages(found.document, answer.evidence, on_page=on_page)
    kind = () if found.recognized is None else (found.recognized.render(found.document.name),)
    page = render_review(
        found.document, answer.data, answer.evidence, images,
        problems=answer.problems, notes=(*kind, *answer.notes), computed=answer.computed,
    )  # fmt: skip
    charset = '<meta charset="utf-8">\n'
    write_whole(path, page.replace(charset, f"{charset}{_identity_line(identity)}\n", 1))


# ----------------------------------------------------------------------------
# Many documents: one record a document.


_TITLES = {"csv": "CSV with these columns", "markdown": "a Markdown table with these columns"}


def record_format(
    form: Form, columns: Sequence[str], *, raw: bool = False
) -> RecordFormat[DocumentRecord]:
    if form not in ("csv", "markdown"):
        return RecordFormat(document=records.as_document, rows=iter_objects, answer=_answer)
    table = form
    return RecordFormat(
        document=records.as_document, answer=_answer,
        rows=lambda text: records.read_rows(text, table, raw=raw),
        lines=table, title=_TITLES[table],
        cells=lambda row: records.render_cells(list(row.values()), table, raw=raw),
        head=records.render_head(columns, table, raw=raw),
        row=lambda record: records.render_row(record, columns, table, raw=raw),
    )  # fmt: skip


def _answer(row: Mapping[str, Any]) -> tuple[str, None] | None:
    return (str(row["key"]), None) if row.get("key") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracting:
    """What is done with each document of a batch; another process can be told of it. ``evidence``
    is part of the records."""

    asked: Asked
    request: ExtractRequest
    evidence: bool = False

    def prepare(
        self, model: ModelRequest, batch: BatchRequest, runtime: Runtime, count: int
    ) -> Prepared:
        """A plan for ``count`` documents; nothing is loaded.
        Raises GemmaEdgeError: there is no model, or no room for it."""
        sees = self.request.vision != "never"
        vision: VisionMode = "possible" if sees else "unused"
        model, at_once = for_many(model, batch, count)
        image_tokens = MAX_TOKENS if sees else None
        return prepare(
            model, runtime, vision=vision, image_tokens=image_tokens, at_once=at_once,
            if_faster=True,
        )  # fmt: skip

    @contextmanager
    def open(
        self, prepared: Prepared, batch: BatchRequest, runtime: Runtime, *, emit: Emit,
        after: Callable[[Source, Extraction], None] | None = None,
    ) -> Iterator[Answering]:  # fmt: skip
        """What answers documents with one engine, and may be asked for some more of them.
        Raises GemmaEdgeError: where the answers go to cannot be opened."""
        form, asked, request = form_of(batch.out, batch.form), self.asked, self.request
        evidence = self.evidence or form == "sqlite"  # it has a table for them
        shared = {
            "model": prepared.candidate.weights_key, "adapters": repr(prepared.plan.adapters),
            "options": asdict(_options(request, prepared)),
            "pages": request.pages.text if request.pages else "", "evidence": evidence,
            "read": asdict(_reading(request)),
        }  # fmt: skip
        settings = {
            each.name: records.settings_key({"recipe": each.fingerprint, **shared})
            for each in _possible(asked)
        }
        if isinstance(asked, Known) and form in _TITLES:
            runtime.note(
                f"each row has its {records.WHOLE} as JSON; -r NAME gives a field a column"
            )

        @contextmanager
        def answering(sink: Sink[DocumentRecord]) -> Iterator[Answering]:
            with open_batch(sink, prepared, runtime) as opened:
                reader = _Documents(opened, asked, request, settings, evidence, after)
                yield opened.answering(reader.read, reader.use, failed, batch)

        if form == "sqlite" and batch.out is not None and batch.shard is None:
            with open_out(batch.out, runtime), closing(records.Database(batch.out)) as database:
                before = Before()
                before.told |= database.failed
                for file, key in database.done:
                    before.add(file, key)
                with answering(Sink(database.write, before, True, database.copy)) as answer:
                    yield answer
                return
        look = record_format(form, _columns(asked), raw=batch.raw_cells)
        with open_answers(batch, look, emit, runtime) as sink, answering(sink) as answer:
            yield answer

    def fail_beside(self, out: Path, source: Source, error: GemmaEdgeError) -> None:
        """Write a row without an answer to where the shares of ``out`` lie."""
        with open_beside(out, record_format("json", ()), "client") as sink:
            sink.write(failed(source, error))


def extract_batch(  # noqa: PLR0913  (what, by whom, and where to)
    sources: Sequence[Source], work: Extracting, model: ModelRequest, batch: BatchRequest,
    runtime: Runtime, *, emit: Emit, after: Callable[[Source, Extraction], None] | None = None,
) -> Counts:  # fmt: skip
    """Extract from every document by itself, with a recipe of its own where none is asked. One
    that cannot be read is one record with its error; the rest goes on. ``after`` is told of each
    answer.
    Raises UsageError: a database without a file; GemmaEdgeError: no model, or no room for the
    answers."""
    if batch.shard is not None:
        sources = share(sources, batch.shard)
    if form_of(batch.out, batch.form) == "sqlite" and batch.out is None:
        raise UsageError("SQLite is written to a file", hint="--out answers.db")
    if model.remember:
        runtime.note("--remember: of many documents none is added to what is remembered")
    prepared = work.prepare(model, batch, runtime, len(sources))
    with work.open(prepared, batch, runtime, emit=emit, after=after) as answer:
        return answer(sources)


def _possible(asked: Asked) -> list[Recipe]:
    """The recipes with which a document may be read; what flags ask need not go with each."""
    if isinstance(asked, Recipe):
        return [asked]
    found = []
    for recipe in (*asked.recipes, asked.general):
        try:
            found.append(asked.extended(recipe))
        except InputError:
            continue
    return found


def _columns(asked: Asked) -> tuple[str, ...]:
    """Those of a table: of several recipes all data is in one."""
    if isinstance(asked, Known):
        return (records.WHOLE,)
    return records.columns_of(asked.schema.source, [each.name for each in asked.compute])


def failed(source: Source, error: GemmaEdgeError) -> DocumentRecord:
    """The record of a document without an answer."""
    return DocumentRecord(file=source.name, error=error.message, hint=error.hint)


@dataclass(frozen=True, slots=True)
class _Documents:
    """``settings`` are those of each recipe, by its name."""

    batch: Batch[DocumentRecord]
    asked: Asked
    request: ExtractRequest
    settings: Mapping[str, str]
    evidence: bool
    after: Callable[[Source, Extraction], None] | None

    def read(self, source: Source) -> tuple[Mapping[str, str], Document | str] | None:
        """In a thread: the key that the answer will have, by recipe, and the document; the key of
        an answer about the same content where there is one, which has that of the recipe that it
        was read with; None where that is in a row about this file."""
        data, request, before = source.read(), self.request, self.batch.sink.before
        keys = records.content_keys(data, self.settings)
        for key in keys.values():
            if key in before.done:
                if before.has_row(source, key):
                    return None
                if self.after is None:  # which is told of each answer
                    return keys, key
        document = read_document(
            data, source.name, password=request.password, pages=request.pages,
            options=_reading(request),
        )  # fmt: skip
        return keys, document

    def use(self, source: Source, known: tuple[Mapping[str, str], Document | str]) -> None:
        batch, (keys, document) = self.batch, known
        if isinstance(document, str):
            batch.counts.kept += batch.sink.give_row(source, document)
            return
        _ = batch.engine  # what is wrong with the model is wrong with all documents
        try:
            found = batch.ask(
                lambda engine: extract_with(
                    engine, document, self.asked, self.request, batch.runtime, brief=True
                )
            )
        except ProjectorError as error:  # the others may be text
            raise InputError(error.message, hint=error.hint) from None
        except FILE_ERRORS as error:
            batch.fail(failed(source, error), error)
            return
        answer = found.answer
        batch.tell(source.name, answer.problems)
        batch.counts.invalid += bool(answer.problems)
        if (after := self.after) is not None:
            batch.do(lambda: after(source, found))
        places = tuple(map(records.evidence_record, answer.evidence)) if self.evidence else None
        batch.sink.write(
            records.record_of(
                answer, file=source.name, key=keys[found.recipe.name], pages=len(document.pages),
                recipe=found.recipe.name, recognized=_as_data(found.recognized),
                model=batch.prepared.plan.name or batch.prepared.plan.model.stem,
                seconds=found.seconds, notes=document.notes, evidence=places,
            )
        )  # fmt: skip
        batch.counts.done += 1
        if found.recognized is not None:
            batch.counts.kinds[found.recipe.name] += 1


def _as_data(found: Recognition | None) -> dict[str, Any] | None:
    return None if found is None else found.as_data()
