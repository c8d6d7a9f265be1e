"""Many files on the workers of a Dask cluster: one engine a worker, planned for its own device.

The client sends paths and settings, a few files at a time; a worker reads them where they lie
and writes its rows into a file of its own, as a share does (``app.shards``). So what a lost worker
has answered is there, and the rest is done by another one. The client puts all together.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from gemma_edge.app.batch import Answering, Counts, Source, count_left, open_out, unwritable
from gemma_edge.app.describe import Describing
from gemma_edge.app.extract import Extracting
from gemma_edge.app.request import AUTO, BatchRequest, ModelRequest
from gemma_edge.app.runtime import Bug, Failure, Problem, Runtime, Step, Told, library_runtime
from gemma_edge.app.shards import folder_of, merge
from gemma_edge.disk import create
from gemma_edge.documents.document import shown
from gemma_edge.errors import ExitStatus, GemmaEdgeError, InputError, ModelError, UsageError
from gemma_edge.records import dataclass
from gemma_edge.store.hub import NOT_HERE
from gemma_edge.version import __version__

if TYPE_CHECKING:
    from gemma_edge.hardware.machine import Hardware

QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
_CORES, _MEMORY = 4, "16GiB"  # of a worker's job, where Dask's configuration says nothing
_MOST_IN_GROUP = 8  # documents that one worker gets at a time
_AHEAD = 2  # groups of a worker: one that it is at, one that waits
_LOOK_SECONDS = 1.0  # between looks at which workers there are
_CONNECT_SECONDS = 20
_IDLE_SECONDS = 120.0  # then a worker closes its engine: a client may be gone without a word
# Without a dashboard Dask still serves pages about itself: at a port that may be taken, and by a
# worker of a queue on all addresses.
_PAGES_AT = "127.0.0.1:0"
_PAGES = {"dashboard": False, "dashboard_address": _PAGES_AT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where the workers are: the address of a scheduler (``tcp://…``, ``tls://…``), ``local:4``, or
    a job queue (``slurm``) that starts so many ``workers``, with these lines in their jobs."""

    address: str
    workers: int | None = None
    options: tuple[str, ...] = ()

    @property
    def local(self) -> int:
        """How many processes of this machine; 0 where they are elsewhere."""
        kind, _, count = self.address.partition(":")
        return int(count) if kind == "local" and count.isdecimal() else 0

    @property
    def is_private(self) -> bool:
        """Whether nobody else reads what is sent."""
        return not self.leaves_machine or not self.address.startswith("tcp:")

    @property
    def leaves_machine(self) -> bool:
        """Whether other machines are asked; no name is looked up to tell."""
        host = self.address.partition("://")[2].rpartition(":")[0].strip("[]")
        if self.local or host == "localhost":
            return False
        try:
            return not ip_address(host).is_loopback
        except ValueError:
            return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is told: what to do, and where the rows lie. ``name`` is that of the run."""

    name: str
    version: str
    work: Extracting | Describing
    model: ModelRequest
    batch: BatchRequest
    models_dir: Path | None

    @property
    def marks(self) -> Path:
        """The folder in which workers say with which documents they have begun."""
        assert self.batch.out is not None
        return folder_of(self.batch.out) / f"{self.name}.run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of a group of documents, or why this worker takes none: a sentence, a hint and an
    exit status. ``model`` is the one that it reads them with."""

    worker: str
    counts: Counts | None = None
    told: tuple[Told, ...] = ()
    notes: tuple[str, ...] = ()
    model: str = ""
    refused: tuple[str, str, int] | None = None


# ---------------------------------------------------------------------------- in a worker process


