#!/usr/bin/env python3
"""Prove gemma-edge on this machine's GPU, and write what came of it into one file.

    python3 scripts/prove_gpu.py [--out machine.json] [--short] [--sizes e2b e4b]
    python3 scripts/prove_gpu.py --constants machine.json ...

It builds llama.cpp for the card that is here and for no other (in ``.prove``; some minutes, once),
makes files of zeros in each size's true shapes, of which those that fit are loaded, and asks what
nobody knows without a GPU: whether memory is as planned, how fast it is against the estimate, and
ten questions more. The file is a recorded machine as the tests read them (tests/machines), with
the answers beside. ``--constants`` says which numbers of the planner such files would correct.
Without a GPU the processor and ggml's RPC device stand in: what needs a GPU is then not asked.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 (a person may start it with any Python)
    _LINE = "error: Python {}.{} is too old, gemma-edge needs 3.10 or newer\n"
    sys.stderr.write(_LINE.format(*sys.version_info))
    sys.exit("hint: python3.12 " + sys.argv[0] + ", or install a newer Python from python.org")

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import setup
from install.accelerator import want
from install.environment import ROOT, Environment, SetupError, explain, say
from install.llama import Installer
from install.processor import detect_processor

PROGRAM = ROOT / "scripts" / "bench" / "prove_program.py"


def prepare(backend: str | None) -> Environment:
    """The environment with llama.cpp for this card; that of the tests where there is none.

    Raises:
        SetupError: neither can be made.
    """
    processor = detect_processor()
    accelerator, warning = want(backend or "auto", processor)
    if warning:
        say(f"warning: {warning}")
    if accelerator.backend == "cpu":
        say(f"no GPU to prove: {accelerator.reason}; the processor and ggml's RPC stand in")
        return setup.prepare(backend=backend)
    say(f"set-up for {accelerator.reason}")
    if accelerator.missing:
        say(f"  {accelerator.missing} is not here: the published build is proven instead")
    else:
        accelerator = replace(accelerator, tag="")  # for this card alone, from source
    environment = Environment(ROOT / ".prove")
    environment.create()
    Installer(environment, processor, accelerator).install()
    done = environment.install("--editable", str(ROOT))
    if done.returncode:
        raise SetupError(f"pip failed: {explain(done)}", "check the network, then run it again")
    return environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up, then run the program; its status."""
    options = parse(arguments)
    found: list[Environment] = []
    ready = setup.prepare if options.constants else partial(prepare, options.backend)
    if status := setup.report(lambda: found.append(ready())):
        return status
    wanted = {
        "out": str(options.out), "short": options.short, "sizes": options.sizes,
        "constants": [str(path) for path in options.constants],
    }  # fmt: skip
    command = [str(found[0].python), str(PROGRAM), json.dumps(wanted)]
    return subprocess.run(command, check=False).returncode


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What is asked for, checked before anything takes long."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    setup.add_backend(parser)
    sizes = sorted(path.stem for path in (ROOT / "models").glob("*.toml") if path.stem != "demo")
    parser.add_argument("--out", type=_writable, default=Path("machine.json"), metavar="FILE")
    parser.add_argument("--short", action="store_true", help="a few layers, seconds")
    parser.add_argument("--sizes", nargs="+", choices=sizes, default=sizes, metavar="NAME")
    parser.add_argument("--constants", nargs="+", type=_readable, default=[], metavar="FILE")
    return parser.parse_args(arguments)


def _writable(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path} cannot be written, there is no such folder")
    return path


def _readable(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())
