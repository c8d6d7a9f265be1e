"""The ladder of one candidate: what is given up, in which order, until it fits (fit.md 4.7).

Every way to place it is tried from the wanted context downwards. In each step the first setting
that fits is taken, and settings are tried from the one that gives up least: so more memory never
gives less.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from gemma_edge.fit.case import (
    CONTEXT_STEPS,
    FLOOR_CONTEXT_TOKENS,
    MOST_CONTEXT_TOKENS,
    Case,
    Option,
    render_context,
    render_shortage,
    short_of_gpu,
)
from gemma_edge.fit.ledger import Ledger
from gemma_edge.fit.plan import KvType, Placement, Rung
from gemma_edge.fit.speed import classify, estimate
from gemma_edge.fit.threads import choose_threads
from gemma_edge.fit.ways import Way

BATCHES = (512, 256, 128)  # llama.cpp's own n_ubatch, and less
EXPERT_BATCH = 1024  # experts are copied to the GPU once a batch: large ones pay (fit.md 4.4)
BATCH_STEP_TOKENS = 128
# A KV cache of so many bytes a token is worth making smaller; of the sizes only 31B's (fit.md 3.5).
HEAVY_CACHE_BYTES = 48 << 10


@dataclass(frozen=True, slots=True)
class Climbed:
    """What one way came to: the first setting that fits, what was tried before it, and what was
    short at last where there is none."""

    option: Option | None
    rungs: tuple[Rung, ...]
    refusal: str = ""


def climb(case: Case, way: Way) -> Climbed:
    """From the wanted context downwards."""
    rungs: list[Rung] = []
    refusal = ""
    for kv_type, context in _levels(case, way):
        title = f"{way.what}, {render_context(context)} context"
        title += f", {kv_type} KV" if kv_type != "f16" else ""
        settings = list(_settings(case, way, context, kv_type))
        least = _settle(case, way.arrange(settings[-1]))[1]
        if short_of_gpu(least):
            given_up = _describe(settings[-1], settings[0])
            reason = render_shortage(least) + (f", with {given_up}" if given_up else "")
            rungs.append(Rung(what=title, taken=False, reason=reason))
            refusal = f"{way.what} it {render_shortage(least, context)}"
            continue
        for setting in settings:
            placement, ledger = _settle(case, way.arrange(setting))
            if ledger.fits:
                return Climbed(_option(case, way, placement, ledger), tuple(rungs))
            given_up = _describe(setting, settings[0])
            what = f"{title}, {given_up}" if given_up else title
            rungs.append(Rung(what=what, taken=False, reason=render_shortage(ledger)))
            refusal = f"{way.what} it {render_shortage(ledger, context)}"
    return Climbed(None, tuple(rungs), refusal)


def _option(case: Case, way: Way, placement: Placement, ledger: Ledger) -> Option:
    """Spend what is left, then say how fast it is."""
    placement, ledger, notes = _polish(case, way, placement, ledger)
    return make_option(case, placement, ledger, notes)


def make_option(
    case: Case, placement: Placement, ledger: Ledger, notes: tuple[str, ...] = ()
) -> Option:
    """A placement with its speed and its threads."""
    choose = partial(
        choose_threads,
        case.hardware.cpu,
        case.candidate.header.file_bytes,
        asked=case.wishes.threads,
        all_on_gpu=classify(placement, case.layers) == "gpu",
    )
    threads = choose(busy_programs=case.busy_programs)
    # What runs beside us now must not decide which model a person downloads.
    speed = estimate(case, placement, choose().decode)
    what = render_kind(case, placement)
    return Option(
        placement=placement, ledger=ledger, speed=speed, threads=threads, what=what, notes=notes
    )


def render_kind(case: Case, placement: Placement) -> str:
    """``24 of 30 expert layers on the CPU``."""
    kind = classify(placement, case.layers)
    if kind == "experts":
        return f"{placement.cpu_expert_layers} of {case.layers} expert layers on the CPU"
    if kind == "partial":
        return f"{placement.gpu_layers} of {case.layers} layers on the GPU"
    if kind == "cpu":
        return "on the CPU"
    many = len(placement.devices)
    return "all on the GPU" if many == 1 else f"all on {many} GPUs"


def _levels(case: Case, way: Way) -> Iterator[tuple[KvType, int]]:
    """KV types and contexts in the order in which they are given up."""
    lower = [step for step in reversed(CONTEXT_STEPS) if FLOOR_CONTEXT_TOKENS <= step < case.wanted]
    contexts = [case.wanted] if case.wishes.context_tokens else [case.wanted, *lower]
    first = case.wishes.kv_type or "f16"
    yield from ((first, context) for context in contexts)
    if case.wishes.kv_type is None and way.kind == "gpu" and heavy_cache(case):
        yield "q8_0", contexts[-1]


def heavy_cache(case: Case) -> bool:
    """Whether a quantized KV cache gains anything worth its loss."""
    own = (layer for layer in case.shape.layers if layer.kind == "global")
    return sum(2 * (layer.key_values + layer.value_values) for layer in own) >= HEAVY_CACHE_BYTES


def _settings(case: Case, way: Way, context: int, kv_type: KvType) -> Iterator[Placement]:
    """Batch, images and projector, from what gives up least to what gives up most."""
    budget = (case.wishes.image_tokens or case.candidate.image_tokens) if case.sees else 0
    whole = max(BATCHES[0], -(-budget // BATCH_STEP_TOKENS) * BATCH_STEP_TOKENS)
    projectors = _projector_places(case, way)
    for batch in (whole, *(each for each in BATCHES if each < whole)):
        images = budget
        if budget > batch and not case.shape.causal_images:  # a picture must be one batch
            if case.wishes.image_tokens:
                continue
            images = batch
        for projector in projectors:
            yield Placement(
                context_tokens=context, batch_tokens=min(batch, context), kv_type=kv_type,
                projector_device=projector, image_tokens=images,
                load_mode="none" if _copies_anyway(case, way) else "mmap",
            )  # fmt: skip


def _projector_places(case: Case, way: Way) -> tuple[str, ...]:
    if not case.sees or not way.device:
        return ("",)
    if way.kind == "gpu" or case.wishes.vision:
        return (way.device, "")
    return ("",)  # beside experts or layers it costs speed; it comes back where there is room


def _copies_anyway(case: Case, way: Way) -> bool:
    """Where mapping the file makes pages that nobody needs (fit.md 4.5, 5.3): CUDA on Windows,
    a part of the layers on Metal, a GPU that shares main memory and has no Metal."""
    device = next((each for each in case.devices if each.name == way.device), None)
    if device is None:
        return False
    if device.backend == "metal":
        return way.kind == "partial"
    return device.integrated or (case.hardware.system == "win32" and device.backend == "cuda")


def _settle(case: Case, placement: Placement) -> tuple[Placement, Ledger]:
    """Where only main memory is short: read rows of the embeddings as they are needed, and keep no
    faster copy of the weights."""
    ledger = case.ledger(placement)
    if ledger.fits or short_of_gpu(ledger):
        return placement, ledger
    for relief in _reliefs(case, placement):
        relieved = case.ledger(relief)
        if relieved.fits:
            return relief, relieved
        placement, ledger = relief, relieved
    return placement, ledger


def _reliefs(case: Case, placement: Placement) -> Iterator[Placement]:
    if case.per_layer_embeddings and placement.load_mode == "mmap":
        placement = replace(placement, lazy=True)
        yield placement
    if classify(placement, case.layers) != "gpu" and placement.repack:
        yield replace(placement, repack=False)


def _polish(
    case: Case, way: Way, placement: Placement, ledger: Ledger
) -> tuple[Placement, Ledger, tuple[str, ...]]:
    """What is left over goes to larger batches, pinned memory, the projector, and context."""
    notes = []
    for better, note in _improvements(case, way, placement):
        improved = better(placement)
        fresh = case.ledger(improved)
        if improved != placement and fresh.fits:
            placement, ledger = improved, fresh
            notes.append(note)
    if way.kind in ("gpu", "experts") and case.wishes.context_tokens is None:
        for context in _larger(case, placement):
            grown = replace(placement, context_tokens=context)
            if len(placement.devices) > 1:
                grown = way.arrange(grown)
            fresh = case.ledger(grown)
            if fresh.fits:
                return grown, fresh, tuple(notes)
    return placement, ledger, tuple(notes)


def _improvements(
    case: Case, way: Way, placement: Placement
) -> Iterator[tuple[Callable[[Placement], Placement], str]]:
    if way.kind != "experts":
        return
    batch = min(max(EXPERT_BATCH, placement.batch_tokens), placement.context_tokens)
    yield (
        lambda now: replace(now, batch_tokens=batch),
        f"batches of {batch:,} tokens: experts are copied to the GPU once a batch",
    )
    yield (
        lambda now: replace(now, load_mode="none"),
        "the experts are read into pinned memory, which the GPU copies faster",
    )
    if case.sees:
        yield (
            lambda now: replace(now, projector_device=way.device),
            "room is left for the projector",
        )


def _larger(case: Case, placement: Placement) -> list[int]:
    """Contexts to spend what is left on, the largest first. None with quantized KV: that was taken
    because memory is short."""
    if placement.kv_type != "f16" and case.wishes.kv_type is None:
        return []
    most = min(MOST_CONTEXT_TOKENS, case.trained)
    steps = {*CONTEXT_STEPS, case.trained}
    if placement.context_tokens < case.wanted:
        return []
    return sorted((step for step in steps if case.wanted < step <= most), reverse=True)


def _describe(setting: Placement, full: Placement) -> str:
    """What a setting gives up against the fullest one, in words."""
    words = []
    if setting.projector_device != full.projector_device:
        words.append("the projector on the CPU")
    if setting.batch_tokens != full.batch_tokens:
        words.append(f"batches of {setting.batch_tokens}")
    if setting.image_tokens != full.image_tokens:
        words.append(f"images of {setting.image_tokens} tokens")
    return ", ".join(words)
