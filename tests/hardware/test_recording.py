"""Asking this machine: real child programs that answer, hang, crash or are not there."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gemma_edge.hardware.detect import detect_hardware, parse_recording, record, run_probe, run_tool
from gemma_edge.hardware.gpus import SMI, SMI_QUERY

COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(
    COMPILER is None or sys.platform != "linux", reason="makes ELF libraries with a C compiler"
)
on_posix = pytest.mark.skipif(os.name != "posix", reason="writes a shell script as a tool")
HERE = {"PATH": os.environ.get("PATH", "")}
LIMIT_SECONDS = 1.5


def test_this_machine():
    started = time.perf_counter()
    hardware = detect_hardware(os.environ)
    assert time.perf_counter() - started < LIMIT_SECONDS
    assert hardware.system == sys.platform
    assert hardware.cpu.cores >= 1
    assert hardware.cpu.instructions or sys.platform != "linux"
    assert hardware.memory.available_bytes
    assert hardware.memory.total_bytes
    assert hardware.build.error == ""
    assert hardware.build.version.startswith("0.3.")
    assert "cpu" in hardware.build.backends
    assert hardware.build.instructions


def test_a_recording_is_json_and_gives_the_same_machine():
    recording = record(os.environ)
    again = json.loads(json.dumps(recording))
    assert again == recording
    assert parse_recording(again) == parse_recording(recording)


def test_a_recording_keeps_no_names(tmp_path):
    """Only variables that matter, no serial numbers, and no home folder."""
    environment = HERE | {
        "USER": "somebody", "SECRET_TOKEN": "hidden", "SLURM_JOB_USER": "somebody",
        "CUDA_VISIBLE_DEVICES": "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
        "LLAMA_CPP_LIB_PATH": str(Path("~/libraries").expanduser()),
    }  # fmt: skip
    recording = record(environment)
    text = json.dumps(recording)
    assert "somebody" not in text
    assert "hidden" not in text
    assert "8932f937" not in text
    assert recording["environment"]["CUDA_VISIBLE_DEVICES"].startswith("GPU-00000000-")
    assert recording["environment"]["LLAMA_CPP_LIB_PATH"].startswith("~")


def test_the_probe_does_not_import_llama_cpp():
    """It costs half a second, and an import may print, raise or end the process."""
    code = (
        "from gemma_edge.hardware.probe import main; "
        "from gemma_edge.isolation import ChildRequest; "
        "list(main()(ChildRequest(1, {'folders': ['']}, ())))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    assert "gemma_edge.hardware.gpus" in done.stderr
    assert "llama_cpp" not in done.stderr
    assert "numpy" not in done.stderr


def test_a_module_in_the_working_folder_is_not_imported(tmp_path, monkeypatch):
    """Somebody may have a json.py where they run us."""
    for name in ("json", "ctypes", "gemma_edge", "text", "memory"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_probe(HERE)["status"] == 0


@on_posix
def test_a_tool_that_hangs_is_cut_off():
    started = time.perf_counter()
    answer = run_tool(["/bin/sh", "-c", "echo first; exec sleep 30"], HERE, 0.3)
    assert time.perf_counter() - started < 5
    assert answer == {"status": None, "output": ["first"]}


def test_a_tool_that_is_not_there():
    answer = run_tool(["/no/such/tool"], HERE, 1)
    assert answer["status"] is None


@on_posix
def test_nvidia_smi_is_found_on_the_path(tmp_path):
    """A card that only nvidia-smi sees: this machine's llama.cpp cannot use it, and says why."""
    row = "0, GPU-x, 00000000:01:00.0, NVIDIA GeForce RTX 4060, 8188, 7890, 8.9, 550.120, "
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n"
        'case "$1" in --query-gpu=*) echo "' + row + 'Disabled, [N/A]";; *) echo '
        '"| NVIDIA-SMI 550.120   Driver Version: 550.120   CUDA Version: 12.4 |";; esac\n',
        encoding="utf-8",
    )
    tool.chmod(0o755)
    recording = record({"PATH": f"{tmp_path}{os.pathsep}{HERE['PATH']}"})
    assert set(recording["commands"]) == {SMI, SMI_QUERY}
    recording["probe"]["nvml"] = {}  # a machine with a real card would answer for itself
    hardware = parse_recording(recording)
    card = next(device for device in hardware.devices if device.pci_id == "0000:01:00.0")
    assert (card.title, card.usable, card.total_bytes) == ("RTX 4060", False, 8188 << 20)
    found = [finding for finding in hardware.findings if "without CUDA" in finding.text]
    assert "cuda" in hardware.build.backends or found[0].fix == (
        "python3 scripts/setup.py --backend cuda"
    )


def make_libraries(folder: Path, constructor: str) -> None:
    """llama.cpp's libraries as ELF files whose loading does what ``constructor`` says."""
    source = folder / "source.c"
    source.write_text(
        "#include <unistd.h>\n"
        f"__attribute__((constructor)) static void start(void) {{ {constructor} }}\n",
        encoding="utf-8",
    )
    for name in ("ggml-base", "ggml", "llama"):
        out = str(folder / f"lib{name}.so")
        subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", out, str(source)], check=True)


@needs_compiler
@pytest.mark.parametrize(
    ("constructor", "error"),
    [
        ("__builtin_trap();", "its libraries crashed (illegal instruction)"),
        ("_exit(3);", "its libraries crashed (exit status 3)"),
        ("sleep(30);", "its libraries did not answer in time"),
    ],
)
def test_libraries_that_take_the_process_with_them(tmp_path, constructor, error):
    """What was known before (NVML, the version) is kept, and the build says how it ended."""
    make_libraries(tmp_path, constructor)
    answer = run_probe(HERE | {"LLAMA_CPP_LIB_PATH": str(tmp_path)}, limit_seconds=6)
    assert "nvml" in answer
    assert answer["llama"]["found"] is True
    hardware = parse_recording({"system": "linux", "probe": answer})
    assert hardware.build.error == error
    assert [finding.what for finding in hardware.findings] == ["llama.cpp"]


def test_a_folder_without_libraries(tmp_path):
    answer = run_probe(HERE | {"LLAMA_CPP_LIB_PATH": str(tmp_path)})
    hardware = parse_recording({"system": sys.platform, "probe": answer})
    assert hardware.build.error.startswith("there is no libggml-base")


def test_no_llama_cpp_at_all(tmp_path):
    answer = run_probe(HERE | {"LLAMA_CPP_LIB_PATH": str(tmp_path / "gone")})
    hardware = parse_recording({"system": sys.platform, "probe": answer})
    assert hardware.build.error == "llama-cpp-python is not installed"
