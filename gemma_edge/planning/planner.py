"""The best plan for a machine: which candidate, where its parts go, and why.

Each candidate is searched by itself (``find_plan``): every strategy that the constraints leave open
is followed until a placement fits, and the best of these is the candidate's plan. The search weighs
dozens of placements by a formula; the best candidate is then weighed by llama.cpp itself, and where
it does not fit after all, it is searched again by those numbers. Between candidates tiers come
first: A answers at reading speed with room for documents, B is usable, C is the rest. Within A and
B the better model wins, within C the faster one. Pure but for ``measure``.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import field, replace
from functools import partial
from itertools import chain
from typing import Literal

from gemma_edge.errors import DoesNotFit
from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.memory import Measure, closed_form
from gemma_edge.planning.model import adapter_problem, parse_shape
from gemma_edge.planning.plan import (
    ALL_LAYERS,
    Attempt,
    Candidate,
    Constraints,
    NoPlan,
    PlacementKind,
    Plan,
)
from gemma_edge.planning.render import render_kind, render_speed, short_tokens
from gemma_edge.planning.search import (
    MIN_CONTEXT_TOKENS,
    WANTED_CONTEXT_TOKENS,
    Search,
    iter_strategies,
)
from gemma_edge.planning.shortage import FLOOR_CONTEXT_TOKENS, follow, iter_fallbacks
from gemma_edge.planning.speed import has_fast_memory
from gemma_edge.records import dataclass
from gemma_edge.store.measurements import Measurement
from gemma_edge.units import render_bytes


class NothingFits(DoesNotFit):
    """No candidate fits; ``attempts`` is all that was tried."""

    def __init__(self, message: str, *, hint: str, attempts: tuple[Attempt, ...]) -> None:
        super().__init__(message, hint=hint)
        self.attempts = attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Plans for one machine. ``measure`` says how large llama.cpp's buffers will be; ``quick`` says
    it by numbers from elsewhere, for a choice among many. ``speeds`` were measured here.
    ``busy_programs`` want a core now: those cores are left alone."""

    hardware: Hardware
    measure: Measure
    quick: Measure | None = None
    speeds: Sequence[Measurement] = ()
    busy_programs: int | None = None
    _planned: list[tuple[Candidate, Constraints, Plan]] = field(default_factory=list, repr=False)

    def plan(self, candidates: Sequence[Candidate], constraints: Constraints) -> Plan:
        """The best plan; ``alternatives`` are the other sizes that fit, the best first. Among many
        the choice is quick, and the chosen one is measured.

        Raises:
            NothingFits: with the numbers, the nearest thing that fits as the hint, and what was
                tried.
            DoesNotFit: a context that no model can have.
            EngineError: ``measure`` cannot answer.
        """
        if len(candidates) == 1:
            return self._plan_one(candidates[0], constraints)
        whole, candidates = candidates, [_without_spare(each) for each in candidates]
        if self.quick is None:
            return self._choose(candidates, constraints, self.measure)
        choice = self._choose(candidates, constraints, self.quick)
        chosen = next(each for each in whole if each.name == choice.name)
        try:
            exact = self._plan_one(chosen, constraints)
        except DoesNotFit:  # so close to the edge that only measuring tells
            return self._choose(candidates, constraints, self.measure)
        return replace(
            exact, reasons=(*choice.reasons[:1], *exact.reasons[1:]),
            attempts=choice.attempts, alternatives=choice.alternatives,
        )  # fmt: skip

    def plan_each(
        self, candidates: Sequence[Candidate], constraints: Constraints
    ) -> list[Plan | NoPlan]:
        """Each by itself as if the person had named it, quickly, in the order given. The reason of
        a plan is what it is, in words."""
        results = []
        candidates = [_without_spare(each) for each in candidates]
        for search in self._searches(candidates, constraints, self.quick or self.measure):
            result = find_plan(replace(search, alone=True))
            if isinstance(result, Plan):
                result = replace(result, reasons=(search.render_with_speed(result),))
            results.append(result)
        return results

    def _plan_one(self, candidate: Candidate, constraints: Constraints) -> Plan:
        """A candidate is planned once: it is asked for when it is chosen, before it is fetched, and
        before it is loaded."""
        if constraints.vision is False:
            candidate = candidate.without_projector()
        for known, asked, plan in self._planned:
            if (known, asked) == (candidate, constraints):
                return plan
        plan = self._choose([_without_spare(candidate)], constraints, self.measure)
        if candidate.spare:
            plan = self._with_spare(candidate, constraints, plan)
        self._planned.append((candidate, constraints, plan))
        return plan

    def _with_spare(self, candidate: Candidate, constraints: Constraints, alone: Plan) -> Plan:
        """With its drafter, where that takes nothing away from the plan without it."""
        with suppress(DoesNotFit):
            both = self._choose([candidate], constraints, self.measure)
            if both.placement == alone.placement:
                return both
        reason = "its drafter would pay, but there is no memory for it; --draft mtp insists on it"
        return replace(alone, reasons=(*alone.reasons, reason))

    def _choose(
        self, candidates: Sequence[Candidate], constraints: Constraints, measure: Measure
    ) -> Plan:
        """Search each, take the best that fits by ``measure`` too, and say why."""
        searches = self._searches(candidates, constraints, measure)
        if searches[0].alone:
            for problem in filter(None, map(_context_problem, searches)):
                raise problem
        found = [(search, find_plan(search)) for search in searches]
        index = _best(found, measure)
        if index is None:
            raise _nothing_fits(found)
        search, plan = found[index]
        assert isinstance(plan, Plan)
        fitting = [(each, result) for each, result in found if isinstance(result, Plan)]
        attempts = plan.attempts
        return replace(
            plan,
            reasons=(*_explain_choice(search, plan, fitting), *_explain(search, plan)),
            attempts=attempts if len(found) == 1 else (*_one_each(found, search), *attempts),
            fallbacks=tuple(iter_fallbacks(search, plan)),
            alternatives=tuple(
                replace(other, reasons=tuple(_explain(each, other)), attempts=())
                for each, other in _other_sizes(search, fitting)
            ),
        )

    def _searches(
        self, candidates: Sequence[Candidate], constraints: Constraints, measure: Measure
    ) -> list[Search]:
        """By the formula of ``measure``, which says nothing about a cache that only llama.cpp can
        size."""
        formula = closed_form(measure, self.hardware)
        alone = len({each.size for each in candidates}) == 1
        shapes = (parse_shape(each.header, exact=each.exact) for each in candidates)
        return [
            Search(
                candidate=candidate, shape=shape, hardware=self.hardware, constraints=constraints,
                measure=measure if shape.cache_problem else formula, alone=alone, order=order,
                speeds=self.speeds, busy_programs=self.busy_programs,
            )
            for order, (candidate, shape) in enumerate(zip(candidates, shapes, strict=True))
        ]  # fmt: skip


