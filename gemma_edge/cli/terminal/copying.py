"""Text to the clipboard: by a tool of the platform, else by asking the terminal (OSC 52)."""

import base64
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from gemma_edge.cli.context import Context
from gemma_edge.errors import UsageError

TERMINAL_BYTES = 74_994  # xterm and tmux take no more in one sequence
TOOL_SECONDS = 5.0


def copy(text: str, context: Context) -> str:
    """Copy ``text``; return how, in words. Over SSH the terminal is on the right machine.

    Raises:
        UsageError: there is neither a tool nor a terminal that could take so much.
    """
    tools = () if context.environment.get("SSH_TTY") else _tools(context)
    for command in tools:
        if _hand_to(command, text):
            return f"with {Path(command[0]).stem}"
    encoded = base64.b64encode(text.encode()).decode()
    if not context.stderr_is_terminal or context.environment.get("TERM") == "dumb":
        raise UsageError("nothing here can copy", hint="/export FILE writes it down")
    if len(encoded) > TERMINAL_BYTES:
        raise UsageError(
            f"{len(text):,} characters are too many for the terminal's clipboard",
            hint="/export FILE writes it down",
        )
    context.stderr.write(f"\x1b]52;c;{encoded}\x07")
    context.stderr.flush()
    return "by the terminal (OSC 52), if it allows that"


def _tools(context: Context) -> list[tuple[str, ...]]:
    """Those of this platform that are here, by their paths."""
    told: Mapping[str, str] = context.environment
    if context.platform == "darwin":
        known: list[tuple[str, ...]] = [("pbcopy",)]
    elif context.platform == "win32":
        known = [("clip",)]
    else:
        known = [("wl-copy",)] if told.get("WAYLAND_DISPLAY") else []
        if told.get("DISPLAY"):
            known += [("xclip", "-selection", "clipboard"), ("xsel", "--clipboard", "--input")]
    found = [(shutil.which(name, path=told.get("PATH")), more) for name, *more in known]
    return [(path, *more) for path, more in found if path]


def _hand_to(command: tuple[str, ...], text: str) -> bool:
    """Windows' clip reads UTF-16; xclip keeps running, so nothing may wait for its output."""
    data = text.encode("utf-16" if Path(command[0]).stem == "clip" else "utf-8")
    try:
        done = subprocess.run(
            command, input=data, timeout=TOOL_SECONDS, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
