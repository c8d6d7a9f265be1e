"""``gemma-edge hpc``: a job script for a cluster, and what is missing before it is handed in."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gemma_edge.app.request import ModelRequest
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import Actions, argument, as_file, option, reading
from gemma_edge.cli.options import ShowFlags, StoreFlags, parse_size
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import open_runtime
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.records import dataclass
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from gemma_edge.app.hpc import Job, JobRequest, Scheduler
else:
    Scheduler = Any

HELP = """\
A job script for a cluster, and what is missing for it: by the plan for the GPU that it will get.

\b
gemma-edge pull e4b                            # on the login node, to the shared disk
gemma-edge hpc check extract papers/ -m e4b
gemma-edge hpc script --gres gpu:a100:1 extract papers/ -m e4b --out rows.jsonl > job.sh
gemma-edge hpc script --gres gpu:2g.20gb:1 --array 8 extract papers/ --out rows.jsonl > job.sh
sbatch job.sh

What stands before the command is about the job, what follows is the command itself. With --array
each job reads its own share of the files; the last one puts the rows together.
"""
JOBS = ("extract", "describe", "chat", "serve")
_MOST_JOBS = 10_000


def _minutes(text: str) -> int:
    """``90``, ``1:30:00``, ``2h``, ``1-00:00:00`` in minutes."""
    from gemma_edge.app.hpc import minutes_of  # noqa: PLC0415

    if text[-1:] in ("h", "m") and text[:-1].isdecimal():
        return int(text[:-1]) * (60 if text[-1] == "h" else 1)
    found = minutes_of(text)
    if not found:
        raise ValueError
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFlags:
    """What is said of the job; the rest follows from the plan."""

    words: Annotated[
        tuple[str, ...], argument("COMMAND …", f"One of {', '.join(JOBS)}, as it is to be run.")
    ]
    scheduler: Annotated[Scheduler | None, option(
        "--scheduler", choices=("slurm", "pbs", "lsf"), help="(default: the one that is here)"
    )] = None  # fmt: skip
    partition: Annotated[
        str, option("--partition", "-p", metavar="NAME", help="The queue of the scheduler.")
    ] = ""
    account: Annotated[str, option("--account", metavar="NAME", help="Who pays.")] = ""
    gres: Annotated[str, option(
        "--gres", metavar="NAME", show_default=True,
        help="The GPU or slice, as the scheduler calls it: gpu:a100:1, gpu:2g.20gb:1.",
    )] = "gpu:1"  # fmt: skip
    cpu: Annotated[bool, option("--cpu", help="No GPU at all.")] = False
    device: Annotated[str, option(
        "--device", metavar="TITLE", help='Which card that is, where --gres does not say: "A40".'
    )] = ""  # fmt: skip
    vram_bytes: Annotated[int | None, option(
        "--vram", metavar="SIZE", parser=parse_size, help="Or how much memory it has."
    )] = None  # fmt: skip
    ram_bytes: Annotated[int | None, option(
        "--mem", metavar="SIZE", parser=parse_size, help="Main memory (default: as planned)."
    )] = None  # fmt: skip
    cpus: Annotated[
        int | None, option("--cpus", metavar="N", min=1, help="Cores (default: by the plan).")
    ] = None
    minutes: Annotated[int | None, option(
        "--time", "-t", metavar="TIME", help="Minutes, 2h or 4:00:00 (default: by the files).",
        parser=reading(_minutes, "is not a time, like 90, 2h or 4:00:00"),
    )] = None  # fmt: skip
    shards: Annotated[int, option(
        "--array", metavar="N", min=1, max=_MOST_JOBS,
        help="So many jobs, each with its own share of the files.",
    )] = 1  # fmt: skip
    modules: Annotated[tuple[str, ...], option(
        "--module", metavar="NAME", help="`module load` it first; repeatable."
    )] = ()  # fmt: skip
    container: Annotated[Path | None, option(
        "--container", metavar="FILE.sif", parser=as_file,
        help="Run the command in this Apptainer image (examples/apptainer.def makes one)."
    )] = None  # fmt: skip
    job_name: Annotated[str, option("--job-name", metavar="NAME", help="In the queue.")] = ""


def script(asked: JobFlags, store: StoreFlags, context: Context, output: Output) -> ExitStatus:
    """Print the script of a job, each line with the reason for it.

    \b
    gemma-edge hpc script --gres gpu:a100:1 extract papers/ --out rows.jsonl > job.sh
    gemma-edge hpc script --cpu --time 4h describe photos/ --out rows.jsonl > job.sh
    gemma-edge hpc script --gres gpu:1 --vram 24GiB -p gpu serve --api-key @key > job.sh
    """
    from gemma_edge.app.hpc import render_script  # noqa: PLC0415

    job = _planned(asked, store, context, output)
    output.data(render_script(job).rstrip("\n"))
    return ExitStatus.OK


def check(
    asked: JobFlags, store: StoreFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """Say what a job needs and what is missing, on a login node, without a GPU. Status 1 if
    something is.

    \b
    gemma-edge hpc check --gres gpu:a100:1 -p gpu extract papers/ -m e4b
    """
    from gemma_edge.app.hpc import render_script  # noqa: PLC0415
    from gemma_edge.app.hpc_check import asker, check_job  # noqa: PLC0415
    from gemma_edge.cli.doctor import NAME_COLUMNS, show_checks  # noqa: PLC0415

    job = _planned(asked, store, context, output)
    found = list(check_job(job, render_script(job), asker(context.environment)))
    if show.json:
        output.document({"needs": _as_needs(job), "checks": [asdict(each) for each in found]})
    else:
        output.table([(f"  {name:{NAME_COLUMNS}}", said) for name, said in _needs(job)])
        show_checks(found, context, output)
    broken = any(each.state == "problem" for each in found)
    return ExitStatus.FAILED if broken else ExitStatus.OK


def _planned(asked: JobFlags, store: StoreFlags, context: Context, output: Output) -> "Job":
    from gemma_edge.app.hpc import plan_job  # noqa: PLC0415

    runtime = open_runtime(store, context, output)
    runtime.begin(engine=False)
    return plan_job(_request(asked, store, context, output.note), runtime)


def _request(
    asked: JobFlags, store: StoreFlags, context: Context, note: Callable[[str], None]
) -> "JobRequest":
    """Raises UsageError: what follows is no command of a job, or is not written as it should be."""
    from gemma_edge.app import hpc  # noqa: PLC0415
    from gemma_edge.cli.main import flags_of  # noqa: PLC0415

    command, *words = asked.words
    if command not in JOBS:
        raise UsageError(
            f"a job is one of {', '.join(JOBS)}, not `{command}`",
            hint="gemma-edge hpc script [what the job gets] extract FILE …",
        )
    values = flags_of(command, words)
    if asked.cpu and (asked.vram_bytes or asked.device):
        raise UsageError("--cpu, and a GPU is described", hint="leave out one of them")
    if asked.shards > 1 and command not in ("extract", "describe"):
        raise UsageError(f"`{command}` has no files to share out", hint="without --array")
    if asked.shards > 1 and values.get("out") is None:
        raise UsageError("the jobs of --array need a file for their rows", hint="--out rows.jsonl")
    _check_words(command, values)
    # How many at once, it decides in the job, by the memory that is there.
    wanted = {each.name for each in fields(ModelRequest)} - {"at_once"}
    model = {name: value for name, value in values.items() if name in wanted}
    exports = [*hpc.cuda_exports(context.environment), *hpc.store_exports(context.environment)]
    if store.models_dir is not None and "--models-dir" not in words:
        words += ["--models-dir", str(store.models_dir.absolute())]
    scheduler = asked.scheduler or hpc.installed_scheduler(context.environment)
    return hpc.JobRequest(
        command=command, words=(command, *words),  # type: ignore[arg-type]
        scheduler=scheduler, name=asked.job_name,
        partition=asked.partition, account=asked.account, gres="" if asked.cpu else asked.gres,
        device=asked.device, vram_bytes=asked.vram_bytes, ram_bytes=asked.ram_bytes,
        cpus=asked.cpus, minutes=asked.minutes, shards=asked.shards, modules=asked.modules,
        files=_count_files(command, values, note), program=hpc.own_program(),
        exports=tuple(exports), model=ModelRequest(**_frozen(model)),
        container=asked.container and asked.container.absolute(),
        folders=_folders(values) if asked.container else (),
        port=values["port"] if {"--port"} & {word.partition("=")[0] for word in words} else None,
        has_key=bool(values.get("keys") or values.get("no_key")),
    )  # fmt: skip


def _check_words(command: str, values: dict[str, Any]) -> None:
    """Raises UsageError: a key that everybody could read, or a conversation with nobody."""
    for key in values.get("keys") or ():
        if not key.startswith("@"):
            raise UsageError(
                "a key among the words of a job is shown to every user (ps, scontrol)",
                hint="--api-key @FILE; without one the job makes a key, in a file of yours alone",
            )
    if command == "chat" and not (values.get("text") or values.get("prompt")):
        raise UsageError(
            "a job has nobody to talk to",
            hint='chat "a question", or a conversation: srun --pty --gres=gpu:1 gemma-edge chat',
        )


def _folders(values: dict[str, Any]) -> tuple[Path, ...]:
    """The folders of the files that the command reads and writes."""
    named = [*(values.get("files") or ()), *filter(None, [values.get("out")])]
    paths = [Path(each).absolute() for each in named]
    found = dict.fromkeys(path if path.is_dir() else path.parent for path in paths)
    return tuple(each for each in found if Path.cwd() not in (each, *each.parents))


def _frozen(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}


def _count_files(command: str, values: dict[str, Any], note: Callable[[str], None]) -> int | None:
    """How many files the job will read; None where it reads none.
    Raises InputError: what is named is not there."""
    if command not in ("extract", "describe"):
        return 1 if command == "chat" else None
    from gemma_edge.app.batch import DOCUMENTS, IMAGES, find_sources  # noqa: PLC0415

    kind = DOCUMENTS if command == "extract" else IMAGES
    files = [Path(each) for each in values.get("files") or ()]
    if Path("-") in files:
        raise UsageError("a job has no stdin", hint="name files or a folder")
    return len(find_sources(files, kind, note=note).each)


def _needs(job: "Job") -> Iterator[tuple[str, str]]:
    """What the job takes, with the reason."""
    yield "job", job.title
    yield "GPU", job.request.gres or "none"
    yield "memory", f"{render_bytes(job.memory_bytes)}: {job.memory_why}"
    yield "cores", f"{job.cpus}: {job.cpus_why}"
    yield "time", f"{job.minutes} min: {job.minutes_why}"


def _as_needs(job: "Job") -> dict[str, Any]:
    return {
        "model": job.candidate.name, "gres": job.request.gres or None, "cpus": job.cpus,
        "memory_bytes": job.memory_bytes, "minutes": job.minutes, "shards": job.request.shards,
        "files": job.request.files,
    }  # fmt: skip


ACTIONS = Actions(help=HELP, commands={"script": script, "check": check}, own_words=True)
