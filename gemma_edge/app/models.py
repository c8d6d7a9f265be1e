"""Names to files: what people call a model, what is on this machine, and fetching the rest."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from gemma_edge import catalog
from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.catalog import CatalogFile, ModelFiles, NamedModel, Quant, Size
from gemma_edge.errors import ModelError, UsageError
from gemma_edge.gguf import Header, check_whole, parse_metadata, read_header
from gemma_edge.planning.model import (
    drafter_problem,
)
from gemma_edge.records import dataclass
from gemma_edge.store.fetch import ask_hub, ensure, missing_files
from gemma_edge.store.files import StoredFile
from gemma_edge.store.hub import (
    Upstream,
    ask,
    find_newest,
    read_part,
    read_remote_header,
)
from gemma_edge.store.lock import Locks
from gemma_edge.store.remote import (
    RemoteFile,
    StoreSettings,
    no_such_file_named,
    parse_remote,
    repository_of,
)
from gemma_edge.units import render_bytes

# ----------------------------------------------------------------------------
# What people write for a model, as files of the hub.


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model of the hub with what belongs to it. ``wanted`` is what the catalogue knows of it,
    None for a file that is not in there."""

    asked: str
    model: RemoteFile
    projector: RemoteFile | None = None
    drafter: RemoteFile | None = None
    wanted: NamedModel | None = None

    @property
    def title(self) -> str:
        return self.wanted.title if self.wanted else self.model.name

    @property
    def note(self) -> str:
        """What is to be said about the name, "" if nothing."""
        return self.wanted.note if self.wanted else ""


def find_target(text: str, settings: StoreSettings, *, newest: bool = False) -> Target:
    """A name of the catalogue, ``hf:owner/repo/file.gguf[@revision]`` or an address of the hub.
    Projector and drafter are those of the model's repository and revision; ``newest``: of all
    three what is on the hub now, whatever the catalogue says.
    Raises ModelError: there is no such name; the hint says what was probably meant; UsageError: an
    address that is none, or a path."""
    kind = catalog.kind_of(text)
    if kind == "remote":
        target = _parse_target(text, settings, newest=newest)
    elif kind == "path":
        if (repo := repository_of(text)) and not text.lower().endswith(".gguf"):
            raise no_such_file_named(text, repo)
        hint = (
            "gemma-edge import FILE takes a file in; a file of the hub is hf:owner/repo/file.gguf"
        )
        raise UsageError(f"`{text}` is a path, not a model of the hub", hint=hint)
    else:
        wanted = catalog.wanted(text)
        target = _as_target(text, as_remote(wanted.model), wanted, settings, newest=newest)
    return _newest(target) if newest and not _is_named(target.model) else target


def _parse_target(text: str, settings: StoreSettings, *, newest: bool) -> Target:
    file = parse_remote(catalog.without_command(text), endpoint=settings.endpoint)
    check_whole(file.filename, file.name)
    known = catalog.known_file(file.repo, file.filename)
    measured = catalog.find_file(file.repo, file.filename)
    if measured is not None and file.revision is None:
        file = as_remote(measured)
    if not known:
        return Target(asked=text, model=file)
    return _as_target(text, file, known, settings, newest=newest)


def _as_target(
    text: str, model: RemoteFile, wanted: NamedModel, settings: StoreSettings, *, newest: bool
) -> Target:
    locks = Locks(settings)
    locked = None if newest or _is_named(model) else locks.find(model.repo, model.filename)
    # Another version than the catalogue's was fetched: what belongs to it is at its commit.
    moved = locked[0].revision if locked and locked[0].sha256 != model.sha256 else ""

    def beside(file: CatalogFile | None) -> RemoteFile | None:
        if file is None:
            return None
        if not moved and file.revision == model.revision:
            return as_remote(file)
        stays = moved and locks.find(file.repo, file.filename)
        return RemoteFile(file.repo, file.filename, None if stays else moved or model.revision)

    projector, drafter = beside(wanted.projector), beside(wanted.drafter)
    return Target(asked=text, model=model, projector=projector, drafter=drafter, wanted=wanted)


def _is_named(file: RemoteFile) -> bool:
    """Whether a person named the revision: the catalogue's stands beside a hash."""
    return file.revision is not None and file.sha256 is None


