"""Images as people have them: turned, transparent, deep, broken, huge."""

import io
import random
import struct
import zlib

import pytest
from PIL import Image

from gemma_edge.documents.images import fit_picture, open_image, read_image
from gemma_edge.documents.picture import PATCH_PX, fit_size
from gemma_edge.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "ICO")
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(mode, color, size=(8, 8)):
    return Image.new(mode, size, color)


@pytest.mark.parametrize("kind", FORMATS)
def test_common_formats(kind, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(encoded(plain("RGB", (250, 10, 10), (64, 48)), kind))
    image = open_image(path)
    assert image.mode == "RGB"
    assert all(abs(a - b) < 8 for a, b in zip(image.getpixel((9, 9)), (250, 10, 10), strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation_is_applied(orientation, kind):
    upright = Image.new("RGB", (64, 32), BLUE)
    upright.paste(RED, (0, 0, 16, 16))  # the mark of the top left corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    image = read_image(encoded(stored, kind, exif=exif), "photo")
    assert image.size == (64, 32)
    red, _, blue = image.getpixel((4, 4))
    assert red > 200
    assert blue < 60


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (plain("RGBA", (255, 0, 0, 128)), {}, (255, 127, 127)),
        (plain("RGBA", (255, 0, 0, 0)), {}, (255, 255, 255)),
        (plain("LA", (0, 0)), {}, (255, 255, 255)),
        (plain("L", 70), {}, (70, 70, 70)),
        (plain("L", 70), {"transparency": 70}, (255, 255, 255)),
        (plain("1", 1), {}, (255, 255, 255)),
        (plain("I;16", 40000), {}, (156, 156, 156)),
        (plain("I", 60000), {"kind": "TIFF"}, (233, 233, 233)),
        (plain("F", 0.5), {"kind": "TIFF"}, (128, 128, 128)),
        (plain("CMYK", (255, 0, 0, 0)), {"kind": "TIFF"}, (0, 255, 255)),
        (plain("YCbCr", (76, 85, 255)), {"kind": "JPEG"}, (254, 0, 0)),
    ],
)
def test_modes_look_the_same_in_rgb(image, options, expected):
    pixel = read_image(encoded(image, **options), "picture").getpixel((3, 3))
    assert all(abs(a - b) <= 2 for a, b in zip(pixel, expected, strict=True))


def test_palettes_with_and_without_transparency():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30] + [0] * 762)
    assert read_image(encoded(image), "p").getpixel((3, 3)) == (10, 20, 30)
    assert read_image(encoded(image, transparency=1), "p").getpixel((3, 3)) == (255, 255, 255)
    assert read_image(encoded(image, "GIF", transparency=1), "p").getpixel((3, 3)) == (255,) * 3


def test_an_animation_says_that_only_its_beginning_is_read():
    frames = [plain("RGB", color, (96, 96)) for color in (RED, GREEN, BLUE)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    image = read_image(data, "moving.gif")
    assert image.getpixel((4, 4)) == RED
    assert fit_picture(image, "moving.gif", 280).lost == "the first of 3 frames"


def png_header(width, height):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (b"", "is empty (0 bytes)", "piped"),
        (b"hello", "not an image, or of a kind", "JPEG, PNG"),
        (b"%PDF-1.7", "a PDF, not an image", "extract"),
        (b"<svg xmlns=''/>", "an SVG drawing", "PNG"),
        (b"GGUF\3\0\0\0", "a GGUF model", "--model"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photo", "JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image", "JPEG, PNG"),
        (png_header(60000, 60000), "60000x60000, 3,600 megapixels", "smaller"),
        (png_header(20, 20), "is damaged", "export it again"),
        (encoded(plain("RGB", RED, (64, 64)), "JPEG")[:-200], "is damaged", "export it again"),
    ],
)
def test_what_is_no_image_is_named(data, message, hint):
    with pytest.raises(InputError) as caught:
        read_image(data, "cat.jpg")
    assert caught.value.message.startswith("cat.jpg ")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_files_are_images_or_one_line(kind):
    rng = random.Random(kind)
    good = encoded(Image.effect_noise((64, 48), 80).convert("RGB"), kind)
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.choice((1, 3, 20))):
            at = rng.randrange(rng.choice((200, len(data))) % len(data) + 1)
            data[at : at + rng.choice((0, 1, 30))] = rng.randbytes(rng.choice((0, 1, 1, 4)))
        try:
            assert read_image(bytes(data), "cat.jpg").mode == "RGB"
        except InputError as error:
            assert error.message.count("\n") == 0
            assert error.hint


def test_a_picture_is_whole_patches_and_says_what_was_lost():
    picture = fit_picture(plain("RGB", RED, (4032, 3024)), "photo.jpg", 560)
    assert (picture.width % PATCH_PX, picture.height % PATCH_PX) == (0, 0)
    assert picture.tokens <= 560
    assert picture.lost == f"4032x3024 -> {picture.width}x{picture.height}"
    assert len(picture.rgb) == 3 * picture.width * picture.height
    assert picture.rgb[:3] == bytes(RED)


def test_nothing_is_lost_by_growing_or_by_rounding():
    assert fit_picture(plain("RGB", RED, (30, 20)), "dot.png", 280).lost == ""
    assert fit_picture(plain("RGB", RED, (640, 480)), "photo.png", 280).lost == ""


@pytest.mark.parametrize("budget", [70, 280, 1120])
def test_sizes_stay_within_the_budget(budget):
    rng = random.Random(budget)
    shapes = [(1, 1), (5000, 50), (50, 5000), (1, 9999), (1920, 1080)]
    shapes += [(rng.randrange(1, 9000), rng.randrange(1, 9000)) for _ in range(300)]
    for width, height in shapes:
        fit_width, fit_height = fit_size(width, height, budget)
        assert fit_width % PATCH_PX == fit_height % PATCH_PX == 0
        assert 0 < fit_width * fit_height <= budget * PATCH_PX**2
