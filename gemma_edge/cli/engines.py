"""``gemma-edge ps`` and ``stop``: the models that are loaded, and the end of those that wait."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from gemma_edge.app.runtime import standby_dir
from gemma_edge.cli.context import Context, data_dir
from gemma_edge.cli.flags import argument, option
from gemma_edge.cli.options import ShowFlags
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, InputError
from gemma_edge.hardware.claims import Claim, read
from gemma_edge.isolation import used_memory
from gemma_edge.records import dataclass
from gemma_edge.standby import Status, pids, statuses, stop
from gemma_edge.units import render_bytes, render_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model that is loaded: on standby by its ``status``, or by a command that runs alone;
    ``claim`` is what it takes of the memory. ``silent``: it is on standby and does not answer."""

    pid: int
    status: Status | None
    claim: Claim | None
    silent: bool = False

    @property
    def title(self) -> str:
        """Of the model."""
        if self.status is not None:
            return str(self.status.about.get("title", "?"))
        return self.claim.title if self.claim else "?"

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called."""
        about = self.status.about if self.status else {}
        words: Sequence[str] = about.get("words", ())
        return (str(self.pid), self.title, *map(str, words[2:]))

    @property
    def taken_bytes(self) -> int | None:
        """By the plan, in all memories; None where it is not known."""
        return sum(self.claim.taken.values()) if self.claim else None


def find_loaded(context: Context) -> list[Loaded]:
    """Those on standby, then those of commands that run."""
    claims = {each.pid: each for each in read(data_dir(context) / "running")}
    folder = standby_dir(context.environment, context.home, context.platform)
    found = [
        Loaded(pid=each.pid, status=each, claim=claims.pop(each.pid, None))
        for each in statuses(folder)
    ]
    answered = {each.pid for each in found}
    found += [
        Loaded(pid=pid, status=None, claim=claims.pop(pid, None), silent=True)
        for pid in pids(folder) if pid not in answered
    ]  # fmt: skip
    return found + [Loaded(pid=each.pid, status=None, claim=each) for each in claims.values()]


def ps_command(show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """Show the models that are loaded now.

    \b
    gemma-edge chat "hello" --keep-alive 10m
    gemma-edge ps
    """
    found = find_loaded(context)
    if show.json:
        output.document({"engines": [_as_document(each) for each in found]})
    elif found:
        output.table([_row(each, context.now()) for each in found])
    else:
        output.note("no model is loaded; --keep-alive 5m leaves one loaded for the next command")
    return ExitStatus.OK


def _as_document(loaded: Loaded) -> dict[str, Any]:
    status, about = loaded.status, loaded.status.about if loaded.status else {}
    ends = None if status is None else status.ends_seconds
    return {
        "pid": loaded.pid, "model": loaded.title, "name": loaded.names[-1],
        "context_tokens": about.get("context_tokens"), "device": about.get("device"),
        "planned_bytes": loaded.taken_bytes,
        "memory": dict(loaded.claim.taken) if loaded.claim else {},
        "resident_bytes": used_memory(loaded.pid), "standby": status is not None or loaded.silent,
        "busy": status is None or status.busy, "answers": not loaded.silent,
        "since": _since(loaded), "ends_seconds": None if ends is None else round(ends, 1),
    }  # fmt: skip


def _row(loaded: Loaded, now: float) -> list[str]:
    about = loaded.status.about if loaded.status else {}
    tokens = about.get("context_tokens")
    planned, since = loaded.taken_bytes, _since(loaded)
    memory = [f"{render_bytes(planned)} planned"] if planned is not None else []
    memory += [f"{render_bytes(used_memory(loaded.pid))} resident"]
    return [
        loaded.title, f"{tokens:,} tokens" if tokens else "", str(about.get("device", "")),
        ", ".join(memory), _state(loaded), f"pid {loaded.pid}",
        f"loaded for {render_duration(max(0.0, now - since))}" if since is not None else "",
    ]  # fmt: skip


def _state(loaded: Loaded) -> str:
    status = loaded.status
    if loaded.silent:
        return "does not answer"
    if status is None:
        return "at work, ends with its command"
    if status.busy:
        return "at work"
    if status.ends_seconds is None:
        return "waits, for ever"
    return f"waits, ends in {render_duration(status.ends_seconds)}"


def _since(loaded: Loaded) -> float | None:
    if loaded.status is not None:
        return loaded.status.since
    return loaded.claim.loaded or loaded.claim.at if loaded.claim else None


def loaded_names(context: Context) -> Iterable[tuple[str, str]]:
    """What ``stop`` takes, for a shell."""
    return ((each.names[-1], each.title) for each in find_loaded(context) if each.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFlags:
    """Which ones."""

    names: Annotated[
        tuple[str, ...],
        argument("NAME", "A model, or a part of its name, or a pid.", complete=loaded_names),
    ] = ()
    every: Annotated[bool, option("--all", help="All that wait.")] = False
    force: Annotated[bool, option("--force", help="Also one that is at work.")] = False


def stop_command(which: StopFlags, show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """End models that wait for the next command, and free their memory.

    \b
    gemma-edge stop
    gemma-edge stop e4b
    gemma-edge stop --all
    """
    names = which.names
    found = [
        each for each in find_loaded(context) if names or each.silent or each.status is not None
    ]
    chosen = list({each.pid: each for name in names for each in _named(name, found)}.values())
    if not names:
        chosen = found
        if len(found) > 1 and not which.every:
            known = ", ".join(sorted({each.names[-1] for each in found}))
            raise InputError(f"{len(found)} models wait: {known}", hint="name one, or --all")
    ended = [each for each in chosen if _stop(each, which.force)]
    if show.json:
        output.document({"stopped": [each.pid for each in ended]})
    for each in ended:
        output.note(f"{each.title} is no longer loaded")
    if not found:
        output.note("no model waits")
    for each in chosen:
        if each not in ended:
            raise _why_not(each)
    return ExitStatus.OK


def _named(name: str, found: Sequence[Loaded]) -> list[Loaded]:
    exact = [each for each in found if name in each.names]
    alike = [each for each in found if any(name.lower() in one.lower() for one in each.names)]
    if not (exact or alike):
        raise InputError(f"no model that is loaded is called `{name}`", hint="gemma-edge ps")
    return exact or alike


def _stop(loaded: Loaded, force: bool) -> bool:
    return loaded.status is not None and stop(loaded.status, busy=force)


def _why_not(loaded: Loaded) -> InputError:
    named = f"{loaded.title} ({loaded.pid})"
    if loaded.silent:
        return InputError(f"{named} does not answer", hint=f"kill {loaded.pid}")
    if loaded.status is None:
        return InputError(f"{named} ends with its command", hint="end that one")
    if loaded.status.busy:
        return InputError(f"{named} is at work for another command", hint="--force ends it")
    return InputError(f"{named} does not end", hint=f"kill {loaded.pid}")
