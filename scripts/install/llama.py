"""Install the build of llama-cpp-python that fits this machine, and prove it by a decode.

The package index carries a source distribution only, and a plain install of it is a build for
the processor alone that does not say so. So: a wheel from the project's own index where one fits,
else a build from source with chosen flags, and after each a real decode in a child process. What
was built is kept for the next time, by all that it depends on.
"""

import hashlib
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from install import cuda
from install.accelerator import Accelerator
from install.environment import (
    RETRY,
    ROOT,
    Environment,
    SetupError,
    ask,
    explain,
    find_tool,
    say,
)
from install.processor import Processor, build_flags, foreign_features, wheel_is_as_fast
from install.proof import Proof, expected_features, prove

INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
_PROJECT = Path(__file__).with_name("llama_cpp.cmake")
# Of every build from source. RPC is a second device for the tests, on loopback, on any machine
# (tests/engine/test_placement.py), and costs one step of 120.
FLAGS = ("-DGGML_RPC=ON", f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={_PROJECT.as_posix()}")
_TOML = "tomli>=2; python_version < '3.11'"  # newer Pythons read TOML themselves
# 2.2 minutes on 2 quiet cores (a Xeon, gcc 12), before small files were joined; CUDA kernels take
# about four times that.
_BUILD_CORE_MINUTES, _GPU_FACTOR = 5, 4
COMPILERS = ("c++", "g++", "clang++")
_COUNTER = re.compile(r"^\s*\[\s*(?:(\d+)/(\d+)|(\d+)%)\]")  # of ninja and of make
_BAR = 24  # characters
_LINE_SECONDS = 30  # between two lines in a log


@dataclass(frozen=True)
class Build:
    """What was installed: where it came from, why, the proof of it, what to know about it, and the
    folder where its wheel is ``kept``."""

    origin: str
    reason: str
    proof: Proof
    note: str = ""
    kept: Path | None = None


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
    """One machine's way to a build that decodes. ``tried`` collects what did not work."""

    environment: Environment
    processor: Processor
    accelerator: Accelerator
    prove: Prover = prove
    compiler: bool = field(default_factory=lambda: has_compiler())
    kept: Path = field(default_factory=lambda: kept_wheels())
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
        done = self.environment.install(
            "--no-deps", "--force-reinstall", "--only-binary=llama-cpp-python",
            f"--index-url={INDEX}/{tag}", requirement(), quick=True,
        )  # fmt: skip
        if done.returncode:
            self._note(f"wheel {tag}: its index was not reached, or has none for this machine")
            return None
        proof = self._try(frozenset())
        if self.accelerator.backend == "cuda" and proof.library:
            say(f"  {proof.library} is missing: adding NVIDIA's runtime libraries to .venv")
            cuda.add_runtime(self.environment, tag)
            proof = self._try(frozenset())
        foreign = foreign_features(proof.features, self.processor)
        if foreign and not proof.trouble:  # a decode on the GPU alone does not meet them
            proof = replace(proof, trouble=f"uses {', '.join(foreign)}, which this processor lacks")
        reason = f"the published build for {self.accelerator.backend}"
        unused = expected_features(build_flags(self.processor)) - proof.features
        note = f"it leaves {', '.join(sorted(unused))} unused: work on the processor is slower"
        return self._judge(Build(f"wheel {tag}", reason, proof, note if unused else ""))

    def _source(self) -> Build | None:
        """A build with flags chosen for this processor, plainer ones where those fail."""
        missing = self.accelerator.missing or ("" if self.compiler else "a C++ compiler")
        if missing:
            self.tried.append(f"a build from source needs {missing}")
            return None
        asked = [*FLAGS, *self.accelerator.flags]
        flags = [*asked, *build_flags(self.processor)]
        plain = [*asked, *build_flags(self.processor, plain=True)]
        build = self._build(flags, "with flags for this processor")
        # A build that drives no GPU would not drive it with plainer flags either.
        if not build and plain != flags and (not self._gpu or "SIGILL" in self.tried[-1]):
            build = self._build(plain, "with plainer flags, as the best ones failed")
        return build

    def _build(self, flags: list[str], reason: str) -> Build | None:
        """The kept wheel of these CMake flags where it decodes, else one that is built now."""
        reason = " ".join([*self.accelerator.flags, reason])
        folder = self._folder(wheel_key(flags))
        if wheel := next(folder.glob("*.whl"), None):
            if build := self._install(wheel, "a kept build", reason, flags):
                return build
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        say(f"  building llama.cpp for this machine, once: {self._patience()}")
        variables = {**build_variables(), "CMAKE_ARGS": shlex.join(flags), "FORCE_CMAKE": "1"}
        done = self.environment.build_wheel(requirement(), folder, variables, Bar().take)
        wheel = next(folder.glob("*.whl"), None)
        if done.returncode or wheel is None:
            shutil.rmtree(folder)
            self._note(f"source: {explain(done)}")
            return None
        build = self._install(wheel, "source", reason, flags)
        if build is None:
            shutil.rmtree(folder)
        return build

    def _folder(self, key: str) -> Path:
        """Where a build is kept; in the environment where the system lets nothing be kept."""
        try:
            self.kept.mkdir(parents=True, exist_ok=True)
        except OSError:
            return self.environment.path / "wheels" / key
        writable = os.access(self.kept, os.W_OK)
        return (self.kept if writable else self.environment.path / "wheels") / key

    def _install(self, wheel: Path, origin: str, reason: str, flags: list[str]) -> Build | None:
        done = self.environment.install("--no-deps", "--force-reinstall", str(wheel))
        if done.returncode:
            self._note(f"{origin}: {explain(done)}")
            return None
        proof = self._try(expected_features(flags))
        return self._judge(Build(origin, reason, proof, kept=wheel.parent))

    def _try(self, expected: frozenset[str]) -> Proof:
        """llama-cpp-python's own requirements and what the proof reads with, then the decode."""
        done = self.environment.install(requirement(), _TOML)
        if done.returncode:
            raise SetupError(f"installing failed: {explain(done)}", RETRY)
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
        cores = usable_cores()
        minutes = _BUILD_CORE_MINUTES * (_GPU_FACTOR if self._gpu else 1) / cores
        return f"about {max(1, round(minutes))} minutes on {cores} cores, then it is kept"

    def _hint(self) -> str:
        fix = self.accelerator.fix or ("" if self.compiler else compiler_fix())
        accept = "python3 scripts/setup.py --backend cpu accepts the processor alone"
        parts = [fix, accept if self._gpu else ""]
        return "; ".join(part for part in parts if part) or "read the lines above"


class Bar:
    """A build by its own counter: how far, and how long still. On one line of a terminal, else in
    a line now and then. ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = self._told = clock()
        self._draws = sys.stderr.isatty()

    def take(self, line: str) -> None:
        """Follow a line of the build's output."""
        share = progress_of(line)
        if not share:
            return
        now = self._clock()
        left = round((now - self._started) * (1 - share) / share)
        said = f"{100 * share:3.0f} %, {left // 60}:{left % 60:02} left"
        if self._draws:
            full = round(_BAR * share)
            bar = "━" * full + "╌" * (_BAR - full)
            end = "\n" if share == 1 else ""
            sys.stderr.write(f"\r  llama.cpp    {bar} {said}\x1b[K{end}")
            sys.stderr.flush()
        elif now - self._told >= _LINE_SECONDS:
            self._told = now
            say(f"  llama.cpp    {said}")


def build_variables() -> dict[str, str]:
    """What a build gets besides its flags; what a person has set stays.

    All cores, also for make, which takes one. llama.cpp's own CMake compiles through ccache where
    that is there, but pip unpacks into another folder each time, and ccache takes each for another
    source unless paths are made relative (tried: no hits without, all with it)."""
    wanted = {
        "CMAKE_BUILD_PARALLEL_LEVEL": str(usable_cores()),
        "CCACHE_BASEDIR": tempfile.gettempdir(),
        "CCACHE_NOHASHDIR": "true",
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def usable_cores() -> int:
    """Those that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def progress_of(line: str) -> float | None:
    """From 0 to 1: what a line of ninja (``[12/140]``) or of make (``[ 12%]``) says."""
    found = _COUNTER.match(line)
    if not found:
        return None
    done, total = (found[1], found[2]) if found[1] else (found[3], "100")
    return min(1.0, int(done) / max(1, int(total)))


def kept_wheels() -> Path:
    """Where builds are kept: beside what else this system's programs keep."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "gemma-edge" / "wheels"


def wheel_key(flags: Sequence[str]) -> str:
    """What a build depends on, as a name: the version, the flags with the processor's features,
    the compiler and the system."""
    own = [flag for flag in flags if _PROJECT.name not in flag]  # that path is of a clone
    parts = [requirement(), _PROJECT.read_text(encoding="utf-8"), *own, _compiler()]
    parts += [sys.platform, platform.machine()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compiler() -> str:
    """The version of the compiler that CMake takes, in its own words."""
    told = os.environ.get("CXX") or next(filter(find_tool, COMPILERS), "")
    return ask(*shlex.split(told), "--version").partition("\n")[0] if told.strip() else ""


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
    return next((fix for tool, fix in known.items() if find_tool(tool)), "install g++ or clang++")


def has_compiler() -> bool:
    """On Windows CMake finds Visual Studio by itself, so the build is simply tried."""
    if sys.platform == "win32" or os.environ.get("CXX"):
        return True
    return any(map(find_tool, COMPILERS))
