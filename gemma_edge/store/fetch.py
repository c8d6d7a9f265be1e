"""Files in, paths out: what is missing is fetched, several at once, and everything is checked."""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from gemma_edge.disk import open_plain
from gemma_edge.errors import Interrupted, ModelError, UsageError
from gemma_edge.store.files import (
    Destination,
    Expected,
    LocalFile,
    LocalFiles,
    TrailingHash,
    cache_destination,
    check_space,
    explain_disk,
    hash_file,
    plain_destination,
    publish,
)
from gemma_edge.store.hub import (
    Changed,
    RetryPolicy,
    StartOver,
    Stopped,
    TryAgain,
    Upstream,
    ask_again,
    file_lock,
    gave_up,
    not_while_offline,
    stream_http,
    stream_xet,
)
from gemma_edge.store.remote import Listener, Progress, ProgressMeter, RemoteFile, StoreSettings
from gemma_edge.units import render_bytes

_MAX_CHANGES = 2  # times a file may be replaced upstream during one run


def ensure(
    files: Sequence[RemoteFile], settings: StoreSettings, *, accept: bool = False,
    on_progress: Listener | None = None,
) -> list[Path]:  # fmt: skip
    """The files on disk, in the order asked for, each with the hash that the lock, the catalogue
    or the hub promises. ``accept`` takes what is upstream now, and locks that.

    Without anything missing (and without ``accept``) no socket is opened; with
    ``settings.offline`` never. ``on_progress`` is called in the calling thread.
    Raises DoesNotFit: the disk is too small, before or on the way; ModelError: not there, not
    allowed, not what it should be, or missing while offline; GemmaEdgeError: the network or the
    disk failed; Interrupted: Ctrl-C. After these two the next call goes on from there."""
    run = _Download(settings, accept, on_progress)
    unique = list(dict.fromkeys(files))
    found = {file: run.find(file) for file in unique}
    missing = [file for file in unique if found[file] is None]
    if missing:
        found |= run.fetch_all(missing)
    return [entry.path for file in files if (entry := found[file]) is not None]


def missing_files(
    files: Sequence[RemoteFile], settings: StoreSettings, *, on_progress: Listener | None = None
) -> list[tuple[RemoteFile, int | None]]:
    """What ``ensure`` would fetch, and how large it is where the lock or the catalogue says so
    (else ``ask``). Opens no socket.
    Raises GemmaEdgeError: a file is there and cannot be read."""
    run = _Download(settings, False, on_progress)
    result: list[tuple[RemoteFile, int | None]] = []
    for file in dict.fromkeys(files):
        if run.find(file) is None:
            entry = run.expected[file].entry
            result.append((file, entry.size if entry else file.size_bytes))
    return result


def ask_hub(
    files: Sequence[RemoteFile], settings: StoreSettings, *, on_progress: Listener | None = None
) -> dict[RemoteFile, Upstream]:
    """What ``ensure`` would fetch, as the hub has it now; nothing is fetched.
    Raises ModelError: it is not there, not allowed, or not what the lock or the catalogue says;
    GemmaEdgeError: the network failed."""
    run = _Download(settings, False, on_progress)
    return {file: run.ask(file) for file in files}


