"""A real decode on one device, in a child process with a time limit."""

import json
import subprocess
import sys

from gemma_edge import catalog
from gemma_edge.doctor.facts import Decode
from gemma_edge.engine.ladder import parse_death
from gemma_edge.errors import ModelError

# A first start on a GPU can compile its kernels; the bundled model itself takes under a second.
LIMIT_SECONDS = 120.0
# Imports exactly what this process would, and nothing of the working folder.
CHILD = "import sys; sys.path[:] = sys.argv[3:]; from gemma_edge.doctor.decode_child import main; "
CHILD += "main(sys.argv[1:3])"


def try_decode(
    device: str, *, limit_seconds: float = LIMIT_SECONDS, program: str = CHILD
) -> Decode:
    """Answer a greeting with the bundled model on the device of this name. ``program`` is the
    child's Python code; tests pass another to make it fail on purpose."""
    try:
        model = str(catalog.resolve("demo").model)
        done = subprocess.run(
            [sys.executable, "-c", program, device, model, *sys.path],
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            timeout=limit_seconds, check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Decode(device=device, trouble=f"it did not end within {limit_seconds:g} s")
    except ModelError as error:  # its files are gone
        return Decode(device=device, trouble=error.message)
    except OSError as error:
        return Decode(device=device, trouble=f"no process for it: {error.strerror or error}")
    return parse_decode(device, done.returncode, done.stdout, done.stderr)


def parse_decode(device: str, status: int, said: str, complaints: str) -> Decode:
    """Judge the child's exit status and words."""
    if status:
        reason = parse_death(status, complaints.splitlines()).reason
        return Decode(device=device, trouble=f"it stopped: {reason}")
    return Decode(device=device, **json.loads(said.splitlines()[-1]))
