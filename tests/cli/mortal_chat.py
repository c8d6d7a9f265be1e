"""A program for test_mortal.py: the real command, in a real terminal, with the real engine on the
bundled model, a token every 100 ms. The engine's process id stands in a file after loading.

python mortal_chat.py PID_FILE
"""

import sys
import threading
from dataclasses import replace
from pathlib import Path

from gemma_edge.cli.context import Context
from gemma_edge.cli.main import main
from gemma_edge.engine.process import RemoteEngine
from gemma_edge.planning.plan import Plan
from tests.engine.faults import program


def load(plan: Plan) -> RemoteEngine:
    engine = RemoteEngine(plan, program=program("slow"))
    threading.Thread(target=lambda: Path(sys.argv[1]).write_text(f"{engine.pid}\n")).start()
    return engine


if __name__ == "__main__":
    sys.exit(
        main(
            ["chat", "--model", "demo", "--temperature", "0"],
            replace(Context.from_process(), load=load),
        )
    )
