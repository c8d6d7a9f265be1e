"""One candidate that is to be placed on one machine, and the strategies that are open to it.

A strategy puts the model on one GPU, on several, its experts or a part of its layers on the CPU, or
all of it on the CPU. It sets devices and layers into a placement as well as they fit, by bisection:
memory only grows with what is put into it. What is given up where they do not fit is in
``shortage.py``; which candidate is taken in the end in ``planner.py``. Pure but for ``measure``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from functools import cached_property, partial
from typing import Any

from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.planning.memory import Measure, account
from gemma_edge.planning.model import Shape
from gemma_edge.planning.plan import (
    ALL_LAYERS,
    Candidate,
    Constraints,
    Ledger,
    Placement,
    PlacementKind,
    Plan,
    Speed,
    placement_items,
)
from gemma_edge.planning.render import render_kind, render_speed, short_tokens
from gemma_edge.planning.speed import Threads, choose_threads, estimate, gpu_bandwidth
from gemma_edge.records import dataclass
from gemma_edge.store.measurements import Measurement

WANTED_CONTEXT_TOKENS = 32 << 10  # a long document and its answer (docs/memory.md, "Search order")
MIN_CONTEXT_TOKENS = 256  # llama.cpp rounds the context up to it (llama-context.cpp, GGML_PAD)
UNKNOWN_CONTEXT_TOKENS = 4096  # a header without `context_length`


@dataclass(frozen=True, kw_only=True)
class Search:
    """The search for the best placement of one candidate. ``measure`` says how large compute
    buffers will be. ``alone``: no other size is offered, so the person chose this one. ``order`` is
    its place among the candidates. ``busy_programs`` want a core now."""

    candidate: Candidate
    shape: Shape
    hardware: Hardware
    constraints: Constraints
    measure: Measure
    alone: bool = False
    order: int = 0
    speeds: Sequence[Measurement] = ()
    busy_programs: int | None = None
    _ledgers: dict[Placement, Ledger] = field(default_factory=dict, repr=False, compare=False)

    def ledger(self, placement: Placement) -> Ledger:
        if placement not in self._ledgers:
            adapters = [header for _, header in self.constraints.adapters]
            self._ledgers[placement] = account(
                self.shape, self.candidate.projector, placement, self.hardware, self.measure,
                adapters, self.candidate.drafter,
            )  # fmt: skip
        return self._ledgers[placement]

    def measured_by(self, measure: Measure) -> "Search":
        return replace(self, measure=measure, _ledgers={})

    def constrained(self, **changes: Any) -> "Search":
        """The same with other constraints; ledgers that are known stay known."""
        return replace(self, constraints=replace(self.constraints, **changes))

    def without_drafter(self) -> "Search":
        return replace(self, candidate=self.candidate.without_drafter(), _ledgers={})

    def plan(self, placement: Placement, reasons: tuple[str, ...] = ()) -> Plan:
        candidate, threads = self.candidate, self.threads(placement)
        return Plan(
            **dict(placement_items(placement)), model=candidate.model_path,
            projector=candidate.projector_path if self.sees else None,
            drafter=candidate.drafter_path,
            adapters=tuple(adapter for adapter, _ in self.constraints.adapters),
            name=candidate.name, threads=threads.decode, prefill_threads=threads.prefill,
            ledger=self.ledger(placement), speed=self._estimate(placement, threads),
            reasons=reasons,
        )  # fmt: skip

    def idle_speed(self, placement: Placement) -> Speed:
        """How fast it is without other programs: what runs beside us now must not decide which
        model a person downloads."""
        return self._estimate(placement, self.threads(placement, idle=True))

    def threads(self, placement: Placement, *, idle: bool = False) -> Threads:
        return choose_threads(
            self.hardware.cpu, self.candidate.header.file_bytes, asked=self.constraints.threads,
            busy_programs=None if idle else self.busy_programs,
            all_on_gpu=placement.kind(self.layers) == "gpu",
        )  # fmt: skip

    def _estimate(self, placement: Placement, threads: Threads) -> Speed:
        return estimate(
            self.shape, placement, self.hardware, threads.decode, self.candidate.weights_key,
            self.speeds,
        )  # fmt: skip

    def render(self, placement: Placement) -> str:
        """``24 of 30 expert layers on the CPU, 32k context``."""
        where = render_kind(placement, self.layers)
        cache = f", {placement.kv_type} KV" if placement.kv_type != "f16" else ""
        return f"{where}, {short_tokens(placement.context_tokens)} context{cache}"

    def render_with_speed(self, placement: Placement) -> str:
        return f"{self.render(placement)}, {render_speed(self.idle_speed(placement))}"

    @property
    def layers(self) -> int:
        return len(self.shape.layers)

    @property
    def sees(self) -> bool:
        return self.candidate.projector is not None and self.constraints.vision is not False

    @property
    def per_layer_embeddings(self) -> bool:
        """E2B and E4B: their first layers own the KV cache; a split would read it over the bus."""
        return self.shape.layer_table.size_bytes > 0

    @cached_property
    def trained_tokens(self) -> int:
        trained = self.shape.trained_context_tokens
        if trained is None or trained < MIN_CONTEXT_TOKENS:  # then the header is wrong
            return UNKNOWN_CONTEXT_TOKENS
        return trained

    @cached_property
    def wanted_tokens(self) -> int:
        return self.constraints.context_tokens or min(WANTED_CONTEXT_TOKENS, self.trained_tokens)

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        """GPUs that may be used: discrete ones, integrated ones only where there is no other."""
        usable = [device for device in self.hardware.devices if device.usable]
        discrete = tuple(device for device in usable if not device.integrated)
        return discrete or tuple(usable)


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to place a model. ``arrange`` sets layers and devices into a placement as well as
    they fit; ``device`` is where a projector may go, "" for the CPU only."""

    kind: PlacementKind
    what: str
    arrange: Callable[[Placement], Placement]
    device: str = ""


