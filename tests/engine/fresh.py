"""A cache that is used, against one that reads everything anew, in 32 bits."""

import numpy as np

from gemma_edge.engine.kv_cache import KvCache, Unit
from gemma_edge.engine.llama import LlamaContext, LlamaModel
from gemma_edge.planning.plan import Plan
from tests.engine.conftest import DEMO

BOUND = 1e-3


class Cache(KvCache):
    """With the context that it is the cache of."""

    def __init__(self, context: LlamaContext, window: int) -> None:
        super().__init__(context, window)
        self.context = context


def token_by_token(model: LlamaModel) -> Cache:
    """A cache that evaluates single tokens and adds in 32 bits (flash attention on a CPU adds in
    16), so that the order of cells in memory does not show."""
    plan = Plan(model=DEMO, context_tokens=2048, batch_tokens=1, kv_type="f32")
    return Cache(LlamaContext(model, plan, flash_attention=False), model.window)


def read(held: Cache, units: list[Unit], settled: int) -> int:
    """Bring the cache to ``units`` as the engine does; return how many units were kept."""
    kept = held.keep_prefix(units)
    tokens = [unit for unit in units if isinstance(unit, int)]
    if kept < settled:
        held.evaluate(tokens[kept:settled])
        held.save_checkpoint()
    held.evaluate(tokens[max(kept, settled) :])
    return kept


def difference(used: Cache, model: LlamaModel, units: list[Unit]) -> float:
    """Largest difference of the last logits to those of a fresh cache."""
    fresh = token_by_token(model)
    read(fresh, units, len(units) - 1)
    worst = float(np.abs(used.context.logits() - fresh.context.logits()).max())
    fresh.context.close()
    return worst