def _newest(target: Target) -> Target:
    model, projector, drafter = (
        RemoteFile(file.repo, file.filename) if file else None
        for file in (target.model, target.projector, target.drafter)
    )
    return replace(target, model=model or target.model, projector=projector, drafter=drafter)


def as_remote(file: CatalogFile) -> RemoteFile:
    """The catalogue's word for the store. A hash without a revision is no promise: the hub's
    files are replaced in place."""
    return RemoteFile(
        file.repo, file.filename, file.revision, file.size_bytes,
        file.sha256 if file.pinned else None,
    )  # fmt: skip


def name_of(size: Size, quant: Quant) -> str:
    """What a person types for a quant: the size alone means its default."""
    return size.name if quant is size.default else f"{size.name}:{quant.name}"


def offered_quants(request: ModelRequest) -> list[tuple[Size, Quant]]:
    """The quants of the catalogue among which a plan may choose: that of a name, else all, and
    where a quant was named that one of every size that has it.
    Raises ModelError: there is no such size, or no such quant."""
    if request.model != AUTO:
        wanted = catalog.wanted(pinned_name(request))
        return [(wanted.size, wanted.quant)]
    if request.quant is None:
        return [(size, quant) for size in catalog.sizes() for quant in size.quants]
    found, refusal = [], None
    for size in catalog.sizes():
        try:
            found.append((size, catalog.choose_quant(size, request.quant)))
        except ModelError as error:
            refusal = error
    if refusal is not None and not found:
        raise refusal
    return found


def pinned_name(request: ModelRequest) -> str:
    """The model with its quant: ``--model 31b --quant q6`` is ``31b:q6``.
    Raises UsageError: a quant of what has none."""
    if request.quant is None or request.model == AUTO:
        return request.model
    if catalog.kind_of(request.model) != "size":
        raise UsageError(
            f"--quant chooses among those of the catalogue, `{request.model}` is one file",
            hint="gemma-edge models lists names and quants",
        )
    return f"{request.model}:{request.quant}"


Sized = list[tuple[RemoteFile, int | None]]  # bytes; None where nobody has said yet


def find_model(  # noqa: PLR0913  (the request, the environment, and what for)
    request: ModelRequest, runtime: Runtime, *, with_projector: bool,
    check_inputs: Callable[[bool], None], check_plan: Callable[[Target, bool], None],
) -> ModelFiles:  # fmt: skip
    """The files of a model on this machine. Those of the hub are fetched after a yes, and after
    ``check_inputs`` (is there a projector?) and ``check_plan`` (may its header be fetched?) raised
    nothing.
    Raises ModelError: there is no such model, or it is not here and may not be fetched; UsageError,
    DoesNotFit, GemmaEdgeError, Interrupted: as ``store.ensure``."""
    name = pinned_name(request)
    if catalog.kind_of(name) not in ("size", "remote"):
        return with_local_drafter(find_local(name, request.mmproj, runtime), request)
    target = _wanted_parts(find_target(name, runtime.store), request)
    if target.note:
        runtime.note(target.note)
    files = [target.model]
    if with_projector and request.mmproj is None and target.projector is not None:
        files.append(target.projector)
    if target.drafter is not None:
        files.append(target.drafter)
    missing = find_missing(files, runtime)
    if missing:
        check_inputs(target.projector is not None or request.mmproj is not None)
    if missing and not runtime.store.offline:
        agreed = runtime.agreed
        if not agreed and runtime.confirm is None:  # gigabytes are fetched only after a yes
            raise ModelError(
                f"`{target.asked}` is not on this machine{_how_much(missing)}",
                hint=f"{pull_command(target, runtime)}, or the same command again with --yes",
            )
        missing = ask_hub_for(target, missing, runtime)
        check_plan(target, agreed)
        say_missing(target, missing, runtime)
        if not agreed:
            _ask_first(target, missing, runtime)
            check_plan(target, True)
    found = _as_files(target, dict(zip(files, fetch(files, runtime), strict=True)), request.mmproj)
    return with_local_drafter(found, request)


def _wanted_parts(target: Target, request: ModelRequest) -> Target:
    """Without a drafter that nobody asked for.
    Raises ModelError: one was asked for, and nothing is known of one."""
    if not request.guesses or request.drafter is not None:
        return replace(target, drafter=None)
    if target.drafter is None:
        raise no_drafter(target.asked)
    return target


