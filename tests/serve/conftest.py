"""Servers on loopback: the real command with the bundled model, and one over a scripted engine."""

import base64
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from gemma_edge.app.load import LoadedEngine, Prepared, prepare  # noqa: E402
from gemma_edge.app.request import ModelRequest  # noqa: E402
from gemma_edge.app.runtime import library_runtime  # noqa: E402
from gemma_edge.cli.context import Context  # noqa: E402
from gemma_edge.cli.main import main  # noqa: E402
from gemma_edge.serve import server as serving  # noqa: E402
from gemma_edge.serve.server import Settings  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
HELLO = [{"role": "user", "content": "Hello"}]


class Running:
    """A server process; ``url`` is its address."""

    def __init__(self, *words: str, home: Path, **environment: str) -> None:
        folders = {"XDG_DATA_HOME": str(home), "HF_HOME": str(home), "LOCALAPPDATA": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gemma_edge", "serve", "--model", "demo", "--port", "0", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **folders, **environment},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise AssertionError(self.process.communicate(timeout=60)[1])

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its status, and what stood on its stderr."""
        said = ""
        if self.process.returncode is None:
            self.process.send_signal(number)
            said = self.process.communicate(timeout=120)[1]
        return self.process.returncode, said


@dataclass(frozen=True)
class Ran:
    """What came of a command line."""

    stdout: str
    stderr: str
    status: int


def run(*words: str, home: Path) -> Ran:
    """A command line that is refused, in this process."""
    out, err = io.StringIO(), io.StringIO()
    status = main(
        words, Context(stdin=io.StringIO(), stdout=out, stderr=err, environment={}, home=home)
    )
    return Ran(out.getvalue(), err.getvalue(), status)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The command with the bundled model."""
    running = Running(home=tmp_path_factory.mktemp("home"))
    yield running
    running.process.terminate()
    running.process.communicate(timeout=120)


@pytest.fixture
def client(real: Running) -> Iterator[httpx2.Client]:
    """Of the real server."""
    with httpx2.Client(base_url=real.url, timeout=120) as opened:
        yield opened


@cache
def prepared() -> Prepared:
    """The bundled model, planned and not loaded."""
    request = ModelRequest(model="demo", context_tokens=8192)
    return prepare(request, library_runtime(), vision="possible")


Opened = tuple[str, LoadedEngine]


@contextmanager
def open_server(engine: Any, settings: Settings | None = None) -> Iterator[httpx2.Client]:
    """A client of a server over an engine, which runs in a thread of this process."""
    loaded = LoadedEngine(engine, prepared(), lambda _text: None)
    listening = serving.listen("127.0.0.1", 0)
    ready, stops = threading.Event(), list[Callable[[], None]]()

    def started(stop: Callable[[], None]) -> None:
        stops.append(stop)
        ready.set()

    runtime = replace(library_runtime(), clock=library_runtime().clock)
    arguments = (loaded, runtime, settings or Settings(), [listening], started)
    thread = threading.Thread(target=serving.serve, args=arguments)
    thread.start()
    assert ready.wait(60)
    try:
        with httpx2.Client(base_url=serving.url_of(listening), timeout=120) as client:
            yield client
    finally:
        stops[0]()
        thread.join(60)
        listening.close()
    assert not thread.is_alive()


def chat(client: httpx2.Client, **body: Any) -> httpx2.Response:
    """A question; what is given is added to its body."""
    whole = {"model": "demo", "messages": HELLO, "temperature": 0, **body}
    return client.post("/v1/chat/completions", json=whole)


def image_uri(kind: str = "circle", color: str = "red", side: int = 480) -> str:
    """A picture of one plain shape as a data URI."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (side, side), "white")
    box = [side // 4, side // 4, side * 3 // 4, side * 3 // 4]
    draw = ImageDraw.Draw(image)
    (draw.ellipse if kind == "circle" else draw.rectangle)(box, fill=color)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
