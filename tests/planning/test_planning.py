"""What is chosen and why: tiers, what is given up, pins, refusals, hints, fallbacks."""

from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.catalog import ModelFiles
from gemma_edge.errors import DoesNotFit
from gemma_edge.gguf import Header, Tensor
from gemma_edge.hardware.machine import Cpu
from gemma_edge.planning.memory import account, closed_form
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import ALL_LAYERS, Candidate, Constraints, Plan
from gemma_edge.planning.planner import NothingFits, Planner
from gemma_edge.planning.speed import describe_measurement
from gemma_edge.units import GIB
from tests.planning.table import candidates, cpu_law, gpu, machine, measure, only, plan

CARD = machine(12, gpu("RTX 4060 Laptop", 8, 7.6), total_gib=15.5)
BIG_CARD = machine(56, gpu("RTX 4090", 24, 23.5), total_gib=62)
NO_CARD = machine(28, total_gib=31)


def decide(hardware, model="", speeds=(), *, busy_programs=None, **pins):
    offered = only(model) if model else candidates()
    return plan(
        hardware,
        offered,
        Constraints(**pins),
        measure(hardware),
        speeds,
        busy_programs=busy_programs,
    )


def refusal(hardware, model="", **pins):
    with pytest.raises(NothingFits) as caught:
        decide(hardware, model, **pins)
    return caught.value


def test_a_card_of_8_gb_gets_e4b_and_the_alternative_keeps_experts_on_the_cpu():
    decided = decide(CARD)
    assert (decided.name, decided.devices, decided.gpu_layers) == ("e4b", ("CUDA0",), ALL_LAYERS)
    assert decided.reasons[0] == ("the best model that stays on the GPU with 32k context or more")
    other = decided.alternatives[0]
    assert other.name == "26b-a4b"
    assert 0 < other.cpu_expert_layers < 30
    assert any("26B-A4B Q4 QAT fits too, but" in reason for reason in decided.reasons)
    by_name = {attempt.what: attempt for attempt in decided.attempts}
    assert "needs 17.6 GiB at 8k context with 256.0 MiB to spare, 7.6 GiB are free on RTX 4060" in (
        by_name["31B Q4 QAT"].reason
    )
    assert [attempt.what for attempt in decided.attempts if attempt.taken] == [
        "E4B Q4 QAT", "all on the GPU, 128k context",
    ]  # fmt: skip


def test_beside_main_memory_the_better_model_wins_unless_the_build_is_slow():
    assert decide(NO_CARD).name == "26b-a4b"
    many = replace(NO_CARD, cpu=Cpu(16, "16 physical cores", name="AMD Ryzen 9 7950X"))
    assert decide(many).name == "26b-a4b"  # and not the small one that is fluent even here
    inside = gpu("Radeon 780M", 17, 16.6, name="Vulkan0", backend="vulkan", integrated=True)
    chip = Cpu(8, "8 physical cores", name="AMD Ryzen 7 7840U")
    assert decide(machine(22, inside, total_gib=27, cpu=chip)).name == "26b-a4b"
    slow = replace(NO_CARD, build=replace(NO_CARD.build, instructions=("SSE3", "AVX")))
    decided = decide(slow)
    assert decided.name == "e2b"
    assert decided.reasons[0] == "the fastest of the models that fit"


def test_a_measured_speed_changes_the_choice_and_is_no_estimate():
    """On a tight slice a mixture of experts was slower than a dense model."""
    slice_ = machine(60, gpu("H100 80GB HBM3 MIG 1g.20gb", 19.6, 19.6, mig=True), total_gib=64)
    first = decide(slice_)
    assert first.name == "26b-a4b"
    assert not first.speed.measured
    assert "an estimate until the first load" in first.speed.reason
    run = describe_measurement(first, only("26b-a4b")[0], slice_, 14.0)
    second = decide(slice_, speeds=[run])
    assert second.name == "12b"
    assert not second.speed.measured
    assert second.reasons[1].startswith("26B-A4B Q4 QAT fits too, but all on the GPU")
    assert second.reasons[1].endswith("14 tok/s")
    assert "~14" not in second.reasons[1]
    measured = next(each for each in second.alternatives if each.name == "26b-a4b")
    assert (measured.speed.tokens_per_second, measured.speed.measured) == (14.0, True)


