"""What is read of a picture once is not read again, and is right when it comes back.

Both sides of a comparison evaluate pieces of the same sizes (docs/architecture.md, "Equality"),
so the bound is tight.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gemma_edge.documents.document import PATCH_PX, Picture
from gemma_edge.engine import load
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.kv_cache import KvCache
from gemma_edge.engine.llama import Aborted, LlamaContext
from gemma_edge.engine.protocol import (
    GREEDY,
    Engine,
    Finished,
    Message,
    Request,
    Usage,
)
from gemma_edge.errors import DoesNotFit
from gemma_edge.planning.plan import Plan
from tests.engine.conftest import (
    DEMO,
    DEMO_PROJECTOR,
    MOE,
    MOE_PROJECTOR,
    answer,
    demo_plan,
    picture,
)
from tests.engine.widened import widen

BOUND = 1e-3
MODELS = {
    "demo": (DEMO, DEMO_PROJECTOR),
    "moe": (MOE, MOE_PROJECTOR),
}
QUESTIONS = (
    "Describe this image.", "How many shapes are there?", "What color is it?", "What shape is it?",
    "Count the shapes.", "Which color do you see?", "Which shape is this?",
    "How many shapes do you see?", "What color is the shape?", "What shape do you see?",
)  # fmt: skip


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """E2B style: the only one that attends one way inside an image."""
    folder = tmp_path_factory.mktemp("wide")
    weights, projector = folder / "wide.gguf", folder / "mmproj-wide.gguf"
    widen(DEMO, weights, ".embedding_length")
    widen(DEMO_PROJECTOR, projector, "clip.vision.projection_dim")
    return weights, projector


@pytest.fixture(params=["wide", *MODELS])
def plan(request: pytest.FixtureRequest) -> Plan:
    """A small plan for one model of each style."""
    own = request.param == "wide"
    weights, projector = request.getfixturevalue("wide") if own else MODELS[request.param]
    return Plan(
        model=weights, projector=projector, context_tokens=1024, batch_tokens=256, threads=1,
        gpu_layers=-1,
    )  # fmt: skip


def noise(columns: int, rows: int, seed: int = 1) -> Picture:
    """A picture of so many patches that has something everywhere."""
    width, height = columns * PATCH_PX, rows * PATCH_PX
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    pixels = coarse.repeat(PATCH_PX, axis=0).repeat(PATCH_PX, axis=1)
    return Picture(pixels.tobytes(), width, height, f"noise-{seed}.png")


def ask(question: str, *pictures: Picture, max_tokens: int = 16) -> Request:
    message = Message("user", question, pictures)
    return Request(messages=(message,), sampling=GREEDY, max_tokens=max_tokens)


def used(engine: Engine, request: Request) -> Usage:
    return answer(engine, request)[1].usage


class Opened:
    """Engines that are closed when a test ends."""

    def __init__(self) -> None:
        self._all: list[LlamaEngine] = []

    def __call__(self, plan: Plan) -> LlamaEngine:
        self._all.append(LlamaEngine(plan))
        return self._all[-1]

    def close(self) -> None:
        for engine in self._all:
            engine.close()


@pytest.fixture
def opened() -> Iterator[Opened]:
    engines = Opened()
    yield engines
    engines.close()


def test_ten_questions_about_a_picture_encode_and_read_it_once(remote: Engine) -> None:
    shown = noise(12, 10, seed=2)
    usages = [used(remote, ask(question, shown)) for question in QUESTIONS]
    assert [usage.encoded_pictures for usage in usages] == [1] + [0] * 9
    assert all(usage.cached_tokens > shown.tokens for usage in usages[1:])
    assert all(usage.evaluated_tokens < 40 for usage in usages[1:])


def test_a_picture_larger_than_the_window_is_kept_behind_a_long_answer(
    engine: LlamaEngine,
) -> None:
    """Sliding layers have forgotten it by then; a checkpoint behind the picture brings it back."""
    shown = noise(16, 15, seed=3)
    used(engine, ask("Tell a story.", shown))
    engine._cache.evaluate([300] * 600)
    assert engine._context.pos_min() > shown.tokens
    second = used(engine, ask("What color is it?", shown))
    assert second.cached_tokens > shown.tokens
    assert second.encoded_pictures == 0


def test_encoder_output_from_memory_gives_the_same_logits(plan: Plan, opened: Opened) -> None:
    engine = opened(plan)
    first, second, other = noise(5, 4), noise(4, 5, seed=2), noise(5, 4, seed=3)
    both = ask("What differs?", first, second)
    fresh = engine.next_logits(both)
    assert engine.encoder_passes == 2
    engine.measure(1)  # the KV cache is empty now
    again = engine.next_logits(both)
    assert engine.encoder_passes == 2
    assert np.abs(again - fresh).max() < BOUND
    for changed in (ask("What differs?", second, first), ask("What differs?", other, second)):
        assert np.abs(engine.next_logits(changed) - fresh).max() > 10 * BOUND
    assert engine.encoder_passes == 3  # `other` alone: the same size is not the same picture


def test_encoder_output_from_disk_gives_the_same_logits(
    plan: Plan, opened: Opened, tmp_path: Path
) -> None:
    shown = noise(5, 4)
    request = ask("What is it?", shown)
    plan = replace(plan, remember=tmp_path / "seen")
    first = opened(plan)
    fresh = first.next_logits(request)
    (entry,) = (tmp_path / "seen" / "encoded").iterdir()
    second = opened(plan)
    assert np.abs(second.next_logits(request) - fresh).max() < BOUND
    assert (first.encoder_passes, second.encoder_passes) == (1, 0)
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 1
    entry.write_bytes(data)
    third = opened(plan)
    assert np.abs(third.next_logits(request) - fresh).max() < BOUND
    assert third.encoder_passes == 1  # a damaged entry is encoded again
    assert entry.read_bytes() != bytes(data)


def test_a_saved_cache_gives_the_logits_of_a_fresh_read(
    plan: Plan, opened: Opened, tmp_path: Path
) -> None:
    once = ask("What is it?", noise(5, 4))
    turns = (*once.messages, Message("model", "A pattern."), Message("user", "Why?"))
    twice = Request(messages=turns)
    first, second, fresh = opened(plan), opened(plan), opened(plan)
    first.next_logits(once)
    first.save(tmp_path / "cache.kv")
    assert second.restore(tmp_path / "cache.kv").tokens > 20
    fresh.next_logits(once)
    assert np.abs(second.next_logits(twice) - fresh.next_logits(twice)).max() < BOUND
    assert second.encoder_passes == 0


def test_an_image_larger_than_a_default_batch_is_seen_whole(opened: Opened, tmp_path: Path) -> None:
    """520 tokens; llama.cpp's own ubatch of 512 would abort, or split the image in silence."""
    shown = noise(26, 20)
    request = ask("What is it?", shown)
    plan = Plan(
        model=MOE, projector=MOE_PROJECTOR, context_tokens=1024, batch_tokens=520, threads=1,
        gpu_layers=-1, remember=tmp_path,
    )  # fmt: skip
    exact = opened(plan).next_logits(request)
    one_batch = opened(replace(plan, batch_tokens=1024)).next_logits(request)
    assert np.abs(exact - one_batch).max() < BOUND
    assert np.abs(exact - in_parts(opened(plan), request, 260)).max() > 10 * BOUND


