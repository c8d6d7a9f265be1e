"""No command opens a socket but for a download, nor does any process that it starts."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from gemma_edge.cli.flags import Actions
from gemma_edge.cli.main import COMMANDS as ENTRIES
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
        "XDG_RUNTIME_DIR": str(folder),
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


# Every command, without ``--offline`` and with the bundled model, each in the folder of a person.
# The hook goes on into every Python that is started, also where no `sitecustomize` is read; what is
# no Python shows in strace, and in a network without so much as a loopback.

WATCH = """
import sys
def watch(event, arguments):
    if event == "subprocess.Popen" and "-c" in arguments[1] and "python" in arguments[1][0]:
        place = arguments[1].index("-c") + 1
        if "SOURCE = " not in arguments[1][place]:
            arguments[1][place] = f"SOURCE = {SOURCE!r}; exec(SOURCE)\\n{arguments[1][place]}"
    if event == "socket.__new__" and arguments[1] == 1 or event == "socket.gethostname":
        return  # AF_UNIX, and what needs no network
    if event in ("socket.bind", "socket.connect") and arguments[0].family == 1:
        return  # an engine that stays for the next command
    if event.startswith("socket."):
        with open(%r, "a") as log:
            log.write(f"{sys.argv} {event} {arguments[1:]}\\n")
