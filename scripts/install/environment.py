"""The project's own environment, ``.venv`` in the root, and what installs into it: uv where it is
there, which takes a tenth of the time, else pip."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RETRY = "check the network, then run it again"


class SetupError(Exception):
    """Set-up cannot go on: the message says why, the hint what to do. One exit status, 1."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def say(text: str = "") -> None:
    """One line for a person. Always stderr: stdout belongs to the data of what runs next."""
    print(text, file=sys.stderr, flush=True)


if str(ROOT) not in sys.path:  # nothing is installed yet
    sys.path.append(str(ROOT))

from gemma_edge.trust import find_program, without_working_folder  # noqa: E402


def find_tool(name: str) -> str | None:
    """The absolute path of a program, never of one in the working folder; None where none is."""
    return name if os.path.isabs(name) else find_program(name, os.environ)


def ask(name: str, *arguments: str) -> str:
    """What a program prints, "" where it is missing, fails to start or hangs."""
    program = find_tool(name)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


class Environment:
    """A virtual environment at ``path`` (made by ``create``). ``uv`` is that program, None for
    pip alone."""

    def __init__(self, path: Path, uv: str | None = None) -> None:
        self.path, self.uv = path, uv
        scripts = path / ("Scripts" if sys.platform == "win32" else "bin")
        suffix = ".exe" if sys.platform == "win32" else ""
        self.scripts = scripts
        self.python = scripts / f"python{suffix}"

    def command(self, name: str) -> Path:
        """A program that pip installed here."""
        return self.scripts / (f"{name}.exe" if sys.platform == "win32" else name)

    def create(self) -> None:
        """Make it where there is none, or where its Python is gone.

        Raises:
            SetupError: this Python cannot make environments.
        """
        if not self.try_code("" if self.uv else "import pip"):
            return
        if self.path.exists():
            shutil.rmtree(self.path)
        if self.uv:
            made = self._run([self.uv, "venv", "--python", sys.executable, str(self.path)])
            if not made.returncode:
                return
            shutil.rmtree(self.path, ignore_errors=True)
        done = self._run([sys.executable, "-m", "venv", str(self.path)])
        if done.returncode:
            shutil.rmtree(self.path, ignore_errors=True)
            why = "it has no ensurepip" if "ensurepip" in done.stdout + done.stderr else _last(done)
            raise SetupError(f"{sys.executable} cannot make {self.path.name}: {why}", _venv_fix())

    def install(self, *arguments: str, quick: bool = False) -> subprocess.CompletedProcess[str]:
        """``pip install``, quietly; the caller reads the result. What uv cannot do (an index that
        only pip's settings name) pip may. ``quick`` gives an index that may not be there ten
        seconds, once."""
        if self.uv:
            done = self._run(
                [self.uv, "pip", "install", "--python", str(self.python), *arguments],
                {"UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "1"} if quick else None,
            )
            if quick or not done.returncode or self._lacks_pip():
                return done
        patience = ["--timeout=10", "--retries=1"] if quick else []
        return self._run(
            [str(self.python), "-m", "pip", "install", *arguments, *patience,
             "--disable-pip-version-check"]
        )  # fmt: skip

    def _lacks_pip(self) -> bool:
        """Whether pip cannot be had in an environment that uv made without it."""
        if not self.try_code("import pip"):
            return False
        self._run([str(self.python), "-m", "ensurepip"])
        if self.uv and self.try_code("import pip"):  # a system's Python may have no ensurepip
            self._run([self.uv, "pip", "install", "--python", str(self.python), "pip"])
        return bool(self.try_code("import pip"))

    def build_wheel(
        self, wanted: str, folder: Path, variables: Mapping[str, str], watch: Callable[[str], None]
    ) -> subprocess.CompletedProcess[str]:
        """Build a wheel from source into a folder; ``watch`` gets each line of the build. What pip
        kept of an earlier build is not used: it is kept by source and not by flags."""
        self._lacks_pip()  # uv builds no wheels of other projects
        command = [
            str(self.python), "-m", "pip", "wheel", "--verbose", "--no-deps", "--no-cache-dir",
            "--no-binary=llama-cpp-python", "--wheel-dir", str(folder),
            "--disable-pip-version-check", "--config-settings=build-dir=build", wanted,
        ]  # fmt: skip
        lines: list[str] = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env={**without_working_folder(os.environ), **variables}, cwd=ROOT,
        ) as running:  # fmt: skip
            assert running.stdout is not None
            for line in running.stdout:
                lines.append(line)
                watch(line)
        return subprocess.CompletedProcess(command, running.returncode, "".join(lines), "")

    def try_code(self, code: str) -> str:
        """Run a line of Python here: "" when it ran, else the last line of what went wrong."""
        try:
            done = self._run([str(self.python), "-c", code])
        except OSError as error:  # not there, or of another system
            return f"{self.python}: {error.strerror}"
        return _last(done) if done.returncode else ""

    def python_version(self) -> str:
        """Of the Python in it, which need not be the one that runs this script."""
        text = (self.path / "pyvenv.cfg").read_text(encoding="utf-8")
        found = re.search(r"^version(?:_info)?\s*=\s*(\S+)", text, re.MULTILINE)
        return found[1] if found else "unknown"

    def site_packages(self) -> Path:
        """Where libraries are installed."""
        code = "import sysconfig; print(sysconfig.get_path('platlib'))"
        return Path(self._run([str(self.python), "-c", code]).stdout.strip())

    def record_of(self, package: str) -> str:
        """A digest of what was installed of a package, "" where it is not: whoever installs it
        again, with other flags, leaves another."""
        record = f"site-packages/{package}-*.dist-info/RECORD"
        for folder in ("Lib", "lib/python*"):
            for path in self.path.glob(f"{folder}/{record}"):
                return hashlib.sha256(path.read_bytes()).hexdigest()
        return ""

    @staticmethod
    def _run(
        command: list[str], variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**without_working_folder(os.environ), **(variables or {})}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, errors="replace",
            cwd=ROOT,  # of the folder where a person stands no pip/ is run, and no uv.toml read
        )  # fmt: skip


def explain(done: subprocess.CompletedProcess[str]) -> str:
    """The line of pip's output that says what went wrong."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no output"])[-1][:300]


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return (lines or ["no output"])[-1][:200]


def _venv_fix() -> str:
    if sys.platform == "linux" and find_tool("apt"):
        return f"sudo apt install python{sys.version_info.major}.{sys.version_info.minor}-venv"
    return f"install Python {platform.python_version()} from python.org, with venv and pip"
