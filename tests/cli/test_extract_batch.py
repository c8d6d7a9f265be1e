"""Many documents with one model: records, errors kept apart, going on where it stopped; scored
against gold data, and compared."""

import csv
import io
import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from gemma_edge.errors import DoesNotFit, EngineError, EngineStopped, ExitStatus
from tests.cli.conftest import Interrupting
from tests.documents.conftest import render_pdf, typed
from tests.documents.office_files import render_xlsx
from tests.scripted import ScriptedEngine

BILLS = {"a.txt": 1, "b.csv": 2, "c.pdf": 3, "d.xlsx": 4}
ASK = ("--schema", "vendor, total num")


@pytest.fixture
def folder(tmp_path):
    """A bill in four kinds of file."""
    made = tmp_path / "bills"
    made.mkdir()
    (made / "a.txt").write_text("Acme\nTotal 1.00\n")
    (made / "b.csv").write_text("Acme,Total\n,2.00\n")
    (made / "c.pdf").write_bytes(render_pdf([typed("Acme\nTotal 3.00")]))
    (made / "d.xlsx").write_bytes(render_xlsx({"S": [["Acme"], ["Total", 4.0]]}))
    return made


class Clerk(ScriptedEngine):
    """Reads the total that stands in the document."""

    def generate(self, request):
        found = re.search(r"(?:Total \| |\b)(\d)(?:\.00)?\b", request.messages[0].text)
        self.answers = [f'{{"vendor": "Acme", "total": {found[1]}}}']
        return super().generate(request)


def lines(text: str):
    return [json.loads(line) for line in text.splitlines()]


def totals(records):
    return {Path(each["file"]).name: each["data"]["total"] for each in records if "data" in each}


def test_a_folder_is_gone_through_by_name(shell, folder):
    shell.engine = Clerk()
    ran = shell.run("extract", str(folder), *ASK)
    assert ran.status == 0, ran.stderr
    records = lines(ran.stdout)
    assert totals(records) == BILLS
    assert [Path(each["file"]).name for each in records] == list(BILLS)
    assert all(each["valid"] and len(each["key"]) == 32 for each in records)
    assert all("evidence" not in each for each in records)
    assert ran.stderr.splitlines()[-1] == "4 files: 4 documents extracted · 0:00"
    assert len(shell.plans) == 1


def test_how_far_it_is_and_how_fast(shell, folder):
    shell.engine = Clerk()
    ticks = itertools.count()
    ran = shell.run("extract", str(folder), *ASK, clock=lambda: 7.0 * next(ticks))
    told = [line for line in ran.stderr.splitlines() if " of 4, " in line]
    assert told
    assert all(re.fullmatch(r"\d of 4, \d+:\d\d left, \d+ documents an hour", t) for t in told)
    assert re.fullmatch(
        r"4 files: 4 documents extracted · \d+ documents an hour · \d+:\d\d",
        ran.stderr.splitlines()[-1],
    )


def test_several_files_and_a_pattern(shell, folder):
    for argv in ((str(folder / "a.txt"), str(folder / "b.csv")), (f"{folder}/[ab].*",)):
        shell.engine = Clerk()
        assert totals(lines(shell.run("extract", *argv, *ASK).stdout)) == {"a.txt": 1, "b.csv": 2}


def test_evidence_in_the_line_or_beside_the_file(shell, folder):
    shell.engine = Clerk()
    ran = shell.run("extract", f"{folder}/[ac].*", *ASK, "--evidence", "inline")
    for each in lines(ran.stdout):
        assert [place["path"] for place in each["evidence"]] == ["vendor", "total"]
        assert all(place["status"] in ("exact", "normalized") for place in each["evidence"])
    shell.run("extract", f"{folder}/[ac].*", *ASK, "--evidence", "sidecar")
    assert (folder / "c.pdf.evidence.json").exists()


