"""The ledger against llama.cpp itself: dry runs of all sizes, real loads of the small models."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gemma_edge.errors import EngineError
from gemma_edge.gguf import Header
from gemma_edge.planning.dry_run import DryRun, differences, parse_report
from gemma_edge.planning.memory import account, closed_form
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import RAM, Allocated, KvType, Ledger, Placement
from tests.planning.memory_machines import (
    DEMO,
    MOE,
    ROOT,
    SIZES,
    card,
    kv_bytes,
    machine,
    shape_of,
    weights_bytes,
)

MIB = 1 << 20
POINTS: tuple[tuple[int, int, KvType, int], ...] = (
    (4096, 128, "f16", 1),
    (32_768, 512, "f16", 1),
    (131_072, 1152, "q8_0", 1),
    (1000, 512, "f16", 1),
    (16_384, 512, "f16", 8),
    (32_768, 512, "q8_0", 3),
)


@pytest.fixture(scope="module")
def dry_run() -> Iterator[DryRun]:
    with DryRun() as run:
        yield run


@pytest.mark.parametrize("name", [*SIZES, "demo", "moe"])
def test_formulas_are_what_llama_cpp_allocates(dry_run, name):
    shape = shape_of(name)
    law = closed_form(dry_run.measure, machine())
    for context, batch, kv_type, sequences in POINTS:
        placement = Placement(
            context_tokens=context, batch_tokens=batch, kv_type=kv_type, sequences=sequences
        )
        asked = dry_run.measure(shape, placement)
        assert asked.exact
        assert abs(asked.cache - kv_bytes(shape, context, batch, kv_type, sequences)) < 0.02 * MIB
        predicted = law(shape, placement)
        assert not predicted.exact
        assert abs(asked.compute[RAM] - predicted.compute[RAM]) < 0.2 * MIB
        assert abs(asked.output.get(RAM, 0) - predicted.output[RAM]) < 0.02 * MIB


@pytest.mark.parametrize(
    ("name", "layers", "mib"), [("e2b", 14, 323.5), ("e2b", 20, 395.5), ("e4b", 7, 252.0)]
)
def test_layers_that_read_keys_of_main_memory_hold_copies_of_them(dry_run, name, layers, mib):
    """``--gpu-layers N`` on an E model, against llama.cpp's dry run with its RPC device."""
    law = closed_form(dry_run.measure, machine(card("RPC0", 64, "rpc")))
    placement = Placement(
        context_tokens=32_768, batch_tokens=512, devices=("RPC0",), gpu_layers=layers
    )
    assert abs(law(shape_of(name), placement).compute["RPC0"] - mib * MIB) < 16 * MIB


# MiB on the device and in main memory, all layers on one RPC device, batches of 512, as llama.cpp
# allocated them (0c1e57098); and the same split in the middle over two, which it pipelines.
ON_A_DEVICE = [
    ("e2b", 4096, "f16", 118.52, 28.52),
    ("e4b", 4096, "f16", 106.02, 36.02),
    ("e4b", 4096, "q8_0", 118.80, 37.30),
    ("12b", 65_536, "f16", 186.52, 80.52),
    ("26b-a4b", 4096, "q8_0", 102.80, 17.80),
    ("31b", 4096, "f16", 184.52, 26.52),
]
ON_TWO = [("12b", 173.07, 203.07, 59.58), ("26b-a4b", 134.57, 156.57, 49.58),
          ("31b", 227.07, 269.07, 74.58), ("e4b", 225.07, 176.07, 66.09)]  # fmt: skip


@pytest.mark.parametrize(("name", "context", "kv_type", "device", "ram"), ON_A_DEVICE)
def test_the_law_of_a_device(dry_run, name, context, kv_type, device, ram):  # noqa: PLR0917
    hardware = machine(card("RPC0", backend="rpc"))
    placement = Placement(
        context_tokens=context, batch_tokens=512, kv_type=kv_type, devices=("RPC0",), gpu_layers=-1
    )
    found = closed_form(dry_run.measure, hardware)(shape_of(name), placement).compute
    assert found == {"RPC0": pytest.approx(device * MIB, abs=MIB / 5),
                     RAM: pytest.approx(ram * MIB, abs=MIB / 5)}  # fmt: skip


@pytest.mark.parametrize(("name", "first", "last", "ram"), ON_TWO)
def test_the_law_of_a_pipeline_is_not_below_it(dry_run, name, first, last, ram):
    hardware = machine(card("RPC0", backend="rpc"), card("RPC1", backend="rpc"))
    half = len(shape_of(name).layers) // 2
    placement = Placement(
        context_tokens=4096, batch_tokens=512, devices=("RPC0", "RPC1"), gpu_layers=-1,
        split=(half, len(shape_of(name).layers) + 1 - half),
    )  # fmt: skip
    found = closed_form(dry_run.measure, hardware)(shape_of(name), placement).compute
    for place, real in (("RPC0", first), ("RPC1", last), (RAM, ram)):
        assert real * MIB <= found[place] + MIB / 5
        assert found[place] < 1.6 * real * MIB


