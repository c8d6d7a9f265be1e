"""Load a plan; render, tokenize, cache, sample, constrain, stream.

``load`` is the one door. llama.cpp is imported by the process that it starts, never here.
"""

from gemma_edge.engine.protocol import Engine
from gemma_edge.fit.plan import Plan


def load(plan: Plan) -> Engine:
    """Start loading a plan in a process of its own and return at once; ``info`` and the first use
    wait for it and raise what loading raised."""
    from gemma_edge.engine.remote import RemoteEngine  # noqa: PLC0415  (not needed to parse)

    return RemoteEngine(plan)
