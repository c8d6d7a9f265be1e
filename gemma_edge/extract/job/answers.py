"""One answer under a schema: asked with as much of the schema held as can be, read, judged."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from gemma_edge.engine.protocol import (
    Chunk,
    Engine,
    Event,
    Finished,
    JsonConstraint,
    Request,
    TokenScore,
)
from gemma_edge.errors import EngineError, SchemaError
from gemma_edge.extract.job.extraction import Extraction
from gemma_edge.extract.recipes.recipe import bare_recipe
from gemma_edge.extract.schemas.enforcing import LADDER, PREFIX, Rung, relieve
from gemma_edge.extract.schemas.schema import Schema
from gemma_edge.extract.schemas.walk import Json
from gemma_edge.units import render_tokens

_REASON = 120  # characters of the engine's reason in a note


@dataclass(frozen=True, slots=True)
class Said:
    """The answer's text, how it ended, and how sure the model was of its tokens."""

    text: str
    finished: Finished
    scores: tuple[TokenScore, ...] = ()


def listen(engine: Engine, request: Request, on_event: Callable[[Event], None] | None) -> Said:
    """Wait for a whole answer; ``on_event`` sees each event as it comes.

    Raises:
        SchemaError, DoesNotFit, EngineError, ProjectorError: from the engine.
    """
    answer: list[str] = []
    scores: list[TokenScore] = []
    for event in engine.generate(request):
        if on_event is not None:
            on_event(event)
        if isinstance(event, Finished):
            return Said("".join(answer), event, tuple(scores))
        if isinstance(event, Chunk) and event.channel == "answer":
            answer.append(event.text)
            scores += event.scores
    raise EngineError("the engine stopped without an end", hint="try again")


def ask_by_schema(
    ask: Callable[[JsonConstraint], tuple[str, Finished]], schema: Schema, *, strict: bool = False
) -> Extraction:
    """Ask with as much of ``schema`` held as llguidance can hold, and judge the answer; ``ask``
    gives its text and its end.

    Raises:
        SchemaError: no rung of the ladder can enforce the schema.
        GemmaEdgeError: from ``ask``.
    """
    decoding = schema.strict_decoding if strict else schema.decoding
    (text, finished), notes = climb(ask, decoding)
    return judge(text, finished, schema, strict=strict, notes=notes)


def climb(ask: Callable[[JsonConstraint], Any], decoding: Json) -> tuple[Any, tuple[str, ...]]:
    """What ``ask`` gives on the first rung that is not refused, and a note where that is not the
    whole schema.

    Raises:
        SchemaError: no rung of the ladder can enforce it.
    """
    refusals: list[SchemaError] = []
    for rung, held in iter_constraints(decoding):
        try:
            said = ask(JsonConstraint(schema=json.dumps(held), relaxed=rung))
        except SchemaError as error:
            refusals.append(error)
            continue
        return said, _relaxed(rung, refusals)
    raise refusals[-1]


def iter_constraints(decoding: Json) -> Iterator[tuple[Rung, Json]]:
    """What to hold the decoder to, the most first: the ladder, then what llguidance can hold of
    the schema at all. Ask for the next only when one was refused."""
    yield from ((rung, decoding) for rung in LADDER)
    relieved = relieve(decoding)
    if relieved is not None:
        yield relieved.rung, relieved.schema


def judge(
    text: str,
    finished: Finished,
    schema: Schema,
    *,
    strict: bool = False,
    notes: tuple[str, ...] = (),
) -> Extraction:
    """The answer's text to data with its problems."""
    problems = list(cut_short(finished))
    try:
        data, repeated = parse_answer(text)
        outcome = bare_recipe(schema).finish(data)  # what is printed to what the schema means
        verdict = schema.checker.check(outcome.data, strict=strict)
    except ValueError as error:
        problems.append(f"the answer is not JSON ({error})")
        return Extraction(None, text, tuple(problems), finished, notes)
    except RecursionError:  # a schema that refers to itself, and a model that never leaves it
        problems.append("the answer is nested too deeply to be checked")
        return Extraction(None, text, tuple(problems), finished, notes)
    problems += repeated
    if not finished.closed_early:  # else it was not looked for to the end
        notes += tuple(f"{at}: required, and not found" for at in verdict.missing)
    problems += verdict.problems
    notes += outcome.notes
    return Extraction(verdict.data, text, tuple(problems), finished, notes)


def parse_answer(text: str) -> tuple[Any, list[str]]:
    """JSON text to data, and a line for each key that came twice in one object.

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
    return _mend(data), [f'the key "{key}" came twice; the last one counts' for key in repeated]


def cut_short(finished: Finished) -> list[str]:
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


def _relaxed(rung: Rung, refusals: list[SchemaError]) -> tuple[str, ...]:
    if not rung:
        return ()
    reason = " ".join(refusals[0].message.removeprefix(PREFIX).split())[:_REASON]
    return (f"a part of the schema was not enforced while decoding, only checked: {reason}",)


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
