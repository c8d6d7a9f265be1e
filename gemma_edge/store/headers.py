"""Headers that were read before: of a file on the hub by commit, so that 15 MiB are fetched once,
not twice; of a file on disk by its date, so that a vocabulary is stepped over once.

What is kept is the header as it was read, as JSON in ``data_dir/headers``; what cannot be read
there is read from its source again.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from gemma_edge.gguf import Header, Skipped, Tensor, Value, parse_header, read_header
from gemma_edge.store.progress import Listener
from gemma_edge.store.download import Upstream
from gemma_edge.store.lock import write_atomically
from gemma_edge.store.peek import read_part
from gemma_edge.store.remote import RemoteFile
from gemma_edge.store.settings import StoreSettings

_FORMAT = 1  # another layout gets another number
_UNREADABLE = (OSError, ValueError, KeyError, TypeError)  # no such file, or damaged
KEPT_FROM_BYTES = 256 << 20  # a smaller model has a header that is read at once


def read_remote_header(
    upstream: Upstream, settings: StoreSettings, *, on_progress: Listener | None = None
) -> Header:
    """The header of what ``peek.ask`` found, from ``data_dir`` where it was read before.

    Raises:
        ModelError: it is no GGUF file, or damaged; or ``settings.offline``, and it was never read.
        GemmaEdgeError: the network failed.
    """
    folder = _folder(f"{upstream.file.repo}/{upstream.file.filename}", settings)
    kept, name = folder / f"{upstream.commit}.json", Path(upstream.file.filename)
    with contextlib.suppress(*_UNREADABLE):
        return _parse(kept.read_text(encoding="utf-8"), name)

    def read(start: int, count: int) -> bytes:
        return read_part(upstream, start, count, settings, on_progress=on_progress)

    header = parse_header(read, upstream.size_bytes, str(name))
    _keep(kept, header)
    return header


def find_kept_header(file: RemoteFile, settings: StoreSettings) -> Header | None:
    """What was read before of a file on the hub, without asking anybody: at its revision, or the
    newest where it names none."""
    folder = _folder(f"{file.repo}/{file.filename}", settings)
    with contextlib.suppress(*_UNREADABLE):
        kept = sorted(folder.glob(f"{file.revision or ''}*.json"), key=lambda p: p.stat().st_mtime)
        return _parse(kept[-1].read_text(encoding="utf-8"), Path(file.filename)) if kept else None
    return None


def read_local_header(path: Path, settings: StoreSettings) -> Header:
    """The header of a file on disk, from ``data_dir`` where this very file was read before.

    Raises:
        ModelError: as ``gguf.read_header``.
    """
    kept = None
    with contextlib.suppress(OSError):
        facts = path.stat()
        state = f"{facts.st_size}-{facts.st_mtime_ns}"
        kept = _folder(str(path.absolute()), settings) / f"{state}.json"
    if kept is not None:
        with contextlib.suppress(*_UNREADABLE):
            return _parse(kept.read_text(encoding="utf-8"), path)
    header = read_header(path)
    if kept is not None and header.file_bytes > KEPT_FROM_BYTES:
        _keep(kept, header)
    return header


def _folder(name: str, settings: StoreSettings) -> Path:
    """One folder a file, one kept header a version; the hash of a name is a name everywhere."""
    return settings.data_dir / "headers" / hashlib.sha256(name.encode()).hexdigest()


def _keep(place: Path, header: Header) -> None:
    """A full disk costs the next reader time, nothing else."""
    with contextlib.suppress(OSError):
        write_atomically(place, _render(header))


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
