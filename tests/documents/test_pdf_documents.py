"""The five real documents: kinds, tables, places and time."""

import time

import pytest

from gemma_edge.documents.document import parse_page_numbers
from gemma_edge.documents.open import open_document
from tests.shared import DOCUMENTS

pytestmark = pytest.mark.slow
if not DOCUMENTS.is_dir():
    pytest.skip("the five real documents are not here", allow_module_level=True)


@pytest.fixture
def opened():
    def open_one(name, pages=None):
        (path,) = (DOCUMENTS / name).glob("*.pdf")
        return open_document(path, pages=parse_page_numbers(pages) if pages else None)

    return open_one


@pytest.mark.parametrize(
    ("name", "kind", "count", "reason"),
    [
        ("10q", "text", 43, "characters in the text layer"),
        ("contract", "text", 126, "characters in the text layer"),
        ("resume", "text", 7, "characters in the text layer"),
        ("swimming", "text", 2, "2 images cover 13% of it"),
        ("research", "scan+ocr-layer", 9, "100% of its text lies hidden under"),
    ],
)
def test_kinds_of_pages(opened, name, kind, count, reason):
    document = opened(name)
    assert document.notes == ()
    assert [page.number for page in document.pages] == list(range(1, count + 1))
    assert {page.kind for page in document.pages} == {kind}
    assert all(reason in page.reason for page in document.pages)
    assert (document.pages[0].image_share > 0.05) == (name in {"swimming", "research"})
    for page in document.pages:
        assert all(page.text[word.start : word.end] == word.text for word in page.words)
        assert all(0 <= word.left <= word.right <= page.width + 1 for word in page.words)
        assert all(0 <= word.top <= word.bottom <= page.height + 1 for word in page.words)


def test_a_long_contract_is_read_in_seconds(opened):
    begun = time.monotonic()
    document = opened("contract")
    assert time.monotonic() - begun < 10  # 2 s on a machine that has nothing else to do
    assert sum(len(page.words) for page in document.pages) > 55_000


def test_results_stand_under_their_titles(opened):
    rows = opened("swimming").text.split("\n")
    header = next(row for row in rows if row.startswith("Rank"))
    winner = next(row for row in rows if "Fusao TAKAHASHI" in row)
    for title, value in (("Name", "Fusao"), ("Fed.", "JPN"), ("YB", "1933"), ("Team", "JUMP")):
        assert abs(header.index(title) - winner.index(value)) <= 1


def test_amounts_end_below_one_another(opened):
    (page,) = opened("10q", "6").pages
    rows = page.text.split("\n")
    first = next(row for row in rows if row.startswith("Net earnings"))
    ends = {first.index("1,919.5") + len("1,919.5"), len(first)}
    for row in rows:
        if row.startswith(("Dividends paid", "Cash and cash equivalents", "    Bad debt")):
            for amount in row.split()[-2:]:
                end = row.index(amount) + len(amount)
                assert any(0 <= end - other <= 1 for other in ends), row


def test_cells_of_text_stay_beside_one_another(opened):
    (page,) = opened("10q", "7").pages
    row = next(row for row in page.text.split("\n") if row.startswith("ASU 2023-09"))
    assert "This update enhances" in row
    assert "June 30, 2026" in row
    assert "The Company is assessing" in row


def test_a_scanned_page_reads_down(opened):
    text = opened("research", "1").text
    places = [text.index(mark) for mark in ("Back-Propagation", "ABSTRACT", "1    INTRODUCTION")]
    assert places == sorted(places)