def test_a_speed_is_measured_for_its_number_of_threads_only():
    """One that another program slowed down says nothing about all cores, and the other way."""
    busy = decide(NO_CARD, "e4b", busy_programs=3)
    run = describe_measurement(busy, only("e4b")[0], NO_CARD, 4.0)
    again = decide(NO_CARD, "e4b", [run], busy_programs=3)
    assert (again.threads, again.speed.tokens_per_second, again.speed.measured) == (3, 4.0, True)
    free = decide(NO_CARD, "e4b", [run])
    assert (free.threads, free.speed.measured) == (6, False)
    assert free.speed.tokens_per_second > 4
    card = decide(CARD, "e4b")
    run = describe_measurement(card, only("e4b")[0], CARD, 50.0)
    assert decide(CARD, "e4b", [run], threads=2).speed.measured  # they only wait


def test_a_measurement_of_another_model_corrects_the_estimate_of_its_kind():
    first = decide(CARD, "e4b")
    run = describe_measurement(first, only("e4b")[0], CARD, first.speed.tokens_per_second / 2)
    corrected = decide(CARD, "e2b", [run]).speed
    assert corrected.tokens_per_second == pytest.approx(
        decide(CARD, "e2b").speed.tokens_per_second / 2
    )
    assert not corrected.measured
    assert "times 0.50 as another run was measured here" in corrected.reason
    moe = decide(BIG_CARD, "26b-a4b", [run]).speed
    assert moe == decide(BIG_CARD, "26b-a4b").speed  # other kernels, another device


def test_what_is_given_up_in_its_order():
    """Each step of less memory gives up the next thing: context to spare, the projector's place,
    batches and images with them, the wanted context, the width of the cache."""
    seen = []
    for free in (23, 21.5, 20.5, 20, 19.3, 18.9, 18.6, 18.3, 17.9):
        hardware = machine(56, gpu("RTX 4090", 24, free), total_gib=62)
        each = decide(hardware, "31b", gpu_layers=ALL_LAYERS)
        place = each.projector_device or "CPU"
        size = (each.context_tokens >> 10, each.batch_tokens, each.image_tokens)
        seen.append((*size, place, each.kv_type))
    assert seen == [
        (32, 512, 280, "CUDA0", "f16"),
        (32, 512, 280, "CPU", "f16"),
        (32, 256, 256, "CPU", "f16"),
        (16, 512, 280, "CPU", "f16"),
        (16, 256, 256, "CPU", "f16"),
        (8, 512, 280, "CPU", "f16"),
        (8, 256, 256, "CPU", "f16"),
        (8, 512, 280, "CPU", "q8_0"),
        (8, 256, 256, "CPU", "q8_0"),
    ]


def test_every_attempt_says_what_was_short():
    decided = decide(machine(56, gpu("RTX 4090", 24, 19.4), total_gib=62), "31b")
    assert decided.context_tokens == 16384
    first = decided.attempts[0]
    assert first.what == "all on the GPU, 32k context"
    assert "GiB are free on RTX 4090, with the projector on the CPU, batches of 128" in first.reason
    assert [attempt.what for attempt in decided.attempts if attempt.taken] == [
        "all on the GPU, 16k context"
    ]
    assert "less than the 32k wanted, memory is short" in decided.reasons[1]


def test_quantized_keys_come_with_a_note_and_only_where_they_gain():
    tight = machine(56, gpu("RTX 4090", 24, 18.2), total_gib=62)
    decided = decide(tight, "31b", gpu_layers=ALL_LAYERS)
    assert decided.kv_type == "q8_0"
    assert any("8 bits, which Gemma 4 notices" in reason for reason in decided.reasons)
    error = refusal(machine(12, gpu("x", 8, 6.0), total_gib=16), "12b", gpu_layers=ALL_LAYERS)
    assert not any("q8_0" in attempt.what for attempt in error.attempts)


def test_experts_leave_the_gpu_one_layer_at_a_time():
    counts = []
    for free in (18, 14, 10, 6, 4):
        hardware = machine(40, gpu("RTX 4090", 24, free), total_gib=62)
        counts.append(decide(hardware, "26b-a4b").cpu_expert_layers)
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] > 20


