"""Streams that fail: whatever becomes of stderr, answer and status are as they should be."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus
from tests.cli.test_offline import RUNS

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="numbers of files as POSIX has them")


class Refusing(io.StringIO):
    """Takes nothing: a full disk, or a reader that is gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


ERRORS = (OSError(28, "No space left on device"), BrokenPipeError(), ValueError("closed file"))
LINES = [line for lines in RUNS.values() for line in lines if line != "chat --model demo"]


@pytest.mark.parametrize("line", [*LINES, "", "--version", "--help", "extract --help", "no-such"])
def test_no_command_needs_its_stderr(shell, tmp_path, monkeypatch, line):
    folder = tmp_path / "work"
    (folder / "bills").mkdir(parents=True)
    (folder / "bills" / "bill.txt").write_text("INVOICE A-1\nTotal 5.50 EUR\n")
    (folder / "bills" / "bill.gold.json").write_text('{"total": 5.5}')
    (folder / "tests.json").write_text('{"schema": {}, "tests": []}')
    monkeypatch.chdir(folder)
    words = line.replace("SHAPES", str(ROOT / "examples" / "shapes.png")).split()
    words = [str(ROOT / "examples" / "invoice.pdf") if w == "INVOICE" else w for w in words]

    def run(number: int, **more):
        shell.script(['{"total": 5.5}'] * 9)
        shell.home = tmp_path / f"home{number}"
        (folder / "out.jsonl").write_text("")
        ran = shell.run(*words, model=False, environment={"GEMMA_EDGE_OFFLINE": "1"}, **more)
        return re.sub(r"home[0-9]|[0-9.]+", "N", ran.stdout), ran.status  # a clock, what is free

    told = run(0)
    for number, error in enumerate(ERRORS, 1):
        assert run(number, stderr=Refusing(error)) == told


def gemma_edge(*argv: str, **more) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "gemma_edge", *argv]
    return subprocess.run(
        command, check=False, timeout=120, stdin=subprocess.DEVNULL, cwd=ROOT, **more
    )


def closed(*numbers: int):
    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


@posix
@pytest.mark.parametrize(
    "argv", [("schema", "types"), ("recipes", "show", "no-such"), ("path", "demo")]
)
def test_in_a_real_process(argv):
    told = gemma_edge(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    full = open("/dev/full", "wb") if Path("/dev/full").exists() else None  # noqa: SIM115
    gone, pipe = os.pipe()
    os.close(gone)
    for stderr in filter(None, (full, pipe)):
        ran = gemma_edge(*argv, stdout=subprocess.PIPE, stderr=stderr)
        assert (ran.stdout, ran.returncode) == (told.stdout, told.returncode)
    ran = gemma_edge(*argv, stdout=subprocess.PIPE, preexec_fn=closed(2))  # noqa: PLW1509
    assert (ran.stdout, ran.returncode) == (told.stdout, told.returncode)
    os.close(pipe)
    if full:
        full.close()


@posix
def test_an_answer_for_a_closed_stdout_is_an_error_that_is_told():
    ran = gemma_edge("schema", "types", stderr=subprocess.PIPE, preexec_fn=closed(0, 1))  # noqa: PLW1509
    assert ran.returncode == ExitStatus.DOES_NOT_FIT
    assert ran.stderr.startswith(b"error: the answer cannot be written: Bad file descriptor")
    ran = gemma_edge("schema", "types", preexec_fn=closed(0, 1, 2))  # noqa: PLW1509
    assert ran.returncode == ExitStatus.DOES_NOT_FIT


@posix
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    """A library that writes to number 2 would write into it."""
    look = (
        "import os, sys; from gemma_edge.cli.context import open_closed_streams;"
        "open_closed_streams(); number = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR);"
        "os._exit(number)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", look, str(tmp_path / "out")], check=False, cwd=ROOT,
        preexec_fn=closed(0, 1, 2), timeout=120,  # noqa: PLW1509
    )  # fmt: skip
    assert ran.returncode >= 3


@posix
def test_a_pipe_that_does_not_wait_loses_nothing():
    read, write = os.pipe()
    os.set_blocking(write, False)
    with subprocess.Popen(
        [sys.executable, "-m", "gemma_edge", "extract", "--help"], stdin=subprocess.DEVNULL,
        stdout=write, stderr=write, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.wait(120) == 0
        assert os.get_blocking(write)
    os.close(write)
    os.close(read)
