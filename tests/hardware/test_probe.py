"""The probe and what stands in its way: each question, each part and each card fails alone, what
was lost is told, and what goes on is what was not lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from gemma_edge.hardware import detect
from gemma_edge.hardware.detect import parse_recording, run_probe
from gemma_edge.hardware.machine import Hardware
from tests.hardware.fakes import (
    ABORT,
    A,
    environment,
    make_llama,
    make_nvml,
    needs_compiler,
)

pytestmark = needs_compiler


def parse(probe: dict[str, object], **more: object) -> Hardware:
    return parse_recording({"system": "linux", "probe": probe, **more})


def told(hardware: Hardware, what: str) -> list[str]:
    return [each.text for each in hardware.findings if each.what == what]


def reinstalls(hardware: Hardware) -> list[str]:
    return [each.fix for each in hardware.findings if "install" in each.fix]


# --------------------------------------------------------------------- NVML, question by question


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_llama(tmp_path_factory.mktemp("llama"))


def ask(folder: Path, llama: str, **nvml: object) -> Hardware:
    libraries = make_nvml(folder / "nvml", **nvml)
    probe = run_probe(environment(LD_LIBRARY_PATH=libraries, LLAMA_CPP_LIB_PATH=llama))
    return parse(probe)


@pytest.mark.parametrize("text", [r'"/opt/B\374ro/\374ber --x"', r'"\377\376"'])
def test_a_program_whose_name_is_not_utf_8(tmp_path, llama, text):
    hardware = ask(tmp_path, llama, PROGRAM=text, FREE=4000)
    assert [(each.name, each.driver) for each in hardware.devices] == [
        ("CUDA0", "580.95.05"), ("CUDA1", "580.95.05"),
    ]  # fmt: skip
    assert hardware.build.error == ""
    assert reinstalls(hardware) == []


def test_a_card_whose_name_is_not_utf_8(tmp_path, llama):
    hardware = ask(tmp_path, llama, cards=A.replace("NVIDIA GeForce RTX 4090", r"RTX \3744090"))
    first = hardware.devices[0]
    assert (first.name, first.capability, first.driver) == ("CUDA0", "8.9", "580.95.05")


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        ("nvmlDeviceGetMemoryInfo", True),
        ("nvmlDeviceGetCudaComputeCapability", True),
        ("nvmlDeviceGetUUID", True),
        ("nvmlDeviceGetName", True),
        ("nvmlDeviceGetPciInfo_v3", True),
        ("nvmlDeviceGetComputeMode", True),
        ("nvmlSystemGetDriverVersion", False),
        ("nvmlSystemGetCudaDriverVersion", True),
        ("nvmlDeviceGetComputeRunningProcesses_v3", True),
    ],
)
def test_a_driver_that_lacks_a_function(tmp_path, llama, function, kept):
    hardware = ask(tmp_path, llama, without=function)
    assert [each.name for each in hardware.devices] == ["CUDA0", "CUDA1"]
    assert all(each.total_bytes and each.free_bytes for each in hardware.devices)
    assert {each.driver for each in hardware.devices} == ({"580.95.05"} if kept else {""})
    (text,) = told(hardware, "NVML")
    assert function.removeprefix("nvml").removesuffix("_v3") in text
    assert reinstalls(hardware) == []


def test_a_card_that_fell_off_the_bus(tmp_path, llama):
    hardware = ask(tmp_path, llama, LOST=1)
    assert [(each.name, each.driver) for each in hardware.devices] == [
        ("CUDA0", "580.95.05"), ("CUDA1", ""),
    ]  # fmt: skip
    (text,) = told(hardware, "NVML")
    assert "GPU is lost" in text


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ("abort()", "SIGABRT"),
        ("*(volatile int *)0 = 1", "SIGSEGV"),
        ("sleep(30)", "longer than 1 s"),
    ],
)
def test_nvml_that_takes_the_process_with_it(tmp_path, llama, monkeypatch, init, words):
    monkeypatch.setattr(detect, "NVML_LIMIT_SECONDS", 1)
    hardware = ask(tmp_path, llama, INIT=init)
    assert [each.name for each in hardware.devices] == ["CUDA0", "CUDA1"]
    assert hardware.build.error == ""
    (text,) = told(hardware, "NVML")
    assert words in text
    assert reinstalls(hardware) == []


@pytest.mark.parametrize(
    "module",
    [
        "raise RuntimeError('no')",  # not an import error
        "class NVMLError(Exception): pass\ndef nvmlInit(): raise ValueError('broken')",
        "class NVMLError(Exception): pass\ndef nvmlInit(): pass",  # and nothing else
        "def nvmlInit(): pass\ndef nvmlDeviceGetCount(): return 'two'",
    ],
)
def test_a_binding_that_fails_by_itself(tmp_path, llama, monkeypatch, module):
    (tmp_path / "pynvml.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    hardware = ask(tmp_path, llama)
    assert [each.name for each in hardware.devices] == ["CUDA0", "CUDA1"]
    assert told(hardware, "NVML")
    assert reinstalls(hardware) == []


# ------------------------------------------------------------------------- llama.cpp, card by card


def probe_cards(
    folder: Path, open_b: str, more: dict[str, str] | None = None, limit: float = 20, **nvml: object
):
    libraries = make_nvml(folder / "nvml", **nvml)
    llama = make_llama(folder / "llama", open_b=open_b)
    asked = environment(LD_LIBRARY_PATH=libraries, LLAMA_CPP_LIB_PATH=llama, **(more or {}))
    return run_probe(asked, limit_seconds=limit)


@pytest.mark.parametrize(
    ("nvml", "words", "fix"),
    [
        ({"FREE": 210}, "210.0 MiB of 24.0 GiB are free, held by ollama", "stop ollama"),
        ({"FREE": 9000, "MODE": 3}, "ollama holds it for itself", "stop ollama"),
        ({"MODE": 2}, "lets no program in", "sudo nvidia-smi -i 0000:02:00.0 -c DEFAULT"),
    ],
)
def test_a_card_that_cannot_be_opened_is_named_and_the_other_goes_on(tmp_path, nvml, words, fix):
    probe = probe_cards(tmp_path, ABORT, **nvml)
    hardware = parse(probe)
    assert [(each.name, each.title) for each in hardware.devices] == [
        ("CUDA0", "RTX 4090"), ("", "RTX 3090"),
    ]  # fmt: skip
    assert words in hardware.devices[1].obstacle
    assert hardware.variables == ("CUDA_VISIBLE_DEVICES=GPU-aaaaaaaa-0000-0000-0000-000000000001",)
    (text,) = [text for text in told(hardware, "GPU") if "RTX 3090 is left out" in text]
    assert words in text
    assert "CUDA error: out of memory" in text
    assert "RTX 4090 goes on" in text
    assert fix in [each.fix for each in hardware.findings]
    assert reinstalls(hardware) == []
    assert [each["status"] for each in probe["failures"]] == [-6]


def test_a_card_that_nothing_is_known_against_is_found_by_itself(tmp_path):
    hardware = parse(probe_cards(tmp_path, ABORT))
    assert [(each.name, each.title) for each in hardware.devices] == [
        ("CUDA0", "RTX 4090"), ("", "RTX 3090"),
    ]  # fmt: skip
    assert hardware.devices[1].obstacle == "llama.cpp stops where it opens it"


def test_what_a_person_chose_stays_chosen(tmp_path):
    """The full card is the first one, and they are named by the beginning of their serials."""
    chosen = {"CUDA_VISIBLE_DEVICES": "GPU-bbbb,GPU-aaaa"}
    hardware = parse(probe_cards(tmp_path, ABORT, chosen, FREE=210))
    assert hardware.variables == ("CUDA_VISIBLE_DEVICES=GPU-aaaa",)
    assert [each.title for each in hardware.devices if each.usable] == ["RTX 4090"]


def test_numbers_are_tried_one_by_one(tmp_path):
    """Nobody knows which card a number is: CUDA counts the fastest first."""
    hardware = parse(probe_cards(tmp_path, ABORT, {"CUDA_VISIBLE_DEVICES": "1,0"}, FREE=210))
    assert hardware.variables == ("CUDA_VISIBLE_DEVICES=0",)
    assert [each.title for each in hardware.devices if each.usable] == ["RTX 4090"]


def test_a_card_at_which_llama_cpp_hangs(tmp_path):
    hardware = parse(probe_cards(tmp_path, "sleep(60)", limit=4, FREE=210))
    assert [each.title for each in hardware.devices if each.usable] == ["RTX 4090"]
    (text,) = [text for text in told(hardware, "GPU") if "RTX 3090 is left out" in text]
    assert "it took longer than" in text


def test_where_every_card_ends_it_the_processor_goes_on(tmp_path):
    probe = probe_cards(tmp_path, ABORT, {"CUDA_VISIBLE_DEVICES": "GPU-bbbb"})
    hardware = parse(probe)
    assert [each.name for each in hardware.devices] == ["", ""]
    assert "CUDA_VISIBLE_DEVICES=" in hardware.variables
    assert hardware.build.error == ""
    assert hardware.build.instructions == ("AVX2",)
    (problem,) = [each for each in hardware.findings if each.state == "problem"]
    assert "out of memory" in problem.text
    assert "the processor is" in problem.text
    assert problem.fix == "stop what else runs on it"


def test_cards_are_known_by_nvidia_smi_where_nvml_is_gone(tmp_path):
    serials = (
        "GPU-aaaaaaaa-0000-0000-0000-000000000001",
        "GPU-bbbbbbbb-0000-0000-0000-000000000002",
    )
    row = (
        "{0}, {1}, 00000000:0{2}:00.0, NVIDIA GeForce, 24576, {3}, 8.9, 580.95.05, Disabled, [N/A]"
    )
    rows = (row.format(0, serials[0], 1, 24000), row.format(1, serials[1], 2, 100))
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f'echo "{each}"\n' for each in rows), encoding="utf-8")
    tool.chmod(0o755)
    llama = make_llama(tmp_path / "llama", open_b=ABORT)
    path = f"{tmp_path}:{environment()['PATH']}"
    probe = run_probe({"PATH": path, "LLAMA_CPP_LIB_PATH": llama})
    assert probe["variables"] == {"CUDA_VISIBLE_DEVICES": serials[0]}


# ------------------------------------------------------------------------------------ one ggml only


def test_what_cuda_says_reaches_us(tmp_path):
    """With ggml-base under two names the log went to the copy that nobody listened to."""
    said = "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient\\n"
    llama = make_llama(tmp_path / "llama", log=f'fake_log("{said}"); return 0')
    probe = run_probe(environment(LLAMA_CPP_LIB_PATH=llama))
    assert probe["ggml"]["log"] == [said.removesuffix("\\n")]


@pytest.mark.parametrize("real", [False, True])
def test_each_of_ggmls_libraries_is_loaded_once(tmp_path, real):
    folder = "" if real else make_llama(tmp_path)
    code = (
        "import sys, pathlib\n"
        "from gemma_edge.hardware.probe import main\n"
        "from gemma_edge.isolation import ChildRequest\n"
        "asked = {'folders': [sys.argv[1]], 'parts': ['llama', 'cuda_libraries', 'ggml']}\n"
        "list(main()(ChildRequest(1, asked, ())))\n"
        "maps = pathlib.Path('/proc/self/maps').read_text().splitlines()\n"
        "files = {line.split()[-1].rpartition('/')[2] for line in maps if 'libggml' in line}\n"
        "print(*sorted(files))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    loaded = [name.partition(".so")[0] for name in done.stdout.split()]
    assert "libggml-base" in loaded
    assert len(loaded) == len(set(loaded)), done.stdout
