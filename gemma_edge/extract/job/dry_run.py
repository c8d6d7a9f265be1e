"""How long an extraction will take, before it begins: at most, by the plan's speed. Pure."""

from dataclasses import dataclass

from gemma_edge.extract.job.passes import Passes
from gemma_edge.extract.job.prompting import Sheet

# A prompt is read at least so many times as fast as an answer is written: Gemma 3 270M on 2 cores,
# 16 tokens a batch against one (measured.md, "One batch"). A GPU gains much more.
READING_GAIN = 5
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens to read and, at most, to write. Of several passes the pages that they share from the
    start are read once. ``seconds`` is None where the speed is not known."""

    read_tokens: int
    answer_tokens: int
    seconds: float | None

    def render(self) -> str:
        """``at most 2 min: 41,200 tokens to read, up to 10,300 to write``."""
        tokens = f"{self.read_tokens:,} tokens to read, up to {self.answer_tokens:,} to write"
        if self.seconds is None:
            return f"{tokens}; how fast is not known"
        return f"at most {render_seconds(self.seconds)}: {tokens}"


def estimate(passes: Passes, tokens_per_second: float | None) -> Estimate:
    """The time of all passes; ``tokens_per_second`` is that of an answer."""
    read = _read_once(passes)
    answer = sum(max(0, passes.context_tokens - _longest(passes)) for _ in passes.each)
    seconds = None
    if tokens_per_second:
        seconds = read / (READING_GAIN * tokens_per_second) + answer / tokens_per_second
    return Estimate(read, answer, seconds)


def render_seconds(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 2 * _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < 2 * _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    return f"{seconds / _HOUR:.1f} h"


def _longest(passes: Passes) -> int:
    return max(one.prompt_tokens for one in passes.each)


def _read_once(passes: Passes) -> int:
    """Tokens that are evaluated: a pass that begins with the same pages as the one before it goes
    on where those end."""
    total = 0
    before: tuple[Sheet, ...] = ()
    for one in passes.each:
        if before[: len(one.sheets)] != one.sheets:
            total += one.prompt_tokens
        before = one.sheets
    return total
