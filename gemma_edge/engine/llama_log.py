"""llama.cpp's own complaints: kept for error messages, never printed behind a person's back."""

import ctypes
from collections import deque

import llama_cpp
from llama_cpp import mtmd_cpp

KEPT_LINES = 20
_ERROR_LEVELS = (3, 4)  # GGML_LOG_LEVEL_WARN, _ERROR (ggml.h)

_problems: deque[str] = deque(maxlen=KEPT_LINES)


def _keep_line(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
    line = text.decode("utf-8", "replace").strip()
    if line and level in _ERROR_LEVELS:
        _problems.append(line)


_keep = llama_cpp.llama_log_callback(_keep_line)  # lives as long as llama.cpp may call it


def capture() -> None:
    """Route every log line of llama.cpp, ggml and mtmd here. Idempotent."""
    llama_cpp.llama_log_set(_keep, ctypes.c_void_p(0))
    mtmd_cpp.mtmd_log_set(_keep, ctypes.c_void_p(0))
    mtmd_cpp.mtmd_helper_log_set(_keep, ctypes.c_void_p(0))
    _problems.clear()


def problem() -> str:
    """The last thing that llama.cpp complained about, in one line, or ""."""
    return _problems[-1] if _problems else ""
