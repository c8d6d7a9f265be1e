"""Install the build of llama-cpp-python that fits this machine, and prove it by a decode.

The package index carries a source distribution only, and a plain install of it is a build for
the processor alone that does not say so. So: a wheel from the project's own index where one fits,
else a build from source with chosen flags, and after each a real decode in a child process.
"""

import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from typing import Protocol

from install import cuda
from install.accelerator import Accelerator
from install.environment import ROOT, Environment, SetupError, explain, say
from install.processor import Processor, build_flags, wheel_is_as_fast
from install.proof import Proof, expected_features, prove

INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
# A second device for the tests, on loopback, on any machine (tests/engine/test_placement.py).
RPC_FLAG = "-DGGML_RPC=ON"
# 7.5 minutes on 2 cores (a Xeon, gcc 12); CUDA kernels take about four times that.
_BUILD_CORE_MINUTES, _GPU_FACTOR = 15, 4


@dataclass(frozen=True)
class Build:
    """What was installed: where it came from, why, the proof of it, and what to know about it."""

    origin: str
    reason: str
    proof: Proof
    note: str = ""


def requirement() -> str:
    """The version range of llama-cpp-python, from pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'"(llama-cpp-python[^"]*)"', text)
    if not found:
        raise SetupError("pyproject.toml names no llama-cpp-python", "clone again")
    return found[1]


class Prover(Protocol):
    """``proof.prove``, or what stands in for it."""

    def __call__(self, environment: Environment, expected: frozenset[str], *, gpu: bool) -> Proof:
        """Decode and judge."""


@dataclass
class Installer:
    """One machine's way to a build that decodes. ``tried`` collects what did not work; with
    ``rpc`` a build from source has the RPC backend too (a published wheel has not)."""

    environment: Environment
    processor: Processor
    accelerator: Accelerator
    prove: Prover = prove
    compiler: bool = field(default_factory=lambda: has_compiler())
    rpc: bool = False
    tried: list[str] = field(default_factory=list)

    def install(self) -> Build:
        """Try what fits, best first, until one decodes.

        Raises:
            SetupError: none does; the message lists what was tried.
        """
        fast = self._gpu or wheel_is_as_fast(self.processor)
        build = self._wheel() if fast else None
        build = build or self._source()
        if not build and not fast and self.accelerator.tag:
            say(f"  {self.tried[-1]}: trying the published wheel, slower on this processor")
            build = self._wheel()
        if build:
            return build
        listed = "\n  ".join(self.tried)
        what = f"no build of llama-cpp-python works here for {self.accelerator.backend}"
        raise SetupError(f"{what}\n  {listed}", self._hint())

    @property
    def _gpu(self) -> bool:
        return self.accelerator.backend != "cpu"

    def _wheel(self) -> Build | None:
        """The published wheel of this accelerator, where there is one that decodes here."""
        tag = self.accelerator.tag
        if not tag:
            self.tried.append(f"no wheel is published for {self.accelerator.reason}")
            return None
        done = self.environment.pip(
            "install", "--no-deps", "--force-reinstall", "--only-binary=llama-cpp-python",
            f"--index-url={INDEX}/{tag}", "--timeout=10", "--retries=1", requirement(),
        )  # fmt: skip
        if done.returncode:
            self._note(f"wheel {tag}: its index was not reached, or has none for this machine")
            return None
        proof = self._try(frozenset())
        if self.accelerator.backend == "cuda" and proof.library:
            say(f"  {proof.library} is missing: adding NVIDIA's runtime libraries to .venv")
            cuda.add_runtime(self.environment, tag)
            proof = self._try(frozenset())
        reason = f"the published build for {self.accelerator.backend}"
        unused = expected_features(build_flags(self.processor)) - proof.features
        note = f"it leaves {', '.join(sorted(unused))} unused: work on the processor is slower"
        return self._judge(Build(f"wheel {tag}", reason, proof, note if unused else ""))

    def _source(self) -> Build | None:
        """A build with flags chosen for this processor, plainer ones where those fail.

        pip keeps built wheels by source and not by flags, so one that was built elsewhere may come
        back: it is welcome if it decodes and uses what this processor has, else thrown out.
        """
        missing = self.accelerator.missing or ("" if self.compiler else "a C++ compiler")
        if missing:
            self.tried.append(f"a build from source needs {missing}")
            return None
        asked = [*self.accelerator.flags, *([RPC_FLAG] if self.rpc else [])]
        flags = [*asked, *build_flags(self.processor)]
        plain = [*asked, *build_flags(self.processor, plain=True)]
        build, kept = self._build(flags, "with flags for this processor")
        if kept and build and self.rpc and not build.proof.rpc:
            self._note(f"{build.origin}: it has no RPC backend, which the tests use")
            build = None
        if not build and kept:
            build, _ = self._build(flags, "built again, with flags for this processor", anew=True)
        # A build that drives no GPU would not drive it with plainer flags either.
        if not build and plain != flags and (not self._gpu or "SIGILL" in self.tried[-1]):
            build, _ = self._build(plain, "with plainer flags, as the best ones failed", anew=True)
        return build

    def _build(
        self, flags: list[str], reason: str, *, anew: bool = False
    ) -> tuple[Build | None, bool]:
        """Build with these CMake flags; the second value says that pip had a wheel already."""
        say(f"  building llama.cpp for this machine: {self._patience()}")
        if anew:
            self.environment.pip("cache", "remove", "llama_cpp_python")
        done = self.environment.pip(
            "install", "--no-deps", "--force-reinstall", requirement(),
            *(["--no-binary=llama-cpp-python"] if anew else []),
            variables={"CMAKE_ARGS": " ".join(flags), "FORCE_CMAKE": "1"},
        )  # fmt: skip
        kept = "Building wheel for llama" not in done.stdout
        if done.returncode:
            self._note(f"source: {explain(done)}")
            return None, False
        origin = "source, a build that pip had" if kept else "source"
        reason = " ".join([*self.accelerator.flags, reason])
        return self._judge(Build(origin, reason, self._try(expected_features(flags)))), kept

    def _try(self, expected: frozenset[str]) -> Proof:
        """llama-cpp-python's own requirements, from the package index, then the decode."""
        done = self.environment.pip("install", requirement())
        if done.returncode:
            raise SetupError(f"pip failed: {explain(done)}", "check the network, then run it again")
        return self.prove(self.environment, expected, gpu=self._gpu)

    def _judge(self, build: Build) -> Build | None:
        if not build.proof.trouble:
            return build
        self._note(f"{build.origin}: it {build.proof.trouble}")
        return None

    def _note(self, line: str) -> None:
        self.tried.append(line)
        say(f"  {line}")

    def _patience(self) -> str:
        cores = os.cpu_count() or 1
        minutes = _BUILD_CORE_MINUTES * (_GPU_FACTOR if self._gpu else 1) / cores
        return f"about {max(1, round(minutes))} minutes on {cores} cores, unless pip has one"

    def _hint(self) -> str:
        fix = self.accelerator.fix or ("" if self.compiler else compiler_fix())
        accept = "python3 scripts/setup.py --backend cpu accepts the processor alone"
        parts = [fix, accept if self._gpu else ""]
        return "; ".join(part for part in parts if part) or "read the lines above"


def compiler_fix() -> str:
    """The command that installs a C++ compiler on this system."""
    if sys.platform == "darwin":
        return "xcode-select --install"
    if sys.platform == "win32":
        return "winget install Microsoft.VisualStudio.2022.BuildTools, with C++ build tools"
    known = {
        "apt": "sudo apt install g++",
        "dnf": "sudo dnf install gcc-c++",
        "pacman": "sudo pacman -S gcc",
        "zypper": "sudo zypper install gcc-c++",
        "apk": "sudo apk add g++ linux-headers",
    }
    return next(
        (fix for tool, fix in known.items() if shutil.which(tool)), "install g++ or clang++"
    )


def has_compiler() -> bool:
    """On Windows CMake finds Visual Studio by itself, so the build is simply tried."""
    if sys.platform == "win32" or os.environ.get("CXX"):
        return True
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))
