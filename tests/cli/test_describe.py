"""Describe through the door: pictures in, words out, lost detail said."""

import json

import pytest
from PIL import Image

LOADED = "scripted · no device · context 8,192\n"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (4032, 3024), "red").save(path)
    return str(path)


def test_lost_detail_is_said_and_the_answer_is_alone_on_stdout(shell, photo):
    engine = shell.script(["A red wall."])
    ran = shell.run("describe", photo)
    assert (ran.stdout, ran.status) == ("A red wall.\n", 0)
    lost, loaded, _ = ran.stderr.splitlines()
    assert lost == "photo.jpg 4032x3024 -> 912x672, 266 tokens"
    assert loaded == LOADED.strip()
    (request,) = engine.requests
    assert [picture.tokens for picture in request.messages[-1].pictures] == [266]


@pytest.mark.parametrize(
    ("detail", "tokens", "batch"),
    [
        ("low", range(40, 71), 512),
        ("high", range(281, 561), 640),
        ("max", range(561, 1121), 1152),
        ("100", range(71, 101), 512),
    ],
)
def test_detail_is_a_budget_and_the_batch_holds_it(shell, photo, detail, tokens, batch):
    engine = shell.script(["A red wall."])
    assert shell.run("describe", photo, "--detail", detail).status == 0
    (picture,) = engine.requests[0].messages[-1].pictures
    assert picture.tokens in tokens
    assert shell.plans[0].batch_tokens == batch


def test_several_images_and_a_question(shell, photo, tmp_path):
    Image.new("RGB", (480, 480), "blue").save(tmp_path / "blue.png")
    engine = shell.script(["The colour."])
    ran = shell.run("describe", photo, str(tmp_path / "blue.png"), "-q", "what differs?")
    assert (ran.stdout, ran.status) == ("The colour.\n", 0)
    (message,) = engine.requests[0].messages
    assert [picture.name for picture in message.pictures] == ["photo.jpg", "blue.png"]
    assert "what differs?" in message.text


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
    assert ran.stderr == ""
