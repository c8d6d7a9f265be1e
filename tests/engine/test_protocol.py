"""What crosses to the engine's process: every value that can be a part of another comes back."""

import dataclasses
import json
import typing
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.engine import protocol
from gemma_edge.engine.protocol import (
    Chunk,
    EngineInfo,
    Finished,
    Request,
    TokenScore,
    Usage,
    pack,
    unpack,
)
from gemma_edge.planning.plan import Account, Attempt, Ledger, MemoryPart, Plan

PART = MemoryPart(name="weights", size_bytes=1 << 33, note="ä")
ACCOUNT = Account(place="RAM", title="main memory", budget_bytes=None, parts=(PART,))
PLAN = Plan(
    model=Path("models", "e4b.gguf").absolute(),
    context_tokens=8192, batch_tokens=512, devices=("CUDA0",),
    split=(3, 4), ledger=Ledger(accounts=(ACCOUNT,)),
    attempts=(Attempt(what="a smaller batch", taken=True, reason=""),),
)  # fmt: skip
USAGE = Usage(prompt_tokens=3, cached_tokens=1, evaluated_tokens=2, generated_tokens=4)


def kinds_in(hint: object, known: frozenset[object] = frozenset()) -> set[type]:
    """The dataclasses of a type, and of their fields; one may hold others of its kind."""
    if hint in known:
        return set()
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint).values()
        return {hint}.union(*(kinds_in(each, known | {hint}) for each in hints))
    return set().union(*(kinds_in(each, known) for each in typing.get_args(hint)))


@pytest.mark.parametrize("root", [Request, Plan, EngineInfo, protocol.PromptCount,
                                  protocol.Restored, protocol.Event])  # fmt: skip
def test_every_class_that_may_travel_is_known(root: object) -> None:
    for kind in kinds_in(root):
        assert kind.__name__ in protocol._KINDS


@pytest.mark.parametrize(
    "value",
    [
        None, True, 7, 1.5, "text \ud800", (), (1, ("a", None)), Path("a b").absolute(), PLAN,
        replace(PLAN, fallbacks=(PLAN,)),
        Chunk("ab", "answer", (TokenScore("a", 0.5, 1.0), TokenScore("b", 1.0, 1.0, forced=True))),
        Chunk("c", "answer", (TokenScore("c", 0.5, 1.0, top=(("c", 0.5), ("\udcf0", 0.1))),)),
        Finished("end", USAGE, protocol.Timings(
            prompt_seconds=1.0, first_token_seconds=0.1, decode_seconds=2.0)),
    ],
)  # fmt: skip
def test_values_come_back_as_they_were(value: object) -> None:
    parts: list[bytes] = []
    assert unpack(json.loads(json.dumps(pack(value, parts))), parts) == value
