"""Pictures of coloured shapes, and what is to be said about them.

A picture shows one shape (named with its place, unless it is one of two pictures), two or three
equal shapes (named with their count), or two different shapes side by side.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from demo_model.words import chance

COLORS = {
    "red": (220, 30, 30), "green": (30, 160, 50), "blue": (40, 70, 220), "yellow": (240, 215, 40),
    "black": (20, 20, 20), "orange": (245, 140, 20), "purple": (140, 40, 170),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star")
COUNTS = ("", "one", "two", "three")
# Where the middle of a single shape may be, as fractions of width and height.
PLACES = {
    "in the top left": (0.22, 0.22), "in the top right": (0.78, 0.22), "in the center": (0.5, 0.5),
    "in the bottom left": (0.22, 0.78), "in the bottom right": (0.78, 0.78),
}  # fmt: skip
DESCRIBE = (
    "Describe this image.|Describe the image.|What is in this image?|What do you see?"
    "|What is in the picture?|Describe the picture.|What does the image show?|What is shown here?"
    "|Please describe this picture.|Describe what you see.|Caption this image.|What is this?"
)
DESCRIBE_BOTH = (
    "Describe the images.|Describe both images.|What is in these images?|Describe these pictures."
    "|What do you see?|Describe each image.|What do the pictures show?"
)
PATCH = 48
"""Pixels a side of what becomes one token."""


@dataclass
class Thing:
    """One drawn shape: its middle and radius in pixels."""

    x: float
    y: float
    radius: float
    color: str
    shape: str


@dataclass
class Scene:
    """What a picture shows, drawn for a size of ``width`` x ``height`` pixels."""

    things: list[Thing]
    caption: str
    width: int
    height: int

    @property
    def brief(self) -> str:
        """The caption without the place of a single shape, for one of two pictures."""
        only = self.things[0]
        if len(self.things) > 1:
            return self.caption
        return f"{article(only.color)} {only.color} {only.shape}."

    def scaled(self, width: int, height: int) -> Scene:
        """The same scene stretched to another size; radii by the mean of both stretches."""
        sx, sy = width / self.width, height / self.height
        things = [
            Thing(t.x * sx, t.y * sy, t.radius * (sx + sy) / 2, t.color, t.shape)
            for t in self.things
        ]
        return Scene(things, self.caption, width, height)

    def questions(self, rng: Random) -> list[tuple[str, str]]:
        """Questions with their answers; the first asks for a description."""
        out = [(rng.choice(DESCRIBE.split("|")), self.caption)]
        count = "How many shapes are there?|How many shapes do you see?|Count the shapes."
        answer = COUNTS[len(self.things)].capitalize() + "."
        out.append((rng.choice(count.split("|")), answer))
        if len({t.color for t in self.things}) == 1:
            color = "What color is it?|What color is the shape?|Which color do you see?"
            out.append((rng.choice(color.split("|")), self.things[0].color.capitalize() + "."))
        if len({t.shape for t in self.things}) == 1:
            shape = "What shape is it?|Which shape is this?|What shape do you see?"
            out.append((rng.choice(shape.split("|")), self.things[0].shape.capitalize() + "."))
        return out


def pair_questions(rng: Random, first: Scene, second: Scene) -> list[tuple[str, str]]:
    """Questions about two pictures with their answers; the first asks for both descriptions."""
    ones = "Describe the first image.|What is in the first image?|What does the first image show?"
    twos = ones.replace("first", "second")
    one, two = first.brief, second.brief
    both = f"First image: {lowered(one)} Second image: {lowered(two)}"
    return [
        (rng.choice(DESCRIBE_BOTH.split("|")), both),
        (rng.choice(ones.split("|")), one),
        (rng.choice(twos.split("|")), two),
    ]


def lowered(caption: str) -> str:
    """A caption that goes on after a colon."""
    return caption[0].lower() + caption[1:]


def article(color: str) -> str:
    """'A' or 'An'."""
    return "An" if color[0] in "aeiou" else "A"


def scene(rng: Random, width: int, height: int) -> Scene:
    """Draw the lots for one picture of the given size."""
    side = min(width, height)
    color, shape = rng.choice(list(COLORS)), rng.choice(SHAPES)
    kind = rng.random()
    if kind < 0.32:
        place = rng.choice(list(PLACES))
        px, py = PLACES[place]
        radius = rng.uniform(0.12, 0.19) * side
        x = (px + rng.uniform(-0.05, 0.05)) * width
        y = (py + rng.uniform(-0.05, 0.05)) * height
        caption = f"{article(color)} {color} {shape} {place}."
        return Scene([Thing(x, y, radius, color, shape)], caption, width, height)
    if kind < 0.7:
        count = rng.choice((2, 3))
        things = _scattered(rng, count, (color, shape), (width, height))
        return Scene(things, f"{COUNTS[count].capitalize()} {color} {shape}s.", width, height)
    other = rng.choice([c for c in COLORS if c != color])
    second = rng.choice([s for s in SHAPES if s != shape])
    radius = rng.uniform(0.13, 0.2) * side
    left = Thing(
        rng.uniform(0.24, 0.3) * width, rng.uniform(0.3, 0.7) * height, radius, color, shape
    )
    right = Thing(rng.uniform(0.7, 0.76) * width, rng.uniform(0.3, 0.7) * height,
                  radius * rng.uniform(0.85, 1.15), other, second)  # fmt: skip
    caption = (
        f"{article(color)} {color} {shape} on the left and "
        f"{article(other).lower()} {other} {second} on the right."
    )
    return Scene([left, right], caption, width, height)


def _scattered(
    rng: Random, count: int, kind: tuple[str, str], size: tuple[int, int]
) -> list[Thing]:
    """``count`` shapes of one colour and shape that keep apart."""
    width, height = size
    side = min(size)
    while True:
        radius = rng.uniform(0.11, 0.17) * side
        things: list[Thing] = []
        for _ in range(40):
            x = rng.uniform(radius * 1.2, width - radius * 1.2)
            y = rng.uniform(radius * 1.2, height - radius * 1.2)
            if all(math.hypot(x - t.x, y - t.y) > radius * 2.6 for t in things):
                things.append(Thing(x, y, radius * rng.uniform(0.9, 1.1), *kind))
            if len(things) == count:
                return things


def draw(rng: Random, picture: Scene) -> Image.Image:
    """The picture itself, with tinted ground, jitter, and at times blur or JPEG traces."""
    grounds = ((255, 255, 255), (255, 255, 255), (240, 240, 240), (225, 235, 245), (250, 245, 230),
               (210, 210, 210), (235, 250, 235))  # fmt: skip
    ground = tuple(max(0, min(255, v + rng.randint(-6, 6))) for v in rng.choice(grounds))
    image = Image.new("RGB", (picture.width, picture.height), ground)
    inks = {
        name: tuple(max(0, min(255, v + rng.randint(-14, 14))) for v in ink)
        for name, ink in COLORS.items()
    }
    draw_things(image, picture.things, inks)
    if chance(rng, 0.15):
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5)))
    if chance(rng, 0.25):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(40, 92))
        image = Image.open(buffer).convert("RGB")
    return image


def draw_things(
    image: Image.Image, things: list[Thing], inks: Mapping[str, tuple[int, ...]]
) -> None:
    """Paint shapes on an image, each in its colour's ink."""
    pen = ImageDraw.Draw(image)
    for thing in things:
        _draw_shape(pen, thing, inks[thing.color])


