"""What went wrong with the network or the disk, as one typed error with a way out."""

import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_edge.errors import DoesNotFit, GemmaEdgeError, ModelError
from gemma_edge.store.remote import RemoteFile
from gemma_edge.units import render_bytes

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
