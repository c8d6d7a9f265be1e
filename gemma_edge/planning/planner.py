"""Hardware, models and constraints to a plan, with its reasons. Pure but for ``measure``."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from gemma_edge.errors import DoesNotFit
from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.memory import Measure, account, closed_form
from gemma_edge.planning.model import Shape, parse_shape
from gemma_edge.planning.plan import (
    ALL_LAYERS,
    Attempt,
    Candidate,
    Constraints,
    Ledger,
    Placement,
    Plan,
)
from gemma_edge.planning.search import (
    BATCHES,
    FLOOR_CONTEXT_TOKENS,
    FLUENT_SPEED,
    UNSEEN,
    USABLE_SPEED,
    WANTED_CONTEXT_TOKENS,
    Case,
    Option,
    Outcome,
    Rank,
    Weigh,
    classify,
    climb,
    describe_run,
    estimate,
    make_option,
    rank,
    render_context,
    render_option,
    render_speed,
    search,
    tier,
    ways,
)
from gemma_edge.store.measurements import Measurement
from gemma_edge.units import render_bytes

# ----------------------------------------------------------------------------
# Which measure weighs a placement: a law while searching, llama.cpp itself for what was found. A
# dry run takes 20 to 60 ms, and a search weighs dozens of placements of every candidate.


Tried = tuple[Case, Outcome]


@dataclass(kw_only=True)
class Scales:
    """Makes cases that are weighed by the law of their graph, and weighs again exactly."""

    hardware: Hardware
    measure: Measure
    speeds: Sequence[Measurement] = ()
    busy_programs: int | None = None

    def __post_init__(self) -> None:
        self._law = closed_form(self.measure, self.hardware)

    def case(
        self, candidate: Candidate, constraints: Constraints, *, alone: bool, order: int = 0
    ) -> Case:
        """One candidate, to be searched."""
        shape = parse_shape(candidate.header, exact=candidate.exact)
        # The law says nothing about a cache that only llama.cpp can size.
        measure = self.measure if shape.cache_problem else self._law
        return Case(
            candidate=candidate,
            shape=shape,
            hardware=self.hardware,
            constraints=constraints,
            weigh=self._weigh(shape, candidate, measure, constraints),
            alone=alone,
            order=order,
            speeds=self.speeds,
            busy_programs=self.busy_programs,
        )

    def confirm(self, case: Case, outcome: Outcome) -> Tried:
        """The best option as llama.cpp itself weighs it; where it does not fit after all, what a
        search by those weights comes to."""
        assert outcome.best
        exact = replace(
            case, weigh=self._weigh(case.shape, case.candidate, self.measure, case.constraints),
            weighed={},
        )  # fmt: skip
        ledger = exact.ledger(outcome.best.placement)
        if not ledger.fits:
            return exact, search(exact)
        return case, replace(outcome, best=replace(outcome.best, ledger=ledger))

    def _weigh(
        self, shape: Shape, candidate: Candidate, measure: Measure, constraints: Constraints
    ) -> Weigh:
        adapters = tuple(each.header for each in constraints.adapters)

        def weigh(placement: Placement) -> Ledger:
            return account(shape, candidate.projector, placement, self.hardware, measure, adapters)

        return weigh


# ----------------------------------------------------------------------------
# The ladder on from a plan: what to load when memory runs out in spite of the ledger. Other
# programs take memory between plan and load, and drivers take what nobody can predict. Each step
# gives up one thing more than the one before; what is pinned stays.


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
        if case.constraints.image_tokens:
            return now
        images = batch
    return replace(now, batch_tokens=min(batch, now.batch_tokens), image_tokens=images)


def _context(case: Case, now: Placement) -> Placement:
    if case.constraints.context_tokens or now.context_tokens <= FLOOR_CONTEXT_TOKENS:
        return now
    context = max(FLOOR_CONTEXT_TOKENS, now.context_tokens // 2)
    return replace(now, context_tokens=context, batch_tokens=min(now.batch_tokens, context))


def _experts(case: Case, now: Placement) -> Placement:
    open_to_it = case.constraints.gpu_layers is None and case.constraints.cpu_expert_layers is None
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

# ----------------------------------------------------------------------------
# When nothing fits: the one flag to change, found by trying it.


SMALLER_CONTEXTS = (4096, 2048, 1024)
SHOW_ALL = "gemma-edge plan --all shows what fits this machine"


def nearest(cases: Sequence[Case]) -> str:
    """A hint: the flag that would have to be another, the first model first."""
    for case in cases:
        for relaxed, pin in _relaxed(case):
            try:
                option = search(relaxed).best
            except DoesNotFit:
                continue
            if option:
                return _flag(pin, option, relaxed)
    memory = cases[0].hardware.memory
    if memory.available_bytes and memory.total_bytes and not cases[0].devices:
        taken = memory.total_bytes - memory.available_bytes
        if taken > memory.available_bytes:
            return f"close other programs, which take {render_bytes(taken)}; {SHOW_ALL}"
    return SHOW_ALL


def _relaxed(case: Case) -> Iterator[tuple[Case, str]]:
    """The case without one of its pins, then with less context."""
    for pin in ("context_tokens", "image_tokens", "kv_type", "cpu_expert_layers", "gpu_layers",
                "min_speed"):  # fmt: skip
        if getattr(case.constraints, pin) is not None:
            yield case.wish(**{pin: None}), pin
    if case.constraints.require_gpu:
        yield case.wish(require_gpu=False), "require_gpu"
    if case.sees:
        yield case.wish(vision=False), "vision"
    for context in SMALLER_CONTEXTS:
        if context < (case.constraints.context_tokens or case.wanted):
            yield case.wish(context_tokens=context), "context_tokens"


def _flag(pin: str, option: Option, case: Case) -> str:
    placement = option.placement
    if pin == "require_gpu":
        return f"without --require-gpu it runs {option.what}"
    if pin == "cpu_expert_layers" and not placement.cpu_expert_layers:
        return f"without --cpu-experts it runs {option.what}"
    if pin == "gpu_layers":
        count = placement.gpu_layers
        return f"--gpu-layers {'all' if count == ALL_LAYERS else count}" + (
            f" --cpu-experts {placement.cpu_expert_layers}" if placement.cpu_expert_layers else ""
        )
    return {
        "context_tokens": f"--ctx {placement.context_tokens}",
        "image_tokens": f"--detail {case.candidate.image_tokens}",
        "kv_type": f"--kv {placement.kv_type}",
        "cpu_expert_layers": f"--cpu-experts {placement.cpu_expert_layers}",
        "min_speed": f"--min-speed {math.floor(option.speed.tokens_per_second * 10) / 10}",
        "vision": "--no-vision",
    }[pin]


# ----------------------------------------------------------------------------
# The plan's sentences: why this model, why so much context, why these threads. Pure.


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
    if placement.kv_type == "q8_0" and case.constraints.kv_type is None:
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
    fluent, usable = (case.constraints.min_speed or speed for speed in (FLUENT_SPEED, USABLE_SPEED))
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
    if case.constraints.gpu_layers == 0:
        yield "no layers on the GPU, as asked"
        return
    for device in case.hardware.devices:
        if device.usable:
            yield f"{device.title} is not enough: {render_bytes(device.free_bytes)} are free on it"
        elif not device.integrated:
            yield f"{device.title} is not used: {UNSEEN}"


def _why_context(case: Case, option: Option) -> str:
    context = option.placement.context_tokens
    if case.constraints.context_tokens:
        return "as asked"
    if case.shape.trained_context_tokens is None:
        return "the model does not say what it was trained with"
    if context >= case.trained:
        return "all that the model was trained with"
    if context < case.wanted:
        return f"less than the {render_context(case.wanted)} wanted, memory is short"
    return f"the model reads up to {case.trained:,}"


__all__ = [
    "Candidate", "NothingFits", "PlacementClass", "Row", "Constraints", "describe_measurement",
    "matrix", "plan",
]  # fmt: skip

PlacementClass = Literal["gpu", "experts", "partial", "cpu", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate on this machine: ``placement`` is fully on the GPU ("gpu"), with experts on
    the CPU, partly on the CPU, on the CPU, or "no": then ``plan`` is None and ``reason`` has the
    numbers."""

    candidate: Candidate
    placement: PlacementClass
    plan: Plan | None
    reason: str


