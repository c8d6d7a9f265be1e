"""What a download is asked with: a file's name on the hub, the settings, and its progress."""

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from gemma_edge.errors import UsageError
from gemma_edge.records import dataclass

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_SHORT = re.compile(
    r"(?P<repo>[^/@]+/[^/@]+)/(?P<file>.+?\.gguf)(?:@(?P<revision>.+))?", re.IGNORECASE | re.DOTALL
)
_PATH = re.compile(r"/(?P<repo>[^/]+/[^/]+)/(?:resolve|blob)/(?P<rest>.+)")
_PULL_REQUEST = re.compile(r"(refs/pr/\d+)/(.+)")  # the one kind of revision with slashes in it
_OTHER_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".json", ".onnx", ".mlx", ".zip")
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_FORM = "hf:owner/repo/file.gguf, or hf:owner/repo/file.gguf@revision"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of one repository, and what is known of it before it is asked for.

    ``revision`` is a branch, a tag or a commit; None is the lock's, else the newest. ``sha256``
    (64 hex digits) is what the file has to be, where a catalogue knows it.
    Raises UsageError: a part is not what the hub allows, or would leave its folder on disk."""

    repo: str
    filename: str
    revision: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        """Everything here becomes part of a path or of a URL."""
        if not _REPO.fullmatch(self.repo) or ".." in self.repo or "--" in self.repo:
            raise UsageError(f"{self.repo!r} is not a repository of the hub", hint=_FORM)
        name, revision = self.filename, self.revision
        is_plain = name.isprintable() and not set(name) & set('\\:*?"<>|')
        if not is_plain or any(part in ("", ".", "..") for part in name.split("/")):
            raise UsageError(f"{name!r} is not a file of a repository", hint=_FORM)
        if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
            raise UsageError(f"{revision!r} is not a branch, a tag or a commit", hint=_FORM)
        if self.sha256 is not None and not SHA256.fullmatch(self.sha256):
            raise UsageError(f"{self.sha256!r} is not a sha256", hint="64 hex digits, lower case")

    @property
    def name(self) -> str:
        """As people write it, the revision left out."""
        return f"hf:{self.repo}/{self.filename}"


def parse_remote(text: str, *, endpoint: str | None = None) -> RemoteFile:
    """``hf:owner/repo/file.gguf[@revision]``, or the address of a file on the hub or on the mirror
    at ``endpoint`` (both the page and the download).
    Raises UsageError: neither of them, or an address of another host."""
    text = text.strip()
    if text.lower().startswith(tuple(f"{host}/" for host in _HUB_HOSTS)):
        text = f"https://{text}"
    scheme, _, rest = text.partition(":")
    if scheme.lower() in ("https", "http"):
        return _parse_url(text, endpoint)
    rest = rest.removeprefix("//")
    found = _SHORT.fullmatch(rest) if scheme.lower() == "hf" else None
    if found is None:
        raise _no_file(text, rest if scheme.lower() == "hf" else "")
    return RemoteFile(found["repo"], found["file"], found["revision"])


def repository_of(text: str) -> str:
    """``owner/repo`` out of ``owner/repo``, ``owner/repo:Q8_0`` and ``owner/repo/more``; "" where
    it is none."""
    owner, _, rest = text.strip("/").partition("/")
    repo = f"{owner}/{re.split('[/:@]', rest)[0]}"
    return repo if _REPO.fullmatch(repo) and ".." not in repo else ""


def _no_file(text: str, rest: str) -> UsageError:
    """A repository, or a file of it that llama.cpp cannot read."""
    repo = repository_of(rest)
    if not repo:
        return UsageError(f"{text!r} does not name a GGUF file of the hub", hint=_FORM)
    if rest.lower().partition("@")[0].endswith(_OTHER_WEIGHTS):
        return UsageError(
            f"{text!r} is no GGUF file, which llama.cpp reads",
            hint="look for a repository with -GGUF in its name; "
            "gemma-edge models lists those of Gemma 4",
        )
    return no_such_file_named(text, repo)


def no_such_file_named(text: str, repo: str) -> UsageError:
    """Which of the files of a repository is meant, nobody can know."""
    return UsageError(
        f"{text!r} names a repository, not a GGUF file in it",
        hint=f"hf:{repo}/FILE.gguf with one of https://huggingface.co/{repo}/tree/main; "
        "gemma-edge models lists those of Gemma 4",
    )


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
    if shown := parse_qs(address.query).get("show_file_info"):  # a page that shows one file
        path = f"{path.rstrip('/')}/blob/main/{shown[0]}"
    found = _PATH.fullmatch(path.rstrip("/"))
    rest = found["rest"] if found else ""
    split = _PULL_REQUEST.fullmatch(unquote(rest))
    revision, _, name = (split[1], "/", split[2]) if split else rest.partition("/")
    if found is None or not name.lower().endswith(".gguf"):
        raise _no_file(text, unquote(path).strip("/"))
    revision, name = unquote(revision), unquote(name)
    return RemoteFile(found["repo"], name, None if revision == "main" else revision)


COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Folders, network and retries.

    ``data_dir`` is ours alone: the person's lock file, the hashes that were checked, imported
    files. Where ``cache_dir``, ``endpoint`` and ``token`` are None, huggingface_hub's own
    conventions hold (``HF_HUB_CACHE``, ``HF_HOME``, ``HF_ENDPOINT``, ``HF_TOKEN``, the token file,
    the proxy variables). ``models_dir`` asks for plain files,
    ``models_dir/owner/repo/file.gguf``, as other local runners lay them out. ``trust_lock`` takes
    the word of a project's lock; without it ``ask`` is asked where such a file decides something
    (None where nobody can be), and ``refused_locks`` are the hashes of those that got a no."""

    data_dir: Path
    cache_dir: Path | None = None
    models_dir: Path | None = None
    project_lock: Path | None = None
    trust_lock: bool = False
    ask: Callable[[str], bool] | None = None
    refused_locks: set[str] = field(default_factory=set, repr=False, compare=False)
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
        return self.data_dir / "gemma-edge.lock"

    @property
    def import_dir(self) -> Path:
        return self.models_dir or self.data_dir / "models"


