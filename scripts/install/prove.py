"""Prove that this build of llama-cpp-python decodes: run in the environment, in its own process.

    .venv/bin/python scripts/install/prove.py MODEL.gguf

A build with instructions that this machine refuses dies here, not at a person's first question.
Each GPU then computes what Gemma 4 asks of it, beside the processor (gemma_edge/engine/proof.py):
the bundled model has other shapes. Prints one JSON object: version, features (llama.cpp's own
list), gpus (ggml's names), wrong (what is wrong with one of them, "" = nothing), tokens, seconds.
"""

import json
import sys
import time
from pathlib import Path

PROMPT_TOKENS, ANSWER_TOKENS = 48, 8


def main(model: str) -> None:
    """Load the model, read a prompt in one batch, decode a few tokens one by one."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # not installed yet
    import llama_cpp

    from gemma_edge.engine.placement import gpu_names
    from gemma_edge.engine.proof import prove

    llm = llama_cpp.Llama(
        model_path=model, n_ctx=128, n_batch=64, n_gpu_layers=-1, flash_attn=True, verbose=False
    )
    started = time.perf_counter()
    # The values do not matter, the shapes do: a batch, then single tokens.
    tokens = [llm.token_bos(), *(100 + n for n in range(PROMPT_TOKENS - 1))]
    answer = []
    for token in llm.generate(tokens, temp=0.0):
        answer.append(token)
        if len(answer) == ANSWER_TOKENS:
            break
    report = {
        "version": llama_cpp.__version__,
        "features": llama_cpp.llama_print_system_info().decode("utf-8", "replace"),
        "gpus": (gpus := gpu_names()),
        "wrong": next((each.why for each in prove(gpus) if not each.sound), "") if gpus else "",
        "tokens": len(tokens) + len(answer),
        "seconds": round(time.perf_counter() - started, 3),
    }
    llm.close()
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
