"""``gemma-edge eval`` and ``gemma-edge diff``: how right answers are, and how two sets differ."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gemma_edge.app.request import BatchRequest, ModelRequest
from gemma_edge.cli.context import Context
from gemma_edge.cli.extract import (
    MANY,
    BatchFlags,
    ReadFlags,
    RecipeFlags,
    ResultFlags,
    extract_many,
    read_asked,
    request_of,
    shorten,
)
from gemma_edge.cli.flags import argument, build, option
from gemma_edge.cli.options import FetchFlags, PlacementFlags, ShowFlags
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import shown
from gemma_edge.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from gemma_edge.app.batch import Source
    from gemma_edge.extraction.scoring import Cell, Change, Comparison, Report, Tally

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
    store: FetchFlags
    show: ShowFlags


def evaluate_command(flags: EvaluateFlags, context: Context, output: Output) -> ExitStatus:
    """Score the answers about the documents of a folder.

    What is in bill.pdf stands in bill.gold.json or bill.json beside it. Without --schema and
    --recipe, schema.json of the folder says what is asked.

    \b
    gemma-edge eval bills/ -r invoice
    gemma-edge eval bills/ --answers answers.jsonl
    """
    from gemma_edge.app.evaluate import check_answers, evaluate, read_answers
    from gemma_edge.cli.runtime import open_runtime

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
            read_asked(_recipe_of(flags), context, output, taken=False),
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
    if asked.schema is not None or asked.recipe is not None:
        return flags.recipe
    if not path.is_file():
        raise UsageError(
            f"there is no --schema, no --recipe, and no {SCHEMA_NAME} in {shown(flags.folder)}",
            hint='--schema "vendor, date, total num"',
        )
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
    return {
        "f1": tally.f1, "precision": tally.precision, "recall": tally.recall,
        "right": tally.right, "missing": tally.missing, "extra": tally.extra,
        "values": tally.values, "grounding": tally.grounding,
    }  # fmt: skip


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


def _short(value: Any) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), _SHOWN_CHARS)


# ----------------------------------------------------------------------------
# What differs between two sets of answers.


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
    before, after = (
        shorten(json.dumps(value, ensure_ascii=False), _DIFF_SHOWN_CHARS)
        for value in (change.before, change.after)
    )
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
