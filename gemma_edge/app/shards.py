"""Shares of many files for many processes: which files are whose, and one set of rows in the end.

Each process reads its own share and writes a file of its own, in a folder beside the one that is
wanted, so that no lock is needed and a shared file system does. What any of them has answered, none
does again: before it begins it reads all of their rows. The last one to end puts them together.
"""

import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from gemma_edge.app.batch import (
    Before,
    Emit,
    Kept,
    RecordFormat,
    Sink,
    Source,
    open_sink,
    unwritable,
    write_whole,
)
from gemma_edge.app.request import BatchRequest, Shard
from gemma_edge.app.runtime import Runtime
from gemma_edge.disk import append, encode, open_plain, sync_folder, write_atomically
from gemma_edge.documents.document import iter_objects, shown, whole_lines
from gemma_edge.errors import InputError, UsageError
from gemma_edge.hardware.machine import render_ranges
from gemma_edge.records import dataclass

_FOLDER = ".shards"
_LARGEST = 100_000


def parse_shard(text: str) -> Shard:
    """``3/8``: the third of eight. Raises ValueError: it is not that."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= _LARGEST:
        raise ValueError
    return Shard(int(found[1]), int(found[2]))


# Each scheduler's variables of a job array: its own number, the first, the last, the step.
_ARRAYS = (
    (
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_MAX",
        "SLURM_ARRAY_TASK_STEP",
    ),
    ("LSB_JOBINDEX", "", "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"),
    ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
)
_RUNS = ("SLURM_ARRAY_JOB_ID", "PBS_ARRAY_ID", "LSB_JOBID", "JOB_ID")


def shard_of(environment: Mapping[str, str]) -> tuple[Shard, str] | None:
    """The share of a job of an array, and the variable that says so; None outside of one, or where
    its numbers are not the whole of a row (a job of an array that was handed in again alone)."""
    for own, first, last, step in _ARRAYS:
        numbers = [environment.get(name, "") for name in (own, last)]
        if not all(map(str.isdecimal, numbers)) or numbers[0] == "0" == numbers[1]:
            continue
        at, end = map(int, numbers)
        begin, stride = (_whole(environment.get(name, "")) for name in (first, step))
        begin = 1 if begin is None else begin
        stride = stride or 1
        count, index = (end - begin) // stride + 1, (at - begin) // stride + 1
        if 1 <= index <= count <= _LARGEST and count > 1:
            return Shard(index, count), own
    return None


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def run_of(environment: Mapping[str, str]) -> str:
    """What all jobs of one array have in common; "" outside of one."""
    found = next(filter(None, map(environment.get, _RUNS)), "")
    return re.sub(r"\W", "", found)[:32]


def share(sources: Iterable[Source], shard: Shard) -> tuple[Source, ...]:
    """Those that are its own: by their names alone, so that neither their order nor others that
    come or go change whose a file is.
    Raises UsageError: one has no name, as what comes through a pipe."""
    sources = tuple(sources)
    for each in sources:
        if each.path is None:
            raise UsageError(f"{each.name} cannot be shared out", hint="name files or a folder")
    return tuple(
        each for each in sources if _number(str(each.path)) % shard.count == shard.index - 1
    )


def _number(path: str) -> int:
    name = os.path.normpath(path).replace(os.sep, "/")
    return int.from_bytes(sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def folder_of(out: Path) -> Path:
    """Where the shards of a file lie until they are put together."""
    return out.with_name(out.name + _FOLDER)


@contextmanager
def open_shard(
    out: Path, look: RecordFormat[Kept], shard: Shard, run: str, runtime: Runtime
) -> Iterator[Sink[Kept]]:
    """A sink of one share of the rows of ``out``, as ``open_beside`` gives it. Its ``end`` says
    that the share is whole; the last one puts all together.
    Raises UsageError, DoesNotFit: as ``open_beside``."""
    folder, name = folder_of(out), f"{shard.index:04}-of-{shard.count:04}"
    mark = folder / f"{name}.{run or 'alone'}.done"

    def end() -> None:
        write_whole(mark, "")
        others = [each for each in _marks(folder, shard.count, run or "alone")]
        if len(others) < shard.count:
            runtime.note(
                f"share {shard.index} of {shard.count} is done; {len(others)} of {shard.count} are"
            )
            return
        rows = merge(out)
        runtime.note(f"all {shard.count} shares are done: {rows:,} rows in {shown(out)}")

    try:
        mark.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    with open_beside(out, look, name) as sink:
        yield replace(sink, end=end)


@contextmanager
def open_beside(out: Path, look: RecordFormat[Kept], name: str) -> Iterator[Sink[Kept]]:
    """A sink into a file that only this process writes, in the folder of the shares of ``out``.
    What is in ``out`` and in the files of all others is there before; each row is on the disk
    before the next is asked for.
    Raises UsageError: rows of another form than JSON; DoesNotFit: it cannot be written."""
    if look.lines != "json":
        raise UsageError(
            f"shares are written as lines of JSON, not into {shown(out)}", hint="--out rows.jsonl"
        )
    folder = folder_of(out)
    try:
        path, number = _open_own(folder, name)
    except OSError as error:
        raise unwritable(folder, error) from None

    def put(line: str) -> None:
        nonlocal path, number
        try:
            append(number, encode(line + "\n"), durable=True)
            while not path.exists():  # it was put together with others meanwhile
                os.close(number)
                path, number = _open_own(folder, name)
                append(number, encode(line + "\n"), durable=True)
        except OSError as error:
            raise unwritable(folder, error) from None

    def held() -> Before:
        return look.read("".join(text for _, text in _texts(out)))

    try:
        before = held()
        yield Sink(
            lambda each: put(look.render(each)), before, True,
            lambda key, file: put(look.renamed(before.lines[key], file)),
            look_again=lambda: before.become(held()),
        )  # fmt: skip
    finally:
        os.close(number)


@contextmanager
def open_answers(
    batch: BatchRequest, look: RecordFormat[Kept], emit: Emit, runtime: Runtime
) -> Iterator[Sink[Kept]]:
    """Where a batch writes: its share of the rows, a file beside them, or all of them.
    Raises UsageError: a share without a file; and what opening either raises."""
    if batch.beside and batch.out is not None:
        with open_beside(batch.out, look, batch.beside) as sink:
            yield sink
        return
    if batch.shard is None:
        with open_sink(batch.out, look, emit, runtime) as sink:
            yield sink
        return
    if batch.out is None:
        raise UsageError("a share of the rows needs a file", hint="--out rows.jsonl")
    with open_shard(batch.out, look, batch.shard, batch.run, runtime) as sink:
        yield sink


def _open_own(folder: Path, name: str) -> tuple[Path, int]:
    """A file that no other process writes, whatever machine it is on, and its number."""
    folder.mkdir(parents=True, exist_ok=True)
    host = re.sub(r"\W", "", socket.gethostname())[:40]
    name = f"{name}.{host}-{os.getpid()}-{time.time_ns():x}.jsonl"
    path = folder / name
    number = open_plain(path, os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
    with suppress(OSError):
        sync_folder(folder)
    return path, number


def _marks(folder: Path, count: int, run: str) -> list[Path]:
    return sorted(folder.glob(f"*-of-{count:04}.{run}.done"))


_TAKEN = ".taken"  # of a file that is being put together with the others


def _texts(out: Path) -> list[tuple[Path, str]]:
    """The whole rows of a file and of its shares, each text with its file.
    Raises InputError: one cannot be read."""
    while True:
        # Listed before ``out`` is read: what another process has removed since is in ``out``.
        shares = sorted([*folder_of(out).glob("*.jsonl"), *folder_of(out).glob(f"*{_TAKEN}")])
        texts = [(out, _text(out) or "")]
        for path in shares:
            text = _text(path)
            if text is None:
                break
            texts.append((path, text))
        else:
            return texts


def _text(path: Path) -> str | None:
    """Its whole rows; None where it is not there."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = f"{shown(path)} cannot be read ({error.strerror or error})"
        raise InputError(problem, hint="check its mode") from None
    return whole_lines(data.decode("utf-8", "replace"), "json")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as it stands, the file that it is about, and what it is known by."""

    line: str
    file: str
    key: str
    is_error: bool


def merge(out: Path) -> int:
    """Put the rows of all shares and of ``out`` together, by the names of their files, each once:
    an error only where there is no answer about the file. The file changes at once; then the shares
    are removed. Two processes may do it at the same time. Gives the number of rows.
    Raises InputError: there are no shares, or one cannot be read; DoesNotFit: it cannot be
    written."""
    folder = folder_of(out)
    if not folder.is_dir():
        raise InputError(
            f"{shown(out)} has no shares to put together", hint=f"they lie in {shown(folder)}"
        )
    # Who still writes into one finds its name gone, and writes the row again elsewhere.
    for path in folder.glob("*.jsonl"):
        with suppress(OSError):  # another process has taken it
            path.rename(path.with_name(path.name + _TAKEN))
    texts = _texts(out)
    rows = [row for _, text in texts for row in _rows(text)]
    answered = {row.file for row in rows if not row.is_error}
    kept = {
        (row.file, row.key): row for row in reversed(rows)
        if not row.is_error or row.file not in answered
    }  # fmt: skip
    lines = [row.line for row in sorted(kept.values(), key=lambda row: (row.file, row.key))]
    try:
        write_atomically(out, "".join(f"{line}\n" for line in lines), durable=True)
    except OSError as error:
        raise unwritable(out, error) from None
    # Marks first: who finds one missing does not take the rest for everything.
    for path in sorted(folder.glob("*.done")):
        path.unlink(missing_ok=True)
    for path, _ in texts:
        if path != out:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # another one has begun
        folder.rmdir()
    return len(lines)


def unfinished(out: Path) -> list[str]:
    """Which shares of runs that were begun have not ended: ``share 3 of 4 has``."""
    ended: dict[int, set[int]] = {}
    for path in folder_of(out).glob("*-of-*"):
        if found := re.match(r"(\d+)-of-(\d+)\.", path.name):
            index, count = map(int, found.groups())
            ended.setdefault(count, set()).update([index] if path.suffix == ".done" else [])
    return [
        _without_end({*range(1, count + 1)} - done, count)
        for count, done in sorted(ended.items())
        if len(done) < count
    ]


_MOST_NAMED = 60  # characters


def _without_end(missing: set[int], count: int) -> str:
    if len(missing) == 1:
        return f"share {missing.pop()} of {count} has"
    named = render_ranges(missing)
    if len(named) > _MOST_NAMED:
        return f"{len(missing):,} of {count:,} shares have"
    return f"shares {named} of {count} have"


_NOT_OF_ROW = ("seconds",)  # what differs between two answers that are the same


def _rows(text: str) -> Iterator[_Row]:
    for row in iter_objects(text):
        line = json.dumps(row, ensure_ascii=False)
        file = str(row.get("file", ""))
        yield _Row(line, file, _key(row), bool(row.get("error")))


def _key(row: Mapping[str, Any]) -> str:
    """What a row is known by: two answers with the same are the same."""
    if row.get("key"):
        return str(row["key"])
    if row.get("sha256") and not row.get("error"):
        told = [row.get(name) for name in ("sha256", "page", "question", "task")]
        return json.dumps(told, ensure_ascii=False)
    return json.dumps({name: row[name] for name in row if name not in _NOT_OF_ROW}, sort_keys=True)
