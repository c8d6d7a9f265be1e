"""A shell for tests: a command line goes in, whole streams and a status come out."""

import io
import json
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gemma_edge import catalog
from gemma_edge.catalog import CatalogFile, Quant
from gemma_edge.cli.context import Context
from gemma_edge.cli.main import main
from gemma_edge.engine.protocol import Engine, Event, Request
from gemma_edge.errors import ExitStatus
from gemma_edge.hardware.machine import Build, Cpu, Device, Hardware, Memory
from gemma_edge.planning.memory import quick_measure
from gemma_edge.planning.plan import Plan
from tests.conftest import render_gguf
from tests.scripted import ScriptedEngine
from tests.store.hub import Hub

SHAPES = str(Path(__file__).parents[2] / "examples" / "shapes.png")
TEXT_MODEL = {
    "general.architecture": "gemma4",
    "gemma4.context_length": 131072,
    "gemma4.embedding_length": 128,
}
PROJECTOR = {
    "general.architecture": "clip",
    "general.type": "mmproj",
    "clip.has_vision_encoder": True,
    "clip.vision.projection_dim": 128,
}
LAPTOP = Hardware(
    system="linux",
    cpu=Cpu(2, "2 physical cores", name="Core i5-6200U"),
    memory=Memory(8 << 30, "8.0 GiB are available", total_bytes=8 << 30),
    build=Build(version="0.3.36"),
)
GAMER = replace(
    LAPTOP,
    memory=Memory(14 << 30, "14.0 GiB are available", total_bytes=16 << 30),
    build=Build(version="0.3.36", backends=("cuda", "cpu")),
    devices=(
        Device(
            name="CUDA0", title="RTX 4060 Laptop", backend="cuda", integrated=False,
            total_bytes=8 << 30, free_bytes=7782 << 20, driver="580.65",
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """What came out."""

    stdout: str
    stderr: str
    status: ExitStatus


@dataclass
class Shell:
    """Runs ``gemma-edge`` in memory; ``engine`` is what every load gives."""

    model: Path
    projector: Path
    home: Path
    engine: Engine = field(default_factory=ScriptedEngine)
    plans: list[Plan] = field(default_factory=list)
    hardware: Hardware = LAPTOP

    def script(self, answers: Iterable[str | tuple[str, str]], **more) -> ScriptedEngine:
        self.engine = ScriptedEngine(answers, **more)
        return self.engine

    def run(
        self,
        *argv: str,
        stdin: bytes | str = b"",
        terminal: bool = False,
        model: bool = True,
        encoding: str = "utf-8",
        **context,
    ) -> Ran:
        """``terminal`` makes all three streams one; ``model`` names the test's own model. What is
        scripted is said in the order of the script: one answer at a time, unless it is asked."""
        if argv[:1] in (("extract",), ("describe",), ("eval",)) and "--at-once" not in argv:
            argv = (*argv, "--at-once", "1")
        if model:
            argv = (*argv, "--model", str(self.model), "--mmproj", str(self.projector))
        data = stdin.encode() if isinstance(stdin, str) else stdin
        streams = [io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")]
        streams += [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        world = {
            "environment": {},
            "platform": "linux",
            "home": self.home,
            "load": self._load,
            "open_counter": lambda _plan: nullcontext(self.engine),
            "detect_hardware": lambda _environment: self.hardware,
            "open_measure": lambda other: nullcontext(quick_measure(other or self.hardware)),
            "busy_programs": lambda: None,
            "clock": lambda: 0.0,
        } | context
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            world.setdefault(name, stream)
            world.setdefault(f"{name}_is_terminal", terminal)
        status = main(argv, Context(**world))
        out, err = (_text(world[name]) for name in ("stdout", "stderr"))
        return Ran(out, err, status)

    def _load(self, plan: Plan) -> Engine:
        self.plans.append(plan)
        return self.engine


class Interrupting(ScriptedEngine):
    """Someone presses Ctrl-C after the first word of each answer."""

    def generate(self, request: Request) -> Iterator[Event]:
        for number, event in enumerate(super().generate(request)):
            yield event
            if number == 0:
                signal.raise_signal(signal.SIGINT)


def _text(stream) -> str:
    if not isinstance(stream, io.TextIOWrapper):
        return ""
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding)


@pytest.fixture
def shell(write_gguf, tmp_path: Path) -> Shell:
    """A shell with a model and a projector that no engine but the scripted one could load."""
    model = write_gguf("model.gguf", TEXT_MODEL | {"gemma4.block_count": 8})
    projector = write_gguf("mmproj.gguf", PROJECTOR)
    return Shell(model, projector, home=tmp_path / "home")


@pytest.fixture
def interrupting() -> type[ScriptedEngine]:
    """An engine class: Ctrl-C comes after the first word of each answer."""
    return Interrupting


@pytest.fixture
def check(shell: Shell) -> Callable[..., Ran]:
    """Runs a command line and compares all that comes out, side by side."""

    def compare(*argv: str, stdout: str = "", stderr: str = "", status: int = 0, **more) -> Ran:
        ran = shell.run(*argv, **more)
        assert (ran.stdout, ran.stderr, ran.status) == (stdout, stderr, status)
        return ran

    return compare


@pytest.fixture
def terminal(write_gguf, tmp_path: Path) -> Iterator[Callable[..., object]]:
    """Starts ``slow_chat.py`` with flags, on a terminal; what it keeps is in ``tmp_path/data``."""
    from tests.cli.terminals import Terminal  # POSIX alone has pseudo-terminals

    model = write_gguf("model.gguf", TEXT_MODEL | {"gemma4.block_count": 8})
    program = str(Path(__file__).parent / "slow_chat.py")
    opened = []

    def start(*flags: str, answers: list[object] | None = None, **more: object) -> Terminal:
        world: dict[str, object] = {"XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)}
        if answers is not None:
            world["SLOW_ANSWERS"] = json.dumps(answers)
        opened.append(Terminal(program, str(model), *flags, **(world | more)))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


E4B = "unsloth/gemma-4-E4B-it-qat-GGUF"
E4B_MODEL, E4B_PROJECTOR = "gemma-4-E4B-it-qat-UD-Q4_K_XL.gguf", "mmproj-BF16.gguf"
E4B_DRAFTER = "mtp-gemma-4-E4B-it.gguf"
DAY = 86_400


@dataclass
class Online:
    """A shell whose hub is on this machine; ``cache`` is where its files go."""

    shell: Shell
    hub: Hub
    cache: Path

    def run(self, *argv: str, **context) -> Ran:
        environment = {
            "HF_ENDPOINT": self.hub.endpoint, "HF_HUB_CACHE": str(self.cache),
        } | context.pop("environment", {})  # fmt: skip
        context.setdefault("now", lambda: 20_000.0 * DAY)
        return self.shell.run(*argv, model=False, environment=environment, **context)

    def upload(self, name: str, metadata: dict, repo: str = E4B, rows: int = 4) -> bytes:
        data = render_gguf(metadata, [("token_embd.weight", (32, rows), 0)], 3)
        self.hub.upload(repo, name, data)
        return data

    def path(self, name: str, repo: str = E4B, version: int = -1) -> Path:
        """Where the cache has a file of this name; of the newest version if not said otherwise."""
        commit = self.hub.repos[repo][version].commit
        return self.cache / f"models--{repo.replace('/', '--')}" / "snapshots" / commit / name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: empty, without a project's lock."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


REAL_SIZES = catalog.sizes


def pin_catalogue(
    monkeypatch: pytest.MonkeyPatch, pin: Callable[[CatalogFile], CatalogFile] = lambda file: file
) -> None:
    """The catalogue, or with another word on each file: no hub of a test can have the real ones."""

    def change(quant: Quant) -> Quant:
        roles = ("model", "projector", "drafter")
        files = {role: file for role in roles if (file := getattr(quant, role)) is not None}
        return replace(quant, **{role: pin(file) for role, file in files.items()})

    known = tuple(
        replace(size, quants=tuple(map(change, size.quants)), others=tuple(map(pin, size.others)))
        for size in REAL_SIZES()
    )
    monkeypatch.setattr(catalog, "sizes", lambda: known)


@pytest.fixture
def online(
    shell: Shell, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Online]:
    """The hub has E4B, small, and the catalogue pins nothing; nothing is on this machine."""
    pin_catalogue(monkeypatch, lambda file: replace(file, revision=None))
    with Hub() as hub:
        world = Online(shell, hub, tmp_path / "hub")
        world.upload(E4B_MODEL, TEXT_MODEL)
        world.upload(E4B_PROJECTOR, PROJECTOR, rows=2)
        world.upload(E4B_DRAFTER, {"general.architecture": "gemma4-assistant"}, rows=1)
        yield world


@pytest.fixture
def pulled(online: Online) -> Online:
    """E4B is on this machine."""
    assert online.run("pull", "e4b", "--quiet").status == 0
    return online
