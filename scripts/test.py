#!/usr/bin/env python3
"""Set gemma-edge up with its test tools and run every check.

    python3 scripts/test.py [--quick] [--backend …]

All checks run at once and are shown one after another, also after one has failed; the summary comes
last, and the exit status is 1 if any failed. ``--quick`` leaves out the tests that are marked slow.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import setup  # the script beside this one; it says so where this Python is too old
from install.environment import ROOT, Environment, say

# Each worker collects all tests and opens engines of its own: more cost more than they save.
MOST_WORKERS = "8"


@dataclass(frozen=True)
class Check:
    """One check: its name and its command line."""

    name: str
    command: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up, run every check, sum up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="without the tests marked slow")
    setup.add_backend(parser)
    options = parser.parse_args(arguments)
    ready: list[Environment] = []
    status = setup.report(lambda: ready.append(setup.prepare(dev=True, backend=options.backend)))
    return status or run(checks(ready[0], quick=options.quick), ready[0].scripts)


def checks(environment: Environment, *, quick: bool) -> list[Check]:
    """Every check, the quick ones first."""
    python = str(environment.python)
    options = ["-n", "auto", "--maxprocesses", MOST_WORKERS, "--dist", "worksteal"]
    options += ["-m", "not slow"] if quick else []
    options += ["--color=yes"] if sys.stdout.isatty() else []
    return [
        Check("ruff check", (python, "-m", "ruff", "check", ".")),
        Check("ruff format", (python, "-m", "ruff", "format", "--check", ".")),
        Check("mypy", (python, "-m", "mypy")),
        Check("import-linter", (str(environment.command("lint-imports")),)),
        Check("generated docs", (python, "scripts/docs.py", "--check")),
        Check("pytest", (python, "-m", "pytest", *options)),
    ]


def run(todo: Sequence[Check], scripts: Path) -> int:
    """Start all, show each as it goes, and say at the end how it went and how long it took."""
    path = os.pathsep.join([str(scripts), os.environ.get("PATH", "")])
    variables = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # each of many processes would compile anew
    rows: list[tuple[str, bool, float]] = []
    with TemporaryDirectory() as folder, ThreadPoolExecutor(len(todo)) as pool:
        outputs = [Path(folder, check.name) for check in todo]
        starts = zip(todo, outputs, strict=True)
        ends = [pool.submit(carry_out, *start, variables) for start in starts]
        for check, output, end in zip(todo, outputs, ends, strict=True):
            say(f"\n== {check.name}")
            show(output, end.done)
            rows.append((check.name, *end.result()))
    say()
    for name, passed, seconds in rows:
        say(f"{'ok' if passed else 'FAILED':7} {name:15} {seconds:6.1f} s")
    failed = [name for name, passed, _ in rows if not passed]
    say(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


def carry_out(check: Check, output: Path, variables: dict[str, str]) -> tuple[bool, float]:
    """Run one with its output in a file: whether it passed, and the seconds it took."""
    started = time.monotonic()
    with output.open("wb") as stream:
        done = subprocess.run(
            check.command, cwd=ROOT, env=variables, stdout=stream, stderr=stream, check=False
        )
    return done.returncode == 0, time.monotonic() - started


def show(output: Path, has_ended: Callable[[], bool]) -> None:
    """Copy a file to stdout while it grows."""
    at = 0
    while True:
        last = has_ended()  # asked first: what is written until then is shown
        data = output.read_bytes()[at:] if output.exists() else b""
        at += len(data)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        if last:
            return
        time.sleep(0.1)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(130)
