"""llama.cpp's own words: complaints for error messages, the report of a load; never printed
behind a person's back."""

import ctypes
import os
from collections import deque

import llama_cpp
from llama_cpp import mtmd_cpp

from gemma_edge.engine.ladder import is_memory

VERSION = str(llama_cpp.__version__)  # of llama-cpp-python; llama.cpp's own says less
KEPT_LINES = 20
_INFO_LEVEL = 2  # GGML_LOG_LEVEL_INFO (ggml.h)
_ERROR_LEVELS = (3, 4)  # GGML_LOG_LEVEL_WARN, _ERROR

_problems: deque[str] = deque(maxlen=KEPT_LINES)
_report: list[str] = []
_reporting = False
_mirror_file = -1


def _keep_line(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
    if level == _INFO_LEVEL and not _reporting:
        return
    line = text.decode("utf-8", "replace").strip()
    if not line:
        return
    if level == _INFO_LEVEL:
        _report.append(line)
    elif level in _ERROR_LEVELS:
        _problems.append(line)
        if _mirror_file >= 0:
            os.write(_mirror_file, f"{line}\n".encode())


_keep = llama_cpp.llama_log_callback(_keep_line)  # lives as long as llama.cpp may call it


def capture() -> None:
    """Route every log line of llama.cpp, ggml and mtmd here. Idempotent."""
    llama_cpp.llama_log_set(_keep, ctypes.c_void_p(0))
    mtmd_cpp.mtmd_log_set(_keep, ctypes.c_void_p(0))
    mtmd_cpp.mtmd_helper_log_set(_keep, ctypes.c_void_p(0))
    _problems.clear()


def mirror(file_number: int) -> None:
    """Write complaints there too, at once: after an abort nothing else can."""
    global _mirror_file  # noqa: PLW0603  (llama.cpp has one log for the process)
    _mirror_file = file_number


def start_report() -> None:
    """Keep what llama.cpp tells from here on."""
    global _reporting  # noqa: PLW0603
    _report.clear()
    _reporting = True


def end_report() -> tuple[str, ...]:
    """What it told since ``start_report``, line by line. Complaints that loading survived are
    forgotten: they explain nothing that comes later."""
    global _reporting  # noqa: PLW0603
    _reporting = False
    _problems.clear()
    lines = tuple(_report)
    _report.clear()
    return lines


def problem() -> str:
    """The last thing that llama.cpp complained about, in one line, or ""."""
    return _problems[-1] if _problems else ""


def shortage() -> str:
    """Its first complaint about memory, or ""."""
    return next((line for line in _problems if is_memory(line)), "")