def iter_strategies(search: Search) -> Iterator[Strategy]:
    """What the constraints leave open, the best first. A part of a model is not split off to a GPU
    whose memory is main memory: nothing is gained."""
    pinned, experts = search.constraints.gpu_layers, search.constraints.cpu_expert_layers
    partly = pinned is not None and 0 < pinned <= search.layers
    devices = _one_of_each(search) if pinned != 0 else []
    if not partly and not experts:
        yield from _whole(search, devices)
    several = _by_bandwidth(search) if devices and not search.per_layer_embeddings else []
    if search.shape.has_experts and not partly and experts != 0 and (pinned is None or experts):
        if len(several) > 1 and not several[0].integrated:
            arrange = partial(_experts_on_several, search, several)
            what = f"on {len(several)} GPUs, with experts on the CPU"
            yield Strategy("experts", what, arrange, several[0].name)
        for device in (each for each in devices if experts or not each.integrated):
            arrange = partial(_experts, search, device)
            yield Strategy("experts", "with experts on the CPU", arrange, device.name)
    # Never of E models, whose first layers own the KV cache, nor of a mixture of experts, whose
    # experts move instead.
    splits = not search.per_layer_embeddings and not search.shape.has_experts
    open_to_parts = search.alone and pinned is None and experts is None and splits
    if devices and (partly or (open_to_parts and not devices[0].integrated)):
        if partly or len(several) < 2:  # noqa: PLR2004  (one GPU, where it holds them all)
            arrange = partial(_part, search, devices[:1])
            yield Strategy("partial", "with some layers on the GPU", arrange, devices[0].name)
        if len(several) > 1:
            arrange = partial(_part, search, several)
            what = f"with some layers on {len(several)} GPUs"
            yield Strategy("partial", what, arrange, several[0].name)
    if pinned in (None, 0) and experts is None and not search.constraints.require_gpu:
        yield CPU_ALONE


CPU_ALONE = Strategy("cpu", "on the CPU", lambda placement: replace(placement, projector_device=""))


