"""Images one after another: records, errors kept apart, going on where it stopped."""

import csv
import io
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from gemma_edge.app.batch import Source, read_ahead
from gemma_edge.disk import PARTIAL_SUFFIX
from gemma_edge.errors import EngineStopped, ExitStatus, InputError
from gemma_edge.planning.plan import Plan
from tests.documents.conftest import render_pdf, typed
from tests.documents.hostile import COUNT, ERROR, IMAGE, write_all
from tests.scripted import ScriptedEngine

COLORS = {"a.png": "red", "b.jpg": "green", "c.webp": "blue"}


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    for name, color in COLORS.items():
        Image.new("RGB", (640, 480), color).save(folder / name)
    return folder


class Looking(ScriptedEngine):
    """Says the colour that it sees."""

    def generate(self, request):
        red, green, blue = request.messages[-1].pictures[0].rgb[:3]
        best = max(red, green, blue)
        self.answers = ["red" if best == red else "green" if best == green else "blue"]
        return super().generate(request)


def lines(ran):
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_a_folder_is_gone_through_by_name(shell, album):
    shell.engine = Looking()
    ran = shell.run("describe", str(album))
    assert ran.status == 0, ran.stderr
    assert [(os.path.basename(each["file"]), each["answer"]) for each in lines(ran)] == [
        ("a.png", "red"), ("b.jpg", "green"), ("c.webp", "blue"),
    ]  # fmt: skip
    assert all(len(each["sha256"]) == 64 for each in lines(ran))
    assert ran.stderr.splitlines()[-1] == "3 files: 3 images described · 0:00"
    assert len(shell.plans) == 1


def test_a_pattern_and_each(shell, album):
    for argv in ((f"{album}/*.[pj]*",), (str(album / "a.png"), str(album / "b.jpg"), "--each")):
        shell.engine = Looking()
        assert [each["answer"] for each in lines(shell.run("describe", *argv))] == ["red", "green"]


def test_what_a_folder_holds_besides_is_told(shell, album):
    (album / "notes.txt").write_text("x")
    (album / "more").mkdir()
    (album / ".hidden.jpg").write_text("x")
    if hasattr(os, "mkfifo"):
        os.mkfifo(album / "pipe.jpg")  # reading it would never end
    shell.engine = Looking()
    ran = shell.run("describe", str(album))
    assert ran.status == 0
    first = ran.stderr.splitlines()[0]
    assert first.startswith(f"{album}: 3 images; left out: 1 .")
    assert "1 .txt" in first
    assert "1 folder" in first


@pytest.mark.parametrize("argv", [("nothing/*.jpg",), ("empty",)])
def test_nothing_to_look_at(shell, tmp_path, argv):
    (tmp_path / "empty").mkdir()
    ran = shell.run("describe", *(str(tmp_path / each) for each in argv))
    assert (ran.stdout, ran.status) == ("", ExitStatus.INPUT)


