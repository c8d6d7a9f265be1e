"""Job scripts for SLURM, PBS and LSF: what a command needs, by its plan, and why.

A cluster's login node has no GPU and may have no model, so a job is planned for the machine that it
will get: a card or a slice by its name, and as much memory as is asked for. ``plan_job`` says what
that takes, ``render_script`` writes it down, ``check_job`` says what is missing before it waits in
a queue for hours.
"""

import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gemma_edge.app.load import constraints_of, open_planner
from gemma_edge.app.request import ModelRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.app.stock import Stock, offer
from gemma_edge.errors import UsageError
from gemma_edge.hardware.imagined import pretend
from gemma_edge.planning.plan import RAM, Candidate, Plan
from gemma_edge.planning.render import brief_title
from gemma_edge.records import dataclass
from gemma_edge.trust import find_program
from gemma_edge.units import GIB, render_bytes
from gemma_edge.version import __version__

if TYPE_CHECKING:
    from gemma_edge.hardware.machine import Hardware

Scheduler = Literal["slurm", "pbs", "lsf"]
SCHEDULERS: tuple[Scheduler, ...] = ("slurm", "pbs", "lsf")
_SUBMITS: dict[Scheduler, str] = {"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub"}

JobCommand = Literal["chat", "describe", "extract", "serve"]

_RESTARTS = 20  # of a job, before somebody should look at it
WARNING_SECONDS = 180
"""How long before its time limit a job is told to take no further document."""

# Memory beside what a plan counts: the documents, their pages as pixels, Python, the page cache.
_BESIDE_BYTES = 2 * GIB
_NODE_BYTES = 64 * GIB  # of main memory, where nobody says
_CPUS_ON_GPU = 4  # reading documents, beside one thread that feeds the GPU
_LEAST_MINUTES, _STEP_MINUTES, _SAFETY = 15, 5, 2
_LOAD_BYTES_A_SECOND = 200e6  # of a shared file system on a bad day
_START_SECONDS = 60
# Tokens of one file: of its prompt and of its answer (docs/architecture.md, "Long documents").
_TOKENS: dict[JobCommand, tuple[int, int]] = {
    "extract": (2500, 600), "describe": (400, 150), "chat": (1000, 500), "serve": (0, 0),
}  # fmt: skip
_PREFILL_TIMES = 5  # as fast as an answer is written, at least

