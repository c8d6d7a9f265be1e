"""The probe and what stands in its way: each question, each part and each card fails alone, what
was lost is told, and what goes on is what was not lost."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from gemma_edge import doctor
from gemma_edge.app.load import prepare
from gemma_edge.app.request import ModelRequest
from gemma_edge.app.runtime import Runtime, store_settings
from gemma_edge.hardware import detect
from gemma_edge.hardware.detect import parse_recording, run_probe
from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.memory import quick_measure
from gemma_edge.planning.plan import Constraints
from tests.doctor.machines import facts
from tests.hardware.fakes import (
    ABORT,
    A,
    environment,
    make_llama,
    make_nvml,
    needs_compiler,
)
from tests.hardware.machines import load
from tests.planning.memory_machines import DEMO
from tests.planning.table import candidates, measure, plan

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
        "def __getattr__(name): return lambda *_: 1 if name.endswith('Count') else object()",
        "def __getattr__(name): return lambda *_: 1 if 'Count' in name else b'\\xff\\xfe'",
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
    (text,) = [text for text in told(hardware, "GPU") if text.startswith("RTX 3090 is left out")]
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
    (text,) = [text for text in told(hardware, "GPU") if text.startswith("RTX 3090 is left out")]
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
    assert "the processor does the work" in problem.text
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


# --------------------------------------------------- what processes that load llama.cpp are given

# ggml-cpu sets KMP_BLOCKTIME when its devices are first looked for, in a build with OpenMP.
GETENV = (
    "import ctypes, json, pathlib, sys\n"
    "getenv = ctypes.CDLL(None).getenv\n"
    "getenv.restype, getenv.argtypes = ctypes.c_char_p, [ctypes.c_char_p]\n"
    "def look():\n"
    "    names = 'CUDA_VISIBLE_DEVICES', 'KMP_BLOCKTIME'\n"
    "    print(json.dumps([(getenv(name.encode()) or b'').decode() for name in names]))\n"
)
DRY_RUN = (
    "from gemma_edge.engine.dry_run_child import main\n"
    "from gemma_edge.isolation import ChildRequest\n"
    "placement = {'context_tokens': 256, 'batch_tokens': 64, 'devices': [], 'split': [],\n"
    "             'variables': ['CUDA_VISIBLE_DEVICES=GPU-1']}\n"
    "answer = main()\n"
    "look()\n"
    "list(answer(ChildRequest(1, {'model': sys.argv[1], 'placement': placement}, ())))\n"
    "look()\n"
)
ENGINE = (
    "from gemma_edge.engine.worker import open_llama, prepare\n"
    "from gemma_edge.planning.plan import Plan\n"
    "prepare()\n"
    "look()\n"
    "model = pathlib.Path(sys.argv[1])\n"
    "open_llama(Plan(model=model, context_tokens=256, batch_tokens=64,\n"
    "                variables=('CUDA_VISIBLE_DEVICES=GPU-1',)))\n"
    "look()\n"
)


@pytest.mark.parametrize("program", [DRY_RUN, ENGINE])
def test_they_are_there_before_devices_are_looked_for(program):
    asked = {name: text for name, text in os.environ.items() if name != "KMP_BLOCKTIME"}
    done = subprocess.run(
        [sys.executable, "-c", GETENV + program, str(DEMO)],
        capture_output=True, text=True, check=False, env=asked,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = (json.loads(line) for line in done.stdout.splitlines() if line[0] == "[")
    assert before == ["", ""]
    assert after[0] == "GPU-1"


def test_every_plan_of_the_machine_carries_them():
    hardware = parse_recording(load("two-cards-second-full"))
    variables = ("CUDA_VISIBLE_DEVICES=GPU-00000000-0000-0000-0000-000000000001",)
    assert hardware.variables == variables
    found = plan(hardware, candidates(), Constraints(), measure(hardware))
    assert found.devices == ("CUDA0",)
    assert found.fallbacks
    assert {each.variables for each in (found, *found.fallbacks)} == {variables}


# ------------------------------------------------------------------------------------------- slices

SLICE = "MIG-7f3b1c2a-9d4e-5f60-8a1b-2c3d4e5f6071"
OTHER = "MIG-0d4c5b6a-1f2e-5d3c-9b8a-7f6e5d4c3b2a"


def sliced(visible: str) -> dict[str, object]:
    """Two cards in slices with serials as they are; the second slice of the second card is used."""
    recording = load("h100-mig-two-cards")
    text = json.dumps(recording).replace("MIG-00000000-0000-0000-0000-000000000011", SLICE)
    text = text.replace("MIG-00000000-0000-0000-0000-00000000000b", OTHER)
    found: dict[str, object] = json.loads(text)
    found["environment"] = {"CUDA_VISIBLE_DEVICES": visible}
    return found


@pytest.mark.parametrize("visible", [SLICE, SLICE[:12], f"{SLICE[:12]},{OTHER}", SLICE.upper()])
def test_a_slice_is_known_by_its_serial_or_the_beginning_of_it(visible):
    hardware = parse_recording(sliced(visible))
    used = next(each for each in hardware.devices if each.usable)
    assert used.free_bytes == used.total_bytes - 90_000_000
    told = [each.text for each in hardware.findings if each.state != "fine"]
    idle = "CUDA_VISIBLE_DEVICES names 2 slices; a program uses the first, the others lie idle"
    assert told == ([idle] if "," in visible else [])


def test_serials_are_hidden_from_others_and_not_from_us(monkeypatch):
    """A recording is for a bug report; what is advised here has to work here."""
    real = sliced("")
    probe = real["probe"]
    assert isinstance(probe, dict)
    probe["ggml"]["devices"] = probe["ggml"]["devices"][1:]  # none is chosen
    monkeypatch.setattr(detect, "run_probe", lambda environment: probe)
    asked = environment(CUDA_VISIBLE_DEVICES="MIG-7f3b", HOME="/nowhere")
    fixes = [each.fix for each in detect.detect_hardware(asked).findings]
    assert f"export CUDA_VISIBLE_DEVICES={OTHER}" in fixes
    text = json.dumps(detect.record(asked))
    assert "7f3b" not in text
    assert "0d4c5b6a" not in text
    shown = json.loads(text)
    serials = [p["uuid"] for d in shown["probe"]["nvml"]["devices"] for p in d["slices"]]
    assert shown["environment"]["CUDA_VISIBLE_DEVICES"] in serials  # still that slice


# ------------------------------------------------------------------ old cards, new cards, slow ones


def architectures(capability: str, known: str, **more: object) -> Hardware:
    recording = load("rtx-3060")
    recording["probe"]["nvml"]["devices"][0]["capability"] = capability
    ggml = recording["probe"]["ggml"]
    ggml["system_info"] = f"CUDA : ARCHS = {known} | CPU : AVX2 = 1 | "
    return parse_recording({**recording, **more})


def test_a_card_older_than_the_build_is_not_planned_for():
    hardware = architectures("6.1", "750,860")
    (device,) = hardware.devices
    assert not device.usable
    assert "too old for this build" in device.obstacle
    found = plan(hardware, candidates(), Constraints(), measure(hardware))
    assert found.devices == ()
    assert any("too old for this build" in reason for reason in found.reasons)
    (finding,) = [each for each in hardware.findings if "too old" in each.text]
    assert (finding.state, finding.fix.rpartition("/")[2]) == ("problem", "cu124")


def test_ggml_says_the_capability_where_nvml_does_not():
    recording = load("two-cards")
    recording["probe"]["nvml"] = {}
    recording["commands"] = {}
    ggml = recording["probe"]["ggml"]
    ggml["system_info"] = "CUDA : ARCHS = 750,860 | CPU : AVX2 = 1 | "
    ggml["log"] = [
        "ggml_cuda_init: found 2 CUDA devices (Total VRAM: 30193 MiB):",
        "  Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6, VMM: yes, VRAM: 24124 MiB",
        "  Device 1: NVIDIA GeForce GTX 1060, compute capability 6.1, VMM: yes, VRAM: 6069 MiB",
    ]
    first, second, *_ = parse_recording(recording).devices
    assert (first.name, first.capability) == ("CUDA0", "8.6")
    assert (second.usable, second.capability) == (False, "6.1")


@pytest.mark.parametrize(
    ("cache", "environment", "state", "words"),
    [
        ({"folder": "~/.nv", "writable": True, "bytes": 0}, {}, "warning", "at the first start"),
        ({"folder": "~/.nv", "writable": True, "bytes": 1 << 28}, {}, "fine", "at the first start"),
        ({"folder": "~/.nv", "writable": False, "bytes": 0}, {}, "warning", "~/.nv cannot be"),
        ({"folder": "~/.nv", "writable": True, "bytes": 0}, {"CUDA_CACHE_DISABLE": "1"}, "warning",
         "at every start"),
    ],
)  # fmt: skip
def test_a_card_newer_than_the_build_compiles_first(cache, environment, state, words):
    hardware = architectures("12.0", "750,860,900", cuda_cache=cache, environment=environment)
    (device,) = hardware.devices
    assert device.usable
    (finding,) = [each for each in hardware.findings if "newer than this build" in each.text]
    assert finding.state == state
    assert words in finding.text


@pytest.mark.parametrize("known", ["750,860,1200", "750,860,890,900,1200,1210"])
def test_a_build_with_code_for_the_card_compiles_nothing(known):
    hardware = architectures("12.0", known)
    assert [each for each in hardware.findings if "newer than this build" in each.text] == []


def test_a_build_that_drives_the_gpu_is_not_installed_again():
    """NVIDIA's wheels leave AVX2 out, all of them."""
    recording = load("rtx-3060")
    info = "CUDA : ARCHS = 860 | CPU : SSE3 = 1 | AVX = 1 | "
    recording["probe"]["ggml"]["system_info"] = info
    hardware = parse_recording(recording)
    (finding,) = [each for each in hardware.findings if "built without AVX2" in each.text]
    assert (finding.state, finding.fix) == ("warning", "")


