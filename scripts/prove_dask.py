#!/usr/bin/env python3
"""Documents on a Dask cluster whose workers are killed, against one process.

    python3 scripts/prove_dask.py [--files 200] [--workers 4] [--slurm]

A scheduler and workers on this machine, each a process of its own with the bundled model. While
they work, half of them are killed at once and one joins. The rows have to be those of one process:
none lost, none twice. It needs the extra ``cluster`` and ends with status 1 where rows differ.
With ``--slurm`` the workers are jobs of a real SLURM (``prove_slurm.py``), and none is killed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import prove_slurm
from prove_slurm import ASK, ROOT, rows_of, write_papers

GEMMA_EDGE = (sys.executable, "-m", "gemma_edge")
PATIENCE_SECONDS = 300.0


class Cluster:
    """A scheduler on loopback and its workers."""

    def __init__(self, folder: Path) -> None:
        self.environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.workers: list[subprocess.Popen[bytes]] = []
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", str(self._file),
        )  # fmt: skip
        until(lambda: self._file.exists() and self._file.stat().st_size, "the scheduler")
        self.address: str = json.loads(self._file.read_text("utf-8"))["address"]

    def _start(self, kind: str, *words: str) -> "subprocess.Popen[bytes]":
        with (self._folder / "dask.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words],
                cwd=self._folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip

    def add_worker(self) -> None:
        """One more; nobody starts it again when it is killed."""
        self.workers.append(
            self._start(
                "worker",
                self.address,
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
                "--memory-limit",
                "0",
                "--local-directory",
                str(self._folder / "dask"),
            )  # fmt: skip
        )

    def kill(self, count: int) -> None:
        """The first ones, as a power failure does it."""
        for worker in self.workers[:count]:
            worker.kill()
            worker.wait()
        del self.workers[:count]

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Those that there are stand still meanwhile, where the system can do that."""
        held = self.workers[:] if sys.platform != "win32" else []
        for worker in held:
            worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in held:
                worker.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """All of them."""
        for process in [*self.workers, self._scheduler]:
            process.kill()
            process.wait()


@contextmanager
def running(folder: Path, workers: int) -> Iterator[Cluster]:
    """A cluster that is stopped at the end."""
    cluster = Cluster(folder)
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.stop()


def until(is_so: Callable[[], object], what: str) -> None:
    """Wait for it. Raises RuntimeError after five minutes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.05)


def writers(out: Path) -> list[Path]:
    """The files of workers that have written a row."""
    found = out.with_name(f"{out.name}.shards").glob("cluster.*.jsonl")
    return [path for path in found if path.stat().st_size]


def extract(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """The command, on the papers of the folder."""
    return subprocess.Popen(
        [*GEMMA_EDGE, "extract", "papers", *ASK, *words], cwd=folder, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
    )  # fmt: skip


def heard(client: "subprocess.Popen[str]", words: str) -> str:
    """What it said up to a line with these words, or to its end."""
    assert client.stderr is not None
    said = ""
    while line := client.stderr.readline():
        said += line
        if words in line:
            break
    return said


def ended(client: "subprocess.Popen[str]") -> str:
    """What it said until its end."""
    assert client.stderr is not None
    with client:
        return client.stderr.read()


def prove(files: int, workers: int, folder: Path) -> dict[str, int]:
    """The whole run; what happened, as numbers. RuntimeError: it did not end as it should."""
    write_papers(folder / "papers", files)
    out, killed = folder / "rows.jsonl", workers // 2
    with running(folder, workers) as cluster:
        client = extract(folder, "--cluster", cluster.address, "--out", out.name)
        until(lambda: len(writers(out)) == workers or client.poll() is not None, "rows of all")
        before = writers(out)
        cluster.kill(killed)
        with cluster.held_up():  # else the rest may be done before the new one is there
            cluster.add_worker()
            begun = heard(client, f"{workers - killed + 1} workers")
        said = begun + ended(client)
        if client.returncode:
            raise RuntimeError(f"status {client.returncode}:\n{said}")
    return {
        "files": files, "workers": len(before), "killed": said.count("is gone"),
        "joined": said.count(f"{workers - killed + 1} workers"), **compared(folder, out),
    }  # fmt: skip


def compared(folder: Path, out: Path) -> dict[str, int]:
    """The rows against those of one process."""
    ended(extract(folder, "--out", "one.jsonl", "--quiet"))
    expected, found = rows_of(folder / "one.jsonl"), rows_of(out)
    return {
        "rows": len(found), "lost": len({*expected} - {*found}),
        "twice": len(found) - len({*found}), "other": len({*found} - {*expected}),
        "shares left": len([*folder.glob("*.shards")]),
    }  # fmt: skip


def prove_queue(files: int, workers: int, folder: Path) -> dict[str, int]:
    """The same with workers that SLURM starts. RuntimeError: it did not end as it should."""
    write_papers(folder / "papers", files)
    with prove_slurm.running(folder) as slurm:
        environment = slurm.environment | {"PYTHONPATH": str(ROOT), "GEMMA_EDGE_OFFLINE": ""}
        words = [*GEMMA_EDGE, "extract", "papers", *ASK, "--out", "rows.jsonl",
                 "--cluster", "slurm", "--workers", str(workers),
                 "--worker-option=--mem=2G", "--worker-option=--cpus-per-task=1"]  # fmt: skip
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"status {done.returncode}:\n{done.stderr}")
        left = len(slurm.jobs())
    started = done.stderr.count("on the CPU")
    return {"files": files, "workers": started, "jobs left": left,
            **compared(folder, folder / "rows.jsonl")}  # fmt: skip


def main() -> int:
    """Print what happened."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--slurm", action="store_true", help="workers are jobs of a real SLURM")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gemma-edge-dask-") as folder:
        run = prove_queue if asked.slurm else prove
        figures = run(asked.files, asked.workers, Path(folder))
    for name, value in figures.items():
        print(f"{name:18} {value:>6}")
    wrong = ("lost", "twice", "other", "shares left")
    return 1 if any(figures[name] for name in wrong) or figures["rows"] != asked.files else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
