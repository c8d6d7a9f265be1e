"""Drafts: they change how long an answer takes, and nothing else."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemma_edge.engine.drafting import (
    MOST,
    Drafter,
    Pace,
    Reading,
    TokenLookup,
    ValueLookup,
    rows_of,
)
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.protocol import (
    GREEDY,
    Grounding,
    JsonConstraint,
    Message,
    Request,
    Sampling,
)
from gemma_edge.planning.plan import Plan
from tests.engine.conftest import answer, demo_plan

# ----------------------------------------------------------------------------
# What is looked up.


def test_tokens_are_followed_by_what_followed_them_last() -> None:
    lookup = TokenLookup([1, 2, 3, 4, 1, 2, 3, 5, 9, 2, 3])
    assert next(lookup.propose(())) == [5, 9, 2, 3]
    assert next(lookup.propose((5,))) == [9, 2, 3]
    lookup.add([6, 2, 3])
    assert next(lookup.propose(()))[0] == 6
    assert list(TokenLookup([1, 2, 3, 4]).propose(())) == []


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_a_search_from_the_end_finds(seed: int) -> None:
    rng = random.Random(seed)
    said = [rng.randrange(6) for _ in range(60)]
    lookup = TokenLookup(said[:30])
    for at in range(30, 60):
        lookup.add(said[at : at + 1])
        so_far = said[: at + 1]
        expected: Sequence[int] = ()
        for size in (3, 2):
            places = [
                end for end in range(size, len(so_far))
                if so_far[end - size : end] == so_far[-size:]
            ]  # fmt: skip
            if places:
                expected = so_far[places[-1] : places[-1] + MOST]
                break
        assert next(lookup.propose(()), ()) == expected


@pytest.mark.parametrize(
    ("text", "begun", "ended"),
    [
        ("", "", []),
        ('{"a": "Ac', "Ac", []),
        ('{"a": ', "", []),
        ('{"a": "Ac\\"me", "b', None, ['Ac"me']),
        ('{"a": 12', "12", []),
        ('{"a": 12, ', None, ["12"]),
        ('{"a": [1, ', "", ["1"]),
        ('{"a": [{"b": "x, y: [z]"}, ', "", ["x, y: [z]"]),
        ('{"a": null}', None, ["null"]),
    ],
)
def test_where_a_value_has_begun(text: str, begun: str | None, ended: list[str]) -> None:
    reading, found = Reading(), []
    for char in text:
        found += reading.take(char)
    assert (reading.begun, found) == (begun, ended)
    again = Reading()
    assert again.take(text) == ended and again.begun == begun


def letters(text: str) -> ValueLookup:
    return ValueLookup(text, lambda each: list(each.encode()), lambda token: bytes((token,)))


def proposed(lookup: ValueLookup, more: str = "") -> list[str]:
    return [bytes(each).decode() for each in lookup.propose(more.encode())]


def test_the_rest_of_a_printed_value_and_then_the_next_cell() -> None:
    lookup = letters("ACME Ltd\nPen, red     3    4.50    13.50\nInk  |  1 | 9.00\n")
    lookup.add(b'{"vendor": "ACME')
    assert proposed(lookup) == [' Ltd"']
    assert proposed(lookup, ' Ltd", "items": [{"what": ') == ['"Pen, red"', "Pen, red"]
    lookup.add(b' Ltd", "items": [{"what": "Pen, red", "count": ')
    assert proposed(lookup) == ['"3"', "3"]
    assert proposed(lookup, '3, "price": "') == ['4.50"']
    assert proposed(lookup, '3, "price": 4.5') == ["0"]
    assert proposed(lookup, '3, "price": 7') == []
    lookup.add(b'3, "price": 4.50, "sum": 13.50}, {"what": "')
    assert proposed(lookup) == ['Ink"']


# ----------------------------------------------------------------------------
# How much.


def test_more_is_drafted_where_more_is_accepted_and_none_where_it_does_not_pay() -> None:
    pace = Pace()
    for _ in range(50):
        pace.judged(5, 5)
    assert pace.length() == MOST
    for _ in range(50):
        pace.judged(0, 5)
    assert pace.length() == 0
    assert any(pace.length() for _ in range(200))  # tried again
    pace = Pace()
    pace.took(1, 0.010)
    for _ in range(60):
        pace.took(5, 0.050)  # a batch as slow as its tokens one by one
    assert pace.cost == pytest.approx(1.0) and pace.length() == 0
    for _ in range(60):
        pace.took(5, 0.010)
        pace.judged(5, 5)
    assert pace.length() == MOST


def test_nothing_is_drafted_without_a_place_to_look() -> None:
    assert Drafter((), Pace()).draft([1, 2], None, MOST) == []


def test_rows_are_the_places_behind_which_something_is_chosen() -> None:
    assert list(rows_of([5, 6], [[7], [8, 9], [1]])) == [1, 2, 4, 5]


# ----------------------------------------------------------------------------
# The same answers.

WORDS = [
    "amber",
    "stone",
    "river",
    "lane",
    "hill",
    "blue",
    "copper",
    "seven",
    "north",
    "mill",
    "water",
    "glass",
    "old",
    "tower",
]


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[LlamaEngine, LlamaEngine]]:
    """The bundled model (Q8_0: no noise between small batches), without drafts and with them."""
    plan = demo_plan(context_tokens=4096)
    engines = LlamaEngine(replace(plan, draft="off")), LlamaEngine(plan)
    engines[1]._paces = (Eager(), Eager())
    yield engines
    for engine in engines:
        engine.close()


class Eager(Pace):
    """Drafts as much as it may, however little comes of it."""

    def length(self, most: int = MOST) -> int:
        return most


def both(pair: tuple[LlamaEngine, LlamaEngine], request: Request) -> tuple[str, int, int]:
    plain, drafting = (answer(engine, request) for engine in pair)
    assert plain[0] == drafting[0]
    assert plain[1].reason == drafting[1].reason
    assert plain[1].usage.generated_tokens == drafting[1].usage.generated_tokens
    assert plain[1].usage.forced_tokens == drafting[1].usage.forced_tokens
    assert plain[1].usage.drafted_tokens == 0
    return drafting[0], drafting[1].usage.drafted_tokens, drafting[1].usage.accepted_tokens


@pytest.mark.parametrize("seed", range(12))
def test_free_answers_are_the_same(pair: tuple[LlamaEngine, LlamaEngine], seed: int) -> None:
    rng = random.Random(seed)
    text = " ".join(rng.choices(WORDS, k=rng.randint(3, 40)))
    message = Message("user", f"Repeat: {text}")
    for sampling in (GREEDY, Sampling(temperature=1.0, seed=seed)):
        both(pair, Request(messages=(message,), sampling=sampling, max_tokens=80))


def test_what_is_taken_back_leaves_no_trace_beyond_the_window(f32_path: Path) -> None:
    """A draft of seven at each step, always in vain, while sliding layers drop cells. A cell that
    is missing changes logits by half and more (docs/architecture.md); batches of other shapes do by
    some thousandths here."""
    plan = Plan(model=f32_path, context_tokens=2048, batch_tokens=256)
    plain, drafted = (LlamaEngine(plan, flash_attention=False) for _ in range(2))
    rng = random.Random(1)
    said = [rng.randrange(300, plain._model.vocab_tokens - 1) for _ in range(600)]
    assert 0 < plain._model.window < 300
    worst = 0.0
    for engine in (plain, drafted):
        engine._cache.evaluate(said)
    for _ in range(250):
        token, *draft = (rng.randrange(300, plain._model.vocab_tokens - 1) for _ in range(MOST + 1))
        plain._cache.evaluate([token])
        drafted._cache.evaluate([token, *draft], range(MOST + 1))
        apart = plain._context.logits() - drafted._context.logits(0)
        drafted._cache.drop(MOST)
        worst = max(worst, float(np.abs(apart).max()))
        assert drafted._cache.units == plain._cache.units
    for engine in (plain, drafted):
        engine.close()
    assert worst < 0.05


def test_held_answers_are_the_same_and_much_of_them_is_drafted(
    pair: tuple[LlamaEngine, LlamaEngine],
) -> None:
    text = "INVOICE 77-B\nTorvani Belt GmbH\nLampreen   2   60.25   120.50\nTotal   120.50\n"
    schema = """{"type": "object", "additionalProperties": false, "properties": {
        "vendor": {"type": ["string", "null"]}, "number": {"type": ["string", "null"]},
        "items": {"type": "array", "items": {"type": "object", "additionalProperties": false,
            "properties": {"what": {"type": "string"}, "sum": {"type": ["number", "null"]}},
            "required": ["what", "sum"]}}}, "required": ["vendor", "number", "items"]}"""
    drafted = accepted = 0
    for grounding in (None, Grounding(text=text)):
        for most in (400, 60, 25):  # closed early too
            request = Request(
                messages=(Message("user", f"{text}\nAll of it as JSON"),), sampling=GREEDY,
                constraint=JsonConstraint(schema=schema, grounding=grounding), max_tokens=most,
                scored=True,
            )  # fmt: skip
            _, more, taken = both(pair, request)
            drafted, accepted = drafted + more, accepted + taken
    assert 0 < accepted < drafted


def test_scores_are_those_of_each_choice(pair: tuple[LlamaEngine, LlamaEngine]) -> None:
    request = Request(
        messages=(Message("user", f"Repeat: {' '.join(WORDS)}"),), sampling=GREEDY, scored=True,
        max_tokens=60,
    )  # fmt: skip
    odds = []
    for engine in pair:
        scores = [
            score for event in engine.generate(request) for score in getattr(event, "scores", ())
        ]
        odds.append([score.probability for score in scores])
    assert len(odds[0]) == len(odds[1])
    assert np.allclose(odds[0], odds[1], atol=0.02)
