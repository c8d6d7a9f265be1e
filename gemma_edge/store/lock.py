"""``gemma-edge.lock``: which bytes were fetched, so that it can be proved a year later.

One file a person (``data_dir``), and one a project where it has one, whose word counts first where
the person trusts it. TOML, written whole to a temporary file and renamed, with entries in a fixed
order, so it can live in version control.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from gemma_edge import catalog
from gemma_edge.disk import write_atomically
from gemma_edge.errors import GemmaEdgeError, InputError, UsageError
from gemma_edge.records import dataclass
from gemma_edge.store.remote import RemoteFile, StoreSettings
from gemma_edge.trust import parse_toml
from gemma_edge.units import render_bytes

_VERSION = 1
_MOST_BYTES = 4 << 20  # 20,000 entries
_MOST_KEY = 100  # characters before a value
_SHORT = 12  # hex digits that tell two hashes apart
_MOST_TRUSTED = 200  # contents of projects' locks
_HEADER = """\
# The model files that were fetched, and what they have to be. Written by gemma-edge.
# Another hash upstream is refused until it is accepted: gemma-edge pull NAME --accept-change
"""


@dataclass(frozen=True, slots=True)
class LockEntry:
    """One file. ``repo`` and ``revision`` (a commit) are empty for one that was imported."""

    repo: str
    revision: str
    file: str
    size: int
    sha256: str
    date: date


Entries = dict[tuple[str, str], LockEntry]


def read_lock(path: Path) -> Entries:
    """The entries by (repo, file); none when there is no such file.
    Raises InputError: it is not a lock file of this version."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"larger than {render_bytes(_MOST_BYTES)}")
        text = data.decode("utf-8")
        if not all(map(_is_entry_line, text.split("\n"))):
            raise ValueError("a key that no lock has")
        content = parse_toml(text)
        if content.get("version") != _VERSION:
            raise ValueError(f"version {content.get('version')!r}, expected {_VERSION}")
        entries = [_parse_entry(entry) for entry in content.get("file", [])]
    except FileNotFoundError:
        return {}
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error})"
        raise InputError(message, hint="check the path and its permissions") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        reason = "no UTF-8" if isinstance(error, UnicodeDecodeError) else reason
        message = f"{path} is not a lock file ({reason})"
        raise InputError(message, hint="mend it, or delete it") from None
    return {(entry.repo, entry.file): entry for entry in entries}


def _is_entry_line(line: str) -> bool:
    """Whether a line can be of a lock: a key of many parts takes the square of their number."""
    key, _, value = line.partition("=")
    is_plain = len(key) <= _MOST_KEY and not value.lstrip().startswith(("{", "["))
    return is_plain or line.lstrip().startswith("#")


def _parse_entry(entry: dict[str, Any]) -> LockEntry:
    texts = {key: entry[key] for key in ("repo", "revision", "file", "sha256")}
    if not all(isinstance(value, str) for value in texts.values()):
        raise ValueError("repo, revision, file and sha256 have to be text")
    if len(texts["sha256"]) != 64 or set(texts["sha256"]) - set("0123456789abcdef"):  # noqa: PLR2004
        raise ValueError(f"sha256 {texts['sha256']!r} is not 64 hex digits")
    if type(entry["size"]) is not int or entry["size"] < 0 or type(entry["date"]) is not date:
        raise ValueError("size has to be a number and date a date")
    if texts["repo"]:  # else it was imported
        try:
            RemoteFile(texts["repo"], texts["file"], texts["revision"] or None)
        except UsageError as error:
            raise ValueError(error.message) from None
    return LockEntry(**texts, size=entry["size"], date=entry["date"])


