"""Damaged and hostile PDFs: a document or one line, within time and memory, nothing lost."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import pytest

from gemma_edge.documents.document import PAGE_KINDS, Document
from gemma_edge.documents.images import render_page
from gemma_edge.documents.open import open_document, read_document
from gemma_edge.errors import InputError, UsageError
from tests.documents.conftest import render_pdf, typed
from tests.documents.pdf_files import KINDS, form_pdf, hostile_pdfs, locked_pdf, picture_pdf
from tests.shared import DOCUMENTS, HOSTILE

SECONDS = 20  # for one file, on a machine that has other work
PASSWORDS = ("openpassword", "test", "foo", "asdfzxcv", "password")


def mutant(good: bytes, seed: int) -> bytes:
    """Flipped bytes, bytes lost and doubled, numbers put in, and every tenth time the end cut."""
    rng = random.Random(seed)
    data = bytearray(good)
    for _ in range(rng.choice((1, 3, 10, 40))):
        at = rng.randrange(len(data))
        kind = rng.random()
        if kind < 0.6:
            data[at] = rng.randrange(256)
        elif kind < 0.75:
            del data[at : at + rng.randrange(1, 60)]
        elif kind < 0.9:
            data[at:at] = data[: rng.randrange(1, 60)]
        else:
            data[at:at] = str(rng.randrange(10 ** rng.randrange(1, 12))).encode()
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


def outcome(data: bytes, *, password: str | None = None, draws: bool = False) -> str:
    """``document``, ``line`` or ``encrypted``; anything else that happens fails the test."""
    begun = time.monotonic()
    try:
        document = read_document(data, "some.pdf", password=password)
    except InputError as error:
        assert error.message.startswith("some.pdf ")
        assert error.message.isprintable()
        assert error.hint
        return "encrypted" if "encrypted" in error.message else "line"
    check(document)
    if draws:
        draw(document)
    assert time.monotonic() - begun < SECONDS
    return "document"


def check(document: Document) -> None:
    for page in document.pages:
        assert page.kind in PAGE_KINDS
        assert page.reason
        for word in page.words:
            assert page.text[word.start : word.end] == word.text
        assert all(one.end <= two.start for one, two in pairwise(page.words))
    damaged = sum(page.kind == "damaged" for page in document.pages)
    assert bool(damaged) == any("damaged" in note for note in document.notes)


def draw(document: Document) -> None:
    page = document.pages[-1]
    try:
        (picture,) = render_page(document, page.number, max_tokens=70)
    except InputError as error:
        assert f"page {page.number}" in error.message
    else:
        assert picture.tokens <= 70


@pytest.mark.parametrize("seed", range(12))
def test_a_mutation_of_a_good_pdf(seed):
    good = render_pdf([typed("Invoice 4711\nTotal   12.00"), typed("second page")])
    assert outcome(mutant(good, seed), draws=True) in ("document", "line")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_three_hundred_mutations_of_good_pdfs(part):
    made = render_pdf([typed("Invoice 4711\nTotal   12.00"), typed("second page")])
    real = [path.read_bytes() for name in ("resume", "swimming")
            for path in (DOCUMENTS / name).glob("*.pdf")]  # fmt: skip
    bases = [made, form_pdf(), picture_pdf(), locked_pdf("Total 12.00"), *real]
    seeds = range(1000 + part, 1300, 3)
    mutants = [mutant(bases[seed // 3 % len(bases)], seed) for seed in seeds]
    draws = [at % 3 == 0 for at in range(len(mutants))]
    with ThreadPoolExecutor(2) as pool:
        results = Counter(pool.map(lambda data, drawn: outcome(data, draws=drawn), mutants, draws))
    assert sum(results.values()) == 100
    assert results["document"] > 33  # PDFium mends a lot
    assert results["line"] > 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_made_hostile_files_are_documents_or_one_line(kind):
    for name, data, expected in hostile_pdfs(kind):
        allowed = ("document", "line") if expected == "either" else (expected,)
        assert outcome(data, draws=True) in allowed, name


@pytest.mark.slow
@pytest.mark.skipif(not HOSTILE.is_dir(), reason="66 odd PDFs of others are not here")
def test_hostile_files_are_documents_or_one_line():
    files = [path.read_bytes() for path in sorted(HOSTILE.glob("*.pdf"))]
    assert len(files) == 66
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(partial(outcome, draws=True), files))
    counts = Counter(results)
    assert counts["line"] == 0
    assert counts["encrypted"] == 10
    for data, result in zip(files, results, strict=True):
        if result == "encrypted":
            opened = [outcome(data, password=password) for password in PASSWORDS]
            assert opened.count("document") == 1
            assert opened.count("encrypted") == len(PASSWORDS) - 1


def test_many_pages_and_long_lines_stay_bounded():
    lines = [(5 + 7 * at % 580, 5 + at % 830, 1, "x y") for at in range(4000)]
    begun = time.monotonic()
    document = read_document(render_pdf([lines]), "dense.pdf")
    assert time.monotonic() - begun < SECONDS
    assert len(document.pages[0].words) == 8000
    assert len(document.text) < 1_000_000


def test_a_page_of_miles_is_drawn_within_the_budget(tmp_path):
    path = tmp_path / "miles.pdf"
    path.write_bytes(render_pdf([[(10, 10, 10, "corner")]], size=(10_000_000, 14_400)))
    document = open_document(path)
    (picture,) = render_page(document, 1, max_tokens=1120)
    assert picture.tokens <= 1120
    with pytest.raises(UsageError):
        render_page(read_document(b"plain", "a.txt"), 1)
