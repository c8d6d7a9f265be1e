"""One document's answer as a record of a batch, and as plain data."""

import json
import re
import sqlite3
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from gemma_edge.disk import encode
from gemma_edge.documents.document import (
    Box,
    iter_rows,
    render_cell,
    render_csv,
    shown,
    task_digest,
)
from gemma_edge.errors import DoesNotFit, InputError
from gemma_edge.extraction.evidence.evidence import Evidence
from gemma_edge.extraction.job import CheckedAnswer
from gemma_edge.extraction.json_schema import Json, Subschema, render_path, step_into, views_of
from gemma_edge.records import dataclass
from gemma_edge.version import __version__

# By what a document is known when a batch is run again: its bytes, what is asked of it, of whom,
# and by which version.

_LENGTH = 32  # hexadecimal digits: 128 bits, far more than any archive has documents


def settings_key(settings: Mapping[str, Any]) -> str:
    """A hash of all that could change an answer but the document; ``settings`` is plain data:
    the recipe's fingerprint, the model, the options."""
    return task_digest({**settings, "version": __version__})


def content_keys(data: bytes, settings: Mapping[str, str]) -> dict[str, str]:
    """The key of a document with these bytes under each of these settings, whatever its name."""
    digest = sha256(data).digest()
    return {
        name: sha256(digest + each.encode("ascii")).hexdigest()[:_LENGTH]
        for name, each in settings.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRecord:
    """An answer, or why there is none (``error``). ``key`` is one of ``content_keys``, "" where the
    file could not be read; ``recognized`` is how ``recipe`` was found, None where it was named;
    ``evidence`` is None where it was not asked for. ``seconds`` is what the model took."""

    file: str
    key: str = ""
    data: Any = None
    valid: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    computed: Mapping[str, Any] | None = None
    truncated: tuple[str, ...] = ()
    evidence: tuple[Mapping[str, Any], ...] | None = None
    error: str = ""
    hint: str = ""
    model: str = ""
    pages: int = 0
    seconds: float = 0.0
    recipe: str = ""
    recognized: Mapping[str, Any] | None = None


_ALWAYS = ("file", "key", "data", "valid", "problems", "seconds")


def record_of(  # noqa: PLR0913 (named, all of them)
    found: CheckedAnswer,
    *,
    file: str,
    key: str,
    pages: int,
    model: str,
    seconds: float,
    notes: Iterable[str] = (),
    evidence: tuple[Mapping[str, Any], ...] | None = None,
    recipe: str = "",
    recognized: Mapping[str, Any] | None = None,
) -> DocumentRecord:
    """The record of an answer; ``notes`` are those of the document, ``evidence`` and
    ``recognized`` are plain data."""
    return DocumentRecord(
        file=file, key=key, data=found.data, valid=not found.problems, problems=found.problems,
        notes=(*notes, *found.notes), computed=dict(found.computed) or None,
        truncated=found.truncated, model=model, pages=pages, seconds=round(seconds, 3),
        evidence=evidence, recipe=recipe, recognized=recognized,
    )  # fmt: skip


def as_document(record: DocumentRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    if record.error:
        kept = ("file", "key", "error", "hint")
        return {name: values[name] for name in kept if values[name]}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name in _ALWAYS or (name == "evidence" and value is not None) or value
    }


def evidence_record(each: Evidence) -> dict[str, Any]:
    names = ("path", "value", "status", "score", "page", "start", "end", "text", "boxes", "source")
    record = {name: getattr(each, name) for name in (*names, "confidence")}
    record |= {"path": render_path(each.path), "boxes": _rounded(each.boxes)}
    if each.file:
        record |= {"file": each.file, "file_page": each.file_page}
    if each.further:
        record["further"] = [
            {"page": p.page, "start": p.start, "end": p.end, "boxes": _rounded(p.boxes)}
            for p in each.further
        ]
    return record


def _rounded(boxes: Iterable[Box]) -> list[list[float]]:
    return [[round(edge, 2) for edge in box] for box in boxes]


# Records in a file of SQLite: a table of answers, and a table of where their values stand. Each
# record is a transaction of its own, so that whatever ends the program leaves whole ones.

_APPLICATION = 0x47454558  # "GEEX" in the head of the file: it is one of ours
_TABLES = """
CREATE TABLE records (
    file TEXT NOT NULL, key TEXT, data TEXT, valid INTEGER, problems TEXT, notes TEXT,
    computed TEXT, truncated TEXT, error TEXT, hint TEXT, model TEXT, pages INTEGER, seconds REAL,
    recipe TEXT, recognized TEXT,
    UNIQUE (file, key)
);
CREATE TABLE evidence (
    file TEXT NOT NULL, key TEXT NOT NULL, path TEXT NOT NULL, value TEXT, status TEXT, score REAL,
    page INTEGER, start INTEGER, "end" INTEGER, text TEXT, boxes TEXT, source TEXT,
    confidence REAL, attachment TEXT, attachment_page INTEGER
);
CREATE INDEX evidence_of ON evidence (key, file);
"""
_PLAIN = ("file", "key", "valid", "error", "hint", "model", "pages", "seconds", "recipe")
_JSON = ("data", "problems", "notes", "computed", "truncated", "recognized")
_PLACE = ("status", "score", "page", "start", "end", "text", "source", "confidence")


class Database:
    """An open file. ``done`` are the files that have an answer, each with its key, ``failed`` files
    with an error."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            InputError: the file holds something else.
            DoesNotFit: it cannot be written.
        """
        self._path = path
        with ExitStack() as stack:
            try:
                self._open = sqlite3.connect(path)
                stack.callback(self._open.close)
                self._prepare()
                rows = self._open.execute("SELECT file, key, error FROM records").fetchall()
            except sqlite3.Error as error:
                raise self._refusal(error) from None
            stack.pop_all()
        self.done = frozenset((file, key) for file, key, error in rows if key and not error)
        self.failed = frozenset((file, error) for file, _, error in rows if error)

    def write(self, record: DocumentRecord) -> None:
        """Keep one record, with all of its evidence, or nothing of it; for one that is there
        already, such as of a file that was named twice.

        Raises:
            DoesNotFit: the disk is full or gone.
        """
        values: dict[str, Any] = {name: getattr(record, name) or None for name in _PLAIN}
        values["valid"] = None if record.error else int(record.valid)
        values |= {name: _json(getattr(record, name)) for name in _JSON}
        places = [
            {"file": record.file, "key": record.key, "path": each["path"],
             "value": _json(each.get("value")), "boxes": _json(each.get("boxes") or None),
             "attachment": each.get("file"), "attachment_page": each.get("file_page"),
             **{name: each.get(name) for name in _PLACE}}
            for each in record.evidence or ()
        ]  # fmt: skip
        for row in (values, *places):  # SQLite takes no half of a character
            row |= {name: encode(v).decode() for name, v in row.items() if isinstance(v, str)}
        try:
            with self._open:
                same = (record.file, record.key)
                self._open.execute(
                    "DELETE FROM records WHERE file = ? AND (key = ? OR error IS NOT NULL)", same
                )
                self._open.execute("DELETE FROM evidence WHERE file = ? AND key = ?", same)
                self._open.execute(_insert("records", values), values)
                for place in places:
                    self._open.execute(_insert("evidence", place), place)
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from None

    def copy(self, key: Hashable, file: str) -> None:
        """The answer of this key once more, as that of another file, with its evidence.

        Raises:
            DoesNotFit: the disk is full or gone.
        """
        file = encode(file).decode()
        try:
            with self._open:
                (first,) = self._open.execute(
                    "SELECT file FROM records WHERE key = ? AND error IS NULL", (key,)
                ).fetchone()
                for table in ("records", "evidence"):
                    names = [row[1] for row in self._open.execute(f"PRAGMA table_info({table})")]
                    rest = ", ".join(f'"{name}"' for name in names if name != "file")
                    self._open.execute(
                        f"INSERT INTO {table} (file, {rest}) SELECT ?, {rest} FROM {table} "
                        "WHERE key = ? AND file = ? ORDER BY rowid", (file, key, first)
                    )  # fmt: skip
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from None

    def documents(self) -> list[dict[str, Any]]:
        names = (*_PLAIN, *_JSON)
        found = []
        for row in self._open.execute(f"SELECT {', '.join(names)} FROM records ORDER BY rowid"):
            values = dict(zip(names, row, strict=True))
            values |= {name: json.loads(values[name] or "null") for name in _JSON}
            document = {name: value for name, value in values.items() if value is not None}
            if not document.get("error"):
                document |= {"valid": bool(values["valid"]), "data": values["data"]}
                document |= self._evidence(document)
            found.append(document)
        return found

    def _evidence(self, document: dict[str, Any]) -> dict[str, Any]:
        names = ("path", "value", *_PLACE, "attachment", "attachment_page")
        columns = ", ".join(f'"{name}"' for name in names)
        wanted = f"SELECT {columns} FROM evidence WHERE key = ? AND file = ? ORDER BY rowid"
        rows = self._open.execute(wanted, (document["key"], document["file"]))
        found = []
        for *values, file, page in rows:
            place = dict(zip(names, values, strict=False))
            found.append(place | ({"file": file, "file_page": page} if file else {}))
        return {"evidence": found} if found else {}

    def close(self) -> None:
        self._open.close()

    def _prepare(self) -> None:
        tables = self._open.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        known = self._open.execute("PRAGMA application_id").fetchone()[0]
        if tables and known != _APPLICATION:
            what = f"{shown(self._path)} is a database of something else; nothing was written"
            raise InputError(what, hint="name another file")
        if not tables:
            made = f"BEGIN; PRAGMA application_id = {_APPLICATION}; {_TABLES} COMMIT;"
            self._open.executescript(made)
        there = {row[1] for row in self._open.execute("PRAGMA table_info(records)")}
        for name in ("recipe", "recognized"):  # a file of before there were kinds
            if name not in there:
                self._open.execute(f"ALTER TABLE records ADD COLUMN {name} TEXT")
        there = {row[1] for row in self._open.execute("PRAGMA table_info(evidence)")}
        for name in ("attachment", "attachment_page"):  # and before attachments were read
            if name not in there:
                kind = "INTEGER" if name.endswith("page") else "TEXT"
                self._open.execute(f"ALTER TABLE evidence ADD COLUMN {name} {kind}")

    def _refusal(self, error: sqlite3.Error) -> InputError | DoesNotFit:
        name = shown(self._path)
        if type(error) is sqlite3.DatabaseError:  # another file, or a damaged one
            what = f"{name} does not hold a whole database ({error}); nothing was written"
            return InputError(what, hint="name another file")
        hint = "check the folder, its mode and the disk, or name another file"
        return DoesNotFit(f"{name} cannot be written ({error})", hint=hint)


def read_database(path: Path) -> list[dict[str, Any]]:
    """All records, as ``records.as_document`` writes them, in the order in which they came.

    Raises:
        InputError: it is missing, empty, damaged, or no database of ours.
    """
    if not path.is_file() or not path.stat().st_size:  # it would be made
        reason = "is empty" if path.is_file() else "does not exist"
        raise InputError(f"{shown(path)} {reason}", hint="name a file that --out wrote")
    with closing(Database(path)) as database:
        try:
            return database.documents()
        except (sqlite3.Error, ValueError) as error:
            what = f"{shown(path)} is damaged ({' '.join(str(error).split())[:80]})"
            raise InputError(what, hint="name another file, or write it anew") from None


def _insert(table: str, values: dict[str, Any]) -> str:
    names = ", ".join(f'"{name}"' for name in values)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in values)})"


