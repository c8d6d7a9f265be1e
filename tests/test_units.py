"""Sizes and tokens as people write them."""

import pytest

from gemma_edge.units import GIB, MIB, parse_bytes, parse_tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8GiB", 8 * GIB),
        ("8 GB", 8 * GIB),
        ("8g", 8 * GIB),
        ("8", 8 * GIB),
        ("8192MiB", 8 * GIB),
        ("7.5", 15 * GIB // 2),
        ("512 MiB", 512 * MIB),
        ("1t", 1024 * GIB),
        ("0", 0),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "lots", "-8", "8 gallons", "GiB", "1e3", "8,5", "\u0668", "8192"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError):
        parse_bytes(text)


def test_tokens() -> None:
    assert (parse_tokens("8k"), parse_tokens("131,072")) == (8192, 131_072)
    with pytest.raises(ValueError):
        parse_tokens("0")