def in_parts(engine: LlamaEngine, request: Request, size: int) -> np.ndarray:
    """What comes of an image that is split: the comparison above can fail."""
    prompt = engine._prompter.prompt(request)
    vision = engine._vision
    assert vision is not None
    context = LlamaContext(engine._model, replace(engine._plan, batch_tokens=size))
    held = KvCache(context, engine._model.window)
    run: list[int] = []
    for unit in prompt.units:
        if isinstance(unit, int):
            run.append(unit)
            continue
        held.evaluate(run)
        shown = prompt.pictures[unit.digest]
        held.see(unit, partial(vision.decode, shown, context))
        run = []
    held.evaluate(run)
    logits = context.logits().copy()
    context.close()
    return logits


def test_a_causal_image_may_be_larger_than_a_batch(
    wide: tuple[Path, Path], engine: LlamaEngine, opened: Opened
) -> None:
    weights, projector = wide
    causal = opened(replace(demo_plan(), model=weights, projector=projector))
    first, second = (ask("What is it?", noise(20, 15, seed=seed)) for seed in (1, 2))
    assert np.abs(causal.next_logits(first) - causal.next_logits(second)).max() > 10 * BOUND
    with pytest.raises(DoesNotFit, match="must see an image whole"):
        engine.count(first)


def test_what_is_too_large_for_the_plan_is_refused_before_anything_is_read() -> None:
    """Through the process: it lives on."""
    large, small = noise(26, 20), noise(5, 4)
    whole = Plan(
        model=MOE, projector=MOE_PROJECTOR, context_tokens=2048, batch_tokens=512, threads=1
    )
    for plan, words in (
        (whole, "the batch holds 512, and this model must see an image whole"),
        (
            replace(demo_plan(batch_tokens=1024), image_tokens=280),
            "planned for images of at most 280",
        ),
    ):
        engine = load(plan)
        with pytest.raises(DoesNotFit, match=words) as refused:
            engine.generate(ask("What is it?", small, large))
        assert "noise-1.png takes 520 tokens" in refused.value.message
        assert "fewer" in refused.value.hint
        usage = used(engine, ask("What is it?", small, max_tokens=2))
        assert (usage.cached_tokens, usage.encoded_pictures) == (0, 1)
        engine.close()


def test_ctrl_c_while_a_picture_is_evaluated_keeps_what_was_before(engine: LlamaEngine) -> None:
    context, vision = engine._context, engine._vision
    assert vision is not None
    held = KvCache(context, engine._model.window)
    held.forget()
    held.evaluate([300, 301])
    unit = next(
        u for u in engine._prompter.prompt(ask("x", picture())).units if not isinstance(u, int)
    )
    context.watch(lambda: True)
    with pytest.raises(Aborted):
        held.see(unit, partial(vision.decode, picture(), context))
    context.watch(None)
    assert (held.units, held.position) == ([300, 301], 2)
    held.evaluate([302])
    held.forget()
    engine._cache.forget()


def test_a_warmed_picture_is_not_encoded_again(remote: Engine) -> None:
    shown = noise(7, 10, seed=5)
    request = ask("What color is it?", shown)
    *_, warmed = remote.warm(request)
    assert isinstance(warmed, Finished)
    assert (warmed.usage.encoded_pictures, used(remote, request).encoded_pictures) == (1, 0)
