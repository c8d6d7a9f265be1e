"""One question about pictures to one whole answer: text, or data that a schema accepts."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_edge.cli.describe.looking import Seen
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import collect, cut_short
from gemma_edge.describe.job import describe
from gemma_edge.describe.tasks import Kind, Task, schema_text, unique_tags
from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import GREEDY, Engine, Finished, JsonConstraint, Sampling
from gemma_edge.errors import UsageError
from gemma_edge.extract.job.answers import ask_by_schema
from gemma_edge.extract.schemas.schema import Schema, parse_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions:
    """What the flags say. ``schema`` is a file, JSON, or the one-line language."""

    kind: Kind
    schema: str | None = None
    questions: tuple[str, ...] = ()
    language: str = ""
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What is asked of the pictures: a task for each question, all of one kind. ``schema`` holds
    the answers; without it they are text."""

    tasks: tuple[Task, ...]
    schema: Schema | None = None
    sampling: Sampling = Sampling()
    max_tokens: int | None = None

    @property
    def kind(self) -> Kind:
        """The kind of all tasks."""
        return self.tasks[0].kind


@dataclass(frozen=True, slots=True)
class Answer:
    """``data`` is what ``text`` says, or the text itself where no schema was asked for; ``None``
    where it says nothing. Without ``problems`` it is whole and valid."""

    text: str
    data: Any
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    finished: Finished


def parse_asking(options: AskOptions) -> Asking:
    """From flags to what is asked.

    Raises:
        SchemaError, InputError: the schema cannot be read or enforced.
        UsageError: flags that do not go together.
    """
    kind, schema = options.kind, options.schema
    if schema is not None and kind != "json":
        raise UsageError(f"--schema does not go with --as {kind}", hint="--as json --schema SCHEMA")
    text = schema if schema is not None else schema_text(kind)
    held_to = parse_schema(text, trust=options.trust) if text else None
    form = held_to.form() if held_to is not None and kind == "json" else ""
    tasks = tuple(
        Task(kind=kind, question=question, language=options.language, form=form)
        for question in options.questions or ("",)
    )
    exact = tasks[0].copies and options.sampling == Sampling()
    return Asking(
        tasks=tasks, schema=held_to, sampling=GREEDY if exact else options.sampling,
        max_tokens=options.max_tokens,
    )  # fmt: skip


def answer(
    engine: Engine, seen: Sequence[Seen], task: Task, asking: Asking, output: Output
) -> Answer:
    """Ask, and wait for the whole answer.

    Raises:
        SchemaError: no rung of llguidance can enforce the schema.
        DoesNotFit, EngineError, ProjectorError: from the engine.
    """

    def ask(constraint: JsonConstraint | None) -> tuple[str, Finished]:
        events = describe(
            engine, pictures_of(seen), prompt_for(task, seen), max_tokens=asking.max_tokens,
            sampling=asking.sampling, constraint=constraint,
        )  # fmt: skip
        return collect(events, output)

    if asking.schema is not None:
        # A tag is never null, and each is said once.
        strict = asking.kind == "tags"
        found = ask_by_schema(ask, asking.schema, strict=strict)
        data = unique_tags(found.data) if strict else found.data
        return Answer(found.text, data, found.problems, found.notes, found.finished)
    text, finished = ask(None)
    return Answer(text, text.strip(), cut_short(finished), (), finished)


def pictures_of(seen: Sequence[Seen]) -> tuple[Picture, ...]:
    """All pictures, in order."""
    return tuple(picture for each in seen for picture in each.pictures)


def prompt_for(task: Task, seen: Sequence[Seen]) -> str:
    """The text that stands beside them."""
    return task.prompt(len(seen), cut=any(len(each.pictures) > 1 for each in seen))


def render_answer(found: Answer, kind: Kind) -> str:
    """The answer as text: tags with commas between, other data as JSON."""
    return render_data(found.text if found.data is None else found.data, kind)


def render_data(data: Any, kind: Kind) -> str:
    """The same from what a record holds, where data may be JSON in a cell."""
    if isinstance(data, str) and kind in ("tags", "json"):
        with contextlib.suppress(ValueError):
            data = json.loads(data)
    if kind == "tags" and isinstance(data, list):
        return ", ".join(map(str, data))
    return data.strip() if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
