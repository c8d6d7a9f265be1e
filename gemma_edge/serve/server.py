"""The server: its routes, its page, how it starts and how it ends."""

import asyncio
import contextlib
import logging
import mimetypes
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from importlib.resources import files
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gemma_edge.app.loaded import LoadedEngine
from gemma_edge.app.runtime import Runtime
from gemma_edge.errors import UsageError
from gemma_edge.planning.plan import Plan
from gemma_edge.records import dataclass
from gemma_edge.serve import documents, openai
from gemma_edge.serve.protocol import Json, Refusal, api, refuse_query
from gemma_edge.serve.queue import FairQueue
from gemma_edge.serve.safety import PAGE, Guard, Trusted
from gemma_edge.serve.service import Left, Limits, Service
from gemma_edge.version import __version__

_CONNECTIONS = 1024  # at a time, those that wait included
_HEADERS_BYTES = 32 << 10
_NOT_FOUND, _NOT_ALLOWED = 404, 405


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``log`` hears a line about each request, or nothing does; ``bug`` of an error that nobody
    foresaw. The server ends at the latest ``drain_seconds`` after it was asked to."""

    trusted: Trusted = Trusted()
    limits: Limits = Limits()
    log: Callable[[str], None] | None = None
    bug: Callable[[BaseException], None] = lambda _error: None
    drain_seconds: float = 60.0


def name_of(engine: LoadedEngine) -> str:
    """What clients call the model: its name in the catalogue, or that of its file."""
    prepared = engine.prepared
    name = "demo" if prepared.files.bundled else prepared.candidate.model_name
    return name if "/" not in name and "\\" not in name else prepared.plan.model.stem


def open_service(engine: LoadedEngine, runtime: Runtime, settings: Settings) -> Service:
    """The engine with its queue. Call it in the event loop that serves."""
    plan = engine.info.plan or engine.prepared.plan
    limits = settings.limits
    queue = FairQueue(plan.sequences, waiting=limits.waiting, each=limits.each)
    name, keys = name_of(engine), settings.trusted.keys
    return Service(engine, runtime, name, limits, queue, keys)


def make_app(service: Service, settings: Settings) -> Starlette:
    """The application; its first middleware is the guard."""

    async def failed(_request: Request, error: Exception) -> Response:
        settings.bug(error)
        return Refusal(500, "failed", "a bug in gemma-edge; its terminal says more").response()

    routes = _routes()
    paths = frozenset(route.path for route in routes)

    def told(method: str, path: str, status: int, seconds: float) -> None:
        known = path if path in paths else "other"
        service.metrics.requests.labels(known, str(status)).inc()
        service.metrics.seconds.labels(known).observe(seconds)
        if settings.log is not None:
            settings.log(f"{method} {path[:200]} {status} {seconds:.3f} s")

    middleware = [Middleware(Guard, settings.trusted, told, service.runtime.clock)]
    if settings.trusted.origins:
        middleware.insert(0, Middleware(
            CORSMiddleware, allow_origins=settings.trusted.origins,
            allow_methods=["GET", "POST"], allow_headers=["Authorization", "Content-Type"],
        ))  # fmt: skip
    app = Starlette(
        routes=routes, middleware=middleware,
        exception_handlers={
            Refusal: _refuse, HTTPException: _refuse_path, Left: _nobody, Exception: failed,
        },
    )  # fmt: skip
    app.state.service = service
    app.state.page = _page()
    return app


def _routes() -> list[Route]:
    post, get = ["POST"], ["GET"]
    return [
        Route("/v1/chat/completions", openai.chat, methods=post),
        Route("/v1/completions", openai.complete, methods=post),
        Route("/v1/models", openai.models, methods=get),
        Route("/v1/models/{model:path}", openai.model, methods=get),
        Route("/tokenize", openai.tokenize, methods=post),
        Route("/detokenize", openai.detokenize, methods=post),
        Route("/v1/extract", documents.extract, methods=post),
        Route("/v1/describe", documents.describe, methods=post),
        Route("/v1/recipes", documents.recipes, methods=get),
        Route("/v1/status", _status, methods=get),
        Route("/health", _health, methods=get),
        Route("/ready", _ready, methods=get),
        Route("/metrics", _metrics, methods=get),
        Route("/openapi.json", _api, methods=get),
        Route("/", _page_file, methods=get),
        Route(f"{PAGE}{{name}}", _page_file, methods=get),
    ]


# ----------------------------------------------------------------------------
# What went wrong.


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _refuse_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == _NOT_FOUND:
        refusal = Refusal(404, "not_found", f"there is nothing at {path}", hint="/openapi.json")
    elif error.status_code == _NOT_ALLOWED:
        refusal = Refusal(405, "invalid", f"{request.method} is not for {path}")
    else:
        refusal = Refusal(error.status_code, "invalid", str(error.detail))
    response = refusal.response()
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


# ----------------------------------------------------------------------------
# What is there besides the answers.


async def _health(request: Request) -> Response:
    refuse_query(request)
    return JSONResponse({"status": "ok"})


async def _ready(request: Request) -> Response:
    service: Service = request.app.state.service
    refuse_query(request)
    if service.stopping:
        raise Refusal(503, "stopping", "the server ends", retry_after=5)
    if service.engine.loading() is not None:
        raise Refusal(503, "loading", "the model is being loaded", retry_after=2)
    return JSONResponse({"status": "ready"})


async def _metrics(request: Request) -> Response:
    refuse_query(request)
    text = request.app.state.service.metrics.render()
    return Response(text, media_type="text/plain; version=0.0.4")


async def _api(request: Request) -> Response:
    refuse_query(request)
    return JSONResponse(api())


async def _status(request: Request) -> Response:
    service: Service = request.app.state.service
    refuse_query(request)
    return JSONResponse(describe_service(service))


def describe_service(service: Service) -> Json:
    """The model, the plan with its memory, and the queue, as they are now."""
    info, prepared = service.engine.info, service.engine.prepared
    plan = info.plan or prepared.plan
    speed, ledger, limits = plan.speed, plan.ledger, service.limits
    accounts = ledger.accounts if ledger is not None else ()
    return {
        "model": service.name, "title": prepared.brief.partition(" on ")[0],
        "plan": prepared.render(info), "reasons": list(plan.reasons), "notes": list(info.notes),
        "alternatives": _alternatives(prepared.plan), "context_tokens": info.context_tokens,
        "vision": info.vision, "thinking": info.thinks, "device": info.device,
        "speed": None if speed is None else {
            "tokens_per_second": speed.tokens_per_second, "measured": speed.measured,
        },
        "places": [_account(each) for each in accounts],
        "queue": {
            "places": service.queue.places, "active": service.queue.active,
            "waiting": service.queue.waiting,
        },
        "limits": {
            "body_bytes": limits.body_bytes, "images": limits.images, "seconds": limits.seconds,
            "max_tokens": limits.max_tokens, "waiting": limits.waiting,
        },
        "version": __version__,
    }  # fmt: skip


def _alternatives(plan: Plan) -> list[str]:
    """Other models that fit here, by what ``--model`` takes."""
    from gemma_edge.planning.render import render_speed, short_tokens  # noqa: PLC0415

    found = []
    for each in plan.alternatives:
        said = (f"{short_tokens(each.context_tokens)} context", render_speed(each.speed))
        found.append(f"{each.name}: {', '.join(filter(None, said))}")
    return found


def _account(account: Any) -> Json:
    parts = [
        {"name": each.name, "bytes": each.size_bytes, "exact": each.exact, "note": each.note}
        for each in account.parts
    ]
    return {
        "place": account.place, "title": account.title, "free_bytes": account.budget_bytes,
        "planned_bytes": account.total_bytes, "parts": parts,
    }  # fmt: skip


def _page() -> dict[str, tuple[bytes, str]]:
    """The files of the page with their types, all of them in memory: no path out of a request is
    opened."""
    folder = files("gemma_edge.serve").joinpath("page")
    found: dict[str, tuple[bytes, str]] = {}
    if not folder.is_dir():
        return found
    for each in folder.iterdir():
        if each.is_file():
            kind = mimetypes.types_map.get(f".{each.name.rpartition('.')[2]}", "text/plain")
            found[each.name] = (each.read_bytes(), kind)
    return found


async def _page_file(request: Request) -> Response:
    found = request.app.state.page.get(request.path_params.get("name", "index.html"))
    if found is None:
        raise Refusal(404, "not_found", f"there is nothing at {request.url.path[:200]}")
    data, kind = found
    return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})


# ----------------------------------------------------------------------------
# Start and end.


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound and listens; port 0 takes a free one.
    Raises UsageError: it cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        listening = socket.create_server(address[:2], family=family, backlog=_CONNECTIONS)
        # Each token is a small write: Nagle's algorithm would hold it until the one before is
        # acknowledged, up to 40 ms. Connections inherit this; asyncio sets it only where a socket
        # names its protocol, which create_server's does not.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        why, *_ = (error.strerror or str(error)).split(" (while")  # the address, once more
        raise UsageError(
            f"cannot listen at {host}:{port}: {why}", hint="--port 0 takes a free one"
        ) from None


def url_of(listening: socket.socket) -> str:
    """``http://127.0.0.1:8765``."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn's, which ends when it is told and leaves the signal at that."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self.told: int | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """While it serves, SIGINT and SIGTERM end it; a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        for each in before:
            signal.signal(each, self._stop)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self.told = number
        self._stopping()


