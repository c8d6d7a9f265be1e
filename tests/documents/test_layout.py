"""Words to lines, columns and paragraphs, without any PDF."""

from gemma_edge.documents.layout import DOWN, SLANTED, UP, UPSIDE_DOWN, Word, render_layout

PAGE = (600.0, 800.0)


def word(text, left, base, *, width=6.0, size=12.0, **more):
    """``width`` pt a character, standing on ``base``."""
    right = left + width * len(text)
    return Word(text, left, base - 0.8 * size, right, base + 0.2 * size, base, **more)


def line(text, left, base, **more):
    """A typed line: words of ``text`` where a typewriter puts them."""
    out, at = [], 0
    for part in text.split(" "):
        if part:
            out.append(word(part, left + 6.0 * at, base, **more))
        at += len(part) + 1
    return out


def test_columns_come_out_as_they_were_typed():
    typed = [
        "Invoice No: 4711          Date: 2024-05-06",
        "Cable              2                 10.00",
        "   indented",
    ]
    words = [w for row, text in enumerate(typed) for w in line(text, 72, 100 + 14 * row)]
    assert render_layout(reversed(words), *PAGE) == "\n".join(typed)


def test_the_common_left_margin_is_removed():
    words = line("one", 200, 100) + line("two", 212, 114)
    assert render_layout(words, *PAGE) == "one\n  two"


def test_a_wide_gap_between_lines_is_a_blank_line():
    words = [w for base in (100, 114, 128, 170, 184) for w in line("row", 72, base)]
    assert render_layout(words, *PAGE) == "row\nrow\nrow\n\nrow\nrow"


def test_even_spacing_however_wide_makes_no_blank_lines():
    words = [w for base in (100, 130, 160) for w in line("row", 72, base)]
    assert render_layout(words, *PAGE) == "row\nrow\nrow"


def test_justified_words_are_one_space_apart():
    words = [word("wide", 72, 100), word("apart", 72 + 24 + 9, 100)]
    assert render_layout(words, *PAGE) == "wide apart"


def test_a_superscript_stays_on_its_line_and_touches_its_word():
    words = [
        word("10", 72, 100),
        word("th", 84, 95, width=4, size=8, glued=True),
        word("May", 98, 100),
    ]
    assert render_layout(words, *PAGE) == "10th May"


def test_small_lines_beside_a_large_title_stay_lines():
    words = [
        word("INVOICE", 72, 120, width=16, size=28),
        *line("No. 4711", 400, 108),
        *line("Page 1", 400, 122),
    ]
    assert render_layout(words, *PAGE).count("\n") == 1


def test_other_directions_follow_the_main_one():
    upright = line("the page itself", 72, 100)
    for turn, stamp in (
        (DOWN, Word("stamp", 500, 100, 512, 130, 503, turn=DOWN)),
        (UP, Word("stamp", 500, 100, 512, 130, 509, turn=UP)),
        (UPSIDE_DOWN, Word("stamp", 100, 500, 130, 512, 503, turn=UPSIDE_DOWN)),
        (SLANTED, Word("stamp", 100, 500, 130, 530, 503, turn=SLANTED)),
    ):
        assert render_layout([stamp, *upright], *PAGE) == "the page itself\n\nstamp", turn


def test_a_page_that_lies_on_its_side_reads_in_order():
    # Two lines that read upwards: the first stands left of the second.
    words = [
        Word("first", 100, 300, 112, 330, 110, turn=UP),
        Word("line", 100, 270, 112, 294, 110, turn=UP),
        Word("second", 114, 294, 126, 330, 124, turn=UP),
    ]
    assert render_layout(words, *PAGE) == "first line\nsecond"


def test_hebrew_lines_begin_at_the_right():
    words = [word("שלום", 100, 100), word("עולם", 70, 100)]
    assert render_layout(words, *PAGE) == "שלום עולם"


def test_nothing_is_no_text():
    assert render_layout([], *PAGE) == ""


def test_a_page_as_wide_as_a_street_has_bounded_gaps():
    words = [word("far", 0, 100), word("away", 1e6, 100)]
    assert len(render_layout(words, 1e6, 100)) < 200
