"""Describe through the command line: pictures in, words out, lost detail said."""

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from gemma_edge.errors import ExitStatus, SchemaError
from tests.documents.conftest import render_pdf, typed
from tests.scripted import ScriptedEngine


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (4032, 3024), "red").save(path)
    return str(path)


@pytest.fixture
def screen(tmp_path):
    image = Image.new("RGB", (1600, 1000), "white")
    for row in range(60):
        ImageDraw.Draw(image).text((20, 16 * row), "describe photo.jpg 4032x3024 " * 6, "black")
    image.save(tmp_path / "screen.png")
    return str(tmp_path / "screen.png")


def tokens(engine, request=-1):
    return [picture.tokens for picture in engine.requests[request].messages[-1].pictures]


def test_lost_detail_is_said_and_the_answer_is_alone_on_stdout(shell, photo):
    engine = shell.script(["A red wall."])
    ran = shell.run("describe", photo)
    assert (ran.stdout, ran.status) == ("A red wall.\n", 0)
    assert ran.stderr.splitlines()[0] == (
        "photo.jpg 4032x3024 -> 912x672, 266 tokens; --detail max would use 1,064"
    )
    assert tokens(engine) == [266]
    assert engine.requests[0].messages[-1].text == "Describe this image."


@pytest.mark.parametrize(
    ("detail", "least", "most"),
    [("low", 40, 70), ("high", 281, 560), ("max", 561, 1120), ("100", 71, 100)],
)
def test_detail_is_a_budget_and_the_batch_holds_it(shell, photo, detail, least, most):
    engine = shell.script(["A red wall."])
    assert shell.run("describe", photo, "--detail", detail).status == 0
    (count,) = tokens(engine)
    assert least <= count <= most
    assert shell.plans[0].batch_tokens >= count


def test_the_image_decides_where_nobody_does(shell, photo, screen, tmp_path):
    """A screen with small text and a page get all the detail there is; `--as ocr` always does."""
    (tmp_path / "bill.pdf").write_bytes(render_pdf([typed("Total 5.00")]))
    engine = shell.script(["x"] * 5)
    for argv in ((screen,), (str(tmp_path / "bill.pdf"),), (photo, "--as", "ocr")):
        assert shell.run("describe", *argv).status == 0
        assert 600 < tokens(engine)[0] <= 1120, argv
        assert shell.plans[-1].batch_tokens >= tokens(engine)[0]
    shell.run("describe", screen, "--detail", "normal")
    assert tokens(engine)[0] <= 280
    shell.run("describe", photo)
    assert tokens(engine)[0] <= 280


def test_frames_that_are_left_out_are_told(shell, tmp_path):
    frames = [Image.new("RGB", (480, 480), color) for color in ("red", "blue", "green")]
    path = str(tmp_path / "moving.gif")
    frames[0].save(path, save_all=True, append_images=frames[1:])
    engine = shell.script(["x", "x"])
    ran = shell.run("describe", path)
    assert ran.stderr.splitlines()[0] == (
        "moving.gif the first of 3 frames, 100 tokens; --pages 1-3 reads more"
    )
    shell.run("describe", path, "--pages", "1-3")
    assert len(tokens(engine)) == 3


def test_several_images_and_a_question(shell, photo, tmp_path):
    Image.new("RGB", (480, 480), "blue").save(tmp_path / "blue.png")
    engine = shell.script(["The colour."])
    ran = shell.run("describe", photo, str(tmp_path / "blue.png"), "-q", "what differs?")
    assert (ran.stdout, ran.status) == ("The colour.\n", 0)
    (message,) = engine.requests[0].messages
    assert [picture.name for picture in message.pictures] == ["photo.jpg", "blue.png"]
    assert message.text == "what differs?"


def test_several_questions_stand_behind_the_same_pictures(shell, photo):
    engine = shell.script(["Red.", "One."])
    ran = shell.run("describe", photo, "-q", "colour?", "-q", "how many?")
    assert (ran.stdout, ran.status) == ("Red.\nOne.\n", 0)
    assert [line for line in ran.stderr.splitlines() if line.startswith("›")] == [
        "› colour?", "› how many?",
    ]  # fmt: skip
    first, second = (request.messages[-1].pictures for request in engine.requests)
    assert first == second
    shell.script(["Red.", "One."])
    document = json.loads(shell.run("describe", photo, "-q", "a", "-q", "b", "--json").stdout)
    assert [(each["question"], each["answer"]) for each in document["answers"]] == [
        ("a", "Red."), ("b", "One."),
    ]  # fmt: skip


