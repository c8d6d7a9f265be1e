"""The files in ``examples/``: an invoice as a PDF, and two pictures of shapes."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from demo_model import pdf, shapes
from demo_model.shapes import Scene, Thing

INVOICE = """\
Velmora Glassworks Ltd
14 Tidewell Lane
40713 Ansbrook

INVOICE
Bill to:                      Invoice no.: VG-20418
Harrow & Pell Studio          Date: 12 March 2031
7 Ferrick Street              Due date: 11 April 2031
88120 Nordhaven               PO number: 5530-71

Description            Qty      Price     Amount
Blue tumbler            12       8.50     102.00
Lamp shade, small        3      41.20     123.60

Subtotal:              EUR 225.60
VAT 20%:                EUR 45.12
Total:                 EUR 270.72
Previous balance:       EUR 80.00

Thank you for your business."""
INVOICE_GOLD = {
    "vendor": "Velmora Glassworks Ltd",
    "customer": "Harrow & Pell Studio",
    "invoice_number": "VG-20418",
    "date": "12 March 2031",
    "due_date": "11 April 2031",
    "total": 270.72,
    "currency": "EUR",
    "tax": 45.12,
    "po_number": "5530-71",
}


def picture(scene: Scene) -> Image.Image:
    """A scene in plain colours on white, drawn at four times the size and reduced."""
    big = scene.scaled(4 * scene.width, 4 * scene.height)
    image = Image.new("RGB", (big.width, big.height), (255, 255, 255))
    shapes.draw_things(image, big.things, shapes.COLORS)
    return image.resize((scene.width, scene.height), Image.Resampling.LANCZOS)


def shapes_png() -> Image.Image:
    """'A red circle on the left and a blue square on the right.'"""
    left = Thing(170, 200, 95, "red", "circle")
    right = Thing(470, 250, 90, "blue", "square")
    return picture(Scene([left, right], "", 640, 480))


def two_jpg() -> Image.Image:
    """'Two green stars.'"""
    stars = [Thing(190, 150, 75, "green", "star"), Thing(430, 320, 80, "green", "star")]
    return picture(Scene(stars, "", 600, 480))


def write_all(folder: Path) -> None:
    """Write ``invoice.pdf``, ``shapes.png`` and ``two.jpg``."""
    folder.mkdir(parents=True, exist_ok=True)
    look = pdf.Look(bold=(0, 4, 10, 16), ruled=(10, 12))
    pdf.write(folder / "invoice.pdf", INVOICE, "Invoice VG-20418", look)
    shapes_png().save(folder / "shapes.png", optimize=True)
    two_jpg().save(folder / "two.jpg", quality=88)
