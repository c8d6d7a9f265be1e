"""How sure the model was: tokens to the leaves that they wrote, and the formula."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.engine.protocol import TokenScore
from gemma_edge.extraction.evidence.evidence import (
    Confidence,
    confidence_score,
    leaf_confidence,
)
from gemma_edge.extraction.json_schema import iter_leaves
from gemma_edge.extraction.merge import JsonText


def scores(*tokens):
    return [TokenScore(*token) for token in tokens]


def test_tokens_belong_to_the_leaf_whose_characters_they_wrote():
    tokens = scores(
        ('{"', 1.0, 1.0, True), ("vendor", 1.0, 1.0, True), ('": "', 1.0, 1.0, True),
        ("Ac", 0.9, 1.0), ("me", 0.8, 0.9), ('", "', 0.7, 1.0), ("n", 1.0, 1.0, True),
        ('": ', 1.0, 1.0, True), ("12", 0.4, 0.5), ("}", 0.99, 1.0),
    )  # fmt: skip
    text = "".join(token.text for token in tokens)
    found = leaf_confidence(text, tokens)
    assert set(found) == {("vendor",), ("n",)}
    mean = (0.9 * 0.8 * 0.7) ** (1 / 3)
    assert found["vendor",].probability == pytest.approx(math.sqrt(mean * 0.7))
    assert found["vendor",].legal == 0.9
    assert found["n",] == pytest.approx(Confidence(0.4, 0.5))


def test_null_has_a_confidence_too():
    tokens = scores(('{"a": ', 1.0, 1.0, True), ("null", 0.6, 0.7), ("}", 1.0, 1.0, True))
    assert leaf_confidence('{"a": null}', tokens)["a",] == pytest.approx(Confidence(0.6, 0.7))


def test_what_was_dictated_is_sure():
    tokens = scores(('{"a": "USD"}', 1.0, 1.0, True))
    assert leaf_confidence('{"a": "USD"}', tokens) == {("a",): Confidence(1.0, 1.0)}


def test_a_probability_of_nothing_is_no_crash():
    tokens = scores(('{"a": ', 1.0, 1.0, True), ("1", 0.0, 0.0), ("}", 1.0, 1.0))
    assert leaf_confidence('{"a": 1}', tokens)["a",].probability < 1e-6


def test_one_doubtful_token_lowers_a_long_value():
    def of(*probabilities):
        middle = scores(
            *((letter, each, 1.0) for letter, each in zip("abcde", probabilities, strict=True))
        )
        tokens = [*scores(('"', 1.0, 1.0, True)), *middle, *scores(('"', 1.0, 1.0))]
        return leaf_confidence('"abcde"', tokens)[()].probability

    assert of(1, 1, 1, 1, 1) == 1
    assert of(0.9, 0.9, 0.9, 0.9, 0.9) > of(1, 1, 0.5, 1, 1)


def test_without_scores_every_value_counts_as_dictated():
    assert leaf_confidence('{"a": 1}', []) == {("a",): Confidence(1.0, 1.0)}


@pytest.mark.parametrize(
    ("status", "similarity", "source", "score"),
    [
        ("exact", 1.0, "text", 0.72),
        ("normalized", 1.0, "text", 0.698),
        ("fuzzy", 0.9, "text", 0.648),
        ("not_found", 0.0, "text", 0.36),
        ("not_found", 0.0, "located", 0.576),
    ],
)
def test_the_score_weighs_the_evidence(status, similarity, source, score):
    assert confidence_score(Confidence(0.9, 0.8), status, similarity, source) == score


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a', '{"a": "b', '{"a": [1, {"b": tru', "```json\n", "no JSON", '{"a":}', "]"],
)
def test_a_text_that_ends_too_early_is_walked_as_far_as_it_goes(text):
    assert isinstance(JsonText(text).leaves, list)


def test_a_fence_before_the_json():
    text = '```json\n{"a": [true, "x"]}\n``` and {"b": 2}'
    found = [(path, text[start:end]) for path, start, end in JsonText(text).leaves]
    assert found == [(("a", 0), "true"), (("a", 1), 'x"')]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.sampled_from([None, 2]), st.booleans())
def test_the_walk_finds_every_leaf_where_json_writes_it(data, indent, ascii_only):
    text = json.dumps(data, indent=indent, ensure_ascii=ascii_only)
    walked = JsonText(text).leaves
    assert [path for path, _, _ in walked] == [path for path, _ in iter_leaves(data)]
    for (_, start, end), (_, value) in zip(walked, iter_leaves(data), strict=True):
        written = text[start:end]
        assert json.loads(f'"{written}' if isinstance(value, str) else written) == value
