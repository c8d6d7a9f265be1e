"""ggml's RPC backend on loopback: a second device on any machine (docs/architecture.md,
"A second device for tests").

python -c "... from tests.engine.rpc import serve; serve(port)" PATH...  two devices
"""

import ctypes

from gemma_edge.isolation import Handler

BOOT = "import sys; sys.path[:] = sys.argv[1:]; from tests.engine.rpc import "


def has_rpc() -> bool:
    """Whether llama.cpp was built with it."""
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("llama_cpp")
    assert spec is not None and spec.origin is not None
    return any((Path(spec.origin).parent / "lib").glob("*ggml-rpc*"))


def serve(port: int) -> None:
    """Offer the CPU as two devices; never returns."""
    rpc, ggml = _library("ggml-rpc"), _library("ggml")
    ggml.ggml_backend_dev_by_name.restype = ctypes.c_void_p
    devices = (ctypes.c_void_p * 2)(*[ggml.ggml_backend_dev_by_name(b"CPU")] * 2)
    rpc.ggml_backend_rpc_start_server.argtypes = [
        ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p,
    ]  # fmt: skip
    rpc.ggml_backend_rpc_start_server(f"127.0.0.1:{port}".encode(), None, 1, 2, devices)


def program(port: int) -> tuple[str, str]:
    """An engine's process with the devices RPC0 and RPC1."""
    return "tests.engine.rpc:work", str(port)


def work(port: str) -> Handler:
    """It."""
    from gemma_edge.engine.worker import open_llama, serve

    rpc, ggml = _library("ggml-rpc"), _library("ggml")
    rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
    ggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_register(rpc.ggml_backend_rpc_add_server(f"127.0.0.1:{port}".encode()))
    return serve(open_llama)


def _library(name: str) -> ctypes.CDLL:
    import llama_cpp.llama_cpp as bindings  # the package itself may be hollow

    from gemma_edge.engine.placement import library

    bindings.llama_backend_init()
    return library(name)
