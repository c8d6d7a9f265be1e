"""What the hub knows of a file, its bytes and its header; what went wrong, and when to ask again.

``hf_hub_download`` is not used. Since version 2 it writes to a temporary file of its own, deletes
that whenever it stops, and so can never go on after a cut, a Ctrl-C or a crash; its plain-HTTP
path also holds back up to 10 MiB. We use the library's client (proxies, tokens, mirrors, offline
mode), its metadata, its lock and its cache layout, and write the bytes ourselves.

Every function raises a ``GemmaEdgeError``, or ``TryAgain``, ``StartOver`` and ``Changed`` for the
loop in ``fetch``.
"""

import contextlib
import hashlib
import importlib
import json
import queue
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gemma_edge.disk import write_atomically
from gemma_edge.errors import GemmaEdgeError, ModelError
from gemma_edge.gguf import Header, Skipped, Tensor, Value, parse_header, read_header, wrong_number
from gemma_edge.records import dataclass
from gemma_edge.store.remote import (
    COMMIT,
    SHA256,
    Listener,
    ProgressMeter,
    RemoteFile,
    StoreSettings,
)
from gemma_edge.units import render_bytes
from gemma_edge.version import __version__

_ETAG = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")  # it becomes a file name
_ASK_SECONDS = 10.0
_MOST_BYTES = 1 << 62  # of a file: no number of a header is believed beyond
_MOST_REDIRECTS = 10
NEWEST = "main"  # the branch that every repository of the hub has
_NAME = "gemma-edge"


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
class Upstream:
    """What the hub has under a name now. ``sha256`` is None for files that are not in LFS."""

    file: RemoteFile
    revision: str  # as it was asked for
    commit: str
    etag: str
    size_bytes: int
    sha256: str | None
    xet: Any = None  # the library's XetFileData, where the file can come that way


def default_cache_dir() -> Path:
    """Where the library keeps its files (``HF_HUB_CACHE``, ``HF_HOME``)."""
    return Path(_constants().HF_HUB_CACHE)


def look_up(file: RemoteFile, revision: str, settings: StoreSettings) -> Upstream:
    """Ask the hub what it has at this revision; one question, no waiting for a second one."""
    with _explained(replace(file, revision=revision), settings):
        found = _hub().get_hf_file_metadata(
            _url(file, revision, settings), token=settings.token, timeout=_ASK_SECONDS,
            endpoint=_endpoint(settings), library_name=_NAME, library_version=__version__,
        )  # fmt: skip
    commit, etag, size = found.commit_hash or "", found.etag or "", found.size
    known = size is not None and 0 <= size <= _MOST_BYTES
    if not (COMMIT.fullmatch(commit) and _ETAG.fullmatch(etag) and known):
        raise ModelError(
            f"what answered for {file.name} is not a hub (it names no commit, hash or size)",
            hint="check HF_ENDPOINT; a login page of the network answers like this too",
        )
    sha256 = etag if SHA256.fullmatch(etag) else None
    speaks_xet = not _constants().HF_HUB_DISABLE_XET and find_spec("hf_xet") is not None
    xet = found.xet_file_data if speaks_xet else None
    return Upstream(file, revision, commit, etag, size, sha256, xet)


def stream_http(
    upstream: Upstream, start: int, settings: StoreSettings, *, end: int | None = None
) -> Iterator[bytes]:
    """The bytes from ``start`` on (up to ``end``, which is not part of it) over plain HTTP, as they
    arrive, and none beyond, whatever comes. Ends early only by raising."""
    headers = request_headers(settings) | {"Accept-Encoding": "identity"}
    part = start > 0 or end is not None
    if part:
        headers["Range"] = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
    url, seconds = _url(upstream.file, upstream.commit, settings), settings.stall_seconds
    with (
        _explained(upstream.file, settings),
        _answer(url, headers, seconds) as (response, hops),
    ):
        if response.is_error:
            # From the storage: its signed address has expired, or a proxy says so.
            if len(hops) > 1 and response.status_code in (401, 403, 404):
                raise TryAgain(f"the storage answered with status {response.status_code}")
            has_token, now = "authorization" in headers, settings.clock()
            raise explain_status(response, upstream.file, has_token=has_token, now=now)
        _check_response(response, hops, upstream, start, part=part)
        left = (upstream.size_bytes if end is None else end) - start
        for chunk in response.iter_raw():
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return
        if left > 0:
            raise TryAgain("the answer ended early")


