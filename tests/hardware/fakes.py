"""NVIDIA's library and llama.cpp's as shared libraries that are compiled here: the real bindings
and the real loader meet cards that are full, held, too old, or whose driver misbehaves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(
    COMPILER is None or sys.platform != "linux", reason="makes ELF libraries with a C compiler"
)

# nvml.h. A card is a line of CARDS: PCI id, serial, name, total and free in MiB, compute mode.
_NVML = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef long long u64;
typedef struct { const char *pci, *uuid, *name; u64 total, free; int mode, major, minor; } card;
static card cards[] = { CARDS };
static int text(char *to, const char *from) { strcpy(to, from); return 0; }
int nvmlInitWithFlags(unsigned f) { INIT; return 0; }
int nvmlInit_v2(void) { INIT; return 0; }
const char *nvmlErrorString(int code) { return "an error"; }
int nvmlSystemGetDriverVersion(char *to, unsigned n) { return text(to, "580.95.05"); }
int nvmlSystemGetCudaDriverVersion(int *v) { *v = 13000; return 0; }
int nvmlSystemGetProcessName(unsigned pid, char *to, unsigned n) { return text(to, PROGRAM); }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = sizeof cards / sizeof *cards; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) {
    *h = &cards[i]; return i == LOST ? 15 : 0; }
int nvmlDeviceGetName(card *c, char *to, unsigned n) { return text(to, c->name); }
int nvmlDeviceGetUUID(card *c, char *to, unsigned n) { return text(to, c->uuid); }
int nvmlDeviceGetMemoryInfo(card *c, u64 *m) {
    m[0] = c->total << 20; m[1] = c->free << 20; m[2] = (c->total - c->free) << 20; return 0; }
int nvmlDeviceGetCudaComputeCapability(card *c, int *major, int *minor) {
    *major = c->major; *minor = c->minor; return 0; }
int nvmlDeviceGetDisplayActive(card *c, int *on) { *on = 0; return 0; }
int nvmlDeviceGetMigMode(card *c, unsigned *now, unsigned *next) { return 3; }
int nvmlDeviceGetComputeMode(card *c, int *mode) { *mode = c->mode; return 0; }
int nvmlDeviceGetPciInfo_v3(card *c, char *pci) {
    memset(pci, 0, 16); strcpy(pci + 36, c->pci); return 0; }
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process;
int nvmlDeviceGetComputeRunningProcesses_v3(card *c, unsigned *n, process *to) {
    if (c->total - c->free < 1024) { *n = 0; return 0; }
    if (*n < 1) { *n = 1; return 7; }
    *n = 1; to[0].pid = 8; to[0].used = (c->total - c->free) << 20; return 0; }
int nvmlDeviceGetGraphicsRunningProcesses_v3(card *c, unsigned *n, process *to) {
    *n = 0; return 0; }
"""
A = '{"00000000:01:00.0", "GPU-aaaaaaaa-0000-0000-0000-000000000001", "NVIDIA GeForce RTX 4090",\
 24564, 24000, 0, 8, 9}'
B = '{"00000000:02:00.0", "GPU-bbbbbbbb-0000-0000-0000-000000000002", "NVIDIA GeForce RTX 3090",\
 24576, FREE, MODE, 8, 6}'


def make_nvml(folder: Path, *, cards: str = f"{A}, {B}", without: str = "", **words: object) -> str:
    """``libnvidia-ml.so.1`` in ``folder``; ``without`` is a function that it lacks. Returns what
    LD_LIBRARY_PATH has to be."""
    usual = {"CARDS": cards, "FREE": 24000, "MODE": 0, "INIT": "", "LOST": 99}
    usual["PROGRAM"] = '"/home/somebody/bin/ollama serve"'
    source = _NVML
    if without:
        source = source.replace(f"int {without}(", f"static int unused_{without}(")
    for name, word in {**usual, **words}.items():
        source = source.replace(name, str(word))
    _compile(folder / "libnvidia-ml.so.1", source)
    return str(folder)


