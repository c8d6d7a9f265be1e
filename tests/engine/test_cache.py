"""The arithmetic of prefix reuse."""

from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.engine.kv_cache import (
    Checkpoint,
    Media,
    Reuse,
    Unit,
    common_prefix,
    plan_reuse,
    position_of,
)

IMAGE = Media("a" * 64, 81)
OTHER_IMAGE = Media("b" * 64, 81)


def test_an_image_is_one_unit_and_many_positions() -> None:
    assert position_of([1, IMAGE, 2], 3) == 83
    assert position_of([1, IMAGE, 2], 1) == 1


def test_another_image_ends_the_prefix() -> None:
    assert common_prefix([1, IMAGE, 2], [1, OTHER_IMAGE, 2]) == 1
    assert common_prefix([1, IMAGE, 2], [1, IMAGE, 3]) == 2


def test_the_same_prompt_again_evaluates_one_token() -> None:
    held: list[Unit] = [1, 2, 3]
    assert plan_reuse(held, [1, 2, 3], pos_min=0, window=64) == Reuse(2)


def test_a_longer_prompt_keeps_everything() -> None:
    held = list(range(1000))
    assert plan_reuse(held, [*held, 7], pos_min=744, window=64) == Reuse(1000)


def test_the_measured_boundary_of_the_window() -> None:
    """Window 64, pos_min 744: a cut to 807 is exact, to 806 is not (docs/architecture.md,
    "Sliding window")."""
    held = list(range(1000))
    for keep, expected in ((807, 807), (806, 0)):
        wanted = [*held[:keep], -1, -2]
        assert plan_reuse(held, wanted, pos_min=744, window=64).units == expected


def test_a_checkpoint_brings_the_window_back() -> None:
    held = list(range(1000))
    saved = Checkpoint(units=500, pos_min=244, data=b"")
    wanted = [*held[:490], -1]
    assert plan_reuse(held, wanted, pos_min=744, window=64, checkpoints=[saved]) == Reuse(
        490, saved
    )
    beyond = [*held[:700], -1]
    assert plan_reuse(held, beyond, pos_min=744, window=64, checkpoints=[saved]) == Reuse(
        500, saved
    )
    too_old = [*held[:300], -1]
    assert plan_reuse(held, too_old, pos_min=744, window=64, checkpoints=[saved]) == Reuse(0)


units = st.lists(st.one_of(st.integers(0, 3), st.sampled_from([IMAGE, OTHER_IMAGE])), min_size=1)


@given(held=units, wanted=units, pos_min=st.integers(-1, 200), window=st.sampled_from([0, 8, 64]))
def test_what_is_kept_is_always_a_common_prefix(
    held: list[Unit], wanted: list[Unit], pos_min: int, window: int
) -> None:
    keep = plan_reuse(held, wanted, pos_min=pos_min, window=window).units
    assert 0 <= keep < len(wanted)
    assert held[:keep] == wanted[:keep]
