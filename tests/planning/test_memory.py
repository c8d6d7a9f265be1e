"""The arithmetic of memory: shapes, KV cache, places, parts. Nothing is loaded."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_edge import catalog
from gemma_edge.planning.dry_run import (
    compare_sums,
    differences,
    fallback_note,
    parse_report,
    parse_splits,
    place_of,
)
from gemma_edge.planning.memory import (
    PICTURES_BYTES,
    Compute,
    account,
    checkpoint_bytes,
    closed_form,
    layer_places,
    margin_bytes,
    pad_cells,
    picture_bytes,
    repacks,
    window_cells,
)
from gemma_edge.planning.model import Shape, parse_shape, synthesize, synthesize_projector
from gemma_edge.planning.plan import ALL_LAYERS, RAM, Allocated, Ledger, Placement
from tests.planning.memory_machines import (
    GIB,
    SIZES,
    card,
    kv_bytes,
    machine,
    shape_of,
    weights_bytes,
)

MIB = 1 << 20
# docs/memory.md, "KV cache": KV in MiB, f16, batches of 512, by context.
KV_MIB = {
    "e2b": {4096: 36, 32768: 204, 131072: 780},
    "e4b": {4096: 104, 32768: 552, 131072: 2088},
    "12b": {4096: 544, 32768: 992, 262144: 4576},
    "26b-a4b": {4096: 380, 32768: 940, 262144: 5420},
    "31b": {4096: 1520, 32768: 3760, 262144: 21680},
}
# docs/memory.md, "Compute buffers".
KIB_A_TOKEN = {"e2b": 219, "e4b": 224, "12b": 257, "26b-a4b": 192, "31b": 347}


def measure(shape: Shape, placement: Placement) -> Compute:
    """llama.cpp's law on the CPU, with the documented constants."""
    masks = pad_cells(placement.context_tokens) + window_cells(shape, placement)
    name = next((n for n in SIZES if catalog.size(n).layers == len(shape.layers)), "e2b")
    size = placement.batch_tokens * (1024 * KIB_A_TOKEN[name] + 2 * masks)
    return Compute(compute={RAM: size}, output={RAM: MIB})


def ledger(name: str, **changes: object) -> Ledger:
    """An account of one size on a machine with two cards."""
    placement = replace(Placement(context_tokens=8192, batch_tokens=512), **changes)  # type: ignore[arg-type]
    hardware = machine(card("CUDA0", 24), card("CUDA1", 24))
    size = catalog.size(name)
    projector = synthesize_projector(size, size.default)
    law = closed_form(measure, hardware)
    return account(shape_of(name), projector, placement, hardware, law)


@pytest.mark.parametrize("name", SIZES)
def test_kv_cache_is_that_of_the_table(name):
    for context, mib in KV_MIB[name].items():
        assert kv_bytes(shape_of(name), context, 512) == mib * MIB


@pytest.mark.parametrize("name", SIZES)
def test_shape_of_a_size(name):
    size, shape = catalog.size(name), shape_of(name)
    assert (len(shape.layers), shape.width) == (size.layers, size.width)
    assert shape.vocabulary_tokens == 262_144
    assert shape.trained_context_tokens == size.context_tokens
    assert shape.layers[-1].kind in ("global", "none")
    assert shape.has_experts == (size.kind == "moe")
    assert shape.causal_images == (size.kind == "ple")
    assert (shape.layer_table.size_bytes > 0) == (size.kind == "ple")
    assert shape.tied
    assert not shape.cache_problem
    owning = [layer for layer in shape.layers if layer.kind != "none"]
    assert len(shape.layers) - len(owning) == size.dimensions.shared_kv_layers


@pytest.mark.parametrize("name", SIZES)
def test_the_recipe_of_googles_files_is_theirs_to_the_header(name):
    """Nothing is scaled here: the tensors are 15.82 MB less than the published file, each time."""
    size = catalog.size(name)
    quant = next(each for each in size.quants if each.name == "qat-q4_0")
    unknown = replace(quant, model=replace(quant.model, size_bytes=None))
    header = synthesize(size, unknown)
    assert abs(header.file_bytes - quant.model.size_bytes) < 20_000


