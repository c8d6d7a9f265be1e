"""How full the context is, exactly, and what a message that does not fit would have needed."""

from dataclasses import dataclass

from gemma_edge.engine.protocol import PromptCount
from gemma_edge.errors import DoesNotFit
from gemma_edge.units import render_tokens

CHOICES = "/compact, /drop, or /ctx with a larger number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """``used_tokens`` of ``context_tokens``; ``template_tokens`` of them are turn markers and the
    header of the answer."""

    used_tokens: int
    context_tokens: int
    text_tokens: int
    picture_tokens: int
    template_tokens: int

    @classmethod
    def of(cls, count: PromptCount, context_tokens: int) -> "Meter":
        """A prompt in a context."""
        return cls(
            used_tokens=count.total_tokens,
            context_tokens=context_tokens,
            text_tokens=count.total_tokens - count.picture_tokens - count.template_tokens,
            picture_tokens=count.picture_tokens,
            template_tokens=count.template_tokens,
        )

    @property
    def free_tokens(self) -> int:
        """What is left for an answer; negative where the prompt does not fit."""
        return self.context_tokens - self.used_tokens


def too_large(whole: Meter, before: Meter | None) -> DoesNotFit:
    """A message that makes ``whole`` of what was ``before``: the numbers and the choices."""
    message_tokens = whole.used_tokens - (before.used_tokens if before else 0)
    used = f", {before.used_tokens:,} are used already" if before else ""
    return DoesNotFit(
        f"this message takes {render_tokens(message_tokens)}{used}, and the context holds "
        f"{whole.context_tokens:,}: {1 - whole.free_tokens:,} too many",
        hint=CHOICES if before else "/ctx with a larger number, or less text",
    )
