"""CUDA's libraries, with real shared libraries: the system's own loader misses and finds them.

Loading is for good, so each case runs in a process of its own, as the probe does.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_edge.hardware.gpus import CudaLibraries, needed_dlls, package_of

COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(
    COMPILER is None or sys.platform != "linux", reason="makes ELF libraries with a C compiler"
)
ASK = """
import json, sys
from pathlib import Path
from gemma_edge.hardware.gpus import cuda_libraries
found = cuda_libraries(Path(sys.argv[1]), [Path(sys.argv[2])])
print(json.dumps({"present": found.present, "loaded": [p.name for p in found.loaded],
                  "missing": found.missing, "error": found.error, "fix": found.fix}))
"""


def make_library(folder: Path, name: str, needs: tuple[Path, ...] = ()) -> Path:
    """A shared library that needs others by name only (DT_NEEDED), as NVIDIA's do."""
    folder.mkdir(parents=True, exist_ok=True)
    source, path = folder / "source.c", folder / name
    symbol = name.replace(".", "_").replace("-", "_")
    calls = "".join(f"int {n.name.replace('.', '_').replace('-', '_')}(void);" for n in needs)
    total = " + ".join(f"{n.name.replace('.', '_').replace('-', '_')}()" for n in needs) or "1"
    source.write_text(f"{calls} int {symbol}(void) {{ return {total}; }}", encoding="utf-8")
    command = [str(COMPILER), "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(path)]
    subprocess.run([*command, str(source), *map(str, needs)], check=True)
    source.unlink()
    return path


@pytest.fixture
def environment(tmp_path: Path) -> tuple[Path, Path]:
    """A llama_cpp/lib whose CUDA backend needs cudart and cublas, cublas needs cublasLt, and
    site-packages in which NVIDIA's packages lie as pip puts them."""
    site = tmp_path / "site-packages"
    runtime, blas = site / "nvidia/cuda_runtime/lib", site / "nvidia/cublas/lib"
    cudart = make_library(runtime, "libcudart.so.12")
    light = make_library(blas, "libcublasLt.so.12")
    cublas = make_library(blas, "libcublas.so.12", (light,))
    folder = site / "llama_cpp/lib"
    make_library(folder, "libggml-cuda.so", (cudart, cublas))
    return folder, site


def ask(folder: Path, site: Path) -> dict[str, object]:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(folder), str(site)],
        capture_output=True, text=True, check=True, cwd=root,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return found


@needs_compiler
def test_libraries_in_packages_are_loaded_in_the_order_of_dependence(environment):
    assert ask(*environment) == {
        "present": True,
        "loaded": ["libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12"],
        "missing": [],
        "error": "",
        "fix": "",
    }


@needs_compiler
def test_without_packages_every_missing_library_is_named_once(environment):
    folder, site = environment
    shutil.rmtree(site / "nvidia")
    found = ask(folder, site)
    assert found["loaded"] == []
    assert found["missing"] == ["libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12"]
    assert "libcudart.so.12: cannot open shared object file" in str(found["error"])
    assert found["fix"] == "pip install nvidia-cuda-runtime-cu12 nvidia-cublas-cu12"


@needs_compiler
def test_one_package_is_missing(environment):
    folder, site = environment
    shutil.rmtree(site / "nvidia/cublas")
    found = ask(folder, site)
    assert found["loaded"] == ["libcudart.so.12"]
    assert found["missing"] == ["libcublas.so.12", "libcublasLt.so.12"]
    assert found["fix"] == "pip install nvidia-cublas-cu12"


@needs_compiler
def test_a_package_whose_own_need_is_missing(environment):
    folder, site = environment
    (site / "nvidia/cublas/lib/libcublasLt.so.12").unlink()
    found = ask(folder, site)
    assert found["missing"] == ["libcublasLt.so.12"]
    assert found["fix"] == "pip install nvidia-cublas-cu12"


@needs_compiler
def test_cuda_11_has_a_name_of_its_own(tmp_path):
    """Its cudart is called 11.0, and one that is there must not be called missing."""
    site = tmp_path / "site-packages"
    cudart = make_library(site / "nvidia/cuda_runtime/lib", "libcudart.so.11.0")
    cublas = make_library(site / "nvidia/cublas/lib", "libcublas.so.11")
    make_library(site / "llama_cpp/lib", "libggml-cuda.so", (cudart, cublas))
    cublas.unlink()
    found = ask(site / "llama_cpp/lib", site)
    assert found["missing"] == ["libcublas.so.11", "libcublasLt.so.11"]
    assert found["fix"] == "pip install nvidia-cublas-cu11"


@needs_compiler
def test_the_driver_is_in_no_package(environment, tmp_path):
    """A login node: the build needs libcuda.so.1, which only a driver brings."""
    folder, site = environment
    driver = make_library(tmp_path / "driver", "libcuda.so.1")
    make_library(folder, "libggml-cuda.so", (driver,))
    driver.unlink()
    found = ask(folder, site)
    assert found["missing"] == ["libcuda.so.1"]
    assert found["fix"] == ""


@needs_compiler
def test_a_library_that_is_no_library_ends(environment):
    folder, site = environment
    (site / "nvidia/cublas/lib/libcublasLt.so.12").write_text("a page of HTML", encoding="utf-8")
    found = ask(folder, site)
    assert found["missing"] == []
    assert "libcublasLt.so.12" in str(found["error"])


def test_a_build_without_cuda(tmp_path):
    assert ask(tmp_path, tmp_path)["present"] is False


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libcudart.so.12", "nvidia-cuda-runtime-cu12"),
        ("libcudart.so.11.0", "nvidia-cuda-runtime-cu11"),
        ("libcublas.so.12", "nvidia-cublas-cu12"),
        ("libcublasLt.so.12", "nvidia-cublas-cu12"),
        ("libcublas.so.13", '"nvidia-cublas==13.*"'),
        ("cudart64_12.dll", "nvidia-cuda-runtime-cu12"),
        ("cudart64_110.dll", "nvidia-cuda-runtime-cu11"),
        ("cublasLt64_13.dll", '"nvidia-cublas==13.*"'),
        ("libcuda.so.1", ""),
        ("libstdc++.so.6", ""),
    ],
)
def test_the_package_of_a_library(library, package):
    assert package_of(library) == package


def test_one_fix_for_several_libraries():
    missing = ("libcublas.so.12", "libcublasLt.so.12")
    assert CudaLibraries(present=True, missing=missing).fix == "pip install nvidia-cublas-cu12"


def test_what_a_dll_needs_is_read_from_it(tmp_path):
    """Windows' loader does not say which library it misses."""
    backend = tmp_path / "ggml-cuda.dll"
    names = b"KERNEL32.dll\0cublas64_12.dll\0\0cudart64_12.dll\0cublas64_12.dll\0"
    backend.write_bytes(b"MZ" + bytes(100) + names)
    assert needed_dlls(backend) == ["cudart64_12.dll", "cublas64_12.dll"]
