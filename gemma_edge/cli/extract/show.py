"""The result of an extraction: data on stdout, everything about it on stderr."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gemma_edge.cli.batch.sources import Source
from gemma_edge.cli.extract.options import ExtractOptions
from gemma_edge.cli.output import Output
from gemma_edge.documents import Document
from gemma_edge.documents.files import shown
from gemma_edge.engine.protocol import Engine, EngineInfo
from gemma_edge.errors import DoesNotFit, EngineError, ExitStatus, InputError
from gemma_edge.extract.evidence.evidence import Evidence
from gemma_edge.extract.evidence.locating import locate
from gemma_edge.extract.job.extraction import Extraction
from gemma_edge.extract.job.options import Options
from gemma_edge.extract.job.passes import Passes
from gemma_edge.extract.paths import render_path
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.units import render_tokens


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
        from gemma_edge.extract.review.pages import draw_pages  # noqa: PLC0415
        from gemma_edge.extract.review.review import render_review  # noqa: PLC0415  (40 ms of jinja2)

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
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
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
