"""What an encoder made of pictures, kept by content: in memory, and on disk if a person wants it.

An entry is ``float32[tokens, width]`` for one picture (``Picture.digest``: its pixels in its size)
and one projector. A file that is damaged, or of another length, is encoded again and replaced.
"""

import contextlib
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gemma_edge.documents.picture import Picture

# A picture at the largest detail (1,120 tokens) takes 11 MiB with E4B (width 2,560) and 23 MiB with
# 31B (5,376), at the usual one a quarter: enough for what one conversation goes back to, and small
# beside the 2 GiB of main memory that every plan leaves free (fit/margin.py).
MEMORY_BYTES = 64 << 20
# Some 90 pictures at the largest detail of E4B, 370 at the usual one.
DISK_BYTES = 1 << 30

_MAGIC = b"GEMMASEE1"
_CHECK_BYTES = 4
_SUFFIX = ".seen"

Embedding = NDArray[np.float32]


class Sight:
    """Encoded pictures in memory, the one used last is dropped last. ``passes`` counts how often
    the encoder really ran."""

    def __init__(
        self, width: int, disk: "SightFolder | None" = None, *, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.passes = 0
        self._width = width
        self._disk = disk
        self._memory_bytes = memory_bytes
        self._held: OrderedDict[str, Embedding] = OrderedDict()

    def look(self, picture: Picture, encode: Callable[[], Embedding]) -> Embedding:
        """What the encoder makes of a picture; it runs only where nobody remembers.

        Raises:
            Whatever ``encode`` raises.
        """
        digest = picture.digest
        found = self._held.get(digest)
        if found is None and self._disk is not None:
            found = self._disk.read(digest, (picture.tokens, self._width))
        if found is None:
            found = encode()
            self.passes += 1
            if self._disk is not None:
                self._disk.write(digest, found)
        self._held[digest] = found
        self._held.move_to_end(digest)
        while len(self._held) > 1 and self.held_bytes > self._memory_bytes:
            self._held.popitem(last=False)
        return found

    @property
    def held_bytes(self) -> int:
        """Main memory that it takes."""
        return sum(each.nbytes for each in self._held.values())


class SightFolder:
    """The same on disk, readable by its owner alone, for one projector (``identity``: which file it
    is, and what computed). What was used longest ago goes when ``most_bytes`` are exceeded.

    A folder that cannot be written costs later runs their time and nothing else; ``problem`` says
    it once.
    """

    def __init__(self, folder: Path, identity: str, *, most_bytes: int = DISK_BYTES) -> None:
        self.problem = ""
        self._folder = folder
        self._projector = sha256(identity.encode()).hexdigest()[:16]
        self._most_bytes = most_bytes

    def read(self, digest: str, shape: tuple[int, int]) -> Embedding | None:
        """``float32[shape]``, or None where there is nothing whole."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        payload = data[len(_MAGIC) + _CHECK_BYTES :]
        whole = len(payload) == 4 * shape[0] * shape[1]
        if not whole or data[: len(_MAGIC) + _CHECK_BYTES] != _head(payload):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return np.frombuffer(payload, dtype="<f4").reshape(shape).astype(np.float32, copy=False)

    def write(self, digest: str, embedding: Embedding) -> None:
        """Keep it, whole or not at all."""
        path = self._path(digest)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        payload = embedding.astype("<f4", copy=False).tobytes()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(_head(payload) + payload)
            os.replace(part, path)
            keep_within(self._folder, self._most_bytes)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            self.problem = f"images are not remembered in {self._folder}: {error.strerror or error}"

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}-{self._projector}{_SUFFIX}"


def keep_within(folder: Path, most_bytes: int) -> None:
    """Remove what was used longest ago until no more than ``most_bytes`` lie in a folder."""
    files: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    over = sum(size for _, size, _ in files) - most_bytes
    for _, size, path in sorted(files)[:-1]:
        if over <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        over -= size


def _head(payload: bytes) -> bytes:
    return _MAGIC + zlib.crc32(payload).to_bytes(_CHECK_BYTES, "little")
