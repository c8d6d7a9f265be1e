"""``--remember``: what was read of an image serves the next run, and nothing is kept without it."""

import errno
import json
import os
from pathlib import Path
from random import Random

import pytest
from demo_model import shapes

from gemma_edge.app.runtime import load_engine
from gemma_edge.units import render_bytes

DEMO = ("--model", "demo", "--threads", "1", "--temperature", "0")


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[str, str]:
    for name in ("one.png", "two.png"):
        rng = Random(f"remember/{name}")
        shapes.draw(rng, shapes.scene(rng, 640, 480)).save(tmp_path / name)
    return str(tmp_path / "one.png"), str(tmp_path / "two.png")


def ask(shell, *argv: str, **world):
    return shell.run("describe", *argv, *DEMO, model=False, load=load_engine, **world)


def usage(ran) -> dict:
    return json.loads(ran.stdout)["usage"]


def seen(shell) -> list[Path]:
    return sorted(path for path in shell.home.glob("**/seen/**/*") if path.is_file())


def test_without_it_nothing_is_kept(shell, pictures):
    ran = ask(shell, pictures[0], "--json")
    assert (usage(ran)["encoded_pictures"], seen(shell)) == (1, [])


def test_the_next_run_reads_only_its_own_question(shell, pictures):
    first = ask(shell, *pictures, "--remember", "--json", "-q", "Describe the images.")
    assert usage(first)["encoded_pictures"] == 2
    assert "gemma-edge sessions forget deletes it" in first.stderr
    kept = seen(shell)
    assert [path.suffix for path in kept] == [".seen", ".seen", ".kv"]
    again = ask(shell, *pictures, "--remember", "--json", "-q", "What is in the first image?")
    tokens = sum(image["tokens"] for image in json.loads(again.stdout)["images"])
    assert usage(again)["encoded_pictures"] == 0
    assert usage(again)["cached_tokens"] > tokens
    assert usage(again)["evaluated_tokens"] < 40
    assert seen(shell) == kept
    fresh = ask(shell, *pictures, "--json", "-q", "What is in the first image?")
    assert json.loads(again.stdout)["answer"] == json.loads(fresh.stdout)["answer"]


def test_other_pictures_are_never_taken_for_these(shell, pictures):
    """The other order reads the prompt again, from what the encoder has made of each."""
    on = {"environment": {"GEMMA_EDGE_REMEMBER": "1"}}
    question = ("-q", "What is in the first image?", "--json")
    answers = []
    for files in (pictures, pictures[::-1]):
        fresh = json.loads(ask(shell, *files, *question).stdout)["answer"]
        ran = ask(shell, *files, *question, **on)
        assert json.loads(ran.stdout)["answer"] == fresh
        answers.append(usage(ran)["encoded_pictures"])
    assert answers == [2, 0]
    assert [path.suffix for path in seen(shell)].count(".kv") == 2


def test_a_damaged_file_is_read_again_and_said(shell, pictures):
    ask(shell, pictures[0], "--remember")
    encoded, read = seen(shell)
    for path in (encoded, read):
        path.write_bytes(path.read_bytes()[:-1])
    ran = ask(shell, pictures[0], "--remember", "--json")
    assert usage(ran)["encoded_pictures"] == 1
    assert "it is read again: " in ran.stderr
    assert "damaged" in ran.stderr
    assert usage(ask(shell, pictures[0], "--remember", "--json"))["evaluated_tokens"] < 40


LETTER = "\n".join(f"Box {number} is red, box {number + 1} is blue." for number in range(120))


@pytest.fixture
def letter(tmp_path: Path) -> str:
    path = tmp_path / "letter.txt"
    path.write_text(LETTER, "utf-8")
    return str(path)


def extract(shell, *argv: str, **world):
    flags = ("--model", "demo", "--threads", "1")
    return shell.run("extract", *argv, *flags, model=False, load=load_engine, **world)


def kept(shell) -> list[str]:
    return [path.suffix for path in seen(shell)]


def test_another_schema_of_the_same_document_reads_its_question_alone(shell, letter):
    first = extract(shell, letter, "-s", "color", "--remember")
    assert first.status == 0 and kept(shell) == [".kv"]
    assert "gemma-edge sessions forget deletes it" in first.stderr
    on = {"environment": {"GEMMA_EDGE_REMEMBER": "1"}}
    again = extract(shell, letter, "-s", "box, color", **on)
    alone = extract(shell, letter, "-s", "box, color")
    assert again.stdout == alone.stdout
    assert " s saved" in again.stderr and " s saved" not in alone.stderr + first.stderr
    assert kept(shell) == [".kv"]


