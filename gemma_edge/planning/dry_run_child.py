"""The program that a dry run asks: llama.cpp places a model and sizes its buffers, and allocates
nothing. A program of its own, because llama.cpp aborts on what it does not like.

One JSON object a line. In:  {"model": path, "repack": bool, "devices": [...], "gpu_layers": n,
"split": [...], "lazy": bool, "cpu_expert_layers": n, "context": n, "batch": n, "kv": "f16"}
Out: {"lines": [llama.cpp's log], "error": "" or why there is no answer}
A model stays loaded until another placement of its layers is asked for.
"""

import ctypes
import importlib
import json
import os
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gemma_edge.hardware.gpus import preload_cuda  # noqa: E402

# By path, the script's own folder comes first on the path, and its names would hide others.
sys.path[0] = str(Path(__file__).resolve().parents[2])


_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}  # ggml.h, enum ggml_type
_LAZY_OFF, _LAZY_ON = 0, 2  # LLAMA_LAZY_MODE_OFF, _ON
_LOAD_NONE = 0  # llama.h, LLAMA_LOAD_MODE_NONE; a dry run cannot map a file
_SPLIT_NONE, _SPLIT_LAYER = 0, 1
_FLASH_ATTENTION = 1  # LLAMA_FLASH_ATTN_TYPE_ENABLED
_LOAD_KEYS = ("model", "repack", "devices", "gpu_layers", "split", "lazy", "cpu_expert_layers")


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


class Child:
    """llama.cpp, its log, and the one model that is loaded."""

    def __init__(self, endpoints: list[str]) -> None:
        self._llama = _bindings()
        self._lines: list[str] = []
        self._log = self._llama.llama_log_callback(self._note)
        self._llama.llama_log_set(self._log, ctypes.c_void_p(0))
        self._llama.llama_backend_init()
        folder = Path(self._llama.__file__).parent / "lib"
        load = importlib.import_module("llama_cpp._ctypes_extensions").load_shared_library
        self._ggml, self._base = load("ggml", folder), load("ggml-base", folder)
        self._ggml.ggml_backend_dev_by_name.restype = ctypes.c_void_p
        self._base.ggml_backend_cpu_buffer_type.restype = ctypes.c_void_p
        self._ggml.ggml_backend_cpu_buffer_type.restype = ctypes.c_void_p
        for endpoint in endpoints:
            _add_server(load("ggml-rpc", folder), self._ggml, endpoint)
        self._model: Any = None
        self._loaded: list[Any] = []
        self._load_lines: list[str] = []
        self._kept: list[Any] = []  # what llama.cpp only points to

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """llama.cpp's log of this placement."""
        self._lines = []
        wanted = [question[key] for key in _LOAD_KEYS]
        if wanted != self._loaded:
            self._free()
            self._model = self._load(question)
            self._load_lines = self._lines
            if not self._model:
                return {"lines": self._lines, "error": self._problem("it cannot be loaded")}
            self._loaded = wanted
        self._lines = list(self._load_lines)
        context = self._llama.llama_init_from_model(self._model, self._context_params(question))
        if not context:
            return {"lines": self._lines, "error": self._problem("no context can be made")}
        self._llama.llama_free(context)
        return {"lines": self._lines, "error": ""}

    def _load(self, question: dict[str, Any]) -> Any:
        params = self._llama.llama_model_default_params()
        params.no_alloc, params.load_mode = True, _LOAD_NONE
        params.use_extra_bufts = question["repack"]
        params.lazy_mode = _LAZY_ON if question["lazy"] else _LAZY_OFF
        params.n_gpu_layers = question["gpu_layers"]
        names = question["devices"]
        devices = [self._ggml.ggml_backend_dev_by_name(name.encode()) for name in names]
        if not all(devices):
            self._lines.append(f"E llama.cpp has no device {names[devices.index(None)]}\n")
            return None
        array = (ctypes.c_void_p * (len(devices) + 1))(*devices, None)
        params.devices = ctypes.cast(array, ctypes.c_void_p)
        params.split_mode = _SPLIT_LAYER if len(devices) > 1 else _SPLIT_NONE
        if not devices:
            params.main_gpu = -1  # with no split: no GPU at all
        self._kept = [array]
        if question["split"]:
            split = (ctypes.c_float * 128)(*question["split"])  # llama_max_devices() is less
            params.tensor_split = ctypes.cast(split, ctypes.POINTER(ctypes.c_float))
            self._kept.append(split)
        if question["cpu_expert_layers"]:
            layers = "|".join(map(str, range(question["cpu_expert_layers"])))
            pattern = rf"blk\.({layers})\.ffn_(up|down|gate_up|gate)_(ch|)exps".encode()
            cpu = self._base.ggml_backend_cpu_buffer_type()
            overrides = (_Override * 2)(_Override(pattern, cpu), _Override(None, None))
            params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
            self._kept.append(overrides)
        return self._llama.llama_model_load_from_file(question["model"].encode(), params)

    def _context_params(self, question: dict[str, Any]) -> Any:
        params = self._llama.llama_context_default_params()
        params.n_ctx = question["context"]
        params.n_batch = params.n_ubatch = question["batch"]
        params.n_seq_max = params.n_outputs_max = 1
        params.flash_attn_type = _FLASH_ATTENTION
        params.swa_full = False
        params.offload_kqv = True
        params.type_k = params.type_v = _TYPES[question["kv"]]
        params.no_perf = True
        return params

    def _note(self, level: int, text: bytes, _data: Any) -> None:
        if level >= 2:  # noqa: PLR2004  # GGML_LOG_LEVEL_INFO
            mark = "E " if level == 4 else ""  # noqa: PLR2004  # GGML_LOG_LEVEL_ERROR
            self._lines.append(mark + text.decode("utf-8", "replace"))

    def _problem(self, otherwise: str) -> str:
        errors = [line[2:].strip() for line in self._lines if line.startswith("E ")]
        return errors[0] if errors else otherwise

    def _free(self) -> None:
        if self._model:
            self._llama.llama_model_free(self._model)
        self._model, self._loaded = None, []


def _bindings() -> Any:
    """``llama_cpp.llama_cpp`` without the package's own start, which brings numpy and jinja2 and
    takes four times as long."""
    spec = find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("llama-cpp-python is not installed")
    preload_cuda()
    package = types.ModuleType("llama_cpp")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["llama_cpp"] = package
    return importlib.import_module("llama_cpp.llama_cpp")


def _add_server(rpc: Any, ggml: Any, endpoint: str) -> None:
    """A device of another process, over ggml's RPC backend; for tests."""
    rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
    register = rpc.ggml_backend_rpc_add_server(endpoint.encode())
    ggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_register(register)


def main() -> None:
    """Answer until the questions end. What ggml prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    child = Child(sys.argv[1:])
    for line in sys.stdin:
        answers.write(json.dumps(child.answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
