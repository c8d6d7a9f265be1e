"""The ledger of one placement: every byte, device by device and in main memory.

Weights and KV cache are computed from the header (fit.md 3.2 and 3.4), compute buffers come from
llama.cpp (``DryRun.measure``) or by the linear law that it follows (``closed_form``).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from gemma_edge.fit.adapter import adapter_bytes
from gemma_edge.fit.kv import layer_bytes
from gemma_edge.fit.ledger import Account, Ledger, Part, PartName
from gemma_edge.fit.margin import RUNTIME_BYTES, margin_bytes, program_bytes
from gemma_edge.fit.measure import Compute, Measure
from gemma_edge.fit.places import RAM, layer_places, repacks
from gemma_edge.fit.plan import Placement
from gemma_edge.fit.projector import projector_compute_bytes
from gemma_edge.fit.shape import Shape, Weights
from gemma_edge.gguf import Header
from gemma_edge.hardware.machine import Device, Hardware

_ORDER: tuple[PartName, ...] = get_args(PartName)


@dataclass(slots=True)
class _Sheet:
    """One place while it is being filled: bytes by part, and apart those of the model's file."""

    fixed: dict[PartName, int] = field(default_factory=lambda: defaultdict(int))
    mapped: int = 0
    notes: dict[PartName, str] = field(default_factory=dict)

    def parts(self) -> Iterator[Part]:
        """In the ledger's order; what is nothing is left out."""
        for name in _ORDER:
            if name == "weights" and self.mapped:
                note = "pages of the file, which the system may drop and read again"
                yield Part(
                    name=name, size_bytes=self.mapped, reclaimable=True, note=note,
                    exact="weights" not in self.notes,
                )  # fmt: skip
            if size_bytes := self.fixed.get(name, 0):
                note = self.notes.get(name, "")
                yield Part(name=name, size_bytes=size_bytes, exact=not note, note=note)


def account(  # noqa: PLR0913, PLR0917  (what takes memory, where, and who measures)
    shape: Shape,
    projector: Header | None,
    placement: Placement,
    hardware: Hardware,
    measure: Measure,
    adapters: Sequence[Header] = (),
) -> Ledger:
    """Every part of memory that the placement takes.

    Raises:
        EngineError: ``measure`` cannot answer.
        KeyError: the placement names a device that the machine does not have.
    """
    devices = {device.name: device for device in hardware.devices}
    used = [devices[name] for name in placement.devices if placement.gpu_layers]
    sheets = {name: _Sheet() for name in (*(device.name for device in used), RAM)}
    if placement.projector_device:
        sheets.setdefault(placement.projector_device, _Sheet())
    _add_weights(sheets, shape, placement, hardware)
    for place, size_bytes in adapter_bytes(adapters, len(shape.layers), placement).items():
        sheets[place].fixed["adapters"] += size_bytes
    compute = measure(shape, placement)
    _add_cache(sheets, shape, placement, compute)
    _add_compute(sheets, compute)
    if projector is not None and placement.image_tokens:
        _add_projector(sheets[placement.projector_device or RAM], projector, placement)
    accounts = [
        _close(name, sheet, devices.get(name), hardware)
        for name, sheet in sheets.items()
        if name != RAM
    ]
    shared = sum(each.total_bytes for each in accounts if devices[each.place].integrated)
    return Ledger(accounts=(*accounts, _close_ram(sheets[RAM], shape, hardware, shared)))


