"""The numbers of ``bench fit``: predicted against real, part by part, and what they come to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from measure import note

from gemma_edge.planning.plan import Allocated, Ledger
from gemma_edge.units import MIB

LIMIT_SHARE, LIMIT_BYTES = 0.01, 8 * MIB


@dataclass(frozen=True, slots=True)
class Row:
    """One number of one case."""

    case: str
    predicted: int
    real: int

    @property
    def error(self) -> float:
        """As a share of the real number."""
        return abs(self.predicted - self.real) / self.real if self.real else 0.0

    @property
    def wrong(self) -> bool:
        """Past both limits."""
        off = abs(self.predicted - self.real)
        return off > LIMIT_BYTES and off > LIMIT_SHARE * self.real


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Cases, and the worst of those that pass both limits; beside it the worst of all."""
    wrong = [row for row in rows if row.wrong]
    for row in wrong[:10]:
        note(f"WRONG {describe(row)}")
    return {
        "cases": len({row.case.partition(" |")[0] for row in rows}),
        "numbers": len(rows),
        "wrong": len(wrong),
        "worst_relative_error": round(max((row.error for row in wrong), default=0), 5),
        "worst_absolute_mib": max((_off_mib(row) for row in wrong), default=0),
        "largest_difference_mib": max((_off_mib(row) for row in rows), default=0),
    }


def _off_mib(row: Row) -> float:
    return round(abs(row.predicted - row.real) / MIB, 2)


def describe(row: Row) -> dict[str, Any]:
    """One row as JSON."""
    mib = {"predicted_mib": row.predicted / MIB, "real_mib": row.real / MIB}
    return {"case": row.case, **{key: round(value, 1) for key, value in mib.items()}}


def compare(
    case: str, ledger: Ledger, real: Iterable[Allocated], *, weights: bool
) -> Iterator[Row]:
    """Part by part and place by place; the cache as a whole where llama.cpp names no place."""
    rows = [row for row in real if not row.reclaimable]
    parts = [("compute", ("compute", "KV scratch", "expert copy")), ("output", ("output",))]
    cache = ("KV global", "KV window")
    if weights:
        parts += [("weights", ("weights",)), ("cache", cache)]
    else:
        total = sum(_sum(ledger, each.place, cache) for each in ledger.accounts)
        yield Row(f"{case} | cache", total, sum(r.size_bytes for r in rows if r.part in cache))
    for each in ledger.accounts:
        for name, names in parts:
            found = sum(r.size_bytes for r in rows if r.place == each.place and r.part in names)
            predicted = _sum(ledger, each.place, names)
            if found or predicted:
                yield Row(f"{case} | {name} on {each.place}", predicted, found)


def _sum(ledger: Ledger, place: str, names: Sequence[str]) -> int:
    parts = ledger.account(place).parts
    return sum(p.size_bytes for p in parts if p.name in names and not p.reclaimable)
