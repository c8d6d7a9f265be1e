"""ggml's RPC backend on loopback: a second device on any machine (docs/architecture.md,
"A second device for tests").

python -c "... from tests.engine.rpc import serve; serve(port)" PATH...  two devices
"""

import ctypes
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gemma_edge.isolation import Handler

BOOT = "import sys; sys.path[:] = sys.argv[1:]; from tests.engine.rpc import "


def has_rpc() -> bool:
    """Whether llama.cpp was built with it."""
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("llama_cpp")
    assert spec is not None and spec.origin is not None
    return any((Path(spec.origin).parent / "lib").glob("*ggml-rpc*"))


@contextmanager
def serving() -> Iterator[int]:
    """The port of a server on loopback, in a process of its own, with one client at a time."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", f"{BOOT}serve; serve({number})", *sys.path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", number), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the RPC server does not start"
                time.sleep(0.05)
        yield number
    finally:
        server.kill()
        server.wait()


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

    connect(port)
    return serve(open_llama)


def connect(port: str) -> None:
    """This process sees the devices from now on."""
    rpc, ggml = _library("ggml-rpc"), _library("ggml")
    rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
    ggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_register(rpc.ggml_backend_rpc_add_server(f"127.0.0.1:{port}".encode()))


def load_drafter(model: str, drafter: str, tokens: str, batch: str, port: str = "") -> None:
    """Print what llama.cpp says of a drafter that is loaded beside its model, both with all layers
    on the first device, or on the CPU without a port."""
    from llama_cpp import llama_cpp as bindings

    from gemma_edge.engine.placement import ModelParams, context_params
    from gemma_edge.planning.plan import Placement

    lines: list[str] = []
    keep = bindings.llama_log_callback(lambda _, text, __: lines.append(text.decode()))
    bindings.llama_log_set(keep, ctypes.c_void_p(0))
    bindings.llama_backend_init()
    if port:
        connect(port)
    placement = Placement(
        context_tokens=int(tokens), batch_tokens=256, devices=("RPC0",) if port else (),
        gpu_layers=-1 if port else 0,
    )  # fmt: skip
    context = None
    for path in (model, drafter):
        lines.clear()
        wanted = ModelParams(placement)
        loaded = bindings.llama_model_load_from_file(path.encode(), wanted.params)
        params = context_params(placement)
        if context:
            params.n_batch = params.n_ubatch = int(batch)
            params.ctx_other = context
        context = bindings.llama_init_from_model(loaded, params)
    if context:  # its buffers are told once more, to four places
        bindings.llama_free(context)
    sys.stdout.write("".join(lines))
    sys.stdout.flush()
    sys.exit(0 if context else 1)


def _library(name: str) -> ctypes.CDLL:
    import llama_cpp.llama_cpp as bindings  # the package itself may be hollow

    from gemma_edge.engine.placement import library

    bindings.llama_backend_init()
    return library(name)