def test_a_known_file_size_is_met():
    for size in catalog.sizes():
        for quant in size.quants:
            header = synthesize(size, quant)
            tensors = sum(tensor.size_bytes for tensor in header.tensors)
            assert header.file_bytes == (quant.model.size_bytes or header.file_bytes)
            assert abs(header.file_bytes - tensors - 15_825_000) < len(header.tensors)


def test_other_architectures():
    demo = shape_of("demo")
    header = replace(
        demo.header,
        metadata={"general.architecture": "mystery", "mystery.block_count": 2,
                  "mystery.attention.sliding_window": 128},
    )  # fmt: skip
    assert "window" in parse_shape(header).cache_problem
    plain = {"general.architecture": "llama", "llama.block_count": 30,
             "llama.embedding_length": 576, "llama.attention.head_count": 9,
             "llama.attention.head_count_kv": 3}  # fmt: skip
    shape = parse_shape(replace(demo.header, metadata=plain))
    assert not shape.cache_problem
    # SmolLM2 135M: 30 layers, 3 heads of 64 for keys and as many for values
    assert kv_bytes(shape, 2048, 512) == 30 * 2 * 3 * 64 * 2 * 2048


@pytest.mark.parametrize(
    ("layers", "split", "expected"),
    [
        (ALL_LAYERS, (), "AAAAA"),
        (99, (), "AAAAA"),
        (1, (), "----A"),
        (3, (), "--AAA"),
        (0, (), "-----"),
        (ALL_LAYERS, (2, 3), "AABBB"),
        (4, (3, 1), "-AAAB"),
        (ALL_LAYERS, (0, 5), "BBBBB"),
    ],
)
def test_places_of_the_layers(layers, split, expected):
    devices = ("A", "B") if split else ("A",)
    placement = Placement(
        context_tokens=256, batch_tokens=64, devices=devices, gpu_layers=layers, split=split
    )
    places = layer_places(4, placement)
    assert "".join(place.replace(RAM, "-") for place in places) == expected


def test_the_cpu_repacks_what_no_gpu_takes():
    cpu = Placement(context_tokens=256, batch_tokens=64)
    gpu = replace(cpu, devices=("CUDA0",), gpu_layers=3)
    hardware = machine(card(), card("RPC0", backend="rpc"))
    assert "Q4_0" in repacks(cpu, hardware)
    assert "Q6_K" not in repacks(cpu, hardware)
    assert not repacks(replace(cpu, repack=False), hardware)
    assert not repacks(gpu, hardware)
    assert "Q4_K" in repacks(replace(gpu, devices=("RPC0",)), hardware)
    assert not repacks(cpu, machine(instructions=()))


@pytest.mark.parametrize("name", SIZES)
def test_all_weights_have_one_place(name):
    """Whatever the placement, every tensor is somewhere, and the tied table is there twice only
    where the output is on a GPU."""
    shape = shape_of(name)
    for layers in (0, 1, 7, ALL_LAYERS):
        found = ledger(name, devices=("CUDA0",), gpu_layers=layers)
        weights = sum(p.size_bytes for a in found.accounts for p in a.parts if p.name == "weights")
        twice = shape.token_table.size_bytes if layers else 0
        assert weights == weights_bytes(shape) + twice


def test_full_offload_leaves_the_tables_in_main_memory():
    shape = shape_of("e4b")
    found = ledger("e4b", devices=("CUDA0",), gpu_layers=ALL_LAYERS)
    parts = {part.name: part for part in found.account("RAM").parts}
    assert parts["weights"].reclaimable
    expected = shape.token_table.size_bytes + shape.layer_table.size_bytes
    assert parts["weights"].size_bytes == expected
    lazy = ledger("e4b", devices=("CUDA0",), gpu_layers=ALL_LAYERS, lazy=True)
    spared = found.account("RAM").total_bytes - lazy.account("RAM").total_bytes
    assert spared == shape.layer_table.size_bytes


