"""The cache of one context and the record of what it holds; reuse of prefixes happens here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gemma_edge.engine.cache import Checkpoint, Media, Unit, plan_reuse, position_of
from gemma_edge.engine.llama_context import Aborted, LlamaContext
from gemma_edge.errors import EngineError, OutOfMemory

# Window cells saved at the ends of prompts. E4B takes 40 MiB a checkpoint, 31B over 1 GiB: where
# one would not fit, none is taken and a cut too far back reads the conversation again.
CHECKPOINT_BYTES = 512 << 20
CHECKPOINTS = 4


class Held:
    """``units`` is always exactly what the KV cache holds, up to ``position``."""

    def __init__(self, context: LlamaContext, window: int) -> None:
        self.units: list[Unit] = []
        self.position = 0
        self._context = context
        self._window = window
        self._checkpoints: list[Checkpoint] = []

    def keep_prefix(self, wanted: Sequence[Unit]) -> int:
        """Cut the cache back to what ``wanted`` shares with it; return the kept positions."""
        reuse = plan_reuse(
            self.units,
            wanted,
            pos_min=self._context.pos_min,
            window=self._window,
            checkpoints=self._checkpoints,
        )
        keep = reuse.units
        if reuse.checkpoint is not None and not self._context.restore_window(reuse.checkpoint.data):
            keep = 0
        if keep < len(self.units):
            self._context.cut(position_of(self.units, keep))
            del self.units[keep:]
            self.position = position_of(self.units, keep)
        # Of a checkpoint from beyond the cut, the cells before the cut are still right.
        self._checkpoints = [replace(c, units=min(c.units, keep)) for c in self._checkpoints]
        return self.position

    def evaluate(self, tokens: Sequence[int]) -> None:
        """Decode tokens in batches and record them."""
        for _ in self.iter_evaluate(tokens):
            pass

    def iter_evaluate(self, tokens: Sequence[int]) -> Iterator[int]:
        """The same, with the position after each batch."""
        size = self._context.batch_tokens
        try:
            for start in range(0, len(tokens), size):
                part = tokens[start : start + size]
                self._context.decode(part, self.position)
                self.units.extend(part)
                self.position += len(part)
                yield self.position
        except Aborted:
            self._context.cut(self.position)
            raise
        except (EngineError, OutOfMemory):
            self.forget()
            raise

    def see(self, unit: Media, decode: Callable[[int], None]) -> None:
        """Let ``decode`` evaluate an image at the present position, and record it."""
        try:
            decode(self.position)
        except (EngineError, OutOfMemory):
            self.forget()
            raise
        self.units.append(unit)
        self.position += unit.tokens

    def mark(self) -> None:
        """Save the window cells here, so that a later prompt may come back to this point.

        llama.cpp saves no more than the window before the last position, so the way back leads to
        this very point and not behind it.
        """
        if self._window == 0:
            return
        size = self._context.window_bytes()
        if size > CHECKPOINT_BYTES:
            return
        room = min(CHECKPOINTS, CHECKPOINT_BYTES // max(size, 1))
        self._checkpoints = self._checkpoints[-(room - 1) :] if room > 1 else []
        self._checkpoints.append(
            Checkpoint(
                units=len(self.units),
                pos_min=max(0, self.position - self._window),
                data=self._context.save_window(),
            )
        )

    def forget(self) -> None:
        """Empty the cache."""
        self._context.cut(0)
        self.units.clear()
        self._checkpoints.clear()
        self.position = 0
