"""A cache on disk: it gives the logits of a fresh read, or it says in words why it is not used."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemma_edge.engine import load
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.kv_cache import Fingerprint, Unit, Unusable, fingerprint, open_saved
from gemma_edge.engine.kv_cache import difference as fingerprint_difference
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.engine.process import RemoteEngine
from gemma_edge.engine.protocol import GREEDY, Engine, Finished, Message, Request
from gemma_edge.errors import EngineError
from gemma_edge.planning.plan import Adapter, Plan
from tests.engine.conftest import DEMO, MOE, answer, demo_plan, picture
from tests.engine.faults import program
from tests.engine.fresh import BOUND, difference, read, token_by_token
from tests.scripted import ScriptedEngine

WORDS = " ".join(f"word{number}" for number in range(120))
SEEN = Message("user", f"Describe this image. {WORDS}", (picture(),))
TALK = (SEEN, Message("model", f"A red circle. {WORDS}"))
NEXT = Request(messages=(*TALK, Message("user", "What color?")), sampling=GREEDY, max_tokens=8)
SMALL = (Message("user", "Hello."),)


@pytest.fixture
def short_lived() -> Iterator[Callable[[Plan], LlamaEngine]]:
    opened: list[LlamaEngine] = []

    def start(plan: Plan) -> LlamaEngine:
        opened.append(LlamaEngine(plan))
        return opened[-1]

    yield start
    for engine in opened:
        engine.close()


@pytest.fixture
def saved(engine: LlamaEngine, tmp_path: Path) -> Path:
    """A conversation with an image, longer than the window, in a file."""
    list(engine.warm(Request(messages=TALK)))
    path = tmp_path / "folder" / "cache.kv"
    assert engine.save(path) == path.stat().st_size
    return path


def test_restored_it_gives_the_logits_of_a_fresh_read(f32_path: Path, tmp_path: Path) -> None:
    """With an image, in 32 bits, the same pieces; also in a larger context: /ctx does not read a
    conversation again."""
    plan = replace(demo_plan(), model=f32_path, kv_type="f32")
    fresh = LlamaEngine(plan, flash_attention=False)
    list(fresh.warm(Request(messages=TALK)))
    fresh.save(tmp_path / "kv")
    wanted = fresh.next_logits(NEXT)
    other_image = (replace(TALK[0], pictures=(picture("blue"),)), *TALK[1:])
    changed = fresh.next_logits(replace(NEXT, messages=(*other_image, *NEXT.messages[2:])))
    fresh.close()
    assert np.abs(changed - wanted).max() > 10 * BOUND  # the comparison can fail
    for context_tokens in (2048, 4096):
        other = LlamaEngine(replace(plan, context_tokens=context_tokens), flash_attention=False)
        restored = other.restore(tmp_path / "kv")
        held_tokens = other._cache.position
        worst = np.abs(other.next_logits(NEXT) - wanted).max()
        other.close()
        assert (restored.tokens, restored.reason) == (held_tokens, "")
        assert restored.tokens > other._model.window > 0
        assert worst < BOUND


def test_random_conversations_restored_equal_a_fresh_read(
    f32_model: LlamaModel, tmp_path: Path
) -> None:
    """In 32 bits and token by token. After each restore the next prompt cuts back a little, far,
    or not at all; only what is right there may be kept."""
    rng = random.Random(7)

    def words(most: int) -> list[Unit]:
        return [rng.randrange(300, f32_model.vocab_tokens - 1) for _ in range(rng.randint(5, most))]

    worst, kept = 0.0, 0
    history: list[Unit] = []
    for turn in range(6):
        used, restored = token_by_token(f32_model), token_by_token(f32_model)
        history = history[: rng.randint(0, len(history))] + words(400)
        read(used, [*history, 301], settled=len(history))
        used.copy_out(tmp_path / "kv", {"a": "b"}).finish()
        assert restored.take_back(tmp_path / "kv", {}, 2048).tokens == len(history) + 1
        back = (0, 3, 30, 200)[turn % 4]
        prompt = [*history[: max(1, len(history) - back)], *words(30)]
        kept += read(restored, prompt, settled=len(prompt) - 1) > 0
        worst = max(worst, difference(restored, f32_model, prompt))
        for held in (used, restored):
            held.context.close()
    assert worst < BOUND
    assert kept >= 2


def test_after_a_restore_only_new_tokens_are_evaluated(
    saved: Path, short_lived: Callable[[Plan], LlamaEngine]
) -> None:
    other = short_lived(demo_plan())
    tokens = other.restore(saved).tokens
    _, finished = answer(other, NEXT)
    assert finished.usage.cached_tokens == tokens
    assert finished.usage.evaluated_tokens < 20
    assert finished.usage.encoded_pictures == 0


def test_the_regenerated_answer_after_a_restore_keeps_the_question(
    saved: Path, engine: LlamaEngine, short_lived: Callable[[Plan], LlamaEngine], tmp_path: Path
) -> None:
    """The checkpoint at the end of the last question is in the file."""
    seen = Message("user", f"What is to be seen? {WORDS}", (picture(),))
    asked = Request(messages=(seen,), sampling=GREEDY, max_tokens=60)
    text, _ = answer(engine, asked)
    list(engine.warm(Request(messages=(seen, Message("model", text)))))
    engine.save(tmp_path / "kv")
    other = short_lived(demo_plan())
    other.restore(tmp_path / "kv")
    again, finished = answer(other, asked)
    assert again == text
    assert finished.usage.evaluated_tokens < 20


def test_each_mismatch_is_a_reason(saved: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(DEMO.read_bytes())
    plan = demo_plan()

    def now(plan: Plan, template: str = "t", version: str = "1", flash: bool = True) -> Fingerprint:
        return dict(fingerprint(plan, template=template, version=version, flash_attention=flash))

    then = now(plan)
    assert (
        fingerprint_difference(
            then, now(replace(plan, context_tokens=64, threads=9, batch_tokens=1))
        )
        == ""
    )
    reasons = [
        fingerprint_difference(then, now(replace(plan, model=copy))),
        fingerprint_difference(then, now(replace(plan, projector=None))),
        fingerprint_difference(then, now(replace(plan, adapters=(Adapter(copy, 0.5),)))),
        fingerprint_difference(then, now(plan, template="other")),
        fingerprint_difference(then, now(plan, version="2")),
        fingerprint_difference(then, now(replace(plan, kv_type="q8_0"))),
        fingerprint_difference(then, now(plan, flash=False)),
    ]
    assert reasons == [
        "the weights are another file than when it was saved",
        "the projector is another than when it was saved",
        "the adapters are others than when it was saved",
        "the chat template is another than when it was saved",
        "it was saved by llama-cpp-python 1, this is 2",
        "it was saved as f16, the cache is q8_0",
        "flash attention was on when it was saved, now it is off",
    ]
    half, whole = (
        now(replace(plan, adapters=(Adapter(copy, scale),)))["adapters"] for scale in (0.5, 1.0)
    )
    assert half != whole


def test_another_model_says_so_and_goes_on(
    saved: Path, short_lived: Callable[[Plan], LlamaEngine]
) -> None:
    other = short_lived(replace(demo_plan(), model=MOE, projector=None))
    list(other.warm(Request(messages=SMALL)))
    before = list(other._cache.units)
    restored = other.restore(saved)
    assert (restored.tokens, restored.reason) == (
        0, "the weights are another file than when it was saved",
    )  # fmt: skip
    assert other._cache.units == before


def test_a_context_that_is_too_small_says_the_numbers(
    saved: Path, short_lived: Callable[[Plan], LlamaEngine]
) -> None:
    other = short_lived(demo_plan(context_tokens=256))
    assert "more than the context of 256" in other.restore(saved).reason


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"GEMMAKV1",
        lambda data: b"something else altogether, and long enough for a header",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"x",
        lambda data: data[:8] + (2).to_bytes(8, "little") + b"[]" + data[18:],
        lambda data: data[:8] + (18).to_bytes(8, "little") + b'{"fingerprint": 1}' + data[34:],
        lambda data: data[:8] + b"\xff" * 8 + data[16:],
        lambda data: data[:20] + b"\xff\xfe" + data[22:],
        lambda data: data[:-5000] + bytes(100) + data[-4900:],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data.replace(b'"units"', b'"unitz"', 1),
    ],
)
def test_a_damaged_file_is_a_reason_never_a_crash(
    engine: LlamaEngine, saved: Path, damage: Callable[[bytes], bytes]
) -> None:
    saved.write_bytes(damage(saved.read_bytes()))
    restored = engine.restore(saved)
    assert restored.tokens == 0
    assert "cache.kv is damaged" in restored.reason or "cannot be read" in restored.reason
    assert answer(engine, Request(messages=SMALL, sampling=GREEDY, max_tokens=4))[0]


def test_no_file_and_a_folder_are_reasons_too(engine: LlamaEngine, tmp_path: Path) -> None:
    assert engine.restore(tmp_path / "none").reason == "nothing was saved"
    assert "cannot be read" in engine.restore(tmp_path).reason


def test_nothing_is_half_written(
    engine: LlamaEngine, tmp_path: Path, short_lived: Callable[[Plan], LlamaEngine]
) -> None:
    """The file that was there stays until the new one is whole; an empty cache is not saved."""
    path = tmp_path / "kv"
    list(engine.warm(Request(messages=SMALL)))
    engine.save(path)
    first = path.read_bytes()
    with engine._request_lock.alone():
        part = engine._cache.copy_out(path, engine._fingerprint)
    assert path.read_bytes() == first
    with (
        pytest.raises(Unusable, match="damaged"),
        open_saved(part._part, engine._fingerprint, 2048),
    ):
        pass
    part.discard()
    assert [file.name for file in tmp_path.iterdir()] == ["kv"]
    with pytest.raises(EngineError, match="nothing to save: the cache is empty"):
        short_lived(demo_plan()).save(path)
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(EngineError, match="the cache cannot be saved as kv"):
        engine.save(blocker / "kv")


def test_two_runs_write_one_file_and_neither_disturbs_the_other(
    engine: LlamaEngine, tmp_path: Path
) -> None:
    """As two commands with `--remember` on one picture: each fills a mapped file of its own."""
    path = tmp_path / "kv"
    list(engine.warm(Request(messages=SMALL)))
    with engine._request_lock.alone():
        first = engine._cache.copy_out(path, engine._fingerprint)
        second = engine._cache.copy_out(path, engine._fingerprint)
    assert first.finish() == second.finish() == path.stat().st_size
    assert [file.name for file in tmp_path.iterdir()] == ["kv"]
    with open_saved(path, engine._fingerprint, 2048) as (cells, _):
        assert cells.units


@pytest.fixture(params=["engine", "remote", "scripted"])
def any_engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "scripted":
        return ScriptedEngine(["yes"] * 4, context_tokens=2048)
    engine: Engine = request.getfixturevalue(request.param)
    return engine


def test_every_engine_saves_and_restores(any_engine: Engine, tmp_path: Path) -> None:
    list(any_engine.warm(Request(messages=SMALL)))
    size = any_engine.save(tmp_path / "kv")
    assert size == (tmp_path / "kv").stat().st_size
    restored = any_engine.restore(tmp_path / "kv")
    assert restored.tokens > 0
    assert restored.reason == ""
    assert any_engine.restore(tmp_path / "other").reason == "nothing was saved"
    (tmp_path / "kv").write_bytes(b"x")
    assert "damaged" in any_engine.restore(tmp_path / "kv").reason


def test_in_a_process_of_its_own_an_error_comes_through(tmp_path: Path) -> None:
    fresh = load(demo_plan())
    try:
        with pytest.raises(EngineError, match="nothing to save"):
            fresh.save(tmp_path / "kv")
        list(fresh.warm(Request(messages=SMALL)))
        assert fresh.save(tmp_path / "kv") > 0
    finally:
        fresh.close()


@pytest.mark.parametrize("where", ["engine", "remote"])
def test_an_answer_does_not_wait_for_the_disk(
    request: pytest.FixtureRequest, where: str, tmp_path: Path
) -> None:
    """Saving runs in another thread; answers that come meanwhile are whole and the same."""
    engine: Engine = request.getfixturevalue(where)
    asked = Request(messages=SMALL, sampling=GREEDY, max_tokens=8)
    alone, _ = answer(engine, asked)
    sizes: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: sizes.append(engine.save(tmp_path / f"kv{n}")))  # type: ignore[misc]
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    said = [answer(engine, asked)[0] for _ in range(5)]
    for thread in threads:
        thread.join()
    assert said == [alone] * 5
    assert len(sizes) == 3
    assert all(engine.restore(tmp_path / f"kv{n}").tokens for n in range(3))


def test_in_a_process_of_its_own_answers_come_while_the_disk_is_slow(tmp_path: Path) -> None:
    engine = RemoteEngine(demo_plan(), program=program("slow disk"))
    asked = Request(messages=SMALL, sampling=GREEDY, max_tokens=8)
    sizes: list[int] = []
    try:
        answer(engine, asked)
        saving = threading.Thread(target=lambda: sizes.append(engine.save(tmp_path / "kv")))
        saving.start()
        for _ in range(3):
            answer(engine, asked)
        assert saving.is_alive()  # three answers are there before the file
        saving.join()
        assert sizes == [(tmp_path / "kv").stat().st_size]
    finally:
        engine.close()


def test_a_process_that_dies_while_it_saves_says_so(tmp_path: Path) -> None:
    engine = RemoteEngine(demo_plan(), program=program("slow disk"))
    problems: list[EngineError] = []

    def save() -> None:
        try:
            engine.save(tmp_path / "kv")
        except EngineError as error:
            problems.append(error)

    try:
        answer(engine, Request(messages=SMALL, sampling=GREEDY, max_tokens=8))
        saving = threading.Thread(target=save)
        saving.start()
        while not (tmp_path / "kv").exists():
            time.sleep(0.01)
        os.kill(engine.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        saving.join()
        assert [p.message for p in problems] == [
            "the engine was started again, what it held is not saved"
        ]
        assert engine.restore(tmp_path / "kv").tokens > 0
    finally:
        engine.close()


def test_the_last_event_of_a_warming(any_engine: Engine) -> None:
    events = list(any_engine.warm(Request(messages=SMALL)))
    assert isinstance(events[-1], Finished)
    assert events[-1].usage.generated_tokens == 0
    assert len(events) == 1
