#!/usr/bin/env python3
"""Set gemma-edge up with its test tools and run every check.

    python3 scripts/test.py [--quick] [--backend …]

All checks run, also after one has failed; the summary comes last and the exit status is 1 if any
failed. ``--quick`` leaves out the tests that are marked slow.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import setup  # the script beside this one; it says so where this Python is too old
from install.environment import ROOT, Environment, say


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
    marked = ("-m", "not slow") if quick else ()
    return [
        Check("ruff check", (python, "-m", "ruff", "check", ".")),
        Check("ruff format", (python, "-m", "ruff", "format", "--check", ".")),
        Check("mypy", (python, "-m", "mypy")),
        Check("import-linter", (str(environment.command("lint-imports")),)),
        Check("generated docs", (python, "scripts/docs.py", "--check")),
        Check("pytest", (python, "-m", "pytest", *marked)),
    ]


def run(todo: Sequence[Check], scripts: Path) -> int:
    """Run each, say how it went and how long it took."""
    path = os.pathsep.join([str(scripts), os.environ.get("PATH", "")])
    variables = {**os.environ, "PATH": path}
    rows: list[tuple[str, bool, float]] = []
    for check in todo:
        say(f"\n== {check.name}")
        started = time.monotonic()
        done = subprocess.run(check.command, cwd=ROOT, env=variables, check=False)
        rows.append((check.name, done.returncode == 0, time.monotonic() - started))
    say()
    for name, passed, seconds in rows:
        say(f"{'ok' if passed else 'FAILED':7} {name:15} {seconds:6.1f} s")
    failed = [name for name, passed, _ in rows if not passed]
    say(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(130)
