"""The second pass for pages without text: what is asked, and what of an answer is believed."""

import json

import pytest
from PIL import Image

from gemma_edge.documents.document import Box
from gemma_edge.documents.open import open_document
from gemma_edge.extraction.evidence.evidence import Evidence, ground, locate, render_question
from tests.extract.pages import document
from tests.scripted import ScriptedEngine


@pytest.fixture
def scan(tmp_path):
    """A picture of 1000 x 500 px: one page, a scan."""
    Image.new("RGB", (1000, 500), "white").save(tmp_path / "scan.png")
    return open_document(tmp_path / "scan.png")


DATA = {"vendor": "Acme", "items": [{"qty": 2}], "note": None}


def test_the_question(scan):
    engine = ScriptedEngine(['{"1": [100, 200, 140, 400], "2": null}'])
    located = locate(engine, scan, ground(scan, DATA))
    (request,) = engine.requests
    (message,) = request.messages
    assert message.text == (
        "Where on this page does each of these values stand? Answer in JSON: for each number its "
        "box [y0, x0, y1, x1] in thousandths of the height and the width of the page, counted "
        "from the top left corner; null where this page does not show the value.\n\n"
        "1: vendor: Acme\n2: items.1.qty: 2"
    )
    (picture,) = message.pictures
    assert picture.tokens <= 1120
    schema = json.loads(request.constraint.schema)
    assert schema["required"] == ["1", "2"]
    assert request.sampling.temperature == 0.0
    vendor, quantity = located
    assert (vendor.source, vendor.status, vendor.page) == ("located", "not_found", 1)
    assert vendor.boxes == (Box(200, 50, 400, 70),)
    assert not vendor.found
    assert (quantity.source, quantity.page, quantity.boxes) == ("text", None, ())


@pytest.mark.parametrize(
    "answer",
    [
        "", "null", "[]", '{"1": 5}', '{"1": [1, 2, 3]}', '{"1": [5, 5, 5, 9]}',
        '{"1": [10, 9, 20, 3]}', '{"1": [0, 0, 1000, 1000]}', '{"1": [-5, 0, 10, 10]}',
        '{"1": [0, 0, 1001, 2]}', '{"1": [0.5, 0, 9.5, 10]}', '{"1": [1, 2, 3, 4',
        '{"0": [1, 2, 3, 4]}',
        '{"7": [1, 2, 3, 4]}', '{"x": [1, 2, 3, 4]}',
    ],
)  # fmt: skip
def test_what_is_no_box_is_not_believed(scan, answer):
    before = ground(scan, {"vendor": "Acme"})
    assert locate(ScriptedEngine([answer]), scan, before) == before


def test_many_values_are_asked_in_parts(scan):
    data = {f"f{number}": f"value {number}" for number in range(30)}
    engine = ScriptedEngine(['{"1": [1, 2, 3, 4]}', '{"6": [1, 2, 3, 4]}'])
    located = locate(engine, scan, ground(scan, data))
    assert [len(json.loads(r.constraint.schema)["required"]) for r in engine.requests] == [24, 6]
    assert [at for at, each in enumerate(located) if each.source == "located"] == [0, 29]


def test_what_was_seen_is_not_asked_on_the_next_page(tmp_path):
    first, second = (Image.new("RGB", (300, 400), color) for color in ("white", "gray"))
    first.save(tmp_path / "two.tiff", save_all=True, append_images=[second])
    scan = open_document(tmp_path / "two.tiff")
    engine = ScriptedEngine(['{"1": [0, 0, 9, 9], "2": null}', '{"1": [100, 100, 200, 200]}'])
    a, b = locate(engine, scan, ground(scan, {"a": "x1", "b": "x2"}))
    assert "a: x1" not in engine.requests[1].messages[0].text
    assert (a.page, b.page) == (1, 2)


def test_nothing_is_asked_of_text_or_of_a_model_without_eyes(scan):
    found = ground(document("Acme", media="text"), {"v": "Beta"})
    assert locate(ScriptedEngine(), document("Acme", media="text"), found) == found
    assert locate(ScriptedEngine(), document("Acme"), found) == found
    before = ground(scan, DATA)
    assert locate(ScriptedEngine(vision=False), scan, before) == before


def test_a_long_value_is_cut_in_the_question():
    text = render_question([Evidence(path=("a",), value="word \n" * 100)])
    assert text.split("\n\n")[1] == ("1: a: " + "word " * 16).strip()
