"""The child program that a dry run asks: llama.cpp places a model and sizes its buffers, and
allocates nothing. A program of its own, because llama.cpp aborts on what it does not like.

It stands here, and not in planning, because it is the engine's: it asks for a placement with the
very parameters that the engine will load it with.
"""

import ctypes
import importlib
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gemma_edge.errors import EngineError
from gemma_edge.hardware.gpus import cuda_libraries, put_variables
from gemma_edge.isolation import ChildMessage, ChildRequest, Handler
from gemma_edge.planning.plan import Placement

_INFO_LEVEL, _ERROR_LEVEL = 2, 4  # GGML_LOG_LEVEL_INFO, _ERROR (ggml.h)


def main(*endpoints: str) -> Handler:
    """The program. Asked ``{"model": path, "placement": its fields}`` it answers ``{"lines":
    llama.cpp's log}``. ``endpoints`` are RPC servers ("host:port") whose devices it sees too."""
    loaded: list[_Llama] = []

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        fields = request.header["placement"]
        for name in ("devices", "split", "variables"):
            fields[name] = tuple(fields[name])
        placement = Placement(**fields)
        if not loaded:  # all placements of a machine have its variables
            put_variables(placement.variables)
            loaded.append(_Llama(endpoints))
        yield ChildMessage({"lines": loaded[0].place(request.header["model"], placement)})

    return answer


class _Llama:
    """llama.cpp, its log, and the one model that is loaded: it stays until another placement of its
    layers is asked for."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._bindings = _import_bindings()
        self._lines: list[str] = []
        self._log = self._bindings.llama_log_callback(self._note)
        self._bindings.llama_log_set(self._log, ctypes.c_void_p(0))
        self._bindings.llama_backend_init()
        for endpoint in endpoints:
            _add_server(Path(self._bindings.__file__).parent / "lib", endpoint)
        self._model: Any = None
        self._loaded: object = None
        self._load_lines: list[str] = []

    def place(self, model: str, placement: Placement) -> list[str]:
        """llama.cpp's log of this placement.
        Raises EngineError: it cannot load the model, or has no such device, its words."""
        from gemma_edge.engine.placement import context_params

        self._lines = []
        layers = replace(placement, context_tokens=0, batch_tokens=0, kv_type="f16")
        if (model, layers) != self._loaded:
            self._free()
            self._model = self._load(model, layers)
            self._load_lines = self._lines
            self._loaded = (model, layers)
        self._lines = list(self._load_lines)
        context = self._bindings.llama_init_from_model(self._model, context_params(placement))
        if not context:
            raise EngineError(self._problem("no context can be made"))
        self._bindings.llama_free(context)
        return self._lines

    def _load(self, model: str, placement: Placement) -> Any:
        from gemma_edge.engine.placement import ModelParams

        wanted = ModelParams(placement)
        wanted.params.no_alloc = True
        wanted.params.load_mode = self._bindings.LLAMA_LOAD_MODE_NONE  # no_alloc maps no file
        loaded = self._bindings.llama_model_load_from_file(model.encode(), wanted.params)
        if not loaded:
            raise EngineError(self._problem("it cannot be loaded"))
        return loaded

    def _note(self, level: int, text: bytes, _data: Any) -> None:
        if level >= _INFO_LEVEL:
            prefix = "E " if level == _ERROR_LEVEL else ""
            self._lines.append(prefix + text.decode("utf-8", "replace"))

    def _problem(self, otherwise: str) -> str:
        errors = [line[2:].strip() for line in self._lines if line.startswith("E ")]
        return errors[0] if errors else otherwise

    def _free(self) -> None:
        if self._model:
            self._bindings.llama_model_free(self._model)
        self._model, self._loaded = None, None


def _import_bindings() -> Any:
    """``llama_cpp.llama_cpp`` without the package's own start, which takes four times as long."""
    spec = find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("llama-cpp-python is not installed")
    cuda_libraries()
    package = types.ModuleType("llama_cpp")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["llama_cpp"] = package
    return importlib.import_module("llama_cpp.llama_cpp")


def _add_server(folder: Path, endpoint: str) -> None:
    """A device of another process, over ggml's RPC; for tests."""
    load = importlib.import_module("llama_cpp._ctypes_extensions").load_shared_library
    ggml, rpc = load("ggml", folder), load("ggml-rpc", folder)
    rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
    register = rpc.ggml_backend_rpc_add_server(endpoint.encode())
    ggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_register(register)
