"""The child program that asks NVML and llama.cpp's own libraries about this machine.

A driver may hang, a library may crash with an illegal instruction, and a CUDA context takes 300 MiB
until its process ends. Each part is sent as soon as it is known, so what came before a crash
counts, and the parent asks for the rest again. NVML comes before ggml: it needs no context, so the
memory that it calls free is free of us. llama_cpp's libraries are loaded by ctypes, because
importing the package takes half a second. ggml's interface is ggml-backend.h of llama.cpp 0.5.0.
"""

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gemma_edge.hardware.gpus import (
    PROBE_PARTS,
    CudaLibraries,
    add_folders,
    cuda_libraries,
    find_llama_folder,
    library_path,
)
from gemma_edge.hardware.machine import program_of
from gemma_edge.isolation import ChildMessage, ChildRequest, Handler

_LOG_LINES = 40  # ggml says in a few lines what it found; a broken driver may say more
_NVML = {"linux": "libnvidia-ml.so.1", "win32": "nvml.dll"}
# nvml.h: what a card cannot say, and what a container or another user may not know. Nobody loses by
# the last two where the question is of little weight.
_NOT_SUPPORTED = 3
_OPTIONAL = (_NOT_SUPPORTED, 4, 6)
_MODELS = {0: "WDDM", 1: "TCC", 2: "MCDM"}  # nvmlDriverModel_t
_MODES = {1: "exclusive", 2: "prohibited", 3: "exclusive"}  # nvmlComputeMode_t
_GPU_BACKENDS = ("cuda", "hip", "vulkan", "metal", "sycl")


def main() -> Handler:
    """The program. Asked ``{"folders": [llama.cpp's libraries, other libraries, …], "parts":
    names}`` it answers with ``{part: what was found}`` for each of these parts, in this order
    (all without names). An empty folder is the installed llama_cpp's."""
    os.putenv("GGML_NO_BACKTRACE", "1")  # else an abort starts a debugger and takes seconds
    return answer


def answer(request: ChildRequest) -> Iterator[ChildMessage]:
    first, *others = request.header["folders"]
    folder = Path(first) if first else find_llama_folder()
    more = [Path(other) for other in others]
    for part in request.header.get("parts", PROBE_PARTS):
        if part == "llama":
            yield ChildMessage({"llama": _describe_llama(folder)})
        elif part == "nvml":
            yield ChildMessage({"nvml": ask_nvml()})
        elif folder is not None and folder.is_dir():
            add_folders([folder, *more])
            found = cuda_libraries(folder, more=more)  # ggml needs what it loads
            yield ChildMessage({part: ask_ggml(folder) if part == "ggml" else _describe(found)})


def _describe_llama(folder: Path | None) -> dict[str, Any]:
    """Its version, and the GPUs' backends in its folder: known also where none can be loaded."""
    found = bool(folder and folder.is_dir())
    held = [name for name in _GPU_BACKENDS if library_path(folder, f"ggml-{name}")]
    return {"found": found, "version": _version(folder), "libraries": held}


class _Nvml:
    """NVML, question by question: one that fails answers None, and ``lost`` says which and why.
    nvidia-ml-py raises errors of its own, decodes strictly, and may lack what a later one has."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding
        self._failures: tuple[type[BaseException], ...] = (
            *(each for each in vars(binding).values() if _is_error(each)),
            ArithmeticError, AssertionError, AttributeError, ctypes.ArgumentError, LookupError,
            OSError, RuntimeError, TypeError, ValueError,
        )  # fmt: skip
        self.lost: list[str] = []

    def ask(
        self, question: str, *arguments: Any, quiet: tuple[int, ...] = (_NOT_SUPPORTED,)
    ) -> Any:
        """What NVML answers; ``quiet`` are error numbers that are nobody's loss."""
        return self.read(lambda: getattr(self._binding, question)(*arguments), question, quiet)

    def field(self, answer: Any, name: str, kind: type = int) -> Any:
        """A field of a structure, which is decoded when it is read."""
        found = None if answer is None else self.read(lambda: getattr(answer, name), name)
        return self.only(kind, found, name)

    def only(self, kind: type, answer: Any, what: str) -> Any:
        """The answer if it is of its kind; anything else is no answer."""
        if answer is None or (isinstance(answer, kind) and not isinstance(answer, bool)):
            return answer
        return self.read(
            lambda: _refuse(f"{type(answer).__name__} instead of {kind.__name__}"), what
        )

    def text(self, question: str, *arguments: Any) -> str | None:
        found: str | None = self.only(str, self.ask(question, *arguments), question)
        return found

    def read(self, get: Callable[[], Any], what: str, quiet: tuple[int, ...] = ()) -> Any:
        try:
            found = get()
        except UnicodeDecodeError as error:
            return error.object.decode("utf-8", "replace")  # some of a text is better than none
        except self._failures as error:
            if getattr(error, "value", None) not in quiet:
                line = f"{what.removeprefix('nvml')}: {error or type(error).__name__}"
                self.lost += [line] if line not in self.lost else []
            return None
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else found


