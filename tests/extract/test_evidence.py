"""Values to the places where they stand: the page, the characters, the boxes; by neighbours where
there are several."""

from collections import Counter
from random import Random
from time import perf_counter

import pytest
from demo_model import places
from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.documents.document import Box, Document, Page
from gemma_edge.documents.open import open_document
from gemma_edge.extraction.evidence.choose import field_hints
from gemma_edge.extraction.evidence.evidence import Confidence, ground, with_confidence
from gemma_edge.extraction.json_schema import iter_leaves
from tests.extract.pages import CELL, LINE, document


def by_path(found):
    return {".".join(map(str, each.path)): each for each in found}


def cell(row, column, length):
    return Box(CELL * column, LINE * row, CELL * (column + length), LINE * (row + 1))


def test_a_value_has_its_page_its_characters_and_its_box():
    bill = document("Acme Corp\nInvoice R-17", "Total  5.50 EUR")
    (vendor, number, total) = ground(bill, {"v": "Acme Corp", "n": "R-17", "t": 5.5})
    assert (vendor.status, vendor.score, vendor.page, vendor.start, vendor.end) == (
        "exact", 1.0, 1, 0, 9,
    )  # fmt: skip
    assert vendor.boxes == (cell(0, 0, 9),)
    assert number.boxes == (cell(1, 8, 4),)
    assert (total.status, total.page, total.text) == ("exact", 2, "5.50")
    assert total.boxes == (cell(0, 7, 4),)
    assert total.source == "text"


def test_null_and_empty_lists_claim_nothing():
    assert ground(document("Acme"), {"a": None, "b": [], "c": {}}) == ()
    assert ground(document("Acme"), None) == ()


BESIDE = """Bill to:            Ship to:
Acme Corp           Beta GmbH
1 Main St           2 Side St
Springfield         Shelbyville"""


def test_a_value_down_a_column_has_the_boxes_of_its_cells():
    (found,) = ground(document("Letter", BESIDE), "Beta GmbH 2 Side St Shelby"[:-7])
    assert (found.status, found.score, found.page) == ("exact", 1.0, 2)
    assert found.text == "Beta GmbH\n2 Side St"
    assert found.boxes == (cell(1, 20, 9),)
    assert [each.boxes for each in found.further] == [(cell(2, 20, 9),)]
    (found,) = ground(document(BESIDE), "Side St Shelbyville")
    assert found.text == "Side St\nShelbyville"


def test_a_part_of_a_word_down_a_column_is_not_there():
    (found,) = ground(document(BESIDE), "eta GmbH 2 Side St")
    assert found.status != "exact"


@pytest.mark.parametrize("seed", range(8))
def test_whatever_can_be_copied_is_found_where_it_stands(seed):
    """Runs of words, as the grammar of a grounded answer lets them through, on a page with columns
    and cut words: the text of each place reads as the value does."""
    random = Random(seed)
    words = [f"w{random.randrange(90)}{random.choice(['', 'x', '-9', '.50'])}" for _ in range(60)]
    left, right = (
        [" ".join(words[at : at + 3]) for at in range(first, first + 30, 3)] for first in (0, 30)
    )
    text = "\n".join(f"{a:30}{b}" for a, b in zip(left, right, strict=True))
    pieces = " ".join(random.choice((left, right))[2:9]).split()
    first = random.randrange(len(pieces) - 8)
    value = " ".join(pieces[first : first + random.randrange(2, 8)])
    (found,) = ground(document(text), {"v": value})
    assert found.status == "exact"
    assert " ".join(found.text.split()) == value


def test_a_value_over_the_end_of_a_line_has_two_boxes():
    (found,) = ground(document("the borrower is Cisco\nSystems, Inc. of"), "Cisco Systems, Inc.")
    assert found.boxes == (cell(0, 16, 5), cell(1, 0, 13))
    assert found.status == "exact"


def test_a_value_over_the_end_of_a_page_goes_on_there():
    pages = document("as set out in the Loan", "Agreement of today")
    (found,) = ground(pages, "the Loan Agreement")
    assert (found.page, found.boxes) == (1, (cell(0, 14, 8),))
    (rest,) = found.further
    assert (rest.page, rest.start, rest.end, rest.boxes) == (2, 0, 9, (cell(0, 0, 9),))


def test_a_part_of_a_word_has_a_part_of_its_box():
    (found,) = ground(document("(Acme)"), "Acme")
    assert found.boxes == (cell(0, 1, 4),)


