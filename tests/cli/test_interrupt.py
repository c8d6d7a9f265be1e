"""Ctrl-C at any moment: the status is 130, and nobody sees where it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
ROOT = Path(__file__).parents[2]
COMMANDS = (
    (["--help"], 0),
    (["schema", "types"], 0),
    (["models", "--offline"], 0),
    (["plan", "demo"], 0),
    (["chat", "hi", "--model", "demo", "--max-tokens", "400"], 0),
    (["extract", "examples/invoice.pdf", "--schema", "total", "--model", "demo"], 0),
)


def press(argv: list[str], seconds: float, home: Path) -> tuple[int, str]:
    """Run a command and press Ctrl-C once, for its whole group as a terminal does."""
    world = {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "GEMMA_EDGE_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gemma_edge", *argv], stdin=subprocess.DEVNULL, cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | world,
    )  # fmt: skip
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    return process.returncode, said


def check(argv: list[str], seconds: float, home: Path) -> None:
    status, said = press(argv, seconds, home)
    # Before Python has read a line of ours it answers by itself.
    began = "gemma_edge" in said or "Traceback" not in said
    if not began or status == -signal.SIGINT:
        return
    assert "Traceback" not in said and "bug" not in said and "Error" not in said, (seconds, said)
    assert status in (ExitStatus.INTERRUPTED, ExitStatus.OK, ExitStatus.RESULT), (seconds, said)


@pytest.mark.parametrize("argv", [argv for argv, _ in COMMANDS], ids=" ".join)
def test_at_some_moments(argv, tmp_path):
    for milliseconds in (30, 120, 400):
        check(argv, milliseconds / 1000, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("argv", [argv for argv, _ in COMMANDS], ids=" ".join)
def test_at_each_of_fifty_moments(argv, tmp_path):
    for milliseconds in range(0, 500, 10):
        check(argv, milliseconds / 1000, tmp_path)


SLOW_IMPORT = """
import os, signal, sys, threading, time
sys.argv = ["gemma-edge", "--help"]
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def press(name, *more):
    if name == sys.orig_argv[-1]:
        os.kill(os.getpid(), signal.SIGINT)
    return find(name, *more)
PathFinder.find_spec = press
from gemma_edge.cli.main import run
run()
"""


@pytest.mark.parametrize("module", ["json", "typer", "gemma_edge.cli.completion", "traceback"])
def test_while_a_module_is_read(module):
    done = subprocess.run(
        [sys.executable, "-c", SLOW_IMPORT, module], cwd=ROOT, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (ExitStatus.INTERRUPTED, "", "")


LATE = """
import sys
import gemma_edge.cli.main as module
from gemma_edge.errors import GemmaEdgeError
def stumble(*_):
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise {error}
module._print = stumble
sys.argv = ["gemma-edge", "--version"]
module.run()
"""


@pytest.mark.parametrize("error", ["SystemError('odd')", "GemmaEdgeError('not installed')"])
def test_what_a_library_makes_of_it_is_no_bug(error):
    done = subprocess.run(
        [sys.executable, "-c", LATE.format(error=error)], cwd=ROOT, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (ExitStatus.INTERRUPTED, "")


def test_one_that_is_ignored_stays_so():
    """A job in the background of a shell does not hear of it."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import sys;"
        "sys.argv = ['gemma-edge', '--version']; import atexit;"
        "atexit.register(lambda: print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN));"
        "from gemma_edge.cli.main import run; run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    assert done.stdout.endswith("True\n")


def test_a_library_keeps_its_own_keys():
    code = (
        "import signal; import gemma_edge; from gemma_edge.cli.main import main;"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    assert done.stdout == "True\n"