class _Desk:
    """What a worker has open for a job: a plan for its device, its own file, later an engine."""

    def __init__(self, job: Job) -> None:
        self.job, self.told, self.notes = job, list[Told](), list[str]()
        self._seen: list[Source] = []  # who has its row is known by which source it is
        self._stack = ExitStack()
        runtime = replace(
            library_runtime(models_dir=job.models_dir, offline=True),
            note=self.notes.append, on_event=self._hear,
        )  # fmt: skip
        batch = replace(job.batch, stopped=lambda: "stopped" if job.name in _stopped else "")
        self.prepared = job.work.prepare(job.model, batch, runtime, _MOST_IN_GROUP)
        self._answer: Answering = self._stack.enter_context(
            job.work.open(self.prepared, batch, runtime, emit=lambda _: None)
        )

    def answer(self, sources: Sequence[Source], *, again: bool) -> Counts:
        self._seen += sources
        return self._answer(sources, again=again)

    def close(self) -> None:
        self._stack.close()

    def _hear(self, event: Told) -> None:
        if isinstance(event, Problem | Failure | Bug):
            self.told.append(event)


_at_work = threading.Lock()  # a worker with several threads has one engine all the same
_desks: list[_Desk] = []
_stopped: set[str] = set()
_idle: list[threading.Timer] = []


def answer(job: Job, number: int, sources: Sequence[Source]) -> Answered:
    """In a worker: read documents, and say how it went; the rows are in the worker's file."""
    with _working(job) as desk:
        if isinstance(desk, Answered):
            return desk
        try:
            _check_sight(job, sources)
            counts = desk.answer(sources, again=not _begins(job, number))
        except GemmaEdgeError as error:
            _close()
            return _refusal(error)
        told, notes = tuple(desk.told), tuple(desk.notes)
        desk.told.clear()
        desk.notes.clear()
        return Answered(worker=_address(), counts=counts, told=told, notes=notes)


def choose(job: Job) -> Answered:
    """In a worker: which model its plan takes."""
    with _working(job) as desk:
        if isinstance(desk, Answered):
            return desk
        return Answered(worker=_address(), model=desk.prepared.candidate.name)


def leave(name: str, *, now: bool) -> None:
    """In a worker: close what is open for the job; where the documents that are under way are not
    to be ended first, ``now``."""
    if now:
        _stopped.add(name)

    def close() -> None:
        with _at_work:
            if _desks and _desks[0].job.name == name:
                _close()

    threading.Thread(target=close, daemon=True).start()


@contextmanager
def _working(job: Job) -> Iterator[_Desk | Answered]:
    """The desk for a job, alone; or why there is none."""
    with _at_work:
        while _idle:
            _idle.pop().cancel()
        try:
            yield _desk_of(job)
        except GemmaEdgeError as error:
            yield _refusal(error, job.model.model)
        finally:
            timer = threading.Timer(_IDLE_SECONDS, leave, (job.name,), {"now": False})
            timer.daemon = True
            timer.start()
            _idle.append(timer)


def _desk_of(job: Job) -> _Desk:
    if _desks and _desks[0].job.name == job.name and _desks[0].job.model == job.model:
        return _desks[0]
    _close()
    if job.version != __version__:
        raise UsageError(
            f"it has gemma-edge {__version__}, not {job.version}", hint="install the same on both"
        )
    if not job.marks.is_dir():
        raise InputError(
            f"it does not see {shown(job.marks.parent)}",
            hint="files and --out have to lie where all workers see them",
        )
    _desks.append(_Desk(job))
    return _desks[0]


def _close() -> None:
    while _desks:
        _desks.pop().close()


def _check_sight(job: Job, sources: Sequence[Source]) -> None:
    """Raises InputError: the folder of a document is not there, as on another disk."""
    for each in sources:
        if each.path is not None and not each.path.parent.is_dir():
            raise InputError(
                f"it does not see {shown(each.path.parent)}",
                hint="files and --out have to lie where all workers see them",
            )


def _begins(job: Job, number: int) -> bool:
    """Whether no other worker has begun with this group: one that is gone may have answered some
    of it."""
    try:
        create(job.marks / str(number)).close()
    except OSError:
        return False
    return True


def _refusal(error: GemmaEdgeError, model: str = "") -> Answered:
    message = error.message
    if isinstance(error, ModelError) and NOT_HERE in message:  # nobody said --offline
        message = f"{model} is not on its machine, and no worker downloads anything"
    refused = message, error.hint or "", int(error.exit_status)
    return Answered(worker=_address(), refused=refused)


def _address() -> str:
    return str(_library("distributed").get_worker().address)


# ---------------------------------------------------------------------------- in the client