# The same, of 26B-A4B with experts of so many layers on the CPU, and of parts of dense models, over
# two devices (0 = all layers on the first); context, batch.
APART = [
    ("26b-a4b", -1, 4, 0, 32_768, 1024, 282.0, 0, 244.0),
    ("26b-a4b", -1, 30, 0, 32_768, 1024, 194.0, 0, 244.0),
    ("26b-a4b", -1, 30, 0, 4096, 512, 64.5, 0, 93.5),
    ("26b-a4b", -1, 4, 27, 32_768, 1024, 282.0, 255.0, 244.5),
    ("26b-a4b", -1, 4, 4, 32_768, 1024, 130.0, 255.0, 244.5),
    ("26b-a4b", -1, 15, 15, 32_768, 1024, 194.0, 255.0, 244.5),
    ("26b-a4b", -1, 30, 27, 4096, 512, 64.5, 59.3, 93.8),
    ("26b-a4b", -1, 22, 30, 65_536, 512, 172.5, 13.6, 153.5),
    ("12b", 24, 0, 12, 32_768, 1024, 310.0, 278.0, 325.0),
    ("12b", 5, 0, 2, 4096, 512, 114.5, 110.5, 134.0),
    ("31b", 30, 0, 15, 4096, 512, 184.5, 152.5, 179.0),
    ("31b", 60, 0, 30, 32_768, 1024, 426.0, 362.0, 415.0),
]


@pytest.mark.parametrize(
    ("name", "layers", "experts", "split", "context", "batch", "first", "last", "ram"), APART
)
def test_experts_and_parts_over_two_devices_are_not_below_it(  # noqa: PLR0913, PLR0917
    dry_run, name, layers, experts, split, context, batch, first, last, ram
):
    hardware = machine(card("RPC0", backend="rpc"), card("RPC1", backend="rpc"))
    count = len(shape_of(name).layers) + 1 if layers < 0 else layers
    placement = Placement(
        context_tokens=context, batch_tokens=batch, gpu_layers=layers, cpu_expert_layers=experts,
        devices=("RPC0", "RPC1") if split else ("RPC0",),
        split=(split, count - split) if split else (),
    )  # fmt: skip
    found = closed_form(dry_run.measure, hardware)(shape_of(name), placement).compute
    for place, real in (("RPC0", first), ("RPC1", last), (RAM, ram)):
        if real:
            assert real * MIB <= found[place] + MIB / 5, place
            assert found[place] < 1.75 * real * MIB, place


def test_answers_are_kept_and_a_child_is_started_once(dry_run):
    shape, placement = shape_of("e2b"), Placement(context_tokens=4096, batch_tokens=512)
    assert dry_run.measure(shape, placement) is dry_run.measure(shape, placement)


def test_a_header_that_aborts_llama_cpp_is_an_error_with_its_words(dry_run):
    demo = shape_of("demo").header
    strange = Header(demo.path, 0, {**demo.metadata, "gemma4.block_count": 0}, demo.tensors)
    placement = Placement(context_tokens=4096, batch_tokens=512)
    with pytest.raises(EngineError, match=r"GGML_ASSERT\(.*n_layer_all > 0"):
        dry_run.measure(parse_shape(strange), placement)
    missing = Header(demo.path, 0, demo.metadata, demo.tensors[1:4])
    with pytest.raises(EngineError, match="per_layer_model_proj.weight. not found"):
        dry_run.measure(parse_shape(missing), placement)
    assert dry_run.measure(shape_of("demo"), placement).compute  # it goes on


def test_a_device_that_is_not_there(dry_run):
    placement = Placement(context_tokens=512, batch_tokens=64, devices=("CUDA7",), gpu_layers=-1)
    with pytest.raises(EngineError, match="no device CUDA7"):
        dry_run.measure(shape_of("demo"), placement)


def load(**wanted: object) -> tuple[Allocated, ...]:
    """A real load in another process, by the program of the benchmark."""
    program = ROOT / "scripts/bench/fit_load.py"
    command = [sys.executable, str(program), json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    assert answer["status"] == 0
    return parse_report(answer["runs"][0])


def planned(dry_run: DryRun, name: str, placement: Placement) -> Ledger:
    hardware = machine(instructions=("AVX2", "AVX512"))
    return account(shape_of(name), None, placement, hardware, dry_run.measure)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize(("name", "path"), [("demo", DEMO), ("moe", MOE)])
def test_real_loads_are_as_planned(dry_run, name, path, kv_type):
    placement = Placement(context_tokens=8192, batch_tokens=512, kv_type=kv_type)
    real = load(model=str(path), cases=[[8192, 512, kv_type]])
    ledger = planned(dry_run, name, placement)
    assert differences(ledger, real) == ()
    for part in ledger.account(RAM).parts:
        if part.name.startswith("KV") or part.name == "compute":
            found = sum(row.size_bytes for row in real if row.part == part.name)
            assert abs(found - part.size_bytes) < 0.03 * MIB
    mapped = sum(row.size_bytes for row in real if row.reclaimable)
    assert abs(mapped - weights_bytes(shape_of(name))) < 0.03 * MIB
