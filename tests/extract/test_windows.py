"""Pages in groups, and the header of a table that goes on."""

from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.extraction.pages import PageInput, find_head, fit_inputs, group_inputs, split_input

HEAD = "Date          Text            Amount"
STATEMENT = (
    f"Statement of account\n\n{HEAD}\n2024-01-02    Rent            500.00\n"
    "2024-01-03    Food             20.10\n\nPage 1 of 3",
    "Statement of account\n2024-01-04    Tools             5.00\n2024-01-05    Train        1.00",
    "2024-01-06    Bread             5.00\n2024-01-07    Milk               1.00",
)


def numbered(groups):
    return [[sheet.number for sheet in some] for some in groups]


def sheets(count):
    return [PageInput(number, f"page {number}") for number in range(1, count + 1)]


def test_groups_fill_the_room_and_repeat_a_page_where_that_is_cheap():
    assert numbered(group_inputs(sheets(7), [10] * 7, 40)) == [[1, 2, 3, 4], [4, 5, 6, 7]]
    assert numbered(group_inputs(sheets(4), [10] * 4, 20)) == [[1, 2], [3, 4]]
    assert numbered(group_inputs(sheets(3), [10, 99, 10], 40)) == [[1], [2], [3]]


def test_a_large_page_is_not_repeated():
    assert numbered(group_inputs(sheets(5), [5, 5, 30, 20, 5], 45)) == [[1, 2, 3], [4, 5]]


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=30), room=st.integers(50, 120))
def test_no_page_is_lost_and_no_group_is_too_large(sizes, room):
    groups = numbered(group_inputs(sheets(len(sizes)), sizes, room))
    seen = [number for some in groups for number in some]
    assert list(dict.fromkeys(seen)) == list(range(1, len(sizes) + 1))
    assert all(sum(sizes[number - 1] for number in some) <= room for some in groups)


def test_a_table_that_goes_on_gets_its_header():
    assert find_head(STATEMENT[:1], STATEMENT[1]) == HEAD
    assert find_head(STATEMENT[:2], STATEMENT[2]) == HEAD
    some = [PageInput(number, text) for number, text in enumerate(STATEMENT, 1)]
    groups = group_inputs(some, [10] * 3, 10)
    assert [some.head for (some,) in groups] == ["", HEAD, HEAD]


def test_a_header_is_not_made_up():
    assert find_head(STATEMENT[:1], STATEMENT[0]) == ""  # it has one
    assert find_head(["Some text.\nAnd more."], STATEMENT[1]) == ""
    assert find_head(["A    B\n1    2\n3    4"], STATEMENT[1]) == ""  # another table
    assert find_head([], STATEMENT[1]) == ""
    assert find_head(STATEMENT[:1], "Plain text follows.\nAnd more.") == ""


@given(lines=st.lists(st.text("ab \n", max_size=9), max_size=20), parts=st.integers(1, 6))
def test_the_parts_of_a_page_are_the_page(lines, parts):
    text = "\n".join(lines)
    found = split_input(PageInput(3, text), parts)
    assert "\n".join(each.text for each in found) == text
    assert {each.number for each in found} == {3}
    assert len(found) <= parts


def test_a_page_that_is_too_long_is_cut_between_lines():
    long = PageInput(1, "\n".join(f"row {number}    {number}" for number in range(100)))
    found, sizes = fit_inputs([long, PageInput(2, "a b")], lambda s: len(s.text.split()), 60)
    assert [each.number for each in found] == [1] * (len(found) - 1) + [2]
    assert max(sizes) <= 60
    assert "\n".join(each.text for each in found[:-1]) == long.text
    one_line = PageInput(1, "a " * 100)
    assert fit_inputs([one_line], lambda s: len(s.text.split()), 60)[0] == [one_line]
