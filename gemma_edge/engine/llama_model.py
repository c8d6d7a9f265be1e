"""A loaded GGUF: vocabulary, tokens, metadata. One of the few doors to ``llama_cpp``."""

import contextlib
import ctypes
from functools import cached_property, lru_cache
from pathlib import Path

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from gemma_edge.engine import llama_log
from gemma_edge.engine.llama_placement import ModelParams, device_title, gpu_names
from gemma_edge.errors import EngineError, ModelError, OutOfMemory
from gemma_edge.fit.plan import ALL_LAYERS, Placement

ON_THE_CPU = Placement(context_tokens=0, batch_tokens=0)


class LlamaModel:
    """The weights and the vocabulary of one GGUF file.

    Raises:
        ModelError: llama.cpp cannot load the file; the message carries its own reason.
        OutOfMemory: there is not enough memory for it.
        EngineError: a GPU was asked for, but this build of llama.cpp has none.
    """

    def __init__(
        self, path: Path, placement: Placement = ON_THE_CPU, *, vocabulary_only: bool = False
    ) -> None:
        llama_log.capture()
        llama_cpp.llama_backend_init()
        self.devices = placement.devices or (tuple(gpu_names()) if placement.gpu_layers else ())
        if placement.gpu_layers > 0 and not self.devices:
            raise EngineError(
                f"{placement.gpu_layers} layers on a GPU were asked for, but this build of "
                "llama.cpp computes on the CPU only",
                hint="python3 scripts/setup.py --backend cuda (or metal, rocm, vulkan)",
            )
        wanted = ModelParams(placement)
        wanted.params.vocab_only = vocabulary_only
        self.pointer = llama_cpp.llama_model_load_from_file(as_path(path), wanted.params)
        if not self.pointer:
            raise _refusal(path)
        self.layers = int(llama_cpp.llama_model_n_layer(self.pointer))
        self.gpu_layers = _blocks_on_gpu(placement, self.layers) if self.devices else 0
        self.vocab = llama_cpp.llama_model_get_vocab(self.pointer)
        self.vocab_tokens = int(llama_cpp.llama_vocab_n_tokens(self.vocab))
        self.window = int(llama_cpp.llama_model_n_swa(self.pointer))
        self.trained_context_tokens = int(llama_cpp.llama_model_n_ctx_train(self.pointer))
        self.bos = int(llama_cpp.llama_vocab_bos(self.vocab))
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(self.vocab)) and self.bos >= 0
        self.piece = lru_cache(maxsize=1 << 16)(self._piece)
        self.is_control = lru_cache(maxsize=1 << 16)(self._is_control)

    def metadata(self, key: str) -> str:
        """One metadata value as text, or ""."""
        size = 256
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_model_meta_val_str(
                self.pointer, key.encode(), buffer, ctypes.c_size_t(size)
            )
            if length < size:
                return buffer.value.decode("utf-8", "replace") if length > 0 else ""
            size = length + 1

    @cached_property
    def chat_template(self) -> str:
        """The template inside the file, or ""."""
        raw = llama_cpp.llama_model_chat_template(self.pointer, None)
        return raw.decode("utf-8") if raw else ""

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids. With ``special`` control tokens are parsed, without they are characters.

        llama.cpp still recognizes USER_DEFINED tokens without it, and Gemma 4's channel and tool
        tokens are of that kind; so each of those is spelled out.
        """
        tokens = self._tokenize(text, special)
        if special or not any(self.is_control(token) for token in tokens):
            return tokens
        return [part for token in tokens for part in self._spelled(token)]

    def _spelled(self, token: int) -> list[int]:
        """A control token's text as ordinary characters."""
        if not self.is_control(token):
            return [token]
        text = self.piece(token).decode("utf-8", "replace")
        return [part for char in text for part in self._tokenize(char, special=False)]

    def _tokenize(self, text: str, special: bool) -> list[int]:
        data = text.encode("utf-8")
        room = len(data) + 8
        while True:
            buffer = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(
                self.vocab, data, len(data), buffer, room, False, special
            )
            if count >= 0:
                return buffer[:count]
            room = -count

    def token(self, text: str) -> int | None:
        """The id of a token that is written exactly so, or None."""
        tokens = self._tokenize(text, special=True)
        return tokens[0] if len(tokens) == 1 else None

    def _is_control(self, token: int) -> bool:
        """A token that opens or closes turns, channels, tools or media; never text."""
        attributes = int(llama_cpp.llama_vocab_get_attr(self.vocab, token))
        if attributes & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL:
            return True
        if attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED:
            text = self.piece(token)
            return text.startswith(b"<") and text.endswith(b">") and b"|" in text
        return False

    def pieces(self) -> list[bytes]:
        """The bytes of every token, in order of ids."""
        return [self._piece(token) for token in range(self.vocab_tokens)]

    @property
    def device(self) -> str:
        """Where it computes, in words."""
        return " + ".join(map(device_title, self.devices)) or "CPU"

    def ends(self, token: int) -> bool:
        """A token that ends the model's turn."""
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def _piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, size, 0, True)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    @cached_property
    def suppressed(self) -> NDArray[np.intp]:
        """Ids that this model must never say (``tokenizer.ggml.suppress_tokens``, 12B)."""
        count = ctypes.c_int32(0)
        pointer = llama_cpp.llama_vocab_get_suppress_tokens(self.vocab, ctypes.byref(count))
        return np.array([pointer[i] for i in range(count.value)] if pointer else [], dtype=np.intp)

    def close(self) -> None:
        """Free the weights. Idempotent."""
        if self.pointer:
            llama_cpp.llama_model_free(self.pointer)
            self.pointer = None


def as_path(path: Path) -> bytes:
    """llama.cpp opens UTF-8 paths on every platform."""
    with contextlib.suppress(OSError):
        path = path.resolve()
    return str(path).encode("utf-8")


def _refusal(path: Path) -> ModelError | OutOfMemory:
    """Why there is no model, in llama.cpp's words."""
    if short := llama_log.shortage():
        return OutOfMemory(f"the weights of {path.name} could not be allocated: {short}")
    return ModelError(
        f"{path.name} cannot be loaded: {llama_log.problem() or 'no reason given'}",
        hint="check the file with its checksum, or download it again",
    )


def _blocks_on_gpu(placement: Placement, layers: int) -> int:
    """llama.cpp counts the output as one more layer, the last."""
    wanted = placement.gpu_layers
    return layers if wanted == ALL_LAYERS else max(0, min(wanted - 1, layers))
