"""Who may ask, from where, and how much: before anything of a request is looked at."""

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gemma_edge.records import dataclass
from gemma_edge.serve.protocol import Refusal
from gemma_edge.units import render_bytes

# A page of a browser gets these with everything: it runs what came from here alone, and is shown in
# no other page.
_HEADERS = (
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
     b"connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
     b"frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)  # fmt: skip
_BODIES = 8  # of the largest size, in memory at a time
_OPEN = ("/", "/health", "/ready")  # without a key; and what is below of the page
PAGE = "/page/"
_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^:\[\]/@?#\s]+)(?::\d{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """``keys`` that open it, none where it is open; names besides addresses that it may be called
    by; pages of other servers (``https://example.org``) that may ask."""

    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    body_bytes: int = 64 << 20


Told = Callable[[str, str, int, float], None]


class Guard:
    """The first of all that a request passes: no host but this, no page but its own, a key where
    there is one, no more than so many bytes. ``told`` hears of the end of each request: method,
    path, status, seconds; ``clock`` is in seconds."""

    def __init__(
        self, app: ASGIApp, trusted: Trusted, told: Told, clock: Callable[[], float]
    ) -> None:
        self._app, self._trusted, self._told, self._clock = app, trusted, told, clock
        self._keys = [key.encode() for key in trusted.keys]
        self._held_bytes = 0  # of bodies of requests that are not over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = self._clock(), 0
        held: list[int] = []

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            await refusal.response()(scope, receive, answer)
        else:
            await self._app(scope, self._bounded(receive, held), answer)
        finally:
            self._held_bytes -= sum(held)
            self._told(scope["method"], scope["path"], status, self._clock() - began)

    def _check(self, scope: Scope) -> None:
        headers = _Headers(scope["headers"])
        host = headers.one("host")
        self._check_host(host)
        self._check_origin(headers.one("origin"), host, scope.get("scheme", "http"))
        length = headers.one("content-length")
        if length.isascii() and length.isdigit() and int(length) > self._trusted.body_bytes:
            raise _too_large(self._trusted.body_bytes)
        path = scope["path"]
        if self._keys and path not in _OPEN and not path.startswith(PAGE):
            self._check_key(headers.one("authorization"))

    def _check_host(self, host: str) -> None:
        found = _HOST.fullmatch(host)
        name = found[1].strip("[]").lower().rstrip(".") if found else ""
        if name == "localhost" or name in self._trusted.hosts or _is_address(name):
            return
        raise Refusal(
            403, "forbidden_host", f"the host `{host[:80]}` is not this server",
            hint=f"--allow-host {name[:80] or 'NAME'}",
        )  # fmt: skip

    def _check_origin(self, origin: str, host: str, scheme: str) -> None:
        if not origin or origin == f"{scheme}://{host}" or origin in self._trusted.origins:
            return
        if host and origin == f"https://{host}":  # behind a proxy that has the certificate
            return
        raise Refusal(
            403, "forbidden_origin", f"pages of `{origin[:80]}` may not ask this server",
            hint="--allow-origin",
        )  # fmt: skip

    def _check_key(self, said: str) -> None:
        kind, _, key = said.partition(" ")
        given = key.strip().encode("utf-8", "replace")
        # All are compared, so that the time says nothing of which was nearly right.
        known = [hmac.compare_digest(given, each) for each in self._keys]
        if kind.lower() != "bearer" or not any(known):
            raise Refusal(
                401, "invalid_api_key", "there is no such key", hint="Authorization: Bearer KEY"
            )

    def _bounded(
        self, receive: Receive, held: list[int]
    ) -> Callable[[], Awaitable[MutableMapping[str, Any]]]:
        most = self._trusted.body_bytes

        async def bounded() -> MutableMapping[str, Any]:
            message = await receive()
            if size := len(message.get("body", b"")):
                held.append(size)
                self._held_bytes += size
            if sum(held) > most:
                raise _too_large(most)
            if self._held_bytes > _BODIES * most:
                raise Refusal(503, "overloaded", "too many large bodies at once", retry_after=2)
            return message

        return bounded


class _Headers:
    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._all = list(headers)

    def one(self, name: str) -> str:
        """Raises Refusal: it is there twice, and proxies may have read another one."""
        found = [value for key, value in self._all if key.lower() == name.encode()]
        if len(found) > 1:
            raise Refusal(400, "invalid", f"there are two headers `{name}`")
        return found[0].decode("latin-1").strip() if found else ""


def _is_address(name: str) -> bool:
    """An address is never what a name of somebody else's was pointed at."""
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _too_large(most: int) -> Refusal:
    text = f"the body is larger than {render_bytes(most)}"
    return Refusal(413, "too_large", text, hint="--max-body")
