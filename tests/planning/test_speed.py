"""The predictor against reports, names of cards, and what is kept of a run."""

from dataclasses import replace

import pytest

from gemma_edge.hardware.machine import Cpu
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import ALL_LAYERS, Placement
from gemma_edge.planning.speed import (
    cpu_bytes_per_second,
    describe_run,
    estimate,
    gpu_bandwidth,
    normalize_title,
    predict,
    ram_bandwidth,
    read_bytes,
    seems_spilled,
)
from tests.planning.memory_machines import weights_bytes
from tests.planning.table import gpu, machine, only


def shape_of(name):
    return parse_shape(only(name)[0].header, exact=False)


def on_gpu(**changes):
    base = {"context_tokens": 32768, "batch_tokens": 512, "devices": ("CUDA0",)}
    return Placement(**base | {"gpu_layers": ALL_LAYERS} | changes)


@pytest.mark.parametrize(
    ("card", "backend", "model", "experts", "reported"),
    [
        # docs/memory.md, "Speed"; on the GPU alone
        ("RTX 3090", "cuda", "e4b", 0, 148), ("RTX 3090", "cuda", "26b-a4b", 0, 128),
        ("RTX 3090", "cuda", "31b", 0, 40), ("RTX 5090", "cuda", "31b", 0, 61),
        ("RX 7900 XT", "rocm", "e4b", 0, 111.7), ("RX 7900 XT", "rocm", "12b", 0, 63),
        ("RX 7900 XT", "rocm", "26b-a4b", 0, 111.8), ("RX 7900 XT", "rocm", "31b", 0, 29.5),
        ("GB10", "cuda", "e4b", 0, 64), ("GB10", "cuda", "12b", 0, 29),
        ("GB10", "cuda", "26b-a4b", 0, 71), ("GB10", "cuda", "31b", 0, 11.6),
        # and with experts or layers on the CPU
        ("RTX 4060 Laptop", "cuda", "26b-a4b", 30, 20), ("GTX 1080", "cuda", "26b-a4b", 20, 20),
        ("RTX 2070", "cuda", "26b-a4b", 22, 25),
    ],
)  # fmt: skip
def test_reports_are_met_within_a_third(card, backend, model, experts, reported):
    """Enough to rank; nothing of it is promised."""
    hardware = machine(32, gpu(card, 32, 31, backend=backend))
    speed, reason = predict(shape_of(model), on_gpu(cpu_expert_layers=experts), hardware, 6)
    assert speed == pytest.approx(reported, rel=0.33)
    assert "GB a token at" in reason


def test_a_part_on_the_cpu_is_a_cliff():
    """docs/memory.md, "Speed": a tenth of the layers on the CPU halves the speed."""
    hardware = machine(32, gpu("RTX 5060 Ti", 16, 15))
    shape = shape_of("12b")
    whole = predict(shape, on_gpu(), hardware, 6)[0]
    part = predict(shape, on_gpu(gpu_layers=44), hardware, 6)[0]
    assert part < 0.62 * whole
    assert predict(shape, on_gpu(devices=(), gpu_layers=0), hardware, 6)[0] < part / 2


def test_bytes_of_a_token():
    """All dense weights, 8 of 128 experts, no layer embeddings, the tied output once."""
    moe, small = shape_of("26b-a4b"), shape_of("e4b")
    counts = read_bytes(moe, on_gpu(cpu_expert_layers=30))
    experts = sum(layer.experts.size_bytes for layer in moe.layers)
    assert counts["RAM"] == pytest.approx(experts / 16, rel=1e-6)
    whole = read_bytes(moe, on_gpu())
    assert whole["RAM"] == 0
    assert whole["CUDA0"] == counts["CUDA0"] + counts["RAM"]
    read = read_bytes(small, on_gpu())["CUDA0"]
    assert read < weights_bytes(small) - small.layer_table.size_bytes + (64 << 20)
    halves = read_bytes(moe, on_gpu(devices=("CUDA0", "CUDA1"), split=(15, 16)))
    assert halves["CUDA0"] + halves["CUDA1"] == whole["CUDA0"]