_MIG = re.compile(r"(?i)(?:^|[_\-.: ])(\d+)g[._]?(\d+)gb")
_CARD = re.compile(r"(?i)(?:^|[_\-: ])((?:[abhlvt]|gh|gb|mi|p|k)\d{1,3}[a-z]{0,2})(?:[_\-: .]|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What a person says of a job; None leaves it to the plan. ``words`` are the command line of
    the job, ``command`` its first. ``gres`` is SLURM's name of what is asked for ("gpu:a100:1"),
    "" for the CPU alone; ``device`` and ``vram_bytes`` say what that is where its name does not.
    ``files`` is how many it will read, None where nobody knows; ``shards`` is how many jobs share
    them. ``program`` is what is run, ``logs`` the folder of its output."""

    command: JobCommand
    words: tuple[str, ...]
    scheduler: Scheduler = "slurm"
    name: str = ""
    partition: str = ""
    account: str = ""
    gres: str = "gpu:1"
    device: str = ""
    vram_bytes: int | None = None
    ram_bytes: int | None = None
    cpus: int | None = None
    minutes: int | None = None
    shards: int = 1
    files: int | None = None
    modules: tuple[str, ...] = ()
    program: tuple[str, ...] = ("gemma-edge",)
    exports: tuple[tuple[str, str, str], ...] = ()
    """Name, value and reason of each variable that the job is given."""
    container: Path | None = None
    """An image in which the program runs; else it runs as it is installed here."""
    folders: tuple[Path, ...] = ()
    """What the command reads and writes, besides the working folder."""
    port: int | None = None
    """Where a server listens, as a person said it."""
    has_key: bool = False
    """Whether the words of a server say who is answered."""
    model: ModelRequest = field(default_factory=ModelRequest)

    @property
    def uses_gpu(self) -> bool:
        return bool(self.gres)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request with its plan: cores, bytes and minutes, each with the reason for it."""

    request: JobRequest
    plan: Plan
    candidate: Candidate
    title: str
    cpus: int
    cpus_why: str
    memory_bytes: int
    memory_why: str
    minutes: int
    minutes_why: str


def slice_of(gres: str) -> str:
    """``2g.20gb`` of ``gpu:nvidia_h100_80gb_hbm3_2g.20gb:1``; "" for a whole card."""
    found = _MIG.search(gres)
    return f"{found[1]}g.{found[2]}gb" if found else ""


def title_of(gres: str) -> str:
    """A card as ``gemma-edge plan --device`` knows it, from SLURM's name of it: ``A100``,
    ``H100 2g.20gb``; "" where the name says nothing."""
    card = _CARD.search(gres)
    return " ".join(filter(None, [card[1].upper() if card else "", slice_of(gres)]))


def count_of(gres: str) -> int:
    """How many of them are asked for."""
    last = gres.rpartition(":")[2]
    return int(last) if last.isdecimal() else 1


def plan_job(request: JobRequest, runtime: Runtime) -> Job:
    """What the job takes. Nothing is loaded or fetched.
    Raises UsageError: nobody says which GPU it gets, or it asks for several slices; NothingFits,
    ModelError: as planning does."""
    if request.minutes is not None and request.command in _BATCHES:
        least = WARNING_SECONDS // 60 + 1
        if request.minutes < least:
            raise UsageError(
                f"--time {request.minutes} is over before a document is begun: no more are taken "
                f"in the last {WARNING_SECONDS // 60} minutes",
                hint=f"--time {least} at least",
            )
    if slice_of(request.gres) and count_of(request.gres) > 1:
        raise UsageError(
            f"{request.gres} asks for {count_of(request.gres)} slices, and CUDA uses one in a "
            "process", hint=f"one slice, and --array {count_of(request.gres)} for as many jobs",
        )  # fmt: skip
    hardware = _machine_of(request, runtime)
    stock = Stock(runtime.store, runtime.note)
    with open_planner(runtime, hardware) as planner:
        candidates = offer(request.model, stock, runtime)
        vision = True if request.command == "describe" else None
        plan = planner.plan(candidates, constraints_of(request.model, vision=vision))
    candidate = next(each for each in candidates if each.name == plan.name)
    return _job(request, plan, candidate)


def _machine_of(request: JobRequest, runtime: Runtime) -> "Hardware":
    """The node that the job will get, on the ground of this one.
    Raises UsageError: nobody says which GPU it has."""
    ram = request.ram_bytes or _NODE_BYTES
    if not request.uses_gpu:
        return pretend(0, ram, "", runtime.hardware, runtime.note)
    titles = [request.device] if request.device else [*_titles_of(request.gres)]
    for title in titles:
        try:
            return pretend(request.vram_bytes, ram, title, runtime.hardware, runtime.note)
        except UsageError:
            if request.device:
                raise
    size = _MIG.search(request.gres)
    vram_bytes = request.vram_bytes or (int(size[2]) * 10**9 if size else None)
    if vram_bytes is None:
        raise UsageError(
            f"--gres {request.gres} does not say which GPU the job gets",
            hint='name it (--gres gpu:a100:1), or say what it is: --device "A100 40GB" or '
            "--vram 40GiB; --cpu is without one",
        )
    return pretend(vram_bytes, ram, "", replace(runtime.hardware, devices=()), runtime.note)


def _titles_of(gres: str) -> Iterator[str]:
    """What a card may be called, the most exact first."""
    title = title_of(gres)
    if title and title != slice_of(gres):
        yield title
    kind = gres.split(":")[1:2]
    if kind and not kind[0].isdecimal():
        yield re.sub(r"[_\-]+", " ", kind[0])


def _job(request: JobRequest, plan: Plan, candidate: Candidate) -> Job:
    cpus, cpus_why = plan.threads, "the threads of the plan"
    if plan.devices:
        cpus, cpus_why = _CPUS_ON_GPU, "the GPU computes; these read documents ahead of it"
    assert plan.ledger is not None  # every plan of a planner has one
    needed = plan.ledger.account(RAM).taken_bytes
    memory_bytes = math.ceil((needed + _BESIDE_BYTES) / GIB) * GIB
    memory_why = (
        f"the model takes {render_bytes(needed)} of main memory, "
        f"{render_bytes(_BESIDE_BYTES)} are for documents and Python"
    )
    minutes, minutes_why = _estimate(request, plan, candidate)
    place = title_of(request.gres) or request.device or "a GPU"
    return Job(
        request=request, plan=plan, candidate=candidate,
        title=f"{brief_title(candidate)} on {place if plan.devices else 'the CPU'}",
        cpus=request.cpus or cpus, cpus_why="as you said" if request.cpus else cpus_why,
        memory_bytes=request.ram_bytes or memory_bytes,
        memory_why=f"as you said; {memory_why}" if request.ram_bytes else memory_why,
        minutes=request.minutes or minutes,
        minutes_why="as you said" if request.minutes else minutes_why,
    )  # fmt: skip


def _estimate(request: JobRequest, plan: Plan, candidate: Candidate) -> tuple[int, str]:
    """Minutes, and how they were guessed."""
    speed = plan.speed
    if request.command == "serve":
        return 60, "an hour to answer in; --time says another"
    if request.files is None or speed is None:
        return 60, "an hour, because the number of files is not known; --time says another"
    prompt, answer = _TOKENS[request.command]
    rate = speed.tokens_per_second
    each = prompt / (_PREFILL_TIMES * rate) + answer / rate
    files = math.ceil(request.files / request.shards)
    load = _START_SECONDS + candidate.header.file_bytes / _LOAD_BYTES_A_SECOND
    minutes = _SAFETY * (load + files * each) / 60 + WARNING_SECONDS / 60
    rounded = max(_LEAST_MINUTES, math.ceil(minutes / _STEP_MINUTES) * _STEP_MINUTES)
    how = "measured" if speed.measured else "estimated"
    what = (
        f"{files:,} file{'s' if files != 1 else ''} a job"
        if request.shards > 1
        else (f"{files:,} file{'s' if files != 1 else ''}")
    )
    return rounded, (
        f"{what} of about {each:,.0f} s at {rate:,.0f} tokens a second ({how}), "
        f"{load:,.0f} s to load, times {_SAFETY} to be safe"
    )


# ---------------------------------------------------------------------------- the script


def render_script(job: Job) -> str:
    """The script, each line with the reason for it above it; it passes ``shellcheck``."""
    request = job.request
    lines = [
        "#!/bin/bash",
        f"# {request.command}: {job.title}. Written by gemma-edge {__version__}.",
        f"# Hand it in with: {_SUBMITS[request.scheduler]} "
        f"{'< ' if request.scheduler == 'lsf' else ''}job.sh",
        "",
    ]
    for why, directives in _HEADERS[request.scheduler](job):
        lines += [f"# {why}", *directives]
    lines += ["", "set -euo pipefail", *_folder(request)]
    if request.modules:
        lines += ["", "# Software of this cluster that the job needs; modules use what is not set."]
        lines += ["set +u", *(f"module load {shlex.quote(each)}" for each in request.modules)]
        lines += ["set -u"]
    lines += ["", "# Compute nodes often reach no network, and nothing here needs one."]
    lines += ["export GEMMA_EDGE_OFFLINE=1"]
    for name, value, why in request.exports:
        lines += [f"# {why}", f"export {name}={_exported(name, value)}"]
    lines += ["", *_body(job)]
    return "\n".join(lines) + "\n"


def _exported(name: str, value: str) -> str:
    if name == "LD_LIBRARY_PATH":
        return f'{shlex.quote(value)}"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"'
    return shlex.quote(value)


def _folder(request: JobRequest) -> list[str]:
    return ['cd "$PBS_O_WORKDIR"'] if request.scheduler == "pbs" else []


Header = Iterator[tuple[str, list[str]]]
_SHARES = "Each job reads its own share of the files; the last one puts the rows together."


def _name(request: JobRequest) -> str:
    return request.name or f"gemma-edge-{request.command}"


def _hours(minutes: int) -> tuple[int, int]:
    return divmod(minutes, 60)


def _slurm(job: Job) -> Header:
    request = job.request
    hours, minutes = _hours(job.minutes)
    yield (
        "The name in the queue, and where the output goes.",
        [
            f"#SBATCH --job-name={_name(request)}",
            f"#SBATCH --output=%x-{'%A_%a' if request.shards > 1 else '%j'}.log",
        ],
    )
    if request.partition:
        yield "The queue.", [f"#SBATCH --partition={request.partition}"]
    if request.account:
        yield "Who pays.", [f"#SBATCH --account={request.account}"]
    if request.uses_gpu:
        which = "One slice of a card: CUDA uses one in a process."
        whole = "A whole card, which no other job shares."
        if count_of(request.gres) > 1:
            whole = "Whole cards, which no other job shares."
        yield which if slice_of(request.gres) else whole, [f"#SBATCH --gres={request.gres}"]
    yield f"One process. Cores: {job.cpus_why}.", [
        "#SBATCH --nodes=1", "#SBATCH --ntasks=1", f"#SBATCH --cpus-per-task={job.cpus}",
    ]  # fmt: skip
    yield f"Memory: {job.memory_why}.", [f"#SBATCH --mem={job.memory_bytes // GIB}G"]
    yield f"Time: {job.minutes_why}.", [f"#SBATCH --time={hours:02}:{minutes:02}:00"]
    if request.command in _BATCHES:
        yield (
            f"{WARNING_SECONDS} s before its end it is told, ends its document, goes on later.",
            [
                f"#SBATCH --signal=B:USR1@{WARNING_SECONDS}",
                "#SBATCH --requeue",
                "#SBATCH --open-mode=append",
            ],
        )
    if request.command == "serve":
        yield "A minute before its end it takes no more, and ends its answers.", [
            "#SBATCH --signal=B:TERM@60"
        ]  # fmt: skip
    if request.shards > 1:
        yield _SHARES, [f"#SBATCH --array=1-{request.shards}"]


def _any_kind(request: JobRequest) -> str:
    """What a person has to add where only the site knows what a kind of GPU is called."""
    kind = title_of(request.gres).removesuffix(slice_of(request.gres)).strip() or request.device
    if request.scheduler == "lsf":
        return f"; GPUs of any kind: :gmodel=MODEL asks for {kind} alone" if kind else ""
    kind = " ".join(filter(None, [kind, slice_of(request.gres)]))
    return f"; GPUs of any kind: add what your site calls {kind}" if kind else ""


def _pbs(job: Job) -> Header:
    request = job.request
    hours, minutes = _hours(job.minutes)
    gpus = f":ngpus={count_of(request.gres)}" if request.uses_gpu else ""
    yield "The name in the queue; one file of output.", [f"#PBS -N {_name(request)}", "#PBS -j oe"]
    if request.partition:
        yield "The queue.", [f"#PBS -q {request.partition}"]
    if request.account:
        yield "Who pays.", [f"#PBS -A {request.account}"]
    yield (
        f"Cores: {job.cpus_why}. Memory: {job.memory_why}{_any_kind(request)}.",
        [f"#PBS -l select=1:ncpus={job.cpus}{gpus}:mem={job.memory_bytes // GIB}gb"],
    )
    yield f"Time: {job.minutes_why}.", [f"#PBS -l walltime={hours:02}:{minutes:02}:00"]
    if request.command in _BATCHES:
        yield "After a node has failed it is run again, and goes on where it was.", ["#PBS -r y"]
    if request.shards > 1:
        yield _SHARES, [f"#PBS -J 1-{request.shards}"]


def _lsf(job: Job) -> Header:
    request = job.request
    hours, minutes = _hours(job.minutes)
    shares = f"[1-{request.shards}]" if request.shards > 1 else ""
    number = "%J_%I" if request.shards > 1 else "%J"
    yield "The name in the queue, and where the output goes.", [
        f'#BSUB -J "{_name(request)}{shares}"', f"#BSUB -o {_name(request)}-{number}.log",
    ]  # fmt: skip
    if request.partition:
        yield "The queue.", [f"#BSUB -q {request.partition}"]
    if request.account:
        yield "Who pays.", [f"#BSUB -P {request.account}"]
    if request.uses_gpu:
        # In LSF's exclusive mode a card has one process, and a command may have several.
        part = _MIG.search(request.gres)
        how = f"mig={part[1]}" if part else "mode=shared:j_exclusive=yes"
        yield (
            f"No other job shares it{_any_kind(request)}.",
            [f'#BSUB -gpu "num={count_of(request.gres)}:{how}"'],
        )
    yield f"Cores: {job.cpus_why}. Memory: {job.memory_why}.", [
        f"#BSUB -n {job.cpus}", '#BSUB -R "span[hosts=1]"',
        f"#BSUB -M {job.memory_bytes // GIB}GB",
        f'#BSUB -R "rusage[mem={job.memory_bytes // GIB}GB/host]"',
    ]  # fmt: skip
    yield f"Time: {job.minutes_why}.", [f"#BSUB -W {hours:02}:{minutes:02}"]
    if request.command in _BATCHES:
        yield "Before its end it is told, and ends the document that it is at.", [
            f"#BSUB -wt {math.ceil(WARNING_SECONDS / 60)}", "#BSUB -wa USR1", "#BSUB -r",
        ]  # fmt: skip


_HEADERS: dict[Scheduler, Callable[[Job], Header]] = {"slurm": _slurm, "pbs": _pbs, "lsf": _lsf}
_BATCHES = ("extract", "describe")
_INDEX: dict[Scheduler, str] = {
    "slurm": "SLURM_ARRAY_TASK_ID", "pbs": "PBS_ARRAY_INDEX", "lsf": "LSB_JOBINDEX",
}  # fmt: skip


def _body(job: Job) -> list[str]:
    request = job.request
    words = shlex.join([*_program(job), *request.words])
    if "$" in words or "`" in words:  # quoted, as it is meant
        return ["# shellcheck disable=SC2016", *_run(job, words)]
    return _run(job, words)


def _program(job: Job) -> Iterator[str]:
    """What is run: the program, in a container where there is one. That sees home, the working
    folder and what it is given besides: models to read, other folders to read and write."""
    request = job.request
    if request.container is None:
        yield from request.program
        return
    yield from ("apptainer", "exec", *(("--nv",) if request.uses_gpu else ()))
    models = _models_folder(job.candidate.model_path)
    yield from ("--bind", f"{models}:{models}:ro")
    for folder in request.folders:
        yield from ("--bind", str(folder))
    yield from (str(request.container), "gemma-edge")


def _models_folder(model: Path) -> Path:
    """What holds a model whole: its folder, or in Hugging Face's cache, which is made of links,
    the cache."""
    names = [each.name.startswith("models--") for each in model.parents]
    return model.parents[names.index(True) + 1] if True in names else model.parent


_OWN_NUMBER: dict[Scheduler, str] = {
    "slurm": "SLURM_JOB_ID", "pbs": "PBS_JOBID%%[!0-9]*", "lsf": "LSB_JOBID",
}  # fmt: skip
_LOCAL_PORT = 8765


def _serve(request: JobRequest, words: str) -> list[str]:
    """A server that its owner reaches through SSH, and nobody else without the key."""
    number = f"${{{_OWN_NUMBER[request.scheduler]}}}"
    lines, key = [], "the one that you gave it"
    if request.port is None:
        lines += ["# A port that no other job of this node has."]
        lines += [f"number={number}", "port=$((20000 + number % 20000))"]
        words += ' --port "$port"'
    else:
        lines += [f"port={request.port}"]
    if not request.has_key:
        lines += [
            "# Other users of the node reach its ports too: only who has the key is answered.",
            "# It is in a file of yours alone: words of a command are shown to all (ps, scontrol).",
            "key=$PWD/gemma-edge.key",
            'if [ ! -s "$key" ]; then',
            '  (umask 077; head -c 24 /dev/urandom | base64 | tr +/ -_ > "$key")',
            "fi",
        ]
        words += ' --api-key "@$key"'
        key = "in $key"
    return [
        *lines,
        "# It listens on its node alone; the log says how it is reached.",
        "cat <<END",
        f"On your own machine: ssh -N -L {_LOCAL_PORT}:127.0.0.1:$port -J LOGIN_NODE $(hostname)",
        f"Then http://127.0.0.1:{_LOCAL_PORT}/ is the page, http://127.0.0.1:{_LOCAL_PORT}/v1 for "
        "programs.",
        f"The key is {key}.",
        "END",
        f"exec {words}",
    ]


def _run(job: Job, words: str) -> list[str]:
    request = job.request
    if request.command == "serve":
        return _serve(request, words)
    if request.command not in _BATCHES:
        return [f"exec {words}"]
    if request.shards > 1:
        words += f' --shard "${_INDEX[request.scheduler]}/{request.shards}"'
    is_lsf = request.scheduler == "lsf"
    if request.scheduler == "pbs" and not any(each.startswith("--until") for each in request.words):
        words += f" --until {job.minutes - WARNING_SECONDS // 60}m"
    own = "${LSB_JOBID}[${LSB_JOBINDEX}]" if request.shards > 1 else "$LSB_JOBID"
    often_enough = [
        "  else",
        '    echo "handed in again often enough: look whether --time is too short"',
        "  fi",
    ]
    again = {
        "slurm": [
            f'  if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {_RESTARTS} ]; then',
            '    scontrol requeue "$SLURM_JOB_ID"',
            *often_enough,
        ],
        "lsf": [
            '  count=$(cat "$again" 2>/dev/null || echo 0)',
            f'  if [ "$count" -lt {_RESTARTS} ]; then',
            '    echo $((count + 1)) > "$again"',
            f'    brequeue -r "{own}"',
            *often_enough,
        ],
        "pbs": ['  echo "there is more to do: hand it in again"'],
    }[request.scheduler]
    return [
        *(
            ["again=.gemma-edge-$LSB_JOBID-$LSB_JOBINDEX  # how often it was handed in again"]
            if is_lsf
            else []
        ),
        "# What the scheduler tells this script is passed on. The command then ends the document",
        "# that it is at, and says with status 75 that there is more to do.",
        f"{words} &",
        "job=$!",
        "trap 'told=1; kill -USR1 \"$job\" 2>/dev/null || true' USR1 TERM",
        "told=1",
        'while [ "$told" -eq 1 ]; do  # a signal ends `wait` before the job has ended',
        "  told=0",
        "  status=0",
        '  wait "$job" || status=$?',
        "done",
        'if [ "$status" -eq 75 ]; then',
        *again,
        *(["else", '  rm -f "$again"'] if is_lsf else []),
        "fi",
        'exit "$status"',
    ]


def cuda_exports(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """``LD_LIBRARY_PATH`` for the folders of this environment that hold CUDA's libraries."""
    told = environment.get
    folders = [Path(each) for each in told("LD_LIBRARY_PATH", "").split(os.pathsep) if each]
    for name, below in (("CUDA_HOME", "lib64"), ("CUDA_PATH", "lib64"), ("CONDA_PREFIX", "lib")):
        if root := told(name):
            folders.append(Path(root, below))
    found = [str(each) for each in dict.fromkeys(folders) if _has_cuda(each)]
    if found:
        yield "LD_LIBRARY_PATH", os.pathsep.join(found), "Where CUDA's libraries are."


def _has_cuda(folder: Path) -> bool:
    try:
        return any(folder.glob("libcudart.so*")) or any(folder.glob("libcublas.so*"))
    except OSError:
        return False


def store_exports(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Where models and our own files are, as far as this environment says so."""
    for name in ("GEMMA_EDGE_MODELS_DIR", "HF_HOME", "HF_HUB_CACHE", "XDG_DATA_HOME"):
        if value := environment.get(name):
            yield name, value, "Where models are." if name[:3] != "XDG" else "Where our files are."


def own_program() -> tuple[str, ...]:
    """How this very installation is run."""
    beside = Path(sys.executable).with_name("gemma-edge")
    return (str(beside),) if beside.exists() else (sys.executable, "-m", "gemma_edge")


def installed_scheduler(environment: Mapping[str, str]) -> Scheduler:
    """The one whose command is here; SLURM where there is none."""
    found = (each for each in SCHEDULERS if find_program(_SUBMITS[each], environment))
    return next(found, "slurm")


def minutes_of(limit: str) -> int | None:
    """SLURM's spelling of a time (``1-00:00:00``, ``4:00:00``, ``30``); None is without a limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit.strip())
    if not found:
        return None
    days, first, second, third = (int(each) if each else 0 for each in found.groups())
    if found[1] or found[4]:
        return days * 1440 + first * 60 + second
    return first + (1 if second else 0)
