"""The bundled model at the width of E2B, with zeros in what is new.

llama.cpp reads from the width alone whether Gemma 4 attends one way inside an image (E2B is 1536
wide, mtmd.cpp): no small model takes that path, so one is made of a small one.
"""

import struct
from pathlib import Path

from gemma_edge import gguf

WIDTH = 1536
_ALIGN = 32


def widen(source: Path, target: Path, width_key: str) -> None:
    """Write ``source`` with every side of a tensor that is as long as the number of ``width_key``
    grown to ``WIDTH``. Zero bytes are zeros in all types that it has (F32, F16, Q8_0)."""
    header, data = gguf.read_header(source), source.read_bytes()
    old = header.integer(width_key)
    assert old is not None
    key = f"{header.architecture}{width_key}" if width_key.startswith(".") else width_key
    infos = b""
    blobs: list[bytes] = []
    at = 0
    for tensor in header.tensors:
        shape = tuple(WIDTH if side == old else side for side in tensor.shape)
        _, values, size = next(t for t in gguf.TENSOR_TYPES.values() if t[0] == tensor.type)
        row, grown = (side // values * size for side in (tensor.shape[0], shape[0]))
        end = tensor.offset_bytes + tensor.size_bytes
        rows = [data[i : i + row] for i in range(tensor.offset_bytes, end, row)]
        rows += [b""] * (grown_rows(shape) - len(rows))
        blob = b"".join(each.ljust(grown, b"\0") for each in rows)
        kind = next(number for number, t in gguf.TENSOR_TYPES.items() if t[0] == tensor.type)
        infos += text(tensor.name) + struct.pack("<I", len(shape))
        infos += struct.pack(f"<{len(shape)}QIQ", *shape, kind, at)
        blobs.append(blob + b"\0" * (-len(blob) % _ALIGN))
        at += len(blobs[-1])
    keys = bytearray(data[: data.index(text(header.tensors[0].name))])
    value = keys.index(text(key)) + len(text(key)) + 4  # behind the number of its type
    assert keys[value : value + 4] == struct.pack("<I", old)
    keys[value : value + 4] = struct.pack("<I", WIDTH)
    head = bytes(keys) + infos
    target.write_bytes(head + b"\0" * (-len(head) % _ALIGN) + b"".join(blobs))


def grown_rows(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape[1:]:
        count *= side
    return count


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()
