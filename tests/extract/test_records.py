"""Answers as lines, rows and tables, and what is known of them when they are read again."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from gemma_edge.engine.protocol import Finished, Timings, Usage
from gemma_edge.errors import DoesNotFit, InputError
from gemma_edge.extraction.job import CheckedAnswer
from gemma_edge.extraction.records import (
    Database,
    DocumentRecord,
    as_document,
    columns_of,
    content_keys,
    read_database,
    read_rows,
    record_of,
    render_head,
    render_row,
    settings_key,
)
from gemma_edge.extraction.scoring import compare, compare_data

SCHEMA = {
    "type": "object",
    "properties": {
        "vendor": {"type": "string"},
        "total": {"$ref": "#/$defs/money"},
        "items": {"type": "array", "items": {"type": "object"}},
        "file": {"type": "string"},
    },
    "$defs": {
        "money": {"type": "object", "properties": {"amount": {}, "currency": {}}},
    },
}
DATA = {
    "vendor": 'A | "B",\nC\\',
    "total": {"amount": 5.5, "currency": None},
    "items": [{"qty": 1}],
    "file": "drawer 3",
}
EVIDENCE = (
    {"path": "vendor", "value": "A", "status": "exact", "page": 1, "boxes": [[1, 2, 3, 4]]},
)
GOOD = DocumentRecord(file="a.pdf", key="k1", data=DATA, valid=True, evidence=EVIDENCE, seconds=1.5)
BAD = DocumentRecord(file="b.pdf", error="b.pdf is damaged", hint="copy it again")


def test_columns_are_the_values_of_the_schema():
    columns = ("vendor", "total.amount", "total.currency", "items", "file")
    assert columns_of(SCHEMA) == columns
    assert columns_of({"type": "array", "items": SCHEMA}) == ("data",)
    assert columns_of(SCHEMA, ["sum", "total"]) == (*columns, "sum")


def test_a_schema_that_refers_to_itself_has_an_end():
    tree = {"type": "object", "properties": {"name": {}, "child": {"$ref": "#"}}}
    assert "name" in columns_of(tree)
    assert len(columns_of(tree)) < 10


@pytest.mark.parametrize("form", ["csv", "markdown"])
def test_rows_are_read_as_they_were_written(form):
    columns = columns_of(SCHEMA)
    lines = [render_head(columns, form)]
    lines += [render_row(each, columns, form) for each in (GOOD, BAD)]
    good, bad = read_rows("\n".join(lines) + "\n", form)
    assert good["vendor"] == DATA["vendor"]
    assert (good["total.amount"], good["total.currency"]) == ("5.5", "")
    assert good["items"] == '[{"qty": 1}]'
    assert (good["file"], good["data.file"]) == ("a.pdf", "drawer 3")
    assert (good["valid"], good["key"], good["error"]) == ("true", "k1", "")
    assert (bad["error"], bad["key"], bad["valid"]) == ("b.pdf is damaged", "", "")


def test_a_line_of_json_says_what_there_is():
    assert as_document(GOOD) == {
        "file": "a.pdf", "key": "k1", "data": DATA, "valid": True, "problems": [],
        "evidence": list(EVIDENCE), "seconds": 1.5,
    }  # fmt: skip
    assert as_document(BAD) == {
        "file": "b.pdf", "error": "b.pdf is damaged", "hint": "copy it again",
    }  # fmt: skip


def test_the_record_of_an_answer():
    usage = Usage(prompt_tokens=9, cached_tokens=0, evaluated_tokens=9, generated_tokens=3)
    finished = Finished(
        "stop", usage, Timings(prompt_seconds=0, first_token_seconds=0, decode_seconds=0)
    )
    found = CheckedAnswer({"a": 1}, "{}", ("wrong",), finished, ("note",), truncated=("items",))
    record = record_of(
        found, file="a", key="k", pages=2, model="m", seconds=0.12345, notes=("read",)
    )
    assert (record.valid, record.notes, record.truncated) == (False, ("read", "note"), ("items",))
    assert (record.seconds, record.evidence) == (0.123, None)


def test_keys_are_of_content_and_of_all_that_was_asked():
    settings = settings_key({"recipe": "r", "model": "m"})
    other = settings_key({"recipe": "r", "model": "other"})
    keys = content_keys(b"x", {"r": settings, "s": other})
    assert keys == content_keys(b"x", {"s": other, "r": settings})
    assert len({*keys.values(), *content_keys(b"y", {"r": settings}).values()}) == 3


def test_a_database_keeps_answers_and_their_places(tmp_path):
    path = tmp_path / "out.db"
    database = Database(path)
    database.write(BAD)
    database.write(GOOD)
    database.close()
    again = Database(path)
    assert (again.done, again.failed) == ({("a.pdf", "k1")}, {("b.pdf", "b.pdf is damaged")})
    again.write(DocumentRecord(file="b.pdf", key="k2", data={"vendor": "B"}, valid=True))
    again.close()
    assert Database(path).failed == frozenset()  # it was read in the end
    documents = read_database(path)
    assert [each["file"] for each in documents] == ["a.pdf", "b.pdf"]
    assert documents[0]["data"] == DATA
    assert documents[0]["evidence"][0]["path"] == "vendor"
    rows = sqlite3.connect(path).execute("SELECT path, page, boxes FROM evidence").fetchall()
    assert rows == [("vendor", 1, "[[1, 2, 3, 4]]")]


def test_a_database_of_before_there_were_kinds_is_gone_on_with(tmp_path):
    path = tmp_path / "out.db"
    database = Database(path)
    database.write(GOOD)
    database.close()
    with closing(sqlite3.connect(path)) as old:
        old.executescript(
            "ALTER TABLE records DROP COLUMN recipe; ALTER TABLE records DROP COLUMN recognized"
        )
    database = Database(path)
    database.write(replace(GOOD, key="k2", recipe="invoice", recognized={"probability": 0.9}))
    database.close()
    first, second = read_database(path)
    assert "recipe" not in first
    assert (second["recipe"], second["recognized"]) == ("invoice", {"probability": 0.9})


def test_a_database_keeps_the_file_that_a_value_is_in(tmp_path):
    path = tmp_path / "out.db"
    place = {"path": "total", "value": 5, "page": 2, "file": "a.eml > b.pdf", "file_page": 1}
    database = Database(path)
    database.write(replace(GOOD, evidence=(place, {"path": "vendor", "value": "A", "page": 1})))
    database.close()
    ((total, vendor),) = (each["evidence"] for each in read_database(path))
    assert (total["file"], total["file_page"], total["page"]) == ("a.eml > b.pdf", 1, 2)
    assert "file" not in vendor
    with closing(sqlite3.connect(path)) as old:  # as it was before
        old.executescript(
            "ALTER TABLE evidence DROP COLUMN attachment;"
            "ALTER TABLE evidence DROP COLUMN attachment_page"
        )
    database = Database(path)
    database.write(replace(GOOD, key="k2", evidence=(place,)))
    database.close()
    assert read_database(path)[1]["evidence"][0]["file"] == "a.eml > b.pdf"


def test_a_file_that_was_named_twice_stands_once_in_a_database(tmp_path):
    database = Database(tmp_path / "out.db")
    database.write(GOOD)
    database.write(GOOD)
    (found,) = database.documents()
    database.close()
    assert len(found["evidence"]) == len(GOOD.evidence)


def test_a_damaged_database_is_one_line(tmp_path):
    path = tmp_path / "out.db"
    database = Database(path)
    for number in range(50):
        database.write(replace(GOOD, key=f"k{number}", data={"vendor": "Acme " * 400}))
    database.close()
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole.replace(b"Acme", b"\xff\xff\xff\xff"),
                    whole.replace(b'{"vendor": "Acme', b'?"vendor": "Acme')):  # fmt: skip
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"damaged|does not hold a whole database"):
            read_database(path)


def test_other_files_are_not_touched(tmp_path):
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    text = tmp_path / "text.db"
    text.write_text("dear diary " * 50)
    before = other.read_bytes()
    for path, message in ((other, "database of something else"), (text, "does not hold")):
        with pytest.raises(InputError, match=message):
            Database(path)
    assert other.read_bytes() == before
    with pytest.raises(InputError, match="does not exist"):
        read_database(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DoesNotFit, match="cannot be written"):
        Database(tmp_path / "no" / "folder.db")


def test_what_differs_between_two_sets():
    first = [
        {"file": "old/a.pdf", "data": {"total": 5, "rows": [{"n": 1}, {"n": 2}]}},
        {"file": "old/b.pdf", "data": {"total": 1}},
        {"file": "old/gone.pdf", "data": {}},
    ]
    second = [
        {"file": "new/a.pdf", "data": {"total": 6, "rows": [{"n": 2}, {"n": 1}, {"n": 3}]}},
        {"file": "new/b.pdf", "data": {"total": "1.00"}},
        {"file": "new/more.pdf", "error": "damaged"},
    ]
    found = compare(first, second)
    assert [(each.path, each.kind) for each in found.changes] == [
        ("total", "changed"), ("rows[2].n", "added"),
    ]  # fmt: skip
    assert (found.documents, found.same) == (2, 1)
    assert (found.only_first, found.only_second) == (("gone.pdf",), ("more.pdf",))
    assert found.fields == {"rows[].n": 1, "total": 1}


def test_a_value_that_went():
    (change,) = compare_data("a", {"x": 1}, {})
    assert (change.kind, change.path, change.after) == ("removed", "x", None)
