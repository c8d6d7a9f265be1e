"""``gemma-edge extract``, ``eval`` and ``diff``: documents into JSON, and how right it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from gemma_edge.app.request import (
    FORMS,
    BatchRequest,
    ExtractRequest,
    Form,
    ModelRequest,
    RecipeRequest,
)
from gemma_edge.cli.completion import recipe_names
from gemma_edge.cli.context import Context, recipes_dir
from gemma_edge.cli.flags import argument, as_file, build, option
from gemma_edge.cli.options import (
    PASSWORD_VARIABLE,
    RAW_CELLS,
    ClusterFlags,
    EngineFlags,
    MaxTokens,
    PlacementFlags,
    RememberFlags,
    ShareFlags,
    ShowFlags,
    Trust,
    parse_at_once,
    parse_encoding,
    parse_pages,
    parse_tiles,
    whole_text,
)
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import PageNumbers, listed, shown
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.extraction import STRATEGIES, VISIONS, Strategy, Vision
from gemma_edge.records import dataclass
from gemma_edge.units import render_tokens

if TYPE_CHECKING:
    from gemma_edge.app.batch import Counts, Emit, Source
    from gemma_edge.app.cluster import Cluster
    from gemma_edge.app.extract import Asked, Extraction, Preview
    from gemma_edge.app.runtime import Runtime
    from gemma_edge.documents.document import Page
    from gemma_edge.extraction.recipe import Recipe
    from gemma_edge.extraction.schema_trial import Examination
    from gemma_edge.extraction.scoring import Cell, Change, Comparison, Report, Tally

ASKING, READING = "What is asked", "How it is read"
SHOWING, MANY = "What comes out", "Many documents"

EvidenceForm = Literal["inline", "sidecar"]
EVIDENCES: tuple[EvidenceForm, ...] = ("inline", "sidecar")
STDIN = "-"


def _document(text: str) -> Path:
    if text in ("eval", "diff") and not Path(text).is_file():  # as it was spelled before
        raise UsageError(
            f"`{text}` is a command beside extract",
            hint=f"gemma-edge {text} --help; a folder of that name is ./{text}",
        )
    return as_file(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFlags:
    """What is asked: fields of ``RecipeRequest``."""

    schema: Annotated[str | None, option(
        "--schema", "-s", metavar="SCHEMA", panel=ASKING,
        help='A JSON Schema (file, JSON text, - for stdin), or names: "vendor, total num".'
    )] = None  # fmt: skip
    recipe: Annotated[str | None, option(
        "--recipe", "-r", metavar="NAME|FILE", panel=ASKING, complete=recipe_names,
        help="A recipe: schema, rules and checks; `gemma-edge recipes list` shows them. "
        "Without: by the kind of document."
    )] = None  # fmt: skip
    rules: Annotated[tuple[str, ...], option(
        "--rule", metavar="TEXT", panel=ASKING, parser=whole_text,
        help='What the model must know, like "total: after tax"; repeatable.'
    )] = ()  # fmt: skip
    counter_examples: Annotated[tuple[str, ...], option(
        "--not", metavar="TEXT", panel=ASKING, parser=whole_text,
        help='What looks right and is wrong: "total: Balance forward"; repeatable.'
    )] = ()  # fmt: skip
    worked: Annotated[tuple[str, ...], option(
        "--worked", metavar="TEXT", panel=ASKING, parser=whole_text,
        help='Arithmetic as an example: "3 x 4.75 = 14.25"; repeatable.'
    )] = ()  # fmt: skip
    examples: Annotated[tuple[str, ...], option(
        "--example", metavar="FILE=JSON", panel=ASKING, parser=whole_text,
        help="Another document and its answer, two files; repeatable."
    )] = ()  # fmt: skip
    habits: Annotated[tuple[str, ...], option(
        "--normalize", metavar="NAME=VALUE", panel=ASKING, parser=whole_text,
        help="How the document writes: date=dmy, decimal=, region=DE, currency=EUR; "
        "repeatable."
    )] = ()  # fmt: skip
    compute: Annotated[tuple[str, ...], option(
        "--compute", metavar="NAME=EXPR", panel=ASKING, parser=whole_text,
        help='Computed by code: "items_sum = sum(items.amount)"; repeatable.'
    )] = ()  # fmt: skip
    checks: Annotated[tuple[str, ...], option(
        "--check", metavar="EXPR", panel=ASKING, parser=whole_text,
        help='What has to hold: "items_sum ~= total"; repeatable.'
    )] = ()  # fmt: skip
    trust: Trust = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFlags:
    """What is asked, and whether it is kept."""

    asked: AskedFlags
    save_as: Annotated[str | None, option(
        "--save-recipe", metavar="NAME|FILE", panel=ASKING, help="Keep all of this as a recipe."
    )] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFlags:
    """How documents are read: fields of ``ExtractRequest``."""

    strict: Annotated[bool, option(
        "--strict", panel=ASKING, help="Nothing is null that the schema does not let be."
    )] = False  # fmt: skip
    free: Annotated[tuple[str, ...], option(
        "--free", metavar="FIELD", panel=ASKING, parser=whole_text,
        help="The model may write it; `all`: any field; repeatable."
    )] = ()  # fmt: skip
    grounded: Annotated[tuple[str, ...], option(
        "--grounded", metavar="FIELD", panel=ASKING, parser=whole_text,
        help="It can only be what is printed; repeatable."
    )] = ()  # fmt: skip
    pages: Annotated[PageNumbers | None, option(
        "--pages", metavar="LIST", parser=parse_pages, panel=READING,
        help="Only these, like 1-3,8,-1 (the last)."
    )] = None  # fmt: skip
    password: Annotated[str | None, option(
        "--password", metavar="TEXT", panel=READING,
        help=f"For an encrypted PDF; or {PASSWORD_VARIABLE}."
    )] = None  # fmt: skip
    encoding: Annotated[str | None, option(
        "--encoding", metavar="NAME", panel=READING, parser=parse_encoding,
        help="Of a text, CSV, HTML or mail that says none, or a wrong one."
    )] = None  # fmt: skip
    hidden: Annotated[bool, option(
        "--hidden", panel=READING,
        help="Read what is hidden, too: white, covered, in hidden rows."
    )] = False  # fmt: skip
    vision: Annotated[Vision, option(
        "--vision", choices=VISIONS, panel=READING, show_default=True,
        help="Pages as pictures: scans, all of them, or none."
    )] = "auto"  # fmt: skip
    tiles: Annotated[int, option(
        "--tiles", metavar="2|4", parser=parse_tiles, panel=READING,
        help="Cut pictures of pages in halves or quarters: for small print."
    )] = 1  # fmt: skip
    strategy: Annotated[Strategy, option(
        "--strategy", choices=STRATEGIES, panel=READING, show_default=True,
        help="The document in one piece, or by windows of pages."
    )] = "auto"  # fmt: skip
    max_tokens: MaxTokens = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFlags:
    """Where the answers about many documents go: fields of ``BatchRequest``."""

    out: Annotated[Path | None, option(
        "--out", "-o", metavar="FILE", panel=MANY,
        help="Write answers there (.jsonl, .csv, .md, .db); what is in it is not done again."
    )] = None  # fmt: skip
    form: Annotated[
        Form | None,
        option("--format", choices=FORMS, panel=MANY, help="Of the answers (default: json)."),
    ] = None
    jobs: Annotated[int, option(
        "--jobs", metavar="N", min=1, max=32, panel=MANY,
        help="Documents that are read ahead of the model (default: 2)."
    )] = 2  # fmt: skip
    at_once: Annotated[int, option(
        "--at-once", metavar="N|auto", parser=parse_at_once, panel=MANY,
        help="Documents that are answered at once (default: up to 8, where that is faster)."
    )] = 0  # fmt: skip
    raw_cells: Annotated[bool, option("--raw-cells", panel=MANY, help=RAW_CELLS)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFlags:
    """What comes out besides the data."""

    evidence: Annotated[EvidenceForm | None, option(
        "--evidence", choices=EVIDENCES, panel=SHOWING,
        help="Where each value stands: in the result, or in FILE.evidence.json."
    )] = None  # fmt: skip
    html: Annotated[Path | None, option(
        "--html", metavar="FILE", panel=SHOWING,
        help="A page to review it: the document beside its values; of many, a folder of pages."
    )] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractFlags:
    """All flags of ``extract``."""

    files: Annotated[
        tuple[Path, ...],
        argument("FILE", "A PDF, image, office or text file, - for stdin.", parser=_document),
    ]
    recipe: RecipeFlags
    read: ReadFlags
    dry_run: Annotated[bool, option(
        "--dry-run", panel=READING, help="Show pages, tokens, passes and time; read nothing."
    )] = False  # fmt: skip
    result: ResultFlags
    batch: BatchFlags
    share: ShareFlags
    cluster: ClusterFlags
    model: PlacementFlags
    keeping: RememberFlags
    store: EngineFlags
    show: ShowFlags


def command(flags: ExtractFlags, context: Context, output: Output) -> ExitStatus:
    """Read documents into JSON. A value that is not in one is null; where a JSON Schema requires
    it and does not let it be null, it is named and the status is 6.

    Without --schema and --recipe the kind of each document is recognized, and its recipe is used.
    Several documents, a folder or a quoted pattern give a line of JSON each.

    \b
    gemma-edge extract invoice.pdf
    gemma-edge extract bill.pdf --schema "vendor, date, total num"
    gemma-edge extract bill.pdf -r invoice --html review.html
    gemma-edge extract bill.pdf -r invoice --check "subtotal + tax ~= total"
    gemma-edge extract contract.pdf -s contract.schema.json --dry-run
    gemma-edge extract bills/ -r invoice --out bills.csv
    gemma-edge extract scans/ --out everything.jsonl
    """
    from gemma_edge.app.batch import DOCUMENTS, find_sources
    from gemma_edge.cli.inputs import read_stdin
    from gemma_edge.cli.streaming import cluster_of, in_job, open_runtime
    from gemma_edge.isolation import Once

    show, model = flags.show, build(ModelRequest, flags.model, flags.keeping)
    on_one = "--html" if flags.result.html is not None else ""
    on_one = on_one or ("--evidence sidecar" if flags.result.evidence == "sidecar" else "")
    cluster = cluster_of(flags.cluster, flags.share, on_one)
    batch = in_job(
        build(BatchRequest, flags.batch), flags.share, context, output, shares=cluster is None
    )
    sources = find_sources(
        flags.files, DOCUMENTS, note=output.note,
        read_stdin=None if context.stdin_is_terminal else partial(read_stdin, context),
    )  # fmt: skip
    is_many = sources.many or len(sources.each) > 1 or cluster is not None
    many = is_many or batch.out is not None or batch.form is not None
    if many and flags.dry_run:
        raise UsageError("--dry-run looks at one document", hint="extract FILE --dry-run")
    runtime = open_runtime(flags.store, context, output)
    if cluster is None:  # else it is another machine that plans
        runtime.begin(engine=not flags.dry_run)  # beside what is imported and read now
    from gemma_edge.app.extract import extract_document, notes_about, preview, read_source

    request = request_of(flags.read, flags.result, show, context)
    early = Once(partial(read_source, sources.each[0], request))
    if not many:
        early.begin()
    taken = STDIN in map(str, flags.files)
    asked = read_asked(flags.recipe, context, output, taken=taken, many=many)
    if many:
        counts = extract_many(
            sources.each, asked, request, model, batch, flags.result, runtime, context, output,
            evidence=flags.result.evidence == "inline", cluster=cluster,
        )  # fmt: skip
        return counts.status
    document = read_source(sources.each[0], request, context.ask_secret, early)
    for note in notes_about(document, request):
        output.note(note)
    if flags.dry_run:
        found = preview(document, asked, request, model, runtime)
        keep_recognized(found, flags.recipe, context, output)
        return show_preview(found, as_json=show.json, output=output)
    extraction = extract_document(document, asked, request, model, runtime)
    keep_recognized(extraction, flags.recipe, context, output)
    return show_result(sources.each[0], extraction, flags.result, as_json=show.json, output=output)


def read_asked(
    flags: RecipeFlags, context: Context, output: Output, *, taken: bool, many: bool
) -> "Asked":
    """The recipe that the flags describe, or those among which each document finds its own;
    ``taken`` is whether stdin is a document.
    Raises UsageError: stdin is asked for twice, or one of several recipes is to be kept;
    SchemaError, InputError: the schema or the recipe cannot be read."""
    from gemma_edge.app.extract import read_recipe
    from gemma_edge.cli.inputs import read_piped
    from gemma_edge.extraction.recipe import Recipe

    asked = flags.asked
    schema = asked.schema
    if schema == STDIN:
        if taken:
            raise UsageError(
                "stdin cannot be both the document and the schema", hint="extract FILE"
            )
        if context.stdin_is_terminal:
            raise UsageError(
                "`--schema -` reads stdin, and stdin is a terminal", hint="--schema FILE"
            )
        schema = read_piped(context, output)
    request = build(RecipeRequest, asked, schema=schema)
    found = read_recipe(request, [recipes_dir(context)], output.note)
    if isinstance(found, Recipe):
        _keep(found, flags, context, output)
    elif many and flags.save_as is not None:
        raise UsageError(
            "--save-recipe keeps one recipe, and each document gets its own",
            hint=f"-r invoice --save-recipe {flags.save_as}",
        )
    return found


def keep_recognized(
    found: "Extraction | Preview", flags: RecipeFlags, context: Context, output: Output
) -> None:
    """`--save-recipe` for a recipe that was not known before the document was."""
    if found.recognized is not None:
        _keep(found.recipe, flags, context, output)


def _keep(recipe: "Recipe", flags: RecipeFlags, context: Context, output: Output) -> None:
    if flags.save_as is None:
        return
    from gemma_edge.extraction.recipe_file import render_recipe, save_text  # (YAML, 30 ms)

    path = save_text(render_recipe(recipe), flags.save_as, recipes_dir(context))
    output.note(f"saved as {shown(path)}")


def request_of(
    read: ReadFlags, result: ResultFlags, show: ShowFlags, context: Context
) -> ExtractRequest:
    """How documents are read. A confidence costs time: only where it is shown."""
    located = result.evidence is not None or result.html is not None
    password = read.password or context.environment.get(PASSWORD_VARIABLE) or None
    return build(
        ExtractRequest, read, password=password, located=located, scored=located or show.json
    )


def extract_many(  # noqa: PLR0913, PLR0917  (what, how, by whom, where to, and the environment)
    sources: "Sequence[Source]",
    asked: "Asked",
    request: ExtractRequest,
    model: ModelRequest,
    batch: BatchRequest,
    result: ResultFlags,
    runtime: "Runtime",
    context: Context,
    output: Output,
    *,
    evidence: bool,
    emit: "Emit | None" = None,
    cluster: "Cluster | None" = None,
) -> "Counts":
    """Each document by itself; ``emit`` takes the records in the place of stdout."""
    from gemma_edge.app.extract import Extracting, extract_batch, review_names
    from gemma_edge.cli.streaming import BatchProgress

    progress = BatchProgress(output, context.clock, "documents")
    names = review_names(sources)

    def after(source: "Source", found: "Extraction") -> None:
        write_beside(source, found, result, output, names)

    is_beside = result.html is not None or result.evidence == "sidecar"
    runtime = replace(runtime, on_event=progress)
    work = Extracting(asked=asked, request=request, evidence=evidence)
    if cluster is not None:
        from gemma_edge.app.cluster import answer_on_cluster

        counts = answer_on_cluster(sources, work, model, batch, cluster, runtime)
    else:
        counts = extract_batch(
            sources, work, model, batch, runtime, emit=emit or output.record,
            after=after if is_beside else None,
        )  # fmt: skip
    done = f"{counts.done:,} document{'' if counts.done == 1 else 's'} extracted"
    if counts.kinds:
        kinds = ", ".join(f"{count:,} {name}" for name, count in counts.kinds.most_common())
        done += f" ({kinds})"
    remark = f"{counts.invalid:,} not valid" if counts.invalid else ""
    output.note(progress.render_end(counts, done, remark))
    return counts


# ----------------------------------------------------------------------------
# One result: data on stdout, everything about it on stderr.


MOST_NOT_FOUND = 8  # lines about values that are not printed
VALUE_SHOWN = 60  # characters of one


def show_result(
    source: "Source", found: "Extraction", result: ResultFlags, *, as_json: bool, output: Output
) -> ExitStatus:
    """Print the data, then what is to be said about it."""
    answer = found.answer
    if as_json:
        output.document(_envelope(found))
    elif answer.data is None and answer.printed is None:
        output.data(answer.text)  # no JSON came of it: shown as it is, with its problem
    else:
        output.document(_with_places(found) if result.evidence == "inline" else answer.data)
    write_beside(source, found, result, output)
    for note in answer.notes:
        output.note(note)
    for problem in answer.problems:
        output.problem(problem)
    for line in _not_found(found):
        output.note(line)
    output.note(_render_result(found))
    return ExitStatus.RESULT if answer.problems else ExitStatus.OK


def write_beside(
    source: "Source",
    found: "Extraction",
    result: ResultFlags,
    output: Output,
    names: "Mapping[Source, str] | None" = None,
) -> None:
    """The files besides the data that were asked for: ``bill.pdf.evidence.json`` beside
    ``bill.pdf``, and the page for a review; of many documents under these ``names`` in the folder
    that `--html` names.
    Raises DoesNotFit: one of them cannot be written."""
    from gemma_edge.app.extract import identity_of, review_path, write_evidence, write_review

    if result.evidence == "sidecar":
        beside = source.path or Path(source.name)
        target = beside.with_name(f"{beside.name}.evidence.json")
        write_evidence(target, found)
        output.note(f"evidence: {shown(target)}")
    if result.html is not None:
        target = review_path(result.html, source, names) if names else result.html
        write_review(
            target, found, identity_of(source),
            lambda done, of: output.draw(f"drawing page {done + 1:,} of {of:,}"),
        )  # fmt: skip
        output.note(f"review: {shown(target)}")


def _envelope(found: "Extraction") -> dict[str, Any]:
    """What ``--json`` prints."""
    from gemma_edge.extraction.records import evidence_record

    answer, document = found.answer, found.document
    return {
        "model": found.info.name,
        "document": {
            "name": document.name,
            "pages": len(document.pages),
            "kinds": [
                {"page": mode.page.number, "kind": mode.page.kind, "read_as": mode.how}
                | _file_of(mode.page)
                for mode in found.passes.modes
            ],
        },
        "recipe": found.recipe.name or None,
        "recognized": found.recognized.as_data() if found.recognized else None,
        "data": answer.data,
        "valid": not answer.problems,
        "problems": list(answer.problems),
        "notes": list(answer.notes),
        "checks": [asdict(each) for each in answer.checks],
        "truncated": list(answer.truncated),
        "evidence": [evidence_record(each) for each in answer.evidence],
        "strategy": found.passes.strategy,
        "passes": answer.passes,
        "seconds": round(found.seconds, 3),
        **asdict(answer.finished),
    }


def _file_of(page: "Page") -> dict[str, Any]:
    """The file that a page is of, where that came with the document."""
    return {"file": page.file, "file_page": page.file_page} if page.file else {}


def _with_places(found: "Extraction") -> Any:
    """The data with each value in an object that says where it stands."""
    from gemma_edge.extraction.records import evidence_record

    known = {each.path: each for each in found.answer.evidence}

    def dress(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, dict):
            return {name: dress(each, (*path, name)) for name, each in value.items()}
        if isinstance(value, list):
            return [dress(each, (*path, index)) for index, each in enumerate(value)]
        each = known.get(path)
        if each is None:
            return {"value": value}
        return {name: v for name, v in evidence_record(each).items() if name != "path"}

    return dress(found.data, ())


def _not_found(found: "Extraction") -> list[str]:
    """A line for each value that is not found where its field is."""
    if not any(mode.how in ("text", "both") for mode in found.passes.modes):
        return []  # pictures alone: there is no text to look in
    absent = {
        path: each for path, each in found.evidence.items()
        if not each.found and each.source == "text"
    }  # fmt: skip
    where = {True: "printed, but not beside its field", False: "not printed in the document"}
    lines = [
        f"{path}: {shorten(str(each.value), VALUE_SHOWN)} is {where[bool(each.places)]}"
        for path, each in list(absent.items())[:MOST_NOT_FOUND]
    ]
    rest = len(absent) - len(lines)
    return lines + ([f"and {rest:,} more values; --html review.html shows them"] if rest else [])


def shorten(text: str, most: int) -> str:
    """A value for one line: at most so many characters of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _render_result(found: "Extraction") -> str:
    """``valid · 11 of 12 values found in the document · 1.9 s · 210 tokens, 96 of them forced``."""
    from gemma_edge.cli.streaming import render_saved

    answer = found.answer
    usage = answer.usage
    parts = ["not valid" if answer.problems else "valid"]
    if answer.evidence and found.document.text.strip():  # a scan has no text to look in
        count = sum(each.found for each in answer.evidence)
        files = list(dict.fromkeys(each.file for each in answer.evidence if each.file))
        inside = f" ({listed(files)})" if files else ""
        parts.append(f"{count:,} of {len(answer.evidence):,} values found{inside}")
    if checks := len(found.recipe.checks):
        parts.append(f"{checks - min(len(answer.checks), checks)} of {checks} checks hold")
    forced = f", {usage.forced_tokens:,} of them forced" if usage.forced_tokens else ""
    passes = f" in {answer.passes} answers" if answer.passes > 1 else ""
    saved = render_saved(answer.finished.timings)
    parts.append(f"{found.seconds:.1f} s{saved}")
    parts.append(f"{render_tokens(usage.generated_tokens)}{forced}{passes}")
    return " · ".join(parts)