def test_experts_on_the_cpu_get_large_batches_and_pinned_memory_where_there_is_room():
    decided = decide(BIG_CARD, "26b-a4b", cpu_expert_layers=30)
    assert (decided.batch_tokens, decided.load_mode) == (1024, "none")
    assert decided.projector_device == "CUDA0"
    assert "batches of 1,024 tokens: experts are copied to the GPU once a batch" in decided.reasons


def test_layers_are_split_only_for_a_model_that_was_named_and_never_of_an_e_model():
    assert decide(CARD, "12b", context_tokens=131072).gpu_layers in range(1, 49)
    crowd = next(
        each for each in decide(CARD, context_tokens=131072).alternatives if each.name == "12b"
    )
    assert crowd.devices == ()
    small = machine(12, gpu("RTX 4060", 8, 2.2), total_gib=16)
    assert decide(small, "e4b").devices == ()


def test_several_cards_only_where_one_is_not_enough():
    pair = machine(56, gpu("RTX 3060", 12, 11.6), gpu("RTX 3060", 12, 11.6, name="CUDA1"))
    assert decide(pair, "12b").devices == ("CUDA0",)
    split = decide(pair, "26b-a4b")
    assert split.devices == ("CUDA0", "CUDA1")
    assert sum(split.split) == 31
    assert decide(pair, "e4b").split == ()
    uneven = machine(56, gpu("RTX 3060", 12, 11.6), gpu("RTX 4090", 24, 16, name="CUDA1"))
    assert decide(uneven, "31b").devices == ("CUDA1", "CUDA0")  # the faster one is filled first


def cards(gib, *more):
    """Equal cards, each with so many GiB free."""
    return machine(
        56, *(gpu("RTX 4060", gib + 0.4, gib, name=f"CUDA{n}") for n in range(2)), *more,
        total_gib=62,
    )  # fmt: skip


def test_experts_are_kept_on_the_cpu_of_several_cards_too():
    """The second one takes layers off the CPU; each card holds what its ledger says."""
    one = decide(machine(56, gpu("RTX 4060", 8, 7.6), total_gib=62), "26b-a4b")
    two = decide(cards(7.6), "26b-a4b")
    assert two.devices == ("CUDA0", "CUDA1")
    assert 0 < two.cpu_expert_layers < one.cpu_expert_layers
    assert sum(two.split) == 31
    assert two.ledger.fits
    assert all(two.ledger.account(name).fits for name in two.devices)
    assert two.speed.tokens_per_second > one.speed.tokens_per_second
    fewer = replace(two.placement, cpu_expert_layers=two.cpu_expert_layers - 1)
    search = Planner(hardware=cards(7.6), measure=measure(cards(7.6)))
    shape = parse_shape(only("26b-a4b")[0].header, exact=False)
    assert not account(shape, None, fewer, cards(7.6), search.measure).fits_devices
    assert all(each.cpu_expert_layers >= two.cpu_expert_layers for each in two.fallbacks[:-1])


def test_a_pinned_number_of_experts_is_kept_on_several_cards():
    pinned = decide(cards(7.6), "26b-a4b", cpu_expert_layers=12)
    assert pinned.cpu_expert_layers == 12
    assert pinned.devices == ("CUDA0", "CUDA1")
    assert pinned.ledger.fits


def test_part_of_the_layers_goes_to_several_cards_of_a_model_that_was_named():
    one = decide(machine(56, gpu("RTX 4060", 8, 7.6), total_gib=62), "31b")
    two = decide(cards(7.6), "31b")
    assert one.kind(60) == two.kind(60) == "partial"
    assert two.gpu_layers > one.gpu_layers
    assert two.devices == ("CUDA0", "CUDA1")
    assert sum(two.split) == two.gpu_layers
    assert two.ledger.fits
    assert decide(cards(7.6), "31b", gpu_layers=9).devices == ("CUDA0",)  # one holds them
    pinned = decide(cards(7.6), "31b", gpu_layers=40)
    assert (pinned.devices, pinned.gpu_layers) == (("CUDA0", "CUDA1"), 40)
    assert sum(pinned.split) == 40


