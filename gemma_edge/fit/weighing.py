"""Which measure weighs a placement: a law while searching, llama.cpp itself for what was found.

A dry run takes 20 to 60 ms, and a search weighs dozens of placements of every candidate.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

from gemma_edge.fit.account import account
from gemma_edge.fit.candidate import Candidate, Wishes
from gemma_edge.fit.case import Case, Outcome, Weigh
from gemma_edge.fit.ledger import Ledger
from gemma_edge.fit.measure import Compute, Measure, closed_form
from gemma_edge.fit.plan import Placement
from gemma_edge.fit.search import search
from gemma_edge.fit.shape import Shape, parse_shape
from gemma_edge.hardware.machine import Hardware
from gemma_edge.store.measurements import Measurement

Tried = tuple[Case, Outcome]

# What a graph is made of beside the widths of keys and values; quants of one model share it.
_GRAPH_KEYS = (
    ".feed_forward_length", ".expert_feed_forward_length", ".expert_count", ".expert_used_count",
    ".embedding_length_per_layer_input", ".attention.head_count",
)  # fmt: skip


@dataclass(kw_only=True)
class Scales:
    """Makes cases that are weighed by the law of their graph, and weighs again exactly."""

    hardware: Hardware
    measure: Measure
    speeds: Sequence[Measurement] = ()
    busy_programs: int | None = None
    _first: dict[Hashable, Shape] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._law = closed_form(self._measure_graph, self.hardware)

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
            weigh=self._weigh(shape, candidate, measure),
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
            case, weigh=self._weigh(case.shape, case.candidate, self.measure), weighed={}
        )
        ledger = exact.ledger(outcome.best.placement)
        if not ledger.fits:
            return exact, search(exact)
        return case, replace(outcome, best=replace(outcome.best, ledger=ledger))

    def _weigh(self, shape: Shape, candidate: Candidate, measure: Measure) -> Weigh:
        def weigh(placement: Placement) -> Ledger:
            return account(shape, candidate.projector, placement, self.hardware, measure)

        return weigh

    def _measure_graph(self, shape: Shape, placement: Placement) -> Compute:
        """Asked of the first of all shapes that have the same graph."""
        values = (shape.header.metadata.get(shape.architecture + key) for key in _GRAPH_KEYS)
        layers = tuple((each.kind, each.key_values, each.value_values) for each in shape.layers)
        graph = (shape.architecture, shape.width, shape.vocabulary_tokens, layers, *values)
        return self.measure(self._first.setdefault(graph, shape), placement)
