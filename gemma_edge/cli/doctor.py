"""``gemma-edge doctor``: what this machine has, what stands in the way, and the way out."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from gemma_edge.app.runtime import OFFLINE_VARIABLES, standby_dir
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import option
from gemma_edge.cli.options import FetchFlags, ShowFlags
from gemma_edge.cli.output import Output, can_ask, confirm
from gemma_edge.cli.streaming import open_runtime
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.isolation import used_memory
from gemma_edge.records import dataclass
from gemma_edge.trust import find_program, without_working_folder
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from gemma_edge.doctor import CheckResult, Probes
    from gemma_edge.engine.proof import Proof

SIGNS = {"fine": "✔", "warning": "?", "problem": "✘", "skipped": "–"}
NAME_COLUMNS = 14  # "CUDA libraries"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorFlags:
    """``raw`` prints a recording instead of the checks; ``fix`` runs what they advise; ``prove``
    measures each device."""

    fix: Annotated[bool, option("--fix", help="Run the fixes, one by one, then look again.")] = (
        False
    )
    raw: Annotated[bool, option("--raw", help="Print what the machine said, for a bug report.")] = (
        False
    )
    prove: Annotated[
        bool, option("--prove", help="Measure each device: its answers, its speed, its memory.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FixFlags(FetchFlags):
    """Whether to ask first."""

    yes: Annotated[bool, option("--yes", "-y", help="Fix without asking.")] = False


def command(
    wish: DoctorFlags, store: FixFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """Find out what is wrong: llama.cpp, driver, GPU, memory, disk, hub, and a real decode.

    Each check says what was seen, and what to do. Status 1 if there is a problem.

    \b
    gemma-edge doctor
    gemma-edge doctor --fix
    gemma-edge doctor --prove
    gemma-edge doctor --raw > machine.json
    """
    return run(wish, store, show, context, output)


def run(  # noqa: PLR0913, PLR0917  (the request, the environment, and what asks it)
    wish: DoctorFlags,
    kept: FetchFlags,
    show: ShowFlags,
    context: Context,
    output: Output,
    probes: "Probes | None" = None,
) -> ExitStatus:
    """Look, show; fix and look again where that was asked for."""
    if wish.raw and (wish.prove or wish.fix):
        raise UsageError("--raw is what the machine says, and nothing else", hint="--raw alone")
    if wish.raw:
        from gemma_edge.hardware.detect import record  # noqa: PLC0415  (subprocess and threads)

        output.document(record(context.environment))
        return ExitStatus.OK
    from gemma_edge import doctor  # noqa: PLC0415  (the store and the engine's words)

    probes = probes or doctor.Probes(detect_hardware=context.detect_hardware)
    checks, proofs = _look(wish, kept, context, output, probes)
    if wish.fix and (commands := _commands(checks, context)):
        if not show.json:
            show_checks(checks, context, output)
        _fix(commands, kept, context, output)
        checks, proofs = _look(wish, kept, context, output, probes)
    problems = doctor.count_problems(checks)
    if show.json:
        found = {"ok": not problems, "checks": [asdict(check) for check in checks]}
        if wish.prove:
            found["proofs"] = [asdict(proof) for proof in proofs]
        output.document(found)
    else:
        show_checks(checks, context, output)
        _tell_waiting(context, output)
        output.note(_summary(problems, len(_commands(checks, context)), fixed=wish.fix))
    return ExitStatus.FAILED if problems else ExitStatus.OK


def _look(
    wish: DoctorFlags, kept: FetchFlags, context: Context, output: Output, probes: "Probes"
) -> "tuple[Sequence[CheckResult], Sequence[Proof]]":
    from gemma_edge import doctor  # noqa: PLC0415

    terminal = doctor.Terminal(
        attached=context.stdout_is_terminal, width=context.width, colours=output.colours,
        encoding=getattr(context.stdout, "encoding", None) or "utf-8",
    )  # fmt: skip
    switches = ["--offline"] if kept.offline else filter(context.is_on, OFFLINE_VARIABLES)
    runtime = open_runtime(kept, context, output)
    facts = doctor.gather(
        probes, context.environment, runtime.store, terminal,
        busy_programs=runtime.busy_programs() if wish.prove else None,
        offline_by=next(iter(switches), ""), on_step=output.note, full=wish.prove,
    )  # fmt: skip
    return doctor.examine(facts), facts.proofs


def show_checks(checks: "Sequence[CheckResult]", context: Context, output: Output) -> None:
    """A fix that is a command stays on its line, however long, so that it can be copied."""
    blank = " " * (NAME_COLUMNS + 2)
    shown: set[str] = set()
    for check in checks:
        lines = [check.seen, *filter(None, [check.why])]
        whole = bool(check.fix) and _parse(check.fix, context) is not None
        if check.fix and not whole:
            lines.append(f"fix: {check.fix}")
        heads = [f"{SIGNS[check.state]} {check.name:{NAME_COLUMNS}}", *[blank] * len(lines[1:])]
        output.table(list(zip(heads, lines, strict=True)))
        if whole:
            again = check.fix in shown
            output.page(f"{blank}  fix: {'the same as above' if again else check.fix}")
            shown.add(check.fix)


def _tell_waiting(context: Context, output: Output) -> None:
    """Models that stay loaded take memory that somebody may wonder about."""
    from gemma_edge.standby import statuses  # noqa: PLC0415

    for each in statuses(standby_dir(context.environment, context.home, context.platform)):
        size, title = render_bytes(used_memory(each.pid)), each.about.get("title", "a model")
        output.note(f"{title} stays loaded ({size}, pid {each.pid}); gemma-edge stop ends it")


def _summary(problems: int, runnable: int, *, fixed: bool) -> str:
    count = f"{problems} problem{'' if problems == 1 else 's'}"
    if fixed or not problems:
        return f"{count} left" if problems else "no problem"
    if runnable:
        fixes = "the fix" if runnable == 1 else "the fixes"
        return f"{count}; gemma-edge doctor --fix runs {fixes} above"
    return f"{count}; the way out stands above"


def _commands(checks: "Sequence[CheckResult]", context: Context) -> list[tuple[str, ...]]:
    """What the problems' fixes are as commands, each once."""
    from gemma_edge import doctor  # noqa: PLC0415

    found = (_parse(check.fix, context) for check in checks if check.state == "problem")
    commands = list(dict.fromkeys(filter(None, found)))
    return doctor.with_pip(commands, sys.executable, has_pip=_has_pip())


