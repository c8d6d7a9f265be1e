"""What is given up when memory is short, and in which order.

Memory is short twice: while a strategy is followed to a placement that fits (``follow``), and at
loading, when other programs took memory since the plan was made (``iter_fallbacks``). The reasons
for both orders stand in docs/memory.md ("Search order", "When memory runs out"). Pure.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from gemma_edge.planning.plan import RAM, Attempt, KvType, Ledger, NoPlan, Placement, Plan
from gemma_edge.planning.render import short_tokens
from gemma_edge.planning.search import CPU_ALONE, Search, Strategy, iter_strategies
from gemma_edge.units import render_bytes

FLOOR_CONTEXT_TOKENS = 8 << 10  # a long letter and its answer; less only when asked
MOST_CONTEXT_TOKENS = 128 << 10  # more only when asked: reading it takes minutes
CONTEXT_STEPS = (8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10)
BATCHES = (512, 256, 128)  # llama.cpp's own n_ubatch (common/common.h), and less
BATCH_STEP_TOKENS = 128  # a batch for a larger picture is a multiple of it
EXPERT_BATCH = 1024  # experts are copied once a batch (docs/memory.md, "Experts on the CPU")
# A KV cache of so many bytes a token is worth making smaller; of the sizes only 31B's, with 80 KiB
# (docs/memory.md, "Quantized KV cache").
HEAVY_CACHE_BYTES = 48 << 10
EXPERTS_STEP = 2  # layers; about 0.8 GiB of 26B-A4B at 4 bits


def follow(search: Search, strategy: Strategy) -> Plan | NoPlan:
    """The first placement that fits, from the wanted context downwards, with what was tried before
    it; what is left over is spent on it. What gives up least is tried first, so more memory never
    gives less."""
    attempts: list[Attempt] = []
    reason = ""
    for kv_type, context_tokens in _iter_caches(search, strategy):
        title = f"{strategy.what}, {short_tokens(context_tokens)} context"
        title += f", {kv_type} KV" if kv_type != "f16" else ""
        settings = list(_iter_settings(search, strategy, context_tokens, kv_type))
        least = search.ledger(_relieve(search, strategy.arrange(settings[-1])))
        if not least.fits_devices:
            given_up = _describe(settings[-1], settings[0])
            short = render_shortage(least) + (f", with {given_up}" if given_up else "")
            attempts.append(Attempt(what=title, taken=False, reason=short))
            reason = f"{strategy.what} it {render_shortage(least, context_tokens)}"
            continue
        for setting in settings:
            placement = _relieve(search, strategy.arrange(setting))
            ledger = search.ledger(placement)
            if ledger.fits:
                placement, notes = _spend(search, strategy, placement)
                return replace(search.plan(placement, notes), attempts=tuple(attempts))
            given_up = _describe(setting, settings[0])
            what = f"{title}, {given_up}" if given_up else title
            attempts.append(Attempt(what=what, taken=False, reason=render_shortage(ledger)))
            reason = f"{strategy.what} it {render_shortage(ledger, context_tokens)}"
    return NoPlan(reason=reason, attempts=tuple(attempts))


# The order while searching: for each context the projector on the GPU, then the size of a batch;
# then a smaller context, and at last the width of the KV cache.


def _iter_caches(search: Search, strategy: Strategy) -> Iterator[tuple[KvType, int]]:
    wanted, pinned = search.wanted_tokens, search.constraints
    lower = [step for step in reversed(CONTEXT_STEPS) if FLOOR_CONTEXT_TOKENS <= step < wanted]
    contexts = [wanted] if pinned.context_tokens else [wanted, *lower]
    yield from ((pinned.kv_type or "f16", context) for context in contexts)
    own = (layer for layer in search.shape.layers if layer.kind == "global")
    cell_bytes = sum(2 * (layer.key_values + layer.value_values) for layer in own)
    if pinned.kv_type is None and strategy.kind == "gpu" and cell_bytes >= HEAVY_CACHE_BYTES:
        yield "q8_0", contexts[-1]


def _iter_settings(
    search: Search, strategy: Strategy, context_tokens: int, kv_type: KvType
) -> Iterator[Placement]:
    """Batch, images and projector, from what gives up least to what gives up most."""
    pinned = search.constraints.image_tokens
    budget = (pinned or search.candidate.image_tokens) if search.sees else 0
    whole = max(BATCHES[0], -(-budget // BATCH_STEP_TOKENS) * BATCH_STEP_TOKENS)
    for batch in (whole, *(each for each in BATCHES if each < whole)):
        images = budget
        if budget > batch and not search.shape.causal_images:  # a picture must be one batch
            if pinned:
                continue
            images = batch
        for projector in _projector_places(search, strategy):
            yield Placement(
                context_tokens=context_tokens, batch_tokens=min(batch, context_tokens),
                kv_type=kv_type, projector_device=projector, image_tokens=images,
                load_mode="none" if _copies_anyway(search, strategy) else "mmap",
                variables=search.hardware.variables, sequences=search.constraints.sequences,
            )  # fmt: skip


def _projector_places(search: Search, strategy: Strategy) -> tuple[str, ...]:
    if not search.sees or not strategy.device:
        return ("",)
    if strategy.kind == "gpu" or search.constraints.vision:
        return (strategy.device, "")
    return ("",)  # beside experts or layers it costs speed; it comes back where there is room


def _copies_anyway(search: Search, strategy: Strategy) -> bool:
    """Where mapping the file makes pages that nobody needs: CUDA on Windows, a part of the layers
    on Metal, a GPU that shares main memory and has no Metal (docs/memory.md, "Weights")."""
    device = next((each for each in search.devices if each.name == strategy.device), None)
    if device is None:
        return False
    if device.backend == "metal":
        return strategy.kind == "partial"
    return device.integrated or (search.hardware.system == "win32" and device.backend == "cuda")


def _relieve(search: Search, placement: Placement) -> Placement:
    """Where only main memory is short: first rows of the embeddings are read as they are needed,
    then no faster copy of the weights is kept."""
    if not search.ledger(placement).fits and (copied := _copied(search, placement)):
        return copied
    lazy = search.per_layer_embeddings and placement.load_mode == "mmap"
    repack = placement.kind(search.layers) == "gpu"
    reliefs: tuple[dict[str, Any], ...] = ({"lazy": lazy}, {"repack": repack})
    for relief in reliefs:
        ledger = search.ledger(placement)
        if ledger.fits or not ledger.fits_devices:
            break
        placement = replace(placement, **relief)
    return placement


def _copied(search: Search, placement: Placement) -> Placement | None:
    """The same without the table that Metal keeps in memory because it lies between its tensors in
    the file: the weights are copied, and the CPU reads the table's rows as it needs them."""
    backends = {each.backend for each in search.devices if each.name in placement.devices}
    if "metal" in backends and search.per_layer_embeddings and placement.load_mode == "mmap":
        return replace(placement, load_mode="none", lazy=True)
    return None


