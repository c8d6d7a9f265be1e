"""An answer drawn while it streams: whatever the pieces and the screen, the page is the same."""

import os
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_edge.cli.markdown import AnswerView, Live, render_lines, split_blocks
from tests.cli.screen import Screen

ANSWER = (
    """# Tea, in short

A paragraph with **bold**, `code`, <b>HTML</b> and a [link](http://x.org/a).
A second line of it.

1. water
2. leaves
   - green *or* black
   - 日本茶 🍵 茶

3. patience

| cup | grams |
|-----|------:|
| one | 2.5   |
| 二  | 5     |

```python
def brew(cups):
    return 2.5 * cups  # grams

```

> quoted
> twice

![a cup](http://x.org/cup.png)

[1]: http://x.org/kept

"""
    + "```\n"
    + "\n".join(f"line {number} of a long listing" for number in range(30))
    + "\n```\n\n"
    + "\n".join(f"{number}. item {number}{' and so on' * (number % 5)}" for number in range(1, 16))
    + "\n\nThe *end"
)
TERMINAL = {"TERM": "xterm-256color"}


def stream(text: str, *, columns: int = 60, rows: int = 24, seed: int = 0, colour: bool = True):
    """The screen after an answer that came in random pieces."""
    chance = random.Random(seed)
    screen = Screen(columns, rows)
    written: list[str] = []

    def write(data: str) -> None:
        written.append(data)
        screen.feed(data.replace("\n", "\r\n"))

    now = [0.0]
    live = Live(write, lambda: os.terminal_size((screen.columns, screen.rows)))
    view = AnswerView(live, TERMINAL, lambda: now[0], colour=colour)
    while text:
        size = chance.randint(1, 12)
        view.add(text[:size])
        text = text[size:]
        now[0] += chance.random() / 8
        yield screen, written
    view.finish()
    yield screen, written


def draw(text: str, **more) -> Screen:
    *_, (screen, _) = stream(text, **more)
    return screen


def test_a_page():
    assert draw(ANSWER.partition("```\nline")[0], rows=99).text().rstrip() == (
        """\
Tea, in short

A paragraph with bold, code, <b>HTML</b> and a link
(http://x.org/a).
A second line of it.

 1. water
 2. leaves
     • green or black
     • 日本茶 🍵 茶
 3. patience

 cup  grams
 ──────────
 one    2.5
 二       5

  def brew(cups):
      return 2.5 * cups  # grams


▌ quoted
▌ twice

[image: a cup (http://x.org/cup.png)]

[1]: http://x.org/kept"""
    )


@pytest.fixture(scope="module")
def page() -> str:
    """The whole answer on a screen that is higher than it, drawn once."""
    return draw_whole(ANSWER)


def draw_whole(text: str) -> str:
    screen = Screen(60, 999)
    live = Live(
        lambda data: screen.feed(data.replace("\n", "\r\n")), lambda: os.terminal_size((60, 999))
    )
    view = AnswerView(live, TERMINAL, lambda: 0.0, colour=True)
    view.add(text)
    view.finish()
    return screen.text()


@pytest.mark.parametrize(("rows", "seed"), [(8, 0), (8, 1), (24, 2)])
def test_a_low_screen_shows_in_the_end_what_a_high_one_shows(rows, seed, page):
    assert draw(ANSWER, rows=rows, seed=seed).text() == page


@pytest.mark.parametrize(
    "block",
    [
        " ".join(f"word{number}" for number in range(200)),
        "| a | b |\n|---|---|\n" + "\n".join(f"| {n} | {n * n} |" for n in range(30)),
        "- " + "\n  ".join(f"line {number}" for number in range(30)),
        "> " + "\n> ".join(f"line {number}" for number in range(30)),
    ],
    ids=["paragraph", "table", "item", "quote"],
)
def test_a_block_that_is_higher_than_the_screen_is_whole_in_the_end(block):
    text = f"before\n\n{block}\n\nafter"
    assert draw(text, rows=8).text() == draw_whole(text)


def test_no_line_is_lost_or_twice_in_the_scrollback():
    page = draw(ANSWER, rows=10).text()
    for number in range(30):
        assert page.count(f"  line {number} of a long listing\n") == 1
    for number in range(1, 16):
        assert len(re.findall(rf"\b{number}\. item {number}\b", page)) == 1


def test_what_left_the_screen_is_never_written_again():
    gone = ""
    for screen, _ in stream(ANSWER, rows=12, seed=3):
        above = "\n".join("".join(line) for line in screen.lines[: screen.top])
        assert above.startswith(gone)
        gone = above
    assert "line 3 of a long listing" in gone


def test_only_what_changed_is_written_again():
    words = " ".join(f"word{number}" for number in range(400))
    *_, (_, written) = stream(words, columns=60, rows=99)
    text = "".join(written)
    assert text.count("word3 ") < 10  # while its line was growing
    assert max(map(len, written)) < 200


def test_pieces_that_come_faster_than_frames_are_drawn_together():
    screen = Screen(60, 24)
    written: list[str] = []
    view = AnswerView(
        Live(written.append, lambda: os.terminal_size((60, 24))), TERMINAL, lambda: 0.0,
        colour=True,
    )  # fmt: skip
    for _ in range(500):
        view.add("word ")
    assert len(written) == 1
    view.finish()
    assert screen.text() == ""


def test_without_colour_no_colour_is_written():
    *_, (_, written) = stream(ANSWER, colour=False)
    colours = re.compile(r"\x1b\[[0-9;]*(?:3[0-79]|4[0-79]|9[0-7]|10[0-7])[0-9;]*m")
    assert not colours.search("".join(written))
    *_, (_, written) = stream(ANSWER, colour=True)
    assert colours.search("".join(written))


@pytest.mark.parametrize(("before", "after"), [(60, 40), (40, 70)])
def test_a_resize_in_the_middle_loses_nothing(before, after):
    text = " ".join(f"word{number}" for number in range(120))
    screen = None
    for number, (screen, _) in enumerate(stream(text, columns=before, rows=30)):
        if number == 40:
            screen.resize(after, 30)
    words = screen.text().split()
    assert words == text.split()
    assert max(len("".join(line)) for line in screen.lines[-4:]) <= after


def test_code_keeps_its_colours_when_it_is_printed_in_parts():
    """In the second part the lexer still knows that a string is open."""
    code = 'x = """\n' + "\n".join(f"def not_code_{number}" for number in range(40)) + '\n"""\n'
    *_, (_, written) = stream(f"```python\n{code}```\n", rows=12)
    whole = render_lines(split_blocks(f"```python\n{code}```\n")[0], 59, TERMINAL, colour=True)
    assert "\x1b[33" in whole[1]  # as a string
    for line in whole[1:41]:
        assert line in "".join(written)


@given(st.lists(st.sampled_from(ANSWER.split("\n\n")), min_size=1, max_size=5), st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_any_order_of_blocks_any_pieces(blocks, seed):
    text = "\n\n".join(blocks)
    assert draw(text, rows=9, seed=seed).text() == draw_whole(text)


@given(st.text(st.sampled_from("ab*_`#|-[]()<>!~ \n\t1.:&\\\"'茶"), max_size=80))
@settings(max_examples=60, deadline=None)
def test_no_letter_disappears_and_nothing_breaks(text):
    shown = draw_whole(text)
    assert sorted(re.findall("[ab茶]", shown)) == sorted(re.findall("[ab茶]", text))
