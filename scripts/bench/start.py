"""How long a command takes from Return to its end, against the time in which nobody notices it.

    start  milliseconds, median of the rounds      help, version 150, list, recipes list 250,
                                                   plan, models 350, prompt of chat 250,
                                                   chat hi 500, extract 900

Each with the processor time of all its processes (which another program beside it changes less),
what its own process spent importing, and the module that took longest of that by itself. Without
any model but the bundled one, after a run that writes Python's byte code and fills the file cache.
"""

import argparse
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from measure import cores, note

ROOT = Path(__file__).parents[2]
PROMPT = "chat"  # alone: until the first prompt stands on a terminal
GOALS = {
    "--help": 150, "--version": 150, "list": 250, "recipes list": 250, "plan e4b": 350,
    "models": 350, PROMPT: 250, "chat hi": 500, "extract examples/invoice.pdf": 900,
}  # fmt: skip
SIGN = "›".encode()
LIMIT_SECONDS, PAUSE_SECONDS = 60.0, 0.3
IMPORT_ROUNDS = 3  # of which the least counts, module by module
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")


@dataclass
class Command:
    """A command with what was measured of it, a number a round."""

    words: str
    goal: int
    milliseconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    imports: dict[str, float] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """The medians against the goal."""
        median = statistics.median(self.milliseconds)
        largest = max(self.imports, key=lambda name: self.imports[name], default="")
        return {
            "milliseconds": round(median), "goal": self.goal, "met": median <= self.goal,
            "spread": [round(min(self.milliseconds)), round(max(self.milliseconds))],
            "processor_milliseconds": round(statistics.median(self.processor)),
            "import_milliseconds": round(sum(self.imports.values())),
            "largest_import": largest,
            "largest_import_milliseconds": round(self.imports.get(largest, 0.0), 1),
        }  # fmt: skip


def main() -> None:
    """Measure, say a line a command, and print one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    known = [each for each in GOALS if each != PROMPT or sys.platform != "win32"]
    commands = [Command(each, GOALS[each]) for each in known]
    with tempfile.TemporaryDirectory() as home:
        environment = environment_of(os.environ, Path(home))
        for number in range(options.rounds + 1):
            for each in commands:
                run = time_prompt if each.words == PROMPT else time_command
                time.sleep(PAUSE_SECONDS)  # what ran last ends its processes
                seconds, processor = run(each.words.split(), environment)
                if number:  # the first writes byte code
                    each.milliseconds.append(1000 * seconds)
                    each.processor.append(1000 * processor)
            note(f"round {number} of {options.rounds}")
        for each in commands:
            if each.words != PROMPT:  # it has no end of its own
                each.imports = read_imports(each.words.split(), environment)
    found = {each.words: each.as_data() for each in commands}
    note(render_table(found))
    print(json.dumps({"rounds": options.rounds, "cores": cores(), "start": found}))


def environment_of(own: Mapping[str, str], home: Path) -> dict[str, str]:
    """Empty folders for models and conversations, and byte code that is kept."""
    left_out = ("PYTHONDONTWRITEBYTECODE", "GEMMA_EDGE_MODELS_DIR", "HF_HUB_CACHE")
    kept = {name: value for name, value in own.items() if name not in left_out}
    folders = {name: str(home) for name in ("XDG_DATA_HOME", "HF_HOME", "LOCALAPPDATA")}
    return {**kept, **folders, "TERM": "xterm-256color"}


def command_line(words: Sequence[str], *options: str) -> list[str]:
    return [sys.executable, *options, "-m", "gemma_edge", *words]


def time_command(words: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor, from the start to the end."""
    before, started = processor_seconds(), time.perf_counter()
    done = subprocess.run(
        command_line(words), env=dict(environment), cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    # 6 is an answer that lacks something, which is not what is measured here.
    if done.returncode not in (0, 6):
        sys.exit(f"{' '.join(words)}: status {done.returncode}\n{done.stderr.decode()}")
    return seconds, processor_seconds() - before


def time_prompt(words: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """The same until a terminal shows the sign of the prompt; then it is ended."""
    import fcntl
    import pty
    import termios

    before, started = processor_seconds(), time.perf_counter()
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(ROOT)
        os.execve(sys.executable, command_line([*words, "--private"]), dict(environment))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = b""
    while SIGN not in shown:
        shown += os.read(terminal, 1 << 16)
    seconds = time.perf_counter() - started
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)
    return seconds, processor_seconds() - before


def processor_seconds() -> float:
    """Of all processes that ended under this one, with theirs."""
    used = os.times()
    return used.children_user + used.children_system


def read_imports(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds of each module that is imported, those that it imports itself not counted."""
    found: dict[str, float] = {}
    for _ in range(IMPORT_ROUNDS):
        done = subprocess.run(
            command_line(words, "-X", "importtime"), env=dict(environment), cwd=ROOT, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_SECONDS,
        )  # fmt: skip
        for row in filter(None, map(_IMPORT.match, done.stderr.splitlines())):
            found[row[2]] = min(found.get(row[2], inf), int(row[1]) / 1000)
    return found


def render_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Milliseconds and goal of each command, processor time, imports and the largest of them."""
    lines = [f"{'':30} {'ms':>6} {'goal':>6} {'cpu':>6} {'import':>6}  largest import"]
    for words, row in found.items():
        largest = f"{row['largest_import']} {row['largest_import_milliseconds']}"
        lines.append(
            f"{words:30} {row['milliseconds']:6} {row['goal']:6} {row['processor_milliseconds']:6} "
            f"{row['import_milliseconds']:6}  {largest if row['largest_import'] else 'not counted'}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
