"""Pages and a question to one turn: pictures first, then text, the question last, so that a second
question about the same pages re-reads nothing. Pure.

The prompts are the text files beside this one. ``prompt.txt`` without rules is what the bundled
demo model was trained with.
"""

import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import Message

TEMPLATES = ("prompt.txt", "more.txt", "again.txt")
_PLACE = re.compile(r"\{(document|form|rules|problems|entry)\}")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the model gets of one page, or of a part of it: its text, its pictures, or both.

    ``head`` are the header lines of a table that began on an earlier page (windows only).
    ``part`` counts the parts of a page that is too long for a window from 1, 0 for a whole page.
    """

    number: int
    text: str = field(default="", repr=False)
    pictures: tuple[Picture, ...] = ()
    head: str = ""
    part: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a template of this folder with what stands in its places. ``rules`` are a
    recipe's instructions."""

    form: str
    rules: str = ""
    template: str = "prompt.txt"
    problems: str = ""
    entry: str = ""


def render_document(sheets: Sequence[Sheet], *, several: bool) -> str:
    """The text of the pages; where the document has ``several``, each is headed ``[page N]``, as
    ``Document.text`` does it. What is in a picture is said where it would stand."""
    first = 1
    parts = []
    for sheet in sheets:
        body = [sheet.head, sheet.text]
        if sheet.pictures:
            body.insert(0, _in_picture(first, len(sheet.pictures)))
            first += len(sheet.pictures)
        text = "\n".join(filter(None, body))
        if text and several:
            text = f"[page {sheet.number}]\n{text}"
        if text:
            parts.append(text)
    return "\n\n".join(parts)


def render_prompt(document: str, question: Question) -> str:
    """The user's turn. All places are filled in one pass, so no text can hold another's place."""
    values = {
        "document": document, "form": question.form, "rules": question.rules,
        "problems": question.problems, "entry": question.entry,
    }  # fmt: skip
    filled = _PLACE.sub(lambda found: values[found[1]], _template(question.template))
    return filled.strip()


def make_message(sheets: Sequence[Sheet], question: Question, *, several: bool) -> Message:
    """One user turn about these pages."""
    pictures = tuple(picture for sheet in sheets for picture in sheet.pictures)
    text = render_prompt(render_document(sheets, several=several), question)
    return Message("user", text, pictures)


def make_beginning(sheets: Sequence[Sheet], *, several: bool) -> Message:
    """What all questions about these pages begin with."""
    pictures = tuple(picture for sheet in sheets for picture in sheet.pictures)
    document = render_document(sheets, several=several)
    first, *others = (_template(name) for name in TEMPLATES)
    shared = os.path.commonprefix([first, *others])
    return Message("user", shared.replace("{document}", document).strip(), pictures)


def _in_picture(first: int, count: int) -> str:
    if count == 1:
        return f"(in picture {first})"
    return f"(in pictures {first} to {first + count - 1}, which overlap)"


@cache
def _template(name: str) -> str:
    return files("gemma_edge.extract.job").joinpath(name).read_text(encoding="utf-8")
