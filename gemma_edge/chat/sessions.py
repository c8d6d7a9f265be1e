"""All sessions of a folder: listed, found, removed, and kept within a size."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemma_edge.chat.journal import (
    CACHE,
    FILE,
    Exchange,
    History,
    read_history,
    render_file,
    take_lock,
)
from gemma_edge.errors import InputError
from gemma_edge.records import dataclass
from gemma_edge.units import render_bytes

MAX_BYTES = 8 << 30  # of all sessions together; twice the largest cache (engine/kv_cache.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One session. Times are in seconds since 1970, ``cache_bytes`` is the part of ``size_bytes``
    that can be read again; ``questions`` counts those that were not taken back."""

    path: Path
    title: str
    model: str
    created: float
    changed: float
    questions: int
    size_bytes: int
    cache_bytes: int

    @property
    def name(self) -> str:
        return self.path.name


def list_journals(folder: Path) -> tuple[Listed, ...]:
    """All sessions, the last used first; those without a question are left out."""
    try:
        paths = [path for path in folder.iterdir() if (path / FILE).is_file()]
    except OSError:
        return ()
    found = [one for one in map(_look, paths) if one is not None]
    return tuple(sorted(found, key=lambda one: (one.changed, one.name), reverse=True))


def find_journal(folder: Path, name: str = "") -> Path:
    """A session by its name, by its title, or by a part of either that only it has; the last used
    one for "".

    Raises:
        InputError: there is none, or several; they are named.
    """
    journals = list_journals(folder)
    if not journals:
        raise InputError("there is no session yet", hint="gemma-edge chat starts one")
    if not name:
        return journals[0].path
    wanted = name.casefold()
    exact = [one for one in journals if wanted in (one.name.casefold(), one.title.casefold())]
    near = [one for one in journals if wanted in f"{one.name}\n{one.title}".casefold()]
    found = exact or near
    if len(found) == 1:
        return found[0].path
    if not found:
        raise InputError(f"there is no session `{name}`", hint="gemma-edge sessions")
    several = ", ".join(one.name for one in found)
    raise InputError(f"several sessions are like `{name}`: {several}", hint="take one of the names")


def remove(path: Path) -> int:
    """Delete a session; return the bytes that it took.
    Raises InputError: there is none, it is open, or the disk refuses."""
    if not (path / FILE).is_file():
        raise InputError(f"there is no session `{path.name}`", hint="gemma-edge sessions")
    size = _size(path)
    take_lock(path).release()
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise InputError(f"`{path.name}` cannot be deleted: {error.strerror or error}") from None
    return size


def prune(
    folder: Path, *, max_bytes: int = MAX_BYTES, keep: Sequence[Path] = ()
) -> tuple[str, ...]:
    """Bring the sessions within ``max_bytes``, the oldest first: their caches, which can be read
    again, and only where what was said is too much by itself, whole sessions. Those of ``keep``
    lose their cache last and nothing else, those that are open nothing. Returns what was done, in
    sentences."""
    oldest_first = sorted(reversed(list_journals(folder)), key=lambda one: one.path in keep)
    folders = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    excess = sum(map(_size, folders)) - max_bytes
    said: list[str] = []
    for one in oldest_first:
        if excess > 0 and one.cache_bytes and _remove_cache(one.path):
            excess -= one.cache_bytes
            said.append(
                f"the cache of session `{one.name}` was deleted "
                f"({render_bytes(one.cache_bytes)}): it will be read again"
            )
    for one in oldest_first:
        if excess <= 0 or one.path in keep:
            break
        try:
            excess -= remove(one.path)
        except InputError:  # it is open
            continue
        said.append(
            f"session `{one.name}` ({one.title}) was deleted: all sessions together take more "
            f"than {render_bytes(max_bytes)}"
        )
    return tuple(said)


def _look(path: Path) -> Listed | None:
    try:
        history = read_history(path, lambda _: None)
        changed = (path / FILE).stat().st_mtime
    except (InputError, OSError):
        return None
    if history.last_question is None and not history.earlier:
        return None
    cache = path / CACHE
    return Listed(
        path=path, title=history.title, model=history.model, created=history.created,
        changed=changed, questions=history.questions, size_bytes=_size(path),
        cache_bytes=cache.stat().st_size if cache.is_file() else 0,
    )  # fmt: skip


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _remove_cache(path: Path) -> bool:
    try:
        with take_lock(path):
            (path / CACHE).unlink()
    except (InputError, OSError):
        return False
    return True


# A conversation as a document: Markdown for people, JSON for programs. Turns that were undone are
# in the JSON only.

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
    try:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(history.created or 0.0))
    except (OverflowError, OSError, ValueError):  # a time that no calendar has
        when = ""
    about = ", ".join(filter(None, (history.model, when if history.created else "")))
    parts = [f"# {history.title or 'A conversation'}", about]
    if history.system:
        parts += ["## System", history.system]
    for exchange in history.earlier:
        if exchange.fate != "undone":
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


def _render_exchange(exchange: Exchange) -> list[str]:
    question = exchange.question
    names = [*(picture.name for picture in question.pictures), *question.lost]
    parts = ["## You", *(f"*Image: {name or 'without a name'}*" for name in names)]
    parts += [*map(render_file, question.files), question.text]
    if exchange.answered:
        ending = _ENDINGS.get(exchange.reason or "stopped", "")  # "" where it is whole
        parts += ["## Model", exchange.answer.strip(), f"*({ending})*" if ending else ""]
    return parts


def _as_data(exchange: Exchange) -> dict[str, Any]:
    question = exchange.question
    names = [*(picture.name for picture in question.pictures), *question.lost]
    data: dict[str, Any] = {
        "question": question.text,
        "images": [name or "an image" for name in names],
        "files": [{"name": f.name, "tokens": f.tokens, "text": f.text} for f in question.files],
        "answer": exchange.answer if exchange.answered else None,
        "thought": exchange.thought or None,
        "ended": exchange.reason,
    }
    return {**data, "fate": exchange.fate} if exchange.fate else data
