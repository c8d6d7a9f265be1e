"""A document and a schema to checked data: one request, one answer, one verdict. Pure over the
Engine."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, NoReturn

from gemma_edge.documents import Document
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Event,
    Finished,
    JsonConstraint,
    Message,
    Request,
)
from gemma_edge.errors import EngineError, SchemaError
from gemma_edge.extract.enforcing import LADDER as LADDER
from gemma_edge.extract.enforcing import PREFIX, Rung, relieve
from gemma_edge.extract.schema import Schema
from gemma_edge.extract.walk import Json
from gemma_edge.units import render_tokens

_REASON = 120  # characters of the engine's reason in a note


@dataclass(frozen=True, slots=True)
class Extraction:
    """``text`` is the answer as it came; ``data`` is what it says, None where it says nothing.

    With no ``problems`` the data is valid by the user's schema. ``notes`` are worth a line but
    no failure: a required value that the document does not have, a rule that was only checked
    afterwards.
    """

    data: Any
    text: str
    problems: tuple[str, ...]
    finished: Finished
    notes: tuple[str, ...] = ()


def extract(  # noqa: PLR0913 (three of them are optional and named)
    engine: Engine,
    document: Document,
    schema: Schema,
    *,
    strict: bool = False,
    max_tokens: int | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Extraction:
    """Read ``document`` into the form of ``schema``; ``strict`` lets no value be null that the
    schema does not let be. ``on_event`` sees every event as it comes.

    Raises:
        SchemaError: no rung of the ladder can enforce the schema.
        DoesNotFit, EngineError: from the engine.
    """
    message = Message("user", render_prompt(document.text, schema.form()))

    def ask(constraint: JsonConstraint) -> tuple[str, Finished]:
        request = Request(
            messages=(message,), max_tokens=max_tokens, sampling=GREEDY, constraint=constraint
        )
        return _listen(engine, request, on_event)

    found = ask_by_schema(ask, schema, strict=strict)
    return replace(found, notes=schema.remarks + found.notes)


def ask_by_schema(
    ask: Callable[[JsonConstraint], tuple[str, Finished]], schema: Schema, *, strict: bool = False
) -> Extraction:
    """Ask with as much of ``schema`` held as llguidance can hold, and judge the answer; ``ask``
    gives its text and its end.

    Raises:
        SchemaError: no rung of the ladder can enforce the schema.
        GemmaEdgeError: from ``ask``.
    """
    refusals: list[SchemaError] = []
    for rung, held in iter_constraints(schema.strict_decoding if strict else schema.decoding):
        try:
            text, finished = ask(JsonConstraint(schema=json.dumps(held), relaxed=rung))
        except SchemaError as error:
            refusals.append(error)
            continue
        return judge(text, finished, schema, strict=strict, notes=_relaxed(rung, refusals))
    raise refusals[-1]


def iter_constraints(decoding: Json) -> Iterator[tuple[Rung, Json]]:
    """What to hold the decoder to, the most first: the ladder, then what llguidance can hold of
    the schema at all. Ask for the next only when one was refused."""
    yield from ((rung, decoding) for rung in LADDER)
    relieved = relieve(decoding)
    if relieved is not None:
        yield relieved.rung, relieved.schema


def render_prompt(document: str, form: str) -> str:
    """The user's turn. Both places are filled in one pass, so neither text can hold the other's
    placeholder."""
    template = files("gemma_edge.extract").joinpath("prompt.txt").read_text(encoding="utf-8")
    values = {"document": document, "form": form}
    filled = re.sub(r"\{(document|form)\}", lambda found: values[found[1]], template)
    return filled.strip()


def judge(
    text: str,
    finished: Finished,
    schema: Schema,
    *,
    strict: bool = False,
    notes: tuple[str, ...] = (),
) -> Extraction:
    """The answer's text to data with its problems."""
    problems = list(_cut_short(finished))
    try:
        data, repeated = parse_answer(text)
        verdict = schema.checker.check(data, strict=strict)
    except ValueError as error:
        problems.append(f"the answer is not JSON ({error})")
        return Extraction(None, text, tuple(problems), finished, notes)
    except RecursionError:  # a schema that refers to itself, and a model that never leaves it
        problems.append("the answer is nested too deeply to be checked")
        return Extraction(None, text, tuple(problems), finished, notes)
    problems += [f'the key "{key}" came twice; the last one counts' for key in repeated]
    if not finished.closed_early:  # else it was not looked for to the end
        notes += tuple(f"{at}: required, and not found" for at in verdict.missing)
    problems += verdict.problems
    return Extraction(verdict.data, text, tuple(problems), finished, notes)


def parse_answer(text: str) -> tuple[Any, list[str]]:
    """JSON text to data, and the keys that came twice in one object.

    Raises:
        ValueError: not JSON, or a number that no float holds.
    """
    repeated: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = {_whole(key): value for key, value in pairs}
        if len(members) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated.extend(key for key in members if keys.count(key) > 1)
        return members

    data = json.loads(
        text, object_pairs_hook=collect, parse_constant=_refuse, parse_float=_parse_float
    )
    return _mend(data), repeated


def _listen(
    engine: Engine, request: Request, on_event: Callable[[Event], None] | None
) -> tuple[str, Finished]:
    answer = ""
    for event in engine.generate(request):
        if on_event is not None:
            on_event(event)
        if isinstance(event, Finished):
            return answer, event
        if isinstance(event, Chunk) and event.channel == "answer":
            answer += event.text
    raise EngineError("the engine stopped without an end", hint="try again")


def _relaxed(rung: Rung, refusals: list[SchemaError]) -> tuple[str, ...]:
    if not rung:
        return ()
    reason = " ".join(refusals[0].message.removeprefix(PREFIX).split())[:_REASON]
    return (f"a part of the schema was not enforced while decoding, only checked: {reason}",)


def _cut_short(finished: Finished) -> list[str]:
    """Why the answer is not complete, if it is not."""
    tokens = render_tokens(finished.usage.generated_tokens)
    if finished.reason == "cancelled":
        return [f"interrupted after {tokens}; the answer is not complete"]
    if finished.reason == "repetition":
        return [f"the model repeated itself and was stopped at {tokens}; it is not complete"]
    if finished.closed_early:
        return [f"the answer stopped at {tokens}; it was closed there and is not complete"]
    if finished.reason == "length":
        return [f"the answer stopped at {tokens} and is not complete"]
    return []


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _parse_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:40]} is out of range")
    return value


def _mend(value: Any) -> Any:
    """Strings without halves of characters (``"\\ud83d"``), which no terminal can print."""
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, list):
        return [_mend(item) for item in value]
    if isinstance(value, dict):
        return {key: _mend(member) for key, member in value.items()}
    return value


def _whole(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
