"""Answers about parts of a document to one: duplicates by place, single values by evidence."""

from gemma_edge.extraction.json_schema import iter_leaves
from gemma_edge.extraction.merge import Merger, PagePlace, locate, plain, trace


def rows(answer, *found):
    """Rows ``(name, page, start)``; the price stands 20 characters behind the name."""
    data = {"items": [{"name": name, "price": 5.0} for name, _, _ in found]}
    places = {}
    for index, (_, page, start) in enumerate(found):
        if page:
            places["items", index, "name"] = PagePlace(page, start)
            places["items", index, "price"] = PagePlace(page, start + 20)
    return locate(trace(data, answer), places)


def names(tree):
    return [row["name"] for row in plain(tree)["items"]]


def test_a_row_is_the_same_by_its_place_not_by_its_value():
    first = rows(0, ("Lamp", 1, 10), ("Lamp", 2, 40))
    second = rows(1, ("Lamp", 2, 40), ("Lamp", 2, 80), ("Lamp", 3, 10))
    assert len(names(Merger().windows(first, second))) == 4


def test_rows_that_were_not_found_are_all_kept():
    merged = Merger().windows(rows(0, ("Lamp", 0, 0)), rows(1, ("Lamp", 0, 0)))
    assert names(merged) == ["Lamp", "Lamp"]


def test_of_two_readings_of_a_row_the_fuller_one_counts():
    half = trace({"items": [{"name": "Lam", "price": None}]}, 0)
    half = locate(half, {("items", 0, "name"): PagePlace(2, 40)})
    merger = Merger()
    merged = merger.windows(half, rows(1, ("Lamp", 2, 40)))
    assert plain(merged) == {"items": [{"name": "Lamp", "price": 5.0}]}
    assert merger.conflicts == []


def test_values_that_share_a_place_do_not_make_rows_the_same():
    """The country of a group stands once, above its rows."""

    def team(answer, name, start):
        places = {
            ("items", 0, "name"): PagePlace(1, start),
            ("items", 0, "price"): PagePlace(1, start + 9),
            ("items", 0, "country"): PagePlace(1, 0),
        }  # fmt: skip
        data = {"items": [{"name": name, "price": 1, "country": "NO"}]}
        return locate(trace(data, answer), places)

    assert names(Merger().windows(team(0, "A", 10), team(1, "B", 30))) == ["A", "B"]


def test_a_single_value_comes_from_where_it_is_grounded():
    merger = Merger()
    first = trace({"total": 7, "vendor": None}, 0)
    second = locate(trace({"total": 9, "vendor": "Acme"}, 1), {("total",): PagePlace(3, 5)})
    assert plain(merger.windows(first, second)) == {"total": 9, "vendor": "Acme"}
    assert merger.conflicts == [
        "total: 7 (not found in the document), 9 (page 3); 9 was taken"
    ]  # fmt: skip


def test_a_conflict_names_both_pages():
    merger = Merger()
    first = locate(trace({"total": 7}, 0), {("total",): PagePlace(1, 5)})
    second = locate(trace({"total": 9}, 1), {("total",): PagePlace(3, 5)})
    assert plain(merger.windows(first, second)) == {"total": 7}
    assert merger.conflicts == ["total: 7 (page 1), 9 (page 3); 7 was taken"]


def test_a_group_goes_on_where_its_head_is_on_the_page_before():
    first = trace({"groups": [{"age": 90, "rows": [{"n": 1}]}]}, 0)
    second = trace({"groups": [{"age": None, "rows": [{"n": 2}]}, {"age": 85, "rows": []}]}, 1)
    assert plain(Merger().windows(first, second)) == {
        "groups": [{"age": 90, "rows": [{"n": 1}, {"n": 2}]}, {"age": 85, "rows": []}]
    }


def test_a_continued_list_may_repeat_the_entry_that_was_shown():
    first, second = rows(0, ("A", 0, 0), ("B", 0, 0)), rows(1, ("B", 0, 0), ("C", 0, 0))
    assert names(Merger().continued(first, second)) == ["A", "B", "C"]
    first = trace({"groups": [{"age": 90, "rows": [{"n": 1}]}]}, 0)
    second = trace({"groups": [{"age": 90, "rows": [{"n": 1}, {"n": 2}]}]}, 1)
    assert plain(Merger().continued(first, second)) == {
        "groups": [{"age": 90, "rows": [{"n": 1}, {"n": 2}]}]
    }


def test_each_leaf_knows_its_answer():
    merged = Merger().windows(rows(0, ("A", 1, 0)), rows(1, ("B", 2, 0)))
    found = {path: (leaf.answer, leaf.path) for path, leaf in iter_leaves(merged)}
    assert found["items", 1, "name"] == (1, ("items", 0, "name"))


def test_the_whole_answer_may_be_a_list_or_one_value():
    merger = Merger()
    assert plain(merger.windows(trace([1], 0), trace([2], 1))) == [1, 2]
    assert plain(merger.windows(trace("a", 0), trace("b", 1))) == "a"
    assert merger.conflicts[0].startswith("the answer: a")
