"""Layers, splits and experts go where the plan says, by llama.cpp's own report, and the answer is
the same. Two devices on loopback stand for two GPUs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gemma_edge import gguf
from gemma_edge.engine.process import RemoteEngine
from gemma_edge.engine.protocol import GREEDY, EngineInfo, Message, Request, Sampling
from gemma_edge.errors import EngineError
from gemma_edge.planning.dry_run import DryRun
from gemma_edge.planning.memory import account, adapter_bytes, closed_form, quick_measure
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import Adapter, Plan
from gemma_edge.units import MIB
from tests.engine.conftest import DEMO, DEMO_PROJECTOR, MOE, MakeLora, answer, picture
from tests.engine.rpc import has_rpc, program, serving
from tests.engine.test_drafter import DRAFTER
from tests.planning.memory_machines import card, machine

pytestmark = pytest.mark.skipif(
    not has_rpc(),
    reason="this llama.cpp has no RPC backend; scripts/setup.py --dev builds one from source",
)
ROUNDING = 0.02 * MIB  # llama.cpp reports hundredths of a MiB, two buffers a place at most
# Drawn, not greedy: the random-weight model would just end, and every logit has a say.
ASKED = Request(
    messages=(Message("user", "Repeat: one two three four"),),
    sampling=Sampling(temperature=1.0, seed=1),
    max_tokens=12,
)
Open = Callable[[Plan], RemoteEngine]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server on loopback that offers this machine's CPU as two devices."""
    with serving() as number:
        yield number


@pytest.fixture
def opened(port: int) -> Iterator[Open]:
    """Engines whose llama.cpp sees RPC0 and RPC1."""
    engines: list[RemoteEngine] = []

    def start(plan: Plan) -> RemoteEngine:
        engines.append(RemoteEngine(plan, program=program(port)))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def plan(model: Path = DEMO, **more: object) -> Plan:
    base = Plan(model=model, context_tokens=1024, batch_tokens=256, threads=1)
    return replace(base, **more)  # type: ignore[arg-type]


@cache
def layer_bytes(model: Path, layer: int, *, experts: bool | None = None) -> int:
    """Weights of one block; only its experts, or all but those, where that is asked."""
    tensors = [t for t in gguf.read_header(model).tensors if t.name.startswith(f"blk.{layer}.")]
    wanted = [t for t in tensors if experts is None or ("_exps" in t.name) == experts]
    return sum(tensor.size_bytes for tensor in wanted)


def shared_bytes(model: Path) -> int:
    """What lies on the device of the first layer: the projection of the per-layer embeddings."""
    tensors = gguf.read_header(model).tensors
    return sum(
        t.size_bytes for t in tensors if t.name.startswith("per_layer_") and "embd" not in t.name
    )


def output_bytes(model: Path) -> int:
    """The output: a second copy of the token table, and its norm."""
    names = ("token_embd.weight", "output_norm.weight")
    return sum(t.size_bytes for t in gguf.read_header(model).tensors if t.name in names)


def placed(info: EngineInfo, place: str, part: str = "weights") -> int:
    return sum(row.size_bytes for row in info.allocated if (row.place, row.part) == (place, part))


@pytest.fixture(scope="module")
def said_by_cpu() -> dict[Path, str]:
    texts = {}
    for model in (DEMO, MOE):
        engine = RemoteEngine(plan(model))
        texts[model] = answer(engine, ASKED)[0]
        engine.close()
    assert all(texts.values())
    return texts


