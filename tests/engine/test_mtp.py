"""Gemma 4's own drafter beside its model: the same answers, in fewer batches."""

import ctypes
import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gemma_edge import gguf
from gemma_edge.engine import llama
from gemma_edge.engine.drafting import (
    MOST_GUESSED,
    Choice,
    Drafter,
    GuessPace,
    Pace,
    Place,
    Proposal,
)
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import Piece
from gemma_edge.engine.mtp import MtpDrafter
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    JsonConstraint,
    Message,
    Notice,
    Request,
    Sampling,
)
from gemma_edge.errors import ModelError
from gemma_edge.planning.memory import output_rows
from gemma_edge.planning.plan import Plan
from tests.engine.conftest import DEMO, MOE, answer, demo_plan, picture
from tests.engine.test_drafter import DRAFTER, ledger
from tests.planning.memory_machines import machine

# ----------------------------------------------------------------------------
# The engine with and without it.

SCHEMA = """{"type": "object", "additionalProperties": false, "properties": {
    "vendor": {"type": "string"}, "paid": {"type": "boolean"}, "total": {"type": "number"},
    "kind": {"enum": ["invoice", "letter"]}}, "required": ["vendor", "paid", "total", "kind"]}"""
QUESTIONS = (
    "Repeat: amber stone river lane hill", "Who are you?", "Write JSON about a lamp",
    "Repeat: copper seven north, mill water glass old tower",
)  # fmt: skip


class Always(GuessPace):
    def length(self, most: int = MOST_GUESSED, beside: int = 0) -> int:
        return most


class Silent(Pace):
    def worth(self, drafted: Sequence[Choice], beside: int = 0) -> int:
        return 0


def open_pair(plan: Plan, drafter: Path = DRAFTER) -> tuple[LlamaEngine, LlamaEngine]:
    """Without drafts, and with those of the drafter alone, at each step."""
    plain, guessing = (
        LlamaEngine(each, flash_attention=False)
        for each in (replace(plan, draft="off"), replace(plan, drafter=drafter))
    )
    guessing._paces, guessing._guess_paces = (Silent(), Silent()), (Always(), Always())
    return plain, guessing


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[LlamaEngine, LlamaEngine]]:
    engines = open_pair(demo_plan(context_tokens=4096))
    yield engines
    for engine in engines:
        engine.close()


def ask(text: str, *, sampling: Sampling = GREEDY, schema: str = "", most: int = 60) -> Request:
    constraint = JsonConstraint(schema=schema) if schema else None
    return Request(
        messages=(Message("user", text),), sampling=sampling, max_tokens=most,
        constraint=constraint,
    )  # fmt: skip


def both(pair: tuple[LlamaEngine, LlamaEngine], request: Request) -> tuple[str, int, int]:
    plain, guessing = (answer(engine, request) for engine in pair)
    assert plain[0] == guessing[0]
    assert plain[1].reason == guessing[1].reason
    assert plain[1].usage.generated_tokens == guessing[1].usage.generated_tokens
    assert plain[1].usage.forced_tokens == guessing[1].usage.forced_tokens
    used = guessing[1].usage
    assert (used.drafted_tokens, used.accepted_tokens) == (
        used.guessed_tokens, used.guesses_accepted
    )  # fmt: skip
    assert (used.guess_seconds > 0) == (used.guessed_tokens > 0)
    assert plain[1].usage.guessed_tokens == 0
    return guessing[0], used.guessed_tokens, used.guesses_accepted


@pytest.mark.parametrize("text", QUESTIONS)
def test_free_answers_are_the_same(pair: tuple[LlamaEngine, LlamaEngine], text: str) -> None:
    for sampling in (GREEDY, Sampling(temperature=1.0, seed=len(text))):
        _, guessed, _ = both(pair, ask(text, sampling=sampling))
        assert guessed > 0


def test_held_answers_are_the_same(pair: tuple[LlamaEngine, LlamaEngine]) -> None:
    text = "INVOICE 77-B\nTorvani Belt GmbH\nLampreen   2   60.25\nTotal   120.50\n"
    guessed = sum(
        both(pair, ask(f"{text}\nAs JSON", schema=SCHEMA, most=most))[1] for most in (200, 40, 20)
    )
    assert guessed > 0


def test_an_answer_about_a_picture_is_the_same(pair: tuple[LlamaEngine, LlamaEngine]) -> None:
    message = Message("user", "What is it?", pictures=(picture(),))
    request = Request(messages=(message,), sampling=GREEDY, max_tokens=40)
    assert both(pair, request)[1] > 0


# ----------------------------------------------------------------------------
# Where it stands.


