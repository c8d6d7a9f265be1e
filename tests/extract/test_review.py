"""The review page: one file that loads and runs nothing but itself, whatever the document says."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from random import Random

import pytest
from bs4 import BeautifulSoup
from demo_model import places

from gemma_edge.documents.document import Document, Page
from gemma_edge.documents.open import open_document
from gemma_edge.extraction.evidence.evidence import Evidence, ground
from gemma_edge.extraction.review import (
    MAX_PAGES,
    draw_pages,
    render_review,
    shown_pages,
    view_review,
)
from tests.extract.pages import document

PNG = b"\x89PNG\r\n\x1a\n and so on"
HOSTILE = [
    "</script><script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'; alert(1); '",
    "<!-- ", "]]>", "{{ 7 * 7 }} {% raw %}", "</style><style>*{display:none}", "a\x00b\x1b[31m",
    "abc\u202etxt.exe", "half \ud83d", "</pre></mark></svg>", "&lt;b&gt; &amp;",
    "javascript:alert(1)", "\u2028\u2029",
]  # fmt: skip


def soup(bill, data, images=None, **more):
    found = ground(bill, data)
    return BeautifulSoup(render_review(bill, data, found, images or {}, **more), "html.parser")


def test_a_field_and_its_boxes_have_one_number():
    bill = document("Acme Corp\nTotal 5.50")
    page = soup(
        bill, {"vendor": "Acme Corp", "total": 5.5, "iban": "DE00", "due": None, "of": []}, {1: PNG}
    )
    fields = {each["id"]: each for each in page.select(".field")}
    texts = {key: each.select_one(".value").text for key, each in fields.items()}
    assert texts == {
        "leaf-1": "Acme Corp",
        "leaf-2": "5.5",
        "leaf-3": "DE00",
        "leaf-4": "null",
        "leaf-5": "[]",
    }
    vendor, total = sorted(page.select("rect.box"), key=lambda box: box["data-leaf"])
    assert (vendor["data-leaf"], total["data-leaf"]) == ("1", "2")
    assert (vendor["x"], vendor["y"], vendor["width"], vendor["height"]) == (
        "-1.5", "-1.5", "57.0", "15.0",
    )  # fmt: skip
    assert page.select_one("svg")["viewbox"] == "0 0 600.0 800.0"
    assert (
        page.select_one("img")["src"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    )
    assert fields["leaf-2"].select_one(".detail").text == ""
    assert page.select_one(".summary").text == "2 of 3 values found in the document · 1 to check"


def test_how_it_is_printed_and_how_sure_the_model_was():
    bill = document("Due 17. August 2007")
    (found,) = ground(bill, {"due": "2007-08-17"})
    page = BeautifulSoup(
        render_review(bill, {"due": "2007-08-17"}, [replace(found, confidence=0.61)], {}),
        "html.parser",
    )
    assert page.select_one(".detail").text == "printed “17. August 2007” · score 0.61"
    assert page.select_one(".badge").text == "✓ other form p. 1"
    nothing = soup(bill, {"due": None})
    assert nothing.select_one(".summary").text == "no value was read"


def test_what_is_to_check_comes_first():
    bill = document("Acme Corp  Rossi, I. & Schmidt, H.")
    data = {"vendor": "Acme Corp", "authors": "Rossi, I., Schmidt, H.", "gone": "R-17"}
    found = ground(bill, data)
    sure = [Evidence(path=("late",), value="Acme Corp", status="exact", page=1, confidence=0.3)]
    html = render_review(bill, {**data, "late": "Acme Corp"}, [*found, *sure], {1: PNG})
    page = BeautifulSoup(html, "html.parser")
    names = [each.select_one(".name").text.strip() for each in page.select(".field")]
    assert names == ["authors", "gone", "late", "vendor"]
    assert [
        each.select_one(".name").text.strip() for each in page.select(".check .field")
    ] == names[:3]


def test_a_record_is_a_group_that_counts_from_one():
    bill = document("Ann 3 Rome\nBob 4 Oslo")
    people = [{"name": "Ann", "home": {"city": "Rome"}}, {"name": "Bob", "home": {"city": "Oslo"}}]
    page = soup(bill, {"people": people})
    assert [each.text for each in page.select(".part h2")] == ["people › 1", "people › 2"]
    assert [each.text.strip() for each in page.select(".name")] == ["name", "home › city"] * 2


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_document_becomes_markup(text):
    bill = Document(
        f"dir/{text}.pdf", (Page(1, f"x {text} y", width=9.0, height=9.0),), media="pdf"
    )
    data = {text: text, "list": [{text: text}]}
    found = ground(bill, data)
    known = render_review(document("x"), {"a": "x"}, ground(document("x"), {"a": "x"}), {1: PNG})
    for images in ({}, {1: PNG}):
        html = render_review(
            bill, data, found, images, problems=[text], notes=[text], computed={text: text}
        )
        html.encode("utf-8")
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", html)
        page = BeautifulSoup(html, "html.parser")
        assert len(page.select("script")) == len(page.select("style")) == 1
        assert {each.name for each in page.find_all()} <= {
            each.name for each in BeautifulSoup(known, "html.parser").find_all()
        } | {"pre", "mark", "div", "ul", "li"}
        assert not page.select("[onerror], [onclick], a, iframe, link, object, [style]")
        for each in page.select("[src]"):
            assert each["src"].startswith("data:image/png;base64,")


def test_the_policy_lets_only_this_page_run_and_load_nothing():
    html = render_review(document("x"), {"a": "x"}, (), {})
    page = BeautifulSoup(html, "html.parser")
    policy = page.select_one("meta[http-equiv=Content-Security-Policy]")["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for kind in ("script", "style"):
        text = page.select_one(kind).string
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp|eval\(", text)
    assert "http" not in html.replace("http-equiv", "")


def test_it_can_be_used_without_a_mouse_and_read_aloud():
    page = soup(document("Acme"), {"vendor": "Acme"}, {1: PNG})
    assert page.html["lang"] == "en"
    assert all(each.name == "button" for each in page.select(".field"))
    assert page.select_one("img")["alt"] == "Page 1"
    assert page.select_one("#filter")["aria-label"]
    assert page.select_one("[role=status]") and page.select_one("[role=search]")
    for each in page.select(".field"):
        assert page.find(id=each["aria-describedby"])
    ids = [each["id"] for each in page.select("[id]")]
    assert len(ids) == len(set(ids))


def test_a_document_of_text_is_shown_with_its_marks():
    bill = Document("a.txt", (Page(1, "Acme Corp, Rome <b>"),))
    page = soup(bill, {"vendor": "Acme Corp", "short": "Acme Corp, Rome"})
    assert page.select_one("pre").text == "Acme Corp, Rome <b>"
    marks = [(each.text, each["data-leaf"]) for each in page.select("mark")]
    assert marks == [("Acme Corp", "1 2"), (", Rome", "2")]


def test_values_in_one_place_share_a_box():
    bill = document("Ann Bee, Cid Dee, AT&T Laboratories")
    data = [{"name": name, "at": "AT&T Laboratories"} for name in ("Ann Bee", "Cid Dee")]
    boxes = [each["data-leaf"] for each in soup(bill, data, {1: PNG}).select("rect")]
    assert sorted(boxes) == ["1", "2 4", "3"]


def test_a_review_is_plain_data_for_other_pages_than_ours():
    bill = document("Acme Corp\nTotal 5.50")
    data = {"vendor": "Acme Corp", "items": [{"price": 5.5}], "late": "a\u202eb", "of": None}
    drawn = view_review(bill, data, ground(bill, data), {1: PNG}).as_document()
    assert json.loads(json.dumps(drawn)) == drawn
    assert [each["path"] for each in drawn["fields"]] == [
        ["vendor"], ["items", 0, "price"], ["late"], ["of"],
    ]  # fmt: skip
    assert (drawn["found"], drawn["claimed"]) == (2, 3)
    assert drawn["fields"][2]["value"] == "a\ufffdb"
    (page,) = drawn["pages"]
    assert sorted(box["leaves"] for box in page["boxes"]) == ["1", "2"]
    assert page["image"].startswith("data:image/png;base64,")


def test_what_code_computed_is_no_value_to_look_for():
    bill = document("Total 5.50")
    data = {"total": 5.5, "sum": 5.5, "vat": 1.0}
    found = ground(bill, {"total": 5.5, "sum": 5.5})  # a field of the schema may be computed, too
    page = BeautifulSoup(
        render_review(bill, data, found, {}, computed={"sum": 5.5, "vat": 1.0}), "html.parser"
    )
    assert [each.text for each in page.select(".field .name")] == ["total", "sum"]
    assert [each.text for each in page.select("dt")][:2] == ["sum", "vat"]
    assert page.select_one(".summary strong").text == "2 of 2"


def test_of_many_pages_those_with_values_are_shown():
    bill = document(*(f"page {number} holds R-{number}" for number in range(30)))
    data = {"a": "R-7", "b": "R-21"}
    found = ground(bill, data)
    assert shown_pages(bill, found) == [8, 22]
    page = BeautifulSoup(render_review(bill, data, found, {8: PNG}), "html.parser")
    assert [each.text for each in page.select("figcaption")] == ["page 8", "page 22"]
    assert page.select_one(".missing").text == (
        "2 of 30 pages are shown, those with values on them; 1 of them as text: "
        "they cannot be drawn, or would make this file too large."
    )
    assert page.select_one("pre").text == "page 21 holds R-21"


def test_pages_are_drawn_once_and_boundedly(tmp_path):
    drawn = places.invoice(Random(3))
    drawn.write(tmp_path / "a.pdf")
    bill = open_document(tmp_path / "a.pdf")
    seen = []
    images = draw_pages(
        bill, ground(bill, drawn.data), width_px=200, on_page=lambda *done: seen.append(done)
    )
    assert list(images) == [page.number for page in bill.pages]
    assert all(image.startswith((b"RIFF", b"\xff\xd8", b"\x89PNG")) for image in images.values())
    html = render_review(bill, drawn.data, ground(bill, drawn.data), images)
    assert html.count('<img src="data:image/') == len(bill.pages)
    assert seen == [(number, len(bill.pages)) for number in range(len(bill.pages))]
    assert draw_pages(Document("a.txt", (Page(1, "x"),)), ()) == {}
    assert MAX_PAGES <= 100


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; the structure is tested above")
def test_a_browser_lights_the_field_and_its_box(tmp_path):
    bill = document("Acme Corp\nTotal 5.50")
    data = {"vendor": "Acme Corp", "total": 5.5}
    path = tmp_path / "review.html"
    path.write_text(render_review(bill, data, ground(bill, data), {1: PNG}), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", f"{path.as_uri()}#leaf-2"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    page = BeautifulSoup(done.stdout, "html.parser")
    assert [each.get("id") or each["data-leaf"] for each in page.select(".lit")] == ["2", "leaf-2"]