# ----------------------------------------------------------------------------
# `extract --dry-run`: what would be read, and at what cost.


MOST_ROWS = 40  # lines of pages
_FATES = {"decoding": "enforced while decoding", "afterwards": "checked afterwards",
          "refused": "refused"}  # fmt: skip


def show_preview(found: "Preview", *, as_json: bool, output: Output) -> ExitStatus:
    """Pages with kinds and tokens, passes, time, and what holds the schema."""
    if as_json:
        output.document(_plan_document(found))
        return ExitStatus.OK
    if found.recognized is not None:
        output.note(found.recognized.render(found.document.name))
    rows = [("page", "kind", "read as", "tokens", "why")]
    for mode, tokens in zip(found.passes.modes, found.page_tokens, strict=True):
        page = mode.page
        title = page.title.removeprefix("page ")
        rows.append((title, page.kind, mode.how, f"{tokens:,}", page.reason))
    more = len(rows) - MOST_ROWS - 1
    output.table(rows[: MOST_ROWS + 1])
    if more > 0:
        output.page(f"… {more:,} more pages; --json has them all")
    output.note(found.prepared.render())
    output.page(_render_passes(found))
    output.page(found.cost.render())
    output.page(_render_schema(found.schema))
    return ExitStatus.OK if found.schema.enforced else ExitStatus.INPUT