def test_one_bad_file_is_one_line_and_the_rest_goes_on(shell, album):
    (album / "aa.jpg").write_bytes(b"\xff\xd8\xffnothing")
    (album / "b0.png").symlink_to(album / "nowhere.png")
    shell.engine = Looking()
    ran = shell.run("describe", str(album))
    assert ran.status == ExitStatus.INPUT
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "hint" not in ran.stderr
    answers = {os.path.basename(each["file"]): each for each in lines(ran)}
    assert answers["aa.jpg"]["error"].endswith(errors[0].split("aa.jpg", 1)[1])
    assert answers["aa.jpg"]["hint"]
    assert [name for name, each in answers.items() if "answer" in each] == list(COLORS)
    assert ran.stderr.splitlines()[-1].startswith("5 files: 3 images described, 2 failed")


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_what_is_done_is_not_done_again(shell, album, tmp_path, name):
    out = tmp_path / name
    (album / "bad.jpg").write_bytes(b"nothing")
    shell.engine = Looking()
    argv = ("describe", str(album), "--out", str(out))
    assert shell.run(*argv).status == ExitStatus.INPUT
    whole = out.read_text(encoding="utf-8")
    assert len(whole.splitlines()) == 4 + name.endswith(".csv")
    # Again: nothing new, not even the model.
    shell.plans.clear()
    ran = shell.run(*argv)
    assert out.read_text(encoding="utf-8") == whole
    assert shell.plans == []
    assert "0 images described, 3 done before, 1 failed" in ran.stderr
    # Moved and renamed, it is known by its content; a new one is done.
    (album / "a.png").rename(album / "aa.png")
    Image.new("RGB", (64, 64), "blue").save(album / "new.png")
    ran = shell.run(*argv)
    assert "1 image described, 3 done before" in ran.stderr
    # Cut in the middle of the last record, that record is done again.
    text = out.read_text(encoding="utf-8")
    out.write_text(text[:-20], encoding="utf-8")
    ran = shell.run(*argv)
    assert "1 image described, 3 done before" in ran.stderr
    assert f"{out} ended in the middle of a record, which is cut off" in ran.stderr.splitlines()
    assert out.read_text(encoding="utf-8") == text
    # Asked something else, all of it is new.
    assert "4 images described" in shell.run(*argv, "-q", "what is it?").stderr


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_each_image_has_its_row_whatever_another_holds(shell, album, tmp_path, name):
    for twin in ("b.png", "d.png"):
        (album / twin).write_bytes((album / "a.png").read_bytes())
    found = []
    for number, runs in enumerate((["."], ["a.png", "."], ["c.webp", "d.png", "."])):
        out = tmp_path / f"{number}-{name}"
        for each in runs:
            shell.engine = Looking()
            argv = ("describe", str(album / each), "-q", "which?", "-q", "why?", "--each")
            assert shell.run(*argv, "--out", str(out)).status == 0
        found.append(sorted(out.read_text(encoding="utf-8").splitlines()))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 2 * 5 + name.endswith(".csv")


def test_a_file_that_holds_something_else_is_not_touched(shell, album, tmp_path):
    for name, content in (
        ("notes.csv", "a,b\n1,2\n"),
        ("x.jsonl", "dear diary\n"),
        ("y", "\x89PNG"),
    ):
        out = tmp_path / name
        out.write_text(content, encoding="latin-1")
        ran = shell.run("describe", str(album), "--out", str(out))
        assert ran.status == ExitStatus.INPUT
        assert out.read_text(encoding="latin-1") == content
    ran = shell.run("describe", str(album), "--out", str(tmp_path / "no" / "such" / "folder.csv"))
    assert ran.status == ExitStatus.DOES_NOT_FIT


def test_csv_on_stdout(shell, album):
    shell.engine = Looking()
    ran = shell.run("describe", str(album), "--csv", "--quiet")
    rows = list(csv.DictReader(io.StringIO(ran.stdout)))
    assert [row["answer"] for row in rows] == ["red", "green", "blue"]
    assert ran.stderr == ""


def test_alt_texts_are_written_beside_the_images(shell, album):
    engine = shell.engine = Looking()
    ran = shell.run("describe", str(album), "--sidecar")
    assert (ran.stdout, ran.status) == ("", 0)
    assert (album / "b.jpg.alt.txt").read_text(encoding="utf-8") == "green\n"
    assert engine.requests[0].messages[-1].text.startswith("Write an alt text")
    # A person corrected one: it is kept.
    (album / "b.jpg.alt.txt").write_text("A meadow.\n", encoding="utf-8")
    (album / "c.webp.alt.txt").unlink()
    ran = shell.run("describe", str(album), "--sidecar")
    assert "1 image described, 2 done before" in ran.stderr
    assert (album / "b.jpg.alt.txt").read_text(encoding="utf-8") == "A meadow.\n"
    shell.run("describe", str(album), "--sidecar", "--out", str(album / "out.jsonl"))
    assert (album / "b.jpg.alt.txt").read_text(encoding="utf-8") == "A meadow.\n"
    shell.run("describe", str(album), "--sidecar", "--replace")
    assert (album / "b.jpg.alt.txt").read_text(encoding="utf-8") == "green\n"
    assert not list(album.glob(f"*{PARTIAL_SUFFIX}")) and not list(album.glob("*.part"))


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_texts_are_not_written_where_a_folder_points_to(shell, album, tmp_path):
    """A folder that somebody packed: links under the names that are written, and under those of
    files that are not complete."""
    mine = tmp_path / "mine"
    mine.write_text("precious")
    for ending in ("alt.txt.part", f"alt.txt.{os.getpid()}.part", "alt.txt.tmp"):
        (album / f"a.png.{ending}").symlink_to(mine)
    (album / "b.jpg.alt.txt").symlink_to(tmp_path / "nothing")
    (album / "c.webp.alt.txt").symlink_to(mine)
    shell.engine = Looking()
    assert shell.run("describe", str(album), "--sidecar", "--replace").status == 0
    assert mine.read_text() == "precious" and not (tmp_path / "nothing").exists()
    for name, color in COLORS.items():
        beside = album / f"{name}.alt.txt"
        assert not beside.is_symlink() and beside.read_text(encoding="utf-8") == f"{color}\n"