def test_one_bad_file_is_one_line_and_the_rest_goes_on(shell, folder):
    (folder / "aa.pdf").write_bytes(b"%PDF-1.4 nothing")
    (folder / "b0.docx").write_bytes(b"PK\x03\x04nothing")
    (folder / "e.txt").write_bytes(b"")
    shell.engine = Clerk()
    ran = shell.run("extract", str(folder), *ASK)
    assert ran.status == ExitStatus.INPUT
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert [name for line in errors for name in ("aa.pdf", "b0.docx", "e.txt") if name in line] == [
        "aa.pdf", "b0.docx", "e.txt",
    ]  # fmt: skip
    records = lines(ran.stdout)
    assert totals(records) == BILLS
    assert [Path(each["file"]).name for each in records if "error" in each] == [
        "aa.pdf", "b0.docx", "e.txt",
    ]  # fmt: skip
    assert ran.stderr.splitlines()[-1].startswith("7 files: 4 documents extracted, 3 failed")


def test_what_is_not_valid_is_written_and_told(shell, folder, tmp_path):
    schema = tmp_path / "s.json"
    schema.write_text('{"properties": {"total": {"type": "number", "maximum": 2}}}')
    shell.engine = Clerk()
    ran = shell.run("extract", f"{folder}/[ac].*", "--schema", str(schema))
    assert ran.status == ExitStatus.RESULT
    first, last = lines(ran.stdout)
    assert (first["valid"], last["valid"], last["data"]["total"]) == (True, False, 3)
    assert "1 not valid" in ran.stderr.splitlines()[-1]
    assert any(line.startswith("? ") and "c.pdf" in line for line in ran.stderr.splitlines())


def read_out(path: Path):
    """Names and totals of what a batch wrote, in its order."""
    if path.suffix == ".db":
        rows = sqlite3.connect(path).execute("SELECT file, data FROM records").fetchall()
        return [(Path(name).name, json.loads(data)["total"]) for name, data in rows if data]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        return [(Path(row["file"]).name, int(row["total"])) for row in rows if row["key"]]
    if path.suffix == ".md":
        cells = [line.split(" | ") for line in text.splitlines()[2:]]
        return [(Path(row[0]).name, int(row[3])) for row in cells if row[3].isdigit()]
    return list(totals(lines(text)).items())


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.md", "out.db"])
def test_what_is_done_is_not_done_again(shell, folder, tmp_path, name):
    out = tmp_path / name
    (folder / "bad.pdf").write_bytes(b"%PDF-nothing")
    argv = ("extract", str(folder), *ASK, "--out", str(out))
    shell.engine = Clerk()
    ran = shell.run(*argv)
    assert (ran.status, ran.stdout) == (ExitStatus.INPUT, "")
    assert read_out(out) == list(BILLS.items())
    before = out.read_bytes()
    # Again: nothing new, not even the model.
    shell.plans.clear()
    ran = shell.run(*argv)
    assert (out.read_bytes(), shell.plans) == (before, [])
    assert "0 documents extracted, 4 done before, 1 failed" in ran.stderr
    # Known by its content under another name; mended, it is done.
    (folder / "a.txt").rename(folder / "z.txt")
    (folder / "bad.pdf").write_bytes(render_pdf([typed("Acme\nTotal 5.00")]))
    assert "1 document extracted, 4 done before" in shell.run(*argv).stderr
    assert ("bad.pdf", 5) in read_out(out)
    # Asked something else, all of it is new, where the columns allow it.
    if name in ("out.jsonl", "out.db"):
        ran = shell.run("extract", str(folder), "--schema", "total num", "--out", str(out))
        assert "5 documents extracted" in ran.stderr


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.md", "out.db"])
def test_each_file_has_its_row_whatever_another_holds(shell, folder, tmp_path, monkeypatch, name):
    """A run that was interrupted and its resumption are as one that was whole."""
    for twin in ("aa.txt", "e.txt"):
        (folder / twin).write_bytes((folder / "a.txt").read_bytes())
    (folder / "=1,x.txt").write_text("Acme\nTotal 1.00\n")
    rows = {"=1,x.txt": 1, "a.txt": 1, "aa.txt": 1, "b.csv": 2, "c.pdf": 3, "d.xlsx": 4, "e.txt": 1}
    whole, parts = tmp_path / f"whole-{name}", tmp_path / f"parts-{name}"
    shell.engine = Clerk()
    shell.run("extract", str(folder), *ASK, "--out", str(whole))
    assert {file.lstrip("'"): total for file, total in read_out(whole)} == rows
    for files in (["a.txt"], ["b.csv", "aa.txt"], rows):
        ran = shell.run(
            "extract", *(str(folder / each) for each in files), *ASK, "--out", str(parts)
        )
        assert ran.status == 0, ran.stderr
    assert "2 documents extracted, 5 done before" in ran.stderr
    assert sorted(read_out(parts)) == sorted(read_out(whole))
    # Spelled otherwise they are the same files.
    before = parts.read_bytes()
    monkeypatch.chdir(tmp_path)
    for spelled in ("bills", "./bills", "../" + tmp_path.name + "/bills/"):
        ran = shell.run("extract", spelled, *ASK, "--out", str(parts))
        assert "0 documents extracted, 7 done before" in ran.stderr
        assert parts.read_bytes() == before


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.md"])
def test_a_record_that_was_cut_is_done_again(shell, folder, tmp_path, name):
    out = tmp_path / name
    shell.engine = Clerk()
    argv = ("extract", str(folder), *ASK, "--out", str(out))
    shell.run(*argv)
    whole = out.read_bytes()
    out.write_bytes(whole[:-20])
    ran = shell.run(*argv)
    assert f"{out} ended in the middle of a record, which is cut off" in ran.stderr.splitlines()
    assert "1 document extracted, 3 done before" in ran.stderr
    assert out.read_bytes() == whole


