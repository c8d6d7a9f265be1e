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
from gemma_edge.hardware.machine import Build
from gemma_edge.planning.dry_run import DryRun, differences
from gemma_edge.planning.memory import account, adapter_bytes, adapter_compute_bytes
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import Adapter, Plan
from gemma_edge.units import MIB
from tests.engine.conftest import DEMO, MOE, MakeLora, demo_plan
from tests.planning.memory_machines import machine

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


def compute_bytes(plan: Plan) -> int:
    """Of the buffer that was allocated last, with the adapters in the graph."""
    engine = LlamaEngine(plan)
    try:
        return sum(row.size_bytes for row in engine.info.allocated if row.part == "compute")
    finally:
        engine.close()


@pytest.mark.parametrize("rank", [64, 2048])
@pytest.mark.parametrize(
    ("model", "target"),
    [
        (DEMO, "attn_q"), (DEMO, "ffn_gate"), (DEMO, "ffn_down"), (MOE, "attn_v"), (MOE, "ffn_up"),
        (MOE, "ffn_gate_up_exps"), (MOE, "ffn_down_exps"),
    ],
)  # fmt: skip
def test_its_compute_buffer_is_never_larger_than_planned(
    make_lora: MakeLora, model: Path, target: str, rank: int
) -> None:
    """All layers' tensors of one kind, in real loads, against the formula."""
    header = gguf.read_header(model)
    targets = [t.name for t in header.tensors if t.name.endswith(f".{target}.weight")]
    lora = make_lora(rank=rank, targets=targets, model=model)
    plan = Plan(model=model, context_tokens=1024, batch_tokens=512, threads=1)
    real = compute_bytes(replace(plan, adapters=(Adapter(lora),))) - compute_bytes(plan)
    (planned,) = adapter_compute_bytes([gguf.read_header(lora)], parse_shape(header), plan).values()
    assert 0 <= real <= planned + 0.13 * MIB  # as it is rounded and aligned
    if rank == 2048:  # noqa: PLR2004  (wide enough to be the peak anywhere)
        assert real > 0


def test_a_load_with_a_wide_lora_is_no_surprise(make_lora: MakeLora) -> None:
    """The ledger knows what it may take beside the buffers that llama.cpp names for it."""
    targets = [f"blk.{n}.ffn_down_exps.weight" for n in range(6)]
    lora = make_lora(rank=2048, targets=targets, model=MOE)
    header, adapter = gguf.read_header(MOE), gguf.read_header(lora)
    plan = Plan(model=MOE, context_tokens=1024, batch_tokens=512, threads=1)
    hardware = replace(machine(), build=Build(version="", instructions=()))
    with DryRun() as run:
        ledger = account(
            parse_shape(header), None, plan.placement, hardware, run.measure, [adapter]
        )
        without = account(parse_shape(header), None, plan.placement, hardware, run.measure)
    engine = LlamaEngine(replace(plan, adapters=(Adapter(lora),), ledger=ledger))
    allocated, notes = engine.info.allocated, engine.info.notes
    engine.close()
    assert [note for note in notes if note.startswith("compute")] == []
    assert any(said.startswith("compute") for said in differences(without, allocated))


def test_a_file_that_is_none_is_refused_in_words(make_lora: MakeLora, tmp_path: Path) -> None:
    for path in (demo_plan().model, tmp_path / "missing.gguf"):
        engine = load(replace(demo_plan(), adapters=(Adapter(path),)))
        with pytest.raises(ModelError, match=path.name):
            engine.info  # noqa: B018
        engine.close()
