"""The bundled model through the whole command: held-out pictures of every kind of file.

Swapped channels, an ignored EXIF turn, alpha on black and a swapped order all make it fail.
"""

import json
import os
from pathlib import Path
from random import Random

import pytest
from demo_model import shapes
from PIL import Image

from gemma_edge.app.runtime import load_engine

PICTURES, PAIRS = 25, 3
GOAL = 0.95
GREEDY = ("--temperature", "0", "--quiet")
ORIENTATION, TURNED = 0x0112, 6  # stored on its side: to be turned by 90 degrees


def draw(rng: Random, kind: str) -> tuple[Image.Image, shapes.Scene]:
    """A picture as it is to be seen; with ``alpha``, shapes on nothing."""
    side = rng.randint(240, 900)
    scene = shapes.scene(rng, int(side * rng.choice((1, 1.33, 0.75))), side)
    if kind != "alpha.png":
        return shapes.draw(rng, scene), scene
    image = Image.new("RGBA", (scene.width, scene.height), (0, 0, 0, 0))
    shapes.draw_things(
        image, scene.things, {name: (*ink, 255) for name, ink in shapes.COLORS.items()}
    )
    return image, scene


def save(image: Image.Image, path: Path, kind: str) -> None:
    """In one of the ways that people have pictures."""
    if kind == "turned.jpg":
        exif = Image.Exif()
        exif[ORIENTATION] = TURNED
        image.transpose(Image.Transpose.ROTATE_90).save(path, quality=90, exif=exif)
    else:
        image.save(path, quality=90)


KINDS = ("plain.jpg", "plain.png", "plain.webp", "turned.jpg", "alpha.png")


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, shapes.Scene]]:
    folder = tmp_path_factory.mktemp("held_out")
    rng = Random("held out/files/7")
    scenes = {}
    for number in range(PICTURES):
        kind = KINDS[number % len(KINDS)]
        image, scene = draw(rng, kind)
        name = f"{number:02}-{kind}"
        save(image, folder / name, kind)
        scenes[name] = scene
    return folder, scenes


def test_held_out_pictures_are_described_right(shell, held_out):
    folder, scenes = held_out
    ran = shell.run(
        "describe", str(folder), *GREEDY, "--model", "demo", "--threads", "1", model=False,
        load=load_engine,
    )  # fmt: skip
    assert ran.status == 0, ran.stderr
    said = {os.path.basename(each["file"]): each["answer"]
            for each in map(json.loads, ran.stdout.splitlines())}  # fmt: skip
    assert said.keys() == scenes.keys()
    wrong = {name: (scene.caption, said[name])
             for name, scene in scenes.items() if said[name] != scene.caption}  # fmt: skip
    assert len(wrong) <= (1 - GOAL) * len(scenes), wrong


def test_two_pictures_in_both_orders(shell, held_out):
    folder, scenes = held_out
    names = list(scenes)
    right = asked = 0
    for number in range(PAIRS):
        pair = names[2 * number], names[2 * number + 1]
        for first, second in (pair, pair[::-1]):
            ran = shell.run(
                "describe", str(folder / first), str(folder / second), *GREEDY, "--model", "demo",
                "--threads", "1", model=False, load=load_engine,
            )  # fmt: skip
            one, two = (shapes.lowered(scenes[name].brief) for name in (first, second))
            right += ran.stdout.strip() == f"First image: {one} Second image: {two}"
            asked += 1
    assert right >= GOAL * asked
