"""LoRA adapters on a loaded model. One of the few doors to ``llama_cpp``."""

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp

from gemma_edge.engine import llama_log
from gemma_edge.engine.llama_context import LlamaContext
from gemma_edge.engine.llama_model import LlamaModel, as_path
from gemma_edge.errors import EngineError, ModelError, OutOfMemory
from gemma_edge.fit.plan import Adapter


def add_adapters(model: LlamaModel, context: LlamaContext, adapters: Sequence[Adapter]) -> None:
    """Load them beside the weights, which stay as they are, and use all from now on. llama.cpp
    frees them together with the model.

    Raises:
        ModelError: a file is no LoRA of this model; the message carries llama.cpp's own reason.
        OutOfMemory: there is not enough memory for it.
        EngineError: llama.cpp refuses to use them.
    """
    if not adapters:
        return
    count = len(adapters)
    pointers = (llama_cpp.llama_adapter_lora_p_ctypes * count)()
    for place, adapter in enumerate(adapters):
        pointers[place] = _load(model, adapter)
    scales = (ctypes.c_float * count)(*(adapter.scale for adapter in adapters))
    status = llama_cpp.llama_set_adapters_lora(context.pointer, pointers, count, scales)
    if status:
        raise EngineError(f"llama.cpp cannot use the adapters (status {status})")


def _load(model: LlamaModel, adapter: Adapter) -> Any:
    pointer = llama_cpp.llama_adapter_lora_init(model.pointer, as_path(adapter.path))
    if pointer:
        return pointer
    if short := llama_log.shortage():
        raise OutOfMemory(f"{adapter.path.name} could not be allocated: {short}")
    raise ModelError(
        f"{adapter.path.name} cannot be added to this model: "
        f"{llama_log.problem() or 'no reason given'}",
        hint="--lora takes a GGUF that was trained for this very model",
    )