def render_lock(entries: Entries) -> str:
    blocks = [f"{_HEADER}version = {_VERSION}\n"]
    for _, entry in sorted(entries.items()):
        lines = ["[[file]]"]
        for key in ("repo", "revision", "file", "size", "sha256"):
            # A TOML basic string is JSON's, but that TOML allows no DEL.
            text = json.dumps(getattr(entry, key), ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{key} = {text}")
        blocks.append("\n".join([*lines, f"date = {entry.date.isoformat()}\n"]))
    return "\n".join(blocks)


class Locks:
    """The lock files of one run: the person's, and the project's where there is one.

    A folder that was unpacked may bring a lock. Where it says what the catalogue and the person's
    own lock say too, it changes nothing. Where it decides, a person is asked, once for each content
    of the file, and what it decided never comes into the person's own lock."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._own, self._project = settings.user_lock, settings.project_lock
        self._clock = settings.clock
        self._guard = settings.data_dir / "gemma-edge.lock.writing"  # not among a project's files
        self._trusted = settings.data_dir / "trusted-locks"  # a sha256 a line

    def find(self, repo: str, file: str) -> tuple[LockEntry, Path] | None:
        """The entry that counts, and the lock file it stands in.
        Raises UsageError: a project's lock would decide, and nobody can be asked whether it may."""
        own = read_lock(self._own).get((repo, file))
        if self._project is not None:
            theirs = read_lock(self._project).get((repo, file))
            same = theirs is not None and own is not None and theirs.sha256 == own.sha256
            if theirs is not None and not same and self._counts(theirs, own, self._project):
                return theirs, self._project
        return (own, self._own) if own else None

    def is_decided(self, entry: LockEntry, path: Path) -> bool:
        """Whether a project's lock alone says that a file is this one."""
        return path == self._project and entry.sha256 != _measured(entry)

    def record(  # noqa: PLR0913  (the parts of an entry)
        self, repo: str, revision: str, file: str, *, size: int, sha256: str, own: bool = True
    ) -> None:
        """Write the entry into every lock file, unless the same bytes stand there already; not into
        the person's own where a project's lock alone decided (not ``own``).
        Raises GemmaEdgeError: a lock file cannot be written."""
        today = datetime.fromtimestamp(self._clock(), tz=timezone.utc).date()
        fresh = LockEntry(repo, revision, file, size, sha256, today)
        paths = [self._own] if own else []
        if self._project is not None and _digest(self._project) not in self._settings.refused_locks:
            paths.insert(0, self._project)
        for path in paths:
            try:
                with one_writer(self._guard):  # or two pulls that end together lose an entry
                    self._write(path, fresh)
            except OSError as error:
                message = f"{path} cannot be written ({error.strerror or error})"
                hint = "check the folder's permissions and its free space"
                raise GemmaEdgeError(message, hint=hint) from None

    def _write(self, path: Path, fresh: LockEntry) -> None:
        entries = read_lock(path)
        key = fresh.repo, fresh.file
        old = entries.get(key)
        if old is None or (old.sha256, old.revision) != (fresh.sha256, fresh.revision):
            known = path == self._project and self._is_trusted(path)
            write_atomically(path, render_lock(entries | {key: fresh}))
            if known:
                self._trust(path)

    # Whether a project's lock counts.

    def _counts(self, theirs: LockEntry, own: LockEntry | None, path: Path) -> bool:
        known = own.sha256 if own else _measured(theirs)
        if theirs.sha256 == known or self._settings.trust_lock or self._is_trusted(path):
            return True
        if (digest := _digest(path)) in self._settings.refused_locks:
            return False
        other = "this machine's lock" if own else "the catalogue" if known else "nobody else"
        than = f"{other} says {known[:_SHORT]}…" if known else f"{other} says what it is"
        said = (
            f"{path} decides what hf:{theirs.repo}/{theirs.file} is: sha256 "
            f"{theirs.sha256[:_SHORT]}…, where {than}"
        )
        if self._settings.ask is None:
            hint = "--trust-lock takes its word, if you know where that file is from"
            raise UsageError(said, hint=hint)
        if self._settings.ask(f"{said}; trust that file?"):
            self._trust(path)
            return True
        self._settings.refused_locks.add(digest)
        return False

    def _is_trusted(self, path: Path) -> bool:
        try:
            return _digest(path) in self._trusted.read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return False

    def _trust(self, path: Path) -> None:
        """Until it is another one. A disk that cannot be written asks again."""
        guard = self._trusted.with_suffix(".writing")
        with contextlib.suppress(OSError), one_writer(guard):
            known = self._trusted.read_text("ascii").split() if self._trusted.exists() else []
            kept = dict.fromkeys([*known[-_MOST_TRUSTED:], _digest(path)])
            write_atomically(self._trusted, "".join(f"{each}\n" for each in kept))


def _measured(entry: LockEntry) -> str | None:
    """The hash that the catalogue has of a file."""
    known = catalog.find_file(entry.repo, entry.file)
    return known.sha256 if known else None


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


@contextlib.contextmanager
def one_writer(guard: Path) -> Iterator[None]:
    """One process at a time."""
    from filelock import FileLock  # noqa: PLC0415  (0.1 s, and only a writer needs it)

    guard.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(guard):
        yield
