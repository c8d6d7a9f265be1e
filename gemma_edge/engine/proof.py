"""The proof that a device computes what Gemma 4 asks of it.

Two layers of random numbers in Gemma 4's own shapes and types (``planning.model.miniature``) are
evaluated on the processor and on a device, with flash attention, as a batch, a few tokens and one
by one, and the logits are compared. A kernel that is missing or broken shows here and not in an
answer. llama.cpp runs in a process of its own each time, so what it does to one device is told of
that one.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma_edge.errors import EngineError
from gemma_edge.gguf import Tensor
from gemma_edge.hardware.machine import Hardware
from gemma_edge.isolation import Child, ChildError, ChildMessage, Limits
from gemma_edge.planning.dry_run import (
    DryRun,
    fallback_note,
    parse_report,
    parse_splits,
    write_skeleton,
)
from gemma_edge.planning.memory import account
from gemma_edge.planning.model import miniature, parse_shape
from gemma_edge.planning.plan import ALL_LAYERS, Allocated, Ledger, Placement
from gemma_edge.records import dataclass
from gemma_edge.units import MIB

if TYPE_CHECKING:
    from numpy.typing import NDArray

CPU = "CPU"  # ggml's name of the processor
LIMIT_SECONDS = 300.0  # a first start on a GPU can compile its kernels for minutes
# Of the logits' own variance. The same numbers in another order of additions, rounded to 8 and to
# 16 bits in between, differ by 0.0001 to 0.002; a kernel that is wrong by 1 or more.
MOST_DIFFERENCE = 0.02
CHUNKS = (96, 5, 1, 1, 1)  # tokens of a batch: beyond the window, a few, single ones
# A batch that warms it up, one that is timed, then single ones; the processor is slower.
SPEED_CHUNKS, CPU_SPEED_CHUNKS = (512, 512, *(1,) * 32), (64, 64, *(1,) * 8)
CONTEXT_TOKENS = 32_768  # what the memory is compared at
MOST_SHARE, MOST_BYTES = 0.02, 8 * MIB  # what a prediction of memory may be off by
_PROGRAM = "gemma_edge.engine.dry_run_child:main"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """One part in one memory, in bytes: as the ledger has it, and as llama.cpp allocated it."""

    place: str
    part: str
    predicted: int
    allocated: int

    @property
    def off(self) -> int:
        return abs(self.predicted - self.allocated)

    @property
    def fits(self) -> bool:
        return self.off <= max(MOST_BYTES, MOST_SHARE * self.allocated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came of one device, by ggml's name. ``difference`` is that of the logits to the
    processor's, as a share of their variance; None for the processor itself, or where ``trouble``
    says why there is none. Speeds are in tokens a second of the two layers, 0 where they were not
    measured. ``splits`` is in how many pieces llama.cpp cut the graph; ``note`` says where that is
    more than usual, because operations run on the processor."""

    device: str
    difference: float | None = None
    trouble: str = ""
    prefill: float = 0.0
    decode: float = 0.0
    memory: tuple[MemoryRow, ...] = ()
    splits: int = 0
    note: str = ""

    @property
    def sound(self) -> bool:
        """Whether it computes, and the same as the processor."""
        return not self.why

    @property
    def why(self) -> str:
        """What is wrong with it, in a few words, "" where nothing is."""
        differs = self.difference is not None and not self.difference <= MOST_DIFFERENCE
        text = f"its logits are off by {self.difference:.2g}" if differs else ""
        return f"{self.device}: {self.trouble or text}" if self.trouble or text else ""


@dataclass(frozen=True, slots=True)
class Run:
    """A real load and what was evaluated: llama.cpp's own lines, the seconds of the load and of
    each chunk, the logits ``float32[chunks, vocabulary]`` where they were asked for, and how many
    copies of ggml the process held (0: not known)."""

    lines: tuple[str, ...]
    seconds: tuple[float, ...]
    logits: "NDArray[Any]"
    copies: int

    @property
    def allocated(self) -> tuple[Allocated, ...]:
        return parse_report(self.lines)