def test_there_is_time_for_a_first_start():
    assert doctor.LIMIT_SECONDS >= 300
    assert (120 if sys.platform == "darwin" else 60) <= detect.PROBE_LIMIT_SECONDS


def test_a_folder_that_the_driver_cannot_keep_kernels_in_is_recorded(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "index").write_bytes(bytes(1000))
    kept = detect.record(environment(CUDA_CACHE_PATH=str(folder)))["cuda_cache"]
    assert kept["writable"] is True
    assert kept["bytes"] >= 1000
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    kept = detect.record(environment(CUDA_CACHE_PATH=f"{blocked}/cache"))["cuda_cache"]
    assert kept["writable"] is False


# ---------------------------------------------------------------------------- what a person is told


def rows_of_gpus(recording: dict[str, object]) -> dict[str, str]:
    checks = doctor.examine(facts(parse_recording(recording)))
    return {each.seen.partition(",")[0]: each.state for each in checks if each.name == "GPU"}


def test_the_doctor_says_it_at_the_row_of_the_card():
    assert rows_of_gpus(load("two-cards-second-full")) == {
        "RTX 4090": "fine",
        "RTX 3090": "warning",
    }


def test_of_two_cards_of_one_kind_the_full_one_is_named():
    text = json.dumps(load("two-cards-second-full")).replace("RTX 4090", "RTX 3090")
    assert rows_of_gpus(json.loads(text)) == {
        "RTX 3090 at PCI 0000:0b:00.0": "fine", "RTX 3090 at PCI 0000:04:00.0": "warning",
    }  # fmt: skip


