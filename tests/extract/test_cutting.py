"""What is whole of an answer that was cut, at every place where it can be cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.engine.protocol import TokenScore
from gemma_edge.extraction.merge import find_cut, last_chosen

BILL = {
    "vendor": 'Ac"me \\ {[',
    "items": [{"name": "a", "tags": ["x", "y"], "qty": 1}, {"name": "b", "tags": [], "qty": 22}],
    "total": 5.5,
}
GROUPS = {"groups": [{"age": 90, "rows": [{"n": 1}]}, {"age": 85, "rows": [{"n": 2}, {"n": 3}]}]}


def cut_at(data, at):
    """The cut of ``data`` when the model had chosen ``at`` characters of it."""
    text = json.dumps(data)
    chosen, forced = TokenScore(text[:at], 0.5, 1.0), TokenScore(text[at:], 1.0, 1.0, forced=True)
    return find_cut(text, data, [chosen, forced])


def ends_of(text, piece):
    """The places just behind each ``piece`` in ``text``."""
    return [at + len(piece) for at in range(len(text)) if text.startswith(piece, at)]


@pytest.mark.parametrize(
    ("said", "data", "at", "whole", "missing"),
    [
        ('{"vendor": "Ac', {"vendor": None, "items": None, "total": None}, None, 0,
         ("vendor", "items", "total")),
        ('{"vendor": "Ac\\"me \\\\ {["', BILL | {"items": None, "total": None}, None, 0,
         ("items", "total")),
        ('"items": [', BILL | {"items": [], "total": None}, ("items",), 0, ("total",)),
        ('"tags": ["x", "y"', BILL | {"items": [], "total": None}, ("items",), 0, ("total",)),
        ('"qty": 1}', BILL | {"items": BILL["items"][:1], "total": None}, ("items",), 1,
         ("total",)),
        ('"qty": 22', BILL | {"items": BILL["items"][:1], "total": None}, ("items",), 1,
         ("total",)),
        ('"qty": 22}]', BILL | {"total": None}, None, 0, ("total",)),
        ('"total": 5', BILL | {"total": None}, None, 0, ("total",)),
        ('"total": 5.5}', BILL, None, 0, ()),
    ],
)  # fmt: skip
def test_an_answer_is_whole_up_to_its_last_whole_entry(said, data, at, whole, missing):
    (end, *_) = ends_of(json.dumps(BILL), said)
    found = cut_at(BILL, end)
    assert (found.data, found.at, found.whole, found.missing) == (data, at, whole, missing)


def test_of_lists_in_lists_the_inner_records_count():
    (end, *_) = ends_of(json.dumps(GROUPS), '{"n": 2}, {"n"')
    found = cut_at(GROUPS, end)
    assert found.at == ("groups", 1, "rows")
    assert found.whole == 1
    assert found.data["groups"][1] == {"age": 85, "rows": [{"n": 2}]}


@given(
    rows=st.lists(st.fixed_dictionaries({"a": st.text(max_size=4), "b": st.integers()}), max_size=5)
)
def test_nothing_that_was_not_written_whole_is_kept(rows):
    data = {"x": "y", "rows": rows, "z": None}
    text = json.dumps(data)
    ends = []  # of the rows
    for count in range(1, len(rows) + 1):
        ends.append(len(json.dumps({"x": "y", "rows": rows[:count]})) - 2)
    for at in range(text.index("[") + 1, len(text)):
        found = cut_at(data, at)
        written = sum(end <= at for end in ends)
        assert found.data["rows"] == rows[:written]


def test_without_scores_the_last_value_that_says_something_may_be_cut_itself():
    closed = '{"items": [{"n": "a", "q": 1}, {"n": "b", "q": null}], "total": null}'
    assert closed[: last_chosen(closed, ())].endswith('{"n": ')
    found = find_cut(closed, json.loads(closed))
    assert found.data == {"items": [{"n": "a", "q": 1}], "total": None}
    assert (found.at, found.missing) == (("items",), ("total",))
    half = '{"a": "x", "number": "VG-20", "b": null}'
    found = find_cut(half, json.loads(half))
    assert found.data == {"a": "x", "number": None, "b": None}
    assert found.missing == ("number", "b")


def test_a_list_as_the_whole_answer():
    text = '[{"n": 1}, {"n": 2}, {"n": 3}]'
    found = find_cut(text, json.loads(text))
    assert (found.data, found.at, found.whole) == ([{"n": 1}, {"n": 2}], (), 2)
