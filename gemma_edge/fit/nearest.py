"""When nothing fits: the one flag to change, found by trying it."""

import math
from collections.abc import Iterator, Sequence

from gemma_edge.errors import DoesNotFit
from gemma_edge.fit.case import Case, Option
from gemma_edge.fit.plan import ALL_LAYERS
from gemma_edge.fit.search import search
from gemma_edge.units import render_bytes

SMALLER_CONTEXTS = (4096, 2048, 1024)
SHOW_ALL = "gemma-edge plan --all shows what fits this machine"


def nearest(cases: Sequence[Case]) -> str:
    """A hint: the flag that would have to be another, the first model first."""
    for case in cases:
        for relaxed, pin in _relaxed(case):
            try:
                option = search(relaxed).best
            except DoesNotFit:
                continue
            if option:
                return _flag(pin, option, relaxed)
    memory = cases[0].hardware.memory
    if memory.available_bytes and memory.total_bytes and not cases[0].devices:
        taken = memory.total_bytes - memory.available_bytes
        if taken > memory.available_bytes:
            return f"close other programs, which take {render_bytes(taken)}; {SHOW_ALL}"
    return SHOW_ALL


def _relaxed(case: Case) -> Iterator[tuple[Case, str]]:
    """The case without one of its pins, then with less context."""
    for pin in ("context_tokens", "image_tokens", "kv_type", "cpu_expert_layers", "gpu_layers",
                "min_speed"):  # fmt: skip
        if getattr(case.wishes, pin) is not None:
            yield case.wish(**{pin: None}), pin
    if case.wishes.require_gpu:
        yield case.wish(require_gpu=False), "require_gpu"
    if case.sees:
        yield case.wish(vision=False), "vision"
    for context in SMALLER_CONTEXTS:
        if context < (case.wishes.context_tokens or case.wanted):
            yield case.wish(context_tokens=context), "context_tokens"


def _flag(pin: str, option: Option, case: Case) -> str:
    placement = option.placement
    if pin == "require_gpu":
        return f"without --require-gpu it runs {option.what}"
    if pin == "cpu_expert_layers" and not placement.cpu_expert_layers:
        return f"without --cpu-experts it runs {option.what}"
    if pin == "gpu_layers":
        count = placement.gpu_layers
        return f"--gpu-layers {'all' if count == ALL_LAYERS else count}" + (
            f" --cpu-experts {placement.cpu_expert_layers}" if placement.cpu_expert_layers else ""
        )
    return {
        "context_tokens": f"--ctx {placement.context_tokens}",
        "image_tokens": f"--detail {case.candidate.image_tokens}",
        "kv_type": f"--kv {placement.kv_type}",
        "cpu_expert_layers": f"--cpu-experts {placement.cpu_expert_layers}",
        "min_speed": f"--min-speed {math.floor(option.speed.tokens_per_second * 10) / 10}",
        "vision": "--no-vision",
    }[pin]