def _whole(search: Search, devices: list[Device]) -> Iterator[Strategy]:
    for device in devices:
        where = "" if len(devices) == 1 else f" {device.title}"
        arrange = partial(_on_one, device)
        yield Strategy("gpu", f"all on the GPU{where}", arrange, device.name)
    several = _by_bandwidth(search)
    if devices and len(several) > 1 and not search.per_layer_embeddings:
        arrange = partial(_on_several, search, several)
        yield Strategy("gpu", f"all on {len(several)} GPUs", arrange, several[0].name)


def _on_one(device: Device, placement: Placement) -> Placement:
    return replace(placement, devices=(device.name,), gpu_layers=ALL_LAYERS)


def _experts(search: Search, device: Device, placement: Placement) -> Placement:
    """All that is dense on the GPU, and the fewest layers of experts on the CPU."""
    pinned = search.constraints.cpu_expert_layers

    def with_experts(count: int) -> Placement:
        return replace(_on_one(device, placement), cpu_expert_layers=count)

    return with_experts(
        pinned or _least(lambda n: search.ledger(with_experts(n)).fits_devices, search.layers)
    )


def _experts_on_several(search: Search, devices: list[Device], placement: Placement) -> Placement:
    """As on one, with the layers shared out again for each number of expert layers on the CPU:
    those are the first ones, so the first device holds more layers than the others."""
    pinned = search.constraints.cpu_expert_layers

    def with_experts(count: int) -> Placement:
        return _on_several(search, devices, replace(placement, cpu_expert_layers=count))

    return with_experts(
        pinned or _least(lambda n: search.ledger(with_experts(n)).fits_devices, search.layers)
    )


def _part(search: Search, devices: list[Device], placement: Placement) -> Placement:
    """As many layers on the GPUs as fit, from the last; at least one."""
    pinned, most = search.constraints.gpu_layers, search.layers + 1
    placement = replace(placement, cpu_expert_layers=search.constraints.cpu_expert_layers or 0)

    def with_layers(count: int) -> Placement:
        if len(devices) > 1 and count > 1:
            return _on_several(search, devices, placement, count)
        return replace(placement, devices=(devices[0].name,), gpu_layers=count)

    if pinned is not None:
        return with_layers(pinned)
    left_out = _least(lambda n: search.ledger(with_layers(most - n)).fits_devices, search.layers)
    return with_layers(most - left_out)


def _on_several(
    search: Search, devices: list[Device], placement: Placement, layers: int = ALL_LAYERS
) -> Placement:
    """Each device filled in turn, the fastest first; the last takes what remains of so many
    ``layers``, the last ones of the model."""
    total, split = search.layers + 1 if layers == ALL_LAYERS else layers, list[int]()
    names = tuple(device.name for device in devices)

    def divide(shares: list[int]) -> Placement:
        shares = [*shares, total - sum(shares)]
        used = names[: len(shares)]
        return replace(placement, devices=used, gpu_layers=layers, split=tuple(shares))

    for index, name in enumerate(names[:-1]):
        most = total - sum(split) - 1
        if most < 1:
            break

        def fits(left_out: int, name: str = name, most: int = most) -> bool:
            return search.ledger(divide([*split, most + 1 - left_out])).account(name).fits

        split.append(most + 1 - _least(fits, most))
        if search.ledger(divide(split)).account(names[index + 1]).fits:
            break
    return divide(split)


def _least(fits: Callable[[int], bool], most: int) -> int:
    """The least number from 1 to ``most`` that fits; ``most`` where none does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _by_bandwidth(search: Search) -> list[Device]:
    """The fastest first, then the emptiest; of one backend, which is the first's."""

    def rank(device: Device) -> tuple[float, int]:
        return gpu_bandwidth(device, search.hardware)[0], device.free_bytes

    ordered = sorted(search.devices, key=rank, reverse=True)
    return [device for device in ordered if device.backend == ordered[0].backend]


def _one_of_each(search: Search) -> list[Device]:
    """Of cards with the same title only the emptiest."""
    best: dict[str, Device] = {}
    for device in _by_bandwidth(search):
        best.setdefault(device.title, device)
    return list(best.values())
