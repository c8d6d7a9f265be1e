"""Prove that this build of llama-cpp-python decodes: run in the environment, in its own process.

    .venv/bin/python scripts/install/prove.py MODEL.gguf

A build with instructions that this machine refuses dies here, not at a person's first question.
Prints one JSON object: version, features (llama.cpp's own list), gpu, tokens, seconds.
"""

import json
import sys
import time

PROMPT_TOKENS, ANSWER_TOKENS = 48, 8


def main(model: str) -> None:
    """Load the model, read a prompt in one batch, decode a few tokens one by one."""
    import llama_cpp

    llm = llama_cpp.Llama(model_path=model, n_ctx=128, n_batch=64, n_gpu_layers=-1, verbose=False)
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
        "gpu": bool(llama_cpp.llama_supports_gpu_offload()),
        "tokens": len(tokens) + len(answer),
        "seconds": round(time.perf_counter() - started, 3),
    }
    llm.close()
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
