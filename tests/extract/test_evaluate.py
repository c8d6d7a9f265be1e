"""The scorer: gold against itself is right in everything, and order decides nothing."""

import copy
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.extraction.scoring import grade, iter_cells, match, summarize
from gemma_edge.extraction.values import canonical, fingerprint

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "a", "b", "1,000", "c d"])
)
records = st.dictionaries(st.sampled_from("xyz"), scalars, max_size=3)
deep = st.dictionaries(
    st.sampled_from("xyz"),
    st.one_of(scalars, records, st.lists(st.one_of(scalars, records), max_size=3)),
    max_size=3,
)
documents = st.dictionaries(
    st.sampled_from("abc"), st.one_of(scalars, st.lists(deep, max_size=4)), max_size=3
)


def shuffled(value, seed):
    """The same with the records of every list in another order."""
    if isinstance(value, dict):
        return {key: shuffled(member, seed) for key, member in value.items()}
    if isinstance(value, list):
        items = [shuffled(item, seed) for item in value]
        random.Random(seed).shuffle(items)
        return items
    return value


def counts(graded):
    total = graded.total
    return total.right, total.missing, total.extra


@given(documents, st.integers())
def test_gold_against_itself_is_right_in_any_order(gold, seed):
    graded = grade("x", gold, shuffled(gold, seed))
    assert graded.wrong == ()
    assert graded.total.f1 == graded.total.precision == graded.total.recall == 1.0
    assert graded.total.is_whole


@given(documents, documents, st.integers())
def test_order_decides_nothing(gold, answer, seed):
    first = grade("x", gold, answer)
    second = grade("x", shuffled(gold, seed), shuffled(answer, seed + 1))
    assert counts(first) == counts(second)
    assert {name: (t.right, t.missing, t.extra) for name, t in first.fields.items()} == {
        name: (t.right, t.missing, t.extra) for name, t in second.fields.items()
    }


@given(documents, documents)
def test_both_ways_round_precision_is_recall(gold, answer):
    there, back = grade("x", gold, answer).total, grade("x", answer, gold).total
    assert (there.right, there.missing, there.extra) == (back.right, back.extra, back.missing)
    assert 0.0 <= there.f1 <= 1.0


@given(documents)
def test_no_answer_has_nothing_right(gold):
    total = grade("x", gold, None, error="not JSON").total
    assert total.right == total.extra == 0
    assert total.f1 == 0.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (5, "5"),
        (1234.5, "1,234.50"),
        ("24 Nov 2026", "2026-11-24"),
        ("a  b\nc", "a b c"),
        (None, ""),
        (None, []),
        ("caf\u00e9", "cafe\u0301"),
        (3, 3.0),
    ],
)
def test_values_that_mean_the_same(one, other):
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("00123", 123),
        ("ACME", "Acme"),
        (True, 1),
        (0, None),
        ("03/04/2024", "2024-03-04"),  # it may be April
        (1.01, 1.0),
        ("1.234,50", 1234.5),  # one writer's thousands are another's decimals
    ],
)
def test_values_that_do_not(one, other):
    assert canonical(one) != canonical(other)


def test_the_rules_of_counting():
    gold = {"a": 1, "b": None, "items": [{"n": "x", "q": 1}, {"n": "y", "q": 2}]}
    answer = {"a": 2, "items": [{"n": "y", "q": 2}, {"n": "x"}, {"n": "z", "q": None}], "c": 5}
    graded = grade("x", gold, answer)
    told = {name: (t.right, t.missing, t.extra) for name, t in graded.fields.items()}
    assert told == {
        "a": (0, 1, 1),  # wrong: missing and too much
        "b": (1, 0, 0),  # a missing key is null, and that is right
        "items[].n": (2, 0, 1),  # a record too much
        "items[].q": (1, 1, 0),  # its null is neither
        "c": (0, 0, 1),
    }
    assert graded.total.precision == 4 / 7
    assert graded.total.recall == 4 / 6
    wrong = {(cell.path, cell.found_path) for cell in graded.wrong}
    assert (("items", 0, "q"), ("items", 1, "q")) in wrong


def test_records_are_paired_by_what_is_in_them():
    gold = [{"n": "a", "q": 1, "p": 1}, {"n": "b", "q": 2, "p": 2}]
    found = [{"n": "b", "q": 9, "p": 2}, {"n": "a", "q": 1, "p": 9}]
    assert match(gold, found) == [(0, 1), (1, 0)]


def test_nested_lists_take_part_in_the_pairing():
    gold = [{"who": None, "tags": ["a", "b"]}, {"who": None, "tags": ["c", "d"]}]
    found = [{"who": None, "tags": ["d", "c"]}, {"who": None, "tags": ["b"]}]
    assert match(gold, found) == [(0, 1), (1, 0)]
    assert grade("x", gold, found).total.missing == 1


def test_kinds_that_do_not_belong_together():
    cells = list(iter_cells({"a": {"b": 1}}, {"a": [2]}))
    assert [(cell.gold, cell.found, cell.aligned) for cell in cells] == [
        (1, None, False), (None, 2, False),
    ]  # fmt: skip


def test_a_thousand_rows_in_any_order():
    gold = {"rows": [{"id": i, "v": i % 17, "tag": ["x", i % 3]} for i in range(1000)]}
    answer = copy.deepcopy(gold)
    for row in answer["rows"][:100]:
        row["v"] = "wrong"
    del answer["rows"][-1]
    total = grade("x", gold, shuffled(answer, 1)).total
    assert (total.right, total.missing, total.extra) == (3896, 104, 100)


def test_thousands_of_rows_that_differ_take_seconds():
    gold = [{"id": i, "day": i % 30, "sum": i * 1.5} for i in range(3000)]
    answer = [{**row, "day": 99} for row in gold[500:]]
    total = grade("x", gold, shuffled(answer, 1)).total
    assert (total.right, total.missing, total.extra) == (5000, 4000, 2500)


def test_grounding_counts_the_values_that_have_a_place():
    evidence = [
        {"path": "a", "status": "exact"},
        {"path": "items[0].n", "status": "not_found"},
    ]
    gold = {"a": 1, "items": [{"n": "x"}]}
    graded = grade("x", gold, gold, evidence)
    assert (graded.total.values, graded.total.grounded) == (2, 1)
    assert graded.fields["a"].grounding == 1.0
    assert grade("x", gold, gold).total.grounding is None


def test_a_report_has_the_worst_first():
    report = summarize(
        [
            grade("good", {"a": 1, "b": 2}, {"a": 1, "b": 2}),
            grade("bad", {"a": 1, "b": 2}, {"a": 1, "b": 3}),
            grade("none", {"a": 1, "b": 2}, None, error="damaged"),
        ]
    )
    assert [each.name for each in report.documents] == ["none", "bad", "good"]
    assert list(report.fields) == ["b", "a"]
    assert (report.whole, report.failed) == (1, 1)


def test_a_missing_key_means_the_same_as_null():
    same = ({"a": 1}, {"a": 1, "b": None}, {"b": [], "a": "1"})
    assert len({fingerprint(each) for each in same}) == 1
