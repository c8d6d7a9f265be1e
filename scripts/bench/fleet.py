"""Documents an hour for 1, 8 and 64 GPUs, and what becomes the limit: a fleet simulated from what
was measured.

    load_seconds      from the start of the command to its first row, with the bundled model
    document_seconds  of one document, the mean, and how much they differ
    rows_per_second   that this disk keeps, each synced before the next

Measured on this machine; ``--document-seconds`` and ``--model-gb`` put those of another model in
their place. The fleet is simulated: jobs that start one after the other, a model that all of them
read from one file system, documents shared out by their names (``--shard``) or group by group
(Dask), each as long as one of those that were measured. Run it through ``scripts/bench.py fleet``.
"""

import argparse
import heapq
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SCRIPTS))

from measure import cores, note  # noqa: E402
from prove_slurm import ASK, ROOT, write_papers  # noqa: E402

from gemma_edge.app.batch import Source  # noqa: E402
from gemma_edge.app.request import Shard  # noqa: E402
from gemma_edge.app.shards import share  # noqa: E402
from gemma_edge.disk import append  # noqa: E402

GPUS = (1, 8, 64)
GROUP = 8  # documents that Dask gives a worker at a time, at most
HOUR = 3600.0
LITTLE = 0.05  # of the whole, what is no limit
PARTS = ("start", "load", "work", "tail", "rows")


@dataclass(frozen=True)
class Parts:
    """What a fleet is made of. ``start_seconds`` is from the queue's word to the command, and jobs
    follow one another by ``between_seconds``; the model's ``load_bytes`` come at ``node_rate`` to
    one node and at ``disk_rate`` to all of them, and ``ready_seconds`` go by besides; each row is
    kept in ``row_seconds`` of a disk that writes one after the other."""

    seconds: tuple[float, ...]
    start_seconds: float
    between_seconds: float
    load_bytes: float
    node_rate: float
    disk_rate: float
    ready_seconds: float
    row_seconds: float


@dataclass(frozen=True)
class Run:
    """A fleet at work. Seconds of each GPU in the mean: until its job starts, until the model is
    there, of work, and of waiting for the last one; ``rows`` is what the disk takes beyond that.
    The whole is their sum."""

    start: float
    load: float
    work: float
    tail: float
    rows: float

    @property
    def end(self) -> float:
        return self.start + self.load + self.work + self.tail + self.rows

    @property
    def limit(self) -> str:
        """What costs most beside the work itself."""
        parts = {
            "start of the jobs": self.start, "load of the model": self.load,
            "the last share": self.tail, "rows on the disk": self.rows,
        }  # fmt: skip
        name = max(parts, key=parts.__getitem__)
        return name if parts[name] > LITTLE * self.end else "the GPUs"


def simulate(parts: Parts, documents: int, gpus: int, *, shares: bool) -> Run:
    """One run: what each GPU does when it is ready, with its own share or with what is left."""
    chance = random.Random(documents)
    lengths = [chance.choice(parts.seconds) for _ in range(documents)]
    load = parts.ready_seconds + parts.load_bytes / min(parts.node_rate, parts.disk_rate / gpus)
    starts = [parts.start_seconds + number * parts.between_seconds for number in range(gpus)]
    ready = [start + load for start in starts]
    ends = _by_shares(ready, lengths) if shares else _by_groups(ready, lengths)
    work = sum(lengths) / gpus
    tail = max(ends) - sum(ends) / gpus
    rows = max(0.0, documents * parts.row_seconds - max(ends))
    return Run(sum(starts) / gpus, load, work, tail, rows)


def _by_shares(ready: Sequence[float], lengths: Sequence[float]) -> list[float]:
    names = {f"papers/{number:06}.pdf": each for number, each in enumerate(lengths)}
    sources = [Source(name, Path(name)) for name in names]
    return [
        first + sum(names[each.name] for each in share(sources, Shard(index, len(ready))))
        for index, first in enumerate(ready, 1)
    ]


