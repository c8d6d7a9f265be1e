"""Model files on disk: where they lie, listed, proven, deleted, imported. Opens no socket.

A file lies in the Hugging Face cache or as a plain file. The cache's layout is the library's
documented one (blobs named by their hash, snapshots of links to them, refs from names to commits),
so what is fetched here is found by every other program, and the other way round. Only the name of
the part that is still coming in is ours: since version 2 the library throws its own part away when
a download stops.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from gemma_edge.disk import PARTIAL_SUFFIX, beside, create, put, write_atomically
from gemma_edge.errors import DoesNotFit, GemmaEdgeError, InputError, ModelError
from gemma_edge.records import dataclass
from gemma_edge.store.hub import NEWEST, default_cache_dir, delete_blobs
from gemma_edge.store.lock import LockEntry, Locks
from gemma_edge.store.remote import (
    COMMIT,
    SHA256,
    Listener,
    ProgressMeter,
    RemoteFile,
    StoreSettings,
)
from gemma_edge.units import render_bytes


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
    Raises GemmaEdgeError: a folder cannot be read."""
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
        path, size = stored.path, stored.size_bytes
        blob = _blob(path, cache)
        if blob is None:
            freed += 0 if path.is_symlink() or path.stat().st_nlink > 1 else size
        elif blob not in blobs and not _still_needed(blob, leaving, cache):
            blobs.add(blob)
            freed += size if _frees(blob, cache) else 0
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
    snapshots = blob.parent.parent / "snapshots"
    return any(
        path not in leaving and _blob(path, cache) == blob for path in snapshots.glob("*/**/*")
    )


def _frees(blob: Path, cache: Path) -> bool:
    """A blob in the store shared between repositories lives on while another one has it."""
    if not blob.is_symlink():
        return blob.stat().st_nlink == 1
    target = blob.resolve()
    others = (path for path in cache.glob("models--*/blobs/*") if path != blob)
    return not any(path.is_symlink() and path.resolve() == target for path in others)


def remove(removal: Removal) -> None:
    """Delete what was planned: the names first, then what they pointed to.
    Raises GemmaEdgeError: a file cannot be deleted."""
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


OnBytes = Callable[[int], None]
_READ_BYTES = 1 << 20  # hashlib lets other threads run above 2 KiB; 1 MiB makes reads cheap


def hash_file(path: Path, on_bytes: OnBytes | None = None) -> str:
    """The file's sha256 in hex; ``on_bytes`` gets the number of bytes done.
    Raises OSError: it cannot be read."""
    digest, done = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as stream:
        if hasattr(os, "posix_fadvise"):  # all of it is read, in order
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            done += count
            if on_bytes is not None:
                on_bytes(done)
    return digest.hexdigest()


