"""The order of reading: columns one after the other, tables line by line."""

import pytest

from tests.documents.printing import laid_out, line, prose, typeset, word


def order_of(text, *marks):
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places), text


@pytest.mark.parametrize("offset", [0.0, 3.0, 6.0])
def test_columns_of_running_text_are_read_one_after_the_other(offset):
    left, right = prose(50, 100, 20, seed=1), prose(310, 100 + offset, 18, seed=2)
    title = line("A title that stands across both of the columns, as titles do", 80, 60)
    text = laid_out(title + right + left)
    alone = [laid_out(column) for column in (title, left, right)]
    assert text == "\n\n".join(alone)


def test_three_columns_and_what_crosses_them():
    columns = [prose(50 + 180 * at, 100, 15, cells=30, seed=at) for at in range(3)]
    across = line("A figure that reaches over all of them with its caption below, as wide", 50, 300)
    below = [prose(50 + 180 * at, 330, 15, cells=30, seed=9 + at) for at in range(3)]
    text = laid_out([w for part in (*below, across, *columns) for w in part])
    parts = [laid_out(part) for part in (*columns, across, *below)]
    assert text == "\n\n".join(parts)


def test_authors_stand_above_the_columns():
    authors = line("Ada Lovelace", 90, 60) + line("London", 105, 74)
    authors += line("Charles Babbage", 360, 60) + line("Cambridge", 380, 74)
    text = laid_out(authors + prose(50, 110, 20, seed=1) + prose(310, 110, 20, seed=2))
    order_of(text, "Ada Lovelace", "Charles Babbage", "London", "first", "last")
    assert text.count("first") == text.count("last") == 2
    assert text.index("last") < text.rindex("first")


def test_a_column_beside_the_text_is_not_read_into_it():
    labels = ["Contact", "jane@example.org", "Berlin", "Skills", "Python", "Rust", "French"] * 2
    sidebar = [word(label, 50, 100 + 17 * at, width=5) for at, label in enumerate(labels)]
    text = laid_out(sidebar + prose(200, 104, 24, cells=60, seed=3))
    assert text.startswith("\n".join(labels) + "\n")
    assert text.index("first") > text.rindex("French")


def test_a_table_with_cells_of_text_stays_a_table():
    words = []
    for row in range(5):
        top = 100 + 52 * row
        words += prose(50, top, 3, seed=row) + prose(310, top, 4, seed=20 + row)
    rows = laid_out(words).split("\n")
    beside = [row for row in rows if row.count("first") == 2]
    assert len(beside) == 5
    assert len({row.rindex("first") for row in beside}) == 1


def test_spaces_of_justified_lines_are_single():
    text = laid_out(
        prose(50, 100, 20, cells=40, seed=1, justified=True)
        + prose(310, 100, 20, cells=40, seed=2, justified=True)
    )
    assert "  " not in text


def test_a_form_beside_an_address_is_no_column():
    words = line("Supplier Ltd", 50, 100)
    for at, name in enumerate(("Billing date", "Delivery date", "Order number", "Number", "Due")):
        words += line(name, 260, 100 + 14 * at) + line("2024-05-06", 400, 100 + 14 * at)
    for at in range(8):
        words += line(f"Item {at} of the delivery", 50, 180 + 14 * at)
    rows = laid_out(words).split("\n")
    assert rows[0].split() == ["Supplier", "Ltd", "Billing", "date", "2024-05-06"]


def test_hebrew_columns_are_read_from_the_right():
    words = []
    for left, letter in ((50, "ב"), (310, "א")):
        for row in range(12):
            words += [word(letter * 4, left + 33 * at, 100 + 12 * row, width=7) for at in range(6)]
    text = laid_out(words)
    assert text.index("ב") > text.rindex("א")


def test_two_blocks_of_labels_are_read_line_by_line():
    words = []
    for at in range(7):
        words += typeset(f"Customer number: {at}", 50, 100 + 12 * at)
        words += typeset(f"Delivery method: {at}", 250, 100 + 12 * at)
    rows = laid_out(words).split("\n")
    assert [row.split() for row in rows] == [
        ["Customer", "number:", str(at), "Delivery", "method:", str(at)] for at in range(7)
    ]


def test_labels_in_the_middle_of_their_cells_are_no_column():
    words = prose(200, 100, 24, cells=60, seed=3)
    labels = ["Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Zeta"]
    for at, label in enumerate(labels):  # between the second and the third line of each cell
        words += typeset(label, 50, 118 + 48 * at)
    text = laid_out(words)
    order_of(text, "first", "Alpha", "Beta", "Zeta", "last")
