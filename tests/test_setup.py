"""What set-up concludes from recorded machines; nothing here asks the machine it runs on."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import setup
from install.accelerator import (
    Accelerator,
    Nvidia,
    choose_apple,
    choose_cuda,
    choose_rocm,
    choose_vulkan,
    parse_hipinfo,
    parse_nvcc,
    parse_nvidia_smi,
    parse_rocminfo,
    parse_vulkaninfo,
    wheel_tag,
)
from install.cuda import find_libraries, place
from install.environment import Environment, SetupError
from install.llama import (
    FLAGS,
    Bar,
    Installer,
    build_variables,
    compiler_fix,
    progress_of,
    requirement,
    usable_cores,
    wheel_key,
)
from install.processor import (
    Processor,
    build_flags,
    parse_cpuinfo,
    parse_sysctl,
    render_processor,
    wheel_is_as_fast,
)
from install.proof import MODEL, Proof, expected_features, parse_features, parse_proof

SMI = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
|   0  NVIDIA GeForce RTX 4060 ...    Off |   00000000:01:00.0  On |                  N/A |
"""
SMI_FAILED = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
XEON_AMX = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse2 ssse3 fma sse4_1 sse4_2 avx f16c bmi1 avx2 bmi2 avx512f avx512dq avx512ifma \
avx512cd avx512bw avx512vl avx_vnni avx512_bf16 avx512vbmi avx512_vbmi2 avx512_vnni amx_bf16 \
avx512_fp16 amx_tile amx_int8
vmx flags\t: vnmi preemption_timer
"""
LAPTOP_AVX2 = """\
processor\t: 0
model name\t: Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz
flags\t\t: fpu sse2 ssse3 fma sse4_1 sse4_2 avx f16c rdrand bmi1 avx2 bmi2
"""
LAPTOP_VNNI = "flags : sse4_2 avx f16c fma avx2 bmi1 bmi2 avx_vnni\n"
OLD_X86 = "flags : fpu sse sse2 ssse3 sse4_1 sse4_2\n"
RASPBERRY_PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp
CPU implementer\t: 0x41
"""
RASPBERRY_PI_4 = "Features : fp asimd evtstrm crc32 cpuid\n"
VULKAN = """\
Devices:
========
GPU0:
\tapiVersion         = 1.3.289
\tdeviceType         = PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU
\tdeviceName         = Intel(R) Iris(R) Xe Graphics (ADL GT2)
GPU1:
\tapiVersion         = 1.3.289
\tdeviceType         = PHYSICAL_DEVICE_TYPE_DISCRETE_GPU
\tdeviceName         = AMD Radeon RX 6700 XT (RADV NAVI22)
GPU2:
\tdeviceType         = PHYSICAL_DEVICE_TYPE_CPU
\tdeviceName         = llvmpipe (LLVM 17.0.6, 256 bits)
"""
ROCM = """\
Agent 1
  Name:                    AMD Ryzen 9 7950X 16-Core Processor
  Device Type:             CPU
Agent 2
  Name:                    gfx1100
  Device Type:             GPU
      Name:                    amdgcn-amd-amdhsa--gfx1100
"""


def x86(text: str) -> Processor:
    return Processor("x86_64", parse_cpuinfo(text), "recorded")


def arm(text: str) -> Processor:
    return Processor("arm64", parse_cpuinfo(text), "recorded")


def on(flags: list[str]) -> list[str]:
    return [flag[7:-3] for flag in flags if flag.startswith("-DGGML_") and flag.endswith("=ON")]


def test_an_amx_xeon_gets_avx512_and_never_amx() -> None:
    processor = x86(XEON_AMX)
    flags = build_flags(processor)
    assert flags[0] == "-DGGML_NATIVE=OFF"
    assert on(flags) == [
        "AVX", "AVX2", "BMI2", "FMA", "F16C", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16",
    ]  # fmt: skip
    assert not any("AMX" in flag for flag in flags)
    assert "AMX is left out" in render_processor(processor)
    assert not wheel_is_as_fast(processor)


def test_plainer_flags_stop_at_avx2() -> None:
    assert on(build_flags(x86(XEON_AMX), plain=True)) == ["AVX", "AVX2", "BMI2", "FMA", "F16C"]


