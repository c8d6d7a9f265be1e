"""A model file on the hub and its place on disk: names, settings, errors, progress."""

import contextlib
import errno
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gemma_edge.disk import write_atomically
from gemma_edge.errors import DoesNotFit, GemmaEdgeError, ModelError, UsageError
from gemma_edge.units import render_bytes

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHORT = re.compile(r"(?P<repo>[^/@]+/[^/@]+)/(?P<file>.+?\.gguf)(?:@(?P<revision>.+))?", re.I)
_PATH = re.compile(r"/(?P<repo>[^/]+/[^/]+)/(?:resolve|blob)/(?P<rest>.+)")
_PULL_REQUEST = re.compile(r"(refs/pr/\d+)/(.+)")  # the one kind of revision with slashes in it
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_FORM = "hf:owner/repo/file.gguf, or hf:owner/repo/file.gguf@revision"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of one repository, and what is known of it before it is asked for.

    ``revision`` is a branch, a tag or a commit; None is the lock's, else the newest. ``sha256``
    (64 hex digits) is what the file has to be, where a catalogue knows it.

    Raises:
        UsageError: a part is not what the hub allows, or would leave its folder on disk.
    """

    repo: str
    filename: str
    revision: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        """Everything here becomes part of a path or of a URL."""
        if not _REPO.fullmatch(self.repo) or ".." in self.repo or "--" in self.repo:
            raise UsageError(f"{self.repo!r} is not a repository of the hub", hint=_FORM)
        parts = self.filename.split("/")
        if any(part in ("", ".", "..") for part in parts) or not _is_plain(self.filename):
            raise UsageError(f"{self.filename!r} is not a file of a repository", hint=_FORM)
        revision = self.revision
        if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
            raise UsageError(f"{revision!r} is not a branch, a tag or a commit", hint=_FORM)
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise UsageError(f"{self.sha256!r} is not a sha256", hint="64 hex digits, lower case")

    @property
    def name(self) -> str:
        """As people write it, the revision left out."""
        return f"hf:{self.repo}/{self.filename}"


def _is_plain(name: str) -> bool:
    return name.isprintable() and not set(name) & set('\\:*?"<>|')


def is_remote(text: str) -> bool:
    """Whether the text is meant as a file on a hub, not as a path or a model's name."""
    return text.lower().startswith(("hf:", "https://", "http://"))


def parse_remote(text: str, *, endpoint: str | None = None) -> RemoteFile:
    """``hf:owner/repo/file.gguf[@revision]``, or the address of a file on the hub or on the mirror
    at ``endpoint`` (both the page and the download).

    Raises:
        UsageError: neither of them, or an address of another host.
    """
    scheme, _, rest = text.strip().partition(":")
    if scheme.lower() == "hf":
        found = _SHORT.fullmatch(rest.removeprefix("//"))
        if found is None:
            raise UsageError(f"{text!r} does not name a GGUF file of the hub", hint=_FORM)
        return RemoteFile(found["repo"], found["file"], found["revision"])
    if scheme.lower() in ("https", "http"):
        return _parse_url(text.strip(), endpoint)
    raise UsageError(f"{text!r} does not name a GGUF file of the hub", hint=_FORM)


def _parse_url(text: str, endpoint: str | None) -> RemoteFile:
    address, mirror = urlsplit(text), urlsplit(endpoint or "")
    path = address.path
    if mirror.netloc and address.netloc.lower() == mirror.netloc.lower():
        path = path.removeprefix(mirror.path.rstrip("/"))
    elif address.netloc.lower() not in _HUB_HOSTS:
        raise UsageError(
            f"{address.netloc} is not the hub, and not the mirror in HF_ENDPOINT",
            hint=f"HF_ENDPOINT={address.scheme}://{address.netloc} if it is one; "
            "otherwise download the file, then: gemma-edge import FILE",
        )
    found = _PATH.fullmatch(path)
    rest = found["rest"] if found else ""
    split = _PULL_REQUEST.fullmatch(unquote(rest))
    revision, _, name = (split[1], "/", split[2]) if split else rest.partition("/")
    if found is None or not name.lower().endswith(".gguf"):
        raise UsageError(f"{text!r} is not the address of a GGUF file", hint=_FORM)
    revision, name = unquote(revision), unquote(name)
    return RemoteFile(found["repo"], name, None if revision == "main" else revision)


# ----------------------------------------------------------------------------
# Free disk space, before the first byte is fetched.


