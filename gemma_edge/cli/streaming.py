"""Answers and files on their way: pieces as they come, then the quiet line about them."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gemma_edge.app.request import BatchRequest
from gemma_edge.app.runtime import (
    Bug,
    EarlyEngine,
    Failure,
    ModelLoading,
    Problem,
    Runtime,
    Step,
    Told,
    is_on,
    standby_dir,
    store_settings,
)
from gemma_edge.cli.context import Context, stop_when_told
from gemma_edge.cli.options import (
    KEEP_VARIABLE,
    REMEMBER_VARIABLE,
    ClusterFlags,
    EngineFlags,
    FetchFlags,
    ShareFlags,
    StoreFlags,
    parse_remembered,
)
from gemma_edge.cli.output import Output, can_ask, cancel_on_interrupt, confirm
from gemma_edge.engine.protocol import (
    Chunk,
    EngineInfo,
    Event,
    Finished,
    Notice,
    Prefill,
    Timings,
)
from gemma_edge.errors import ExitStatus, GemmaEdgeError, UsageError
from gemma_edge.store.remote import Listener, Progress
from gemma_edge.trust import printable, visible
from gemma_edge.units import parse_duration, render_bytes, render_tokens

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from gemma_edge.app.batch import Counts
    from gemma_edge.app.cluster import Cluster

WHOLE_SPEED = 10  # tok/s; below it a decimal matters


_BEFORE_END_SECONDS = 90.0  # of a job, in which the file that is under way may end


def in_job(
    batch: BatchRequest, flags: ShareFlags, context: Context, output: Output, *,
    shares: bool = True,
) -> BatchRequest:  # fmt: skip
    """The same, for the share of a job array, and with an ear for what ends a job. Where nothing
    is written to a file, nothing could be gone on with, and it is as it was. Without ``shares`` the
    files are shared out in another way."""
    if batch.out is None and flags.shard is None:
        if flags.until is not None:
            raise UsageError("--until, and no file to go on with", hint="--out answers.jsonl")
        return batch
    from gemma_edge.app.shards import run_of, shard_of

    told, shard = context.environment, flags.shard
    if shares and shard is None and (found := shard_of(told)):
        shard, variable = found
        output.note(
            f"share {shard.index} of {shard.count} ({variable}); --shard 1/1 reads all files"
        )
    if shard is not None and shard.count == 1:
        shard = None
    until, end = flags.until, told.get("SLURM_JOB_END_TIME", "")
    if until is None and end.isdecimal():
        until = int(end) - _BEFORE_END_SECONDS
    return replace(batch, shard=shard, run=run_of(told), stopped=stop_when_told(until, context.now))


def cluster_of(asked: ClusterFlags, share: ShareFlags, on_one: str) -> "Cluster | None":
    """Where workers are, if the files are to be read on other machines. ``on_one`` is a flag for
    what is written on one machine only.
    Raises UsageError: what does not go together."""
    if asked.address is None:
        if asked.workers or asked.options:
            raise UsageError("--workers, and no --cluster", hint="--cluster slurm --workers 8")
        return None
    from gemma_edge.app.cluster import QUEUES, Cluster

    if (asked.workers or asked.options) and asked.address not in QUEUES:
        raise UsageError(
            f"--workers and --worker-option are for a job queue, not {asked.address}",
            hint="local:8, or dask worker ADDRESS on each machine",
        )
    if share.shard is not None:
        raise UsageError("--shard, and --cluster shares the files out", hint="one of them")
    if on_one:
        raise UsageError(f"{on_one} is written on one machine", hint="without --cluster")
    return Cluster(address=asked.address, workers=asked.workers, options=asked.options)


def show_event(event: Told, output: Output) -> None:
    """A piece of an answer to stdout, a thought and what is no part of the answer to stderr."""
    if not isinstance(event, Chunk):
        show_aside(event, output)
    elif event.channel == "thought":
        output.thought(event.text)
    else:
        output.answer(event.text)


def show_aside(event: Told, output: Output) -> None:
    """What is no part of the answer, on stderr: what happened to the engine, how far it reads."""
    if isinstance(event, Notice):
        output.note(event.text)
    elif isinstance(event, Prefill):
        output.draw(f"reading {event.done_tokens:,} of {render_tokens(event.total_tokens)}")
    elif isinstance(event, ModelLoading):
        output.draw(render_loading(event))
    elif isinstance(event, Problem):
        output.problem(event.text)
    elif isinstance(event, Failure):
        output.error(event.text)
    elif isinstance(event, Bug):
        output.trace(event.trace)


_LOAD_BAR = 12  # characters
_SURE_SHARE = 0.02  # of a load; what came before says nothing of how long it takes


def render_loading(event: ModelLoading) -> str:
    """``loading E4B Q4 QAT, 4.2 GiB ━━━━━━━╌╌╌╌╌ 62 %, 0:04 left · once for all answers``."""
    share, seconds = event.progress.share, event.progress.seconds
    full = round(_LOAD_BAR * (share or 0.0))
    parts = [f"{100 * share:.0f} %" if share else f"{seconds:.0f} s"]
    if share is not None and share >= 1:
        parts.append("a first look at all of it")
    elif share is not None and share >= _SURE_SHARE:
        parts.append(f"{render_seconds(seconds / share - seconds)} left")
    bar = "━" * full + "╌" * (_LOAD_BAR - full)
    size = render_bytes(event.size_bytes)
    return f"loading {event.title}, {size} {bar} {', '.join(parts)} · once for all answers"


# What programs read; names of classes may change, these may not.
EVENTS = {Chunk: "chunk", Prefill: "reading", Notice: "notice", Finished: "finished"}


def render_event(event: Event) -> dict[str, Any]:
    """An event as plain data: its name, then its fields; scores only where they were asked for."""
    fields = {name: value for name, value in asdict(event).items() if name != "scores" or value}
    return {"event": EVENTS[type(event)], **fields}


def render_status(finished: Finished, info: EngineInfo) -> str:
    """Speed, time to the first word, and how much of the context is used."""
    usage, timings = finished.usage, finished.timings
    parts = []
    if usage.generated_tokens and timings.decode_seconds > 0:
        speed = usage.generated_tokens / timings.decode_seconds
        parts.append(f"{speed:.{0 if speed >= WHOLE_SPEED else 1}f} tok/s")
        parts.append(f"first word {timings.first_token_seconds:.1f} s")
    used = usage.prompt_tokens + usage.generated_tokens
    parts.append(f"{used:,} of {info.context_tokens:,}")
    if usage.cached_tokens:
        parts.append(f"{usage.cached_tokens:,} cached{render_saved(timings)}")
    return " · ".join(parts)


_LEAST_SAVED = 0.1  # seconds that are worth a word


def render_saved(timings: Timings) -> str:
    """``, 3.2 s saved``: by what was kept on disk; "" where that is nothing."""
    seconds = timings.saved_seconds
    return f", {seconds:.1f} s saved" if seconds >= _LEAST_SAVED else ""


def conclude(finished: Finished, output: Output) -> ExitStatus:
    """What the end of an answer means for the exit status; says why it is not a whole one."""
    if finished.reason == "cancelled":
        return ExitStatus.INTERRUPTED
    from gemma_edge.description import cut_short  # noqa: PLC0415

    problems = cut_short(finished)
    for problem in problems:
        output.problem(problem)
    return ExitStatus.RESULT if problems else ExitStatus.OK


# How far a batch is, with the time left: a line that is drawn over on a terminal, one now and
# then elsewhere.


_HOUR = 3600.0  # seconds


class BatchProgress:
    """Takes the events of a batch; ``clock`` is in seconds. With a ``unit`` the speed is said."""

    def __init__(self, output: Output, clock: Callable[[], float], unit: str = "") -> None:
        self._output, self._clock, self._unit = output, clock, unit
        self._kept = 0
        self._started = self._told = clock()

    def __call__(self, event: Told) -> None:
        if not isinstance(event, Step):
            show_aside(event, self._output)
            return
        self._kept += event.kept
        if event.done == event.total:
            return
        if self._output.draws:
            self._output.draw(self._render(event))
        elif self._clock() - self._told >= EVERY_SECONDS:
            self._told = self._clock()
            self._output.note(self._render(event))

    def _render(self, step: Step) -> str:
        """``12 of 300, 1 failed, 4:10 left, 240 documents an hour``."""
        parts = [f"{step.done:,} of {step.total:,}"]
        if step.failed:
            parts.append(f"{step.failed:,} failed")
        spent, worked = self._clock() - self._started, step.done - self._kept
        if spent > 0 and worked:
            left = spent / worked * (step.total - step.done)
            parts.append(f"{render_seconds(left)} left")
        return ", ".join([*parts, *self._speed(worked - step.failed)])

    def render_end(self, counts: "Counts", done: str, remark: str = "") -> str:
        """``300 files: 280 images described, 15 done before, 5 failed · REMARK · 2:10``."""
        said = [done]
        said += [f"{counts.kept:,} done before"] if counts.kept else []
        said += [f"{counts.failed:,} failed"] if counts.failed else []
        parts = [f"{counts.files:,} file{'' if counts.files == 1 else 's'}: {', '.join(said)}"]
        parts += filter(None, [remark])
        parts += self._speed(counts.done)
        return " · ".join([*parts, render_seconds(self._clock() - self._started)])

    def _speed(self, worked: int) -> list[str]:
        spent = self._clock() - self._started
        if not self._unit or worked < 1 or spent < EVERY_SECONDS:  # before, it is a guess
            return []
        return [f"{worked / spent * _HOUR:,.0f} {self._unit} an hour"]


# How the answers of a conversation look: Markdown and folded thoughts where a terminal can draw,
# text as it comes everywhere else, or an event a line.


FRAME_SECONDS = 0.1  # of the line that says how long a thought is


class AnswerDisplay:
    """Where the answers of a conversation are shown. ``thought`` is the last one, whole; ``folds``
    shows one line for it where that can be drawn."""

    def __init__(
        self, context: Context, output: Output, *, plain: bool, folds: bool, as_json: bool
    ) -> None:
        self.thought = ""
        self._context, self._output = context, output
        self._folds, self._as_json = folds, as_json
        self._draws = not plain and not as_json and output.draws and output.renders

    def show(self, events: Iterable[Event]) -> Finished:
        """Show an answer to its end, and say how it ended. One that cannot be shown (a full disk, a
        closed pipe) ends before its engine is closed: what is left of it would look for a model
        that is gone.

        Raises:
            GemmaEdgeError: it did not end.
        """
        drawing = _Drawing(self._context, self._output, folds=self._folds) if self._draws else None
        self.thought, finished = "", None
        try:
            for event in events:
                if isinstance(event, Chunk) and event.channel == "thought":
                    self.thought += event.text
                elif isinstance(event, Finished):
                    finished = event
                self._take(event, drawing)
        finally:
            if isinstance(events, Generator):
                events.close()
            if drawing is not None:
                drawing.finish()
        self._output.end_line()
        if finished is None:  # the Engine contract: exactly one Finished
            raise GemmaEdgeError("the engine stopped without saying why")
        return finished

    def _take(self, event: Event, drawing: "_Drawing | None") -> None:
        if drawing is not None:
            drawing.take(event)
        elif self._as_json:
            self._output.event(render_event(event))
        else:
            show_event(event, self._output)


class _Drawing:
    """An answer as Markdown. A thought is one line: how long it is while it grows, and then how
    long it took."""

    def __init__(self, context: Context, output: Output, *, folds: bool) -> None:
        from gemma_edge.cli.markdown import AnswerView, Live  # noqa: PLC0415  (rich's Markdown)

        assert context.size is not None
        live = Live(output.raw, context.size, reflows=_reflows(context))
        self._view = AnswerView(live, context.environment, context.clock, colour=output.colours)
        self._output, self._clock, self._folds = output, context.clock, folds
        self._began: float | None = None
        self._drawn = float("-inf")
        self._said, self._last = False, ""
        self._late: list[Notice] = []  # said of an answer that still grows: they come below it

    def take(self, event: Event) -> None:
        if isinstance(event, Chunk) and event.channel == "answer":
            self._end_thought()
            self._view.add(visible(event.text, self._last))
            self._said, self._last = True, event.text[-1:]
        elif isinstance(event, Chunk) and self._folds:
            self._fold_thought()
        elif isinstance(event, Notice) and self._said:
            self._late.append(event)
        else:
            show_event(event, self._output)

    def finish(self) -> None:
        self._end_thought()
        self._view.finish()
        for notice in self._late:
            show_aside(notice, self._output)

    def _fold_thought(self) -> None:
        now = self._clock()
        if self._began is None:
            self._began = now
        if now - self._drawn >= FRAME_SECONDS:
            self._drawn = now
            self._output.draw(f"  ▸ thinking, {now - self._began:.0f} s")

    def _end_thought(self) -> None:
        if self._began is not None:
            seconds = self._clock() - self._began
            self._output.dim(f"  ▸ thought for {seconds:.1f} s (/show thought)")
            self._began = None


def _reflows(context: Context) -> bool:
    """Whether the terminal folds what stands on it again when it becomes narrower: nearly all do,
    xterm and the consoles of Linux and the BSDs do not."""
    told = context.environment.get
    return not told("XTERM_VERSION") and told("TERM") not in ("linux", "vt100", "vt220")


# ----------------------------------------------------------------------------
# Files on their way: bars on a terminal, a line now and then elsewhere, nothing with --quiet.


EVERY_SECONDS = 10.0  # a log that is read later needs no more
_NAME_COLUMNS, _BAR_COLUMNS = 7, 8  # the least; a name in full, where there is room
_SAID_COLUMNS = 40  # "100 % of 44.2 GiB, 155.0 MiB/s, 0:55 left"
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
    """``28 % of 4.2 GiB, 55.0 MiB/s, 0:55 left``."""
    said = ""
    if event.total_bytes:  # else nobody has said yet
        percent = 100 * event.done_bytes // event.total_bytes
        said = f"{percent} % of {render_bytes(event.total_bytes)}"
    parts = [f"{said} {_STATES[event.state]}".strip()]
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
            self._output.note(f"{name}: {printable(event.note)}")
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
            console.print(f"{name}: {printable(event.note)}", soft_wrap=True)
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
    return printable(name.rpartition("/")[2])


def _fitting(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"


# ----------------------------------------------------------------------------
# From flags, the context and the terminal to the ``Runtime`` that the use cases take.


YES_VARIABLE = "GEMMA_EDGE_YES"


def keep_seconds(options: StoreFlags, context: Context) -> float | None:
    """How long an engine stays, by the flag or the variable; None where neither says.

    Raises:
        UsageError: the variable is not a time.
    """
    asked = options.keep_alive if isinstance(options, EngineFlags) else None
    said = context.environment.get(KEEP_VARIABLE)
    if asked is not None or not said:
        return asked
    try:
        return parse_duration(said)
    except ValueError:
        problem = f"{KEEP_VARIABLE} is `{printable(said)}`, which is not a time"
        raise UsageError(problem, hint="5m, 1h, 0 or forever") from None


def open_runtime(
    options: StoreFlags, context: Context, output: Output, *, private: bool = False
) -> Runtime:
    """Made once a run: the machine is detected once, and asked where a person can answer. Of what
    is ``private`` no engine stays."""
    return Runtime(
        store=store_settings(
            context.environment, context.home, platform=context.platform,
            models_dir=options.models_dir, offline=options.offline, clock=context.now,
            trust_lock=options.trust_lock,
            ask=(
                (lambda question: confirm(question, context, output, usual=False))
                if can_ask(context) else None
            ),
        ),
        note=output.note,
        on_event=partial(show_aside, output=output),
        cancelling=cancel_on_interrupt,
        progress=lambda: show_progress(output, context.clock),
        confirm=(
            (lambda question: confirm(question, context, output, usual=True))
            if can_ask(context) else None
        ),
        models_dir=options.models_dir,
        remember=context.is_on(REMEMBER_VARIABLE),
        remember_bytes=parse_remembered(context.environment.get(REMEMBER_VARIABLE, "")),
        standby=(
            standby_dir(context.environment, context.home, context.platform)
            if isinstance(context.load, EarlyEngine) else None
        ),
        keep_seconds=keep_seconds(options, context),
        private=private,
        agreed=isinstance(options, FetchFlags) and options.yes
        or is_on(context.environment, YES_VARIABLE),
        clock=context.clock,
        load=context.load,
        open_counter=context.open_counter,
        detect=partial(context.detect_hardware, context.environment),
        open_measure=context.open_measure,
        busy_programs=context.busy_programs,
    )  # fmt: skip