@contextlib.contextmanager
def _answer(url: str, headers: dict[str, str], seconds: float) -> Iterator[tuple[Any, list[Any]]]:
    """The answer at the end of all redirects, and every answer on the way to it. No body is read:
    the library would take that of a redirect or of an error whole, however long it is."""
    session = _hub().get_session()
    request = session.build_request("GET", url, headers=headers, timeout=seconds)
    hops: list[Any] = []
    while request is not None:
        response = session.send(request, stream=True, follow_redirects=False)
        hops.append(response)
        try:
            request = response.next_request
            if request is None:
                yield response, hops
            elif len(hops) > _MOST_REDIRECTS:
                raise GemmaEdgeError("the hub redirects without end", hint="check HF_ENDPOINT")
        finally:
            response.close()


def _url(file: RemoteFile, revision: str, settings: StoreSettings) -> str:
    endpoint = _endpoint(settings)
    url = _hub().hf_hub_url(file.repo, file.filename, revision=revision, endpoint=endpoint)
    return str(url)


def _check_response(
    response: Any, hops: Sequence[Any], upstream: Upstream, start: int, *, part: bool
) -> None:
    status, headers = response.status_code, response.headers
    for hop in hops:
        etag = hop.headers.get("x-linked-etag")
        if etag is not None and etag.removeprefix("W/").strip('"') != upstream.etag:
            raise Changed(f"{upstream.file.name} was replaced upstream")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise TryAgain("the bytes came compressed, which cannot be continued")
    if not part and status == 200:  # noqa: PLR2004
        size = headers.get("content-length", "*")
    else:
        said = headers.get("content-range", "")
        found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", said)
        if status != 206:  # noqa: PLR2004
            raise StartOver("the server cannot continue a file")
        if found is None or int(found[1]) != start:
            raise StartOver("the server sent another part than was asked for")
        size = found[2]
    if size not in ("*", str(upstream.size_bytes)):
        raise Changed(f"{upstream.file.name} has another size than the hub said")


@contextlib.contextmanager
def file_lock(path: Path, seconds: float) -> Iterator[bool]:
    """The library's own lock; False inside when another process had it all the time."""
    from filelock import Timeout  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_utils().WeakFileLock(path, timeout=seconds))
        except Timeout:
            yield False
        else:
            yield True


def delete_blobs(cache: Path, blobs: frozenset[Path]) -> None:
    """Delete files of the cache; a store that several repositories share is swept too."""
    none: frozenset[Path] = frozenset()
    _utils().DeleteCacheStrategy(
        expected_freed_size=0, blobs=blobs, refs=none, repos=none, snapshots=none, cache_dir=cache
    ).execute()


def _constants() -> Any:
    """The library's settings, without the second that the rest of it takes to load."""
    return importlib.import_module("huggingface_hub.constants")


def _hub() -> Any:
    """The library, without telemetry: else its first call asks huggingface.co (whatever the
    mirror, for up to 3 s) how to recognize the program that started it, and reports that."""
    _constants().HF_HUB_DISABLE_TELEMETRY = True
    hub = importlib.import_module("huggingface_hub")
    # Its warnings are lines that the hub sends (X-HF-Warning), written to the terminal as they are.
    importlib.import_module("huggingface_hub.utils.logging").set_verbosity_error()
    return hub


def _utils() -> Any:
    _hub()
    return importlib.import_module("huggingface_hub.utils")


def _endpoint(settings: StoreSettings) -> str | None:
    return settings.endpoint.rstrip("/") if settings.endpoint else None


def request_headers(settings: StoreSettings) -> dict[str, str]:
    """Who asks (the library's user agent), and the token where there is one."""
    headers: dict[str, str] = _utils().build_hf_headers(
        token=settings.token, library_name=_NAME, library_version=__version__
    )
    return headers


@contextlib.contextmanager
def _explained(file: RemoteFile, settings: StoreSettings) -> Iterator[None]:
    import httpx2  # noqa: PLC0415  (the library's HTTP client)
    from huggingface_hub import errors  # noqa: PLC0415

    try:
        yield
    except errors.HfHubHTTPError as error:
        answer, has_token = error.response, "authorization" in request_headers(settings)
        raise explain_status(answer, file, has_token=has_token, now=settings.clock()) from None
    except errors.OfflineModeIsEnabled:
        message = f"{file.name} is not on this machine, and HF_HUB_OFFLINE is set"
        raise ModelError(message, hint="unset HF_HUB_OFFLINE for the download") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise explain_transport(type(error).__name__, str(error), file) from None
    except (errors.HFValidationError, ImportError, ValueError) as error:
        # ImportError and ValueError: a proxy that nobody can speak to.
        message = f"the network settings cannot be used ({error})"
        hint = "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
        raise GemmaEdgeError(message, hint=hint) from None


