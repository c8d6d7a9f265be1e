"""Opening PDFs, against PDFium's own plain text: pages a second, and characters that were lost.

    documents  the five real documents beside the checkout; of each, in the same run, as a ratio
               to pypdfium2's text of the same pages: pages a second, the start of the process that
               reads left in; and how many of PDFium's characters our text lacks, and which

A letter of a font of signs (Wingdings) is written as the sign that it shows, and counts as lost.
"""

import argparse
import json
import statistics
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypdfium2
from measure import note

from gemma_edge.documents.pdf import read_pdf

DOCUMENTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "documents"
_HYPHENS = str.maketrans("\x02\ufffe", "--")
_SAID = 40  # characters that are named


def main() -> None:
    """Measure, say a line a document, and print one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    paths = sorted(DOCUMENTS.glob("*/*.pdf"))
    if not paths:
        note(f"skipped: the real documents are not here ({DOCUMENTS})")
    print(json.dumps({path.parent.name: measured(path, options.rounds) for path in paths}))


def measured(path: Path, rounds: int) -> dict[str, Any]:
    """One document, one uncounted round and ``rounds`` that count, the order in turns."""
    data = path.read_bytes()
    readers: list[Callable[[bytes], list[str]]] = [our_text, plain_text]
    seconds: list[list[float]] = [[], []]
    texts: list[list[str]] = [[], []]
    for number in range(rounds + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            begun = time.perf_counter()
            texts[which] = readers[which](data)
            if number:
                seconds[which].append(time.perf_counter() - begun)
    pages = len(texts[0])
    ours, theirs = (statistics.median(each) for each in seconds)
    ratios = [their / our for our, their in zip(*seconds, strict=True)]
    lost = characters(texts[1][:pages]) - characters(texts[0])
    note(f"{path.parent.name:10} {pages / ours:7.1f} pages/s, {lost.total()} characters lost")
    return {
        "pages": pages, "all_pages": len(texts[1]), "ours_pages_per_second": round(pages / ours, 1),
        "theirs_pages_per_second": round(len(texts[1]) / theirs, 1),
        "ratio": round(theirs / ours * pages / len(texts[1]), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "characters": characters(texts[1][:pages]).total(), "lost": lost.total(),
        "lost_characters": "".join(sorted(lost.elements()))[:_SAID],
    }  # fmt: skip


def our_text(data: bytes) -> list[str]:
    """The text of the pages as the program reads them."""
    return [page.text for page in read_pdf(data, "document").pages]


def plain_text(data: bytes) -> list[str]:
    """The text of the pages as PDFium gives it."""
    with pypdfium2.PdfDocument(data) as pdf:
        return [page.get_textpage().get_text_bounded() for page in pdf]


def characters(texts: list[str]) -> Counter[str]:
    """What is printed, however it is spaced: marks above the line as the digits that they are."""
    text = unicodedata.normalize("NFKC", "".join(texts).translate(_HYPHENS))
    return Counter(char for char in text if char.isprintable() and not char.isspace())


if __name__ == "__main__":
    main()
