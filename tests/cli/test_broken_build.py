"""llama.cpp as it is installed does not run here: the first command says what doctor says."""

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.engine.process import RemoteEngine
from gemma_edge.hardware.detect import parse_recording
from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.plan import Plan
from tests.cli.conftest import E4B, LAPTOP, SHAPES, Online, Shell
from tests.engine.faults import program
from tests.hardware.machines import load

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which("cc") or shutil.which("gcc")
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to die by")
COMMANDS = [("chat", "-p", "hi"), ("describe", SHAPES), ("extract", "-", "--schema", "vendor")]
AMX = "llama.cpp is built for AMX, which virtual machines refuse (illegal instruction)"


def machine(error: str, name: str = "laptop-without-gpu") -> Hardware:
    """A recorded machine whose loader says this of llama.cpp."""
    recording = load(name)
    recording["probe"]["ggml"] = {"error": error}
    return parse_recording(recording)


@posix
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_build_that_dies_at_its_first_decode(shell: Shell, command: tuple[str, ...]):
    shell.hardware = parse_recording(load("vm-amx-build"))
    loaded: list[Plan] = []

    def begin(plan: Plan) -> RemoteEngine:
        loaded.append(plan)
        return RemoteEngine(plan, program=program("doomed"))

    ran = shell.run(*command, stdin="Bill of ACME", load=begin)
    assert (ran.stdout, ran.status) == ("", 1)
    assert f"error: llama.cpp stopped before its first answer (SIGSEGV): {AMX}\n" in ran.stderr
    assert "hint: gemma-edge doctor --fix runs it: pip install --force-reinstall" in ran.stderr
    assert "-DGGML_NATIVE=OFF" in ran.stderr
    assert "started again" not in ran.stderr
    assert len(loaded) == 1


@posix
def test_the_first_file_of_a_batch_ends_it(shell: Shell, tmp_path: Path):
    shell.hardware = parse_recording(load("vm-amx-build"))
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("Bill of ACME", encoding="utf-8")
    ran = shell.run(
        "extract", str(tmp_path), "--schema", "vendor", "--out", str(tmp_path / "out.jsonl"),
        load=lambda plan: RemoteEngine(plan, program=program("doomed")),
    )  # fmt: skip
    assert ran.status == 1
    assert ran.stderr.count("SIGSEGV") == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("name", "said", "way_out"),
    [
        ("build-that-crashes", "its libraries crashed (illegal instruction)",
         "-DGGML_CUDA=ON;-DGGML_NATIVE=OFF"),
        ("no-llama-cpp", "llama-cpp-python is not installed", "-DGGML_NATIVE=OFF"),
        ("rtx-3060-cublas-missing", "libcublas.so.12, libcublasLt.so.12 are missing",
         "pip install nvidia-cublas-cu12"),
        ("driver-not-loaded", "", ""),
    ],
)  # fmt: skip
def test_a_build_that_cannot_be_loaded_is_not_tried(
    shell: Shell, command: tuple[str, ...], name: str, said: str, way_out: str
):
    shell.hardware = parse_recording(load(name))
    shell.script(["hello", '{"vendor": null}'])
    ran = shell.run(*command, stdin="Bill of ACME")
    if not said:  # a driver that does not answer stops no build for the processor
        assert len(shell.plans) == 1
        return
    assert (ran.stdout, ran.status, shell.plans) == ("", 1, [])
    error, hint = ran.stderr.splitlines()
    assert error.startswith("error: ") and said in error
    assert hint.startswith("hint: gemma-edge doctor --fix runs it: pip install") and way_out in hint


@pytest.mark.parametrize(
    ("words", "said", "way_out"),
    [
        ("libgomp.so.1: cannot open shared object file: No such file or directory",
         "it needs libgomp.so.1, which is missing", "libgomp1"),
        ("libcudart.so.12: cannot open shared object file: No such file or directory",
         "it needs libcudart.so.12, which is missing", "nvidia-cuda-runtime-cu12"),
        ("libm.so.6: version `GLIBC_2.38' not found (required by libggml-base.so)",
         "it needs GLIBC_2.38: it was built for a newer system", "--no-binary llama-cpp-python"),
        ("libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by libllama.so)",
         "it needs GLIBCXX_3.4.30", "--no-binary llama-cpp-python"),
        ("libc.musl-x86_64.so.1: cannot open shared object file: No such file or directory",
         "it was built for another Linux", "--no-binary llama-cpp-python"),
        ("libggml-base.so: wrong ELF class: ELFCLASS32", "for another kind of processor", "pip in"),
        ("dlopen(libggml.dylib, 0x0006): tried: 'libggml.dylib' (mach-o file, but is an "
         "incompatible architecture (have 'x86_64', need 'arm64'))",
         "it was built for x86_64, and this Python is arm64", "pip install"),
        ("[WinError 193] %1 is not a valid Win32 application", "another kind of proc", "pip inst"),
        ("Could not find module 'ggml.dll' (or one of its dependencies).", "needs a DLL", "vc_red"),
        ("libggml.so: undefined symbol: ggml_graph_plan", "is a mix of two versions", "pip inst"),
        ("libggml-base.so: failed to map segment from shared object", "noexec", "another disk"),
        ("something that nobody has seen", "cannot be used: something that nobody", "pip inst"),
    ],
)  # fmt: skip
def test_what_a_loader_says_in_words(shell: Shell, words: str, said: str, way_out: str):
    shell.hardware = machine(words)
    ran = shell.run("chat", "-p", "hi")
    assert (ran.stdout, ran.status, shell.plans) == ("", 1, [])
    error, hint = ran.stderr.splitlines()
    assert error.startswith("error: llama.cpp cannot be used: ") and said in error
    assert way_out in hint