@pytest.mark.parametrize(
    ("title", "gib", "bandwidth"),
    [
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 8, 256), ("NVIDIA GeForce RTX 4060", 8, 272),
        ("NVIDIA GeForce RTX 4060 Ti", 16, 288), ("RTX 3060", 12, 360), ("RTX 3060", 8, 240),
        ("RTX 3080", 12, 912), ("RTX 3080", 10, 760), ("NVIDIA A100-SXM4-80GB", 79, 2039),
        ("NVIDIA A100-PCIE-40GB", 39, 1555), ("AMD Radeon RX 7900 XTX (RADV NAVI31)", 24, 960),
        ("AMD Radeon RX 7900 XT", 20, 800), ("NVIDIA H100 PCIe", 80, 2000),
        ("GTX 1060 6GB", 6, 192), ("NVIDIA RTX 6000 Ada Generation", 48, 960),
        ("Intel(R) Arc(TM) A770 Graphics", 16, 560), ("RTX 9999", 16, 250),
        ("RTX 4070 Ti SUPER", 16, 672), ("RTX 4060 SUPER", 8, 250),
    ],
)  # fmt: skip
def test_names_of_cards(title, gib, bandwidth):
    found, source = gpu_bandwidth(gpu(title, gib, gib), machine(16))
    assert found == bandwidth
    assert ("assumed" in source) == (bandwidth == 250)


def test_a_slice_has_a_share_of_the_bandwidth():
    slice_ = gpu("H100 80GB HBM3 MIG 1g.20gb", 19.6, 19, mig=True)
    assert gpu_bandwidth(slice_, machine(16))[0] == pytest.approx(3350 / 4, rel=0.06)


def test_graphics_that_share_main_memory_have_its_bandwidth():
    inside = gpu("Radeon 780M Graphics", 16, 15, backend="vulkan", integrated=True)
    hardware = machine(32, inside, cpu=Cpu(8, "", name="AMD Ryzen 7 7840U w/ Radeon 780M"))
    assert gpu_bandwidth(inside, hardware) == (83, "main memory")
    apple = gpu("Apple M2 Pro", 11, 11, backend="metal", integrated=True)
    assert gpu_bandwidth(apple, machine(16, apple))[0] == 200
    assert ram_bandwidth(machine(16, apple)) == 200


@pytest.mark.parametrize(
    ("name", "bandwidth"),
    [
        ("AMD EPYC 7543", 204), ("Intel(R) Xeon(R) Gold 6148", 140), ("Apple M3 Max", 300),
        ("AMD Ryzen 9 7950X", 83), ("AMD Ryzen 5 7530U", 51), ("AMD Ryzen 5 5600", 51),
        ("Intel(R) Core(TM) Ultra 7 155H", 83), ("13th Gen Intel(R) Core(TM) i7-13700H", 51),
        ("", 51),
    ],
)  # fmt: skip
def test_bandwidth_of_main_memory(name, bandwidth):
    assert ram_bandwidth(machine(16, cpu=Cpu(8, "", name=name))) == bandwidth


def test_what_cores_can_do():
    slow = replace(machine(16).build, instructions=("SSE3",))
    assert cpu_bytes_per_second(machine(16), 2) == 10e9
    many = machine(16, cpu=Cpu(64, ""))
    assert cpu_bytes_per_second(many, 64) == pytest.approx(0.6 * 51e9)
    assert cpu_bytes_per_second(replace(machine(16), build=slow), 2) == 2.5e9
    old = machine(16, cpu=Cpu(2, "", instructions=("sse4_2", "avx")))
    assert cpu_bytes_per_second(old, 2) == 2.5e9
    mixed = machine(16, cpu=Cpu(10, "", fast_cores=2))
    assert cpu_bytes_per_second(mixed, 4) == 15e9  # a slow core is half a fast one