def test_an_avx2_laptop_gets_what_the_wheel_has() -> None:
    processor = x86(LAPTOP_AVX2)
    assert on(build_flags(processor)) == ["AVX", "AVX2", "BMI2", "FMA", "F16C"]
    assert "-DGGML_AVX512=OFF" in build_flags(processor)
    assert wheel_is_as_fast(processor)


def test_avx_vnni_counts_only_without_avx512() -> None:
    assert "AVX_VNNI" in on(build_flags(x86(LAPTOP_VNNI)))
    assert "AVX_VNNI" not in on(build_flags(x86(XEON_AMX)))


def test_part_of_avx512_is_no_avx512() -> None:
    assert not [
        f for f in on(build_flags(x86("flags : avx avx2 avx512f avx512_vnni"))) if "512" in f
    ]


def test_an_old_processor_turns_every_flag_off() -> None:
    flags = build_flags(x86(OLD_X86))
    assert on(flags) == []
    assert "-DGGML_AVX=OFF" in flags
    assert "no vector instructions" in render_processor(x86(OLD_X86))


def test_a_core_that_has_less_decides() -> None:
    assert parse_cpuinfo("flags : avx avx2\nflags : avx\n") == {"avx"}


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (RASPBERRY_PI_5, ["-DGGML_NATIVE=OFF", "-DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod+fp16"]),
        (RASPBERRY_PI_4, ["-DGGML_NATIVE=OFF"]),
    ],
)
def test_an_arm_board_gets_its_own_extensions(text: str, flags: list[str]) -> None:
    if sys.platform != "darwin":  # there, every chip is Apple's and builds natively
        assert build_flags(arm(text)) == flags


def test_an_intel_mac_speaks_sysctl() -> None:
    text = (
        "machdep.cpu.features: FPU SSE4.2 AVX1.0 FMA F16C\nmachdep.cpu.leaf7_features: BMI2 AVX2\n"
    )
    processor = Processor("x86_64", parse_sysctl(text), "recorded")
    assert on(build_flags(processor)) == ["AVX", "AVX2", "BMI2", "FMA", "F16C"]


@pytest.mark.parametrize(
    ("cuda", "capability", "system", "tag"),
    [
        ((12, 4), (8, 9), "linux", "cu124"),
        ((12, 6), (8, 6), "linux", "cu125"),
        ((12, 2), (8, 6), "linux", "cu122"),
        ((12, 2), (8, 6), "win32", "cu118"),
        ((13, 1), (12, 0), "linux", "cu130"),
        ((13, 5), (9, 0), "linux", "cu132"),
        ((13, 0), (6, 1), "linux", "cu125"),  # CUDA 13 has dropped Pascal
        ((13, 0), (0, 0), "linux", "cu130"),
        ((11, 4), (7, 0), "linux", ""),  # a driver older than every wheel
    ],
)
def test_the_newest_wheel_that_driver_and_card_can_run(
    cuda: tuple[int, int], capability: tuple[int, int], system: str, tag: str
) -> None:
    capabilities = (capability,) if capability > (0, 0) else ()
    nvidia = Nvidia(("RTX",), "550.54", cuda, capabilities)
    assert choose_cuda(nvidia, system, "x86_64", None).tag == tag


def test_nvidia_smi_is_read_whole() -> None:
    query = "NVIDIA GeForce RTX 4060 Laptop GPU, 550.54.15, 8.9\nTesla P40, 550.54.15, 6.1\n"
    nvidia = parse_nvidia_smi(SMI, query)
    assert nvidia == Nvidia(
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "Tesla P40"), "550.54.15", (12, 4), ((6, 1), (8, 9))
    )


@pytest.mark.parametrize("text", ["", SMI_FAILED, "No devices were found\n"])
def test_no_driver_is_no_nvidia(text: str) -> None:
    assert parse_nvidia_smi(text, "") is None


def test_an_old_nvidia_smi_that_knows_no_capability_still_counts() -> None:
    nvidia = parse_nvidia_smi(SMI, 'Field "compute_cap" is not a valid field to query.\n')
    assert nvidia is not None
    assert nvidia.capabilities == ()


def test_cuda_from_source_needs_an_nvcc_of_the_drivers_major() -> None:
    nvidia = Nvidia(("RTX 4060",), "550.54", (12, 4), ((8, 9),))
    assert "nvcc" in choose_cuda(nvidia, "linux", "x86_64", None).missing
    assert choose_cuda(nvidia, "linux", "x86_64", (13, 0)).missing
    built = choose_cuda(nvidia, "linux", "x86_64", (12, 8))
    assert not built.missing
    assert built.flags == ("-DGGML_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=89-real")


