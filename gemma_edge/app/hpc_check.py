"""What a job on a cluster needs and whether it is there, asked on a login node, without a GPU."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gemma_edge.app.hpc import Job, JobRequest, Scheduler, count_of, minutes_of
from gemma_edge.doctor import CheckResult
from gemma_edge.planning.render import brief_title
from gemma_edge.records import dataclass
from gemma_edge.trust import find_program
from gemma_edge.units import render_bytes

Ask = Callable[[Sequence[str], str], "str | None"]
_ASK_SECONDS = 20


def asker(environment: Mapping[str, str]) -> Ask:
    """Asks a program, with a text as its stdin: what it prints, on both of its streams; None where
    it is not there, fails or hangs."""

    def ask(words: Sequence[str], text: str) -> str | None:
        program = find_program(words[0], environment)
        if program is None:
            return None
        try:
            done = subprocess.run(
                [program, *words[1:]], capture_output=True, text=True, timeout=_ASK_SECONDS,
                input=text, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout + done.stderr if done.returncode == 0 else None

    return ask


def check_job(job: Job, script: str, ask: Ask) -> Iterator[CheckResult]:
    """What the job needs and whether it is there: the model, the program, the queue with its GPUs,
    time and memory, and whether the scheduler would take ``script``."""
    request = job.request
    yield _check_model(job)
    yield _check_program(request)
    queues = _READERS[request.scheduler](ask)
    if queues is None:
        programs, others = (
            _PROGRAMS[request.scheduler],
            [*filter(request.scheduler.__ne__, _PROGRAMS)],
        )
        yield CheckResult(
            "scheduler", "problem", f"{programs}: this is no login node of such a cluster",
            fix=f"log in to one, or --scheduler {' or '.join(others)}",
        )  # fmt: skip
        return
    yield _check_queue(job, queues)
    yield from _check_limits(job, queues)
    if request.scheduler != "slurm":
        yield CheckResult(
            "script", "skipped", f"{request.scheduler} tries a script only by taking it"
        )
        return
    tried = ask(["sbatch", "--test-only"], script)
    if tried is None:
        yield CheckResult(
            "sbatch", "problem", "the scheduler refuses the script",
            fix="gemma-edge hpc script … > job.sh; sbatch --test-only job.sh says why",
        )  # fmt: skip
    else:
        yield CheckResult("sbatch", "fine", " ".join(tried.replace("sbatch:", "").split()))


@dataclass(frozen=True, slots=True)
class _Queue:
    """A group of nodes of a partition: what it has, its time limit, and memory and cores a node."""

    name: str
    gres: str
    minutes: int | None
    memory_bytes: int
    cpus: int

    is_open: bool = True

    def offers(self, wanted: str) -> bool:
        """Whether it has what ``--gres`` asks for: by type, where one is named, and so many."""
        if not wanted:
            return True
        kind, _, rest = wanted.partition(":")
        name = "" if not rest or rest.isdecimal() else rest.rpartition(":")[0] or rest
        for each in self.gres.split(","):
            own, _, more = each.partition("(")[0].partition(":")
            type_name = "" if more.isdecimal() else more.rpartition(":")[0] or more
            if own == kind and (not name or type_name == name):
                return count_of(wanted) <= count_of(each.partition("(")[0])
        return False


Queues = list[_Queue] | None  # None: the scheduler's programs do not answer


def _slurm_queues(ask: Ask) -> Queues:
    said = ask(["sinfo", "--noheader", "--format=%R|%G|%l|%m|%c"], "")
    if said is None:
        return None
    found = []
    for line in said.splitlines():
        if line.count("|") == 4:  # noqa: PLR2004
            name, gres, limit, memory, cpus = line.split("|")
            found.append(_Queue(
                name.strip("*"), gres, minutes_of(limit), _first_number(memory) << 20,
                _first_number(cpus),
            ))  # fmt: skip
    return found


def _pbs_queues(ask: Ask) -> Queues:
    """Each queue with each kind of node that it may use (OpenPBS and PBS Professional)."""
    said, nodes = ask(["qstat", "-Qf"], ""), ask(["pbsnodes", "-a"], "")
    if said is None or nodes is None:
        return None
    known = [
        node for _, node in _attributes(nodes) if not _OUT & {*node.get("state", "").split(",")}
    ]
    return [*dict.fromkeys(
        _Queue(
            name.removeprefix("Queue: "), _gpus(_first_number(_of(node, "ngpus"))),
            minutes_of(queue.get("resources_max.walltime", "")), _bytes(_of(node, "mem")),
            _first_number(_of(node, "ncpus")),
            queue.get("enabled") != "False" and queue.get("started") != "False",
        )
        for name, queue in _attributes(said)
        for node in known
        if _may_use(name.removeprefix("Queue: "), queue, node)
    )]  # fmt: skip


_OUT = {"down", "offline", "stale", "unknown", "state-unknown"}  # states of a node without jobs


def _of(node: Mapping[str, str], what: str) -> str:
    return node.get(f"resources_available.{what}", "")


def _may_use(name: str, queue: Mapping[str, str], node: Mapping[str, str]) -> bool:
    """Nodes are kept for a queue by its name, or for those that ask for their list (``Qlist``)."""
    asked = queue.get("default_chunk.Qlist")
    return node.get("queue", name) == name and (
        asked is None or asked in _of(node, "Qlist").split(",")
    )


def _attributes(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Names at the beginning of a line, each with the ``key = value`` lines below it."""
    for block in re.split(r"\n(?=\S)", text.replace("\n\t", "")):
        head, *lines = block.splitlines() or [""]
        pairs = (line.partition(" = ") for line in lines)
        if head.strip() and lines:
            yield head.strip(), {key.strip(): value.strip() for key, _, value in pairs}


