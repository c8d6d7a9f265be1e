"""Compute buffers: what a measurement answers, and the law that they follow.

With flash attention, one output and one device (fit.md 3.5; 90 points, residual under 0.1 MiB):

    compute = batch * a + 2 * (cells + window cells) * batch + b

``a`` is a model's and a version's number and ``b`` is what quantized keys need for their rotation;
both come from two dry runs on the CPU, where the graph is the same.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from gemma_edge.fit.kv import layer_bytes, pad_cells, window_cells
from gemma_edge.fit.places import RAM, layer_places
from gemma_edge.fit.plan import KvType, Placement
from gemma_edge.fit.shape import Shape
from gemma_edge.hardware.machine import Hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Bytes beside weights and cache, by place ("CUDA0", "RAM"). ``expert_copy`` and ``scratch``
    are part of ``compute`` where llama.cpp measured it for a real device. ``cache`` is the whole KV
    cache, None where nobody asked llama.cpp. ``exact``: llama.cpp will allocate just this."""

    compute: Mapping[str, int]
    output: Mapping[str, int]
    expert_copy: Mapping[str, int] = field(default_factory=dict)
    scratch: Mapping[str, int] = field(default_factory=dict)
    cache: int | None = None
    exact: bool = True
    note: str = ""


Measure = Callable[[Shape, Placement], Compute]

# KiB a token of the batch that the graph takes on a device more than on the CPU alone, by layers of
# a Gemma 4: other tensors live at its peak. Of ggml's RPC device, llama.cpp 0c1e57098, one device
# with all layers, 4k and 64k context, batches 512 and 1024: the law's residual is 0.1 MiB
# (scripts/bench/fit.py repeats it). Another model gets the largest of them.
_ON_DEVICE_KIB = {35: 8, 42: -22, 48: -15, 30: 0, 60: 11}
_QUANTIZED_KIB = {42: 1}  # where it is another number with quantized keys
_SEED_CONTEXT, _SEED_BATCHES = 4096, (256, 512)
_PIPELINE_COPIES = 4  # ggml-backend.cpp, GGML_SCHED_MAX_COPIES
# Of the residual stream, that the last of several devices holds more in a pipeline: measured as
# above with two devices; 4 and the layers' inputs on the first one.
_PIPELINE_STREAMS = 8
_OFFLOADS = ("cuda", "rocm", "vulkan", "sycl")  # offload_op: copy weights over for large batches
_OFFLOAD_BATCH = 32  # ggml-cuda.cu, GGML_OP_OFFLOAD_MIN_BATCH
_NOTE = "by llama.cpp's law for this graph, not asked of the device itself"


@dataclass(frozen=True, slots=True)
class _Law:
    """``compute = batch * per_token + masks + constant`` on the CPU, in bytes."""

    per_token: float
    constant: float


def closed_form(measure: Measure, hardware: Hardware) -> Measure:
    """The law as a Measure: for devices that this machine has not, and for a search. ``measure``
    is asked twice a size and KV type, for the CPU alone."""
    laws: dict[tuple[Hashable, KvType], _Law] = {}
    backends = {device.name: device.backend for device in hardware.devices}

    def by_law(shape: Shape, placement: Placement) -> Compute:
        key = (shape.graph, placement.kv_type)
        if key not in laws:
            laws[key] = _seed(measure, shape, placement.kv_type)
        return _by_law(shape, placement, laws[key], backends)

    return by_law


def _seed(measure: Measure, shape: Shape, kv_type: KvType) -> _Law:
    left = []
    for batch in _SEED_BATCHES:
        placement = Placement(context_tokens=_SEED_CONTEXT, batch_tokens=batch, kv_type=kv_type)
        compute = measure(shape, placement).compute.get(RAM, 0)
        left.append(compute - _masks(shape, placement))
    per_token = (left[1] - left[0]) / (_SEED_BATCHES[1] - _SEED_BATCHES[0])
    return _Law(per_token, left[1] - per_token * _SEED_BATCHES[1])


def _masks(shape: Shape, placement: Placement) -> int:
    """Two attention masks in 16 bits, one without a window."""
    context, batch = placement.context_tokens, min(placement.batch_tokens, placement.context_tokens)
    return 2 * batch * (pad_cells(context) + window_cells(shape, context, batch))


