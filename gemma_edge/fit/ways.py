"""The ways to place one model: all on one GPU, on several, experts or layers on the CPU, the CPU.

Each fills in the devices and the layers of a setting as well as they fit, by bisection: memory only
grows with what is put into it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from gemma_edge.fit.case import Case, short_of_gpu
from gemma_edge.fit.plan import ALL_LAYERS, Placement
from gemma_edge.fit.speed import Kind, gpu_bandwidth
from gemma_edge.hardware.machine import Device

Arrange = Callable[[Placement], Placement]


@dataclass(frozen=True, slots=True)
class Way:
    """One kind of placement. ``arrange`` sets layers and devices into a setting as well as they
    fit; ``device`` is where a projector may go, "" for the CPU only."""

    kind: Kind
    what: str
    arrange: Arrange
    device: str = ""


def ways(case: Case) -> Iterator[Way]:
    """What the wishes leave open, the best first. A part of a model is not split off to a GPU
    whose memory is main memory: nothing is gained (fit.md 5.3)."""
    pinned, experts = case.wishes.gpu_layers, case.wishes.cpu_expert_layers
    partly = pinned is not None and 0 < pinned <= case.layers
    devices = _one_of_each(case) if pinned != 0 else []
    if not partly and not experts:
        for device in devices:
            where = "" if len(devices) == 1 else f" {device.title}"
            yield Way("gpu", f"all on the GPU{where}", partial(_on_one, device), device.name)
        several = _by_bandwidth(case)
        if devices and len(several) > 1 and not case.per_layer_embeddings:
            arrange = partial(_on_several, case, several)
            yield Way("gpu", f"all on {len(several)} GPUs", arrange, several[0].name)
    if case.shape.has_experts and not partly and experts != 0 and (pinned is None or experts):
        for device in (each for each in devices if experts or not each.integrated):
            arrange = partial(_experts, case, device)
            yield Way("experts", "with experts on the CPU", arrange, device.name)
    open_to_parts = case.alone and pinned is None and experts is None and _splits(case)
    if devices and (partly or (open_to_parts and not devices[0].integrated)):
        arrange = partial(_part, case, devices[0])
        yield Way("partial", "with some layers on the GPU", arrange, devices[0].name)
    if pinned in (None, 0) and experts is None and not case.wishes.require_gpu:
        yield Way("cpu", "on the CPU", lambda setting: replace(setting, projector_device=""))


def _on_one(device: Device, setting: Placement) -> Placement:
    return replace(setting, devices=(device.name,), gpu_layers=ALL_LAYERS)


def _experts(case: Case, device: Device, setting: Placement) -> Placement:
    """All that is dense on the GPU, and the fewest layers of experts on the CPU."""
    pinned = case.wishes.cpu_expert_layers

    def with_experts(count: int) -> Placement:
        return replace(_on_one(device, setting), cpu_expert_layers=count)

    if pinned:
        return with_experts(pinned)
    fewest = _least(lambda count: not short_of_gpu(case.ledger(with_experts(count))), case.layers)
    return with_experts(fewest)


def _part(case: Case, device: Device, setting: Placement) -> Placement:
    """As many layers on the GPU as fit, from the last; at least one."""
    pinned = case.wishes.gpu_layers

    experts = case.wishes.cpu_expert_layers or 0

    def with_layers(count: int) -> Placement:
        return replace(setting, devices=(device.name,), gpu_layers=count, cpu_expert_layers=experts)

    if pinned is not None:
        return with_layers(pinned)
    left_out = _least(
        lambda count: not short_of_gpu(case.ledger(with_layers(case.layers + 1 - count))),
        case.layers,
    )
    return with_layers(case.layers + 1 - left_out)


def _on_several(case: Case, devices: list[Device], setting: Placement) -> Placement:
    """Each device filled in turn, the fastest first; the last takes what remains."""
    total, split = case.layers + 1, list[int]()
    names = tuple(device.name for device in devices)

    def divide(shares: list[int]) -> Placement:
        shares = [*shares, total - sum(shares)]
        used = names[: len(shares)]
        return replace(setting, devices=used, gpu_layers=ALL_LAYERS, split=tuple(shares))

    def last_fits(placement: Placement) -> bool:
        return case.ledger(placement).account(placement.devices[-1]).fits

    for index in range(len(devices) - 1):
        most = total - sum(split) - 1
        if most < 1:
            break

        def fits(left_out: int, index: int = index, most: int = most) -> bool:
            ledger = case.ledger(divide([*split, most + 1 - left_out]))
            return ledger.account(names[index]).fits

        split.append(most + 1 - _least(fits, most))
        if last_fits(divide(split)):
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


def _splits(case: Case) -> bool:
    """Whether a part of its layers may stay on the CPU: never E models (fit.md 3.4), nor a mixture
    of experts, whose experts move instead."""
    return not case.per_layer_embeddings and not case.shape.has_experts


def _by_bandwidth(case: Case) -> list[Device]:
    """The fastest first, then the emptiest; of one backend, which is the first's."""

    def rank(device: Device) -> tuple[float, int]:
        return gpu_bandwidth(device, case.hardware)[0], device.free_bytes

    ordered = sorted(case.devices, key=rank, reverse=True)
    return [device for device in ordered if device.backend == ordered[0].backend]


def _one_of_each(case: Case) -> list[Device]:
    """Of cards with the same title only the emptiest."""
    best: dict[str, Device] = {}
    for device in _by_bandwidth(case):
        best.setdefault(device.title, device)
    return list(best.values())
