"""A program for tests: the real command in a real terminal, on a small known machine, with an
engine that answers from a script, a word every 10 ms.

python slow_chat.py MODEL.gguf [FLAG...]

SLOW_LOAD is one of tests/engine/faults.py, in the place of that engine.
SLOW_ANSWERS is the script as JSON: texts, or pairs of a thought and a text; an empty one is an echo
of the question. SLOW_SECONDS is the time a word takes, SLOW_CLOCK=1 a clock that goes by calls,
SLOW_CONTEXT the context in tokens.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import count

from gemma_edge.cli.context import Context
from gemma_edge.cli.main import main
from gemma_edge.engine.process import RemoteEngine
from gemma_edge.engine.protocol import Event, Request
from tests.engine.faults import program
from tests.scripted import ScriptedEngine


class SlowEngine(ScriptedEngine):
    """Tells when it is closed."""

    def generate(self, request: Request) -> Iterator[Event]:
        question = request.messages[-1].text
        if self.answers and self.answers[0] == "":
            lines = question.split("\n")
            self.answers[0] = f"I read {len(lines)} lines, from “{lines[0]}” to “{lines[-1]}”."
        for event in super().generate(request):
            time.sleep(SECONDS)
            yield event

    def close(self) -> None:
        sys.stderr.write("closed\n")


def detect_hardware(_environment):
    from gemma_edge.hardware.machine import Build, Cpu, Hardware, Memory

    time.sleep(float(os.environ.get("SLOW_PLAN", "0")))
    return Hardware(
        system="linux",
        cpu=Cpu(2, "2 physical cores", name="Core i5-6200U"),
        memory=Memory(8 << 30, "8.0 GiB are available", total_bytes=8 << 30),
        build=Build(version="0.3.36"),
    )


def open_measure(_other):
    from gemma_edge.planning.memory import quick_measure

    return nullcontext(quick_measure(detect_hardware(None)))


SECONDS = float(os.environ.get("SLOW_SECONDS", "0.01"))
DEFAULT = [" ".join(map(str, range(1, 200))), "second answer", "third answer"]
SCRIPT = json.loads(os.environ.get("SLOW_ANSWERS", json.dumps(DEFAULT)))
SCRIPT = [tuple(each) if isinstance(each, list) else each for each in SCRIPT]


def load(plan):
    if fault := os.environ.get("SLOW_LOAD"):
        return RemoteEngine(plan, program=program(fault))
    tokens = os.environ.get("SLOW_CONTEXT")
    return SlowEngine(SCRIPT, **({"context_tokens": int(tokens)} if tokens else {}))


ticks = count()
world = replace(
    Context.from_process(),
    load=load,
    detect_hardware=detect_hardware,
    open_measure=open_measure,
    busy_programs=lambda: None,
)
if os.environ.get("SLOW_CLOCK"):
    world = replace(world, clock=lambda: next(ticks) / 10)
sys.exit(main(["chat", "--model", *sys.argv[1:]], world))