def _by_groups(ready: Sequence[float], lengths: Sequence[float]) -> list[float]:
    """Whoever has nothing to do takes the next ones, in ever smaller groups."""
    free = list(ready)
    heapq.heapify(free)
    left = list(lengths)
    while left:
        size = max(1, min(GROUP, len(left) // (2 * len(free))))
        group, left = left[:size], left[size:]
        heapq.heapreplace(free, free[0] + sum(group))
    return free


# ---------------------------------------------------------------------------- measured here


def measure_command(count: int) -> tuple[float, tuple[float, ...]]:
    """Seconds to the first row, and of each document."""
    with tempfile.TemporaryDirectory(prefix="gemma-edge-fleet-") as folder:
        write_papers(Path(folder, "papers"), count)
        out = Path(folder, "rows.jsonl")
        command = [sys.executable, "-m", "gemma_edge", "extract", "papers", *ASK]
        began = time.monotonic()
        with subprocess.Popen(
            [*command, "--at-once", "1", "--out", out.name, "--quiet"], cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ) as process:  # fmt: skip
            while not out.exists() or b"\n" not in out.read_bytes():
                if process.poll() is not None:
                    raise SystemExit("no row came")
                time.sleep(0.01)
            first = time.monotonic() - began
        rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    seconds = tuple(row["seconds"] for row in rows)
    return first - seconds[0], seconds


def measure_rows(count: int) -> float:
    """Rows a second that a file keeps, each on the disk before the next."""
    row = b'{"file": "papers/000000.pdf", "data": {"total": 7.5}}\n' * 8
    with tempfile.TemporaryDirectory(prefix="gemma-edge-fleet-", dir=ROOT) as folder:
        number = os.open(Path(folder, "rows.jsonl"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            began = time.monotonic()
            for _ in range(count):
                append(number, row, durable=True)
            return count / (time.monotonic() - began)
        finally:
            os.close(number)


# ---------------------------------------------------------------------------- the table


def table(parts: Parts, documents: int, gpus: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for each number of GPUs and each way to share out."""
    alone = HOUR / (sum(parts.seconds) / len(parts.seconds))
    for count in gpus:
        for way in ("shares", "dask"):
            run = simulate(parts, documents, count, shares=way == "shares")
            rate = documents / run.end * HOUR
            yield {
                "gpus": count, "by": way, "documents_per_hour": round(rate),
                "of_ideal": round(rate / (alone * count), 2), "start_seconds": round(run.start),
                "load_seconds": round(run.load), "work_seconds": round(run.work),
                "tail_seconds": round(run.tail), "rows_seconds": round(run.rows),
                "limit": run.limit,
            }  # fmt: skip


def main() -> None:
    """Print the table and one object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--measured", type=int, default=40, help="documents that are read here")
    parser.add_argument("--document-seconds", type=float, help="of another model, on its GPU")
    parser.add_argument("--model-gb", type=float, default=4.5, help="what each job loads (E4B Q4)")
    parser.add_argument("--node-gbps", type=float, default=1.0, help="GB a second to one node")
    parser.add_argument("--disk-gbps", type=float, default=5.0, help="GB a second to all nodes")
    parser.add_argument("--rows-per-second", type=float, help="of a shared disk")
    parser.add_argument("--start", type=float, default=30.0, help="seconds until a job runs")
    parser.add_argument("--between", type=float, default=1.0, help="seconds between two jobs")
    options = parser.parse_args()
    ready, seconds = measure_command(options.measured)
    mean = sum(seconds) / len(seconds)
    rate = measure_rows(200)
    kept = options.rows_per_second or rate
    scale = (options.document_seconds or mean) / mean
    parts = Parts(
        tuple(each * scale for each in seconds), options.start, options.between,
        options.model_gb * 1e9, options.node_gbps * 1e9, options.disk_gbps * 1e9, ready, 1 / kept,
    )  # fmt: skip
    note(f"measured: {ready:.1f} s to load, {mean:.2f} s a document "
         f"({min(seconds):.2f} to {max(seconds):.2f}), {rate:.0f} rows a second")  # fmt: skip
    note(f"{options.documents:,} documents of {mean * scale:.2f} s")
    rows = list(table(parts, options.documents, GPUS))
    note("GPUs  by       an hour  of ideal   start    load    work    tail    rows  limit")
    for row in rows:
        parts_of = "".join(f"{row[f'{name}_seconds']:>8,}" for name in PARTS)
        note(f"{row['gpus']:>4}  {row['by']:6} {row['documents_per_hour']:>9,} "
             f"{row['of_ideal']:>9.0%}{parts_of}  {row['limit']}")  # fmt: skip
    print(json.dumps({
        "cores": cores(), "load_seconds": round(ready, 2), "document_seconds": round(mean, 3),
        "document_seconds_spread": [min(seconds), max(seconds)], "rows_per_second": round(rate),
        "simulated": {"documents": options.documents, "document_seconds": round(mean * scale, 3),
                      "model_gb": options.model_gb, "node_gbps": options.node_gbps,
                      "disk_gbps": options.disk_gbps, "start_seconds": options.start,
                      "between_seconds": options.between},
        "rows": rows,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
