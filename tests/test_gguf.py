"""The header reader: real files, hand-made ones, and many that were damaged on purpose."""

import contextlib
import os
import random
import struct
import sys
import time
import tracemalloc
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from gemma_edge import gguf
from gemma_edge.errors import ModelError
from tests.shared import DATA

ROOT = Path(__file__).parent.parent
REAL = [
    *sorted((ROOT / "models" / "demo").glob("*.gguf")),
    *sorted((ROOT / "tests" / "models").glob("*.gguf")),
    *sorted(DATA.glob("*.gguf")),
]
MODELS = [path for path in REAL if "vocab" not in path.name]  # a vocabulary has no tensors
U64 = struct.Struct("<Q")


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_are_read_to_their_last_byte(path):
    header = gguf.read_header(path)
    assert header.architecture in ("gemma4", "gemma4-assistant", "clip")
    assert header.file_bytes == path.stat().st_size
    ends = [tensor.offset_bytes + tensor.size_bytes for tensor in header.tensors]
    if ends:  # the last tensor ends where the file does, but for padding
        assert 0 <= header.file_bytes - max(ends) < 64


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_a_cut_tensor_table_or_a_missing_last_byte_is_refused(path, tmp_path):
    data = path.read_bytes()[:-64]
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(data)
    with pytest.raises(ModelError, match="is cut off: it has .* its tensors need"):
        gguf.read_header(cut)


def test_values_of_every_kind(write_gguf):
    header = gguf.read_header(
        write_gguf(
            "a.gguf",
            {
                "general.architecture": "gemma4",
                "gemma4.context_length": 8192,
                "gemma4.attention.head_count_kv": [2, 2, 1],
                "general.sampling.temp": 0.5,
                "tokenizer.ggml.add_bos_token": True,
                "tokenizer.ggml.tokens": ["<pad>", "a"],
                "long": list(range(gguf.MAX_KEPT_VALUES + 1)),
                "vocabulary": ["x"] * (gguf.MAX_KEPT_VALUES + 1),
            },
        )
    )
    assert header.architecture == "gemma4"
    assert header.integer(".context_length") == 8192
    assert header.integer("general.sampling.temp") is None
    assert header.integer("tokenizer.ggml.add_bos_token") is None
    assert header.metadata["gemma4.attention.head_count_kv"] == (2, 2, 1)
    assert header.metadata["tokenizer.ggml.tokens"] == ("<pad>", "a")
    assert header.metadata["long"] == gguf.Skipped(gguf.MAX_KEPT_VALUES + 1)
    assert header.metadata["vocabulary"] == gguf.Skipped(gguf.MAX_KEPT_VALUES + 1)
    (tensor,) = header.tensors
    assert (tensor.type, tensor.shape, tensor.size_bytes) == ("F32", (32, 4), 512)


def test_version_2_is_read_and_others_are_named(write_gguf):
    assert gguf.read_header(write_gguf("v2.gguf", {"a": 1}, version=2)).metadata == {"a": 1}
    for version, hint in ((1, "newer file"), (4, "update gemma-edge")):
        with pytest.raises(ModelError, match=f"GGUF version {version}") as caught:
            gguf.read_header(write_gguf("v.gguf", {"a": 1}, version=version))
        assert hint in caught.value.hint


def test_big_endian_is_refused_by_name(tmp_path):
    path = tmp_path / "big.gguf"
    path.write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    with pytest.raises(ModelError, match="big-endian"):
        gguf.read_header(path)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("missing.gguf", "there is no file", "it was looked for in"),
        ("empty.gguf", "is empty", "download it again"),
        ("text.gguf", "is not a GGUF file", ".gguf"),
        ("short.gguf", "is cut off", "download it again"),
        ("folder", "is a folder", "folder/inside.gguf"),
    ],
)
def test_what_is_no_model_file(tmp_path, name, message, hint):
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "text.gguf").write_text("hello", encoding="utf-8")
    (tmp_path / "short.gguf").write_bytes(b"GGUF\x03\0\0")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside.gguf").touch()
    with pytest.raises(ModelError, match=message) as caught:
        gguf.read_header(tmp_path / name)
    assert hint in caught.value.hint.replace("\\", "/")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (struct.pack("<I", 8) + U64.pack(1 << 63), "at most"),  # a text of 2^63 bytes
        (struct.pack("<IIQ", 9, 4, 1 << 63), "cut off"),  # 2^63 numbers
        (struct.pack("<IIQ", 9, 8, (1 << 64) - 1), "cut off"),  # 2^64 - 1 texts
        (struct.pack("<IIQ", 9, 9, 1), "array of arrays"),
        (struct.pack("<IIQ", 9, 99, 1), "unknown type 99"),
        (struct.pack("<I", 13), "unknown type 13"),
        (struct.pack("<I", 4), "cut off"),
    ],
)
def test_hostile_values(tmp_path, value, message):
    path = tmp_path / "hostile.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + U64.pack(1) + b"a" + value)
    with pytest.raises(ModelError, match=message):
        gguf.read_header(path)


