"""What the KV cache holds, and how much of it a new prompt may keep. Pure arithmetic.

A prompt is a list of units: a token id, or a ``Media`` (an image by content). The cache holds the
same list; a new prompt keeps the longest common prefix, images included.

Sliding-window layers forget: they hold cells from ``pos_min`` on. Cutting back to position ``d``
is right only if ``pos_min == 0 or d >= pos_min + n_swa - 1`` (measured.md, "Sliding-window cache":
300 random reuses, 0 violations). Where it is not, a ``Checkpoint`` of the window cells, taken at
the end of an earlier prompt, brings them back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Media:
    """An image in a prompt: equal content at equal size is the same unit."""

    digest: str
    tokens: int


Unit = int | Media


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The window cells from ``pos_min`` on, right for the first ``units`` units of the cache."""

    units: int
    pos_min: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reuse:
    """Keep ``units`` units; restore ``checkpoint`` first, if there is one."""

    units: int
    checkpoint: Checkpoint | None = None


def position_of(units: Sequence[Unit], count: int) -> int:
    """Position after the first ``count`` units; an image advances by its tokens."""
    extra = sum(unit.tokens - 1 for unit in units[:count] if isinstance(unit, Media))
    return count + extra


def common_prefix(held: Sequence[Unit], wanted: Sequence[Unit]) -> int:
    """Number of leading units that are equal."""
    limit = min(len(held), len(wanted))
    if held[:limit] == wanted[:limit]:
        return limit
    return next(i for i in range(limit) if held[i] != wanted[i])


def plan_reuse(
    held: Sequence[Unit],
    wanted: Sequence[Unit],
    *,
    pos_min: int,
    window: int,
    checkpoints: Sequence[Checkpoint] = (),
) -> Reuse:
    """How much of ``held`` the prompt ``wanted`` may keep.

    At least one unit is left to evaluate, so that there are logits to sample from. ``window`` is
    n_swa in tokens, 0 for a model without sliding layers; ``pos_min`` is read from llama.cpp
    **before** anything is removed.
    """
    keep = min(common_prefix(held, wanted), len(wanted) - 1)
    if keep <= 0:
        return Reuse(0)
    if keep == len(held) or window == 0:
        return Reuse(keep)
    if window_intact(position_of(held, keep), pos_min, window):
        return Reuse(keep)
    for checkpoint in reversed(checkpoints):
        target = min(keep, checkpoint.units)
        if window_intact(position_of(held, target), checkpoint.pos_min, window):
            return Reuse(target, checkpoint)
    return Reuse(0)


def window_intact(position: int, pos_min: int, window: int) -> bool:
    """Whether cells from ``pos_min`` on are all that sliding layers need at ``position``."""
    return pos_min == 0 or position >= pos_min + window - 1
