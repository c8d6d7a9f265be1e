"""A server that answers as the hub does, with faults to order.

Two names for one port: ``endpoint`` (127.0.0.1) is the hub, ``localhost`` the storage it redirects
to, so that the client sees another host as it does in the world. Bytes that were really sent are
counted, and every request is kept.
"""

import hashlib
import threading
from collections import deque

from tests.store.answers import Fault, Refusal, Server, Version

__all__ = ["Fault", "Hub", "Version"]


class Hub:
    """``with Hub() as hub: hub.upload("owner/repo", "file.gguf", data)``."""

    def __init__(self) -> None:
        self.repos: dict[str, list[Version]] = {}
        self.faults: dict[str, deque[Fault]] = {"resolve": deque(), "storage": deque()}
        self.always: dict[str, Fault] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.sent_bytes = 0
        self.lfs = True
        self.xet: dict[str, tuple[str, str]] = {}  # sha256 -> (xet hash, storage endpoint)
        self.required_token: str | None = None
        self.released = threading.Event()  # ends what stalls
        self.guard = threading.Lock()
        self._server = Server(("127.0.0.1", 0), Refusal)
        self._server.hub = self
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def upload(self, repo: str, name: str, data: bytes) -> str:
        """A new commit; ``main`` is the last one."""
        versions = self.repos.setdefault(repo, [])
        files = dict(versions[-1].files) if versions else {}
        files[name] = data
        text = f"{repo} {len(versions)} {name} {hashlib.sha256(data).hexdigest()}"
        commit = hashlib.sha1(text.encode()).hexdigest()
        versions.append(Version(commit, files))
        return commit

    def order(self, where: str, *faults: Fault) -> None:
        """One fault for each of the next answers of ``resolve`` (HEAD and GET) or ``storage``."""
        self.faults[where].extend(faults)

    def take(self, where: str) -> Fault:
        """The fault of this answer."""
        with self.guard:
            queue = self.faults[where]
            return queue.popleft() if queue else self.always.get(where, Fault())

    def count(self, method: str, part: str) -> int:
        """Requests of this method whose path holds ``part``."""
        return sum(1 for verb, path, _ in self.requests if verb == method and part in path)
