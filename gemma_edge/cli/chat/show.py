"""How the answers of a conversation look: Markdown and folded thoughts where a terminal can draw,
text as it comes everywhere else."""

from collections.abc import Iterable

from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import ended, ending, show_aside, stream_text
from gemma_edge.engine.protocol import Chunk, Event, Finished, Notice

FRAME_SECONDS = 0.1  # of the line that says how long a thought is


class Show:
    """``thought`` is the last one, whole; ``folds`` shows one line for it where that can be
    drawn."""

    def __init__(
        self, context: Context, output: Output, *, plain: bool, folds: bool = True
    ) -> None:
        self.thought = ""
        self._folds = folds
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
        from gemma_edge.cli.terminal.answer_view import AnswerView  # noqa: PLC0415  (rich's Markdown)
        from gemma_edge.cli.terminal.live import Live  # noqa: PLC0415

        assert self._context.size is not None
        live = Live(output.raw, self._context.size, reflows=_reflows(self._context))
        view = AnswerView(
            live, self._context.environment, self._context.clock, colour=output.colours
        )
        fold = _Fold(self._context, output)
        finished, said = None, False
        late: list[Notice] = []  # said of an answer that is still growing: they come below it
        try:
            with ending(events):
                for event in events:
                    if isinstance(event, Finished):
                        finished = event
                    elif isinstance(event, Chunk) and event.channel == "thought":
                        self.thought += event.text
                        if self._folds:
                            fold.add()
                        else:
                            output.thought(event.text)
                    elif isinstance(event, Chunk):
                        fold.close()
                        view.add(output.visible(event.text))
                        said = True
                    elif said and isinstance(event, Notice):
                        late.append(event)
                    else:
                        show_aside(event, output)
        finally:
            fold.close()
            view.finish()
            for notice in late:
                show_aside(notice, output)
        return ended(finished)


class _Fold:
    """One line for a thought: how long it is while it grows, and then how long it took."""

    def __init__(self, context: Context, output: Output) -> None:
        self._clock = context.clock
        self._output = output
        self._began: float | None = None
        self._drawn = float("-inf")

    def add(self) -> None:
        now = self._clock()
        if self._began is None:
            self._began = now
        if now - self._drawn >= FRAME_SECONDS:
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
