"""Encoder output by content, within a budget, on disk whole or not at all; pictures sent once."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from gemma_edge.disk import keep_within
from gemma_edge.documents.document import Picture
from gemma_edge.engine.protocol import Message, Request, pack, unpack
from gemma_edge.engine.vision import Embedding, VisionCache, VisionCacheFolder

WIDTH = 8


def square(shade: int, *, columns: int = 1, rows: int = 1, name: str = "") -> Picture:
    pixels = bytes([shade]) * (3 * 48 * 48 * columns * rows)
    return Picture(pixels, 48 * columns, 48 * rows, name)


class Encoder:
    """Counts, and makes of a picture what its first pixel says."""

    def __init__(self) -> None:
        self.passes = 0

    def of(self, cache: VisionCache, picture: Picture) -> Embedding:
        def encode() -> Embedding:
            self.passes += 1
            return np.full((picture.tokens, WIDTH), picture.rgb[0], dtype=np.float32)

        found = cache.get(picture, encode)
        assert found.shape == (picture.tokens, WIDTH)
        assert (found == picture.rgb[0]).all(), "another picture's"
        return found


def test_the_same_pixels_in_the_same_size_are_encoded_once() -> None:
    encoder, cache = Encoder(), VisionCache(WIDTH)
    for shown in (square(1), square(2), square(1, name="a copy"), square(1, columns=2), square(2)):
        encoder.of(cache, shown)
    encoder.of(cache, square(1, rows=2))  # the same bytes as 2 x 1
    assert encoder.passes == cache.passes == 4


def test_what_was_used_last_is_dropped_last_and_the_budget_holds() -> None:
    encoder, size = Encoder(), WIDTH * 4
    cache = VisionCache(WIDTH, memory_bytes=2 * size)
    for shade in (1, 2, 1, 3):
        encoder.of(cache, square(shade))
    assert cache.kept_bytes == 2 * size
    encoder.of(cache, square(1))
    assert encoder.passes == 3
    encoder.of(cache, square(2))
    assert encoder.passes == 4
    encoder.of(cache, square(5, columns=9))  # larger than the budget: it is held alone
    assert cache.kept_bytes == 9 * size


def test_the_disk_serves_another_process_of_the_same_projector_only(tmp_path: Path) -> None:
    encoder = Encoder()
    encoder.of(VisionCache(WIDTH, VisionCacheFolder(tmp_path, "one")), square(1))
    encoder.of(VisionCache(WIDTH, VisionCacheFolder(tmp_path, "one")), square(1))
    assert encoder.passes == 1
    encoder.of(VisionCache(WIDTH, VisionCacheFolder(tmp_path, "another")), square(1))
    assert encoder.passes == 2
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    Encoder().of(VisionCache(WIDTH, VisionCacheFolder(folder, "one")), square(1))
    (entry,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600


def test_a_damaged_entry_is_encoded_again_and_replaced(tmp_path: Path) -> None:
    encoder = Encoder()
    encoder.of(VisionCache(WIDTH, VisionCacheFolder(tmp_path, "one")), square(1, columns=2))
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    damaged = [whole[:cut] for cut in range(0, len(whole), 7)] + [whole + b"x"]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for number, data in enumerate(damaged, 2):
        entry.write_bytes(data)
        encoder.of(VisionCache(WIDTH, VisionCacheFolder(tmp_path, "one")), square(1, columns=2))
        assert (encoder.passes, entry.read_bytes()) == (number, whole)


def test_the_disk_keeps_no_more_than_its_budget(tmp_path: Path) -> None:
    cache = VisionCache(WIDTH, VisionCacheFolder(tmp_path, "one", most_bytes=3 * 50))
    for number, shade in enumerate((1, 2, 3, 4, 5)):
        Encoder().of(cache, square(shade))
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    assert len(list(tmp_path.iterdir())) == 3
    keep_within(tmp_path, 0)
    assert len(list(tmp_path.iterdir())) == 1  # the newest stays: it was asked for


def test_a_folder_that_cannot_be_written_is_said_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = VisionCacheFolder(tmp_path / "file" / "seen", "one")
    Encoder().of(VisionCache(WIDTH, folder), square(1))
    assert "images are not remembered" in folder.problem
    assert not list(tmp_path.glob("**/*.incomplete"))


def test_a_picture_travels_once_and_as_it_is() -> None:
    first, second = square(1, columns=4, name="a.png"), square(2, columns=4, name="b.png")
    request = Request(messages=(Message("user", "What?", (first, second)),
                                Message("user", "And this?", (first,))))  # fmt: skip
    parts: list[bytes] = []
    packed = pack(request, parts)
    assert parts == [first.rgb, second.rgb]
    assert len(json.dumps(packed)) < 2000
    received = unpack(json.loads(json.dumps(packed)), parts)
    assert received == request
    assert received.messages[0].pictures[1].digest == second.digest
