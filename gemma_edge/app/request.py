"""What is asked for, as plain data."""

from dataclasses import dataclass
from pathlib import Path

from gemma_edge.planning.plan import Adapter, KvType

AUTO = "auto"  # no model was named: the plan chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """Which model (``AUTO``: the best one for this machine), and how it is to be placed; ``None``
    leaves it to the plan, anything else is kept or refused. ``vision`` is whether pictures must be
    possible; ``min_speed`` is in tokens a second; ``remember`` keeps on disk what the encoder made
    of pictures."""

    model: str = AUTO
    mmproj: Path | None = None
    quant: str | None = None
    adapters: tuple[Adapter, ...] = ()
    vision: bool | None = None
    context_tokens: int | None = None
    kv_type: KvType | None = None
    gpu_layers: int | None = None
    cpu_expert_layers: int | None = None
    require_gpu: bool = False
    min_speed: float | None = None
    threads: int | None = None
    remember: bool = False
