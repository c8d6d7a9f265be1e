"""The other processes of ``bench fit``: the program that loads, and the devices on loopback."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def ask(**wanted: Any) -> dict[str, Any]:
    """One run of the loading program."""
    program = Path(__file__).with_name("fit_load.py")
    done = subprocess.run(
        [sys.executable, str(program), json.dumps(wanted)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{wanted}: {done.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextmanager
def serve() -> Iterator[str]:
    """The address of two devices on loopback, "" where this llama.cpp has no RPC backend."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(__file__).with_name("fit_server.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"127.0.0.1:{port}" if _listens(process, port) else ""
    finally:
        process.terminate()
        process.wait(timeout=30)


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    for _ in range(100):
        if process.poll() is not None:
            return False
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False
