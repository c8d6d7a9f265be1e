"""A program for test_terminal.py: the real command in a real terminal, with a scripted engine.

python slow_chat.py MODEL.gguf [FLAG...]
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from gemma_edge.cli.context import Context
from gemma_edge.cli.main import main
from gemma_edge.engine.protocol import Event, Request
from gemma_edge.engine.scripted import ScriptedEngine


class SlowEngine(ScriptedEngine):
    """Says a word every 50 ms, and tells when it is closed."""

    def generate(self, request: Request) -> Iterator[Event]:
        for event in super().generate(request):
            time.sleep(0.05)
            yield event

    def close(self) -> None:
        sys.stderr.write("closed\n")


answers = [" ".join(map(str, range(1, 200))), "second answer", "third answer"]
world = replace(Context.from_process(), load=lambda _plan: SlowEngine(answers))
sys.exit(main(["chat", "--model", *sys.argv[1:]], world))
