"""A command that finds its engine loaded, against the same one that loads it.

    warm   the first word on stdout, in seconds from the start of the command, the median of the
           rounds; cold and warm in turn                       of the cold one's time at most 15 %

The question is another one each time, so that no answer begins with what the last one read. ``own``
is the processor's time of the command's own process, which other programs change less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measure import cores, note

ROOT = Path(__file__).parents[2]
GOAL = 0.15
PAUSE_SECONDS = 1.0  # what ran last ends its processes
LIMIT_SECONDS = 300.0


def main() -> None:
    """Measure, say a line a round, and print one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", help="not needed here")
    parser.add_argument("--model", default="demo", help="a GGUF file, or a name")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        homes = {name: environment_of(Path(folder) / name) for name in found}
        ask("Begin.", options.model, homes["warm"], "--keep-alive", "1h")
        ask("Begin.", options.model, homes["cold"])  # byte code, and the file cache
        for number in range(options.rounds):
            for name, home in homes.items():
                time.sleep(PAUSE_SECONDS)
                found[name].append(ask(f"Say the number {number} in words.", options.model, home))
            said = ", ".join(f"{name} {times[-1][0]:.2f} s" for name, times in found.items())
            note(f"round {number + 1} of {options.rounds}: {said}")
        seconds = ps_seconds(homes["warm"], options.rounds)
        run(homes["warm"], "stop", "--all", "--force")
    print(json.dumps(figures(found, seconds, options.model)))


def figures(
    found: Mapping[str, list[tuple[float, float]]], ps: float, model: str
) -> dict[str, Any]:
    """Medians and the ratio; each round's own ratio says how sure it is."""
    ratios = [warm[0] / cold[0] for cold, warm in zip(found["cold"], found["warm"], strict=True)]
    ratio = statistics.median(ratios)
    return {
        "cores": cores(), "model": Path(model).name, "rounds": len(ratios),
        "first_word_seconds": {
            name: round(statistics.median(each[0] for each in times), 3)
            for name, times in found.items()
        },
        "own_processor_seconds": {
            name: round(statistics.median(each[1] for each in times), 3)
            for name, times in found.items()
        },
        "ratio": round(ratio, 3), "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "goal": GOAL, "met": ratio <= GOAL, "ps_seconds": round(ps, 3),
    }  # fmt: skip


def environment_of(home: Path) -> dict[str, str]:
    """Folders of its own, and byte code that is kept."""
    (home / "runtime").mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    folders = {name: str(home) for name in ("XDG_DATA_HOME", "HF_HOME", "LOCALAPPDATA")}
    return {**kept, **folders, "XDG_RUNTIME_DIR": str(home / "runtime")}


def command_line(*words: str) -> list[str]:
    return [sys.executable, "-m", "gemma_edge", *words]


def run(home: Mapping[str, str], *words: str) -> None:
    subprocess.run(
        command_line(*words), env=dict(home), cwd=ROOT, stdin=subprocess.DEVNULL,
        capture_output=True, check=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip


def ask(question: str, model: str, home: Mapping[str, str], *flags: str) -> tuple[float, float]:
    """Seconds until the first byte of the answer, and of the processor, in its own process."""
    words = ["chat", question, "--model", model, "--temperature", "0", "--max-tokens", "4", *flags]
    started = time.perf_counter()
    process = subprocess.Popen(
        command_line(*words), env=dict(home), cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    is_said = bool(process.stdout.read(1))
    seconds = time.perf_counter() - started
    process.stdout.read()
    own = os.wait4(process.pid, 0)[2]
    process.returncode = 0
    if not is_said:
        sys.exit("nothing was said")
    return seconds, own.ru_utime + own.ru_stime


def ps_seconds(home: Mapping[str, str], rounds: int) -> float:
    """How long it takes to show what is loaded."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        run(home, "ps")
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
