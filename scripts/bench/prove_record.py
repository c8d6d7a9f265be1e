"""Which numbers of the planner a proof would correct. Pure over the files of ``prove_gpu.py``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemma_edge.planning.memory import _ON_DEVICE_KIB, RUNTIME_BYTES
from gemma_edge.planning.speed import (
    EXPERT_LAYER_OVERHEAD,
    GPU_OVERHEAD,
    GPU_SHARE,
    OTHER_OVERHEAD,
)
from gemma_edge.units import MIB


@dataclass(frozen=True, slots=True)
class Correction:
    """A constant of gemma_edge/planning: what it is now, and what this machine says."""

    place: str
    name: str
    now: float
    measured: float
    unit: str = ""

    def render(self) -> str:
        """``memory.py RUNTIME_BYTES["cuda"]: 330 MiB, measured 412 MiB``."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.place} {self.name}: {self.now:.3g}{unit}, measured {self.measured:.3g}{unit}"


def corrections(proof: Mapping[str, Any]) -> Iterator[Correction]:
    """Nothing of a device that only stands in for a GPU, or of the short form."""
    if proof["stands_in"] or proof["short"]:
        return
    numbers = {check["number"]: check["numbers"] for check in proof["checks"]}
    backend = proof["backend"]
    if "context_bytes" in numbers.get(10, {}):
        name, beside = f'RUNTIME_BYTES["{backend}"]', numbers[10]["context_bytes"]
        planned = RUNTIME_BYTES.get(backend, 0)
        yield Correction("memory.py", name, planned / MIB, beside / MIB, "MiB")
    whole = numbers.get(4, {}).get("loads", [])
    yield from _compute(whole)
    yield from _speed(whole, backend, proof["bandwidth"])
    for load in numbers.get(5, {}).get("loads", []):
        layers = load["placement"]["cpu_expert_layers"]
        if load["decode"] and layers:
            more = (1 / load["decode"] - 1 / load["predicted"]) / layers
            now = EXPERT_LAYER_OVERHEAD
            yield Correction(
                "speed.py", "EXPERT_LAYER_OVERHEAD", now * 1e3, (now + more) * 1e3, "ms"
            )


def _compute(loads: Sequence[Mapping[str, Any]]) -> Iterator[Correction]:
    """KiB a token that the graph takes more on the device than the formula says."""
    for load in loads:
        now = _ON_DEVICE_KIB.get(load["layers"])
        rows = [r for r in load["law"] if r["part"] == "compute" and r["place"] != "RAM"]
        if now is None or load["placement"]["kv_type"] != "f16" or not rows:
            continue
        off = rows[0]["allocated"] - rows[0]["predicted"]
        kib = now + off / 1024 / load["placement"]["batch_tokens"]
        name = f"_ON_DEVICE_KIB[{load['layers']}] ({load['name']})"
        yield Correction("memory.py", name, now, kib, "KiB")


def _speed(
    loads: Sequence[Mapping[str, Any]], backend: str, bandwidth: float
) -> Iterator[Correction]:
    """Seconds a token are bytes over a share of the bandwidth, and a constant: the line through two
    sizes or more."""
    points = [(load["gpu_bytes"], 1 / load["decode"]) for load in loads if load["decode"]]
    if len(points) < 2 or not bandwidth:
        return
    mean = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    spread = sum((x - mean[0]) ** 2 for x, _ in points)
    slope = sum((x - mean[0]) * (y - mean[1]) for x, y in points) / spread if spread else 0.0
    if slope <= 0:  # the noise was larger than the difference
        return
    yield Correction("speed.py", "GPU_SHARE", GPU_SHARE, 1 / (slope * bandwidth))
    now = GPU_OVERHEAD.get(backend, OTHER_OVERHEAD)
    name, least = f'GPU_OVERHEAD["{backend}"]', mean[1] - slope * mean[0]
    yield Correction("speed.py", name, now * 1e3, least * 1e3, "ms")