@pytest.mark.parametrize("counts", [(1 << 63, 0), (0, 1 << 63), (60_000, 0), (0, 60_000)])
def test_hostile_counts(tmp_path, counts):
    path = tmp_path / "hostile.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *counts) + b"\0" * 100)
    with pytest.raises(ModelError, match="is damaged|is cut off"):
        gguf.read_header(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([("t", (1 << 62, 1 << 62), 0)], "`t` has the dimensions 4,611,686,018,427,387,904 x"),
        ([("t", (1 << 60,), 0)], "cut off"),
        ([("t", (32, 0), 0)], "`t` has the dimensions 32 x 0"),
        ([("t", (32,), 0), ("t", (32,), 0)], "`t` stands twice"),
        ([("t" * 1000, (0,), 0)], "t …"),
        ([("t", (33,), 8)], "whole blocks"),
        ([("t", (32,), 77)], "unknown type 77"),
        ([("t", (1, 1, 1, 1, 1), 0)], "5 dimensions"),
    ],
)
def test_hostile_tensors(tmp_path, tensors, message):
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 0)
    for name, shape, kind in tensors:
        data += U64.pack(len(name)) + name.encode() + struct.pack("<I", len(shape))
        data += struct.pack(f"<{len(shape)}QIQ", *shape, kind, 0)
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data + b"\0" * 256)
    with pytest.raises(ModelError, match=message):
        gguf.read_header(path)


GEMMA = {
    "general.architecture": "gemma4", "gemma4.block_count": 4, "gemma4.context_length": 8192,
    "gemma4.embedding_length": 32, "gemma4.attention.head_count": 2,
    "gemma4.attention.head_count_kv": [1, 1, 1, 1], "gemma4.feed_forward_length": [64] * 4,
    "gemma4.attention.key_length": 16, "gemma4.attention.value_length": 16,
    "gemma4.attention.sliding_window": 64, "gemma4.attention.shared_kv_layers": 1,
    "gemma4.attention.sliding_window_pattern": [True, True, False, False],
    "gemma4.expert_count": 8, "gemma4.expert_used_count": 2, "gemma4.rope.freq_base": 1e6,
    "gemma4.embedding_length_per_layer_input": 8, "gemma4.vocab_size": 4,
    "gemma4.rope.scaling.factor": 1.0, "general.sampling.top_k": 64,
}  # fmt: skip
CLIP = {
    "general.architecture": "clip", "general.type": "mmproj", "clip.has_vision_encoder": True,
    "clip.vision.projection_dim": 32, "clip.vision.block_count": 2, "clip.vision.patch_size": 16,
    "clip.vision.embedding_length": 16, "clip.vision.feed_forward_length": 32,
    "clip.vision.image_size": 224, "clip.vision.attention.head_count": 2,
}  # fmt: skip
LORA = {
    "general.architecture": "gemma4", "general.type": "adapter", "adapter.type": "lora",
    "adapter.lora.alpha": 4.0,
}  # fmt: skip
KINDS = {"gemma4": GEMMA, "clip": CLIP, "lora": LORA}
COUNTS = [
    (kind, key) for kind, whole in KINDS.items() for key, value in whole.items()
    if isinstance(value, int) and not isinstance(value, bool)
]  # fmt: skip


def u64(value):
    return struct.pack("<IQ", 10, value)


