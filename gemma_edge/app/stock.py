"""What can be planned: files of this machine by their headers, those of the hub by the headers that
were read before, or else by what the catalogue knows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from gemma_edge import catalog
from gemma_edge.app.models import (
    Target,
    as_remote,
    ask_about,
    find_local,
    find_missing,
    find_target,
    name_of,
    no_drafter,
    offered_quants,
    pinned_name,
    with_local_drafter,
)
from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.catalog import CatalogFile, ModelFiles, Quant, Size
from gemma_edge.errors import ModelError
from gemma_edge.gguf import Header, named_by
from gemma_edge.planning.model import (
    check_drafter,
    check_model,
    check_pair,
    synthesize,
    synthesize_drafter,
    synthesize_projector,
)
from gemma_edge.planning.plan import Candidate
from gemma_edge.store.files import StoredFile, list_files
from gemma_edge.store.hub import find_kept_header, read_local_header, read_remote_header
from gemma_edge.store.lock import Locks
from gemma_edge.store.measurements import PAYS_TIMES, read_measurements
from gemma_edge.store.remote import RemoteFile, StoreSettings

ARCHITECTURE = "gemma4"


class Stock:
    """The store's files as they were when it was opened, beside the catalogue. Opens no socket.
    ``note`` takes a line about each of many that cannot be chosen."""

    def __init__(
        self, settings: StoreSettings, note: Callable[[str], None] = lambda _line: None
    ) -> None:
        self._settings, self._note = settings, note
        self._left_out: set[str] = set()
        self._files = [each for each in list_files(settings) if each.where != "incomplete"]

    def local(self, files: ModelFiles) -> Candidate:
        """A model on this machine.
        Raises ModelError: a file is none, or damaged."""
        header = read_local_header(files.model, self._settings)
        with named_by("--mmproj"):
            seen = read_local_header(files.projector, self._settings) if files.projector else None
        with named_by("--drafter"):
            guesses = read_local_header(files.drafter, self._settings) if files.drafter else None
        candidate = Candidate(
            name=files.name, title=files.title or files.name, header=header, projector=seen,
            drafter=guesses, files=files, image_tokens=files.image_tokens,
        )  # fmt: skip
        stored = self._stored(files.model)
        if files.drafter and (other := self._stored(files.drafter)) and stored:
            _check_source(stored, other)
        known = catalog.known_file(stored.repo, stored.file) if stored else None
        if stored is None or known is None:
            return candidate
        weights = stored.sha256 or ""
        if not weights and (locked := Locks(self._settings).find(stored.repo, stored.file)):
            weights = locked[0].sha256
        return replace(_named(candidate, known.size, known.quant), weights=weights)

    def _stored(self, path: Path) -> StoredFile | None:
        place = path.absolute()
        return next((each for each in self._files if each.path == place), None)

    def on_disk(self) -> list[Candidate]:
        """Every Gemma 4 of the store. A damaged file is left out, with a line."""
        found: dict[Path, Candidate] = {}
        for stored in self._files:
            known = catalog.known_file(stored.repo, stored.file)
            if known is None and "gemma" not in stored.name.lower():
                continue  # reading the header of every model of a full cache takes long
            own = ModelFiles(name=str(stored.path), title=stored.file, model=stored.path)
            try:
                candidate = self.quant(known.size, known.quant) if known else self.local(own)
            except ModelError as error:
                self._leave_out(error)
                continue
            if candidate.header.architecture == ARCHITECTURE and candidate.header.tensors:
                found.setdefault(candidate.model_path.resolve(), candidate)
        return list(found.values())

    def quants(self, pairs: Iterable[tuple[Size, Quant]]) -> list[Candidate]:
        """Of the catalogue, wherever the files are; what is damaged is left out, with a line.
        Raises ModelError: a file on disk is damaged, and no other was asked for."""
        found, refused = [], None
        for size, quant in pairs:
            try:
                found.append(self.quant(size, quant))
            except ModelError as error:
                refused = error
                self._leave_out(error)
        if refused is not None and not found:
            raise refused
        return found

    def _leave_out(self, error: ModelError) -> None:
        if error.message not in self._left_out:
            self._left_out.add(error.message)
            self._note(f"left out: {error.message}")

    def quant(self, size: Size, quant: Quant) -> Candidate:
        """One of the catalogue; its projector counts even where only the model is on disk."""
        model = self.path(quant.model)
        seen = self.path(quant.projector, beside=model) if quant.projector else None
        projector = self._projector(size, quant, seen)
        if model is not None:
            files = ModelFiles(name=name_of(size, quant), model=model, projector=seen,
                               image_tokens=size.image_tokens)  # fmt: skip
            return replace(self.local(files), projector=projector)
        kept = find_kept_header(as_remote(quant.model), self._settings)
        candidate = Candidate(
            name="", title="", on_disk=False, header=kept or synthesize(size, quant),
            exact=kept is not None, projector=projector, image_tokens=size.image_tokens,
            download_bytes=self._missing_bytes(quant),
        )  # fmt: skip
        return _named(candidate, size, quant)

    def _projector(self, size: Size, quant: Quant, seen: Path | None) -> Header | None:
        if quant.projector is None:
            return None
        if seen is not None:
            return read_local_header(seen, self._settings)
        kept = find_kept_header(as_remote(quant.projector), self._settings)
        return kept or synthesize_projector(size, quant)

    def with_drafter(self, candidate: Candidate, request: ModelRequest) -> Candidate:
        """With the drafter that was asked for, or as it is.
        Raises ModelError: there is none, or it is of another model."""
        if not request.guesses or candidate.drafter is not None:
            return self._with_measured(candidate, request) if request.draft == "auto" else candidate
        if request.drafter is None and candidate.size_name:
            known = catalog.wanted(candidate.name)
            return self._with_known_drafter(candidate, known.size, known.quant)
        if candidate.files is None and request.drafter is None:
            raise no_drafter(candidate.name)
        files = candidate.files or ModelFiles(name=candidate.name, model=candidate.model_path)
        path = with_local_drafter(files, request).drafter
        assert path is not None
        with named_by("--drafter"):
            drafter = read_local_header(path, self._settings)
        check_drafter(candidate.header, drafter)
        own = replace(candidate.files, drafter=path) if candidate.files else None
        return replace(candidate, drafter=drafter, files=own)

    def _with_measured(self, candidate: Candidate, request: ModelRequest) -> Candidate:
        """With the drafter that is here and that ``gemma-edge bench`` has found to pay."""
        if candidate.drafter is not None or candidate.weights_key not in self._pay:
            return candidate
        try:
            found = self.with_drafter(candidate, replace(request, draft="mtp"))
            path = found.files.drafter if found.files else None
            model, drafter = self._stored(found.model_path), path and self._stored(path)
            if model and drafter:
                _check_source(model, drafter)
        except ModelError:
            return candidate
        return replace(found, spare=True) if path else candidate

    @cached_property
    def _pay(self) -> set[str]:
        """The weights whose drafter makes answers faster on this machine."""
        measured, _ = read_measurements(self._settings)
        newest = {each.weights: each.drafter_times for each in measured if each.drafter_times}
        return {weights for weights, times in newest.items() if times >= PAYS_TIMES}

    def _with_known_drafter(self, candidate: Candidate, size: Size, quant: Quant) -> Candidate:
        if quant.drafter is None:
            raise no_drafter(candidate.name)
        seen = self.path(quant.drafter, beside=candidate.files.model if candidate.files else None)
        if seen is not None:
            drafter = read_local_header(seen, self._settings)
            files = replace(candidate.files, drafter=seen) if candidate.files else None
            return replace(candidate, drafter=drafter, files=files)
        kept = find_kept_header(as_remote(quant.drafter), self._settings)
        missing = candidate.download_bytes
        if missing is not None and quant.drafter.size_bytes is not None:
            missing += quant.drafter.size_bytes
        guesses = kept or synthesize_drafter(size, quant)
        return replace(candidate, drafter=guesses, download_bytes=missing)

    def with_drafters(
        self, candidates: Sequence[Candidate], request: ModelRequest
    ) -> list[Candidate]:
        """Those that have the drafter that was asked for, or all as they are.
        Raises ModelError: none of them has."""
        found, refused = [], None
        for each in candidates:
            try:
                found.append(self.with_drafter(each, request))
            except ModelError as error:
                refused = error
        if refused is not None and not found:
            raise refused
        return found

    def _missing_bytes(self, quant: Quant) -> int | None:
        wanted = [file for file in (quant.model, quant.projector) if file is not None]
        sizes = [file.size_bytes for file in wanted if self.path(file) is None]
        known = [size_bytes for size_bytes in sizes if size_bytes is not None]
        return sum(known) if known else None

    def path(self, file: CatalogFile | RemoteFile, beside: Path | None = None) -> Path | None:
        """Where it is; where it is there twice, at the revision of the file ``beside``, else the
        newest."""
        key = (file.repo, file.filename)
        same = [each for each in self._files if (each.repo, each.file) == key]
        commits = {each.commit for each in self._files if each.path == beside}
        best = max(same, key=lambda each: (each.commit in commits, each.last_used), default=None)
        return best.path if best else None


def _check_source(model: StoredFile, drafter: StoredFile) -> None:
    """A drafter is trained for the very weights: those of one repository and revision.
    Raises ModelError: they are of two, as far as that is known."""
    which = ""
    if model.repo and drafter.repo and model.repo != drafter.repo:
        which = "repository"
    elif model.commit and drafter.commit and model.commit != drafter.commit:
        which = "revision"
    if which:
        raise ModelError(
            f"`{drafter.name}` belongs to another model: `{model.name}` is of another {which}",
            hint="--draft mtp without --drafter takes the one that belongs to it",
        )


def _named(candidate: Candidate, size: Size, quant: Quant) -> Candidate:
    title = f"{size.title.removeprefix('Gemma 4 ')}, {quant.title} ({quant.source})"
    return replace(
        candidate, name=name_of(size, quant), title=title, size_name=size.name,
        bits=quant.bits, qat=quant.qat,
    )  # fmt: skip


# ----------------------------------------------------------------------------
# What a plan may choose from, for what was asked: one file, one quant, or all of the catalogue.


def offer(request: ModelRequest, stock: Stock, runtime: Runtime) -> list[Candidate]:
    """Candidates for ``--model`` and ``--quant``. Only a file of the hub that is neither here nor
    in the catalogue is asked for, by its header.
    Raises ModelError: there is no such model, or a file of it is damaged; UsageError,
    GemmaEdgeError: as reading a header from the hub."""
    name = pinned_name(request)
    kind = "size" if request.model == AUTO else catalog.kind_of(name)
    if kind == "size":
        found = stock.quants(offered_quants(request))
        if request.model == AUTO and request.quant is None:
            known = {each.model_path for each in found}
            found += [each for each in stock.on_disk() if each.model_path not in known]
    elif kind == "remote":
        target = find_target(name, runtime.store)
        if target.wanted is None:
            target = fetch_header(replace(target, drafter=None), runtime)
        found = [of_hub(target, stock, runtime.store)]
    else:
        found = [stock.local(find_local(name, None, runtime))]
        check_model(found[0].header)
    found = stock.with_drafters(found, request)
    if request.mmproj is None:
        return found
    return [with_projector(each, request.mmproj.expanduser(), runtime.store) for each in found]


def fetch_headers(request: ModelRequest, runtime: Runtime) -> None:
    """Headers from the hub of what may be chosen, as far as they are not here; 15 MiB each.
    Raises ModelError: one of them is not there, or ``runtime.store.offline``; GemmaEdgeError: the
    network failed."""
    if request.model == AUTO or catalog.kind_of(request.model) == "size":
        for size, quant in offered_quants(request):
            target = find_target(name_of(size, quant), runtime.store)
            if not request.guesses or request.drafter is not None:
                target = replace(target, drafter=None)
            fetch_header(target, runtime)


def fetch_header(target: Target, runtime: Runtime) -> Target:
    """Those of a model, its projector and its drafter, unless the files or the headers are here.
    Returns the target at the commit that was read: headers are kept by it, a branch or a tag does
    not say it.
    Raises ModelError, GemmaEdgeError: as above."""
    for file in filter(None, (target.model, target.projector, target.drafter)):
        if find_kept_header(file, runtime.store) is None and find_missing([file], runtime):
            upstream = ask_about(file, runtime)
            if file.sha256 in (None, upstream.sha256):  # else the catalogue's figures hold
                with runtime.progress() as listen:
                    read_remote_header(upstream, runtime.store, on_progress=listen)
            if file is target.model:
                target = replace(target, model=replace(file, revision=upstream.commit))
    return target


def of_hub(target: Target, stock: Stock, settings: StoreSettings) -> Candidate:
    """A file of the hub; one that the catalogue does not know by its header, which is here
    (``fetch_header``).
    Raises ModelError: it is no language model."""
    if known := target.wanted:
        return stock.quant(known.size, known.quant)
    if path := stock.path(target.model):
        return stock.local(ModelFiles(name=target.asked, model=path))
    header = find_kept_header(target.model, settings)
    assert header is not None
    check_model(header)
    return Candidate(name=target.asked, title=target.title, header=header, on_disk=False)


def with_projector(candidate: Candidate, path: Path, settings: StoreSettings) -> Candidate:
    """The projector that a person named, in place of its own.
    Raises ModelError, ProjectorError: it is none, or of another model."""
    projector = read_local_header(path, settings)
    check_pair(candidate.header, projector)
    files = replace(candidate.files, projector=path) if candidate.files else None
    return replace(candidate, projector=projector, files=files)