# hf_xet is the hub's own way to move large files: chunks from many places at once. Its ordered
# stream can begin anywhere, so it continues what plain HTTP began, and the other way round.
# `endpoint` and access token come from the address that the hub names for the file.


_AHEAD_CHUNKS = 16


def stream_xet(upstream: Upstream, start: int, settings: StoreSettings) -> Iterator[bytes]:
    """The bytes from ``start`` on through Xet, in order. It may end early without an error.

    The library waits inside native code without a limit, so a thread of its own does that; when
    nothing comes for ``stall_seconds`` the group is aborted and the thread is left trailing."""
    pump = _Pump(upstream, start, request_headers(settings))
    pump.start()
    try:
        while (chunk := pump.chunks.get(timeout=settings.stall_seconds)) is not None:
            if isinstance(chunk, BaseException):
                raise TryAgain(f"{type(chunk).__name__}: {chunk}")
            yield chunk
    except queue.Empty:
        raise TryAgain("no byte came for too long") from None
    finally:
        pump.abandon()


class _Pump(threading.Thread):
    """Hands over chunks, then None or the error."""

    def __init__(self, upstream: Upstream, start: int, headers: dict[str, str]) -> None:
        super().__init__(daemon=True, name="xet")
        self.chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD_CHUNKS)
        self._upstream, self._start, self._headers = upstream, start, headers
        self._abandoned = threading.Event()
        self._group: Any = None

    def abandon(self) -> None:
        """Only the group can be aborted: cancelling a stream that waits is an error."""
        self._abandoned.set()
        if self._group is not None:
            with contextlib.suppress(RuntimeError):
                self._group.abort()

    def run(self) -> None:
        last: BaseException | None = None
        try:
            self._pump()
        except BaseException as error:  # noqa: BLE001  (native code may panic: plain HTTP then)
            last = error
        self._hand_over(last)

    def _pump(self) -> None:
        import hf_xet  # type: ignore[import-untyped] # noqa: PLC0415

        # The hub's token goes to the hub alone, for a short-lived one to the storage.
        open_headers = {k: v for k, v in self._headers.items() if k.lower() != "authorization"}
        source = self._upstream.xet
        config = hf_xet.XetConfig()
        if "telemetry.enabled" in config.keys():  # noqa: SIM118  (not a dict)
            config = config.with_config("telemetry.enabled", False)
        self._group = hf_xet.XetSession(config).new_download_stream_group(
            token_refresh_url=source.refresh_route, token_refresh_headers=self._headers,
            custom_headers=open_headers,
        )  # fmt: skip
        info = hf_xet.XetFileInfo(source.file_hash, self._upstream.size_bytes)
        for chunk in self._group.download_stream(info, start=self._start):
            if not self._hand_over(chunk):
                return

    def _hand_over(self, chunk: "bytes | BaseException | None") -> bool:
        """Whether somebody still waits for it."""
        while not self._abandoned.is_set():
            with contextlib.suppress(queue.Full):
                self.chunks.put(chunk, timeout=0.2)
                return True
        return False


_MAX_BACKOFF_SECONDS = 30.0
_MOST_MINUTES = 24 * 60
_UNREACHABLE_ATTEMPTS = 3


class RetryPolicy:
    """How often, and how long, one file's download may fail without a single new byte."""

    def __init__(
        self, settings: StoreSettings, meter: ProgressMeter, stop: threading.Event
    ) -> None:
        self._settings, self._meter, self._stop = settings, meter, stop
        self._failures, self._reached = 0, False

    def progressed(self) -> None:
        self._failures, self._reached = 0, True

    def check(self) -> None:
        """Raises: Stopped: somebody wants an end."""
        if self._stop.is_set():
            raise Stopped

    def wait(self, failure: TryAgain) -> None:
        """Before the next attempt.
        Raises GemmaEdgeError: there is none, or the server asks for more time than anybody has;
        Stopped: somebody wants an end."""
        meter, settings = self._meter, self._settings
        self._failures += 1
        seconds = failure.wait_seconds
        if seconds is not None and seconds > MAX_WAIT_SECONDS:
            raise GemmaEdgeError(
                f"the hub asks to wait {_render_wait(seconds)} before {meter.file}",
                hint="run the same command later: it goes on where it stopped; HF_TOKEN raises "
                "the limit",
            )
        limit = settings.attempts
        if failure.unreachable and not self._reached:
            limit = min(limit, _UNREACHABLE_ATTEMPTS)  # nobody waits long for a wrong address
        if self._failures >= limit:
            raise gave_up(meter.file, failure.reason, meter.done_bytes, meter.total_bytes)
        if seconds is None:
            doubled = settings.backoff_seconds * 2 ** (self._failures - 1)
            seconds = min(doubled, _MAX_BACKOFF_SECONDS)
        meter.report("waiting", f"{failure.reason}; goes on in {seconds:.0f} s")
        if self._stop.wait(seconds):
            raise Stopped


