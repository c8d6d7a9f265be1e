"""The child program that asks NVML and llama.cpp's own libraries about this machine.

A driver may hang, a library may crash with an illegal instruction, and a CUDA context takes 300 MiB
until its process ends. Each part is sent as soon as it is known, so what came before a crash
counts. NVML comes first: it needs no context, so the memory that it calls free is free of us.
llama_cpp's libraries are loaded by ctypes, because importing the package takes half a second.
ggml's interface is ggml-backend.h of llama.cpp 0.5.0.
"""

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gemma_edge.hardware.gpus import CudaLibraries, add_folders, cuda_libraries, find_llama_folder
from gemma_edge.hardware.machine import program_of
from gemma_edge.isolation import ChildMessage, ChildRequest, Handler

_LOG_LINES = 40  # ggml says in a few lines what it found; a broken driver may say more
_NVML = {"linux": "libnvidia-ml.so.1", "win32": "nvml.dll"}


def main() -> Handler:
    """The program. Asked ``{"folders": [llama.cpp's libraries, other libraries, …]}`` it answers
    with ``{part: what was found}`` for each part. An empty folder is the installed llama_cpp's."""
    return answer


def answer(request: ChildRequest) -> Iterator[ChildMessage]:
    first, *others = request.header["folders"]
    folder = Path(first) if first else find_llama_folder()
    yield ChildMessage({"nvml": ask_nvml()})
    found = bool(folder and folder.is_dir())
    yield ChildMessage({"llama": {"found": found, "version": _version(folder)}})
    if folder is None or not found:
        return
    more = [Path(other) for other in others]
    add_folders([folder, *more])
    yield ChildMessage({"cuda_libraries": _describe(cuda_libraries(folder, more=more))})
    yield ChildMessage({"ggml": ask_ggml(folder)})


def ask_nvml() -> dict[str, Any]:
    library = _NVML.get(sys.platform)
    if library is None:
        return {}
    try:
        if sys.platform == "linux":  # cheaper than an import where there is no driver
            ctypes.CDLL(library)
        import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415
    except (OSError, ImportError) as error:
        return {"error": f"not there: {error}"}
    try:
        pynvml.nvmlInit()
        return {
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "cuda": pynvml.nvmlSystemGetCudaDriverVersion(),
            "devices": [
                _nvml_device(pynvml, pynvml.nvmlDeviceGetHandleByIndex(i))
                for i in range(pynvml.nvmlDeviceGetCount())
            ],
        }
    except pynvml.NVMLError as error:
        return {"error": str(error)}


def _nvml_device(nvml: Any, handle: Any) -> dict[str, Any]:
    def ask(question: Callable[..., Any], *more: Any) -> Any:
        try:
            return question(handle, *more)
        except nvml.NVMLError:
            return None

    memory = ask(nvml.nvmlDeviceGetMemoryInfo)
    capability = ask(nvml.nvmlDeviceGetCudaComputeCapability)
    model = ask(nvml.nvmlDeviceGetCurrentDriverModel) if sys.platform == "win32" else None
    mig = ask(nvml.nvmlDeviceGetMigMode)
    pci = ask(nvml.nvmlDeviceGetPciInfo)
    found = {
        "pci": pci.busId if pci else None,
        "uuid": ask(nvml.nvmlDeviceGetUUID),
        "name": ask(nvml.nvmlDeviceGetName),
        "total": memory.total if memory else None,
        "free": memory.free if memory else None,
        "capability": "{}.{}".format(*capability) if capability else None,
        "display": ask(nvml.nvmlDeviceGetDisplayActive) == 1,
        "mig": bool(mig and mig[0] == 1),
        "model": None if model is None else {0: "WDDM", 1: "TCC", 2: "MCDM"}.get(model),
        "processes": _processes(nvml, ask),
    }
    if found["mig"]:
        count = ask(nvml.nvmlDeviceGetMaxMigDeviceCount) or 0
        slices = [ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, i) for i in range(count)]
        found["slices"] = [_nvml_device(nvml, piece) for piece in slices if piece]
    return {key: value for key, value in found.items() if value is not None}


