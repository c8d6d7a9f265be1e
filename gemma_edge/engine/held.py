"""The cache of one context and the record of what it holds; reuse of prefixes happens here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gemma_edge.engine.cache import Checkpoint, Media, Unit, plan_reuse, position_of, window_intact
from gemma_edge.engine.fingerprint import Fingerprint
from gemma_edge.engine.llama_context import Aborted, LlamaContext
from gemma_edge.engine.protocol import Restored
from gemma_edge.engine.saved import Part, Unusable, open_saved
from gemma_edge.errors import EngineError, OutOfMemory

# Window cells saved at the ends of prompts. E4B takes 40 MiB a checkpoint, 31B over 1 GiB: where
# one would not fit, none is taken and a cut too far back reads the conversation again.
CHECKPOINT_BYTES = 512 << 20
CHECKPOINTS = 4
# Reading so many again costs about what the checkpoint does: one more batch.
NEAR_TOKENS = 32


class Held:
    """``units`` is always exactly what the KV cache holds, up to ``position``."""

    def __init__(self, context: LlamaContext, window: int) -> None:
        self.units: list[Unit] = []
        self.position = 0
        self._context = context
        self._window = window
        self._checkpoints: list[Checkpoint] = []
        self._too_large = False

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
        self._keep_checkpoints()
        return self.position

    def _keep_checkpoints(self) -> None:
        """Of one from beyond the cut, the cells before the cut are still right; where those are
        not a whole window, it leads nowhere any more."""
        clipped = (replace(c, units=min(c.units, len(self.units))) for c in self._checkpoints)
        self._checkpoints = [
            c
            for c in clipped
            if window_intact(position_of(self.units, c.units), c.pos_min, self._window)
        ]

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
        except Aborted:
            self._context.cut(self.position)
            raise
        except (EngineError, OutOfMemory):
            self.forget()
            raise
        self.units.append(unit)
        self.position += unit.tokens

    def far_from_marks(self, units: Sequence[Unit]) -> bool:
        """Whether the way back to the end of ``units`` would cost more than a moment, so that a
        checkpoint there is worth a pass over the weights of its own."""
        if self._window == 0 or self._too_large:
            return False
        last = max((c.units for c in self._checkpoints if c.units <= len(units)), default=0)
        between = units[last:]
        return last == 0 or position_of(between, len(between)) >= NEAR_TOKENS

    def mark(self) -> None:
        """Save the window cells here, so that a later prompt may come back to this point.

        llama.cpp saves no more than the window before the last position, so the way back leads to
        this very point and not behind it.
        """
        if self._window == 0:
            return
        size = self._context.window_bytes()
        self._too_large = size > CHECKPOINT_BYTES
        if self._too_large:
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

    def copy_out(self, path: Path, wanted: Fingerprint) -> Part:
        """All that it holds, copied into a file that is still to be finished.

        Raises:
            EngineError: it holds nothing, or the disk or llama.cpp refuses.
        """
        if not self.units:
            raise EngineError("there is nothing to save: the cache is empty")
        size = self._context.state_bytes()
        part = Part(path, wanted, self.units, self._checkpoints, size)
        if not self._context.copy_state(part.state):
            part.discard()
            raise EngineError("llama.cpp could not copy its cache")
        return part

    def take_back(self, path: Path, wanted: Fingerprint, context_tokens: int) -> Restored:
        """What a file holds, in place of what is held now.

        llama.cpp wrote no more of the sliding layers than their window, and says so by the oldest
        position that it holds: ``plan_reuse`` goes by that, so a cut further back is no cut.
        """
        try:
            with open_saved(path, wanted, context_tokens) as cells:
                self.forget()
                if not self._context.put_state(cells.state):
                    self.forget()
                    return Restored(0, f"llama.cpp refuses what {path.name} holds")
                self.units = cells.units
                self._checkpoints = cells.checkpoints
        except Unusable as reason:
            return Restored(0, str(reason))
        self.position = position_of(self.units, len(self.units))
        return Restored(self.position)

    def forget(self) -> None:
        """Empty the cache."""
        self._context.cut(0)
        self.units.clear()
        self._checkpoints.clear()
        self.position = 0
