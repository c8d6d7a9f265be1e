"""Files on their way: bars on a terminal, a line now and then elsewhere, nothing with --quiet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gemma_edge.cli.output import Output
from gemma_edge.store.remote import Listener, Progress
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


EVERY_SECONDS = 10.0  # a log that is read later needs no more
_NAME_COLUMNS, _BAR_COLUMNS = 7, 8  # the least; a name in full, where there is room
_SAID_COLUMNS = 44  # "41.2 GiB of 44.2 GiB, 155.0 MiB/s, 0:55 left"
_STATES = {"waiting": "waits", "downloading": "", "checking": "checked", "done": "done"}


@contextmanager
def show_progress(output: Output, clock: Callable[[], float]) -> Iterator[Listener]:
    """Inside, what is yielded takes the store's events; ``clock`` is in seconds."""
    if not output.draws:
        yield _Lines(output, clock)
        return
    bars = _Bars(output)
    try:
        yield bars
    finally:
        bars.stop()


def render_progress(event: Progress) -> str:
    """``1.2 GiB of 4.2 GiB, 55.0 MiB/s, 0:55 left``."""
    said = [f"{render_bytes(event.done_bytes)} of {render_bytes(event.total_bytes)}"]
    if not event.total_bytes:  # nobody has said yet
        said = []
    parts = [" ".join(filter(None, [*said, _STATES[event.state]]))]
    if event.bytes_per_second:
        parts.append(f"{render_bytes(int(event.bytes_per_second))}/s")
    if event.eta_seconds is not None:
        parts.append(f"{render_seconds(event.eta_seconds)} left")
    return ", ".join(filter(None, parts))


def render_seconds(seconds: float) -> str:
    """``75`` -> ``1:15``, ``3723`` -> ``1:02:03``."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


class _Lines:
    """One line for a file every ten seconds, and each thing that happened once."""

    def __init__(self, output: Output, clock: Callable[[], float]) -> None:
        self._output, self._clock = output, clock
        self._told: dict[str, float] = {}
        self._note = ""

    def __call__(self, event: Progress) -> None:
        name = _short(event.file)
        if event.note and event.note != self._note:
            self._output.note(f"{name}: {event.note}")
        self._note = event.note or self._note
        told = self._told.setdefault(event.file, self._clock())
        if event.state != "done" and self._clock() - told >= EVERY_SECONDS:
            self._told[event.file] = self._clock()
            self._output.note(f"{name}: {render_progress(event)}")


class _Bars:
    """A bar for each file, below what is said meanwhile; they go when all is done. Nothing is
    drawn, and rich is not loaded, before there is something to show."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._noted: set[tuple[str, str]] = set()

    def __call__(self, event: Progress) -> None:
        bars = self._bars = self._bars or self._start()
        console, name = bars.console, _short(event.file)
        left = max(_NAME_COLUMNS, console.width - _BAR_COLUMNS - _SAID_COLUMNS)
        if event.note and (event.file, event.note) not in self._noted:
            self._noted.add((event.file, event.note))
            console.print(f"{name}: {event.note}", soft_wrap=True)
        if event.file not in self._tasks:
            self._tasks[event.file] = bars.add_task(_fitting(name, left), total=None, said="")
        bars.update(
            self._tasks[event.file],
            completed=event.done_bytes,
            total=event.total_bytes or None,
            said=_fitting(render_progress(event), console.width - left - _BAR_COLUMNS),
        )

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.stop()

    def _start(self) -> "Bars":
        from rich.progress import BarColumn, TextColumn  # noqa: PLC0415  (only to draw)
        from rich.progress import Progress as Bars  # noqa: PLC0415

        bars = Bars(
            TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.fields[said]}"),
            console=self._output.console(), transient=True, expand=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        bars.start()
        return bars


def _short(name: str) -> str:
    """The file's own name, in characters that move no cursor."""
    return "".join(c if c.isprintable() else "?" for c in name.rpartition("/")[2])


def _fitting(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"
