"""How the test hub answers one request, and what can go wrong with the answer."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from tests.store.hub import Hub

_BLOCK = 16 << 10


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer. Offsets count the bytes of the body that is sent."""

    status: int = 0
    code: str = ""  # X-Error-Code
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    stall_after: int | None = None
    flip_at: int | None = None  # of the file, not of the body
    bytes_per_second: float = 0.0
    ignore_range: bool = False
    flood: int = 0  # bytes that nobody asked for behind the body, which has no length then
    then: Callable[[], object] | None = None  # before the connection is cut


@dataclass(frozen=True)
class Version:
    """One upload: the commit and the files of the repository at it."""

    commit: str
    files: dict[str, bytes]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: "Hub"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


class Refusal(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.server.hub, urlsplit(self.path).path
        hub.requests.append(
            (self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        )
        if path.startswith("/storage/"):
            return self._storage(path.rpartition("/")[2])
        if path.startswith("/xet/"):
            return self._xet_token(path.rpartition("/")[2])
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found:
            return self._resolve(found[1], unquote(found[2]), unquote(found[3]))
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(tree|revision)/([^/]+))?", path)
        if found:
            return self._api(found[1], found[2] or "", unquote(found[3] or "main"))
        return self._refuse(Fault(404))

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        hub, fault = self.server.hub, self.server.hub.take("resolve")
        if fault.status:
            return self._refuse(fault)
        token = hub.required_token
        if token is not None and self.headers.get("authorization") != f"Bearer {token}":
            sent = "authorization" in self.headers
            return self._refuse(Fault(401, "" if sent else "RepoNotFound"))
        version = self._version(repo, revision)
        if version is None:
            return self._refuse(
                Fault(404, "RevisionNotFound" if repo in hub.repos else "RepoNotFound")
            )
        data = version.files.get(name)
        if data is None:
            return self._refuse(Fault(404, "EntryNotFound", {"X-Repo-Commit": version.commit}))
        sha256 = hashlib.sha256(data).hexdigest()
        headers = {"X-Repo-Commit": version.commit}
        if not hub.lfs:
            headers |= {"ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
            return self._send(data, fault, headers)
        headers |= {
            "X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data)),
            "ETag": f'"{hashlib.md5(sha256.encode()).hexdigest()}"',
            "Location": f"http://localhost:{hub.port}/storage/{repo}/{sha256}?signed=1",
        }  # fmt: skip
        if sha256 in hub.xet:
            headers["X-Xet-Hash"] = hub.xet[sha256][0]
            headers["X-Xet-Refresh-Route"] = f"{hub.endpoint}/xet/{sha256}"
        self._head(302, headers | dict(fault.headers), finish=not fault.flood)
        if self.command == "GET":
            self._flood(fault.flood)
        return None

    def _version(self, repo: str, revision: str) -> Version | None:
        versions = self.server.hub.repos.get(repo, [])
        if revision == "main":
            return versions[-1] if versions else None
        return next((version for version in versions if version.commit == revision), None)

    def _storage(self, sha256: str) -> None:
        hub, fault = self.server.hub, self.server.hub.take("storage")
        if fault.status:
            return self._refuse(fault)
        for versions in hub.repos.values():
            for data in (data for version in versions for data in version.files.values()):
                if hashlib.sha256(data).hexdigest() == sha256:
                    etag = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Accept-Ranges": "bytes"}
                    return self._send(data, fault, etag)
        return self._refuse(Fault(404))

    def _xet_token(self, sha256: str) -> None:
        endpoint = self.server.hub.xet[sha256][1]
        expires = str(int(time.time()) + 3600)
        body = {"casUrl": endpoint, "accessToken": "short", "exp": int(expires)}
        self._json(body, {
            "X-Xet-Cas-Url": endpoint, "X-Xet-Access-Token": "short",
            "X-Xet-Token-Expiration": expires,
        })  # fmt: skip

    def _send(self, data: bytes, fault: Fault, headers: dict[str, str]) -> None:
        """The body or the part that was asked for, with the faults that were ordered."""
        start, asked = 0, re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        end, status = len(data), 200
        if asked and not fault.ignore_range:
            start, end = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else end, end)
            if start >= len(data):
                self._refuse(Fault(416, headers={"Content-Range": f"bytes */{len(data)}"}))
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        if fault.flip_at is not None:
            at = fault.flip_at
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        length = {} if fault.flood else {"Content-Length": str(end - start)}
        headers |= length | dict(fault.headers)
        self._head(status, headers, finish=False)
        if self.command == "GET":
            self._body(memoryview(data)[start:end], fault)
            self._flood(fault.flood)

    def _flood(self, count: int) -> None:
        """Until the client has enough; what it took is counted."""
        if not count:
            return
        self.close_connection = True
        for _ in range(0, count, _BLOCK):
            try:
                self.wfile.write(b"x" * _BLOCK)
            except OSError:  # it hung up
                return
            with self.server.hub.guard:
                self.server.hub.sent_bytes += _BLOCK

    def _body(self, body: memoryview, fault: Fault) -> None:
        ends = [end for end in (fault.cut_after, fault.stall_after) if end is not None]
        limit = min([len(body), *ends])
        sent = 0
        while sent < limit:
            block = body[sent : min(sent + _BLOCK, limit)]
            sent += len(block)
            with self.server.hub.guard:  # before the client can have it
                self.server.hub.sent_bytes += len(block)
            self.wfile.write(block)
            if fault.bytes_per_second:
                time.sleep(len(block) / fault.bytes_per_second)
        self.wfile.flush()
        if fault.then is not None:
            fault.then()
        if fault.stall_after is not None:
            self.server.hub.released.wait()
        if sent < len(body):
            self.close_connection = True

    def _api(self, repo: str, kind: str, revision: str) -> None:
        version = self._version(repo, revision)
        if version is None:
            known = repo in self.server.hub.repos
            return self._refuse(Fault(404, "RevisionNotFound" if known else "RepoNotFound"))
        files = [
            {
                "type": "file", "path": name, "rfilename": name, "size": len(data),
                "oid": hashlib.sha1(data).hexdigest(),
                "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data),
                        "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134},
            }
            for name, data in sorted(version.files.items())
        ]  # fmt: skip
        if kind == "tree":
            return self._json(files, {})
        blobs = "blobs" in parse_qs(urlsplit(self.path).query)
        keys = ("rfilename", "size", "lfs") if blobs else ("rfilename",)
        siblings = [{key: entry[key] for key in keys} for entry in files]
        info = {"id": repo, "modelId": repo, "sha": version.commit, "siblings": siblings,
                "private": False, "gated": False, "tags": [], "downloads": 0}  # fmt: skip
        return self._json(info, {})

    def _json(self, content: object, headers: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        self._head(200, headers, finish=False)
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(self, fault: Fault) -> None:
        headers = dict(fault.headers)
        if fault.code:
            headers["X-Error-Code"] = fault.code
        self._head(fault.status, headers, finish=not fault.flood)
        if self.command == "GET":
            self._flood(fault.flood)

    def _head(self, status: int, headers: Mapping[str, str], *, finish: bool = True) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if finish:
            self.send_header("Content-Length", "0")
        self.end_headers()