@pytest.mark.parametrize(
    ("capabilities", "nvcc", "architectures", "said"),
    [
        (((6, 1), (8, 9)), (12, 4), "61-real;89-real", ""),  # each card's, not the older one's
        (((8, 9), (8, 6), (8, 6)), (13, 0), "86-real;89-real", ""),
        (((6, 1), (8, 9)), (13, 0), "89-real", "no code for capability 6.1"),
        (((8, 9), (12, 0)), (12, 4), "89-real;90-virtual", ""),  # the driver compiles that one
        (((8, 9), (12, 0)), (12, 8), "89-real;120-real", ""),
        (((12, 1),), (13, 0), "121-real", ""),
        ((), (12, 4), "", ""),
    ],
)
def test_a_build_from_source_holds_code_for_every_card(
    capabilities: tuple[tuple[int, int], ...], nvcc: tuple[int, int], architectures: str, said: str
) -> None:
    nvidia = Nvidia(("a card", "another"), "580.95", (13, 0), capabilities)
    built = choose_cuda(nvidia, "linux", "x86_64", nvcc)
    wanted = (f"-DCMAKE_CUDA_ARCHITECTURES={architectures}",) if architectures else ()
    assert built.flags == ("-DGGML_CUDA=ON", *wanted)
    assert (said in built.reason) and not built.missing


def test_cards_that_are_all_too_old_for_the_compiler_need_an_older_one() -> None:
    nvidia = Nvidia(("GTX 1060",), "580.95", (13, 0), ((6, 1),))
    built = choose_cuda(nvidia, "linux", "x86_64", (13, 0))
    assert "older CUDA compiler" in built.missing
    assert "CUDA toolkit 12" in built.fix


def test_no_cuda_wheel_for_arm() -> None:
    nvidia = Nvidia(("GB10",), "580", (13, 0), ((12, 1),))
    assert choose_cuda(nvidia, "linux", "arm64", None).tag == ""


def test_nvcc() -> None:
    text = "Cuda compilation tools, release 13.0, V13.0.88\n"
    assert parse_nvcc(text) == (13, 0)
    assert parse_nvcc("") is None


@pytest.mark.parametrize(
    ("targets", "machine", "system", "major", "tag"),
    [
        (("gfx1100",), "x86_64", "linux", 7, "rocm72"),
        (("gfx1030",), "x86_64", "linux", 7, "rocm72"),
        (("gfx942", "gfx942"), "x86_64", "linux", 7, "rocm72"),
        (("gfx1100", "gfx1036"), "x86_64", "linux", 7, "rocm72"),  # a card beside Ryzen's graphics
        (("gfx1036",), "x86_64", "linux", 7, ""),
        (("gfx1031",), "x86_64", "linux", 7, ""),
        (("gfx1100",), "x86_64", "linux", 6, ""),  # it is linked against ROCm 7
        (("gfx1100",), "arm64", "linux", 7, ""),
        (("gfx1031",), "x86_64", "win32", 7, "hip-radeon"),
        (("gfx1101", "gfx1036"), "x86_64", "win32", 6, "hip-radeon"),
        (("gfx942",), "x86_64", "win32", 7, ""),
    ],
)
def test_rocm_wheels_by_their_targets(
    targets: tuple[str, ...], machine: str, system: str, major: int, tag: str
) -> None:
    assert choose_rocm(targets, machine, True, system, major).tag == tag


def test_a_card_that_no_rocm_wheel_serves_is_built_for() -> None:
    assert parse_rocminfo(ROCM) == ("gfx1100",)
    assert parse_hipinfo("device#  0\ngcnArchName:   gfx1101\nx: 1\n") == ("gfx1101",)
    other = choose_rocm(("gfx1010",), "x86_64", False)
    assert (other.tag, "-DAMDGPU_TARGETS=gfx1010" in other.flags) == ("", True)
    assert other.missing and other.fix
    beside = choose_rocm(("gfx1100", "gfx1036"), "x86_64", False)
    assert "serves gfx1100" in beside.reason


