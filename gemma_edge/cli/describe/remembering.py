"""What was read of pictures, kept on disk for the next run where a person wants that."""

import contextlib
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from gemma_edge.cli.loading.loading import Prepared
from gemma_edge.cli.output import Output
from gemma_edge.documents.files import shown
from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import Engine
from gemma_edge.errors import EngineError
from gemma_edge.units import render_bytes

# As much as one saved cache may take (engine/saved.py): of E4B some 300 pictures at 280 tokens.
CACHE_BYTES = 4 << 30


class Recalled:
    """The cache of an engine after it has read ``pictures``, in a file for the next run. Nothing
    happens where the plan does not remember."""

    def __init__(
        self, engine: Engine, prepared: Prepared, pictures: Sequence[Picture], output: Output
    ) -> None:
        self._engine, self._output = engine, output
        self._path: Path | None = None
        folder = prepared.plan.remember
        if folder is not None:
            plan = prepared.plan
            named = [str(plan.model), *(f"{each.path} {each.scale}" for each in plan.adapters)]
            named += [picture.digest for picture in pictures]
            key = sha256("\n".join(named).encode()).hexdigest()[:32]
            self._path = folder / "read" / f"{key}.kv"
        self._there = False

    def restore(self) -> None:
        """Take back what an earlier run has read, and say why where that cannot be."""
        if self._path is None or not self._path.exists():
            return
        restored = self._engine.restore(self._path)
        self._there = restored.tokens > 0
        if not self._there:
            self._output.note(f"the images are read again: {restored.reason}")
        with contextlib.suppress(OSError):
            os.utime(self._path)  # what was used longest ago goes first

    def save(self) -> None:
        """Keep what was read now. That it cannot be kept costs the next run its time, no more."""
        if self._path is None or self._there:
            return
        from gemma_edge.engine.sight import keep_within  # noqa: PLC0415  (numpy, loaded by then)

        try:
            size_bytes = self._engine.save(self._path)
            keep_within(self._path.parent, CACHE_BYTES)
        except (EngineError, OSError) as error:
            self._output.note(f"the images are not remembered: {error}")
            return
        where = shown(self._path.parent.parent)
        self._output.note(
            f"remembered in {where} ({render_bytes(size_bytes)}); delete it to forget"
        )
