"""A copied value can only be what the document prints, whatever the model would rather say."""

import json
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_edge.engine.constraint import TextConstraint
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.grounding import HELD, NUMBER, VERBATIM, render_grammar
from gemma_edge.engine.protocol import (
    Grounding,
    JsonConstraint,
    Message,
    Request,
    Sampling,
    pack,
    unpack,
)
from gemma_edge.errors import SchemaError
from tests.engine.conftest import answer

TEXT = """INVOICE No. A-4711/B
Bill to:            Ship to:        confi-
Acme "Corp" \\ Co    Beta GmbH       dential
1 Main St           2 Side St
Straße 5, 東京都千代田区
Widget   2   1.234,50   2.469,00
"""
GROUNDING = Grounding(
    text=TEXT,
    candidates=(
        ("amount", ("1.234,50", "2.469,00")),
        ("date", ()),
        (NUMBER, ("2", "1234.50", "1234.5", "1.234", "2469.00", "5")),
    ),
)


def leaf(held: str, kind: str = "string", *, null: bool = True, **more: Any) -> dict[str, Any]:
    return {"type": [kind, "null"] if null else kind, HELD: held, **more}


def an_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def takes(schema: dict[str, Any], text: str, grounding: Grounding = GROUNDING) -> bool:
    constraint = TextConstraint(JsonConstraint(schema=json.dumps(schema), grounding=grounding))
    return constraint.take(text) and constraint.complete


def holds(schema: dict[str, Any], value: Any, grounding: Grounding = GROUNDING) -> bool:
    """Whether a field of this schema can be this value."""
    text = json.dumps({"a": value}, ensure_ascii=False)
    return takes(an_object(a=schema), text, grounding)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "A-4711/B",
        "4711",
        'Acme "Corp" \\ Co',
        "Beta GmbH",
        "Co Beta GmbH dential",  # as the line goes on
        "Beta GmbH 2 Side St",  # as the column goes on
        "confidential",
        "Straße 5, 東京都千代田区",
        "千代田区",
        "St Straße 5",  # over the end of a line
        "1.234,50",
    ],
)
def test_a_verbatim_value_is_any_run_of_words(value: str | None) -> None:
    assert holds(leaf(VERBATIM), value)


@pytest.mark.parametrize(
    "value",
    ["", " ", "Acme ", " Acme", "acme", "Acm", "Acme GmbH", "1.234", "234,50", "Acme \x01", "\\"],
)
def test_nothing_else_is(value: str) -> None:
    printed = value == "\\"  # it stands alone in the text
    assert holds(leaf(VERBATIM), value) is printed


def test_an_escape_cannot_be_cut() -> None:
    assert not takes(an_object(a=leaf(VERBATIM)), '{"a": "Acme \\"}')


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        (leaf("amount"), ["1.234,50", None], ["1.234", "1,234.50", "INVOICE", ""]),
        (leaf("date"), [None], ["2024-03-06", "INVOICE"]),
        (leaf(NUMBER, "number"), [2, 1234.5, 5, None], [4711, 3, 1234.51]),
        (leaf(NUMBER, "integer"), [2, 5], [1234.5]),
        (leaf(NUMBER, "number", minimum=3, exclusiveMaximum=1234.5), [5], [2, 1234.5]),
        (leaf(NUMBER, "number", multipleOf=2), [2], [5]),
        (leaf("an unknown kind"), ["Acme"], ["nowhere"]),
        (leaf(VERBATIM, maxLength=4), ["Acme", "Beta"], ["Widget"]),
        (leaf(VERBATIM, minLength=6), ["Widget"], ["Acme"]),
        ({"enum": ["x", None]}, ["x", None], ["Acme"]),
        ({"type": "boolean"}, [True, False], ["Acme", None]),
        ({"type": "string"}, ["whatever is said", ""], [None, "x" * 500]),
        ({"type": ["string", "number"], HELD: VERBATIM}, ["Acme", 2], ["nowhere", 3, None]),
        ({"anyOf": [leaf(VERBATIM, null=False), {"type": "null"}]}, ["Acme", None], ["no"]),
        ({"type": "array", "items": leaf(VERBATIM, null=False)}, [[], ["Acme", "Co"]], [["no"]]),
        ({"type": "array", "items": leaf(VERBATIM), "minItems": 2, "maxItems": 3},
         [["Acme", None], ["Co"] * 3], [[], ["Acme"], ["Co"] * 4]),
        (an_object(b=leaf(VERBATIM), c={"const": 1}), [{"b": "Acme", "c": 1}], [{"b": "Acme"}, {}]),
    ],
)  # fmt: skip
def test_each_kind_of_value(schema: dict[str, Any], right: list[Any], wrong: list[Any]) -> None:
    assert [value for value in right if not holds(schema, value)] == []
    assert [value for value in wrong if holds(schema, value)] == []


