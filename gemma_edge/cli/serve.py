"""``gemma-edge serve``: the same jobs over HTTP."""

import ipaddress
import re
import signal
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gemma_edge.app.request import ModelRequest
from gemma_edge.app.runtime import say_nothing, uncancelled, watch_nothing
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import build, option
from gemma_edge.cli.options import (
    FetchFlags,
    ModelFlags,
    ShowFlags,
    parse_at_once,
    parse_size,
    whole_text,
)
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.records import dataclass
from gemma_edge.units import MIB

if TYPE_CHECKING:
    from gemma_edge.app.runtime import Runtime
    from gemma_edge.serve.server import Settings

KEY_VARIABLE = "GEMMA_EDGE_API_KEY"
PORT = 8765
_LEAST_KEY = 8  # characters
REACH, LIMITS = "Who may ask", "Limits"  # parts of the help page
_ORIGIN = re.compile(r"https?://[^/\s?#@]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachFlags:
    """Where it listens, and to whom."""

    host: Annotated[str, option(
        "--host", metavar="ADDRESS", panel=REACH,
        help="Listen there (default: 127.0.0.1); another one needs --api-key."
    )] = "127.0.0.1"  # fmt: skip
    port: Annotated[int, option(
        "--port", metavar="N", min=0, max=65535, panel=REACH,
        help=f"At this port (default: {PORT}); 0 takes a free one."
    )] = PORT  # fmt: skip
    keys: Annotated[tuple[str, ...], option(
        "--api-key", metavar="KEY|@FILE", parser=whole_text, panel=REACH,
        help=f"Answer only who sends it; repeatable, for several clients; or {KEY_VARIABLE}."
    )] = ()  # fmt: skip
    no_key: Annotated[bool, option(
        "--no-key", panel=REACH, help="Answer everybody who reaches the address."
    )] = False  # fmt: skip
    hosts: Annotated[tuple[str, ...], option(
        "--allow-host", metavar="NAME", panel=REACH,
        help="Another name of this server, as behind a proxy; repeatable."
    )] = ()  # fmt: skip
    origins: Annotated[tuple[str, ...], option(
        "--allow-origin", metavar="URL", panel=REACH,
        help="Let pages of https://example.org ask; repeatable."
    )] = ()  # fmt: skip
    log: Annotated[bool, option(
        "--log", panel=REACH, help="A line about each request: method, path, status, seconds."
    )] = False  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFlags:
    """What a request may take: fields of ``Limits``."""

    body_bytes: Annotated[int, option(
        "--max-body", metavar="SIZE", parser=parse_size, panel=LIMITS,
        help="The largest body (default: 64MiB)."
    )] = 64 * MIB  # fmt: skip
    images: Annotated[int, option(
        "--max-images", metavar="N", min=0, panel=LIMITS,
        help="Images and files of one request (default: 16)."
    )] = 16  # fmt: skip
    max_tokens: Annotated[int | None, option(
        "--max-tokens", metavar="N", min=1, panel=LIMITS,
        help="Tokens of one answer (default: what the context leaves)."
    )] = None  # fmt: skip
    seconds: Annotated[float, option(
        "--max-seconds", metavar="N", min=1.0, panel=LIMITS,
        help="From a request to the end of its answer (default: 1800)."
    )] = 1800.0  # fmt: skip
    waiting: Annotated[int, option(
        "--max-waiting", metavar="N", min=0, panel=LIMITS,
        help="Requests that wait, a quarter of them of one client (default: 256)."
    )] = 256  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeFlags:
    """Who is answered, by what, and how much of it."""

    reach: ReachFlags
    at_once: Annotated[int, option(
        "--at-once", metavar="N|auto", parser=parse_at_once, panel=LIMITS,
        help="Answers that are under way at once (default: as many as memory pays for, up to 8)."
    )] = 0  # fmt: skip
    limits: LimitFlags
    model: ModelFlags
    store: FetchFlags
    show: ShowFlags


def command(flags: ServeFlags, context: Context, output: Output) -> ExitStatus:
    """Answer over HTTP: a page for people, OpenAI's protocol for programs.

    The address is printed when it can be asked. Ctrl-C and SIGTERM end it when the answers under
    way are there, a second one at once.

    \b
    gemma-edge serve
    gemma-edge serve --model e4b --port 8080
    gemma-edge serve --host 0.0.0.0 --api-key @key.txt
    """
    settings = _settings(flags, context, output)
    from gemma_edge.app.at_once import AT_ONCE
    from gemma_edge.app.load import load, prepare
    from gemma_edge.cli.streaming import open_runtime
    from gemma_edge.documents.document import MAX_TOKENS
    from gemma_edge.serve import server

    listening = server.listen(flags.reach.host, flags.reach.port)
    with listening:
        runtime = replace(open_runtime(flags.store, context, output), remember=False)
        runtime.begin()
        model = build(ModelRequest, flags.model, at_once=flags.at_once or 1)
        sees = model.vision is not False
        prepared = prepare(
            model, runtime, vision="possible", image_tokens=MAX_TOKENS if sees else None,
            at_once=() if flags.at_once else AT_ONCE,
        )  # fmt: skip
        with load(prepared, runtime) as engine:
            engine.watch(runtime.on_event)
            for note in engine.info.notes:
                output.note(note)
            output.note(prepared.render(engine.info))
            url = server.url_of(listening)
            output.note(f"a page at {url}, for programs {url}/v1; Ctrl-C ends it")
            if flags.show.json:
                output.document({"url": url, "model": server.name_of(engine)})
            else:
                output.data(url)
            told = server.serve(engine, _quiet(runtime), settings, [listening])
    return ExitStatus.INTERRUPTED if told == signal.SIGINT else ExitStatus.OK


def _quiet(runtime: "Runtime") -> "Runtime":
    """For requests, whose lines go to their clients, and which nobody at a terminal confirms."""
    return replace(
        runtime, note=say_nothing, on_event=watch_nothing, cancelling=uncancelled, confirm=None
    )


def _settings(flags: ServeFlags, context: Context, output: Output) -> "Settings":
    reach = flags.reach
    keys = _keys(reach.keys or tuple(filter(None, [context.environment.get(KEY_VARIABLE)])))
    if keys and reach.no_key:
        raise UsageError("there is a key, and --no-key", hint="not both")
    if not (_is_local(reach.host) or keys or reach.no_key):
        problem = f"at {reach.host} everybody in the network could use the model"
        raise UsageError(problem, hint="--api-key KEY, or --no-key if they may")
    for origin in reach.origins:
        if not _ORIGIN.fullmatch(origin):
            raise UsageError(f"`{origin}` is no origin", hint="--allow-origin https://example.org")
    try:
        from gemma_edge.serve.safety import Trusted
        from gemma_edge.serve.server import Settings
        from gemma_edge.serve.service import Limits
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    limits = build(Limits, flags.limits, each=max(1, flags.limits.waiting // 4))
    trusted = Trusted(
        keys=keys, hosts=tuple(name.lower().rstrip(".") for name in reach.hosts),
        origins=reach.origins, body_bytes=limits.body_bytes,
    )  # fmt: skip
    return Settings(
        trusted=trusted, limits=limits, log=output.note if reach.log else None,
        bug=lambda error: _tell_bug(error, context, output),
    )  # fmt: skip


def _tell_bug(error: BaseException, context: Context, output: Output) -> None:
    """Where it was; with what, which may be of a request, for a developer alone."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "nowhere"
    output.error(f"a bug in gemma-edge: {type(error).__name__} in {where}")
    if context.debug:
        output.trace("".join(traceback.format_exception(error)))


def _missing(error: ModuleNotFoundError) -> Exception:
    """What is not installed; a module of our own that is not there is a bug."""
    name = (error.name or "").partition(".")[0]
    if name == "gemma_edge":
        return error
    said = f"`gemma-edge serve` needs {name}, which is not installed"
    return UsageError(said, hint='pip install "gemma-edge[serve]"')


def _keys(given: tuple[str, ...]) -> tuple[str, ...]:
    from gemma_edge.extraction.schema import read_text

    keys = tuple(read_text(key[1:]) if key.startswith("@") else key for key in given)
    for key in keys:
        if len(key) < _LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError(
                f"a key has {_LEAST_KEY} characters of ASCII at least, and no spaces",
                hint="python3 -c 'import secrets; print(secrets.token_urlsafe())' makes one",
            )
    return keys


def _is_local(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