def no_drafter(name: str) -> ModelError:
    hint = "--drafter FILE names one; --draft lookup needs none"
    return ModelError(f"there is no drafter for `{name}`", hint=hint)


def with_local_drafter(files: ModelFiles, request: ModelRequest) -> ModelFiles:
    """With the drafter that was named, else with the one that lies beside the model.
    Raises ModelError: there is none, or more than one."""
    if not request.guesses or files.drafter is not None:
        return files
    if request.drafter is not None:
        return replace(files, drafter=request.drafter.expanduser())
    header = read_header(files.model)
    beside = [each for each in sorted(files.model.parent.glob("*.gguf")) if _guesses(header, each)]
    if len(beside) > 1:
        names = " or ".join(str(each) for each in beside)
        raise ModelError(f"`{files.model.name}` has several drafters", hint=f"--drafter {names}")
    if not beside:
        raise no_drafter(files.model.name)
    return replace(files, drafter=beside[0])


def _guesses(model: Header, path: Path) -> bool:
    try:
        return not drafter_problem(model, read_header(path))
    except ModelError:
        return False


def find_local(name: str, mmproj: Path | None, runtime: Runtime) -> ModelFiles:
    """The bundled model, a path, or the name of a file that was imported.
    Raises ModelError: it is none of these; the hint says what was probably meant."""
    imported = runtime.store.import_dir / name
    if catalog.kind_of(name) == "path" and imported.is_file():
        if not Path(name).exists():
            return catalog.resolve(str(imported), mmproj)
        if not imported.samefile(name):
            runtime.note(f"{name} is the file of this folder; the imported one is {imported}")
    return catalog.resolve(name, mmproj)


def _as_files(
    target: Target, paths: Mapping[RemoteFile, Path], mmproj: Path | None
) -> ModelFiles:  # fmt: skip
    def path_of(file: RemoteFile | None) -> Path | None:
        return paths.get(file) if file is not None else None

    projector = path_of(target.projector) or (mmproj and mmproj.expanduser())
    model, drafter, known = paths[target.model], path_of(target.drafter), target.wanted
    if known is None:
        return ModelFiles(
            name=target.model.name, model=model, projector=projector, drafter=drafter
        )  # fmt: skip
    return ModelFiles(
        name=known.size.name, title=known.title, good_for=known.size.good_for,
        licence=known.size.licence, image_tokens=known.size.image_tokens,
        model=model, projector=projector, drafter=drafter,
    )  # fmt: skip


def _ask_first(target: Target, missing: Sized, runtime: Runtime) -> None:
    total = render_bytes(sum(size or 0 for _, size in missing))
    if runtime.confirm is None or not runtime.confirm(f"download {total}?"):
        hint = f"later: {pull_command(target, runtime)}"
        raise ModelError(f"`{target.asked}` was not downloaded", hint=hint)


def pull_command(target: Target, runtime: Runtime) -> str:
    words = ["gemma-edge", "pull", target.asked]
    if runtime.models_dir is not None:
        words += ["--models-dir", str(runtime.models_dir)]
    return shlex.join(words)


def find_missing(files: Sequence[RemoteFile], runtime: Runtime) -> Sized:
    with runtime.progress() as listen:
        return missing_files(files, runtime.store, on_progress=listen)


def ask_hub_for(target: Target, missing: Sized, runtime: Runtime) -> Sized:
    """Their sizes, from the hub; whether it has other versions than the catalogue is said now, not
    after gigabytes.
    Raises ModelError: one is not there, or not what the lock or the catalogue promises."""
    with runtime.progress() as listen:
        found = ask_hub([file for file, _ in missing], runtime.store, on_progress=listen)
    say_newer(target, runtime, found)
    for file, upstream in found.items():
        if catalog.find_file(file.repo, file.filename) is None:
            _check_start(upstream, runtime)
        newest = find_newest(file, runtime.store) if upstream.commit == file.revision else None
        if file.sha256 and newest and newest.sha256 not in (None, file.sha256):
            new = f"{file.filename} was replaced on the hub; the catalogue's version is fetched"
            runtime.note(f"{new}, --accept-change takes the new one")
    return [(file, upstream.size_bytes) for file, upstream in found.items()]


