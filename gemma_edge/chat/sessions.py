"""All sessions of a folder: listed, found, deleted and brought back, and kept within a size."""

import contextlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gemma_edge.chat.journal import (
    CACHE,
    FILE,
    Exchange,
    History,
    is_one_name,
    is_session,
    read_history,
    render_file,
    take_lock,
)
from gemma_edge.errors import InputError
from gemma_edge.records import dataclass
from gemma_edge.units import render_bytes

MAX_BYTES = 8 << 30  # of all sessions together; twice the largest cache (engine/kv_cache.py)
DELETED = ".deleted"  # holds TIME/NAME: what was deleted, and can be brought back for a while
KEPT_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One session. Times are in seconds since 1970, ``cache_bytes`` is the part of ``size_bytes``
    that can be read again; ``questions`` counts those that were not taken back. ``said`` is False
    where nothing was ever asked, ``problem`` says why it cannot be read."""

    path: Path
    title: str = ""
    model: str = ""
    created: float = 0.0
    changed: float
    questions: int = 0
    size_bytes: int
    cache_bytes: int
    said: bool = False
    problem: str = ""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def about(self) -> str:
        """Its title, or what is known instead."""
        return self.title or self.problem or ("" if self.said else "nothing was asked yet")


def list_journals(folder: Path) -> tuple[Listed, ...]:
    """All sessions, the last used first, in whatever state they are."""
    found = map(_look, filter(is_session, _entries(folder)))
    return tuple(sorted(found, key=lambda one: (one.changed, one.name), reverse=True))


def last_journal(folder: Path) -> Path:
    """The one that was used last, of those in which something was asked.
    Raises InputError: there is none."""
    for one in list_journals(folder):
        if one.said:
            return one.path
    raise InputError("there is no session yet", hint="gemma-edge chat starts one")


def exact_journal(folder: Path, name: str) -> Path | None:
    """The session of this very name; None where there is none."""
    return folder / name if is_one_name(name) and is_session(folder / name) else None


def find_journal(folder: Path, name: str) -> Path:
    """A session by its name, or else by its title, or by a part of either that only it has. Who
    looks one up says which was found.

    Raises:
        InputError: there is none, or several; they are named.
    """
    if (exact := exact_journal(folder, name)) is not None:
        return exact
    found = similar(folder, name)
    if len(found) == 1:
        return found[0].path
    if not found:
        raise InputError(f"there is no session `{name}`", hint="gemma-edge sessions")
    several = ", ".join(one.name for one in found)
    raise InputError(f"several sessions are like `{name}`: {several}", hint="take one of the names")


def similar(folder: Path, name: str) -> tuple[Listed, ...]:
    """The sessions that somebody may mean who spells it so: of its title, else with it as a part of
    their name or title."""
    wanted, journals = name.casefold(), list_journals(folder)
    alike = [one for one in journals if wanted in (one.name.casefold(), one.title.casefold())]
    near = [one for one in journals if wanted in f"{one.name}\n{one.title}".casefold()]
    return tuple(alike or near) if wanted.strip() else ()


# Deleted, brought back.


@dataclass(frozen=True, slots=True)
class Deleted:
    """A session that can be brought back until ``until``, in seconds since 1970."""

    journal: Listed
    until: float


def remove(path: Path, *, now: float | None = None, forever: bool = False) -> int:
    """Delete a session; return the bytes that it took. For ``KEPT_SECONDS`` it can be brought back,
    unless it goes ``forever``.
    Raises InputError: there is none, it is open, or the disk refuses."""
    if not is_session(path):
        raise InputError(f"there is no session `{path.name}`", hint="gemma-edge sessions")
    size = _size(path)
    with take_lock(path), contextlib.suppress(OSError):
        (path / CACHE).unlink(missing_ok=True)  # it can be read again
    try:
        if forever:
            shutil.rmtree(path)
        else:
            path.rename(_new_place(path.parent, time.time() if now is None else now) / path.name)
    except OSError as error:
        raise InputError(f"`{path.name}` cannot be deleted: {error.strerror or error}") from None
    return size


def _new_place(folder: Path, now: float) -> Path:
    deleted = folder / DELETED
    deleted.mkdir(mode=0o700, exist_ok=True)
    for number in itertools.count():
        place = deleted / f"{int(now)}-{number}"
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
            return place
    raise AssertionError  # mypy: it counts for ever


def list_deleted(folder: Path, now: float) -> tuple[Deleted, ...]:
    """What can be brought back, the last deleted first. What was kept long enough goes now."""
    found: list[Deleted] = []
    for place in _entries(folder / DELETED):
        until = _time_of(place) + KEPT_SECONDS
        if now >= until:
            shutil.rmtree(place, ignore_errors=True)
            continue
        inner = filter(is_session, _entries(place))
        found += [Deleted(_look(path), until) for path in inner]
    return tuple(sorted(found, key=lambda one: (one.until, one.journal.path), reverse=True))


def _time_of(place: Path) -> float:
    digits = place.name.partition("-")[0]
    return float(digits) if digits.isascii() and digits.isdigit() else 0.0


def restore(deleted: Deleted, folder: Path) -> Path:
    """Bring one back, under another name where its own was taken since.
    Raises InputError: the disk refuses."""
    path = deleted.journal.path
    for number in itertools.count(1):
        name = path.name if number == 1 else f"{path.name}-{number}"
        try:
            if not os.path.lexists(folder / name):
                path.rename(folder / name)
                break
        except OSError as error:
            problem = f"`{path.name}` cannot be brought back: {error.strerror or error}"
            raise InputError(problem, hint="gemma-edge sessions") from None
    with contextlib.suppress(OSError):
        path.parent.rmdir()
    return folder / name


def prune(
    folder: Path, *, max_bytes: int = MAX_BYTES, keep: Sequence[Path] = (),
    now: float | None = None,
) -> tuple[str, ...]:  # fmt: skip
    """Bring the sessions within ``max_bytes``: what was deleted goes first, then, the oldest first,
    their caches, which can be read again, and only where what was said is too much by itself, whole
    sessions. Those of ``keep`` lose their cache last and nothing else, those that are open nothing.
    Returns what was done, in sentences."""
    deleted = list_deleted(folder, time.time() if now is None else now)
    excess = sum(_size(path) for path in _entries(folder) if path.is_dir()) - max_bytes
    said: list[str] = []
    for gone in reversed(deleted):
        if excess > 0:
            excess -= gone.journal.size_bytes
            shutil.rmtree(gone.journal.path.parent, ignore_errors=True)
            said.append(
                f"session `{gone.journal.name}`, which was deleted, is gone: no room for it"
            )
    oldest_first = sorted(reversed(list_journals(folder)), key=lambda one: one.path in keep)
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
            excess -= remove(one.path, forever=True)
        except InputError:  # it is open
            continue
        said.append(
            f"session `{one.name}` ({one.title}) was deleted: all sessions together take more "
            f"than {render_bytes(max_bytes)}"
        )
    return tuple(said)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _look(path: Path) -> Listed:
    size, cache, changed = _size(path), 0, 0.0
    with contextlib.suppress(OSError):
        changed = (path / FILE).stat().st_mtime
        cache = (path / CACHE).stat().st_size
    try:
        history = read_history(path, lambda _: None)
    except InputError as error:
        return Listed(path=path, changed=changed, size_bytes=size, cache_bytes=cache,
                      problem=error.message)  # fmt: skip
    return Listed(
        path=path, title=history.title, model=history.model, created=history.created,
        changed=changed, questions=history.questions, size_bytes=size, cache_bytes=cache,
        said=history.last_question is not None or bool(history.earlier),
    )  # fmt: skip


def _size(path: Path) -> int:
    return sum(_sizes(path))


def _sizes(path: Path) -> Iterator[int]:
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):  # another process was faster
            yield file.stat().st_size if file.is_file() else 0


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