def _render_passes(found: "Preview") -> str:
    passes = found.passes
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


def _render_schema(schema: "Examination") -> str:
    """``keywords: 14 enforced while decoding, 2 checked afterwards (format, not)``."""
    parts = []
    for fate, words in _FATES.items():
        some = [each for each in schema.rulings if each.fate == fate]
        if some:
            keywords = ", ".join(dict.fromkeys(each.keyword for each in some))
            names = "" if fate == "decoding" else f" ({keywords})"
            parts.append(f"{sum(each.places for each in some):,} {words}{names}")
    said = f"keywords: {', '.join(parts) or 'none'}"
    return f"{said}\n{schema.refusal}" if schema.refusal else said


def _plan_document(found: "Preview") -> dict[str, Any]:
    plan, passes, cost = found.prepared.plan, found.passes, found.cost
    return {
        "document": found.document.name,
        "recipe": found.recipe.name or None,
        "recognized": found.recognized.as_data() if found.recognized else None,
        "model": plan.name or plan.model.stem,
        "pages": [
            {"page": mode.page.number, "kind": mode.page.kind, "reason": mode.page.reason,
             "read_as": mode.how, "tokens": tokens} | _file_of(mode.page)
            for mode, tokens in zip(passes.modes, found.page_tokens, strict=True)
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
        "read_tokens": cost.read_tokens,
        "answer_tokens": cost.answer_tokens,
        "seconds": cost.seconds and round(cost.seconds, 1),
        "keywords": {
            fate: [
                {"keyword": each.keyword, "place": each.place, "places": each.places,
                 "reason": each.reason or None}
                for each in found.schema.rulings
                if each.fate == fate
            ]
            for fate in _FATES
        },
        "refusal": found.schema.refusal or None,
    }  # fmt: skip


# ----------------------------------------------------------------------------
# `eval`: how right answers are.


_SHOWN_CELLS, _SHOWN_DOCUMENTS, _SHOWN_CHARS = 3, 10, 60
_DIFF_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateFlags:
    """All flags of ``eval``."""

    folder: Annotated[Path, argument("DIR", "Documents, with what is in them beside them.")]
    recipe: RecipeFlags
    read: ReadFlags
    result: ResultFlags
    batch: BatchFlags
    answers: Annotated[Path | None, option(
        "--answers", metavar="FILE", panel=MANY,
        help="Score these instead of reading the documents."
    )] = None  # fmt: skip
    model: PlacementFlags
    store: EngineFlags
    show: ShowFlags


def evaluate_command(flags: EvaluateFlags, context: Context, output: Output) -> ExitStatus:
    """Score the answers about the documents of a folder.

    What is in bill.pdf stands in bill.gold.json or bill.json beside it. Without --schema and
    --recipe, schema.json of the folder says what is asked; if there is none, the kind of each
    document is recognized.

    \b
    gemma-edge eval bills/ -r invoice
    gemma-edge eval bills/ --answers answers.jsonl
    """
    from gemma_edge.app.evaluate import check_answers, evaluate, read_answers
    from gemma_edge.cli.streaming import open_runtime

    show = flags.show
    status, out = ExitStatus.OK, flags.batch.out

    def answer(sources: "Sequence[Source]") -> list[Any] | None:
        nonlocal status
        if flags.answers is not None:
            return read_answers(flags.answers, output.note)
        if out is not None:
            check_answers(out)
        records: list[Any] = []
        counts = extract_many(
            sources,
            read_asked(_recipe_of(flags), context, output, taken=False, many=True),
            request_of(flags.read, flags.result, show, context),
            build(ModelRequest, flags.model),
            build(BatchRequest, flags.batch, form=flags.batch.form if out else None),
            flags.result,
            open_runtime(flags.store, context, output),
            context,
            output,
            evidence=True,
            emit=records.append,
        )
        status = counts.status
        if status == ExitStatus.INTERRUPTED:
            return None
        return records if out is None else read_answers(out, output.note)

    report = evaluate(flags.folder, answer)
    if report is None:
        return status
    if show.json:
        output.document(_report_document(report))
    else:
        show_report(report, output)
    return status


def _recipe_of(flags: EvaluateFlags) -> RecipeFlags:
    """What is asked; without flags it is what the folder says."""
    from gemma_edge.app.evaluate import SCHEMA_NAME

    asked, path = flags.recipe.asked, flags.folder / SCHEMA_NAME
    if asked.schema is not None or asked.recipe is not None or not path.is_file():
        return flags.recipe
    return replace(flags.recipe, asked=replace(asked, schema=str(path)))


def show_report(report: "Report", output: Output) -> None:
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


def sums(report: "Report") -> list[tuple[str, str]]:
    """All documents in a few rows: ``value F1``, ``0.943 (precision 0.951, recall 0.936)``."""
    total, count = report.total, len(report.documents)
    rows = [
        ("value F1",
         f"{total.f1:.3f} (precision {total.precision:.3f}, recall {total.recall:.3f})"),
        ("documents", f"{report.whole:,} of {count:,} all right"),
    ]  # fmt: skip
    if total.grounding is not None:
        rows.append(("grounding", f"{total.grounding:.1%} of {total.values:,} values have a place"))
    if report.failed:
        rows.append(("failed", f"{report.failed:,} without an answer"))
    return rows


def _report_document(report: "Report") -> dict[str, Any]:
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


def _tally(tally: "Tally") -> dict[str, Any]:
    names = ("f1", "precision", "recall", "right", "missing", "extra", "values", "grounding")
    return {name: getattr(tally, name) for name in names}


def _cell(cell: "Cell") -> dict[str, Any]:
    from gemma_edge.extraction.json_schema import render_path

    return {"path": render_path(cell.path), "expected": cell.gold, "found": cell.found}


def _first_wrong(cells: "Sequence[Cell]") -> str:
    from gemma_edge.extraction.json_schema import render_path

    said = [
        f"{render_path(cell.path)}: {_short(cell.found)}, not {_short(cell.gold)}"
        for cell in cells[:_SHOWN_CELLS]
    ]
    more = len(cells) - len(said)
    return "; ".join(said) + (f"; {more:,} more" if more else "")


def _short(value: Any, most: int = _SHOWN_CHARS) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), most)