sys.addaudithook(watch)
"""
CALLS = "socket,connect,bind,sendto,sendmsg,sendmmsg"
LOCAL = re.compile(r"AF_UNIX|AF_NETLINK|\bsend|resumed|unfinished|ENOTSOCK|\+\+\+|---")
TALK = "chat --model demo"  # on a terminal
STAYS = "chat hi --model demo --max-tokens 2 --keep-alive 10m"
BILL = "INVOICE A-1\nTotal 5.50 EUR\n"
RUNS = {
    "chat": [
        "chat hi --model demo --max-tokens 2",
        "chat --model demo",  # on a terminal
        STAYS,
        "chat hi --model demo --max-tokens 2 --keep-alive 9m",  # and is found
    ],
    "sessions list": ["sessions"],
    "sessions show": ["sessions show none"],
    "sessions rm": ["sessions rm none"],
    "sessions restore": ["sessions restore none"],
    "sessions forget": ["sessions forget"],
    "describe": ["describe SHAPES --model demo --max-tokens 2"],
    "extract": [
        "extract INVOICE --schema total --model demo",
        "extract bills --schema total --model demo --out out.jsonl",
    ],
    "eval": ["eval bills --schema total --model demo"],
    "diff": ["diff out.jsonl out.jsonl"],
    "merge": ["merge nothing.jsonl"],
    "recipes list": ["recipes"],
    "recipes show": ["recipes show invoice"],
    "recipes save": ["recipes save ours invoice"],
    "recipes lint": ["recipes lint invoice"],
    "schema show": ["schema show total"],
    "schema check": ["schema check total"],
    "schema infer": ["schema infer bills/bill.gold.json"],
    "schema types": ["schema types"],
    "schema test": ["schema test tests.json"],
    "models": ["models"],
    "pull": ["pull demo", "pull e4b --offline"],
    "list": ["list"],
    "show": ["show demo"],
    "verify": ["verify"],
    "rm": ["rm demo --yes"],
    "path": ["path demo"],
    "import": ["import nothing.gguf"],
    "plan": ["plan demo", "plan 12b"],
    "bench": ["bench demo 12b --quick"],
    "ps": ["ps"],
    "stop": ["stop"],
    "hpc script": ["hpc script --cpu extract bills --schema total --model demo"],
    "hpc check": ["hpc check --cpu --scheduler pbs extract bills --schema total --model demo"],
    "doctor": ["doctor --offline"],  # it asks whether the hub answers
}
LISTENS = ["serve"]  # on this machine, which is what it is for; tests/serve looks at that
DONE = {  # what has to come to its end, so that all of its path was watched
    "extract INVOICE --schema total --model demo": 0,
    "extract bills --schema total --model demo --out out.jsonl": 0,
    "plan demo": 0, "models": 0, "doctor --offline": 0, "pull demo": 0, "show demo": 0,
    "bench demo 12b --quick": 0, "hpc script --cpu extract bills --schema total --model demo": 0,
    STAYS: 6, "stop": 0, "ps": 0,
    "chat hi --model demo --max-tokens 2 --keep-alive 9m": 6,
    "pull e4b --offline": 4, "chat hi --model demo --max-tokens 2": 6, TALK: 0,
    "describe SHAPES --model demo --max-tokens 2": 6, "recipes save ours invoice": 0,
}  # fmt: skip


def names() -> list[str]:
    """All commands and their actions, as the command line itself has them."""
    found = []
    for name, entry in ENTRIES.items():
        module, _, attribute = entry.place.partition(":")
        command = getattr(import_module(f"gemma_edge.cli.{module}"), attribute)
        actions = command.commands if isinstance(command, Actions) else {"": None}
        found += [f"{name} {action}".strip() for action in actions]
    return found


def test_no_command_is_forgotten():
    assert sorted(names()) == sorted([*RUNS, *LISTENS])


def works(*command: str) -> bool:
    return (
        bool(shutil.which(command[0]))
        and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    )


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
def test_every_command_works_without_a_network(tmp_path: Path, short: Path):
    home, log, calls = tmp_path / "home", tmp_path / "sockets.txt", tmp_path / "strace.txt"
    (home / "bills").mkdir(parents=True)
    (home / "bills" / "bill.txt").write_text(BILL, encoding="utf-8")
    (home / "bills" / "bill.gold.json").write_text('{"total": 5.5}', encoding="utf-8")
    (home / "tests.json").write_text('{"schema": {}, "tests": []}', encoding="utf-8")
    source = WATCH % str(log)
    # Each line in a process of its own and on a terminal; an empty line would be a second question.
    begin = f"SOURCE = {source!r}; exec(SOURCE)\nfrom gemma_edge.__main__ import run; run()"
    statuses = {}
    alone = ["unshare", "-rn"] if works("unshare", "-rn") else []
    prefix = [*alone]
    if works("strace", "-f", "-o", os.devnull):
        prefix += ["strace", "-f", "-qq", "-A", "-o", str(calls), "-e", f"trace={CALLS}"]
    world = {
        "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(home / "cache"), "HF_HOME": str(home / "hub"), "TERM": "dumb",
        "XDG_RUNTIME_DIR": str(short),
    }  # fmt: skip
    for line in (line for lines in RUNS.values() for line in lines):
        words = line.replace("SHAPES", str(ROOT / "examples" / "shapes.png"))
        words = words.replace("INVOICE", str(ROOT / "examples" / "invoice.pdf"))
        watched = alone if line == STAYS else prefix  # strace would wait for what stays
        argv = [*watched, sys.executable, "-c", begin, *words.split()]
        if line == TALK:
            statuses[line] = talk(argv, os.environ | world, home)
            continue
        done = subprocess.run(
            argv, env=os.environ | world, cwd=home, stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", timeout=300, check=False,
        )  # fmt: skip
        statuses[line] = done.returncode
        assert "Traceback" not in done.stderr, done.stderr
    assert {line: statuses[line] for line in DONE} == DONE
    assert not log.exists(), log.read_text()
    if calls.exists():
        found = [line for line in calls.read_text().splitlines() if not LOCAL.search(line)]
        assert not found


def talk(argv: list[str], world: dict[str, str], folder: Path) -> int:
    """A conversation at a terminal."""
    import pexpect

    talking = pexpect.spawn(
        argv[0], argv[1:], env=world, cwd=str(folder), encoding="utf-8", timeout=240
    )  # fmt: skip
    talking.expect("[›>] ")
    talking.send("hi\r")
    talking.expect("tok/s")
    talking.expect("[›>] ")
    talking.send("\x04")  # Ctrl-D
    talking.expect(pexpect.EOF)
    talking.close()
    return talking.exitstatus


def test_the_watch_does_see(tmp_path: Path):
    """A socket of this process, of one that it starts, and of one that ``Child`` starts."""
    log = tmp_path / "sockets.txt"
    source = WATCH % str(log)
    code = (
        "import socket, subprocess, sys; from contextlib import suppress;"
        "from gemma_edge.isolation import Child\n"
        "socket.socket().close()\n"
        "subprocess.run([sys.executable, '-c', 'import socket; socket.socket().close()'])\n"
        "with suppress(Exception), Child('socket:socket') as child: child.call({})\n"
    )
    begin = f"SOURCE = {source!r}; exec(SOURCE)\n{code}"
    subprocess.run([sys.executable, "-c", begin], cwd=ROOT, check=True, timeout=120)
    seen = log.read_text().splitlines()
    assert sum("socket.__new__" in line for line in seen) == 3, seen
