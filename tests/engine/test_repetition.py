"""A cycle is noticed, a long list of different rows is not."""

import base64
import json
import random
from collections.abc import Iterable
from itertools import count, repeat
from pathlib import Path

import pytest

from gemma_edge.engine.answer import (
    FREE_CYCLE,
    HELD_CYCLE,
    LONGEST_PERIOD,
    AnswerVocabulary,
    Repetition,
    RunningAnswer,
    says_nothing_new,
)
from gemma_edge.engine.protocol import Request
from tests.shared import DOCUMENTS


@pytest.mark.parametrize("period", [1, 2, 7, LONGEST_PERIOD])
def test_a_cycle_is_found(period: int) -> None:
    watch = Repetition()
    watch.add(list(range(1000, 1100)))
    cycle = list(range(period))
    said = 0
    while not watch.found:
        watch.add(cycle)
        said += period
        assert said < 2 * (HELD_CYCLE + LONGEST_PERIOD)
    assert said >= HELD_CYCLE


def test_rows_that_differ_in_one_token_are_no_cycle() -> None:
    watch = Repetition()
    rng = random.Random(1)
    for _ in range(200):
        watch.add([5, 6, 7, rng.randrange(100), 8, 9])
        assert not watch.found


def test_free_text_may_repeat_itself_for_longer() -> None:
    watch = Repetition(FREE_CYCLE)
    watch.add([1, 2, 3] * (HELD_CYCLE + LONGEST_PERIOD))
    assert not watch.found
    watch.add([1, 2, 3] * FREE_CYCLE)
    assert watch.found


WORDS = [
    "desk",
    "lamp",
    "chair",
    "shelf",
    "screw",
    "board",
    "cable",
    "socket",
    "plug",
    "ruler",
    "paint",
    "brush",
]
RNG = random.Random(7)
LOOPS = {
    "numbers": ", ".join(map(str, range(1, 3000))),
    "rows that count": json.dumps(
        [{"item": f"Item {i}", "qty": 1, "price": 10.0} for i in range(300)]
    ),
    "two columns": json.dumps([{"no": i, "code": f"A-{1000 + i}", "qty": 1} for i in range(300)]),
    "a word that changes": json.dumps(
        [{"item": RNG.choice(WORDS), "qty": 1, "price": 10.0, "unit": "pcs"} for _ in range(300)]
    ),
    "letters": "MAL" + "AN" * 5000,
    "a list that grows": ", ".join("a" * (i % 50) + "b" for i in range(400)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_that_is_no_cycle_says_nothing_new(name: str) -> None:
    assert says_nothing_new(LOOPS[name].encode()[:9000])


def rows(count: int) -> list[dict[str, object]]:
    return [
        {"date": f"2024-{RNG.randint(1, 12):02}-{RNG.randint(1, 28):02}",
         "text": f"{RNG.choice(WORDS)} {RNG.choice(WORDS)}", "qty": RNG.randint(1, 9),
         "amount": round(RNG.random() * 1000, 2)}
        for _ in range(count)
    ]  # fmt: skip


LONG = {
    "rows": json.dumps(rows(300)),
    "short rows": json.dumps(
        [{"sku": RNG.choice(WORDS), "qty": RNG.randint(1, 9)} for _ in range(500)]
    ),
    "csv": "\n".join(f"{i},{RNG.randint(0, 100)},{RNG.random():.3f}" for i in range(800)),
    "numbers": "\n".join(
        " ".join(f"{RNG.randint(0, 999):5}" for _ in range(8)) for _ in range(200)
    ),
    "matrix": "\n".join(" ".join(RNG.choice("01") for _ in range(40)) for _ in range(200)),
    "table": "\n".join(f"| {w} | {RNG.randint(0, 99)} |  |  |  |" for w in WORDS * 40),
    "products": "\n".join(f"{a} x {b} = {a * b}" for a in range(1, 21) for b in range(1, 31)),
    "code": Path(__file__).read_text(encoding="utf-8") * 2,
    "base64": base64.b64encode(RNG.randbytes(9000)).decode(),
    "chinese": "".join(chr(RNG.randint(0x4E00, 0x9FFF)) for _ in range(4000)),
    "words": " ".join(RNG.choice(WORDS) for _ in range(2500)),
    "hours": json.dumps(
        [{"day": f"2024-03-{d:02}", "from": "08:00", "to": "17:00"} for d in range(1, 32)]
    ),
    "refrain": "\n".join(
        f"{' '.join(RNG.sample(WORDS, 8))}\nOh my darling, oh my darling" for _ in range(99)
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_answer_is_no_loop(name: str) -> None:
    text = LONG[name].encode()
    for end in range(0, len(text) + 1000, 1000):
        assert not says_nothing_new(text[:end])


GOLD = sorted(DOCUMENTS.glob("*/*.gold.json"))


@pytest.mark.skipif(not GOLD, reason="the real documents are not here")
@pytest.mark.parametrize("path", GOLD, ids=lambda path: path.stem)
def test_the_answers_about_real_documents_are_no_loops(path: Path) -> None:
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False).encode()
    for end in range(0, len(text) + 1000, 1000):
        assert not says_nothing_new(text[:end])


def free_answer(limit: int = 6000) -> RunningAnswer:
    vocabulary = AnswerVocabulary(
        piece=lambda token: b"red " if token == 1 else b"%d " % token,
        ends=lambda token: token == 0, opens=None, closes=None, newline=(),
    )  # fmt: skip
    return RunningAnswer(Request(messages=()), vocabulary, limit=limit, constraint=None)


def said_until_stopped(answer: RunningAnswer, tokens: Iterable[int]) -> int:
    for token in tokens:
        list(answer.emit(answer.step(token)))
        if answer.reason is not None:
            break
    return answer.generated


def test_a_free_answer_that_repeats_itself_is_stopped() -> None:
    """A picture of one pixel was described as "red" 8,090 times."""
    answer = free_answer()
    assert FREE_CYCLE <= said_until_stopped(answer, repeat(1)) < 2 * FREE_CYCLE
    assert answer.reason == "repetition"
    assert not answer.closed_early


def test_a_free_answer_that_only_counts_is_stopped() -> None:
    answer = free_answer()
    said_until_stopped(answer, count(2))
    assert answer.reason == "repetition"


def test_a_long_free_answer_is_not_stopped() -> None:
    answer = free_answer(5000)
    said_until_stopped(answer, (RNG.randint(2, 9999) for _ in range(9999)))
    assert (answer.reason, answer.generated) == ("length", 5000)
