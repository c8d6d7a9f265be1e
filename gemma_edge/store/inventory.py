"""What is on disk: list it, check it, delete it, take a file in. Opens no socket."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_edge.errors import GemmaEdgeError
from gemma_edge.store.download import default_cache_dir, delete_blobs
from gemma_edge.store.failures import explain_disk
from gemma_edge.store.layout import PARTIAL_SUFFIX, named_hash
from gemma_edge.store.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One GGUF file on disk. ``where`` is ``cache``, ``models`` (plain files) or ``incomplete``
    (a part that ``ensure`` goes on with). ``repo`` and ``commit`` are empty where the path does not
    tell; ``last_used`` is in seconds since 1970, as exact as the disk keeps it; ``sha256`` is what
    the cache promises by the blob's name."""

    path: Path
    where: str
    repo: str
    file: str
    commit: str
    size_bytes: int
    last_used: float
    sha256: str | None = None

    @property
    def name(self) -> str:
        """As people write it."""
        return f"hf:{self.repo}/{self.file}" if self.repo else self.file


@dataclass(frozen=True, slots=True)
class Removal:
    """What would be deleted, and how many bytes that frees: a file that has another name
    somewhere (a second snapshot, a plain copy on the same disk) frees nothing."""

    files: tuple[StoredFile, ...]
    blobs: frozenset[Path]
    freed_bytes: int
    cache_dir: Path
    roots: frozenset[Path]  # folders that stay, however empty


def list_files(settings: StoreSettings) -> list[StoredFile]:
    """Every GGUF file in the cache, among the plain files and the imported ones, and every part
    of one, sorted by name.

    Raises:
        GemmaEdgeError: a folder cannot be read.
    """
    cache = _cache_dir(settings)
    found: list[StoredFile] = []
    try:
        found += _iter_cache(cache)
        for folder in dict.fromkeys((settings.models_dir, settings.data_dir / "models")):
            found += _iter_plain(folder) if folder else ()
    except OSError as error:
        raise explain_disk(error, Path(error.filename or cache)) from None
    return sorted(found, key=lambda stored: (stored.name, stored.commit, str(stored.path)))


def _cache_dir(settings: StoreSettings) -> Path:
    return Path(os.path.abspath(settings.cache_dir or default_cache_dir()))


def _iter_cache(cache: Path) -> Iterator[StoredFile]:
    for folder in cache.glob("models--*--*"):
        repo = folder.name.removeprefix("models--").replace("--", "/", 1)
        for path in folder.glob("snapshots/*/**/*"):
            if path.suffix.lower() == ".gguf" and path.is_file():
                commit, _, name = path.relative_to(folder / "snapshots").as_posix().partition("/")
                yield stored_file(path, "cache", repo, name, commit)
        for path in folder.glob("blobs/*" + PARTIAL_SUFFIX):
            yield stored_file(path, "incomplete", repo, path.name.removesuffix(PARTIAL_SUFFIX), "")


def _iter_plain(folder: Path) -> Iterator[StoredFile]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        owner, name = parts[:2], "/".join(parts[2:])
        repo = "/".join(owner) if name else ""
        if path.name.endswith(PARTIAL_SUFFIX) and path.is_file():
            yield stored_file(path, "incomplete", repo, name or path.name, "")
        elif path.suffix.lower() == ".gguf" and path.is_file():
            yield stored_file(path, "models", repo, name or "/".join(parts), "")


def stored_file(path: Path, where: str, repo: str, name: str, commit: str) -> StoredFile:
    """The facts of one that is there."""
    facts = path.stat()
    used = max(facts.st_atime, facts.st_mtime)
    return StoredFile(path, where, repo, name, commit, facts.st_size, used, named_hash(path))


def plan_removal(files: Sequence[StoredFile], settings: StoreSettings) -> Removal:
    """What deleting these would do; nothing is touched."""
    cache = _cache_dir(settings)
    leaving = {stored.path for stored in files}
    blobs, freed = set(), 0
    for stored in files:
        blob = _blob(stored.path, cache)
        if blob is None:
            freed += 0 if stored.path.is_symlink() or _names(stored.path) > 1 else stored.size_bytes
        elif blob not in blobs and not _still_needed(blob, leaving, cache):
            blobs.add(blob)
            freed += stored.size_bytes if _frees(blob, cache) else 0
    roots = frozenset({cache, settings.import_dir, settings.data_dir / "models"})
    return Removal(tuple(files), frozenset(blobs), freed, cache, roots)


def _blob(path: Path, cache: Path) -> Path | None:
    """What a name in the cache points to. None for a file in its own right, and for a link that
    a person made: what that leads to is theirs."""
    if not path.is_symlink():
        return None
    target = Path(os.path.normpath(path.parent / os.readlink(path)))
    inside = target.parent.name == "blobs" and target.parent.parent.parent == cache
    return target if inside else None


def _still_needed(blob: Path, leaving: set[Path], cache: Path) -> bool:
    """Another name in the same repository's folder points to it."""
    snapshots = blob.parent.parent / "snapshots"
    return any(
        path not in leaving and _blob(path, cache) == blob for path in snapshots.glob("*/**/*")
    )


def _names(path: Path) -> int:
    return path.stat().st_nlink


def _frees(blob: Path, cache: Path) -> bool:
    """A blob in the store shared between repositories lives on while another one has it."""
    if not blob.is_symlink():
        return _names(blob) == 1
    target = blob.resolve()
    others = (path for path in cache.glob("models--*/blobs/*") if path != blob)
    return not any(path.is_symlink() and path.resolve() == target for path in others)


def remove(removal: Removal) -> None:
    """Delete what was planned: the names first, then what they pointed to.

    Raises:
        GemmaEdgeError: a file cannot be deleted.
    """
    for stored in removal.files:
        try:
            stored.path.unlink(missing_ok=True)
        except OSError as error:
            raise explain_disk(error, stored.path) from None
        for folder in list(stored.path.parents)[:3]:  # empty ones go too, the repository's stays
            if folder.name in ("snapshots", "blobs") or folder in removal.roots:
                break
            with contextlib.suppress(OSError):
                folder.rmdir()
    if removal.blobs:
        delete_blobs(removal.cache_dir, removal.blobs)
    left = [path for path in removal.blobs if os.path.lexists(path)]
    if left:
        raise GemmaEdgeError(f"{left[0]} cannot be deleted", hint="check its permissions")