def _without_spare(candidate: Candidate) -> Candidate:
    return candidate.without_drafter() if candidate.spare else candidate


Found = tuple[Search, Plan | NoPlan]


def find_plan(search: Search) -> Plan | NoPlan:
    if reason := _pin_problem(search):
        attempt = Attempt(what=search.candidate.title, taken=False, reason=reason)
        return NoPlan(reason=reason, attempts=(attempt,))
    tried: list[Attempt | Plan] = []
    refusals: list[str] = []
    for strategy in iter_strategies(search):
        found = follow(search, strategy)
        tried += found.attempts
        if isinstance(found, NoPlan):
            refusals.append(found.reason)
            continue
        tried.append(found)
        if tier(search, found) == "A":  # what comes after is slower and no better
            break
    plans = [each for each in tried if isinstance(each, Plan)]
    fast = [each for each in plans if _speed(search, each) >= (search.constraints.min_speed or 0)]
    best = max(fast, key=partial(rank, search), default=None)
    attempts = tuple(
        each if isinstance(each, Attempt) else Attempt(
            what=search.render(each), taken=each is best,
            reason=f"fits, {render_speed(search.idle_speed(each))}",
        )
        for each in tried
    )  # fmt: skip
    if best is None:
        return NoPlan(reason=_why_not(search, plans, refusals), attempts=attempts)
    return replace(best, attempts=attempts)


def _best(found: list[Found], measure: Measure) -> int | None:
    """Which of them ranks best and fits by ``measure`` itself too; what does not is searched again
    by it, in its place in ``found``. None where nothing fits."""
    measured: set[int] = set()
    while True:
        ranked = [
            (rank(search, plan), index)
            for index, (search, plan) in enumerate(found)
            if isinstance(plan, Plan)
        ]
        if not ranked:
            return None
        index = max(ranked, key=lambda each: each[0])[1]
        if index in measured:
            return index
        measured.add(index)
        search, plan = found[index]
        assert isinstance(plan, Plan)
        exact = search.measured_by(measure)
        ledger = exact.ledger(plan.placement)
        fits = replace(plan, ledger=ledger)
        found[index] = (search, fits) if ledger.fits else (exact, find_plan(exact))


