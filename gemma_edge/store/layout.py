"""Where a file lies on disk: in the Hugging Face cache, or as a plain file.

The cache's layout is the library's documented one (blobs named by their hash, snapshots of links
to them, refs from names to commits), so what is fetched here is found by every other program, and
the other way round. Only the name of the part that is still coming in is ours: since version 2 the
library throws its own part away when a download stops.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemma_edge.store.remote import RemoteFile

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
PARTIAL_SUFFIX = ".gemma-edge.incomplete"  # the cache's own clean-up removes *.incomplete


@dataclass(frozen=True, slots=True)
class Place:
    """``final`` is what callers open, ``blob`` where the bytes lie (the same for a plain file),
    ``partial`` what has come in so far, ``lock`` the file that two processes take turns on;
    ``ref`` is written with ``commit`` when a branch or a tag was asked for."""

    final: Path
    blob: Path
    partial: Path
    lock: Path
    commit: str
    ref: Path | None = None


def cache_folder(cache: Path, repo: str) -> Path:
    """The repository's folder in the cache."""
    return cache / ("models--" + repo.replace("/", "--"))


def cache_place(cache: Path, file: RemoteFile, commit: str, etag: str, revision: str) -> Place:
    """In the cache; ``etag`` names the blob, ``revision`` is what was asked for."""
    folder = cache_folder(cache, file.repo)
    blob = folder / "blobs" / etag
    return Place(
        final=folder.joinpath("snapshots", commit, *file.filename.split("/")),
        blob=blob,
        partial=blob.with_name(etag + PARTIAL_SUFFIX),
        lock=cache / ".locks" / folder.name / f"{etag}.lock",  # the library's own lock
        commit=commit,
        ref=None if COMMIT.fullmatch(revision) else folder.joinpath("refs", *revision.split("/")),
    )


def plain_path(models_dir: Path, file: RemoteFile) -> Path:
    """As a plain file."""
    return models_dir.joinpath(*file.repo.split("/"), *file.filename.split("/"))


def plain_place(models_dir: Path, file: RemoteFile, commit: str, etag: str) -> Place:
    """As a plain file, with what belongs to the download beside it."""
    final = plain_path(models_dir, file)
    name = f".{final.name}.{etag[:16]}"
    return Place(
        final=final,
        blob=final,
        partial=final.with_name(name + PARTIAL_SUFFIX),
        lock=models_dir / ".locks" / file.repo.replace("/", "--") / f"{etag}.lock",
        commit=commit,
    )


def publish(place: Place) -> None:
    """Make what has come in, and was checked, visible under its name.

    Raises:
        OSError: the disk or its permissions.
    """
    if place.partial.exists():
        os.replace(place.partial, place.blob)
    if place.final != place.blob:
        _link(place.blob, place.final)
    if place.ref is not None:
        place.ref.parent.mkdir(parents=True, exist_ok=True)
        writer = f"{os.getpid()}.{threading.get_ident()}"  # two files of one repository
        fresh = place.ref.with_name(f"{place.ref.name}.{writer}.tmp")
        fresh.write_text(place.commit, encoding="ascii")
        os.replace(fresh, place.ref)


def _link(blob: Path, final: Path) -> None:
    """A relative link; where links are not allowed (Windows) the file itself, as the library."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(final):
        if final.is_symlink() and final.resolve() == blob.resolve():
            return
        final.unlink()
    try:
        final.symlink_to(os.path.relpath(blob, final.parent))
    except FileExistsError:  # another process was faster
        return
    except (OSError, NotImplementedError):
        os.replace(blob, final)


def iter_cached(cache: Path, file: RemoteFile, revision: str | None) -> Iterator[tuple[Path, str]]:
    """The file in the cache, with its commit: at a revision, or at any (None)."""
    folder = cache_folder(cache, file.repo)
    if revision is None:
        commits = sorted(path.name for path in _entries(folder / "snapshots"))
    elif COMMIT.fullmatch(revision):
        commits = [revision]
    else:
        commits = []
        with contextlib.suppress(OSError, UnicodeDecodeError):
            ref = folder.joinpath("refs", *revision.split("/"))
            commits = [ref.read_text(encoding="ascii").strip()]
    for commit in commits:
        path = folder.joinpath("snapshots", commit, *file.filename.split("/"))
        if COMMIT.fullmatch(commit) and path.is_file():
            yield path, commit


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def named_hash(path: Path) -> str | None:
    """The sha256 that the cache promises by the blob's name; None for other files. Only the first
    link counts: where it leads on, to a store shared by repositories, names are Xet's hashes."""
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    return name if SHA256.fullmatch(name) else None
