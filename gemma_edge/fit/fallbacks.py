"""The ladder on from a plan: what to load when memory runs out in spite of the ledger.

Other programs take memory between plan and load, and drivers take what nobody can predict. Each
step gives up one thing more than the one before (fit.md 5.5); what is pinned stays.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from gemma_edge.fit.case import FLOOR_CONTEXT_TOKENS, Case, Option
from gemma_edge.fit.plan import Placement
from gemma_edge.fit.rungs import BATCHES, climb, make_option
from gemma_edge.fit.speed import classify
from gemma_edge.fit.ways import ways

EXPERTS_STEP = 2  # layers; about 0.8 GiB of 26B-A4B at 4 bits

Step = tuple[Callable[[Case, Placement], Placement], str]


def iter_fallbacks(case: Case, option: Option) -> Iterator[tuple[Option, str]]:
    """Smaller placements that fit, the next first, each with what it gives up."""
    placement = option.placement
    for give_up, what in (*_STEPS, *_STEPS[1:]):
        smaller = give_up(case, placement)
        if smaller == placement:
            continue
        ledger = case.ledger(smaller)
        if ledger.fits:
            placement = smaller
            yield make_option(case, smaller, ledger), what
    if classify(placement, case.layers) == "cpu":
        return
    for way in ways(case):
        if way.kind == "cpu":
            last = climb(case, way).option
            if last:
                yield last, "the CPU alone"


def _projector(_: Case, now: Placement) -> Placement:
    return replace(now, projector_device="")


def _batch(case: Case, now: Placement) -> Placement:
    batch = max(BATCHES[-1], now.batch_tokens // 2)
    images = now.image_tokens
    if images > batch and not case.shape.causal_images:  # a picture must be one batch
        if case.wishes.image_tokens:
            return now
        images = batch
    return replace(now, batch_tokens=min(batch, now.batch_tokens), image_tokens=images)


def _context(case: Case, now: Placement) -> Placement:
    if case.wishes.context_tokens or now.context_tokens <= FLOOR_CONTEXT_TOKENS:
        return now
    context = max(FLOOR_CONTEXT_TOKENS, now.context_tokens // 2)
    return replace(now, context_tokens=context, batch_tokens=min(now.batch_tokens, context))


def _experts(case: Case, now: Placement) -> Placement:
    open_to_it = case.wishes.gpu_layers is None and case.wishes.cpu_expert_layers is None
    if not case.shape.has_experts or not open_to_it or len(now.devices) != 1:
        return now
    if classify(now, case.layers) not in ("gpu", "experts"):
        return now
    count = min(case.layers, now.cpu_expert_layers + EXPERTS_STEP)
    return replace(now, cpu_expert_layers=count)


_STEPS: tuple[Step, ...] = (
    (_projector, "the projector on the CPU"),
    (_batch, "batches half as large"),
    (_context, "half the context"),
    (_experts, "two more layers of experts on the CPU"),
)
