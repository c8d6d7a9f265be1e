"""What llama.cpp says it allocated, and where that differs from the ledger.

Its lines (llama-model.cpp, llama-kv-cache.cpp, llama-context.cpp):

    load_tensors:        CUDA0 model buffer size =  2749.01 MiB
    llama_kv_cache_iswa: creating     SWA KV cache, size = 1024 cells
    llama_kv_cache:      CUDA0 KV buffer size =    40.00 MiB
    sched_reserve:       CUDA0 compute buffer size =   112.00 MiB
    llama_context:  CUDA_Host  output buffer size =     1.00 MiB
"""

import re
from collections.abc import Iterable

from gemma_edge.fit.ledger import Account, Allocated, Ledger, PartName
from gemma_edge.fit.places import RAM
from gemma_edge.units import MIB

WARN_SHARE, WARN_BYTES = 0.02, 32 * MIB  # of one place's parts of one kind

_BUFFER = re.compile(
    r"^(?:\w+:)? *(\S+?) +(model|LoRA|KV|compute|output) buffer size = +([\d.]+) MiB$", re.ASCII
)
_WHOLE_CACHE = re.compile(r"^llama_kv_cache: size = +([\d.]+) MiB \( *\d+ cells, +(\d+) layers")
_CREATING = re.compile(r"creating +(non-)?SWA KV cache")
_ENDPOINT = re.compile(r"\[.*\]$")  # RPC0[127.0.0.1:50077]
_ANONYMOUS = ("CPU_REPACK", "AMX")




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
                mapped = part == "weights" and "_Mapped" in name  # adapters are copied
                row = Allocated(place_of(name), part, _bytes(size), mapped)
                by_line[name if part == "compute" else number] = row
    found = by_line.values()
    if any(row.place and row.part.startswith("KV") for row in found):
        return tuple(row for row in found if row.place)
    return tuple(found)


_PARTS: dict[str, PartName] = {
    "model": "weights", "LoRA": "adapters", "compute": "compute", "output": "output",
}  # fmt: skip


def place_of(buffer: str) -> str:
    """``CUDA0``, ``RPC0[host:port]``, ``MTL0_Mapped``, ``CUDA_Host``, ``CPU_REPACK`` to a device's
    name or "RAM"."""
    name = _ENDPOINT.sub("", buffer)
    if name.startswith(("CPU", "BLAS", *_ANONYMOUS)) or name.endswith("_Host"):
        return RAM
    return name.removesuffix("_Mapped").removesuffix("_Private")


def differences(ledger: Ledger, allocated: Iterable[Allocated]) -> tuple[str, ...]:
    """A sentence for every place and part whose prediction is off by more than 2 % or 32 MiB.

    Pages of a mapped file are left out: llama.cpp counts the whole range of a file that it maps,
    with all that lies between. So is the projector, of whose buffers no line is said at a load.
    """
    said: list[str] = []
    rows = [row for row in allocated if row.place and not row.reclaimable]
    for account in ledger.accounts:
        for part in ("weights", "adapters", "KV global", "KV window", "compute", "output"):
            predicted = _predicted(account, part)
            real = sum(r.size_bytes for r in rows if r.place == account.place and r.part == part)
            if _differs(predicted, real):
                said.append(
                    f"{part} on {account.title}: predicted {predicted / MIB:,.0f} MiB, llama.cpp "
                    f"allocated {real / MIB:,.0f} MiB"
                )
    return tuple(said)


def _predicted(account: Account, name: str) -> int:
    """What llama.cpp reports as compute holds the scratch and the copies too."""
    names = ("compute", "expert copy", "KV scratch") if name == "compute" else (name,)
    parts = (part for part in account.parts if part.name in names and not part.reclaimable)
    return sum(part.size_bytes for part in parts)


def _differs(predicted: int, real: int) -> bool:
    difference = abs(predicted - real)
    # Below a MiB it is rounding and alignment.
    return difference > MIB and (difference > WARN_SHARE * real or difference > WARN_BYTES)


def _bytes(mib: str) -> int:
    return round(float(mib) * MIB)
