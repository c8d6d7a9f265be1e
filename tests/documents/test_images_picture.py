"""The arithmetic of image tokens, tiles and page numbers."""

import random

import pytest

from gemma_edge.documents.document import PATCH_PX, fit_size, parse_page_numbers, tile_boxes
from gemma_edge.errors import UsageError


@pytest.mark.parametrize("budget", [70, 280, 1120])
def test_sizes_stay_within_the_budget(budget):
    rng = random.Random(budget)
    shapes = [(1, 1), (5000, 50), (50, 5000), (1, 9999), (1, 20_000), (1920, 1080)]
    shapes += [(rng.randrange(1, 9000), rng.randrange(1, 9000)) for _ in range(300)]
    for width, height in shapes:
        fit_width, fit_height = fit_size(width, height, budget)
        assert fit_width % PATCH_PX == fit_height % PATCH_PX == 0
        assert 0 < fit_width * fit_height <= budget * PATCH_PX**2


def test_tiles_cover_the_image_and_overlap():
    rng = random.Random(7)
    for _ in range(200):
        width, height = rng.randrange(60, 9000), rng.randrange(60, 9000)
        for count in (1, 2, 4):
            boxes = tile_boxes(width, height, count)
            assert len(boxes) == count
            assert min(box[0] for box in boxes) == min(box[1] for box in boxes) == 0
            assert max(box[2] for box in boxes) == width
            assert max(box[3] for box in boxes) == height
            sizes = {(box[2] - box[0], box[3] - box[1]) for box in boxes}
            assert len(sizes) == 1
        first, second = tile_boxes(width, height, 2)
        along = 0 if width > height else 1
        shared = first[along + 2] - second[along]
        assert shared >= 0.09 * (first[along + 2] - first[along])
    assert tile_boxes(100, 200, 4)[1][:2] == (47, 0)  # the second is on the right of the first


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3", (3,)),
        ("1-3", (1, 2, 3)),
        ("8-", (8, 9)),
        ("2, 1-2 ,9", (1, 2, 9)),
        ("1-9", range(1, 10)),
    ],
)
def test_pages_are_named_as_a_printer_names_them(text, numbers):
    assert parse_page_numbers(text).choose(9, "a.pdf") == tuple(numbers)


@pytest.mark.parametrize("text", ["", "0", "3-1", "--2", "a", "1,,2", "1-2-3", "1.5", "9999999"])
def test_what_names_no_pages(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_page_numbers(text)


def test_a_page_that_there_is_not():
    with pytest.raises(UsageError) as caught:
        parse_page_numbers("2").choose(1, "cat.jpg", "frame")
    assert caught.value.message == "cat.jpg has 1 frame, there is no frame 2"
    assert caught.value.hint == "leave out --pages 2"
