"""NVIDIA's runtime libraries beside llama.cpp's, for a machine that has only the driver.

The published CUDA wheels leave libcudart and libcublas to the machine. NVIDIA publishes them on
the package index; llama.cpp's libraries look for them beside themselves ($ORIGIN on Linux,
``os.add_dll_directory`` of their folder on Windows), so they are linked there.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from install.environment import Environment, SetupError, explain

_PACKAGES = {
    "11": ("nvidia-cuda-runtime-cu11", "nvidia-cublas-cu11"),
    "12": ("nvidia-cuda-runtime-cu12", "nvidia-cublas-cu12"),
    "13": ("nvidia-cuda-runtime>=13,<14", "nvidia-cublas>=13,<14"),
}
_NEEDED = ("cudart", "cublas")


def add_runtime(environment: Environment, tag: str) -> None:
    """Install the libraries for ``tag`` ("cu124") and place them beside llama.cpp's.

    Raises:
        SetupError: the packages cannot be had.
    """
    packages = _PACKAGES[tag[2:4]]
    done = environment.install(*packages)
    if done.returncode:
        raise SetupError(
            f"NVIDIA's runtime libraries cannot be had: {explain(done)}",
            f"install the CUDA {tag[2:4]} toolkit, or: pip install {' '.join(packages)}",
        )
    site = environment.site_packages()
    for library in find_libraries(site):
        place(library, site / "llama_cpp" / "lib" / library.name)


def find_libraries(site_packages: Path) -> Iterator[Path]:
    """cudart and cublas (with cublasLt), wherever below ``nvidia/`` the packages put them."""
    pattern = "*.dll" if sys.platform == "win32" else "lib*.so.*"
    for path in sorted((site_packages / "nvidia").rglob(pattern)):
        name = path.name.removeprefix("lib")
        if name.startswith(_NEEDED):
            yield path


def place(source: Path, target: Path) -> None:
    """A link, so that 400 MB are not there twice; a copy where links are not allowed."""
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