def test_a_page_without_boxes_still_has_characters():
    (found,) = ground(Document("a.txt", (Page(1, "Acme\nCorp"),)), "Acme")
    assert (found.page, found.start, found.end, found.boxes) == (1, 0, 4, ())


def test_an_ocr_layer_is_named():
    (found,) = ground(document("Acme", kind="scan+ocr-layer"), "Acme")
    assert found.source == "ocr layer"


def test_what_is_not_there_is_not_found():
    (found,) = ground(document("Acme Corp, Total 12.00"), {"total": 13.0})
    assert (found.status, found.page, found.boxes, found.found) == ("not_found", None, (), False)


def test_the_copied_text_is_looked_for_first():
    bill = document("Date 03/04/2024\nDue 3 April 2024")
    (found,) = ground(bill, {"date": "2024-04-03"}, {"date": "03/04/2024"})
    assert (found.status, found.text) == ("normalized", "03/04/2024")


def test_the_parts_of_what_was_copied_stand_where_it_stands():
    bill = document("Total CHF 1'234.50")
    data, printed = {"total": {"amount": 1234.5, "currency": "CHF"}}, {"total": "CHF 1'234.50"}
    amount, currency = ground(bill, data, printed)
    assert amount.text == currency.text == "CHF 1'234.50"
    assert amount.status == currency.status == "normalized"


def test_fields_of_one_record_stand_together_and_records_in_order():
    bill = document(
        "Pos  Item      Qty   Price  Amount\n"
        "1    Bolt        2    2.00    4.00\n"
        "2    Nut         4    1.00    4.00\n"
        "3    Bolt        2    2.00    4.00\n\n"
        "Total                        12.00\nPage 2 of 2"
    )
    rows = [("Bolt", 2, 2.0, 4.0), ("Nut", 4, 1.0, 4.0), ("Bolt", 2, 2.0, 4.0)]
    keys = ("item", "qty", "price", "amount")
    data = {"items": [dict(zip(keys, row, strict=True)) for row in rows], "total": 12.0}
    found = by_path(ground(bill, data))
    for number in range(3):
        boxes = [found[f"items.{number}.{key}"].boxes for key in keys]
        assert [box.top for (box,) in boxes] == [LINE * (number + 1)] * 4
        assert [box.left for (box,) in boxes] == [30, 102, 132, 180]


def test_labels_tell_equal_amounts_apart():
    bill = document("Subtotal    100.00\nTax           0.00\nTotal due   100.00")
    found = by_path(ground(bill, {"total": 100.0, "subtotal": 100.0, "tax": 0.0}))
    assert [found[name].boxes[0].top for name in ("subtotal", "tax", "total")] == [0, 12, 24]


def test_the_description_of_a_field_is_a_label_too():
    bill = document("Opened 2024-05-01\nClosed 2024-05-01")
    schema = {"properties": {"b": {"type": "string", "description": "when it was closed"}}}
    (found,) = ground(bill, {"b": "2024-05-01"}, hints=field_hints(schema))
    assert found.boxes[0].top == LINE


def test_hints_end_on_schemas_that_hold_themselves():
    schema = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "title": "a branch", "$ref": "#/$defs/node",
                "properties": {"left": {"$ref": "#/$defs/node"}, "kind": {"enum": ["a", "b"]}},
            }
        },
    }  # fmt: skip
    hints = field_hints(schema)
    assert hints["left", "left"].text == "a branch"
    assert hints["left", "kind"].chosen


def test_a_small_number_far_from_its_record_is_no_evidence():
    """``rank`` 3 is printed nowhere near Ann, and a 3 on another page is not her rank."""
    bill = document("Name  Ann\nTeam  Blue\n" + "\n" * 20 + "see note 3", "3 of 3")
    found = by_path(ground(bill, {"people": [{"name": "Ann", "rank": 3}]}))
    assert found["people.0.name"].status == "exact"
    assert found["people.0.rank"].status == "not_found"
    assert found["people.0.rank"].places == 3


def test_booleans_and_choices_need_their_label():
    bill = document("Paid: yes\nthe agent says yes to other things, and actual costs rise")
    schema = {"properties": {"kind": {"enum": ["actual", "planned"]}, "paid": {"type": "boolean"}}}
    data = {"paid": True, "shipped": False, "kind": "actual"}
    found = by_path(ground(bill, data, hints=field_hints(schema)))
    assert (found["paid"].text, found["paid"].boxes[0].top) == ("yes", 0)
    assert found["shipped"].status == "not_found"
    assert ground(document("Approved by the board"), {"approved": True})[0].status == "not_found"


