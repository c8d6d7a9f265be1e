"""The page in a real browser, with the real server and the bundled model."""

import csv
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.documents.pdf_files import locked_pdf
from tests.serve.browser import PATIENCE, WHY_NOT, Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

ROOT = Path(__file__).parents[2]
BILL, SHAPES = ROOT / "examples" / "invoice.pdf", ROOT / "examples" / "shapes.png"
IDLE = "!document.querySelector('#send').hidden"
LAST = ".answer:last-child"
CHAT = "*/v1/chat/completions"


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[str]:
    """The address of a server with the bundled model."""
    command = [sys.executable, "-m", "gemma_edge", "serve", "--model", "demo", "--port", "0"]
    environment = {**os.environ, "GEMMA_EDGE_DATA_DIR": str(folder), "HOME": str(folder)}
    with subprocess.Popen(
        [*command, *flags], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("serve")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    opened = Browser()
    yield opened
    opened.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page when it knows what answers; nothing may have gone wrong in it, and nothing may have
    been asked of anybody else."""
    opened = open_page(browser, url)
    yield opened
    browser.listen()
    assert opened.troubles == []
    assert [each for each in opened.requested if not is_own(each, url)] == []
    opened.close()


def open_page(browser: Browser, url: str, view: str = "", **look: Any) -> Page:
    opened = browser.open(f"{url}/{view}", **look)
    opened.until("document.querySelector('#dot').className === 'dot on'")
    opened.intercept(CHAT, lambda _url, body: {**body, "temperature": 0})  # the same each time
    return opened


def is_own(address: str, url: str) -> bool:
    return address.startswith((f"{url}/", "data:", f"blob:{url}/"))


def ask(page: Page, text: str) -> None:
    page.click("#words")
    page.write(text)
    page.press("Enter")


def wait_for_answer(page: Page) -> str:
    page.until(f"document.querySelector('{LAST} .actions button') && {IDLE}")
    assert page.value(f"!document.querySelector('{LAST} .trouble')"), page.text(LAST)
    return page.text(f"{LAST} > .prose")


def ask_server(url: str, path: str) -> Any:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    connection.request("GET", path)
    found = json.loads(connection.getresponse().read())
    connection.close()
    return found


def wait_until_idle(url: str) -> None:
    """Until the server works for nobody any more."""
    deadline = time.monotonic() + PATIENCE
    while ask_server(url, "/v1/status")["queue"]["active"]:
        assert time.monotonic() < deadline, "the server still answers somebody who left"
        time.sleep(0.05)


# Chat.


def test_a_chat_with_a_picture(page: Page) -> None:
    page.choose_files("#files", SHAPES)
    page.until("document.querySelector('.chip img')?.naturalWidth === 640")
    ask(page, "What is in this picture?")
    assert wait_for_answer(page) == "A red circle on the left and a blue square on the right."
    assert page.value("document.querySelector('.question .pictures img').alt") == "shapes.png"
    assert page.value("document.querySelector('#chips').children.length") == 0
    used, room = page.text("#meter-text").split(" of ")
    assert 130 < int(used) < 400
    assert room == "8,192"
    assert "tok/s" in page.text(f"{LAST} .actions")
    ask(page, "Hello")  # the picture stays in the conversation
    assert wait_for_answer(page)
    assert int(page.text("#meter-text").split(" of ")[0]) > int(used)


def test_a_picture_can_be_dropped_and_taken_away(page: Page) -> None:
    page.drop(SHAPES, "image/png")
    page.until("document.querySelector('.chip img')")
    page.click(".chip button")
    page.until("!document.querySelector('.chip')")
    assert page.value("document.querySelector('#send').disabled")
    page.drop(BILL, "application/pdf")
    page.until("document.querySelector('.composer .trouble')")
    page.click(".composer .trouble button")  # a document is read in the other view
    page.until("location.hash === '#documents' && document.querySelector('.review')")


def test_text_of_a_model_is_never_markup(page: Page) -> None:
    text = "<img src=x onerror=alert(1)>"
    ask(page, f"Repeat: {text}")
    assert wait_for_answer(page) == text
    assert page.value(f"document.querySelectorAll('{LAST} > .prose img').length") == 0
    page._browser.listen()
    assert page.dialogs == []
    assert not any(each.endswith("/x") for each in page.requested)


def test_instructions_and_a_text_go_along(browser: Browser, url: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("one <two>\nthree", encoding="utf-8")
    sent = []

    def keep(_url: str, body: Any) -> Any:
        sent.append(body["messages"])
        return {**body, "temperature": 0}

    opened = open_page(browser, url)
    opened.intercept(CHAT, keep)
    opened.click("#tune")
    opened.write("Your name is Ada.")
    opened.click("#tune-form button[type=submit]")
    opened.choose_files("#files", notes, SHAPES)
    opened.until("document.querySelectorAll('.chip').length === 2")
    ask(opened, "Hello")
    wait_for_answer(opened)
    ask(opened, "Again")
    wait_for_answer(opened)
    opened.close()
    (system, question), again = sent
    assert system == {"role": "system", "content": "Your name is Ada."}
    text, picture, words = question["content"]
    assert text == {"type": "text", "text": "notes.txt:\n\none <two>\nthree"}
    assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert words == {"type": "text", "text": "Hello"}
    assert again[:2] == [system, question]
    assert [each["role"] for each in again[2:]] == ["assistant", "user"]


def test_thoughts_are_folded(page: Page) -> None:
    page.value("document.querySelector('#thinking').value = 'low'")
    ask(page, "Hello, my name is Tavi.")
    assert "Tavi" in wait_for_answer(page)
    assert page.text(f"{LAST} summary").startswith("thought for ")
    assert page.text(f"{LAST} .thoughts > div") == ""
    page.click(f"{LAST} summary")
    page.until(f"document.querySelector('{LAST} .thoughts > div').innerText.length > 10")


def lengthen(_url: str, body: Any) -> Any:
    """The same question with an answer of thousands of tokens."""
    names = [f"part_{number}" for number in range(80)]
    texts = dict.fromkeys(names, {"type": "string", "minLength": 40})
    schema = {"type": "object", "properties": texts, "required": names}
    form = {"type": "json_schema", "json_schema": {"name": "long", "schema": schema}}
    return {**body, "response_format": form, "temperature": 0}


@pytest.mark.parametrize("how", ["click", "key"])
def test_stop(page: Page, url: str, how: str) -> None:
    page.intercept(CHAT, lengthen)
    ask(page, "Count.")
    page.until(f"document.querySelector('{LAST} > .prose').innerText.length > 5")
    if how == "click":
        page.click("#stop")
    else:
        page.press("Escape")
    page.until(f"{IDLE} && document.querySelector('{LAST} > div > .fine')")
    assert page.text(f"{LAST} > div > .fine") == "stopped"
    assert page.text(f"{LAST} > .prose").startswith("{")  # what was there stays
    wait_until_idle(url)


def test_answer_again_and_change_a_message(page: Page) -> None:
    ask(page, "Repeat: violet 42")
    first = wait_for_answer(page)
    page.click(f'{LAST} button[aria-label="Answer again"]')
    page.until(f"document.querySelector('{LAST} .branches')?.innerText.includes('2 of 2')")
    wait_for_answer(page)
    page.click(f'{LAST} button[aria-label="Earlier version"]')
    assert page.text(f"{LAST} > .prose") == first
    page.press("Tab")
    page.click("#words")
    page.press("ArrowUp")
    page.until("document.querySelector('.editing textarea') === document.activeElement")
    page.value("document.activeElement.select()")
    page.write("Repeat: green 7")
    page.press("Enter")
    assert "green" in wait_for_answer(page)
    assert page.text(".question .bubble") == "Repeat: green 7"
    page.click('.question button[aria-label="Earlier version"]')
    assert page.text(".question .bubble") == "Repeat: violet 42"
    assert page.text(f"{LAST} > .prose") == first


def test_an_error_is_one_line_with_a_way_out(browser: Browser, url: str) -> None:
    opened = open_page(browser, url)
    busy = {"error": {"message": "8 requests wait", "hint": "later", "code": "overloaded"}}
    refusals = [{"status": 503, "headers": {"Retry-After": "7"}, "body": json.dumps(busy)}]
    again = {"temperature": 0}
    opened.intercept(CHAT, lambda _, body: refusals.pop() if refusals else {**body, **again})
    ask(opened, "Repeat: yellow")
    opened.until("document.querySelector('.trouble')")
    said = opened.text(".trouble span")
    assert said == "8 requests wait · later · free again in about 7 seconds"
    opened.click(".trouble button")
    assert "yellow" in wait_for_answer(opened)
    assert opened.value("document.querySelectorAll('.trouble').length") == 0
    opened.close()


STREAM = """import("/page/api.js").then(async ({events}) => {
  const bytes = new TextEncoder().encode(TEXT);
  const body = new ReadableStream({start(controller) {
    for (let at = 0; at < bytes.length; at += SIZE) controller.enqueue(bytes.slice(at, at + SIZE));
    controller.close();
  }});
  const found = [];
  try {
    for await (const {text} of events(new Response(body))) found.push(text.length, text[0]);
  } catch (error) {
    found.push(error.message, error.hint);
  }
  return found;
})"""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_comes_in_pieces_of_any_size(page: Page, ends: str, size: int) -> None:
    long = "é" * 3000
    error = {"error": {"message": "the engine stopped", "hint": "ask again"}}
    lines = [": waiting", "", 'data: {"text": "a"}', "", f'data: {{"text": "{long}"}}', ""]
    lines += [f"data: {json.dumps(error)}", "", 'data: {"text": "never"}', "", ""]
    script = STREAM.replace("TEXT", json.dumps(ends.join(lines))).replace("SIZE", str(size))
    assert page.value(script) == [1, "a", 3000, "é", "the engine stopped", "ask again"]


def test_what_was_not_answered_is_not_asked_again(browser: Browser, url: str) -> None:
    opened = open_page(browser, url)
    sent = []

    def keep(_url: str, body: Any) -> Any:
        sent.append([each["content"] for each in body["messages"]])
        if len(sent) == 2:
            return {"status": 503, "body": json.dumps({"error": {"message": "not now"}})}
        return {**body, "temperature": 0}

    opened.intercept(CHAT, keep)
    ask(opened, "Repeat: red")
    first = wait_for_answer(opened)
    ask(opened, "Repeat: blue")
    opened.until("document.querySelector('.trouble')")
    ask(opened, "Repeat: green")
    wait_for_answer(opened)
    assert sent[1:] == [["Repeat: red", first, f"Repeat: {word}"] for word in ("blue", "green")]
    opened.close()


def test_a_conversation_that_is_too_long_says_so(browser: Browser, url: str) -> None:
    opened = open_page(browser, url)
    ask(opened, "word " * 9000)
    opened.until("document.querySelector('.trouble')")
    assert "8,192" in opened.text(".trouble")
    opened.close()


def test_a_server_that_is_gone(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path) as found:
        opened = open_page(browser, found)
        ask(opened, "Hello")
        kept = wait_for_answer(opened)
    ask(opened, "Hello")
    opened.until("document.querySelector('.trouble')")
    assert "the server does not answer" in opened.text(".trouble")
    assert kept in opened.text(".prose")
    assert opened.value("document.querySelector('#dot').className") == "dot off"
    opened.until("!document.querySelector('#banner').hidden")  # it asks again, by itself
    opened.close()


def test_a_key_is_asked_for_and_kept_for_the_tab(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, "--api-key", "a-long-secret") as found:
        opened = browser.open(f"{found}/")
        opened.until("document.querySelector('#key-dialog').open")
        opened.write("wrong-one")
        opened.press("Enter")
        opened.until("document.querySelector('#key-title').innerText === 'That is not its key'")
        opened.until("document.querySelector('#key-dialog').open")
        opened.write("a-long-secret")
        opened.press("Enter")
        opened.until("document.querySelector('#dot').className === 'dot on'")
        opened.go(f"{found}/#machine")
        opened.until("document.querySelector('.ledger')")
        assert opened.value("localStorage.length") == 0
        assert opened.value("Object.values(sessionStorage)") == ["a-long-secret"]
        assert "a-long-secret" not in opened.value("document.documentElement.outerHTML")
        opened.close()


def test_a_chat_is_saved_only_on_request(page: Page, tmp_path: Path) -> None:
    page.save_into(tmp_path)
    ask(page, "Repeat: silver")
    answer = wait_for_answer(page)
    assert page.value("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    page.click("#chat-save")
    saved = wait_for_file(tmp_path, "*.md")
    assert saved == f"## You\n\nRepeat: silver\n\n## bundled demo model\n\n{answer}\n"
    page.click("#chat-new")
    page.until("document.querySelector('#thread').children.length === 0")
    assert page.value("!document.querySelector('#welcome').hidden")


def wait_for_file(folder: Path, pattern: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while not (found := list(folder.glob(pattern))):
        assert time.monotonic() < deadline, f"no {pattern}: {list(folder.iterdir())}"
        time.sleep(0.05)
    return found[0].read_bytes().decode("utf-8")


# Documents.


def read(page: Page, *paths: Path) -> None:
    page.go(page.value("location.origin") + "/#documents")
    page.until("document.querySelector('#recipe').options.length > 5")
    page.choose_files("#papers", *paths)
    page.until("document.querySelector('.review')")


def test_a_document_with_its_evidence(page: Page, tmp_path: Path) -> None:
    page.save_into(tmp_path)
    read(page, BILL)
    summary = page.text(".summary")
    assert summary == "19 of 21 values found in the document · 6 of 6 checks hold · 2 to check"
    assert page.text(".values dl").split("\n") == [
        "items sum", "225.6", "tax sum", "45.12", "net days", "30",
    ]  # fmt: skip
    assert page.text(".result-head select option:checked") == "invoice"
    fields = "[...document.querySelectorAll('.field')]"
    field = f"{fields}.find((each) => each.innerText.includes('VG-20418'))"
    assert "exact p. 1" in page.value(f"{field}.innerText")
    assert page.value("document.querySelectorAll('.box.lit').length") == 0
    page.value(f"{field}.focus()")
    box = page.value(
        "(() => { const lit = [...document.querySelectorAll('.box.lit')];"
        "return lit.map((each) => each.querySelector('title').textContent); })()"
    )
    assert box == ["invoice_number: VG-20418"]
    rows = "[...document.querySelectorAll('.rows tr')].map((each) => each.innerText).join('\\n')"
    assert "Blue tumbler" in page.value(rows)
    page.click(".acts button:has(use[href='#i-save'])")
    data = json.loads(wait_for_file(tmp_path, "*.json"))
    assert data["invoice_number"] == "VG-20418"
    assert data["items"][0]["amount"] == 102
    page.click(".acts button:has(use[href='#i-save']) + button")
    (row,) = csv.DictReader(io.StringIO(wait_for_file(tmp_path, "*.csv").lstrip("\ufeff")))
    assert row["vendor"] == "Velmora Glassworks Ltd"
    assert json.loads(row["items"])[1]["quantity"] == 3


def test_a_document_by_keyboard(page: Page) -> None:
    read(page, BILL)
    page.press("j")
    first = page.value("document.activeElement.innerText")
    page.press("j")
    assert page.value("document.activeElement.innerText") != first
    page.press("k")
    assert page.value("document.activeElement.innerText") == first
    page.press("/")
    page.write("tumbler")
    page.until("document.querySelectorAll('[data-find]:not([hidden])').length === 1")
    page.press("Escape")
    page.until("document.querySelectorAll('[data-find]:not([hidden])').length > 5")


def test_a_document_dropped_and_read_as_something_else(page: Page) -> None:
    page.go(page.value("location.origin") + "/#documents")
    page.until("document.querySelector('#recipe').options.length > 5")
    page.value("document.querySelector('#recipe').value = ':fields'")
    page.value("document.querySelector('#recipe').dispatchEvent(new Event('change'))")
    page.drop(BILL, "application/pdf")  # without a name for a field nothing is read
    page.until("document.querySelector('#wishes .trouble')")
    page.click("#fields-asked")
    page.write("invoice_number, total num")
    page.drop(BILL, "application/pdf")
    page.until("document.querySelector('.review')")
    data = json.loads(page.value("document.querySelector('.raw pre').textContent"))
    assert set(data) == {"invoice_number", "total"}


def test_a_locked_document(browser: Browser, url: str, tmp_path: Path) -> None:
    path = tmp_path / "locked.pdf"
    path.write_bytes(locked_pdf("Invoice no. 12  Total 48.00", user="openpassword"))
    opened = open_page(browser, url, "#documents")
    opened.choose_files("#papers", path)
    opened.until("document.activeElement.id === 'paper-password'")
    opened.write("wrong")
    opened.press("Enter")
    opened.until("document.querySelector('.trouble')?.innerText.includes('password')")
    opened.until("document.activeElement.id === 'paper-password'")
    opened.write("openpassword")
    opened.press("Enter")
    opened.until("document.querySelector('.review')")
    opened.close()


def test_several_documents_one_of_them_broken(browser: Browser, url: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"no PDF at all")
    opened = open_page(browser, url, "#documents")
    opened.choose_files("#papers", broken, BILL)
    opened.until("document.querySelectorAll('.tab').length === 2")
    opened.until("document.querySelector('.tab.failed') && document.querySelector('.tab.done')")
    assert "broken.pdf is not a PDF" in opened.text(".trouble")
    opened.click(".tab.done")
    opened.until("document.querySelector('.review')")
    opened.close()


# The machine, and for everybody.


def test_the_machine_and_its_plan(page: Page, url: str) -> None:
    page.go(f"{url}/#machine")
    page.until("document.querySelector('.ledger')")
    status = ask_server(url, "/v1/status")
    text = page.text("#machine-page")
    assert all(reason in text for reason in status["reasons"])
    assert f"{url}/v1" in text
    page.click(".place summary")
    names = [each["name"] for each in status["places"][0]["parts"] if each["bytes"]]
    rows = page.text(".place th").split("\n")
    assert rows == [name if name != "margin" else "kept free" for name in names]


CONTRASTS = """(() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.e-]+/g).map(Number);
    return text.startsWith("color(") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((each, at) => each * a + under[at] * (1 - a));
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      layers.unshift(parse(getComputedStyle(each).backgroundColor));
    }
    return layers.reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = (rgb) => rgb.map((each) => each / 255)
    .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
    .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim()) continue;
    if (!element.checkVisibility({opacityProperty: true})) continue;
    if (element.closest("svg, .unseen, option, noscript, :disabled, .skip")) continue;
    const under = ground(element);
    const ink = over(parse(getComputedStyle(element).color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push([walker.currentNode.data.trim().slice(0, 40), ratio]);
  }
  return found;
})()"""

OVERFLOWS = """(() => {
  const wide = innerWidth;
  const inside = (each) => each.closest(".unseen, .skip, svg, .grid, .table, pre, .tabs");
  return [...document.querySelectorAll("body *")]
    .filter((each) => each.checkVisibility() && !inside(each))
    .filter((each) => {
      const {left, right} = each.getBoundingClientRect();
      return right > wide + 0.5 || left < -0.5;
    })
    .map((each) => `${each.tagName} ${each.id} ${each.className}`);
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_is_seen_on_a_telephone(browser: Browser, url: str, dark: bool) -> None:
    opened = open_page(browser, url, width=360, height=740, dark=dark)
    grounds = []

    def look(where: str) -> None:
        opened.call("Page.bringToFront")
        assert opened.value(OVERFLOWS) == [], where
        assert opened.value(CONTRASTS) == [], where
        grounds.append(opened.value("getComputedStyle(document.body).backgroundColor"))

    look("at first")
    opened.choose_files("#files", SHAPES)
    opened.until("document.querySelector('.chip img')")
    look("a picture")
    ask(opened, "What is in this picture?")
    wait_for_answer(opened)
    look("an answer")
    opened.click("#help-open")
    opened.until("document.querySelector('#help').open")
    look("help")
    opened.press("Escape")
    opened.until("!document.querySelector('#help').open")
    read(opened, BILL)
    opened.press("j")
    look("a document")
    opened.go(f"{url}/#machine")
    opened.until("document.querySelector('.ledger')")
    opened.value("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    look("the machine")
    (ground,) = set(grounds)
    assert (sum(map(int, ground.strip("rgb()").split(","))) < 150) == dark
    opened.close()


def names_of(page: Page) -> list[str]:
    """What a screen reader would call a thing that can be used and has no name."""
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    used = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "image"}
    return [
        f"{node['role']['value']} {node.get('backendDOMNodeId')} {node.get('properties')}"
        for node in nodes
        if node.get("role", {}).get("value") in used and not node["ignored"]
        and not node.get("name", {}).get("value")
    ]  # fmt: skip


def test_a_screen_reader_finds_names_and_hears_the_answer(page: Page) -> None:
    page.choose_files("#files", SHAPES)
    page.until("document.querySelector('.chip img')")
    assert names_of(page) == []
    page.value(
        """(() => {
          window.heard = [];
          new MutationObserver(() => heard.push(document.querySelector('#status').textContent))
            .observe(document.querySelector('#status'), {childList: true});
        })()"""
    )
    ask(page, "What is in this picture?")
    answer = wait_for_answer(page)
    page.until(f"heard.at(-1).includes({json.dumps(answer)})")
    assert page.value("heard.length") <= 3  # waiting and the answer: no token by itself
    assert page.value("document.querySelector('#thread').getAttribute('aria-live')") == "off"
    assert names_of(page) == []
    read(page, BILL)
    assert names_of(page) == []
    page.go(page.value("location.origin") + "/#machine")
    page.until("document.querySelector('.ledger')")
    assert names_of(page) == []


def test_everything_is_reached_by_keyboard_and_seen(page: Page) -> None:
    page.value("document.activeElement.blur()")
    reached = []
    for _ in range(30):
        page.press("Tab")
        reached.append(page.value(
            "((each) => [each.id || each.getAttribute('href') || each.tagName,"
            " getComputedStyle(each).outlineStyle])(document.activeElement)"
        ))  # fmt: skip
        if reached[-1][0] == "BODY":
            break
    names = [each[0] for each in reached]
    wanted = ["skip", "#documents", "#machine", "help-open", "start-talk", "start-look", "words",
              "attach", "tune", "thinking"]  # fmt: skip
    assert [each for each in names if each in wanted][: len(wanted) + 1] == [
        "skip", "#documents", "#machine", "help-open", "start-talk", "start-look", "#documents",
        "words", "attach", "tune", "thinking",
    ]  # fmt: skip
    unseen = [name for name, style in reached if style == "none"]
    assert unseen in (["words"], ["words", "BODY"])  # the box round the words shows their focus


def test_motion_is_left_out_where_it_is_not_wanted(browser: Browser, url: str) -> None:
    opened = open_page(browser, url, still=True)
    opened.intercept(CHAT, lengthen)
    ask(opened, "Count.")
    opened.until(f"document.querySelector('{LAST} > .prose').innerText.length > 5")
    moving = "document.getAnimations().filter((each) => each.playState === 'running').length"
    assert opened.value(moving) == 0
    opened.press("Escape")
    opened.until(IDLE)
    opened.close()


def test_print_shows_the_whole_conversation_and_no_buttons(page: Page) -> None:
    for number in range(6):
        ask(page, f"Repeat: line {number}")
        wait_for_answer(page)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert not page.value("document.querySelector('.dock').checkVisibility()")
    assert not page.value("document.querySelector('.actions button').checkVisibility()")
    scroller = "getComputedStyle(document.querySelector('#thread-scroll'))"
    assert page.value(f"{scroller}.overflowY") == "visible"
