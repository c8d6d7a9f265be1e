"""Load a plan; render, tokenize, cache, sample, constrain, stream.

``load`` is the one door. It imports llama.cpp only when called.
"""

from gemma_edge.engine.protocol import Engine
from gemma_edge.fit.plan import Plan


def load(plan: Plan) -> Engine:
    """Open the weights of a plan.

    Raises:
        ModelError: the file cannot be loaded, or its chat template is broken.
        ProjectorError: the projector is not of this model.
        DoesNotFit: the context cannot be allocated.
        EngineError: the build of llama.cpp cannot do what the plan asks.
    """
    from gemma_edge.engine.llama_engine import LlamaEngine

    return LlamaEngine(plan)
