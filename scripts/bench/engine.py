"""What our engine costs: free decoding against llama.cpp's own loop, and a schema against
llama-server's grammar. Same model, prompt, schema, token limit and threads, greedy, in turns.

    free_ratio         our free decoding / bare llama.cpp in the same library      goal 0.97
    schema_ratio       ours under a JSON Schema / llama-server under the same one  goal 1.2
    free_server_ratio  our free decoding / llama-server's (another build of llama.cpp)
    copy_draft_ratio   ours with drafts that are looked up / without, where the answer repeats it
    held_draft_ratio   the same under the schema
    worker_ratio       ours in a process of its own / the same in this one         goal 0.99
    worker_overhead_ms what that process costs a token, on the bundled model       goal 0.2

Run it through ``scripts/bench.py engine``, which makes what it needs.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bare_llama import BareLlama
from measure import Run, alternate, cores, note, ratio
from worker_pair import measure_overhead, run_client

from gemma_edge.engine import load
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.protocol import GREEDY, Chunk, Finished, JsonConstraint, Message, Request
from gemma_edge.planning.plan import Plan

CONTEXT_TOKENS, BATCH_TOKENS = 2048, 512
HERE = Path(__file__).parent
GOALS = {"free_ratio": 0.97, "schema_ratio": 1.2, "worker_ratio": 0.99}
COPY = "Repeat the document above word for word, from its first line to its last:\n"
OVERHEAD_GOAL_MS = 0.2
DEMO = HERE.parents[1] / "models" / "demo" / "gemma-4-demo-Q8_0.gguf"


class Peer:
    """llama-server's code in a process of its own, asked over pipes."""

    def __init__(
        self, python: str, model: str, threads: int, context_tokens: int = CONTEXT_TOKENS
    ) -> None:
        command = [python, str(HERE / "llama_server_peer.py"), model]
        command += ["--context", str(context_tokens), "--threads", str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def run(self, prompt: str, max_tokens: int, schema: str | None = None) -> Run:
        """One answer."""
        assert self._process.stdin and self._process.stdout
        request = {"prompt": prompt, "max_tokens": max_tokens, "schema": schema}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with status {self._process.wait()}")
        return Run(**json.loads(line))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)


def run_engine(engine: LlamaEngine, request: Request) -> Run:
    """One answer of ours, timed by the engine itself."""
    pieces, finished = [], None
    for event in engine.generate(request):
        if isinstance(event, Finished):
            finished = event
        elif isinstance(event, Chunk):
            pieces.append(event.text)
    assert finished is not None
    usage, timings = finished.usage, finished.timings
    text = "".join(pieces)
    return Run(usage.prompt_tokens, usage.generated_tokens, timings.decode_seconds, text)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, by name."""
    model, tokens = options.model, options.tokens
    schema = (HERE / "invoice.schema.json").read_text(encoding="utf-8")
    message = Message("user", (HERE / "invoice.txt").read_text(encoding="utf-8"))
    free = Request(messages=(message,), max_tokens=tokens, sampling=GREEDY)
    held = replace(free, constraint=JsonConstraint(schema=schema))
    plan = Plan(
        model=Path(model),
        context_tokens=CONTEXT_TOKENS,
        batch_tokens=BATCH_TOKENS,
        threads=options.threads,
    )
    engine, worker, bare = LlamaEngine(plan), load(plan), BareLlama(plan)
    plain = LlamaEngine(replace(plan, draft="off"))
    copied = replace(free, messages=(Message("user", f"{message.text}\n\n{COPY}"),))
    peer = Peer(options.peer_python, model, options.threads)
    prompt = engine.render(free).removeprefix("<bos>")  # the peers add it themselves
    subjects = {
        "bare free": partial(bare.run, prompt, tokens),
        "ours free": partial(run_engine, engine, free),
        "server free": partial(peer.run, prompt, tokens),
        "ours schema": partial(run_engine, engine, held),
        "server schema": partial(peer.run, prompt, tokens, schema),
        "ours copy": partial(run_engine, engine, copied),
        "undrafted copy": partial(run_engine, plain, copied),
        "undrafted schema": partial(run_engine, plain, held),
        "here, heard": partial(run_client, engine, free),
        "worker, heard": partial(run_client, worker, free),
    }
    try:
        found = figures(alternate(subjects, options.rounds))
    finally:
        peer.close()
        for each in (worker, engine, plain):
            each.close()
    return {**found, "worker_overhead_ms": measure_overhead(DEMO, plan)}


def figures(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Ratios from the runs, after a look whether they can be compared at all."""
    sizes = {name: taken[0].prompt_tokens for name, taken in runs.items()}
    for copies in (True, False):
        if len({size for name, size in sizes.items() if name.endswith("copy") == copies}) != 1:
            raise RuntimeError(f"the prompts differ: {sizes}")
    return {
        "free_ratio": ratio(runs["ours free"], runs["bare free"]),
        "schema_ratio": ratio(runs["ours schema"], runs["server schema"]),
        "free_server_ratio": ratio(runs["ours free"], runs["server free"]),
        "copy_draft_ratio": ratio(runs["ours copy"], runs["undrafted copy"]),
        "held_draft_ratio": ratio(runs["ours schema"], runs["undrafted schema"]),
        "same_copy_undrafted": runs["ours copy"][0].text == runs["undrafted copy"][0].text,
        "worker_ratio": ratio(runs["worker, heard"], runs["here, heard"]),
        "prompt_tokens": sizes["ours free"],
        "answer_tokens": {name: taken[0].tokens for name, taken in runs.items()},
        "same_free_text_as_bare": runs["ours free"][0].text == runs["bare free"][0].text,
        "schema_text_is_json": _is_json(runs["ours schema"][0].text),
    }


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=300, help="the longest answer")
    result = measure(parser.parse_args())
    for name, goal in GOALS.items():
        reached = "reached" if result[name]["ratio"] >= goal else "missed"
        note(f"{name} {result[name]['ratio']}, goal {goal}: {reached}")
    cost = result["worker_overhead_ms"]["ms"]
    reached = "reached" if cost <= OVERHEAD_GOAL_MS else "missed"
    note(f"worker_overhead_ms {cost}, goal {OVERHEAD_GOAL_MS}: {reached}")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
