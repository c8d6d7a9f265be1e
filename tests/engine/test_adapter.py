"""A LoRA changes what the model says, by its strength, and takes the memory that was planned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemma_edge import gguf
from gemma_edge.engine import load
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.protocol import Message, Request
from gemma_edge.errors import ModelError
from gemma_edge.planning.memory import adapter_bytes
from gemma_edge.planning.plan import Adapter, Plan
from gemma_edge.units import MIB
from tests.engine.conftest import MakeLora, demo_plan

HELLO = Request(messages=(Message("user", "What can you do?"),))


def logits(plan: Plan) -> np.ndarray:
    engine = LlamaEngine(plan)
    try:
        return engine.next_logits(HELLO)
    finally:
        engine.close()


def test_its_strength_decides_how_much_it_changes(make_lora: MakeLora) -> None:
    plan, lora = demo_plan(), make_lora()
    without = logits(plan)
    none = logits(replace(plan, adapters=(Adapter(lora, 0.0),)))
    whole = logits(replace(plan, adapters=(Adapter(lora),)))
    halves = logits(
        replace(plan, adapters=(Adapter(lora, 0.5), Adapter(make_lora("again.gguf"), 0.5)))
    )
    assert np.abs(none - without).max() < 1e-3
    assert np.abs(whole - without).max() > 0.1
    assert np.abs(halves - whole).max() < 1e-2


def test_it_takes_the_memory_that_was_planned(make_lora: MakeLora) -> None:
    lora = make_lora(rank=200)
    engine = load(replace(demo_plan(), adapters=(Adapter(lora),)))
    plain = load(demo_plan())
    allocated = {row.part: row.size_bytes for row in engine.info.allocated}
    before = {row.part: row.size_bytes for row in plain.info.allocated}
    engine.close()
    plain.close()
    header = gguf.read_header(lora)
    (planned,) = adapter_bytes([header], engine.info.layers, demo_plan()).values()
    assert allocated["adapters"] == pytest.approx(planned, abs=0.01 * MIB)  # as it is printed
    assert {part: size for part, size in allocated.items() if part != "adapters"} == before


def test_a_file_that_is_none_is_refused_in_words(make_lora: MakeLora, tmp_path: Path) -> None:
    for path in (demo_plan().model, tmp_path / "missing.gguf"):
        engine = load(replace(demo_plan(), adapters=(Adapter(path),)))
        with pytest.raises(ModelError, match=path.name):
            engine.info  # noqa: B018
        engine.close()
