"""What a batch writes: one record an image and question, as a line of JSON or a row of CSV, and
what of it is done already when the batch is run again. Pure.

An image is known by the hash of its file, so that it may move; a task by the hash of all that
could change the answer.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from gemma_edge.documents.record_lines import iter_objects, iter_rows, render_cell, render_csv

Format = Literal["json", "csv"]
Key = tuple[str, int, str, str]  # sha256, page (0: the file is one image), question, task


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One answer, or why there is none (``error``). ``page`` is 0 where the file is one image;
    ``answer`` is text, or data where a schema was asked for; ``lost`` says what resizing cost."""

    file: str
    page: int = 0
    question: str = ""
    answer: Any = None
    problems: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    tokens: int = 0
    lost: str = ""
    model: str = ""
    sha256: str = ""
    task: str = ""

    @property
    def key(self) -> Key:
        """What it is known by when the batch is run again."""
        return self.sha256, self.page, self.question, self.task


COLUMNS = tuple(field.name for field in fields(Record))


def as_document(record: Record) -> dict[str, Any]:
    """The record as plain data, without what says nothing."""
    values = {name: value for name, value in asdict(record).items() if value not in ("", (), 0)}
    if record.error:
        return {name: value for name, value in values.items() if name != "answer"}
    return {"file": record.file, "answer": record.answer, **values}


def render_record(record: Record, form: Format) -> str:
    """One line, without its end. In CSV, data is JSON in its cell."""
    if form == "json":
        return json.dumps(as_document(record), ensure_ascii=False)
    values = asdict(record) | {
        "answer": render_cell(record.answer),
        "problems": "; ".join(record.problems),
        "page": record.page or "",
    }
    return render_csv(list(values.values()))


def render_head(form: Format) -> str:
    """The line before the first record; "" where there is none."""
    return render_csv(COLUMNS) if form == "csv" else ""


@dataclass(frozen=True, slots=True)
class Before:
    """What a file of records holds: the answers that are ``done``, and ``told`` are files with
    their error. In CSV, data is JSON in its cell."""

    done: Mapping[Key, Any] = field(default_factory=dict)
    told: frozenset[tuple[str, str]] = frozenset()


def read_before(text: str, form: Format) -> Before:
    """The records of a file. A line that is none counts for nothing."""
    rows: Iterable[Any] = iter_rows(text) if form == "csv" else iter_objects(text)
    done: dict[Key, Any] = {}
    told: set[tuple[str, str]] = set()
    for row in rows:
        page = str(row.get("page") or 0)
        if row.get("error"):
            told.add((str(row.get("file")), str(row["error"])))
        elif row.get("sha256") and row.get("answer") not in (None, "") and page.isdecimal():
            key = str(row["sha256"]), int(page), row.get("question") or "", row.get("task") or ""
            done[key] = row["answer"]
    return Before(done, frozenset(told))