def _render_wait(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes <= _MOST_MINUTES else "more than a day"


def ask_again(
    file: RemoteFile, revision: str, settings: StoreSettings, retries: RetryPolicy, *,
    or_newest: bool = False,
) -> Upstream:  # fmt: skip
    """What the hub has at this revision. ``or_newest``: where it is gone from there, the newest,
    for a revision that no person named; the same bytes may still be there.
    Raises GemmaEdgeError: it does not say; Stopped: somebody wants an end."""
    while True:
        retries.check()
        try:
            return look_up(file, revision, settings)
        except TryAgain as failure:
            retries.wait(failure)
        except ModelError:
            if not or_newest or revision == NEWEST:
                raise
            revision = NEWEST


def ask(
    file: RemoteFile, settings: StoreSettings, *, on_progress: Listener | None = None
) -> Upstream:
    """What is there now at ``file.revision`` (the newest where that is None, or where the hub has
    the catalogue's no more): commit, size, hash.
    Raises ModelError: it is not there, or not for this account, or ``settings.offline``;
    GemmaEdgeError: the network failed."""
    retries = _retry_policy(file, settings, on_progress)
    pinned = file.sha256 is not None
    return ask_again(file, file.revision or NEWEST, settings, retries, or_newest=pinned)


def find_newest(file: RemoteFile, settings: StoreSettings) -> Upstream | None:
    """The newest under this name, by one question; None where there is no answer."""
    try:
        return look_up(file, NEWEST, settings)
    except (GemmaEdgeError, TryAgain):
        return None


def read_part(
    upstream: Upstream, start: int, count: int, settings: StoreSettings, *,
    on_progress: Listener | None = None,
) -> bytes:  # fmt: skip
    """Bytes ``start`` to ``start + count``, fewer where the file ends before.
    Raises ModelError: ``settings.offline``; GemmaEdgeError: the network failed, or the server
    cannot send parts."""
    retries = _retry_policy(upstream.file, settings, on_progress)
    end = min(start + count, upstream.size_bytes)
    part = bytearray()
    while start + len(part) < end:
        try:
            for chunk in stream_http(upstream, start + len(part), settings, end=end):
                part += chunk
                retries.progressed()
        except TryAgain as failure:
            retries.wait(failure)
        except (StartOver, Changed) as failure:
            message = f"no part of {upstream.file.name} can be read ({failure})"
            raise GemmaEdgeError(message, hint="pull the whole file instead") from None
    return bytes(part[: end - start])


def _retry_policy(
    file: RemoteFile, settings: StoreSettings, on_progress: Listener | None
) -> RetryPolicy:
    if settings.offline:
        raise not_while_offline([file.name])
    return RetryPolicy(settings, ProgressMeter(file.name, on_progress, settings), threading.Event())


# Headers that were read before: of a file on the hub by commit, so that 15 MiB are fetched once,
# not twice; of a file on disk by its date, so that a vocabulary is stepped over once. What is kept
# is the header as it was read, as JSON in `data_dir/headers`; what cannot be read there is read
# from its source again.


_FORMAT = 1  # another layout gets another number
_UNREADABLE = (  # no such file, or damaged
    OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
)  # fmt: skip
KEPT_FROM_BYTES = 256 << 20  # a smaller model has a header that is read at once


def read_remote_header(
    upstream: Upstream, settings: StoreSettings, *, on_progress: Listener | None = None
) -> Header:
    """The header of what ``ask`` found, from ``data_dir`` where it was read before.
    Raises ModelError: it is no GGUF file, or damaged; or ``settings.offline``, and it was never
    read; GemmaEdgeError: the network failed."""
    folder = _folder(f"{upstream.file.repo}/{upstream.file.filename}", settings)
    kept, name = folder / f"{upstream.commit}.json", Path(upstream.file.filename)
    with contextlib.suppress(*_UNREADABLE):
        return _parse(kept, name)

    def read(start: int, count: int) -> bytes:
        return read_part(upstream, start, count, settings, on_progress=on_progress)

    header = parse_header(read, upstream.size_bytes, str(name))
    _keep(kept, header)
    return header


def find_kept_header(file: RemoteFile, settings: StoreSettings) -> Header | None:
    """What was read before of a file on the hub, without asking anybody: at its revision, or the
    newest where it names none."""
    folder = _folder(f"{file.repo}/{file.filename}", settings)
    with contextlib.suppress(*_UNREADABLE):
        kept = sorted(folder.glob(f"{file.revision or ''}*.json"), key=lambda p: p.stat().st_mtime)
        return _parse(kept[-1], Path(file.filename)) if kept else None
    return None


def read_local_header(path: Path, settings: StoreSettings) -> Header:
    """The header of a file on disk, from ``data_dir`` where this very file was read before.
    Raises ModelError: as ``gguf.read_header``."""
    kept = None
    with contextlib.suppress(*_UNREADABLE):
        facts = path.stat()
        state = f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ino}-{facts.st_ctime_ns}"
        kept = _folder(str(path.absolute()), settings) / f"{state}.json"
        return _parse(kept, path)
    header = read_header(path)
    if kept is not None and header.file_bytes > KEPT_FROM_BYTES:
        _keep(kept, header)
    return header


