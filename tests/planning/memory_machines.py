"""Machines and models for the tests of memory."""

from functools import cache
from pathlib import Path

from gemma_edge import catalog
from gemma_edge.gguf import read_header
from gemma_edge.hardware.machine import Build, Cpu, Device, Hardware, Memory
from gemma_edge.planning.memory import layer_bytes
from gemma_edge.planning.model import Shape, parse_shape, synthesize
from gemma_edge.planning.plan import KvType, Placement

GIB = 1 << 30
SIZES = [size.name for size in catalog.sizes()]
ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "models/demo/gemma-4-demo-Q8_0.gguf"
MOE = ROOT / "tests/models/moe-random-Q8_0.gguf"


def machine(*devices: Device, instructions: tuple[str, ...] = ("AVX2",)) -> Hardware:
    """32 GiB of main memory, half of it free, and these devices."""
    return Hardware(
        system="linux",
        cpu=Cpu(8, "8 cores"),
        memory=Memory(16 * GIB, "16 GiB are available", 32 * GIB),
        build=Build(version="0.3.36", instructions=instructions),
        devices=devices,
    )


def card(name: str = "CUDA0", gib: int = 8, backend: str = "cuda") -> Device:
    """A discrete card, all free."""
    return Device(
        name=name, title=name, backend=backend, integrated=False,
        total_bytes=gib * GIB, free_bytes=gib * GIB,
    )  # fmt: skip


@cache
def shape_of(name: str, quant: str = "qat-q4_0") -> Shape:
    """A size of the catalogue, or "demo" or "moe" from their files."""
    if name in ("demo", "moe"):
        return parse_shape(read_header(DEMO if name == "demo" else MOE))
    size = catalog.size(name)
    chosen = next(each for each in size.quants if each.name == quant)
    return parse_shape(synthesize(size, chosen), exact=False)


def kv_bytes(
    shape: Shape, context_tokens: int, batch_tokens: int, kv_type: KvType = "f16",
    sequences: int = 1,
) -> int:  # fmt: skip
    """Keys and values of all layers."""
    placement = Placement(
        context_tokens=context_tokens, batch_tokens=batch_tokens, kv_type=kv_type,
        sequences=sequences,
    )  # fmt: skip
    return sum(layer_bytes(shape, layer, placement) for layer in shape.layers)


def weights_bytes(shape: Shape) -> int:
    """Every tensor of the file, once."""
    parts = [shape.token_table, shape.layer_table, shape.output, shape.output_norm]
    parts += [weights for layer in shape.layers for weights in (layer.dense, layer.experts)]
    return sum(part.size_bytes for part in parts)
