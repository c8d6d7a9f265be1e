"""Sizes and tokens as people write them."""

from math import inf

import pytest

from gemma_edge.units import (
    GIB,
    MIB,
    parse_bytes,
    parse_duration,
    parse_tokens,
    render_duration,
)


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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300), ("90", 90), ("90s", 90), ("1h30m", 5400), ("2H", 7200), ("0", 0),
        ("forever", inf), ("-1", inf), ("-1m", inf), (" 5m ", 300),
    ],
)  # fmt: skip
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 m", "m", "1.5h", "5d", "--1", "9" * 400, "\u0668"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_times_as_people_read_them() -> None:
    said = [render_duration(each) for each in (0, 42.4, 240, 7500)]
    assert said == ["0 s", "42 s", "4 min", "2 h 5 min"]