def test_a_bug_about_one_image_is_its_error(shell, album):
    class Stumbling(Looking):
        def generate(self, request):
            if request.messages[-1].pictures[0].rgb[1] > 99:  # the green one
                raise ZeroDivisionError("nobody foresaw this")
            return super().generate(request)

    shell.engine = Stumbling()
    ran = shell.run("describe", str(album))
    assert ran.status == ExitStatus.FAILED
    assert [each.get("answer") for each in lines(ran)] == ["red", None, "blue"]
    assert "ZeroDivisionError" in lines(ran)[1]["error"]
    assert len(ran.stderr.split("error: ")) == 2 and "Traceback" not in ran.stderr


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
@pytest.mark.parametrize(
    "case",
    [
        ("alt", "A red wall.", "alt.txt", "A red wall."),
        ("tags", '["red", "wall"]', "tags.txt", "red, wall"),
        ("json", '{"caption": "{", "text": null}', "json", '{"caption": "{", "text": null}'),
    ],
)
def test_a_text_that_is_missing_beside_a_recorded_image_is_written(shell, tmp_path, name, case):
    """From the record: nothing is loaded, nothing is asked, nothing is recorded twice."""
    kind, answer, ending, text = case
    Image.new("RGB", (48, 48), "red").save(tmp_path / "a.png")
    argv = ("describe", str(tmp_path / "a.png"), "--as", kind, "--sidecar")
    if kind == "json":
        argv += ("--schema", '{"properties": {"caption": {}, "text": {}}}')
    out = ("--out", str(tmp_path / name))
    shell.script([answer])
    assert shell.run(*argv, *out).status == 0
    beside = tmp_path / f"a.png.{ending}"
    assert beside.read_text(encoding="utf-8") == f"{text}\n"
    records = (tmp_path / name).read_bytes()
    beside.unlink()
    engine = shell.script([])
    ran = shell.run(*argv, *out)
    assert (ran.status, engine.requests, len(shell.plans)) == (0, [], 1), ran.stderr
    assert beside.read_text(encoding="utf-8") == f"{text}\n"
    assert (tmp_path / name).read_bytes() == records
    assert "1 done before" in ran.stderr


class Shrunk(Looking):
    """What was loaded in the end: a fallback that has room for small pictures only."""

    @property
    def info(self):
        plan = Plan(model=Path("x.gguf"), context_tokens=512, batch_tokens=64, image_tokens=100)
        return replace(super().info, plan=plan)