def answer_on_cluster(  # noqa: PLR0913, PLR0917  (what, how, by whom, where to)
    sources: Sequence[Source], work: Extracting | Describing, model: ModelRequest,
    batch: BatchRequest, where: Cluster, runtime: Runtime,
) -> Counts:  # fmt: skip
    """Extract from every document or describe every image, each on some worker; the rows of all are
    put together in the end. Workers may be lost and may join meanwhile. Ctrl-C keeps the rows that
    are there.
    Raises UsageError: what a cluster cannot do; GemmaEdgeError: no cluster answers, or none of its
    workers can read files."""
    out = _check(sources, batch, where, work, runtime)
    gpus = share_gpus(runtime.hardware, where, model) if where.local else []
    job = Job(
        name=uuid4().hex[:12], version=__version__, work=work,
        model=_absolute(model, where, runtime), models_dir=runtime.store.models_dir,
        batch=BatchRequest(
            out=out, form=batch.form, jobs=batch.jobs, at_once=batch.at_once, beside="cluster"
        ),
    )  # fmt: skip
    # A folder may hold what was written there.
    sources = [each for each in map(_whole, sources) if each.path != out]
    with ExitStack() as stack:
        client = stack.enter_context(_connected(where, gpus, runtime))
        stack.enter_context(open_out(out, runtime))
        stack.enter_context(_marking(job))
        run = _Run(client, job, sources, runtime, batch)
        counts = run.go()
    if counts.status == ExitStatus.INTERRUPTED:
        runtime.note(f"what was answered lies in {shown(folder_of(out))}; run it again to go on")
        return counts
    rows = merge(out)
    runtime.note(f"{rows:,} rows in {shown(out)}")
    return counts


def _check(
    sources: Sequence[Source], batch: BatchRequest, where: Cluster, work: Extracting | Describing,
    runtime: Runtime,
) -> Path:  # fmt: skip
    """The file of the rows. Raises UsageError: what a cluster cannot do."""
    if batch.out is None:
        raise UsageError("the workers of a cluster need a file for rows", hint="--out rows.jsonl")
    if (batch.form or batch.out.suffix.lower()) not in ("json", ".jsonl", ".ndjson", ".json"):
        raise UsageError(
            f"rows of a cluster are lines of JSON, not {shown(batch.out)}", hint="--out rows.jsonl"
        )
    if runtime.store.offline and where.leaves_machine:
        raise UsageError(
            f"--cluster {where.address} is other machines, and no connection may be opened",
            hint="without --offline and GEMMA_EDGE_OFFLINE, or --cluster local:2",
        )
    if work.request.password is not None and not where.is_private:
        raise UsageError(
            "a password would cross the network as it is", hint="a scheduler at tls://…"
        )
    for each in sources:
        if each.path is None:
            raise UsageError(f"{each.name} cannot be sent to workers", hint="name files")
    return batch.out.absolute()


def _whole(source: Source) -> Source:
    """The same for a process in another folder; it keeps its name."""
    assert source.path is not None
    return replace(
        source, path=source.path.absolute(), folder=source.folder and source.folder.absolute()
    )