class Recording(MtpDrafter):
    """Keeps where it stood: what the cache held, what was said, and its first logits there."""

    def watch(self, engine: LlamaEngine) -> None:
        self.engine = engine
        self.stood: list[tuple[list[int], list[int], NDArray[np.float32], NDArray[np.float32]]] = []

    def begin(self, tokens: Sequence[int], place: Place) -> None:
        super().begin(tokens, place)
        cache = self.engine._scheduler._slots[place.sequence]
        units = [unit for unit in cache.units if isinstance(unit, int)]
        assert place.position == len(units)
        next(self.propose(()))
        self.stood.append((units, [*tokens], self._first.copy(), self.logits().copy()))


def record(plan: Plan, drafter: Path, requests: Sequence[Request]) -> tuple[LlamaEngine, Recording]:
    plain, engine = open_pair(plan, drafter)
    plain.close()
    assert engine._guesser is not None
    engine._guesser.close()
    watched = Recording(drafter, engine._model, engine._context, plan)
    watched.watch(engine)
    engine._guesser = watched
    for request in requests:
        answer(engine, request)
    return engine, watched


@pytest.mark.parametrize("learnt", [False, True])
def test_behind_a_rejected_draft_it_stands_as_if_there_was_none(
    f32_path: Path, tmp_path: Path, learnt: bool
) -> None:
    """The proposals of a drafter whose every draft was in vain, and of one that is right now and
    then, against a fresh evaluation of the same history. Longer than the window (128), so that
    sliding layers have dropped cells. Batches of other shapes differ by thousandths
    (docs/architecture.md, "Equality")."""
    plan = Plan(model=f32_path, context_tokens=2048, batch_tokens=256)
    long = " ".join(random.Random(3).choices(QUESTIONS, k=12))
    request, drafter = ask(f"Repeat: {long}", most=40), DRAFTER
    if learnt:
        engine, watched = record(plan, drafter, [request])
        engine.close()
        drafter, in_vain = tmp_path / "taught.gguf", len(watched.stood)
        teach(drafter, watched.stood[: in_vain // 2])
    engine, watched = record(plan, drafter, [request])
    stood = watched.stood[:]
    assert not learnt or len(stood) < in_vain
    assert len(stood) > 10 and len(stood[-1][0]) > engine._model.window > 0
    worst = 0.0
    for units, tokens, _, then in stood[1::4]:
        engine._cache.forget()
        engine._cache.evaluate(units)
        MtpDrafter.begin(watched, tokens, Place(len(units)))
        next(watched.propose(()))
        worst = max(worst, float(np.abs(watched.logits() - then).max()))
    MtpDrafter.begin(watched, [tokens[0] + 1], Place(len(units)))
    next(watched.propose(()))
    other = float(np.abs(watched.logits() - then).max())
    engine.close()
    assert worst < 0.02 < other


def test_beside_other_answers_it_stands_in_its_own(f32_path: Path) -> None:
    """Four answers at once, each in a sequence, and the drafter of one context beside all."""
    plan = Plan(model=f32_path, context_tokens=2048, batch_tokens=256, sequences=4)
    engine, watched = record(plan, DRAFTER, [])
    plain = LlamaEngine(replace(plan, sequences=1, draft="off"), flash_attention=False)
    requests = [ask(text, most=30) for text in QUESTIONS]
    with ThreadPoolExecutor(4) as threads:
        found = [*threads.map(lambda each: answer(engine, each), requests)]
    for request, (text, finished) in zip(requests, found, strict=True):
        assert text == answer(plain, request)[0]
        assert 0 < finished.usage.guess_seconds < watched.seconds
    assert len({tuple(units[:30]) for units, *_ in watched.stood}) >= 4
    worst = 0.0
    alone = Recording(DRAFTER, plain._model, plain._context, plan)
    for units, tokens, _, then in watched.stood[1::5]:
        plain._cache.forget()
        plain._cache.evaluate(units)
        MtpDrafter.begin(alone, tokens, Place(len(units)))
        next(alone.propose(()))
        worst = max(worst, float(np.abs(alone.logits() - then).max()))
    for each in (alone, engine, plain):
        each.close()
    assert worst < 0.1  # it takes states of 8 bits; of another answer they are apart by whole ones


def test_it_goes_on_from_its_own_state(pair: tuple[LlamaEngine, LlamaEngine]) -> None:
    engine = pair[1]
    guesser, cache = engine._guesser, engine._cache
    assert guesser is not None
    cache.forget()
    cache.evaluate([*range(300, 340)])
    place = Place(cache.position)
    guesser.begin([400], place)
    (first,) = next(guesser.propose(())).tokens
    state = guesser._api.llama_get_embeddings_nextn_ith(guesser.pointer, -1)
    state = np.ctypeslib.as_array(state, (160,)).copy()
    next(guesser.propose([first]))
    then = guesser.logits().copy()
    guesser.begin([first], place)
    guesser._first[:] = state
    next(guesser.propose(()))
    assert np.array_equal(guesser.logits(), then)
    guesser.begin([400, first], place)  # the second was forced
    next(guesser.propose(()))
    assert np.array_equal(guesser.logits(), then)


# ----------------------------------------------------------------------------
# One that is worth something: its table of tokens holds, for what was said once, what came next.


def teach(
    path: Path, stood: Sequence[tuple[list[int], list[int], NDArray[np.float32], object]]
) -> None:
    """Write a drafter that has learnt these places by heart: the layers do nothing, so what is
    projected from a token and the state before it is compared with a table of tokens."""
    header, data = gguf.read_header(DRAFTER), bytearray(DRAFTER.read_bytes())
    tensors = {tensor.name: tensor for tensor in header.tensors}
    for name, tensor in tensors.items():
        part = slice(tensor.offset_bytes, tensor.offset_bytes + tensor.size_bytes)
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            data[part] = bytes(tensor.size_bytes)
        elif tensor.type == "F32" and name != "rope_freqs.weight":
            data[part] = np.ones(tensor.size_bytes // 4, "<f4").tobytes()
    embedding = unpack(DEMO, "token_embd.weight")
    projection = unpack(DRAFTER, "nextn.pre_projection.weight")
    width = embedding.shape[1]
    table = np.zeros((len(embedding), len(projection)), np.float32)
    for (_, tokens, state, _), (_, following, _, _) in zip(stood, stood[1:], strict=False):
        joined = np.concatenate([embedding[tokens[-1]] * math.sqrt(width), state])
        projected = projection @ joined
        table[following[0]] += projected / np.linalg.norm(projected)
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    at = tensors["token_embd.weight"].offset_bytes
    data[at : at + tensors["token_embd.weight"].size_bytes] = pack(table)
    path.write_bytes(data)


_Q8 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])


def unpack(path: Path, name: str) -> NDArray[np.float32]:
    tensor = next(each for each in gguf.read_header(path).tensors if each.name == name)
    blocks = np.fromfile(path, _Q8, tensor.size_bytes // _Q8.itemsize, offset=tensor.offset_bytes)
    values = blocks["values"] * blocks["scale"].astype(np.float32)[:, None]
    return values.reshape(tensor.shape[1], tensor.shape[0]).astype(np.float32)


def pack(values: NDArray[np.float32]) -> bytes:
    rows = values.reshape(-1, 32)
    scale = np.abs(rows).max(axis=1) / 127
    blocks = np.zeros(len(rows), _Q8)
    blocks["scale"] = scale
    blocks["values"] = np.rint(rows / np.maximum(scale, 1e-9)[:, None])
    return blocks.tobytes()


def test_what_it_guesses_right_is_accepted_and_saves_batches(tmp_path: Path) -> None:
    plan = demo_plan(context_tokens=4096)
    requests = [ask(text) for text in QUESTIONS]
    engine, watched = record(plan, DRAFTER, requests)
    engine.close()
    taught = tmp_path / "taught.gguf"
    teach(taught, watched.stood)
    pair = open_pair(plan, taught)
    batches, decode = 0, pair[1]._context.decode

    def count(pieces: Sequence[Piece]) -> None:
        nonlocal batches
        batches += 1
        decode(pieces)

    pair[1]._context.decode = count  # type: ignore[method-assign]
    results = [both(pair, request) for request in requests]
    said = sum(answer(pair[0], each)[1].usage.generated_tokens for each in requests)
    for each in pair:
        each.close()
    guessed, accepted = (sum(column) for column in zip(*(row[1:] for row in results), strict=True))
    assert guessed > accepted > said / 4
    assert batches < said


# ----------------------------------------------------------------------------
# What it takes, and what is no drafter of this model.


@pytest.mark.parametrize(
    ("tokens", "batch", "sequences"),
    [(1024, 256, 1), (8192, 256, 1), (8192, 512, 1), (1024, 256, 4), (8192, 256, 4)],
)
def test_what_it_takes_is_planned_to_a_hundredth_of_a_mib(
    tokens: int, batch: int, sequences: int
) -> None:
    plan = Plan(
        model=DEMO, drafter=DRAFTER, context_tokens=tokens, batch_tokens=batch, repack=False,
        sequences=sequences,
    )  # fmt: skip
    engine = LlamaEngine(plan)
    rows = [row for row in engine.info.allocated if row.part == "drafter"]
    vocabulary, width = engine._model.vocab_tokens, 160
    answer(engine, ask("Who are you?"))
    assert engine._guesser is not None
    engine._cache.evaluate([*range(300, 308)], range(8))  # as many rows as there may be
    addresses = [
        ctypes.addressof(
            engine._guesser._api.llama_get_embeddings_nextn_ith(
                engine._context.pointer, row
            ).contents
        )
        for row in range(8)
    ]
    assert [each - addresses[0] for each in addresses] == [4 * width * row for row in range(8)]
    engine.close()
    assert "expectation" not in "".join(llama._problems)  # the buffers stayed as they were reserved
    parts = {
        (part.name, part.reclaimable): part.size_bytes
        for part in ledger(plan.placement, machine(instructions=()), DRAFTER).account("RAM").parts
    }
    # Rows that grow with the first draft, of which no line is said.
    states = 4 * (sequences + output_rows(plan)) * width
    real = sum(row.size_bytes for row in rows if not row.reclaimable) + states
    assert vocabulary == 2048
    assert parts["drafter", False] == pytest.approx(real, abs=0.01 * 2**20)
    assert sum(row.size_bytes for row in rows if row.reclaimable) > 0


def test_another_models_drafter_is_refused(tmp_path: Path) -> None:
    data = DRAFTER.read_bytes()
    key = b"gemma4-assistant.embedding_length_out"
    at = data.index(key) + len(key) + 4
    other = tmp_path / "other.gguf"
    other.write_bytes(data[:at] + (128).to_bytes(4, "little") + data[at + 4 :])
    plan = replace(demo_plan(), projector=None)
    for model, path in (
        (DEMO, other),
        (DEMO, DEMO),
        (DEMO, tmp_path / "none.gguf"),
        (MOE, DRAFTER),
    ):
        with pytest.raises(ModelError):
            LlamaEngine(replace(plan, model=model, drafter=path))


def test_where_it_fails_the_model_goes_on_alone(pair: tuple[LlamaEngine, LlamaEngine]) -> None:
    plain, engine = open_pair(demo_plan())
    assert engine._guesser is not None
    engine._guesser._batch.n_tokens = 0  # llama.cpp refuses it
    texts, notices = [], []
    for request in (ask("Who are you?"), ask("Who are you?")):
        events = list(engine.generate(request))
        texts.append("".join(each.text for each in events if isinstance(each, Chunk)))
        notices += [each.text for each in events if isinstance(each, Notice)]
    assert set(texts) == {answer(plain, ask("Who are you?"))[0]}
    assert len(notices) == 1 and "the model goes on alone" in notices[0]
    for each in (plain, engine):
        each.close()


# ----------------------------------------------------------------------------
# How much, and when not at all.


def test_nothing_is_guessed_before_a_token_alone_was_timed() -> None:
    pace = GuessPace()
    assert pace.length() == 0
    pace.took(1, 0.010)
    assert pace.length() == MOST_GUESSED


def test_it_is_switched_off_where_a_batch_costs_as_much_as_its_tokens() -> None:
    """As where experts lie on the CPU: each token of a batch needs others."""
    pace = GuessPace()
    for _ in range(40):
        pace.took(1, 0.050)
        pace.took(3, 0.150)
        pace.guessed(2, 0.004)
        pace.judged(2, 2)
    assert pace.length() == 0
    for _ in range(60):
        pace.took(3, 0.060)
    assert pace.length() == MOST_GUESSED


def test_its_own_time_counts() -> None:
    pace = GuessPace()
    for _ in range(40):
        pace.took(1, 0.010)
        pace.took(3, 0.013)
        pace.judged(1, 2)
    assert pace.length() > 0
    for _ in range(40):
        pace.guessed(1, 0.020)
    assert pace.length() == 0


def test_it_is_switched_off_where_nothing_is_accepted_and_tried_again() -> None:
    pace = GuessPace()
    pace.took(1, 0.010)
    for _ in range(60):
        pace.guessed(0, 0.001)  # the constraint let nothing through
    assert pace.length() == 0
    assert any(pace.length() for _ in range(300))


def test_a_token_alone_is_timed_again_now_and_then() -> None:
    pace = GuessPace()
    pace.took(1, 0.010)
    for _ in range(50):
        pace.judged(2, 2)
    assert {pace.length() for _ in range(200)} == {0, MOST_GUESSED}


def test_what_can_be_looked_up_is_not_guessed() -> None:
    class Known:
        def add(self, tokens: Sequence[int]) -> None: ...

        def propose(self, more: Sequence[int]) -> Iterator[Proposal]:
            if not more:
                yield Proposal([7, 8], "known")

    class Thinking(Known):
        seconds = 0.0

        def begin(self, tokens: Sequence[int], place: Place) -> None:
            raise AssertionError("it was asked")

    class Eager(Pace):
        def worth(self, drafted: Sequence[Choice], beside: int = 0) -> int:
            return len(drafted)

    drafter = Drafter((Known(),), Eager(), Thinking(), Always())
    assert drafter.draft([1], None, 7) == [[7], [8]]
    drafter.judge(1, 2)
    assert (drafter.drafted, drafter.accepted, drafter.guessed) == (2, 1, 0)