# Which plan is the better one.

FLUENT_SPEED = 25.0  # tokens a second; faster than anyone reads along
USABLE_SPEED = 6.0  # about as fast as one reads
MIXED_SHARE = 0.8  # of an estimate; published reports lie so far below (docs/memory.md, "Speed")
_KINDS: tuple[PlacementKind, ...] = ("cpu", "partial", "experts", "gpu")  # the better last


def tier(search: Search, plan: Plan) -> Literal["A", "B", "C"]:
    """A person who names a least speed says what is fast enough: then A and B ask for it. What
    computes beside ordinary main memory is never A: it reads documents so slowly that only the
    answer's quality is left to choose by."""
    asked, context = search.constraints.min_speed, plan.context_tokens
    speed = search.idle_speed(plan)
    # Nobody knows the main memory's speed, nor what handing over costs, before a placement that
    # uses both memories was measured.
    sure = speed.measured or plan.kind(search.layers) in ("gpu", "cpu")
    safe = speed.tokens_per_second * (1.0 if sure else MIXED_SHARE)
    fluent = safe >= (asked or FLUENT_SPEED)
    fluent &= bool(asked) or has_fast_memory(plan, search.hardware)
    if fluent and context >= min(WANTED_CONTEXT_TOKENS, search.wanted_tokens):
        return "A"
    usable = safe >= (asked or USABLE_SPEED)
    return "B" if usable and context >= min(FLOOR_CONTEXT_TOKENS, search.wanted_tokens) else "C"


def rank(search: Search, plan: Plan) -> tuple[float, ...]:
    """Larger is better; plans of one model and of several are compared by the same rule."""
    speed, kind = _speed(search, plan), _KINDS.index(plan.kind(search.layers))
    cache = float(plan.kv_type != "q8_0")
    context = min(plan.context_tokens, WANTED_CONTEXT_TOKENS)
    rest = (*search.candidate.quality, kind, cache, context, -search.order)
    grade = tier(search, plan)
    if grade == "C":
        return (0, not search.candidate.few_bits, speed, *rest)
    return ("BA".index(grade) + 1, *rest, speed)


def _speed(search: Search, plan: Plan) -> float:
    return search.idle_speed(plan).tokens_per_second


def _other_sizes(
    chosen: Search, fitting: Sequence[tuple[Search, Plan]]
) -> list[tuple[Search, Plan]]:
    """The best of every size but the chosen one: the better model first, the slow ones last."""
    best: dict[str, tuple[Search, Plan]] = {}
    for pair in sorted(fitting, key=lambda pair: rank(*pair), reverse=True):
        best.setdefault(pair[0].candidate.size, pair)
    best.pop(chosen.candidate.size)

    def place(pair: tuple[Search, Plan]) -> tuple[float, ...]:
        slow = tier(*pair) == "C"
        return (0, _speed(*pair)) if slow else (1, *pair[0].candidate.quality)

    return sorted(best.values(), key=place, reverse=True)


# Why a candidate cannot run, and the one flag to change, found by trying it.

_DOCTOR = "gemma-edge doctor says why"
SMALLER_CONTEXTS = (4096, 2048, 1024)
SHOW_ALL = "gemma-edge plan --all shows what fits this machine"


def _context_problem(search: Search) -> DoesNotFit | None:
    """A context that was asked for, and is smaller than the least or larger than the model's."""
    asked, trained = search.constraints.context_tokens, search.shape.trained_context_tokens
    if asked is not None and asked < MIN_CONTEXT_TOKENS:
        problem = f"is too small, the least is {MIN_CONTEXT_TOKENS}"
        hint = f"--ctx {MIN_CONTEXT_TOKENS} or more"
    elif asked is not None and trained is not None and asked > trained >= MIN_CONTEXT_TOKENS:
        problem = f"was asked for, {search.candidate.title} reads at most {trained:,}"
        hint = f"--ctx {trained}"
    else:
        return None
    return DoesNotFit(f"a context of {asked:,} tokens {problem}", hint=hint)


