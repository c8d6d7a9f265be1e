"""What a placement takes: every byte, device by device and in main memory (``account``).

Weights and KV cache are computed from the model's header. Compute buffers come from a ``Measure``:
llama.cpp itself (``DryRun.measure``), or the formula that it follows (``closed_form``). The source
of every number is in docs/memory.md; files without a repository are llama.cpp's.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from fractions import Fraction
from typing import Any, get_args

from gemma_edge.gguf import Header
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.planning.model import (
    EXPERTS,
    Layer,
    LayerKind,
    Shape,
    Weights,
    lora_pairs,
    parse_shape,
    weigh,
)
from gemma_edge.planning.plan import (
    ALL_LAYERS,
    RAM,
    Account,
    KvType,
    Ledger,
    MemoryPart,
    PartName,
    Placement,
    placement_items,
)
from gemma_edge.records import dataclass
from gemma_edge.units import GIB, MIB


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


def account(  # noqa: PLR0913, PLR0917  (what takes memory, where, and who measures)
    shape: Shape, projector: Header | None, placement: Placement, hardware: Hardware,
    measure: Measure, adapters: Sequence[Header] = (), drafter: Header | None = None,
) -> Ledger:  # fmt: skip
    """Every part of memory that the placement takes. ``drafter`` is one that is loaded beside it.
    Raises EngineError: ``measure`` cannot answer; KeyError: the placement names a device that the
    machine does not have."""
    devices = {device.name: device for device in hardware.devices}
    used = [devices[name].name for name in placement.devices if placement.gpu_layers]
    tallies = {name: _Tally() for name in (*used, RAM)}
    if placement.projector_device:
        tallies.setdefault(placement.projector_device, _Tally())
    _add_weights(tallies, shape, placement, repacks(placement, hardware))
    if placement.load_mode == "mmap":
        for name in used:
            if devices[name].backend in _MAPS:
                _add_range(tallies, shape, placement, name)
    for place, size_bytes in adapter_bytes(adapters, len(shape.layers), placement).items():
        tallies[place].add("adapters", size_bytes)
    for place, size_bytes in adapter_compute_bytes(adapters, shape, placement).items():
        tallies[place].add("adapter compute", size_bytes, _AT_MOST)
    if drafter is not None:
        _add_drafter(tallies, shape, drafter, placement, repacks(placement, hardware))
    compute = measure(shape, placement)
    _add_cache(tallies, shape, placement, compute)
    _add_compute(tallies, compute)
    if projector is not None and placement.image_tokens:
        tally = tallies[placement.projector_device or RAM]
        tally.add("projector", sum(tensor.size_bytes for tensor in projector.tensors))
        tally.add("projector compute", *projector_compute_bytes(projector, placement.image_tokens))
        tallies[RAM].add("pictures", *picture_bytes(shape, placement))
    tallies[RAM].add("checkpoints", checkpoint_bytes(shape, placement))
    beside = output_rows(placement) - placement.sequences  # rows of logits beside the output
    tallies[RAM].add("drafts", 4 * beside * shape.vocabulary_tokens)
    ram = tallies.pop(RAM)
    accounts = [_close_device(tally, devices[name], hardware) for name, tally in tallies.items()]
    shared = sum(each.total_bytes for each in accounts if devices[each.place].integrated)
    return Ledger(accounts=(*accounts, _close_ram(ram, shape, hardware, shared)))


@dataclass(slots=True)
class _Tally:
    """One memory while it is added up: bytes by part, and apart those of the model's file."""

    fixed: dict[PartName, int] = field(default_factory=lambda: defaultdict(int))
    mapped: int = 0
    notes: dict[PartName, str] = field(default_factory=dict)

    def add(self, name: PartName, size_bytes: int, note: str = "") -> None:
        self.fixed[name] += size_bytes
        if note:
            self.notes[name] = note

    def parts(self) -> Iterator[MemoryPart]:
        """In the ledger's order; what is nothing is left out."""
        for name in get_args(PartName):
            if name == "weights" and self.mapped:
                note = "pages of the file, which the system may drop and read again"
                yield MemoryPart(
                    name=name, size_bytes=self.mapped, reclaimable=True, note=note,
                    exact="weights" not in self.notes,
                )  # fmt: skip
            if size_bytes := self.fixed.get(name, 0):
                note = self.notes.get(name, "")
                yield MemoryPart(name=name, size_bytes=size_bytes, exact=not note, note=note)


