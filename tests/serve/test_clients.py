"""Programs that other people wrote, against the real server. Each is a script of its own; those
that are not installed are left out, and ``scripts/clients.py`` installs and runs all of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.conftest import Running

SCRIPTS = Path(__file__).with_name("clients")
PYTHON = os.environ.get("GEMMA_EDGE_CLIENTS", sys.executable)
MODULES = os.environ.get("GEMMA_EDGE_NODE_MODULES", "")
NEEDS = {
    "openai": "openai", "langchain": "langchain_openai", "instructor": "instructor",
    "pydantic_ai": "pydantic_ai", "llm": "llm", "schemathesis": "schemathesis",
}  # fmt: skip


def check(*command: str) -> None:
    """Run it to its end."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=1800, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout.endswith("ok\n"), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("client", NEEDS)
def test_a_client_of_python(real: Running, client: str) -> None:
    probe = f"import importlib.util, sys; sys.exit(not importlib.util.find_spec({NEEDS[client]!r}))"
    if subprocess.run([PYTHON, "-c", probe], check=False).returncode:
        pytest.skip(f"{client} is not installed; scripts/clients.py runs it")
    check(PYTHON, str(SCRIPTS / f"{client}_client.py"), real.url)


@pytest.mark.slow
def test_the_client_of_javascript(real: Running) -> None:
    node = shutil.which("node")
    if node is None or not MODULES:
        pytest.skip("openai for Node.js is not installed; scripts/clients.py runs it")
    check(node, str(SCRIPTS / "client.mjs"), real.url, MODULES)