def _pin_problem(search: Search) -> str:
    """What was pinned and no placement of this model can keep, or ""."""
    pinned, candidate = search.constraints, search.candidate
    if problem := _context_problem(search):
        return problem.message
    for _, header in pinned.adapters:
        if reason := adapter_problem(candidate.header, header, exact=candidate.exact):
            return reason
    if pinned.vision and candidate.projector is None:
        return f"{candidate.title} has no projector and sees no images"
    count, title = pinned.cpu_expert_layers or 0, candidate.title
    if count and not search.shape.has_experts:
        return f"{title} is no mixture of experts, there are none to keep on the CPU"
    if count > search.layers:
        return f"{title} has {search.layers} layers, not {count}"
    return _gpu_problem(search)


def _gpu_problem(search: Search) -> str:
    pinned = search.constraints
    wanted = pinned.require_gpu or pinned.gpu_layers not in (None, 0) or pinned.cpu_expert_layers
    if wanted and not search.devices:
        for device in search.hardware.devices:
            if not device.integrated:
                return f"{device.title} cannot be used: {device.obstacle}; {_DOCTOR}"
        return "this machine has no GPU that llama.cpp sees"
    if pinned.require_gpu and pinned.gpu_layers == 0:
        return "a GPU was required, and 0 layers on it"
    return ""


def _why_not(search: Search, plans: Sequence[Plan], refusals: Sequence[str]) -> str:
    """What was short in every way, or the fastest where a speed was asked for."""
    if plans:
        fastest = search.render_with_speed(max(plans, key=partial(_speed, search)))
        return f"{fastest}; {search.constraints.min_speed:g} tok/s were asked for"
    return "; ".join(dict.fromkeys(refusals)) or "these flags leave no way to place it"


def _nothing_fits(found: Sequence[Found]) -> NothingFits:
    """With the numbers of the smallest model, which came nearest."""
    by_size = sorted(found, key=lambda pair: pair[0].candidate.header.file_bytes)
    search, refusal = by_size[0]
    assert isinstance(refusal, NoPlan)
    title = f"{search.candidate.title} does not fit"
    if len(found) > 1:
        title = f"no model fits; {search.candidate.title} is the smallest"
    return NothingFits(
        f"{title}: {refusal.reason}",
        hint=_nearest([each for each, _ in by_size]),
        attempts=refusal.attempts if len(found) == 1 else _one_each(found, None),
    )


def _nearest(searches: Sequence[Search]) -> str:
    for relaxed, pin in chain.from_iterable(map(_relax, searches)):
        plan = find_plan(relaxed)
        if isinstance(plan, Plan):
            return _flag(pin, plan, relaxed)
    memory = searches[0].hardware.memory
    if memory.available_bytes and memory.total_bytes and not searches[0].devices:
        taken_bytes = memory.total_bytes - memory.available_bytes
        if taken_bytes > memory.available_bytes:
            return f"close other programs, which take {render_bytes(taken_bytes)}; {SHOW_ALL}"
    return SHOW_ALL


def _relax(search: Search) -> Iterator[tuple[Search, str]]:
    if search.candidate.drafter is not None:
        yield search.without_drafter(), "drafter"
    for pin in ("context_tokens", "image_tokens", "kv_type", "cpu_expert_layers", "gpu_layers",
                "min_speed"):  # fmt: skip
        if getattr(search.constraints, pin) is not None:
            yield search.constrained(**{pin: None}), pin
    if search.constraints.require_gpu:
        yield search.constrained(require_gpu=False), "require_gpu"
    if search.sees:
        yield search.constrained(vision=False), "vision"
    for context in SMALLER_CONTEXTS:
        if context < search.wanted_tokens:
            yield search.constrained(context_tokens=context), "context_tokens"


def _flag(pin: str, plan: Plan, search: Search) -> str:
    runs = render_kind(plan, search.layers)
    if pin == "require_gpu":
        return f"without --require-gpu it runs {runs}"
    if pin == "cpu_expert_layers" and not plan.cpu_expert_layers:
        return f"without --cpu-experts it runs {runs}"
    experts = f"--cpu-experts {plan.cpu_expert_layers}"
    if pin == "gpu_layers":
        count = "all" if plan.gpu_layers == ALL_LAYERS else plan.gpu_layers
        return f"--gpu-layers {count}" + (f" {experts}" if plan.cpu_expert_layers else "")
    return {
        "context_tokens": f"--ctx {plan.context_tokens}",
        "image_tokens": f"--detail {search.candidate.image_tokens}",
        "kv_type": f"--kv {plan.kv_type}",
        "cpu_expert_layers": experts,
        "min_speed": f"--min-speed {math.floor(_speed(search, plan) * 10) / 10}",
        "vision": "--no-vision",
        "drafter": "--draft lookup",
    }[pin]