@pytest.mark.parametrize(
    ("backend", "system", "machine", "tag"),
    [
        ("vulkan", "win32", "x86_64", "vulkan"), ("vulkan", "linux", "arm64", ""),
        ("rocm", "win32", "x86_64", "hip-radeon"), ("rocm", "linux", "x86_64", "rocm72"),
        ("metal", "darwin", "arm64", "metal"), ("cuda", "linux", "x86_64", ""),
    ],
)  # fmt: skip
def test_the_wheel_of_a_backend_that_was_asked_for(
    backend: str, system: str, machine: str, tag: str
) -> None:
    assert wheel_tag(backend, system, machine) == tag


def test_vulkan_knows_a_card_from_an_integrated_and_a_software_gpu() -> None:
    discrete, integrated = parse_vulkaninfo(VULKAN)
    assert discrete.startswith("AMD Radeon RX 6700 XT")
    assert integrated.startswith("Intel")
    assert parse_vulkaninfo("") == ("", "")
    assert choose_vulkan(discrete, "linux", "x86_64", False).tag == "vulkan"
    assert choose_vulkan(discrete, "win32", "x86_64", False).tag == "vulkan"
    assert choose_vulkan(discrete, "linux", "arm64", False).tag == ""


def test_a_build_with_rpc_alone_drives_no_gpu() -> None:
    """llama.cpp says that it can offload wherever the RPC backend is, which is in every build."""
    llama_cpp = pytest.importorskip("llama_cpp")
    names = {path.name.partition(".")[0] for path in Path(llama_cpp.__file__).parent.glob("lib/*")}
    if names & {"libggml-cuda", "libggml-hip", "libggml-vulkan", "libggml-metal"}:
        pytest.skip("a build for a GPU")
    assert llama_cpp.llama_supports_gpu_offload() == ("libggml-rpc" in names)
    command = [sys.executable, str(Path(setup.__file__).parent / "install/prove.py"), str(MODEL)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert parse_proof(0, done.stdout, "", frozenset(), gpu=True).trouble == "drives no GPU"


def test_metal_is_for_apple_chips() -> None:
    assert choose_apple(Processor("arm64", frozenset(), "")).backend == "metal"
    assert choose_apple(Processor("x86_64", frozenset(), "")).backend == "cpu"


INFO = "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | FMA = 1 | F16C = 1 | BMI2 = 1 | OPENMP = 1 | "


def proof_text(features: str = INFO, *, gpu: bool = False, wrong: str = "") -> str:
    return json.dumps(
        {"version": "0.3.36", "features": features, "gpus": ["CUDA0"] * gpu,
         "wrong": wrong, "tokens": 56,
         "seconds": 0.1}
    )  # fmt: skip


def test_a_decode_with_what_was_asked_for_is_a_proof() -> None:
    expected = expected_features(build_flags(x86(LAPTOP_AVX2)))
    assert expected == {"AVX", "AVX2"} <= parse_features(INFO)
    proof = parse_proof(0, proof_text(), "", expected, gpu=False)
    assert (proof.trouble, proof.version, proof.tokens) == ("", "0.3.36", 56)


def test_a_kept_wheel_of_another_machine_is_seen() -> None:
    wanted = expected_features(build_flags(x86(XEON_AMX)))
    slower = parse_proof(0, proof_text(), "", wanted, gpu=False)
    assert "AVX512" in slower.trouble
    amx = parse_proof(0, proof_text(INFO + "AMX_INT8 = 1 | "), "", frozenset(), gpu=False)
    assert "AMX" in amx.trouble


def test_a_build_for_the_processor_is_no_proof_for_a_gpu() -> None:
    assert parse_proof(0, proof_text(), "", frozenset(), gpu=True).trouble == "drives no GPU"
    assert parse_proof(0, proof_text(gpu=True), "", frozenset(), gpu=True).trouble == ""


def test_a_gpu_that_computes_something_else_is_no_proof() -> None:
    text = proof_text(gpu=True, wrong="CUDA0: its logits are off by 0.9")
    found = parse_proof(0, text, "", frozenset(), gpu=True)
    assert found.trouble.endswith("as the processor does: CUDA0: its logits are off by 0.9")


@pytest.mark.parametrize(
    ("status", "errors", "words"),
    [
        (-signal.SIGILL, "", "SIGILL"),
        (0xC000001D, "", "SIGILL"),
        (-signal.SIGABRT, "", "signal"),
        (1, "OSError: libcudart.so.12: cannot open shared object file: No such file", "libcudart"),
        (1, "Traceback\nValueError: Failed to load model from file\n", "Failed to load model"),
        (1, "", "no word"),
    ],
)
def test_a_death_is_told_in_words(status: int, errors: str, words: str) -> None:
    assert words in parse_proof(status, "", errors, frozenset(), gpu=False).trouble


def test_nvidias_libraries_are_found_and_placed(tmp_path: Path) -> None:
    suffix = "cudart64_12.dll" if sys.platform == "win32" else "libcudart.so.12"
    other = "nvrtc64_12.dll" if sys.platform == "win32" else "libnvrtc.so.12"
    for name in (suffix, other):
        path = tmp_path / "nvidia" / "cuda_runtime" / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"library")
    found = list(find_libraries(tmp_path))
    assert [path.name for path in found] == [suffix]
    place(found[0], tmp_path / suffix)
    place(found[0], tmp_path / suffix)  # a second set-up finds it there
    assert (tmp_path / suffix).read_bytes() == b"library"


