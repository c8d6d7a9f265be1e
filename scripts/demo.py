#!/usr/bin/env python3
"""Set gemma-edge up and let it read an invoice: JSON on stdout, everything else on stderr.

    python3 scripts/demo.py [--backend …]

The bundled model reads examples/invoice.pdf through the command that a person would type, and
writes review.html beside this project's README. Its exit status is the demo's.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence

import setup  # the script beside this one; it says so where this Python is too old
from install.environment import ROOT, Environment, say

COMMAND = ("extract", "examples/invoice.pdf", "--model", "demo", "--html", "review.html")


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up, run, pass the exit status on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    setup.add_backend(parser)
    options = parser.parse_args(arguments)
    ready: list[Environment] = []
    status = setup.report(lambda: ready.append(setup.prepare(backend=options.backend)))
    return status or run(ready[0])


def run(environment: Environment) -> int:
    """The real command, shown first."""
    say()
    say(f"$ gemma-edge {shlex.join(COMMAND)}")
    command = [str(environment.command("gemma-edge")), *COMMAND]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    say()
    if status:
        say(f"the command ended with exit status {status}")
        return status
    say("the JSON above was written by the bundled model (models/demo), offline, on this machine")
    say("review.html shows each value where it stands in the document: open it in a browser")
    if sys.platform == "win32":
        say(r"next: .venv\Scripts\activate, then gemma-edge --help")
    else:
        say("next: source .venv/bin/activate, then gemma-edge --help")
    return 0


if __name__ == "__main__":
    sys.exit(main())
