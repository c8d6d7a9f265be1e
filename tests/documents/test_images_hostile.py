"""Hostile images: one line each, no crash, memory bounded."""

import json
import random
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from gemma_edge.documents import images
from gemma_edge.documents.images import is_apart, iter_frames_apart, read_image
from gemma_edge.documents.open import read_document
from gemma_edge.documents.pdf import PdfLimits
from gemma_edge.errors import InputError
from gemma_edge.isolation import Child
from tests.documents.hostile import COUNT, ERROR, IMAGE, encoded, write_all

ROOT = Path(__file__).parents[2]
MOST_BYTES = 800 << 20  # 480 MB of pixels, the file, and what is made of them
# Reads each file and says what came of it. The peak is of this program alone: getrusage would
# count the process that started it as well.
READ = """
import json, sys, time
from pathlib import Path
from gemma_edge.documents.document import shown
from gemma_edge.documents.images import fit_picture, iter_images
from gemma_edge.errors import InputError

def peak_bytes():
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

for path in sorted(Path(sys.argv[1]).iterdir()):
    started, name = time.monotonic(), shown(path.name)
    try:
        images = iter_images(path.read_bytes(), name)
        found = [fit_picture(image, name, 280) for image in images]
        said = "image" if all(picture.tokens <= 280 for picture in found) else "too large"
    except InputError as error:
        said = "error" if error.message.count("\\n") == 0 and error.hint else "a mess"
    seconds = round(time.monotonic() - started, 1)
    print(json.dumps([path.name, said, seconds, peak_bytes()]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[list]]:
    folder = tmp_path_factory.mktemp("hostile")
    expected = write_all(folder)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", READ, str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr[-2000:]
    return expected, [json.loads(line) for line in ran.stdout.splitlines()]


def test_each_is_an_image_or_one_line(outcomes):
    expected, found = outcomes
    assert len(found) == len(expected) == COUNT
    for name, said, _, _ in found:
        assert said in (ERROR, IMAGE), name
        if expected[name] in (ERROR, IMAGE):
            assert said == expected[name], name
    said = [outcome for _, outcome, _, _ in found]
    assert said.count(ERROR) > COUNT / 3  # the damage was real
    assert said.count(IMAGE) > COUNT / 10


def test_memory_and_time_are_bounded(outcomes):
    _, found = outcomes
    most = max(found, key=lambda each: each[3])
    assert most[3] < MOST_BYTES, most
    slowest = max(found, key=lambda each: each[2])
    assert slowest[2] < 20, slowest


def test_a_decoder_that_dies_is_one_line():
    """Too little memory even to start."""
    data = encoded(Image.new("RGB", (3000, 3000)), "TIFF", compression="tiff_lzw")
    assert is_apart(data)
    start = partial(images._start_decoder, 50 << 20)
    with pytest.raises(InputError) as caught:
        list(iter_frames_apart(data, "scan.tif", None, 280, start))
    assert caught.value.message.startswith("scan.tif ")
    assert caught.value.hint


def test_pages_come_one_by_one_and_may_be_left():
    pages = [Image.new("L", (2000, 2000), shade) for shade in range(30)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    frames = iter_frames_apart(data, "scan.tif", None, 280)
    first, second = next(frames), next(frames)
    assert (first.number, second.number, second.total) == (1, 2, 30)
    assert second.image.getpixel((9, 9)) == (1, 1, 1)
    frames.close()  # the child is gone, or this would wait for it


# What no size tells: little in it, and minutes of work. Each is of a kind that took 10 to 45 s at
# 50 MB, in the process that holds everything else.


def rle_bmp(width: int, height: int) -> bytes:
    """Runs of one pixel each."""
    runs = (bytes((1, 7)) * width + bytes(2)) * height
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + info + bytes(1024) + runs


TEDIOUS = {
    "filled.jpg": b"\xff\xd8" + b"\xff" * (3 << 20),
    "escaped.jpg": b"\xff\xd8" + b"\xff\0" * (3 << 20),
    "empty.jpg": b"\xff\xd8\xff" + bytes(3 << 20),
    "marks.jpg": b"\xff\xd8" + b"\xff\xd0" * 60_000,
    "segments.jpg": b"\xff\xd8" + b"\xff\xe5\0\2" * 60_000,
    "chunks.png": b"\x89PNG\r\n\x1a\n" + (bytes(4) + b"tEXt" + bytes(4)) * 60_000,
    "plain.ppm": b"P3 4000 4000 255\n" + b"1 " * 1000,
    "odd.ppm": b"P6 4000 4000 77\n" + bytes(48_000_000),
    "runs.bmp": rle_bmp(4000, 2500),
}


@pytest.mark.parametrize("name", TEDIOUS)
def test_what_would_take_minutes_is_refused_before(name):
    with pytest.raises(InputError) as caught:
        read_image(TEDIOUS[name], name)
    assert "is damaged (no picture in its first" in caught.value.message or (
        "megapixels; at most 9 are read" in caught.value.message
    )
    assert caught.value.hint


def test_the_same_in_a_size_that_people_have_is_read():
    assert read_image(rle_bmp(64, 48), "a.bmp").size == (64, 48)
    assert read_image(b"P3 2 1 255 255 0 0 0 0 255", "a.ppm").getpixel((1, 0)) == (0, 0, 255)
    jpeg = encoded(Image.new("RGB", (64, 48), "red"), "JPEG")
    padded = jpeg[:2] + b"\xff\xe5\0\4ab" + b"\xff" * 999 + bytes(9000) + jpeg[2:]
    assert read_image(padded, "a.jpg").size == (64, 48)


def test_the_clock_ends_a_decoder_and_the_next_file_is_read(monkeypatch):
    """Whatever takes long for a reason that nobody foresaw."""
    comments = b"P3 900 900 255\n" + b"#\n" * 400_000  # each is taken out of all that follows
    slow = partial(images._start_decoder, seconds=20, cpu_seconds=1)
    monkeypatch.setattr(images, "_decoders", images.Spares(slow))
    with pytest.raises(InputError, match=r"^slow.ppm takes too long to decode$"):
        read_image(comments, "slow.ppm")
    monkeypatch.undo()
    assert read_image(encoded(Image.new("RGB", (9, 9)), "PNG"), "b.png").size == (9, 9)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_memory_is_limited_where_the_system_limits_none(monkeypatch):
    """As on macOS: this process looks, and ends the child."""
    monkeypatch.setattr(Child, "system_limits_memory", False)
    start = partial(images._start_decoder, 100 << 20)
    noise = random.Random(0).randbytes(1 << 20) * 75  # 5000 x 5000 x 3
    large = b"P6 5000 5000 255\n" + noise
    with pytest.raises(InputError, match="out of memory: more than 100.0 MiB"):
        list(iter_frames_apart(large, "a.ppm", None, 280, start))


def test_pages_together_have_a_limit_and_what_was_read_is_kept(monkeypatch):
    pages = [Image.new("L", (200, 200), shade) for shade in range(5)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert len(read_document(data, "scan.tif").pages) == 5
    monkeypatch.setattr("gemma_edge.documents.open.LIMITS", PdfLimits(seconds=-2))
    document = read_document(data, "scan.tif")
    assert [page.number for page in document.pages] == [1]
    assert document.notes == (
        "scan.tif: page 2 and what follows is not read: -1 s are the most that reading may take",
    )
    monkeypatch.setattr(images, "LIMITS", PdfLimits(seconds=-11))
    seen = []
    with pytest.raises(InputError, match="scan.tif page 1 is not drawn: -1 s are the most"):
        seen += images.iter_images(data, "scan.tif")
    assert seen == []
    document.drawing.seconds = 1.0
    with pytest.raises(InputError, match="scan.tif page 1 is not drawn"):
        images.render_page(document, 1)


def test_one_start_serves_many_files():
    data = [encoded(Image.new("RGB", (9, at + 1)), "PNG") for at in range(3)]
    pids = set()
    for at, each in enumerate(data):
        assert read_image(each, "a.png").size == (9, at + 1)
        pids |= {child.pid for child in images._decoders._idle}
    assert len(pids) == 1
