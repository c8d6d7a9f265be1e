"""What is on this machine already, found by its hash where one is known."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gemma_edge.errors import GemmaEdgeError
from gemma_edge.store.download import default_cache_dir
from gemma_edge.store.failures import explain_disk
from gemma_edge.store.layout import PARTIAL_SUFFIX, iter_cached, named_hash, plain_path
from gemma_edge.store.lock import LockEntry, Locks
from gemma_edge.store.remote import RemoteFile
from gemma_edge.store.settings import StoreSettings
from gemma_edge.store.space import check_space
from gemma_edge.store.verify import CheckedHashes, hash_once

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which bytes a file has to be; ``sha256`` is None when the newest will do.

    ``any_revision``: the hash alone says it, at whichever revision it lies on disk.
    """

    revision: str
    sha256: str | None
    said_by: str
    entry: LockEntry | None = None
    any_revision: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """A file on disk whose hash was checked; ``commit`` is empty where nobody knows it."""

    path: Path
    commit: str
    sha256: str


class Shelf:
    """The folders of one run."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.cache_dir = settings.cache_dir or default_cache_dir()
        self.locks = Locks(settings)
        self.checked = CheckedHashes(settings.data_dir / "checked.json")

    def decide(self, file: RemoteFile, *, accept: bool) -> Wanted:
        """The lock's word first, then the catalogue's; with ``accept`` what is upstream now."""
        if accept:
            return Wanted(file.revision or "main", None, "nobody")
        locked = self.locks.find(file.repo, file.filename)
        if locked is None:
            return Wanted(file.revision or "main", file.sha256, "the catalogue")
        entry, path = locked
        same = file.revision in (None, entry.revision) or file.sha256 is not None
        return Wanted(
            file.revision or entry.revision or "main", entry.sha256,
            f"{path} ({entry.date.isoformat()})", entry, any_revision=same,
        )  # fmt: skip

    def find(self, file: RemoteFile, wanted: Wanted, on_bytes: OnBytes | None) -> Found | None:
        """The file on disk, if its bytes are the ones wanted.

        Raises:
            GemmaEdgeError: it is there and cannot be read or placed.
        """
        models_dir = self.settings.models_dir
        plain = plain_path(models_dir, file) if models_dir else None
        try:
            if plain is not None and plain.is_file():
                sha256 = hash_once(plain, self.checked, on_bytes)
                if sha256 == (wanted.sha256 or sha256):
                    commit = wanted.entry.revision if wanted.entry else ""
                    return Found(plain, commit, sha256)
            cached = self._find_cached(file, wanted, on_bytes)
            return self._as_plain(cached, plain) if cached and plain else cached
        except OSError as error:
            raise explain_disk(error, plain or self.cache_dir) from None

    def _find_cached(
        self, file: RemoteFile, wanted: Wanted, on_bytes: OnBytes | None
    ) -> Found | None:
        revision = None if wanted.sha256 and wanted.any_revision else wanted.revision
        for path, commit in iter_cached(self.cache_dir, file, revision):
            expected = wanted.sha256 or named_hash(path)
            if named_hash(path) not in (None, expected):
                continue  # another version of the file; no need to read it
            sha256 = hash_once(path, self.checked, on_bytes)
            if sha256 == (expected or sha256):
                return Found(path, commit, sha256)
        return None

    def _as_plain(self, found: Found, plain: Path) -> Found:
        """A plain file was asked for: a second name for the cached one, a copy across disks."""
        plain.parent.mkdir(parents=True, exist_ok=True)
        fresh = plain.with_name(f".{plain.name}.{os.getpid()}{PARTIAL_SUFFIX}")
        source = found.path.resolve()
        try:
            try:
                os.link(source, fresh)
            except OSError:
                check_space({plain.parent: source.stat().st_size})
                shutil.copyfile(source, fresh)
            os.replace(fresh, plain)
        finally:
            fresh.unlink(missing_ok=True)
        self.checked.put(plain, found.sha256)
        return Found(plain, found.commit, found.sha256)

    def remember(self, file: RemoteFile, found: Found, *, certain: bool) -> None:
        """Into the lock. A file that only was found may lie on a disk that cannot be written;
        one that was fetched (``certain``) has to be provable.

        Raises:
            GemmaEdgeError: the lock cannot be written.
        """
        size = found.path.stat().st_size
        try:
            self.locks.record(
                file.repo, found.commit, file.filename, size=size, sha256=found.sha256
            )
        except GemmaEdgeError:
            if certain:
                raise