def _draw_shape(pen: ImageDraw.ImageDraw, thing: Thing, fill: tuple[int, ...]) -> None:
    """One filled shape."""
    x, y, r = thing.x, thing.y, thing.radius
    if thing.shape == "circle":
        pen.ellipse([x - r, y - r, x + r, y + r], fill=fill)
    elif thing.shape == "square":
        q = r * 0.88
        pen.rectangle([x - q, y - q, x + q, y + q], fill=fill)
    elif thing.shape == "triangle":
        pen.polygon(
            [(x, y - r), (x + r * 0.95, y + r * 0.8), (x - r * 0.95, y + r * 0.8)], fill=fill
        )
    else:
        points = []
        for i in range(10):
            angle, q = -math.pi / 2 + i * math.pi / 5, r * (1.1 if i % 2 == 0 else 0.45)
            points.append((x + q * math.cos(angle), y + q * math.sin(angle)))
        pen.polygon(points, fill=fill)


def fit_size(width: int, height: int, least: int = 70, most: int = 130) -> tuple[int, int]:
    """Multiples of 48 nearest to a size, with between ``least`` and about ``most`` tokens.

    The rule of llama.cpp's ``calc_size_preserved_ratio``.
    """

    def nearest(value: float) -> int:
        return max(PATCH, int(math.floor(value / PATCH + 0.5)) * PATCH)

    out_w, out_h = nearest(width), nearest(height)
    area = PATCH * PATCH
    if out_w * out_h > most * area:
        shrink = math.sqrt(width * height / (most * area))
        out_w = max(PATCH, int(width / shrink / PATCH) * PATCH)
        out_h = max(PATCH, int(height / shrink / PATCH) * PATCH)
    elif out_w * out_h < least * area:
        grow = math.sqrt(least * area / (width * height))
        out_w, out_h = (
            math.ceil(width * grow / PATCH) * PATCH,
            math.ceil(height * grow / PATCH) * PATCH,
        )
    return out_w, out_h


def pixels(image: Image.Image, width: int, height: int) -> np.ndarray:
    """The picture stretched to ``width`` x ``height`` as float32 [3, height, width] in 0..1."""
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255
