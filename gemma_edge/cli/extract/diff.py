"""``gemma-edge extract diff``: what differs between two sets of answers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemma_edge.cli.extract.output import check_answers, read_answers
from gemma_edge.cli.extract.show import shorten
from gemma_edge.cli.options import ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.documents.files import read_file, shown
from gemma_edge.errors import ExitStatus, InputError
from gemma_edge.extract.scoring.compare import Change, Comparison, compare

_MAX_BYTES = 1 << 30
_SHOWN_CHARS = 80


def show_difference(first: Path, second: Path, show: ShowOptions, output: Output) -> ExitStatus:
    """Two files of answers, or two single answers, value by value.

    Raises:
        InputError: one of them cannot be read, or holds something else.
    """
    found = compare(read_records(first, output), read_records(second, output))
    if show.json:
        output.document(as_json(found))
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
            whole = json.loads(read_file(path, max_bytes=_MAX_BYTES))
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
        shorten(json.dumps(value, ensure_ascii=False), _SHOWN_CHARS)
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


def as_json(found: Comparison) -> dict[str, Any]:
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