class NothingFits(DoesNotFit):
    """No candidate fits; ``attempts`` is all that was tried."""

    def __init__(self, message: str, *, hint: str, attempts: tuple[Attempt, ...]) -> None:
        super().__init__(message, hint=hint)
        self.attempts = attempts


def plan(  # noqa: PLR0913  (machine, models, constraints, and what is known of memory and speed)
    hardware: Hardware,
    candidates: Sequence[Candidate],
    constraints: Constraints,
    measure: Measure,
    speeds: Sequence[Measurement] = (),
    *,
    busy_programs: int | None = None,
) -> Plan:
    """The best plan for this machine; ``alternatives`` are the other sizes that fit, the best
    first. ``busy_programs`` want a core now: those cores are left alone.

    Raises:
        NothingFits: with the numbers, the nearest thing that fits as the hint, and the attempts.
        DoesNotFit: a context that no model can have.
        EngineError: ``measure`` cannot answer.
    """
    scales = Scales(hardware=hardware, measure=measure, speeds=speeds, busy_programs=busy_programs)
    alone = len({_size(each) for each in candidates}) == 1
    tried = [
        _try(scales.case(each, constraints, alone=alone, order=order), alone)
        for order, each in enumerate(candidates)
    ]
    chosen = _choose(scales, tried)
    fitting = [(each, outcome.best) for each, outcome in tried if outcome.best]
    if chosen is None:
        raise _nothing_fits(tried)
    case, option, attempts = chosen
    return replace(
        _plan(case, option),
        reasons=(*explain_choice(case, option, fitting), *explain(case, option)),
        attempts=attempts if len(tried) == 1 else (*_model_attempts(tried, case), *attempts),
        fallbacks=tuple(
            replace(_plan(case, each), reasons=(f"memory ran out: {what}",))
            for each, what in iter_fallbacks(case, option)
        ),
        alternatives=tuple(
            replace(_plan(*pair), reasons=tuple(explain(*pair)))
            for pair in _other_sizes(case, fitting)
        ),
    )


