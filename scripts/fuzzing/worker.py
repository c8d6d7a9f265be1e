"""The process that runs one target's inputs, and tells of each what came of it.

It writes a line of JSON before each input and one after it. Where an input takes too long the
system ends the worker (SIGXCPU; its clock counts the time of the processor, so that a busy machine
makes nothing slow), after ``faulthandler`` has said in which line. So whoever started it knows
which input it died of, and where.
"""

import faulthandler
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

from fuzzing.inputs import Case
from fuzzing.targets import TARGETS, Run, Target, Wrong, check_error
from gemma_edge.errors import GemmaEdgeError

ADDRESS_BYTES = 6 << 30  # of the worker: llama.cpp's libraries and a vocabulary are mapped too
ANSWER, LINE, CONTAINED, FINDING = "answer", "line", "contained", "finding"
_SHRINK_TRIES, _SHRINK_SECONDS = 400, 60.0
_WALL = 10  # times as long by the clock on the wall: nothing may wait for ever either


class Outcome(NamedTuple):
    """``kind`` is one of the four words above; ``what`` says it in one line, and ``key`` where it
    is the same again."""

    kind: str
    what: str = ""
    key: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0


def case_of(name: str, seed: int, number: int) -> Case:
    """The same for the same seed and number."""
    return TARGETS[name].case(Random(f"{seed}/{name}/{number}"))


def attempt(target: Target, case: Case, folder: Path) -> Outcome:
    """Run one input; in ``folder`` it may write."""
    started, before = time.process_time(), _forget_peak()
    outcome = _outcome(target, case, folder)
    seconds, grown = time.process_time() - started, _peak_bytes() - before
    if outcome.kind != FINDING and grown > target.memory_bytes:
        outcome = Outcome(FINDING, f"took {grown >> 20:,} MiB more memory", "large")
    return outcome._replace(seconds=seconds, peak_bytes=max(0, grown))


def _outcome(target: Target, case: Case, folder: Path) -> Outcome:
    try:
        target.run(case, folder)
    except BaseException as error:  # noqa: BLE001  (a panic of a library in Rust is none of Exception)
        if target.door is None or isinstance(error, (GemmaEdgeError, Wrong, KeyboardInterrupt)):
            return _judge(error)
        return judged(target.door, case, folder, contained=True)
    return Outcome(ANSWER)


def judged(run: Run, case: Case, folder: Path, *, contained: bool) -> Outcome:
    """As the command reads it; ``contained`` is what its reader ended on."""
    try:
        run(case, folder)
    except BaseException as error:  # noqa: BLE001  (whatever it is, it is told)
        outcome = _judge(error)
        return outcome._replace(kind=CONTAINED) if outcome.kind == LINE and contained else outcome
    return Outcome(ANSWER)


def _judge(error: BaseException) -> Outcome:
    """Raises KeyboardInterrupt: somebody wants an end."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    if isinstance(error, GemmaEdgeError):
        try:
            check_error(error)
        except Wrong as wrong:
            error = wrong
        else:
            return Outcome(LINE)
    where = _where(error)
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    said = said.encode("ascii", "backslashreplace").decode("ascii")
    return Outcome(FINDING, f"{said} ({where})", f"{type(error).__name__} {where}")


def _where(error: BaseException) -> str:
    """The innermost line of ours, or of whoever raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "gemma_edge" in frame.filename] or frames[-1:]
    if not ours:
        return "nowhere"
    path = Path(ours[-1].filename)
    return f"{path.parent.name}/{path.name}:{ours[-1].lineno}"


def _forget_peak() -> int:
    """Begin to measure the peak of memory; bytes in use now. Linux forgets the old peak."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak_bytes()


def _peak_bytes() -> int:
    """0 on Windows."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) << 10
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 0


# ---------------------------------------------------------------------------- a finding, made small


def shrink(case: Case, still: Callable[[Case], bool]) -> Case:
    """A smaller input for which ``still`` holds: halves, quarters and so on are left out as long
    as that can be done, then single bytes."""
    deadline, tries = time.monotonic() + _SHRINK_SECONDS, 0
    size = max(1, len(case.data) // 2)
    while size:
        at = 0
        while at < len(case.data):
            tries += 1
            if tries > _SHRINK_TRIES or time.monotonic() > deadline:
                return case
            smaller = Case(case.name, case.data[:at] + case.data[at + size :])
            if still(smaller):
                case = smaller
            else:
                at += size
        size //= 2
    return case


# ---------------------------------------------------------------------------- the process


def _limit_memory() -> None:
    """Where the system can."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))


def _watch(seconds: float) -> None:
    """End this process, with its stack on stderr, after so many seconds of the processor."""
    faulthandler.dump_traceback_later(_WALL * seconds, exit=True)
    if sys.platform == "win32":
        return
    import resource

    faulthandler.register(signal.SIGXCPU, all_threads=False, chain=True)
    used = time.process_time()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, hard))


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _numbers(first: int, only: bool) -> Iterator[int]:
    return iter((first,)) if only else count(first)


def main(arguments: list[str]) -> None:
    """``run TARGET SEED FIRST [only]``: inputs from that number on; ``try TARGET FILE``: that one;
    ``door TARGET SEED NUMBER``: as the command reads it."""
    what, name, *rest = arguments
    target = TARGETS[name]
    _limit_memory()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="gemma-edge-fuzz-") as folder:
        os.chdir(folder)
        if what == "run":
            _run(name, target, int(rest[0]), _numbers(int(rest[1]), len(rest) > 2))  # noqa: PLR2004
            return
        path = Path(rest[0])
        case = case_of(name, int(rest[0]), int(rest[1])) if what == "door" else _read(path)
        run = target.door if what == "door" and target.door is not None else target.run
        _watch(target.seconds)
        done = judged(run, case, Path(folder), contained=what == "door")
        _say(**done._asdict())


def _read(path: Path) -> Case:
    return Case(path.name.rpartition("@")[2], path.read_bytes())


def _run(name: str, target: Target, seed: int, numbers: Iterator[int]) -> None:
    seen: set[str] = set()
    for number in numbers:
        case = case_of(name, seed, number)
        with tempfile.TemporaryDirectory(dir=".") as inner:
            folder = Path(inner).absolute()
            _say(number=number, size=len(case.data))
            _watch(target.seconds)
            done = attempt(target, case, folder)
            small = case
            if done.kind == FINDING and done.key not in seen:
                seen.add(done.key)
                small = shrink(case, partial(_is_same, target, folder, done.key))
        _say(**done._asdict(), small=small.data.hex() if small is not case else "")


def _is_same(target: Target, folder: Path, key: str, case: Case) -> bool:
    """Whether the input comes to the same."""
    _watch(target.seconds)
    again = attempt(target, case, folder)
    return again.kind == FINDING and again.key == key


if __name__ == "__main__":
    main(sys.argv[1:])