def test_tiles_have_a_budget_each_and_the_prompt_says_it(shell, photo):
    engine = shell.script(["A red wall."])
    ran = shell.run("describe", photo, "--tiles", "4")
    assert ran.stderr.splitlines()[0].startswith("photo.jpg 1/4 2123x1592 -> 912x672, ")
    assert len(tokens(engine)) == 4
    assert all(200 < count <= 280 for count in tokens(engine))
    text = engine.requests[0].messages[-1].text
    assert text.startswith("These are overlapping parts of one image")
    assert text.endswith("\nDescribe this image.")


def test_pages_are_chosen_and_counted(shell, tmp_path):
    path = tmp_path / "bill.pdf"
    path.write_bytes(render_pdf([typed(f"page {number}") for number in range(1, 71)]))
    engine = shell.script(["x"], context_tokens=100_000)
    ran = shell.run("describe", str(path), "--pages", "2-3,70", "--detail", "low")
    assert ran.status == 0, ran.stderr
    names = [picture.name for picture in engine.requests[0].messages[-1].pictures]
    assert names == [f"bill.pdf page {number}" for number in (2, 3, 70)]
    ran = shell.run("describe", str(path), "--detail", "low")
    assert ran.status == ExitStatus.USAGE
    assert "more than 64 images cannot be looked at together" in ran.stderr
    assert "hint: --each" in ran.stderr
    ran = shell.run("describe", *["no.png"] * 65)  # before any of them is opened
    assert "more than 64 images cannot be looked at together" in ran.stderr


def test_json_is_one_document(shell, photo):
    shell.script(["A red wall."])
    ran = shell.run("describe", photo, "--json", "--quiet")
    document = json.loads(ran.stdout)
    assert document["answer"] == "A red wall."
    assert document["images"] == [
        {"name": "photo.jpg", "width": 912, "height": 672, "tokens": 266,
         "resized": "4032x3024 -> 912x672"}
    ]  # fmt: skip
    assert document["reason"] == "end"
    assert document["problems"] == []
    assert ran.stderr == ""


def test_as_json_is_held_to_its_schema_and_checked_by_it(shell, photo):
    engine = shell.script(['{"colour": "red", "count": 1}', '{"colour": "red"}', "{"])
    argv = ("describe", photo, "--schema", "colour, count int")
    ran = shell.run(*argv)
    assert (json.loads(ran.stdout), ran.status) == ({"colour": "red", "count": 1}, 0)
    (request,) = engine.requests
    decoding = json.loads(request.constraint.schema)
    assert set(decoding["required"]) == {"colour", "count"}
    assert decoding["additionalProperties"] is False
    assert request.sampling.temperature == 0
    assert '{"colour": string, "count": integer}' in request.messages[-1].text
    ran = shell.run(*argv)
    assert ran.status == ExitStatus.RESULT
    assert "? " in ran.stderr
    assert shell.run(*argv).status == ExitStatus.RESULT


def test_as_json_without_a_schema_has_one(shell, photo):
    answer = '{"caption": "A wall.", "kind": "photo", "things": [], "people": 0, "text": ""}'
    shell.script([answer])
    ran = shell.run("describe", photo, "--as", "json")
    assert (json.loads(ran.stdout), ran.status) == (json.loads(answer), 0)


def test_tags_are_a_list_each_once(shell, photo):
    engine = shell.script(['["wall", "red", "Wall", "brick"]'] * 2)
    ran = shell.run("describe", photo, "--as", "tags")
    assert (ran.stdout, ran.status) == ("wall, red, brick\n", 0)
    assert json.loads(engine.requests[0].constraint.schema)["type"] == "array"
    document = json.loads(shell.run("describe", photo, "--as", "tags", "--json").stdout)
    assert document["answer"] == ["wall", "red", "brick"]


