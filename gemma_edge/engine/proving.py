"""After loading: is it where the plan says, does it compute, how fast?"""

import time

import numpy as np

from gemma_edge.engine.held import Held
from gemma_edge.engine.llama_context import LlamaContext
from gemma_edge.errors import EngineError
from gemma_edge.fit.plan import Plan
from gemma_edge.fit.report import differences
from gemma_edge.fit.ledger import Allocated

_WARM_UP_TOKENS = 4


def smoke_decode(context: LlamaContext, held: Held, token: int) -> None:
    """Evaluate one token and look at the result; the cache is empty afterwards.

    It reads the weights once, so the first question does not wait for the disk.

    Raises:
        EngineError: what comes out are no numbers.
    """
    held.evaluate([token])
    sound = bool(np.isfinite(context.logits()).all())
    held.forget()
    if not sound:
        raise EngineError(
            "the first decode gave no numbers: the weights are damaged, or llama.cpp computes wrong"
            " here",
            hint="gemma-edge verify checks the file, gemma-edge doctor the build",
        )


def judge_load(plan: Plan, allocated: tuple[Allocated, ...]) -> tuple[str, ...]:
    """Where llama.cpp's own report differs from the ledger, as sentences.

    Raises:
        EngineError: the plan uses a GPU on which llama.cpp put nothing.
    """
    used = [(row.place, row.part) for row in allocated]
    shares = plan.split or (1,) * len(plan.devices)
    for device, share in zip(plan.devices, shares, strict=True):
        if plan.gpu_layers and share and not {(device, "weights"), (device, "compute")} <= {*used}:
            raise EngineError(
                f"the plan computes on {device}, but llama.cpp put nothing there",
                hint="gemma-edge doctor finds out why",
            )
    return differences(plan.ledger, allocated) if plan.ledger is not None else ()


def measure_speed(context: LlamaContext, held: Held, token: int, tokens: int) -> float:
    """Tokens a second, one after another and greedy, from an empty cache; left empty again."""
    held.forget()
    held.evaluate([token] * _WARM_UP_TOKENS)
    started = time.perf_counter()
    for _ in range(tokens):
        held.evaluate([int(context.logits().argmax())])
    seconds = time.perf_counter() - started
    held.forget()
    return tokens / seconds
