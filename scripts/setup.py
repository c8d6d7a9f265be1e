#!/usr/bin/env python3
"""Set gemma-edge up in ``.venv``, with the build of llama.cpp that this machine needs.

    python3 scripts/setup.py [--dev] [--backend auto|cpu|cuda|metal|rocm|vulkan]

It finds the accelerator, installs the matching llama-cpp-python (a published wheel, or a build
from source with flags chosen for this processor), proves it by a real decode, and says what it
chose and why. The second time it only looks, and needs no network. demo.py and test.py call it.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 (a person may start it with any Python)
    _LINE = "error: Python {}.{} is too old, gemma-edge needs 3.10 or newer\n"
    sys.stderr.write(_LINE.format(*sys.version_info))
    sys.exit("hint: python3.12 " + sys.argv[0] + ", or install a newer Python from python.org")

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from install.accelerator import BACKENDS, Accelerator, want
from install.environment import RETRY, ROOT, Environment, SetupError, explain, find_tool, say
from install.llama import Build, Installer, wheel_key
from install.processor import Processor, build_flags, detect_processor, render_processor

LLAMA = "llama_cpp_python"
# What must load before the stamp of an earlier set-up is believed.
_IMPORTS = (
    "import gemma_edge.cli.main, llama_cpp, llguidance, pypdfium2, PIL, jsonschema_rs, jinja2"
)
# pip compiles what it installs; of an editable package nothing, and the first run pays for it.
COMPILE = "import compileall, gemma_edge; compileall.compile_dir(gemma_edge.__path__[0], quiet=2)"


def prepare(*, dev: bool = False, backend: str | None = None) -> Environment:
    """Make ``.venv`` ready, or find it ready.

    ``backend`` None keeps what an earlier set-up was told (``--backend cpu`` stays accepted).

    Raises:
        SetupError: it cannot be made ready; nothing was settled for instead.
    """
    started = time.monotonic()
    environment = Environment(ROOT / ".venv", find_tool("uv"))
    stamp_path = environment.path / "gemma-edge-setup.json"
    stamp = read_stamp(stamp_path)
    dev = dev or bool(stamp.get("dev"))
    asked = backend or str(stamp.get("asked", "auto"))
    processor = detect_processor()
    accelerator, warning = want(asked, processor)
    if warning:
        say(f"warning: {warning}")
    environment.create()
    keys = make_keys(environment, processor, accelerator)
    same_build = stamp.get("llama_record") == environment.record_of(LLAMA) != ""
    if same_build and is_ready(stamp, keys, dev) and not environment.try_code(_IMPORTS):
        say(f"set-up  {environment.path.name} is ready: {stamp.get('llama', '')}")
        return environment
    _introduce(environment, processor, accelerator)
    stamp_path.unlink(missing_ok=True)
    kept = same_build and stamp.get("llama_key") == keys["llama_key"]
    if kept and not environment.try_code("import llama_cpp"):
        llama = str(stamp.get("llama", ""))
    else:
        installer = Installer(environment, processor, accelerator)
        llama = _describe(installer.install(), accelerator)
    stamp = {"asked": asked, "dev": dev, "llama": llama, "llama_key": keys["llama_key"],
             "llama_record": environment.record_of(LLAMA)}  # fmt: skip
    write_stamp(stamp_path, stamp)  # a build is kept also when what follows fails
    _install_project(environment, dev)
    write_stamp(stamp_path, {**stamp, **keys})
    say(f"  ready in {time.monotonic() - started:.0f} s")
    return environment


def make_keys(
    environment: Environment, processor: Processor, accelerator: Accelerator
) -> dict[str, str]:
    """What the installed things depend on: a change of the text asks for a new set-up."""
    python = (environment.path / "pyvenv.cfg").read_text(encoding="utf-8")
    flags = [*accelerator.flags, *build_flags(processor)]
    llama = [accelerator.backend, accelerator.tag, wheel_key(flags), python]
    project = [(ROOT / "pyproject.toml").read_text(encoding="utf-8"), str(ROOT), python]
    return {"llama_key": _digest(llama), "project_key": _digest(project)}


def read_stamp(path: Path) -> dict[str, object]:
    """What the last set-up left behind; empty where there was none."""
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(path: Path, stamp: Mapping[str, object]) -> None:
    """Leave behind what was installed, for the next run."""
    path.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")


def is_ready(stamp: dict[str, object], keys: dict[str, str], dev: bool) -> bool:
    """Whether the last set-up is still what is wanted; one with the test tools serves both."""
    same = all(stamp.get(name) == value for name, value in keys.items())
    return same and (bool(stamp.get("dev")) or not dev)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of set-up alone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dev", action="store_true", help="with the tools of scripts/test.py")
    add_backend(parser)
    options = parser.parse_args(arguments)
    return report(lambda: prepare(dev=options.dev, backend=options.backend))


def add_backend(parser: argparse.ArgumentParser) -> None:
    """``--backend``, the same in every script."""
    parser.add_argument(
        "--backend",
        choices=("auto", *BACKENDS),
        help="the accelerator to use; without it what the last set-up was told, or auto",
    )


def report(work: Callable[[], object]) -> int:
    """Run ``work``; a set-up that fails ends in its two lines and status 1."""
    try:
        work()
    except SetupError as error:
        say(f"error: {error.message}")
        if error.hint:
            say(f"hint: {error.hint}")
        return 1
    except KeyboardInterrupt:
        say("stopped; run it again to go on")
        return 130
    return 0


def _introduce(environment: Environment, processor: Processor, accelerator: Accelerator) -> None:
    say("set-up")
    by = "uv" if environment.uv else "pip"
    say(f"  python       {environment.python_version()}, in {environment.path.name}, by {by}")
    say(f"  processor    {render_processor(processor)}")
    say(f"  accelerator  {accelerator.backend}: {accelerator.reason}")


def _install_project(environment: Environment, dev: bool) -> None:
    say("  installing gemma-edge" + (" and its test tools" if dev else ""))
    done = environment.install("--editable", f"{ROOT}[dev]" if dev else str(ROOT))
    if done.returncode:
        raise SetupError(f"installing failed: {explain(done)}", RETRY)
    if trouble := environment.try_code(_IMPORTS):
        raise SetupError(f"gemma-edge does not load: {trouble}", "remove .venv and run it again")
    environment.try_code(COMPILE)  # where it cannot be kept, each start takes longer


def _describe(build: Build, accelerator: Accelerator) -> str:
    proof = build.proof
    say(f"  llama.cpp    {proof.version} from {build.origin}: {build.reason}")
    say(f"  proved       {proof.tokens} tokens decoded in {proof.seconds:.2f} s")
    if build.kept is not None:
        say(f"  kept in      {build.kept}")
    if build.note:
        say(f"  note         {build.note}")
    return f"llama-cpp-python {proof.version} for {accelerator.backend}, from {build.origin}"


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
