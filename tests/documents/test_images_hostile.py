"""Hostile images: one line each, no crash, memory bounded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gemma_edge.documents.images import is_apart, iter_frames_apart
from gemma_edge.errors import InputError
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
    with pytest.raises(InputError) as caught:
        list(iter_frames_apart(data, "scan.tif", None, 280, memory_bytes=50 << 20))
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
