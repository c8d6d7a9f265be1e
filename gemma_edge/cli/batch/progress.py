"""How far a batch is, with the time left: a line that is drawn over on a terminal, one now and
then elsewhere."""

from collections.abc import Callable

from gemma_edge.cli.output import Output
from gemma_edge.cli.store.progress import EVERY_SECONDS, render_seconds

_HOUR = 3600.0  # seconds


class Going:
    """Counts ``total`` files; ``clock`` is in seconds. With a ``unit`` the speed is said too."""

    def __init__(
        self, output: Output, clock: Callable[[], float], total: int, unit: str = ""
    ) -> None:
        self._output, self._clock, self._total, self._unit = output, clock, total, unit
        self._done = self._failed = self._kept = 0
        self._started = self._told = clock()

    def step(self, *, failed: int, kept: bool = False) -> None:
        """One file more is done; ``failed`` of all could not be; ``kept`` took no time."""
        self._done, self._failed = self._done + 1, failed
        self._kept += kept
        if self._done == self._total:
            return
        if self._output.draws:
            self._output.draw(self.render())
        elif self._clock() - self._told >= EVERY_SECONDS:
            self._told = self._clock()
            self._output.note(self.render())

    def render(self) -> str:
        """``12 of 300, 1 failed, 4:10 left, 240 documents an hour``."""
        parts = [f"{self._done:,} of {self._total:,}"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        spent, worked = self._clock() - self._started, self._done - self._kept
        if spent > 0 and worked:
            left = spent / worked * (self._total - self._done)
            parts.append(f"{render_seconds(left)} left")
        return ", ".join([*parts, *self._speed(worked - self._failed)])

    def render_end(self, *, done: str, kept: int, failed: int, remark: str = "") -> str:
        """``300 files: 280 images described, 15 done before, 5 failed · REMARK · 2:10``."""
        said = [done]
        said += [f"{kept:,} done before"] if kept else []
        said += [f"{failed:,} failed"] if failed else []
        files = f"{self._total:,} file{'' if self._total == 1 else 's'}"
        parts = [f"{files}: {', '.join(said)}", *filter(None, [remark])]
        parts += self._speed(self._done - self._kept - failed)
        return " · ".join([*parts, render_seconds(self._clock() - self._started)])

    def _speed(self, worked: int) -> list[str]:
        spent = self._clock() - self._started
        if not self._unit or worked < 1 or spent < EVERY_SECONDS:  # before, it is a guess
            return []
        return [f"{worked / spent * _HOUR:,.0f} {self._unit} an hour"]
