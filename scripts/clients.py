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


def install(*words: str | Path) -> None:
    """What is said of it stands above; it ends here where it cannot be."""
    if status := subprocess.run(words, check=False).returncode:
        sys.exit(f"{Path(words[0]).name} could not install the clients (status {status})")


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "clients").resolve()
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        try:
            venv.create(folder, with_pip=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            sys.exit(f"no environment can be made in {folder}: {error}")
    install(python, "-m", "pip", "install", "--quiet", *PACKAGES)
    environment = {**os.environ, "GEMMA_EDGE_CLIENTS": str(python)}
    if npm := find_program("npm", os.environ):
        install(npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, "openai")
        environment["GEMMA_EDGE_NODE_MODULES"] = str(folder)
    words = [sys.executable, "-m", "pytest", "-q", "tests/serve/test_clients.py"]
    return subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
