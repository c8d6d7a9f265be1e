"""What the death of an engine's process means, and which plan is tried next. Pure."""

import re
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal

from gemma_edge.errors import EngineError
from gemma_edge.planning.plan import Placement, Plan
from gemma_edge.units import render_bytes

# ----------------------------------------------------------------------------
# One engine, one request at a time; the others wait in a bounded line.


class Turnstile:
    """A lock that at most ``waiting`` others may wait for; one more is refused in words.

    Two requests on one GPU at once are what made the first account of this project crash.
    """

    def __init__(self, waiting: int = 8) -> None:
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._waiting = waiting
        self._owner = 0

    @property
    def busy(self) -> bool:
        """Whether somebody is inside."""
        return self._lock.locked()

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise EngineError(
                "the answer before this one is still open", hint="read it to its end, or close it"
            )
        if not self._places.acquire(blocking=False):
            raise EngineError(
                f"the model is busy and {self._waiting} requests already wait",
                hint="try again when an answer has ended",
            )
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._owner = 0
        self._lock.release()
        self._places.release()


Cause = Literal["memory", "instruction", "crash"]

REBUILD_HINT = "python3 scripts/setup.py builds llama.cpp for this processor"
# Windows' STATUS_ILLEGAL_INSTRUCTION as an exit status.
_ILLEGAL_STATUS = 0xC000001D
# What llama.cpp, ggml's backends, the C++ library and Python say when memory runs out.
_MEMORY_WORDS = re.compile(
    r"failed to allocate|unable to allocate|out ?of ?(?:device ?)?memory|cudaMalloc failed"
    r"|ErrorOutOf(?:Device|Host)Memory|insufficient memory|bad_alloc|MemoryError",
    re.IGNORECASE,
)
# What says most about an abort, best first.
_TELLING = (_MEMORY_WORDS, re.compile(r"GGML_ASSERT|GGML_ABORT|what\(\)|error", re.IGNORECASE))
_LINE_CHARS = 200


@dataclass(frozen=True, slots=True)
class Death:
    """Why a process is gone: the cause, and a few words for a person."""

    cause: Cause
    reason: str


def is_memory(text: str) -> bool:
    """Whether these words say that memory ran out."""
    return bool(_MEMORY_WORDS.search(text))


def parse_death(status: int, lines: Sequence[str]) -> Death:
    """From the exit status and the last lines of stderr.

    SIGKILL without a word counts as memory: it is what the kernel sends when there is none left.
    """
    if status in (-_number("SIGILL"), _ILLEGAL_STATUS, _ILLEGAL_STATUS - (1 << 32)):
        return Death("instruction", "an instruction that this processor refuses")
    said = _telling(lines)
    if is_memory(said):
        return Death("memory", f"out of memory: {said}")
    if status == -_number("SIGKILL"):
        return Death("memory", "killed, by the system when memory runs out or by somebody")
    ended = _signal_name(-status) if status < 0 else f"status {status}"
    return Death("crash", f"{ended}: {said}" if said else ended)


def next_plan(plan: Plan) -> Plan | None:
    """The plan to load when memory ran out for this one, with what is left of the ladder."""
    if not plan.fallbacks:
        return None
    first, *rest = plan.fallbacks
    return replace(first, fallbacks=tuple(rest) or first.fallbacks)


def render_restart(death: Death, old: Plan, new: Plan) -> str:
    """What happened and what was changed, as one sentence."""
    change = render_change(old, new)
    how = f" with {change}" if change else ""
    return f"the engine stopped ({death.reason}); started again{how}"


def render_change(old: Placement, new: Placement) -> str:
    """What a fallback does differently, in words: "ubatch 256, projector on the CPU"; ""
    where the plan is the same."""
    words = {
        "context_tokens": f"context {new.context_tokens:,}",
        "batch_tokens": f"ubatch {new.batch_tokens}",
        "kv_type": f"{new.kv_type} KV",
        "devices": " + ".join(new.devices) or "the CPU alone",
        "gpu_layers": f"{new.gpu_layers} layers on the GPU",
        "split": f"layers split {':'.join(map(str, new.split))}" if new.split else "",
        "cpu_expert_layers": f"{new.cpu_expert_layers} expert layers on the CPU",
        "projector_device": f"projector on {new.projector_device or 'the CPU'}",
        "image_tokens": f"images at {new.image_tokens} tokens",
        "load_mode": f"load mode {new.load_mode}",
        "lazy": f"lazy tensors {'on' if new.lazy else 'off'}",
        "repack": f"repacked weights {'on' if new.repack else 'off'}",
    }
    changed = [text for name, text in words.items() if getattr(old, name) != getattr(new, name)]
    if isinstance(old, Plan) and isinstance(new, Plan) and old.model != new.model:
        changed.insert(0, new.name or new.model.stem)
    return ", ".join(filter(None, changed))


def render_numbers(plan: Plan) -> str:
    """What the ledger had promised, memory by memory; "" without a ledger."""
    if plan.ledger is None:
        return ""
    return ", ".join(
        f"{account.place} {render_bytes(account.total_bytes)}"
        + (f" of {render_bytes(account.budget_bytes)}" if account.budget_bytes is not None else "")
        for account in plan.ledger.accounts
    )


def _telling(lines: Sequence[str]) -> str:
    """The line that says most, shortened; "" where none does."""
    said = [line.strip() for line in lines if line.strip()]
    for words in _TELLING:
        found = [line for line in said if words.search(line)]
        if found:
            return found[0][:_LINE_CHARS]
    return said[-1][:_LINE_CHARS] if said else ""


def _number(name: str) -> int:
    """A signal's number; a number that no status has where the system lacks it."""
    return int(getattr(signal, name, 1 << 20))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
