"""An answer on its way to the screen: pieces as they come, then the quiet line about it."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from gemma_edge.cli.output import Output
from gemma_edge.engine.protocol import Chunk, EngineInfo, Event, Finished, Notice, Reading
from gemma_edge.errors import ExitStatus, GemmaEdgeError
from gemma_edge.units import render_tokens

WHOLE_SPEED = 10  # tok/s; below it a decimal matters


def stream_text(events: Iterable[Event], output: Output) -> Finished:
    """Answer to stdout, thoughts to stderr, piece by piece."""
    finished = None
    with ending(events):
        for event in events:
            if isinstance(event, Finished):
                finished = event
            elif not isinstance(event, Chunk):
                show_aside(event, output)
            elif event.channel == "thought":
                output.thought(event.text)
            else:
                output.answer(event.text)
    output.end_answer()
    return ended(finished)


def stream_json(events: Iterable[Event], output: Output) -> Finished:
    """One JSON document a line for each event."""
    finished = None
    with ending(events):
        for event in events:
            output.event(render_event(event))
            if isinstance(event, Finished):
                finished = event
    return ended(finished)


def collect(events: Iterable[Event], output: Output) -> tuple[str, Finished]:
    """The whole answer at once, for one JSON document; what the engine has to say is told."""
    said, finished = [], None
    with ending(events):
        for event in events:
            show_aside(event, output)
            if isinstance(event, Finished):
                finished = event
            elif isinstance(event, Chunk) and event.channel == "answer":
                said.append(event.text)
    output.end_answer()
    return "".join(said), ended(finished)


def show_aside(event: Event, output: Output) -> None:
    """What is no part of the answer, on stderr: what happened to the engine, how far it reads."""
    if isinstance(event, Notice):
        output.note(event.text)
    elif isinstance(event, Reading):
        output.draw(f"reading {event.done_tokens:,} of {render_tokens(event.total_tokens)}")


def render_event(event: Event) -> dict[str, Any]:
    """An event as plain data: its name, then its fields; scores only where they were asked for."""
    fields = {name: value for name, value in asdict(event).items() if name != "scores" or value}
    return {"event": type(event).__name__.lower(), **fields}


def render_status(finished: Finished, info: EngineInfo) -> str:
    """Speed, time to the first word, and how much of the context is used."""
    usage, timings = finished.usage, finished.timings
    parts = []
    if usage.generated_tokens and timings.decode_seconds > 0:
        speed = usage.generated_tokens / timings.decode_seconds
        parts.append(f"{speed:.{0 if speed >= WHOLE_SPEED else 1}f} tok/s")
        parts.append(f"first word {timings.first_token_seconds:.1f} s")
    used = usage.prompt_tokens + usage.generated_tokens
    parts.append(f"{used:,} of {info.context_tokens:,}")
    if usage.cached_tokens:
        parts.append(f"{usage.cached_tokens:,} cached")
    return " · ".join(parts)


def cut_short(finished: Finished) -> tuple[str, ...]:
    """Why the answer is not whole, if it is not."""
    if finished.reason not in ("length", "repetition"):
        return ()
    said = render_tokens(finished.usage.generated_tokens)
    why = ", because it repeated itself" if finished.reason == "repetition" else ""
    return (f"the answer stopped after {said}{why}; it is not complete",)


def conclude(finished: Finished, output: Output) -> ExitStatus:
    """What the end of an answer means for the exit status; says why it is not a whole one."""
    if finished.reason == "cancelled":
        return ExitStatus.INTERRUPTED
    problems = cut_short(finished)
    for problem in problems:
        output.problem(problem)
    return ExitStatus.RESULT if problems else ExitStatus.OK


@contextmanager
def ending(events: Iterable[Event]) -> Iterator[None]:
    """An answer that cannot be shown (a full disk, a closed pipe) must end before its engine is
    closed: what is left of it would look for a model that is gone."""
    try:
        yield
    finally:
        if isinstance(events, Generator):
            events.close()


def ended(finished: Finished | None) -> Finished:
    """How an answer ended that was listened to until its end.

    Raises:
        GemmaEdgeError: it did not.
    """
    if finished is None:  # the Engine contract: exactly one Finished
        raise GemmaEdgeError("the engine stopped without saying why")
    return finished
