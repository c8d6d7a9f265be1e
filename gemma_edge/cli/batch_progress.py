"""How far a batch is, with the time left: a line that is drawn over on a terminal, one now and
then elsewhere."""

from collections.abc import Callable

from gemma_edge.cli.output import Output
from gemma_edge.cli.progress import EVERY_SECONDS, render_seconds


class Going:
    """Counts ``total`` files; ``clock`` is in seconds."""

    def __init__(self, output: Output, clock: Callable[[], float], total: int) -> None:
        self._output, self._clock, self._total = output, clock, total
        self._done = self._failed = 0
        self._started = self._told = clock()

    def step(self, *, failed: int) -> None:
        """One file more is done; ``failed`` of all could not be."""
        self._done, self._failed = self._done + 1, failed
        if self._done == self._total:
            return
        if self._output.draws:
            self._output.draw(self.render())
        elif self._clock() - self._told >= EVERY_SECONDS:
            self._told = self._clock()
            self._output.note(self.render())

    def render(self) -> str:
        """``12 of 300, 1 failed, 4:10 left``."""
        parts = [f"{self._done:,} of {self._total:,}"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        spent = self._clock() - self._started
        if spent > 0 and self._done:
            left = spent / self._done * (self._total - self._done)
            parts.append(f"{render_seconds(left)} left")
        return ", ".join(parts)

    def render_end(self, *, described: int, kept: int, failed: int, lost: int) -> str:
        """``300 files: 280 images described, 15 done before, 5 failed · 12 lost detail · 2:10``."""
        said = [f"{described:,} image{'' if described == 1 else 's'} described"]
        said += [f"{kept:,} done before"] if kept else []
        said += [f"{failed:,} failed"] if failed else []
        files = f"{self._total:,} file{'' if self._total == 1 else 's'}"
        parts = [f"{files}: {', '.join(said)}"]
        if lost:
            parts.append(f"{lost:,} lost detail (--detail max and --tiles 4 keep more)")
        return " · ".join([*parts, render_seconds(self._clock() - self._started)])
