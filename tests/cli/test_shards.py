"""Shares of many files: whose file is whose, one set of rows in the end, and a stop in time."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import prove_slurm
import pytest

from gemma_edge.app.batch import Source
from gemma_edge.app.request import Shard
from gemma_edge.app.shards import folder_of, merge, parse_shard, shard_of, share, unfinished
from gemma_edge.cli.options import parse_until
from gemma_edge.errors import InputError, UsageError
from tests.scripted import ScriptedEngine

ASK = ("--schema", "total num")
NAMES = [f"bill-{number:02}.txt" for number in range(20)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twenty bills, in the working folder."""
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "bills"
    made.mkdir()
    for number, name in enumerate(NAMES):
        (made / name).write_text(f"Total {number}\n")
    return made


class Clerk(ScriptedEngine):
    """Reads the total, and counts what it was asked."""

    asked = 0

    def generate(self, request):
        Clerk.asked += 1
        found = re.findall(r"Total (\d+)", request.messages[0].text)
        self.answers = [f'{{"total": {found[-1]}}}']
        return super().generate(request)


@pytest.fixture
def run(shell, folder):
    def extract(*flags, **more):
        Clerk.asked, shell.engine = 0, Clerk()
        return shell.run("extract", "bills", *ASK, "--out", "rows.jsonl", *flags, **more)

    return extract


def rows(path="rows.jsonl"):
    found = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
    return sorted((Path(each["file"]).name, each["data"]["total"]) for each in found)


WHOLE = sorted((name, number) for number, name in enumerate(NAMES))


def sources(names):
    return [Source(name, Path("bills", name)) for name in names]


def test_each_file_is_in_one_share_whatever_the_order_or_the_others():
    for count in (1, 3, 8):
        shares = [share(sources(NAMES), Shard(index, count)) for index in range(1, count + 1)]
        assert sorted(each.name for some in shares for each in some) == sorted(NAMES)
    third = {each.name for each in share(sources(NAMES), Shard(3, 8))}
    assert third == {each.name for each in share(sources(reversed(NAMES)), Shard(3, 8))}
    more = [*NAMES, *(f"new-{number}.txt" for number in range(50))]
    assert third == {each.name for each in share(sources(more), Shard(3, 8))} & set(NAMES)
    dotted = [Source(name, Path("./bills/../bills", name)) for name in NAMES]
    assert third == {each.name for each in share(dotted, Shard(3, 8))}


