"""What importing costs: the command line starts without the heavy libraries."""

import subprocess
import sys

import pytest

HEAVY = (
    "PIL", "huggingface_hub", "jinja2", "jsonschema", "llama_cpp", "llguidance", "numpy",
    "pypdfium2", "rich", "torch",
)  # fmt: skip


def loaded_by(module: str) -> set[str]:
    """The top-level modules in a fresh interpreter after ``import module``."""
    code = (
        f"import {module}, sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["gemma_edge.cli.main", "gemma_edge.engine", "gemma_edge.documents"]
)
def test_importing_loads_no_heavy_library(module: str) -> None:
    assert loaded_by(module) & set(HEAVY) == set()
