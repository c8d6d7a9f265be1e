"""Loading a plan in a process of its own, in the background, down the ladder where memory fails."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from gemma_edge.engine.ladder import (
    REBUILD_HINT,
    Death,
    next_plan,
    render_change,
    render_numbers,
    render_restart,
)
from gemma_edge.engine.process import EngineProcess
from gemma_edge.engine.protocol import EngineInfo
from gemma_edge.errors import DoesNotFit, EngineError, GemmaEdgeError, OutOfMemory
from gemma_edge.fit.plan import Plan

_LOOK_SECONDS = 0.05  # how soon Ctrl-C ends the wait for a model


@dataclass(frozen=True, slots=True)
class Loaded:
    """A process that is ready; ``plan`` is what it loaded."""

    process: EngineProcess
    plan: Plan
    info: EngineInfo


class Loading:
    """Tries a plan and its fallbacks, each in a fresh process, in a thread of its own. Each step
    down is a sentence in ``notes``."""

    def __init__(self, plan: Plan, program: str, notes: list[str]) -> None:
        self._program = program
        self._notes = notes
        self._lock = threading.Lock()
        self._closed = False
        self._process: EngineProcess | None = None
        self._loaded: Loaded | None = None
        self._error: Exception | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, args=(plan,), daemon=True).start()

    def result(self, given_up: Callable[[], bool] = lambda: False) -> Loaded | None:
        """Wait for it; None once ``given_up()`` is true.

        Raises:
            ModelError, ProjectorError, DoesNotFit, EngineError: why nothing is loaded.
        """
        while not self._done.wait(_LOOK_SECONDS):
            if given_up():
                return None
        if self._error is not None:
            raise self._error
        return self._loaded

    def close(self) -> None:
        """End the process, whatever it is doing. Idempotent."""
        with self._lock:
            self._closed = True
        if self._process is not None:
            self._process.close()

    def _run(self, plan: Plan) -> None:
        try:
            self._loaded = self._climb(plan)
        except Exception as error:  # noqa: BLE001  (raised again in the thread that waits)
            self._error = error
        finally:
            self._done.set()

    def _climb(self, plan: Plan) -> Loaded:
        """The first plan of the ladder that loads."""
        first = plan
        tried: list[str] = []
        while True:
            outcome = self._try(plan)
            if isinstance(outcome, EngineInfo):
                info = replace(outcome, notes=(*self._notes, *outcome.notes), plan=plan)
                assert self._process is not None
                return Loaded(self._process, plan, info)
            if self._closed:
                raise EngineError("the engine was closed while it was loading")
            if outcome.cause != "memory":
                raise died(outcome)
            following = next_plan(plan)
            if following is None:
                raise _too_large(first, outcome, tried)
            tried.append(render_change(plan, following))
            self._notes.append(render_restart(outcome, plan, following))
            plan = following

    def _try(self, plan: Plan) -> EngineInfo | Death:
        """One plan in a fresh process."""
        with self._lock:
            if self._closed:
                raise EngineError("the engine is closed")
            process = self._process = EngineProcess(self._program)
        try:
            info: EngineInfo = process.call("load", _bare(plan)).value
        except EOFError:
            return process.death()
        except OutOfMemory as error:
            process.close()
            return Death("memory", error.message)
        except GemmaEdgeError:
            process.close()
            raise
        return info


def died(death: Death) -> EngineError:
    """A death that no smaller plan would prevent, as an error."""
    if death.cause == "instruction":
        return EngineError(
            f"the engine stopped: llama.cpp was built with {death.reason}", hint=REBUILD_HINT
        )
    return EngineError(f"the engine stopped ({death.reason})", hint="gemma-edge doctor")


def _too_large(plan: Plan, death: Death, tried: list[str]) -> DoesNotFit:
    """Nothing of the ladder loads: the last reason, what the ledger said, and what was tried."""
    numbers = render_numbers(plan)
    parts = [f"{plan.name or plan.model.stem} does not fit in memory: {death.reason}"]
    parts += [f"planned {numbers}"] if numbers else []
    parts += [f"tried also: {'; '.join(tried)}"] if tried else []
    return DoesNotFit(
        "; ".join(parts), hint="free some memory, --ctx with a smaller number, or a smaller model"
    )


def _bare(plan: Plan) -> Plan:
    """Without what only the parent needs."""
    return replace(plan, fallbacks=(), alternatives=(), rungs=(), reasons=())
