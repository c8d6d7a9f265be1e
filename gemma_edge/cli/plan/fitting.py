"""Whether each quant of the catalogue would run on this machine: quickly, as an estimate."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemma_edge.catalog import Quant, Size
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.plan.candidates import Stock
from gemma_edge.cli.plan.page import machine_line, render_row
from gemma_edge.cli.plan.planning import open_quick_planner, wishes_of
from gemma_edge.cli.store.targets import name_of
from gemma_edge.fit.planning import Row
from gemma_edge.store import StoreSettings


@dataclass(frozen=True, slots=True)
class Fits:
    """``rows`` by the name that a person types; ``machine`` is what they are for, in a line."""

    rows: Mapping[str, Row]
    machine: str
    available_bytes: int | None

    def words(self, name: str) -> str:
        """``GPU, 32k, ~60 tok/s``; ``no``."""
        return render_row(self.rows[name])

    def document(self, name: str) -> dict[str, Any]:
        """The same as plain data."""
        row = self.rows[name]
        return {
            "class": row.placement,
            "context_tokens": row.plan.context_tokens if row.plan else None,
            "tokens_per_second": (
                row.plan.speed.tokens_per_second if row.plan and row.plan.speed else None
            ),
            "reason": row.reason,
        }


def find_fits(
    pairs: Iterable[tuple[Size, Quant]], settings: StoreSettings, context: Context
) -> Fits:
    """What the plan says to each, alone on this machine."""
    planner = open_quick_planner(context, settings)
    found = list(pairs)
    rows = planner.matrix(Stock(settings).quants(found), wishes_of(ModelOptions(), vision=None))
    hardware = planner.hardware
    named = {name_of(*pair): row for pair, row in zip(found, rows, strict=True)}
    return Fits(named, machine_line(hardware), hardware.memory.available_bytes)
