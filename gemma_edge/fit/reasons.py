"""The plan's sentences: why this model, why so much context, why these threads. Pure."""

from collections.abc import Iterator, Sequence

from gemma_edge.fit.case import (
    FLOOR_CONTEXT_TOKENS,
    WANTED_CONTEXT_TOKENS,
    Case,
    Option,
    render_context,
)
from gemma_edge.fit.search import (
    FLUENT_SPEED,
    UNSEEN,
    USABLE_SPEED,
    render_option,
    render_speed,
    tier,
)
from gemma_edge.fit.speed import classify, estimate
from gemma_edge.units import render_bytes


def explain_choice(case: Case, option: Option, fitting: Sequence[tuple[Case, Option]]) -> list[str]:
    """Why this model, and what speaks against each better one that would be usable too."""
    said, reasons = {case.candidate.size_name}, [_why_this(case, option)]
    for other, fits in fitting:
        size = other.candidate.size_name
        better = other.candidate.quality > case.candidate.quality and tier(other, fits) != "C"
        if better and size not in said:
            said.add(size)
            reasons.append(f"{other.candidate.title} fits too, but {render_option(fits)}")
    return reasons


def explain(case: Case, option: Option) -> Iterator[str]:
    """Context, placement, what is out of the ordinary, threads."""
    placement, threads = option.placement, option.threads
    yield f"context {placement.context_tokens:,} tokens: {_why_context(case, option)}"
    yield option.what
    if classify(placement, case.layers) == "cpu":
        yield from _why_cpu(case)
    if case.candidate.few_bits:
        yield f"its weights have {case.candidate.bits} bits, which costs noticeably"
    if placement.kv_type == "q8_0" and case.wishes.kv_type is None:
        yield "the KV cache has 8 bits, which Gemma 4 notices: there is no room for 16"
    if case.sees and placement.image_tokens < case.candidate.image_tokens:
        yield f"images of at most {placement.image_tokens} tokens: memory is short"
    yield from option.notes
    if placement.lazy:
        yield "embeddings are read from disk as they are needed: main memory is short"
    if not placement.repack:
        yield "no faster copy of the weights is made: main memory is short"
    slowed = estimate(case, placement, threads.decode) != option.speed  # by other programs
    alone = f"; alone {render_speed(option.speed)}" if slowed else ""
    yield f"{threads.decode} thread{'' if threads.decode == 1 else 's'}: {threads.reason}{alone}"


def _why_this(case: Case, option: Option) -> str:
    grade, context = tier(case, option), render_context(min(WANTED_CONTEXT_TOKENS, case.wanted))
    fluent, usable = (case.wishes.min_speed or speed for speed in (FLUENT_SPEED, USABLE_SPEED))
    if case.alone:
        return "the model that was asked for"
    if grade == "C":
        return "the fastest of the models that fit"
    if grade == "B":
        floor = render_context(min(FLOOR_CONTEXT_TOKENS, case.wanted))
        return f"the best model at {usable:g} tok/s or more with {floor} context or more"
    if classify(option.placement, case.layers) == "gpu":
        return f"the best model that stays on the GPU with {context} context or more"
    return f"the best model at {fluent:g} tok/s or more with {context} context or more"


def _why_cpu(case: Case) -> Iterator[str]:
    """Never without a word: what became of the GPUs that the machine has."""
    if case.wishes.gpu_layers == 0:
        yield "no layers on the GPU, as asked"
        return
    for device in case.hardware.devices:
        if device.usable:
            yield f"{device.title} is not enough: {render_bytes(device.free_bytes)} are free on it"
        elif not device.integrated:
            yield f"{device.title} is not used: {UNSEEN}"


def _why_context(case: Case, option: Option) -> str:
    context = option.placement.context_tokens
    if case.wishes.context_tokens:
        return "as asked"
    if case.shape.trained_context_tokens is None:
        return "the model does not say what it was trained with"
    if context >= case.trained:
        return "all that the model was trained with"
    if context < case.wanted:
        return f"less than the {render_context(case.wanted)} wanted, memory is short"
    return f"the model reads up to {case.trained:,}"
