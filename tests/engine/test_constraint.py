"""A constrained answer is valid JSON at any budget, and a schema that cannot be held is refused."""

import json
import random

import jsonschema_rs
import pytest

from gemma_edge.engine.constraint import (
    _START,
    Ends,
    GrammarConstraint,
    TokenConstraint,
    _after,
    shortest_match,
)
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
    for text in ('"', " ", '"'):  # the space before the quote is open where a token holds both
        token = model.token(text)
        assert token is not None
        if constraint.allowed(token):
            constraint.advance(token)
    illegal = [t for t in range(model.vocab_tokens) if model.is_control(t)]
    assert len(illegal) > 15
    assert not any(constraint.allowed(token) for token in illegal)


@pytest.mark.parametrize("text", ["<|channel>thought", '<|"|>', "a <tool_call|> b <|tool_call>"])
def test_what_is_forced_is_text_too(model: LlamaModel, text: str) -> None:
    """llama.cpp makes control tokens of any text, where they are of the kind USER_DEFINED: a value
    that a document prints would open a channel in the answer."""
    schema = json.dumps({"type": "string", "const": text})
    vocabulary = grammar_vocabulary(model)
    constraint = GrammarConstraint(vocabulary, JsonConstraint(schema=schema))
    tokens = constraint.forced()
    for token in tokens:
        constraint.advance(token)
    assert not any(map(model.is_control, tokens))
    assert json.loads(b"".join(map(model.piece, tokens))) == text
    assert TokenConstraint(vocabulary, JsonConstraint(schema=schema)).accepts(json.dumps(text))


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
    assert _after(_START, text)[0] == state
    follow = _START
    for byte in text:
        follow = _after(follow, bytes([byte]))
    assert follow == _after(_START, text)


def test_the_json_place_knows_where_it_is() -> None:
    text = b'{"a": [[1, 2], {"b\\"": 3, "c": "x,:]'
    _, opened, run, commas = _after(_START, text)
    assert (opened, run, commas) == ((b"a:", 1, b"c:"), 4, 3)
    assert _after(_START, text + b'"}')[1] == (b"a:", 1)
    assert _after(_START, text + b'"}], ')[1] == (b"a,",)


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


def obj(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": [*properties],
            "additionalProperties": False}  # fmt: skip


def text(**rules: object) -> dict[str, object]:
    return {"type": "string", **rules}


def shortest(schema: object, begun: str = "") -> str | None:
    ends = Ends(JsonConstraint(schema=json.dumps(schema)))
    ends.advance(begun.encode())
    end = ends.find()
    return None if end is None else begun + end.decode()


@pytest.mark.parametrize(
    ("value", "begun", "end"),
    [
        (text(), '{"a": "x', '{"a": "x"}'),
        (text(), '{"a": "x\\', None),
        (text(pattern="[0-9]$"), '{"a": "', '{"a": "0"}'),
        (text(pattern="[0-9]$"), '{"a": "abc', '{"a": "abc0"}'),
        (text(pattern=r"\d{3}$"), '{"a": "x1', '{"a": "x100"}'),
        (text(pattern="foo|bar$"), '{"a": "ba', None),
        (text(pattern=r"^[a-z]+@[a-z]+\.example$"), '{"a": "jo', '{"a": "jo@a.example"}'),
        (text(pattern="^[\\u4e00-\\u9fff]{2}$"), '{"a": "', None),
        (text(minLength=40), "", None),
        (text(minLength=2000), "", None),
        ({"type": ["number", "null"]}, "", None),
        ({"enum": ["aa", "ab", "b"]}, '{"a": "a', None),
        ({"anyOf": [obj(long=text()), obj(b=text())]}, "", '{"a": {"b": ""}}'),
        ({"type": "array", "items": text(), "minItems": 3}, "", '{"a": ["", "", ""]}'),
    ],
)
def test_the_shortest_end(value: object, begun: str, end: str | None) -> None:
    found = shortest(obj(a=value), begun)
    assert found is not None
    json.loads(found)
    assert end in (None, found)


