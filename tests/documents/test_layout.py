"""Words to lines, tables and paragraphs, without any PDF."""

import math
import random
import re

import pytest

from gemma_edge.documents.layout import DOWN, SLANTED, UP, UPSIDE_DOWN, Piece
from tests.documents.printing import PROSE_WORDS, laid_out, line, prose, typeset, word


def test_columns_come_out_as_they_were_typed():
    typed = [
        "Invoice No: 4711          Date: 2024-05-06",
        "Cable              2                 10.00",
        "   indented",
        "Invoice nr.       2016816",
        "Issued      August 16, 2033",
        "Due by   July 18, 2033  at noon",
        "Delivery note               20168734",
    ]
    words = [w for row, text in enumerate(typed) for w in line(text, 72, 100 + 14 * row)]
    assert laid_out(reversed(words)) == "\n".join(typed)


def test_the_common_left_margin_is_removed():
    words = line("one", 200, 100) + line("two", 212, 114)
    assert laid_out(words) == "one\n  two"


def test_a_wide_gap_between_lines_is_a_blank_line():
    words = [w for base in (100, 114, 128, 170, 184) for w in line("row", 72, base)]
    assert laid_out(words) == "row\nrow\nrow\n\nrow\nrow"


def test_even_spacing_however_wide_makes_no_blank_lines():
    words = [w for base in (100, 130, 160) for w in line("row", 72, base)]
    assert laid_out(words) == "row\nrow\nrow"


def test_justified_words_are_one_space_apart():
    words = [word("wide", 72, 100), word("apart", 72 + 24 + 9, 100)]
    assert laid_out(words) == "wide apart"


def test_a_superscript_stays_on_its_line_and_touches_its_word():
    words = [
        word("10", 72, 100),
        word("th", 84, 95, width=4, size=8, glued=True),
        word("May", 98, 100),
    ]
    assert laid_out(words) == "10th May"


def test_small_lines_beside_a_large_title_stay_lines():
    words = [
        word("INVOICE", 72, 120, width=16, size=28),
        *line("No. 4711", 400, 108),
        *line("Page 1", 400, 122),
    ]
    assert laid_out(words).count("\n") == 1


def test_other_directions_follow_the_main_one():
    upright = line("the page itself", 72, 100)
    for turn, stamp in (
        (DOWN, Piece("stamp", 500, 100, 512, 130, 503, turn=DOWN)),
        (UP, Piece("stamp", 500, 100, 512, 130, 509, turn=UP)),
        (UPSIDE_DOWN, Piece("stamp", 100, 500, 130, 512, 503, turn=UPSIDE_DOWN)),
        (SLANTED, Piece("stamp", 100, 500, 130, 530, 503, turn=SLANTED)),
    ):
        assert laid_out([stamp, *upright]) == "the page itself\n\nstamp", turn


def test_a_page_that_lies_on_its_side_reads_in_order():
    # Two lines that read upwards: the first stands left of the second.
    words = [
        Piece("first", 100, 300, 112, 330, 110, turn=UP),
        Piece("line", 100, 270, 112, 294, 110, turn=UP),
        Piece("second", 114, 294, 126, 330, 124, turn=UP),
    ]
    assert laid_out(words) == "first line\nsecond"


def test_hebrew_lines_begin_at_the_right():
    words = [word("שלום", 100, 100), word("עולם", 70, 100)]
    assert laid_out(words) == "שלום עולם"


def test_nothing_is_no_text():
    assert laid_out([]) == ""


def test_a_page_as_wide_as_a_street_has_bounded_gaps():
    words = [word("far", 0, 100), word("away", 1e6, 100)]
    assert len(laid_out(words, 1e6, 100)) < 500


def test_a_table_of_numbers_is_read_line_by_line():
    rows = [(f"Item number {at}", f"{at * 1000:,}.00", f"{at}.5 %") for at in range(1, 20)]
    words = []
    for at, (name, amount, share) in enumerate(rows):
        base = 100 + 12 * at
        words += typeset(name, 50, base) + typeset(amount, 0, base, right=350)
        words += typeset(share, 0, base, right=450)
    out = laid_out(words).split("\n")
    assert [row.split() for row in out] == [" ".join(row).split() for row in rows]
    assert len({row.index("%") for row in out}) == 1
    assert len({row.index(".00") for row in out}) == 1


