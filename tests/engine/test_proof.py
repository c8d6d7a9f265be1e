"""The proof of a device: Gemma 4's own shapes on the processor and on ggml's RPC device, and files
that differ from each other as a broken kernel would."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemma_edge import gguf
from gemma_edge.engine import proof
from gemma_edge.engine.proof import CPU, MemoryRow, Proof, Trial, compare, difference, prove
from gemma_edge.errors import EngineError
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import Account, Allocated, Ledger, MemoryPart
from gemma_edge.units import MIB
from tests.doctor.machines import LAPTOP, RTX
from tests.engine.rpc import has_rpc
from tests.engine.test_placement import port

__all__ = ["port"]  # the fixture: a server on loopback

RPC = replace(RTX, name="RPC0", title="RPC0", backend="rpc")
ON_RPC = replace(LAPTOP, devices=(RPC, replace(RPC, name="RPC1")))
needs_rpc = pytest.mark.skipif(not has_rpc(), reason="this llama.cpp has no RPC backend")


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with proof._written() as written:
        yield written


def test_the_file_has_the_shapes_of_the_real_ones(path: Path) -> None:
    """Heads of 256 and 512, one pair of keys and values for eight, experts, and every type that
    the published files have; a device that lacks one of these kernels cannot pass."""
    header = gguf.read_header(path)
    shape = parse_shape(header)
    assert [layer.key_values for layer in shape.layers] == [256, 512]
    assert [layer.kind for layer in shape.layers] == ["window", "global"]
    assert header.integer(".attention.head_count") == 8
    assert header.integer(".expert_count") == 8
    assert {t.type for t in header.tensors} == {"F32", "BF16", "Q4_0", "Q6_K", "Q8_0"}
    assert path.stat().st_size < 64_000_000


def test_a_wrong_number_anywhere_is_seen(path: Path, tmp_path: Path) -> None:
    """The halves of one matrix are exchanged: what a kernel that reads a wrong row would do. In
    each kind of matrix it has to show, or the proof proves nothing about that kernel."""
    header, data = gguf.read_header(path), path.read_bytes()
    names = (
        "rope_freqs.weight", "blk.0.attn_k.weight", "blk.1.ffn_down.weight",
        "blk.0.ffn_gate_up_exps.weight", "blk.1.ffn_down_exps.weight", "blk.0.ffn_gate_inp.weight",
    )  # fmt: skip
    chunks = (24, 1)
    other = tmp_path / "other.gguf"
    with Trial() as trial:
        right = trial.run(path, proof._placement(CPU), chunks, logits=True).logits
        for tensor in (t for t in header.tensors if t.name in names):
            start, middle = tensor.offset_bytes, tensor.offset_bytes + tensor.size_bytes // 2
            end = start + tensor.size_bytes
            other.write_bytes(data[:start] + data[middle:end] + data[start:middle] + data[end:])
            wrong = trial.run(other, proof._placement(CPU), chunks, logits=True).logits
            off = difference(right, wrong)
            assert not Proof(device="X", difference=off).sound, (tensor.name, off)
    assert len(right) == len(chunks)


@needs_rpc
def test_devices_one_after_another(port: int) -> None:
    endpoint = f"127.0.0.1:{port}"
    found = list(prove(("RPC0", "RPC9", "RPC1"), endpoints=[endpoint]))
    processor, first, missing, last = found
    assert processor == Proof(device=CPU, splits=processor.splits)
    assert first.sound and last.sound  # one that is missing keeps no other from being tried
    assert first.difference is not None and 0 <= first.difference < 0.005
    assert first.splits > 0
    assert "no device RPC9" in missing.trouble
    assert not missing.sound


@needs_rpc
def test_speed_and_memory_of_a_device(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "SPEED_CHUNKS", (32, 32, 1, 1))
    monkeypatch.setattr(proof, "CPU_SPEED_CHUNKS", (32, 32, 1, 1))
    found = list(prove(("RPC0",), endpoints=[f"127.0.0.1:{port}"], hardware=ON_RPC))
    for each in found:
        assert each.sound, each
        assert each.prefill > 0 and each.decode > 0
        assert each.memory and all(row.fits for row in each.memory), each
    places = {row.place for row in found[1].memory if row.part == "weights"}
    assert "RPC0" in places


def test_a_processor_that_cannot_is_told_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise EngineError("illegal instruction")

    monkeypatch.setattr(Trial, "run", refuse)
    assert list(prove(("RPC0",))) == [Proof(device=CPU, trouble="illegal instruction")]


def test_no_room_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(proof, "write_skeleton", full)
    with pytest.raises(EngineError, match="room for a file of 61 MB: No space"):
        list(prove(()))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_as_far_off_as_can_be(value: float) -> None:
    right = np.arange(6, dtype=np.float32).reshape(2, 3)
    wrong = right.copy()
    wrong[1, 2] = value
    assert difference(right, right) == 0
    assert difference(right, wrong) == np.inf
    assert not Proof(device="X", difference=difference(right, wrong)).sound


def test_memory_is_compared_part_by_part() -> None:
    ledger = Ledger(
        accounts=(
            Account(
                place="RAM",
                title="",
                budget_bytes=None,
                parts=(
                    MemoryPart(name="weights", size_bytes=900 * MIB, reclaimable=True),
                    MemoryPart(name="KV global", size_bytes=60 * MIB),
                    MemoryPart(name="KV window", size_bytes=40 * MIB),
                    MemoryPart(name="margin", size_bytes=999 * MIB),
                ),
            ),
        )
    )
    real = (
        Allocated("RAM", "weights", 950 * MIB, reclaimable=True),
        Allocated("RAM", "KV global", 109 * MIB),
    )
    (row,) = compare(ledger, real)
    assert row == MemoryRow(place="RAM", part="cache", predicted=100 * MIB, allocated=109 * MIB)
    assert not row.fits
    assert replace(row, allocated=108 * MIB).fits
