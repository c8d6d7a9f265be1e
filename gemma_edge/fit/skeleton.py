"""A model file without its weights and its vocabulary, for a dry run: the same tensor table, as
many tokens without texts, and a hole where the numbers would be. It takes a few KiB of disk.

llama.cpp wants a file whose tensors lie inside it, and reads none of them in a dry run.
(``llama_model_init_from_user`` needs no file, but then takes every optional tensor as present.)
"""

import ctypes
import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

from gemma_edge.fit.shape import Shape
from gemma_edge.gguf import TENSOR_TYPES, Header, Scalar, Skipped

ALIGNMENT = 32  # gguf.h, GGUF_DEFAULT_ALIGNMENT
_TYPES = {name: (number, values, size) for number, (name, values, size) in TENSOR_TYPES.items()}
_U32, _I32, _F32, _BOOL, _TEXT, _ARRAY, _U64 = 4, 5, 6, 7, 8, 9, 10  # gguf.h, enum gguf_type
# Left out: words, vocabulary, and what would make llama.cpp look for other parts.
_DROPPED = ("general.", "tokenizer.", "split.", "quantize.")


def write_skeleton(shape: Shape, path: Path) -> None:
    """Write it.

    Raises:
        OSError: no room, or a file system without large files.
    """
    header = shape.header
    metadata = _metadata(shape)
    table, offset = b"", 0
    for tensor in header.tensors:
        number, values, size = _TYPES[tensor.type]
        row = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        table += _text(tensor.name) + row + struct.pack("<IQ", number, offset)
        # Not size_bytes, which synthesis.py scales.
        offset += math.ceil(math.prod(tensor.shape) // values * size / ALIGNMENT) * ALIGNMENT
    start = b"GGUF" + struct.pack("<IQQ", 3, len(header.tensors), len(metadata))
    head = start + b"".join(metadata) + table
    with path.open("wb") as file:
        _allow_holes(file)
        file.write(head)
        file.truncate(math.ceil(len(head) / ALIGNMENT) * ALIGNMENT + offset)


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
