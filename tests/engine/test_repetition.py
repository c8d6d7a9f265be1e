"""A cycle is noticed, a long list of different rows is not."""

import random

import pytest

from gemma_edge.engine.answer import LONGEST_PERIOD, REPEATED, Repetition


@pytest.mark.parametrize("period", [1, 2, 7, LONGEST_PERIOD])
def test_a_cycle_is_found(period: int) -> None:
    watch = Repetition()
    watch.add(list(range(1000, 1100)))
    cycle = list(range(period))
    said = 0
    while not watch.found:
        watch.add(cycle)
        said += period
        assert said < 2 * (REPEATED + LONGEST_PERIOD)
    assert said >= REPEATED


def test_rows_that_differ_in_one_token_are_no_cycle() -> None:
    watch = Repetition()
    rng = random.Random(1)
    for _ in range(200):
        watch.add([5, 6, 7, rng.randrange(100), 8, 9])
        assert not watch.found
