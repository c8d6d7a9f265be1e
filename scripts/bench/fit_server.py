"""Two devices of ggml's RPC backend on loopback, both this machine's CPU; for ``bench fit``.

    python3 fit_server.py PORT

Prints the address when it listens. Not in every llama.cpp: ``-DGGML_RPC=ON``.
"""

import ctypes
import sys
from pathlib import Path

import llama_cpp
from llama_cpp._ctypes_extensions import load_shared_library

from gemma_edge.engine import worker
from gemma_edge.isolation import Handler

DEVICES = 2


def work(endpoint: str) -> Handler:
    """The program of an engine's process that sees these devices."""
    from gemma_edge.engine.placement import library

    llama_cpp.llama_backend_init()
    rpc, ggml = library("ggml-rpc"), library("ggml")
    rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
    ggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_register(rpc.ggml_backend_rpc_add_server(endpoint.encode()))
    return worker.serve(worker.open_llama)


def main() -> None:
    """Serve until the process is ended."""
    folder = Path(llama_cpp.__file__).parent / "lib"
    rpc, ggml = load_shared_library("ggml-rpc", folder), load_shared_library("ggml", folder)
    ggml.ggml_backend_dev_by_type.restype = ctypes.c_void_p
    cpu = ggml.ggml_backend_dev_by_type(0)  # GGML_BACKEND_DEVICE_TYPE_CPU
    devices = (ctypes.c_void_p * DEVICES)(*[cpu] * DEVICES)
    start = rpc.ggml_backend_rpc_start_server
    start.argtypes = [
        ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p,
    ]  # fmt: skip
    start(f"127.0.0.1:{sys.argv[1]}".encode(), None, 1, DEVICES, devices)


if __name__ == "__main__":
    main()
