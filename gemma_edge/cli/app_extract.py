"""The result of an extraction: data on stdout, everything about it on stderr."""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gemma_edge.app.load import Prepared, constraints_of, open_engine, open_planner, prepare
from gemma_edge.app.request import ModelRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.cli.app_batch import STDIN, Source
from gemma_edge.cli.context import Context, recipes_dir
from gemma_edge.cli.inputs import read_piped
from gemma_edge.cli.options import PASSWORD_VARIABLE, ModelOptions, ShowFlags, whole_text
from gemma_edge.cli.output import Output, cancel_on_interrupt
from gemma_edge.cli.runtime import open_runtime
from gemma_edge.cli.streaming import show_aside
from gemma_edge.disk import write_atomically
from gemma_edge.documents.document import MAX_TOKENS, Document, PageNumbers, shown
from gemma_edge.documents.open import open_document, read_document
from gemma_edge.documents.pdf import encrypted
from gemma_edge.engine.protocol import Counter, Engine, EngineInfo
from gemma_edge.errors import (
    DoesNotFit,
    EngineError,
    ExitStatus,
    InputError,
    ProjectorError,
    UsageError,
)
from gemma_edge.extraction.evidence.evidence import Evidence, locate
from gemma_edge.extraction.job import Extraction, extract
from gemma_edge.extraction.json_schema import parse_json
from gemma_edge.extraction.merge import render_path
from gemma_edge.extraction.pages import (
    LONG_TOKENS,
    Estimate,
    Look,
    Options,
    Passes,
    Strategy,
    Vision,
    answer_room,
    estimate,
    look_at,
    needs_pictures,
    notes_on,
    plan_passes,
)
from gemma_edge.extraction.recipe import Example, Recipe, bare_recipe
from gemma_edge.extraction.schema import parse_schema, read_text
from gemma_edge.extraction.schema_trial import Examination, examine
from gemma_edge.planning.plan import with_fallbacks
from gemma_edge.units import render_tokens

# ----------------------------------------------------------------------------
# What the command line asks of an extraction, as data.


Form = Literal["json", "csv", "markdown", "sqlite"]
FORMS: tuple[Form, ...] = ("json", "csv", "markdown", "sqlite")
EvidenceForm = Literal["inline", "sidecar"]
EVIDENCES: tuple[EvidenceForm, ...] = ("inline", "sidecar")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """``schema`` is a file, JSON, the one-line language, or ``-`` for stdin; ``recipe`` a name or
    a file. The rest is added to the recipe; ``save_as`` keeps all of it."""

    schema: str | None = None
    recipe: str | None = None
    trust: bool = False
    save_as: str | None = None
    rules: tuple[str, ...] = ()
    counter_examples: tuple[str, ...] = ()
    worked: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    habits: tuple[str, ...] = ()
    compute: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    """What the flags say. ``out``, ``form`` and ``jobs`` are about many documents, ``answers``
    about `extract eval`; ``scored`` is whether a confidence is shown somewhere."""

    files: tuple[Path, ...]
    recipe: RecipeOptions
    pages: PageNumbers | None = None
    password: str | None = field(default=None, repr=False)
    vision: Vision = "auto"
    tiles: int = 1
    strategy: Strategy = "auto"
    strict: bool = False
    max_tokens: int | None = None
    dry_run: bool = False
    evidence: EvidenceForm | None = None
    html: Path | None = None
    out: Path | None = None
    form: Form | None = None
    jobs: int = 2
    answers: Path | None = None
    scored: bool = False

    def options(self, image_tokens: int) -> Options:
        """The job's own, for a picture budget."""
        return Options(
            strategy=self.strategy, vision=self.vision, image_tokens=image_tokens,
            tiles=self.tiles, strict=self.strict, max_tokens=self.max_tokens,
            scored=self.scored or self.max_tokens is not None,  # where a cut is likely, exactly
        )  # fmt: skip