class Trial:
    """A process with llama.cpp that loads and evaluates what it is told; a context manager.
    ``endpoints`` are RPC servers ("host:port") whose devices it sees too."""

    def __init__(self, endpoints: Sequence[str] = (), limit_seconds: float = LIMIT_SECONDS) -> None:
        self._child = Child(_PROGRAM, *endpoints, limits=Limits(seconds=limit_seconds))

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    def run(
        self, model: Path, placement: Placement, chunks: Sequence[int], *, threads: int = 1,
        logits: bool = False,
    ) -> Run:  # fmt: skip
        """Load it, and keep it until the next call or the end.
        Raises EngineError: llama.cpp cannot, its words; or it stopped, and how."""
        import numpy as np  # noqa: PLC0415  (0.1 s, and a plain look at a machine needs none of it)

        asked = {
            "model": str(model.absolute()), "placement": asdict(placement), "chunks": list(chunks),
            "threads": threads, "logits": logits,
        }  # fmt: skip
        try:
            answer: ChildMessage = self._child.call(asked)
        except ChildError as error:
            raise EngineError(str(error)) from None
        found, numbers = answer.header, np.frombuffer(answer.parts[0], np.float32)
        return Run(
            tuple(found["lines"]), tuple(found["seconds"]),
            numbers.reshape(len(chunks), -1) if logits else numbers, found["copies"],
        )  # fmt: skip


def prove(  # noqa: PLR0913  (which devices, and how they are reached)
    devices: Sequence[str],
    *,
    endpoints: Sequence[str] = (),
    threads: int = 1,
    variables: tuple[str, ...] = (),
    hardware: Hardware | None = None,
    limit_seconds: float = LIMIT_SECONDS,
) -> Iterator[Proof]:
    """The processor, then each device, one after another. With ``hardware`` speed and memory are
    measured too, against the ledger that planning would make for that machine; ``variables`` are
    the machine's own.
    Raises EngineError: there is no room for the file."""
    with _written() as path:
        reference = None
        for device in (CPU, *devices):
            try:
                with Trial(endpoints, limit_seconds) as trial:
                    placement = _placement(device, variables)
                    run = trial.run(path, placement, CHUNKS, threads=threads, logits=True)
                    off = None if device == CPU else difference(reference, run.logits)
                    proof = _judge(device, off, placement, run)
                    reference = run.logits if device == CPU else reference
                    measures = hardware is not None and proof.sound
                    placement = replace(placement, context_tokens=CONTEXT_TOKENS)
                    chunks = CPU_SPEED_CHUNKS if device == CPU else SPEED_CHUNKS
                    if measures:
                        run = trial.run(path, placement, chunks, threads=threads)
                if hardware is not None and measures:
                    proof = _measure(proof, run, placement, hardware, endpoints)
            except EngineError as error:
                proof = Proof(device=device, trouble=error.message)
            yield proof
            if reference is None:  # there is nothing to compare with
                return


def difference(reference: "NDArray[Any] | None", logits: "NDArray[Any]") -> float:
    """The largest mean square difference of one chunk's logits, as a share of the variance of the
    ``reference``; infinite where numbers are missing."""
    import numpy as np  # noqa: PLC0415

    if reference is None or reference.shape != logits.shape or not np.isfinite(logits).all():
        return math.inf
    spread = reference.var(axis=1)
    return float((((logits - reference) ** 2).mean(axis=1) / spread).max())


def compare(ledger: Ledger, allocated: Sequence[Allocated]) -> Iterator[MemoryRow]:
    """Part by part and place by place, those of the model's file left out: llama.cpp counts the
    whole range that it maps."""
    rows = [row for row in allocated if not row.reclaimable]
    kinds = {
        "weights": ("weights",), "cache": ("KV global", "KV window"), "output": ("output",),
        "compute": ("compute", "KV scratch", "expert copy"),
    }  # fmt: skip
    for each in ledger.accounts:
        for kind, names in kinds.items():
            own = (p for p in each.parts if p.name in names and not p.reclaimable)
            predicted = sum(part.size_bytes for part in own)
            real = sum(r.size_bytes for r in rows if r.place == each.place and r.part in names)
            if predicted or real:
                yield MemoryRow(place=each.place, part=kind, predicted=predicted, allocated=real)


def _placement(device: str, variables: tuple[str, ...] = ()) -> Placement:
    """All layers on the device, or on the processor."""
    placement = Placement(context_tokens=1024, batch_tokens=512, variables=variables)
    if device == CPU:
        return placement
    return replace(placement, devices=(device,), gpu_layers=ALL_LAYERS)


def _judge(device: str, off: float | None, placement: Placement, run: Run) -> Proof:
    used = {row.place for row in run.allocated if row.part == "weights"}
    trouble = "" if device == CPU or device in used else "llama.cpp put nothing there"
    splits = parse_splits(run.lines)
    note = fallback_note(placement, 2, splits)
    return Proof(device=device, difference=off, trouble=trouble, splits=splits, note=note)


