"""The drafter of Gemma 4 (`gemma4-assistant`), which guesses the next tokens beside its model.

It is four layers that read the model's last state and the keys and values of its cache; it keeps
none of its own, so there is nothing to take back when a guess was wrong. One token is fed at a
time, all of them at the position behind the cache, as in llama.cpp's common/speculative.cpp
(``common_speculative_impl_draft_mtp``, shared memory).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp
from numpy.typing import NDArray

from gemma_edge.engine.drafting import Place, Proposal
from gemma_edge.engine.llama import VERSION, LlamaContext, LlamaModel, problem, shortage
from gemma_edge.engine.placement import context_params
from gemma_edge.errors import EngineError, OutOfMemory
from gemma_edge.gguf import read_header
from gemma_edge.planning.memory import drafter_placement
from gemma_edge.planning.model import check_drafter, parse_shape

if TYPE_CHECKING:
    from gemma_edge.planning.plan import Plan

_LIKELY = 8  # guesses among which a constraint may choose


class MtpDrafter:
    """The drafter in the file ``path``, beside ``model`` and its ``context``, which keep the last
    state of each row of logits from now on. ``seconds`` is what guessing took. It is a ``Lookup``
    that nothing need be told, because the cache knows all.
    Raises ModelError: it is of another model, or llama.cpp cannot load it; OutOfMemory: there is
    not enough memory for it; EngineError: this build of llama.cpp cannot use it."""

    def __init__(self, path: Path, model: LlamaModel, context: LlamaContext, plan: Plan) -> None:
        self._api = _extension()
        self._target = context
        self.seconds = 0.0
        self._problem = ""
        self._broken = False
        own = read_header(plan.model)
        check_drafter(own, read_header(path))
        placement = drafter_placement(parse_shape(own), plan)
        self._model = LlamaModel(path, placement)
        self._width = int(llama_cpp.llama_model_n_embd(model.pointer))
        params = context_params(placement)
        params.n_threads = params.n_threads_batch = plan.threads
        params.n_batch = params.n_ubatch = params.n_outputs_max = params.n_seq_max
        params.ctx_other = context.pointer
        if not context.flash_attention:
            params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.pointer = llama_cpp.llama_init_from_model(self._model.pointer, params)
        if not self.pointer:
            reason = shortage() or problem() or "no reason given"
            self._model.close()
            raise OutOfMemory(f"the drafter {path.name} could not be set up: {reason}")
        self._api.llama_set_embeddings_nextn(context.pointer, True, True)
        self._api.llama_set_embeddings_nextn(self.pointer, True, True)
        self._batch = llama_cpp.llama_batch_init(1, self._width, 1)
        self._token = (llama_cpp.llama_token * 1)()  # llama.cpp makes room for one of the two only
        self._batch.token = self._token
        self._batch.n_tokens = self._batch.n_seq_id[0] = self._batch.logits[0] = 1
        self._state = np.ctypeslib.as_array(self._batch.embd, (self._width,))
        self._first = np.zeros(self._width, np.float32)
        self._tokens: list[int] = []
        self._fed: list[int] = []

    def add(self, tokens: Sequence[int]) -> None:
        """Nothing: what was said is in the cache."""

    def begin(self, tokens: Sequence[int], place: Place) -> None:
        """Stand behind ``tokens``, which were just said, and of which none was evaluated yet."""
        pointer = self._api.llama_get_embeddings_nextn_ith(self._target.pointer, place.row)
        if not pointer:
            self._fail(f"llama.cpp kept no state of row {place.row}")
            return
        self._first[:] = np.ctypeslib.as_array(pointer, (self._width,))
        self._tokens, self._fed = list(tokens), []
        self._batch.pos[0], self._batch.seq_id[0][0] = place.position, place.sequence

    def propose(self, more: Sequence[int]) -> Iterator[Proposal]:
        """The token behind ``more``, the likeliest first."""
        said = [*self._tokens, *more]
        if self._fed != said[: len(self._fed)]:
            self._fed = []
        for token in said[len(self._fed) :]:
            if not self._feed(token):
                return
        started = time.perf_counter()
        logits = self.logits()
        best = int(logits.argmax())
        self.seconds += time.perf_counter() - started
        yield Proposal([best], "guess")
        count = min(_LIKELY, len(logits))
        likely = np.argpartition(logits, -count)[-count:]
        for token in likely[np.argsort(-logits[likely])].tolist():
            if token != best:
                yield Proposal([token], "guess")

    def logits(self) -> NDArray[np.float32]:
        """Behind the token that was fed last: ``float32[vocabulary]``, a view."""
        pointer = llama_cpp.llama_get_logits_ith(self.pointer, -1)
        return np.ctypeslib.as_array(pointer, (self._model.vocab_tokens,))

    def _feed(self, token: int) -> bool:
        if self._broken:
            return False
        started = time.perf_counter()
        if self._fed:
            pointer = self._api.llama_get_embeddings_nextn_ith(self.pointer, -1)
            self._state[:] = np.ctypeslib.as_array(pointer, (self._width,))
        else:
            self._state[:] = self._first
        self._token[0] = token
        status = llama_cpp.llama_decode(self.pointer, self._batch)
        self.seconds += time.perf_counter() - started
        if status:
            self._fail(f"status {status}, {problem() or 'no reason given'}")
            return False
        self._fed.append(token)
        return True

    def _fail(self, reason: str) -> None:
        self._broken = True
        self._problem = f"the drafter stopped, the model goes on alone: {reason}"

    def take_problem(self) -> str:
        """Why it guesses no more, said once; "" where all is well."""
        said, self._problem = self._problem, ""
        return said

    def close(self) -> None:
        if self.pointer:
            self._api.llama_set_embeddings_nextn(self._target.pointer, False, False)
            self._batch.token = None
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self.pointer)
            self.pointer = None
            self._model.close()


def _extension() -> Any:
    """llama.cpp's functions for drafters, which are no part of its stable interface.
    Raises EngineError: this build has none, or others."""
    try:
        from llama_cpp import llama_cpp_ext  # noqa: PLC0415  (it fails where a symbol is missing)
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"llama-cpp-python {VERSION} cannot use the drafter: {error}",
            hint="--draft lookup needs nothing of it; llama-cpp-python 0.3.36 has it",
        ) from None
    return llama_cpp_ext