def test_a_drafter_is_part_of_the_plan():
    """Its weights, as large as its file, where the last layer lies."""
    (candidate,) = only("12b")
    tensors = (
        Tensor("token_embd.weight", (1024, 262_144), "Q8_0", 285_212_672, 0),
        Tensor("blk.0.attn_q.weight", (1024, 1024), "Q8_0", 1_114_112, 0),
    )
    facts = {
        "general.architecture": "gemma4-assistant", "gemma4-assistant.block_count": 1,
        "gemma4-assistant.attention.shared_kv_layers": 1,
        "gemma4-assistant.embedding_length": 1024, "gemma4-assistant.attention.head_count": 4,
    }  # fmt: skip
    drafter = Header(Path("drafter.gguf"), 286_326_784, facts, tensors)
    alone = plan(BIG_CARD, [candidate], Constraints(), measure(BIG_CARD))
    assert alone.drafter is None
    both = plan(BIG_CARD, [replace(candidate, drafter=drafter)], Constraints(), measure(BIG_CARD))
    for place in ("CUDA0", "RAM"):
        parts = {part.name: part.size_bytes for part in both.ledger.account(place).parts}
        assert "drafter" not in {part.name for part in alone.ledger.account(place).parts}
        if place == "CUDA0":
            assert parts["drafter"] == pytest.approx(286_326_784, abs=24 << 20)
        else:
            assert 1 << 20 <= parts["drafter"] < 16 << 20
    assert both.drafter == drafter.path
    first, *more = both.fallbacks  # it is given up before anything else
    assert first.placement == both.placement and first.drafter is None
    assert [each.placement for each in more] == [each.placement for each in alone.fallbacks]
    assert {each.drafter for each in more} == {None}


def test_graphics_in_the_processor_only_without_a_card():
    inside = gpu("Iris Xe", 12, 11, name="Vulkan0", backend="vulkan", integrated=True)
    both = machine(12, inside, gpu("RTX 4060", 8, 7.6, name="Vulkan1", backend="vulkan"))
    assert decide(both).devices == ("Vulkan1",)
    inside = replace(inside, total_bytes=40 << 30, free_bytes=40 << 30)
    roomy = machine(56, inside, gpu("RTX 4060", 8, 7.6, name="Vulkan1", backend="vulkan"))
    assert decide(roomy, "26b-a4b").devices == ("Vulkan1",)
    assert decide(roomy, "26b-a4b").cpu_expert_layers > 0
    assert decide(machine(14, inside), "e4b").devices == ("Vulkan0",)


def test_one_memory_is_not_counted_twice():
    apple = gpu("Apple M2", 10.7, 10.7, name="MTL0", backend="metal", integrated=True)
    mac = machine(11, apple, total_gib=16, system="darwin", cpu=Cpu(8, "8 cores", 4, "Apple M2"))
    decided = decide(mac)
    taken = sum(each.total_bytes for each in decided.ledger.accounts)
    assert taken <= mac.memory.available_bytes
    error = refusal(mac, "26b-a4b")
    assert "experts" not in error.message  # no way for half a model in one memory


@pytest.mark.parametrize(
    ("pins", "flag"),
    [
        ({"context_tokens": 131072, "gpu_layers": ALL_LAYERS}, "--ctx 32768"),
        ({"min_speed": 50.0, "gpu_layers": ALL_LAYERS}, "--min-speed 37.3"),
    ],
)
def test_a_pin_that_cannot_be_kept_is_refused_with_the_flag_that_can(pins, flag):
    error = refusal(BIG_CARD, "31b", **pins)
    assert error.hint == flag
    assert "31B Q4 QAT does not fit" in error.message


def test_the_flag_that_can_is_one_that_was_tried():
    error = refusal(CARD, "26b-a4b", cpu_expert_layers=2)
    assert error.hint.startswith("--cpu-experts ")
    count = int(error.hint.removeprefix("--cpu-experts "))
    assert decide(CARD, "26b-a4b", cpu_expert_layers=count).cpu_expert_layers == count
    error = refusal(CARD, "12b", gpu_layers=ALL_LAYERS, image_tokens=1120)
    assert error.hint == "--detail 280"
    error = refusal(BIG_CARD, "31b", min_speed=50.0)
    speed = float(error.hint.removeprefix("--min-speed "))
    assert decide(BIG_CARD, "31b", min_speed=speed).speed.tokens_per_second >= speed


