"""``--remember``: what was read of an image serves the next run, and nothing is kept without it."""

import json
from pathlib import Path
from random import Random

import pytest
from demo_model import shapes

from gemma_edge.app.runtime import load_engine

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
    assert "delete it to forget" in first.stderr
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
    assert "the images are read again: " in ran.stderr
    assert "damaged" in ran.stderr
    assert usage(ask(shell, pictures[0], "--remember", "--json"))["evaluated_tokens"] < 40
