"""CUDA's libraries: does llama.cpp's CUDA backend load, what is missing, and where it lies.

The published CUDA wheels leave libcudart and libcublas to the machine. NVIDIA publishes them as
``nvidia-*`` packages, in folders that no loader searches. Only the loader knows the truth, so the
backend is really loaded; what the loader misses is looked for in the environment's packages and
loaded first, deepest dependency first. glibc then finds it by its name (SONAME), and llama.cpp
loads. Standard library only: the probe's child process runs this too.
"""

import ctypes
import importlib.util
import mmap
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TRIES = 16  # libcudart, libcublas, libcublasLt, and what they may need one day
# As glibc ("NAME: cannot open shared object file") and musl ("NAME: No such file") word it.
_MISSING = re.compile(r"(\S+?): (?:cannot open shared object file|No such file)")
_DLL = re.compile(rb"(?:cudart|cublas|cublasLt)64_\d+\.dll")
_VERSIONED = re.compile(r"(?:lib)?(cudart|cublasLt|cublas)(?:\.so\.|64_)(\d+)")
_PACKAGE = {"cudart": "nvidia-cuda-runtime", "cublas": "nvidia-cublas", "cublasLt": "nvidia-cublas"}
DRIVER_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")  # come with the driver, in no package


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaLibraries:
    """What loading the CUDA backend showed. ``present``: this llama.cpp has one at all.
    ``loaded`` lie in packages of the environment and had to be loaded first, in that order;
    ``missing`` are names that are nowhere; ``error`` is the loader's last word, "" when it loads.
    """

    present: bool
    loaded: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()
    error: str = ""

    @property
    def fix(self) -> str:
        """The command that brings what is missing, "" where nothing is or no package has it."""
        packages = dict.fromkeys(filter(None, map(package_of, self.missing)))
        return f"pip install {' '.join(packages)}" if packages else ""


def cuda_libraries(
    folder: Path | None = None, roots: Sequence[Path] = (), more: Sequence[Path] = ()
) -> CudaLibraries:
    """Load the CUDA backend in ``folder`` (llama_cpp's own where None) into this process.

    ``roots`` are site-packages folders to look in for ``nvidia/*/lib`` (``sys.path`` where
    empty), ``more`` are folders that Windows shall search too (the toolkit's). Loading is for
    good: ask in a child process, or just before llama_cpp is imported.
    """
    folder = folder or find_llama_folder()
    backend = find_backend(folder)
    if folder is None or backend is None:
        return CudaLibraries(present=False)
    packages = list(_package_folders(roots or [Path(entry) for entry in sys.path if entry]))
    if sys.platform == "win32":
        return _load_windows(backend, [folder, *more], packages)
    return _load(backend, packages)


def preload_cuda() -> CudaLibraries:
    """Call before ``import llama_cpp``: the environment's CUDA libraries are in the process
    afterwards, where llama.cpp needs them. Does nothing for a build without CUDA."""
    return cuda_libraries()


def find_llama_folder() -> Path | None:
    """``llama_cpp/lib`` of this environment, found without importing llama_cpp (0.5 s)."""
    try:
        found = importlib.util.find_spec("llama_cpp")
    except (ImportError, ValueError):  # a broken package on the path
        return None
    for location in (found and found.submodule_search_locations) or ():
        return Path(location) / "lib"
    return None


def find_backend(folder: Path | None) -> Path | None:
    """The CUDA backend among llama.cpp's libraries."""
    names = ("libggml-cuda.so", "ggml-cuda.dll", "libggml-cuda.dll")
    return (
        next((folder / name for name in names if (folder / name).exists()), None)
        if folder
        else None
    )


def package_of(library: str) -> str:
    """The package that brings a library: ``libcublas.so.12`` -> ``nvidia-cublas-cu12``, "" if none.
    From CUDA 13 on the packages carry no version in their names."""
    found = _VERSIONED.match(library)
    if not found:
        return ""
    name, major = _PACKAGE[found[1]], int(found[2][:2])
    return f"{name}-cu{major}" if major < 13 else f'"{name}=={major}.*"'  # noqa: PLR2004


def _load(backend: Path, packages: Sequence[Path]) -> CudaLibraries:
    """Load, and whenever the loader misses a library, load that first. Its own needs come before
    it, so the list is in the order of dependence."""
    loaded: list[Path] = []
    missing: list[str] = []
    wanted = [backend]
    error = ""
    for _ in range(_TRIES):
        last = wanted[-1]
        error = _try(last, ctypes.DEFAULT_MODE if last == backend else ctypes.RTLD_GLOBAL)
        if not error:
            done = wanted.pop()
            if not wanted:
                break
            loaded.append(done)
            continue
        named = _MISSING.search(error)
        name = Path(named[1]).name if named else ""
        found = next((f / name for f in packages if name and (f / name).exists()), None)
        if found is None or found in wanted:
            missing += [name] if name else []
            break
        wanted.append(found)
    missing += [name for name in _rest(missing, packages) if name not in missing]
    return CudaLibraries(present=True, loaded=tuple(loaded), missing=tuple(missing), error=error)


def _rest(missing: Sequence[str], packages: Sequence[Path]) -> list[str]:
    """The loader stops at the first name that it misses; where cudart is gone, cublas usually is
    too, and a person should install once."""
    found = _VERSIONED.match(missing[-1]) if missing else None
    if not found or not missing[-1].startswith("lib"):
        return []
    names = [f"lib{name}.so.{found[2]}" for name in _PACKAGE]
    names = [name.replace("cudart.so.11", "cudart.so.11.0") for name in names]  # CUDA 11's own
    return [n for n in names if not any((f / n).exists() for f in packages) and _try(Path(n))]


def _load_windows(
    backend: Path, folders: Sequence[Path], packages: Sequence[Path]
) -> CudaLibraries:
    """Windows does not say which library is missing, so the names are read from the backend."""
    add_folders([*folders, *packages])
    loaded, missing = [], []
    for name in needed_dlls(backend):
        found = next((f / name for f in packages if (f / name).exists()), None)
        if _try(found or Path(name)):
            missing.append(name)
        elif found:
            loaded.append(found)
    error = _try(backend)
    return CudaLibraries(
        present=True, loaded=tuple(loaded), missing=tuple(missing) if error else (), error=error
    )


def add_folders(folders: Iterable[Path]) -> None:
    """Let Windows' loader search here; other systems' loaders are not told so."""
    if sys.platform == "win32":
        for folder in folders:
            if folder.is_dir():
                os.add_dll_directory(str(folder))


def needed_dlls(backend: Path) -> list[str]:
    """CUDA's libraries that a DLL names in its import table, each once."""
    with backend.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return sorted({match.decode("ascii") for match in _DLL.findall(data)}, reverse=True)


def _try(library: Path, mode: int = ctypes.RTLD_GLOBAL) -> str:
    """Load for good: "" when it worked, else what the loader said."""
    try:
        ctypes.CDLL(str(library), mode=mode)
    except OSError as error:
        return str(error)
    return ""


def _package_folders(roots: Iterable[Path]) -> Iterable[Path]:
    """Where NVIDIA's packages put libraries: ``nvidia/cublas/lib``, ``nvidia/cu13/lib``, and on
    Windows ``bin``, from CUDA 13 on with one more folder below it."""
    for root in roots:
        for pattern in ("nvidia/*/lib", "nvidia/*/bin", "nvidia/*/bin/*"):
            yield from (path for path in sorted(root.glob(pattern)) if path.is_dir())
