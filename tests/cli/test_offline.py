"""``--offline``: no command opens a socket, nor does any process that it starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Online
from tests.store.test_processes import NO_SOCKETS

ROOT = Path(__file__).parents[2]
RUN_ALL = """
import json, sys
from gemma_edge.cli.context import Context
from gemma_edge.cli.main import main
statuses = {}
for line in json.loads(sys.argv[1]):
    statuses[line] = main(line.split(), Context.from_process())
sys.stdout.write("\\n" + json.dumps(statuses))
"""
COMMANDS = {
    "doctor": 0,  # decodes with the bundled model
    "models": 0,
    "list": 0,
    "show demo": 0,
    "show e4b": 0,
    "show 12b": 4,
    "pull e4b": 0,
    "pull e4b --drafter": 4,
    "pull hf:owner/repo/file.gguf": 4,
    "verify": 0,
    "path": 0,
    "path e4b": 0,
    "path 12b": 4,
    "chat hi --model 12b --yes": 4,
    "plan": 0,
    "plan 12b": 0,  # from the catalogue
    "plan 12b --headers": 4,
    "chat hi --max-tokens 1 --model demo": 6,  # cut short
    "chat hi --max-tokens 1 --quant q8": 6,  # none of these is here: by the bundled model
    "describe examples/shapes.png --model 12b --yes": 4,
    "extract examples/invoice.pdf --schema total --model 12b --yes": 4,  # the PDF is read
    "rm e4b --yes": 0,
}


def run_all(online: Online, folder: Path, argv: list[str], **more: str) -> tuple[dict, str]:
    (folder / "ban").mkdir(exist_ok=True)
    (folder / "ban" / "sitecustomize.py").write_text(NO_SOCKETS, encoding="utf-8")
    variables = {
        "PYTHONPATH": os.pathsep.join([str(folder / "ban"), str(ROOT)]),
        "HF_ENDPOINT": online.hub.endpoint, "HF_HUB_CACHE": str(online.cache),
        "XDG_DATA_HOME": str(online.shell.home / ".local" / "share"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(argv)], env=os.environ | variables | more,
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("\n")[2]), done.stderr


def test_no_command_opens_a_socket(online: Online, tmp_path: Path):
    assert online.run("pull", "e4b").status == 0
    asked = len(online.hub.requests)
    for flags, more in ((" --offline", {}), ("", {"GEMMA_EDGE_OFFLINE": "1"})):
        argv = [f"{line}{flags}" for line in COMMANDS]
        if not flags:  # the switch is the same; what costs time was done
            argv = [line for line in argv if line.startswith(("pull hf", "show 12b"))]
        statuses, said = run_all(online, tmp_path, argv, **more)
        assert statuses == {line: COMMANDS[line.removesuffix(flags)] for line in argv}, said
        assert "SOCKET" not in said
    assert len(online.hub.requests) == asked


def test_the_ban_does_ban(online: Online, tmp_path: Path):
    """Without ``--offline`` the same command is caught; and what is there asks nobody anyway."""
    statuses, said = run_all(online, tmp_path, ["pull hf:owner/repo/file.gguf", "chat --help"])
    assert statuses["pull hf:owner/repo/file.gguf"] != 0
    assert statuses["chat --help"] == 0
    assert "SOCKET" in said
