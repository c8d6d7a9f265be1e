"""The requests of one extraction, and their answers in order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gemma_edge.documents import Document
from gemma_edge.engine.protocol import (
    GREEDY,
    Engine,
    Event,
    Finished,
    JsonConstraint,
    Message,
    Request,
    Timings,
    TokenScore,
    Usage,
)
from gemma_edge.errors import Interrupted
from gemma_edge.extract.job.answers import Said, climb, listen, parse_answer
from gemma_edge.extract.job.looks import Look, make_sheet
from gemma_edge.extract.job.options import Options
from gemma_edge.extract.job.prompting import Question, Sheet, make_beginning, make_message
from gemma_edge.extract.schemas.parts import Part

# Of pages that are read once for several questions; shorter ones are read again in a moment.
WARM_CHARACTERS = 500

Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """``data`` is what ``text`` says; ``flaw`` says why it says nothing. ``repeated`` are lines
    about keys that came twice, ``notes`` about what was not enforced."""

    number: int
    sheets: tuple[Sheet, ...]
    text: str
    data: Any
    finished: Finished
    scores: tuple[TokenScore, ...] = ()
    flaw: str = ""
    repeated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def cut(self) -> bool:
        """Whether it ended because of its budget, or because the model repeated itself."""
        return self.finished.closed_early or self.finished.reason in ("length", "repetition")


class Asker:
    """Asks about pages of one document; ``answers`` are all that came."""

    def __init__(
        self,
        engine: Engine,
        document: Document,
        looks: Sequence[Look],
        options: Options,
        on_event: Listener | None,
    ) -> None:
        self._engine, self._document, self._options = engine, document, options
        self._looks = {look.page.number: look for look in looks}
        self._on_event = on_event
        self._several = len(document.pages) > 1
        self._drawn: tuple[tuple[Sheet, ...], tuple[Sheet, ...]] = ((), ())
        self.answers: list[Answer] = []

    def ask(self, sheets: tuple[Sheet, ...], part: Part, question: Question) -> Answer:
        """One answer about these pages.

        Raises:
            Interrupted: Ctrl-C.
            SchemaError, DoesNotFit, EngineError, ProjectorError: from the engine.
        """
        drawn = self._draw(sheets)
        message = make_message(drawn, question, several=self._several)
        warmed = self._warm(make_beginning(drawn, several=self._several))

        def once(constraint: JsonConstraint) -> Said:
            request = Request(
                messages=(message,), max_tokens=self._options.max_tokens, sampling=GREEDY,
                constraint=constraint, scored=self._options.scored,
            )  # fmt: skip
            return listen(self._engine, request, self._on_event)

        said, notes = climb(once, part.decoding)
        if said.finished.reason == "cancelled":
            raise _interrupted()
        if warmed is not None:
            said = replace(said, finished=_with(warmed, said.finished))
        answer = self._read(said, sheets, notes)
        self.answers.append(answer)
        return answer

    def _warm(self, beginning: Message) -> Finished | None:
        """Read the pages into the cache by themselves, so that the next question about them finds
        its way back there behind any answer; not worth a step for a short page."""
        if len(beginning.text) < WARM_CHARACTERS and not beginning.pictures:
            return None
        for event in self._engine.warm(Request(messages=(beginning,))):
            if isinstance(event, Finished):
                if event.reason == "cancelled":
                    raise _interrupted()
                return event
            if self._on_event is not None:
                self._on_event(event)
        return None

    def _read(self, said: Said, sheets: tuple[Sheet, ...], notes: tuple[str, ...]) -> Answer:
        data, repeated, flaw = None, list[str](), ""
        try:
            data, repeated = parse_answer(said.text)
        except ValueError as error:
            flaw = f"the answer is not JSON ({error})"
        except RecursionError:  # a schema that refers to itself, and a model that never leaves it
            flaw = "the answer is nested too deeply to be checked"
        return Answer(
            len(self.answers), sheets, said.text, data, said.finished, said.scores, flaw,
            tuple(repeated), notes,
        )  # fmt: skip

    def _draw(self, sheets: tuple[Sheet, ...]) -> tuple[Sheet, ...]:
        """The sheets with pixels; those of the last request are kept for the next one."""
        if self._drawn[0] is not sheets:
            self._drawn = (sheets, tuple(map(self._with_pixels, sheets)))
        return self._drawn[1]

    def _with_pixels(self, sheet: Sheet) -> Sheet:
        if all(picture.rgb for picture in sheet.pictures):
            return sheet
        drawn = make_sheet(
            self._document, self._looks[sheet.number], max_tokens=self._options.image_tokens,
            tiles=self._options.tiles,
        )  # fmt: skip
        return replace(sheet, pictures=drawn.pictures)


def _interrupted() -> Interrupted:
    return Interrupted("stopped before the answer was complete")


def _with(warmed: Finished, finished: Finished) -> Finished:
    """An answer whose pages were read by themselves: that is a part of its prompt."""
    usage, timings = finished.usage, finished.timings
    read = warmed.usage.evaluated_tokens
    seconds = warmed.timings.prompt_seconds
    return replace(
        finished,
        usage=replace(
            usage,
            cached_tokens=usage.cached_tokens - read,
            evaluated_tokens=usage.evaluated_tokens + read,
            encoded_pictures=usage.encoded_pictures + warmed.usage.encoded_pictures,
        ),
        timings=replace(
            timings,
            prompt_seconds=timings.prompt_seconds + seconds,
            first_token_seconds=timings.first_token_seconds + seconds,
        ),
    )


def sum_up(answers: Sequence[Answer], *, cut: bool) -> Finished:
    """All requests as one: tokens and seconds added; it ended early if something is missing in
    the end."""
    ends = [answer.finished for answer in answers]
    usages, timings = [end.usage for end in ends], [end.timings for end in ends]

    def total(name: str) -> int:
        return sum(getattr(usage, name) for usage in usages)

    early = [end for end in ends if end.reason != "end" or end.closed_early]
    last = (early or ends)[-1]
    return Finished(
        last.reason if cut else "end",
        Usage(
            prompt_tokens=total("prompt_tokens"), cached_tokens=total("cached_tokens"),
            evaluated_tokens=total("evaluated_tokens"),
            generated_tokens=total("generated_tokens"), thought_tokens=total("thought_tokens"),
            forced_tokens=total("forced_tokens"), encoded_pictures=total("encoded_pictures"),
        ),
        Timings(
            prompt_seconds=sum(each.prompt_seconds for each in timings),
            first_token_seconds=timings[0].first_token_seconds,
            decode_seconds=sum(each.decode_seconds for each in timings),
        ),
        closed_early=cut and last.closed_early,
    )  # fmt: skip