def _lsf_queues(ask: Ask) -> Queues:
    """Each queue with each host that it names; of groups of hosts, with all."""
    said, hosts = ask(["bqueues", "-l"], ""), ask(["lshosts", "-w"], "")
    if said is None or hosts is None:
        return None
    gpus = _lsf_gpus(ask(["bhosts", "-gpu", "-w"], "") or "")
    rows = [line.split() for line in hosts.splitlines()[1:]]
    known = {row[0]: row for row in rows if len(row) > _SERVER and row[_SERVER] in ("Yes", "Dyn")}
    found = []
    for block in re.split(r"(?m)^QUEUE: ", said)[1:]:
        limit = re.findall(r"(?m)^[ \t]*RUNLIMIT[ \t]*\n[ \t]*([\d.]+) min", block)
        named = re.search(r"(?m)^HOSTS:(.*)", block)
        some = [re.sub(r"\+\d*$", "", each) for each in (named[1].split() if named else ())]
        for name in some if {*some} <= known.keys() and some else known:
            row = known[name]
            found.append(_Queue(
                block.split(maxsplit=1)[0], _gpus(gpus.get(name, 0)),
                int(float(limit[-1])) if limit else None, _bytes(row[_MAXMEM]),
                _first_number(row[_NCPUS]), "Open:" in block,
            ))  # fmt: skip
    return [*dict.fromkeys(found)]


_NCPUS, _MAXMEM, _SERVER = 4, 5, 7  # columns of lshosts


def _lsf_gpus(said: str) -> dict[str, int]:
    """How many GPUs each host has; only the first of its lines may name it."""
    found: dict[str, int] = {}
    name = ""
    for line in said.splitlines()[1:]:
        words = line.split()
        if not line[:1].isspace():
            name = words.pop(0) if words else ""
        if words and words[0].isdecimal():
            found[name] = found.get(name, 0) + 1
    return found


def _gpus(count: int) -> str:
    return f"gpu:{count}" if count else ""


def _first_number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0


def _bytes(text: str) -> int:
    """``527831088kb``, ``128gb``, ``15.3G``, in 1024s; 0 where it says nothing."""
    found = re.match(r"([\d.]+)([kmgt]?)", text.lower())
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2] or " ")) if found else 0


_READERS: dict[Scheduler, Callable[[Ask], Queues]] = {
    "slurm": _slurm_queues, "pbs": _pbs_queues, "lsf": _lsf_queues,
}  # fmt: skip
_PROGRAMS: dict[Scheduler, str] = {
    "slurm": "sinfo does not answer", "pbs": "qstat and pbsnodes do not answer",
    "lsf": "bqueues and lshosts do not answer",
}  # fmt: skip


def _wanted(request: JobRequest) -> str:
    """What the script asks for: PBS and LSF know a kind of GPU by a name of their site."""
    if request.scheduler == "slurm" or not request.gres:
        return request.gres
    return f"gpu:{count_of(request.gres)}"


def _check_model(job: Job) -> CheckResult:
    candidate = job.candidate
    title = brief_title(candidate)
    if not candidate.on_disk:
        return CheckResult(
            "model", "problem", f"{title} is not here, and a job has no network",
            fix=f"gemma-edge pull {shlex.quote(candidate.name)}",
        )  # fmt: skip
    kind = file_system_of(candidate.model_path)
    if kind in _LOCAL:
        return CheckResult(
            "model", "warning",
            f"{title} lies on a disk of this node ({kind}), which other nodes may not see",
            fix=f"--models-dir with a shared folder: gemma-edge pull {shlex.quote(candidate.name)} "
            "--models-dir DIR",
        )  # fmt: skip
    return CheckResult("model", "fine", f"{title} is here ({kind or 'its disk is not known'})")


