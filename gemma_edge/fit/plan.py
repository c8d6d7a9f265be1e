"""A Plan: everything that ``engine.load`` needs to know, decided before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

KvType = Literal["f32", "f16", "q8_0"]
ALL_LAYERS = -1  # as many layers on the GPU as there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One model, placed on one machine.

    ``batch_tokens`` is both llama.cpp's n_batch and n_ubatch: they must be equal, and not smaller
    than the largest image, or an image is split in silence (measured.md, "Images").
    """

    model: Path
    projector: Path | None = None
    name: str = ""
    context_tokens: int
    batch_tokens: int
    gpu_layers: int = 0
    threads: int = 1
    kv_type: KvType = "f16"
    reasons: tuple[str, ...] = ()
