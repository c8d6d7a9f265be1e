"""Pictures in one prompt: each question after the other, so that the pictures are read once."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gemma_edge.cli.describe.answering import (
    Answer,
    Asking,
    answer,
    pictures_of,
    prompt_for,
    render_answer,
)
from gemma_edge.cli.describe.looking import Seen
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import conclude, render_status, stream_text
from gemma_edge.describe.job import describe
from gemma_edge.describe.tasks import Task
from gemma_edge.engine.protocol import Engine
from gemma_edge.errors import ExitStatus


class Together:
    """All pictures in one prompt; each question after the other, so that the pictures are read
    once."""

    def __init__(
        self, engine: Engine, seen: tuple[Seen, ...], asking: Asking, output: Output, as_json: bool
    ) -> None:
        self._engine, self._seen, self._asking = engine, seen, asking
        self._output, self._as_json = output, as_json

    def run(self) -> ExitStatus:
        """Ask, show, and say how it ended."""
        results, status = [], ExitStatus.OK
        for task in self._asking.tasks:
            if len(self._asking.tasks) > 1:
                self._output.note(f"› {task.question}")
            if self._as_json or self._asking.schema is not None:
                found, ended = self._whole(task)
                results.append((task, found))
            else:
                ended = self._stream(task)
            status = max(status, ended)
            if ended == ExitStatus.INTERRUPTED:
                break
        if self._as_json:
            self._output.document(_as_document(self._engine, self._seen, results))
        return status

    def _stream(self, task: Task) -> ExitStatus:
        """Text, word by word."""
        with cancel_on_interrupt(self._engine):
            finished = stream_text(
                describe(
                    self._engine, pictures_of(self._seen), prompt_for(task, self._seen),
                    max_tokens=self._asking.max_tokens, sampling=self._asking.sampling,
                ),
                self._output,
            )  # fmt: skip
        self._output.status(render_status(finished, self._engine.info))
        return conclude(finished, self._output)

    def _whole(self, task: Task) -> tuple[Answer, ExitStatus]:
        """Data, or an answer that becomes part of a document."""
        with cancel_on_interrupt(self._engine):
            found = answer(self._engine, self._seen, task, self._asking, self._output)
        if not self._as_json:
            self._show(found)
        for note in found.notes:
            self._output.note(note)
        self._output.status(render_status(found.finished, self._engine.info))
        if found.finished.reason == "cancelled":
            return found, ExitStatus.INTERRUPTED
        for problem in found.problems:
            self._output.problem(problem)
        return found, ExitStatus.RESULT if found.problems else ExitStatus.OK

    def _show(self, found: Answer) -> None:
        if self._asking.kind == "json" and found.data is not None:
            self._output.document(found.data)
        else:
            self._output.data(render_answer(found, self._asking.kind))


def _as_document(
    engine: Engine, seen: Sequence[Seen], results: Sequence[tuple[Task, Answer]]
) -> dict[str, Any]:
    """One answer lies open; of several, each with its question."""
    images = [
        {"name": picture.name, "width": picture.width, "height": picture.height,
         "tokens": picture.tokens, "resized": picture.lost or None}
        for picture in pictures_of(seen)
    ]  # fmt: skip
    answers = [
        {"answer": found.data, "problems": list(found.problems), **asdict(found.finished)}
        for _, found in results
    ]
    head = {"model": engine.info.name, "images": images}
    if len(answers) == 1:
        return {**head, **answers[0]}
    asked = (
        {"question": task.question, **each}
        for (task, _), each in zip(results, answers, strict=True)
    )
    return {**head, "answers": list(asked)}
