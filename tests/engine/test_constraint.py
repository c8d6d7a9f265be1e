"""A constrained answer is valid JSON at any budget, and a schema that cannot be held is refused."""

import json
import random

import jsonschema_rs
import pytest

from gemma_edge.engine.constraint import GrammarConstraint, _after
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import LlamaModel, grammar_vocabulary
from gemma_edge.engine.protocol import GREEDY, JsonConstraint, Message, Request, Sampling
from gemma_edge.errors import DoesNotFit, SchemaError
from tests.engine.conftest import answer

NULLABLE = {"type": ["string", "null"]}
INVOICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["vendor", "total", "kind", "items"],
    "properties": {
        "vendor": NULLABLE,
        "total": {"type": ["number", "null"]},
        "kind": {"enum": ["invoice", "letter", None]},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "price", "tags"],
                "properties": {
                    "name": NULLABLE,
                    "price": {"type": ["number", "null"]},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}
DATED = {
    "type": "object",
    "additionalProperties": False,
    "required": ["date", "code", "flag"],
    "properties": {
        "date": {"type": "string", "format": "date"},
        "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
        "flag": {"type": "boolean"},
    },
}
TEXT = "Vendor: Torvani Belt\n2 x Lampreen 120.50\nTotal: 120.50"


def asked(schema: object, *, seed: int | None = None, max_tokens: int | None = None) -> Request:
    return Request(
        messages=(Message("user", TEXT),),
        sampling=GREEDY if seed is None else Sampling(temperature=2.0, top_k=0, seed=seed),
        constraint=JsonConstraint(schema=json.dumps(schema)),
        max_tokens=max_tokens,
    )


@pytest.mark.parametrize("schema", [INVOICE, DATED], ids=["invoice", "dated"])
def test_any_budget_gives_valid_json(engine: LlamaEngine, schema: dict[str, object]) -> None:
    """Hot sampling on purpose: the walk through the grammar is close to random."""
    rng = random.Random(2)
    for seed in range(40):
        budget = rng.choice([1, 8, 20, 32, 48, 64, 96, 128])
        text, finished = answer(engine, asked(schema, seed=seed, max_tokens=budget))
        jsonschema_rs.validate(schema, json.loads(text))
        assert finished.reason == ("length" if finished.closed_early else "end")
        if not finished.closed_early:
            assert finished.usage.generated_tokens <= budget


def test_a_budget_with_room_is_kept(engine: LlamaEngine) -> None:
    """The limit is passed only where even the shortest answer is longer."""
    for seed in range(20):
        _, finished = answer(engine, asked(INVOICE, seed=seed, max_tokens=96))
        assert finished.usage.generated_tokens <= 96


def test_output_is_compact_and_in_schema_order(engine: LlamaEngine) -> None:
    text, _ = answer(engine, asked(INVOICE, max_tokens=200))
    assert text.startswith('{"vendor": ')
    assert list(json.loads(text)) == ["vendor", "total", "kind", "items"]
    assert "\n" not in text


def test_a_schema_that_has_no_room_in_the_context_is_refused(engine: LlamaEngine) -> None:
    wide = {
        "type": "object",
        "additionalProperties": False,
        "required": [f"field_{i}" for i in range(400)],
        "properties": {f"field_{i}": NULLABLE for i in range(400)},
    }
    with pytest.raises(DoesNotFit, match="shortest answer to this schema"):
        engine.generate(asked(wide))


@pytest.mark.parametrize("schema", ["not json", "[1]", '{"type": "strnig"}'])
def test_a_schema_that_cannot_be_held_is_refused(engine: LlamaEngine, schema: str) -> None:
    request = Request(messages=(Message("user", TEXT),), constraint=JsonConstraint(schema=schema))
    with pytest.raises(SchemaError):
        engine.generate(request)


def test_the_rungs_relax_what_strict_refuses(model: LlamaModel) -> None:
    schema = json.dumps({"type": "object", "properties": {"a": {"not": {"type": "string"}}}})
    vocabulary = grammar_vocabulary(model)
    with pytest.raises(SchemaError):
        GrammarConstraint(vocabulary, JsonConstraint(schema=schema))
    GrammarConstraint(vocabulary, JsonConstraint(schema=schema, relaxed="lenient"))


def test_control_tokens_are_never_legal_in_text(model: LlamaModel) -> None:
    vocabulary = grammar_vocabulary(model)
    constraint = GrammarConstraint(vocabulary, JsonConstraint(schema=json.dumps(INVOICE)))
    for token in constraint.forced():
        constraint.advance(token)
    opening = model.token('"')
    assert opening is not None
    constraint.advance(opening)
    illegal = [t for t in range(model.vocab_tokens) if model.is_control(t)]
    assert len(illegal) > 15
    assert not any(constraint.allowed(token) for token in illegal)


def test_steps_can_be_taken_back(model: LlamaModel) -> None:
    vocabulary = grammar_vocabulary(model)
    constraint = GrammarConstraint(vocabulary, JsonConstraint(schema=json.dumps(INVOICE)))
    before = constraint.closing()
    forced = constraint.forced()
    for token in forced:
        constraint.advance(token)
    assert constraint.closing() != before
    constraint.take_back(len(forced))
    assert constraint.closing() == before


@pytest.mark.parametrize(
    ("text", "state"), [(b"{", 0), (b'{"a', 1), (b'{"a\\', 2), (b'{"a\\"', 1), (b'{"a\\""', 0)]
)
def test_the_json_state_follows_strings_and_escapes(text: bytes, state: int) -> None:
    assert _after(0, text) == state
    follow = 0
    for byte in text:
        follow = _after(follow, bytes([byte]))
    assert follow == state


@pytest.mark.parametrize("max_tokens", [1, 12, 60])
@pytest.mark.parametrize("seed", range(5))
def test_thought_then_json(engine: LlamaEngine, max_tokens: int, seed: int) -> None:
    """With thinking on, the constraint begins behind the thought, and the thought has a budget;
    a model that wants to end in its thought still owes the answer."""
    request = Request(
        messages=(Message("user", "What is 3 + 4?"),),
        think=True,
        sampling=Sampling(temperature=2.0, top_k=0, seed=seed),
        max_tokens=max_tokens,
        max_thought_tokens=6,
        constraint=JsonConstraint(schema=json.dumps(DATED)),
    )
    text, finished = answer(engine, request)
    jsonschema_rs.validate(DATED, json.loads(text))
    assert finished.usage.thought_tokens <= 6 + 2
