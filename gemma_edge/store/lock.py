"""``gemma-edge.lock``: which bytes were fetched, so that it can be proved a year later.

One file a person (``data_dir``), and one a project where it has one; the project's word counts
first. TOML, written whole to a temporary file and renamed, with entries in a fixed order, so it
can live in version control.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from gemma_edge.disk import write_atomically
from gemma_edge.errors import GemmaEdgeError, InputError
from gemma_edge.records import dataclass
from gemma_edge.store.remote import StoreSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_VERSION = 1
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
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        if content.get("version") != _VERSION:
            raise ValueError(f"version {content.get('version')!r}, expected {_VERSION}")
        entries = [_parse_entry(entry) for entry in content.get("file", [])]
    except FileNotFoundError:
        return {}
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error})"
        raise InputError(message, hint="check the path and its permissions") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        reason = "no UTF-8" if isinstance(error, UnicodeDecodeError) else reason
        message = f"{path} is not a lock file ({reason})"
        raise InputError(message, hint="mend it, or delete it") from None
    return {(entry.repo, entry.file): entry for entry in entries}


def _parse_entry(entry: dict[str, Any]) -> LockEntry:
    texts = {key: entry[key] for key in ("repo", "revision", "file", "sha256")}
    if not all(isinstance(value, str) for value in texts.values()):
        raise ValueError("repo, revision, file and sha256 have to be text")
    if len(texts["sha256"]) != 64 or set(texts["sha256"]) - set("0123456789abcdef"):  # noqa: PLR2004
        raise ValueError(f"sha256 {texts['sha256']!r} is not 64 hex digits")
    if type(entry["size"]) is not int or type(entry["date"]) is not date:
        raise ValueError("size has to be a number and date a date")
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
    """The lock files of one run: the project's where there is one, and the person's."""

    def __init__(self, settings: StoreSettings) -> None:
        project = settings.project_lock
        self._paths = [path for path in (project, settings.user_lock) if path is not None]
        self._clock = settings.clock
        self._guard = settings.data_dir / "gemma-edge.lock.writing"  # not among a project's files

    def find(self, repo: str, file: str) -> tuple[LockEntry, Path] | None:
        """The entry that counts, and the lock file it stands in."""
        for path in self._paths:
            entry = read_lock(path).get((repo, file))
            if entry is not None:
                return entry, path
        return None

    def all(self) -> Entries:
        """Every entry; the project's over the person's."""
        entries: Entries = {}
        for path in reversed(self._paths):
            entries |= read_lock(path)
        return entries

    def record(self, repo: str, revision: str, file: str, *, size: int, sha256: str) -> None:
        """Write the entry into every lock file, unless the same bytes stand there already.
        Raises GemmaEdgeError: a lock file cannot be written."""
        today = datetime.fromtimestamp(self._clock(), tz=timezone.utc).date()
        fresh = LockEntry(repo, revision, file, size, sha256, today)
        for path in self._paths:
            try:
                with one_writer(self._guard):  # or two pulls that end together lose an entry
                    entries = read_lock(path)
                    old = entries.get((repo, file))
                    if old is None or (old.sha256, old.revision) != (sha256, revision):
                        write_atomically(path, render_lock(entries | {(repo, file): fresh}))
            except OSError as error:
                message = f"{path} cannot be written ({error.strerror or error})"
                hint = "check the folder's permissions and its free space"
                raise GemmaEdgeError(message, hint=hint) from None


@contextlib.contextmanager
def one_writer(guard: Path) -> Iterator[None]:
    """One process at a time."""
    from filelock import FileLock  # noqa: PLC0415  (0.1 s, and only a writer needs it)

    guard.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(guard):
        yield
