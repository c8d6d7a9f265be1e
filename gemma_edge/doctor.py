"""What this machine has, what stands in the way, and the way out as a command.

``gather`` asks, ``examine`` is pure over what came back.
"""

import os
import platform
import re
import shlex
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from gemma_edge import catalog, engine
from gemma_edge.engine.proof import CPU, Proof, prove
from gemma_edge.engine.protocol import GREEDY, Chunk, Engine, Finished, Message, Notice, Request
from gemma_edge.errors import BuildError, EngineError, GemmaEdgeError
from gemma_edge.hardware.gpus import BACKENDS
from gemma_edge.hardware.machine import UNSEEN, Device, Finding, Hardware, name_of
from gemma_edge.isolation import ChildBug
from gemma_edge.planning.plan import ALL_LAYERS, Plan
from gemma_edge.planning.speed import choose_threads
from gemma_edge.records import dataclass
from gemma_edge.store.files import list_files
from gemma_edge.store.remote import StoreSettings
from gemma_edge.units import MIB, render_bytes


@dataclass(frozen=True, slots=True)
class Python:
    """The interpreter that runs us: ``3.12.4``, 64 and ``x86_64``."""

    version: str
    bits: int
    machine: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where the answers are shown; ``width`` is in columns."""

    attached: bool
    encoding: str
    width: int
    colours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """Where models are kept. ``free_bytes`` is None where nobody says; ``trouble`` is why the
    folder cannot be read, ``hint`` the way out. ``files`` are whole ones."""

    folder: Path
    free_bytes: int | None
    writable: bool
    files: int = 0
    files_bytes: int = 0
    incomplete: int = 0
    trouble: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Hub:
    """What answered at ``endpoint``; ``trouble`` is "" when it was a hub, or something like it."""

    endpoint: str
    seconds: float = 0.0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """One try to answer with the bundled model. ``device`` is ggml's name of what was asked for,
    ``CPU`` for the processor; ``answer`` is the text, and ``trouble`` why there is none; ``dies``
    says that it is the build's code that ended the process."""

    device: str
    answer: str = ""
    tokens: int = 0
    seconds: float = 0.0
    trouble: str = ""
    dies: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One machine, one environment, one moment. ``hub`` is None where it was not asked;
    ``offline_by`` names the switch ("" = off), ``job`` is SLURM's number of it ("" = none)."""

    hardware: Hardware
    python: Python
    terminal: Terminal
    models: ModelFolder
    hub: Hub | None
    offline_by: str = ""
    job: str = ""
    decodes: tuple[Decode, ...] = ()
    proofs: tuple[Proof, ...] = ()


# A real decode on one device, with a time limit. What llama.cpp does to a process (an abort, an
# illegal instruction, an endless wait in a driver) it does to the engine's own.


# At its first start the driver of a GPU that is newer than the build compiles its kernels, for
# minutes; the bundled model itself takes under a second.
LIMIT_SECONDS = 300.0
# The bundled model knows this greeting; its answer is short and the same on every device.
QUESTION = Request(messages=(Message("user", "Hello!"),), max_tokens=32, sampling=GREEDY)


def try_decode(
    device: str,
    *,
    variables: tuple[str, ...] = (),
    limit_seconds: float = LIMIT_SECONDS,
    load: Callable[[Plan], Engine] = engine.load,
) -> Decode:
    """Answer a greeting with the bundled model on the device of this name; ``variables`` are the
    machine's."""
    on_gpu = device != CPU
    late = threading.Event()
    try:
        plan = Plan(
            model=catalog.resolve("demo").model, context_tokens=256, batch_tokens=128,
            devices=(device,) if on_gpu else (), gpu_layers=ALL_LAYERS if on_gpu else 0,
            variables=variables,
        )  # fmt: skip
        started = time.perf_counter()
        with closing(load(plan)) as trial, _ending(trial, limit_seconds, late):
            events = list(trial.generate(QUESTION))
            elsewhere = on_gpu and trial.info.gpu_layers == 0
            place = trial.info.device
    except (GemmaEdgeError, ChildBug) as error:
        if not late.is_set():
            dies = isinstance(error, BuildError)
            return Decode(device=device, trouble=str(error), dies=dies)
    if late.is_set():
        return Decode(device=device, trouble=f"it did not end within {limit_seconds:g} s")
    notices = [event.text for event in events if isinstance(event, Notice)]
    trouble = f"it decoded on {place} instead" if elsewhere else ""
    usages = [event.usage for event in events if isinstance(event, Finished)]
    return Decode(
        device=device,
        answer="".join(event.text for event in events if isinstance(event, Chunk)),
        tokens=sum(usage.prompt_tokens + usage.generated_tokens for usage in usages),
        seconds=time.perf_counter() - started,
        trouble=notices[0] if notices else trouble,  # it had to be started again
    )