def test_refusals_name_what_is_missing():
    assert "is no mixture of experts" in refusal(CARD, "12b", cpu_expert_layers=4).message
    assert "has 30 layers, not 31" in refusal(CARD, "26b-a4b", cpu_expert_layers=31).message
    error = refusal(NO_CARD, "12b", gpu_layers=20)
    assert "this machine has no GPU that llama.cpp sees" in error.message
    assert error.hint == "--gpu-layers 0"
    assert refusal(NO_CARD, require_gpu=True).hint == "without --require-gpu it runs on the CPU"
    unseen = machine(28, gpu("RTX 3060", 12, 11, name="", backend=""))
    assert "RTX 3060 cannot be used: llama.cpp does not see it" in (
        refusal(unseen, require_gpu=True).message
    )
    assert any("RTX 3060 is not used" in reason for reason in decide(unseen).reasons)
    blind = [replace(each, projector=None) for each in only("e4b")]
    with pytest.raises(NothingFits, match="has no projector and sees no images"):
        plan(CARD, blind, Constraints(vision=True), measure(CARD))
    assert "close other programs" in refusal(machine(3, total_gib=8)).hint


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        (200000, "200,000 tokens was asked for, E4B Q4 QAT reads at most 131,072", "--ctx 131072"),
        (100, "100 tokens is too small, the least is 256", "--ctx 256 or more"),
    ],
)
def test_a_context_that_cannot_be_is_refused_with_both_numbers(asked, message, hint):
    with pytest.raises(DoesNotFit, match=message) as caught:
        decide(CARD, "e4b", context_tokens=asked)
    assert caught.value.hint == hint


def test_a_context_too_long_for_small_models_goes_to_a_larger_one():
    assert decide(BIG_CARD, context_tokens=200000).name in ("12b", "26b-a4b")


@pytest.mark.parametrize(
    ("trained", "asked", "context"),
    [(131072, None, 32768), (2048, None, 2048), (131072, 131072, 131072), (131072, 256, 256),
     (None, None, 4096), (0, None, 4096), (40960, None, 32768)],
)  # fmt: skip
def test_context(trained, asked, context):
    decided = plan(NO_CARD, [tiny(trained)], Constraints(context_tokens=asked), measure(NO_CARD))
    assert decided.context_tokens == context


@pytest.mark.parametrize(
    ("image_tokens", "batch"), [(None, 512), (560, 640), (1120, 1152), (70, 512)]
)
def test_a_batch_holds_the_largest_picture(image_tokens, batch):
    decided = decide(BIG_CARD, "12b", image_tokens=image_tokens)
    assert decided.batch_tokens == batch
    assert decided.image_tokens == (image_tokens or 280)


def test_threads():
    assert plan(NO_CARD, [tiny()], Constraints(), measure(NO_CARD)).threads == 1
    assert plan(NO_CARD, [tiny()], Constraints(threads=4), measure(NO_CARD)).threads == 4
    assert decide(NO_CARD, "e4b").threads == 6
    assert decide(CARD, "e4b").threads == 4
    busy = decide(NO_CARD, "e4b", busy_programs=2)
    assert busy.threads == 4
    free = decide(NO_CARD, "e4b").speed.tokens_per_second
    assert busy.reasons[-1] == (
        f"4 threads: 6 physical cores, 2 other programs want a core; alone ~{free:.0f} tok/s"
    )
    assert busy.speed.tokens_per_second < free
    assert "alone" not in decide(CARD, "e4b", busy_programs=2).reasons[-1]
    assert decide(NO_CARD, "e4b", busy_programs=40).threads == 3
    assert decide(NO_CARD, busy_programs=40).name == decide(NO_CARD).name


def test_fallbacks_give_up_one_thing_more_each_and_keep_what_is_pinned():
    decided = decide(CARD, "e4b")
    said = [each.reasons[0].removeprefix("memory ran out: ") for each in decided.fallbacks]
    assert said == [
        "the projector on the CPU", "batches half as large", "half the context",
        "batches half as large", "half the context", "the CPU alone",
    ]  # fmt: skip
    assert decided.fallbacks[-1].devices == ()
    assert not any(each.fallbacks or each.alternatives for each in decided.fallbacks)
    pinned = decide(CARD, "e4b", context_tokens=32768, require_gpu=True, image_tokens=512)
    for each in pinned.fallbacks:
        assert each.context_tokens == 32768
        assert each.devices == ("CUDA0",)
        assert each.image_tokens == 512
    experts = decide(BIG_CARD, "26b-a4b").fallbacks
    assert {each.cpu_expert_layers for each in experts} >= {0, 2, 4}