def _check_start(upstream: Upstream, runtime: Runtime) -> None:
    """That it is a GGUF file, by its first bytes.
    Raises ModelError: it is a page, a pointer, empty, or of another kind."""
    file, read = upstream.file, partial(read_part, upstream, settings=runtime.store)
    try:
        parse_metadata(read, upstream.size_bytes, file.filename, {"general.architecture"})
    except ModelError as error:
        hint = f"https://huggingface.co/{file.repo}/tree/main lists the files of its repository"
        raise ModelError(f"{file.name} is not fetched: {error.message}", hint=hint) from None


def say_missing(target: Target, missing: Sized, runtime: Runtime) -> None:
    if target.wanted is not None:
        runtime.note(f"{target.asked}: {target.title}")
    for file, size in missing:
        runtime.note(f"  {file.name}  {'size not known' if size is None else render_bytes(size)}")
    folder = runtime.store.models_dir or runtime.store.cache_dir or Path()
    total, free = render_bytes(sum(size or 0 for _, size in missing)), free_bytes(folder)
    left = f", {render_bytes(free)} free" if free is not None else ""
    runtime.note(f"  {total} to download to {folder}{left}")


def free_bytes(folder: Path) -> int | None:
    """What is free on the disk where this folder is, or will be made; None where that is not to
    be known."""
    for path in (folder, *folder.parents):
        try:
            if path.exists():
                return shutil.disk_usage(path).free
        except OSError:  # a name that is too long, too
            return None
    return None


def fetch(files: Sequence[RemoteFile], runtime: Runtime, *, accept: bool = False) -> list[Path]:
    with runtime.progress() as listen:
        paths = ensure(files, runtime.store, accept=accept, on_progress=listen)
    return [Path(os.path.abspath(path)) for path in paths]


def read_remote(file: RemoteFile, runtime: Runtime) -> tuple[Header, Upstream]:
    """The header of a file on the hub, by parts of it, or as it was read before.
    Raises ModelError: it is not there, or is no GGUF file."""
    upstream = ask_about(file, runtime)
    with runtime.progress() as listen:
        return read_remote_header(upstream, runtime.store, on_progress=listen), upstream


def ask_about(file: RemoteFile, runtime: Runtime) -> Upstream:
    """What the hub has now, with a note where that is not the catalogue's file."""
    with runtime.progress() as listen:
        upstream = ask(file, runtime.store, on_progress=listen)
    _say_version(file.filename, file.sha256, upstream.sha256, runtime)
    return upstream


def say_newer(
    target: Target, runtime: Runtime, found: Mapping[RemoteFile, Upstream] | None = None
) -> None:
    """A file that is not the one whose figures stand in the catalogue: as it was ``found`` on the
    hub, or as it was locked."""
    if target.wanted is None:
        return
    locks = Locks(runtime.store)
    asked = {file.name: upstream.sha256 for file, upstream in (found or {}).items()}
    for file in filter(None, (target.wanted.model, target.wanted.projector, target.wanted.drafter)):
        locked = locks.find(file.repo, file.filename)
        sha256 = asked.get(f"hf:{file.name}") or (locked[0].sha256 if locked else None)
        _say_version(file.filename, file.sha256, sha256, runtime)


def _say_version(name: str, expected: str | None, found: str | None, runtime: Runtime) -> None:
    if expected is not None and found not in (None, expected):
        runtime.note(f"{name} is another version than the catalogue was measured with")


def _how_much(missing: Sized) -> str:
    known = [size for _, size in missing if size is not None]
    more = "" if len(known) == len(missing) else " and more"
    return f" ({render_bytes(sum(known))}{more} to download)" if known else ""


# ----------------------------------------------------------------------------
# Names to files that are on this machine, for the commands that list, prove and delete.