def test_of_many_documents_none_is_kept(shell, letter, tmp_path):
    (tmp_path / "other.txt").write_text(f"Yes.\n{LETTER}", "utf-8")
    other = str(tmp_path / "other.txt")
    ran = extract(shell, letter, other, "-s", "color", "--remember")
    assert ran.status == 0 and kept(shell) == []
    assert "--remember: of many documents none is added" in ran.stderr


def test_a_question_about_a_file(shell, letter):
    def ask_about(*argv: str, **world):
        return shell.run("chat", "-f", letter, *argv, *DEMO, model=False, load=load_engine, **world)

    on = {"environment": {"GEMMA_EDGE_REMEMBER": "1"}}
    for private in ({}, on):
        assert ask_about("--private", "what color is box 3?", **private).status == 0
        assert kept(shell) == []
    refused = ask_about("--private", "--remember", "what color is box 3?")
    assert refused.status == 2 and "private" in refused.stderr
    ask_about("--remember", "what color is box 3?")
    assert kept(shell) == [".kv"]
    again = ask_about("which box is the last?", "--json", **on)
    *_, finished = map(json.loads, again.stdout.splitlines())
    assert finished["usage"]["restored_tokens"] > 1000
    assert kept(shell) == [".kv"]


def test_a_size_is_the_cap(shell, letter):
    extract(shell, letter, "-s", "color", environment={"GEMMA_EDGE_REMEMBER": "1KiB"})
    assert kept(shell) == []
    ran = extract(shell, letter, "-s", "color", environment={"GEMMA_EDGE_REMEMBER": "1GiB"})
    assert kept(shell) == [".kv"]
    assert "of at most 1.0 GiB" in ran.stderr and "with earlier ones" not in ran.stderr


def test_what_all_of_it_takes_is_said(shell, letter):
    extract(shell, letter, "-s", "color", "--remember")
    first = sum(path.stat().st_size for path in seen(shell))
    Path(letter).write_text(f"Yes.\n{LETTER}", "utf-8")
    ran = extract(shell, letter, "-s", "color", "--remember")
    every = sum(path.stat().st_size for path in seen(shell))
    assert every > first and len(seen(shell)) == 2
    assert f"{render_bytes(every - first)}, {render_bytes(every)} with earlier ones" in ran.stderr


@pytest.mark.parametrize("said", ["please", "100%", "-1", "8 apples"])
def test_a_variable_that_says_nothing_is_refused(shell, letter, said):
    ran = extract(shell, letter, "-s", "color", environment={"GEMMA_EDGE_REMEMBER": said})
    assert ran.status == 2 and ran.stdout == ""
    assert f"GEMMA_EDGE_REMEMBER is `{said}`, which is not a size" in ran.stderr


@pytest.mark.parametrize("said", ["yes", "ON", " true ", "1", "4", "4GiB"])
def test_a_variable_that_says_yes(shell, said):
    ran = shell.run("sessions", model=False, environment={"GEMMA_EDGE_REMEMBER": said})
    assert ran.status == 0


def test_an_empty_file_is_damaged(shell, letter):
    extract(shell, letter, "-s", "color", "--remember")
    (path,) = seen(shell)
    path.write_bytes(b"")
    ran = extract(shell, letter, "-s", "color", "--remember")
    assert ran.status == 0 and f"it is read again: {path.name} is damaged" in ran.stderr
    assert path.stat().st_size > 0


def test_what_cannot_be_forgotten_is_said_with_the_reason(shell, letter, monkeypatch):
    extract(shell, letter, "-s", "color", "--remember")

    def refuse(path, missing_ok=False):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    ran = shell.run("sessions", "forget", model=False)
    assert ran.status == 3 and len(seen(shell)) == 1
    assert f"cannot be deleted: {os.strerror(errno.EROFS)}" in ran.stderr
    assert "nothing was remembered" not in ran.stderr


def test_what_is_remembered_is_listed_and_forgotten(shell, letter, pictures):
    def sessions(*argv: str):
        return shell.run("sessions", *argv, model=False)

    assert "remembered" not in sessions().stderr
    assert "nothing was remembered" in sessions("forget").stderr
    extract(shell, letter, "-s", "color", "--remember")
    ask(shell, pictures[0], "--remember")
    size = sum(path.stat().st_size for path in seen(shell))
    assert json.loads(sessions("--json").stdout)["remembered"] == {"files": 3, "size_bytes": size}
    assert "remembered of images and documents: 3 files" in sessions().stderr
    assert "forgotten: 3 files" in sessions("forget").stderr
    assert seen(shell) == []