@pytest.mark.parametrize("count", [1, 4, 9, 10, -1])
def test_the_last_layers_go_to_the_device(
    opened: Open, count: int, said_by_cpu: dict[Path, str]
) -> None:
    engine = opened(plan(devices=("RPC0",), gpu_layers=count))
    blocks = 9 if count < 0 else min(count - 1, 9)
    wanted = output_bytes(DEMO) + sum(layer_bytes(DEMO, n) for n in range(9 - blocks, 9))
    wanted += shared_bytes(DEMO) if blocks == 9 else 0
    assert placed(engine.info, "RPC0") == pytest.approx(wanted, abs=ROUNDING)
    assert placed(engine.info, "RPC0", "compute") > 0
    assert placed(engine.info, "RPC1") == 0
    assert (engine.info.gpu_layers, engine.info.layers) == (blocks, 9)
    assert answer(engine, ASKED)[0] == said_by_cpu[DEMO]


def test_two_devices_share_as_the_split_says(opened: Open, said_by_cpu: dict[Path, str]) -> None:
    engine = opened(plan(devices=("RPC0", "RPC1"), gpu_layers=8, split=(5, 3)))
    first = sum(layer_bytes(DEMO, n) for n in range(2, 7))
    second = sum(layer_bytes(DEMO, n) for n in (7, 8)) + output_bytes(DEMO)
    assert placed(engine.info, "RPC0") == pytest.approx(first, abs=ROUNDING)
    assert placed(engine.info, "RPC1") == pytest.approx(second, abs=ROUNDING)
    assert answer(engine, ASKED)[0] == said_by_cpu[DEMO]


@pytest.mark.parametrize(
    ("place", "more"),
    [
        ("RPC0", {"devices": ("RPC0",), "gpu_layers": -1}),
        ("RAM", {"devices": ("RPC0",), "gpu_layers": 4}),  # of layers that share an earlier cache
        ("RPC0", {"devices": ("RPC0",), "gpu_layers": 6}),  # the last cache is there, others not
        ("RPC0", {"devices": ("RPC0", "RPC1"), "gpu_layers": -1, "split": (7, 3)}),
        ("RPC1", {"devices": ("RPC0", "RPC1"), "gpu_layers": -1, "split": (4, 6)}),
        ("RPC1", {"devices": ("RPC0", "RPC1"), "gpu_layers": -1, "split": (2, 8)}),
    ],
)
def test_a_drafter_lies_where_the_cache_is_that_it_reads(
    opened: Open, place: str, more: dict[str, Any], said_by_cpu: dict[Path, str]
) -> None:
    placed_plan = plan(drafter=DRAFTER, **more)
    engine = opened(placed_plan)
    devices = [card(name, backend="rpc") for name in placed_plan.devices]
    hardware = machine(*devices, instructions=())
    ledger = account(
        parse_shape(gguf.read_header(DEMO)), None, placed_plan.placement, hardware,
        quick_measure(hardware), drafter=gguf.read_header(DRAFTER),
    )  # fmt: skip
    text, finished = answer(engine, replace(ASKED, max_tokens=40))
    assert text.startswith(said_by_cpu[DEMO])
    assert finished.usage.guessed_tokens > 0
    for each in ledger.accounts:
        real = placed(engine.info, each.place, "drafter")
        if each.place == "RAM":  # and pages of its file, which llama.cpp counts by ranges
            real -= sum(row.size_bytes for row in engine.info.allocated if row.reclaimable)
            real += sum(row.size_bytes for row in engine.info.allocated
                        if row.reclaimable and row.part != "drafter")  # fmt: skip
        planned = sum(part.size_bytes for part in each.parts if part.name == "drafter")
        assert (real > 0) == (each.place in ("RAM", place))
        assert planned == pytest.approx(real, abs=0.1 * MIB)


@pytest.mark.parametrize("kept", [2, 6])
def test_experts_of_the_first_layers_stay_in_main_memory(
    opened: Open, kept: int, said_by_cpu: dict[Path, str]
) -> None:
    engine = opened(plan(MOE, devices=("RPC0",), gpu_layers=-1, cpu_expert_layers=kept))
    wanted = output_bytes(MOE) + sum(layer_bytes(MOE, n, experts=False) for n in range(6))
    wanted += sum(layer_bytes(MOE, n, experts=True) for n in range(kept, 6))
    assert placed(engine.info, "RPC0") == pytest.approx(wanted, abs=ROUNDING)
    assert answer(engine, ASKED)[0] == said_by_cpu[MOE]


