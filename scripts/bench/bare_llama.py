"""llama.cpp's own speed: ``llama_decode`` and its greedy sampler, nothing of ours between them.

The same library that the engine uses, so a ratio to it measures our loop and not compiler flags.
"""

import ctypes
import time

import llama_cpp
from measure import Run

from gemma_edge.planning.plan import Plan


class BareLlama:
    """One model and context, greedy decoding of a rendered prompt."""

    def __init__(self, plan: Plan) -> None:
        llama_cpp.llama_backend_init()
        loading = llama_cpp.llama_model_default_params()
        loading.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(plan.model).encode(), loading)
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = plan.context_tokens
        options.n_batch = options.n_ubatch = plan.batch_tokens
        options.n_threads = options.n_threads_batch = plan.threads
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        self._sampler = llama_cpp.llama_sampler_chain_init(
            llama_cpp.llama_sampler_chain_default_params()
        )
        llama_cpp.llama_sampler_chain_add(self._sampler, llama_cpp.llama_sampler_init_greedy())

    def run(self, prompt: str, max_tokens: int) -> Run:
        """Read the prompt, then time the decoding of at most ``max_tokens``."""
        tokens = self._tokenize(prompt)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        self._decode((ctypes.c_int32 * len(tokens))(*tokens))
        single = (ctypes.c_int32 * 1)()
        answer: list[int] = []
        started = time.perf_counter()
        while True:
            token = llama_cpp.llama_sampler_sample(self._sampler, self._context, -1)
            if llama_cpp.llama_vocab_is_eog(self._vocabulary, token):
                break
            answer.append(token)
            if len(answer) == max_tokens:
                break
            single[0] = token
            self._decode(single)
        seconds = time.perf_counter() - started
        return Run(len(tokens), len(answer), seconds, self._text(answer))

    def _decode(self, tokens: "ctypes.Array[ctypes.c_int32]") -> None:
        batch = llama_cpp.llama_batch_get_one(tokens, len(tokens))
        status = llama_cpp.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")

    def _tokenize(self, text: str) -> list[int]:
        data = text.encode()
        tokens = (ctypes.c_int32 * (len(data) + 16))()
        count = llama_cpp.llama_tokenize(
            self._vocabulary, data, len(data), tokens, len(tokens), True, True
        )
        return list(tokens[:count])

    def _text(self, tokens: list[int]) -> str:
        pieces = []
        buffer = ctypes.create_string_buffer(256)
        for token in tokens:
            size = llama_cpp.llama_token_to_piece(self._vocabulary, token, buffer, 256, 0, True)
            pieces.append(buffer.raw[:size])
        return b"".join(pieces).decode("utf-8", "replace")
