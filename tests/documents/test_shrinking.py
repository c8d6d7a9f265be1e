"""A drawn page as a smaller file that looks the same."""

import io
from random import Random

from PIL import Image, ImageChops, ImageStat

from gemma_edge.documents.images import shrink_image


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_a_noisy_page_is_smaller_and_looks_the_same():
    page = Image.effect_noise((300, 400), 20).convert("RGB")
    small = shrink_image(png(page))
    assert len(small) < len(png(page)) / 3
    shown = Image.open(io.BytesIO(small)).convert("RGB")
    assert shown.size == page.size
    assert max(ImageStat.Stat(ImageChops.difference(page, shown)).mean) < 12


def test_what_is_not_smaller_stays_as_it_is():
    rng = Random(1)
    dots = Image.new("1", (8, 8))
    dots.putdata([rng.randrange(2) for _ in range(64)])
    assert shrink_image(png(dots)) == png(dots)