_WINDOW_SECONDS = 5.0  # speed is that of the last seconds, or a stall would not be seen
_EVERY_SECONDS = 0.1  # ten events a second and file are enough for any terminal
_IDLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """One file's state. ``file`` is its name as people write it (``hf:owner/repo/file.gguf``).

    ``state`` is ``waiting``, ``downloading``, ``checking`` (its hash) or ``done``; ``note`` is a
    sentence when something happened (a retry, the rate limit, another process at work)."""

    file: str
    done_bytes: int
    total_bytes: int
    bytes_per_second: float | None = None
    eta_seconds: float | None = None
    state: str = "downloading"
    note: str = ""


Listener = Callable[[Progress], None]


class ProgressMeter:
    """Counts one file's bytes and calls ``listen`` at most ten times a second.

    ``clock`` is in seconds; only differences are used."""

    def __init__(
        self, file: str, listen: Listener | None, settings: StoreSettings, total_bytes: int = 0
    ) -> None:
        self.file, self.total_bytes, self.done_bytes = file, total_bytes, 0
        self.listen: Listener = listen or (lambda _: None)
        self._clock = settings.clock  # in seconds; only differences are used
        self._marks: deque[tuple[float, int]] = deque()
        self._last_event = float("-inf")
        self._state = ""
        self._guard = threading.Lock()  # one thread counts, another one keeps the time

    def start(self, done_bytes: int) -> None:
        """What is there already, without counting it as speed."""
        with self._guard:
            self.done_bytes = done_bytes
            self._marks.clear()
            self._marks.append((self._clock(), done_bytes))
        self.report("downloading")

    def add(self, count_bytes: int) -> None:
        """So many more bytes are on disk."""
        self.done_bytes += count_bytes
        if self._is_due(_EVERY_SECONDS):
            self._mark()
            self.report("downloading")

    def checked(self, count_bytes: int) -> None:
        """So many bytes in all have been hashed."""
        if self._is_due(_EVERY_SECONDS):
            self.done_bytes = count_bytes
            self.report("checking")

    def tick(self) -> None:
        """From time to time, by another thread: when nothing comes, the speed is seen to fall."""
        if self._state == "downloading" and self._is_due(_IDLE_SECONDS):
            self._mark()
            self.report("downloading")

    def finish(self) -> None:
        self.done_bytes = self.total_bytes
        self.report("done")

    def _is_due(self, seconds: float) -> bool:
        return self._clock() - self._last_event >= seconds

    def report(self, state: str, note: str = "") -> None:
        self._last_event, self._state = self._clock(), state
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
