"""What comes out of a document, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gemma_edge.engine.protocol import Finished, TokenScore, Usage

if TYPE_CHECKING:
    from gemma_edge.extract.evidence.evidence import Evidence
    from gemma_edge.extract.recipes.recipe import CheckFailure


@dataclass(frozen=True, slots=True)
class Extraction:
    """``text`` is the answer as it came, of several the first; ``data`` is what was read, None
    where nothing was.

    With no ``problems`` the data is whole and valid by the user's schema. ``notes`` are worth a
    line but no failure. ``printed`` is the data as the document prints it, before the recipe's
    rules; ``checks`` are the recipe's that failed; ``truncated`` names the lists and fields that
    are not complete. ``finished`` sums up all ``passes``.
    """

    data: Any
    text: str
    problems: tuple[str, ...]
    finished: Finished
    notes: tuple[str, ...] = ()
    printed: Any = None
    scores: tuple[TokenScore, ...] = ()
    evidence: "tuple[Evidence, ...]" = ()
    computed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    checks: "tuple[CheckFailure, ...]" = ()
    truncated: tuple[str, ...] = ()
    passes: int = 1

    @property
    def usage(self) -> Usage:
        """Tokens of all passes."""
        return self.finished.usage