def test_columns_that_are_wider_in_characters_than_in_print_push_what_follows():
    labels = ["i" * 30, "Some wide", "And some more"]
    words = [w for at, label in enumerate(labels) for w in typeset(label, 50, 100 + 12 * at)]
    words += [w for at in range(3) for w in typeset(f"value no {at}", 135, 100 + 12 * at)]
    rows = laid_out(words).split("\n")
    assert {row.index("value") for row in rows} == {32}


def test_columns_that_nearly_touch_are_told_apart():
    rows = [("7", "illi"), ("12", "WWWW"), ("144", "meters"), ("3", "kg")]
    words = []
    for at, (count, unit) in enumerate(rows):
        base = 100 + 12 * at
        words += typeset("A thing", 50, base) + typeset(count, 0, base, right=200)
        words += typeset(unit, 204.5, base)
    out = laid_out(words).split("\n")
    assert len({row.index(unit, 8) for row, (_, unit) in zip(out, rows, strict=True)}) == 1


def centered(text, middle, base):
    width = typeset(text, 0, base)[-1].right
    return typeset(text, middle - width / 2, base)


def test_a_head_stands_over_the_columns_it_belongs_to():
    titles = ("WWW MMM WWWW MMM", "MMM WWW MMMM WWW")
    words = [*centered(titles[0], 320, 88), *centered(titles[1], 520, 88)]
    for at in range(6):
        base = 100 + 12 * at
        words += typeset(f"illicit little title {at}, till illicit fill", 50, base)
        for right in (280, 380, 480, 580):
            words += typeset(f"{right + at}.0", 0, base, right=right)
    head, first, *_ = laid_out(words).split("\n")
    for title, one, two in ((titles[0], "280.0", "380.0"), (titles[1], "480.0", "580.0")):
        middle = (first.index(one) + first.index(two) + len(two)) / 2
        assert abs(head.index(title) + len(title) / 2 - middle) <= 2.5


def test_what_reaches_over_columns_does_not_part_them():
    words = []
    for at in range(3):
        base = 100 + 12 * at
        words += typeset(f"illicit little label {at}", 50, base)
        for right in (180, 280, 400):
            words += typeset(f"{right * 10**at}.5", 0, base, right=right)
    alone = laid_out(words).split("\n")
    words += typeset("A remark that reaches from the label into all of the numbers", 50, 136)
    words += typeset("9.9", 0, 136, right=400)
    *rows, last = laid_out(words).split("\n")
    assert rows == alone
    assert len(last) == len(rows[0])


def test_a_bracket_hangs_over_its_column():
    words = []
    for at, amount in enumerate(("1,234.5", "(22.5)", "7.5", "(1,000.5)")):
        hangs = 2.3 * amount.endswith(")")
        words += typeset("Some label", 50, 100 + 12 * at)
        words += typeset(amount, 0, 100 + 12 * at, right=300 + hangs)
    out = laid_out(words).split("\n")
    assert len({row.index(".5") for row in out}) <= 2
    assert max(row.index(".5") for row in out) - min(row.index(".5") for row in out) <= 1


def test_two_tables_do_not_pull_at_each_other():
    address, items = [], []
    for at, names in enumerate((("Bill to", "Ship to"), ("Müller KG", "Nord"), ("Berlin", "Ulm"))):
        address += typeset(names[0], 50, 100 + 12 * at) + typeset(names[1], 110, 100 + 12 * at)
        address += typeset("illicit little title of some kind", 380, 100 + 12 * at)
    for at in range(6):
        base = 170 + 12 * at
        items += typeset(str(at), 50, base)
        items += typeset("A little thing" + " with a name" * (at % 4), 80, base)
        items += typeset(f"{10**at}.00", 0, base, right=400)
    out = laid_out(address + items).split("\n")
    assert len({row.index(".00") for row in out if ".00" in row}) == 1
    assert len({row.index("A little") for row in out if "A little" in row}) == 1
    assert out[1].index("Nord") == out[0].index("Ship") == out[2].index("Ulm")
    assert len({row.index("illicit") for row in out[:3]}) == 1


def test_empty_width_that_no_line_of_a_table_uses_is_shortened():
    words = typeset("Total", 50, 100) + typeset("Sum", 50, 112)
    words += typeset("1.00", 0, 100, right=590) + typeset("22.00", 0, 112, right=590)
    first, second = laid_out(words).split("\n")
    assert len(first) == len(second) < 60


def test_an_english_name_in_a_hebrew_line_keeps_its_order():
    at, words = 60.0, []
    for text in ("עבד", "Hello", "World", "12", "שלום", "עולם", "שלום"):
        words.append(word(text, at, 100))
        at = words[-1].right + 6
    assert laid_out(words) == "שלום עולם שלום 12 Hello World עבד"