def select(
    names: Sequence[str], files: Sequence[StoredFile], settings: StoreSettings, *,
    sparing: bool = False,
) -> list[StoredFile]:  # fmt: skip
    """The files that these names mean: of the catalogue (a model with what belongs to it), of the
    hub, a whole repository, a file's name or its path. ``sparing`` leaves out a projector or a
    drafter that another model on this machine needs.
    Raises ModelError: one of them is not on this machine; UsageError: one of them can mean several,
    or is none of the store's."""
    chosen: dict[StoredFile, None] = {}
    companions: dict[StoredFile, CatalogFile] = {}
    for name in names:
        matching, belonging = _literal(name, files), {}
        if not matching and (wanted := _wanted(name)):
            matching, belonging = _of(wanted.model, files), _belonging(wanted, files)
        elif not matching:
            matching = _remote(name, files, settings)
        if not matching and not belonging:
            raise _not_here(name, files)
        chosen |= dict.fromkeys(matching)
        companions |= belonging
    for stored, file in companions.items():
        if not (sparing and _is_needed(file, files, chosen)):
            chosen[stored] = None
    return [stored for stored in files if stored in chosen]


def label(stored: StoredFile) -> str:
    """What the catalogue calls a file: ``e4b``, ``31b:q6_k``, ``e4b projector``; "" for others."""
    for size in catalog.sizes():
        for quant in size.quants:
            if _is(quant.model, stored):
                return name_of(size, quant)
            for role, file in (("projector", quant.projector), ("drafter", quant.drafter)):
                if file is not None and _is(file, stored):
                    return f"{size.name} {role}"
    return ""


def count_bytes(files: Iterable[StoredFile]) -> int:
    """What they take together; two names of the same bytes count once."""
    return sum({os.path.realpath(stored.path): stored.size_bytes for stored in files}.values())


def render_count(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _literal(name: str, files: Sequence[StoredFile]) -> list[StoredFile]:
    """The name or the path as it is listed, a repository, or the last part of a name."""
    path = os.path.abspath(os.path.expanduser(name))
    whole = [each for each in files if name in (each.name, each.repo) or str(each.path) == path]
    if whole or not name:
        return whole
    tails = [each for each in files if name in (each.file, each.file.rpartition("/")[2])]
    meant = sorted({each.name for each in tails})
    if len(meant) > 1:
        raise UsageError(f"`{name}` can mean several files", hint=" or ".join(meant))
    return tails


def _wanted(name: str) -> NamedModel | None:
    kind = catalog.kind_of(name)
    if kind == "bundled":
        problem = f"`{name}` is part of gemma-edge, not of the store"
        raise UsageError(problem, hint="gemma-edge list shows those")
    return catalog.wanted(name) if kind == "size" else None


def _remote(name: str, files: Sequence[StoredFile], settings: StoreSettings) -> list[StoredFile]:
    if catalog.kind_of(name) != "remote":
        return []
    meant = parse_remote(catalog.without_command(name), endpoint=settings.endpoint)
    return [
        each for each in files
        if (each.repo, each.file) == (meant.repo, meant.filename)
        and (meant.revision is None or each.commit.startswith(meant.revision))
    ]  # fmt: skip


def _is(file: CatalogFile, stored: StoredFile) -> bool:
    return (stored.repo, stored.file) == (file.repo, file.filename)


def _of(file: CatalogFile, files: Sequence[StoredFile]) -> list[StoredFile]:
    return [stored for stored in files if _is(file, stored)]


def _belonging(wanted: NamedModel, files: Sequence[StoredFile]) -> dict[StoredFile, CatalogFile]:
    parts = [file for file in (wanted.projector, wanted.drafter) if file is not None]
    return {stored: file for file in parts for stored in _of(file, files)}


def _is_needed(
    file: CatalogFile, files: Sequence[StoredFile], leaving: dict[StoredFile, None]
) -> bool:
    staying = (stored for stored in files if stored not in leaving)
    known = (catalog.known_file(stored.repo, stored.file) for stored in staying)
    return any(each is not None and file in (each.projector, each.drafter) for each in known)


def _not_here(name: str, files: Sequence[StoredFile]) -> ModelError:
    known = list(filter(None, [*(each.name for each in files), *map(label, files)]))
    near = get_close_matches(name, known, n=1)
    if not near and catalog.kind_of(name) == "unknown":
        catalog.wanted(name)  # says what was probably meant
    same_size = [each for each in known if each.partition(":")[0] == name.partition(":")[0]]
    guess = near or same_size
    hint = f"did you mean {guess[0]}? gemma-edge list" if guess else "gemma-edge list shows what is"
    return ModelError(f"`{name}` is not on this machine", hint=hint)
