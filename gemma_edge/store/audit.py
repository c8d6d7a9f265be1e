"""Prove what is on disk: every file is read and hashed again, whatever was remembered of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gemma_edge.store.inventory import StoredFile, list_files
from gemma_edge.store.lock import Locks
from gemma_edge.store.progress import Meter, Progress
from gemma_edge.store.settings import StoreSettings
from gemma_edge.store.verify import CheckedHashes, hash_file


@dataclass(frozen=True, slots=True)
class Verdict:
    """``state``: ``right``, ``wrong``, ``unknown`` (nothing to compare with) or ``unreadable``.

    ``said_by`` is ``lock`` or ``hub`` (the name that the cache gave the file), or empty.
    """

    path: Path
    name: str
    state: str
    expected: str | None
    sha256: str | None
    said_by: str
    reason: str = ""


def verify(
    settings: StoreSettings,
    *,
    files: Sequence[StoredFile] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[Verdict]:
    """One verdict a file, as each is done; by default all that are on disk, parts left out.
    Opens no socket, deletes nothing."""
    audit = _Audit(settings, on_progress or (lambda _: None))
    for stored in list_files(settings) if files is None else files:
        if stored.where != "incomplete":
            yield audit.judge(stored)


class _Audit:
    def __init__(self, settings: StoreSettings, listen: Callable[[Progress], None]) -> None:
        self._entries = Locks(settings).all()
        self._checked = CheckedHashes(settings.data_dir / "checked.json")
        self._listen, self._clock = listen, settings.clock
        self._seen: dict[Path, str] = {}  # two names of one file are read once in one run

    def judge(self, stored: StoredFile) -> Verdict:
        """Read it, and compare."""
        expected, said_by = self._promise(stored)
        found = partial(Verdict, stored.path, stored.name, expected=expected, said_by=said_by)
        try:
            sha256 = self._hash(stored)
        except OSError as error:
            return found(state="unreadable", sha256=None, reason=error.strerror or str(error))
        state = "unknown" if expected is None else "right" if sha256 == expected else "wrong"
        return found(state=state, sha256=sha256)

    def _hash(self, stored: StoredFile) -> str:
        meter = Meter(stored.name, self._listen, self._clock, total_bytes=stored.size_bytes)
        real = stored.path.resolve()
        if real not in self._seen:
            self._seen[real] = hash_file(real, meter.checked)
            self._checked.put(real, self._seen[real])
        meter.done_bytes = stored.size_bytes
        meter.tell("done")
        return self._seen[real]

    def _promise(self, stored: StoredFile) -> tuple[str | None, str]:
        """The lock's word for the revision it names, else the name in the cache."""
        entry = self._entries.get((stored.repo, stored.file))
        if entry is not None and stored.commit in ("", entry.revision):
            return entry.sha256, "lock"
        return (stored.sha256, "hub") if stored.sha256 else (None, "")
