"""Fixtures that tests of several packages share."""

import signal
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples everywhere, and no verdict by the clock.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# Started in the background by a script, Ctrl-C is ignored, and every child inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

WriteGguf = Callable[..., Path]


@pytest.fixture
def write_gguf(tmp_path: Path) -> WriteGguf:
    """Writes small GGUF files: ``write_gguf("name.gguf", {"key": value}, [("t", (32, 2), 0)])``."""

    def write(
        name: str,
        metadata: Mapping[str, Any] | None = None,
        tensors: Sequence[tuple[str, tuple[int, ...], int]] = (("token_embd.weight", (32, 4), 0),),
        version: int = 3,
    ) -> Path:
        path = tmp_path / name
        path.write_bytes(render_gguf(metadata or {}, tensors, version))
        return path

    return write


def render_gguf(
    metadata: Mapping[str, Any], tensors: Sequence[tuple[str, tuple[int, ...], int]], version: int
) -> bytes:
    """A whole file; tensors are F32 (type 0) zeros, one after another, aligned to 32."""
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        data += _text(key) + _typed(value)
    offset = 0
    for name, shape, kind in tensors:
        data += _text(name) + struct.pack("<I", len(shape))
        data += struct.pack(f"<{len(shape)}QIQ", *shape, kind, offset)
        size = 4
        for side in shape:
            size *= side
        offset += -(-size // 32) * 32
    data += b"\0" * (-len(data) % 32)
    return data + b"\0" * offset


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _typed(value: Any) -> bytes:
    """Type number and value, as gguf.h numbers them."""
    if isinstance(value, bytes):  # already typed, for what a writer would not write
        return value
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<Ii", 5, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    kind = _typed(value[0])[:4]
    return (
        struct.pack("<I", 9)
        + kind
        + struct.pack("<Q", len(value))
        + b"".join(_typed(item)[4:] for item in value)
    )
