"""What other programs estimate for the same models; run by the Python that has them.

Standard input: a JSON list of cases, each with ``size`` (the catalogue's name), ``context``,
``file_bytes``, ``parameters``, ``active_parameters`` and ``header`` (a file with the model's GGUF
header). Standard output: for each peer a list of bytes in the same order, null where it has no
answer, and ``problems`` with the reason.
"""

import contextlib
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# Names in llmfit's own list.
LLMFIT = {
    "e2b": "google/gemma-4-E2B-it", "e4b": "google/gemma-4-E4B-it", "12b": "google/gemma-4-12B-it",
    "26b-a4b": "google/gemma-4-26B-A4B-it", "31b": "google/gemma-4-31B-it",
}  # fmt: skip


def whichllm(case: dict[str, Any]) -> float:
    """Its VRAM estimate, told the file's real size. It knows no window of ``gemma4``."""
    types = import_module("whichllm.models.types")
    moe = case["size"] == "26b-a4b"
    model = types.ModelInfo(
        id=LLMFIT[case["size"]],
        family_id="gemma4",
        name=case["size"],
        parameter_count=case["parameters"],
        parameter_count_active=case["active_parameters"] if moe else None,
        architecture="gemma4",
        is_moe=moe,
    )
    variant = types.GGUFVariant("", "Q4_0", case["file_bytes"])
    estimate = import_module("whichllm.engine.vram").estimate_vram
    return float(estimate(model, variant, case["context"]))


def llmfit(case: dict[str, Any]) -> float:
    """The least memory of its plan for a GPU (``vram_gb`` are 10^9 bytes)."""
    program = Path(sys.executable).with_name("llmfit")
    command = [str(program), "plan", LLMFIT[case["size"]], "--quant", "Q4_0", "--json"]
    done = subprocess.run(
        [*command, "--context", str(case["context"])],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or done.stdout.strip())
    return float(json.loads(done.stdout)["minimum"]["vram_gb"]) * 1e9


def hf_mem(case: dict[str, Any]) -> float:
    """Tensors and KV cache by its reading of the header."""
    with Path(case["header"]).open("rb") as file:
        head = file.read(1 << 20)
    parse = import_module("hf_mem.gguf.metadata").parse_gguf_metadata
    found = parse(head, experimental=True, max_model_len=case["context"])
    return float(found.bytes_count + (found.kv_cache.cache_size if found.kv_cache else 0))


def main() -> None:
    """Print one JSON object."""
    cases = json.loads(sys.stdin.read())
    answers: dict[str, Any] = {"problems": {}}
    for name, peer in (("whichllm", whichllm), ("llmfit", llmfit), ("hf-mem", hf_mem)):
        answers[name] = []
        for case in cases:
            answer = None
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    answer = round(peer(case))
            except Exception as error:  # noqa: BLE001  (whatever a foreign program raises)
                said = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")
                answers["problems"].setdefault(name, {})[case["size"]] = said[:200]
            answers[name].append(answer)
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