def test_members_that_may_be_missing() -> None:
    schema = an_object(a=leaf(VERBATIM), b=leaf(VERBATIM), c=leaf(VERBATIM))
    schema["required"] = ["b"]
    for names in ("b", "ab", "bc", "abc"):
        assert takes(schema, json.dumps(dict.fromkeys(names, "Acme")))
    for names in ("", "a", "ac", "ba"):
        assert not takes(schema, json.dumps(dict.fromkeys(names, "Acme")))
    assert takes({**schema, "required": []}, "{}")


def test_references_and_recursion() -> None:
    node = an_object(name=leaf(VERBATIM), parts={"type": "array", "items": {"$ref": "#/$defs/n"}})
    schema = {**an_object(a={"$ref": "#/$defs/n"}), "$defs": {"n": node}}
    inner = {"name": "Beta GmbH", "parts": []}
    text = json.dumps({"a": {"name": "Acme", "parts": [inner, inner]}})
    assert takes(schema, text)
    assert not takes(schema, text.replace("Beta", "Gamma"))


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"^[A-Z]-\d+/B$", ["A-4711/B"], ["INVOICE No. A-4711/B", "Acme"]),
        (r"\d{4}", ["A-4711/B", "No. A-4711/B"], ["Acme"]),
        (r"^(?:Beta|Acme)", ["Beta GmbH"], ["Ship to: Beta"]),
        (r"^\d \p{L}+ St$", ["1 Main St"], ["1 Main"]),
        (r"(Side|Main) St$", ["2 Side St"], ["St"]),
        (r"^[^$|^]+$", ["Acme"], []),
        (r"to:\n?", ["Bill to: Ship"], ["Bill"]),
    ],
)
def test_a_pattern_is_of_printed_words(pattern: str, right: list[str], wrong: list[str]) -> None:
    schema = an_object(a=leaf(VERBATIM, pattern=pattern))
    assert not render_grammar(schema, GROUNDING).free
    assert [text for text in right if not takes(schema, json.dumps({"a": text}))] == []
    assert [text for text in wrong if takes(schema, json.dumps({"a": text}))] == []


@pytest.mark.parametrize("pattern", [r"^a|b$", r"(^a)", r"a(?=b)", r"\bword", r"(a)\1", r"a$b"])
def test_a_pattern_that_no_linear_expression_says_is_free(pattern: str) -> None:
    found = render_grammar(an_object(a=leaf(VERBATIM, pattern=pattern)), GROUNDING)
    assert found.free == (("a", "pattern"),)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({**an_object(b=leaf(VERBATIM)), "additionalProperties": True}, "additionalProperties"),
        (leaf(VERBATIM, contentEncoding="base64"), "contentEncoding"),
        (leaf("date", null=False), "the document prints none"),
        (leaf("unknown", pattern="^(?!A)"), "pattern"),
    ],
)
def test_what_no_rule_knows_is_free_and_said(schema: dict[str, Any], reason: str) -> None:
    whole = an_object(a=schema, b=leaf(VERBATIM))
    grounded = render_grammar(whole, GROUNDING)
    assert [path for path, _ in grounded.free] == ["a"]
    assert grounded.free[0][1] == reason
    assert "substring_chunks" in grounded.lark  # the rest is held


