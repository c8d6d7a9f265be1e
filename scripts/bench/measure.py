"""Measuring fairly on a machine that is shared: alternating rounds, medians, the spread.

Absolute times drift by a factor of two here; what is measured in one round, one after the other,
shares its weather, so ratios hold.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Lets the threads of what ran last go to sleep before the next one starts.
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """One answer: how many tokens in how many seconds, and what was said."""

    prompt_tokens: int
    tokens: int
    seconds: float
    text: str

    @property
    def rate(self) -> float:
        """Tokens a second, the reading of the prompt left out."""
        return self.tokens / self.seconds


Subjects = Mapping[str, Callable[[], Run]]


def alternate(subjects: Subjects, rounds: int) -> dict[str, list[Run]]:
    """One uncounted run of each, then ``rounds`` rounds, every second one in reverse order."""
    runs: dict[str, list[Run]] = {name: [] for name in subjects}
    names = list(subjects)
    for number in range(rounds + 1):
        for name in names if number % 2 else names[::-1]:
            run = subjects[name]()
            if number:
                runs[name].append(run)
            note(f"round {number} of {rounds}  {name:20} {run.rate:7.1f} tokens/s")
            time.sleep(_PAUSE_SECONDS)
    return runs


def ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Any]:
    """The ratio of the medians, both medians, and the spread of the rounds' own ratios."""
    pairs = [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)]
    medians = [statistics.median(run.rate for run in runs) for runs in (ours, theirs)]
    return {
        "ratio": round(medians[0] / medians[1], 3),
        "ours_tokens_per_second": round(medians[0], 1),
        "theirs_tokens_per_second": round(medians[1], 1),
        "spread": [round(min(pairs), 3), round(max(pairs), 3)],
        "rounds": len(pairs),
    }


def cores() -> int:
    """The cores this process may use: a container or a batch job may grant fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def note(text: str) -> None:
    """Progress, for a person."""
    print(text, file=sys.stderr, flush=True)
