"""Model files that were made to do harm, from the command line: one line with the key, status 4."""

import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_edge.errors import ExitStatus
from tests.cli.conftest import E4B_MODEL, PROJECTOR, TEXT_MODEL, Online, Shell
from tests.conftest import render_gguf
from tests.test_gguf import CLIP, GEMMA, LORA, u64

TENSORS = [("token_embd.weight", (32, 4), 0), ("blk.0.attn_q.weight", (32, 32), 0)]
HARMFUL = {
    "gemma4.block_count": [300_000_000, u64(1 << 63), "many", float("nan")],
    "gemma4.context_length": [u64(1 << 40), 0],
    "gemma4.attention.head_count": [0],
    "gemma4.attention.head_count_kv": [[1, 1]],
    "gemma4.expert_used_count": [99],
    "gemma4.rope.freq_base": [float("inf")],
    "general.alignment": [0],
    "clip.vision.block_count": [1 << 30],
    "clip.vision.patch_size": [0],
    "adapter.lora.alpha": [float("nan")],
}


def assert_refused(ran, key: str) -> None:
    first, *more = ran.stderr.strip().splitlines()
    assert ran.status is ExitStatus.MODEL, ran.stderr
    assert ran.stdout == ""
    assert key.removeprefix("general.") in first
    assert "is damaged" in first
    assert len(more) <= 2  # the hint, folded
    assert "a bug" not in ran.stderr


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in HARMFUL.items() for v in vs])
def test_one_line_with_the_key(shell: Shell, write_gguf, key: str, value: object) -> None:
    kinds = {"clip": (CLIP, "--mmproj"), "adapter": (LORA, "--lora")}
    whole, flag = kinds.get(key.partition(".")[0], (GEMMA, "--model"))
    path = str(write_gguf("hostile.gguf", whole | {key: value}, TENSORS))
    bill = path.removesuffix("hostile.gguf") + "bill.txt"
    Path(bill).write_text("Total 5.50", encoding="utf-8")
    lines = [("plan",), ("chat", "hi"), ("extract", bill, "--schema", "total")]
    started = time.process_time()
    for line in lines[: 3 if flag == "--model" else 2]:
        model = () if flag == "--model" else ("--model", str(shell.model))
        assert_refused(shell.run(*line, *model, flag, path, model=False), key)
    assert_refused(shell.run("show", path, model=False), key)
    assert_refused(shell.run("import", path, model=False), key)
    assert time.process_time() - started < 5


LARGEST = {
    "general.architecture": "gemma4", "gemma4.block_count": 512,
    "gemma4.context_length": (1 << 31) - 1, "gemma4.embedding_length": 1 << 20,
    "gemma4.feed_forward_length": 1 << 24, "gemma4.attention.head_count": 1 << 16,
    "gemma4.attention.head_count_kv": 1 << 16, "gemma4.attention.key_length": 1 << 16,
    "gemma4.attention.value_length": 1 << 16, "gemma4.attention.sliding_window": (1 << 31) - 1,
    "gemma4.attention.sliding_window_pattern": [True, False] * 256, "gemma4.expert_count": 1024,
    "gemma4.expert_used_count": 1024, "gemma4.embedding_length_per_layer_input": 1 << 20,
    "gemma4.vocab_size": 1 << 24,
}  # fmt: skip


@pytest.mark.parametrize("key", ["", *LARGEST])
def test_the_largest_numbers_are_planned_with_in_a_moment(
    shell: Shell, write_gguf, key: str
) -> None:
    layers = [(f"blk.{n}.attn_q.weight", (32, 32), 0) for n in range(512)]
    one = GEMMA | {key: LARGEST[key]} if key else LARGEST
    if key == "gemma4.block_count":
        one = {k: v for k, v in one.items() if not isinstance(v, list)}
    if key == "gemma4.attention.sliding_window_pattern":
        one = one | {key: [True] * 4}
    path = write_gguf("large.gguf", one, [*TENSORS[:1], *layers])
    started = time.process_time()
    ran = shell.run("plan", "--model", str(path), model=False)
    assert ran.status in (ExitStatus.OK, ExitStatus.DOES_NOT_FIT, ExitStatus.MODEL), ran.stderr
    assert "a bug" not in ran.stderr
    assert time.process_time() - started < 3


def test_one_damaged_model_hides_no_other(online: Online) -> None:
    online.upload(E4B_MODEL, TEXT_MODEL | {"gemma4.block_count": 300_000_000})
    assert online.run("pull", "e4b", "--quiet").status == 0
    for line in ("", "models", "plan", "plan --json"):
        ran = online.run(*line.split())
        assert ran.status == 0, ran.stderr
        assert ran.stderr.count("left out: ") == 1
        assert f"{E4B_MODEL}` is damaged: `gemma4.block_count` is 300,000,000" in ran.stderr
        assert "E2B" in ran.stdout or "e2b" in ran.stdout
    asked = online.run("show", str(online.path(E4B_MODEL)))
    assert asked.status is ExitStatus.MODEL


def test_a_header_that_was_kept_is_not_believed_more(online: Online) -> None:
    """An older version may have kept it."""
    assert online.run("plan", "e4b", "--headers").status == 0
    kept = [
        each for each in online.shell.home.rglob("headers/*/*.json") if "gemma4" in each.read_text()
    ]
    assert kept
    for each in kept:
        text = each.read_text(encoding="utf-8")
        each.write_text(
            text.replace('"gemma4.embedding_length": 128', '"gemma4.block_count": 300000000')
        )
    started = time.process_time()
    ran = online.run("plan", "e4b")
    assert ran.status == 0, ran.stderr
    assert time.process_time() - started < 3


ANY = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1).map(lambda n: struct.pack("<Iq", 11, n)),
    st.integers(0, (1 << 64) - 1).map(u64), st.integers(0, 600), st.floats(width=32),
    st.text(max_size=9), st.booleans(), st.lists(st.integers(0, 9), min_size=1, max_size=5),
)  # fmt: skip


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    model=st.dictionaries(st.sampled_from([*GEMMA, *TEXT_MODEL]), ANY, max_size=3),
    other=st.dictionaries(st.sampled_from([*CLIP, *PROJECTOR, *LORA]), ANY, max_size=2),
    flag=st.sampled_from(["--mmproj", "--lora"]),
)
def test_no_header_is_a_bug(shell: Shell, tmp_path: Path, model, other, flag: str) -> None:
    names = {"--mmproj": CLIP, "--lora": LORA}
    (tmp_path / "a.gguf").write_bytes(render_gguf(GEMMA | model, TENSORS, 3))
    (tmp_path / "b.gguf").write_bytes(render_gguf(names[flag] | other, TENSORS, 3))
    argv = ("plan", "--model", str(tmp_path / "a.gguf"), flag, str(tmp_path / "b.gguf"))
    ran = shell.run(*argv, model=False)
    assert ran.status is not ExitStatus.FAILED, ran.stderr