def test_the_answers_may_lie_in_the_folder(shell, folder):
    for name in ("out.csv", "out.md"):
        shell.engine = Clerk()
        argv = ("extract", str(folder), *ASK, "--out", str(folder / name))
        shell.run(*argv)
        before = (folder / name).read_bytes()
        assert "0 documents extracted, 4 done before" in shell.run(*argv).stderr
        assert (folder / name).read_bytes() == before
        (folder / name).unlink()


def test_a_file_that_holds_something_else_is_not_touched(shell, folder, tmp_path):
    for name in ("x.csv", "x.jsonl", "x.md", "x.db"):
        out = tmp_path / name
        out.write_text("dear diary\n" * 60)
        ran = shell.run("extract", str(folder), *ASK, "--out", str(out))
        assert ran.status == ExitStatus.INPUT
        assert "nothing was written" in ran.stderr
        assert out.read_text() == "dear diary\n" * 60


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("out", ["/dev/full", "/"])
def test_what_is_no_file_is_not_read(shell, folder, out):
    ran = shell.run("extract", str(folder), *ASK, "--out", out)
    assert (ran.status, shell.plans) == (ExitStatus.DOES_NOT_FIT, [])
    assert f"{out} cannot be written" in ran.stderr


def test_formats_by_flag_and_their_limits(shell, folder):
    shell.engine = Clerk()
    ran = shell.run("extract", str(folder), *ASK, "--format", "csv", "--quiet")
    rows = list(csv.DictReader(io.StringIO(ran.stdout)))
    assert [row["total"] for row in rows] == ["1", "2", "3", "4"]
    ran = shell.run("extract", str(folder), *ASK, "--format", "sqlite")
    assert ran.status == ExitStatus.USAGE
    assert "--out" in ran.stderr


def test_ctrl_c_keeps_what_was_done(shell, folder, tmp_path):
    class Stopping(Interrupting):
        """Someone presses Ctrl-C in the third document."""

        def generate(self, request):
            stops = "3.00" in request.messages[-1].text
            return (super() if stops else super(Interrupting, self)).generate(request)

    out = tmp_path / "out.jsonl"
    shell.engine = Stopping(['{"vendor": "A", "total": 1}'] * 4)
    argv = ("extract", str(folder), *ASK, "--out", str(out))
    ran = shell.run(*argv)
    assert ran.status == ExitStatus.INTERRUPTED
    assert list(totals(lines(out.read_text()))) == ["a.txt", "b.csv"]
    shell.engine = Clerk()
    assert "2 documents extracted, 2 done before" in shell.run(*argv).stderr
    assert list(totals(lines(out.read_text()))) == list(BILLS)


class Dying(Clerk):
    """Its process ends the first time."""

    died = False

    def generate(self, request):
        if not self.died:
            self.died = True
            raise EngineStopped("the engine stopped (SIGSEGV)")
        return super().generate(request)


def test_an_engine_that_stops_is_asked_again(shell, folder):
    shell.engine = Dying()
    ran = shell.run("extract", str(folder), *ASK)
    assert totals(lines(ran.stdout)) == BILLS
    assert "asking again" in ran.stderr