@pytest.mark.parametrize(("kind", "key"), COUNTS)
@pytest.mark.parametrize(
    "value",
    [
        u64(1 << 40), u64(1 << 63), u64((1 << 64) - 1), struct.pack("<Iq", 11, -(1 << 63)),
        -(1 << 31), 1.5e30, float("nan"), float("inf"), "many", "9" * 5000, [1, 2],
    ],
)  # fmt: skip
def test_no_number_is_believed(write_gguf, kind, key, value):
    started = time.process_time()
    with pytest.raises(ModelError, match="is damaged: ") as caught:
        gguf.read_header(write_gguf("hostile.gguf", KINDS[kind] | {key: value}))
    assert f"`{key}`" in caught.value.message
    assert len(caught.value.message) < 600
    assert "\n" not in caught.value.message
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gemma4.block_count", 0),
        ("gemma4.block_count", 513),
        ("gemma4.block_count", 300_000_000),
        ("gemma4.context_length", 0),
        ("gemma4.attention.head_count", 0),
        ("gemma4.attention.head_count", [0, 0, 0, 0]),
        ("gemma4.attention.head_count_kv", [1, 1, 1]),
        ("gemma4.attention.head_count_kv", [1, 1, 1, -1]),
        ("gemma4.attention.head_count_kv", [1] * (gguf.MAX_KEPT_VALUES + 1)),
        ("gemma4.feed_forward_length", [64] * 5),
        ("gemma4.feed_forward_length", [64.0] * 4),
        ("gemma4.attention.sliding_window_pattern", [True]),
        ("gemma4.attention.sliding_window_pattern", "abcd"),
        ("gemma4.attention.shared_kv_layers", 4),
        ("gemma4.attention.value_length", 8),
        ("gemma4.rope.dimension_count", 7),
        ("gemma4.rope.dimension_count", 32),
        ("gemma4.expert_used_count", 9),
        ("gemma4.expert_used_count", 0),
        ("gemma4.expert_count", 5000),
        ("gemma4.rope.freq_base", float("nan")),
        ("gemma4.rope.freq_base", "fast"),
        ("gemma4.rope.scaling.factor", -1.0),
        ("gemma4.attention.layer_norm_rms_epsilon", float("inf")),
        ("gemma4.final_logit_softcapping", float("nan")),
        ("general.architecture", "a" * 1000),
        ("general.architecture", 7),
    ],
)
def test_numbers_that_no_model_has(write_gguf, key, value):
    with pytest.raises(ModelError, match="is damaged: ") as caught:
        gguf.read_header(write_gguf("hostile.gguf", GEMMA | {key: value}))
    assert f"`{key}`" in caught.value.message


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("clip", "clip.vision.patch_size", 0),
        ("clip", "clip.vision.image_size", 0),
        ("clip", "clip.vision.projector.scale_factor", 0),
        ("clip", "clip.audio.block_count", 1 << 30),
        ("lora", "adapter.lora.alpha", float("inf")),
        ("lora", "adapter.lora.alpha", "strong"),
    ],
)
def test_numbers_that_no_projector_or_adapter_has(write_gguf, kind, key, value):
    with pytest.raises(ModelError, match=f"is damaged: `{key}` is"):
        gguf.read_header(write_gguf("hostile.gguf", KINDS[kind] | {key: value}))


def test_numbers_that_models_have(write_gguf):
    """Also those of models that attend to nothing."""
    for kind, whole in KINDS.items():
        assert gguf.read_header(write_gguf(f"{kind}.gguf", whole)).metadata.keys() == whole.keys()
    recurrent = {
        "general.architecture": "mamba", "mamba.block_count": 64, "mamba.context_length": 1 << 20,
        "mamba.attention.head_count": 0, "mamba.feed_forward_length": 0, "mamba.ssm.state_size": 16,
    }  # fmt: skip
    assert gguf.read_header(write_gguf("mamba.gguf", recurrent)).metadata == recurrent


def test_a_key_that_stands_twice_and_a_wrong_alignment(tmp_path, write_gguf):
    key = U64.pack(1) + b"a" + struct.pack("<Ii", 5, 1)
    path = tmp_path / "twice.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + key * 2)
    with pytest.raises(ModelError, match="`a` stands twice"):
        gguf.read_header(path)
    for alignment in (0, 3, -8, 1 << 30):
        with pytest.raises(ModelError, match="alignment"):
            gguf.read_header(write_gguf("aligned.gguf", {"general.alignment": alignment}))


def test_cut_anywhere_is_an_error(write_gguf, tmp_path):
    whole = write_gguf("whole.gguf", {"general.architecture": "gemma4", "l": [1, 2], "s": ["a"]})
    data = whole.read_bytes()
    for size in range(len(data)):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(data[:size])
        with pytest.raises(ModelError):
            gguf.read_header(cut)


