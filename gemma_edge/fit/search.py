"""Among ways and among models: which plan is the best one, and the sentence that says why.

Tiers come first (fit.md 4.7): A answers at reading speed with room for documents, B is usable, C is
the rest. Within A and B the better model wins, within C the faster one.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from gemma_edge.fit.adapter import adapter_problem
from gemma_edge.fit.case import (
    FLOOR_CONTEXT_TOKENS,
    WANTED_CONTEXT_TOKENS,
    Case,
    Option,
    Outcome,
    check_context,
    render_context,
)
from gemma_edge.fit.plan import Rung, Speed
from gemma_edge.fit.rungs import climb
from gemma_edge.fit.speed import Kind, classify, has_fast_memory
from gemma_edge.fit.ways import ways

Tier = Literal["A", "B", "C"]

FLUENT_SPEED = 25.0  # tokens a second; faster than anyone reads along
USABLE_SPEED = 6.0  # about as fast as one reads
MIXED_SHARE = 0.8  # of an estimate: the reports of fit.md 4.3 lie up to a fifth below it

UNSEEN = "llama.cpp does not see it; gemma-edge doctor says why"
_KINDS: tuple[Kind, ...] = ("cpu", "partial", "experts", "gpu")  # the better last

Rank = tuple[float, ...]


def tier(case: Case, option: Option) -> Tier:
    """A person who names a least speed says what is fast enough: then A and B ask for it. What
    computes beside ordinary main memory is never A: it reads documents so slowly that only the
    answer's quality is left to choose by."""
    speed, context = _safe_speed(case, option), option.placement.context_tokens
    asked = case.wishes.min_speed
    fluent = speed >= (asked or FLUENT_SPEED)
    fluent &= bool(asked) or has_fast_memory(option.placement, case.hardware)
    if fluent and context >= min(WANTED_CONTEXT_TOKENS, case.wanted):
        return "A"
    usable = speed >= (asked or USABLE_SPEED)
    return "B" if usable and context >= min(FLOOR_CONTEXT_TOKENS, case.wanted) else "C"


def _kind(case: Case, option: Option) -> Kind:
    return classify(option.placement, case.layers)


def _safe_speed(case: Case, option: Option) -> float:
    """What to count on. Nobody knows the main memory's speed, nor what handing over costs, before
    a placement that uses both memories was measured."""
    sure = option.speed.measured or _kind(case, option) in ("gpu", "cpu")
    return option.speed.tokens_per_second * (1.0 if sure else MIXED_SHARE)


def rank(case: Case, option: Option) -> Rank:
    """Larger is better; options of one model and of several are compared by the same rule."""
    placement, speed = option.placement, option.speed.tokens_per_second
    kind = _KINDS.index(_kind(case, option))
    cache = float(placement.kv_type != "q8_0")
    context = min(placement.context_tokens, WANTED_CONTEXT_TOKENS)
    rest = (*case.candidate.quality, kind, cache, context, -case.order)
    grade = tier(case, option)
    if grade == "C":
        return (0, not case.candidate.few_bits, speed, *rest)
    return ("BA".index(grade) + 1, *rest, speed)


def search(case: Case) -> Outcome:
    """The best option of one candidate, and everything that was tried.

    Raises:
        DoesNotFit: a pinned context that this model cannot have.
    """
    if refusal := _refuse(case):
        rung = Rung(what=case.candidate.title, taken=False, reason=refusal)
        return Outcome(best=None, rungs=(rung,), refusal=refusal)
    tried: list[Rung | Option] = []
    refusals: list[str] = []
    for way in ways(case):
        climbed = climb(case, way)
        tried += climbed.rungs
        if climbed.option is None:
            refusals.append(climbed.refusal)
            continue
        tried.append(climbed.option)
        if tier(case, climbed.option) == "A":  # what comes after is slower and no better
            break
    found = [each for each in tried if isinstance(each, Option)]
    least = case.wishes.min_speed or 0
    fast = [option for option in found if option.speed.tokens_per_second >= least]
    best = max(fast, key=lambda option: rank(case, option)) if fast else None
    rungs = tuple(each if isinstance(each, Rung) else _rung(each, best) for each in tried)
    return Outcome(best=best, rungs=rungs, refusal="" if best else _why_not(case, found, refusals))


def _rung(option: Option, best: Option | None) -> Rung:
    return Rung(
        what=_title(option), taken=option is best, reason=f"fits, {render_speed(option.speed)}"
    )


def _title(option: Option) -> str:
    placement = option.placement
    words = [option.what, f"{render_context(placement.context_tokens)} context"]
    if placement.kv_type != "f16":
        words.append(f"{placement.kv_type} KV")
    return ", ".join(words)


def render_speed(speed: Speed) -> str:
    """``~20 tok/s``; no tilde where it was measured."""
    digits = 0 if speed.tokens_per_second >= 10 else 1  # noqa: PLR2004
    return f"{'' if speed.measured else '~'}{speed.tokens_per_second:.{digits}f} tok/s"


def render_option(option: Option) -> str:
    """``24 of 30 expert layers on the CPU, 32k context, ~20 tok/s``."""
    return f"{_title(option)}, {render_speed(option.speed)}"


def _refuse(case: Case) -> str:  # noqa: PLR0911  (one return a pin)
    """Pins that no placement of this model can keep, "" where there are none."""
    check_context(case)
    wishes, title = case.wishes, case.candidate.title
    if problem := next(filter(None, _adapter_problems(case)), ""):
        return problem
    if wishes.vision and case.candidate.projector is None:
        return f"{title} has no projector and sees no images"
    if wishes.cpu_expert_layers and not case.shape.has_experts:
        return f"{title} is no mixture of experts, there are none to keep on the CPU"
    if (wishes.cpu_expert_layers or 0) > case.layers:
        return f"{title} has {case.layers} layers, not {wishes.cpu_expert_layers}"
    needs_gpu = wishes.require_gpu or wishes.gpu_layers not in (None, 0) or wishes.cpu_expert_layers
    if needs_gpu and not case.devices:
        return _no_gpu(case)
    if wishes.require_gpu and wishes.gpu_layers == 0:
        return "a GPU was required, and 0 layers on it"
    return ""


def _adapter_problems(case: Case) -> Iterator[str]:
    candidate = case.candidate
    for each in case.wishes.adapters:
        yield adapter_problem(candidate.header, each.header, exact=candidate.exact)


def _no_gpu(case: Case) -> str:
    for device in case.hardware.devices:
        if not device.integrated:
            return f"{device.title} cannot be used: {UNSEEN}"
    return "this machine has no GPU that llama.cpp sees"


def _why_not(case: Case, found: Sequence[Option], refusals: Sequence[str]) -> str:
    """What was short in every way, or the fastest where a speed was asked for."""
    if found:
        best = max(found, key=lambda option: option.speed.tokens_per_second)
        return f"{render_option(best)}; {case.wishes.min_speed:g} tok/s were asked for"
    return "; ".join(dict.fromkeys(refusals)) or "these flags leave no way to place it"
