"""Run the programs of other people against ``gemma-edge serve``: openai (Python and JavaScript),
llm, langchain-openai, instructor, pydantic-ai, and schemathesis against its OpenAPI document.

    python scripts/clients.py [FOLDER]

They are installed into FOLDER (default: build/clients, 300 MB), apart from gemma-edge itself.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from gemma_edge.trust import find_program  # noqa: E402

PACKAGES = (
    "openai", "llm", "langchain-openai", "instructor", "pydantic-ai-slim[openai]", "schemathesis",
    "pillow",
)  # fmt: skip


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "clients").resolve()
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    environment = {**os.environ, "GEMMA_EDGE_CLIENTS": str(python)}
    if npm := find_program("npm", os.environ):
        subprocess.run(
            [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, "openai"],
            check=True,
        )
        environment["GEMMA_EDGE_NODE_MODULES"] = str(folder)
    words = [sys.executable, "-m", "pytest", "-q", "tests/serve/test_clients.py"]
    return subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
