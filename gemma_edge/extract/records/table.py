"""Answers as rows of one table: a column for each value of the schema that is no list, lists as
JSON in their cell. For CSV and Markdown. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from gemma_edge.documents.record_lines import iter_rows, render_cell, render_csv
from gemma_edge.extract.records.records import Record, as_document
from gemma_edge.extract.schemas.views import iter_views, member_schemas
from gemma_edge.extract.schemas.walk import Json, Subschema

Form = Literal["csv", "markdown"]
WHOLE = "data"  # the column of an answer that is no object
_FIRST, _LAST = ("file", "valid"), ("problems", "error", "seconds", "model", "key")
_MAX_DEPTH = 4  # objects in objects; what is deeper is JSON in its cell
_BARS = re.compile(r"(?<!\\)\|")


def columns_of(schema: Json, computed: Iterable[str] = ()) -> tuple[str, ...]:
    """``vendor``, ``total.amount``, ``items``: in the order of the schema; what is ``computed``
    beside it comes last."""
    declared = tuple(_columns(schema, [(schema, True)], "", 0)) or (WHOLE,)
    roots = {name.partition(".")[0] for name in declared}
    return (*declared, *(name for name in computed if name not in roots))


def head(columns: Sequence[str]) -> tuple[str, ...]:
    """The names of all columns; one of the schema that has the name of one of ours is set off."""
    ours = (*_FIRST, *_LAST)
    return (*_FIRST, *(f"data.{name}" if name in ours else name for name in columns), *_LAST)


def render_head(columns: Sequence[str], form: Form) -> str:
    """What stands before the first row."""
    names = head(columns)
    if form == "csv":
        return render_csv(names)
    return f"{_markdown(names)}\n|{' --- |' * len(names)}"


def render_row(record: Record, columns: Sequence[str], form: Form) -> str:
    """One record on one line."""
    known = as_document(record)
    ours = {name: render_cell(known.get(name)) for name in (*_FIRST, *_LAST)}
    ours["problems"] = "; ".join(record.problems)
    ours["valid"] = "" if record.error else str(record.valid).lower()
    data = [render_cell(_at(record.data, name)) for name in columns]
    cells = [*(ours[name] for name in _FIRST), *data, *(ours[name] for name in _LAST)]
    return render_csv(cells) if form == "csv" else _markdown(cells)


def read_rows(text: str, form: Form) -> Iterator[Mapping[str, Any]]:
    """The rows of a table of ours by the names of its columns."""
    if form == "csv":
        yield from iter_rows(text)
        return
    names: list[str] = []
    for number, line in enumerate(text.split("\n")):
        cells = [_plain(cell) for cell in _BARS.split(line)[1:-1]]
        if number == 0:
            names = cells
        elif number > 1 and cells:
            yield dict(zip(names, cells, strict=False))


def _columns(
    root: Json, schemas: Iterable[tuple[Subschema, bool]], name: str, depth: int
) -> Iterator[str]:
    views = list(iter_views(root, schemas, set()))
    members = dict.fromkeys(key for view, _ in views for key in view.get("properties", {}))
    if not members or depth == _MAX_DEPTH:
        if name:
            yield name
        return
    for key in members:
        path = f"{name}.{key}" if name else key
        yield from _columns(root, member_schemas(views, key), path, depth + 1)


def _at(data: Any, column: str) -> Any:
    """The value of a column; a key may hold dots itself."""
    if column == WHOLE and not (isinstance(data, dict) and WHOLE in data):
        return data
    if not isinstance(data, dict):
        return None
    if column in data:
        return data[column]
    for key, value in data.items():
        if column.startswith(f"{key}."):
            return _at(value, column[len(key) + 1 :])
    return None


def _markdown(cells: Sequence[str]) -> str:
    shown = (
        cell.replace("\\", "\\\\").replace("|", "\\|").replace("\r", "").replace("\n", "<br>")
        for cell in cells
    )
    return f"| {' | '.join(shown)} |"


def _plain(cell: str) -> str:
    return cell.strip().replace("<br>", "\n").replace("\\|", "|").replace("\\\\", "\\")
