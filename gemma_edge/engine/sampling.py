"""Choose the next token: greedy, or llama.cpp's own sampler chain with the model's defaults."""

from typing import TYPE_CHECKING

import llama_cpp
import numpy as np
from numpy import inf
from numpy.typing import NDArray

from gemma_edge.engine.llama_context import LlamaContext
from gemma_edge.engine.llama_model import LlamaModel
from gemma_edge.engine.protocol import Sampling
from gemma_edge.engine.text import Odds

if TYPE_CHECKING:
    from gemma_edge.engine.constraint import Constraint

# Gemma 4's model card; used where a GGUF carries no general.sampling.* keys.
CARD = Sampling(temperature=1.0, top_p=0.95, top_k=64, min_p=0.0)


def model_sampling(model: LlamaModel) -> Sampling:
    """The model's own defaults: the file's ``general.sampling.*``, else the model card's."""

    def number(key: str, default: float | None) -> float:
        text = model.metadata(f"general.sampling.{key}")
        return float(text) if text else float(default or 0.0)

    return Sampling(
        temperature=number("temp", CARD.temperature),
        top_p=number("top_p", CARD.top_p),
        top_k=int(number("top_k", CARD.top_k)),
        min_p=number("min_p", CARD.min_p),
    )


class Chooser:
    """Draws tokens from the logits of a context. Holds a llama.cpp sampler chain; close it.

    ``odds`` are of the last token, where ``scored`` asks for them: a third of a millisecond a token
    for a vocabulary of 262,144.
    """

    def __init__(
        self, wanted: Sampling, defaults: Sampling, model: LlamaModel, *, scored: bool = False
    ) -> None:
        self.odds: Odds | None = None
        self._scored = scored
        self._suppressed = model.suppressed
        self._chain = None
        temperature = _first(wanted.temperature, defaults.temperature)
        if temperature <= 0:
            return
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        # The order of llama.cpp's own default chain: cut the tail first, then heat, then draw.
        steps = [
            llama_cpp.llama_sampler_init_top_k(int(_first(wanted.top_k, defaults.top_k))),
            llama_cpp.llama_sampler_init_top_p(_first(wanted.top_p, defaults.top_p), 1),
            llama_cpp.llama_sampler_init_min_p(_first(wanted.min_p, defaults.min_p), 1),
            llama_cpp.llama_sampler_init_temp(temperature),
            llama_cpp.llama_sampler_init_dist(
                llama_cpp.LLAMA_DEFAULT_SEED if wanted.seed is None else wanted.seed
            ),
        ]
        for step in steps:
            llama_cpp.llama_sampler_chain_add(chain, step)
        self._chain = chain

    def choose(self, context: LlamaContext, constraint: "Constraint | None") -> int:
        """One token from the last logits. Only a choice that the constraint refuses costs a mask:
        drawing again from what is legal gives the same distribution as masking every time."""
        weights = _weights(context.logits()) if self._scored else None
        token = self._choose(context, constraint)
        if weights is not None:
            total = float(weights.sum())
            # A product is 15 times faster than picking the weights out.
            mass = total
            if constraint is not None:
                mass = float(weights @ constraint.legal().astype(np.float32))
            self.odds = Odds(float(weights[token]) / total, min(1.0, mass / total))
        return token

    def _choose(self, context: LlamaContext, constraint: "Constraint | None") -> int:
        if self._suppressed.size:
            context.logits()[self._suppressed] = -inf
        token = self._draw(context)
        if constraint is not None and not constraint.allowed(token):
            constraint.mask(context.logits())
            token = self._draw(context)
        return token

    def _draw(self, context: LlamaContext) -> int:
        if self._chain is None:
            return int(context.logits().argmax())
        return int(llama_cpp.llama_sampler_sample(self._chain, context.pointer, -1))

    def close(self) -> None:
        """Free the chain. Idempotent."""
        if self._chain is not None:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None


def _weights(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each token weighs at temperature 1, up to a common factor; a copy."""
    weights: NDArray[np.float32] = np.exp(logits - logits.max())
    return weights


def _first(*values: float | None) -> float:
    return next((value for value in values if value is not None), 0.0)
