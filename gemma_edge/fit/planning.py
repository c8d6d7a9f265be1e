"""Hardware, models and wishes to a Plan: the door of this room. Pure but for ``measure``."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from gemma_edge.errors import DoesNotFit
from gemma_edge.fit.candidate import Candidate, Wishes
from gemma_edge.fit.case import Case, Option, Outcome
from gemma_edge.fit.fallbacks import iter_fallbacks
from gemma_edge.fit.measure import Measure
from gemma_edge.fit.nearest import nearest
from gemma_edge.fit.plan import Plan, Rung
from gemma_edge.fit.reasons import explain, explain_choice
from gemma_edge.fit.search import Rank, rank, render_option, search, tier
from gemma_edge.fit.shape import parse_shape
from gemma_edge.fit.speed import classify, describe_run, estimate
from gemma_edge.fit.weighing import Scales, Tried
from gemma_edge.hardware.machine import Hardware
from gemma_edge.store.measurements import Measurement

__all__ = [
    "Candidate", "NothingFits", "PlacementClass", "Row", "Wishes", "describe_measurement",
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
    """No candidate fits; ``rungs`` is all that was tried."""

    def __init__(self, message: str, *, hint: str, rungs: tuple[Rung, ...]) -> None:
        super().__init__(message, hint=hint)
        self.rungs = rungs


def plan(  # noqa: PLR0913  (machine, models, wishes, and what is known of memory and speed)
    hardware: Hardware,
    candidates: Sequence[Candidate],
    wishes: Wishes,
    measure: Measure,
    speeds: Sequence[Measurement] = (),
    *,
    busy_programs: int | None = None,
) -> Plan:
    """The best plan for this machine; ``alternatives`` are the other sizes that fit, the best
    first. ``busy_programs`` want a core now: those cores are left alone.

    Raises:
        NothingFits: with the numbers, the nearest thing that fits as the hint, and the rungs.
        DoesNotFit: a context that no model can have.
        EngineError: ``measure`` cannot answer.
    """
    scales = Scales(hardware=hardware, measure=measure, speeds=speeds, busy_programs=busy_programs)
    alone = len({_size(each) for each in candidates}) == 1
    tried = [
        _try(scales.case(each, wishes, alone=alone, order=order), alone)
        for order, each in enumerate(candidates)
    ]
    chosen = _choose(scales, tried)
    fitting = [(each, outcome.best) for each, outcome in tried if outcome.best]
    if chosen is None:
        raise _nothing_fits(tried)
    case, option, rungs = chosen
    return replace(
        _plan(case, option),
        reasons=(*explain_choice(case, option, fitting), *explain(case, option)),
        rungs=rungs if len(tried) == 1 else (*_model_rungs(tried, case), *rungs),
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
    wishes: Wishes,
    measure: Measure,
    speeds: Sequence[Measurement] = (),
) -> tuple[Row, ...]:
    """Each candidate as if the person had named it, in the order given."""
    scales = Scales(hardware=hardware, measure=measure, speeds=speeds)
    rows = []
    for candidate in candidates:
        case, outcome = _try(scales.case(candidate, wishes, alone=True), False)
        if outcome.best is None:
            rows.append(Row(candidate=candidate, placement="no", plan=None, reason=outcome.refusal))
            continue
        kind = classify(outcome.best.placement, case.layers)
        decided = replace(_plan(case, outcome.best), rungs=outcome.rungs)
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
        return case, Outcome(best=None, rungs=(), refusal=error.message)


def _choose(scales: Scales, tried: list[Tried]) -> tuple[Case, Option, tuple[Rung, ...]] | None:
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
            return case, outcome.best, outcome.rungs
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
    rungs = outcome.rungs if len(tried) == 1 else _model_rungs(tried, None)
    hint = nearest([case for case, _ in by_size])
    return NothingFits(f"{title}: {outcome.refusal}", hint=hint, rungs=rungs)


def _model_rungs(tried: Sequence[Tried], chosen: Case | None) -> tuple[Rung, ...]:
    """One rung a candidate, the best model first."""
    ordered = sorted(tried, key=lambda pair: pair[0].candidate.quality, reverse=True)
    return tuple(
        Rung(
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
        adapters=tuple(each.adapter for each in case.wishes.adapters),
        name=candidate.name,
        threads=threads.decode,
        prefill_threads=threads.prefill,
        ledger=option.ledger,
        # The option's is that of a machine without other programs, to choose by.
        speed=estimate(case, option.placement, threads.decode),
    )