def test_the_requirement_is_read_from_the_project() -> None:
    assert requirement().startswith("llama-cpp-python>=")


def test_a_stamp_serves_only_what_it_was_made_for(tmp_path: Path) -> None:
    keys = {"llama_key": "a", "project_key": "b"}
    path = tmp_path / "stamp.json"
    assert setup.read_stamp(path) == {}
    path.write_text("not json", encoding="utf-8")
    assert setup.read_stamp(path) == {}
    setup.write_stamp(path, {**keys, "dev": False})
    stamp = setup.read_stamp(path)
    assert setup.is_ready(stamp, keys, dev=False)
    assert not setup.is_ready(stamp, keys, dev=True)
    assert not setup.is_ready(stamp, {**keys, "llama_key": "c"}, dev=False)
    assert setup.is_ready({**stamp, "dev": True}, keys, dev=False)


def test_who_installs_another_build_is_noticed(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    assert environment.record_of("llama_cpp_python") == ""
    site = tmp_path / "lib" / "python3.12" / "site-packages"
    record = site / "llama_cpp_python-0.3.36.dist-info" / "RECORD"
    record.parent.mkdir(parents=True)
    record.write_text("llama_cpp/lib/libllama.so,sha256=one,1\n", encoding="utf-8")
    before = environment.record_of("llama_cpp_python")
    assert before == environment.record_of("llama_cpp_python") != ""
    record.write_text("llama_cpp/lib/libllama.so,sha256=two,1\n", encoding="utf-8")
    assert environment.record_of("llama_cpp_python") not in ("", before)


def test_another_accelerator_is_another_set_up(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("version = 3.12.1\n", encoding="utf-8")
    environment = Environment(tmp_path)
    assert environment.python_version() == "3.12.1"
    cpu = setup.make_keys(environment, x86(LAPTOP_AVX2), Accelerator("cpu", "none"))
    cuda = setup.make_keys(environment, x86(LAPTOP_AVX2), Accelerator("cuda", "RTX", "cu124"))
    assert cpu["llama_key"] != cuda["llama_key"]
    assert cpu["project_key"] == cuda["project_key"]


def test_an_environment_that_is_not_there_says_so(tmp_path: Path) -> None:
    assert "python" in Environment(tmp_path / "nothing").try_code("import this")


class ScriptedEnvironment(Environment):
    """pip that does as it is told and remembers what it was asked."""

    def __init__(self, path: Path, *, wheels: bool = False) -> None:
        super().__init__(path)
        self.wheels = wheels
        self.asked: list[str] = []
        self.built: list[str] = []  # the CMake flags of each build from source

    def install(self, *arguments: str, quick: bool = False) -> subprocess.CompletedProcess[str]:
        self.asked.append(" ".join(arguments))
        if any(argument.startswith("--only-binary") for argument in arguments):
            return subprocess.CompletedProcess([], 0 if self.wheels else 1, "", "ERROR: none")
        return subprocess.CompletedProcess([], 0, "", "")

    def build_wheel(
        self, wanted: str, folder: Path, variables: Mapping[str, str], watch: Callable[[str], None]
    ) -> subprocess.CompletedProcess[str]:
        self.built.append(variables["CMAKE_ARGS"])
        watch("  [1/140] g++ -c ggml.cpp")
        (folder / f"llama_cpp_python-{len(self.built)}-py3-none-any.whl").write_bytes(b"")
        return subprocess.CompletedProcess([], 0, "", "")


class ScriptedProof:
    """Proofs in the order in which they are given: a trouble, "" for none."""

    def __init__(self, *troubles: str) -> None:
        self.troubles = list(troubles)

    def __call__(self, environment: Environment, expected: frozenset[str], *, gpu: bool) -> Proof:
        return Proof(self.troubles.pop(0), "0.3.36")


def installer(
    environment: ScriptedEnvironment, processor: Processor, accelerator: Accelerator,
    proof: ScriptedProof, *, compiler: bool = True,
) -> Installer:  # fmt: skip
    kept = environment.path / "kept"
    return Installer(environment, processor, accelerator, proof, compiler=compiler, kept=kept)


RTX = choose_cuda(Nvidia(("RTX 4060",), "550.54", (12, 4), ((8, 9),)), "linux", "x86_64", None)
CPU = Accelerator("cpu", "nothing else here", tag="cpu")


def test_what_was_built_is_built_once(tmp_path: Path) -> None:
    first, again = ScriptedEnvironment(tmp_path), ScriptedEnvironment(tmp_path)
    assert installer(first, x86(XEON_AMX), CPU, ScriptedProof("")).install().origin == "source"
    build = installer(again, x86(XEON_AMX), CPU, ScriptedProof("")).install()
    assert (build.origin, again.built) == ("a kept build", [])
    other = ScriptedEnvironment(tmp_path)
    installer(other, x86(LAPTOP_AVX2), Accelerator("cpu", "no wheels"), ScriptedProof("")).install()
    assert len(other.built) == 1  # another processor's is another build


def test_a_kept_build_that_dies_is_thrown_out_and_built_again(tmp_path: Path) -> None:
    first, again = ScriptedEnvironment(tmp_path), ScriptedEnvironment(tmp_path)
    installer(first, x86(XEON_AMX), CPU, ScriptedProof("")).install()
    proof = ScriptedProof("was stopped (SIGILL)", "")
    build = installer(again, x86(XEON_AMX), CPU, proof).install()
    assert again.built == first.built
    assert build.origin == "source"


def test_a_build_goes_where_it_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file, no folder", encoding="utf-8")
    environment = ScriptedEnvironment(tmp_path)
    build = installer(environment, x86(XEON_AMX), CPU, ScriptedProof("")).install()
    assert build.origin == "source"
    assert [*(tmp_path / "wheels").rglob("*.whl")]


def test_every_build_has_the_second_device_and_no_unused_library(tmp_path: Path) -> None:
    environment = ScriptedEnvironment(tmp_path)
    installer(environment, x86(XEON_AMX), CPU, ScriptedProof("")).install()
    assert "-DGGML_RPC=ON" in environment.built[0]
    assert "llama_cpp.cmake" in environment.built[0]


def test_where_a_clone_lies_is_no_part_of_a_builds_name() -> None:
    here = [*FLAGS, "-DGGML_AVX2=ON"]
    there = [flag.replace("=/", "=/elsewhere/") for flag in here]
    assert wheel_key(here) == wheel_key(there)
    assert wheel_key(here) != wheel_key([*FLAGS, "-DGGML_AVX2=OFF"])


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("  [35/140] /usr/bin/g++ -c llama.cpp", 0.25),
        ("[ 50%] Building CXX object", 0.5),
        ("[140/140] Install", 1.0),
        ("-- Configuring done", None),
        ("*** [1/2] no counter", None),
    ],
)
def test_how_far_a_build_is(line: str, share: float | None) -> None:
    assert progress_of(line) == share