def test_expert_layers_move_to_main_memory_one_by_one():
    shape = shape_of("26b-a4b")
    all_there = ledger("26b-a4b", devices=("CUDA0",), gpu_layers=ALL_LAYERS)
    for count in (1, 12, 30):
        some = ledger("26b-a4b", devices=("CUDA0",), gpu_layers=ALL_LAYERS, cpu_expert_layers=count)
        experts = sum(layer.experts.size_bytes for layer in shape.layers[:count])
        sizes = [
            {p.name: p.size_bytes for p in each.account("CUDA0").parts}
            for each in (all_there, some)
        ]
        assert sizes[0]["weights"] - sizes[1]["weights"] == experts
        assert sizes[1]["expert copy"] == shape.largest_expert_bytes
        assert sizes[0]["KV global"] == sizes[1]["KV global"]


def test_quantized_keys_need_a_scratch_on_cuda():
    """8 KiB a token for 31B (docs/memory.md, "Quantized KV cache"); q8_0 saves less than it
    seems to."""
    found = ledger("31b", devices=("CUDA0",), gpu_layers=ALL_LAYERS, kv_type="q8_0")
    parts = {part.name: part.size_bytes for part in found.account("CUDA0").parts}
    assert parts["KV scratch"] == 8192 * 8192


@given(
    name=st.sampled_from(SIZES),
    context=st.integers(256, 262_144),
    more=st.integers(0, 100_000),
    batch=st.integers(32, 2048),
    layers=st.integers(-1, 61),
)
def test_more_context_never_needs_less_and_parts_sum(name, context, more, batch, layers):
    kv_type = "q8_0" if batch % 2 else "f16"
    changes = {"batch_tokens": batch, "gpu_layers": layers, "kv_type": kv_type}
    less = ledger(name, context_tokens=context, devices=("CUDA0",), **changes)
    greater = ledger(name, context_tokens=context + more, devices=("CUDA0",), **changes)
    for account_less in less.accounts:
        account_greater = greater.account(account_less.place)
        assert account_less.total_bytes <= account_greater.total_bytes
        assert account_less.total_bytes == sum(part.size_bytes for part in account_less.parts)
        assert all(part.size_bytes > 0 for part in account_less.parts)


def test_margins():
    """docs/memory.md, "Margins"."""
    headless = machine(card(gib=24))
    assert margin_bytes(card(gib=24), headless)[0] == 24 * GIB // 50
    assert margin_bytes(card(gib=8), headless)[0] == 256 * MIB
    assert margin_bytes(replace(card(gib=8), display=True), headless)[0] == 512 * MIB
    windows = replace(headless, system="win32")
    assert margin_bytes(card(gib=8), windows)[0] == GIB
    assert margin_bytes(card(gib=4), windows)[0] == 512 * MIB
    assert margin_bytes(replace(card(), integrated=True), headless)[0] == GIB
    assert margin_bytes(None, headless)[0] == 32 * GIB // 10


@pytest.mark.parametrize(
    ("name", "mib"), [("e2b", 4 * 6), ("e4b", 4 * 20), ("12b", 320), ("26b-a4b", 400), ("31b", 0)]
)
def test_checkpoints_of_the_window_are_in_the_ledger(name, mib):
    """As many as the engine takes; of 31B one would not fit (``engine/kv_cache.py``)."""
    placement = Placement(context_tokens=8192, batch_tokens=512)
    assert checkpoint_bytes(shape_of(name), placement) == mib * MIB
    parts = {part.name: part.size_bytes for part in ledger(name).account(RAM).parts}
    assert parts.get("checkpoints", 0) == mib * MIB


