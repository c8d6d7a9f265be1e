"""Ask llama.cpp itself how large its buffers will be, for a model that need not be here.

A child process loads a skeleton of the file with ``no_alloc`` and makes a context: 20 to 60 ms a
placement, 10 to 15 ms a context more. Answers are kept.
"""

import contextlib
import ctypes
import math
import os
import re
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from gemma_edge.disk import create
from gemma_edge.errors import EngineError
from gemma_edge.gguf import TENSOR_TYPES, Header, Scalar, Skipped, Tensor
from gemma_edge.isolation import Child, ChildError, ChildStopped, Limits
from gemma_edge.planning.memory import Compute
from gemma_edge.planning.model import Shape
from gemma_edge.planning.plan import (
    RAM,
    Account,
    Allocated,
    Ledger,
    PartName,
    Placement,
    placement_items,
)
from gemma_edge.units import MIB

# It is the engine's program: it loads what the engine would load. Planning knows its name only.
_CHILD = "gemma_edge.engine.dry_run_child:main"
LIMIT_SECONDS = 60.0  # for one answer; a GPU's driver may hang


class DryRun:
    """A child process that measures; a context manager. ``endpoints`` are RPC servers ("host:port")
    whose devices it sees too."""

    def __init__(self, endpoints: Sequence[str] = ()) -> None:
        self._endpoints = endpoints
        self._child: Child | None = None
        self._stack = contextlib.ExitStack()
        self._folder: Path | None = None
        self._skeletons: dict[int, tuple[Shape, Path]] = {}  # by identity; the shape is kept alive
        self._answers: dict[tuple[object, ...], Compute] = {}

    def __enter__(self) -> "DryRun":
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()
        self._stack.close()
        self._folder = None

    def begin(self) -> Child:
        """Start the child before there is a question: it imports llama.cpp meanwhile."""
        if self._child is None:
            self._child = Child(_CHILD, *self._endpoints, limits=Limits(seconds=LIMIT_SECONDS))
        return self._child

    def measure(self, shape: Shape, placement: Placement) -> Compute:
        """What llama.cpp would allocate for this placement on this machine.

        Raises:
            EngineError: llama.cpp cannot load the model, or has no such device; its words.
        """
        key = (id(shape), _measured(placement))
        if key not in self._answers:
            self._answers[key] = _compute(self.report(shape, placement))
        return self._answers[key]

    def report(self, shape: Shape, placement: Placement) -> tuple[Allocated, ...]:
        """Its buffers as it names them.
        Raises EngineError: as above."""
        child = self.begin()
        asked = {"model": str(self._skeleton(shape)), "placement": asdict(_measured(placement))}
        try:
            return parse_report(child.call(asked).header["lines"])
        except (ChildError, EngineError) as error:
            if isinstance(error, ChildStopped):
                self._child = None  # the next question starts another
            raise EngineError(f"llama.cpp cannot plan {shape.header.path.name}: {error}") from None

    def _skeleton(self, shape: Shape) -> Path:
        if id(shape) in self._skeletons:
            return self._skeletons[id(shape)][1]
        try:
            if self._folder is None:
                # Windows keeps a file that llama.cpp has open; the system removes it later.
                folder = tempfile.TemporaryDirectory("-gemma-edge", ignore_cleanup_errors=True)
                self._folder = Path(self._stack.enter_context(folder))
            path = self._folder / f"{len(self._skeletons)}.gguf"
            write_skeleton(shape, path)
        except OSError as error:
            place = self._folder or "a temporary folder"
            problem = f"a dry run needs room for a file in {place}: {error.strerror or error}"
            raise EngineError(problem, hint="set TMPDIR to a folder on a disk") from error
        self._skeletons[id(shape)] = (shape, path)
        return path


def _measured(placement: Placement) -> Placement:
    """What of it the buffers depend on. Without a device's name it is the CPU alone."""
    changes: dict[str, Any] = {"projector_device": "", "image_tokens": 0, "load_mode": "mmap"}
    if not placement.devices or not placement.gpu_layers:
        changes |= {"devices": (), "gpu_layers": 0}
    return Placement(**dict(placement_items(placement)) | changes)