def test_one_value_may_belong_to_many_records():
    bill = document("Ann Bee, Cid Dee\nAT&T Bell Laboratories, Holmdel")
    data = [{"name": each, "at": "AT&T Bell Laboratories"} for each in ("Ann Bee", "Cid Dee")]
    found = by_path(ground(bill, data))
    assert found["0.at"].boxes == found["1.at"].boxes == (cell(1, 0, 22),)


def test_confidence_is_of_the_leaf_or_of_what_it_was_made_of():
    bill = document("Acme  CHF 5.00")
    data, printed = {"v": "Acme", "t": {"amount": 5}, "x": "gone"}, {"t": "CHF 5.00"}
    known = {("v",): Confidence(0.9, 1.0), ("t",): Confidence(0.5, 0.8), ("x",): Confidence(0.8, 1)}
    vendor, total, gone = with_confidence(ground(bill, data, printed), known)
    assert vendor.confidence == 0.9
    assert total.confidence == pytest.approx(0.5 * 0.8 * 0.97, abs=0.001)
    assert gone.confidence == 0.4
    assert with_confidence(ground(bill, {"n": "Acme"}), known)[0].confidence is None


def test_leaves_are_in_the_order_of_the_data():
    data = {"b": [1, {"c": None}], "a": "x"}
    assert list(iter_leaves(data)) == [(("b", 0), 1), (("b", 1, "c"), None), (("a",), "x")]


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
DATA = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(TEXTS, DATA, st.data())
def test_whatever_the_text_and_the_data_a_place_is_where_it_says(texts, data, more):
    """Each leaf that is not null has evidence, in order, and its text stands where it points."""
    words = " ".join(texts).split() or ["x"]
    data = {"any": data, "read": more.draw(st.lists(st.sampled_from(words), max_size=4))}
    bill = document(*texts)
    found = ground(bill, data)
    claimed = [(path, value) for path, value in iter_leaves(data) if value is not None]
    assert [(each.path, each.value) for each in found] == claimed
    for each in found:
        assert (each.page is not None) == each.found
        if each.found:
            assert each.text.startswith(bill.page(each.page).text[each.start : each.end])
            assert 0 < each.score <= 1


def test_boxes_of_held_out_documents(tmp_path):
    """The bench's measurement on a few; the goal is 99 %."""
    rng = Random("tests")
    right: Counter[bool] = Counter()
    for number in range(12):
        drawn = places.invoice(rng) if number % 2 else places.business(rng, number % 3)
        drawn.write(tmp_path / "a.pdf")
        for each in ground(open_document(tmp_path / "a.pdf"), drawn.data):
            spots = [(spot.page + 1, drawn.box(spot)) for spot in drawn.spots[each.path]]
            right[any(_same(each, number, box) for number, box in spots)] += 1
    assert right[True] >= 150
    assert right[False] <= 0.01 * right[True]


def _same(each, number, box):
    if each.page != number or not each.boxes:
        return False
    left, top, right, bottom = each.boxes[0]
    return (
        abs(left - box[0]) < 4 and abs(right - box[2]) < 4 and box[1] < (top + bottom) / 2 < box[3]
    )


def test_a_long_contract_is_quick():
    """200 pages, 100 values: well under a second; generous here for a busy machine."""
    rng = Random(1)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 9))) for _ in range(3000)]
    texts = ["\n".join(" ".join(rng.choices(words, k=11)) for _ in range(45)) for _ in range(200)]
    lines = [text.split("\n")[at % 45] for at, text in enumerate(texts)]
    pages = Document("long.txt", tuple(Page(n, text) for n, text in enumerate(texts, 1)))
    data = {f"f{at}": " ".join(line.split()[2:7]) for at, line in enumerate(lines[:90])}
    data |= {f"g{at}": " ".join(line.split()[1:8]) + " q" for at, line in enumerate(lines[90:100])}
    begun = perf_counter()
    found = ground(pages, data)
    assert perf_counter() - begun < 4
    assert [each.page for each in found] == list(range(1, 101))
    assert Counter(each.status for each in found) == {"exact": 90, "fuzzy": 10}