def test_an_answer_that_was_cut_is_told(shell, photo):
    shell.script(["one two three four"])
    ran = shell.run("describe", photo, "--max-tokens", "2")
    assert ran.status == ExitStatus.RESULT
    assert "? the answer stopped after 2 tokens; it is not complete" in ran.stderr


def test_from_a_pipe(shell, photo):
    engine = shell.script(["A red wall."])
    ran = shell.run("describe", "-", stdin=Path(photo).read_bytes())
    assert (ran.stdout, ran.status) == ("A red wall.\n", 0)
    assert ran.stderr.startswith("stdin 4032x3024 -> 912x672")
    assert engine.requests[0].messages[-1].pictures[0].name == "stdin"


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no <(command) here")
def test_from_a_pipe_by_name_which_can_be_read_once(shell):
    image = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(image, "PNG")
    reading, writing = os.pipe()
    os.write(writing, image.getvalue())
    os.close(writing)
    shell.script(["A red wall."])
    assert shell.run("describe", f"/dev/fd/{reading}").stdout == "A red wall.\n"
    os.close(reading)


def test_what_is_not_held_while_decoding_is_told(shell, photo):
    schema = json.dumps({"properties": {"a": {"format": "foo"}, "b": {"pattern": "(?=x)x"}}})
    engine = Picky(['{"a": "1", "b": "x"}'] * 2)
    for argv, begin in (((), ""), (("--each",), f"{photo}: ")):
        shell.engine = engine
        ran = shell.run("describe", photo, "--schema", schema, *argv)
        assert ran.status == 0
        lines = ran.stderr.splitlines()
        assert 'the schema\'s format "foo" is not a known one; it is not checked' in lines
        told = "a part of the schema was not enforced while decoding, only checked: no look-around"
        assert any(line.startswith(begin + told) for line in lines)


class Picky(ScriptedEngine):
    """Refuses look-around, as llguidance does."""

    def generate(self, request):
        if "(?=" in request.constraint.schema:
            raise SchemaError("no look-around")
        return super().generate(request)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no program stands between")
def test_from_the_clipboard(tmp_path):
    """A real process, and a program of the name that Pillow asks for."""
    image = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(image, "PNG")
    (tmp_path / "copied.png").write_bytes(image.getvalue())
    program = tmp_path / "xclip"
    program.write_text(f"#!/bin/sh\nexec cat {tmp_path}/copied.png\n", encoding="ascii")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    code = (
        "from gemma_edge.documents.images import read_clipboard as read\n"
        "from gemma_edge.documents.images import read_image\n"
        "print(read_image(read(), 'clipboard').getpixel((9, 9)))"
    )
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "DISPLAY": ":0"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ran.stdout.strip() == "(255, 0, 0)", ran.stderr


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        ((), "missing argument `FILE`", "gemma-edge describe --help"),
        (("x.png", "--as", "poem"), "`poem` is none of caption, alt, ocr, tags, json", ""),
        (("x.png", "--pages", "3-1"), "`3-1` does not name pages, like 3, 1-4 or 2,-1", ""),
        (("x.png", "--tiles", "3"), "`3` is neither 2 (halves) nor 4 (quarters)", ""),
        (
            ("x.png", "--as", "alt", "--schema", "a"),
            "--schema does not go with --as alt",
            "--as json",
        ),
        (("x.png", "--as", "ocr", "--lang", "de"), "--lang does not go with --as ocr", "-q"),
        (("-",), "`-` reads an image from stdin, and stdin is a terminal", "name a file"),
        (
            ("x.png", "--sidecar", "-q", "a", "-q", "b"),
            "--sidecar writes one text an image",
            "--out",
        ),
    ],
)
def test_what_cannot_be_carried_out(shell, argv, message, hint):
    ran = shell.run("describe", *argv, terminal=True, width=200)
    assert ran.status == ExitStatus.USAGE
    assert message in ran.stderr
    assert hint in ran.stderr


def test_a_wrong_image_is_told_before_a_model_is_loaded(shell, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    ran = shell.run("describe", str(tmp_path / "bad.jpg"))
    assert (ran.stdout, ran.status, shell.plans) == ("", ExitStatus.INPUT, [])