def _add_weights(
    tallies: Mapping[str, _Tally], shape: Shape, placement: Placement, packed: frozenset[str]
) -> None:
    places, ram = layer_places(len(shape.layers), placement), tallies[RAM]
    mapped = placement.load_mode == "mmap"

    def put(place: str, weights: Weights) -> None:
        if place != RAM:
            tallies[place].add("weights", weights.size_bytes)
            return
        copied = _packed_bytes(weights, packed) if mapped else weights.size_bytes
        ram.add("weights", copied)
        ram.mapped += weights.size_bytes - copied

    for index, layer in enumerate(shape.layers):
        put(places[index], layer.dense)
        put(RAM if index < placement.cpu_expert_layers else places[index], layer.experts)
    put(places[-1], shape.output_norm)
    if not shape.tied:
        put(places[-1], shape.output)
    elif places[-1] != RAM:
        put(places[-1], shape.token_table)  # the output is a second copy of the table
    else:
        ram.add("weights", _packed_bytes(shape.token_table, packed))
    tables = shape.token_table.size_bytes
    tables += 0 if placement.lazy else shape.layer_table.size_bytes
    if mapped:
        ram.mapped += tables
    else:
        ram.add("weights", tables)
    if not shape.exact:
        for tally in tallies.values():
            tally.notes["weights"] = "from the catalogue's facts, not from the file"


# Backends that compute on the pages of a mapped file (caps.buffer_from_host_ptr: Metal, beside the
# CPU): the buffer is the range from their first tensor to their last, with all that lies between
# (llama-model.cpp, ``get_mapping_range``), and Metal keeps all of it in memory.
_MAPS = ("metal",)


def _add_range(
    tallies: Mapping[str, _Tally], shape: Shape, placement: Placement, place: str
) -> None:
    """Count what lies between a device's tensors: in E2B and E4B the table that the CPU reads row
    by row, two GiB. They are the same pages, so they are not counted in main memory too."""
    places = layer_places(len(shape.layers), placement)
    rows = sorted(shape.header.tensors, key=lambda tensor: tensor.offset_bytes)
    own = [n for n, row in enumerate(rows) if _lies_at(row.name, places, placement, shape) == place]
    if own:
        whole = rows[own[0] : own[-1] + 1]
        tally, ram = tallies[place], tallies[RAM]
        size_bytes = sum(row.size_bytes for row in whole)
        tally.fixed["weights"] = max(tally.fixed["weights"], size_bytes)
        tables = sum(row.size_bytes for row in whole if row.name in _TABLES)
        ram.mapped = max(0, ram.mapped - tables)


_TABLES = ("token_embd.weight", "per_layer_token_embd.weight")


def _lies_at(name: str, places: tuple[str, ...], placement: Placement, shape: Shape) -> str:
    """Where a tensor of the file is computed with."""
    layer = _LAYER.match(name)
    if name in _TABLES:  # the first one is the output too, where there is no other
        return places[-1] if name == _TABLES[0] and shape.tied else RAM
    index = int(layer[1]) if layer else len(places) - 1
    on_cpu = EXPERTS.match(name) and index < placement.cpu_expert_layers
    return RAM if on_cpu else places[min(index, len(places) - 1)]


def _packed_bytes(weights: Weights, packed: frozenset[str]) -> int:
    if not packed:
        return 0
    return sum([size_bytes for kind, size_bytes in weights.packable if kind in packed])


def _add_cache(
    tallies: Mapping[str, _Tally], shape: Shape, placement: Placement, compute: Compute
) -> None:
    places = layer_places(len(shape.layers), placement)
    if shape.cache_problem:
        share = (compute.cache or 0) // max(1, len(shape.layers))
        for place in places[:-1]:
            tallies[place].add("KV global", share, f"llama.cpp's own sum, {shape.cache_problem}")
        return
    known: dict[tuple[str, int], int] = {}  # most layers are alike
    for layer, place in zip(shape.layers, places, strict=False):
        key = (layer.kind, layer.key_values + layer.value_values)
        if key not in known:
            known[key] = layer_bytes(shape, layer, placement)
        tallies[place].add("KV window" if layer.kind == "window" else "KV global", known[key])


def _add_compute(tallies: Mapping[str, _Tally], compute: Compute) -> None:
    rows: tuple[tuple[PartName, Mapping[str, int]], ...] = (
        ("compute", compute.compute), ("output", compute.output),
        ("expert copy", compute.expert_copy), ("KV scratch", compute.scratch),
    )  # fmt: skip
    note = "" if compute.exact else compute.note
    for name, by_place in rows:
        for place, size_bytes in by_place.items():
            tallies.get(place, tallies[RAM]).add(name, size_bytes, note)


def _close_device(tally: _Tally, device: Device, hardware: Hardware) -> Account:
    note, runtime = f"what {device.backend} takes for itself", device.context_bytes
    if runtime is None:
        runtime = RUNTIME_BYTES.get(device.backend, 0)
    else:
        note += ", measured on this card"
    if runtime:
        tally.add("runtime", runtime, note)
    tally.add("margin", *margin_bytes(device, hardware))
    return Account(
        place=device.name, title=device.title, budget_bytes=device.free_bytes,
        parts=tuple(tally.parts()),
    )  # fmt: skip


