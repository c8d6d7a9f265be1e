"""Where the answers of many documents go: lines of JSON on stdout or in a file, CSV, a Markdown
table, SQLite; each whole before the next begins, and known again when the batch is run again."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_edge.cli.batch.file import Shape, open_at_end, write_line
from gemma_edge.cli.extract.options import Form
from gemma_edge.cli.output import Output
from gemma_edge.documents.files import read_file, shown
from gemma_edge.documents.record_lines import iter_objects
from gemma_edge.errors import UsageError
from gemma_edge.extract.records.database import Database, read_database
from gemma_edge.extract.records.records import Record, as_document
from gemma_edge.extract.records.table import Form as Table
from gemma_edge.extract.records.table import read_rows, render_head, render_row

_ENDINGS: dict[str, Form] = {
    ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".md": "markdown",
    ".markdown": "markdown", ".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite",
}  # fmt: skip

_MAX_BYTES = 1 << 31
_TABLES: dict[Form, Table] = {"csv": "csv", "markdown": "markdown"}


@dataclass(frozen=True, slots=True)
class Sink:
    """Takes records. ``done`` are the keys of answers that are there already; ``told`` are files
    with their error, which is not told again."""

    put: Callable[[Record], None]
    done: frozenset[str] = frozenset()
    told: frozenset[tuple[str, str]] = frozenset()

    def write(self, record: Record) -> None:
        """Keep one record.

        Raises:
            DoesNotFit: it cannot be written.
        """
        if (record.file, record.error) not in self.told:
            self.put(record)


def form_of(out: Path | None, asked: Form | None) -> Form:
    """What was asked for, or what the file's name says, or lines of JSON.

    Raises:
        UsageError: a database on stdout.
    """
    named = _ENDINGS.get(out.suffix.lower(), "json") if out is not None else "json"
    form = asked or named
    if form == "sqlite" and out is None:
        raise UsageError("SQLite is written to a file", hint="--out answers.db")
    return form


@contextmanager
def open_sink(
    out: Path | None, form: Form, columns: Sequence[str], output: Output
) -> Iterator[Sink]:
    """stdout, or the end of the file ``out``; ``columns`` are those of a table.

    Raises:
        InputError: the file holds something else, or cannot be read.
        DoesNotFit: it cannot be written.
    """
    if form == "sqlite" and out is not None:
        with closing(Database(out)) as database:
            yield Sink(database.write, database.done, database.told)
    elif out is None:
        yield Sink(_on_stdout(form, columns, output))
    else:
        with open_at_end(out, _shape(form, columns), output) as (file, text):
            done, told = _before(text, form)
            yield Sink(lambda each: write_line(file, _render(each, form, columns)), done, told)


def check_answers(path: Path) -> Form:
    """The form of a file whose records can be read again.

    Raises:
        UsageError: a table, which keeps no more than its cells.
    """
    form = _ENDINGS.get(path.suffix.lower(), "json")
    if form in _TABLES:
        raise UsageError(
            f"{shown(path)} is a table", hint="name lines of JSON (.jsonl) or a database (.db)"
        )
    return form




def read_answers(path: Path, output: Output) -> list[Mapping[str, Any]]:
    """The records of a file that a batch wrote: lines of JSON, or a database. Lines that are no
    record are told.

    Raises:
        InputError: it cannot be read, or holds something else.
        UsageError: a table.
    """
    if check_answers(path) == "sqlite":
        return list(read_database(path))
    text = read_file(path, max_bytes=_MAX_BYTES).decode("utf-8", "replace")
    records: list[Mapping[str, Any]] = list(iter_objects(text))
    left_out = sum(1 for line in text.split("\n") if line.strip()) - len(records)
    if left_out:
        lines = "a line that is" if left_out == 1 else f"{left_out:,} lines that are"
        output.note(f"{shown(path)}: left out {lines} no JSON object")
    return records


def _on_stdout(form: Form, columns: Sequence[str], output: Output) -> Callable[[Record], None]:
    table, begun = _TABLES.get(form), False

    def put(record: Record) -> None:
        nonlocal begun
        if table is None:
            output.event(as_document(record))
            return
        if not begun:
            output.data(render_head(columns, table))
            begun = True
        output.data(render_row(record, columns, table))

    return put


def _shape(form: Form, columns: Sequence[str]) -> Shape:
    table = _TABLES.get(form)
    if table is None:
        return Shape("json", "", "lines of JSON", lambda found: found.startswith("{"))
    head = render_head(columns, table)
    first = head.partition("\n")[0]
    says = "CSV" if table == "csv" else "a Markdown table"
    return Shape(table, head, f"{says} with these columns", lambda found: found == first)


def _render(record: Record, form: Form, columns: Sequence[str]) -> str:
    table = _TABLES.get(form)
    if table is None:
        return json.dumps(as_document(record), ensure_ascii=False)
    return render_row(record, columns, table)


def _before(text: str, form: Form) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """The keys of the answers, and the errors, that a text holds."""
    table = _TABLES.get(form)
    done, told = set(), set()
    for row in read_rows(text, table) if table else iter_objects(text):
        if row.get("error"):
            told.add((str(row.get("file")), str(row["error"])))
        elif row.get("key"):
            done.add(str(row["key"]))
    return frozenset(done), frozenset(told)
