"""What the death of an engine's process means, and which plan is tried next. Pure."""

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from gemma_edge.errors import BuildError, EngineError
from gemma_edge.isolation import Death
from gemma_edge.planning.plan import Placement, Plan
from gemma_edge.units import render_bytes


class RequestLock:
    """So many ``places`` for answers, in the order in which they were asked for; at most
    ``waiting`` wait, one more is refused in words. What needs the engine ``alone`` needs all."""

    def __init__(self, places: int = 1, waiting: int = 8) -> None:
        self._places, self._waiting = places, waiting
        self._condition = threading.Condition()
        self._queue: deque[object] = deque()
        self._taken: list[int] = []  # by which threads

    def answering(self) -> contextlib.AbstractContextManager[None]:
        return self._take(1)

    def alone(self) -> contextlib.AbstractContextManager[None]:
        return self._take(self._places)

    @contextlib.contextmanager
    def _take(self, count: int) -> Iterator[None]:
        ticket, thread = object(), threading.get_ident()
        with self._condition:
            if self._taken.count(thread) + count > self._places:
                raise EngineError(
                    "the answer before this one is still open",
                    hint="read it to its end, or close it",
                )
            if len(self._queue) >= self._waiting:
                raise EngineError(
                    f"the model is busy and {self._waiting} requests already wait",
                    hint="try again when an answer has ended",
                )
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket or len(self._taken) + count > self._places:
                    self._condition.wait()
                self._taken += [thread] * count
            finally:
                self._queue.remove(ticket)
                self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                for _ in range(count):
                    self._taken.remove(thread)
                self._condition.notify_all()


# Deaths of code that cannot run here: the same question would end the same way. SIGBUS is none of
# them: a file that is mapped and cannot be read gives it.
_FAULTS = ("SIGILL", "SIGSEGV", "SIGFPE", "SIGTRAP", "SIGSYS")
_WINDOWS_FAULTS = (0xC0000005, 0xC000001D, 0xC0000094)  # access, instruction, division (ntstatus.h)


def is_fault(death: Death) -> bool:
    if death.status is None:
        return False
    numbers = [getattr(signal, name, None) for name in _FAULTS]
    return -death.status in numbers or death.status % (1 << 32) in _WINDOWS_FAULTS


def died(death: Death, *, decoded: bool = False) -> EngineError:
    """Why there is no engine. A fault before anything was ``decoded`` is the build's."""
    if death.cause == "instruction":
        said = f"the engine stopped: llama.cpp was built with {death.reason}"
    elif is_fault(death) and not decoded:
        said = f"llama.cpp stopped before its first answer ({death.reason})"
    else:
        return EngineError(f"the engine stopped ({death.reason})", hint="gemma-edge doctor")
    return BuildError(said, hint="gemma-edge doctor --fix tries this build, and mends it")


def next_plan(plan: Plan) -> Plan | None:
    """The plan to load when memory ran out for this one, with the fallbacks that are left."""
    if not plan.fallbacks:
        return None
    first, *rest = plan.fallbacks
    return replace(first, fallbacks=tuple(rest) or first.fallbacks)


def render_restart(death: Death, old: Plan, new: Plan) -> str:
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
        "sequences": f"{new.sequences} answers at once",
        "repack": f"repacked weights {'on' if new.repack else 'off'}",
    }
    changed = [text for name, text in words.items() if getattr(old, name) != getattr(new, name)]
    if isinstance(old, Plan) and isinstance(new, Plan):
        if old.drafter and not new.drafter:
            changed.append("no drafter")
        if old.model != new.model:
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