def _close_ram(tally: _Tally, shape: Shape, hardware: Hardware, shared: int) -> Account:
    """``shared``: what devices take whose memory is main memory."""
    note = "the program itself: Python, libraries, vocabulary"
    tally.add("runtime", program_bytes(shape), note)
    tally.add("margin", *margin_bytes(None, hardware))
    available = hardware.memory.available_bytes
    return Account(
        place=RAM, title="main memory",
        budget_bytes=None if available is None else available - shared,
        parts=tuple(tally.parts()),
    )  # fmt: skip


def layer_places(layers: int, placement: Placement) -> tuple[str, ...]:
    """The place of every layer, and last that of the output: ``layers + 1`` names.

    The last ``gpu_layers`` go to the devices, the output counts as one. Among several they go by
    ``split``; without one they are shared out evenly."""
    count, wanted = layers + 1, placement.placed_layers(layers)
    if not wanted:
        return (RAM,) * count
    split = placement.split or (1,) * len(placement.devices)
    whole = sum(split)
    places, device, until = [RAM] * (count - wanted), 0, split[0]
    for index in range(wanted):
        while device + 1 < len(split) and index * whole >= until * wanted:
            device += 1
            until += split[device]
        places.append(placement.devices[device])
    return tuple(places)


# Matrix types that the CPU holds repacked, by the instruction set that it needs (repack.cpp,
# ggml_repack_get_optimal_repack_type; amx.cpp). In ggml's words.
_REPACKED = {
    "AVX2": ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4"),
    "AVX512": ("Q2_K",),
    "AMX_INT8": ("Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"),
    "DOTPROD": ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "Q8_0"),
    "MATMUL_INT8": ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0"),
}
_HOST_BUFFERS = ("cuda", "rocm", "vulkan", "sycl")


def repacks(placement: Placement, hardware: Hardware) -> frozenset[str]:
    """Types of which the CPU keeps a repacked copy in anonymous memory.

    Not where a GPU could take the weights over a host buffer: llama.cpp prefers that one, and with
    a mapped file the pages themselves (llama-model.cpp, ``make_cpu_buft_list``). RPC devices have
    no host buffer."""
    backends = {device.name: device.backend for device in hardware.devices}
    used = [backends.get(name, "") for name in placement.devices if placement.gpu_layers]
    if not placement.repack or any(backend in _HOST_BUFFERS for backend in used):
        return frozenset()
    known = [_REPACKED.get(word, ()) for word in hardware.build.instructions]
    return frozenset(kind for kinds in known for kind in kinds)


_LAYER = re.compile(r"blk\.(\d+)\.")
ALIGN_BYTES = 128  # of a tensor in a buffer; CUDA's, the largest


