#!/usr/bin/env python3
"""Feed hostile inputs to everything that reads what strangers made.

    .venv/bin/python scripts/fuzz.py [TARGET …] [--seconds N] [--seed S] [--jobs N]
    .venv/bin/python scripts/fuzz.py TARGET --seed S --input N      one input again
    .venv/bin/python scripts/fuzz.py TARGET --file FILE             a file that was kept

The seconds are shared among the targets. Each target's inputs run in a worker process with a limit
on its memory, and each input has a clock. What is neither an answer nor an error of one line is a
finding: it is printed, made small, and kept in ``.fuzz/``. The same seed makes the same inputs. The
exit status is 1 if there was a finding; Ctrl-C ends it with what was found until then.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]  # the tests have writers of documents

from fuzzing.inputs import Case  # noqa: E402
from fuzzing.targets import TARGETS  # noqa: E402
from fuzzing.worker import ANSWER, CONTAINED, FINDING, LINE, case_of, shrink  # noqa: E402

DEFAULT_SECONDS = 60.0
_GRACE_SECONDS = 30.0  # beyond a worker's own clock, which may wait for a processor
_START_SECONDS = 120.0  # of a worker that imports on a busy machine
_TAIL_LINES = 200  # of a worker's stderr
_KINDS = (ANSWER, LINE, CONTAINED)
_LATE = (-getattr(signal, "SIGXCPU", 1 << 20),)


@dataclass
class Tally:
    """How it goes with one target. ``findings`` are by what is the same in them."""

    seconds: float = 0.0
    inputs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest_bytes: int = 0
    findings: dict[str, str] = field(default_factory=dict)


class Lane:
    """Runs one target after another, each in a worker that is started again where it dies."""

    def __init__(self, console: Console, seed: int, out: Path) -> None:
        self.tallies = {name: Tally() for name in TARGETS}
        self._console, self._seed, self._out = console, seed, out
        self._workers: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def run(self, name: str, seconds: float, only: int | None = None) -> None:
        """Inputs of one target for so many seconds, or one input."""
        deadline = time.monotonic() + seconds
        number = 0 if only is None else only
        while not self.stopped.is_set() and (time.monotonic() < deadline or only is not None):
            number = self._follow(name, number, deadline, only=only is not None)
            if only is not None:
                return

    def stop(self) -> None:
        """End it now."""
        self.stopped.set()
        with self._lock:
            for worker in self._workers:
                worker.kill()

    def _follow(self, name: str, first: int, deadline: float, *, only: bool) -> int:
        """Read what one worker tells, until the time is over or it dies; the next number."""
        tally = self.tallies[name]
        number = first
        asked = ["run", name, str(self._seed), str(first), *(["only"] if only else [])]
        with self._worker(*asked) as (lines, tail, ended):
            begun = False
            for said in lines:
                if "number" in said:
                    number, begun = said["number"], True
                    continue
                begun = False
                number += 1
                self._count(name, tally, number - 1, said)
                if time.monotonic() > deadline and not only:
                    return number
            if begun and not self.stopped.is_set():
                self._died(name, tally, number, tail, ended())
                number += 1
            elif not only and number == first and not self.stopped.is_set():
                why = " / ".join(list(tail)[-4:])
                raise RuntimeError(f"the worker of {name} does not start: {why}")
        return number

    def _worker(self, *arguments: str) -> "_Worker":
        return _Worker(self, arguments)

    def _count(self, name: str, tally: Tally, number: int, said: dict[str, Any]) -> None:
        tally.inputs += 1
        tally.seconds += said["seconds"]
        tally.kinds[said["kind"]] += 1
        tally.slowest = max(tally.slowest, said["seconds"])
        tally.largest_bytes = max(tally.largest_bytes, said["peak_bytes"])
        if said["kind"] == FINDING:
            small = bytes.fromhex(said["small"])
            self._tell(name, number, said["key"], said["what"], small)

    def _died(self, name: str, tally: Tally, number: int, tail: Sequence[str], status: int) -> None:
        """A worker that died in an input: a finding, unless its reader runs in a child."""
        tally.inputs += 1
        frames = [line.strip() for line in tail if line.strip().startswith("File ")]
        where = next((line for line in frames if "gemma_edge" in line), "".join(frames[:1]))
        late = status in _LATE or any(line.startswith("Timeout") for line in tail)
        what = f"took more than {TARGETS[name].seconds:g} s" if late else f"died (status {status})"
        if TARGETS[name].door is not None:
            said = self._ask("door", name, str(self._seed), str(number))
            if said is not None and said["kind"] != FINDING and not late:
                tally.kinds[CONTAINED] += 1
                return
        key, case = f"{what} {where}", case_of(name, self._seed, number)
        path = self._keep(name, number, case.data)
        if late and (said := self._ask("try", name, str(path))) is not None:
            # A guest's processor counts the time that its host gave to others, too.
            print(f"{name} {number}: {what} once, {said['seconds']:.1f} s alone", file=sys.stderr)
            path.unlink()
            tally.kinds[said["kind"]] += 1
            return
        tally.kinds[FINDING] += 1
        if key in tally.findings:
            path.unlink()
            return

        def still(smaller: Case) -> bool:
            path.write_bytes(smaller.data)
            return not self.stopped.is_set() and self._ask("try", name, str(path)) is None

        small = shrink(case, still)
        path.unlink()
        self._tell(name, number, key, f"{what} ({where})", small.data)

    def _ask(self, *arguments: str) -> dict[str, Any] | None:
        """What a worker says to one input; None where it dies."""
        with self._worker(*arguments) as (lines, _, _):
            return next(lines, None)

    def _tell(self, name: str, number: int, key: str, what: str, small: bytes) -> None:
        """Print it and keep it, unless it was the same before."""
        tally = self.tallies[name]
        if key in tally.findings:
            return
        case = case_of(name, self._seed, number)
        path = self._keep(name, number, small or case.data)
        tally.findings[key] = what
        again = f"scripts/fuzz.py {name} --seed {self._seed} --input {number}"
        size = f"{len(small or case.data):,} of {len(case.data):,} bytes"
        self._console.print(
            f"{name} {number}: {what}; {size} in {path}; {again}", markup=False, highlight=False,
            soft_wrap=True,
        )  # fmt: skip

    def _keep(self, name: str, number: int, data: bytes) -> Path:
        self._out.mkdir(parents=True, exist_ok=True)
        plain = case_of(name, self._seed, number).name
        plain = "".join(each if each.isalnum() or each in ".-" else "_" for each in plain)
        path = self._out / f"{name}-{self._seed}-{number}@{plain}"
        path.write_bytes(data)
        return path


class _Worker:
    """A worker process: its lines, the last of its stderr, and what waits for its end."""

    def __init__(self, lane: Lane, arguments: Sequence[str]) -> None:
        self._lane = lane
        paths = [str(ROOT / "scripts"), str(ROOT)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.worker", *arguments], text=True, encoding="utf-8",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, errors="replace",
        )  # fmt: skip
        seconds = TARGETS[arguments[1]].seconds
        self._patience = 4 * seconds + _GRACE_SECONDS
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._reader = threading.Thread(target=self._read_tail, daemon=True)
        self._reader.start()
        lane._workers.add(self._process)  # noqa: SLF001

    def __enter__(self) -> tuple[Iterator[dict[str, Any]], deque[str], Any]:
        return self._lines(), self._tail, self._end

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._end()
        self._lane._workers.discard(self._process)  # noqa: SLF001

    def _end(self) -> int:
        status = self._process.wait()
        self._reader.join(1.0)
        return status

    def _read_tail(self) -> None:
        assert self._process.stderr
        with suppress(ValueError):
            for line in self._process.stderr:
                if line.strip():
                    self._tail.append(line.rstrip())

    def _lines(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout
        patience = _START_SECONDS
        while True:
            clock = threading.Timer(patience, self._process.kill)
            clock.daemon = True
            clock.start()
            line = self._process.stdout.readline()
            clock.cancel()
            if not line:
                return
            if line.startswith("{"):
                yield json.loads(line)
            patience = self._patience + 60.0  # it may make a finding small


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, show how it goes, sum up."""
    options = _parse(arguments)
    import_module("tests.conftest")  # it sets a signal's handler, which only this thread may
    console = Console(stderr=True)
    lane = Lane(console, options.seed, options.out)
    if options.file is not None:
        return _try_file(lane, options)
    names = list(options.targets or TARGETS)
    jobs = max(1, min(options.jobs, len(names)))
    share = options.seconds * jobs / len(names)
    waiting = deque(names)
    failures: list[BaseException] = []

    def work() -> None:
        while waiting and not lane.stopped.is_set():
            with suppress(IndexError):
                try:
                    lane.run(waiting.popleft(), share, options.input)
                except RuntimeError as error:
                    failures.append(error)
                    lane.stop()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    interrupted = False
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                live.update(_table(lane, names), refresh=console.is_terminal)
                for thread in threads:
                    thread.join(0.5 / jobs)
        except KeyboardInterrupt:
            interrupted = True
            lane.stop()
    console.print(_table(lane, names))
    for error in failures:
        console.print(f"error: {error}", markup=False)
    found = sum(len(lane.tallies[name].findings) for name in names)
    console.print(f"{found} finding{'' if found == 1 else 's'} with seed {options.seed}")
    return 1 if found or failures else 130 if interrupted else 0