class _Download:
    def __init__(self, settings: StoreSettings, accept: bool, listen: Listener | None) -> None:
        self._settings, self._accept, self._listen = settings, accept, listen or (lambda _: None)
        self._local = LocalFiles(settings)
        self._stop = threading.Event()
        self.expected: dict[RemoteFile, Expected] = {}
        self._meters: dict[RemoteFile, ProgressMeter] = {}

    def find(self, file: RemoteFile) -> LocalFile | None:
        """On disk; with ``accept`` only what is upstream now counts."""
        expected = self._local.decide(file, accept=self._accept)
        self.expected[file] = expected
        if self._accept:
            return None
        total = expected.entry.size if expected.entry else file.size_bytes or 0
        meter = ProgressMeter(file.name, self._listen, self._settings, total)
        found = self._local.find(file, expected, meter.checked)
        if found is not None and expected.entry is None:
            self._local.remember(file, found, certain=False)
        return found

    def fetch_all(self, files: Sequence[RemoteFile]) -> dict[RemoteFile, LocalFile]:
        """All of them, ``settings.parallel`` at a time."""
        settings = self._settings
        if settings.offline and self._accept:
            raise UsageError(
                f"{files[0].name} can only be accepted from the hub, and --offline is set",
                hint="leave out one of --offline and --accept-change",
            )
        if settings.offline:
            raise not_while_offline([file.name for file in files])
        try:
            return self._fetch_all(files)
        except (KeyboardInterrupt, Stopped):
            raise self._interrupted() from None
        except OSError as error:
            raise explain_disk(error, Path(error.filename or self._local.cache_dir)) from None
        finally:
            self._stop.set()

    def _fetch_all(self, files: Sequence[RemoteFile]) -> dict[RemoteFile, LocalFile]:
        upstreams = {file: self.ask(file) for file in files}
        found: dict[RemoteFile, LocalFile] = {}
        if self._accept:  # only now it is known what has to be there
            there = {file: self._find_accepted(upstream) for file, upstream in upstreams.items()}
            found = {file: local for file, local in there.items() if local is not None}
        waiting = [upstreams[file] for file in files if file not in found]
        needed: dict[Path, int] = {}
        for upstream in waiting:
            partial = self._place(upstream).partial
            there_bytes = partial.stat().st_size if partial.is_file() else 0
            missing = max(0, upstream.size_bytes - there_bytes)
            needed[partial.parent] = needed.get(partial.parent, 0) + missing
        check_space(needed)
        meters = [self._meters[upstream.file] for upstream in waiting]
        workers = Workers(self._fetch_one, meters, self._listen, self._stop)
        return found | workers.run(waiting, self._settings.parallel)

    def _find_accepted(self, upstream: Upstream) -> LocalFile | None:
        if upstream.sha256 is None:
            return None
        expected = Expected(upstream.commit, upstream.sha256, "the hub")
        meter = self._meters[upstream.file]
        meter.total_bytes = upstream.size_bytes
        found = self._local.find(upstream.file, expected, meter.checked)
        if found is not None:
            found = replace(found, commit=upstream.commit)
            self._local.remember(upstream.file, found, certain=True)
        return found

    def ask(self, file: RemoteFile) -> Upstream:
        """What the hub has, if it is what the lock and the catalogue say."""
        settings, size = self._settings, file.size_bytes or 0
        if file not in self.expected:
            self.expected[file] = self._local.decide(file, accept=self._accept)
        if file not in self._meters:
            self._meters[file] = ProgressMeter(file.name, self._listen, settings, size)
        expected = self.expected[file]
        retries = RetryPolicy(settings, self._meters[file], self._stop)
        ours = file.sha256 is not None or (file.revision is None and expected.entry is not None)
        upstream = ask_again(file, expected.revision, settings, retries, or_newest=ours)
        if change := _describe_change(file, expected, upstream):
            hint = f"if the change is meant: gemma-edge pull {file.name} --accept-change"
            raise ModelError(change, hint=hint)
        return replace(upstream, sha256=upstream.sha256 or expected.sha256)

    def _place(self, upstream: Upstream) -> Destination:
        file, models_dir = upstream.file, self._settings.models_dir
        if models_dir is not None:
            return plain_destination(models_dir, file, upstream.commit, upstream.etag)
        cache = self._local.cache_dir
        return cache_destination(cache, file, upstream.commit, upstream.etag, upstream.revision)

    def _fetch_one(self, upstream: Upstream) -> LocalFile:
        """One file; when it is replaced upstream on the way, what is there now, if that may be."""
        file, meter = upstream.file, self._meters[upstream.file]
        for change in range(_MAX_CHANGES + 1):
            place = self._place(upstream)
            try:
                sha256 = fetch(upstream, place, self._settings, meter, self._stop)
                break
            except Changed as error:
                place.partial.unlink(missing_ok=True)
                if change == _MAX_CHANGES:
                    message = f"{error}, again and again"
                    raise ModelError(message, hint="run the same command later") from None
                meter.report("waiting", f"{error}; it starts over")
                upstream = self.ask(file)
        found = LocalFile(place.final, upstream.commit, sha256)
        self._local.checked.put(place.final, sha256)
        own = not self.expected[file].of_project
        self._local.remember(file, found, certain=True, own=own)
        meter.finish()
        return found

    def _interrupted(self) -> Interrupted:
        kept = sum(meter.done_bytes for meter in self._meters.values())
        total = sum(meter.total_bytes for meter in self._meters.values())
        some = f"{render_bytes(kept)} of {render_bytes(total)} are kept"
        message = f"stopped; {some if kept else 'nothing came'}"
        return Interrupted(message, hint="the same command goes on from there")