def _folder(name: str, settings: StoreSettings) -> Path:
    """One folder a file, one kept header a version; the hash of a name is a name everywhere."""
    return settings.data_dir / "headers" / hashlib.sha256(name.encode()).hexdigest()


def _keep(place: Path, header: Header) -> None:
    """A full disk costs the next reader time, nothing else."""
    tensors = [[t.name, t.shape, t.type, t.size_bytes, t.offset_bytes] for t in header.tensors]
    metadata = {
        key: {"count": value.count} if isinstance(value, Skipped) else value
        for key, value in header.metadata.items()
    }
    content = {"format": _FORMAT, "file_bytes": header.file_bytes}
    text = json.dumps(content | {"metadata": metadata, "tensors": tensors})
    with contextlib.suppress(OSError):
        write_atomically(place, text)


def _parse(kept: Path, name: Path) -> Header:
    content = json.loads(kept.read_text(encoding="utf-8"))
    if content["format"] != _FORMAT:
        raise ValueError(content["format"])
    metadata = {key: _value(value) for key, value in content["metadata"].items()}
    if wrong := wrong_number(metadata):  # kept by a version that believed more
        raise ValueError(wrong)
    tensors = tuple(
        Tensor(tensor, tuple(shape), kind, size_bytes, offset_bytes)
        for tensor, shape, kind, size_bytes, offset_bytes in content["tensors"]
    )
    if not all(map(_is_whole, tensors)):
        raise ValueError("a tensor")
    if type(content["file_bytes"]) is not int:
        raise ValueError("the size of the file")
    return Header(name, content["file_bytes"], metadata, tensors)


def _is_whole(tensor: Tensor) -> bool:
    numbers = (*tensor.shape, tensor.size_bytes, tensor.offset_bytes)
    counts = all(type(number) is int and number >= 0 for number in numbers)
    return counts and isinstance(tensor.name, str) and isinstance(tensor.type, str)


def _value(value: Any) -> Value:
    """Raises TypeError: it is none of a header."""
    if isinstance(value, dict):
        if type(value["count"]) is not int:
            raise TypeError(value)
        return Skipped(value["count"])
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int | float) for each in values):
        raise TypeError(value)
    return tuple(values) if isinstance(value, list) else value


MAX_WAIT_SECONDS = 600.0  # a longer wait is the person's decision
_LONGEST_SECONDS = 1e9  # 30 years: no number of a header is believed beyond
_MOST_DIGITS = 9
_MOST_HEADER = 1024  # characters


_NETWORK_HINT = (
    "check the network (HTTPS_PROXY if there is a proxy, HF_ENDPOINT if there is a mirror), then "
    "run the same command again: it goes on where it stopped"
)


