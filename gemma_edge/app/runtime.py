"""What a use case needs of the process that it runs in, as one plain value.

An interface makes a ``Runtime`` once a run and hands it down: where model files are kept, who is
told and asked, and how the machine, a plan's memory and an engine are reached. ``library_runtime``
is the one for Python programs: it asks nobody and downloads nothing that was not agreed to.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gemma_edge.errors import GemmaEdgeError
from gemma_edge.records import dataclass
from gemma_edge.trust import leads_into_network

if TYPE_CHECKING:
    from gemma_edge.engine.process import EarlyProcess, LoadedProcess, Stay
    from gemma_edge.engine.protocol import Counter, Engine, Event, Loading
    from gemma_edge.hardware.machine import Hardware
    from gemma_edge.planning.memory import Measure
    from gemma_edge.planning.plan import Plan
    from gemma_edge.store.remote import Listener, StoreSettings

PROJECT_LOCK = Path("gemma-edge.lock")
MODELS_DIR_VARIABLE = "GEMMA_EDGE_MODELS_DIR"
OFFLINE_VARIABLES = ("GEMMA_EDGE_OFFLINE", "HF_HUB_OFFLINE")
_OFF = ("", "0", "false", "no", "off")
_LOOKS, _BETWEEN_LOOKS = 4, 0.003  # seconds
_PATIENT_SECONDS = 4.0
_STILL_LOOKING = (
    "waiting for a driver to tell of the GPUs; the first time after a start of the machine, or of a"
    " new build, this can take two minutes"
)


def load_engine(plan: "Plan") -> "Engine":
    from gemma_edge import engine  # noqa: PLC0415  (half a second, not before it is needed)

    return engine.load(plan)


class EarlyEngine:
    """``load_engine``, whose process can be started before there is a plan."""

    def __init__(self) -> None:
        self._early: EarlyProcess | None = None

    def begin(self) -> None:
        from gemma_edge import engine  # noqa: PLC0415

        with suppress(GemmaEdgeError):  # loading says why
            self._early = self._early or engine.begin()

    def __call__(
        self, plan: "Plan", found: "LoadedProcess | None" = None, stay: "Stay | None" = None
    ) -> "Engine":
        """The engine of a plan. One that was ``found`` with the model is not loaded; one that is to
        ``stay`` waits for others afterwards."""
        from gemma_edge import engine  # noqa: PLC0415
        from gemma_edge.engine.process import Start  # noqa: PLC0415

        return engine.load(plan, Start(self._early, found, stay))


def open_counter(plan: "Plan") -> "Counter":
    """Counts prompts of a plan before it is loaded, with its vocabulary alone."""
    from gemma_edge import engine  # noqa: PLC0415  (only what does not surely fit is counted)

    return engine.open_counter(plan)


def detect_machine(environment: Mapping[str, str]) -> "Hardware":
    """This machine, with the help of a child process; on the order of a second."""
    from gemma_edge.hardware.detect import detect_hardware  # noqa: PLC0415  (only to plan)

    return detect_hardware(environment)


@contextmanager
def open_measure(pretended: "Hardware | None") -> "Iterator[Measure]":
    """How large llama.cpp's buffers will be: asked of itself in a child process, for this machine,
    or by the law that they follow, for a ``pretended`` one."""
    from gemma_edge.planning.dry_run import DryRun  # noqa: PLC0415  (only what plans needs it)
    from gemma_edge.planning.memory import closed_form  # noqa: PLC0415

    with DryRun() as run:
        run.begin()
        yield closed_form(run.measure, pretended) if pretended else run.measure


def count_busy_programs() -> int | None:
    """Other programs that want a core now, from /proc/loadavg; None where it is not. The average
    of a minute would count the command that a person ran just before; the least of a few looks
    leaves out what only woke up for a moment."""
    counts = []
    for look in range(_LOOKS):
        if look:
            time.sleep(_BETWEEN_LOOKS)
        try:
            running, _, _ = Path("/proc/loadavg").read_text("ascii").split()[3].partition("/")
        except OSError:
            return None
        counts.append(int(running) - 1)
    return max(0, min(counts))


@dataclass(frozen=True, slots=True)
class Problem:
    """Something is wrong with the data that is about to come."""

    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    text: str


@dataclass(frozen=True, slots=True)
class Bug:
    """Something that nobody foresaw, about one of many files: the traceback of it."""

    trace: str


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """A model of ``size_bytes`` is being loaded: how far, and for how long already."""

    title: str
    size_bytes: int
    progress: "Loading"


@dataclass(frozen=True, slots=True)
class Step:
    """One file more of ``total`` is behind us; ``kept`` took no time, its answer was there."""

    done: int
    total: int
    failed: int
    kept: bool


# What a use case tells while it is at work.
Told: TypeAlias = "Event | Problem | Failure | Bug | Step | ModelLoading"


def say_nothing(_text: str) -> None:
    """For whom no line is of interest."""


def uncancelled(_engine: "Engine") -> AbstractContextManager[None]:
    return nullcontext()


def watch_nothing(_event: object) -> None:
    """For whom no event is of interest."""


def show_nothing() -> "AbstractContextManager[Listener]":
    return nullcontext(lambda _event: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Where files are kept, who is told and asked, and how the outside is reached.

    ``note`` takes a line that a person may want to know, ``on_event`` what an engine says while it
    loads and answers and how far a batch is, ``progress`` opens what is told how far downloads are.
    ``cancelling`` is entered while an engine answers, so that Ctrl-C may stop the answer alone.
    ``confirm`` asks a question whose usual answer is yes; None where nobody can be asked.
    ``agreed`` is whether downloads were agreed to beforehand. ``models_dir`` is the folder as a
    person named it, for hints; ``remember`` keeps on disk what was read of pictures and documents,
    whatever a request says, of documents at most ``remember_bytes`` (None: what the engine thinks
    right). Engines wait for the next command in the folder ``standby`` (None: none is looked for),
    and this one does for ``keep_seconds`` afterwards (None: it ends, and one that was found goes on
    to wait as before), but for what is ``private``. ``detect`` looks at the machine, once;
    ``clock`` is in seconds."""

    store: "StoreSettings"
    note: Callable[[str], None] = say_nothing
    on_event: "Callable[[Told], None]" = watch_nothing
    progress: "Callable[[], AbstractContextManager[Listener]]" = show_nothing
    cancelling: "Callable[[Engine], AbstractContextManager[None]]" = uncancelled
    confirm: Callable[[str], bool] | None = None
    agreed: bool = False
    models_dir: Path | None = None
    remember: bool = False
    remember_bytes: int | None = None
    standby: Path | None = None
    keep_seconds: float | None = None
    private: bool = False
    clock: Callable[[], float] = time.monotonic
    load: "Callable[[Plan], Engine]" = load_engine
    open_counter: "Callable[[Plan], Counter]" = open_counter
    detect: "Callable[[], Hardware]"
    open_measure: "Callable[[Hardware | None], AbstractContextManager[Measure]]" = open_measure
    busy_programs: Callable[[], int | None] = count_busy_programs
    _counted: list[int | None] = field(default_factory=list, repr=False, compare=False)
    _waits: list[bool] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        from gemma_edge.isolation import Once  # noqa: PLC0415  (not for a help page)

        if not isinstance(self.detect, Once):  # copies share what was detected
            object.__setattr__(self, "detect", Once(self.detect))

    def look(self) -> None:
        """Begin to detect the machine, beside other work."""
        begin: Callable[[], None] = getattr(self.detect, "begin")  # noqa: B009
        begin()

    def look_again(self) -> "Hardware":
        """The machine as it is now; nothing is kept of it."""
        again: Callable[[], Hardware] = getattr(self.detect, "again")  # noqa: B009
        return again()

    def begin(self, *, engine: bool = True) -> None:
        """Begin what planning will wait for, beside other work, and start the process of the
        ``engine``. Other programs are counted before any of ours runs. Where an engine may wait for
        this command, nothing is begun before ``begin_anew``."""
        if engine and self.standby is not None and self.standby.is_dir():
            from gemma_edge.standby import sockets  # noqa: PLC0415

            if sockets(self.standby):
                self._waits.append(True)
                return
        self._counted[:] = [self.busy_programs()]
        self.look()
        if engine and isinstance(self.load, EarlyEngine):
            self.load.begin()

    def begin_anew(self) -> None:
        """There is no engine that waits for this command: begin what was put off for it."""
        if self._waits:
            self._waits.clear()
            replace(self, standby=None).begin()

    def count_busy(self) -> int | None:
        """Other programs that want a core: as ``begin`` counted them, for the first who asks."""
        return self._counted.pop() if self._counted else self.busy_programs()

    @property
    def hardware(self) -> "Hardware":
        """The machine. Whoever waits long for a driver is told so."""
        timer = threading.Timer(_PATIENT_SECONDS, self.note, (_STILL_LOOKING,))
        timer.daemon = True
        timer.start()
        try:
            return self.detect()
        finally:
            timer.cancel()


