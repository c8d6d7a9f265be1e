"""How sure the model was: asked for, token by token, and true."""

from dataclasses import replace

import numpy as np
import pytest

from gemma_edge.engine.answer import FORCED, ChunkWriter, Odds, Sampler
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    JsonConstraint,
    Message,
    Request,
    Sampling,
    TokenScore,
)
from tests.scripted import ScriptedEngine

INVOICE = "INVOICE\nVendor: Torvani Belt GmbH\nTotal: EUR 120.50"
CONSTRAINT = JsonConstraint(
    schema='{"type": "object", "additionalProperties": false, "properties": '
    '{"vendor": {"type": "string"}, "kind": {"enum": ["invoice", "letter"]}}, '
    '"required": ["vendor", "kind"]}'
)
FREE = Request(messages=(Message("user", INVOICE),), sampling=GREEDY, max_tokens=40, scored=True)
HELD = replace(FREE, constraint=CONSTRAINT, max_tokens=120)


@pytest.fixture(params=["engine", "remote", "scripted"])
def any_engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "scripted":
        return ScriptedEngine(["one two three"] * 9, probability=0.9)
    engine: Engine = request.getfixturevalue(request.param)
    return engine


def scored(engine: Engine, request: Request) -> tuple[str, list[TokenScore]]:
    chunks = [e for e in engine.generate(request) if isinstance(e, Chunk)]
    assert all(not c.scores for c in chunks if c.channel == "thought")
    text = "".join(c.text for c in chunks if c.channel == "answer")
    return text, [score for chunk in chunks for score in chunk.scores]


@pytest.mark.parametrize("request_", [FREE, HELD, replace(FREE, think=True)])
def test_joined_they_are_the_answer(any_engine: Engine, request_: Request) -> None:
    text, scores = scored(any_engine, request_)
    assert "".join(score.text for score in scores) == text
    assert text
    for score in scores:
        assert 0.0 <= score.probability <= 1.0 + 1e-6
        assert score.probability <= score.legal + 1e-4
        assert not score.forced or (score.probability, score.legal) == (1.0, 1.0)


def test_not_asked_for_there_are_none(any_engine: Engine) -> None:
    _, scores = scored(any_engine, replace(HELD, scored=False))
    assert scores == []


def test_asking_changes_no_answer(engine: LlamaEngine) -> None:
    for request in (FREE, HELD, replace(HELD, sampling=Sampling(seed=5))):
        assert scored(engine, request)[0] == scored(engine, replace(request, scored=False))[0]


def test_a_probability_is_the_softmax_at_temperature_one(
    engine: LlamaEngine, model: LlamaModel
) -> None:
    """Whatever the temperature of the request: of the first token, by hand."""
    for sampling in (GREEDY, Sampling(temperature=0.2, seed=1), Sampling(temperature=3.0, seed=1)):
        request = replace(FREE, sampling=sampling, max_tokens=1)
        _, (score,) = scored(engine, request)
        logits = engine.next_logits(request).astype(np.float64)
        weights = np.exp(logits - logits.max())
        token = next(
            t for t in weights.argsort()[::-1] if model.piece(int(t)).decode() == score.text
        )
        assert score.probability == pytest.approx(weights[token] / weights.sum(), abs=1e-4)
        assert score.legal == 1.0


def test_the_legal_mass_is_that_of_the_tokens_that_were_allowed(
    engine: LlamaEngine, model: LlamaModel
) -> None:
    request = replace(FREE, constraint=JsonConstraint(schema='{"enum": [8, 9]}'))
    _, scores = scored(engine, request)
    chosen = scores[0]
    logits = engine.next_logits(request).astype(np.float64)
    weights = np.exp(logits - logits.max())
    legal = sum(
        weights[t]
        for t in range(len(weights))
        if model.piece(t) in (b"8", b"9") and not model.is_control(t)
    )
    assert chosen.legal == pytest.approx(legal / weights.sum(), abs=1e-4)
    assert chosen.legal < 0.5  # the model would have said something else