def _json(value: Any) -> str | None:
    return None if value is None or value == () else json.dumps(value, ensure_ascii=False)


# Answers as rows of one table: a column for each value of the schema that is no list, lists as
# JSON in their cell. For CSV and Markdown.

Form = Literal["csv", "markdown"]
WHOLE = "data"  # the column of an answer that is no object
_FIRST, _LAST = ("file", "valid"), ("problems", "error", "recipe", "seconds", "model", "key")
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


def render_head(columns: Sequence[str], form: Form, *, raw: bool = False) -> str:
    names = head(columns)
    if form == "csv":
        return render_csv(names, raw=raw)
    return f"{_markdown(names)}\n|{' --- |' * len(names)}"


def render_row(
    record: DocumentRecord, columns: Sequence[str], form: Form, *, raw: bool = False
) -> str:
    """A line of a table; ``raw`` leaves in CSV what a spreadsheet takes for a formula."""
    known = as_document(record)
    ours = {name: render_cell(known.get(name)) for name in (*_FIRST, *_LAST)}
    ours["problems"] = "; ".join(record.problems)
    ours["valid"] = "" if record.error else str(record.valid).lower()
    data = [render_cell(_at(record.data, name)) for name in columns]
    cells = [*(ours[name] for name in _FIRST), *data, *(ours[name] for name in _LAST)]
    return render_cells(cells, form, raw=raw)


