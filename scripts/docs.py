#!/usr/bin/env python3
"""Make the generated parts of README.md again, or check that they are up to date.

    python scripts/docs.py [--check]

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. ``commands``,
``chat``, ``statuses`` and ``files`` are made from the code; ``$ gemma-edge ...`` is a
transcript: the command is run on the bundled model; a check overlooks timings and the device.
"""

import argparse
import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from gemma_edge import __version__
from gemma_edge.cli.chat.command import help_rows
from gemma_edge.cli.chat.table import COMMANDS, KEYS
from gemma_edge.cli.main import build_app
from gemma_edge.cli.pages import FIRST, group_of
from gemma_edge.errors import ExitStatus

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
PART = re.compile(r"(<!-- generated: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
WIDTH = 80

# What another machine, or another minute, may say differently.
MASKS = (
    (re.compile(r"\d+(\.\d+)? (tok/s|s)\b"), r"N \2"),
    (re.compile(r"on [^:\n]+: (\w+ context), [\d.]+ of [\d.]+ GiB"), r"on DEVICE: \1"),
    (re.compile(r"\d+ threads?: .*"), "N threads"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the README, or with ``--check`` say what is stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; 1 if anything is stale"
    )
    options = parser.parse_args(arguments)
    before = README.read_text(encoding="utf-8")
    stale: list[str] = []

    def renew(part: re.Match[str]) -> str:
        head, name, body, tail = part.groups()
        made = make(name)
        if mask(made) != mask(body):
            stale.append(name)
        return f"{head}{made}{tail}"

    after = PART.sub(renew, before)
    if not options.check:
        README.write_text(after, encoding="utf-8", newline="\n")
    for name in stale:
        print(f"README.md: {'stale' if options.check else 'changed'}: {name}", file=sys.stderr)
    released = changelog_version(CHANGELOG.read_text(encoding="utf-8"))
    if released != __version__:
        print(f"CHANGELOG.md: newest is {released}, the package is {__version__}", file=sys.stderr)
    return 1 if options.check and stale or released != __version__ else 0


def make(name: str) -> str:
    """The text of one part, with its last newline."""
    if name.startswith("$ "):
        return transcript(name.removeprefix("$ "))
    parts = {"commands": commands, "chat": chat, "statuses": statuses, "files": files}
    return parts[name]()


def mask(text: str) -> str:
    """The text without what may differ from run to run."""
    for pattern, stand_in in MASKS:
        text = pattern.sub(stand_in, text)
    return text


def changelog_version(text: str) -> str:
    """The newest version of a changelog, "" where there is none."""
    found = re.search(r"^## \[(\d[^\]]*)\]", text, re.MULTILINE)
    return found.group(1) if found else ""


def commands() -> str:
    """Each command with its first line, its examples and its flags; not the help pages
    themselves, whose layout belongs to the version of Typer that is installed."""
    pages = []
    shared: dict[str, dict[str, str]] = {}  # the flags of each group, told once
    for name, command in typer.main.get_command(build_app()).commands.items():  # type: ignore[attr-defined]
        first, _, examples = (command.callback.__doc__ or "").partition("\b\n")
        own: dict[str, str] = {}
        groups: dict[str, None] = {}
        for each in command.params:
            group = group_of(each)
            told = own if group in FIRST else shared.setdefault(group, {})
            told[flags(each)] = each.help
            groups |= {} if group in FIRST else {group: None}
        also = "With the flags of " + ", ".join(f"*{group}*" for group in groups) + "."
        pages.append(
            f"**`gemma-edge {name}`**: {' '.join(first.split())}\n\n"
            f"```text\n{inspect.cleandoc(examples)}\n{flag_table(own)}```\n\n{also}\n"
        )
    pages += [f"**{group}**\n\n```text{flag_table(rows)}```\n" for group, rows in shared.items()]
    return "\n".join(pages)


def chat() -> str:
    """What can be typed in a conversation: its commands and its keys."""
    return f"```text{flag_table(dict([*help_rows(COMMANDS), *KEYS]))}```\n"


def flag_table(rows: Mapping[str, str]) -> str:
    """Flags and what they do, in two columns, a line apart from what stands before."""
    width = max(map(len, rows), default=0)
    lines = "".join(f"{left:{width}}  {right}\n" for left, right in rows.items())
    return f"\n{lines}" if rows else ""


def flags(each: Any) -> str:
    """How a flag or an argument is written: ``-p, --prompt TEXT``."""
    names = [name for name in [*each.opts, *each.secondary_opts] if name.startswith("-")]
    value = "" if getattr(each, "is_flag", False) else each.metavar or each.name.upper()
    return " ".join([", ".join(sorted(names, key=len)), value]).strip()


def statuses() -> str:
    """The exit statuses as a table."""
    rows = "".join(f"| {status.value} | {status.meaning} |\n" for status in ExitStatus)
    return f"| status | meaning |\n|-|-|\n{rows}"


def files() -> str:
    """Every module with the first sentence of its docstring, folder by folder."""
    sources = [*ROOT.glob("gemma_edge/**/*.py"), *ROOT.glob("scripts/*.py")]
    sources += [*ROOT.glob("scripts/*/__init__.py"), *ROOT.glob("models/*.toml")]
    lines = []
    for folder in sorted({path.parent for path in sources}):
        inside = sorted(path for path in sources if path.parent == folder)
        lines.append(f"{folder.relative_to(ROOT).as_posix()}/")
        lines += [f"  {path.name:20} {says}" for path in inside if (says := sentence(path))]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def sentence(path: Path) -> str:
    """What a file says about itself, "" if nothing."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        return text.partition("\n")[0].removeprefix("# ")
    first = " ".join((ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", first)[0]


def transcript(command: str) -> str:
    """A command line and all that it prints, in the order in which it comes."""
    words = shlex.split(command)
    return f"```text\n$ {command}\n{run(words[1:])}```\n"


def run(words: list[str]) -> str:
    """``gemma-edge`` in a process of its own, as wide as the README, and without the models and
    the measured speeds of this machine."""
    variables = os.environ | {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    with tempfile.TemporaryDirectory() as nothing:
        folders = ("HF_HUB_CACHE", "XDG_DATA_HOME", "GEMMA_EDGE_MODELS_DIR")
        return _run(words, variables | dict.fromkeys(folders, nothing))


def _run(words: list[str], variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gemma_edge", *words],
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