def test_a_fallback_for_which_main_memory_is_too_small_is_left_out():
    needs = decide(CARD, "e4b").ledger.account("RAM").total_bytes / GIB
    tight = machine(needs + 0.1, gpu("RTX 4060", 8, 7.6), total_gib=15.5)
    decided = decide(tight, "e4b")
    assert decided.projector_device == "CUDA0"
    assert {each.projector_device for each in decided.fallbacks} == {"CUDA0"}


def test_what_is_found_by_the_formula_is_confirmed_by_the_measure():
    """A device whose buffers are larger than the law says: the plan is smaller, and fits."""

    def swollen(shape, placement):
        law = closed_form(cpu_law, CARD)(shape, placement)
        if not placement.devices:
            return law
        compute = {name: count + (2000 << 20) for name, count in law.compute.items()}
        return replace(law, compute=compute)

    expected = plan(CARD, only("e4b"), Constraints(), measure(CARD))
    assert account_with(swollen, expected).total_bytes > expected.ledger.accounts[0].total_bytes
    decided = plan(CARD, only("e4b"), Constraints(), swollen)
    assert decided.ledger.fits
    assert decided.devices == ("CUDA0",)
    assert decided.context_tokens < expected.context_tokens
    assert account_with(swollen, decided) == decided.ledger.accounts[0]


def account_with(measured, decided):
    candidate = only("e4b")[0]
    shape = parse_shape(candidate.header, exact=False)
    return account(shape, candidate.projector, decided, CARD, measured).accounts[0]


def test_a_search_asks_the_measure_a_few_times_only():
    asked = []

    def counted(shape, placement):
        asked.append(placement)
        return cpu_law(shape, placement)

    plan(NO_CARD, candidates(all_quants=True), Constraints(), counted)
    assert len(asked) == 2 * 5 + 1  # two a graph for the law, and the chosen one


def test_each_candidate_is_planned_in_its_order():
    offered = candidates(all_quants=True)
    planner = Planner(hardware=CARD, measure=measure(CARD))
    results = planner.plan_each(offered, Constraints())
    kinds = {
        each.name: result.kind(each.layers) if isinstance(result, Plan) else "no"
        for each, result in zip(offered, results, strict=True)
    }
    assert kinds["e4b"] == "gpu"
    assert kinds["26b-a4b"] == "experts"
    assert kinds["31b:q8_0"] == "no"
    assert kinds["12b:q8_0"] == "partial"
    for each, result in zip(offered, results, strict=True):
        if isinstance(result, Plan):
            assert result.name == each.name
            assert result.reasons[0]
        else:
            assert result.reason


def test_a_candidate_is_planned_once():
    asked = []

    def counted(shape, placement):
        asked.append(placement)
        return cpu_law(shape, placement)

    planner = Planner(hardware=NO_CARD, measure=counted, quick=measure(NO_CARD))
    chosen = planner.plan(candidates(), Constraints())
    first = len(asked)
    again = planner.plan(only(chosen.name), Constraints())
    assert (len(asked), again.ledger) == (first, chosen.ledger)
    planner.plan(only(chosen.name), Constraints(context_tokens=4096))
    assert len(asked) > first


def test_what_is_on_disk_wins_among_quants_but_not_with_too_few_bits():
    offered = candidates(all_quants=True)

    def with_on_disk(name):
        return [replace(each, on_disk=each.name == name) for each in offered]

    assert plan(CARD, offered, Constraints(), measure(CARD)).name == "e4b"
    assert plan(CARD, with_on_disk("e4b:q6_k"), Constraints(), measure(CARD)).name == "e4b:q6_k"
    few = [replace(each, bits=3) if each.name == "e4b:q6_k" else each
           for each in with_on_disk("e4b:q6_k")]  # fmt: skip
    assert plan(CARD, few, Constraints(), measure(CARD)).name == "e4b"


def tiny(trained=131072):
    """A file of 3 MB that has only a path."""
    metadata = {"general.architecture": "gemma4"}
    if trained is not None:
        metadata["gemma4.context_length"] = trained
    path = Path("m.gguf")
    header = Header(path, 3 << 20, metadata, ())
    return Candidate(name="m", title="m", header=header, files=ModelFiles(name="m", model=path))
