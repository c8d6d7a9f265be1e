"""What stands in an answer's Markdown, without drawing it."""

import re

_FENCE = re.compile(
    r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(.*?)(?:^ {0,3}\1[`~]*\s*$|\Z)", re.DOTALL | re.MULTILINE
)


def last_fence(text: str) -> str:
    """The code of the last fence, "" where there is none."""
    found = _FENCE.findall(text)
    return found[-1][1] if found else ""
