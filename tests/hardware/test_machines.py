"""Recorded machines in, hardware out: the raw answers of tools, and the expected result beside.

``machines/NAME.json`` is a recording (``gemma-edge doctor --raw`` writes one), ``NAME.txt`` what
must be made of it. A new machine is a new pair of files.
"""

import copy

import pytest

from gemma_edge.hardware.detect import parse_recording
from tests.hardware.machines import FOLDER, NAMES, load, render


@pytest.mark.parametrize("name", NAMES)
def test_machine(name):
    assert render(parse_recording(load(name))) == (FOLDER / f"{name}.txt").read_text("utf-8")


def test_every_recording_has_its_expectation_and_is_named_in_the_readme():
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(NAMES)
    assert len(NAMES) >= 22
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("name", NAMES)
def test_parsing_is_pure(name):
    recording = load(name)
    before = copy.deepcopy(recording)
    assert parse_recording(recording) == parse_recording(recording)
    assert recording == before


@pytest.mark.parametrize("name", NAMES)
def test_what_every_machine_keeps_to(name):
    """Whatever the tools say: at least a core, no memory that is not there, no device twice, and
    every problem has a way out."""
    hardware = parse_recording(load(name))
    assert 0 <= hardware.cpu.fast_cores < hardware.cpu.cores
    assert hardware.memory.available_bytes is not None
    assert hardware.memory.total_bytes is not None
    assert 0 < hardware.memory.available_bytes <= hardware.memory.total_bytes
    places = [device.pci_id for device in hardware.devices if device.pci_id]
    assert len(places) == len(set(places))
    for device in hardware.devices:
        assert 0 <= device.free_bytes <= device.total_bytes
        assert device.reason
        assert device.usable == bool(device.backend)
    seen = [device.usable for device in hardware.devices]
    assert seen == sorted(seen, reverse=True)  # what llama.cpp sees comes first
    assert [finding.what for finding in hardware.findings if not finding.text] == []
    assert all(finding.fix for finding in hardware.findings if finding.state == "problem")


def test_the_order_of_tools_does_not_matter():
    """Cards join by PCI id: NVML's and nvidia-smi's order is not CUDA's."""
    recording = load("two-cards")
    turned = copy.deepcopy(recording)
    turned["probe"]["nvml"]["devices"].reverse()
    assert parse_recording(turned) == parse_recording(recording)


def test_two_alike_without_a_place_on_the_bus():
    """Nobody can say which is which; both are used, and no number is borrowed from the other."""
    recording = load("arc-a770-no-pci-id")
    ggml, files = recording["probe"]["ggml"], recording["files"]
    ggml["devices"].insert(1, {**ggml["devices"][0], "name": "Vulkan1"})
    second = "/sys/bus/pci/devices/0000:04:00.0/uevent"
    files[second] = ["PCI_CLASS=30000", "PCI_ID=8086:56A0", "PCI_SLOT_NAME=0000:04:00.0"]
    hardware = parse_recording(recording)
    assert [(each.name, each.pci_id) for each in hardware.devices] == [
        ("Vulkan0", ""),
        ("Vulkan1", ""),
    ]
    assert hardware.findings == ()


def test_a_card_that_has_its_place_is_no_candidate_for_another():
    recording = load("arc-a770-no-pci-id")
    ggml, files = recording["probe"]["ggml"], recording["files"]
    ggml["devices"].insert(0, {**ggml["devices"][0], "name": "Vulkan1", "id": "0000:04:00.0"})
    second = "/sys/bus/pci/devices/0000:04:00.0/uevent"
    files[second] = ["PCI_CLASS=30000", "PCI_ID=8086:56A0", "PCI_SLOT_NAME=0000:04:00.0"]
    places = [(each.name, each.pci_id) for each in parse_recording(recording).devices]
    assert places == [("Vulkan1", "0000:04:00.0"), ("Vulkan0", "0000:03:00.0")]


def test_the_word_of_nvml_comes_before_nvidia_smi():
    recording = load("rtx-3060")
    without = copy.deepcopy(recording)
    without["probe"]["nvml"] = {"error": "not there: No module named 'pynvml'"}
    one, other = parse_recording(recording).devices[0], parse_recording(without).devices[0]
    assert (one.reason, other.reason) == ("free as NVML says", "free as nvidia-smi says")
    assert (one.free_bytes, one.display, one.driver) == (
        other.free_bytes,
        other.display,
        other.driver,
    )


def test_a_variable_that_every_job_sets_is_not_the_cause_of_an_old_driver():
    recording = load("driver-too-old-for-build")
    recording["environment"] = {"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "0"}
    findings = parse_recording(load("driver-too-old-for-build")).findings
    assert parse_recording(recording).findings == findings


def test_a_job_without_a_gpu_keeps_its_build():
    recording = load("slurm-job-without-gpu")
    recording["probe"]["ggml"] = {"error": "libcuda.so.1: cannot open shared object file"}
    (driver,) = [found for found in parse_recording(recording).findings if found.what == "driver"]
    assert (driver.state, driver.fix) == ("warning", "")


def test_a_program_that_nobody_names_is_not_the_one_to_stop():
    recording = load("rtx-4090-full")
    table = recording["commands"]["nvidia-smi"]["output"]
    table[:] = [line.replace("ollama", "/       ") if "18" in line else line for line in table]
    (full,) = [found for found in parse_recording(recording).findings if found.what == "GPU"]
    assert full.text.endswith("held by python3 3.8 GiB")
    assert full.fix == "stop python3"


@pytest.mark.parametrize(
    ("name", "variables", "apart"),
    [
        ("two-cards", {}, ("CUDA_VISIBLE_DEVICES=0", "CUDA_VISIBLE_DEVICES=1")),
        ("two-cards-second-full", {},
         ("CUDA_VISIBLE_DEVICES=GPU-00000000-0000-0000-0000-000000000001",)),
        ("visible-devices-hides-one", {}, ("CUDA_VISIBLE_DEVICES=1",)),
        ("slurm-mig-by-index", {}, ()),
        ("slurm-mig-by-index", {"CUDA_VISIBLE_DEVICES": "MIG-a, MIG-b"},
         ("CUDA_VISIBLE_DEVICES=MIG-a", "CUDA_VISIBLE_DEVICES=MIG-b")),
        ("rx-7900-xtx", {"HIP_VISIBLE_DEVICES": "2"}, ("HIP_VISIBLE_DEVICES=2",)),
        ("rtx-4060-laptop-vulkan", {}, ()),
        ("m2-16gb", {}, ()),
    ],
)  # fmt: skip
def test_how_a_process_sees_one_gpu_alone(name, variables, apart):
    recording = load(name)
    recording["environment"] |= variables
    assert parse_recording(recording).apart == apart