def test_long_lists_of_empty_texts_are_bounded(tmp_path):
    count = gguf.MAX_STEPS + 1
    path = tmp_path / "long.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + U64.pack(1) + b"a")
        file.write(struct.pack("<IIQ", 9, 8, count))
        file.truncate(file.tell() + 8 * count)  # a hole: no space on disk
    started = time.monotonic()
    with pytest.raises(ModelError, match="texts"):
        gguf.read_header(path)
    assert time.monotonic() - started < 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in the file system")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelError, match="is not a file"):
        gguf.read_header(tmp_path / "pipe.gguf")


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutations_end_in_a_header_or_one_error(write_gguf, tmp_path, count):
    base = write_gguf(
        "base.gguf",
        {
            "general.architecture": "gemma4",
            "gemma4.context_length": 8192,
            "gemma4.pattern": [True, False],
            "tokenizer.ggml.tokens": ["<pad>", "<eos>", "a", "b"],
            "tokenizer.ggml.merges": ["a b"] * (gguf.MAX_KEPT_VALUES + 1),
            "tokenizer.ggml.scores": [0.5] * 64,
        },
        [("token_embd.weight", (32, 4), 0), ("output_norm.weight", (32,), 0)],
    ).read_bytes()
    header_bytes = len(base) - 512 - 128
    path = tmp_path / "mutated.gguf"
    for seed in range(count):
        data = mutate(base, header_bytes, random.Random(seed))
        path.write_bytes(data)
        started = time.process_time()
        local = outcome(lambda: gguf.read_header(path))
        assert time.process_time() - started < 1, seed
        if seed % 10 == 0:  # the same in parts; and memory, whose measuring makes all slow
            tracemalloc.start()
            assert outcome(partial(parse, data, str(path))) == local, seed
            _, peak_bytes = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak_bytes < 64 << 20, seed


def outcome(read):
    try:
        return read()
    except ModelError as error:
        assert "\n" not in error.message
        return error.message


def parse(data, name):
    return gguf.parse_header(lambda start, count: data[start : start + count], len(data), name)


def hostile(kind, payload):
    """A header of one kind of thing, as many as are read before it is refused."""
    if kind == "arrays":  # each as long as is kept
        body = struct.pack("<IIQ", 9, *payload) + b"\0" * 8 * gguf.MAX_KEPT_VALUES
        entries = [U64.pack(8) + U64.pack(n) + body for n in range(700)]
        return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)
    if kind == "keys":
        entries = [U64.pack(8) + U64.pack(n) + struct.pack("<IB", 7, 1) for n in range(60_000)]
        return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)
    if kind == "tensors":
        row = struct.pack("<IQIQ", 1, 32, 0, 0)
        entries = [U64.pack(8) + U64.pack(n) + row for n in range(60_000)]
        return b"GGUF" + struct.pack("<IQQ", 3, len(entries), 0) + b"".join(entries) + b"\0" * 256
    text = U64.pack(4) + b"abcd"
    count = gguf.MAX_STEPS
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + U64.pack(1) + b"a"
    return head + struct.pack("<IIQ", 9, 8, count) + text * count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("arrays", (8, gguf.MAX_KEPT_VALUES)),  # of texts
        ("arrays", (10, gguf.MAX_KEPT_VALUES)),  # of numbers
        ("keys", ()),
        ("tensors", ()),
        ("texts", ()),
    ],
)
def test_the_longest_headers_that_are_read_take_about_a_second(kind, payload):
    """A second is about 30 times the plain loop below on a usual machine; some are slower."""
    data = hostile(kind, payload)
    texts = (U64.pack(1) + b"a") * 100_000

    def loop():
        return [texts[at + 8 : at + 9].decode() for at in range(0, len(texts), 9)
                if U64.unpack_from(texts, at) != (0,)]  # fmt: skip

    def read():
        with contextlib.suppress(ModelError):
            parse(data, "hostile.gguf")

    def seconds(work):
        started = time.process_time()
        work()
        return time.process_time() - started

    # In turns, because a machine that is shared changes its speed.
    assert any(seconds(read) < 40 * seconds(loop) for _ in range(5))
    if kind != "texts":  # of which nothing is kept
        tracemalloc.start()
        read()
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 256 << 20


class Parts:
    """A file that is read in parts, as from a hub."""

    def __init__(self, data):
        self.data = data
        self.asked = []

    def read(self, start, count):
        self.asked.append((start, count))
        return self.data[start : start + count]

    @property
    def read_bytes(self):
        return sum(count for _, count in self.asked)


@pytest.fixture
def large(write_gguf):
    """8 MiB of weights behind 1.4 MB of header, of which 0.6 MB can be stepped over."""
    return write_gguf(
        "large.gguf",
        {
            "general.architecture": "gemma4",
            "gemma4.embedding_length": 2560,
            "tokenizer.ggml.tokens": ["token"] * 60_000,
            "tokenizer.ggml.scores": [0.5] * 150_000,
            "tokenizer.chat_template": "x" * 20_000,
        },
        [("token_embd.weight", (1024, 2048), 0)],
    )