def _measure(
    proof: Proof, run: Run, placement: Placement, hardware: Hardware, endpoints: Sequence[str]
) -> Proof:
    """The trial is over: a server of ggml's RPC has one client at a time."""
    chunks = CPU_SPEED_CHUNKS if proof.device == CPU else SPEED_CHUNKS
    reading, single = run.seconds[2], run.seconds[3:]
    with DryRun(endpoints) as dry:
        ledger = account(parse_shape(miniature()), None, placement, hardware, dry.measure)
    return replace(
        proof, prefill=chunks[1] / reading, decode=len(single) / sum(single),
        memory=tuple(compare(ledger, run.allocated)),
    )  # fmt: skip


@contextmanager
def _written() -> Iterator[Path]:
    """The file, for as long as it is needed."""
    shape = parse_shape(miniature())
    try:
        # Windows keeps a file that llama.cpp has open; the system removes it later.
        with tempfile.TemporaryDirectory("-gemma-edge", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "miniature.gguf"
            write_skeleton(shape, path, _Numbers())
            yield path
    except OSError as error:
        problem = f"the proof needs room for a file of 61 MB: {error.strerror or error}"
        raise EngineError(problem, hint="set TMPDIR to a folder on a disk") from error


class _Numbers:
    """Random weights of a tensor in ggml's own blocks, the same at each run. Nothing may hide what
    is wrong: their mean is 0, or one direction would outshine the rest; scores of attention are of
    some 4, or it would be a mean of all tokens; the router is sure, so that a rounding sends no
    token to another expert. Logits are of some 5."""

    def __init__(self) -> None:
        import numpy as np  # noqa: PLC0415

        self._numpy = np
        self._random = np.random.default_rng(4)

    def __call__(self, tensor: Tensor) -> bytes:
        count = math.prod(tensor.shape)
        spread = 1 / math.sqrt(tensor.shape[0])  # of a product: about that of its input
        if tensor.type == "Q4_0":  # a scale in 16 bits, 32 values of -8 to 7
            return self._blocks(count // 32, [("scale", "<f2"), ("values", "u1", 16)], spread / 4.6)
        if tensor.type == "Q8_0":
            return self._blocks(count // 32, [("scale", "<f2"), ("values", "u1", 32)], spread / 74)
        if tensor.type == "Q6_K":  # values of -32 to 31, and 16 scales of 8 bits
            names = [("values", "u1", 192), ("scales", "i1", 16), ("scale", "<f2")]
            return self._blocks(count // 256, names, spread / (18.5 * 33))
        return self._plain(tensor, count)

    def _blocks(self, count: int, names: list[Any], scale: float) -> bytes:
        numpy = self._numpy
        blocks = numpy.empty(count, numpy.dtype(names))
        shape = blocks["values"].shape
        blocks["values"] = self._random.integers(0, 256, shape, numpy.uint8)
        blocks["scale"] = scale * self._signs(count)
        if "scales" in blocks.dtype.names:
            size = self._random.integers(16, 48, count * 16)
            blocks["scales"] = (size * self._signs(size.size)).reshape(count, 16)
        return bytes(blocks.tobytes())

    def _plain(self, tensor: Tensor, count: int) -> bytes:
        numpy, name = self._numpy, tensor.name
        if name == "rope_freqs.weight":  # the first quarter turns, as in the real files
            values = numpy.where(numpy.arange(count) < count // 4, 1.0, 1e30)
        elif name.endswith("_exps.scale"):
            values = numpy.geomspace(0.3, 3, count)
        elif len(tensor.shape) > 1:
            spread = 4.0 if "ffn_gate_inp" in name else 1 / math.sqrt(tensor.shape[0])
            values = self._random.normal(0, spread, count)
        else:
            middle = 5.0 if name == "output_norm.weight" else 1.0
            middle = 0.5 if name.endswith(("attn_q_norm.weight", "attn_k_norm.weight")) else middle
            values = middle * self._random.uniform(0.7, 1.3, count) * self._signs(count)
        floats = values.astype("<f4")
        if tensor.type == "BF16":  # the upper half of 32 bits
            return bytes((floats.view("<u4") >> 16).astype("<u2").tobytes())
        assert tensor.type == "F32"
        return bytes(floats.tobytes())

    def _signs(self, count: int) -> Any:
        return self._random.integers(0, 2, count) * 2 - 1