def _parse(fix: str, context: Context) -> tuple[str, ...] | None:
    from gemma_edge import doctor  # noqa: PLC0415

    uv = None if _has_pip() else find_program("uv", context.environment)
    return doctor.parse_fix(fix, sys.executable, uv=uv)


def _has_pip() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415

    return find_spec("pip") is not None


def _fix(
    commands: list[tuple[str, ...]], kept: FetchFlags, context: Context, output: Output
) -> None:
    """Show each, ask, run it. One that fails does not keep the next from being tried."""
    if not kept.yes and not can_ask(context):
        raise UsageError(
            "there is no terminal to ask at before something is changed",
            hint="gemma-edge doctor --fix --yes",
        )
    for each in commands:
        output.note(f"$ {shlex.join(each)}")
        if not kept.yes and not confirm("run it?", context, output, usual=False):
            continue
        status = _run(each, context, output)
        if status:
            output.problem(f"it ended with status {status}")


def _run(arguments: tuple[str, ...], context: Context, output: Output) -> int:
    """What it prints goes to stderr, line by line, as it comes."""
    try:
        process = subprocess.Popen(
            arguments, env=without_working_folder(context.environment),
            cwd=sys.prefix,  # uv.toml, pyproject.toml and pip/ of the working folder are not ours
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError as error:
        output.problem(f"{arguments[0]} cannot be started: {error.strerror or error}")
        return 1
    with process:
        for line in process.stdout or ():
            output.note(f"  {line.rstrip()}")
    return process.returncode
