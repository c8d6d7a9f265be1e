"""Predicted memory against allocated memory. In every case the parts of the ledger are compared
with what llama.cpp says or the kernel shows; a case is wrong where it is off by more than 1 % and
by more than 8 MiB.

    grid      five sizes, contexts to 256k, batches of 128 to 1,152, both KV types, on the CPU and
              with all layers on one device: our formulas against llama.cpp's own dry run
    devices   real loads over two loopback devices: every split of the bundled model and of Gemma 3
              270M, and every number of expert layers (needs a llama.cpp with its RPC backend)
    loads     real loads of files of zeros as large as E2B and E4B: resident memory from outside
    peers     what whichllm, llmfit and hf-mem say of the same models, as a factor of our ledger,
              which the grid holds to llama.cpp
    program   what Python, the libraries and a vocabulary take, measured
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fit_ask import ask, serve
from fit_rows import Row, compare, describe, summarize
from measure import note

from gemma_edge import catalog
from gemma_edge.gguf import read_header
from gemma_edge.hardware.detect import detect_hardware
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.planning.dry_run import DryRun, parse_report, write_skeleton
from gemma_edge.planning.memory import LLAMA_OWN_BYTES, Measure, account, closed_form
from gemma_edge.planning.model import Shape, parse_shape, synthesize
from gemma_edge.planning.plan import ALL_LAYERS, RAM, KvType, Placement
from gemma_edge.units import MIB

ROOT = Path(__file__).resolve().parents[2]
CONTEXTS = tuple(1 << power for power in range(12, 19))
BATCHES = (128, 256, 512, 1024, 1152)
KV_TYPES: tuple[KvType, ...] = ("f16", "q8_0")
QUANT = "qat-q4_0"  # Google's files, whose sizes the recipe meets exactly
DEVICES = ("RPC0", "RPC1")
SECTIONS = ("grid", "devices", "loads", "peers")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, by name."""
    hardware = replace(detect_hardware({}), devices=())
    with tempfile.TemporaryDirectory(prefix="gemma-edge-bench-") as name:
        work = Path(name)
        rows: dict[str, list[Row]] = {"grid": [], "devices": [], "loads": []}
        if "grid" in options.only:
            rows["grid"] += _grid(work, hardware, ())
        with serve() as endpoint:
            if endpoint:
                rpc = replace(hardware, devices=tuple(_device(each) for each in DEVICES))
                if "grid" in options.only:
                    rows["grid"] += _grid(work, rpc, (endpoint,))
                if "devices" in options.only:
                    rows["devices"] += _devices(rpc, endpoint, options.model)
        if "loads" in options.only:
            rows["loads"] += _loads(work, hardware)
        peers = None
        if "peers" in options.only and options.estimators_python:
            peers = _peers(work, hardware, options.estimators_python)
    every = [row for section in rows.values() for row in section]
    return {
        **summarize(every),
        "sections": {name: summarize(section) for name, section in rows.items()},
        "rpc_device": bool(endpoint),
        "loads": [describe(row) for row in rows["loads"]],
        "peers": peers,
        "program": _program(options.model),
    }


def _shape(size: catalog.Size, quant: str = QUANT) -> Shape:
    chosen = next(each for each in size.quants if each.name == quant)
    return parse_shape(synthesize(size, chosen), exact=False)


def _grid(work: Path, hardware: Hardware, endpoints: Sequence[str]) -> Iterator[Row]:
    """The law against llama.cpp, which a program of its own asks."""
    device: dict[str, Any] = {}
    if endpoints:
        device = {"devices": DEVICES[:1], "gpu_layers": ALL_LAYERS}
    with DryRun() as run:
        law = closed_form(run.measure, hardware)
        for size in catalog.sizes():
            shape = _shape(size)
            path = work / f"{size.name}.gguf"
            write_skeleton(shape, path)
            cases = [
                (context, batch, kv_type)
                for context in CONTEXTS
                for batch in BATCHES
                for kv_type in KV_TYPES
                if context <= size.context_tokens
            ]
            where = {**device, "gpu_layers": 999} if endpoints else {}
            answer = ask(model=str(path), dry=True, cases=cases, endpoints=list(endpoints), **where)
            for (context, batch, kv_type), lines in zip(cases, answer["runs"], strict=True):
                placement = Placement(
                    context_tokens=context, batch_tokens=batch, kv_type=kv_type, **device
                )
                ledger = account(shape, None, placement, hardware, law)
                place = "one device" if endpoints else "CPU"
                name = f"{size.name} on {place} {context} {batch} {kv_type}"
                yield from compare(name, ledger, parse_report(lines), weights=False)
            path.unlink()
            note(f"grid {size.name}: {len(cases)} cases")


def _devices(hardware: Hardware, endpoint: str, larger: Path) -> Iterator[Row]:
    """Real loads, real weights, planned by a dry run for the same devices."""
    demo = ROOT / "models/demo/gemma-4-demo-Q8_0.gguf"
    with DryRun([endpoint]) as run:
        for path in (demo, larger):
            shape = parse_shape(read_header(path))
            count = len(shape.layers) + 1
            for layers in range(1, count + 1):
                where: dict[str, Any] = {"devices": DEVICES[:1], "gpu_layers": layers}
                yield from _load_there(hardware, endpoint, shape, run.measure, where)
            for first in range(1, count):
                split = (first, count - first)
                where = {"devices": DEVICES, "gpu_layers": count, "split": split}
                yield from _load_there(hardware, endpoint, shape, run.measure, where)
        path = ROOT / "tests/models/moe-random-Q8_0.gguf"
        shape = parse_shape(read_header(path))
        for experts in range(len(shape.layers) + 1):
            where = {"devices": DEVICES[:1], "gpu_layers": len(shape.layers) + 1}
            where["cpu_expert_layers"] = experts
            yield from _load_there(hardware, endpoint, shape, run.measure, where)