def test_a_published_wheel_is_no_way_out_of_an_old_system(shell: Shell):
    shell.hardware = machine("libm.so.6: version `GLIBC_2.38' not found", "rtx-3060")
    hint = shell.run("chat", "-p", "hi").stderr.splitlines()[-1]
    assert "-DGGML_CUDA=ON" in hint
    assert "whl/" not in hint


def test_nothing_is_downloaded_for_a_build_that_cannot_run(online: Online):
    online.shell.hardware = replace(LAPTOP, build=replace(LAPTOP.build, error="libx.so is gone"))
    ran = online.run("chat", "-p", "hi", "--model", "e4b", "--yes")
    assert ran.stderr == "error: llama.cpp cannot be used: libx.so is gone\n"
    assert ran.status == 1
    assert online.hub.requests == []
    assert online.run("pull", "e4b", "--quiet").status == 0  # the file can still be carried away
    assert E4B in online.hub.requests[0][1]


def test_a_plan_says_once_what_keeps_it_from_running(shell: Shell):
    shell.hardware = machine("libgomp.so.1: cannot open shared object file")

    def unasked(_other):
        raise AssertionError("a build that cannot be loaded is not asked")

    ran = shell.run("plan", open_measure=lambda _other: nullcontext(unasked))
    assert ran.status == 0
    (line,) = [each for each in ran.stderr.splitlines() if "llama.cpp" in each]
    assert line.startswith("llama.cpp cannot be used: it needs libgomp.so.1, which is missing; buf")
    assert "To run it: install libgomp1" in line
    top = shell.run(model=False).stdout
    assert "✘  llama.cpp cannot be used: it needs libgomp.so.1, which is missing; gemma-edge" in top


@pytest.mark.parametrize("error", ["its libraries did not answer in time", "(killed)"])
def test_a_probe_that_had_no_time_stops_nothing(shell: Shell, error: str):
    error = error if error.startswith("its") else f"its libraries crashed {error}"
    shell.hardware = replace(LAPTOP, build=replace(LAPTOP.build, error=error))
    shell.script(["hello"])
    assert shell.run("chat", "-p", "hi").stdout == "hello\n"


# The real thing: libraries that were made to fail, in the place of llama.cpp's.

_DIES = "__attribute__((constructor)) static void die(void) { __builtin_trap(); }"
_NEEDS = "void other(void); void (*keep)(void) = other;"


@pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="makes ELF libraries")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (_DIES, "llama.cpp cannot be used: its libraries crashed ("),
        (_NEEDS, "llama.cpp cannot be used: it needs libnowhere.so, which is missing"),
    ],
    ids=["dies on load", "needs what is not there"],
)
def test_libraries_that_fail(tmp_path: Path, source: str, said: str):
    other, folder = tmp_path / "libnowhere.so", tmp_path / "lib"
    folder.mkdir()
    _compile("void other(void) {}", other)
    for name in ("ggml-base", "ggml", "llama"):
        _compile(source, folder / f"lib{name}.so", f"-L{tmp_path}", "-lnowhere")
    other.unlink()
    ran = subprocess.run(
        [sys.executable, "-m", "gemma_edge", "chat", "hi", "--model", "demo"],
        env=dict(os.environ) | {"LLAMA_CPP_LIB_PATH": str(folder)}, cwd=ROOT, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    error, hint = ran.stderr.splitlines()
    assert (ran.stdout, ran.returncode) == ("", 1)
    assert error.startswith(f"error: {said}")
    assert hint == "hint: python3 scripts/setup.py --backend cpu"


def _compile(source: str, path: Path, *more: str) -> None:
    assert COMPILER is not None
    command = [COMPILER, "-shared", "-fPIC", "-x", "c", "-", "-o", str(path), *more]
    subprocess.run(command, input=source.encode(), check=True)
