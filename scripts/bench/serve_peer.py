"""llama-server's own code over HTTP, in an environment of its own; it prints its address.

Started by serve.py; ``xllamacpp`` ships llama-server's C++ as a published wheel.
"""

import argparse
import os
import signal
import socket


def main() -> None:
    """Serve until it is ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--shared", action="store_true", help="any request may fill the context")
    options = parser.parse_args()

    answers = os.fdopen(os.dup(1), "w", buffering=1)  # llama.cpp logs to 1 and 2
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)

    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.n_ctx = options.context
    parameters.n_parallel = options.parallel
    parameters.kv_unified = options.shared
    parameters.cpuparams.n_threads = options.threads
    parameters.warmup = True
    parameters.port = free_port()
    server = xllamacpp.Server(parameters)
    answers.write(f"{server.listening_address}\n")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # the server's threads wait for nothing


def free_port() -> int:
    """One that nobody has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
