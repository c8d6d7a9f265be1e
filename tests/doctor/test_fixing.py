"""A fix as text to a command, or to None."""

from pathlib import Path

import pytest

from gemma_edge.doctor import parse_fix, with_pip

PY = "/env/bin/python"


def parse(fix: str) -> tuple[str, ...] | None:
    return parse_fix(fix, PY)


@pytest.mark.parametrize(
    ("fix", "arguments"),
    [
        ("pip install nvidia-cublas-cu12", ("-m", "pip", "install", "nvidia-cublas-cu12")),
        ('pip install "nvidia-cublas==13.*"', ("-m", "pip", "install", "nvidia-cublas==13.*")),
        ("python -m pip install x", ("-m", "pip", "install", "x")),
        ("gemma-edge rm hf:a/b/c.gguf", ("-m", "gemma_edge", "rm", "hf:a/b/c.gguf")),
        ('pip install x -C "cmake.args=-DA=ON;-DB=OFF"',
         ("-m", "pip", "install", "x", "-C", "cmake.args=-DA=ON;-DB=OFF")),
    ],
)  # fmt: skip
def test_commands(fix, arguments):
    assert parse(fix) == (PY, *arguments)


@pytest.mark.parametrize(
    "fix",
    [
        "",
        "install the driver of your distribution and restart",
        "update the driver (nvidia.com)",
        "sudo apt install nvidia-driver",
        "srun --gres=gpu:1 --pty gemma-edge doctor",
        "pip install x && rm -rf y",
        "pip install x, or update the driver",
        "pip",
        "don't",
        "rm -rf x",
        "python -c print",
        "python3 other.py",
        "A=1 pip install x",
    ],
)
def test_changes_that_a_person_makes(fix):
    assert parse(fix) is None


def test_an_environment_without_pip():
    arguments = ("/bin/uv", "pip", "install", "--python", PY, "x")
    assert parse_fix("pip install x", PY, uv="/bin/uv") == arguments


def test_pip_comes_first_where_there_is_none():
    own, pip, other = (PY, "-m", "ensurepip"), (PY, "-m", "pip", "install", "x"), (PY, "a.py")
    assert with_pip([other, pip], PY, has_pip=False) == [own, other, pip]
    assert with_pip([other, pip], PY, has_pip=True) == [other, pip]
    assert with_pip([other], PY, has_pip=False) == [other]


def test_the_script_of_a_checkout_is_run_from_where_it_lies():
    command = parse("python3 scripts/setup.py --backend cuda")
    assert command is not None
    assert command[0] == PY
    assert Path(command[1]) == Path(__file__).resolve().parents[2] / "scripts/setup.py"
    assert command[2:] == ("--backend", "cuda")