def _absolute(model: ModelRequest, where: Cluster, runtime: Runtime) -> ModelRequest:
    """The same for a process in another folder. The processes of one machine share its cores."""
    threads = model.threads
    if where.local > 1 and threads is None:
        threads = max(1, runtime.hardware.cpu.cores // where.local)
    name = model.model
    return replace(
        model, threads=threads, model=str(Path(name).absolute()) if Path(name).is_file() else name,
        mmproj=model.mmproj and model.mmproj.absolute(),
        drafter=model.drafter and model.drafter.absolute(),
        adapters=tuple(replace(each, path=each.path.absolute()) for each in model.adapters),
    )  # fmt: skip


@contextmanager
def _marking(job: Job) -> Iterator[None]:
    """By this folder a worker sees that it writes where the client reads."""
    try:
        for left in job.marks.parent.glob("*.run"):  # of a client that was killed
            rmtree(left, ignore_errors=True)
        job.marks.mkdir(parents=True)
    except OSError as error:
        raise unwritable(job.marks, error) from None
    try:
        yield
    finally:
        rmtree(job.marks, ignore_errors=True)


class _Run:
    """One run: what is left, what is under way, which workers there are, and how it goes."""

    def __init__(
        self, client: Any, job: Job, sources: Sequence[Source], runtime: Runtime,
        batch: BatchRequest,
    ) -> None:  # fmt: skip
        self._library = _library("distributed")
        self._client, self._job, self._runtime, self._batch = client, job, runtime, batch
        self._left = deque(sources)
        self._under_way: dict[Any, tuple[tuple[Source, ...], frozenset[str]]] = {}
        self._workers: frozenset[str] = frozenset()
        self._refused: dict[str, tuple[str, str, int]] = {}
        self._noted: set[str] = set()
        self._counts = Counts(files=len(sources))
        self._done = self._number = 0

    def go(self) -> Counts:
        """Until the last document, or until someone stops it."""
        try:
            if self._job.model.model == AUTO:
                self._choose()
            while self._left or self._under_way:
                if self._stopped():
                    break
                self._look()
                self._submit()
                for future in self._wait():
                    self._take(future)
        except KeyboardInterrupt:
            self._counts.worsen(ExitStatus.INTERRUPTED)
        except (OSError, self._library.CancelledError):
            raise GemmaEdgeError(
                "the scheduler of the cluster is gone",
                hint="run it again: what was answered is not done again",
            ) from None
        finally:
            self._leave()
        return self._counts

    def _stopped(self) -> bool:
        """Whether no document is to be begun; those that are under way are ended."""
        if not (why := self._batch.stopped()):
            return False
        self._client.run(leave, self._job.name, now=True, on_error="ignore")
        kept, self._left = self._left, deque()
        while self._under_way:
            for future in self._wait():
                self._take(future)
        left = self._counts.files - self._done
        if left or kept:
            self._counts.worsen(ExitStatus.UNFINISHED)
            self._runtime.note(f"{why}: {count_left(left)}; run it again to go on")
        return True

    def _leave(self) -> None:
        """Let go of everything, whatever happened; a scheduler that is gone needs no word."""
        with suppress(OSError, self._library.TimeoutError, self._library.CancelledError):
            self._client.cancel(list(self._under_way))
            self._client.run(leave, self._job.name, now=True, on_error="ignore")

    def _choose(self) -> None:
        """One model for all of them: that of the plan of the first worker which has one."""
        while True:
            self._look()
            allowed = self._allowed()
            future = self._client.submit(choose, self._job, workers=allowed or None, pure=False)
            self._under_way[future] = (), allowed
            while future.status == "pending":
                self._look()
                self._wait()
            del self._under_way[future]
            chosen = self._result(future, ())
            if chosen is not None:
                break
        self._job = replace(self._job, model=replace(self._job.model, model=chosen.model))
        self._runtime.note(
            f"all workers use {chosen.model}, the choice of {chosen.worker} (-m NAME for another)"
        )

    def _submit(self) -> None:
        """So much that each worker has something to do, in ever smaller groups."""
        allowed = self._allowed()
        count = len(self._workers - self._refused.keys())
        while self._left and len(self._under_way) < _AHEAD * count:
            size = max(1, min(_MOST_IN_GROUP, len(self._left) // (_AHEAD * count)))
            group = tuple(self._left.popleft() for _ in range(size))
            self._number += 1
            future = self._client.submit(
                answer, self._job, self._number, group, workers=allowed or None, pure=False
            )
            self._under_way[future] = group, allowed

    def _allowed(self) -> frozenset[str]:
        """Empty where any may have it, later ones too."""
        return self._workers - self._refused.keys() if self._refused else frozenset()

    def _look(self) -> None:
        """Which workers there are now. What only those were to do that are gone is done anew.
        Raises GemmaEdgeError: none is left that can do it."""
        now = frozenset(self._client.nthreads())
        for each in sorted(self._workers - now):
            self._runtime.note(f"worker {each} is gone; what it was at is done by another")
        if now - self._workers:
            self._runtime.note(f"{len(now):,} worker{'' if len(now) == 1 else 's'}")
        if not now:
            self._note_once("no worker is there yet; the first that comes begins")
        self._workers = now
        if now and now <= self._refused.keys():
            message, hint, status = self._refused[min(now)]
            error = ModelError if status == ExitStatus.MODEL else GemmaEdgeError
            raise error(f"no worker can do it: {message}", hint=hint)
        for future, (group, allowed) in list(self._under_way.items()):
            if group and allowed and not allowed & now:
                self._client.cancel([future])
                del self._under_way[future]
                self._left.extendleft(group)

    def _wait(self) -> Collection[Any]:
        """Those that have ended, after a moment at most."""
        if not self._under_way:
            time.sleep(_LOOK_SECONDS)
            return ()
        try:
            ended = self._library.wait(list(self._under_way), _LOOK_SECONDS, "FIRST_COMPLETED")
        except self._library.TimeoutError:
            return ()
        return tuple(ended.done)

    def _take(self, future: Any) -> None:
        group, _ = self._under_way.pop(future)
        answered = self._result(future, group)
        if answered is None:
            return
        assert answered.counts is not None
        for event in answered.told:
            self._runtime.on_event(event)
        for note in answered.notes:
            self._note_once(f"{answered.worker}: {note}")
        counts = answered.counts
        kept = counts.kept
        ended = counts.done + kept + counts.failed
        if counts.status != ExitStatus.UNFINISHED:
            ended = len(group)
            self._counts.worsen(counts.status)
        self._counts.add(replace(counts, status=ExitStatus.OK))
        self._step(ended, kept)

    def _step(self, count: int, kept: int) -> None:
        for number in range(count):
            self._done += 1
            self._runtime.on_event(
                Step(self._done, self._counts.files, self._counts.failed, number < kept)
            )

    def _result(self, future: Any, group: tuple[Source, ...]) -> Answered | None:
        """None where another worker has to do it.
        Raises GemmaEdgeError: none could."""
        if future.status == "finished":
            answered: Answered = future.result()
            if answered.refused is None:
                return answered
            self._note_once(f"worker {answered.worker} takes no files: {answered.refused[0]}")
            self._refused[answered.worker] = answered.refused
            self._left.extendleft(reversed(group))
            return None
        error = future.exception()
        if not isinstance(error, self._library.KilledWorker):
            raise GemmaEdgeError(
                f"a worker failed: {_said(error)}",
                hint="scheduler and workers need the same gemma-edge[cluster] as this machine",
            )
        if len(group) == 1:
            self._give_up(group[0])
        elif group:
            self._alone(group)
        return None

    def _alone(self, group: tuple[Source, ...]) -> None:
        """Each by itself, to see which of them workers do not survive."""
        for each in group:
            self._number += 1
            future = self._client.submit(
                answer, self._job, self._number, (each,), workers=self._allowed() or None,
                pure=False,
            )  # fmt: skip
            self._under_way[future] = (each,), self._allowed()

    def _give_up(self, source: Source) -> None:
        error = GemmaEdgeError(
            f"{source.name}: each worker that began with it was lost",
            hint="it may need more memory than a worker has",
        )
        assert self._job.batch.out is not None
        self._job.work.fail_beside(self._job.batch.out, source, error)
        self._counts.failed += 1
        self._counts.worsen(error.exit_status)
        self._runtime.on_event(Failure(error.message))
        self._step(1, 0)

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._runtime.note(text)


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


# ---------------------------------------------------------------------------- the cluster itself


def _library(name: str) -> Any:
    """Raises UsageError: it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gemma_edge"):
            raise
        raise UsageError(
            f"--cluster needs {error.name}, which is not installed",
            hint='pip install "gemma-edge[cluster]"',
        ) from None


def share_gpus(hardware: "Hardware", where: Cluster, model: ModelRequest) -> list[dict[str, str]]:
    """For each process of this machine the variables by which it sees its own GPUs alone.
    Raises UsageError: there are fewer of them than processes, each of which would count on all of
    its memory."""
    count, some = where.local, [each.partition("=") for each in hardware.apart]
    if count == 1 or model.gpu_layers == 0 or not any(each.usable for each in hardware.devices):
        return [{}] * count
    if count > len(some):
        least = max(1, len(some))
        here = "is one GPU" if least == 1 else f"are {least} GPUs"
        raise UsageError(
            f"{where.address} is {count} processes, and there {here} for them",
            hint=f"local:{least}; --gpu-layers 0 is without a GPU",
        )
    return [
        {some[0][0]: ",".join(value for _, _, value in some[number::count])}
        for number in range(count)
    ]


@contextmanager
def _connected(where: Cluster, gpus: Sequence[dict[str, str]], runtime: Runtime) -> Iterator[Any]:
    """A client of the cluster; one that was started for this run ends with it.
    Raises UsageError: Dask is not installed; GemmaEdgeError: no scheduler answers."""
    distributed = _library("distributed")
    # What matters is told here; Dask's own configuration gives some of these a level.
    for name in ("distributed", "distributed.client", "asyncio", "tornado", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        address: Any = where.address
        if where.local or where.address in QUEUES:
            address = stack.enter_context(_started(where, gpus, distributed, runtime))
        try:
            client = distributed.Client(address, timeout=_CONNECT_SECONDS, name="gemma-edge")
        except (OSError, ValueError, TypeError, distributed.TimeoutError) as error:
            raise GemmaEdgeError(
                f"no Dask scheduler answers at {where.address} ({_said(error)})",
                hint="`dask scheduler` starts one; tls:// needs Dask's own settings",
            ) from None
        stack.callback(client.close, timeout=5)
        yield client


@contextmanager
def _started(
    where: Cluster, gpus: Sequence[dict[str, str]], distributed: Any, runtime: Runtime
) -> Iterator[Any]:
    """Workers of our own, which trust nobody but this run: other users reach the same ports.
    Raises GemmaEdgeError: they cannot be started."""
    _library("cryptography")
    security = distributed.Security.temporary()
    if where.local:
        options = {
            "nthreads": 1, "host": "127.0.0.1", "protocol": "tls://", "security": security,
            "memory_limit": 0, "silence_logs": logging.CRITICAL, **_PAGES,
        }  # fmt: skip
        listens = {"host": "127.0.0.1", "protocol": "tls://", "security": security, **_PAGES}
        cluster = distributed.SpecCluster(
            scheduler={"cls": distributed.Scheduler, "options": listens},
            workers={
                number: {"cls": distributed.Nanny, "options": {**options, "env": own}}
                for number, own in enumerate(gpus)
            },
            security=security, silence_logs=logging.CRITICAL,
        )  # fmt: skip
    else:
        keys = runtime.store.data_dir / "cluster"
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        cluster = _queued(where, security, str(keys))
    with cluster:
        yield cluster


def _queued(where: Cluster, security: Any, keys: str) -> Any:
    """Workers as jobs of a queue, by Dask's own configuration of it (``jobqueue.yaml``)."""
    jobqueue, config = _library("dask_jobqueue"), _library("dask.config")
    known = f"jobqueue.{where.address}"
    cluster = None
    options = [*(config.get(f"{known}.job-extra-directives", None) or ()), *where.options]
    try:
        cluster = getattr(jobqueue, QUEUES[where.address])(
            cores=config.get(f"{known}.cores", None) or _CORES,
            memory=config.get(f"{known}.memory", None) or _MEMORY,
            processes=1, job_extra_directives=options, security=security, protocol="tls://",
            shared_temp_directory=keys,
            scheduler_options=_PAGES,
            # One engine, and one document after the other: one thread, whatever the cores.
            worker_extra_args=["--nthreads", "1", "--dashboard-address", _PAGES_AT],
        )  # fmt: skip
        cluster.scale(where.workers or 1)
        # ``scale`` only begins it; what a queue refuses would be waited for in silence.
        cluster.sync(cluster._correct_state)
        for refused in [each for each in cluster.workers.values() if not each.job_id]:
            cluster.sync(refused.start)
    except (OSError, RuntimeError, ValueError) as error:
        if cluster is not None:
            with suppress(AssertionError):  # of Dask, about jobs that never began
                cluster.close(timeout=5)
        raise GemmaEdgeError(
            f"no workers can be started with {where.address} ({_said(error)})",
            hint="gemma-edge hpc check says what the cluster has",
        ) from None
    return cluster