def test_a_fresh_build_that_dies_is_built_with_plainer_flags(tmp_path: Path) -> None:
    environment = ScriptedEnvironment(tmp_path)
    proof = ScriptedProof("was stopped (SIGILL)", "")
    installer(environment, x86(XEON_AMX), CPU, proof).install()
    first, second = environment.built
    assert "-DGGML_AVX512=ON" in first
    assert "-DGGML_AVX512=OFF" in second


def test_nvidia_never_ends_in_a_build_for_the_processor(tmp_path: Path) -> None:
    environment = ScriptedEnvironment(tmp_path)
    with pytest.raises(SetupError) as refused:
        installer(environment, x86(LAPTOP_AVX2), RTX, ScriptedProof()).install()
    assert environment.built == []
    assert "wheel cu124" in refused.value.message
    assert "nvcc" in refused.value.message
    assert "--backend cpu" in refused.value.hint
    assert "CUDA toolkit 12.4" in refused.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells of AVX2 alone")
def test_a_cuda_wheel_for_another_processor_is_built_anew(tmp_path: Path) -> None:
    """Published builds for CUDA have the instructions of the machine that made them; the GPU's
    decode does not meet them, the first layer on the processor does."""

    class Foreign(ScriptedProof):
        def __call__(
            self, environment: Environment, expected: frozenset[str], *, gpu: bool
        ) -> Proof:
            proof = super().__call__(environment, expected, gpu=gpu)
            return replace(proof, features=frozenset({"AVX", "AVX2", "AVX512"}))

    environment = ScriptedEnvironment(tmp_path, wheels=True)
    built = choose_cuda(
        Nvidia(("RTX 4060",), "550.54", (12, 4), ((8, 9),)), "linux", "x86_64", (12, 4)
    )
    build = installer(environment, x86(LAPTOP_AVX2), built, Foreign("", "")).install()
    assert build.origin == "source"
    (flags,) = environment.built
    assert "-DGGML_CUDA=ON" in flags and "-DGGML_NATIVE=OFF" in flags and "AVX512=OFF" in flags
    wide = ScriptedEnvironment(tmp_path / "wide", wheels=True)
    assert installer(wide, x86(XEON_AMX), built, Foreign("")).install().origin == "wheel cu124"