class Refusing(Clerk):
    """Fails on one of the documents."""

    def generate(self, request):
        if "3.00" in request.messages[0].text:
            raise EngineError("llama.cpp refused the batch")
        return super().generate(request)


def test_an_engine_that_fails_on_one_document_goes_on(shell, folder):
    shell.engine = Refusing()
    ran = shell.run("extract", str(folder), *ASK)
    assert ran.status == ExitStatus.FAILED
    assert list(totals(lines(ran.stdout))) == ["a.txt", "b.csv", "d.xlsx"]
    assert ran.stderr.count("error: ") == 1
    assert "c.pdf: llama.cpp refused the batch" in ran.stderr


def test_a_model_that_cannot_be_loaded_is_told_once(shell, folder):
    def load(_plan):
        raise DoesNotFit("the model does not fit")

    ran = shell.run("extract", str(folder), *ASK, load=load)
    assert (ran.status, ran.stdout) == (ExitStatus.DOES_NOT_FIT, "")
    assert ran.stderr.count("error: ") == 1


def test_scores_against_gold_data(shell, folder):
    for name, total in (("a", 1), ("c", 3), ("d", 9)):
        (folder / f"{name}.gold.json").write_text(f'{{"vendor": "Acme", "total": "{total}.00"}}')
    shell.engine = Clerk()
    ran = shell.run("eval", str(folder), *ASK)
    assert ran.status == 0, ran.stderr
    field, total, vendor, *_ = (line.split() for line in ran.stdout.splitlines())
    assert field == ["field", "F1", "right", "missing", "extra"]
    assert total == ["total", "0.667", "2", "1", "1"]
    assert vendor == ["vendor", "1.000", "3", "0", "0"]
    assert 'd.xlsx    0.500  total: 4, not "9.00"' in ran.stdout
    assert ran.stdout.splitlines()[-3:] == [
        "value F1   0.833 (precision 0.833, recall 0.833)",
        "documents  2 of 3 all right",
        "grounding  100.0% of 6 values have a place",
    ]
    report = json.loads(shell.run("eval", str(folder), *ASK, "--json").stdout)
    assert (report["documents"], report["whole_documents"], report["failed"]) == (3, 2, 0)
    assert report["each"][0]["wrong"] == [{"path": "total", "expected": "9.00", "found": 4}]


def test_scores_of_answers_that_are_there(shell, folder, tmp_path):
    (folder / "schema.json").write_text('{"properties": {"total": {"type": "number"}}}')
    (folder / "a.gold.json").write_text('{"total": 1}')
    (folder / "b.json").write_text('{"total": 2}')
    out = tmp_path / "out.jsonl"
    out.write_text('{"file": "bills/a.txt", "key": "k", "data": {"total": 1}}\n')
    shell.plans.clear()
    ran = shell.run("eval", str(folder), "--answers", str(out))
    assert shell.plans == []  # no model
    assert "1 of 2 all right" in ran.stdout
    assert "there is no answer" in ran.stdout
    # Without answers, by the schema that lies there.
    shell.engine = ScriptedEngine(['{"total": 1}', '{"total": 2}'])
    ran = shell.run("eval", str(folder))
    assert "2 of 2 all right" in ran.stdout, ran.stderr


def test_two_sets_of_answers(shell, folder, tmp_path):
    shell.engine = Clerk()
    first, second = tmp_path / "a.jsonl", tmp_path / "b.db"
    for out in (first, second):
        shell.run("extract", str(folder), *ASK, "--out", str(out))
    ran = shell.run("diff", str(first), str(second), model=False)
    assert (ran.stdout, ran.status) == ("", 0)
    assert ran.stderr == "4 documents: 4 the same\n"
    first.write_text(first.read_text().replace('"total": 3', '"total": 7'))
    ran = shell.run("diff", str(first), str(second), model=False)
    assert ran.stdout == "c.pdf: total: 7 -> 3\n"
    assert ran.stderr == "4 documents: 3 the same, 1 differs in 1 value (total 1)\n"
    with first.open("a") as file:
        file.write('{"file": "half')
    ran = shell.run("diff", str(first), str(second), "--json", model=False)
    assert "left out a line that is no JSON object" in " ".join(ran.stderr.split())
    told = json.loads(ran.stdout)
    assert told["changes"][0] == {
        "file": "c.pdf", "path": "total", "kind": "changed", "before": 7, "after": 3,
    }  # fmt: skip