# llama.cpp's libraries with a CUDA backend (ggml-backend.h, ggml-cuda.cu). The registry starts the
# backend when it is first asked; the backend logs through ggml-base, reads CUDA_VISIBLE_DEVICES,
# and opens every card that it is shown.
_BASE = r"""
#include <stdlib.h>
typedef struct { const char *name, *description; size_t free, total; int type; const char *id;
                 char more[64]; } props;
typedef void (*callback)(int, const char *, void *);
static callback log_to;
void ggml_log_set(callback to, void *data) { log_to = to; }
void fake_log(const char *text) { if (log_to) log_to(4, text, 0); }
void ggml_backend_dev_get_props(props *device, props *to) { *to = *device; }
void *ggml_backend_dev_backend_reg(props *device) { return device->type ? "CUDA" : "CPU"; }
const char *ggml_backend_reg_name(void *registry) { return registry; }
"""
_CUDA = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
extern void fake_log(const char *text);
int fake_cuda(int cards[8]) {
    const char *shown = getenv("CUDA_VISIBLE_DEVICES");
    int count = 0;
    char copy[1024];
    strcpy(copy, shown ? shown : "GPU-a,GPU-b");
    for (char *word = strtok(copy, ","); word; word = strtok(0, ",")) {
        int card = strstr(word, "GPU-b") == word || !strcmp(word, "1");
        if (card) { OPEN_B; }
        cards[count++] = card;
    }
    LOG;
    return count;
}
"""
_REGISTRY = r"""
#include <stddef.h>
typedef struct { const char *name, *description; size_t free, total; int type; const char *id;
                 char more[64]; } props;
extern int fake_cuda(int cards[8]);
static int cards[8], count = -1;
static const char *names[] = {"CUDA0", "CUDA1"};
static const char *titles[] = {"NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3090"};
static const char *places[] = {"0000:01:00.0", "0000:02:00.0"};
static props devices[9];
size_t ggml_backend_dev_count(void) {
    if (count < 0) count = fake_cuda(cards);
    for (int i = 0; i < count; i++) {
        props card = {names[i], titles[cards[i]], 20ul << 30, 24ul << 30, 1, places[cards[i]]};
        devices[i] = card;
    }
    props cpu = {"CPU", "a processor", 8ul << 30, 8ul << 30, 0, 0};
    devices[count] = cpu;
    return count + 1;
}
void *ggml_backend_dev_get(size_t i) { return &devices[i]; }
size_t ggml_backend_reg_count(void) { return 2; }
void *ggml_backend_reg_get(size_t i) { return i ? "CPU" : "CUDA"; }
void ggml_backend_load_all_from_path(const char *path) {}
"""
_LLAMA = r"""
const char *llama_print_system_info(void) { return "CUDA : ARCHS = 860,890 | CPU : AVX2 = 1 | "; }
"""


def make_llama(folder: Path, *, open_b: str = "", log: str = "") -> str:
    """llama.cpp's libraries in ``folder`` as a wheel has them: each twice, by its name and by its
    SONAME. ``open_b`` is what happens where the second card is opened, ``log`` what CUDA says.
    Returns what LLAMA_CPP_LIB_PATH has to be."""
    cuda = _CUDA.replace("OPEN_B", open_b).replace("LOG;", f"{log};")
    needs: list[str] = []
    for name, source in (
        ("ggml-base", _BASE), ("ggml-cuda", cuda), ("ggml", _REGISTRY), ("llama", _LLAMA),
    ):  # fmt: skip
        path = folder / f"lib{name}.so.0"
        _compile(path, source, f"-Wl,-soname,lib{name}.so.0", "-Wl,-rpath,$ORIGIN", *needs)
        shutil.copy(path, folder / f"lib{name}.so")
        needs.append(str(path))
    return str(folder)


ABORT = r'fprintf(stderr, "ggml-cuda.cu:106: CUDA error: out of memory\n"); abort()'


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), **variables}


def _compile(path: Path, source: str, *flags: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_suffix(".c")
    file.write_text(source, encoding="utf-8")
    command = [str(COMPILER), "-w", "-shared", "-fPIC", "-o", str(path), str(file), *flags]
    subprocess.run(command, check=True)
    file.unlink()
