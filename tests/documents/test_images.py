"""Images as people have them: turned, transparent, deep, coloured, broken, of several pages."""

import base64
import io
import random
import struct
import zlib
from importlib.util import find_spec

import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter

from gemma_edge.documents.document import PATCH_PX, parse_page_numbers, render_cost
from gemma_edge.documents.images import (
    fit_picture,
    fit_tiles,
    iter_images,
    open_image,
    origin_of,
    read_image,
    wants_detail,
)
from gemma_edge.errors import InputError, UsageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
# 96 x 64 px, blue, the first 32 x 32 red; written by pillow-heif, which dev does not install.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAZdtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
    "AAAAADRpbG9jAAAAAERAAAIAAQAAAAABuwABAAAAAAAAADgAAgAAAAAB8wABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVp"
    "bmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHho"
    "dmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAA"
    "AwAAAwAeoDCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAA"
    "AAAAAABgAAAAQAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAABppcmVmAAAAAAAAAA5jZHNjAAIA"
    "AQABAAAAZG1kYXQAAAA0KAGvCeAhOXVf//yCP//8Yjch/AosU//xuk+/wh1P/99/DRP/zIiA/llI7/5dD1FD5Fb/gAAAAAZF"
    "eGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA=="
)
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


def adobe_like_profile():
    """A profile whose colours are far from sRGB's, as bytes: LAB read as if it were one is not
    possible, so the primaries of sRGB are exchanged by hand."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = bytearray(profile)
    count = struct.unpack(">I", profile[128:132])[0]
    places = {}
    for index in range(count):
        at = 132 + 12 * index
        places[profile[at : at + 4]] = at + 4
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    swapped[red : red + 8], swapped[blue : blue + 8] = (
        profile[blue : blue + 8], profile[red : red + 8],
    )  # fmt: skip
    described = places[b"desc"]
    start, size = struct.unpack(">II", profile[described : described + 8])
    text = profile[start : start + size].replace(
        "sRGB".encode("utf-16-be"), "Test".encode("utf-16-be")
    )
    swapped[start : start + size] = text
    return bytes(swapped)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_colour_profile_is_applied(kind):
    """The profile says that the first channel is blue."""
    data = encoded(plain("RGB", (250, 5, 5), (64, 64)), kind, icc_profile=adobe_like_profile())
    red, green, blue = read_image(data, "photo").getpixel((30, 30))
    assert blue > 200
    assert max(red, green) < 60


@pytest.mark.parametrize("profile", [b"junk", b"\0" * 3000, adobe_like_profile()[:200]])
def test_a_broken_profile_is_left_aside(profile):
    data = encoded(plain("RGB", RED, (16, 16)), icc_profile=profile)
    assert read_image(data, "photo").getpixel((3, 3)) == RED


def test_lab_and_deep_colours():
    lab = ImageCms.profileToProfile(
        plain("RGB", (200, 30, 30)), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )  # fmt: skip
    red, green, blue = read_image(encoded(lab, "TIFF"), "scan").getpixel((3, 3))
    assert abs(red - 200) < 6
    assert max(abs(green - 30), abs(blue - 30)) < 8


def test_heic_is_read_or_the_extra_is_named():
    """Both ways are right; `dev` installs the library."""
    if find_spec("pi_heif"):
        image = read_image(HEIC, "photo.heic")
        assert image.size == (96, 64)
        assert image.getpixel((8, 8))[0] > 150
        assert image.getpixel((80, 8))[2] > 150
        return
    with pytest.raises(InputError) as caught:
        read_image(HEIC, "photo.heic")
    assert "HEIC" in caught.value.message
    assert 'pip install "gemma-edge[heic]"' in caught.value.hint


# Pages and frames.


def several(kind, colors=(RED, GREEN, BLUE), **options):
    frames = [plain("RGB", color, (96, 96)) for color in colors]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def colors_of(data, name, pages=None):
    chosen = parse_page_numbers(pages) if pages else None
    found = []
    for image in iter_images(data, name, pages=chosen):
        pixel = image.getpixel((9, 9))
        found.append((origin_of(image).page, "rgb"[pixel.index(max(pixel))]))
    return found


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_what_moves_the_beginning_is_read_and_it_is_said(kind):
    data = several(kind)
    image = read_image(data, "moving")
    assert image.getpixel((4, 4))[0] > 200
    picture = fit_picture(image, "moving", 280)
    assert picture.lost == "the first of 3 frames"
    assert colors_of(data, "moving", "1-3") == [(1, "r"), (2, "g"), (3, "b")]
    assert colors_of(data, "moving", "3,2") == [(2, "g"), (3, "b")]


def test_of_a_tiff_all_pages_are_read():
    data = several("TIFF")
    assert colors_of(data, "scan.tif") == [(1, "r"), (2, "g"), (3, "b")]
    assert colors_of(data, "scan.tif", "2-") == [(2, "g"), (3, "b")]
    titles = [fit_picture(image, "scan.tif", 280).name for image in iter_images(data, "scan.tif")]
    assert titles == ["scan.tif page 1", "scan.tif page 2", "scan.tif page 3"]
    first = read_image(data, "scan.tif")  # where one image is wanted, the others are told
    assert wants_detail(first)
    assert fit_picture(first, "scan.tif", 280).lost == "the first of 3 pages"


def test_a_page_that_there_is_not(make_pdf, type_lines):
    for data in (several("TIFF"), make_pdf([type_lines("x")] * 3)):
        with pytest.raises(UsageError) as caught:
            list(iter_images(data, "scan", pages=parse_page_numbers("2-5")))
        assert caught.value.message == "scan has 3 pages, there is no page 5"
        assert caught.value.hint == "--pages 1-3"


def test_pages_of_a_pdf_are_drawn(make_pdf, type_lines):
    """Red below the text, in RGB and not in PDFium's own order; as large as the budget."""
    pdf = make_pdf([type_lines("Hello")] * 3, extra="1 0 0 rg 100 100 300 300 re f\n0 g\n")
    images = list(iter_images(pdf, "bill.pdf", max_tokens=280))
    assert [origin_of(image).page for image in images] == [1, 2, 3]
    for image in images:
        assert image.getpixel((image.width * 2 // 5, image.height * 7 // 10)) == RED
        assert image.getpixel((3, 3)) == (255, 255, 255)
    assert wants_detail(images[0])
    line = render_cost(fit_picture(images[0], "bill.pdf", 280))
    assert line == "bill.pdf page 1 672x912, 266 tokens; --detail max would use 1,092"


def test_one_page_has_no_number_and_its_letters_are_dark(make_pdf, type_lines):
    (image,) = iter_images(make_pdf([type_lines("Hello")]), "bill.pdf")
    assert origin_of(image).title == "bill.pdf"
    assert min(image.convert("L").getextrema()) < 80
    assert fit_picture(image, "bill.pdf", 1120).tokens > 1000


def test_a_turned_page_is_drawn_upright(make_pdf, type_lines):
    (image,) = iter_images(make_pdf([type_lines("Hello")], rotate=90), "bill.pdf")
    assert image.width > image.height


def test_a_pdf_that_cannot_be_drawn(make_pdf):
    for data in (b"%PDF-1.7", make_pdf([[]])[:300], make_pdf([])):
        with pytest.raises(InputError) as caught:
            list(iter_images(data, "bill.pdf"))
        assert caught.value.message.startswith("bill.pdf is damaged")


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
        (b"<svg xmlns=''/>", "an SVG drawing", "PNG"),
        (b"GGUF\3\0\0\0", "a GGUF model", "--model"),
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


# Detail.


def test_a_picture_is_whole_patches_and_says_what_was_lost():
    picture = fit_picture(plain("RGB", RED, (4032, 3024)), "photo.jpg", 560)
    assert (picture.width % PATCH_PX, picture.height % PATCH_PX) == (0, 0)
    assert picture.tokens <= 560
    assert picture.lost == f"4032x3024 -> {picture.width}x{picture.height}"
    assert len(picture.rgb) == 3 * picture.width * picture.height
    assert picture.rgb[:3] == bytes(RED)
    assert render_cost(picture) == (
        "photo.jpg 4032x3024 -> 1296x960, 540 tokens; --detail max would use 1,064"
    )
    assert render_cost(fit_picture(plain("RGB", RED, (4032, 3024)), "photo.jpg", 1120)).endswith(
        "1,064 tokens; --tiles 4 would show more"
    )


def test_nothing_is_lost_by_growing_or_by_rounding():
    for size in ((100, 80), (640, 480)):
        picture = fit_picture(plain("RGB", RED, size), "photo.png", 280)
        assert (picture.lost, picture.whole_tokens) == ("", 0)
        assert render_cost(picture).count(";") == 0


def test_a_strip_is_stretched_and_it_is_said():
    picture = fit_picture(plain("RGB", RED, (1, 20_000)), "strip.png", 280)
    assert picture.tokens <= 280
    assert picture.lost == "1x20000 is stretched to 48x13440"


def test_a_reduced_image_keeps_its_size_in_the_file(tmp_path):
    """A JPEG is decoded smaller, anything else is made smaller while it is converted."""
    checkers = Image.new("L", (5000, 4000), 0)
    checkers.paste(255, (0, 0, 2500, 4000))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG"):
        data = encoded(checkers, kind, exif=exif)
        (image,) = iter_images(data, "photo", max_tokens=280)
        assert image.width * image.height < 5000 * 4000 / 3
        assert (origin_of(image).width, origin_of(image).height) == (4000, 5000)
        assert image.getpixel((image.width // 2, 5)) == (255, 255, 255)  # turned: white is above
        assert image.getpixel((image.width // 2, image.height - 5)) == (0, 0, 0)
        assert fit_picture(image, "photo", 280).lost.startswith("4000x5000 -> ")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_what_is_made_smaller_in_strips_looks_the_same(mode):
    """Against the same image resized whole."""
    source = Image.linear_gradient("L").resize((2601, 3000)).convert("L")
    scaled = {"F": lambda v: v / 255, "I;16": lambda v: v * 257}
    if mode in scaled:
        grey = source.convert("F" if mode == "F" else "I")
        image = Image.eval(grey, scaled[mode]).convert(mode)
    else:
        image = source.convert(mode)
    kind = "TIFF" if mode in ("CMYK", "F") else "PNG"
    (small,) = iter_images(encoded(image, kind), "photo", max_tokens=70)
    (whole,) = iter_images(encoded(image, kind), "photo", max_tokens=70 * 100)
    assert whole.size == (2601, 3000)
    assert small.size == (867, 1000)
    again = whole.resize(small.size, Image.Resampling.BOX)
    extrema = ImageChops.difference(small, again).getextrema()
    assert max(most for _, most in extrema) <= 3


def test_tiles_overlap_and_have_their_own_budget():
    page = plain("RGB", "white", (2000, 3000))
    page.paste(RED, (0, 1450, 2000, 1550))  # a line of text in the middle
    tiles = fit_tiles(page, "page.png", 280, 2)
    assert [tile.name for tile in tiles] == ["page.png 1/2", "page.png 2/2"]
    assert all(200 < tile.tokens <= 280 for tile in tiles)
    assert all(bytes(RED) in tile.rgb for tile in tiles)  # whole in each
    assert tiles[0].lost == f"2000x1579 -> {tiles[0].width}x{tiles[0].height}"
    assert len(fit_tiles(page, "page.png", 280, 4)) == 4
    assert len(fit_tiles(plain("RGB", RED, (640, 480)), "small.png", 280, 4)) == 1


def test_a_screen_with_small_text_is_known_from_a_photograph():
    screen = plain("RGB", "white", (1600, 1000))
    pen = ImageDraw.Draw(screen)
    for row in range(60):
        pen.text(
            (20, 16 * row), "gemma-edge describe photo.jpg  4032x3024 -> 1296x960 " * 3, "black"
        )
    assert wants_detail(screen)
    noise = Image.effect_noise((1600, 1000), 60).filter(ImageFilter.GaussianBlur(3)).convert("RGB")
    shapes = plain("RGB", "white", (1600, 1000))
    ImageDraw.Draw(shapes).ellipse((300, 200, 900, 800), fill="red")
    for image in (noise, shapes, plain("RGB", RED, (1600, 1000)), plain("RGB", RED, (20, 20))):
        assert not wants_detail(image)
