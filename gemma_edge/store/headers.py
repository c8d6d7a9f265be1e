"""The header of a file that is still on the hub, kept by commit: 15 MiB are read once, not twice.

What is kept is the header as it was read, as JSON in ``data_dir/headers``; what cannot be read
there is fetched again.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from gemma_edge.gguf import Header, Skipped, Tensor, Value, parse_header
from gemma_edge.store.crew import Listener
from gemma_edge.store.download import Upstream
from gemma_edge.store.peek import read_part
from gemma_edge.store.settings import StoreSettings

_FORMAT = 1  # another layout gets another number


def read_remote_header(
    upstream: Upstream, settings: StoreSettings, *, on_progress: Listener | None = None
) -> Header:
    """The header of what ``peek.ask`` found, from ``data_dir`` where it was read before.

    Raises:
        ModelError: it is no GGUF file, or damaged; or ``settings.offline``, and it was never read.
        GemmaEdgeError: the network failed.
    """
    kept = _place(upstream, settings)
    name = Path(upstream.file.filename)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _parse(kept.read_text(encoding="utf-8"), name)

    def read(start: int, count: int) -> bytes:
        return read_part(upstream, start, count, settings, on_progress=on_progress)

    header = parse_header(read, upstream.size_bytes, str(name))
    with contextlib.suppress(OSError):  # a full disk costs the next reader time, nothing else
        _keep(kept, _render(header))
    return header


def _place(upstream: Upstream, settings: StoreSettings) -> Path:
    """One file for each file and commit; the hash of the name is a name on every system."""
    name = f"{upstream.file.repo}/{upstream.file.filename}@{upstream.commit}"
    digest = hashlib.sha256(name.encode()).hexdigest()
    return settings.data_dir / "headers" / f"{digest}.json"


def _keep(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)


def _render(header: Header) -> str:
    tensors = [[t.name, t.shape, t.type, t.size_bytes, t.offset_bytes] for t in header.tensors]
    metadata = {key: _plain(value) for key, value in header.metadata.items()}
    content = {"format": _FORMAT, "file_bytes": header.file_bytes}
    return json.dumps(content | {"metadata": metadata, "tensors": tensors})


def _plain(value: Value) -> Any:
    return {"count": value.count} if isinstance(value, Skipped) else value


def _parse(text: str, name: Path) -> Header:
    content = json.loads(text)
    if content["format"] != _FORMAT:
        raise ValueError(content["format"])
    metadata = {key: _value(value) for key, value in content["metadata"].items()}
    tensors = tuple(
        Tensor(tensor, tuple(shape), kind, size_bytes, offset_bytes)
        for tensor, shape, kind, size_bytes, offset_bytes in content["tensors"]
    )
    return Header(name, int(content["file_bytes"]), metadata, tensors)


def _value(value: Any) -> Value:
    if isinstance(value, dict):
        return Skipped(value["count"])
    return tuple(value) if isinstance(value, list) else value
