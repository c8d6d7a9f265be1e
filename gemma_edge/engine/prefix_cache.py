"""Documents that were read once: what the KV cache holds of a prompt up to the end of a document,
in a folder, for the next question about it in another process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from gemma_edge.disk import keep_within
from gemma_edge.documents.document import shown
from gemma_edge.engine.kv_cache import (
    REFUSED,
    CacheWriter,
    Fingerprint,
    KvCache,
    Media,
    Unit,
    position_of,
)
from gemma_edge.engine.prompt import Prompt
from gemma_edge.engine.protocol import Restored
from gemma_edge.errors import EngineError
from gemma_edge.units import render_bytes

# With fewer a question waits about as long for the disk as for the model. A picture is worth more:
# its tokens are few, and most of the time goes into them on a processor.
LEAST_TOKENS = 1000
NEAR_TOKENS = 256  # more than the cache holds already: else it is read
MOST_BYTES = 2 << 30  # of all files, where nobody says: 10k tokens of E4B take 0.3 GiB
FREE_SHARE = 10  # and no more than this part of what is free on the disk
SUFFIX = ".kv"


class PrefixCache:
    """The folder, for the engine whose ``wanted`` fingerprint is in the name of each file: another
    model, adapter or llama.cpp looks for other names. All files together take ``most_bytes`` (None:
    ``MOST_BYTES`` or a tenth of the free disk; 0: none is added); the one that was used longest ago
    goes first. A folder that cannot be used costs later questions their time and nothing else.

    A file is filled in one step and gets its name in a thread; ``wait`` for it before the process
    ends. ``shared``: several answers may be under way in one cache. ``take_notes`` gives the lines
    for a person, each once."""

    def __init__(
        self, folder: Path, wanted: Fingerprint, most_bytes: int | None = None, *,
        shared: bool = False,
    ) -> None:  # fmt: skip
        self._folder, self._wanted, self._most_bytes = folder, wanted, most_bytes
        self._shared = shared
        self._key = sha256(json.dumps(sorted(wanted.items())).encode())
        self._thread: threading.Thread | None = None
        self._notes: list[str] = []
        self._told: set[str] = set()

    def take(self, cache: KvCache, prompt: Prompt, context_tokens: int) -> Restored:
        """Put the longest kept beginning of a prompt into ``cache``, which holds a shorter one, if
        it is worth it; one that is damaged is deleted. As many looks as the prompt has documents.
        """
        units, held = prompt.units, len(cache.units)
        for end, path in reversed([*self._places(units, prompt.documents)]):
            if not _is_worth(units[held:end], NEAR_TOKENS):
                break
            if not os.path.exists(path):
                continue
            restored = cache.take_back(path, self._wanted, context_tokens)
            if restored.tokens and cache.units == units[:end]:
                with contextlib.suppress(OSError):
                    os.utime(path)  # what was used longest ago goes first
                return restored
            if restored.tokens:
                cache.forget()
            elif self._shared and restored.reason.startswith(REFUSED):
                continue  # other answers have the cells
            self._drop(path, restored.reason or f"{path.name} is of another document")
        return Restored(0)

    def _drop(self, path: Path, reason: str) -> None:
        self._say(f"what was remembered is of no use, it is read again: {reason}")
        with contextlib.suppress(OSError):
            path.unlink()

    def wants(self, prompt: Prompt, units: int) -> bool:
        """Whether the first so many units are worth a file: all that questions about the documents
        of this prompt have in common, and not a few words."""
        if self._most_bytes == 0 or not prompt.documents or units != prompt.documents[-1]:
            return False
        return _is_worth(prompt.units[:units], LEAST_TOKENS)

    def keep(self, cache: KvCache, seconds: float) -> None:
        """Keep all that ``cache`` holds now; ``seconds`` is what it takes to read it."""
        self.wait()
        ((_, path),) = self._places(cache.units, (len(cache.units),))
        if os.path.exists(path):
            return
        try:
            most = self._most()
            part = cache.copy_out(path, self._wanted, here=True, seconds=seconds, most_bytes=most)
        except (EngineError, OSError) as error:
            self._say(f"not remembered: {error}")
            return
        self._thread = threading.Thread(target=self._finish, args=(part, path, most))
        self._thread.start()

    def _most(self) -> int:
        if self._most_bytes is not None:
            return self._most_bytes
        above = (self._folder, *self._folder.parents)
        place = next((each for each in above if os.path.exists(each)), self._folder)
        return min(MOST_BYTES, shutil.disk_usage(place).free // FREE_SHARE)

    def _finish(self, part: CacheWriter, path: Path, most: int) -> None:
        try:
            size = part.finish(durable=False)
            taken = keep_within(self._folder, most)
        except (EngineError, OSError) as error:
            # Another process may have been faster, and on Windows it has the file open.
            if not os.path.exists(path):
                self._say(f"not remembered: {error}")
            return
        if "kept" not in self._told:
            self._told.add("kept")
            every = f", {render_bytes(taken)} with earlier ones" if taken > size else ""
            self._say(
                f"remembered in {shown(self._folder.parent)}: {render_bytes(size)}{every}, of at "
                f"most {render_bytes(most)}; gemma-edge sessions forget deletes it"
            )

    def wait(self) -> None:
        """Until what was kept last is whole."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._notes.append(text)

    def _places(self, units: Sequence[Unit], ends: Sequence[int]) -> Iterator[tuple[int, Path]]:
        """The file for each beginning, by what is in it."""
        key, done = self._key.copy(), 0
        for end in ends:
            key.update("".join(map(_spelled, units[done:end])).encode())
            done = end
            yield end, self._folder / f"{key.hexdigest()[:32]}{SUFFIX}"


def _is_worth(units: Sequence[Unit], least_tokens: int) -> bool:
    tokens = position_of(units, len(units))
    return tokens >= least_tokens or any(isinstance(unit, Media) for unit in units)


def _spelled(unit: Unit) -> str:
    return f"{unit.digest}:{unit.tokens} " if isinstance(unit, Media) else f"{unit} "