@contextmanager
def _ending(trial: Engine, limit_seconds: float, late: threading.Event) -> Iterator[None]:
    """Close the engine after so many seconds: then whoever waits for it gets an error."""

    def end() -> None:
        late.set()
        trial.close()

    timer = threading.Timer(limit_seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# A fix as text to a command that can be run without a shell, or to None: a person's change. Only
# programs on a short list are run. Text is never given to a shell, so that whatever a driver or a
# file name put into a fix stays an argument.


def parse_fix(fix: str, python: str, *, uv: str | None = None) -> tuple[str, ...] | None:
    """The command that ``fix`` is, program first, for the environment of the interpreter
    ``python``; None where it is a change that a person has to make. ``uv`` is the path of that
    program, for an environment without pip."""
    try:
        words = shlex.split(fix)
    except ValueError:  # an apostrophe: a sentence
        return None
    is_for_a_shell = not {"&&", "||", "|", ";", "&", ">", "<"}.isdisjoint(words)
    if is_for_a_shell or any(word.endswith((",", ":")) for word in words):
        return None
    match words:
        case ["python" | "python3", "-m", "pip", verb, *rest] | ["pip", verb, *rest]:
            pip = (uv, "pip", verb, "--python", python) if uv else (python, "-m", "pip", verb)
            return (*pip, *rest)
        case ["python" | "python3", "scripts/setup.py" as script, *rest]:  # of a checkout
            path = Path(__file__).resolve().parents[1] / script
            return (python, str(path), *rest) if path.is_file() else None
        case ["gemma-edge", *rest]:
            return (python, "-m", "gemma_edge", *rest)
    return None


def with_pip(
    commands: Sequence[tuple[str, ...]], python: str, *, has_pip: bool
) -> list[tuple[str, ...]]:
    """The same, with pip itself before the first that needs it: environments that uv and pipx make
    have none."""
    needed = not has_pip and any(each[:3] == (python, "-m", "pip") for each in commands)
    return [*([(python, "-m", "ensurepip")] if needed else []), *commands]


SECONDS = 2.0  # the whole answer of `doctor` is to come within three


def ask_hub(endpoint: str, seconds: float = SECONDS) -> Hub:
    """One HEAD request, through the client and the proxies that a download takes. Looking up a name
    knows no time limit, so it is the thread that is not waited for."""
    answers: list[Hub] = []
    thread = threading.Thread(target=lambda: answers.append(_ask(endpoint, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else Hub(endpoint, seconds, f"no answer within {seconds:g} s")


def _ask(endpoint: str, seconds: float) -> Hub:
    started = time.monotonic()
    import httpx2  # noqa: PLC0415  (the hub library's HTTP client; 0.1 s)

    try:
        status = httpx2.head(endpoint, timeout=seconds).status_code
        trouble = f"it answers with status {status}" if status >= 500 else ""  # noqa: PLR2004
    except (httpx2.HTTPError, httpx2.InvalidURL, ImportError, ValueError) as error:
        # ImportError and ValueError: a proxy that nobody here can speak to.
        trouble = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    return Hub(endpoint, time.monotonic() - started, trouble)


HUB = "https://huggingface.co"  # huggingface_hub's own default (its constants.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """Everything that leaves this process; tests pass others."""

    detect_hardware: Callable[[Mapping[str, str]], Hardware]
    try_decode: Callable[[str], Decode] = try_decode
    ask_hub: Callable[[str], Hub] = ask_hub
    prove: Callable[..., Iterator[Proof]] = prove


def gather(  # noqa: PLR0913  (what it asks, and where)
    probes: Probes,
    environment: Mapping[str, str],
    settings: StoreSettings,
    terminal: Terminal,
    *,
    offline_by: str = "",
    full: bool = False,
    busy_programs: int | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> Facts:
    """All facts. ``full`` measures the speed and the memory of each device too, the processor
    among them. ``busy_programs`` are others that want a core. ``on_step`` gets a line on what may
    take long."""
    with ThreadPoolExecutor(max_workers=1) as pool:  # the hub answers while the machine is asked
        hub = None if offline_by else pool.submit(probes.ask_hub, settings.endpoint or HUB)
        hardware = probes.detect_hardware(environment)
        decodes = tuple(_try_devices(hardware, probes.try_decode, on_step))
        threads = choose_threads(hardware.cpu, 1 << 30, busy_programs=busy_programs).decode
        ask = partial(probes.prove, threads=threads, hardware=hardware if full else None)
        proofs = tuple(_prove_devices(hardware, ask, on_step, full=full))
    return Facts(
        hardware=hardware,
        python=Python(platform.python_version(), 8 * struct.calcsize("P"), platform.machine()),
        terminal=terminal,
        models=read_models(settings),
        hub=hub.result() if hub else None,
        offline_by=offline_by,
        job=environment.get("SLURM_JOB_ID", ""),
        decodes=decodes,
        proofs=proofs,
    )


def read_models(settings: StoreSettings) -> ModelFolder:
    """The folder of the models, and what is in it."""
    folder = settings.models_dir or settings.cache_dir or settings.data_dir
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        free = shutil.disk_usage(existing).free
        writable = existing.is_dir() and os.access(existing, os.W_OK)
    except OSError:
        free, writable = None, False
    models = ModelFolder(folder=folder, free_bytes=free, writable=writable)
    try:
        files = list_files(settings)
    except GemmaEdgeError as error:
        return replace(models, trouble=error.message, hint=error.hint)
    whole = [stored for stored in files if stored.where != "incomplete"]
    names = {os.path.realpath(stored.path): stored.size_bytes for stored in whole}
    incomplete = len(files) - len(whole)
    return replace(models, files=len(whole), files_bytes=sum(names.values()), incomplete=incomplete)


def _try_devices(
    hardware: Hardware, decode: Callable[..., Decode], on_step: Callable[[str], None]
) -> Iterator[Decode]:
    """The processor first: its answer is what the others are compared with."""
    if hardware.build.error:
        return
    if hardware.variables:
        decode = partial(decode, variables=hardware.variables)
    yield decode(CPU)
    for device in hardware.devices:
        if device.usable:
            on_step(f"decoding on {device.title}…")
            yield decode(device.name)


def _prove_devices(
    hardware: Hardware, ask: Callable[..., Iterator[Proof]], on_step: Callable[[str], None],
    *, full: bool,
) -> Iterator[Proof]:  # fmt: skip
    """The kernels that Gemma 4 needs; without a device there is nothing to compare."""
    names = [device.name for device in hardware.devices if device.usable]
    if hardware.build.error or not (names or full):
        return
    on_step("computing with Gemma 4's shapes…")
    try:
        yield from ask(names, variables=hardware.variables)
    except EngineError as error:  # no room for the file
        yield Proof(device=CPU, trouble=error.message)


# "warning" is something to know that stops nothing; only a "problem" makes the exit status 1.
State = Literal["fine", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """``seen`` is what was found, ``why`` why that matters (or why it was not tried), ``fix`` a
    command or a change; both are "" where there is nothing to say."""

    name: str
    state: State
    seen: str
    why: str = ""
    fix: str = ""


NARROW_COLUMNS = 60  # what every page is made for


def check_python(facts: Facts) -> Iterator[CheckResult]:
    python = facts.python
    if python.bits < 64:  # noqa: PLR2004  (llama.cpp maps whole models into the address space)
        yield CheckResult(
            "python", "problem", f"{python.version}, {python.bits} bits",
            "a model does not fit into its address space",
            "install the 64-bit Python of python.org",
        )  # fmt: skip
    else:
        yield CheckResult("python", "fine", f"{python.version} ({python.machine})")


def check_cluster(facts: Facts) -> Iterator[CheckResult]:
    """The job that we are in; what is wrong with it, or with a login node, is a finding."""
    if facts.job:
        yield CheckResult("cluster", "fine", f"inside SLURM job {facts.job}")


def check_disk(facts: Facts) -> Iterator[CheckResult]:
    """Free space and permission where models are kept."""
    folder, free = facts.models.folder, facts.models.free_bytes
    elsewhere = "another folder: --models-dir DIR, GEMMA_EDGE_MODELS_DIR or HF_HOME"
    title, smallest = smallest_model()
    state: State = "fine"
    why = fix = ""
    if not facts.models.writable:
        state, seen = "problem", f"{folder} cannot be written to"
        why, fix = "no model can be kept there", elsewhere
    elif free is None:
        state, seen = "warning", f"{folder}: the system does not say what is free"
    else:
        seen = f"{render_bytes(free)} free for models in {folder}"
        if free < smallest and not facts.models.files:
            state, why = "problem", f"the smallest model, {title}, takes {render_bytes(smallest)}"
            fix = f"free some space, or {elsewhere}"
    yield CheckResult("disk", state, seen, why, fix)


def check_models(facts: Facts) -> Iterator[CheckResult]:
    """What is there; whether it is what it was is for another command."""
    models = facts.models
    whole = f"{models.files} file{'' if models.files == 1 else 's'}"
    state: State = "fine"
    why = fix = ""
    if models.trouble:
        state, seen, fix = "problem", models.trouble, models.hint
        why = "no model there can be found"
    elif models.incomplete:
        count = "1 file is" if models.incomplete == 1 else f"{models.incomplete} files are"
        state, seen = "warning", f"{count} incomplete; {whole} whole"
        why = "gemma-edge list names them; the same pull goes on where it stopped"
    elif not models.files:
        seen = "none yet but the bundled one; gemma-edge plan says which"
    else:
        size = render_bytes(models.files_bytes)
        seen = f"{whole}, {size}; gemma-edge verify reads them again"
    yield CheckResult("models", state, seen, why, fix)


def check_offline(facts: Facts) -> Iterator[CheckResult]:
    on = f"on, by {facts.offline_by}: no connection is opened"
    off = "off; --offline or GEMMA_EDGE_OFFLINE=1 switches it on"
    yield CheckResult("offline", "fine", on if facts.offline_by else off)


def check_hub(facts: Facts) -> Iterator[CheckResult]:
    """Only downloads need it: with models on this machine its silence stops nothing."""
    hub = facts.hub
    if hub is None:
        yield CheckResult("hub", "skipped", "not asked", "offline is on")
    elif not hub.trouble:
        yield CheckResult("hub", "fine", f"{hub.endpoint} answers in {hub.seconds:.1f} s")
    else:
        yield CheckResult(
            "hub", "warning" if facts.models.files else "problem",
            f"{hub.endpoint}: {hub.trouble}",
            "models cannot be fetched; what is on this machine works",
            "check the network (HTTPS_PROXY for a proxy, HF_ENDPOINT for a mirror), or carry "
            "files here: gemma-edge import FILE",
        )  # fmt: skip


def check_terminal(facts: Facts) -> Iterator[CheckResult]:
    terminal, encoding = facts.terminal, facts.terminal.encoding.lower()
    colours = "colours" if terminal.colours else "no colours"
    seen = f"{terminal.width} columns, {encoding}, {colours}"
    state: State = "warning"
    why = fix = ""
    if not terminal.attached:
        state, seen = "fine", f"none, the output goes elsewhere as {encoding}"
    elif not encoding.replace("-", "").startswith("utf"):
        why = "letters beyond it are shown as escapes"
        fix = "PYTHONUTF8=1 in the environment; on Windows chcp 65001 before it"
    elif terminal.width < NARROW_COLUMNS:
        why = f"tables are made for {NARROW_COLUMNS} columns and more"
    else:
        state = "fine"
    yield CheckResult("terminal", state, seen, why, fix)


def smallest_model() -> tuple[str, int]:
    """The title and the bytes of the smallest weights whose size is known."""
    size_bytes, title = min(
        (quant.model.size_bytes, size.title)
        for size in catalog.sizes() for quant in size.quants if quant.model.size_bytes
    )  # fmt: skip
    return title, size_bytes


# Findings that say why a build for CUDA does not load.
# Of ggml's words, each says all that come after it.


def check_build(facts: Facts) -> Iterator[CheckResult]:
    build = facts.hardware.build
    found = {each.what for each in facts.hardware.findings if each.state != "fine"}
    # Findings that say why a build for CUDA does not load.
    cause = next((name for name in ("CUDA libraries", "driver") if name in found), "")
    if build.error and cause:  # one problem, not two
        seen = f"{build.version or 'it'} cannot be loaded"
        yield CheckResult("llama.cpp", "skipped", seen, f"see {cause}")
    elif build.error:
        yield CheckResult("llama.cpp", "problem", build.error, "nothing can be computed")
    else:
        backends = " and ".join(BACKENDS.get(each, each) for each in build.backends)
        yield CheckResult("llama.cpp", "fine", f"{build.version}, built for {backends}")


def check_processor(facts: Facts) -> Iterator[CheckResult]:
    """Its cores, and what of it llama.cpp was compiled for."""
    cpu, built = facts.hardware.cpu, facts.hardware.build.instructions
    seen = f"{cpu.name}, {cpu.reason}" if cpu.name else cpu.reason
    # Of ggml's words, each says all that come after it.
    words = ("AVX512", "AVX2", "AVX", "SVE", "MATMUL_INT8", "DOTPROD", "NEON")
    uses = [f"; llama.cpp uses {word}" for word in words if word in built]
    yield CheckResult("processor", "fine", seen + "".join(uses[:1]))


def check_driver(facts: Facts) -> Iterator[CheckResult]:
    drivers = dict.fromkeys(each.driver for each in facts.hardware.devices if each.driver)
    if drivers:
        yield CheckResult("driver", "fine", ", ".join(drivers))


def check_gpus(facts: Facts) -> Iterator[CheckResult]:
    """Every card, whether llama.cpp can use it or not."""
    devices = facts.hardware.devices
    yield from (_gpu(device, name_of(device, devices)) for device in devices)
    if not facts.hardware.devices:
        yield CheckResult("GPU", "skipped", "none here", "the processor does the work")


def check_memory(facts: Facts) -> Iterator[CheckResult]:
    """Main memory as far as we may take it."""
    memory = facts.hardware.memory
    free = memory.available_bytes
    if free is None:
        yield CheckResult("memory", "warning", memory.reason)
        return
    total = f" of {render_bytes(memory.total_bytes)}" if memory.total_bytes else ""
    seen = f"{render_bytes(free)}{total} free"
    if not memory.reason.endswith("are available"):  # a limit of ours, not the machine's
        seen += f" ({memory.reason})"
    title, smallest = smallest_model()
    if free < smallest:
        why = f"the smallest model, {title}, has {render_bytes(smallest)} of weights"
        fix = "close other programs, or ask for a larger container or job"
        yield CheckResult("memory", "warning", seen, why, fix)
    else:
        yield CheckResult("memory", "fine", seen)


def check_decodes(facts: Facts) -> Iterator[CheckResult]:
    """What was tried, then what could not be."""
    reference = next((each.answer for each in facts.decodes if each.device == CPU), "")
    if facts.hardware.build.error:
        yield CheckResult("CPU decode", "skipped", "not tried", "llama.cpp cannot be loaded")
        return
    for each in facts.decodes:
        yield _decode(each, facts, reference)
    devices = facts.hardware.devices
    blind = [each for each in devices if not each.usable and not each.integrated]
    if blind and all(each.obstacle == UNSEEN for each in blind):
        why = f"llama.cpp does not see the {' and the '.join(each.title for each in blind)}"
        yield CheckResult("GPU decode", "skipped", "not tried", why)
    elif blind:
        why = "; ".join(f"{each.title}: {each.obstacle}" for each in blind)
        yield CheckResult("GPU decode", "skipped", "not tried", why)


def _gpu(device: Device, name: str) -> CheckResult:
    words = [name]
    if device.total_bytes:
        total = render_bytes(device.total_bytes)
        free = f"{render_bytes(device.free_bytes)} of {total} free"
        words.append(free if device.free_bytes or device.usable else total)  # 0: nobody says
    if device.integrated:
        words.append("its memory is main memory")
    if device.mig:
        words.append("a slice (MIG)")
    if device.capability:
        words.append(f"compute capability {device.capability}")
    if device.usable:
        return CheckResult("GPU", "fine", ", ".join([*words, f"as {device.name}"]))
    why = "part of the processor, not used" if device.integrated else device.obstacle
    return CheckResult("GPU", "skipped", ", ".join(words), why)


def _decode(tried: Decode, facts: Facts, reference: str) -> CheckResult:
    titles = {each.name: each.title for each in facts.hardware.devices if each.name}
    on = titles.get(tried.device, "")
    name, where = ("GPU decode", f"{on}: ") if on else ("CPU decode", "")
    if tried.trouble:
        findings = facts.hardware.findings
        fix = next((each.fix for each in findings if each.what in ("instructions", "AMX")), "")
        if not fix and tried.dies and not on:
            fix = facts.hardware.rebuild
        why = "nothing can be computed there"
        return CheckResult(name, "problem", f"{where}{tried.trouble}", why, fix)
    if reference and tried.answer != reference:
        seen = f"{where}it answers {tried.answer!r}, the processor {reference!r}"
        why = "it computes something else: the driver or the build is broken"
        return CheckResult(name, "problem", seen, why)
    seen = f"{where}{tried.tokens} tokens, {tried.seconds:.1f} s with loading"
    return CheckResult(name, "fine", seen)


def check_proofs(facts: Facts) -> Iterator[CheckResult]:
    """Gemma 4's own shapes: as the processor computes them, how fast, in how much memory."""
    titles = {each.name: each.title for each in facts.hardware.devices if each.name}
    for proof in facts.proofs:
        measured = proof.decode > 0
        if proof.device != CPU or proof.trouble or measured:
            yield _proof(proof, titles.get(proof.device, ""))


def _proof(proof: Proof, title: str) -> CheckResult:
    name, where = ("GPU kernels", f"{title}: ") if title else ("CPU kernels", "")
    if proof.trouble:
        return CheckResult(name, "problem", f"{where}{proof.trouble}", _NO_KERNELS)
    words = []
    if proof.difference is not None:
        words.append(f"Gemma 4's shapes are off by {proof.difference:.2g} from the processor")
    if not proof.sound:
        return CheckResult(name, "problem", f"{where}{words[0]}", _WRONG_KERNELS)
    if proof.decode:
        speed = f"reads {proof.prefill:,.0f} and answers {proof.decode:,.0f} tokens a second"
        words.append(f"{speed} with two layers")
    if proof.memory:
        worst = max(proof.memory, key=lambda row: row.off)
        total = sum(row.allocated for row in proof.memory)
        where_off = f"at most {worst.off / MIB:,.1f} MiB off ({worst.part} on {worst.place})"
        as_planned = "as planned" if worst.off < MIB else where_off
        words.append(f"{render_bytes(total)} of memory, {as_planned}")
    if not all(row.fits for row in proof.memory):
        return CheckResult(name, "warning", f"{where}{'; '.join(words)}", _OTHER_MEMORY)
    state: State = "warning" if proof.note else "fine"
    return CheckResult(name, state, f"{where}{'; '.join(words)}", proof.note)


_NO_KERNELS = "nothing can be computed there"
_WRONG_KERNELS = "it computes something else: the driver or the build is broken"
_OTHER_MEMORY = "plans for this device are off by as much; gemma-edge doctor --raw helps a report"

CHECKS: tuple[Callable[[Facts], Iterator[CheckResult]], ...] = (
    check_python, check_build, check_processor, check_driver, check_gpus, check_memory,
    check_cluster, check_decodes, check_proofs, check_disk, check_models, check_offline, check_hub,
    check_terminal,
)  # fmt: skip
# Findings that are part of what another name says.
_SHOWN_UNDER = {"instructions": "processor", "AMX": "processor", "cgroup": "memory"}
_WORST: tuple[State, ...] = ("fine", "skipped", "warning", "problem")


def examine(facts: Facts) -> tuple[CheckResult, ...]:
    checks = [check for each in CHECKS for check in each(facts)]
    merged: list[CheckResult] = []
    for finding in facts.hardware.findings:
        _place(finding, checks, merged)
    return tuple(checks)


def count_problems(checks: Sequence[CheckResult]) -> int:
    """How many of them make the exit status 1."""
    return sum(check.state == "problem" for check in checks)


def _place(finding: Finding, checks: list[CheckResult], merged: list[CheckResult]) -> None:
    """What detection found becomes the reason and the fix of the check of its name; of several
    GPUs, of the one that it is about. A second one stands behind the first; one that no check has
    stands before the GPUs."""
    name = _SHOWN_UNDER.get(finding.what, finding.what)
    found = CheckResult(name, finding.state, finding.text, fix=finding.fix)
    places = [index for index, check in enumerate(checks) if check.name == name]
    titles = {index: checks[index].seen.partition(",")[0] for index in places}
    meant = [index for index in places if titles[index] in finding.text]

    def about(index: int) -> tuple[int, int]:
        """What is named first; of "RTX 4060" and "RTX 4060 Laptop" the longer one."""
        return finding.text.index(titles[index]), -len(titles[index])

    if not places:
        merged.append(found)
        checks.insert([check.name for check in checks].index("GPU"), found)
    elif checks[index := min(meant, key=about, default=places[0])] in merged:
        checks.insert(places[-1] + 1, found)
    else:
        checks[index] = _merge(checks[index], finding)
        merged.append(checks[index])


def _merge(check: CheckResult, finding: Finding) -> CheckResult:
    """A check that failed by itself has a reason already."""
    in_trouble = check.state in ("warning", "problem")
    return replace(
        check,
        state=max(check.state, finding.state, key=_WORST.index),
        why=check.why if in_trouble else finding.text,
        fix=check.fix or finding.fix,
    )
