"""What a model writes, drawn by the page's own Markdown in a real browser: the same for everybody,
and never markup of the model's own."""

import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread

import pytest

from tests.serve.browser import WHY_NOT, Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

FILES = Path(__file__).parents[2] / "gemma_edge" / "serve"


class Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}

    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b'<!doctype html><link rel="icon" href="data:,"><body></body>')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """An empty page beside the files of ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(FILES)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    browser = Browser()
    try:
        opened = browser.open(f"http://127.0.0.1:{server.server_port}/")
        opened.value(
            "import('/page/markdown.js').then((found) => { window.markdown = found; return 1; })"
        )
        opened.value(
            """window.drawn = (text, options) => {
              const target = document.createElement("div");
              markdown.render(target, text, options);
              return target.innerHTML.replace(/ dir="auto"/g, "");
            }; 1"""
        )
        yield opened
    finally:
        browser.close()
        server.shutdown()
        thread.join()
        server.server_close()


def drawn(page: Page, text: str, *, grows: bool = False) -> str:
    return str(page.value(f"drawn({json.dumps(text)}, {{open: {json.dumps(grows)}}})"))


def link(url: str, words: str) -> str:
    return f'<a href="{url}" target="_blank" rel="noopener noreferrer" title="{url}">{words}</a>'


ORG = "https://example.org/"
WHERE = '<span class="where"> (example.org)</span>'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a\nb", "<p>a<br>b</p>"),
        ("a\n\nb", "<p>a</p><p>b</p>"),
        ("# One #", '<h3 class="level-1">One</h3>'),
        ("###### Six", '<h6 class="level-6">Six</h6>'),
        ("#no heading", "<p>#no heading</p>"),
        ("***", "<hr>"),
        ("text\n---", "<p>text</p><hr>"),
        ("**b** *i* ***bi*** _i_ __b__", "<p><strong>b</strong> <em>i</em> "
         "<em><strong>bi</strong></em> <em>i</em> <strong>b</strong></p>"),
        ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
        ("*a **b** c*", "<p><em>a <strong>b</strong> c</em></p>"),
        ("2 * 3 * 4, snake_case_name, a*b", "<p>2 * 3 * 4, snake_case_name, a*b</p>"),
        (r"\*no\* \<b> \\", r"<p>*no* &lt;b&gt; \</p>"),
        ("~~old~~ ~new~", "<p><del>old</del> ~new~</p>"),
        ("`a*b*` ``x ` y``", "<p><code>a*b*</code> <code>x ` y</code></p>"),
        ("`open", "<p>`open</p>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
        ("1. a\n   - b\n     - c\n2. d",
         "<ol><li>a<ul><li>b<ul><li>c</li></ul></li></ul></li><li>d</li></ol>"),
        ("1. a\n  - b\n    - c", "<ol><li>a<ul><li>b<ul><li>c</li></ul></li></ul></li></ol>"),
        ("3) a\n4) b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("- [x] a\n- [ ] b", '<ul><li class="task"><input type="checkbox" disabled="" checked="" '
         'aria-label="done">a</li><li class="task"><input type="checkbox" disabled="" '
         'aria-label="to do">b</li></ul>'),
        ("In 1999\n2000. no list", "<p>In 1999<br>2000. no list</p>"),
        ("a\n- b", "<p>a</p><ul><li>b</li></ul>"),
        ("> a\n> > b\n\nc",
         "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>"),
        ("a<br>b", "<p>a<br>b</p>"),
        (f"[a]({ORG}x)", f"<p><span>{link(ORG + 'x', 'a')}{WHERE}</span></p>"),
        (f"[example.org]({ORG})", f"<p>{link(ORG, 'example.org')}</p>"),
        (f"see {ORG}a_b_c.", f"<p>see {link(ORG + 'a_b_c', ORG + 'a_b_c')}.</p>"),
        (f"<{ORG}>", f"<p>{link(ORG, ORG)}</p>"),
        (f"![x]({ORG}x.png)",
         f"<p><span>{link(ORG + 'x.png', 'picture: x')}{WHERE}</span></p>"),
        ("[a](javascript:alert(1))", "<p><span>a (javascript:alert(1))</span></p>"),
        ("[a](data:text/html,x)", "<p><span>a (data:text/html,x)</span></p>"),
        ("<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>"),
        ("a < b && c > d", "<p>a &lt; b &amp;&amp; c &gt; d</p>"),
    ],
)  # fmt: skip
def test_markdown(page: Page, text: str, html: str) -> None:
    assert drawn(page, text) == html


def test_code_is_shown_as_it_is(page: Page) -> None:
    text = "```python\nif a < b:\n    print('<b>')\n\n```\nafter"
    page.value(f"document.body.innerHTML = ''; document.body.append(document.createElement('div'));"
               f"markdown.render(document.body.firstChild, {json.dumps(text)}); 1")  # fmt: skip
    assert page.text("pre code") == "if a < b:\n    print('<b>')\n"
    assert page.text(".code-head span") == "python"
    assert page.text("p") == "after"
    nested = "1. a\n\n   ```sh\n   ls\n     -l\n   ```\n2. b"
    assert "<code>ls\n  -l</code></pre></div></li><li>b</li></ol>" in drawn(page, nested)


def test_a_table(page: Page) -> None:
    text = "| a | b |\n|:-|-:|\n| `x|y` | **1** |\n| only |\n| <i> | 2 | 3 |\n\nafter"
    assert drawn(page, text) == (
        '<div class="table" tabindex="0" role="region" aria-label="table, scrolls"><table><thead>'
        '<tr><th class="left" scope="col">a</th><th class="right" scope="col">b</th></tr></thead>'
        '<tbody><tr><td class="left"><code>x|y</code></td><td class="right"><strong>1</strong>'
        '</td></tr><tr><td class="left">only</td><td class="right"></td></tr><tr><td class="left">'
        '&lt;i&gt;</td><td class="right">2</td></tr></tbody></table></div><p>after</p>'
    )  # fmt: skip


def test_what_grows_is_shown_before_it_ends(page: Page) -> None:
    assert drawn(page, "a **bo", grows=True) == "<p>a <strong>bo</strong></p>"
    assert drawn(page, "a `co", grows=True) == "<p>a <code>co</code></p>"
    assert drawn(page, "```py\nx = 1", grows=True).count("<pre") == 1


def test_a_text_that_grows_keeps_what_is_drawn_and_ends_like_a_whole_one(page: Page) -> None:
    text = "# A\n\nb **c** d\n\n- e\n- f\n  1. g\n\n```\nh\n\ni\n```\n\n| j | k |\n|-|-|\n| l | m |"
    text += "\n\nn"
    found = page.value(
        f"""(() => {{
          const text = {json.dumps(text)};
          const target = document.createElement("div");
          let first = null;
          let kept = true;
          for (let end = 1; end <= text.length; end += 1) {{
            markdown.render(target, text.slice(0, end), {{open: true}});
            if (end === 12) first = target.firstChild;
            if (end > 12) kept &&= target.firstChild === first;
          }}
          markdown.render(target, text);
          const whole = document.createElement("div");
          markdown.render(whole, text);
          return [kept, target.innerHTML === whole.innerHTML];
        }})()"""
    )
    assert found == [True, True]


PIECES = [
    "<script>x()</script>", "<img src=x onerror=x()>", "<svg/onload=x()>", "</p>", "&lt;",
    "javascript:", "[a](", ")", "](javascript:x())", "[b](https://example.org)",
    "<https://example.org/\"onx=1>",
    "**", "*", "_", "`", "```", "~~~", "\n", "\n\n", "- ", "1. ", "> ", "| ", "|-|-|", "# ", "  ",
    "\t", "\\", "![", "\u202e", "\x00", "text", "<a href='javascript:x()'>",
    "data:text/html,<script>", "mailto:a@example.org",
    "https://example.org/\u202e", "<iframe srcdoc=x>", "style=", "<br>",
]  # fmt: skip

KNOWN = """(html) => {
  const target = document.createElement("div");
  markdown.render(target, html);
  const tags = ["P", "H3", "H4", "H5", "H6", "HR", "BLOCKQUOTE", "UL", "OL", "LI", "INPUT", "PRE",
    "CODE", "DIV", "SPAN", "BUTTON", "svg", "use", "TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "A",
    "STRONG", "EM", "DEL", "BR"];
  const attributes = ["dir", "class", "start", "type", "disabled", "checked", "aria-label",
    "aria-hidden", "tabindex", "role", "scope", "href", "target", "rel", "title"];
  const wrong = [];
  for (const each of target.querySelectorAll("*")) {
    if (!tags.includes(each.tagName)) wrong.push(each.tagName);
    for (const {name, value} of each.attributes) {
      if (!attributes.includes(name)) wrong.push(name);
      if (name === "href" && !/^(https?:|mailto:|#i-)/.test(value)) wrong.push(value);
    }
  }
  return wrong;
}"""


def test_no_text_becomes_anything_else(page: Page) -> None:
    random = Random(7)
    texts = ["".join(random.choices(PIECES, k=random.randint(1, 14))) for _ in range(1500)]
    found = page.value(f"{json.dumps(texts)}.map({KNOWN})")
    assert [(text, wrong) for text, wrong in zip(texts, found, strict=True) if wrong] == []
    assert page.value("typeof x") == "undefined"


@pytest.mark.parametrize(
    "piece",
    ["*a ", "**a ", "_a_", "`", "` ", "[", "[a](", "![", "<", "~~", "> ", "- ", "1. ", "| ", "#",
     "\\", "**a *b ", "http://", "***", "a\n- ", "[[a]", "  - a\n", "|-|\n", "```\n", "(((",
     "a|b\n-|-\n"],
)  # fmt: skip
def test_long_and_hostile_texts_come_to_an_end(page: Page, piece: str) -> None:
    text = piece * (40_000 // len(piece))
    assert page.value(f"drawn({json.dumps(text)}, {{open: true}}).length > 0")
    assert page.troubles == []