def _refuse(words: str) -> None:
    raise TypeError(words)


def _is_error(each: object) -> bool:
    return isinstance(each, type) and issubclass(each, Exception)


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
    nvml = _Nvml(pynvml)
    nvml.ask("nvmlInit", quiet=())
    if nvml.lost:
        return {"error": nvml.lost[0].removeprefix("Init: ")}
    count = nvml.only(int, nvml.ask("nvmlDeviceGetCount", quiet=()), "DeviceGetCount") or 0
    handles = [nvml.ask("nvmlDeviceGetHandleByIndex", i, quiet=()) for i in range(count)]
    found = {
        "driver": nvml.text("nvmlSystemGetDriverVersion"),
        "cuda": nvml.only(int, nvml.ask("nvmlSystemGetCudaDriverVersion"), "CudaDriverVersion"),
        "devices": [_nvml_device(nvml, handle) for handle in handles if handle is not None],
        "lost": nvml.lost or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _nvml_device(nvml: _Nvml, handle: Any) -> dict[str, Any]:
    memory = nvml.ask("nvmlDeviceGetMemoryInfo", handle)
    capability = nvml.ask("nvmlDeviceGetCudaComputeCapability", handle)
    windows = sys.platform == "win32"
    model: Any = nvml.ask("nvmlDeviceGetCurrentDriverModel", handle) if windows else None
    mig = nvml.ask("nvmlDeviceGetMigMode", handle, quiet=_OPTIONAL)
    mode = nvml.ask("nvmlDeviceGetComputeMode", handle, quiet=_OPTIONAL)
    found = {
        "pci": nvml.field(nvml.ask("nvmlDeviceGetPciInfo", handle), "busId", str),
        "uuid": nvml.text("nvmlDeviceGetUUID", handle),
        "name": nvml.text("nvmlDeviceGetName", handle),
        "total": nvml.field(memory, "total"),
        "free": nvml.field(memory, "free"),
        "capability": nvml.read(lambda: _dotted(capability), "CudaComputeCapability"),
        "display": nvml.ask("nvmlDeviceGetDisplayActive", handle, quiet=_OPTIONAL) == 1,
        "mig": nvml.read(lambda: bool(mig and mig[0] == 1), "MigMode") or False,
        "mode": nvml.read(lambda: _MODES.get(mode), "ComputeMode"),
        "model": nvml.read(lambda: _MODELS.get(model), "CurrentDriverModel"),
        "processes": _processes(nvml, handle),
    }
    if found["mig"]:
        question = "nvmlDeviceGetMaxMigDeviceCount"
        count = nvml.only(int, nvml.ask(question, handle), question) or 0
        slices = [
            nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, i, quiet=_OPTIONAL)
            for i in range(count)
        ]
        found["slices"] = [_nvml_device(nvml, piece) for piece in slices if piece is not None]
    return {key: value for key, value in found.items() if value is not None}


def _dotted(capability: Any) -> str | None:
    return "{}.{}".format(*capability) if capability else None


def _processes(nvml: _Nvml, handle: Any) -> list[dict[str, Any]]:
    """Who uses the card: the program's name alone, never its arguments or its folder."""
    found = []
    for kind, word in (("C", "Compute"), ("G", "Graphics")):
        question = f"nvmlDeviceGet{word}RunningProcesses"
        running = nvml.ask(question, handle, quiet=_OPTIONAL)
        for process in running if isinstance(running, list | tuple) else ():
            number = nvml.field(process, "pid")
            path = nvml.ask("nvmlSystemGetProcessName", number, quiet=_OPTIONAL)
            used = nvml.field(process, "usedGpuMemory") or 0  # None under Windows
            found.append({"kind": kind, "name": program_of(str(path or "")), "bytes": used})
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

    def note(_level: int, text: bytes | None, _data: Any) -> None:
        """Kept, and told to stderr: an abort comes right after its reason."""
        log.append(_text(text))
        os.write(2, text or b"")

    try:
        base, registry, llama = (_load(folder, name) for name in ("ggml-base", "ggml", "llama"))
    except OSError as error:
        return {"error": _without_folders(str(error))}
    keep = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(note)
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
    path = library_path(folder, name)
    if path is None:
        raise OSError(f"there is no lib{name}.so")
    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


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