def _add_weights(
    sheets: Mapping[str, _Sheet], shape: Shape, placement: Placement, hardware: Hardware
) -> None:
    places = layer_places(len(shape.layers), placement)
    packed = repacks(placement, hardware)
    mapped = placement.load_mode == "mmap"

    def put(place: str, weights: Weights) -> None:
        if place != RAM:
            sheets[place].fixed["weights"] += weights.size_bytes
            return
        copied = sum(size for kind, size in weights.packable if kind in packed)
        rest = weights.size_bytes - copied
        sheets[RAM].fixed["weights"] += copied if mapped else weights.size_bytes
        sheets[RAM].mapped += rest if mapped else 0

    for index, layer in enumerate(shape.layers):
        put(places[index], layer.dense)
        put(RAM if index < placement.cpu_expert_layers else places[index], layer.experts)
    put(places[-1], shape.output_norm)
    if not shape.tied:
        put(places[-1], shape.output)
    elif places[-1] != RAM:
        put(places[-1], shape.token_table)  # the output is a second copy of the table
    else:
        copied = sum(size for kind, size in shape.token_table.packable if kind in packed)
        sheets[RAM].fixed["weights"] += copied
    tables = shape.token_table.size_bytes
    tables += 0 if placement.lazy else shape.layer_table.size_bytes
    if mapped:
        sheets[RAM].mapped += tables
    else:
        sheets[RAM].fixed["weights"] += tables
    if not shape.exact:
        for sheet in sheets.values():
            sheet.notes["weights"] = "from the catalogue's facts, not from the file"


def _add_cache(
    sheets: Mapping[str, _Sheet], shape: Shape, placement: Placement, compute: Compute
) -> None:
    places = layer_places(len(shape.layers), placement)
    if shape.cache_problem:
        share = (compute.cache or 0) // max(1, len(shape.layers))
        for place in places[:-1]:
            sheets[place].fixed["KV global"] += share
            sheets[place].notes["KV global"] = f"llama.cpp's own sum, {shape.cache_problem}"
        return
    batch, context = placement.batch_tokens, placement.context_tokens
    for layer, place in zip(shape.layers, places, strict=False):
        name: PartName = "KV window" if layer.kind == "window" else "KV global"
        size_bytes = layer_bytes(shape, layer, context, batch, placement.kv_type)
        sheets[place].fixed[name] += size_bytes


def _add_compute(sheets: Mapping[str, _Sheet], compute: Compute) -> None:
    rows: tuple[tuple[PartName, Mapping[str, int]], ...] = (
        ("compute", compute.compute),
        ("output", compute.output),
        ("expert copy", compute.expert_copy),
        ("KV scratch", compute.scratch),
    )
    for name, by_place in rows:
        for place, size_bytes in by_place.items():
            sheet = sheets.get(place) or sheets[RAM]
            sheet.fixed[name] += size_bytes
            if not compute.exact:
                sheet.notes[name] = compute.note


def _add_projector(sheet: _Sheet, projector: Header, placement: Placement) -> None:
    sheet.fixed["projector"] += sum(tensor.size_bytes for tensor in projector.tensors)
    size_bytes, note = projector_compute_bytes(projector, placement.image_tokens)
    sheet.fixed["projector compute"] += size_bytes
    sheet.notes["projector compute"] = note


def _close(name: str, sheet: _Sheet, device: Device | None, hardware: Hardware) -> Account:
    if device is None:
        raise KeyError(name)
    if runtime := RUNTIME_BYTES.get(device.backend, 0):
        sheet.fixed["runtime"] += runtime
        sheet.notes["runtime"] = f"what {device.backend} takes for itself"
    sheet.fixed["margin"], sheet.notes["margin"] = margin_bytes(device, hardware)
    return Account(
        place=name, title=device.title, budget_bytes=device.free_bytes, parts=tuple(sheet.parts())
    )


def _close_ram(sheet: _Sheet, shape: Shape, hardware: Hardware, shared: int) -> Account:
    """``shared``: what devices take whose memory is main memory."""
    sheet.fixed["runtime"] += program_bytes(shape)
    sheet.notes["runtime"] = "the program itself: Python, libraries, vocabulary"
    sheet.fixed["margin"], sheet.notes["margin"] = margin_bytes(None, hardware)
    available = hardware.memory.available_bytes
    return Account(
        place=RAM,
        title="main memory",
        budget_bytes=None if available is None else available - shared,
        parts=tuple(sheet.parts()),
    )