RESERVE_BYTES = 64 << 20  # for the lock, the log and whatever else writes meanwhile


def check_space(needed_bytes: Mapping[Path, int]) -> None:
    """Folder -> bytes still to come; folders on one disk add up. They need not exist yet.

    Raises:
        DoesNotFit: with both numbers.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, count in needed_bytes.items():
        existing = _existing(folder)
        device = os.stat(existing).st_dev
        disks[device] = (existing, disks.get(device, (existing, 0))[1] + count)
    for existing, count in disks.values():
        free = shutil.disk_usage(existing).free
        if count and count + RESERVE_BYTES > free:
            raise DoesNotFit(
                f"{render_bytes(count)} are still to come, {render_bytes(free)} are free "
                f"on the disk of {existing}",
                hint="free some space (gemma-edge list, gemma-edge rm NAME), or choose another "
                "disk: HF_HOME, --models-dir",
            )


def _existing(folder: Path) -> Path:
    for path in (folder, *folder.parents):
        if path.exists():
            return path
    raise GemmaEdgeError(f"{folder} is on a disk that is not there", hint="choose another folder")


# ----------------------------------------------------------------------------
# Where a file lies on disk: in the Hugging Face cache, or as a plain file. The cache's layout is
# the library's documented one (blobs named by their hash, snapshots of links to them, refs from
# names to commits), so what is fetched here is found by every other program, and the other way
# round. Only the name of the part that is still coming in is ours: since version 2 the library
# throws its own part away when a download stops.


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


# ----------------------------------------------------------------------------
# What the store may touch, as one value; the command line makes it from its `Context`.


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Folders, network and patience.

    ``data_dir`` is ours alone: the person's lock file, the hashes that were checked, imported
    files. Where ``cache_dir``, ``endpoint`` and ``token`` are None, huggingface_hub's own
    conventions hold (``HF_HUB_CACHE``, ``HF_HOME``, ``HF_ENDPOINT``, ``HF_TOKEN``, the token file,
    the proxy variables). ``models_dir`` asks for plain files,
    ``models_dir/owner/repo/file.gguf``, as other local runners lay them out.
    """

    data_dir: Path
    cache_dir: Path | None = None
    models_dir: Path | None = None
    project_lock: Path | None = None
    offline: bool = False
    endpoint: str | None = None
    token: str | None = None
    stall_seconds: float = 30.0  # no byte for so long: the connection is given up
    attempts: int = 6  # in a row without a single new byte
    backoff_seconds: float = 1.0  # before the second attempt; doubles up to 30 s
    parallel: int = 2  # files at once; more only shares the same line
    clock: Callable[[], float] = time.time  # seconds since 1970, for dates and speed

    @property
    def user_lock(self) -> Path:
        """The person's lock file."""
        return self.data_dir / "gemma-edge.lock"

    @property
    def import_dir(self) -> Path:
        """Where files that were imported go."""
        return self.models_dir or self.data_dir / "models"


# ----------------------------------------------------------------------------
# What went wrong with the network or the disk, as one typed error with a way out.


MAX_WAIT_SECONDS = 600.0  # a longer wait is the person's decision
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504, 520, 522, 524)
_RATE_LIMIT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")  # "api";r=0;t=55
_NETWORK_HINT = (
    "check the network (HTTPS_PROXY if there is a proxy, HF_ENDPOINT if there is a mirror), then "
    "run the same command again: it goes on where it stopped"
)
ACCEPT_FLAG = "--accept-change"


