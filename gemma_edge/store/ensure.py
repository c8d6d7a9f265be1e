"""Files in, paths out: what is missing is fetched, several at once, and everything is checked."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gemma_edge.errors import Interrupted, ModelError, UsageError
from gemma_edge.store.crew import Crew
from gemma_edge.store.progress import Listener
from gemma_edge.store.download import Upstream
from gemma_edge.store.failures import (
    Changed,
    Stopped,
    explain_disk,
    not_while_offline,
    other_hash,
)
from gemma_edge.store.layout import Place, cache_place, plain_place
from gemma_edge.store.patience import Patience, ask_patiently
from gemma_edge.store.progress import Meter
from gemma_edge.store.remote import RemoteFile
from gemma_edge.store.settings import StoreSettings
from gemma_edge.store.shelf import Found, Shelf, Wanted
from gemma_edge.store.space import check_space
from gemma_edge.store.transfer import fetch
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

    Raises:
        DoesNotFit: the disk is too small, before or on the way.
        ModelError: not there, not allowed, not what it should be, or missing while offline.
        GemmaEdgeError: the network or the disk failed; the next call goes on from there.
        Interrupted: Ctrl-C; the next call goes on from there.
    """
    run = _Run(settings, accept, on_progress or (lambda _: None))
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

    Raises:
        GemmaEdgeError: a file is there and cannot be read.
    """
    run = _Run(settings, False, on_progress or (lambda _: None))
    result: list[tuple[RemoteFile, int | None]] = []
    for file in dict.fromkeys(files):
        if run.find(file) is None:
            entry = run.wanted[file].entry
            result.append((file, entry.size if entry else file.size_bytes))
    return result


class _Run:
    def __init__(self, settings: StoreSettings, accept: bool, listen: Listener) -> None:
        self._settings, self._accept, self._listen = settings, accept, listen
        self._shelf = Shelf(settings)
        self._stop = threading.Event()
        self.wanted: dict[RemoteFile, Wanted] = {}
        self._meters: dict[RemoteFile, Meter] = {}

    def find(self, file: RemoteFile) -> Found | None:
        """On disk; with ``accept`` only what is upstream now counts."""
        wanted = self._shelf.decide(file, accept=self._accept)
        self.wanted[file] = wanted
        if self._accept:
            return None
        total = wanted.entry.size if wanted.entry else file.size_bytes or 0
        meter = Meter(file.name, self._listen, self._settings.clock, total_bytes=total)
        found = self._shelf.find(file, wanted, meter.checked)
        if found is not None and wanted.entry is None:
            self._shelf.remember(file, found, certain=False)
        return found

    def fetch_all(self, files: Sequence[RemoteFile]) -> dict[RemoteFile, Found]:
        """All of them, ``settings.parallel`` at a time."""
        if self._settings.offline:
            if self._accept:
                raise UsageError(
                    f"{files[0].name} can only be accepted from the hub, and --offline is set",
                    hint="leave out one of --offline and --accept-change",
                )
            raise not_while_offline([file.name for file in files])
        listen = self._listen
        for file in files:
            size = file.size_bytes or 0
            self._meters[file] = Meter(file.name, listen, self._settings.clock, total_bytes=size)
        try:
            return self._fetch_all(files)
        except (KeyboardInterrupt, Stopped):
            raise self._interrupted() from None
        except OSError as error:
            place = Path(error.filename or self._shelf.cache_dir)
            raise explain_disk(error, place) from None
        finally:
            self._stop.set()

    def _fetch_all(self, files: Sequence[RemoteFile]) -> dict[RemoteFile, Found]:
        upstreams = {file: self._ask(file) for file in files}
        found: dict[RemoteFile, Found] = {}
        if self._accept:  # only now it is known what has to be there
            for file, upstream in upstreams.items():
                there = self._find_accepted(upstream)
                if there is not None:
                    found[file] = there
        waiting = {file: upstreams[file] for file in files if file not in found}
        places = {file: self._place(upstream) for file, upstream in waiting.items()}
        check_space(_still_to_come(waiting, places))
        meters = [self._meters[file] for file in waiting]
        crew = Crew(self._fetch_one, meters, self._listen, self._stop)
        return found | crew.run(list(waiting.values()), self._settings.parallel)

    def _find_accepted(self, upstream: Upstream) -> Found | None:
        if upstream.sha256 is None:
            return None
        wanted = Wanted(upstream.commit, upstream.sha256, "the hub")
        meter = self._meters[upstream.file]
        meter.total_bytes = upstream.size_bytes
        found = self._shelf.find(upstream.file, wanted, meter.checked)
        if found is not None:
            found = replace(found, commit=upstream.commit)
            self._shelf.remember(upstream.file, found, certain=True)
        return found

    def _ask(self, file: RemoteFile) -> Upstream:
        """What the hub has, if it is what the lock and the catalogue say."""
        wanted = self.wanted[file]
        upstream = self._ask_patiently(file, wanted)
        found = upstream.sha256
        if wanted.sha256 is not None and found not in (None, wanted.sha256):
            raise other_hash(
                file, wanted.sha256, found or "", wanted.said_by, revision=upstream.commit
            )
        return replace(upstream, sha256=found or wanted.sha256)

    def _ask_patiently(self, file: RemoteFile, wanted: Wanted) -> Upstream:
        patience = Patience(self._settings, self._meters[file], self._stop)
        try:
            return ask_patiently(file, wanted.revision, self._settings, patience)
        except ModelError:
            if file.revision is not None or wanted.entry is None or wanted.revision == "main":
                raise
        # The locked commit is gone; the same bytes may still be the newest.
        return ask_patiently(file, "main", self._settings, patience)

    def _place(self, upstream: Upstream) -> Place:
        file, models_dir = upstream.file, self._settings.models_dir
        if models_dir is not None:
            return plain_place(models_dir, file, upstream.commit, upstream.etag)
        cache = self._shelf.cache_dir
        return cache_place(cache, file, upstream.commit, upstream.etag, upstream.revision)

    def _fetch_one(self, upstream: Upstream) -> Found:
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
                    raise ModelError(
                        f"{error}, again and again", hint="run the same command later"
                    ) from None
                meter.tell("waiting", f"{error}; it starts over")
                upstream = self._ask(file)
        found = Found(place.final, upstream.commit, sha256)
        self._shelf.checked.put(place.final, sha256)
        self._shelf.remember(file, found, certain=True)
        meter.done_bytes = meter.total_bytes
        meter.tell("done")
        return found

    def _interrupted(self) -> Interrupted:
        kept = sum(meter.done_bytes for meter in self._meters.values())
        total = sum(meter.total_bytes for meter in self._meters.values())
        said = f"{render_bytes(kept)} of {render_bytes(total)} are kept" if kept else "nothing came"
        return Interrupted(f"stopped; {said}", hint="the same command goes on from there")


def _still_to_come(
    upstreams: dict[RemoteFile, Upstream], places: dict[RemoteFile, Place]
) -> dict[Path, int]:
    needed: dict[Path, int] = {}
    for file, upstream in upstreams.items():
        partial = places[file].partial
        there = partial.stat().st_size if partial.is_file() else 0
        folder = partial.parent
        needed[folder] = needed.get(folder, 0) + max(0, upstream.size_bytes - there)
    return needed