def test_a_union_is_held_on_the_rung_that_can() -> None:
    schema = an_object(a={"oneOf": [leaf(VERBATIM, null=False), {"type": "null"}]})
    assert render_grammar(schema, GROUNDING).free
    assert not render_grammar(schema, GROUNDING, {"coerce_one_of": True}).free


def test_a_document_without_text_leaves_null() -> None:
    empty = Grounding(text=" \n")
    assert holds(leaf(VERBATIM), None, empty)
    assert not holds(leaf(VERBATIM), "Acme", empty)


def test_a_schema_that_cannot_be_held_is_refused() -> None:
    schema = an_object(a=leaf(VERBATIM), b={"type": "string", "pattern": "(?=a)"})
    with pytest.raises(SchemaError):
        TextConstraint(JsonConstraint(schema=json.dumps(schema), grounding=GROUNDING))


def test_it_crosses_the_protocol() -> None:
    wanted = JsonConstraint(schema="{}", grounding=GROUNDING)
    parts: list[bytes] = []
    assert unpack(json.loads(json.dumps(pack(wanted, parts))), parts) == wanted


# Dots and dashes alone before a value lead to it.
LEADING = re.compile(r"^(?:[.=_\u2026\u2010-\u2015-]+(?: |$)[ ,;:)\]}]*)+")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=120), st.data())
def test_any_text_can_be_copied_and_read_back(text: str, data: st.DataObject) -> None:
    words = text.split()
    if not words or any(ord(char) < ord(" ") or char == "\x7f" for char in "".join(words)):
        return
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    value = " ".join(words[first : last + 1]).lstrip(" ,;:)]}").rstrip(" ,;:([{")
    value = LEADING.sub("", value).lstrip(" ,;:)]}")
    if not value:
        return
    assert holds(leaf(VERBATIM), value, Grounding(text=text))


def test_a_long_document_compiles_and_long_copies_end() -> None:
    rng = random.Random(3)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 8))) for _ in range(3_000)]
    text = " ".join(rng.choices(words, k=70_000))
    assert len(text) > 400_000
    long = Grounding(text=text)
    some = text.split()
    assert holds(leaf(VERBATIM), " ".join(some[60_000:60_020]), long)
    assert not holds(leaf(VERBATIM), " ".join(some[:1_500]), long)


HELD_FORM = an_object(
    vendor=leaf(VERBATIM),
    total=leaf(NUMBER, "number"),
    net=leaf("amount"),
    day=leaf("date"),
    kind={"enum": ["invoice", "letter", None]},
    items={"type": "array", "items": an_object(name=leaf(VERBATIM), tags={"type": "string"})},
)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_any_budget_gives_valid_json_of_printed_values(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """Hot sampling on purpose: the walk through the grammar is close to random. The end of an
    answer that is held to a long document is sought only near the limit."""
    if large:
        monkeypatch.setattr("gemma_edge.engine.constraint._LARGE", 0)
        monkeypatch.setattr("gemma_edge.engine.answer.FAR", 100)
    rng = random.Random(5)
    held = TextConstraint(JsonConstraint(schema=json.dumps(HELD_FORM), grounding=GROUNDING))
    for seed in range(30):
        request = Request(
            messages=(Message("user", TEXT),),
            sampling=Sampling(temperature=2.0, top_k=0, seed=seed),
            constraint=JsonConstraint(schema=json.dumps(HELD_FORM), grounding=GROUNDING),
            max_tokens=rng.choice([1, 16, 48, 64, 96, 160]),
        )
        text, finished = answer(engine, replace(request, scored=True))
        json.loads(text)
        held.reset()
        assert held.take(text)
        assert held.complete
        assert finished.reason in ("end", "length", "repetition")
