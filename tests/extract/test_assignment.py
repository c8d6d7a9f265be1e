"""The best pairing, against trying all of them."""

from itertools import combinations, permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.extraction.scoring import best_pairs


def by_trying(worth) -> int:
    rows, columns = worth.shape
    size = min(rows, columns)
    return max(
        sum(worth[row, column] for row, column in zip(some, order, strict=True))
        for some in combinations(range(rows), size)
        for order in permutations(range(columns), size)
    )


@given(st.data(), st.integers(1, 5), st.integers(1, 5))
def test_it_is_the_best(data, rows, columns):
    cells = data.draw(st.lists(st.integers(0, 6), min_size=rows * columns, max_size=rows * columns))
    worth = np.array(cells, np.int64).reshape(rows, columns)
    pairs = best_pairs(worth)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert len(pairs) == min(rows, columns)
    assert sum(worth[row, column] for row, column in pairs) == by_trying(worth)


def test_nothing_to_pair():
    assert best_pairs(np.zeros((0, 3), np.int64)) == []
    assert best_pairs(np.zeros((3, 0), np.int64)) == []


def test_large_values_do_not_overflow():
    worth = np.eye(3, dtype=np.int64) * (1 << 40)
    assert best_pairs(worth) == [(0, 0), (1, 1), (2, 2)]
