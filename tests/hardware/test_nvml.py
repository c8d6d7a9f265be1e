"""NVML by way of nvidia-ml-py, with a libnvidia-ml.so.1 that is compiled here: the real binding
calls a real library, whose cards are written down in C."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_edge.hardware.detect import parse_recording, run_probe

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(
    COMPILER is None or sys.platform != "linux", reason="makes ELF libraries with a C compiler"
)
GIB = 1 << 30
# nvml.h: two cards, the second of which tells no memory (GB10); 3 is NVML_ERROR_NOT_SUPPORTED.
LIBRARY = r"""
#include <string.h>
typedef long long u64;
static int cards[2] = {0, 1};
static int text(char *to, const char *from) { strcpy(to, from); return 0; }
int nvmlInitWithFlags(unsigned f) { return INIT; }
int nvmlInit_v2(void) { return INIT; }
const char *nvmlErrorString(int code) { return "Driver/library version mismatch"; }
int nvmlSystemGetDriverVersion(char *to, unsigned n) { return text(to, "580.95.05"); }
int nvmlSystemGetCudaDriverVersion(int *v) { *v = 13000; return 0; }
int nvmlSystemGetProcessName(unsigned pid, char *to, unsigned n) {
    return text(to, pid == 7 ? "/usr/lib/xorg/Xorg" : "/home/somebody/bin/python3 secret.py"); }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = &cards[i]; return 0; }
int nvmlDeviceGetName(int *h, char *to, unsigned n) {
    return text(to, *h ? "NVIDIA GB10" : "NVIDIA GeForce RTX 4060 Laptop GPU"); }
int nvmlDeviceGetUUID(int *h, char *to, unsigned n) { return text(to, "GPU-x"); }
int nvmlDeviceGetMemoryInfo(int *h, u64 *m) {
    if (*h) return 3;
    m[0] = 8LL << 30; m[1] = 7LL << 30; m[2] = 1LL << 30; return 0; }
int nvmlDeviceGetCudaComputeCapability(int *h, int *major, int *minor) {
    *major = *h ? 12 : 8; *minor = *h ? 1 : 9; return 0; }
int nvmlDeviceGetDisplayActive(int *h, int *on) { *on = 0; return 0; }
int nvmlDeviceGetMigMode(int *h, unsigned *now, unsigned *next) { return 3; }
int nvmlDeviceGetPciInfo_v3(int *h, char *pci) {
    memset(pci, 0, 16); strcpy(pci + 36, *h ? "0000000F:01:00.0" : "00000000:01:00.0"); return 0; }
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process;
static int list(int *h, unsigned *n, process *to, unsigned pid, u64 used) {
    if (*h) { *n = 0; return 0; }
    if (*n < 1) { *n = 1; return 7; }
    *n = 1; to[0].pid = pid; to[0].used = used; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(int *h, unsigned *n, process *to) {
    return list(h, n, to, 8, 900LL << 20); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(int *h, unsigned *n, process *to) {
    return list(h, n, to, 7, 100LL << 20); }
"""


def ask(folder: Path, result: int) -> dict[str, object]:
    """The probe with our library in the loader's way."""
    pytest.importorskip("pynvml")
    source = folder / "nvml.c"
    source.write_text(LIBRARY.replace("INIT", str(result)), encoding="utf-8")
    out = str(folder / "libnvidia-ml.so.1")
    subprocess.run([str(COMPILER), "-w", "-shared", "-fPIC", "-o", out, str(source)], check=True)
    found: dict[str, object] = run_probe({**os.environ, "LD_LIBRARY_PATH": str(folder)})
    return found


def test_two_cards(tmp_path):
    answer = ask(tmp_path, 0)
    hardware = parse_recording({"system": "linux", "probe": answer})
    cards = [device for device in hardware.devices if device.driver == "580.95.05"]
    assert [
        (card.title, card.pci_id, card.total_bytes, card.free_bytes, card.capability, card.display)
        for card in cards
    ] == [
        ("RTX 4060 Laptop", "0000:01:00.0", 8 * GIB, 7 * GIB, "8.9", True),
        ("GB10", "000f:01:00.0", 0, 0, "12.1", False),
    ]
    processes = answer["nvml"]["devices"][0]["processes"]
    assert [(each["kind"], each["name"]) for each in processes] == [("C", "python3"), ("G", "Xorg")]
    assert "secret" not in str(answer)
    assert "somebody" not in str(answer)


def test_a_driver_that_was_updated_while_it_runs(tmp_path):
    answer = ask(tmp_path, 18)
    hardware = parse_recording({"system": "linux", "present": ["/dev/nvidiactl"], "probe": answer})
    (finding,) = [found for found in hardware.findings if found.what == "driver"]
    assert (finding.state, finding.fix) == ("problem", "sudo reboot")