def _one_each(found: Sequence[Found], chosen: Search | None) -> tuple[Attempt, ...]:
    ordered = sorted(found, key=lambda pair: pair[0].candidate.quality, reverse=True)
    attempts = []
    for search, each in ordered:
        reason = each.reason if isinstance(each, NoPlan) else search.render_with_speed(each)
        taken = search is chosen
        attempts.append(Attempt(what=search.candidate.title, taken=taken, reason=reason))
    return tuple(attempts)


def _explain_choice(
    search: Search, plan: Plan, fitting: Sequence[tuple[Search, Plan]]
) -> Iterator[str]:
    """Why this model, and what speaks against each better one that would be usable too."""
    yield _why_this(search, plan)
    said = {search.candidate.size_name}
    for other, fits in fitting:
        candidate = other.candidate
        better = candidate.quality > search.candidate.quality and tier(other, fits) != "C"
        if better and candidate.size_name not in said:
            said.add(candidate.size_name)
            yield f"{candidate.title} fits too, but {other.render_with_speed(fits)}"


def _explain(search: Search, plan: Plan) -> Iterator[str]:
    candidate, pinned = search.candidate, search.constraints
    yield f"context {plan.context_tokens:,} tokens: {_why_context(search, plan)}"
    yield render_kind(plan, search.layers)
    if plan.kind(search.layers) == "cpu":
        yield from _why_cpu(search)
    if candidate.few_bits:
        yield f"its weights have {candidate.bits} bits, which costs noticeably"
    if plan.kv_type == "q8_0" and pinned.kv_type is None:
        yield "the KV cache has 8 bits, which Gemma 4 notices: there is no room for 16"
    if search.sees and plan.image_tokens < candidate.image_tokens:
        yield f"images of at most {plan.image_tokens} tokens: memory is short"
    yield from plan.reasons
    if plan.drafter is not None:
        why = "as it paid here" if search.candidate.spare else "as asked"
        yield f"{plan.drafter.name} guesses words ahead, {why}: only time depends on it"
    if plan.lazy:
        yield "embeddings are read from disk as they are needed: main memory is short"
    if not plan.repack:
        yield "no faster copy of the weights is made: main memory is short"
    idle, threads = search.idle_speed(plan), search.threads(plan)
    alone = f"; alone {render_speed(idle)}" if plan.speed != idle else ""  # by other programs
    yield f"{threads.decode} thread{'' if threads.decode == 1 else 's'}: {threads.reason}{alone}"


def _why_this(search: Search, plan: Plan) -> str:
    if search.alone:
        return "the model that was asked for"
    grade, wanted = tier(search, plan), search.wanted_tokens
    if grade == "C":
        return "the fastest of the models that fit"
    context = FLOOR_CONTEXT_TOKENS if grade == "B" else WANTED_CONTEXT_TOKENS
    room = f"with {short_tokens(min(context, wanted))} context or more"
    if grade == "A" and plan.kind(search.layers) == "gpu":
        return f"the best model that stays on the GPU {room}"
    speed = search.constraints.min_speed or (USABLE_SPEED if grade == "B" else FLUENT_SPEED)
    return f"the best model at {speed:g} tok/s or more {room}"


def _why_cpu(search: Search) -> Iterator[str]:
    """Never without a word: what became of the GPUs that the machine has."""
    if search.constraints.gpu_layers == 0:
        yield "no layers on the GPU, as asked"
        return
    for device in search.hardware.devices:
        if device.usable:
            yield f"{device.title} is not enough: {render_bytes(device.free_bytes)} are free on it"
        elif not device.integrated:
            yield f"{device.title} is not used: {device.obstacle}; {_DOCTOR}"


def _why_context(search: Search, plan: Plan) -> str:
    if search.constraints.context_tokens:
        return "as asked"
    if search.shape.trained_context_tokens is None:
        return "the model does not say what it was trained with"
    if plan.context_tokens >= search.trained_tokens:
        return "all that the model was trained with"
    if plan.context_tokens < search.wanted_tokens:
        return f"less than the {short_tokens(search.wanted_tokens)} wanted, memory is short"
    return f"the model reads up to {search.trained_tokens:,}"