def test_a_smaller_plan_gets_smaller_pictures(shell, tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png"):
        Image.new("RGB", (960, 960), "red").save(tmp_path / name)
    shell.engine = Shrunk()
    ran = shell.run("describe", str(tmp_path), "--jobs", "1")
    assert [each["answer"] for each in lines(ran)] == ["red"] * 4
    assert all(70 < each["tokens"] <= 100 for each in lines(ran))
    told = "memory is short: looked at again, with at most 100 tokens an image"
    assert ran.stderr.count(told) == 1
    ran = shell.run("describe", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--detail", "280")
    assert ran.stderr.count(told) == 1
    sizes = [picture.tokens for picture in shell.engine.requests[-1].messages[-1].pictures]
    assert all(70 < size <= 100 for size in sizes)


def test_every_page_and_every_question_has_a_record(shell, tmp_path):
    path = tmp_path / "bill.pdf"
    path.write_bytes(render_pdf([typed("one"), typed("two")]))
    shell.script(["a", "b", "c", "d"])
    ran = shell.run("describe", str(path), "--each", "-q", "first?", "-q", "second?")
    assert [(each["page"], each["question"], each["answer"]) for each in lines(ran)] == [
        (1, "first?", "a"), (1, "second?", "b"), (2, "first?", "c"), (2, "second?", "d"),
    ]  # fmt: skip


def test_pages_that_are_done_are_not_done_again(shell, tmp_path):
    path = tmp_path / "bill.pdf"
    path.write_bytes(render_pdf([typed("one"), typed("two")]))
    argv = ("describe", str(path), "--out", str(tmp_path / "out.jsonl"), "--detail", "low")
    shell.script(["a", "b"])
    assert "2 images described · 2 lost detail" in shell.run(*argv).stderr
    shell.plans.clear()
    assert "0 images described, 2 done before" in shell.run(*argv).stderr
    assert shell.plans == []


def test_problems_and_the_worst_exit_status(shell, album):
    shell.script(["one two three", "x", "y"])
    ran = shell.run("describe", str(album), "--max-tokens", "2")
    assert ran.status == ExitStatus.RESULT
    assert lines(ran)[0]["problems"] == ["the answer stopped after 2 tokens; it is not complete"]
    (album / "d.png").write_bytes(b"nothing")
    shell.script(["one two three", "x", "y"])
    assert shell.run("describe", str(album), "--max-tokens", "2").status == ExitStatus.INPUT


def test_what_does_not_fit_the_context_is_that_images_error(shell, album):
    Image.new("RGB", (3000, 3000), "red").save(album / "large.png")
    shell.engine = Looking(context_tokens=200)
    ran = shell.run("describe", str(album))
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert [each.get("answer") for each in lines(ran)] == ["red", "green", "blue", None]


def test_ctrl_c_keeps_what_is_done(shell, album, interrupting, tmp_path):
    shell.engine = interrupting(["a long answer", "another", "third"])
    out = tmp_path / "out.jsonl"
    ran = shell.run("describe", str(album), "--out", str(out))
    assert ran.status == ExitStatus.INTERRUPTED
    assert out.read_text(encoding="utf-8") == ""


def test_an_engine_that_stops_is_asked_again(shell, album):
    class Dying(Looking):
        deaths = 1

        def generate(self, request):
            if self.deaths:
                self.deaths -= 1
                raise EngineStopped("the engine stopped")
            return super().generate(request)

    shell.engine = Dying()
    ran = shell.run("describe", str(album))
    assert [each["answer"] for each in lines(ran)] == ["red", "green", "blue"]
    assert "the engine stopped; asking again" in ran.stderr.splitlines()
    shell.engine = Dying()
    shell.engine.deaths = 2
    ran = shell.run("describe", str(album))
    assert ran.status == ExitStatus.FAILED
    assert [each.get("answer") for each in lines(ran)] == [None, "green", "blue"]


def test_progress_is_told_now_and_then(shell, album):
    ticks = iter(range(0, 1000, 15))
    shell.engine = Looking()
    ran = shell.run("describe", str(album), clock=lambda: float(next(ticks)))
    assert "2 of 3, " in ran.stderr
    assert " left" in ran.stderr
    shell.engine = Looking()
    ran = shell.run("describe", str(album), terminal=True, width=100)
    assert "1 of 3" in ran.stderr


def test_files_are_read_ahead_but_not_all_of_them():
    """Two at once, and the next only when one is taken: memory does not grow with the folder."""
    begun, lock = [], threading.Lock()

    def read(source):
        with lock:
            begun.append(source.name)
        if source.name == "3":
            raise InputError("3 is bad")
        return source.name

    taken = []
    for source, content in read_ahead(read, [Source(str(number)) for number in range(20)], 2):
        assert len(begun) <= len(taken) + 3
        if source.name == "3":
            with pytest.raises(InputError):
                content()
        else:
            assert content() == source.name
        taken.append(source.name)
    assert taken == [str(number) for number in range(20)]


@pytest.mark.slow
def test_two_hundred_hostile_images(shell, tmp_path, capfd):
    """One line each, no crash, and every one has its record; no library speaks for itself."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    expected = write_all(folder)
    shell.script(["A picture."] * 400)
    ran = shell.run("describe", f"{folder}/*", "--jobs", "2")
    assert ran.status == ExitStatus.INPUT
    assert capfd.readouterr() == ("", "")
    found = {os.path.basename(each["file"]): each for each in lines(ran)}
    assert len(found) == COUNT
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == sum("error" in each for each in found.values())
    for name, outcome in expected.items():
        shown = name.replace("\n", "?").replace("\x1b", "?")
        if outcome in (ERROR, IMAGE):
            assert ("error" in found[shown]) == (outcome == ERROR), name
