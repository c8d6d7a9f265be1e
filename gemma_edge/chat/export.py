"""A conversation as a document: Markdown for people, JSON for programs. Pure.

Everything that was said is in it: turns that were summarized, dropped or cleared stand where they
were said, those that were undone only in the JSON.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from gemma_edge.chat.history import Exchange, History, render_file

VERSION = 1
_FATES = {
    "summarized": "the model sees a summary of this turn",
    "dropped": "the model does not see this turn any more",
    "cleared": "the model does not see this turn any more",
}
_ENDINGS = {
    "length": "cut at the limit of tokens",
    "repetition": "stopped: it repeated itself",
    "cancelled": "stopped",
    "stopped": "the engine stopped here",
}


def render_markdown(history: History) -> str:
    """Title, system prompt, and each turn under a heading; images by name, files whole."""
    parts = [f"# {history.title or 'A conversation'}", _line_about(history)]
    if history.system:
        parts += ["## System", history.system]
    told = [exchange for exchange in history.earlier if exchange.fate != "undone"]
    for exchange in told:
        parts += [*_render_exchange(exchange), f"*({_FATES[exchange.fate]})*"]
    if history.summary:
        parts += ["## Summary", history.summary]
    for exchange in history.exchanges:
        parts += _render_exchange(exchange)
    if history.open is not None:
        parts += _render_exchange(Exchange(history.open))
    return "\n\n".join(filter(None, parts)) + "\n"


def render_json(history: History) -> str:
    """One object, on lines of its own: ``turns`` that the model sees, ``earlier`` ones with their
    ``fate``, in the order in which they went."""
    open_turn = [] if history.open is None else [Exchange(history.open)]
    document = {
        "version": VERSION,
        "title": history.title,
        "model": history.model,
        "created": history.created or None,
        "system": history.system,
        "summary": history.summary or None,
        "earlier": [_as_data(exchange) for exchange in history.earlier],
        "turns": [_as_data(exchange) for exchange in [*history.exchanges, *open_turn]],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _line_about(history: History) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(history.created or 0.0))
    return ", ".join(filter(None, (history.model, when if history.created else "")))


def _render_exchange(exchange: Exchange) -> list[str]:
    question = exchange.question
    names = [*(picture.name for picture in question.pictures), *question.lost]
    parts = ["## You", *(f"*Image: {name or 'without a name'}*" for name in names)]
    parts += [*map(render_file, question.files), question.text]
    if exchange.answered:
        parts += ["## Model", exchange.answer.strip(), _ending(exchange.reason)]
    return parts


def _ending(reason: str | None) -> str:
    """Why an answer is not whole; "" where it is."""
    said = _ENDINGS.get(reason or "stopped", "")
    return f"*({said})*" if said else ""


def _as_data(exchange: Exchange) -> dict[str, Any]:
    question = exchange.question
    data: dict[str, Any] = {
        "question": question.text,
        "images": _names([*(p.name for p in question.pictures), *question.lost]),
        "files": [{"name": f.name, "tokens": f.tokens, "text": f.text} for f in question.files],
        "answer": exchange.answer if exchange.answered else None,
        "thought": exchange.thought or None,
        "ended": exchange.reason,
    }
    return {**data, "fate": exchange.fate} if exchange.fate else data


def _names(names: Sequence[str]) -> list[str]:
    return [name or "an image" for name in names]
