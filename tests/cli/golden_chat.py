"""A whole session on a terminal of 60 columns, key by key, as a person sees it in the end.

``python -m tests.cli.golden_chat`` writes it again; read the difference like a page before it is
committed.
"""

import json
import tempfile
from pathlib import Path

from tests.cli.conftest import TEXT_MODEL
from tests.cli.terminals import CTRL_C, CTRL_D, Terminal
from tests.conftest import render_gguf

PAGE = Path(__file__).with_name("pages") / "chat-session.txt"
PROGRAM = str(Path(__file__).with_name("slow_chat.py"))
TENSORS = [("token_embd.weight", (32, 4), 0)]
ANSWERS = [
    "Tea is a drink of *leaves* in hot water:\n\n1. heat water\n2. add leaves\n3. wait\n\n"
    "| cup | grams |\n|-----|------:|\n| one | 2.5 |\n| two | 5 |",
    ["How much would five cups take? 5 x 2.5 = 12.5.", "**12.5 g** for five cups."],
    "```python\ndef brew(cups):\n    return 2.5 * cups\n```",
    "one two three four five six",
    "seven",
    "They spoke of tea, of 2.5 g a cup, and of a function `brew`.",
    "It does not fit, so it was not said.",
]
LINES = [
    "what is tea?",
    "/think 200",
    "and for five cups?",
    "/show thought",
    "/think off",
    "as Python",
    "/set max_tokens 6",
    "count",
    "/set max_tokens default",
    "/continue",
    "/undo",
    "/compact",
    "/file ~/words.txt",
    "what is in it?",
    "/file -",
    "/clear",
    "/sytem Be brief.",
    "/stats",
    "/sessions",
]
DRAFTS = {"/undo": "count", "what is in it?": "what is in it?"}


def play(folder: Path) -> str:
    """The page at the end; ``folder`` is the person's home."""
    model = folder / "model.gguf"
    model.write_bytes(render_gguf(TEXT_MODEL | {"gemma4.block_count": 8}, TENSORS, 3))
    (folder / "words.txt").write_text("word " * 9000)
    chat = Terminal(
        PROGRAM, str(model), "--session", "tea", columns=60, rows=40,
        SLOW_ANSWERS=json.dumps(ANSWERS), SLOW_CLOCK="1", SLOW_SECONDS="0.002",
        HOME=str(folder), XDG_DATA_HOME=str(folder / "data"),
    )  # fmt: skip
    try:
        chat.wait_for("/help")
        for line in LINES:
            chat.wait_for_line()
            chat.enter(line)
            if line in DRAFTS:  # it stands in the line again
                chat.wait_for(f"› {DRAFTS[line]}", times=1 + (line == DRAFTS[line]))
                chat.settle(0.3)
                chat.type(CTRL_C)
        chat.wait_for_line()
        chat.type(CTRL_D)
        chat.end()
    finally:
        chat.close()
    return chat.page + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        PAGE.write_text(play(Path(name)), encoding="utf-8")