@pytest.mark.parametrize(
    ("shown", "read"),
    [
        ("they say עולם שלום to all here", "they say שלום עולם to all here"),
        ("what they say is עולם שלום", "what they say is שלום עולם"),
    ],
)
def test_hebrew_words_in_an_english_line_are_read_from_the_right(shown, read):
    assert laid_out(line(shown, 60, 100)) == read


@pytest.mark.parametrize("seed", range(20))
def test_no_word_is_lost_wherever_it_stands(seed):
    rng = random.Random(seed)
    laid_out(
        word(
            rng.choice(PROSE_WORDS),
            rng.uniform(-9, 600),
            rng.uniform(-9, 800),
            turn=rng.randrange(5),
        )
        for _ in range(rng.choice((3, 30, 300)))
    )


def test_more_words_than_a_page_holds_are_not_laid_out():
    words = [word("a", at % 600, at // 600) for at in range(50_001)]
    assert laid_out(words) == " ".join("a" * 50_001)


def test_the_rest_of_a_cell_stands_below_it():
    words = []
    for row in range(3):
        top = 100 + 72 * row
        words += typeset("illicit till illicit little", 50, top)
        words += typeset("some more words", 142, top)
        for at in range(1, 5):
            words += typeset("some illicit little titles", 142.4, top + 12 * at)
    rows = laid_out(words).split("\n")
    assert len({row.index("some") for row in rows if row}) == 1


def test_edges_that_nearly_agree_are_one():
    words = [
        w for at in range(8) for w in line("text", 72 + (0, 32.5)[at > 0] + at % 2, 100 + 12 * at)
    ]
    rows = laid_out(words).split("\n")
    assert len({row.index("text") for row in rows[1:]}) == 1


def any_page(rng):
    """Running text, columns, tables, headings and what lies about, one below the other."""
    words, top = [], 60
    while top < 700:
        kind, rows = rng.randrange(5), rng.randrange(1, 20)
        if kind == 0:
            words += prose(50, top, rows, seed=rng.random(), cells=rng.choice((20, 40, 90)))
        elif kind == 1:
            for at in range(rng.choice((2, 3))):
                left, start = 50 + rng.choice((170, 250)) * at, top + rng.uniform(0, 8)
                words += prose(left, start, rows + rng.randrange(6), seed=rng.random(), cells=32)
        elif kind == 2:
            for left in rng.sample(range(50, 560), rng.randrange(2, 7)):
                for row in range(rows):
                    words += line(" ".join(rng.sample(PROSE_WORDS, 2)), left, top + 12 * row)
        elif kind == 3:
            words += line("A heading of the page", rng.randrange(50, 300), top)
        else:
            words += [
                word(
                    rng.choice(("שלום", "12", "Hello")),
                    rng.uniform(0, 600),
                    top + rng.uniform(0, 200),
                )
                for _ in range(rows)
            ]
        top += 14 * rows
    return words


@pytest.mark.parametrize("seed", range(30))
def test_no_word_is_lost_on_any_page(seed):
    laid_out(any_page(random.Random(seed)))


def hebrew_table(rows, ends=(540, 380, 280, 160)):
    """Cells that end at the given places, as a table that is read from the right has them."""
    words = []
    for at, row in enumerate(rows):
        for cell, end in zip(row, ends, strict=True):
            for text in cell.split(" "):
                if text:
                    words.append(word(text, end - 6.0 * len(text), 100 + 22 * at))
                    end = words[-1].left - 6.0
    return words


def test_a_table_that_is_read_from_the_right_has_one_order_of_columns():
    rows = [
        ("תיאור", "כמות", "מחיר יחידה", "סכום"),
        ("שולחן עץ", "2", "150.00", "300.00"),
        ("כיסא משרדי", "4", "80.50", "322.00"),
        ("מנורה", "1", "45.00", "45.00"),
    ]
    lines = laid_out(hebrew_table(rows)).split("\n")
    assert [re.split(r" {2,}", line) for line in lines] == [list(row) for row in rows]


def test_only_words_with_a_direction_are_counted():
    numbers = [word(f"{at}.00", 60 + 70 * at, 100) for at in range(6)]
    assert laid_out([word("סכום", 500, 100), *numbers]).split() == [
        "סכום", "5.00", "4.00", "3.00", "2.00", "1.00", "0.00",
    ]  # fmt: skip


def test_a_block_of_numbers_is_read_as_its_page():
    words = [w for at in range(4) for w in line("שלום עולם", 480, 100 + 14 * at)]
    words += [word("1", 72, 400), word("22", 300, 400), word("1", 72, 414), word("33", 300, 414)]
    assert laid_out(words).split("\n")[-1].split() == ["33", "1"]


@pytest.mark.parametrize(
    ("shown", "read"),
    [
        ([("(", 96), ("667.00", 60), (")", 54)], "(667.00)"),
        ([("(667.00)", 54)], "(667.00)"),
        ([("(", 102), ("A", 54), ("-123/45", 60)], "(A-123/45"),
        ([("1", 60), (")", 54)], "1)"),
        ([("5-", 60)], "-5"),
        ([("972-3-765+", 60)], "+972-3-765"),
        ([("\u066a\u0661\u0665", 60)], "\u0661\u0665\u066a"),
        ([("17%", 60)], "17%"),
        ([("12/05/2024", 60)], "12/05/2024"),
    ],
)
def test_numbers_in_a_line_that_is_read_from_the_right(shown, read):
    """As PDFium has them: brackets in the order of reading, signs where they are seen."""
    words = [word("עולם", 150, 100), word("שלום", 180, 100)]
    words += [word(text, left, 100) for text, left in shown]
    assert laid_out(words).split(" ")[-1] == read


MARKS = [  # what stands before it, the mark, by which part of its size it is raised, the text
    ("1,234", "2", 0.2, "1,234²"),
    ("1,234", "2", 0.65, "1,234²"),
    ("1,234", "2", 1.0, "1,234²"),
    ("1,234", "2", 1.2, "1,234²"),
    ("567", "a", 0.6, "567ᵃ"),
    ("600", "(3)", 0.6, "600⁽³⁾"),
    ("Brook", "1,*", 0.5, "Brook^(1,*)"),
    ("10", "th", 0.5, "10th"),
    ("H", "2", -0.3, "H₂"),
    ("x", "n+1", 0.5, "xⁿ⁺¹"),
    ("10", "-6", 0.5, "10⁻⁶"),
]


@pytest.mark.parametrize(("before", "mark", "shift", "read"), MARKS)
@pytest.mark.parametrize("glued", [True, False])
def test_marks_stand_in_the_line_that_they_belong_to(before, mark, shift, read, glued):
    first = word(before, 72, 100)
    small = word(mark, first.right, 100 - 7 * shift, width=4, size=7, glued=glued)
    words = [*line("a line above", 72, 84), first, small, word("next", small.right + 6, 100)]
    words += line("a line below", 72, 116)
    assert laid_out(words) == f"a line above\n{read} next\na line below"


def test_a_mark_before_the_text_of_a_note():
    words = [word("1", 72, 96, width=3, size=6), *line("Includes tax", 76.5, 100)]
    assert laid_out(words) in ("¹ Includes tax", "¹Includes tax")


def test_what_goes_on_after_a_mark_touches_it():
    words = [
        word("H", 72, 100),
        word("2", 78, 102, width=4, size=8, glued=True),
        word("O", 82, 100),
        word("is", 94, 100),
    ]
    assert laid_out(words) == "H₂O is"


def test_a_mark_that_is_elsewhere_in_the_file():
    words = [*line("Total 500", 72, 100), *line("Net 1,234", 72, 116)]
    words.append(word("3", 72 + 9 * 6, 96, width=4, size=8))
    assert laid_out(words) == "Total 500³\nNet 1,234"


def test_fractions_are_numbers_beside_each_other():
    words = [
        word("2", 72, 100),
        word("1", 78, 96, width=4, size=7, glued=True),
        word("/", 82, 100, width=3, glued=True),
        word("2", 85, 101, width=4, size=7, glued=True),
        word("cups", 95, 100),
    ]
    assert laid_out(words) == "2 1/2 cups"


def test_small_print_beside_large_print_is_no_mark():
    words = [*line("Total:", 72, 100, size=12), word("500", 111, 98, width=5, size=10)]
    assert laid_out(words) == "Total: 500"


def askew(words, degrees, *, drawn):
    """The words on a page that lies askew: with their letters, or only their places."""
    across, up = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    out = []
    for piece in words:
        x, y = (piece.left + piece.right) / 2, (piece.top + piece.bottom) / 2
        wide, high = piece.right - piece.left, piece.bottom - piece.top
        if drawn:
            lean = abs(up)
            wide, high = wide * across + high * lean, wide * lean + high * across
        x2, y2 = x * across - y * up, x * up + y * across
        out.append(
            piece._replace(
                left=x2 - wide / 2, right=x2 + wide / 2, top=y2 - high / 2, bottom=y2 + high / 2,
                baseline=x * up + piece.baseline * across, skew=degrees if drawn else 0.0,
            )
        )  # fmt: skip
    return out


@pytest.mark.parametrize("degrees", [-9, -3, -0.7, 0.7, 3, 9])
@pytest.mark.parametrize("drawn", [True, False])
def test_a_page_that_lies_askew_keeps_its_rows(degrees, drawn):
    rows = [("Item", "Qty", "Price"), ("Glass vase blue", "2", "10.00")]
    rows += [("Copper wire long", "14", "3.50"), ("Total for this page", "16", "69.00")]
    words = []
    for at, row in enumerate(rows):
        for text, left in zip(row, (50, 250, 330), strict=True):
            words += line(text, left, 100 + 20 * at)
    flat = laid_out(words)
    assert laid_out(askew(words, degrees, drawn=drawn)) == flat
    assert [re.split(r" {2,}", row) for row in flat.split("\n")] == [list(row) for row in rows]


def test_a_stamp_at_an_angle_is_no_part_of_the_rows():
    words = [w for at in range(5) for w in line("a row of the table", 72, 100 + 14 * at)]
    stamp = word("PAID", 90, 128, width=9, size=16, skew=-7.0)
    assert laid_out([*words[:8], stamp, *words[8:]]).split("\n\n") == [
        "\n".join(["a row of the table"] * 5), "PAID",
    ]  # fmt: skip


def columns_down(texts, left=500, *, pitch=13.0, across=24.0):
    """Characters one below the other, a column for each text, from right to left."""
    return [
        word(char, left - across * at, 60 + pitch * row, width=12.0, size=12.0)
        for at, text in enumerate(texts)
        for row, char in enumerate(text)
        if char != " "
    ]


def test_columns_that_run_down_are_read_from_the_right():
    texts = ["契約書第一条甲は乙に対し", "代金百二十万円を令和六年", "末日"]
    assert laid_out(columns_down(texts)) == "\n".join(texts)
    assert laid_out(columns_down(texts, pitch=12.0, across=13.0)) == "\n".join(texts)


def test_two_tiers_of_columns_that_run_down():
    upper = ["上の段の一行目から読みますそして次の行", "上の段の二行目から読みますそして次の行"] * 3
    lower = ["下の段の一行目から読みますそして次の行", "下の段の二行目から読みますそして次の行"] * 3
    words = columns_down(upper) + [
        piece._replace(
            top=piece.top + 300, bottom=piece.bottom + 300, baseline=piece.baseline + 300
        )
        for piece in columns_down(lower)
    ]
    assert laid_out(words).split() == upper + lower


def test_a_number_within_a_column_that_runs_down():
    words = columns_down(["平成年契約書類", "合計金額表示等"])
    upper, lower = words[:2], words[2:]
    moved = [
        piece._replace(top=piece.top + 13, bottom=piece.bottom + 13, baseline=piece.baseline + 13)
        for piece in lower[:5]
    ]
    number = word("12", 500, 60 + 26, width=6.0)
    turned = Piece("No", 501, 155, 511, 169, 503, turn=DOWN)
    text = laid_out([*upper, number, *moved, turned, *lower[5:]])
    assert text == "平成12年契約書類No\n合計金額表示等"


def test_lines_across_and_a_column_of_a_table_do_not_run_down():
    rows = ["月 火 水 木 金", "○ × ○ × ○", "○ ○ × × ○"]
    words = [
        word(char, 72 + 40 * column, 100 + 20 * at, width=12.0)
        for at, row in enumerate(rows)
        for column, char in enumerate(row.split())
    ]
    assert [row.split() for row in laid_out(words).split("\n")] == [row.split() for row in rows]


@pytest.mark.parametrize(
    ("spaced", "read"),
    [("I N V O I C E", "INVOICE"), ("請 求 書 類", "請求書類"), ("T A X  B I L L", "TAX BILL")],
)
def test_letters_that_are_spaced_out_are_a_word(spaced, read):
    at, words = 72.0, []
    for char in spaced:
        if char != " ":
            words.append(word(char, at, 100))
        at += 6.0 if char != " " else 5.0
    first = laid_out([*words, *line("No 4711", 72, 130)]).split("\n")[0]
    assert first.split() == read.split()


def test_initials_and_columns_of_letters_stay_apart():
    assert laid_out(line("J R R Tolkien", 72, 100)) == "J R R Tolkien"
    columns = [word(char, 72 + 40 * at, 100) for at, char in enumerate("ABCDE")]
    assert laid_out(columns).split() == list("ABCDE")