def test_what_comes_through_a_pipe_cannot_be_shared_out():
    with pytest.raises(UsageError, match="stdin cannot be shared out"):
        share([Source("stdin", data=b"x")], Shard(1, 2))


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/3", "1/0", "1/9999999"])
def test_what_is_no_share(text):
    with pytest.raises(ValueError):
        parse_shard(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "8"},
         Shard(3, 8)),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "7"},
         Shard(1, 8)),
        ({"SLURM_ARRAY_TASK_ID": "20", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_MAX": "40",
          "SLURM_ARRAY_TASK_STEP": "10"}, Shard(2, 4)),
        ({"LSB_JOBINDEX": "2", "LSB_JOBINDEX_END": "4", "LSB_JOBINDEX_STEP": "1"}, Shard(2, 4)),
        ({"LSB_JOBINDEX": "0", "LSB_JOBINDEX_END": "0"}, None),
        ({"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_MAX": "5"},
         None),
        ({"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_MAX": "8"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_share_of_a_job_array(environment, expected):
    found = shard_of(environment)
    assert (found[0] if found else None) == expected


def test_the_last_share_puts_the_rows_together(run):
    whole = run()
    assert whole.status == 0, whole.stderr
    assert rows() == WHOLE
    Path("rows.jsonl").rename("one.jsonl")
    asked = 0
    for index in (2, 3, 1):
        assert not Path("rows.jsonl").exists()
        ran = run("--shard", f"{index}/3")
        assert ran.status == 0, ran.stderr
        asked += Clerk.asked
    assert asked == len(NAMES)
    assert "all 3 shares are done: 20 rows in rows.jsonl" in ran.stderr
    assert rows() == rows("one.jsonl") == WHOLE
    assert not folder_of(Path("rows.jsonl")).exists()


def test_a_job_of_an_array_finds_its_share_by_itself(run):
    for index in range(1, 5):
        array = {
            "SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_MIN": "1",
            "SLURM_ARRAY_TASK_MAX": "4", "SLURM_ARRAY_JOB_ID": "77",
        }  # fmt: skip
        ran = run(environment=array)
        assert f"share {index} of 4 (SLURM_ARRAY_TASK_ID)" in ran.stderr
    assert rows() == WHOLE
    assert run("--shard", "1/1", environment=array).status == 0
    assert Clerk.asked == 0  # all of it was there


def test_what_any_share_has_answered_none_does_again(run):
    run("--shard", "1/2")
    done = Clerk.asked
    assert 0 < done < len(NAMES)
    total = done
    for index in range(1, 6):  # the same run with more jobs
        assert run("--shard", f"{index}/5").status == 0
        total += Clerk.asked
    assert total == len(NAMES)
    assert rows() == WHOLE


def test_a_share_that_was_cut_off_in_a_row_goes_on(run):
    run("--shard", "2/2")
    folder = folder_of(Path("rows.jsonl"))
    (own,) = folder.glob("*.jsonl")
    text = own.read_text("utf-8")
    last = text.splitlines()[-1]
    own.write_text(text[: -len(last) // 2], "utf-8")
    for mark in folder.glob("*.done"):
        mark.unlink()
    assert run("--shard", "2/2").status == 0
    assert Clerk.asked == 1
    assert run("--shard", "1/2").status == 0
    assert rows() == WHOLE


def test_shares_of_another_run_are_not_the_last_ones(run):
    array = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "2"}
    run(environment=array | {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "1"})
    ran = run(environment=array | {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "2"})
    assert "share 2 of 2 is done; 1 of 2 are" in ran.stderr
    assert not Path("rows.jsonl").exists()


def test_an_error_stays_only_where_there_is_no_answer(tmp_path):
    out = tmp_path / "rows.jsonl"
    folder_of(out).mkdir()
    good = {"file": "a.pdf", "key": "k1", "data": {"x": 1}}
    failed = [{"file": "a.pdf", "error": "no"}, {"file": "b.pdf", "error": "no"}]
    text = "".join(json.dumps(each) + "\n" for each in (failed[0], good, failed[1], failed[1]))
    (folder_of(out) / "0001-of-0001.h-1-1.jsonl").write_text(text + '{"file": "c.p')
    out.write_text(json.dumps(good | {"seconds": 3}) + "\n")
    assert merge(out) == 2
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert found == [good | {"seconds": 3}, failed[1]]
    with pytest.raises(InputError, match="has no shares to put together"):
        merge(out)


def test_rows_that_are_written_while_others_put_them_together_are_not_lost(run, shell):
    class Merging(Clerk):
        def generate(self, request):
            if Clerk.asked in (3, 4):  # in the middle of a share
                merge(Path("rows.jsonl"))
            return super().generate(request)

    shell.engine = Merging()
    ran = shell.run("extract", "bills", *ASK, "--out", "rows.jsonl", "--shard", "1/2")
    assert ran.status == 0, ran.stderr
    assert run("--shard", "2/2").status == 0
    assert rows() == WHOLE


def test_merge_as_a_command(run, shell):
    run("--shard", "1/2")
    ran = shell.run("merge", "rows.jsonl", model=False)
    assert ran.status == 0
    assert re.fullmatch(
        r"share 2 of 2 has not ended: run it again, and its rows are added\n"
        r"\d+ rows in rows\.jsonl\n", ran.stderr
    )  # fmt: skip
    assert run("--shard", "2/2").status == 0  # what is there is not done again
    assert Clerk.asked < len(NAMES)


def test_what_has_not_ended(tmp_path):
    out = tmp_path / "rows.jsonl"
    assert unfinished(out) == []
    folder_of(out).mkdir()
    for name in ("0001-of-0004.77.done", "0003-of-0004.h-1-1.jsonl", "0002-of-0005.h-1-1.jsonl",
                 "cluster.h-1-1.jsonl"):  # fmt: skip
        (folder_of(out) / name).touch()
    assert unfinished(out) == ["shares 2-4 of 4 have", "shares 1-5 of 5 have"]
    for name in ("0002-of-0004.77.done", "0004-of-0004.alone.done"):
        (folder_of(out) / name).touch()
    for index in range(1, 6):
        (folder_of(out) / f"{index:04}-of-0005.alone.done").touch()
    assert unfinished(out) == ["share 3 of 4 has"]


def test_rows_of_another_form_cannot_be_shared_out(shell, folder):
    ran = shell.run("extract", "bills", *ASK, "--out", "rows.csv", "--shard", "1/2")
    assert ran.status == 2
    assert "shares are written as lines of JSON, not into rows.csv" in ran.stderr
    ran = shell.run("extract", "bills", *ASK, "--shard", "1/2")
    assert (ran.status, "needs a file" in ran.stderr) == (2, True)


def test_the_time_is_up(run):
    ran = run("--until", "0s")
    assert ran.status == 75
    assert "the time is up: 20 files are left; run it again to go on" in ran.stderr
    assert Clerk.asked == 0
    ran = run(environment={"SLURM_JOB_END_TIME": str(int(time.time()) + 30)})
    assert (ran.status, Clerk.asked) == (75, 0)
    assert run(environment={"SLURM_JOB_END_TIME": str(int(time.time()) + 3000)}).status == 0
    assert rows() == WHOLE


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("55m", 3300), ("+10m", 600), ("1h30m", 5400), ("2H", 7200), (" 90s", 90), ("0s", 0)],
)
def test_times_from_now(text, seconds):
    assert parse_until(text) == pytest.approx(time.time() + seconds, abs=30)


def test_times_of_the_clock():
    now = datetime.now()
    for minutes in (-90, 90):
        then = now + timedelta(minutes=minutes)
        for form in ("%H:%M", "%H:%M:%S"):
            found = datetime.fromtimestamp(parse_until(then.strftime(form)))
            assert timedelta() < found - now < timedelta(days=1, hours=2)
            assert found.strftime(form) == then.strftime(form)
    assert parse_until("9:05") == parse_until("09:05")
    assert parse_until("2030-12-01T05:00") == datetime(2030, 12, 1, 5).timestamp()
    assert parse_until("2030-12-01 05:00:30") == datetime(2030, 12, 1, 5, 0, 30).timestamp()


@pytest.mark.parametrize(
    "text",
    ["25:00", "soon", "5", "-3m", "1:2:3:4", "24:00", "9:61", "", "1.5h", "5 m", "forever",
     "1:-2", "2030-13-01T00:00"],
)  # fmt: skip
def test_what_is_no_time(shell, folder, text):
    ran = shell.run("extract", "bills", "--out", "rows.jsonl", f"--until={text}", model=False)
    assert ran.status == 2
    assert "is no time, like 13:45, 55m or 2h" in ran.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("told", ["SIGUSR1", "SIGTERM"])
def test_a_signal_ends_it_behind_the_document_it_is_at(folder, told):
    """With the bundled model, as a job's scheduler does it; then it is run again."""
    command = [sys.executable, "-m", "gemma_edge", "extract", "bills", *ASK, "-m", "demo",
               "--out", "rows.jsonl"]  # fmt: skip
    world = os.environ | {"GEMMA_EDGE_OFFLINE": "1"}
    with subprocess.Popen(command, env=world, stderr=subprocess.PIPE, text=True) as process:
        out = Path("rows.jsonl")
        while not out.exists() or not out.read_bytes().count(b"\n"):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(getattr(signal, told))
        _, said = process.communicate()
    left = re.search(rf"told to stop \({told}\): (\d+) files are left", said)
    assert left, said
    assert process.returncode == 75
    assert len(rows_of(out)) == len(NAMES) - int(left[1])
    again = subprocess.run(command, env=world, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    names = [Path(each["file"]).name for each in rows_of(out)]
    assert sorted(names) == sorted(NAMES)


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


MISSING = [name for name in prove_slurm.PROGRAMS if shutil.which(name) is None]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"no SLURM here: {', '.join(MISSING)}")
def test_a_job_array_on_a_real_slurm(tmp_path):
    """Two nodes, one of them killed with all its processes, one job requeued, one told to stop."""
    figures = prove_slurm.prove(48, 4, tmp_path)
    assert figures.pop("processes killed") >= 2
    assert figures.pop("told to stop") >= 1
    assert figures == {
        "files": 48, "jobs": 4, "rows": 48, "lost": 0, "twice": 0, "other": 0, "shares left": 0,
    }  # fmt: skip