def matrix(
    hardware: Hardware,
    candidates: Sequence[Candidate],
    constraints: Constraints,
    measure: Measure,
    speeds: Sequence[Measurement] = (),
) -> tuple[Row, ...]:
    """Each candidate as if the person had named it, in the order given."""
    scales = Scales(hardware=hardware, measure=measure, speeds=speeds)
    rows = []
    for candidate in candidates:
        case, outcome = _try(scales.case(candidate, constraints, alone=True), False)
        if outcome.best is None:
            rows.append(Row(candidate=candidate, placement="no", plan=None, reason=outcome.refusal))
            continue
        kind = classify(outcome.best.placement, case.layers)
        decided = replace(_plan(case, outcome.best), attempts=outcome.attempts)
        reason = render_option(outcome.best)
        rows.append(Row(candidate=candidate, placement=kind, plan=decided, reason=reason))
    return tuple(rows)


def describe_measurement(
    plan: Plan, candidate: Candidate, hardware: Hardware, tokens_per_second: float
) -> Measurement:
    """What ``store.record_measurement`` keeps of a run of this plan."""
    shape = parse_shape(candidate.header, exact=candidate.exact)
    run, _ = describe_run(shape, plan, hardware, plan.threads, candidate.weights_key)
    return replace(run, tokens_per_second=tokens_per_second)


def _try(case: Case, alone: bool) -> Tried:
    """A context that one model cannot have is no reason against the others."""
    try:
        return case, search(case)
    except DoesNotFit as error:
        if alone:
            raise
        return case, Outcome(best=None, attempts=(), refusal=error.message)


def _choose(scales: Scales, tried: list[Tried]) -> tuple[Case, Option, tuple[Attempt, ...]] | None:
    """The best that fits by llama.cpp's own weights too; what does not is searched again by them,
    and changes ``tried``."""
    exact: set[int] = set()
    while True:
        open_places = [place for place, (_, outcome) in enumerate(tried) if outcome.best]
        if not open_places:
            return None
        place = max(open_places, key=lambda place: _rank(*tried[place]))
        case, outcome = tried[place]
        assert outcome.best
        if place in exact:
            return case, outcome.best, outcome.attempts
        exact.add(place)
        tried[place] = scales.confirm(case, outcome)


def _rank(case: Case, outcome: Outcome) -> Rank:
    assert outcome.best
    return rank(case, outcome.best)


def _nothing_fits(tried: Sequence[Tried]) -> NothingFits:
    """With the numbers of the smallest model, which came nearest."""
    by_size = sorted(tried, key=lambda pair: pair[0].candidate.header.file_bytes)
    case, outcome = by_size[0]
    title = f"{case.candidate.title} does not fit"
    if len(tried) > 1:
        title = f"no model fits; {case.candidate.title} is the smallest"
    attempts = outcome.attempts if len(tried) == 1 else _model_attempts(tried, None)
    hint = nearest([case for case, _ in by_size])
    return NothingFits(f"{title}: {outcome.refusal}", hint=hint, attempts=attempts)


def _model_attempts(tried: Sequence[Tried], chosen: Case | None) -> tuple[Attempt, ...]:
    """One attempt a candidate, the best model first."""
    ordered = sorted(tried, key=lambda pair: pair[0].candidate.quality, reverse=True)
    return tuple(
        Attempt(
            what=case.candidate.title,
            taken=case is chosen,
            reason=render_option(outcome.best) if outcome.best else outcome.refusal,
        )
        for case, outcome in ordered
    )


def _other_sizes(chosen: Case, fitting: Sequence[tuple[Case, Option]]) -> list[tuple[Case, Option]]:
    """The best of every size but the chosen one: the better model first, the slow ones last."""
    best: dict[str, tuple[Case, Option]] = {}
    for pair in sorted(fitting, key=lambda pair: rank(*pair), reverse=True):
        best.setdefault(_size(pair[0].candidate), pair)
    best.pop(_size(chosen.candidate))

    def place(pair: tuple[Case, Option]) -> tuple[float, ...]:
        case, option = pair
        if tier(case, option) == "C":
            return (0, option.speed.tokens_per_second)
        return (1, *case.candidate.quality)

    return sorted(best.values(), key=place, reverse=True)


def _size(candidate: Candidate) -> str:
    return candidate.size_name or candidate.name


def _plan(case: Case, option: Option) -> Plan:
    candidate, threads = case.candidate, option.threads
    fields = asdict(option.placement)
    return Plan(
        **fields,
        model=candidate.model_path,
        projector=candidate.projector_path if case.sees else None,
        adapters=tuple(each.adapter for each in case.constraints.adapters),
        name=candidate.name,
        threads=threads.decode,
        prefill_threads=threads.prefill,
        ledger=option.ledger,
        # The option's is that of a machine without other programs, to choose by.
        speed=estimate(case, option.placement, threads.decode),
    )