def _describe_change(file: RemoteFile, expected: Expected, upstream: Upstream) -> str:
    """What the hub has in place of the bytes that were promised, "" where it may be those."""
    size = expected.entry.size if expected.entry else file.size_bytes
    same_size = upstream.sha256 is not None or size in (None, upstream.size_bytes)
    if expected.sha256 is None or (upstream.sha256 in (None, expected.sha256) and same_size):
        return ""
    was = "" if size is None else f" ({render_bytes(size)})"
    return (
        f"{file.name} has changed on the hub: it is not what {expected.promised_by} says, "
        f"expected sha256 {expected.sha256}{was}, upstream sha256 {upstream.sha256 or 'not said'} "
        f"({render_bytes(upstream.size_bytes)}, revision {upstream.commit})"
    )


_LEAVE_SECONDS = 1.0  # a thread that waits for a byte cannot be woken; what it has is on disk


class Workers:
    """The threads of one run. ``stop`` ends all of them within a chunk."""

    def __init__(
        self, work: Callable[[Upstream], LocalFile], meters: Sequence[ProgressMeter],
        listen: Listener, stop: threading.Event,
    ) -> None:  # fmt: skip
        self._work, self._listen, self._stop, self._meters = work, listen, stop, meters
        self._events: queue.Queue[Progress | tuple[RemoteFile, LocalFile | BaseException]]
        self._events = queue.Queue()
        for meter in meters:
            meter.listen = self._events.put  # from here on other threads measure

    def run(self, upstreams: Sequence[Upstream], parallel: int) -> dict[RemoteFile, LocalFile]:
        """All of them; the first error ends the others and is raised here, as Ctrl-C does."""
        jobs: queue.Queue[Upstream] = queue.Queue()
        for upstream in upstreams:
            jobs.put(upstream)
        threads = [
            threading.Thread(target=self._take, args=(jobs,), daemon=True, name="fetch")
            for _ in range(max(1, min(parallel, len(upstreams))))
        ]
        for thread in threads:
            thread.start()
        try:
            return self._listen_for(len(upstreams))
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(_LEAVE_SECONDS)

    def _listen_for(self, count: int) -> dict[RemoteFile, LocalFile]:
        found: dict[RemoteFile, LocalFile] = {}
        while len(found) < count:
            try:
                event = self._events.get(timeout=0.2)  # Windows delivers Ctrl-C in between
            except queue.Empty:
                for meter in self._meters:
                    meter.tick()
                continue
            if isinstance(event, Progress):
                self._listen(event)
                continue
            file, result = event
            if isinstance(result, BaseException):
                raise result
            found[file] = result
        return found

    def _take(self, jobs: "queue.Queue[Upstream]") -> None:
        while not self._stop.is_set():
            try:
                upstream = jobs.get_nowait()
            except queue.Empty:
                return
            result: LocalFile | BaseException
            try:
                result = self._work(upstream)
            except BaseException as error:  # noqa: BLE001  (raised again in the calling thread)
                result = error
            self._events.put((upstream.file, result))


_TURN_SECONDS = 0.5  # how long one look at the lock of another process lasts
_MAX_RESTARTS = 3  # from the first byte, in one run
_HASH_BYTES = 1 << 20  # the hashing thread is woken for no less