def explain_status(answer: Any, file: RemoteFile, *, has_token: bool, now: float) -> Exception:
    """The hub answered with an error; ``now`` in seconds since 1970."""
    status, code = answer.status_code, answer.headers.get("x-error-code", "")
    named = file.revision is not None and file.revision != "main"
    where = f"{file.name}@{file.revision}" if named else file.name
    message, hint = f"the hub refused {where} (status {status})", _NETWORK_HINT
    match status:
        case 416:
            return StartOver("the hub has fewer bytes than are here")
        case 408 | 425 | 429 | 500 | 502 | 503 | 504 | 520 | 522 | 524:
            often = "the hub limits how often it is asked"
            reason = often if status == 429 else f"status {status}"  # noqa: PLR2004
            return TryAgain(reason, wait_seconds=_asked_to_wait(answer.headers, now))
        case _ if code == "GatedRepo" or status == 403:  # noqa: PLR2004
            message = f"the hub does not give {where} to this account (status {status})"
            hint = f"open https://huggingface.co/{file.repo}, accept its terms, "
            hint += "then HF_TOKEN=hf_… with the token of that account"
        case 401 if has_token:
            message = f"the hub refused the token for {where} (status 401)"
            hint = "HF_TOKEN (or the token of `hf auth login`) is wrong or has expired"
        case 401:
            message = f"the hub does not show {where} without an account (status 401)"
            hint = "check the name; a private or gated one needs HF_TOKEN"
        case 404 if code == "RevisionNotFound":
            message = f"{file.repo} has no revision {file.revision}"
            hint = f"without @{file.revision} it is the newest one"
        case 404 if code == "RepoNotFound":
            message = f"there is no repository {file.repo}"
            hint = "check the name; a private one needs HF_TOKEN"
        case 404:
            message = f"there is no file {where}"
            hint = "its files: https://huggingface.co/"
            hint += f"{file.repo}/tree/{file.revision or 'main'}"
        case _:
            return GemmaEdgeError(message, hint=hint)
    return ModelError(message, hint=hint)


def _asked_to_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from ``Retry-After`` (a number or a date) or the ``RateLimit`` header; None where
    neither says so in the form that they have."""
    # "api";r=0;t=55
    limit = re.search(
        r";[ \t]*r[ \t]*=[ \t]*0[ \t]*;[ \t]*t[ \t]*=[ \t]*([0-9]+)(?![^\s,;])",
        told if len(told := headers.get("ratelimit", "")) <= _MOST_HEADER else "",
    )
    text = limit[1] if limit else headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text) if len(text) <= _MOST_DIGITS else _LONGEST_SECONDS
    if not re.fullmatch(r"[A-Z][a-z]+, [ -~]{1,40} GMT", text):  # RFC 9110, HTTP-date
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  (it loads socket)

    try:
        asked = parsedate_to_datetime(text).timestamp() - now
    except (TypeError, ValueError, OverflowError, OSError, IndexError):
        return None
    return min(max(0.0, asked), _LONGEST_SECONDS)


def explain_transport(kind: str, text: str, file: RemoteFile) -> Exception:
    """No answer; ``kind`` is the class name of the HTTP client's error."""
    if kind == "ProxyError":
        message = f"the proxy does not let {file.name} through ({text})"
        hint = "check HTTPS_PROXY and HTTP_PROXY; NO_PROXY leaves a host out"
    elif "CERTIFICATE_VERIFY_FAILED" in text:
        message = f"the hub's certificate is not trusted ({text})"
        hint = "SSL_CERT_FILE names the certificates of a proxy that reads the traffic"
    elif kind in ("UnsupportedProtocol", "InvalidURL", "TooManyRedirects", "LocalProtocolError"):
        message, hint = f"the hub's address cannot be used ({text})", "check HF_ENDPOINT"
    else:
        reason = "no byte came for too long" if "Timeout" in kind else text or kind
        return TryAgain(reason, unreachable=kind.startswith("Connect"))
    return GemmaEdgeError(message, hint=hint)


NOT_HERE = "not on this machine"


def not_while_offline(names: Sequence[str]) -> ModelError:
    offline = f"{NOT_HERE}, and --offline (or HF_HUB_OFFLINE) is set"
    return ModelError(
        f"{names[0]} is {offline}" if len(names) == 1 else f"{offline}: {', '.join(names)}",
        hint="gemma-edge pull where there is a network, to a disk that both see; a file from "
        "elsewhere: gemma-edge import FILE",
    )


def gave_up(name: str, reason: str, kept_bytes: int, total_bytes: int) -> GemmaEdgeError:
    kept = ""
    if total_bytes:
        kept = f"; {render_bytes(kept_bytes)} of {render_bytes(total_bytes)} are kept"
    return GemmaEdgeError(f"{name} did not come through ({reason}){kept}", hint=_NETWORK_HINT)
