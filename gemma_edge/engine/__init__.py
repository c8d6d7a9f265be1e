"""Load a plan; render, tokenize, cache, sample, constrain, stream.

``load`` is the entry point, and ``open_counter`` a small one beside it. llama.cpp is imported by
the process that they start, never here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gemma_edge.engine.process import EarlyProcess, Start
    from gemma_edge.engine.protocol import Counter, Engine
    from gemma_edge.planning.plan import Plan


def begin() -> "EarlyProcess":
    """Start the process of an engine now; ``load`` takes it when there is a plan.
    Raises GemmaEdgeError: it cannot be started."""
    from gemma_edge.engine.process import EarlyProcess  # noqa: PLC0415  (not needed to parse)

    return EarlyProcess()


def load(plan: "Plan", start: "Start | None" = None) -> "Engine":
    """Start loading a plan in a process of its own and return at once; ``info`` and the first use
    wait for it and raise what loading raised. ``start`` says what is there already, such as what
    ``begin`` gave."""
    from gemma_edge.engine.process import RemoteEngine, Start  # noqa: PLC0415  (not to parse)

    return RemoteEngine(plan, start=start or Start())


def open_counter(plan: "Plan") -> "Counter":
    """Start to open the vocabulary of a plan's model in a process of its own and return at once;
    the first count waits for it. Of the plan only ``model`` and ``projector`` are read."""
    from gemma_edge.engine.process import RemoteCounter  # noqa: PLC0415  (not needed to parse)

    return RemoteCounter(plan)