def test_a_remote_header_is_read_in_parts_that_grow(large):
    parts = Parts(large.read_bytes())
    header = gguf.parse_header(parts.read, len(parts.data), "hf:owner/repo/large.gguf")
    local = gguf.read_header(large)
    assert (header.metadata, header.tensors) == (local.metadata, local.tensors)
    assert header.path.name == "large.gguf"
    assert parts.asked[0] == (0, gguf.FIRST_PART_BYTES)
    counts = [count for _, count in parts.asked]
    assert all(late == 2 * early for early, late in pairwise(counts))
    assert all(end[0] >= sum(begin) for begin, end in pairwise(parts.asked))
    assert parts.read_bytes < 2_500_000 < len(parts.data)


def test_facts_before_the_vocabulary_cost_one_part(large):
    parts = Parts(large.read_bytes())
    keys = ["general.architecture", "gemma4.embedding_length"]
    found = gguf.parse_metadata(parts.read, len(parts.data), "large.gguf", keys)
    assert found == {"general.architecture": "gemma4", "gemma4.embedding_length": 2560}
    assert parts.read_bytes == gguf.FIRST_PART_BYTES
    missing = gguf.parse_metadata(parts.read, len(parts.data), "large.gguf", ["no.such.key"])
    assert missing == dict(gguf.read_header(large).metadata)


def test_a_hub_that_sends_less_than_it_has_is_an_error(large):
    data = large.read_bytes()
    with pytest.raises(ModelError, match="is cut off"):
        gguf.parse_header(lambda start, count: data[start : start + count - 1], len(data), "a.gguf")


def test_a_header_that_never_ends_is_given_up():
    """16,384 texts of 4 KiB, over and over, none of them kept: 64 MiB are read, not the 2 TiB."""
    text = U64.pack(4096) + b"x" * 4096
    count = 1 << 20
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + U64.pack(1) + b"a"
    head += struct.pack("<IIQ", 9, 8, count)
    asked = []

    def read(start, size):
        asked.append(size)
        stretch = -(-(start % len(text) + size) // len(text)) * text
        early = head[start : start + size]
        skipped = max(start - len(head), 0) % len(text)
        return (early + (text + stretch)[skipped:])[:size]

    with pytest.raises(ModelError, match="its header takes more than 64.0 MiB"):
        gguf.parse_header(read, 1 << 41, "endless.gguf")
    assert sum(asked) <= gguf.MAX_HEADER_BYTES + gguf.MAX_PART_BYTES


@pytest.mark.parametrize(
    ("name", "metadata", "part"),
    [
        ("gemma-BF16-00001-of-00003.gguf", {"a": 1}, "part 1 of 3"),
        ("gemma-BF16-00003-of-00003.gguf", {"split.no": 2, "split.count": 3}, "part 3 of 3"),
        ("renamed.gguf", {"split.no": 1, "split.count": 2}, "part 2 of 2"),
        ("renamed.gguf", {"split.count": 2}, "part 1 of 2"),
    ],
)
def test_parts_of_a_split_model_are_refused_by_name_and_by_header(write_gguf, name, metadata, part):
    path = write_gguf(name, metadata)
    for read in (lambda: gguf.read_header(path), lambda: parse(path.read_bytes(), name)):
        with pytest.raises(ModelError, match=part) as caught:
            read()
        assert "llama-gguf-split --merge" in caught.value.hint


def test_a_split_into_one_is_whole(write_gguf):
    path = write_gguf("a-00001-of-00001.gguf", {"split.no": 0, "split.count": 1})
    assert gguf.read_header(path).tensors


def test_names_from_a_file_cannot_move_the_cursor(write_gguf):
    unknown = struct.pack("<I", 77)
    for path in (
        write_gguf("key.gguf", {"a\n\x1b[2J": unknown}),
        write_gguf("tensor.gguf", {}, [("t\n\x1b[2J", (32,), 77)]),
    ):
        with pytest.raises(ModelError, match="unknown type 77") as caught:
            gguf.read_header(path)
        assert caught.value.message.isprintable()


def mutate(data: bytes, header_bytes: int, dice: random.Random) -> bytes:
    """Flip bytes, overwrite a length, cut, or repeat a piece of the header."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(header_bytes)
        kind = dice.randrange(4)
        if kind == 0:
            changed[place] = dice.randrange(256)
        elif kind == 1:
            number = dice.choice([0, 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
            changed[place : place + 8] = U64.pack(number)
        elif kind == 2:
            del changed[place : place + dice.randint(1, 16)]
        else:
            changed[place:place] = changed[place : place + dice.randint(1, 64)]
    return bytes(changed)