def prepared_notes(hardware: Hardware, folder: Path, **request: object) -> list[str]:
    notes: list[str] = []
    runtime = Runtime(
        store=store_settings({}, folder), note=notes.append, detect=lambda: hardware,
        open_measure=lambda _: nullcontext(quick_measure(hardware)), busy_programs=lambda: None,
    )  # fmt: skip
    prepare(ModelRequest(model="demo", **request), runtime, vision="unused")
    return notes


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("two-cards-second-full", "RTX 3090 is left out"),
        ("two-cards-both-full", "no GPU is used, the processor does the work"),
        ("rtx-5090-wheel-read-only-home", "compiles every kernel"),
        ("driver-too-old-for-build", "driver version is insufficient"),
        ("m2-metal-too-slow", "llama.cpp hangs"),
    ],
)
def test_a_plan_without_a_gpu_that_is_here_is_no_silent_one(tmp_path, name, words):
    hardware = parse_recording(load(name))
    notes = prepared_notes(hardware, tmp_path)
    assert any(words in note and note.endswith("gemma-edge doctor") for note in notes), notes
    assert prepared_notes(hardware, tmp_path, gpu_layers=0) == []


def test_a_machine_where_all_is_well_gets_no_line(tmp_path):
    assert prepared_notes(parse_recording(load("rtx-3060")), tmp_path) == []


def test_who_waits_for_a_driver_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("gemma_edge.app.runtime._PATIENT_SECONDS", 0.05)
    notes: list[str] = []
    hardware = parse_recording(load("rtx-3060"))

    def slow() -> Hardware:
        time.sleep(0.5)
        return hardware

    runtime = Runtime(store=store_settings({}, tmp_path), note=notes.append, detect=slow)
    assert runtime.hardware == hardware
    assert len(notes) == 1
    assert "waiting for a driver" in notes[0]
    assert runtime.hardware == hardware
    assert len(notes) == 1