class TrailingHash(threading.Thread):
    """Hashes a growing file trailing its writer, so that nothing is read again at the end.

    The bytes come from the page cache; a part from an earlier run is hashed on the way."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True, name="sha256")
        self._path, self._digest = path, hashlib.sha256()
        self._available, self._ended = 0, False
        self._changed = threading.Condition()
        self._error: OSError | None = None
        self.done_bytes = 0

    def written(self, end_bytes: int) -> None:
        """The file is good up to here."""
        with self._changed:
            self._available = end_bytes
            self._changed.notify()

    def abandon(self) -> None:
        """Nobody wants the hash; the file is closed when this returns."""
        with self._changed:
            self._ended, self._available = True, 0
            self._changed.notify()
        self.join()

    def finish(self, on_bytes: Callable[[int], None]) -> str:
        """Wait for the rest; the sha256 in hex.
        Raises OSError: the file could not be read."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        while self.is_alive():
            self.join(0.1)
            on_bytes(self.done_bytes)
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def run(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as stream:
                self._follow(stream.readinto)
        except OSError as error:
            self._error = error

    def _follow(self, read_into: Callable[[memoryview], int | None]) -> None:
        buffer = memoryview(bytearray(_READ_BYTES))
        while True:
            with self._changed:
                while self.done_bytes >= self._available and not self._ended:
                    self._changed.wait()
                available = self._available
            if self.done_bytes >= available:
                return
            count = read_into(buffer[: min(_READ_BYTES, available - self.done_bytes)])
            if not count:
                raise OSError(f"{self._path.name} became shorter while it was written")
            self._digest.update(buffer[:count])
            self.done_bytes += count


class CheckedHashes:
    """Which hash a file had when it was last read: by path, disk, inode, size, and the times of its
    content and of itself, of which the second cannot be set back.

    A file that looks the same is not hashed again. It lives in ``data_dir``; losing it costs time
    and nothing else."""

    def __init__(self, settings: StoreSettings) -> None:
        self._path = settings.data_dir / "checked.json"
        self._guard = threading.Lock()

    def hash(self, path: Path, on_bytes: OnBytes | None = None) -> str:
        """The file's sha256, from memory where it looks unchanged.
        Raises OSError: it cannot be read."""
        before: list[int] = []
        with contextlib.suppress(OSError):
            before = _look(path)
            match self._read().get(str(path.resolve())):
                case [*look, str() as known] if look == before and SHA256.fullmatch(known):
                    return known
        sha256 = hash_file(path, on_bytes)
        with contextlib.suppress(OSError):
            if _look(path) == before:  # else it is another file already
                self.put(path, sha256)
        return sha256

    def put(self, path: Path, sha256: str) -> None:
        """Remember it. Not being able to is no error: it is hashed again then."""
        with self._guard, contextlib.suppress(OSError, UnicodeEncodeError):
            entries = {key: entry for key, entry in self._read().items() if os.path.exists(key)}
            entries[str(path.resolve())] = [*_look(path), sha256]
            write_atomically(self._path, json.dumps(entries, indent=1, sort_keys=True) + "\n")

    def _read(self) -> dict[str, object]:
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


def _look(path: Path) -> list[int]:
    """What changes with a file: its disk and inode, its size, its times in nanoseconds (Windows has
    the time of its making in the place of the last)."""
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


@dataclass(frozen=True, slots=True)
class Expected:
    """Which bytes a file has to be; ``sha256`` is None when the newest will do.

    ``any_revision``: the hash alone says it, at whichever revision it lies on disk;
    ``of_project``: a project's lock alone says it."""

    revision: str
    sha256: str | None
    promised_by: str
    entry: LockEntry | None = None
    any_revision: bool = True
    of_project: bool = False


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on disk whose hash was checked; ``commit`` is empty where nobody knows it."""

    path: Path
    commit: str
    sha256: str


class LocalFiles:
    """The folders of one run."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.cache_dir = settings.cache_dir or default_cache_dir()
        self.locks, self.checked = Locks(settings), CheckedHashes(settings)

    def decide(self, file: RemoteFile, *, accept: bool) -> Expected:
        """The lock's word first, then the catalogue's; with ``accept`` what is upstream now. A
        revision beside a hash is the catalogue's word; a person names one alone."""
        named = file.revision if file.sha256 is None else None
        if accept:
            return Expected(named or NEWEST, None, "nobody")
        locked = self.locks.find(file.repo, file.filename)
        if locked is None:
            return Expected(file.revision or NEWEST, file.sha256, "the catalogue")
        entry, path = locked
        return Expected(
            named or entry.revision or NEWEST, entry.sha256,
            f"{path} ({entry.date.isoformat()})", entry,
            any_revision=named in (None, entry.revision),
            of_project=self.locks.is_decided(entry, path),
        )  # fmt: skip

    def find(
        self, file: RemoteFile, expected: Expected, on_bytes: OnBytes | None
    ) -> LocalFile | None:
        """The file on disk, if its bytes are the ones expected.
        Raises GemmaEdgeError: it is there and cannot be read or placed."""
        models_dir = self.settings.models_dir
        plain = plain_path(models_dir, file) if models_dir else None
        try:
            if plain is not None and plain.is_file():
                sha256 = self.checked.hash(plain, on_bytes)
                if sha256 == (expected.sha256 or sha256):
                    commit = expected.entry.revision if expected.entry else ""
                    return LocalFile(plain, commit, sha256)
            cached = self._find_cached(file, expected, on_bytes)
            return self._as_plain(cached, plain) if cached and plain else cached
        except OSError as error:
            raise explain_disk(error, plain or self.cache_dir) from None

    def _find_cached(
        self, file: RemoteFile, expected: Expected, on_bytes: OnBytes | None
    ) -> LocalFile | None:
        revision = None if expected.sha256 and expected.any_revision else expected.revision
        for path, commit in iter_cached(self.cache_dir, file, revision):
            promised = expected.sha256 or named_hash(path)
            if named_hash(path) not in (None, promised):
                continue  # another version of the file; no need to read it
            sha256 = self.checked.hash(path, on_bytes)
            if sha256 == (promised or sha256):
                return LocalFile(path, commit, sha256)
        return None

    def _as_plain(self, found: LocalFile, plain: Path) -> LocalFile:
        """A plain file was asked for: a second name for the cached one, a copy across disks."""
        source = found.path.resolve()
        with beside(plain, durable=True) as fresh:
            try:
                os.link(source, fresh)
            except OSError:
                check_space({plain.parent: source.stat().st_size})
                _copy(source, fresh)
        self.checked.put(plain, found.sha256)
        return LocalFile(plain, found.commit, found.sha256)

    def remember(
        self, file: RemoteFile, found: LocalFile, *, certain: bool, own: bool = True
    ) -> None:
        """Into the lock. A file that only was found may lie on a disk that cannot be written;
        one that was fetched (``certain``) has to be provable. ``own``: into the person's too.
        Raises GemmaEdgeError: the lock cannot be written."""
        size, sha256 = found.path.stat().st_size, found.sha256
        try:
            self.locks.record(
                file.repo, found.commit, file.filename, size=size, sha256=sha256, own=own
            )
        except GemmaEdgeError:
            if certain:
                raise


@dataclass(frozen=True, slots=True)
class Verification:
    """``state``: ``right``, ``wrong``, ``unknown`` (nothing to compare with) or ``unreadable``.

    ``promised_by`` is ``lock`` or ``hub`` (the name that the cache gave the file), or empty."""

    path: Path
    name: str
    state: str
    expected: str | None
    sha256: str | None
    promised_by: str
    reason: str = ""


def verify(
    settings: StoreSettings,
    *,
    files: Sequence[StoredFile] | None = None,
    on_progress: Listener | None = None,
) -> Iterator[Verification]:
    """One verdict a file, as each is done; by default all that are on disk, parts left out.
    Opens no socket, deletes nothing."""
    locks, checked = Locks(settings), CheckedHashes(settings)
    seen: dict[Path, str] = {}  # two names of one file are read once in one run
    for stored in list_files(settings) if files is None else files:
        if stored.where == "incomplete":
            continue
        # The lock's word for the revision it names, else the name in the cache.
        locked = locks.find(stored.repo, stored.file)
        expected, promised_by = stored.sha256, "hub" if stored.sha256 else ""
        if locked is not None and stored.commit in ("", locked[0].revision):
            expected, promised_by = locked[0].sha256, "lock"
        found = partial(
            Verification, stored.path, stored.name, expected=expected, promised_by=promised_by
        )
        meter = ProgressMeter(stored.name, on_progress, settings, stored.size_bytes)
        real = stored.path.resolve()
        try:
            if real not in seen:
                seen[real] = hash_file(real, meter.checked)
                checked.put(real, seen[real])
        except OSError as error:
            yield found(state="unreadable", sha256=None, reason=error.strerror or str(error))
            continue
        meter.finish()
        state = "unknown" if expected is None else "right" if seen[real] == expected else "wrong"
        yield found(state=state, sha256=seen[real])


def import_file(
    source: Path, settings: StoreSettings, *, on_progress: Listener | None = None
) -> StoredFile:
    """Copy the file into ``settings.import_dir``, hash it on the way and lock it. The same bytes
    under the same name are there already: nothing is done.
    Raises InputError: there is no such file, or it cannot be read; ModelError: it is not a GGUF
    file, or another one has this name already; DoesNotFit: the disk is too small; GemmaEdgeError:
    the disk or its permissions."""
    size = _check_source(source)
    target, checked = settings.import_dir / source.name, CheckedHashes(settings)
    meter = ProgressMeter(source.name, on_progress, settings, size)
    try:
        if target.exists():
            sha256, fresh = checked.hash(target), checked.hash(source, meter.checked)
            if sha256 != fresh:
                message = f"{target} is another file of the same name"
                raise ModelError(
                    f"{message} (sha256 {sha256} there, {fresh} of {source})",
                    hint=f"rename one of them, or: gemma-edge rm {target.name}",
                )
        else:
            check_space({target.parent: size})
            with beside(target, durable=True) as path:
                sha256 = _copy_hashed(source, path, meter)
            checked.put(target, sha256)
    except OSError as error:
        raise explain_disk(error, target, size) from None
    Locks(settings).record("", "", source.name, size=size, sha256=sha256)
    meter.done_bytes = size
    meter.finish()
    return stored_file(target, "models", "", source.name, "")


def _check_source(source: Path) -> int:
    try:
        source.name.encode("utf-8")
        with source.open("rb") as stream:
            magic = stream.read(4)
            size = stream.seek(0, os.SEEK_END)
    except UnicodeEncodeError:
        message = f"the name {source.name!r} cannot be written down"
        raise InputError(message, hint="rename the file") from None
    except OSError as error:
        message = f"{source} cannot be read ({error.strerror or error})"
        raise InputError(message, hint="check the path") from None
    if magic != b"GGUF":
        raise ModelError(f"{source} is not a GGUF file", hint="models for llama.cpp end in .gguf")
    return size


def _copy(source: Path, path: Path) -> None:
    with source.open("rb") as origin, create(path) as copy:
        shutil.copyfileobj(origin, copy, _READ_BYTES)
        copy.flush()
        os.fsync(copy.fileno())


def _copy_hashed(source: Path, path: Path, meter: ProgressMeter) -> str:
    with source.open("rb") as origin, create(path, buffering=0) as copy:
        trailing, position = TrailingHash(path), 0
        trailing.start()
        try:
            while block := origin.read(_READ_BYTES):
                rest = memoryview(block)
                while rest:
                    count = copy.write(rest)
                    rest, position = rest[count:], position + count
                trailing.written(position)
                meter.add(len(block))
            os.fsync(copy.fileno())
            return trailing.finish(meter.checked)
        finally:
            trailing.abandon()


def explain_disk(error: OSError, path: Path, missing_bytes: int | None = None) -> GemmaEdgeError:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        left = f"; {render_bytes(missing_bytes)} are still to come" if missing_bytes else ""
        return DoesNotFit(
            f"{path.parent} is full ({reason}){left}",
            hint="free some space or choose another disk (HF_HOME, --models-dir), then run the "
            "same command again: it goes on where it stopped",
        )
    hint = "check its permissions, or choose another folder: HF_HOME, --models-dir"
    return GemmaEdgeError(f"{path} cannot be used ({reason})", hint=hint)


RESERVE_BYTES = 64 << 20  # for the lock, the log and whatever else writes meanwhile


def check_space(needed_bytes: Mapping[Path, int]) -> None:
    """Folder -> bytes still to come; folders on one disk add up. They need not exist yet.
    Raises DoesNotFit: with both numbers."""
    disks: dict[int, tuple[Path, int]] = {}
    for folder, count in needed_bytes.items():
        existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
        if existing is None:
            message = f"{folder} is on a disk that is not there"
            raise GemmaEdgeError(message, hint="choose another folder")
        device = os.stat(existing).st_dev
        disks[device] = (existing, disks.get(device, (existing, 0))[1] + count)
    for existing, count in disks.values():
        free = shutil.disk_usage(existing).free
        if count and count + RESERVE_BYTES > free:
            raise DoesNotFit(
                f"{render_bytes(count)} are still to come, {render_bytes(free)} are free "
                f"on the disk of {existing}, of which {render_bytes(RESERVE_BYTES)} are kept for "
                "other files",
                hint="free some space (gemma-edge list, gemma-edge rm NAME), or choose another "
                "disk: HF_HOME, --models-dir",
            )


@dataclass(frozen=True, slots=True)
class Destination:
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
    return cache / ("models--" + repo.replace("/", "--"))


def cache_destination(
    cache: Path, file: RemoteFile, commit: str, etag: str, revision: str
) -> Destination:
    """In the cache; ``etag`` names the blob, ``revision`` is what was asked for."""
    folder = cache_folder(cache, file.repo)
    blob = folder / "blobs" / etag
    return Destination(
        final=folder.joinpath("snapshots", commit, *file.filename.split("/")),
        blob=blob,
        partial=blob.with_name(etag + PARTIAL_SUFFIX),
        lock=cache / ".locks" / folder.name / f"{etag}.lock",  # the library's own lock
        commit=commit,
        ref=None if COMMIT.fullmatch(revision) else folder.joinpath("refs", *revision.split("/")),
    )


def plain_path(models_dir: Path, file: RemoteFile) -> Path:
    return models_dir.joinpath(*file.repo.split("/"), *file.filename.split("/"))


def plain_destination(models_dir: Path, file: RemoteFile, commit: str, etag: str) -> Destination:
    """As a plain file, with what belongs to the download beside it."""
    final = plain_path(models_dir, file)
    name = f".{final.name}.{etag[:16]}"
    return Destination(
        final=final,
        blob=final,
        partial=final.with_name(name + PARTIAL_SUFFIX),
        lock=models_dir / ".locks" / file.repo.replace("/", "--") / f"{etag}.lock",
        commit=commit,
    )


def publish(place: Destination) -> None:
    """Make what has come in, and was checked, visible under its name.
    Raises OSError: the disk or its permissions."""
    if place.partial.exists():
        put(place.partial, place.blob, durable=True)
    if place.final != place.blob:
        _link(place.blob, place.final)
    if place.ref is not None:
        write_atomically(place.ref, place.commit)


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
        put(blob, final)


def iter_cached(cache: Path, file: RemoteFile, revision: str | None) -> Iterator[tuple[Path, str]]:
    """The file in the cache, with its commit: at a revision, or at any (None)."""
    folder = cache_folder(cache, file.repo)
    commits = [revision or ""]
    if revision is None or not COMMIT.fullmatch(revision):
        commits = []
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if revision is None:
                commits = sorted(path.name for path in (folder / "snapshots").iterdir())
            else:
                ref = folder.joinpath("refs", *revision.split("/"))
                commits = [ref.read_text(encoding="ascii").strip()]
    for commit in commits:
        path = folder.joinpath("snapshots", commit, *file.filename.split("/"))
        if COMMIT.fullmatch(commit) and path.is_file():
            yield path, commit


def named_hash(path: Path) -> str | None:
    """The sha256 that the cache promises by the blob's name; None for other files. Only the first
    link counts: where it leads on, to a store shared by repositories, names are Xet's hashes."""
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    return name if SHA256.fullmatch(name) else None
