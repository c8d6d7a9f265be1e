"""The best way to pair rows with columns: the assignment problem, exactly. Pure numpy."""

import numpy as np
from numpy.typing import NDArray


def best_pairs(worth: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs ``(row, column)``, each row and column at most once, as many as there can be, whose
    ``worth`` together is the largest there is; by row.

    The Hungarian method with potentials (Kuhn 1955, Munkres 1957), row by row: of n rows and m
    columns it takes n * n steps over m columns at once.
    """
    rows, columns = worth.shape
    if rows > columns:
        return sorted((row, column) for column, row in best_pairs(worth.T))
    if not rows:
        return []
    cost = worth.max() - worth
    row_price = np.zeros(rows + 1, np.int64)
    column_price = np.zeros(columns + 1, np.int64)
    taken = np.zeros(columns + 1, np.int64)  # the row (from 1) of each column (from 1); 0: free
    for row in range(1, rows + 1):
        _place(row, cost, row_price, column_price, taken)
    return sorted((int(taken[at]) - 1, at - 1) for at in range(1, columns + 1) if taken[at])


def _place(
    row: int,
    cost: NDArray[np.int64],
    row_price: NDArray[np.int64],
    column_price: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> None:
    """Find a column for one row more, moving others along the cheapest path."""
    columns = cost.shape[1]
    slack = np.full(columns + 1, np.iinfo(np.int64).max // 4)
    before = np.zeros(columns + 1, np.int64)
    seen = np.zeros(columns + 1, bool)
    taken[0], at = row, 0
    while taken[at]:
        seen[at] = True
        current = taken[at]
        reduced = cost[current - 1] - row_price[current] - column_price[1:]
        better = ~seen[1:] & (reduced < slack[1:])
        slack[1:][better] = reduced[better]
        before[1:][better] = at
        following = int(np.where(seen[1:], np.iinfo(np.int64).max, slack[1:]).argmin()) + 1
        step = slack[following]
        row_price[taken[seen]] += step
        column_price[seen] -= step
        slack[1:][~seen[1:]] -= step
        at = following
    while at:
        taken[at] = taken[before[at]]
        at = int(before[at])
