"""The real engine on the bundled model, opened once, and pictures drawn on the spot."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from gemma_edge.documents.picture import Picture
from gemma_edge.engine import load
from gemma_edge.engine.llama_engine import LlamaEngine
from gemma_edge.engine.protocol import Chunk, Engine, Event, Finished, Request
from gemma_edge.engine.remote import RemoteEngine
from gemma_edge.fit.plan import Plan

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "demo" / "gemma-4-demo-Q8_0.gguf"
DEMO_PROJECTOR = ROOT / "models" / "demo" / "mmproj-gemma-4-demo-F16.gguf"
MOE = ROOT / "tests" / "models" / "moe-random-Q8_0.gguf"
MOE_PROJECTOR = ROOT / "tests" / "models" / "moe-random-mmproj-F16.gguf"


def demo_plan(*, context_tokens: int = 2048, batch_tokens: int = 256) -> Plan:
    return Plan(
        model=DEMO,
        projector=DEMO_PROJECTOR,
        context_tokens=context_tokens,
        batch_tokens=batch_tokens,
        gpu_layers=-1,
        threads=1,
    )


@pytest.fixture(scope="session")
def engine() -> Iterator[LlamaEngine]:
    opened = LlamaEngine(demo_plan())
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def remote() -> Iterator[RemoteEngine]:
    """The same model behind the door that everybody uses: in a process of its own."""
    opened = load(demo_plan())
    assert isinstance(opened, RemoteEngine)
    yield opened
    opened.close()


def picture(color: str = "red", *, side: int = 432, name: str = "circle.png") -> Picture:
    image = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(image).ellipse([side // 4, side // 4, side // 2, side // 2], fill=color)
    return Picture(image.tobytes(), side, side, name)


def answer(engine: Engine, request: Request) -> tuple[str, Finished]:
    """The text of the answer channel, and how it ended."""
    events: list[Event] = list(engine.generate(request))
    *chunks, finished = events
    assert isinstance(finished, Finished)
    assert all(isinstance(chunk, Chunk) for chunk in chunks)
    text = "".join(c.text for c in chunks if isinstance(c, Chunk) and c.channel == "answer")
    return text, finished
