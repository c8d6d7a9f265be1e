"""Take a GGUF file from elsewhere (a USB stick, another runner) in among the plain files."""

import os
from pathlib import Path
from typing import BinaryIO

from gemma_edge.errors import InputError, ModelError
from gemma_edge.store.progress import Listener
from gemma_edge.store.failures import explain_disk
from gemma_edge.store.inventory import StoredFile, stored_file
from gemma_edge.store.layout import PARTIAL_SUFFIX
from gemma_edge.store.lock import Locks
from gemma_edge.store.progress import Meter
from gemma_edge.store.settings import StoreSettings
from gemma_edge.store.space import check_space
from gemma_edge.store.verify import Behind, CheckedHashes, hash_once

_MAGIC = b"GGUF"
_COPY_BYTES = 1 << 20


def import_file(
    source: Path, settings: StoreSettings, *, on_progress: Listener | None = None
) -> StoredFile:
    """Copy the file into ``settings.import_dir``, hash it on the way and lock it. The same bytes
    under the same name are there already: nothing is done.

    Raises:
        InputError: there is no such file, or it cannot be read.
        ModelError: it is not a GGUF file, or another one has this name already.
        DoesNotFit: the disk is too small.
        GemmaEdgeError: the disk or its permissions.
    """
    size = _check_source(source)
    target = settings.import_dir / source.name
    checked = CheckedHashes(settings.data_dir / "checked.json")
    meter = Meter(
        source.name, on_progress or (lambda _: None),
        settings.clock, total_bytes=size,
    )  # fmt: skip
    try:
        if target.exists():
            sha256 = _same(source, target, checked, meter)
        else:
            check_space({target.parent: size})
            sha256 = _copy(source, target, meter)
            checked.put(target, sha256)
    except OSError as error:
        raise explain_disk(error, target, size) from None
    Locks(settings).record("", "", source.name, size=size, sha256=sha256)
    meter.done_bytes = size
    meter.tell("done")
    return stored_file(target, "models", "", source.name, "")


def _check_source(source: Path) -> int:
    try:
        source.name.encode("utf-8")
        with source.open("rb") as stream:
            magic = stream.read(4)
            size = stream.seek(0, os.SEEK_END)
    except UnicodeEncodeError:
        raise InputError(
            f"the name {source.name!r} cannot be written down", hint="rename the file"
        ) from None
    except OSError as error:
        raise InputError(
            f"{source} cannot be read ({error.strerror or error})", hint="check the path"
        ) from None
    if magic != _MAGIC:
        raise ModelError(f"{source} is not a GGUF file", hint="models for llama.cpp end in .gguf")
    return size


def _same(source: Path, target: Path, checked: CheckedHashes, meter: Meter) -> str:
    mine, theirs = hash_once(target, checked), hash_once(source, checked, meter.checked)
    if mine != theirs:
        raise ModelError(
            f"{target} is another file of the same name\n  there {mine}\n  new   {theirs}",
            hint=f"rename one of them, or: gemma-edge rm {target.name}",
        )
    return mine


def _copy(source: Path, target: Path, meter: Meter) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        with source.open("rb") as origin, fresh.open("xb", buffering=0) as copy:
            sha256 = _copy_hashed(origin, copy, fresh, meter)
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
    return sha256


def _copy_hashed(origin: BinaryIO, copy: BinaryIO, path: Path, meter: Meter) -> str:
    behind, position = Behind(path), 0
    behind.start()
    try:
        while block := origin.read(_COPY_BYTES):
            rest = memoryview(block)
            while rest:
                count = copy.write(rest)
                rest, position = rest[count:], position + count
            behind.written(position)
            meter.add(len(block))
        os.fsync(copy.fileno())
        return behind.finish(meter.checked)
    finally:
        behind.abandon()
