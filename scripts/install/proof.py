"""Reading the proof: does this build of llama-cpp-python decode here, with what it should use?"""

import json
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from install.environment import ROOT, Environment, SetupError

MODEL = ROOT / "models" / "demo" / "gemma-4-demo-Q8_0.gguf"
_PROVE = Path(__file__).with_name("prove.py")
# Windows' STATUS_ILLEGAL_INSTRUCTION as an exit status.
_WINDOWS_ILLEGAL = 0xC000001D
# A decode of 56 tokens of the bundled model takes under a second, the proof of a GPU some more; a
# first CUDA start compiles for minutes.
_LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Proof:
    """``trouble`` is "" when all is well, else a sentence; ``library`` is one that is missing."""

    trouble: str
    version: str = ""
    tokens: int = 0
    seconds: float = 0.0
    library: str = ""
    features: frozenset[str] = frozenset()


def prove(environment: Environment, expected: frozenset[str], *, gpu: bool) -> Proof:
    """Decode in a child process and judge what came back.

    ``expected`` are llama.cpp's feature names that the build must have ("AVX2"); empty for a wheel.
    """
    if not MODEL.is_file():
        where = MODEL.relative_to(ROOT)
        raise SetupError(f"{where} is missing, so no build can be tried", "clone again")
    command = [str(environment.python), str(_PROVE), str(MODEL)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace",
            timeout=_LIMIT_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Proof(f"did not decode within {_LIMIT_SECONDS} s")
    return parse_proof(done.returncode, done.stdout, done.stderr, expected, gpu=gpu)


def parse_proof(
    status: int, output: str, errors: str, expected: frozenset[str], *, gpu: bool
) -> Proof:
    """Judge the child's exit status and words."""
    if status:
        return _parse_death(status, errors)
    report = json.loads(output.splitlines()[-1])
    features = parse_features(report["features"])
    trouble = ""
    if gpu and not report["gpus"]:
        trouble = "drives no GPU"
    elif report["wrong"]:
        trouble = f"does not compute as the processor does: {report['wrong']}"
    elif "AMX_INT8" in features:
        trouble = "uses AMX, which a kernel may refuse"
    elif expected - features:
        trouble = f"does not use {', '.join(sorted(expected - features))}, which this processor has"
    return Proof(
        trouble, report["version"], report["tokens"], report["seconds"],
        features=features,
    )  # fmt: skip


def parse_features(text: str) -> frozenset[str]:
    """llama.cpp's system info, ``CPU : AVX2 = 1 | FMA = 1 |``, to the names that are 1."""
    return frozenset(re.findall(r"(\w+) = 1\b", text))


def expected_features(flags: list[str]) -> frozenset[str]:
    """The feature names that a build with these CMake flags must report.

    FMA, F16C and BMI2 come with AVX2, and some compilers have no macro that would show them.
    """
    return frozenset(re.findall(r"-DGGML_(AVX\w*)=ON", " ".join(flags)))


def _parse_death(status: int, errors: str) -> Proof:
    if status in (-signal.SIGILL, _WINDOWS_ILLEGAL, _WINDOWS_ILLEGAL - (1 << 32)):
        return Proof("was stopped by an instruction that this machine refuses (SIGILL)")
    if status < 0:
        return Proof(f"was stopped by signal {-status}")
    missing = re.search(r"(lib[\w+-]+\.so[\w.]*): cannot open shared object", errors)
    if missing:
        return Proof(f"needs {missing[1]}, which is missing", library=missing[1])
    windows = re.search(r"Could not find module '(.*?)'", errors)
    if windows:
        return Proof("needs a DLL that is missing", library=windows[1])
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return Proof(f"failed: {(lines or ['no word'])[-1][:200]}")