# ----------------------------------------------------------------------------
# `diff`: what differs between two sets of answers.


def diff_command(
    first: Annotated[Path, argument("A", "Answers that `extract` wrote.")],
    second: Annotated[Path, argument("B", "Others, about the same documents.")],
    show: ShowFlags,
    output: Output,
) -> ExitStatus:
    """Compare two files of answers, value by value.

    \b
    gemma-edge diff before.jsonl after.jsonl
    """
    from gemma_edge.app.evaluate import compare_files

    found = compare_files(first, second, output.note)
    if show.json:
        output.document(_comparison_document(found))
        return ExitStatus.OK
    for change in found.changes:
        output.data(_render_change(change, named=found.documents > 1))
    for side, names in ((first, found.only_first), (second, found.only_second)):
        for name in names:
            output.data(f"{name or 'an answer without a name'}: only in {shown(side)}")
    output.note(_render_sum(found))
    return ExitStatus.OK


def _render_change(change: "Change", *, named: bool) -> str:
    """``bill.pdf: items[2].qty: 3 -> 4``."""
    before, after = (_short(each, _DIFF_SHOWN_CHARS) for each in (change.before, change.after))
    name = f"{change.file}: " if named and change.file else ""
    return f"{name}{change.path or '(all)'}: {before} -> {after}"


