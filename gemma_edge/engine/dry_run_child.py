"""The child program that a dry run asks, and the proof of a device: llama.cpp places a model and
sizes its buffers and allocates nothing, or it loads the model and evaluates tokens that mean
nothing. A program of its own, because llama.cpp aborts on what it does not like.

It stands here, and not in planning, because it is the engine's: it asks for a placement with the
very parameters that the engine will load it with.
"""

import ctypes
import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemma_edge.errors import EngineError
from gemma_edge.hardware.gpus import cuda_libraries, put_variables
from gemma_edge.isolation import ChildMessage, ChildRequest, Handler, skip_start
from gemma_edge.planning.plan import Placement

_INFO_LEVEL, _ERROR_LEVEL = 2, 4  # GGML_LOG_LEVEL_INFO, _ERROR (ggml.h)
_STRIDE = 61  # between the tokens that a proof evaluates


def main(*endpoints: str) -> Handler:
    """The program. Asked ``{"model": path, "placement": its fields}`` it answers ``{"lines":
    llama.cpp's log}``. With ``"chunks": [tokens of a batch, …]`` the model is loaded for real, and
    stays until the next question: the answer has ``"seconds"`` too (of the load, then of each
    chunk), ``"copies"`` of ggml in this process, and the last logits of each chunk (float32), where
    ``"logits"`` is true. ``endpoints`` are RPC servers ("host:port") whose devices it sees too."""
    llama = _Llama(endpoints)

    def answer(request: ChildRequest) -> Iterator[ChildMessage]:
        fields = request.header["placement"]
        for name in ("devices", "split", "variables"):
            fields[name] = tuple(fields[name])
        model, placement = request.header["model"], Placement(**fields)
        llama.begin(placement.variables)
        if "chunks" in request.header:
            yield llama.run(model, placement, request.header)
        else:
            yield ChildMessage({"lines": llama.place(model, placement)})

    return answer


class _Llama:
    """llama.cpp, its log, and the one model that is loaded: it stays until another placement of its
    layers is asked for."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._bindings = _import_bindings()
        self._lines: list[str] = []
        self._log = self._bindings.llama_log_callback(self._note)
        self._bindings.llama_log_set(self._log, ctypes.c_void_p(0))
        self._endpoints: Sequence[str] | None = endpoints  # None: its devices are known
        self._model: Any = None
        self._loaded: object = None
        self._load_lines: list[str] = []
        self._context: Any = None  # of ``run``

    def begin(self, variables: Sequence[str]) -> None:
        """Look for devices, once: what hides one is read then."""
        if self._endpoints is not None:
            put_variables(variables)
            self._bindings.llama_backend_init()
            for endpoint in self._endpoints:
                _add_server(endpoint)
            self._endpoints = None

    def place(self, model: str, placement: Placement) -> list[str]:
        """llama.cpp's log of this placement.
        Raises EngineError: it cannot load the model, or has no such device, its words."""
        from gemma_edge.engine.placement import context_params

        self._lines = []
        self._free_context()
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

    def run(self, model: str, placement: Placement, asked: Mapping[str, Any]) -> ChildMessage:
        """Load for real, and evaluate each chunk behind the one before it.
        Raises EngineError: as ``place``, and where llama.cpp cannot evaluate."""
        from gemma_edge.engine.placement import context_params

        self._free_context()
        self._free()
        self._lines = []
        started = time.perf_counter()
        self._model = self._load(model, placement, real=True)
        params = context_params(placement)
        params.n_threads = params.n_threads_batch = asked["threads"]
        self._context = self._bindings.llama_init_from_model(self._model, params)
        if not self._context:
            raise EngineError(self._problem("no context can be made"))
        seconds, logits = [time.perf_counter() - started], []
        vocabulary = self._bindings.llama_model_get_vocab(self._model)
        count = self._bindings.llama_vocab_n_tokens(vocabulary)
        position = 0
        for tokens in asked["chunks"]:
            started = time.perf_counter()
            pointer = self._evaluate(tokens, position, count)
            seconds.append(time.perf_counter() - started)
            position += tokens
            logits.append(ctypes.string_at(pointer, 4 * count) if asked["logits"] else b"")
        header = {"lines": self._lines, "seconds": seconds, "copies": _copies_of_ggml()}
        return ChildMessage(header, (b"".join(logits),))

    def _evaluate(self, tokens: int, position: int, vocabulary: int) -> Any:
        """The logits behind them; which tokens they are depends on their position alone."""
        bindings = self._bindings
        batch = bindings.llama_batch_init(tokens, 0, 1)
        try:
            batch.n_tokens = tokens
            for index in range(tokens):
                batch.token[index] = (_STRIDE * (position + index) + 1) % vocabulary
                batch.pos[index] = position + index
                batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
                batch.logits[index] = index == tokens - 1
            if status := bindings.llama_decode(self._context, batch):
                raise EngineError(self._problem(f"it cannot evaluate {tokens} tokens ({status})"))
            return bindings.llama_get_logits_ith(self._context, -1)  # waits for the device
        finally:
            bindings.llama_batch_free(batch)

    def _load(self, model: str, placement: Placement, *, real: bool = False) -> Any:
        from gemma_edge.engine.placement import ModelParams

        wanted = ModelParams(placement)
        if not real:
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

    def _free_context(self) -> None:
        if self._context:
            self._bindings.llama_free(self._context)
            self._context = None

    def _free(self) -> None:
        if self._model:
            self._bindings.llama_model_free(self._model)
        self._model, self._loaded = None, None


def _import_bindings() -> Any:
    """``llama_cpp.llama_cpp`` alone."""
    skip_start("llama_cpp")
    cuda_libraries()
    return importlib.import_module("llama_cpp.llama_cpp")


def _copies_of_ggml() -> int:
    """How many files of ggml-base are mapped: one, or the pointers of one are not known to the
    other. 0 where the system does not say."""
    try:
        maps = Path("/proc/self/maps").read_text("utf-8", "replace")
    except OSError:
        return 0
    return len({line.split(None, 5)[5] for line in maps.splitlines() if "ggml-base" in line})


def _add_server(endpoint: str) -> None:
    """A device of another process, over ggml's RPC; for tests."""
    from gemma_edge.engine.placement import library

    add, register = (
        library("ggml-rpc").ggml_backend_rpc_add_server,
        library("ggml").ggml_backend_register,
    )
    add.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    register(add(endpoint.encode()))
