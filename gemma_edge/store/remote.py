"""The name of a file on the hub, and how people write it."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from gemma_edge.errors import UsageError

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
