"""A summary in place of older turns: what is asked for, and whether it is worth taking."""

from pathlib import Path

from gemma_edge.chat.meter import Meter
from gemma_edge.engine.protocol import Finished
from gemma_edge.units import render_tokens

SHARE = 8  # of the context: what a summary may take, so that it makes room
MIN_TOKENS = 256


def summary_prompt() -> str:
    """What the model is asked; a file that people edit."""
    return Path(__file__).with_name("summarize.txt").read_text("utf-8")


def most_tokens(context_tokens: int) -> int:
    """What a summary may take."""
    return max(MIN_TOKENS, context_tokens // SHARE)


def judge(summary: str, finished: Finished, *, before: Meter, after: Meter) -> str:
    """Why a summary is not taken, "" if it is. ``before`` is the conversation, ``after`` what it
    would be with the summary."""
    if finished.reason == "cancelled":
        return "the summary was stopped"
    if finished.reason not in ("end", "stop_text") or not summary:
        tokens = render_tokens(finished.usage.generated_tokens)
        return f"the summary came to no end within {tokens}"
    if after.used_tokens < before.used_tokens:
        return ""
    return (
        f"with the summary it would take {render_tokens(after.used_tokens)}, "
        f"now it takes {before.used_tokens:,}"
    )
