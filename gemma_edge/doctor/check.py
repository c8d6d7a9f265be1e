"""What a check gives: one row of the doctor's answer."""

from dataclasses import dataclass
from typing import Literal

# "warning" is something to know that stops nothing; only a "problem" makes the exit status 1.
State = Literal["fine", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """``seen`` is what was found, ``why`` why that matters (or why it was not tried), ``fix`` a
    command or a change; both are "" where there is nothing to say."""

    name: str
    state: State
    seen: str
    why: str = ""
    fix: str = ""
