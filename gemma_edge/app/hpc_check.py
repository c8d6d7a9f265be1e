"""What a job on a cluster needs and whether it is there, asked on a login node, without a GPU."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gemma_edge.app.hpc import Job, JobRequest, minutes_of
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
    if request.scheduler != "slurm":
        yield CheckResult(
            "scheduler", "skipped", f"only SLURM can be asked, not {request.scheduler}"
        )
        return
    said = ask(["sinfo", "--noheader", "--format=%R|%G|%l|%m|%c"], "")
    if said is None:
        yield CheckResult(
            "scheduler", "problem", "sinfo does not answer: this is no login node of a cluster",
            fix="log in to one, or --scheduler pbs",
        )  # fmt: skip
        return
    queues = [_Queue.of(line) for line in said.splitlines() if line.count("|") == 4]  # noqa: PLR2004
    yield _check_queue(job, queues)
    yield from _check_limits(job, queues)
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

    @classmethod
    def of(cls, line: str) -> "_Queue":
        name, gres, limit, memory, cpus = line.split("|")
        number = re.match(r"\d+", memory)
        cores = re.match(r"\d+", cpus)
        return cls(
            name.strip("*"), gres, minutes_of(limit), int(number[0] if number else 0) << 20,
            int(cores[0] if cores else 0),
        )  # fmt: skip

    def offers(self, wanted: str) -> bool:
        """Whether it has what ``--gres`` asks for: by type, where one is named."""
        if not wanted:
            return True
        kind, _, rest = wanted.partition(":")
        name = "" if not rest or rest.isdecimal() else rest.rpartition(":")[0] or rest
        for each in self.gres.split(","):
            own, _, more = each.partition("(")[0].partition(":")
            type_name = "" if more.isdecimal() else more.rpartition(":")[0] or more
            if own == kind and (not name or type_name == name):
                return True
        return False


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
    request = job.request
    names = sorted({each.name for each in queues})
    if request.partition and request.partition not in names:
        return CheckResult("partition", "problem", f"there is no partition {request.partition}",
                           fix=f"one of {', '.join(names)}")  # fmt: skip
    mine = [each for each in queues if not request.partition or each.name == request.partition]
    if any(each.offers(request.gres) for each in mine):
        what = request.gres or "processors"
        return CheckResult(
            "partition", "fine", f"{request.partition or 'the usual one'} has {what}"
        )
    elsewhere = sorted({each.name for each in queues if each.offers(request.gres)})
    if elsewhere:
        return CheckResult(
            "partition", "problem",
            f"{request.partition or 'the usual one'} has no {request.gres}",
            fix=f"--partition {' or '.join(elsewhere)}",
        )  # fmt: skip
    offered = sorted({each.gres for each in queues if each.gres not in ("", "(null)")})
    return CheckResult("partition", "problem", f"no node has {request.gres}",
                       fix=f"there is {', '.join(offered)}" if offered else "--cpu")  # fmt: skip


def _check_limits(job: Job, queues: Sequence[_Queue]) -> Iterator[CheckResult]:
    request = job.request
    mine = [
        each for each in queues
        if (not request.partition or each.name == request.partition) and each.offers(request.gres)
    ]  # fmt: skip
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
    if job.memory_bytes > most_bytes:
        yield CheckResult(
            "memory", "problem",
            f"{render_bytes(job.memory_bytes)} are needed, a node has {render_bytes(most_bytes)}",
            fix="a smaller model or --ctx",
        )  # fmt: skip
    cores = max(each.cpus for each in nodes)
    if job.cpus > cores:
        yield CheckResult(
            "cores", "problem", f"{job.cpus} are asked for, a node has {cores}",
            fix="--cpus with fewer",
        )  # fmt: skip
