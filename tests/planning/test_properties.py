"""What holds on every machine: budgets, sums, pins, and that more memory never makes it worse."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_edge.hardware.machine import Cpu, Hardware
from gemma_edge.planning.memory import account
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import ALL_LAYERS, Constraints, Plan
from gemma_edge.planning.planner import NothingFits, rank
from gemma_edge.planning.search import Search
from gemma_edge.units import GIB
from tests.planning.table import candidates, gpu, machine, measure, plan

QUICK = settings(max_examples=30, deadline=None, derandomize=True)
GIBS = st.floats(1, 96).map(lambda gib: round(gib, 2))
TITLES = st.sampled_from(["RTX 4060", "RTX 3090", "H100 80GB HBM3", "Radeon 8060S", "unheard of"])


@st.composite
def machines(draw: st.DrawFn) -> Hardware:
    """No GPU, one of any kind, or two."""
    devices = []
    backend = draw(st.sampled_from(["cuda", "rocm", "vulkan", "metal", "rpc"]))
    integrated = draw(st.booleans())
    for index in range(draw(st.integers(0, 2))):
        total = draw(GIBS)
        free = round(total * draw(st.floats(0, 1)), 2)
        devices.append(
            gpu(draw(TITLES), total, free, name=f"GPU{index}", backend=backend,
                integrated=integrated, display=draw(st.booleans()))
        )  # fmt: skip
    return machine(
        draw(GIBS), *devices, total_gib=draw(GIBS) + 8, cpu=Cpu(draw(st.integers(1, 16)), "cores"),
        system=draw(st.sampled_from(["linux", "win32", "darwin"])),
    )  # fmt: skip


CONSTRAINTS = st.builds(
    Constraints,
    context_tokens=st.sampled_from([None, None, 4096, 20_000, 131_072]),
    gpu_layers=st.sampled_from([None, None, None, 0, 7, ALL_LAYERS]),
    cpu_expert_layers=st.sampled_from([None, None, 0, 13]),
    threads=st.sampled_from([None, 3]),
    image_tokens=st.sampled_from([None, 70, 560, 1120]),
    kv_type=st.sampled_from([None, "f16", "q8_0"]),
    require_gpu=st.booleans(),
    min_speed=st.sampled_from([None, None, 3.0, 40.0]),
    vision=st.sampled_from([None, True, False]),
)


def decide(hardware: Hardware, constraints: Constraints, offered=None) -> Plan | None:
    try:
        return plan(hardware, offered or candidates(), constraints, measure(hardware))
    except NothingFits as error:
        assert error.message
        assert error.hint
        assert error.attempts
        assert not any(attempt.taken for attempt in error.attempts)
        return None


@QUICK
@given(machines(), CONSTRAINTS)
def test_no_plan_exceeds_its_budget_nor_any_way_on_from_it(hardware, constraints):
    decided = decide(hardware, constraints)
    if decided is None:
        return
    for each in (decided, *decided.fallbacks, *decided.alternatives):
        assert each.ledger
        candidate = next(one for one in candidates() if one.name == each.name)
        again = account(
            parse_shape(candidate.header, exact=False), candidate.projector, each.placement,
            hardware, measure(hardware),
        )  # fmt: skip
        assert again == each.ledger
        for memory in each.ledger.accounts:
            assert memory.total_bytes == sum(part.size_bytes for part in memory.parts)
            assert memory.budget_bytes is not None
            assert memory.total_bytes <= memory.budget_bytes
    used = {name for each in decided.ledger.accounts for name in [each.place]}
    assert set(decided.devices) <= used


@QUICK
@given(machines(), CONSTRAINTS)
def test_what_is_pinned_is_kept(hardware, constraints):
    decided = decide(hardware, constraints)
    if decided is None:
        return
    for each in (decided, *decided.fallbacks, *decided.alternatives):
        for pin in ("context_tokens", "gpu_layers", "cpu_expert_layers", "threads", "kv_type"):
            asked = getattr(constraints, pin)
            assert asked is None or getattr(each, pin) == asked
        if constraints.vision is False:
            assert (each.projector, each.image_tokens, each.projector_device) == (None, 0, "")
        elif constraints.image_tokens is not None:
            assert each.image_tokens == constraints.image_tokens
        assert each.devices or not constraints.require_gpu
    for each in (decided, *decided.alternatives):
        assert each.speed.tokens_per_second >= (constraints.min_speed or 0)


@QUICK
@given(machines(), CONSTRAINTS)
def test_a_picture_is_one_batch_where_it_has_to_be(hardware, constraints):
    decided = decide(hardware, constraints)
    for each in (decided, *decided.fallbacks, *decided.alternatives) if decided else ():
        candidate = next(one for one in candidates() if one.name == each.name)
        if not parse_shape(candidate.header).causal_images:
            assert each.image_tokens <= each.batch_tokens
        assert each.batch_tokens <= each.context_tokens


@QUICK
@given(machines(), CONSTRAINTS)
def test_the_same_question_has_the_same_answer(hardware, constraints):
    assert decide(hardware, constraints) == decide(hardware, constraints)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(machines(), CONSTRAINTS, GIBS, GIBS)
def test_more_memory_never_gives_a_worse_plan(hardware, constraints, more_gpu, more_ram):
    larger = replace(
        hardware,
        devices=tuple(
            replace(device, free_bytes=device.free_bytes + int(more_gpu * GIB))
            for device in hardware.devices
        ),
        memory=replace(
            hardware.memory,
            available_bytes=hardware.memory.available_bytes
            + int((more_ram + more_gpu * len(hardware.devices)) * GIB),
        ),
    )
    before, after = decide(hardware, constraints), decide(larger, constraints)
    if before is None:
        return
    assert after is not None
    assert value(after, larger, constraints) >= value(before, hardware, constraints)


def value(decided: Plan, hardware: Hardware, constraints: Constraints) -> tuple[float, ...]:
    """The rank but for its last places, speed and order, which stand for no promise."""
    candidate = next(one for one in candidates() if one.name == decided.name)
    search = Search(
        candidate=candidate, shape=parse_shape(candidate.header, exact=False), hardware=hardware,
        constraints=constraints, measure=measure(hardware),
    )  # fmt: skip
    ranked = rank(search, decided)
    return ranked if ranked[0] == 0 else ranked[:-2]