def _load_there(
    hardware: Hardware, endpoint: str, shape: Shape, asked: Measure, where: dict[str, Any]
) -> Iterator[Row]:
    path = shape.header.path
    placement = Placement(context_tokens=4096, batch_tokens=256, **where)
    answer = ask(model=str(path), cases=[(4096, 256, "f16")], endpoints=[endpoint], **where)
    ledger = account(shape, None, placement, hardware, asked)
    name = f"{path.stem} {json.dumps(where)}"
    yield from compare(name, ledger, parse_report(answer["runs"][0]), weights=True)
    note(name)


def _loads(work: Path, hardware: Hardware) -> Iterator[Row]:
    """Resident memory of a process that holds such a file, in anonymous and in file pages.

    A mapped file stays mapped as a whole, so what was copied from it counts as file pages too: the
    ledger leaves those out, because the system can drop them for good.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        return
    with DryRun() as run:
        for name in ("e2b", "e4b"):
            shape = _shape(catalog.size(name))
            path = work / f"{name}.gguf"
            write_skeleton(shape, path)
            for context, repack in ((8192, True), (32_768, True), (8192, False)):
                placement = Placement(context_tokens=context, batch_tokens=512, repack=repack)
                parts = account(shape, None, placement, hardware, run.measure).account(RAM).parts
                left_out = (
                    "checkpoints",
                    "drafts",
                    "runtime",
                    "margin",
                )  # the engine's, not llama.cpp's
                planned = [part for part in parts if part.name not in left_out]
                # Of "runtime" this program has no more than llama.cpp's own tables.
                fixed = LLAMA_OWN_BYTES
                fixed += sum(part.size_bytes for part in planned if not part.reclaimable)
                mapped = sum(part.size_bytes for part in planned if part.reclaimable)
                copied = sum(
                    p.size_bytes for p in planned if p.name == "weights" and not p.reclaimable
                )
                answer = ask(
                    model=str(path), cases=[(context, 512, "f16")], repack=repack, resident=True
                )
                grown = {
                    key: answer["after"][key] - answer["before"][key]
                    for key in ("anonymous", "file")
                }
                case = f"{name} {context} {'repacked' if repack else 'as in the file'}"
                yield Row(f"{case} | anonymous", fixed, grown["anonymous"] - answer["vocabulary"])
                yield Row(f"{case} | file pages", mapped + copied, grown["file"])
                note(case)
            path.unlink()


def _peers(work: Path, hardware: Hardware, python: Path) -> dict[str, Any]:
    """Their totals for all on one GPU, against the ledger of that GPU (the grid has proven it)."""
    cases, real = [], []
    device = replace(_device("GPU"), backend="")
    machine = replace(hardware, devices=(device,))
    with DryRun() as run:
        law = closed_form(run.measure, machine)
        for size in catalog.sizes():
            shape = _shape(size)
            path = work / f"{size.name}.gguf"
            write_skeleton(shape, path)
            for context in (8192, 32_768, 131_072):
                placement = Placement(
                    context_tokens=context, batch_tokens=512, devices=("GPU",),
                    gpu_layers=ALL_LAYERS,
                )  # fmt: skip
                found = account(shape, None, placement, machine, law).account("GPU")
                left_out = ("runtime", "margin")
                real.append(sum(p.size_bytes for p in found.parts if p.name not in left_out))
                cases.append({
                    "size": size.name, "context": context, "header": str(path),
                    "file_bytes": shape.header.file_bytes, "parameters": size.parameters,
                    "active_parameters": size.active_parameters,
                })  # fmt: skip
    program = Path(__file__).with_name("fit_peers.py")
    done = subprocess.run(
        [str(python), str(program)],
        input=json.dumps(cases), capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = json.loads(done.stdout)
    return {
        "of": "GPU memory, all layers on it, Q4_0, 5 sizes, contexts 8k, 32k, 128k",
        **{name: _errors(answers[name], real) for name in ("whichllm", "llmfit", "hf-mem")},
        "problems": answers["problems"],
    }


def _errors(estimates: Sequence[int | None], real: Sequence[int]) -> dict[str, Any] | None:
    """How often it answered, and how far off it was: median and worst, as a factor of the truth."""
    factors = sorted(
        estimate / true for estimate, true in zip(estimates, real, strict=True) if estimate
    )
    if not factors:
        return None
    return {
        "answers": len(factors),
        "of": len(real),
        "least_factor": round(factors[0], 2),
        "median_factor": round(factors[len(factors) // 2], 2),
        "greatest_factor": round(factors[-1], 2),
    }


def _program(model: Path) -> dict[str, float]:
    program = Path(__file__).with_name("fit_program.py")
    done = subprocess.run(
        [sys.executable, str(program), str(model)], capture_output=True, text=True, check=True
    )
    steps: dict[str, int] = json.loads(done.stdout)
    tokens = steps.pop("tokens")
    return {"tokens": tokens, **{f"{key}_mib": round(n / MIB, 1) for key, n in steps.items()}}


def _device(name: str) -> Device:
    return Device(
        name=name, title=name, backend="rpc", integrated=False,
        total_bytes=64 << 30, free_bytes=64 << 30,
    )  # fmt: skip


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="Gemma 3 270M as a GGUF file")
    parser.add_argument("--peer-python", help="not needed here; bench.py says it to all")
    parser.add_argument("--estimators-python", type=Path, help="has whichllm, llmfit and hf-mem")
    parser.add_argument("--only", nargs="+", default=SECTIONS, choices=SECTIONS)
    result = measure(parser.parse_args())
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