def _processes(nvml: Any, ask: Callable[..., Any]) -> list[dict[str, Any]]:
    """Who uses the card: the program's name alone, never its arguments or its folder."""
    running = [("C", each) for each in ask(nvml.nvmlDeviceGetComputeRunningProcesses) or ()]
    running += [("G", each) for each in ask(nvml.nvmlDeviceGetGraphicsRunningProcesses) or ()]
    found = []
    for kind, process in running:
        try:
            path = nvml.nvmlSystemGetProcessName(process.pid)
        except nvml.NVMLError:
            path = ""
        used = process.usedGpuMemory or 0  # None under Windows
        found.append({"kind": kind, "name": program_of(path), "bytes": used})
    return found


class _Props(ctypes.Structure):
    """ggml_backend_dev_props; the capabilities at its end are not read, but written."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("free", ctypes.c_size_t),
        ("total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("id", ctypes.c_char_p),
        ("capabilities", ctypes.c_bool * 64),
    ]


def ask_ggml(folder: Path) -> dict[str, Any]:
    log: list[str] = []
    try:
        base, registry, llama = (_load(folder, name) for name in ("ggml-base", "ggml", "llama"))
    except OSError as error:
        return {"error": _without_folders(str(error))}
    keep = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
        lambda _level, text, _data: log.append((text or b"").decode("utf-8", "replace"))
    )
    base.ggml_log_set(keep, None)
    signatures: tuple[tuple[Any, Any, list[Any]], ...] = (
        (registry.ggml_backend_dev_count, ctypes.c_size_t, []),
        (registry.ggml_backend_dev_get, ctypes.c_void_p, [ctypes.c_size_t]),
        (registry.ggml_backend_reg_count, ctypes.c_size_t, []),
        (registry.ggml_backend_reg_get, ctypes.c_void_p, [ctypes.c_size_t]),
        (registry.ggml_backend_load_all_from_path, None, [ctypes.c_char_p]),
        (base.ggml_backend_dev_get_props, None, [ctypes.c_void_p, ctypes.POINTER(_Props)]),
        (base.ggml_backend_dev_backend_reg, ctypes.c_void_p, [ctypes.c_void_p]),
        (base.ggml_backend_reg_name, ctypes.c_char_p, [ctypes.c_void_p]),
        (llama.llama_print_system_info, ctypes.c_char_p, []),
    )
    for function, result, arguments in signatures:
        function.restype, function.argtypes = result, arguments
    if not registry.ggml_backend_dev_count():  # a build whose backends are modules
        registry.ggml_backend_load_all_from_path(os.fsencode(folder))
    registries = map(registry.ggml_backend_reg_get, range(registry.ggml_backend_reg_count()))
    devices = map(registry.ggml_backend_dev_get, range(registry.ggml_backend_dev_count()))
    found = {
        "backends": [_text(base.ggml_backend_reg_name(entry)) for entry in registries],
        "devices": [_ggml_device(base, device) for device in devices],
        "system_info": _text(llama.llama_print_system_info()),
        "log": "".join(log).splitlines()[:_LOG_LINES],
    }
    base.ggml_log_set(None, None)
    return found


def _ggml_device(base: Any, device: int) -> dict[str, Any]:
    props = _Props()
    base.ggml_backend_dev_get_props(device, ctypes.byref(props))
    return {
        "backend": _text(base.ggml_backend_reg_name(base.ggml_backend_dev_backend_reg(device))),
        "name": _text(props.name),
        "description": _text(props.description),
        "type": props.type,
        "free": props.free,
        "total": props.total,
        "id": _text(props.id),
    }


def _load(folder: Path, name: str) -> ctypes.CDLL:
    names = (f"lib{name}.so", f"lib{name}.dylib", f"{name}.dll", f"lib{name}.dll")
    found = [folder / candidate for candidate in names if (folder / candidate).exists()]
    if not found:
        raise OSError(f"there is no {names[0]}")
    return ctypes.CDLL(str(found[0]), mode=ctypes.RTLD_GLOBAL)


def _version(folder: Path | None) -> str:
    try:
        text = (folder or Path()).parent.joinpath("__init__.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"""__version__\s*=\s*["']([^"']+)""", text)
    return found[1] if found else ""


def _describe(libraries: CudaLibraries) -> dict[str, Any]:
    return {
        "present": libraries.present,
        "loaded": [path.name for path in libraries.loaded],
        "missing": list(libraries.missing),
        "error": _without_folders(libraries.error),
    }


def _without_folders(message: str) -> str:
    return re.sub(r"(?:[A-Za-z]:)?[\\/](?:[^\s:'\\/]+[\\/])*", "", message)


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")