_LOCAL = ("tmpfs", "ext4", "ext3", "xfs", "btrfs", "overlay", "zfs", "f2fs")


def file_system_of(path: Path, mounts: str = "/proc/mounts") -> str:
    """The type of the file system that a path is on (``nfs4``, ``lustre``); "" if unknown."""
    try:
        lines = Path(mounts).read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    whole = os.path.realpath(path)
    best = ("", "")
    for line in lines:
        words = line.split()
        if len(words) > 2:  # noqa: PLR2004
            place = words[1].replace("\\040", " ")
            inside = whole == place or whole.startswith(place.rstrip("/") + "/")
            if inside and len(place) >= len(best[0]):
                best = place, words[2]
    return best[1]


def _check_program(request: JobRequest) -> CheckResult:
    program = str(request.container or request.program[0])
    kind = file_system_of(Path(program))
    if request.container and not request.container.is_file():
        return CheckResult(
            "program", "problem", f"there is no image {program}",
            fix="apptainer build gemma-edge.sif examples/apptainer.def",
        )  # fmt: skip
    if kind in _LOCAL:
        return CheckResult(
            "program", "warning",
            f"{program} lies on a disk of this node ({kind}), which other nodes may not see",
            fix="a folder on the shared file system, with the environment or the image",
        )  # fmt: skip
    return CheckResult("program", "fine", f"{program} ({kind or 'its disk is not known'})")


def _check_queue(job: Job, queues: Sequence[_Queue]) -> CheckResult:
    request, wanted = job.request, _wanted(job.request)
    what = "partition" if request.scheduler == "slurm" else "queue"
    names = sorted({each.name for each in queues if each.is_open})
    mine, usual = _mine(request, queues), request.partition or "the usual one"
    if request.partition and request.partition not in {each.name for each in queues}:
        return CheckResult(what, "problem", f"there is no {what} {request.partition}",
                           fix=f"one of {', '.join(names)}" if names else "")  # fmt: skip
    if not any(each.is_open for each in mine):
        return CheckResult(what, "problem", f"{usual} takes no jobs now",
                           fix=f"one of {', '.join(names)}" if names else "later")  # fmt: skip
    if any(each.offers(wanted) for each in mine):
        return CheckResult(what, "fine", f"{usual} has {wanted or 'processors'}")
    elsewhere = sorted({each.name for each in queues if each.is_open and each.offers(wanted)})
    if elsewhere:
        return CheckResult(what, "problem", f"{usual} has no {wanted}",
                           fix=f"--partition {' or '.join(elsewhere)}")  # fmt: skip
    offered = sorted({each.gres for each in queues if each.gres not in ("", "(null)")})
    return CheckResult(what, "problem", f"no node has {wanted}",
                       fix=f"there is {', '.join(offered)}" if offered else "--cpu")  # fmt: skip


def _mine(request: JobRequest, queues: Sequence[_Queue]) -> list[_Queue]:
    return [each for each in queues if request.partition in ("", each.name)]


def _check_limits(job: Job, queues: Sequence[_Queue]) -> Iterator[CheckResult]:
    mine = [each for each in _mine(job.request, queues) if each.offers(_wanted(job.request))]
    if not mine:
        yield CheckResult("limits", "skipped", "no such nodes")
        return
    problems = [*_over_limits(job, mine)]
    fine = CheckResult("limits", "fine", "time, memory and cores are within what a node has")
    yield from problems or [fine]


def _over_limits(job: Job, nodes: Sequence[_Queue]) -> Iterator[CheckResult]:
    limits = [each.minutes for each in nodes if each.minutes is not None]
    if len(limits) == len(nodes) and job.minutes > max(limits):
        yield CheckResult(
            "time", "problem",
            f"{job.minutes} minutes are asked for, at most {max(limits)} are given",
            fix=f"--time {max(limits)}, and --array; each job goes on where it was stopped",
        )  # fmt: skip
    most_bytes = max(each.memory_bytes for each in nodes)
    if 0 < most_bytes < job.memory_bytes:
        yield CheckResult(
            "memory", "problem",
            f"{render_bytes(job.memory_bytes)} are needed, a node has {render_bytes(most_bytes)}",
            fix="a smaller model or --ctx",
        )  # fmt: skip
    cores = max(each.cpus for each in nodes)
    if 0 < cores < job.cpus:
        yield CheckResult(
            "cores", "problem", f"{job.cpus} are asked for, a node has {cores}",
            fix="--cpus with fewer",
        )  # fmt: skip
