"""Files of records, a line or a row each, that many documents or images are written to one after
another: read again, gone on with, and mended where a crash cut the last one. Pure.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

MAX_CELL = 1 << 26  # characters

Lines = Literal["json", "csv", "markdown"]


def digest(data: bytes) -> str:
    """The content hash of a file."""
    return sha256(data).hexdigest()


def task_digest(settings: Mapping[str, Any]) -> str:
    """A short hash of what was asked and of whom; ``settings`` is plain data."""
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def whole_lines(text: str, form: Lines) -> str:
    """The text up to the end of its last whole record: what a crash cut in two would swallow the
    records after it."""
    end, at, quotes = 0, 0, 0
    for line in io.StringIO(text):  # not splitlines: JSON may hold U+2028 as it is
        at += len(line)
        quotes += line.count('"') if form == "csv" else 0
        if line.endswith("\n") and quotes % 2 == 0:
            end = at
    return text[:end]


def iter_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text, one a line; a line that is none counts for nothing."""
    for line in io.StringIO(text):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def iter_rows(text: str) -> Iterator[dict[str, Any]]:
    """The rows of a CSV text by the names in its first."""
    csv.field_size_limit(MAX_CELL)
    yield from csv.DictReader(io.StringIO(text))


def render_csv(cells: Sequence[Any]) -> str:
    """One row, without its end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()


def render_cell(value: Any) -> str:
    """Text as it is, nothing for null, other data as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