def library_runtime(  # noqa: PLR0913  (each stands for itself)
    *,
    models_dir: Path | None = None,
    offline: bool = False,
    download: bool = False,
    trust_lock: bool = False,
    note: Callable[[str], None] = say_nothing,
    on_event: "Callable[[Told], None]" = watch_nothing,
) -> Runtime:
    """For a Python program: the folders that the command line uses. ``download`` agrees to fetch
    what a call needs; without it a model that is not on this machine is refused with the size.
    ``trust_lock`` takes the word of a ``gemma-edge.lock`` in the working folder."""
    environment = os.environ  # noqa: TID251  (for Python programs, as cli/context.py)
    settings = store_settings(
        environment, Path.home(), models_dir=models_dir, offline=offline, trust_lock=trust_lock
    )
    return Runtime(
        store=settings, note=note, on_event=on_event, agreed=download, models_dir=models_dir,
        detect=partial(detect_machine, environment),
    )  # fmt: skip


def store_settings(  # noqa: PLR0913  (each stands for itself)
    environment: Mapping[str, str], home: Path, *, platform: str = sys.platform,
    models_dir: Path | None = None, offline: bool = False, clock: Callable[[], float] = time.time,
    trust_lock: bool = False, ask: Callable[[str], bool] | None = None,
) -> "StoreSettings":  # fmt: skip
    from gemma_edge.store.remote import StoreSettings  # noqa: PLC0415  (not for a help page)

    told, project = environment.get, PROJECT_LOCK
    is_there = not leads_into_network(project) and project.is_file()
    plain = models_dir or (Path(folder) if (folder := told(MODELS_DIR_VARIABLE)) else None)
    return StoreSettings(
        data_dir=data_dir(environment, home, platform), cache_dir=cache_dir(environment, home),
        models_dir=_absolute(plain, home) if plain else None,
        project_lock=project.absolute() if is_there else None,
        trust_lock=trust_lock, ask=ask,
        offline=offline or is_offline(environment),
        endpoint=told("HF_ENDPOINT") or None, token=told("HF_TOKEN") or None, clock=clock,
    )  # fmt: skip


