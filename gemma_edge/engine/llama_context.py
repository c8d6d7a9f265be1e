"""A llama.cpp context: the KV cache, batches, logits. One of the few doors to ``llama_cpp``."""

import ctypes
from collections.abc import Callable, Sequence

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from gemma_edge.engine import llama_log
from gemma_edge.engine.llama_model import LlamaModel
from gemma_edge.errors import EngineError, OutOfMemory
from gemma_edge.fit.plan import KvType, Plan
from gemma_edge.units import render_tokens

SEQUENCE = 0
_GGML_TYPES: dict[KvType, int] = {"f32": 0, "f16": 1, "q8_0": 8}  # ggml.h, enum ggml_type
_WINDOW_ONLY = llama_cpp.LLAMA_STATE_SEQ_FLAGS_SWA_ONLY
_BYTES = ctypes.POINTER(ctypes.c_uint8)


class LlamaContext:
    """The state of one conversation.

    Defaults differ from llama-cpp-python's on purpose: no full-size window cache (10 times the
    memory), flash attention on, logits for one position only (measured.md, gemma4.md section 4).
    """

    def __init__(self, model: LlamaModel, plan: Plan, *, flash_attention: bool = True) -> None:
        self.batch_tokens = batch_tokens = plan.batch_tokens
        self.flash_attention = flash_attention
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = plan.context_tokens
        params.n_batch = batch_tokens
        params.n_ubatch = batch_tokens
        params.n_seq_max = 1
        params.n_outputs_max = 1
        params.n_threads = plan.threads
        params.n_threads_batch = plan.prefill_threads or plan.threads
        params.flash_attn_type = int(flash_attention)  # LLAMA_FLASH_ATTN_TYPE_DISABLED, _ENABLED
        params.type_k = params.type_v = _GGML_TYPES[plan.kv_type]
        params.swa_full = False
        params.offload_kqv = True
        params.no_perf = True
        self._abort = llama_cpp.ggml_abort_callback(self._aborted)
        self._stop: Callable[[], bool] | None = None
        self.pointer = llama_cpp.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise OutOfMemory(
                f"a context of {render_tokens(plan.context_tokens)} could not be allocated: "
                f"{llama_log.shortage() or llama_log.problem() or 'no reason given'}",
                hint="--ctx with a smaller number",
            )
        self.memory = llama_cpp.llama_get_memory(self.pointer)
        self._vocab_tokens = model.vocab_tokens
        self._batch = llama_cpp.llama_batch_init(batch_tokens, 0, 1)
        self._tokens = np.ctypeslib.as_array(self._batch.token, (batch_tokens,))
        self._positions = np.ctypeslib.as_array(self._batch.pos, (batch_tokens,))
        self._wanted = np.ctypeslib.as_array(self._batch.logits, (batch_tokens,))
        for index in range(batch_tokens):
            self._batch.n_seq_id[index] = 1
            self._batch.seq_id[index][0] = SEQUENCE
        self._wanted[:] = 0

    def decode(self, tokens: Sequence[int], position: int) -> None:
        """Evaluate at most ``batch_tokens`` tokens; logits are kept for the last.

        Raises:
            OutOfMemory: a buffer could not be allocated.
            EngineError: llama.cpp failed; the cache is unchanged before ``position``.
        """
        count = len(tokens)
        self._batch.n_tokens = count
        self._tokens[:count] = tokens
        self._positions[:count] = np.arange(position, position + count)
        self._wanted[count - 1] = 1
        status = llama_cpp.llama_decode(self.pointer, self._batch)
        self._wanted[count - 1] = 0
        if status == ABORTED:
            raise Aborted
        if status:
            what = f"llama.cpp could not evaluate {render_tokens(count)} at position {position:,}"
            if short := llama_log.shortage():
                raise OutOfMemory(f"{what}: {short}")
            raise EngineError(
                f"{what} (status {status}): {llama_log.problem() or 'no reason given'}"
            )

    def logits(self) -> NDArray[np.float32]:
        """Logits of the last decoded token: ``float32[vocabulary]``, a view that may be masked."""
        pointer = llama_cpp.llama_get_logits_ith(self.pointer, -1)
        return np.ctypeslib.as_array(pointer, (self._vocab_tokens,))

    def watch(self, stop: Callable[[], bool] | None) -> None:
        """While set, a running ``decode`` ends with ``Aborted`` as soon as ``stop()`` is true.

        It is asked at every node of the graph, so it is set for prompts, not for single tokens.
        """
        self._stop = stop
        callback = self._abort if stop else llama_cpp.ggml_abort_callback(0)
        llama_cpp.llama_set_abort_callback(self.pointer, callback, None)

    def _aborted(self, _data: ctypes.c_void_p) -> bool:
        return self._stop is not None and self._stop()

    @property
    def pos_min(self) -> int:
        """The oldest position that all layers still hold; -1 for an empty cache."""
        return int(llama_cpp.llama_memory_seq_pos_min(self.memory, SEQUENCE))

    def cut(self, position: int) -> None:
        """Forget everything from ``position`` on."""
        if position == 0:
            llama_cpp.llama_memory_clear(self.memory, True)
        elif not llama_cpp.llama_memory_seq_rm(self.memory, SEQUENCE, position, -1):
            raise EngineError(f"the KV cache cannot be cut at position {position:,}")

    def window_bytes(self) -> int:
        """Size of the sliding-window cells as a checkpoint, in bytes."""
        return int(llama_cpp.llama_state_seq_get_size_ext(self.pointer, SEQUENCE, _WINDOW_ONLY))

    def save_window(self) -> bytes:
        """The sliding-window cells."""
        size = self.window_bytes()
        buffer = (ctypes.c_uint8 * size)()
        written = llama_cpp.llama_state_seq_get_data_ext(
            self.pointer, buffer, size, SEQUENCE, _WINDOW_ONLY
        )
        return bytes(memoryview(buffer)[:written])

    def restore_window(self, data: bytes) -> bool:
        """Put saved cells back in place of the present ones; False if llama.cpp refuses."""
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        read = llama_cpp.llama_state_seq_set_data_ext(
            self.pointer, buffer, len(data), SEQUENCE, _WINDOW_ONLY
        )
        return bool(read)

    def state_bytes(self) -> int:
        """Size of all cells, in bytes: of sliding layers only the window before the last one."""
        return int(llama_cpp.llama_state_seq_get_size_ext(self.pointer, SEQUENCE, 0))

    def copy_state(self, target: memoryview) -> bool:
        """All cells into ``target``, which is ``state_bytes`` long; False if llama.cpp refuses."""
        view = np.frombuffer(target, np.uint8)
        written = llama_cpp.llama_state_seq_get_data_ext(
            self.pointer, view.ctypes.data_as(_BYTES), view.size, SEQUENCE, 0
        )
        return bool(written == view.size)

    def put_state(self, source: memoryview) -> bool:
        """Such cells in place of the present ones. False if llama.cpp refuses: what it holds then
        is neither."""
        view = np.frombuffer(source, np.uint8)
        read = llama_cpp.llama_state_seq_set_data_ext(
            self.pointer, view.ctypes.data_as(_BYTES), view.size, SEQUENCE, 0
        )
        return bool(read == view.size)

    def close(self) -> None:
        """Free the cache. Idempotent."""
        if self.pointer:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self.pointer)
            self.pointer = None


class Aborted(Exception):
    """A decode was stopped by ``watch``; the cache still holds what was decoded before it."""


ABORTED = 2  # llama_decode's own status (llama.h)