def adapter_bytes(
    adapters: Iterable[Header], layers: int, placement: Placement
) -> Mapping[str, int]:
    """What they take, by place: each factor lies where the tensor lies that it changes."""
    places = layer_places(layers, placement)
    taken: dict[str, int] = defaultdict(int)
    for header in adapters:
        for base, pair in lora_pairs(header.tensors).items():
            blocks = sum(-(-tensor.size_bytes // ALIGN_BYTES) for tensor in pair.values())
            taken[_place(base, places, placement)] += blocks * ALIGN_BYTES
    return taken


# What a LoRA adds to the compute buffer: beside each product, which the graph has room for already,
# the input times its first factor lives (llama-graph.cpp, ``build_lora_mm``); of experts the second
# product lives too, once for each expert that a token asks (``build_lora_mm_id``). Against real
# loads of the bundled model, of a mixture of experts and of Gemma 3 270M, with every kind of tensor
# and ranks of 16 to 2,048: never more, and often nothing, where the peak lies elsewhere.
_AT_MOST = "at most; nothing where the graph is widest elsewhere"


def adapter_compute_bytes(
    adapters: Iterable[Header], shape: Shape, placement: Placement
) -> Mapping[str, int]:
    """What they add to the compute buffers at most, by place: the widest of their factors, because
    one after another is computed."""
    places = layer_places(len(shape.layers), placement)
    experts_used = shape.header.integer(".expert_used_count") or 1
    batch = min(placement.batch_tokens, placement.context_tokens)
    widest: dict[str, int] = defaultdict(int)
    for header in adapters:
        for base, pair in lora_pairs(header.tensors).items():
            if len(pair) < 2:  # noqa: PLR2004  (half of a pair is refused elsewhere)
                continue
            first, second = (pair[name].shape for name in (".lora_a", ".lora_b"))
            if EXPERTS.match(base):
                numbers = experts_used * (first[1] + second[1])
            else:  # the token table's first factor is looked up, and the other way round
                numbers = first[0] + second[1] if base == "token_embd.weight" else first[1]
            place = _place(base, places, placement)
            widest[place] = max(widest[place], 4 * batch * numbers)
    return widest


# A drafter of Gemma 4 (`gemma4-assistant`, src/models/gemma4-assistant.cpp) has no cache of its own
# (another may have one): its global layers read that of the model's last one, the others that of
# the last one with a window; of an E model, whose last layers share them, those of an earlier one.
# So it lies where these are. Its token table is its output too, as in the model. Its graph is
# widest where the model's embedding and its last state are joined, four numbers a number of the
# model's width beside the masks, or at its end, where logits and the next state are. Against real
# loads of the bundled model with a drafter of random weights: within 0.01 MiB on the CPU for
# batches of 1 to 16 tokens, within 0.1 MiB on ggml's RPC devices for 1 to 256.
DRAFT_BATCH_TOKENS = 1  # one token is fed at a time
_DRAFT_INPUTS, _DRAFT_STATES = 2, 4


def drafter_placement(shape: Shape, placement: Placement) -> Placement:
    """Where the drafter of a model lies: all of it on the last of the devices, beside the cache
    that it reads; a part of that may be on another one, which its context has to know."""
    places = _cache_places(shape, placement)
    devices = tuple(place for place in dict.fromkeys(places) if place != RAM)
    there: dict[str, Any] = {"devices": devices, "gpu_layers": ALL_LAYERS if devices else 0}
    if len(devices) > 1:
        there["split"] = (0, 1)
    kept = {name: value for name, value in placement_items(placement) if name not in _PLACED}
    return Placement(**kept | there)


def _cache_places(shape: Shape, placement: Placement) -> list[str]:
    """Where the keys and values are that a drafter reads: of the last window and of the last global
    layer that has its own, the one that comes first before the other."""
    places = layer_places(len(shape.layers), placement)
    return [places[index] for index in _cache_owners(shape)]


def _cache_owners(shape: Shape) -> list[int]:
    last = {layer.kind: index for index, layer in enumerate(shape.layers) if layer.kind != "none"}
    return sorted(last.values()) or [len(shape.layers) - 1]


_PLACED = (
    "devices", "gpu_layers", "split", "cpu_expert_layers", "projector_device", "image_tokens",
    "lazy",
)  # fmt: skip


def _add_drafter(
    tallies: Mapping[str, _Tally], shape: Shape, drafter: Header, placement: Placement,
    packed: frozenset[str],
) -> None:  # fmt: skip
    own, weights = parse_shape(drafter), weigh(drafter.tensors)
    place = _cache_places(shape, placement)[-1]
    compute, in_ram = drafter_compute_bytes(shape, drafter, placement)
    cache = sum(layer_bytes(own, layer, placement) for layer in own.layers)
    ram, note = tallies[RAM], "by llama.cpp's law for its graph"
    if place == RAM:
        copied, pages = _packed_bytes(weights, packed), weights.size_bytes
    else:
        tallies[place].add("drafter", weights.size_bytes + cache + compute, note)
        copied, pages, cache, compute = 0, own.token_table.size_bytes, 0, in_ram
    if placement.load_mode == "mmap":
        ram.mapped += pages - copied
    else:
        copied = pages
    # Its row of logits and of the next state, and the states of the model's own rows of logits.
    answers = placement.sequences
    outputs = 4 * answers * own.vocabulary_tokens
    outputs += 4 * (answers + output_rows(placement)) * shape.width
    ram.add("drafter", copied + cache + compute + outputs, note)


def drafter_compute_bytes(
    shape: Shape, drafter: Header, placement: Placement, batch_tokens: int = DRAFT_BATCH_TOKENS
) -> tuple[int, int]:
    """Its compute buffer where it lies, and what beside it lies in main memory where that is a
    device: the masks of the model's cache, and its inputs."""
    answers = placement.sequences
    batch = min(answers * batch_tokens, placement.context_tokens)
    cells = pad_cells(placement.context_tokens) + window_cells(shape, placement)
    masks, logits = 2 * batch * cells, 4 * answers * parse_shape(drafter).vocabulary_tokens
    streams = 4 * batch * shape.width
    there = max(masks + _DRAFT_STATES * streams, logits + streams)
    there += _copied_cache_bytes(shape, drafter, placement)
    return there, masks + _DRAFT_INPUTS * streams


def _copied_cache_bytes(shape: Shape, drafter: Header, placement: Placement) -> int:
    """Of a cache that lies elsewhere, which each layer that reads it copies; with several devices
    for each batch that may be under way."""
    places = _cache_places(shape, placement)
    if places[0] == places[-1]:
        return 0
    owner = shape.layers[_cache_owners(shape)[0]]
    pattern = drafter.metadata.get(f"{drafter.architecture}.attention.sliding_window_pattern")
    windows = sum(map(bool, pattern)) if isinstance(pattern, tuple) else 0
    layers = drafter.integer(".block_count") or 0
    copies = _PIPELINE_COPIES if RAM not in places else 1
    readers = windows if owner.kind == "window" else layers - windows
    return copies * readers * layer_bytes(shape, owner, placement)


def _place(name: str, places: tuple[str, ...], placement: Placement) -> str:
    layer = _LAYER.match(name)
    if layer is None:
        return places[-1] if name == "output.weight" else RAM
    index = min(int(layer[1]), len(places) - 1)
    return RAM if EXPERTS.match(name) and index < placement.cpu_expert_layers else places[index]


# The KV cache: llama-kv-cache-iswa.cpp, with `swa_full` off; several sequences share it. Against
# the library: 5 models x 6 contexts x 5 batches x 3 types, largest error 0.01 MiB; the tests and
# scripts/bench/fit.py repeat it (docs/memory.md, "KV cache").
CELL_STEP = 256  # llama-context.cpp and llama-kv-cache-iswa.cpp, GGML_PAD(..., 256)
# Bytes a number: ggml's types; a block of q8_0 is 32 numbers in 34 bytes.
BYTES: dict[KvType, Fraction] = {"f32": Fraction(4), "f16": Fraction(2), "q8_0": Fraction(34, 32)}


def layer_bytes(shape: Shape, layer: Layer, placement: Placement) -> int:
    if layer.kind == "none":
        return 0
    cells = pad_cells(placement.context_tokens)
    if layer.kind == "window":
        cells = window_cells(shape, placement)
    numbers, size = cells * (layer.key_values + layer.value_values), BYTES[placement.kv_type]
    return numbers * size.numerator // size.denominator  # asked for each layer of all candidates


def window_cells(shape: Shape, placement: Placement) -> int:
    """Cells of a layer with a window: the window of each sequence and one batch, 0 where there is
    no window."""
    if not shape.window_tokens:
        return 0
    batch_tokens = min(placement.batch_tokens, placement.context_tokens)
    wanted = shape.window_tokens * placement.sequences + batch_tokens
    return pad_cells(min(pad_cells(placement.context_tokens), wanted))


def pad_cells(count_tokens: int) -> int:
    return -(-count_tokens // CELL_STEP) * CELL_STEP


# The formula of compute buffers. With flash attention, one output and one device (90 points,
# residual under 0.1 MiB; docs/memory.md, "Compute buffers"):
#
#   compute = batch * a + 2 * (cells + window cells) * batch + b
#
# `a` is a model's and a version's number, and `b` is what quantized keys need for their rotation;
# both come from two dry runs on the CPU, where the graph is the same.
_SEED_CONTEXT, _SEED_BATCHES = 4096, (256, 512)
# KiB of `a` by layers of a Gemma 4, for an answer without dry runs; another model gets the largest.
_KIB_PER_TOKEN = {35: 219, 42: 224, 48: 257, 30: 192, 60: 347}
# KiB a token of the batch that the graph takes on a device more than on the CPU alone, by layers of
# a Gemma 4: other tensors live at its peak. Of ggml's RPC device, llama.cpp 0c1e57098, one device
# with all layers, 4k and 64k context, batches 512 and 1024: the residual is 0.1 MiB
# (scripts/bench/fit.py repeats it). Another model gets the largest of them.
_ON_DEVICE_KIB = {35: 8, 42: -22, 48: -15, 30: 0, 60: 11}
_QUANTIZED_KIB = {42: 1}  # where it is another number with quantized keys
# KiB a token less, where a device computes no expert; measured as above, by layers of the model.
_WITHOUT_EXPERTS_KIB = {30: 66}
OUTPUTS = 8  # positions of a batch whose logits can be had: of a choice, and of a draft behind it
_OUTPUTS_EACH = 4  # of each of several answers
_PIPELINE_COPIES = 4  # ggml-backend.cpp, GGML_SCHED_MAX_COPIES
# Of the residual stream, that the last of several devices holds more in a pipeline: measured as
# above with two devices; 4 and the layers' inputs on the first one.
_PIPELINE_STREAMS = 8
_OFFLOADS = ("cuda", "rocm", "vulkan", "sycl")  # offload_op: copy weights over for large batches
_OFFLOAD_BATCH = 32  # ggml-cuda.cu, GGML_OP_OFFLOAD_MIN_BATCH
_NOTE = "by llama.cpp's law for this graph, not asked of the device itself"


def output_rows(placement: Placement) -> int:
    """Positions of a batch whose logits can be had, of all answers together."""
    return min(max(OUTPUTS, _OUTPUTS_EACH * placement.sequences), placement.batch_tokens)


def quick_measure(hardware: Hardware) -> Measure:
    """The formula with numbers that were measured before, not on this machine: for a page that must
    be there at once, and for a search over many models of which only the chosen one is measured."""

    def known_on_cpu(shape: Shape, placement: Placement) -> Compute:
        kib = _KIB_PER_TOKEN.get(len(shape.layers), max(_KIB_PER_TOKEN.values()))
        size_bytes = placement.batch_tokens * kib * 1024 + _masks(shape, placement)
        return Compute(compute={RAM: size_bytes}, output={})

    return closed_form(known_on_cpu, hardware)


def closed_form(measure: Measure, hardware: Hardware) -> Measure:
    """The formula as a Measure: for devices that this machine has not, and for a search.
    ``measure`` is asked twice a size and KV type, for the CPU alone."""
    constants: dict[tuple[Hashable, KvType], tuple[float, float]] = {}
    backends = {device.name: device.backend for device in hardware.devices}

    def by_formula(shape: Shape, placement: Placement) -> Compute:
        key = (shape.graph, placement.kv_type)
        if key not in constants:
            constants[key] = _fit(measure, shape, placement)
        return _by_formula(shape, placement, constants[key], backends)

    return by_formula


def _fit(measure: Measure, shape: Shape, placement: Placement) -> tuple[float, float]:  # a, b
    left = []
    for batch in _SEED_BATCHES:
        seed = Placement(
            context_tokens=_SEED_CONTEXT, batch_tokens=batch, kv_type=placement.kv_type,
            variables=placement.variables,
        )  # fmt: skip
        compute = measure(shape, seed).compute.get(RAM, 0)
        left.append(compute - _masks(shape, seed))
    per_token = (left[1] - left[0]) / (_SEED_BATCHES[1] - _SEED_BATCHES[0])
    return per_token, left[1] - per_token * _SEED_BATCHES[1]


def _masks(shape: Shape, placement: Placement) -> int:
    return sum(_masks_by_kind(shape, placement).values())


def _masks_by_kind(shape: Shape, placement: Placement) -> dict[LayerKind, int]:
    batch, cells = graph_tokens(placement), pad_cells(placement.context_tokens)
    return {"global": 2 * batch * cells, "window": 2 * batch * window_cells(shape, placement)}


def graph_tokens(placement: Placement) -> int:
    """Tokens of the widest graph: a batch, and as many of each sequence (llama-context.cpp,
    ``graph_reserve``)."""
    batch = min(placement.batch_tokens, placement.context_tokens)
    return -(-batch // placement.sequences) * placement.sequences


def _by_formula(
    shape: Shape, placement: Placement, constants: tuple[float, float], backends: Mapping[str, str]
) -> Compute:
    per_token, constant = constants
    places = layer_places(len(shape.layers), placement)
    used = [name for name in placement.devices if name in places]
    whole = RAM not in places
    batch = graph_tokens(placement)
    masks, streams = _masks(shape, placement), 4 * shape.width * batch
    layer_inputs = shape.header.integer(".embedding_length_per_layer_input") or 0
    inputs = 4 * batch * layer_inputs * len(shape.layers)
    on_cpu = round(batch * per_token + constant) + masks
    row = 4 * shape.vocabulary_tokens
    output = {RAM: placement.sequences * row}
    if not used:
        return Compute(compute={RAM: on_cpu}, output=output, note=_NOTE, exact=False)
    on_device = on_cpu + _device_kib(shape, placement) * 1024 * batch
    in_ram = masks + 2 * streams + inputs + round(constant) if whole else on_cpu
    copies = 1  # of the inputs
    if placement.cpu_expert_layers:
        in_ram = max(in_ram, on_cpu)
    elif whole and len(used) > 1:
        copies = _PIPELINE_COPIES
        more = (copies - 1) * masks
        on_device += more + _PIPELINE_STREAMS * streams + copies * inputs
        in_ram += more + 3 * streams
    compute = {
        name: on_device
        + _borrowed_bytes(shape, placement, places, name)
        + _experts_bytes(shape, placement, places, name)
        - copies * _spared_masks(shape, placement, places, name)
        for name in used
    }
    if copies == 1 and places[-1] not in places[:-1] and places[-1] != RAM:
        # It has the output, and no layer.
        compute[places[-1]] = streams + output_rows(placement) * row
    return Compute(
        compute={**compute, RAM: in_ram}, output=output,
        expert_copy=_copied_bytes(shape, placement, used, backends, whole),
        scratch=_scratch_bytes(shape, placement, used, backends), exact=False, note=_NOTE,
    )  # fmt: skip


def _spared_masks(shape: Shape, placement: Placement, places: tuple[str, ...], name: str) -> int:
    """Of layers of a kind that a device has not. A layer that borrows its keys may be of both."""
    kinds = {
        layer.kind for layer, place in zip(shape.layers, places, strict=False) if place == name
    }
    if not kinds or "none" in kinds:
        return 0
    masks = _masks_by_kind(shape, placement)
    return sum(size_bytes for kind, size_bytes in masks.items() if kind not in kinds)


def _experts_bytes(shape: Shape, placement: Placement, places: tuple[str, ...], name: str) -> int:
    """What experts on the CPU change at the first device: their results come back to it, and
    where it has none of its own, its graph is narrower."""
    kept = placement.cpu_expert_layers
    if not kept or places[0] != name:
        return 0
    batch = min(placement.batch_tokens, placement.context_tokens)
    if places.count(name) <= kept or kept >= len(shape.layers):
        return -1024 * batch * _WITHOUT_EXPERTS_KIB.get(len(shape.layers), 0)
    return 2 * 4 * shape.width * batch


def _device_kib(shape: Shape, placement: Placement) -> int:
    most = max(_ON_DEVICE_KIB.values())
    if shape.architecture != "gemma4":
        return most
    quantized = _QUANTIZED_KIB if placement.kv_type == "q8_0" else {}
    return (_ON_DEVICE_KIB | quantized).get(len(shape.layers), most)


def _borrowed_bytes(shape: Shape, placement: Placement, places: tuple[str, ...], name: str) -> int:
    """Keys and values of other places that the layers of this one read: copied at each of them
    (E models that are split)."""
    own = [index for index, layer in enumerate(shape.layers) if layer.kind != "none"]
    if len(own) in (0, len(shape.layers)):
        return 0
    source = max((i for i in own if shape.layers[i].kind == "global"), default=own[-1])
    if places[source] == name:
        return 0
    size_bytes = layer_bytes(shape, shape.layers[source], placement)
    borrowers = [i for i, place in enumerate(places[:-1]) if place == name and i > own[-1]]
    before = shape.layers[: source + 1]
    whole = sum(each.kind == "global" for each in before)
    every = (len(before) - whole) // max(1, whole) + 1
    return -(-len(borrowers) // every) * size_bytes


def _copied_bytes(
    shape: Shape, placement: Placement, used: list[str], backends: Mapping[str, str], whole: bool
) -> dict[str, int]:
    """Weights of main memory that a device copies over for a large batch, one at a time."""
    size_bytes = shape.largest_expert_bytes if placement.cpu_expert_layers else 0
    if not whole:
        size_bytes = max(size_bytes, shape.largest_matrix_bytes, shape.largest_expert_bytes)
    if not size_bytes or placement.batch_tokens < _OFFLOAD_BATCH:
        return {}
    return {name: size_bytes for name in used[:1] if backends.get(name) in _OFFLOADS}


def _scratch_bytes(
    shape: Shape, placement: Placement, used: list[str], backends: Mapping[str, str]
) -> dict[str, int]:
    """CUDA's flash attention reads quantized keys from a copy of one global layer in 16 bits
    (fattn.cu, ``ggml_cuda_flash_attn_ext_get_alloc_size``)."""
    if placement.kv_type != "q8_0":
        return {}
    own = (layer for layer in shape.layers if layer.kind == "global")
    cell_bytes = max((2 * (each.key_values + each.value_values) for each in own), default=0)
    size_bytes = pad_cells(placement.context_tokens) * cell_bytes
    return {name: size_bytes for name in used if backends.get(name) in ("cuda", "rocm")}


# A vision tower's compute buffer grows with the picture's patches alone (flash attention keeps no
# square of them). Measured with towers of the real dimensions and pictures of 64, 289 and 1,089
# tokens, encoded by llama.cpp 0c1e57098 on the CPU: 46.1 KB a patch for the E models' (width 768,
# inner width 3072), 68.6 KB for that of 26B and 31B (1152, 4304), to within 0.1 % in proportion
# (docs/memory.md, "Images"). The rule of others, 0.4 of the file, is three times too much at 280
# tokens and too little at 1,120.
PATCHES_A_TOKEN = 9  # three by three are merged (clip.cpp, gemma4v)
# Numbers a patch that live at the peak: two inner widths and seven widths, and 3 % for what the
# 72 values of a head of the larger tower are padded with.
_INNER, _WIDTHS, _PADDING = 2, 7, 1.03
# 12B has no tower: a patch of 48 x 48 pixels in three colours is projected at once.
_PIXELS = 3 * 48 * 48


def projector_compute_bytes(projector: Header, image_tokens: int) -> tuple[int, str]:
    """Its compute buffer for the largest picture, and where the number comes from."""
    width = projector.integer("clip.vision.embedding_length") or 0
    inner = projector.integer("clip.vision.feed_forward_length") or 0
    layers = projector.integer("clip.vision.block_count") or 0
    if layers:
        values = PATCHES_A_TOKEN * (_INNER * inner + _WIDTHS * width) * _PADDING
    else:
        values = _INNER * _PIXELS + _WIDTHS * (projector.integer("clip.vision.projection_dim") or 0)
    return round(4 * image_tokens * values), f"for one picture of {image_tokens:,} tokens"


# What the engine keeps in main memory beside llama.cpp's buffers, so that nothing is read twice.

# Window cells saved at the ends of prompts: E4B takes 20 MiB a checkpoint, 31B 800: where one would
# not fit, none is taken and a cut too far back reads the conversation again.
CHECKPOINT_BYTES = 512 * MIB
CHECKPOINTS = 4
_CHECKPOINTS_EACH = 2  # of each of several answers: where they began, and what they share
# Encoded pictures. One at the largest detail (1,120 tokens) takes 11 MiB with E4B (width 2,560), 23
# with 31B (5,376), at the usual one a quarter: enough for what one conversation goes back to.
PICTURES_BYTES = 64 * MIB
_PIXEL_BYTES = 3 * 48 * 48  # of the patch that one token sees, a byte a colour
_HOLDERS = 2  # of the pixels: the conversation, and the engine that is asked


def checkpoints_of(size_bytes: int, sequences: int = 1) -> int:
    """How many of a size each sequence keeps."""
    most = CHECKPOINTS if sequences == 1 else _CHECKPOINTS_EACH
    return min(most, CHECKPOINT_BYTES // sequences // max(1, size_bytes))


def checkpoint_bytes(shape: Shape, placement: Placement) -> int:
    """Of all checkpoints: keys and values of the window before a point, of layers that have one
    (llama-kv-cache.cpp, ``state_write``)."""
    cells = min(shape.window_tokens, placement.context_tokens)
    own = (layer for layer in shape.layers if layer.kind == "window")
    numbers = cells * sum(layer.key_values + layer.value_values for layer in own)
    size_bytes = int(numbers * BYTES[placement.kv_type])
    return placement.sequences * checkpoints_of(size_bytes, placement.sequences) * size_bytes


def picture_bytes(shape: Shape, placement: Placement) -> tuple[int, str]:
    """Of as many pictures as are kept encoded, with their pixels, and a sentence about them."""
    encoded = 4 * shape.width * placement.image_tokens
    pixels = _HOLDERS * _PIXEL_BYTES * placement.image_tokens
    in_context = max(1, placement.context_tokens // placement.image_tokens)
    count = max(1, min(in_context, PICTURES_BYTES // max(1, encoded)))
    said = "one picture" if count == 1 else f"{count} pictures"
    return count * (encoded + pixels), f"{said} of a conversation, encoded and as pixels"


def margin_bytes(device: Device | None, hardware: Hardware) -> tuple[int, str]:
    """The reserve of one device, None for main memory, and why it is so large
    (docs/memory.md, "Margins")."""
    if device is None:
        total = hardware.memory.total_bytes or hardware.memory.available_bytes or 0
        return max(2 * GIB, total // 10), "2 GiB or a tenth of main memory, for other programs"
    if device.integrated:
        return GIB, "its memory is main memory, which other programs take too"
    total = device.total_bytes
    if hardware.system == "win32" or hardware.wsl:
        # WDDM spills into main memory without an error, 5 to 30 times slower.
        reserve = max(512 * MIB, min(GIB, total // 8))
        return reserve, "Windows moves to main memory what does not fit, without a word"
    if device.display:
        return max(512 * MIB, total * 3 // 100), "a desktop draws with it"
    return max(256 * MIB, total // 50), "no desktop draws with it"


# What a process holds on a device beside llama.cpp's buffers, where it was not measured on the card
# itself: cudaMemGetInfo before and after (Unsloth measured 320 to 330 MiB for CUDA, other cards 120
# to 550; the others are estimates).
RUNTIME_BYTES = {"cuda": 330 * MIB, "rocm": 300 * MIB, "vulkan": 150 * MIB, "sycl": 300 * MIB}
# What llama.cpp takes outside the buffers that it reports: graphs, tables of tensors, and room for
# quantized activations. 2.6 to 10.5 MiB more than its buffers were resident when E2B and E4B were
# loaded at 8k and 32k (scripts/bench/fit.py, "loads").
LLAMA_OWN_BYTES = 8 * MIB
# Anonymous memory of the two processes, command line and engine, with their libraries; and what
# one token of the vocabulary takes in llama.cpp, in Python and in llguidance's tree. Gemma 4's
# 262,144 tokens: 258 MiB with a schema, 110 without; Gemma 3's, without merges, 187
# (scripts/bench/fit_program.py).
_PROGRAM_BYTES, _TOKEN_BYTES = 72 * MIB, 1040


def program_bytes(shape: Shape) -> int:
    return _PROGRAM_BYTES + LLAMA_OWN_BYTES + _TOKEN_BYTES * shape.vocabulary_tokens