def test_pictures_that_are_kept_are_in_the_ledger():
    """Encoded (width 2,560) and as pixels of 48 x 48 a token, twice; no more than the context
    holds, and none where none can be seen."""
    placement = Placement(context_tokens=32_768, batch_tokens=512, image_tokens=280)
    encoded, pixels = 280 * 2560 * 4, 280 * 48 * 48 * 3
    size_bytes, said = picture_bytes(shape_of("e4b"), placement)
    assert size_bytes == 23 * (encoded + 2 * pixels)
    assert said.startswith("23 pictures")
    assert 23 * encoded <= PICTURES_BYTES < 24 * encoded
    small = replace(placement, context_tokens=1024)
    assert picture_bytes(shape_of("e4b"), small)[0] == 3 * (encoded + 2 * pixels)
    seen = {part.name for part in ledger("e4b", image_tokens=280).account(RAM).parts}
    blind = {part.name for part in ledger("e4b").account(RAM).parts}
    assert seen - blind == {"pictures", "projector", "projector compute"}


def test_a_device_in_main_memory_takes_from_it():
    shared = replace(card("MTL0", backend="metal"), integrated=True)
    hardware = machine(shared)
    placement = Placement(
        context_tokens=4096, batch_tokens=512, devices=("MTL0",), gpu_layers=ALL_LAYERS
    )
    found = account(shape_of("e2b"), None, placement, hardware, closed_form(measure, hardware))
    taken = found.account("MTL0").total_bytes
    assert found.account("RAM").budget_bytes == hardware.memory.available_bytes - taken


@pytest.mark.parametrize("name", ["e2b", "e4b", "12b"])
def test_metal_maps_all_that_lies_between_its_tensors(name):
    """llama.cpp maps one range of the file; the table that only the CPU reads lies in it."""
    shape = shape_of(name)
    shared = replace(card("MTL0", gib=64, backend="metal"), integrated=True)
    placement = Placement(
        context_tokens=4096, batch_tokens=512, devices=("MTL0",), gpu_layers=ALL_LAYERS
    )
    hardware = machine(shared)
    found = account(shape, None, placement, hardware, closed_form(measure, hardware))
    parts = {part.name: part.size_bytes for part in found.account("MTL0").parts}
    assert parts["weights"] == sum(tensor.size_bytes for tensor in shape.header.tensors)
    # The same pages are not counted in main memory too.
    assert [part for part in found.account(RAM).parts if part.name == "weights"] == []
    lines = [
        "load_tensors:   CPU_Mapped model buffer size =  1854.60 MiB",
        f"load_tensors:  MTL0_Mapped model buffer size = {parts['weights'] / MIB:.2f} MiB",
    ]
    cpu, metal = parse_report(lines)
    assert (cpu.place, cpu.reclaimable) == ("RAM", True)
    assert (metal.place, metal.reclaimable) == ("MTL0", False)
    assert [said for said in differences(found, (cpu, metal)) if said.startswith("weights")] == []
    copied = account(
        shape, None, replace(placement, load_mode="none"), hardware, closed_form(measure, hardware)
    )
    own = {part.name: part.size_bytes for part in copied.account("MTL0").parts}["weights"]
    assert parts["weights"] - own == shape.layer_table.size_bytes


REPORT = """load_tensors:   CPU_Mapped model buffer size =  1854.60 MiB
load_tensors:        CUDA0 model buffer size =  2749.01 MiB
llama_kv_cache_iswa: creating non-SWA KV cache, size = 4096 cells
llama_kv_cache:      CUDA0 KV buffer size =    64.00 MiB
llama_kv_cache_iswa: creating     SWA KV cache, size = 1024 cells
llama_kv_cache:      CUDA0 KV buffer size =    40.00 MiB
llama_kv_cache: size =   40.00 MiB (  1024 cells,  20 layers,  1/1 seqs), K (f16):   20.00 MiB
sched_reserve:      CUDA0 compute buffer size =   112.00 MiB
sched_reserve:  CUDA_Host compute buffer size =    36.02 MiB
llama_context:  CUDA_Host  output buffer size =     1.00 MiB
""".splitlines()


def test_llama_cpps_report_is_read():
    assert parse_report(REPORT) == (
        Allocated("RAM", "weights", round(1854.60 * MIB), reclaimable=True),
        Allocated("CUDA0", "weights", round(2749.01 * MIB)),
        Allocated("CUDA0", "KV global", 64 * MIB),
        Allocated("CUDA0", "KV window", 40 * MIB),
        Allocated("CUDA0", "compute", 112 * MIB),
        Allocated("RAM", "compute", round(36.02 * MIB)),
        Allocated("RAM", "output", MIB),
    )