def _render_sum(found: "Comparison") -> str:
    """``12 documents: 10 the same, 2 differ in 5 values (items[].qty 4, total 1)``."""
    count = found.documents
    differ, values = count - found.same, len(found.changes)
    line = f"{count:,} document{'' if count == 1 else 's'}: {found.same:,} the same"
    if differ:
        fields = ", ".join(f"{name} {count:,}" for name, count in found.fields.items())
        verb = "differs" if differ == 1 else "differ"
        line += f", {differ:,} {verb} in {values:,} value{'' if values == 1 else 's'} ({fields})"
    return line


def _comparison_document(found: "Comparison") -> dict[str, Any]:
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


# ----------------------------------------------------------------------------
# `merge`: the rows of all shares of a run.


def merge_command(
    out: Annotated[Path, argument("FILE", "The file that --out named.")],
    show: ShowFlags, context: Context, output: Output,
) -> ExitStatus:  # fmt: skip
    """Put together what the shares of a run have written. The last one does that by itself; after
    a run that was given up it puts together what is there.

    \b
    gemma-edge merge rows.jsonl
    """
    from gemma_edge.app.shards import merge, unfinished

    left = unfinished(out)
    count = merge(out)
    for each in left:
        output.note(f"{each} not ended: run it again, and its rows are added")
    if show.json:
        output.document({"file": str(out), "rows": count})
    else:
        output.note(f"{count:,} rows in {shown(out)}")
    return ExitStatus.OK
