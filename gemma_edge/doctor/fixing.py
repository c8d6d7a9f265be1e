"""A fix as text to a command that can be run without a shell, or to None: a person's change.

Only programs on a short list are run. Text is never given to a shell, so that whatever a driver
or a file name put into a fix stays an argument.
"""

import shlex
from pathlib import Path

_SETUP = "scripts/setup.py"  # of a checkout
_ROOT = Path(__file__).resolve().parents[2]
_SHELL = {"&&", "||", "|", ";", "&", ">", "<"}  # as words of their own: a line for a shell


def parse_fix(fix: str, python: str, *, uv: str | None = None) -> tuple[str, ...] | None:
    """The command that ``fix`` is, program first, for the environment of the interpreter
    ``python``; None where it is a change that a person has to make. ``uv`` is the path of that
    program, for an environment without pip."""
    try:
        words = shlex.split(fix)
    except ValueError:  # an apostrophe: a sentence
        return None
    if _SHELL & set(words) or any(word.endswith((",", ":")) for word in words):
        return None
    return _arguments(words, python, uv)


def _arguments(words: list[str], python: str, uv: str | None) -> tuple[str, ...] | None:
    match words:
        case ["python" | "python3", "-m", "pip", *rest] | ["pip", *rest] if rest:
            if uv:
                return (uv, "pip", rest[0], "--python", python, *rest[1:])
            return (python, "-m", "pip", *rest)
        case ["python" | "python3", script, *rest] if script == _SETUP:
            path = _ROOT / _SETUP
            return (python, str(path), *rest) if path.is_file() else None
        case ["gemma-edge", *rest]:
            return (python, "-m", "gemma_edge", *rest)
    return None
