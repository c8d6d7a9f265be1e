"""Which measure weighs a placement: a law while searching, llama.cpp itself for what was found.

A dry run takes 20 to 60 ms, and a search weighs dozens of placements of every candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gemma_edge.fit.account import account
from gemma_edge.fit.candidate import Candidate, Wishes
from gemma_edge.fit.case import Case, Outcome, Weigh
from gemma_edge.fit.ledger import Ledger
from gemma_edge.fit.measure import Measure, closed_form
from gemma_edge.fit.plan import Placement
from gemma_edge.fit.search import search
from gemma_edge.fit.shape import Shape, parse_shape
from gemma_edge.hardware.machine import Hardware
from gemma_edge.store.measurements import Measurement

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

    def case(self, candidate: Candidate, wishes: Wishes, *, alone: bool, order: int = 0) -> Case:
        """One candidate, to be searched."""
        shape = parse_shape(candidate.header, exact=candidate.exact)
        # The law says nothing about a cache that only llama.cpp can size.
        measure = self.measure if shape.cache_problem else self._law
        return Case(
            candidate=candidate,
            shape=shape,
            hardware=self.hardware,
            wishes=wishes,
            weigh=self._weigh(shape, candidate, measure, wishes),
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
            case, weigh=self._weigh(case.shape, case.candidate, self.measure, case.wishes),
            weighed={},
        )  # fmt: skip
        ledger = exact.ledger(outcome.best.placement)
        if not ledger.fits:
            return exact, search(exact)
        return case, replace(outcome, best=replace(outcome.best, ledger=ledger))

    def _weigh(self, shape: Shape, candidate: Candidate, measure: Measure, wishes: Wishes) -> Weigh:
        adapters = tuple(each.header for each in wishes.adapters)

        def weigh(placement: Placement) -> Ledger:
            return account(shape, candidate.projector, placement, self.hardware, measure, adapters)

        return weigh
