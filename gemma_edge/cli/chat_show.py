"""How the answers of a conversation look: Markdown and folded thoughts where a terminal can draw,
text as it comes everywhere else."""

from collections.abc import Iterable

from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import ended, ending, show_aside, stream_text
from gemma_edge.engine.protocol import Chunk, Event, Finished, Notice

FRAME_SECONDS = 0.1  # of the line that says how long a thought is


class Show:
    """``thought`` is the last one, whole."""

    def __init__(self, context: Context, output: Output, *, plain: bool) -> None:
        self.thought = ""
        self._context = context
        self._draws = not plain and output.draws and output.renders

    def answer(self, events: Iterable[Event], output: Output) -> Finished:
        """Show an answer to its end, and say how it ended."""
        self.thought = ""
        if self._draws:
            return self._draw(events, output)
        return stream_text(self._listen(events), output)

    def _listen(self, events: Iterable[Event]) -> Iterable[Event]:
        with ending(events):
            for event in events:
                if isinstance(event, Chunk) and event.channel == "thought":
                    self.thought += event.text
                yield event

    def _draw(self, events: Iterable[Event], output: Output) -> Finished:
        from gemma_edge.cli.answer_view import AnswerView  # noqa: PLC0415  (rich's Markdown)
        from gemma_edge.cli.live import Live  # noqa: PLC0415

        assert self._context.size is not None
        live = Live(output.raw, self._context.size, reflows=_reflows(self._context))
        view = AnswerView(
            live, self._context.environment, self._context.clock, colour=output.colours
        )
        fold = _Fold(self._context, output)
        finished = None
        try:
            with ending(events):
                for event in events:
                    if isinstance(event, Finished):
                        finished = event
                    elif isinstance(event, Chunk) and event.channel == "thought":
                        self.thought += event.text
                        fold.add()
                    elif isinstance(event, Chunk):
                        fold.close()
                        view.add(output.visible(event.text))
                    else:
                        if isinstance(event, Notice):
                            view.pause()
                        show_aside(event, output)
        finally:
            fold.close()
            view.finish()
        return ended(finished)


class _Fold:
    """One line for a thought: how long it is while it grows, and then how long it took."""

    def __init__(self, context: Context, output: Output) -> None:
        self._clock = context.clock
        self._output = output
        self._began: float | None = None
        self._drawn = 0.0
        self._pieces = 0

    def add(self) -> None:
        now = self._clock()
        if self._began is None:
            self._began = now
        self._pieces += 1
        if self._pieces == 1 or now - self._drawn >= FRAME_SECONDS:
            self._drawn = now
            self._output.draw(f"  ▸ thinking, {now - self._began:.0f} s")

    def close(self) -> None:
        if self._began is not None:
            seconds = self._clock() - self._began
            self._output.dim(f"  ▸ thought for {seconds:.1f} s (/show thought)")
            self._began = None


def _reflows(context: Context) -> bool:
    """Whether the terminal folds what stands on it again when it becomes narrower: nearly all do,
    xterm and the consoles of Linux and the BSDs do not."""
    told = context.environment.get
    return not told("XTERM_VERSION") and told("TERM") not in ("linux", "vt100", "vt220")
