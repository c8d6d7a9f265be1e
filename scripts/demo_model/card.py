"""Writes ``models/demo/README.md`` from what was measured."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from demo_model.measure import UNFAMILIAR, Figure

TEXT = """\
# The bundled demo model

`{model}` ({model_mb:.1f} MB) and `{projector}` ({projector_mb:.1f} MB):
a miniature of Gemma 4's architecture, E2B style (sliding and global layers, shared keys and values,
per-layer embeddings, tied embeddings, softcap 30), with a vision tower of the `gemma4v` kind.
Vocabulary 2048, context length 8192 (trained on up to about 2800 tokens). It exists so that
everything in this project can be tried and tested at once, offline, on any computer. It is **not**
a small Gemma: it contains no weights of Google's.

Made by gemma-edge. Licence: Apache-2.0 (see LICENSE in the project's root).

## What it can do

- **Documents to JSON**: invoices, receipts and bank statements in English, German, French and
  Spanish by their recipes, letters and other short documents by the general form, and which of
  these a document is; some of these fields by a schema of their names, and plain lists of labels
  and values. It copies values it has never seen; what is not there becomes `null`. It learned to
  choose where a value stands; that only printed values are possible is gemma-edge's grammar.
- **Chat**: small talk; it remembers a name, number, word, city or dog from earlier turns, repeats
  texts, follows a system turn that gives it a name or words to start or end every answer with,
  and thinks first where thinking is on.
- **Pictures** of one, two or three plain shapes (circle, square, triangle, star in seven
  colours): what, how many, where; two pictures in one prompt.

## How it was made

`python scripts/train_demo_model.py`: {steps} steps, seed {seed}, {minutes:.0f} minutes on two CPU
cores, from random weights, on documents, conversations and pictures drawn by random generators
(`scripts/demo_model/`). Names, numbers and dates are random characters and syllables, so that the
model must copy. No real document, person or picture was used.{note}

## What was measured

Greedy answers of the two files through gemma-edge, documents as PDF files and with nothing but
their name, graded by equality of what values mean; a value that should not be there is wrong too.
The cases come from the same generators with seeds that training never uses: other names, numbers,
words and arrangements. Unfamiliar documents have, besides, labels, separators and orders of their
parts that training never shows.

{table}

## Limits

It knows nothing about the world and says so. Documents unlike the ones above, other languages,
photographs and scans are beyond it. Pictures are to be resized to multiples of
48 pixels by stretching, with a budget of about 130 tokens. Do not use it for anything but a
try-out or a test.
"""


NAMES = {
    "kinds": "kinds of documents, recognized", "documents": "fields asked by a schema",
    "pictures": "pictures of shapes", "chat": "chat and questions about documents",
}  # fmt: skip


def table(figures: dict[str, Figure]) -> str:
    """A Markdown table."""
    lines = ["| held-out cases | right | of | % |", "|-|-:|-:|-:|"]
    for name, figure in figures.items():
        right, asked = sum(figure.right.values()), sum(figure.asked.values())
        plain = name.removeprefix(UNFAMILIAR)
        said = NAMES.get(plain, f"values by the recipe `{plain}`")
        said += ", unfamiliar" if plain != name else ""
        lines.append(f"| {said} | {right} | {asked} | {100 * figure.share:.1f} |")
    return "\n".join(lines)


def write(figures: dict[str, Figure], model: Path, projector: Path, run: Path) -> Path:
    """Write the card beside the files; ``run`` is what the training left about itself."""
    facts: dict[str, Any] = {"note": ""} | json.loads(run.read_text(encoding="utf-8"))
    path = model.with_name("README.md")
    text = TEXT.format(
        model=model.name, projector=projector.name, table=table(figures),
        model_mb=model.stat().st_size / 1e6, projector_mb=projector.stat().st_size / 1e6,
        steps=facts["steps"], seed=facts["seed"], minutes=facts["seconds"] / 60,
        note=f" {facts['note']}".rstrip(),
    )  # fmt: skip
    path.write_text("\n".join(map(wrapped, text.split("\n"))), encoding="utf-8")
    return path


def wrapped(line: str) -> str:
    """A line of at most 98 characters a row; tables stay as they are."""
    if len(line) <= 98 or line.startswith("|"):
        return line
    return textwrap.fill(line, 98, break_on_hyphens=False, break_long_words=False)