def render_cells(cells: Sequence[str], form: Form, *, raw: bool = False) -> str:
    """A line of a table, of cells that are text already."""
    return render_csv(cells, raw=raw) if form == "csv" else _markdown(cells)


def read_rows(text: str, form: Form, *, raw: bool = False) -> Iterator[Mapping[str, Any]]:
    """The rows of a table of ours by the names of its columns."""
    if form == "csv":
        yield from iter_rows(text, raw=raw)
        return
    names: list[str] = []
    for number, line in enumerate(text.split("\n")):
        cells = [
            cell.strip().replace("<br>", "\n").replace("\\|", "|").replace("\\\\", "\\")
            for cell in _BARS.split(line)[1:-1]
        ]
        if number == 0:
            names = cells
        elif number > 1 and cells:
            yield dict(zip(names, cells, strict=False))


def _columns(
    root: Json, schemas: Iterable[tuple[Subschema, bool]], name: str, depth: int
) -> Iterator[str]:
    views = views_of(root, schemas)
    members = dict.fromkeys(key for view, _ in views for key in view.get("properties", {}))
    if not members or depth == _MAX_DEPTH:
        if name:
            yield name
        return
    for key in members:
        path = f"{name}.{key}" if name else key
        yield from _columns(root, step_into(views, key), path, depth + 1)


def _at(data: Any, column: str) -> Any:
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
