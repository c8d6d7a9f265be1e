"""The only door to huggingface_hub: what the hub knows of a file, and its bytes.

``hf_hub_download`` is not used. Since version 2 it writes to a temporary file of its own, deletes
that whenever it stops, and so can never go on after a cut, a Ctrl-C or a crash; its plain-HTTP
path also holds back up to 10 MiB. We use the library's client (proxies, tokens, mirrors, offline
mode), its metadata, its lock and its cache layout, and write the bytes ourselves.

Every function raises only what ``failures`` makes: a ``GemmaEdgeError``, or ``TryAgain``,
``StartOver`` and ``Changed`` for the loop in ``transfer``.
"""

import contextlib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gemma_edge import __version__
from gemma_edge.errors import GemmaEdgeError, ModelError
from gemma_edge.store.failures import (
    Answer,
    Changed,
    StartOver,
    TryAgain,
    explain_status,
    explain_transport,
)
from gemma_edge.store.layout import COMMIT, SHA256
from gemma_edge.store.remote import RemoteFile
from gemma_edge.store.settings import StoreSettings

_ETAG = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")  # it becomes a file name
_ASK_SECONDS = 10.0
_NAME = "gemma-edge"
_REFUSED = (401, 403, 404)  # from the storage: its signed address has expired, or a proxy says so
_PROXY_HINT = "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"


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
    hub = _hub()
    with _explained(replace(file, revision=revision), settings):
        found = hub.get_hf_file_metadata(
            hub.hf_hub_url(
                file.repo, file.filename, revision=revision, endpoint=_endpoint(settings)
            ),
            token=settings.token,
            timeout=_ASK_SECONDS,
            endpoint=_endpoint(settings),
            library_name=_NAME,
            library_version=__version__,
        )
    commit, etag, size = found.commit_hash or "", found.etag or "", found.size
    if not COMMIT.fullmatch(commit) or not _ETAG.fullmatch(etag) or size is None or size < 0:
        raise ModelError(
            f"what answered for {file.name} is not a hub (it names no commit, hash or size)",
            hint="check HF_ENDPOINT; a login page of the network answers like this too",
        )
    sha256 = etag if SHA256.fullmatch(etag) else None
    xet = found.xet_file_data if _speaks_xet() else None
    return Upstream(file, revision, commit, etag, size, sha256, xet)


def stream_http(
    upstream: Upstream, start: int, settings: StoreSettings, *, end: int | None = None
) -> Iterator[bytes]:
    """The bytes from ``start`` on (up to ``end``, which is not part of it) over plain HTTP, as they
    arrive. Ends early only by raising."""
    hub, file = _hub(), upstream.file
    headers = request_headers(settings) | {"Accept-Encoding": "identity"}
    part = start > 0 or end is not None
    if part:
        headers["Range"] = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
    url = hub.hf_hub_url(
        file.repo, file.filename, revision=upstream.commit, endpoint=_endpoint(settings)
    )
    with _explained(file, settings):
        request = hub.get_session().stream(
            "GET", url, headers=headers, timeout=settings.stall_seconds
        )
        with request as response:
            _check_response(response, upstream, start, part=part)
            yield from response.iter_raw()


def _check_response(response: Any, upstream: Upstream, start: int, *, part: bool) -> None:
    """Is it the part that was asked for, of the file that was asked for?"""
    if response.history and response.status_code in _REFUSED:
        raise TryAgain(f"the storage answered with status {response.status_code}")
    _utils().hf_raise_for_status(response)
    for hop in (*response.history, response):
        etag = hop.headers.get("x-linked-etag")
        if etag is not None and etag.removeprefix("W/").strip('"') != upstream.etag:
            raise Changed(f"{upstream.file.name} was replaced upstream")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise TryAgain("the bytes came compressed, which cannot be continued")
    if not part and response.status_code == 200:  # noqa: PLR2004
        length = response.headers.get("content-length")
        if length is not None and length != str(upstream.size_bytes):
            raise Changed(f"{upstream.file.name} has another size than the hub said")
        return
    if response.status_code != 206:  # noqa: PLR2004
        raise StartOver("the server cannot continue a file")
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
    if found is None or int(found[1]) != start:
        raise StartOver("the server sent another part than was asked for")
    if found[2] not in ("*", str(upstream.size_bytes)):
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
    """The library, told not to look around: else its first call asks huggingface.co (whatever the
    mirror, for up to 3 s) how to recognize the program that started it, and reports that."""
    _constants().HF_HUB_DISABLE_TELEMETRY = True
    return importlib.import_module("huggingface_hub")


def _speaks_xet() -> bool:
    return not _constants().HF_HUB_DISABLE_XET and find_spec("hf_xet") is not None


def _utils() -> Any:
    """The library's tools; it gives type checkers no list of them."""
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
    """Whatever the library raises inside becomes one of ours."""
    import httpx2  # noqa: PLC0415  (the library's HTTP client)
    from huggingface_hub.errors import (  # noqa: PLC0415
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except HfHubHTTPError as error:
        headers = error.response.headers
        answer = Answer(error.response.status_code, headers.get("x-error-code", ""), headers)
        has_token = "authorization" in request_headers(settings)
        raise explain_status(answer, file, has_token=has_token, now=settings.clock()) from None
    except OfflineModeIsEnabled:
        raise ModelError(
            f"{file.name} is not on this machine, and HF_HUB_OFFLINE is set",
            hint="unset HF_HUB_OFFLINE for the download",
        ) from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise explain_transport(type(error).__name__, str(error), file) from None
    except (HFValidationError, ImportError, ValueError) as error:  # a proxy nobody can speak to
        raise GemmaEdgeError(f"the network settings cannot be used ({error})", hint=_PROXY_HINT) \
            from None  # fmt: skip