def shorten(text: str, most: int) -> str:
    """A value for one line: at most so many characters of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


MOST_NOT_FOUND = 8  # lines about values that are not printed
VALUE_SHOWN = 60  # characters of one


@dataclass(frozen=True, slots=True)
class Shown:
    """A result with all that is said about it."""

    source: Source
    document: Document
    recipe: Recipe
    passes: Passes
    result: Extraction
    info: EngineInfo
    seconds: float


def show(found: Shown, asked: ExtractOptions, *, as_json: bool, output: Output) -> ExitStatus:
    """Print the data, then what is to be said about it."""
    result = found.result
    if as_json:
        output.document(as_document(found))
    elif result.data is None and result.printed is None:
        output.data(result.text)  # no JSON came of it: shown as it is, with its problem
    else:
        output.document(_data(result, inline=asked.evidence == "inline"))
    write_beside(found.source, found.document, result, asked, output)
    for note in result.notes:
        output.note(note)
    for problem in result.problems:
        output.problem(problem)
    for line in _not_found(found):
        output.note(line)
    output.note(_render_result(found))
    return ExitStatus.RESULT if result.problems else ExitStatus.OK


def as_document(found: Shown) -> dict[str, Any]:
    """The envelope of ``--json``."""
    result, document = found.result, found.document
    return {
        "model": found.info.name,
        "document": {
            "name": document.name,
            "pages": len(document.pages),
            "kinds": [
                {"page": look.page.number, "kind": look.page.kind, "read_as": look.how}
                for look in found.passes.looks
            ],
        },
        "recipe": found.recipe.name or None,
        "data": result.data,
        "valid": not result.problems,
        "problems": list(result.problems),
        "notes": list(result.notes),
        "checks": [asdict(each) for each in result.checks],
        "truncated": list(result.truncated),
        "evidence": [evidence_record(each) for each in result.evidence],
        "strategy": found.passes.strategy,
        "passes": result.passes,
        "seconds": round(found.seconds, 3),
        **asdict(result.finished),
    }


def with_places(
    engine: Engine, document: Document, result: Extraction, asked: ExtractOptions, options: Options
) -> Extraction:
    """The result with a box, where evidence was asked for, of each value that the model read from
    a picture: a second, cheap question."""
    if asked.evidence is None and asked.html is None:
        return result
    try:
        evidence = locate(engine, document, result.evidence, max_tokens=options.image_tokens)
    except (EngineError, DoesNotFit, InputError) as error:  # the data is there all the same
        return replace(result, notes=(*result.notes, f"not located: {error.message}"))
    return replace(result, evidence=evidence)


def evidence_record(each: Evidence) -> dict[str, Any]:
    """Evidence as plain data."""
    record = {
        "path": render_path(each.path),
        "value": each.value,
        "status": each.status,
        "score": each.score,
        "page": each.page,
        "start": each.start,
        "end": each.end,
        "text": each.text,
        "boxes": [[round(edge, 2) for edge in box] for box in each.boxes],
        "source": each.source,
        "confidence": each.confidence,
    }
    if each.further:
        record["further"] = [
            {"page": p.page, "start": p.start, "end": p.end,
             "boxes": [[round(edge, 2) for edge in box] for box in p.boxes]}
            for p in each.further
        ]  # fmt: skip
    return record


def _data(result: Extraction, *, inline: bool) -> Any:
    if not inline:
        return result.data
    known = {each.path: each for each in result.evidence}

    def dress(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, dict):
            return {name: dress(each, (*path, name)) for name, each in value.items()}
        if isinstance(value, list):
            return [dress(each, (*path, index)) for index, each in enumerate(value)]
        each = known.get(path)
        if each is None:
            return {"value": value}
        return {name: v for name, v in evidence_record(each).items() if name != "path"}

    return dress(result.data, ())


def write_beside(  # noqa: PLR0913, PLR0917  (what was read, what came of it, and where to)
    source: Source,
    document: Document,
    result: Extraction,
    asked: ExtractOptions,
    output: Output,
    *,
    folder: bool = False,
) -> None:
    """The files besides the data that were asked for: ``bill.pdf.evidence.json`` beside
    ``bill.pdf``, and the page for a review; of many documents in the folder that `--html` names.

    Raises:
        DoesNotFit: one of them cannot be written.
    """
    if asked.evidence == "sidecar":
        beside = source.path or Path(source.name)
        target = beside.with_name(f"{beside.name}.evidence.json")
        records = [evidence_record(each) for each in result.evidence]
        _write(target, json.dumps(records, ensure_ascii=False, indent=2) + "\n")
        output.note(f"evidence: {shown(target)}")
    if asked.html is not None:
        from gemma_edge.extraction.review import (
            draw_pages,  # noqa: PLC0415
            render_review,  # noqa: PLC0415  (40 ms of jinja2)
        )

        target = asked.html / f"{Path(source.name).name}.html" if folder else asked.html
        images = draw_pages(
            document, result.evidence,
            on_page=lambda done, of: output.draw(f"drawing page {done + 1:,} of {of:,}"),
        )  # fmt: skip
        page = render_review(
            document, result.data, result.evidence, images,
            problems=result.problems, notes=result.notes, computed=result.computed,
        )  # fmt: skip
        _write(target, page)
        output.note(f"review: {shown(target)}")


def _write(path: Path, text: str) -> None:
    """A whole file, or none."""
    try:
        write_atomically(path, text)
    except OSError as error:
        raise DoesNotFit(
            f"{shown(path)} cannot be written: {error.strerror or error}", hint="check its folder"
        ) from error


def _not_found(found: Shown) -> list[str]:
    """A line for each value that is not found where its field is."""
    absent = [each for each in found.result.evidence if not each.found and each.source == "text"]
    if not any(look.how in ("text", "both") for look in found.passes.looks):
        return []  # pictures alone: there is no text to look in
    lines = [
        f"{render_path(each.path)}: {shorten(str(each.value), VALUE_SHOWN)} is {_whereabouts(each)}"
        for each in absent[:MOST_NOT_FOUND]
    ]
    rest = len(absent) - len(lines)
    return lines + ([f"and {rest:,} more values; --html review.html shows them"] if rest else [])


def _whereabouts(evidence: Evidence) -> str:
    return "printed, but not beside its field" if evidence.places else "not printed in the document"


def _render_result(found: Shown) -> str:
    """``valid · 11 of 12 values found in the document · 1.9 s · 210 tokens, 96 of them forced``."""
    result = found.result
    usage = result.usage
    parts = ["not valid" if result.problems else "valid"]
    parts += _grounded(found)
    parts += _passed(found)
    forced = f", {usage.forced_tokens:,} of them forced" if usage.forced_tokens else ""
    passes = f" in {result.passes} answers" if result.passes > 1 else ""
    parts += [f"{found.seconds:.1f} s", f"{render_tokens(usage.generated_tokens)}{forced}{passes}"]
    return " · ".join(parts)


def _grounded(found: Shown) -> list[str]:
    evidence = found.result.evidence
    if not evidence or not found.document.text.strip():
        return []  # a scan has no text to look in
    return [f"{sum(each.found for each in evidence):,} of {len(evidence):,} values found"]


def _passed(found: Shown) -> list[str]:
    checks = len(found.recipe.checks)
    if not checks:
        return []
    failed = len(found.result.checks)
    return [f"{checks - min(failed, checks)} of {checks} checks hold"]


# ----------------------------------------------------------------------------
# From flags to a recipe and a document.


def read_recipe(asked: ExtractOptions, context: Context, output: Output) -> Recipe:
    """The recipe with what the flags add.

    Raises:
        UsageError: neither a schema nor a recipe, or stdin is asked for twice.
        SchemaError, InputError: one of them cannot be read.
    """
    wish = asked.recipe
    if wish.schema is None and wish.recipe is None:
        raise UsageError(
            "there is no --schema and no --recipe", hint='--schema "vendor, date, total num"'
        )
    if wish.schema == str(STDIN) and STDIN in asked.files:
        raise UsageError("stdin cannot be both the document and the schema", hint="extract FILE")
    schema = None
    if wish.schema is not None:
        schema = parse_schema(_schema_text(wish.schema, context, output), trust=wish.trust)
    if wish.recipe is not None:
        from gemma_edge.extraction.recipe_file import load_recipe  # noqa: PLC0415  (PyYAML, 30 ms)

        recipe = load_recipe(wish.recipe, [recipes_dir(context)], trust=wish.trust)
    else:
        assert schema is not None
        recipe, schema = bare_recipe(schema), None
    recipe = recipe.with_(
        schema=schema, rules=wish.rules, counter_examples=wish.counter_examples,
        worked=wish.worked, examples=tuple(map(_example, wish.examples)),
        normalize=wish.habits, compute=wish.compute, checks=wish.checks,
    )  # fmt: skip
    if wish.save_as is not None:
        from gemma_edge.extraction.recipe_file import (  # noqa: PLC0415  (YAML, 30 ms)
            render_recipe,
            save_text,
        )

        path = save_text(render_recipe(recipe), wish.save_as, recipes_dir(context))
        output.note(f"saved as {shown(path)}")
    return recipe


def open_named(source: Source, asked: ExtractOptions, context: Context) -> Document:
    """The document of a source, with its password; at a terminal a missing one is asked for.

    Raises:
        InputError: it cannot be read.
    """
    data = source.read()
    password = asked.password or context.environment.get(PASSWORD_VARIABLE) or None

    def read(password: str | None) -> Document:
        return read_document(data, source.name, password=password, pages=asked.pages)

    try:
        return read(password)
    except InputError as error:
        asks = context.ask_secret
        if (
            password is not None
            or asks is None
            or error.message != encrypted(source.name, None).message
        ):
            raise
        return read(asks(f"password of {source.name}: "))


def _schema_text(text: str, context: Context, output: Output) -> str:
    if text != str(STDIN):
        return whole_text(text)
    if context.stdin_is_terminal:
        raise UsageError("`--schema -` reads stdin, and stdin is a terminal", hint="--schema FILE")
    return read_piped(context, output)


def _example(text: str) -> Example:
    """``bill.pdf=bill.json``: a document and its answer."""
    document, sign, answer = text.rpartition("=")
    if not sign or not document or not answer:
        raise UsageError(
            f"the example `{text[:80]}` is not FILE=JSON", hint="--example bill.pdf=bill.json"
        )
    expect = parse_json(read_text(answer), shown(answer))
    return Example(open_document(document).text, expect, shown(document))


# ----------------------------------------------------------------------------
# From a document to a model with room for it: counted exactly before anything is loaded, and a
# larger context asked of the plan where the document needs one.


_STEP = 1024  # contexts are asked for in steps of so many tokens
_FRAME_TOKENS = 2048  # of a prompt besides the document, its form and its rules: far more than any
_MARKER_TOKENS = 16  # round one picture


@dataclass(frozen=True, slots=True)
class Ready:
    """The model, and how the document will be read; ``passes`` is None where it surely fits and
    was not counted yet."""

    prepared: Prepared
    options: Options
    passes: Passes | None


def get_ready(  # noqa: PLR0913, PLR0917  (what is read, by what, and the world)
    document: Document,
    recipe: Recipe,
    asked: ExtractOptions,
    model: ModelRequest,
    runtime: Runtime,
) -> Ready:
    """A plan for this document; nothing is loaded but, where it may be long, a vocabulary.

    Raises:
        InputError: it has nothing to read.
        ProjectorError: a page is a picture, and the model sees none.
        DoesNotFit: the document, with ``--strategy whole``, or the model.
    """
    looks = look_at(document, asked.vision)
    prepared = _prepare(document, looks, asked, model, runtime)
    options = asked.options(page_tokens(prepared))
    if not asked.dry_run and _surely_fits(looks, recipe, options, prepared):
        return Ready(prepared, options, None)
    with runtime.open_counter(prepared.plan) as counter:
        passes = _count(document, recipe, options, counter, prepared)
        pinned = model.context_tokens is not None
        if passes.whole_tokens > prepared.plan.context_tokens and asked.strategy != "windows":
            larger = None if pinned else _enlarged(prepared, passes, model, runtime)
            if larger is not None:
                prepared = larger
                passes = _count(document, recipe, options, counter, prepared)
            elif asked.strategy == "whole":
                raise _too_long(document, passes, prepared)
    return Ready(prepared, options, passes)


def _prepare(  # noqa: PLR0913, PLR0917  (as above)
    document: Document,
    looks: tuple[Look, ...],
    asked: ExtractOptions,
    model: ModelRequest,
    runtime: Runtime,
) -> Prepared:
    if not needs_pictures(looks):
        return prepare(model, runtime, vision="unused")
    try:
        return prepare(model, runtime, vision="needed", image_tokens=MAX_TOKENS)
    except ProjectorError as error:
        look = next(look for look in looks if look.how in ("picture", "both"))
        raise ProjectorError(
            f"{document.name}, page {look.page.number}, goes in as a picture ({look.page.kind}), "
            f"and {error.message}",
            hint=f"{error.hint}{_without_pictures(looks)}",
        ) from None


def _without_pictures(looks: tuple[Look, ...]) -> str:
    """What is left without a projector."""
    kinds = {look.page.kind for look in looks}
    if "scan" in kinds and not kinds & {"text", "mixed", "scan+ocr-layer"}:
        return ""
    layer = " (the OCR layer, where there is one)" if "scan+ocr-layer" in kinds else ""
    return f"; --vision never reads the text alone{layer}"


def page_tokens(prepared: Prepared) -> int:
    """The budget of a page: the most, but no more than the plan paid for; the bundled model has
    never seen more than its usual one."""
    most = prepared.files.image_tokens if prepared.files.bundled else MAX_TOKENS
    return min(most, prepared.plan.image_tokens or most)


def _surely_fits(
    looks: tuple[Look, ...], recipe: Recipe, options: Options, prepared: Prepared
) -> bool:
    """Whether it fits and is short however it is tokenized: a token is a byte at least."""
    words = [recipe.render_instructions(), recipe.form()]
    words += [look.page.text for look in looks if look.how in ("text", "both")]
    pictures = options.tiles * sum(look.how in ("picture", "both") for look in looks)
    document = sum(len(each.encode()) for each in words)
    document += pictures * (options.image_tokens + _MARKER_TOKENS)
    needed = document + _FRAME_TOKENS + answer_room(document)
    return document <= LONG_TOKENS and needed <= prepared.plan.context_tokens


def _count(
    document: Document, recipe: Recipe, options: Options, counter: Counter, prepared: Prepared
) -> Passes:
    return plan_passes(document, recipe, options, counter.count, prepared.plan.context_tokens)


def _enlarged(
    prepared: Prepared, passes: Passes, model: ModelRequest, runtime: Runtime
) -> Prepared | None:
    """The same model with room for the whole document; None where it reads less, or where it
    would not fit in memory."""
    wanted = -(-passes.whole_tokens // _STEP) * _STEP
    if wanted > _trained_tokens(prepared):
        return None
    pictures = any(sheet.pictures for one in passes.each for sheet in one.sheets)
    image_tokens = MAX_TOKENS if pictures else None
    wishes = constraints_of(
        replace(model, context_tokens=wanted), vision=pictures or None, image_tokens=image_tokens
    )
    try:
        with open_planner(runtime) as planner:
            larger = planner.plan([prepared.candidate], wishes)
    except DoesNotFit:
        return None
    return replace(prepared, plan=with_fallbacks(larger, remember=prepared.plan.remember))


def _trained_tokens(prepared: Prepared) -> int:
    return prepared.candidate.header.integer(".context_length") or 0


def _too_long(document: Document, passes: Passes, prepared: Prepared) -> DoesNotFit:
    name = prepared.plan.name or prepared.plan.model.stem
    trained = _trained_tokens(prepared)
    context = prepared.plan.context_tokens
    if passes.whole_tokens > trained:
        holds = f"{name} reads at most {render_tokens(trained)}"
    else:
        holds = f"{name} has room for {render_tokens(context)} here"
    return DoesNotFit(
        f"{document.name} needs {render_tokens(passes.whole_tokens)} with its answer, {holds}",
        hint="--strategy windows reads it in parts; --pages reads less",
    )


# ----------------------------------------------------------------------------
# `extract --dry-run`: what would be read, and at what cost; no weights are loaded.


MOST_ROWS = 40  # lines of pages
_FATES = {"decoding": "enforced while decoding", "afterwards": "checked afterwards",
          "refused": "refused"}  # fmt: skip


def show_plan(
    document: Document, recipe: Recipe, ready: Ready, *, as_json: bool, output: Output
) -> ExitStatus:
    """Pages with kinds and tokens, passes, time, and what holds the schema."""
    passes = ready.passes
    assert passes is not None  # a dry run always counts
    speed = ready.prepared.plan.speed
    time = estimate(passes, speed.tokens_per_second if speed else None)
    schema = examine(recipe.asked, strict=ready.options.strict)
    if as_json:
        output.document(_as_document(document, ready, passes, time, schema))
        return ExitStatus.OK
    _show_pages(passes, output)
    output.note(ready.prepared.render())
    output.page(_render_passes(passes))
    output.page(time.render())
    output.page(_render_schema(schema))
    return ExitStatus.OK if schema.enforced else ExitStatus.INPUT


def _show_pages(passes: Passes, output: Output) -> None:
    rows = [("page", "kind", "read as", "tokens", "why")]
    for look, tokens in zip(passes.looks, _tokens(passes), strict=True):
        rows.append(
            (str(look.page.number), look.page.kind, look.how, f"{tokens:,}", look.page.reason)
        )
    more = len(rows) - MOST_ROWS - 1
    output.table(rows[: MOST_ROWS + 1])
    if more > 0:
        output.page(f"… {more:,} more pages; --json has them all")


def _tokens(passes: Passes) -> list[int]:
    """Of each page; none of one that is not read."""
    counts = iter(passes.page_tokens)
    return [next(counts) if look.how != "nothing" else 0 for look in passes.looks]


def _render_passes(passes: Passes) -> str:
    total = render_tokens(sum(passes.page_tokens))
    if passes.strategy == "whole":
        return f"{total} of pages in one pass of {passes.each[0].prompt_tokens:,}: {passes.reason}"
    lines = [f"{total} of pages in {len(passes.each)} passes: {passes.reason}"]
    for number, one in enumerate(passes.each, 1):
        first, last = one.pages[0], one.pages[-1]
        pages = f"page {first}" if first == last else f"pages {first}-{last}"
        fields = f", for {', '.join(one.part.names)}" if one.part.names else ""
        lines.append(f"  pass {number}: {pages}, {render_tokens(one.prompt_tokens)}{fields}")
    return "\n".join(lines)


def _render_schema(schema: Examination) -> str:
    """``keywords: 14 enforced while decoding, 2 checked afterwards (format, not)``."""
    parts = []
    for fate, words in _FATES.items():
        some = [each for each in schema.rulings if each.fate == fate]
        if some:
            names = "" if fate == "decoding" else f" ({', '.join(_names(some))})"
            parts.append(f"{sum(each.places for each in some):,} {words}{names}")
    said = f"keywords: {', '.join(parts) or 'none'}"
    return f"{said}\n{schema.refusal}" if schema.refusal else said


def _names(rulings: Any) -> list[str]:
    return list(dict.fromkeys(each.keyword for each in rulings))


def _as_document(
    document: Document, ready: Ready, passes: Passes, time: Estimate, schema: Examination
) -> dict[str, Any]:
    plan = ready.prepared.plan
    return {
        "document": document.name,
        "model": plan.name or plan.model.stem,
        "pages": [
            {"page": look.page.number, "kind": look.page.kind, "reason": look.page.reason,
             "read_as": look.how, "tokens": tokens}
            for look, tokens in zip(passes.looks, _tokens(passes), strict=True)
        ],
        "strategy": passes.strategy,
        "reason": passes.reason,
        "context_tokens": plan.context_tokens,
        "whole_tokens": passes.whole_tokens,
        "passes": [
            {"pages": list(one.pages), "prompt_tokens": one.prompt_tokens,
             "picture_tokens": one.picture_tokens, "fields": list(one.part.names)}
            for one in passes.each
        ],
        "read_tokens": time.read_tokens,
        "answer_tokens": time.answer_tokens,
        "seconds": time.seconds and round(time.seconds, 1),
        "keywords": {
            fate: [
                {"keyword": each.keyword, "place": each.place, "places": each.places,
                 "reason": each.reason or None}
                for each in schema.rulings
                if each.fate == fate
            ]
            for fate in _FATES
        },
        "refusal": schema.refusal or None,
    }  # fmt: skip


# ----------------------------------------------------------------------------
# One document from file to result.


def extract_one(  # noqa: PLR0913, PLR0917  (what, how, and the world)
    source: Source,
    asked: ExtractOptions,
    model: ModelOptions,
    how: ShowFlags,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Recipe, document and files first; only then is a model loaded."""
    recipe = read_recipe(asked, context, output)
    document = open_named(source, asked, context)
    for note in (*document.notes, *notes_on(look_at(document, asked.vision))):
        output.note(note)
    runtime = open_runtime(model.store, context, output)
    ready = get_ready(document, recipe, asked, model, runtime)
    if asked.dry_run:
        return show_plan(document, recipe, ready, as_json=how.json, output=output)
    with open_engine(ready.prepared, runtime) as engine:
        passes = _passes(document, recipe, ready, engine)
        output.note(_render_read(document, passes, ready.prepared.render(engine.info)))
        started = context.clock()
        with cancel_on_interrupt(engine):
            result = extract(
                engine, document, recipe, ready.options, passes=passes,
                on_event=partial(show_aside, output=output),
            )  # fmt: skip
            result = with_places(engine, document, result, asked, ready.options)
        seconds = context.clock() - started
        shown = Shown(source, document, recipe, passes, result, engine.info, seconds)
        return show(shown, asked, as_json=how.json, output=output)


def _passes(document: Document, recipe: Recipe, ready: Ready, engine: Engine) -> Passes:
    """The plan that was made, if what was loaded has the room that it was made for."""
    context_tokens = engine.info.context_tokens
    if ready.passes is not None and context_tokens >= ready.prepared.plan.context_tokens:
        return ready.passes
    return plan_passes(document, recipe, ready.options, engine.count, context_tokens)


def _render_read(document: Document, passes: Passes, loaded: str) -> str:
    """What was read, in pages and tokens, and by whom."""
    pages = len(document.pages)
    extent = f"{pages} page{'' if pages == 1 else 's'}"
    tokens = render_tokens(sum(passes.page_tokens))
    windows = ""
    if passes.strategy == "windows":
        windows = f" in {len(passes.each)} passes ({passes.reason})"
    return f"{document.name}: {extent}, {tokens}{windows} · {loaded}"