def serve(
    engine: LoadedEngine, runtime: Runtime, settings: Settings, sockets: Sequence[socket.socket],
    started: Callable[[Callable[[], None]], None] = lambda _stop: None,
) -> int | None:  # fmt: skip
    """Serve until SIGINT or SIGTERM, whose number is returned; answers under way come to their end.
    ``started`` is given what stops it, for those who are no signal."""
    return asyncio.run(_serve(engine, runtime, settings, sockets, started))


async def _serve(
    engine: LoadedEngine, runtime: Runtime, settings: Settings, sockets: Sequence[socket.socket],
    started: Callable[[Callable[[], None]], None],
) -> int | None:  # fmt: skip
    service = open_service(engine, runtime, settings)
    app = make_app(service, settings)

    def stopping() -> None:
        service.stopping = True

    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, date_header=True,
        lifespan="off", ws="none", proxy_headers=False, limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=int(settings.drain_seconds), http="h11",
        h11_max_incomplete_event_size=_HEADERS_BYTES,
    )  # fmt: skip
    server = _Server(config, stopping)
    silent = logging.getLogger("uvicorn.error")  # it would log requests that fail
    silent.addHandler(logging.NullHandler())
    silent.propagate = False

    def stop() -> None:
        stopping()
        server.should_exit = True

    started(stop)
    try:
        await server.serve(sockets=list(sockets))
    finally:
        service.close()
    return server.told
