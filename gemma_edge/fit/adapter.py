"""Does a LoRA belong to a model, and what memory does it take? Pure over headers.

llama.cpp answers the first question after it has read gigabytes of weights, in words about tensors
(llama-adapter.cpp, ``llama_adapter_lora_init_impl``).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gemma_edge.errors import ModelError
from gemma_edge.fit.places import RAM, layer_places
from gemma_edge.fit.plan import Adapter, Placement
from gemma_edge.fit.shape import EXPERTS
from gemma_edge.gguf import Header, Tensor

_A, _B = ".lora_a", ".lora_b"
_LAYER = re.compile(r"blk\.(\d+)\.")
_TOKEN_TABLE = "token_embd.weight"
ALIGN_BYTES = 128  # of a tensor in a buffer; CUDA's, the largest




def check_adapter(model: Header, adapter: Header) -> None:
    """Refuse what cannot be added to this model.

    Raises:
        ModelError: it is no LoRA, or one of another model.
    """
    if reason := adapter_problem(model, adapter):
        raise ModelError(reason, hint="--lora takes a GGUF that was trained for this very model")


def adapter_problem(model: Header, adapter: Header, *, exact: bool = True) -> str:
    """Why it cannot be added to this model, or "". Of a model whose header is not ``exact`` only
    the tensors that it names are compared."""
    name = adapter.path.name
    kind = adapter.metadata.get("general.type", "model")
    if kind != "adapter" or adapter.metadata.get("adapter.type") != "lora":
        return f"`{name}` is no LoRA adapter but a {kind} (`{adapter.architecture}`)"
    if "adapter.alora.invocation_tokens" in adapter.metadata:
        return f"`{name}` is an activated LoRA, which works only behind tokens of its own"
    if adapter.architecture != model.architecture:
        return (
            f"`{name}` was made for another model: for `{adapter.architecture}`, "
            f"`{model.path.name}` is `{model.architecture}`"
        )
    return _tensor_problem(model, adapter, exact)


def _tensor_problem(model: Header, adapter: Header, exact: bool) -> str:
    """The first tensor that fits nowhere."""
    name, own = adapter.path.name, {tensor.name: tensor for tensor in model.tensors}
    pairs = _pairs(adapter.tensors)
    if not pairs:
        return f"`{name}` changes nothing: it has no LoRA tensors"
    for base, pair in pairs.items():
        if set(pair) != {_A, _B}:
            return f"`{name}` is incomplete: of `{base}` it has only {', '.join(pair)}"
        target = own.get(base)
        if target is None and not exact:
            continue
        if target is None or not _fits(base, target, pair[_A], pair[_B]):
            there = "has no such tensor" if target is None else f"has {_size(target)}"
            return (
                f"`{name}` was made for another model: it changes `{base}` by "
                f"{_size(pair[_A])} and {_size(pair[_B])}, `{model.path.name}` {there}"
            )
    return ""


def _fits(name: str, target: Tensor, first: Tensor, second: Tensor) -> bool:
    """llama.cpp's own rule; the two factors of the token table are the other way round."""
    (inner, outer), (a, b) = _sides(target), (_sides(first), _sides(second))
    if name == _TOKEN_TABLE:
        return inner == b[1] and outer == a[1]
    return inner == a[0] and outer == b[1] and a[1] == b[0]


def _sides(tensor: Tensor) -> tuple[int, int]:
    row, column = (*tensor.shape, 1, 1)[:2]
    return row, column


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _pairs(tensors: Iterable[Tensor]) -> dict[str, dict[str, Tensor]]:
    pairs: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors:
        for ending in (_A, _B):
            if tensor.name.endswith(ending):
                pairs.setdefault(tensor.name.removesuffix(ending), {})[ending] = tensor
    return pairs


def adapter_bytes(
    adapters: Iterable[Header], layers: int, placement: Placement
) -> Mapping[str, int]:
    """What they take, by place: each factor lies where the tensor lies that it changes."""
    places = layer_places(layers, placement)
    taken: dict[str, int] = defaultdict(int)
    for header in adapters:
        for base, pair in _pairs(header.tensors).items():
            size_bytes = sum(_aligned(tensor.size_bytes) for tensor in pair.values())
            taken[_place(base, places, placement)] += size_bytes
    return taken


def _place(name: str, places: tuple[str, ...], placement: Placement) -> str:
    layer = _LAYER.match(name)
    if layer is None:
        return places[-1] if name == "output.weight" else RAM
    index = min(int(layer[1]), len(places) - 1)
    return RAM if EXPERTS.match(name) and index < placement.cpu_expert_layers else places[index]


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES
