"""Records in a file of SQLite: a table of answers, and a table of where their values stand.

Each record is a transaction of its own, so that whatever ends the program leaves whole ones.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any

from gemma_edge.documents.files import shown
from gemma_edge.errors import DoesNotFit, InputError
from gemma_edge.extract.records.records import Record

_APPLICATION = 0x47454558  # "GEEX" in the head of the file: it is one of ours
_TABLES = """
CREATE TABLE records (
    file TEXT NOT NULL, key TEXT, data TEXT, valid INTEGER, problems TEXT, notes TEXT,
    computed TEXT, truncated TEXT, error TEXT, hint TEXT, model TEXT, pages INTEGER, seconds REAL,
    UNIQUE (file, key)
);
CREATE TABLE evidence (
    file TEXT NOT NULL, key TEXT NOT NULL, path TEXT NOT NULL, value TEXT, status TEXT, score REAL,
    page INTEGER, start INTEGER, "end" INTEGER, text TEXT, boxes TEXT, source TEXT, confidence REAL
);
CREATE INDEX evidence_of ON evidence (key, file);
"""
_PLAIN = ("file", "key", "valid", "error", "hint", "model", "pages", "seconds")
_JSON = ("data", "problems", "notes", "computed", "truncated")
_PLACE = ("status", "score", "page", "start", "end", "text", "source", "confidence")


class Database:
    """An open file. ``done`` are the keys that have an answer, ``told`` files with their error."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            InputError: the file holds something else.
            DoesNotFit: it cannot be written.
        """
        self._path = path
        try:
            self._open = sqlite3.connect(path)
        except sqlite3.Error as error:
            raise self._refusal(error) from None
        try:
            self._prepare()
            rows = self._open.execute("SELECT file, key, error FROM records").fetchall()
        except sqlite3.DatabaseError as error:
            self._open.close()
            raise self._refusal(error) from None
        except InputError:
            self._open.close()
            raise
        self.done = frozenset(key for _, key, error in rows if key and not error)
        self.told = frozenset((file, error) for file, _, error in rows if error)

    def write(self, record: Record) -> None:
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
             **{name: each.get(name) for name in _PLACE}}
            for each in record.evidence or ()
        ]  # fmt: skip
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

    def documents(self) -> list[dict[str, Any]]:
        """All records as plain data, each with its evidence."""
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
        names = ("path", "value", *_PLACE)
        shown_names = ", ".join(f'"{name}"' for name in names)
        rows = self._open.execute(
            f"SELECT {shown_names} FROM evidence WHERE key = ? AND file = ? ORDER BY rowid",
            (document["key"], document["file"]),
        )
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return {"evidence": found} if found else {}

    def close(self) -> None:
        """Let go of the file."""
        self._open.close()

    def _prepare(self) -> None:
        tables = self._open.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        known = self._open.execute("PRAGMA application_id").fetchone()[0]
        if tables and known != _APPLICATION:
            raise InputError(
                f"{shown(self._path)} is a database of something else; nothing was written",
                hint="name another file",
            )
        if not tables:
            self._open.executescript(
                f"BEGIN; PRAGMA application_id = {_APPLICATION}; {_TABLES} COMMIT;"
            )

    def _refusal(self, error: sqlite3.Error) -> InputError | DoesNotFit:
        name = shown(self._path)
        if type(error) is sqlite3.DatabaseError:  # another file, or a damaged one
            return InputError(
                f"{name} does not hold a whole database ({error}); nothing was written",
                hint="name another file",
            )
        return DoesNotFit(
            f"{name} cannot be written ({error})",
            hint="check the folder, its mode and the disk, or name another file",
        )


def read_database(path: Path) -> list[dict[str, Any]]:
    """All records, as ``records.as_document`` writes them, in the order in which they came.

    Raises:
        InputError: it is missing, empty, damaged, or no database of ours.
    """
    if not path.is_file() or not path.stat().st_size:  # it would be made
        reason = "is empty" if path.is_file() else "does not exist"
        raise InputError(f"{shown(path)} {reason}", hint="name a file that --out wrote")
    database = Database(path)
    try:
        return database.documents()
    except (sqlite3.Error, ValueError) as error:
        said = " ".join(str(error).split())[:80]
        raise InputError(
            f"{shown(path)} is damaged ({said})", hint="name another file, or write it anew"
        ) from None
    finally:
        database.close()


def _insert(table: str, values: dict[str, Any]) -> str:
    names = ", ".join(f'"{name}"' for name in values)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in values)})"


def _json(value: Any) -> str | None:
    return None if value is None or value == () else json.dumps(value, ensure_ascii=False)
