"""What a batch writes: one record an image and question, as a line of JSON or a row of CSV, and
what of it is done already when the batch is run again. Pure.

An image is known by the hash of its file, so that it may move; a task by the hash of all that
could change the answer.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, Literal

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


_MAX_CELL = 1 << 26  # characters
COLUMNS = tuple(field.name for field in fields(Record))


def digest(data: bytes) -> str:
    """The content hash of a file."""
    return sha256(data).hexdigest()


def task_digest(settings: Mapping[str, Any]) -> str:
    """A short hash of what was asked and of whom; ``settings`` is plain data."""
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


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
        "answer": _cell(record.answer),
        "problems": "; ".join(record.problems),
        "page": record.page or "",
    }
    return _row(list(values.values()))


def render_head(form: Format) -> str:
    """The line before the first record; "" where there is none."""
    return _row(list(COLUMNS)) if form == "csv" else ""


@dataclass(frozen=True, slots=True)
class Before:
    """What a file of records holds: ``done`` has an answer, ``told`` are files with their error."""

    done: frozenset[Key] = frozenset()
    told: frozenset[tuple[str, str]] = frozenset()


def read_before(text: str, form: Format) -> Before:
    """The records of a file. A line that is none counts for nothing."""
    csv.field_size_limit(_MAX_CELL)
    rows: Iterable[Any] = csv.DictReader(io.StringIO(text)) if form == "csv" else _objects(text)
    done, told = set(), set()
    for row in rows:
        page = str(row.get("page") or 0)
        if row.get("error"):
            told.add((str(row.get("file")), str(row["error"])))
        elif row.get("sha256") and row.get("answer") not in (None, "") and page.isdecimal():
            done.add(
                (str(row["sha256"]), int(page), row.get("question") or "", row.get("task") or "")
            )
    return Before(frozenset(done), frozenset(told))


def whole_lines(text: str, form: Format) -> str:
    """The text up to the end of its last whole record: what a crash cut in two would swallow the
    records after it."""
    end, at, quotes = 0, 0, 0
    for line in io.StringIO(text):  # not splitlines: JSON may hold U+2028 as it is
        at += len(line)
        quotes += line.count('"') if form == "csv" else 0
        if line.endswith("\n") and quotes % 2 == 0:
            end = at
    return text[:end]


def _objects(text: str) -> Iterable[dict[str, Any]]:
    for line in io.StringIO(text):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _row(cells: list[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()