@pytest.mark.parametrize("place", ["", "RPC0"])
def test_the_projector_goes_where_the_plan_says(opened: Open, place: str) -> None:
    engine = opened(
        plan(projector=DEMO_PROJECTOR, devices=("RPC0",), gpu_layers=-1, projector_device=place)
    )
    asked = Request(
        messages=(Message("user", "Describe this image.", (picture(),)),), sampling=GREEDY
    )
    assert "red" in answer(engine, asked)[0]


def test_a_plan_for_the_cpu_leaves_the_device_alone(opened: Open) -> None:
    info = opened(plan()).info
    assert {row.place for row in info.allocated} == {"RAM"}
    assert (info.device, info.gpu_layers) == ("CPU", 0)


def test_a_device_that_is_not_there_is_no_silent_cpu(opened: Open) -> None:
    with pytest.raises(EngineError, match=r"no device CUDA0; it has .*RPC0"):
        opened(plan(devices=("CUDA0",), gpu_layers=-1)).info  # noqa: B018


def test_a_lora_lies_where_its_layers_lie(opened: Open, make_lora: MakeLora) -> None:
    """Two layers of ten, the output counted: the last block is on the device, the first is not."""
    lora = make_lora(rank=500, targets=("blk.0.attn_q.weight", "blk.8.ffn_up.weight"))
    wanted = plan(devices=("RPC0",), gpu_layers=2, adapters=(Adapter(lora),))
    engine = opened(wanted)
    planned = adapter_bytes([gguf.read_header(lora)], engine.info.layers, wanted)
    assert set(planned) == {"RPC0", "RAM"}
    for place, size_bytes in planned.items():
        assert abs(placed(engine.info, place, "adapters") - size_bytes) < ROUNDING
    said, _ = answer(engine, ASKED)
    alone = RemoteEngine(plan(adapters=wanted.adapters))  # the server has one client at a time
    assert said == answer(alone, ASKED)[0]
    alone.close()


@pytest.mark.parametrize(
    ("model", "where"),
    [
        (MOE, {"gpu_layers": 7, "split": (4, 3), "cpu_expert_layers": 2}),
        (MOE, {"gpu_layers": 7, "split": (2, 5), "cpu_expert_layers": 3}),
        (MOE, {"gpu_layers": 7, "split": (6, 1), "cpu_expert_layers": 6}),
        (MOE, {"gpu_layers": 5, "split": (2, 3)}), (MOE, {"gpu_layers": 3, "split": (2, 1)}),
        (DEMO, {"gpu_layers": 6, "split": (3, 3)}),
    ],
)  # fmt: skip
def test_experts_and_parts_over_two_devices_are_as_planned(
    opened: Open, model: Path, where: dict[str, Any], said_by_cpu: dict[Path, str]
) -> None:
    """Weights and cache as llama.cpp allocated them, compute buffers not more than the formula."""
    wanted = plan(model, devices=("RPC0", "RPC1"), **where)
    shape = parse_shape(gguf.read_header(model))
    hardware = machine(card("RPC0", backend="rpc"), card("RPC1", backend="rpc"), instructions=())
    with DryRun() as run:
        law = closed_form(run.measure, hardware)
        ledger = account(shape, None, wanted.placement, hardware, law)
    engine = opened(wanted)
    for place in wanted.devices:
        parts = {part.name: part.size_bytes for part in ledger.account(place).parts}
        for name in ("weights", "KV global", "KV window"):
            real = placed(engine.info, place, name)
            assert real == pytest.approx(parts.get(name, 0), abs=ROUNDING)
        assert placed(engine.info, place, "compute") <= parts["compute"] + ROUNDING
    assert answer(engine, ASKED)[0] == said_by_cpu[model]