def _describe(setting: Placement, full: Placement) -> str:
    words = []
    if setting.projector_device != full.projector_device:
        words.append("the projector on the CPU")
    if setting.batch_tokens != full.batch_tokens:
        words.append(f"batches of {setting.batch_tokens}")
    if setting.image_tokens != full.image_tokens:
        words.append(f"images of {setting.image_tokens} tokens")
    return ", ".join(words)


def render_shortage(ledger: Ledger, context_tokens: int = 0) -> str:
    """``needs 8.1 GiB at 8k context with 0.3 GiB to spare, 7.6 GiB are free on RTX 4060``, of the
    first memory that is too small; without the context where none is given."""
    at = f" at {short_tokens(context_tokens)} context" if context_tokens else ""
    for account in ledger.accounts:
        if not account.fits:
            free = render_bytes(max(0, account.budget_bytes or 0))
            place = "in main memory" if account.place == RAM else f"on {account.title}"
            kept = account.total_bytes - account.taken_bytes
            spare = f" with {render_bytes(kept)} to spare" if kept else ""
            need = render_bytes(account.total_bytes)
            return f"needs {need}{at}{spare}, {free} are free {place}"
    return ""


# What is left over.


def _spend(
    search: Search, strategy: Strategy, placement: Placement
) -> tuple[Placement, tuple[str, ...]]:
    """It goes to larger batches, pinned memory, the projector, and context; with notes in words."""
    notes = []
    if strategy.kind == "experts":
        for improved, note in _improve(search, strategy, placement):
            merged = replace(placement, **improved)
            if merged != placement and search.ledger(merged).fits:
                placement = merged
                notes.append(note)
    if strategy.kind in ("gpu", "experts"):
        placement = _enlarge_context(search, strategy, placement)
    return placement, tuple(notes)


