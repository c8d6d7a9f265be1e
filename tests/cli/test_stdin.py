"""A question on the command line, and stdin: what is piped to it is read, what is another's is not,
and nothing is waited for that may never come."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX shells")
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux says who holds a pipe")
ROOT = Path(__file__).parents[2]
READ = """
from gemma_edge.cli import inputs
from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
inputs.PATIENCE_SECONDS = 2.0
context = Context.from_process()
print("read", repr(inputs.read_offered(context, Output(context))))
"""


def run(line: str, **more) -> list[str]:
    """What stdout says of each time that ``PY`` ran in a line of a shell."""
    python = f'{sys.executable} -c "$READ"'
    done = subprocess.run(
        ["bash", "-c", line.replace("PY", python)], env={"READ": READ, "PATH": "/usr/bin:/bin"},
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True, **more,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.fixture
def three(tmp_path: Path) -> Path:
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    return tmp_path / "three.txt"


@posix
def test_what_is_piped_in_is_read(three):
    assert run("printf 'disk full' | PY") == ["read 'disk full'"]
    assert run(f"PY < {three}") == [r"read 'a\nb\nc\n'"]
    assert run("PY <<< here") == [r"read 'here\n'"]
    assert run("true | PY; PY </dev/null; PY <&-") == ["read ''"] * 3


@posix
def test_a_loop_over_a_file_keeps_its_lines(three):
    assert run(f"while read -r x; do echo $x; PY; done < {three}") == [
        "a", "read ''", "b", "read ''", "c", "read ''",
    ]  # fmt: skip


@linux
def test_a_loop_over_a_pipe_keeps_its_lines():
    assert run(r"printf 'a\nb\nc\n' | while read -r x; do echo $x; PY; done") == [
        "a", "read ''", "b", "read ''", "c", "read ''",
    ]  # fmt: skip


@linux
def test_a_slow_program_of_the_same_line_is_waited_for():
    assert run("(sleep 5; printf late) | PY") == ["read 'late'"]


@posix
def test_an_open_pipe_that_says_nothing_is_told_and_left_alone():
    """As it is in CI, under ssh, in containers, for agents."""
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", READ], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "read ''\n"
        assert time.monotonic() - started < 60
        told = process.stderr.read()
    assert "stdin is a pipe that says nothing; it is waited for 2 seconds" in told
    assert "`-` in the place of the question reads it to its end" in told


def test_a_dash_reads_it(shell):
    shell.script(["ok"] * 3)
    for words in (["-"], ["-", "-p", "what?"]):
        assert shell.run("chat", *words, stdin="some text\n").status == 0
    texts = [request.messages[-1].text for request in shell.engine.requests]
    assert texts == ["some text", "some text\n\nwhat?"]
    assert "stdin is a terminal" in shell.run("chat", "-", terminal=True).stderr
    for said in (shell.run("chat", "--help", model=False).stdout,):
        assert "says nothing for 10 seconds" in " ".join(said.split())