def test_a_cuda_wheel_that_drives_no_gpu_is_refused(tmp_path: Path) -> None:
    environment = ScriptedEnvironment(tmp_path, wheels=True)
    proof = ScriptedProof("drives no GPU")
    with pytest.raises(SetupError, match="drives no GPU"):
        installer(environment, x86(LAPTOP_AVX2), RTX, proof).install()


def test_a_cuda_wheel_that_decodes_is_taken(tmp_path: Path) -> None:
    environment = ScriptedEnvironment(tmp_path, wheels=True)
    proof = ScriptedProof("")
    build = installer(environment, x86(LAPTOP_AVX2), RTX, proof).install()
    assert build.origin == "wheel cu124"
    assert environment.asked[0].count("/whl/cu124") == 1
    assert "AVX2 unused" in build.note  # the published CUDA wheels are built without


def test_no_compiler_and_no_wheel_name_the_fix(tmp_path: Path) -> None:
    environment = ScriptedEnvironment(tmp_path)
    with pytest.raises(SetupError) as refused:
        installer(environment, x86(XEON_AMX), CPU, ScriptedProof(), compiler=False).install()
    assert "a C++ compiler" in refused.value.message
    assert refused.value.hint == compiler_fix()


def test_no_compiler_settles_for_the_published_wheel_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = ScriptedEnvironment(tmp_path, wheels=True)
    proof = ScriptedProof("")
    build = installer(environment, x86(XEON_AMX), CPU, proof, compiler=False).install()
    assert build.origin == "wheel cpu"
    assert "slower on this processor" in capsys.readouterr().err


def test_a_build_that_drives_no_gpu_is_not_tried_with_plainer_flags(tmp_path: Path) -> None:
    accelerator = choose_vulkan("Radeon", "win32", "x86_64", True)
    environment = ScriptedEnvironment(tmp_path)
    with pytest.raises(SetupError, match="drives no GPU"):
        installer(environment, x86(XEON_AMX), accelerator, ScriptedProof("drives no GPU")).install()
    assert len(environment.built) == 1


