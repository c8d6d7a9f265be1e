"""A placement as llama.cpp's parameters: devices, layers, experts, cache. What the engine loads and
what a dry run measures are both asked for here.

The package ``llama_cpp`` brings numpy and jinja2 at its start, which a dry run does without: only
its bindings are imported here, and planning's types are named, not loaded.
"""

import ctypes
import sys
from typing import TYPE_CHECKING, Any, cast

import llama_cpp._ctypes_extensions
import llama_cpp._ggml
from llama_cpp import llama_cpp as bindings

from gemma_edge.errors import EngineError
from gemma_edge.planning.memory import output_rows

if TYPE_CHECKING:
    from gemma_edge.planning.plan import KvType, LoadMode, Placement

# The expert tensors of one layer (llama.cpp, common/arg.cpp, LLM_FFN_EXPS_REGEX).
EXPERTS = r"blk\.({layers})\.ffn_(up|down|gate_up|gate)_(ch|)exps"

_ALL = 999  # more layers than any model has
_LOAD_MODES: dict["LoadMode", int] = {
    "mmap": bindings.LLAMA_LOAD_MODE_MMAP,
    "none": bindings.LLAMA_LOAD_MODE_NONE,
}
_GGML_TYPES: dict["KvType", int] = {"f32": 0, "f16": 1, "q8_0": 8}  # ggml.h, enum ggml_type
_GPU_TYPES = (1, 2)  # GGML_BACKEND_DEVICE_TYPE_GPU, _IGPU


class _Override(ctypes.Structure):
    """``llama_model_tensor_buft_override`` (llama.h); a list of them ends with two NULLs."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


class ModelParams:
    """``params`` for ``llama_model_load_from_file``, and what they point to: keep this object until
    the model is loaded. Raises EngineError: a device that this build of llama.cpp does not have."""

    def __init__(self, placement: "Placement") -> None:
        self.params = params = bindings.llama_model_default_params()
        params.n_gpu_layers = _ALL if placement.gpu_layers < 0 else placement.gpu_layers
        params.load_mode = _LOAD_MODES[placement.load_mode]
        params.lazy_mode = (
            bindings.LLAMA_LAZY_MODE_ON if placement.lazy else bindings.LLAMA_LAZY_MODE_OFF
        )
        params.use_extra_bufts = placement.repack
        self._kept: list[Any] = []
        if placement.devices or not placement.gpu_layers:
            self._use(placement.devices)
        if placement.split:
            self._split(placement.split)
        if placement.cpu_expert_layers:
            self._keep_experts(placement.cpu_expert_layers)

    def _use(self, names: tuple[str, ...]) -> None:
        devices = (ctypes.c_void_p * (len(names) + 1))(*map(find_device, names), None)
        self._kept.append(devices)
        self.params.devices = ctypes.cast(devices, ctypes.c_void_p)
        several = len(names) > 1
        mode = bindings.LLAMA_SPLIT_MODE_LAYER if several else bindings.LLAMA_SPLIT_MODE_NONE
        self.params.split_mode = mode
        if not names:
            self.params.main_gpu = -1  # with no split: no GPU at all (llama.cpp)

    def _split(self, layers: tuple[int, ...]) -> None:
        """Layers a device, exact: llama.cpp compares the running sums with the layer's number."""
        split = (ctypes.c_float * bindings.llama_max_devices())(*layers)
        self._kept.append(split)
        self.params.tensor_split = ctypes.cast(split, ctypes.POINTER(ctypes.c_float))

    def _keep_experts(self, layers: int) -> None:
        pattern = EXPERTS.format(layers="|".join(map(str, range(layers)))).encode()
        overrides = (_Override * 2)(_Override(pattern, _cpu_buffer_type()), _Override(None, None))
        self._kept.append(overrides)
        self.params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)


def context_params(placement: "Placement") -> Any:
    """For ``llama_init_from_model``. They differ from llama-cpp-python's on purpose: no full-size
    window cache (10 times the memory), flash attention, logits for a few positions only
    (docs/architecture.md, "Context")."""
    params = bindings.llama_context_default_params()
    params.n_ctx = placement.context_tokens
    params.n_batch = params.n_ubatch = placement.batch_tokens
    params.n_seq_max = placement.sequences
    params.kv_unified = placement.sequences > 1  # all in one cache
    params.n_outputs_max = output_rows(placement)
    params.flash_attn_type = bindings.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.type_k = params.type_v = _GGML_TYPES[placement.kv_type]
    params.swa_full = False
    params.offload_kqv = True
    params.no_perf = True
    return params


def find_device(name: str) -> int:
    """ggml's handle of a device.
    Raises EngineError: there is none of this name."""
    find = library("ggml").ggml_backend_dev_by_name
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    device = find(name.encode())
    if not device:
        raise EngineError(
            f"this build of llama.cpp has no device {name}; it has {', '.join(device_names())}",
            hint="gemma-edge doctor finds out why",
        )
    return int(device)


def device_names() -> list[str]:
    return [_text("ggml_backend_dev_name", device) for device in _devices()]


def device_title(name: str) -> str:
    """What the backend calls it: "NVIDIA GeForce RTX 4060 Laptop GPU"."""
    return _text("ggml_backend_dev_description", find_device(name))


def gpu_names() -> list[str]:
    """ggml's names of the GPUs, those that share main memory among them."""
    kind = library("ggml-base").ggml_backend_dev_type
    kind.argtypes = [ctypes.c_void_p]
    gpus = [device for device in _devices() if kind(device) in _GPU_TYPES]
    return [_text("ggml_backend_dev_name", device) for device in gpus]


def _devices() -> list[int]:
    ggml = library("ggml")
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    return [int(ggml.ggml_backend_dev_get(i)) for i in range(ggml.ggml_backend_dev_count())]


def _text(function: str, device: int) -> str:
    read = getattr(library("ggml-base"), function)
    read.restype, read.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return str(read(device).decode("utf-8", "replace"))


def _cpu_buffer_type() -> int:
    """Of the CPU as libllama has it. It compares pointers: where it sees its own, it looks for a
    better place than plain memory, pinned (CUDA_Host) or repacked (CPU_REPACK)."""
    read = library("ggml-base").ggml_backend_dev_buffer_type
    read.restype, read.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return int(read(find_device("CPU")))


def library(name: str) -> ctypes.CDLL:
    """One of ggml's own libraries ("ggml", "ggml-base", "ggml-rpc"), the one that libllama uses.

    A wheel has no symbolic links: ``libggml-base.so`` and the ``libggml-base.so.0`` that libllama
    loads are two files, and the first, opened by its path, is another ggml with tables and pointers
    of its own. So what libllama depends on is found through libllama. Windows has one file of each,
    and looks into no other."""
    if sys.platform != "win32":
        return cast("ctypes.CDLL", bindings._lib)
    found: ctypes.CDLL = llama_cpp._ctypes_extensions.load_shared_library(
        name, llama_cpp._ggml.libggml_base_path
    )
    return found