def test_the_likeliest_are_those_of_the_logits(engine: LlamaEngine, model: LlamaModel) -> None:
    """Before any mask: also what the constraint did not allow."""
    for request in (FREE, replace(FREE, constraint=JsonConstraint(schema='{"enum": [8, 9]}'))):
        _, scores = scored(engine, replace(request, top=5, max_tokens=6))
        first = next(score for score in scores if not score.forced)
        logits = engine.next_logits(request).astype(np.float64)
        weights = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        best = weights.argsort()[::-1][:5]
        texts = [model.piece(int(token)).decode("utf-8", "surrogateescape") for token in best]
        assert [text for text, _ in first.top] == texts
        assert [chance for _, chance in first.top] == pytest.approx(weights[best], abs=1e-4)
        assert all(len(score.top) == (0 if score.forced else 5) for score in scores)
    assert first.text not in texts  # the constraint chose it


def test_half_of_a_character_is_a_candidate(model: LlamaModel) -> None:
    """Its bytes come whole to whoever asked."""
    token = model.tokenize("\N{SNOWMAN}", special=False)[0]
    weights = np.zeros(model.vocab_tokens, np.float32)
    weights[token] = 1.0
    sampler = Sampler(GREEDY, GREEDY, model, scored=True, top=1)
    ((text, chance),) = sampler._likeliest(weights, 1.0)
    assert (text.encode("utf-8", "surrogateescape"), chance) == (model.piece(token), 1.0)


def test_forced_tokens_are_marked(engine: LlamaEngine) -> None:
    text, scores = scored(engine, HELD)
    forced = "".join(score.text for score in scores if score.forced)
    assert text.startswith('{"vendor": "')
    assert "vendor" in forced
    assert "Torvani" not in forced


def test_what_is_closed_early_was_chosen_by_nobody(engine: LlamaEngine) -> None:
    text, scores = scored(engine, replace(HELD, max_tokens=26))
    assert text.endswith("}")
    assert scores[-1].forced
    words = JsonConstraint(schema='{"type": "string", "minLength": 40}')
    for limit in (60, 61):
        text, scores = scored(engine, replace(HELD, constraint=words, max_tokens=limit))
        assert (text[-1], scores[-1]) == ('"', TokenScore('"', 1.0, 1.0, forced=True))


ODDS = [Odds(0.1, 1.0), Odds(0.2, 1.0), Odds(0.3, 1.0), Odds(0.4, 1.0)]


@pytest.mark.parametrize(
    ("pieces", "stop", "expected"),
    [
        ([b"5 ", b"\xe2", b"\x82", b"\xac"], (), [("5 ", 0.1), ("", 0.2), ("", 0.3), ("€", 0.4)]),
        ([b"a", b"\xe2\x82"], (), [("a", 0.1), ("\ufffd", 0.2)]),
        ([b"one E", b"ND two"], ("END",), [("one ", 0.1)]),
        ([b"one", b" EN", b"D"], ("END",), [("one", 0.1), (" ", 0.2)]),
        ([b"one E", b"very"], ("END",), [("one E", 0.1), ("very", 0.2)]),
        ([b"one EN"], ("END",), [("one EN", 0.1)]),
        ([b"a", b"", b"b"], (), [("a", 0.1), ("b", 0.3)]),
    ],
)
def test_scores_follow_the_text_that_is_shown(
    pieces: list[bytes], stop: tuple[str, ...], expected: list[tuple[str, float]]
) -> None:
    writer = ChunkWriter(stop)
    chunks = [
        chunk
        for piece, odds in zip(pieces, ODDS, strict=False)
        for chunk in writer.write(piece, "answer", odds)
    ]
    chunks += writer.flush()
    found = [(s.text, s.probability) for chunk in chunks for s in chunk.scores]
    assert found == expected
    assert "".join(text for text, _ in found) == "".join(chunk.text for chunk in chunks)


def test_thoughts_have_no_scores() -> None:
    writer = ChunkWriter()
    assert [c.scores for c in writer.write(b"hm", "thought", FORCED)] == [()]
    (chunk,) = writer.write(b"yes", "answer", Odds(0.5, 1.0))
    assert chunk.scores == (TokenScore("yes", 0.5, 1.0),)
