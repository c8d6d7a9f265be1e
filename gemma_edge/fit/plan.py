"""A Plan: everything that ``engine.load`` needs to know, decided before anything is loaded."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gemma_edge.fit.ledger import Ledger

KvType = Literal["f32", "f16", "q8_0"]
LoadMode = Literal["mmap", "none"]
ALL_LAYERS = -1  # as many layers on the GPU as there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the parts of one model go, and how large its context is.

    ``batch_tokens`` is both llama.cpp's n_batch and n_ubatch: they must be equal, and not smaller
    than the largest image, or an image is split in silence (measured.md, "Images").
    ``devices`` are ggml's names of the GPUs that are used ("CUDA0"), empty for the CPU alone.
    ``gpu_layers`` is llama.cpp's n_gpu_layers: the last layers, and the output counts as one more.
    ``split`` says how many of them each device takes, empty for one device. The experts of the
    first ``cpu_expert_layers`` layers stay in main memory. ``projector_device`` is "" for the CPU;
    ``image_tokens`` is the largest picture that was paid for, 0 for none. ``repack`` lets the CPU
    build a faster copy of its weights in anonymous memory.
    """

    context_tokens: int
    batch_tokens: int
    kv_type: KvType = "f16"
    devices: tuple[str, ...] = ()
    gpu_layers: int = 0
    split: tuple[int, ...] = ()
    cpu_expert_layers: int = 0
    projector_device: str = ""
    image_tokens: int = 0
    load_mode: LoadMode = "mmap"
    lazy: bool = False
    repack: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens a second while answering. ``measured``: on this machine, with these weights."""

    tokens_per_second: float
    measured: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A step that was tried: what, whether it was taken, and why not, with the numbers."""

    what: str
    taken: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA in a GGUF file, added to the weights with ``scale``."""

    path: Path
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Placement):
    """One model, placed on one machine. ``threads`` decode, ``prefill_threads`` (0: as many) read
    prompts. ``rungs`` is how the search came here; ``fallbacks`` is what to load when memory runs
    out in spite of the ledger, the next first; ``alternatives`` are other models that fit. What the
    encoder made of pictures is kept in the folder ``remember``, if a person wants that."""

    model: Path
    projector: Path | None = None
    adapters: tuple[Adapter, ...] = ()
    name: str = ""
    threads: int = 1
    prefill_threads: int = 0
    ledger: Ledger | None = None
    speed: Speed | None = None
    reasons: tuple[str, ...] = ()
    rungs: tuple[Rung, ...] = ()
    fallbacks: tuple["Plan", ...] = ()
    alternatives: tuple["Plan", ...] = ()
    remember: Path | None = None


def everywhere(plan: Plan, **changes: Any) -> Plan:
    """The plan with other fields, and so its fallbacks."""
    fallbacks = tuple(everywhere(each, **changes) for each in plan.fallbacks)
    return replace(plan, fallbacks=fallbacks, **changes)
