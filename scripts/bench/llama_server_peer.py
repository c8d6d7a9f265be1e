"""The yardstick: llama-server's own code, grammar sampling included, in an environment of its own.

Reads one request a line from stdin, ``{"prompt", "max_tokens", "schema"?}``, and answers each with
one line: prompt_tokens, tokens, seconds, text. Started by engine.py with the environment that
``scripts/bench.py`` makes; ``xllamacpp`` ships llama-server's C++ as a published wheel.
"""

import argparse
import json
import os
import sys
from typing import Any


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()

    answers = os.fdopen(os.dup(1), "w", buffering=1)  # llama.cpp logs to 1 and 2
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)

    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.n_ctx = options.context
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = options.threads
    parameters.warmup = True
    server = xllamacpp.Server(parameters)
    for line in sys.stdin:
        reply = server.handle_completions(render_request(json.loads(line)))
        answers.write(json.dumps(parse_reply(reply)) + "\n")
    answers.flush()
    os._exit(0)  # the server's threads wait for nothing


def render_request(request: dict[str, Any]) -> dict[str, Any]:
    """The request as llama-server takes it: greedy, nothing kept from the last one."""
    body = {
        "prompt": request["prompt"],
        "n_predict": request["max_tokens"],
        "max_tokens": request["max_tokens"],
        "temperature": 0.0,
        "cache_prompt": False,
    }
    if request.get("schema"):
        body["json_schema"] = json.loads(request["schema"])
    return body


def parse_reply(reply: Any) -> dict[str, Any]:
    """llama-server's answer and its own timings."""
    if isinstance(reply, str):
        reply = json.loads(reply)
    timings = reply["timings"]
    text = reply.get("content") or (reply.get("choices") or [{}])[0].get("text", "")
    return {
        "prompt_tokens": timings["prompt_n"],
        "tokens": timings["predicted_n"],
        "seconds": timings["predicted_ms"] / 1000,
        "text": text,
    }


if __name__ == "__main__":
    main()
