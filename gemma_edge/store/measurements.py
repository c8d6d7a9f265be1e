"""Speeds that were measured on this machine, one small JSON file in ``data_dir``.

A damaged file costs the estimates their correction and nothing else: it is ignored, with a note.
"""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gemma_edge.disk import write_atomically
from gemma_edge.records import dataclass
from gemma_edge.store.lock import one_writer
from gemma_edge.store.remote import StoreSettings

_FORMAT = 1  # another layout gets another number
PAYS_TIMES = 1.1  # from here on a drafter is used; a machine is not steadier than that
MAX_KEPT = 200  # the newest; a person has a few models and a few devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Tokens a second while answering, as measured and as they were predicted without it.

    ``device`` is the title of the GPU or of the processor, ``version`` llama-cpp-python's with the
    instructions that it was built for, ``driver`` the GPU's, ``weights`` a sha256 or name and size,
    ``placement`` the class of the placement with its number of layers, and of threads where the CPU
    computes ("gpu", "experts:24:6", "partial:30:6", "cpu:6"). ``read_tokens_per_second`` is that of
    a prompt, ``drafter_times`` how many times as fast answers are with the model's drafter, both
    None where nobody measured it."""

    device: str
    backend: str
    version: str
    weights: str
    placement: str
    moe: bool  # a mixture of experts: other kernels, so its own correction
    tokens_per_second: float
    predicted_tokens_per_second: float
    driver: str = ""
    read_tokens_per_second: float | None = None
    drafter_times: float | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """One configuration; a newer measurement of it replaces the older one."""
        machine = self.device, self.backend, self.version, self.driver
        return *machine, self.weights, self.placement


def measurements_path(settings: StoreSettings) -> Path:
    return settings.data_dir / "speeds.json"


def read_measurements(settings: StoreSettings) -> tuple[tuple[Measurement, ...], str]:
    """What was measured, oldest first, and a note: "" or why the file was ignored."""
    path = measurements_path(settings)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {_FORMAT}")
        return tuple(_parse(entry) for entry in content["speeds"]), ""
    except FileNotFoundError:
        return (), ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return (), f"measured speeds are ignored: {path} cannot be read ({reason})"


def record_measurement(settings: StoreSettings, fresh: Measurement) -> str:
    """Add one, replacing that of the same configuration; what a drafter brings there stays known
    where the new one says nothing of it. "" or why it could not be kept: a full
    disk costs the next plan its correction, never this run."""
    try:
        with one_writer(settings.data_dir / "speeds.json.writing"):
            kept, _ = read_measurements(settings)
            others = [each for each in kept if each.key != fresh.key]
            for each in (each for each in kept if each.key == fresh.key):
                times = fresh.drafter_times or each.drafter_times
                fresh = replace(fresh, drafter_times=times)
            entries = [asdict(each) for each in [*others, fresh][-MAX_KEPT:]]
            text = json.dumps({"format": _FORMAT, "speeds": entries}, indent=1)
            write_atomically(measurements_path(settings), text + "\n")
    except OSError as error:
        return f"the measured speed is not kept ({error.strerror or error})"
    return ""


def _parse(entry: dict[str, Any]) -> Measurement:
    texts = {key: entry[key] for key in ("device", "backend", "version", "weights", "placement")}
    texts["driver"] = entry.get("driver", "")
    if not all(isinstance(text, str) for text in texts.values()) or type(entry["moe"]) is not bool:
        raise ValueError(
            "device, backend, version, driver, weights, placement and moe: another type"
        )
    speeds = {key: entry[key] for key in ("tokens_per_second", "predicted_tokens_per_second")}
    for key in ("read_tokens_per_second", "drafter_times"):
        if (more := entry.get(key)) is not None:
            speeds[key] = more
    if not all(type(each) in (int, float) and 0 < each < math.inf for each in speeds.values()):
        raise ValueError("a speed is not a number above 0")
    return Measurement(**texts, moe=entry["moe"], **speeds)
