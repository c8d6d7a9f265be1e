"""The boundary of the command line: pages, usage errors, bugs, and the streams that fail."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_edge import __version__
from gemma_edge.errors import ExitStatus
from tests.scripted import ScriptedEngine

ROOT = Path(__file__).parents[2]
USAGE = ExitStatus.USAGE


def test_alone_it_says_what_it_is_and_what_it_can_do(shell):
    ran = shell.run(model=False)
    assert ran.status == 0
    assert ran.stderr == ""
    assert ran.stdout.startswith(f"gemma-edge {__version__} · Gemma 4 on this machine")
    for command in ("chat", "describe", "extract"):
        assert f"  gemma-edge {command}" in ran.stdout


def test_version(check):
    check("--version", model=False, stdout=f"gemma-edge {__version__}\n")


@pytest.mark.parametrize("argv", [("--help",), ("chat", "--help"), ("extract", "-h")])
def test_help_goes_to_stdout_and_fits_60_columns(shell, argv):
    ran = shell.run(*argv, model=False, width=60)
    assert ran.status == 0
    assert ran.stderr == ""
    assert ran.stdout.startswith("Usage: gemma-edge")
    assert "  gemma-edge " in ran.stdout.replace("Usage: gemma-edge", "")  # it teaches by example
    prose = [line for line in ran.stdout.splitlines() if not line.startswith("  gemma-edge ")]
    assert max(map(len, prose)) <= 60


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        ("chst", "there is no command `chst`", "did you mean chat? gemma-edge --help"),
        ("--bogus", "there is no option `--bogus`", "gemma-edge --help"),
        (
            "chat --modle x",
            "there is no option `--modle`",
            "did you mean --model? gemma-edge chat --help",
        ),
        ("describe", "missing argument `FILE`", "gemma-edge describe --help"),
        ("chat -p", "option `-p` requires an argument", "gemma-edge chat --help"),
        (
            "chat --ctx many hi",
            "invalid value for `--ctx`: `many` is not a number of tokens, like 8192 or 8k",
            "gemma-edge chat --help",
        ),
        (
            "describe --detail 3 x",
            "invalid value for `--detail`: `3` is none of low, normal, high, max, "
            "nor a number from 70 to 1120",
            "gemma-edge describe --help",
        ),
        (
            "chat --gpu-layers some hi",
            "invalid value for `--gpu-layers`: `some` is not a number of layers, nor `all`",
            "gemma-edge chat --help",
        ),
        ("chat hi -p hi", "the question is there twice", "TEXT or -p TEXT, not both"),
    ],
)
def test_usage_errors(check, argv, message, hint):
    stderr = f"error: {message}\nhint: {hint}\n"
    check(*argv.split(), model=False, status=USAGE, stderr=stderr)


class Broken:
    """Stands for a bug: nothing that anybody foresaw."""

    def __call__(self, _plan):
        raise ZeroDivisionError("division by zero")


def test_a_bug_is_one_line(check):
    check(
        "chat",
        "hi",
        load=Broken(),
        status=ExitStatus.FAILED,
        stderr="error: a bug in gemma-edge: ZeroDivisionError: division by zero\n"
        "hint: GEMMA_EDGE_DEBUG=1 shows where; please report it with that\n",
    )


def test_a_bug_shows_its_place_when_asked(shell):
    ran = shell.run("chat", "hi", load=Broken(), environment={"GEMMA_EDGE_DEBUG": "1"})
    assert ran.status == ExitStatus.FAILED
    assert "Traceback (most recent call last)" in ran.stderr
    assert ran.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_ctrl_c_while_loading(check):
    def load(_plan):
        raise KeyboardInterrupt

    check("chat", "hi", load=load, status=ExitStatus.INTERRUPTED)


class Full(io.StringIO):
    """A disk without space."""

    def flush(self):
        raise OSError(28, "No space left on device")


class Gone(io.StringIO):
    """A reader that went away."""

    def flush(self):
        raise BrokenPipeError


def test_no_space_for_the_answer(shell):
    shell.script(["hello"])
    stderr = io.StringIO()
    ran = shell.run("chat", "hi", "--quiet", stdout=Full(), stderr=stderr)
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert stderr.getvalue() == (
        "error: the answer cannot be written: No space left on device\n"
        "hint: make room, or send stdout elsewhere\n"
    )


class Careful(ScriptedEngine):
    """Notices an answer that outlives its engine, which would crash llama.cpp."""

    running = 0
    closed_while_running = False

    def generate(self, request):
        self.running += 1
        try:
            yield from super().generate(request)
        finally:
            self.running -= 1

    def close(self):
        self.closed_while_running = self.running > 0


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_an_answer_that_cannot_be_written_ends_before_its_engine(shell, flags):
    shell.engine = Careful(["one two three"])
    assert shell.run("chat", "hi", *flags, stdout=Full()).status == ExitStatus.DOES_NOT_FIT
    assert not shell.engine.closed_while_running


def test_a_reader_that_went_away_is_nobody_to_complain_to(shell):
    shell.script(["hello"])
    stderr = io.StringIO()
    ran = shell.run("chat", "hi", "--quiet", stdout=Gone(), stderr=stderr)
    assert ran.status == ExitStatus.FAILED
    assert stderr.getvalue() == ""


def gemma_edge(*argv: str, **more) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "gemma_edge", *argv]
    return subprocess.run(
        command, check=False, timeout=60, stdin=subprocess.DEVNULL, cwd=ROOT, **more
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a Linux device")
def test_a_full_disk_in_a_real_process():
    with open("/dev/full", "wb") as full:
        ran = gemma_edge("--version", stdout=full, stderr=subprocess.PIPE)
    assert ran.returncode == ExitStatus.DOES_NOT_FIT
    assert ran.stderr.startswith(b"error: the answer cannot be written: No space left on device")
    assert ran.stderr.count(b"\n") == 2


def test_a_pipe_without_a_reader_in_a_real_process():
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        ran = gemma_edge("--version", stdout=pipe, stderr=subprocess.PIPE)
    assert (ran.returncode, ran.stderr) == (ExitStatus.FAILED, b"")
