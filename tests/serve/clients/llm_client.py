"""llm with its OpenAI plugin, as its own configuration file names a model of another server."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    Path(folder, "extra-openai-models.yaml").write_text(
        "- model_id: gemma\n  model_name: demo\n"
        f"  api_base: {sys.argv[1]}/v1\n  supports_schema: true\n  supports_tools: true\n"
    )
    environment = {**os.environ, "LLM_USER_PATH": folder, "OPENAI_API_KEY": "none"}

    def llm(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "llm", *words], env=environment, capture_output=True, text=True,
            timeout=300, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    for more in ((), ("--no-stream",)):
        said = llm("-m", "gemma", "-o", "temperature", "0", *more, "Hello")
        assert said == "Hello! How can I help you?", said
    held = llm("-m", "gemma", "--schema", "age int", "-o", "temperature", "0", "Hello")
    assert held.startswith("{"), held
    assert '"age"' in held
print("ok")