@pytest.mark.parametrize(
    "name", ["email", "uri", "date", "date-time", "time", "duration", "uuid", "ipv4", "ipv6",
             "hostname"]
)  # fmt: skip
def test_a_format_has_an_end(name: str) -> None:
    found = shortest(obj(a=text(format=name)))
    assert found is not None and len(found) < 60


def test_the_tag_of_a_union_leads_to_its_end() -> None:
    """The shorter tag may only lead further in."""
    node = {"anyOf": [
        obj(op={"const": "add"}, left={"$ref": "#/$defs/node"}, right={"$ref": "#/$defs/node"}),
        obj(op={"const": "literal"}, value={"type": "number"}),
    ]}  # fmt: skip
    found = shortest({**obj(top={"$ref": "#/$defs/node"}), "$defs": {"node": node}})
    assert found == '{"top": {"op": "literal", "value": 0}}'


def test_the_end_goes_on_from_where_the_last_one_was() -> None:
    row = obj(name=text(), kind={"enum": ["a", "b"]})
    ends = Ends(
        JsonConstraint(schema=json.dumps(obj(rows={"type": "array", "items": row}, z=text())))
    )
    written = ""
    for piece in ('{"rows": [', '{"name": "x', '", "kind": "a"}, ', '{"name": "', "y"):
        ends.advance(piece.encode())
        written += piece
        end = ends.find()
        assert end is not None
        json.loads(written + end.decode())
    ends.take_back(3)
    again = ends.find()
    assert again is not None
    assert again.decode() == '", "kind": "a"}], "z": ""}'


LONG: dict[str, tuple[dict[str, object], str]] = {
    "numbers": (obj(**{f"p{n}": {"type": "integer"} for n in range(400)}), '{"p0": 0, "p1": 0,'),
    "rows": ({"type": "array", "items": obj(a={"type": ["number", "null"]}), "minItems": 1000},
             '[{"a": 0}, {"a": 0}'),
    "trees": (obj(**{f"t{n}": {"$ref": "#/$defs/t"} for n in range(100)}) | {"$defs": {
        "t": {"anyOf": [{"type": "integer"}, obj(l={"$ref": "#/$defs/t"})]}}}, '{"t0": 0, "t1":'),
    "texts": (obj(**{f"name_of_{n}": text() for n in range(900)}), '{"name_of_0": "", "name_'),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
def test_an_answer_of_hundreds_of_values_has_an_end(name: str) -> None:
    schema, begins = LONG[name]
    found = shortest(schema)
    assert found is not None
    assert found.startswith(begins)
    jsonschema_rs.validate(schema, json.loads(found))


def test_a_long_end_goes_on_from_where_the_last_one_was() -> None:
    ends = Ends(JsonConstraint(schema=json.dumps(LONG["rows"][0])))
    written = ""
    for piece in ('[{"a": 1', '7}, {"a": null}, ', '{"a": 3', ".5"):
        ends.advance(piece.encode())
        written += piece
        end = ends.find()
        assert end is not None
        assert len(json.loads(written + end.decode())) == 1000
    ends.take_back(2)
    again = ends.find()
    assert again is not None
    json.loads('[{"a": 17}, {"a": null}, ' + again.decode())


def test_what_has_no_end_is_refused(model: LlamaModel) -> None:
    endless = {**obj(n={"$ref": "#"})}
    assert shortest(endless) is None
    with pytest.raises(SchemaError, match="no answer to it ends"):
        GrammarConstraint(grammar_vocabulary(model), JsonConstraint(schema=json.dumps(endless)))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("^INV-[0-9]{4}$", "INV-0000"), ("[A-Z]+(?:-x)?", "A"), (r"(?<y>\d{2})\/(a|bc)", "00/a"),
        (r"^[^a0]$", " "), (r"\p{Lu}\p{L}*", "A"), ("(?=.*x)a|bb", "a"), (r"\u0041[\]x]", "A]"),
        ("a{300}", ""), ("(", ""), ("a|", ""),
    ],
)  # fmt: skip
def test_a_pattern_gives_a_short_text(pattern: str, found: str) -> None:
    assert shortest_match(pattern) == found
