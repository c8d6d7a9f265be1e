"""The program of ``scripts/prove_gpu.py``, in the environment with the llama.cpp that is proven.

python3 prove_program.py [--out FILE] [--short] [--sizes NAME ...]
python3 prove_program.py --constants FILE ...
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import prove_checks as checks
from fit_ask import serve
from measure import note
from prove_checks import Check, Site
from prove_record import corrections

from gemma_edge.errors import EngineError
from gemma_edge.hardware.detect import detect_hardware, record
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.planning.speed import gpu_bandwidth
from gemma_edge.version import __version__

SIGNS = {"passed": "passed   ", "failed": "FAILED   ", "not asked": "not asked"}


def main(wanted: Mapping[str, Any]) -> int:
    """Ask, print a line each, write the file; 1 if an answer is wrong."""
    if wanted["constants"]:
        return _show_constants([Path(name) for name in wanted["constants"]])
    out = Path(wanted["out"])
    environment = dict(os.environ)
    hardware = detect_hardware(environment)
    with (
        tempfile.TemporaryDirectory("-gemma-edge", ignore_cleanup_errors=True) as folder,
        _device(hardware) as (device, endpoint),
    ):
        if endpoint and device is not None:
            hardware = replace(hardware, devices=(*hardware.devices, device))
        site = Site(
            hardware=hardware, device=device, endpoint=endpoint, folder=Path(folder),
            short=wanted["short"], sizes=tuple(wanted["sizes"]), environment=environment,
        )  # fmt: skip
        note(f"proving {device.title if device else 'the processor: there is no other device'}")
        done = list(_tell(_ask(site)))
        recording = {**record(environment), "proof": _proof(site, done)}
    out.write_text(json.dumps(recording, indent=1) + "\n", encoding="utf-8")
    for each in corrections(recording["proof"]):
        note(each.render())
    failed = sum(check.state == "failed" for check in done)
    asked = sum(check.state != "not asked" for check in done)
    note(f"{asked - failed} of {asked} passed, {len(done) - asked} not asked; {out}")
    return 1 if failed else 0


def _ask(site: Site) -> Iterator[Check]:
    """One question after the other."""
    subjects = checks.models(site)
    yield checks.check_cards(site)
    yield checks.check_reason(site)
    yield _safely(3, checks.check_copies, site, subjects)
    loads = list(checks.load_each(site, subjects))
    yield checks.check_memory(4, "memory as planned, f16 and q8_0", loads)
    mixed = list(filter(None, [checks.load_experts(site, subjects)]))
    yield checks.check_memory(5, "the same with all experts in main memory", mixed)
    yield _safely(6, checks.check_pinned, site, subjects)
    yield checks.check_first_start(site)
    yield checks.check_answers(site)
    yield checks.check_full(site, subjects)
    yield _safely(10, checks.check_context, site, subjects)
    yield checks.check_speed(site, [*loads, *mixed])


def _safely(number: int, ask: Callable[..., Check], *known: object) -> Check:
    """Its answer; what llama.cpp says where it cannot."""
    try:
        return ask(*known)
    except EngineError as error:
        question = (ask.__doc__ or "").partition(":")[0].partition(".")[0]
        return Check(number=number, question=question, state="failed", seen=error.message)


def _tell(found: Iterator[Check]) -> Iterator[Check]:
    for check in found:
        note(f"{SIGNS[check.state]} {check.number:2} {check.question}: {check.seen}")
        yield check


def _proof(site: Site, done: Sequence[Check]) -> dict[str, Any]:
    device = site.device
    return {
        "gemma_edge": __version__,
        "device": device.title if device else "",
        "backend": device.backend if device else "cpu",
        "bandwidth": gpu_bandwidth(device, site.hardware)[0] * 1e9 if device else 0.0,
        "stands_in": site.stands_in,
        "short": site.short,
        "checks": [asdict(check) for check in done],
    }


@contextmanager
def _device(hardware: Hardware) -> Iterator[tuple[Device | None, str]]:
    """The first GPU; without one a device of ggml's RPC and its address; else nothing."""
    gpus = [device for device in hardware.devices if device.usable]
    if gpus:
        yield gpus[0], ""
        return
    with serve() as endpoint:
        if not endpoint:
            yield None, ""
            return
        free = (hardware.memory.available_bytes or 0) // 2
        yield (
            Device(
                name="RPC0", title="ggml's RPC device", backend="rpc", integrated=False,
                total_bytes=hardware.memory.total_bytes or free, free_bytes=free,
            ),
            endpoint,
        )  # fmt: skip


def _show_constants(paths: Sequence[Path]) -> int:
    for path in paths:
        try:
            recording: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found = list(corrections(recording["proof"])) if "proof" in recording else []
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            note(f"error: {path} is no file that prove_gpu.py wrote")
            return 1
        for each in found:
            print(f"{path.name}: {each.render()}")
        if not found:
            note(f"{path.name} says nothing about a GPU")
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