def _try_file(lane: Lane, options: argparse.Namespace) -> int:
    said = lane._ask("try", options.targets[0], str(options.file.absolute()))  # noqa: SLF001
    print(json.dumps(said or {"kind": FINDING, "what": "the process died"}))
    return 1 if said is None or said["kind"] == FINDING else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\ntargets:\n  {', '.join(TARGETS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="workers at once")
    parser.add_argument("--input", type=int, help="only the input of that number")
    parser.add_argument("--file", type=Path, help="only this file")
    parser.add_argument("--out", type=Path, default=ROOT / ".fuzz", help="where findings are kept")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"there is no target `{unknown[0]}`; there are {', '.join(TARGETS)}")
    if (options.input is not None or options.file is not None) and len(options.targets) != 1:
        parser.error("--input and --file go with one TARGET")
    return options


def _table(lane: Lane, names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("", "inputs", "a second", *_KINDS, "slowest", "memory", "findings"):
        table.add_column(title, justify="right" if title else "left")
    for name in names:
        tally = lane.tallies[name]
        speed = f"{tally.inputs / tally.seconds:,.0f}" if tally.seconds else ""  # of a processor
        counts = [f"{tally.kinds[kind]:,}" for kind in _KINDS]
        largest = f"{tally.largest_bytes >> 20:,} MiB"
        table.add_row(
            name, f"{tally.inputs:,}", speed, *counts, f"{tally.slowest:.1f} s", largest,
            str(len(tally.findings)) if tally.findings else "",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