def fetch(
    upstream: Upstream, place: Destination, settings: StoreSettings, meter: ProgressMeter,
    stop: threading.Event,
) -> str:  # fmt: skip
    """Bring the file to its place; the sha256 of what lies there then.
    Raises GemmaEdgeError: the network, the disk, or the bytes; what came in so far is kept, unless
    its hash is wrong; Changed: the hub replaced the file meanwhile; nothing is kept; Stopped:
    ``stop`` was set; what came in so far is kept."""
    meter.total_bytes = upstream.size_bytes
    try:
        for folder in (place.blob.parent, place.final.parent):
            folder.mkdir(parents=True, exist_ok=True)
        while True:
            with file_lock(place.lock, _TURN_SECONDS) as mine:
                if mine:
                    return _fetch_alone(upstream, place, settings, meter, stop)
            if stop.is_set():
                raise Stopped
            meter.done_bytes = _size(place.partial)
            meter.report("waiting", "another process fetches it")
    except OSError as error:
        missing = upstream.size_bytes - _size(place.partial)
        raise explain_disk(error, place.blob, missing) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _fetch_alone(
    upstream: Upstream, place: Destination, settings: StoreSettings, meter: ProgressMeter,
    stop: threading.Event,
) -> str:  # fmt: skip
    expected = upstream.sha256
    if place.blob.is_file() and _size(place.blob) == upstream.size_bytes:
        # Another process was faster, or it is damaged.
        sha256 = hash_file(place.blob, meter.checked)
        if sha256 == (expected or sha256):
            place.partial.unlink(missing_ok=True)
            publish(place)
            return sha256
    if place.final == place.blob and place.final.exists():
        meter.report("waiting", f"{place.final} has other bytes, and is replaced")
    while True:
        resumed = _size(place.partial) > 0
        sha256 = _Transfer(upstream, place, settings, meter, stop).run()
        if sha256 == (expected or sha256):
            publish(place)
            return sha256
        place.partial.unlink()
        if not resumed:
            hint = "run the same command again; if it happens again, a proxy or the disk changes "
            raise ModelError(
                f"{upstream.file.name} came in damaged, and was removed\n"
                f"  expected sha256 {expected}\n"
                f"  received sha256 {sha256}",
                hint=f"{hint}bytes",
            )
        meter.start(0)
        meter.report("downloading", "the part from before was damaged; it starts over")


class _Transfer:
    """Appends to the partial file until it is whole."""

    def __init__(
        self, upstream: Upstream, place: Destination, settings: StoreSettings, meter: ProgressMeter,
        stop: threading.Event,
    ) -> None:  # fmt: skip
        self._upstream, self._place, self._settings = upstream, place, settings
        self._meter, self._retry_policy = meter, RetryPolicy(settings, meter, stop)
        self._by_xet = upstream.xet is not None
        self._position = self._restarts = 0
        self._trailing = TrailingHash(place.partial)

    def run(self) -> str:
        total = self._upstream.size_bytes
        # Unbuffered: what has arrived is in the file even if this process is killed.
        descriptor = open_plain(self._place.partial, os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "r+b", buffering=0) as target:
            self._position = target.seek(0, os.SEEK_END)
            if self._position > total:
                self._position = 0
                target.truncate(0)
            self._start_hashing()
            try:
                while self._position < total:
                    self._attempt(target)
                os.fsync(descriptor)  # before the hash is believed, also after a power cut
                self._trailing.written(self._position)
                return self._trailing.finish(self._meter.checked)
            finally:
                self._trailing.abandon()

    def _start_hashing(self) -> None:
        self._trailing = TrailingHash(self._place.partial)
        self._trailing.start()
        self._trailing.written(self._position)
        self._meter.start(self._position)

    def _attempt(self, target: BinaryIO) -> None:
        self._retry_policy.check()
        target.seek(self._position)
        stream = stream_xet if self._by_xet else stream_http
        try:
            for chunk in stream(self._upstream, self._position, self._settings):
                self._append(target, chunk)
                self._retry_policy.check()
            if self._position < self._upstream.size_bytes:
                raise TryAgain("the connection ended early")
        except TryAgain as failure:
            if self._by_xet:
                self._by_xet = False
                self._meter.report("downloading", f"Xet: {failure.reason}; plain HTTP from here")
            else:
                self._retry_policy.wait(failure)
        except StartOver as failure:
            self._restart(target, str(failure))

    def _append(self, target: BinaryIO, chunk: bytes) -> None:
        if self._position + len(chunk) > self._upstream.size_bytes:
            raise StartOver("more bytes came than the file has")
        rest = memoryview(chunk)
        while rest:
            count = target.write(rest)
            self._meter.add(count)
            before, self._position = self._position, self._position + count
            rest = rest[count:]
            if before // _HASH_BYTES != self._position // _HASH_BYTES:
                self._trailing.written(self._position)
        self._retry_policy.progressed()

    def _restart(self, target: BinaryIO, reason: str) -> None:
        self._restarts += 1
        if self._restarts > _MAX_RESTARTS:
            raise gave_up(self._meter.file, reason, self._position, self._upstream.size_bytes)
        self._trailing.abandon()
        target.truncate(0)
        self._position = 0
        self._start_hashing()
        self._meter.report("downloading", f"{reason}; it starts over")
