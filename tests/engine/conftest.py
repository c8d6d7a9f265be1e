"""The real engine on the bundled model, opened once, and pictures drawn on the spot."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from PIL import Image, ImageDraw

from gemma_edge import gguf
from gemma_edge.documents.document import Picture
from gemma_edge.engine import load
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import LlamaModel, capture
from gemma_edge.engine.process import RemoteEngine
from gemma_edge.engine.prompt import PromptBuilder
from gemma_edge.engine.protocol import Chunk, Engine, Event, Finished, Prefill, Request
from gemma_edge.planning.plan import Plan
from tests.conftest import WriteGguf

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "demo" / "gemma-4-demo-Q8_0.gguf"
DEMO_PROJECTOR = ROOT / "models" / "demo" / "mmproj-gemma-4-demo-F16.gguf"
MOE = ROOT / "tests" / "models" / "moe-random-Q8_0.gguf"
MOE_PROJECTOR = ROOT / "tests" / "models" / "moe-random-mmproj-F16.gguf"


MakeLora = Callable[..., Path]
TARGETS = ("blk.0.attn_q.weight", "blk.1.ffn_down.weight")
LORA = {
    "general.type": "adapter",
    "general.architecture": "gemma4",
    "adapter.type": "lora",
    "adapter.lora.alpha": 4.0,
}


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
def model() -> LlamaModel:
    """The bundled model's vocabulary and sizes."""
    return LlamaModel(DEMO)


@pytest.fixture(scope="session")
def prompter(model: LlamaModel) -> PromptBuilder:
    """Prompts without pictures."""
    return PromptBuilder(model, None)


@pytest.fixture(scope="session")
def engine() -> Iterator[LlamaEngine]:
    opened = LlamaEngine(demo_plan())
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def remote() -> Iterator[RemoteEngine]:
    """The same model as everybody uses it: in a process of its own."""
    opened = load(demo_plan())
    assert isinstance(opened, RemoteEngine)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def f32_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model in F32: no rounding of activations to 8 bits hides or makes differences."""
    path = tmp_path_factory.mktemp("f32") / "demo-F32.gguf"
    capture()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_ALL_F32
    params.allow_requantize = True
    assert not llama_cpp.llama_model_quantize(str(DEMO).encode(), str(path).encode(), params)
    return path


@pytest.fixture(scope="session")
def f32_model(f32_path: Path) -> Iterator[LlamaModel]:
    """The same, opened."""
    opened = LlamaModel(f32_path)
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
    assert all(isinstance(chunk, Chunk | Prefill) for chunk in chunks)  # read in over a second
    text = "".join(c.text for c in chunks if isinstance(c, Chunk) and c.channel == "answer")
    return text, finished


@pytest.fixture
def make_lora(write_gguf: WriteGguf) -> MakeLora:
    """Writes a LoRA of random numbers for tensors of the bundled model, or of another one."""

    def make(
        name: str = "lora.gguf", *, rank: int = 4, targets: Sequence[str] = TARGETS,
        model: Path = DEMO,
    ) -> Path:  # fmt: skip
        own = {tensor.name: tensor for tensor in gguf.read_header(model).tensors}
        tensors, rng = [], np.random.default_rng(1)
        for target in targets:
            row, column, *experts = own[target].shape
            tensors += [
                (f"{target}.lora_a", (row, rank, *experts), 0),
                (f"{target}.lora_b", (rank, column, *experts), 0),
            ]
        path = write_gguf(name, LORA, tensors)
        data = bytearray(path.read_bytes())
        for tensor in gguf.read_header(path).tensors:
            values = rng.normal(0, 0.2, tensor.size_bytes // 4).astype("<f4").tobytes()
            data[tensor.offset_bytes : tensor.offset_bytes + len(values)] = values
        path.write_bytes(data)
        return path

    return make