def test_a_score_can_be_gone_on_with(shell, folder, tmp_path):
    for name in ("a", "b", "c"):
        (folder / f"{name}.gold.json").write_text(f'{{"total": {"abc".index(name) + 1}}}')
    out = tmp_path / "answers.db"
    argv = ("eval", str(folder), *ASK, "--out", str(out))
    shell.engine = Clerk()
    first = shell.run(*argv)
    shell.plans.clear()
    again = shell.run(*argv)
    assert "0 documents extracted, 3 done before" in again.stderr
    assert (shell.plans, again.stdout) == ([], first.stdout)
    assert "value F1   0.667 " in first.stdout  # vendors are too much
    ran = shell.run("eval", str(folder), *ASK, "--out", str(tmp_path / "x.csv"))
    assert (ran.status, "is a table" in ran.stderr) == (ExitStatus.USAGE, True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("eval", "nowhere"), "is not a folder"),
        (("eval", "empty"), "no document with gold data"),
        (("diff", "nowhere"), "missing argument `B`"),
        (("diff", "nowhere", "none"), "does not exist"),
        (("diff", "text", "text"), "holds no answers"),
        (("diff", "deep", "deep"), "holds no answers"),
        (("extract", "empty"), "has no document in it"),
    ],
)
def test_wrong_input_is_one_line(shell, tmp_path, argv, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("dear diary\n")
    (tmp_path / "deep").write_text("[" * 100_000)
    command, *named = argv
    more = () if command == "diff" else ASK
    files = (str(tmp_path / each) for each in named)
    ran = shell.run(command, *files, *more, model=command != "diff")
    assert ran.stdout == ""
    assert message in ran.stderr
    assert ran.stderr.count("error: ") == 1
    assert ran.status in (ExitStatus.INPUT, ExitStatus.USAGE)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("name", ["out.jsonl", "out.db"])
def test_kill_loses_at_most_the_one_in_hand(folder, tmp_path, name):
    """The real program and the bundled model, killed in the middle, again and again."""
    for number in range(12):
        (folder / f"more{number:02}.txt").write_text(f"Acme {number}\nTotal {number}.00\n")
    out = tmp_path / name
    command = [
        sys.executable, "-m", "gemma_edge", "extract", str(folder), *ASK, "--model", "demo",
        "--out", str(out), "--offline",
    ]  # fmt: skip
    counts = [0]
    for more in (1, 4, None):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ,
            start_new_session=True,
        )  # fmt: skip
        if more is None:
            assert process.wait(timeout=120) == 0
        else:
            deadline = time.monotonic() + 120
            while _count(out) < counts[-1] + more and time.monotonic() < deadline:
                time.sleep(0.005)
            os.killpg(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL  # in the middle
        counts.append(_count(out))
    assert all(one < two for one, two in itertools.pairwise(counts))  # nothing is lost
    assert counts[-1] == 16


def _count(out: Path) -> int:
    if not out.exists():
        return 0
    if out.suffix == ".db":
        with closing(sqlite3.connect(out)) as connection:
            found = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            rows = connection.execute("SELECT count(DISTINCT key) FROM records") if found else None
            return rows.fetchone()[0] if rows else 0
    whole = out.read_text().splitlines(keepends=True)
    return len({json.loads(line)["key"] for line in whole if line.endswith("\n")})


@pytest.mark.skipif(os.name == "nt", reason="links need a right on Windows")
def test_a_link_that_leads_out_of_a_folder_is_not_followed(shell, folder, tmp_path):
    (tmp_path / "secret.txt").write_text("Acme\nTotal 9.00\n")
    (folder / "a-out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "b-in.txt").symlink_to(folder / "a.txt")
    for named in (str(folder), f"{folder}/*.txt"):
        shell.engine = Clerk()
        ran = shell.run("extract", named, *ASK)
        found = totals(lines(ran.stdout))
        assert (found["b-in.txt"], "a-out.txt" in found) == (1, False)
        error = f"a-out.txt leads out of {folder}, to {tmp_path / 'secret.txt'}"
        assert error in ran.stderr.replace("\n  ", " ")
    shell.engine = Clerk()
    ran = shell.run("extract", str(folder / "a-out.txt"), *ASK)  # it is what was named
    assert json.loads(ran.stdout)["total"] == 9
