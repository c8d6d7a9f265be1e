"""Pictures cross the pipe to the engine's process once, however often they are asked about.

Both ends keep an album. They see the same messages in the same order, so both know the same
pictures and drop the same ones; what is known is only named.
"""

import io
import pickle
from collections import OrderedDict
from typing import Any

from gemma_edge.documents.picture import Picture

# Four pictures at the largest detail (7.7 MB each), 17 at the usual one, in both processes: small
# beside the memory that every plan leaves free (fit/margin.py). One that was dropped is sent again.
ALBUM_BYTES = 32 << 20

Key = tuple[str, str, str, int]
Named = tuple[Key, tuple[bytes, int, int] | None]  # without pixels: the other end has it


class Album:
    """Writes messages for one other end, or reads those of one."""

    def __init__(self, most_bytes: int = ALBUM_BYTES) -> None:
        self._most_bytes = most_bytes
        self._known: OrderedDict[Key, Picture] = OrderedDict()

    def write(self, message: object) -> bytes:
        """A message as bytes."""
        stream = io.BytesIO()
        _Pickler(stream, self).dump(message)
        self._trim()
        return stream.getvalue()

    def read(self, data: bytes) -> Any:
        """A message from its bytes."""
        message = _Unpickler(io.BytesIO(data), self).load()
        self._trim()
        return message

    def name(self, picture: Picture) -> Named:
        """How a picture is sent."""
        key = (picture.digest, picture.name, picture.lost, picture.whole_tokens)
        known = key in self._known
        self._keep(key, picture)
        return key, None if known else (picture.rgb, picture.width, picture.height)

    def find(self, named: Named) -> Picture:
        """The picture that was sent so, or before."""
        key, pixels = named
        picture = self._known[key] if pixels is None else Picture(*pixels, *key[1:])
        self._keep(key, picture)
        return picture

    def _keep(self, key: Key, picture: Picture) -> None:
        self._known[key] = picture
        self._known.move_to_end(key)

    def _trim(self) -> None:
        size = sum(len(picture.rgb) for picture in self._known.values())
        while size > self._most_bytes:
            _, dropped = self._known.popitem(last=False)
            size -= len(dropped.rgb)


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, album: Album) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._album = album

    def persistent_id(self, value: object) -> Named | None:
        """Pickle asks this of every object."""
        return self._album.name(value) if isinstance(value, Picture) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, album: Album) -> None:
        super().__init__(stream)
        self._album = album

    def persistent_load(self, named: Named) -> Picture:
        """The other way."""
        return self._album.find(named)