def test_normal_titles():
    assert normalize_title("NVIDIA GeForce RTX 2070 with Max-Q Design") == "rtx 2070 laptop"
    assert normalize_title("AMD Radeon(TM) 8060S Graphics") == "8060s"


@pytest.mark.parametrize(
    ("measured", "asked", "scaled"),
    [("e4b", "12b", True), ("12b", "31b", True), ("e2b", "31b", False), ("demo", "e4b", False)],
)
def test_only_models_of_a_like_size_say_anything_about_each_other(measured, asked, scaled):
    hardware = machine(64, gpu("RTX 5090", 32, 31))
    of = "e2b" if measured == "demo" else measured
    run, _ = describe_run(shape_of(of), on_gpu(), hardware, 6, "weights")
    predicted = run.predicted_tokens_per_second * (100 if measured == "demo" else 1)
    fast = replace(
        run, predicted_tokens_per_second=predicted, tokens_per_second=predicted * 4.8
    )  # fmt: skip
    blank, _ = describe_run(shape_of(asked), on_gpu(), hardware, 6, "other")
    speed = estimate(shape_of(asked), on_gpu(), hardware, 6, "other", [fast])
    factor = speed.tokens_per_second / blank.predicted_tokens_per_second
    assert factor == pytest.approx(4.8 if scaled else 1)


@pytest.mark.parametrize(
    ("driver", "instructions", "measured", "factor"),
    [("580", ("AVX2",), True, 2), ("590", ("AVX2",), False, 2), ("580", ("AVX512",), False, 1)],
)
def test_a_speed_belongs_to_its_driver_and_its_build(driver, instructions, measured, factor):
    """Another driver has to be measured again; a build for other instructions says nothing."""
    card = gpu("RTX 4060", 8, 7)
    before = machine(32, replace(card, driver="580"))
    before = replace(before, build=replace(before.build, instructions=("AVX2",)))
    run, _ = describe_run(shape_of("e4b"), on_gpu(), before, 6, "weights")
    fast = replace(run, tokens_per_second=2 * run.predicted_tokens_per_second)
    after = replace(before, devices=(replace(card, driver=driver),))
    after = replace(after, build=replace(after.build, instructions=instructions))
    speed = estimate(shape_of("e4b"), on_gpu(), after, 6, "weights", [fast])
    assert speed.measured == measured
    assert speed.tokens_per_second == pytest.approx(factor * run.predicted_tokens_per_second)


def test_more_threads_than_cores_make_nothing_faster():
    few = machine(16, cpu=Cpu(2, ""))
    assert cpu_bytes_per_second(few, 9999) == cpu_bytes_per_second(few, 2) == 10e9


@pytest.mark.parametrize(
    ("system", "wsl", "integrated", "share", "spilled"),
    [
        ("win32", False, False, 0.29, True), ("linux", True, False, 0.1, True),
        ("win32", False, False, 0.31, False), ("linux", False, False, 0.1, False),
        ("win32", False, True, 0.1, False), ("darwin", False, False, 0.1, False),
    ],
)  # fmt: skip
def test_a_run_that_spilled_into_main_memory_scales_nothing(
    system, wsl, integrated, share, spilled
):
    """On Windows; also one that an earlier version kept."""
    card = gpu("RTX 4060", 8, 7, integrated=integrated)
    hardware = replace(machine(32, card), system=system, wsl=wsl)
    shape = shape_of("e4b")
    run, _ = describe_run(shape, on_gpu(), hardware, 6, "weights")
    slow = replace(run, tokens_per_second=share * run.predicted_tokens_per_second)
    assert seems_spilled(slow, hardware) == spilled
    assert not seems_spilled(replace(slow, device="another processor"), hardware)
    again = estimate(shape, on_gpu(), hardware, 6, "weights", [slow])
    other = estimate(shape, on_gpu(), hardware, 6, "other weights", [slow])
    assert again.measured != spilled
    assert other.tokens_per_second == pytest.approx(
        (1 if spilled else share) * run.predicted_tokens_per_second
    )