def test_the_first_start_finds_byte_code(tmp_path: Path) -> None:
    """Also where a variable forbids Python to write it."""
    environment = {
        **os.environ,
        "PYTHONPYCACHEPREFIX": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run([sys.executable, "-c", setup.COMPILE], env=environment, check=True)
    assert list(tmp_path.rglob("cli/main.*.pyc")) and list(tmp_path.rglob("engine/worker.*.pyc"))


# uv and pip as programs that do as they are told.

posix = pytest.mark.skipif(sys.platform == "win32", reason="programs are shell scripts")


class Bench:
    """A folder with a Python and an uv that write down what they are asked; ``uv`` is its exit
    status, ``pip`` whether the Python has one."""

    def __init__(self, folder: Path, *, uv: int = 0, pip: bool = True) -> None:
        self.log = folder / "log"
        self.log.touch()
        python = folder / "env" / "bin" / "python"
        python.parent.mkdir(parents=True)
        self._program(python, "python", f'case "$*" in *"import pip"*) exit {int(not pip)};; esac')
        self._program(folder / "uv", "uv", f"exit {uv}")
        self.environment = Environment(folder / "env", str(folder / "uv"))

    def _program(self, path: Path, name: str, end: str) -> None:
        said = f'echo "{name} $* [$UV_HTTP_TIMEOUT]" >> "{self.log}"'
        path.write_text(f"#!/bin/sh\n{said}\n{end}\n", encoding="utf-8")
        path.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        return [line for line in self.log.read_text("utf-8").splitlines() if "import" not in line]


@posix
def test_uv_installs_where_it_is_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.environment.install("--no-deps", "some.whl").returncode == 0
    python = bench.environment.python
    assert bench.asked == [f"uv pip install --python {python} --no-deps some.whl []"]


@posix
def test_what_uv_cannot_do_pip_does(tmp_path: Path) -> None:
    bench = Bench(tmp_path, uv=1)
    assert bench.environment.install("llguidance").returncode == 0
    assert [line.split()[:4] for line in bench.asked] == [
        ["uv", "pip", "install", "--python"], ["python", "-m", "pip", "install"],
    ]  # fmt: skip


@posix
def test_an_environment_without_pip_gets_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, uv=1, pip=False)
    assert bench.environment.install("llguidance").returncode == 1
    assert [line.split()[:3] for line in bench.asked] == [
        ["uv", "pip", "install"], ["python", "-m", "ensurepip"], ["uv", "pip", "install"],
    ]  # fmt: skip


@posix
def test_an_index_that_may_not_be_there_is_asked_once_and_not_for_long(tmp_path: Path) -> None:
    bench = Bench(tmp_path, uv=1)
    assert bench.environment.install("wheel", quick=True).returncode == 1
    assert len(bench.asked) == 1
    assert bench.asked[0].endswith(" wheel [10]")
    bench.environment.uv = None
    bench.environment.install("wheel", quick=True)
    assert "--timeout=10 --retries=1" in bench.asked[1]


@posix
def test_uv_makes_the_environment_and_venv_where_it_cannot(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    bench = Bench(tmp_path)
    Environment(folder, bench.environment.uv).create()
    assert bench.asked == [f"uv venv --python {sys.executable} {folder} []"]
    (tmp_path / "fails").mkdir()
    other = Environment(folder, Bench(tmp_path / "fails", uv=1).environment.uv)
    other.create()
    assert other.try_code("import pip") == ""


@posix
def test_an_environment_of_uv_is_made_again_where_uv_is_gone(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env")
    Bench(tmp_path, pip=False)
    environment.create()
    assert environment.try_code("import pip") == ""
    assert (environment.path / "pyvenv.cfg").is_file()


def test_a_build_gets_all_cores_and_paths_that_ccache_knows_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CMAKE_BUILD_PARALLEL_LEVEL", "CCACHE_BASEDIR", "CCACHE_NOHASHDIR"):
        monkeypatch.delenv(name, raising=False)
    variables = build_variables()
    assert int(variables["CMAKE_BUILD_PARALLEL_LEVEL"]) == usable_cores() >= 1
    assert variables["CCACHE_BASEDIR"] == tempfile.gettempdir()
    monkeypatch.setenv("CMAKE_BUILD_PARALLEL_LEVEL", "3")
    assert build_variables()["CMAKE_BUILD_PARALLEL_LEVEL"] == "3"


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_a_build_on_its_way(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Tty() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    times = iter([0.0, 20.0, 40.0, 80.0])
    bar = Bar(lambda: next(times))
    for line in ("-- Configuring", "[25/100] a", "[50/100] b", "a warning", "[100/100] c"):
        bar.take(line)
    said = stderr.getvalue()
    if terminal:
        assert said.startswith("\r  llama.cpp    ━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  25 %, 1:00 left")
        assert said.endswith("━━━━━━ 100 %, 0:00 left\x1b[K\n")
    else:
        assert said == "  llama.cpp     50 %, 0:40 left\n  llama.cpp    100 %, 0:00 left\n"
