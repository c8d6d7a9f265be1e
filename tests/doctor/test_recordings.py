"""Recorded machines (tests/machines) to what the doctor says is wrong with them."""

import pytest

from gemma_edge.doctor import CheckResult, examine, parse_fix
from gemma_edge.hardware.detect import parse_recording
from gemma_edge.hardware.machine import Hardware
from tests.doctor.machines import facts
from tests.hardware.machines import NAMES, load

# ✘ problem, ? warning; "runs": --fix can do it, "by hand": a person has to.
WRONG = {
    "avx512-build-on-haswell": "✘ processor, runs",
    "build-that-crashes": "✘ llama.cpp, runs",
    "container-without-nvidia": "✘ driver, by hand",
    "cuda-libraries-too-slow": "✘ llama.cpp, by hand",
    "driver-mismatch": "✘ driver, by hand",
    "driver-not-loaded": "✘ driver, by hand",
    "driver-nouveau": "✘ driver, by hand",
    "driver-that-hangs": "✘ llama.cpp, by hand; ✘ driver, by hand",
    "driver-too-old-for-build": "✘ GPU, runs",
    "gb10-cpu-build": "✘ GPU, runs",
    "gb10-hugepages": "? huge pages, by hand",
    "a100-only-ptx": "✘ GPU, runs",
    "h100-code-newer-than-driver": "✘ GPU, runs",
    "h100-mig-none-chosen": "✘ MIG, by hand",
    "ivy-bridge-without-avx2": "? processor, runs",
    "m1-rosetta": "✘ python, by hand",
    "m2-metal-too-slow": "✘ GPU, by hand",
    "no-llama-cpp": "✘ llama.cpp, runs",
    "plain-build-on-zen3": "? processor, runs",
    "rtx-3060-cpu-build": "✘ GPU, runs",
    "rtx-3060-cpu-build-checkout": "✘ GPU, runs",
    "rtx-3060-cublas-missing": "✘ CUDA libraries, runs",
    "rtx-4090-full": "? GPU, by hand",
    "rtx-5090-wheel-read-only-home": "? GPU, by hand; ? GPU, runs",
    "rx-7900-xtx-beside-ryzen-cpu-build": "✘ GPU, runs",
    "rx-7900-xtx-cpu-build": "✘ GPU, runs",
    "slurm-job-without-gpu": "? cluster, by hand",
    "slurm-mig-by-index": "? MIG, by hand",
    "slurm-login-node": "? cluster, by hand; ? driver, by hand",
    "strix-halo-rocm-carve-out": "? GPU, runs",
    "two-cards": "? GPU, by hand",
    "two-cards-both-full": "✘ GPU, by hand",
    "two-cards-second-full": "? GPU, by hand",
    "visible-devices-hides-one": "? GPU, by hand",
    "visible-devices-reordered": "? GPU, by hand",
    "visible-devices-hides-all": "? GPU, by hand",
    "vm-amx-build": "? processor, runs",
    "windows-gtx-1650-cpu-build": "✘ GPU, runs",
    "windows-rx-7800-xt-cpu-build": "✘ GPU, runs",
    "wsl2-nvml-leaves-gaps": "? NVML, by hand",
}


def look(name: str) -> tuple[Hardware, tuple[CheckResult, ...]]:
    recording = load(name)
    hardware = parse_recording(recording)
    job = recording.get("environment", {}).get("SLURM_JOB_ID", "")
    return hardware, examine(facts(hardware, job=job))


def render(check: CheckResult) -> str:
    sign = {"problem": "✘", "warning": "?"}[check.state]
    return f"{sign} {check.name}, {'runs' if parse_fix(check.fix, 'python') else 'by hand'}"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_wrong(name: str):
    _, checks = look(name)
    wrong = [check for check in checks if check.state in ("problem", "warning")]
    assert "; ".join(map(render, wrong)) == WRONG.get(name, "")
    for check in wrong:
        assert check.fix or check.state == "warning"


@pytest.mark.parametrize("name", NAMES)
def test_every_device_has_its_rows(name: str):
    hardware, checks = look(name)
    count = sum(check.name == "GPU" for check in checks)
    assert count >= max(1, len(hardware.devices))
    decoded = [c for c in checks if c.name == "GPU decode" and c.state == "fine"]
    usable = [] if hardware.build.error else [d for d in hardware.devices if d.usable]
    assert len(decoded) == len(usable)
    assert len({(check.name, check.seen) for check in checks}) == len(checks)  # nothing twice


def test_each_of_the_table_is_recorded():
    assert set(WRONG) <= set(NAMES)