def _improve(
    search: Search, strategy: Strategy, placement: Placement
) -> Iterator[tuple[dict[str, Any], str]]:
    """What makes experts on the CPU faster (docs/memory.md, "Experts on the CPU")."""
    batch = min(max(EXPERT_BATCH, placement.batch_tokens), placement.context_tokens)
    note = f"batches of {batch:,} tokens: experts are copied to the GPU once a batch"
    yield {"batch_tokens": batch}, note
    note = "the experts are read into pinned memory, which the GPU copies faster"
    yield {"load_mode": "none"}, note
    if search.sees:
        yield {"projector_device": strategy.device}, "room is left for the projector"


def _enlarge_context(search: Search, strategy: Strategy, placement: Placement) -> Placement:
    """The largest context that fits. Not with quantized KV: that was taken because memory is
    short."""
    pinned, wanted = search.constraints, search.wanted_tokens
    quantized = placement.kv_type != "f16" and pinned.kv_type is None
    if pinned.context_tokens is not None or quantized or placement.context_tokens < wanted:
        return placement
    most = min(MOST_CONTEXT_TOKENS, search.trained_tokens)
    for context in sorted({*CONTEXT_STEPS, search.trained_tokens}, reverse=True):
        if wanted < context <= most:
            grown = replace(placement, context_tokens=context)
            if len(placement.devices) > 1 and strategy.kind == "gpu":
                grown = strategy.arrange(grown)
            for each in filter(None, (grown, _copied(search, grown))):
                if search.ledger(each).fits:
                    return each
    return placement


# The order at loading. Other programs take memory between plan and load, and drivers take what
# nobody can predict. Each step gives up one thing more than the one before; what is pinned stays.


def iter_fallbacks(search: Search, plan: Plan) -> Iterator[Plan]:
    placement = plan.placement
    if search.candidate.drafter is not None:  # it changes how long answers take, and nothing else
        search = search.without_drafter()
        yield search.plan(placement, ("memory ran out: without the drafter",))
    for give_up, what in (*_STEPS, *_STEPS[1:]):
        smaller = give_up(search, placement)
        if smaller != placement and search.ledger(smaller).fits:
            placement = smaller
            yield search.plan(smaller, (f"memory ran out: {what}",))
    if plan.kind(search.layers) != "cpu" and CPU_ALONE in iter_strategies(search):
        last = follow(search, CPU_ALONE)
        if isinstance(last, Plan):
            yield replace(last, reasons=("memory ran out: the CPU alone",), attempts=())


def _batch(search: Search, now: Placement) -> Placement:
    batch = max(BATCHES[-1], now.batch_tokens // 2)
    images = now.image_tokens
    if images > batch and not search.shape.causal_images:  # a picture must be one batch
        if search.constraints.image_tokens:
            return now
        images = batch
    return replace(now, batch_tokens=min(batch, now.batch_tokens), image_tokens=images)


def _context(search: Search, now: Placement) -> Placement:
    if search.constraints.context_tokens or now.context_tokens <= FLOOR_CONTEXT_TOKENS:
        return now
    context = max(FLOOR_CONTEXT_TOKENS, now.context_tokens // 2)
    return replace(now, context_tokens=context, batch_tokens=min(now.batch_tokens, context))


def _experts(search: Search, now: Placement) -> Placement:
    pinned = search.constraints
    movable = pinned.gpu_layers is None and pinned.cpu_expert_layers is None
    movable &= search.shape.has_experts
    if not movable or now.kind(search.layers) not in ("gpu", "experts"):
        return now
    return replace(now, cpu_expert_layers=min(search.layers, now.cpu_expert_layers + EXPERTS_STEP))


_STEPS: tuple[tuple[Callable[[Search, Placement], Placement], str], ...] = (
    (lambda _, now: replace(now, projector_device=""), "the projector on the CPU"),
    (_batch, "batches half as large"),
    (_context, "half the context"),
    (_experts, "two more layers of experts on the CPU"),
)