class TryAgain(Exception):
    """It may work the next time. ``wait_seconds`` is what the server asked for, if it did;
    ``unreachable``: there was not even a connection."""

    def __init__(
        self, reason: str, *, wait_seconds: float | None = None, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.wait_seconds, self.unreachable = reason, wait_seconds, unreachable


class StartOver(Exception):
    """The bytes that are there cannot be continued; the reason is the text."""


class Changed(Exception):
    """The hub has another file under this name than it had when it was asked."""


class Stopped(Exception):
    """Somebody asked this download to stop."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An error of the hub: the status, its ``X-Error-Code`` and the headers."""

    status: int
    code: str
    headers: Mapping[str, str]


def explain_status(answer: Answer, file: RemoteFile, *, has_token: bool, now: float) -> Exception:
    """The hub answered with an error; ``now`` in seconds since 1970."""
    status, where = answer.status, _where(file)
    if status == 416:  # noqa: PLR2004
        return StartOver("the hub has fewer bytes than are here")
    if status in _TRY_AGAIN:
        reason = "the hub limits how often it is asked" if status == 429 else f"status {status}"  # noqa: PLR2004
        return TryAgain(reason, wait_seconds=_asked_to_wait(answer.headers, now))
    if answer.code == "GatedRepo" or status == 403:  # noqa: PLR2004
        return ModelError(
            f"the hub does not give {where} to this account (status {status})",
            hint=f"open https://huggingface.co/{file.repo}, accept its terms, "
            "then HF_TOKEN=hf_… with the token of that account",
        )
    if status == 401:  # noqa: PLR2004
        return _unauthorized(where, has_token=has_token)
    if status == 404:  # noqa: PLR2004
        return _not_found(answer.code, file)
    return GemmaEdgeError(f"the hub refused {where} (status {status})", hint=_NETWORK_HINT)


def _where(file: RemoteFile) -> str:
    shown = file.revision is not None and file.revision != "main"
    return f"{file.name}@{file.revision}" if shown else file.name


def _not_found(code: str, file: RemoteFile) -> ModelError:
    if code == "RevisionNotFound":
        return ModelError(
            f"{file.repo} has no revision {file.revision}",
            hint=f"without @{file.revision} it is the newest one",
        )
    if code == "RepoNotFound":
        return ModelError(
            f"there is no repository {file.repo}",
            hint="check the name; a private one needs HF_TOKEN",
        )
    return ModelError(
        f"there is no file {_where(file)}",
        hint=f"its files: https://huggingface.co/{file.repo}/tree/{file.revision or 'main'}",
    )


def _unauthorized(where: str, *, has_token: bool) -> ModelError:
    if has_token:
        return ModelError(
            f"the hub refused the token for {where} (status 401)",
            hint="HF_TOKEN (or the token of `hf auth login`) is wrong or has expired",
        )
    return ModelError(
        f"the hub does not show {where} without an account (status 401)",
        hint="check the name; a private or gated one needs HF_TOKEN",
    )


def _asked_to_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from ``Retry-After`` (a number or a date) or the ``RateLimit`` header."""
    limit = _RATE_LIMIT.search(headers.get("ratelimit", ""))
    if limit:
        return float(limit[1])
    text = headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  (it loads socket)

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError):
        return None


def explain_transport(kind: str, text: str, file: RemoteFile) -> Exception:
    """No answer; ``kind`` is the class name of the HTTP client's error."""
    if kind == "ProxyError":
        return GemmaEdgeError(
            f"the proxy does not let {file.name} through ({text})",
            hint="check HTTPS_PROXY and HTTP_PROXY; NO_PROXY leaves a host out",
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return GemmaEdgeError(
            f"the hub's certificate is not trusted ({text})",
            hint="SSL_CERT_FILE names the certificates of a proxy that reads the traffic",
        )
    if kind in ("UnsupportedProtocol", "InvalidURL", "TooManyRedirects", "LocalProtocolError"):
        return GemmaEdgeError(
            f"the hub's address cannot be used ({text})", hint="check HF_ENDPOINT"
        )
    reason = "no byte came for too long" if "Timeout" in kind else text or kind
    return TryAgain(reason, unreachable=kind.startswith("Connect"))


def not_while_offline(names: Sequence[str]) -> ModelError:
    """What would have to be fetched."""
    offline = "not on this machine, and --offline (or HF_HUB_OFFLINE) is set"
    return ModelError(
        f"{names[0]} is {offline}" if len(names) == 1 else "\n  ".join([f"{offline}:", *names]),
        hint="without --offline it is fetched; a file from elsewhere: gemma-edge import FILE",
    )


def gave_up(name: str, reason: str, kept_bytes: int, total_bytes: int) -> GemmaEdgeError:
    """The last attempt failed too."""
    kept = ""
    if total_bytes:
        kept = f"; {render_bytes(kept_bytes)} of {render_bytes(total_bytes)} are kept"
    return GemmaEdgeError(f"{name} did not come through ({reason}){kept}", hint=_NETWORK_HINT)


def asked_too_long(name: str, seconds: float) -> GemmaEdgeError:
    """The server wants a wait that nobody sits through."""
    return GemmaEdgeError(
        f"the hub asks to wait {seconds / 60:.0f} minutes before {name}",
        hint="run the same command later: it goes on where it stopped; HF_TOKEN raises the limit",
    )


def other_hash(
    file: RemoteFile, expected: str, found: str, said_by: str, *, revision: str
) -> ModelError:
    """Upstream has something else than the lock or the catalogue says."""
    return ModelError(
        f"{file.name} is not what {said_by} says\n"
        f"  expected sha256 {expected}\n"
        f"  upstream sha256 {found} (revision {revision})",
        hint=f"if the change is meant: gemma-edge pull {file.name} {ACCEPT_FLAG}",
    )


def damaged(file: RemoteFile, expected: str, found: str) -> ModelError:
    """What came in is not what was promised; it has been removed."""
    return ModelError(
        f"{file.name} came in damaged, and was removed\n"
        f"  expected sha256 {expected}\n"
        f"  received sha256 {found}",
        hint="run the same command again; if it happens again, a proxy or the disk changes bytes",
    )


def explain_disk(error: OSError, path: Path, missing_bytes: int | None = None) -> GemmaEdgeError:
    """The disk or its permissions."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        left = f"; {render_bytes(missing_bytes)} are still to come" if missing_bytes else ""
        return DoesNotFit(
            f"{path.parent} is full ({reason}){left}",
            hint="free some space or choose another disk (HF_HOME, --models-dir), then run the "
            "same command again: it goes on where it stopped",
        )
    return GemmaEdgeError(
        f"{path} cannot be used ({reason})",
        hint="check its permissions, or choose another folder: HF_HOME, --models-dir",
    )


# ----------------------------------------------------------------------------
# What is said while files come in: one event type, several files at once.


_WINDOW_SECONDS = 5.0  # speed is that of the last seconds, or a stall would not be seen
_EVERY_SECONDS = 0.1  # ten events a second and file are enough for any terminal
_IDLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """One file's state. ``file`` is its name as people write it (``hf:owner/repo/file.gguf``).

    ``state`` is ``waiting``, ``downloading``, ``checking`` (its hash) or ``done``; ``note`` is a
    sentence when something happened (a retry, the rate limit, another process at work).
    """

    file: str
    done_bytes: int
    total_bytes: int
    bytes_per_second: float | None = None
    eta_seconds: float | None = None
    state: str = "downloading"
    note: str = ""


Listener = Callable[[Progress], None]


class Meter:
    """Counts one file's bytes and tells ``listen`` at most ten times a second.

    ``clock`` is in seconds; only differences are used.
    """

    def __init__(
        self,
        file: str,
        listen: Callable[[Progress], None],
        clock: Callable[[], float],
        *,
        total_bytes: int = 0,
    ) -> None:
        self.file, self.total_bytes, self.done_bytes = file, total_bytes, 0
        self.listen, self._clock = listen, clock
        self._marks: deque[tuple[float, int]] = deque()
        self._told = float("-inf")
        self._state = ""
        self._guard = threading.Lock()  # one thread counts, another one keeps the time

    def start(self, done_bytes: int) -> None:
        """What is there already, without counting it as speed."""
        with self._guard:
            self.done_bytes = done_bytes
            self._marks.clear()
            self._marks.append((self._clock(), done_bytes))
        self.tell("downloading")

    def add(self, count_bytes: int) -> None:
        """So many more bytes are on disk."""
        self.done_bytes += count_bytes
        if self._clock() - self._told >= _EVERY_SECONDS:
            self._mark()
            self.tell("downloading")

    def checked(self, count_bytes: int) -> None:
        """So many bytes in all have been hashed."""
        if self._clock() - self._told >= _EVERY_SECONDS:
            self.done_bytes = count_bytes
            self.tell("checking")

    def tick(self) -> None:
        """From time to time, by another thread: when nothing comes, the speed is seen to fall."""
        if self._state == "downloading" and self._clock() - self._told >= _IDLE_SECONDS:
            self._mark()
            self.tell("downloading")

    def tell(self, state: str, note: str = "") -> None:
        """An event now."""
        self._told, self._state = self._clock(), state
        speed = self._speed() if state == "downloading" else None
        left = max(0, self.total_bytes - self.done_bytes)
        eta = left / speed if speed else None
        self.listen(Progress(self.file, self.done_bytes, self.total_bytes, speed, eta, state, note))

    def _mark(self) -> None:
        with self._guard:
            self._marks.append((self._clock(), self.done_bytes))
            while self._marks[-1][0] - self._marks[0][0] > _WINDOW_SECONDS:
                self._marks.popleft()

    def _speed(self) -> float | None:
        with self._guard:
            if not self._marks:
                return None
            (first, before), (last, after) = self._marks[0], self._marks[-1]
        return (after - before) / (last - first) if last > first else None
