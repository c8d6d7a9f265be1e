"""The child of a trial decode: one device, the bundled model, one answer.

Prints one JSON object. What llama.cpp does to a process (an abort, an illegal instruction, an
endless wait in a driver) it does to this one.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gemma_edge import engine
from gemma_edge.doctor import CPU
from gemma_edge.engine.protocol import GREEDY, Chunk, Engine, Finished, Message, Notice, Request
from gemma_edge.errors import GemmaEdgeError
from gemma_edge.planning.plan import ALL_LAYERS, Plan

# The bundled model knows this greeting; its answer is short and the same on every device.
QUESTION = Request(messages=(Message("user", "Hello!"),), max_tokens=32, sampling=GREEDY)
CONTEXT_TOKENS, BATCH_TOKENS = 256, 128


def main(arguments: Sequence[str]) -> None:
    """Decode on the device of this name, and say how it went."""
    device, model = arguments
    try:
        report = decode(device, Path(model))
    except GemmaEdgeError as error:
        report = {"trouble": error.message}
    sys.stdout.write(json.dumps(report) + "\n")


def decode(
    device: str, model: Path, load: Callable[[Plan], Engine] = engine.load
) -> dict[str, Any]:
    """Load, answer, close.

    Raises:
        GemmaEdgeError: it cannot be loaded there, or does not answer.
    """
    on_gpu = device != CPU
    plan = Plan(
        model=model,
        context_tokens=CONTEXT_TOKENS,
        batch_tokens=BATCH_TOKENS,
        devices=(device,) if on_gpu else (),
        gpu_layers=ALL_LAYERS if on_gpu else 0,
    )
    started = time.perf_counter()
    trial = load(plan)
    try:
        events = list(trial.generate(QUESTION))
        report: dict[str, Any] = {
            "answer": "".join(event.text for event in events if isinstance(event, Chunk)),
            "tokens": sum(
                event.usage.prompt_tokens + event.usage.generated_tokens
                for event in events if isinstance(event, Finished)
            ),
            "seconds": time.perf_counter() - started,
        }  # fmt: skip
        notices = [event.text for event in events if isinstance(event, Notice)]
        if notices:  # it had to be started again
            report["trouble"] = notices[0]
        elif on_gpu and trial.info.gpu_layers == 0:
            report["trouble"] = f"it decoded on {trial.info.device} instead"
        return report
    finally:
        trial.close()
