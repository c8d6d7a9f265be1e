"""The size of a prompt from a model's vocabulary alone: milliseconds and megabytes, no weights."""

from pathlib import Path

from gemma_edge.engine.llama_model import LlamaModel
from gemma_edge.engine.llama_prompt import Markers, Prompter
from gemma_edge.engine.protocol import PromptCount, Request
from gemma_edge.fit.plan import Plan

# What stands round every picture of Gemma 4 (mtmd.cpp, PROJECTOR_TYPE_GEMMA4V and _GEMMA4UV). A
# model with other markers has no slot for a picture in its template either.
_BEFORE, _AFTER = "<|image>", "<image|>"


class LlamaCounter:
    """Counts as ``LlamaEngine.count`` does. The size of the batch is not known yet, so no picture
    is too large here.

    Raises:
        ModelError: llama.cpp cannot read the file's vocabulary, or its chat template is broken.
    """

    def __init__(self, plan: Plan) -> None:
        self._model = LlamaModel(plan.model, vocabulary_only=True)
        self._prompter = Prompter(self._model, self._markers(plan.projector))

    def _markers(self, projector: Path | None) -> Markers | None:
        if projector is None:
            return None
        before, after = (self._model.tokenize(text, special=True) for text in (_BEFORE, _AFTER))
        return Markers(tuple(before), tuple(after))

    def count(self, request: Request) -> PromptCount:
        """Exact prompt size."""
        return self._prompter.prompt(request).count

    def close(self) -> None:
        """Free the vocabulary. Idempotent."""
        self._model.close()