def _by_law(shape: Shape, placement: Placement, law: _Law, backends: Mapping[str, str]) -> Compute:
    places = layer_places(len(shape.layers), placement)
    used = sorted(set(places) - {RAM})
    batch = min(placement.batch_tokens, placement.context_tokens)
    masks, streams = _masks(shape, placement), 4 * shape.width * batch
    inputs = 4 * batch * layer_input_values(shape)
    on_cpu = round(batch * law.per_token + law.constant) + masks
    output = {RAM: 4 * shape.vocabulary_tokens}
    if not used:
        return Compute(compute={RAM: on_cpu}, output=output, note=_NOTE, exact=False)
    most = max(_ON_DEVICE_KIB.values())
    known = _ON_DEVICE_KIB | (_QUANTIZED_KIB if placement.kv_type == "q8_0" else {})
    more = known.get(len(shape.layers), most) if shape.architecture == "gemma4" else most
    on_device = on_cpu + more * 1024 * batch
    whole = RAM not in places
    in_ram = masks + 2 * streams + inputs + round(law.constant) if whole else on_cpu
    if placement.cpu_expert_layers:
        in_ram = max(in_ram, on_cpu)
    elif whole and len(used) > 1:
        copies = (_PIPELINE_COPIES - 1) * masks
        on_device += copies + _PIPELINE_STREAMS * streams + _PIPELINE_COPIES * inputs
        in_ram += copies + 3 * streams
    compute = {name: on_device + _borrowed_bytes(shape, placement, places, name) for name in used}
    return Compute(
        compute={**compute, RAM: in_ram},
        output=output,
        expert_copy=_copies(shape, placement, used, backends, whole),
        scratch=_scratch(shape, placement, used, backends),
        exact=False,
        note=_NOTE,
    )


def layer_input_values(shape: Shape) -> int:
    """Values a token of the per-layer inputs, 0 for models without them."""
    return (shape.header.integer(".embedding_length_per_layer_input") or 0) * len(shape.layers)


def _borrowed_bytes(shape: Shape, placement: Placement, places: tuple[str, ...], name: str) -> int:
    """Keys and values of other places that the layers of this one read: copied at each of them
    (E models that are split; fit.md 3.4)."""
    own = [index for index, layer in enumerate(shape.layers) if layer.kind != "none"]
    if len(own) in (0, len(shape.layers)):
        return 0
    source = max((i for i in own if shape.layers[i].kind == "global"), default=own[-1])
    if places[source] == name:
        return 0
    layer = shape.layers[source]
    size_bytes = layer_bytes(
        shape, layer, placement.context_tokens, placement.batch_tokens, placement.kv_type
    )
    borrowers = [i for i, place in enumerate(places[:-1]) if place == name and i > own[-1]]
    every = max(
        1,
        sum(each.kind != "global" for each in shape.layers[: source + 1])
        // max(1, sum(each.kind == "global" for each in shape.layers[: source + 1]))
        + 1,
    )
    return -(-len(borrowers) // every) * size_bytes


def _copies(
    shape: Shape,
    placement: Placement,
    used: list[str],
    backends: Mapping[str, str],
    whole: bool,
) -> dict[str, int]:
    """Weights of main memory that a device copies over for a large batch, one at a time."""
    size_bytes = shape.largest_expert_bytes if placement.cpu_expert_layers else 0
    if not whole:
        size_bytes = max(size_bytes, shape.largest_matrix_bytes, shape.largest_expert_bytes)
    if not size_bytes or placement.batch_tokens < _OFFLOAD_BATCH:
        return {}
    return {name: size_bytes for name in used[:1] if backends.get(name) in _OFFLOADS}


def _scratch(
    shape: Shape, placement: Placement, used: list[str], backends: Mapping[str, str]
) -> dict[str, int]:
    """CUDA's flash attention reads quantized keys from a copy of one global layer in 16 bits
    (fattn.cu, ``ggml_cuda_flash_attn_ext_get_alloc_size``)."""
    if placement.kv_type != "q8_0":
        return {}
    size_bytes = pad_cells(placement.context_tokens) * shape.global_cell_bytes_f16
    return {name: size_bytes for name in used if backends.get(name) in ("cuda", "rocm")}