def is_on(environment: Mapping[str, str], variable: str) -> bool:
    return environment.get(variable, "").strip().lower() not in _OFF


def is_offline(environment: Mapping[str, str]) -> bool:
    return any(is_on(environment, variable) for variable in OFFLINE_VARIABLES)


def data_dir(environment: Mapping[str, str], home: Path, platform: str) -> Path:
    """Our own folder: ``XDG_DATA_HOME``, ``~/Library/Application Support``, ``%LOCALAPPDATA%``."""
    if platform == "win32":
        base = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(environment.get("XDG_DATA_HOME", ""))
        if not base.is_absolute():  # the specification: a relative one is to be ignored
            base = home / ".local" / "share"
    return base / "gemma-edge"


def remembered_dir(data_dir: Path) -> Path:
    """Where what was read of pictures and documents is kept, if a person wants that."""
    return data_dir / "seen"


def standby_dir(environment: Mapping[str, str], home: Path, platform: str) -> Path:
    """Where engines wait for the next command."""
    from gemma_edge.standby import folder_of  # noqa: PLC0415

    session = Path(environment.get("XDG_RUNTIME_DIR", ""))
    named = session if session.is_absolute() and session.is_dir() else None
    return folder_of(
        named, data_dir(environment, home, platform), Path(environment.get("TMPDIR") or "/tmp")
    )


def cache_dir(environment: Mapping[str, str], home: Path) -> Path:
    """The Hugging Face cache, by huggingface_hub's own rules (its ``constants.py``), without the
    0.2 s that importing it takes."""
    told = environment.get
    if named := told("HF_HUB_CACHE") or told("HUGGINGFACE_HUB_CACHE"):
        return _absolute(Path(named), home)
    base = Path(told("XDG_CACHE_HOME") or home / ".cache")
    return _absolute(Path(told("HF_HOME") or base / "huggingface") / "hub", home)


def _absolute(path: Path, home: Path) -> Path:
    whole = home.joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path
    return Path(os.path.abspath(whole))
