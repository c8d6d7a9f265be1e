"""``gemma-edge extract eval``: how right answers are, against gold data beside the documents."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from gemma_edge.cli.batch.sources import DOCUMENTS, Source
from gemma_edge.cli.extract.output import Sink, check_answers, read_answers
from gemma_edge.cli.extract.show import shorten
from gemma_edge.cli.options import ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.documents.files import shown
from gemma_edge.errors import ExitStatus, InputError
from gemma_edge.extract.paths import render_path
from gemma_edge.extract.records.records import as_document
from gemma_edge.extract.schemas.json_text import parse_json
from gemma_edge.extract.schemas.schema import read_text
from gemma_edge.extract.scoring.cells import Cell
from gemma_edge.extract.scoring.evaluate import Graded, Report, Tally, grade, summarize

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
    show: ShowOptions,
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