def _compute(rows: Sequence[Allocated]) -> Compute:
    def by_place(part: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in rows:
            if row.part == part:
                found[row.place or RAM] = found.get(row.place or RAM, 0) + row.size_bytes
        return found

    cache = sum(row.size_bytes for row in rows if row.part.startswith("KV"))
    return Compute(compute=by_place("compute"), output=by_place("output"), cache=cache)


# What llama.cpp says it allocated, and where that differs from the ledger.
#
# Its lines (llama-model.cpp, llama-kv-cache.cpp, llama-context.cpp):
#
#     load_tensors:        CUDA0 model buffer size =  2749.01 MiB
#     llama_kv_cache_iswa: creating     SWA KV cache, size = 1024 cells
#     llama_kv_cache:      CUDA0 KV buffer size =    40.00 MiB
#     sched_reserve:       CUDA0 compute buffer size =   112.00 MiB
#     llama_context:  CUDA_Host  output buffer size =     1.00 MiB
#     sched_reserve: graph (pp bs=512, tg bs=1): nodes = 1863, splits = 66 / 2, input objects = 5

WARN_SHARE, WARN_BYTES = 0.02, 32 * MIB  # of one place's parts of one kind

_BUFFER = re.compile(
    r"^(?:\w+:)? *(\S+?) +(model|LoRA|KV|compute|output) buffer size = +([\d.]+) MiB$", re.ASCII
)
_WHOLE_CACHE = re.compile(r"^llama_kv_cache: size = +([\d.]+) MiB \( *\d+ cells, +(\d+) layers")
_CREATING = re.compile(r"creating +(non-)?SWA KV cache")
# So since llama.cpp 0.5; "graph splits = 66 (with bs=512), 2 (with bs=1)" before.
_SPLITS = re.compile(r"\bsplits = (\d+)(?: / (\d+)| \(with bs=\d+\), (\d+))?", re.ASCII)
_ANONYMOUS = ("CPU_REPACK", "AMX")
_PARTS: dict[str, PartName] = {
    "model": "weights", "LoRA": "adapters", "compute": "compute", "output": "output",
}  # fmt: skip


def parse_report(lines: Iterable[str]) -> tuple[Allocated, ...]:
    """Every buffer that a load names, in its order. In a dry run weights and KV buffers are empty;
    the cache is then one row with the place "". A compute buffer that is named again replaces what
    it was: adapters change the graph."""
    by_line: dict[int | str, Allocated] = {}
    cache: PartName = "KV global"
    for number, line in enumerate(lines):
        if creating := _CREATING.search(line):
            cache = "KV global" if creating[1] else "KV window"
        elif whole := _WHOLE_CACHE.match(line):
            by_line[number] = Allocated("", cache, _bytes(whole[1]))
        elif buffer := _BUFFER.match(line.rstrip()):
            name, kind, size = buffer.groups()
            if _bytes(size):
                part: PartName = _PARTS.get(kind, cache)
                # Adapters are copied; what Metal maps it keeps in memory (ggml-metal-device.m).
                dropped = part == "weights" and name.startswith("CPU") and "_Mapped" in name
                row = Allocated(place_of(name), part, _bytes(size), dropped)
                by_line[name if part == "compute" else number] = row
    found = by_line.values()
    if any(row.place and row.part.startswith("KV") for row in found):
        return tuple(row for row in found if row.place)
    return tuple(found)


def parse_splits(lines: Iterable[str]) -> int:
    """Into how many pieces, each on one device, the last graph was cut that a load names: the most
    of reading and of writing; 0 where none is named. The same words for all backends."""
    found = [match for match in map(_SPLITS.search, lines) if match]
    return max((int(number) for number in found[-1].groups() if number), default=0) if found else 0


def fallback_note(placement: Placement, layers: int, splits: int) -> str:
    """That operations run on the CPU although every layer is on GPUs, or "".

    One piece is the CPU's, which looks up the tokens, and one each GPU's. Flash attention is asked
    for, so llama.cpp does not check whether a device can compute it; an operation that it cannot,
    goes to the CPU and back without a word (ggml-backend.cpp, ``ggml_backend_sched_split_graph``).
    """
    usual = 1 + len(placement.devices)
    if placement.kind(layers) != "gpu" or splits <= usual + 1:
        return ""
    where = " and ".join(placement.devices)
    return (
        f"some operations fall back to the CPU although all layers are on {where}: the graph is in "
        f"{splits} pieces, {usual} are usual; answers are slower than planned"
    )


def place_of(buffer: str) -> str:
    """``CUDA0``, ``RPC0[host:port]``, ``MTL0_Mapped``, ``CUDA_Host``, ``CPU_REPACK`` to a device's
    name or "RAM"."""
    name = buffer.partition("[")[0] if buffer.endswith("]") else buffer
    if name.startswith(("CPU", "BLAS", *_ANONYMOUS)) or name.endswith("_Host"):
        return RAM
    return name.removesuffix("_Mapped").removesuffix("_Private")


def differences(ledger: Ledger, allocated: Iterable[Allocated]) -> tuple[str, ...]:
    """A sentence for every place and part whose prediction is off by more than 2 % or 32 MiB.

    Pages that the system may drop are left out: llama.cpp counts the whole range of a file that it
    maps for the CPU, with all that lies between. So is the projector, of whose buffers no line is
    said at a load."""
    return tuple(
        f"{part} on {account.title}: predicted {predicted / MIB:,.0f} MiB, llama.cpp "
        f"allocated {real / MIB:,.0f} MiB"
        for account, part, predicted, real in _compared(ledger, allocated)
        # Below a MiB it is rounding and alignment.
        if abs(predicted - real) > max(MIB, min(WARN_SHARE * real, WARN_BYTES))
    )


def compare_sums(ledger: Ledger, allocated: Iterable[Allocated]) -> dict[str, tuple[int, int]]:
    """Of each place the bytes that were predicted and those that llama.cpp reports, of the parts
    that ``differences`` looks at."""
    sums = {account.place: (0, 0) for account in ledger.accounts}
    for account, _, predicted, real in _compared(ledger, allocated):
        before = sums[account.place]
        sums[account.place] = (before[0] + predicted, before[1] + real)
    return sums


def _compared(
    ledger: Ledger, allocated: Iterable[Allocated]
) -> Iterator[tuple[Account, PartName, int, int]]:
    """Account, part, the bytes that were predicted and those that llama.cpp reports."""
    rows = [row for row in allocated if row.place and not row.reclaimable]
    parts: tuple[PartName, ...] = (
        "weights", "adapters", "drafter", "KV global", "KV window", "compute", "output",
    )  # fmt: skip
    for account in ledger.accounts:
        for part in parts:
            # What llama.cpp reports as compute holds the scratch and the copies too.
            names: tuple[PartName, ...] = (part,)
            if part == "compute":
                names = ("compute", "expert copy", "KV scratch")
            least = _predicted(account, names)
            more = _predicted(account, ("adapter compute",)) if part == "compute" else 0  # at most
            real = sum(r.size_bytes for r in rows if r.place == account.place and r.part == part)
            yield account, part, min(max(real, least), least + more), real


def _predicted(account: Account, names: Sequence[PartName]) -> int:
    own = (each for each in account.parts if each.name in names and not each.reclaimable)
    return sum(each.size_bytes for each in own)


def _bytes(mib: str) -> int:
    return round(float(mib) * MIB)


# A model file without its weights and its vocabulary, for a dry run: the same tensor table, as
# many tokens without texts, and a hole where the numbers would be. It takes a few KiB of disk.
# llama.cpp wants a file whose tensors lie inside it, and reads none of them in a dry run.
# (`llama_model_init_from_user` needs no file, but then takes every optional tensor as present.)

ALIGNMENT = 32  # gguf.h, GGUF_DEFAULT_ALIGNMENT
_TYPES = {name: (number, values, size) for number, (name, values, size) in TENSOR_TYPES.items()}
_U32, _I32, _F32, _BOOL, _TEXT, _ARRAY, _U64 = 4, 5, 6, 7, 8, 9, 10  # gguf.h, enum gguf_type
# Left out: words, vocabulary, and what would make llama.cpp look for other parts.
_DROPPED = ("general.", "tokenizer.", "split.", "quantize.")


def write_skeleton(
    shape: Shape, path: Path, numbers: Callable[[Tensor], bytes] | None = None
) -> None:
    """Write it. ``numbers`` gives the bytes of a tensor where there is to be more than a hole.
    Raises OSError: no room, or a file system without large files."""
    header, metadata = shape.header, _metadata(shape)
    table, offset, places = b"", 0, []
    for tensor in header.tensors:
        number, values, size = _TYPES[tensor.type]
        row = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        table += _text(tensor.name) + row + struct.pack("<IQ", number, offset)
        places.append(offset)
        # Not size_bytes, which ``synthesize`` scales.
        offset += math.ceil(math.prod(tensor.shape) // values * size / ALIGNMENT) * ALIGNMENT
    head = b"GGUF" + struct.pack("<IQQ", 3, len(header.tensors), len(metadata))
    head += b"".join(metadata) + table
    start = math.ceil(len(head) / ALIGNMENT) * ALIGNMENT
    with create(path) as file:
        _allow_holes(file)
        file.write(head)
        file.truncate(start + offset)
        if numbers is not None:
            for tensor, place in zip(header.tensors, places, strict=True):
                file.seek(start + place)
                file.write(numbers(tensor))


def _metadata(shape: Shape) -> list[bytes]:
    header: Header = shape.header
    rows = [
        _pair("general.architecture", header.architecture),
        _pair("tokenizer.ggml.model", "none"),
        _pair(f"{header.architecture}.vocab_size", shape.vocabulary_tokens),
    ]
    for key, value in header.metadata.items():
        if isinstance(value, Skipped) or key.startswith(_DROPPED) or key.endswith(".vocab_size"):
            continue
        if not isinstance(value, tuple):
            rows.append(_pair(key, value))
        elif value:
            items = [_scalar(item) for item in value]
            head = struct.pack("<IIQ", _ARRAY, items[0][0], len(items))
            rows.append(_text(key) + head + b"".join(body for _, body in items))
    return rows


def _pair(key: str, value: Scalar) -> bytes:
    kind, body = _scalar(value)
    return _text(key) + struct.pack("<I", kind) + body


def _scalar(value: Scalar) -> tuple[int, bytes]:
    """llama.cpp reads counts as 32 bits without a sign and refuses other types."""
    if isinstance(value, bool):
        return _BOOL, struct.pack("<?", value)
    if isinstance(value, str):
        return _TEXT, _text(value)
    if isinstance(value, float):
        return _F32, struct.pack("<f", value)
    if value < 0:
        return _I32, struct.pack("<i", value)
    return (_U32, struct.pack("<I", value)) if value < 1 << 32 else (_U64, struct.pack("<Q", value))


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _allow_holes(file: BinaryIO) -> None:
    """NTFS fills a file that grows unless it is told otherwise; other systems need no word."""
    if os.name != "nt":
        return
    import msvcrt  # noqa: PLC0415  # exists on Windows alone

    set_sparse, done = 0x900C4, ctypes.c_uint32()  # winioctl.h, FSCTL_SET_SPARSE
    handle = msvcrt.get_osfhandle(file.fileno())  # type: ignore[attr-defined,unused-ignore]
    kernel32 = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    kernel32.DeviceIoControl(
        ctypes.c_void_p(handle), set_sparse, None, 0, None, 0, ctypes.byref(done), None
    )