ONE = Placement(context_tokens=256, batch_tokens=64, devices=("CUDA0",), gpu_layers=ALL_LAYERS)
TWO = replace(ONE, devices=("CUDA0", "CUDA1"), split=(4, 5))


@pytest.mark.parametrize(
    ("line", "splits"),
    [
        ("sched_reserve: graph: nodes = 1863, splits = 2, input objects = 5", 2),
        ("sched_reserve: graph (pp bs=512, tg bs=1): nodes = 9 / 9, splits = 66 / 2, inp", 66),
        ("sched_reserve: graph (pp bs=512, tg bs=1): nodes = 9 / 9, splits = 2 / 70, inp", 70),
        ("llama_context: graph splits = 65 (with bs=512), 4 (with bs=1)", 65),
        ("llama_context: graph splits = 3", 3),
        ("sched_reserve:      CUDA0 compute buffer size =   112.00 MiB", 0),
    ],
)
def test_pieces_of_the_graph_are_read(line: str, splits: int) -> None:
    assert parse_splits([*REPORT, line]) == splits
    assert parse_splits(["graph: splits = 99", line, "output"]) == (splits or 99)


@pytest.mark.parametrize(
    ("placement", "splits", "said"),
    [
        (ONE, 2, False), (ONE, 3, False), (ONE, 4, True), (ONE, 66, True), (ONE, 0, False),
        (TWO, 3, False), (TWO, 4, False), (TWO, 5, True),
        (replace(ONE, cpu_expert_layers=2), 66, False),  # those are meant to be there
        (replace(ONE, gpu_layers=8), 66, False), (replace(ONE, gpu_layers=9), 66, True),
        (replace(ONE, devices=()), 66, False),
    ],
)  # fmt: skip
def test_operations_that_fall_back_to_the_cpu_are_told(placement, splits, said):
    note = fallback_note(placement, 8, splits)
    assert bool(note) == said
    if said:
        assert f"{splits} pieces" in note
        assert "on CUDA0" in note
        assert "\n" not in note


@pytest.mark.parametrize(
    ("buffer", "place"),
    [
        ("CPU_REPACK", "RAM"), ("CPU", "RAM"), ("AMX", "RAM"), ("ROCm_Host", "RAM"),
        ("RPC0[127.0.0.1:50052]", "RPC0"), ("MTL0_Mapped", "MTL0"), ("Vulkan0", "Vulkan0"),
    ],
)  # fmt: skip
def test_place_of_a_buffer(buffer, place):
    assert place_of(buffer) == place


def test_a_difference_is_said_with_both_numbers():
    found = ledger("e4b", devices=("CUDA0",), gpu_layers=ALL_LAYERS)
    exact = [
        Allocated(each.place, part.name, part.size_bytes)
        for each in found.accounts
        for part in each.parts
        if not part.reclaimable
        and part.name in ("weights", "compute", "output")
        or part.name.startswith("KV")
    ]
    assert differences(found, exact) == ()
    predicted, real = compare_sums(found, exact)["CUDA0"]
    assert predicted == real > 2_696 * MIB
    rounded = [replace(row, size_bytes=row.size_bytes + MIB // 2) for row in exact]
    assert differences(found, rounded) == ()
    off = [
        replace(row, size_bytes=row.size_bytes * 103 // 100) if row.part == "weights" else row
        for row in exact
    ]
    assert differences(found, off) == (
        "weights on CUDA0: predicted 2,696 MiB, llama.cpp allocated 2,777 MiB",
    )
    sums = compare_sums(found, off)["CUDA0"]
    assert (sums[0], round((sums[1] - sums[0]) / MIB)) == (predicted, 81)
    little = [
        replace(row, size_bytes=row.size_bytes * 103 // 100) if row.part == "compute" else row
        for row in exact
    ]
    assert [said.partition(":")[0] for said in differences(found, little)] == [
        "compute on CUDA0", "compute on main memory",
    ]  # fmt: skip
