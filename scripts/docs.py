#!/usr/bin/env python3
"""Make the generated parts of README.md and docs/ again, or check that they are up to date.

    python scripts/docs.py [--check] [FILE...]

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. The names in ``PARTS``
are made from the code; ``$ gemma-edge ...`` is a transcript: the command is run on the bundled
model; ``python examples/FILE.py`` shows a program and what it prints. A check overlooks timings and
the device.
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

from gemma_edge import __version__, catalog
from gemma_edge.cli.chat_commands import help_rows
from gemma_edge.cli.main import COMMANDS, FIRST, group_of, load_command
from gemma_edge.errors import ExitStatus
from gemma_edge.planning.memory import layer_bytes
from gemma_edge.planning.model import parse_shape, synthesize
from gemma_edge.planning.plan import Placement

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
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
    """Write the pages, or with ``--check`` say what is stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; 1 if anything is stale"
    )
    parser.add_argument("pages", nargs="*", type=Path, metavar="FILE", help="only these pages")
    options = parser.parse_args(arguments)
    stale = 0
    for page in options.pages or PAGES:
        before = page.read_text(encoding="utf-8")
        after, names = renew(before)
        if not options.check:
            page.write_text(after, encoding="utf-8", newline="\n")
        for name in names:
            print(
                f"{page.name}: {'stale' if options.check else 'changed'}: {name}", file=sys.stderr
            )
        stale += len(names)
    released = changelog_version(CHANGELOG.read_text(encoding="utf-8"))
    if released != __version__:
        print(f"CHANGELOG.md: newest is {released}, the package is {__version__}", file=sys.stderr)
    return 1 if options.check and stale or released != __version__ else 0


def renew(text: str) -> tuple[str, list[str]]:
    """A page with its parts made again, and the names of those that differ."""
    stale: list[str] = []

    def remake(part: re.Match[str]) -> str:
        head, name, body, tail = part.groups()
        made = make(name)
        if mask(made) != mask(body):
            stale.append(name)
        return f"{head}{made}{tail}"

    return PART.sub(remake, text), stale


def make(name: str) -> str:
    """The text of one part, with its last newline."""
    if name.startswith("$ "):
        return transcript(name.removeprefix("$ "))
    if name.startswith("python "):
        return program(name.removeprefix("python "))
    return PARTS[name]()


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
    """Each command with its first lines, its examples and its flags; not the help pages
    themselves, whose layout belongs to the version of Typer that is installed."""
    pages = []
    shared: dict[str, dict[str, str]] = {}  # the flags of each group, told once
    for name in COMMANDS:
        command = load_command(name)
        actions = getattr(command, "commands", {})
        pages.append(page(name, command, {} if actions else shared))
        pages += [page(f"{name} {each}", action, shared) for each, action in actions.items()]
    pages += [f"**{group}**\n\n```text{flag_table(rows)}```\n" for group, rows in shared.items()]
    return "\n".join(pages)


def page(name: str, command: Any, shared: dict[str, dict[str, str]]) -> str:
    """One command; flags of a group go into ``shared``."""
    first, _, examples = (command.help or "").partition("\b\n")
    own: dict[str, str] = {}
    groups: dict[str, None] = {}
    for each in command.params:
        group = group_of(each)
        told = own if group in FIRST else shared.setdefault(group, {})
        told[flags(each)] = each.help
        groups |= {} if group in FIRST else {group: None}
    also = "With the flags of " + ", ".join(f"*{group}*" for group in groups) + "."
    told_first = " ".join(first.split())
    body = f"{inspect.cleandoc(examples)}\n{flag_table(own)}".strip("\n")
    return (
        f"**`gemma-edge {name}`**: {told_first}\n\n"
        + (f"```text\n{body}\n```\n\n" if body else "")
        + f"{also}\n"
    )


def chat() -> str:
    """What can be typed in a conversation: its commands and its keys."""
    return f"```text{flag_table(dict(help_rows()))}```\n"


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


def packages() -> str:
    """Every package and every module beside them, with the first sentence of its docstring."""
    rows = []
    for path in sorted((ROOT / "gemma_edge").iterdir()):
        source = path / "__init__.py" if path.is_dir() else path
        if path.name.startswith("__") or source.suffix != ".py" or not source.exists():
            continue
        name = f"{path.name}/" if path.is_dir() else path.name
        rows.append(f"| `{name}` | {sentence(source)} |\n")
    return "| in `gemma_edge/` | |\n|-|-|\n" + "".join(rows)


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


def dimensions() -> str:
    """The sizes of the catalogue, as their headers have them."""
    table = "| | layers | width | heads | KV heads, window / global | feed forward | window |"
    table += " global layers | layers without KV | context |\n" + 10 * "|-" + "|\n"
    for size in catalog.sizes():
        facts = size.dimensions
        forward = f"{facts.feed_forward:,}"
        if facts.feed_forward_shared:
            forward += f", {facts.feed_forward_shared:,} without KV"
        if facts.experts:
            forward += f" and {facts.experts_used} of {facts.experts} experts of"
            forward += f" {facts.expert_feed_forward:,}"
        cells = (
            size.title.removeprefix("Gemma 4 "), size.layers, f"{size.width:,}", facts.heads,
            f"{facts.kv_heads_window} / {facts.kv_heads_global}", forward,
            f"{facts.window_tokens:,}", f"every {facts.global_every}th",
            facts.shared_kv_layers or "", f"{size.context_tokens:,}",
        )  # fmt: skip
        table += "| " + " | ".join(map(str, cells)) + " |\n"
    return table


def cache() -> str:
    """The KV cache of every size by context, in MiB, as a plan counts it."""
    contexts = [1 << power for power in range(12, 19)]
    table = "| context | " + " | ".join(f"{each >> 10}k" for each in contexts) + " |\n"
    table += (len(contexts) + 1) * "|-" + "|\n"
    for size in catalog.sizes():
        shape = parse_shape(synthesize(size, size.default), exact=False)
        cells = [size.title.removeprefix("Gemma 4 ")]
        for context in contexts:
            placed = Placement(context_tokens=context, batch_tokens=512)
            taken = sum(layer_bytes(shape, each, placed) for each in shape.layers)
            cells.append(f"{taken >> 20:,}" if context <= size.context_tokens else "")
        table += "| " + " | ".join(cells) + " |\n"
    return table


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


def program(path: str) -> str:
    """A Python program of ours, and all that it prints."""
    source = (ROOT / path).read_text(encoding="utf-8")
    return f"```python\n{source}```\n\n```text\n$ python {path}\n{run_python([path])}```\n"


def run(words: list[str]) -> str:
    """What ``gemma-edge`` prints."""
    return run_python(["-m", "gemma_edge", *words])


def run_python(words: list[str]) -> str:
    """What Python prints in a process of its own, as wide as the pages, and without the models and
    the measured speeds of this machine."""
    variables = os.environ | {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    with tempfile.TemporaryDirectory() as nothing:
        folders = ("HF_HUB_CACHE", "XDG_DATA_HOME", "GEMMA_EDGE_MODELS_DIR")
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=variables | dict.fromkeys(folders, nothing),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        return done.stdout


def walk() -> str:
    """The functions from ``main`` to llama.cpp."""
    return f"```text\n{run_python(['scripts/walk.py'])}```\n"


PARTS = {
    "commands": commands, "chat": chat, "statuses": statuses, "packages": packages, "files": files,
    "dimensions": dimensions, "cache": cache, "walk": walk,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
