"""Fetch what is missing: say what and how much, ask where somebody can answer, and go."""

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from gemma_edge import catalog
from gemma_edge.catalog import ModelFiles
from gemma_edge.cli.asking import can_ask, confirm
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import ModelOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.progress import show_progress
from gemma_edge.cli.store.targets import Target, find_target, pinned_name
from gemma_edge.errors import ModelError
from gemma_edge.gguf import Header
from gemma_edge.store import (
    Locks,
    RemoteFile,
    StoreSettings,
    Upstream,
    ask,
    ensure,
    missing_files,
)
from gemma_edge.store.headers import read_remote_header
from gemma_edge.units import render_bytes

YES_VARIABLE = "GEMMA_EDGE_YES"
Sized = list[tuple[RemoteFile, int | None]]  # bytes; None where nobody has said yet


def find_model(  # noqa: PLR0913  (the wish, the world, and what for)
    options: ModelOptions,
    settings: StoreSettings,
    context: Context,
    output: Output,
    *,
    with_projector: bool,
    check_inputs: Callable[[bool], None],
    check_plan: Callable[[Target, bool], None],
) -> ModelFiles:
    """The files of a model on this machine. Those of the hub are fetched after a yes, and after
    ``check_inputs`` (is there a projector?) and ``check_plan`` (may its header be fetched?) raised
    nothing.

    Raises:
        ModelError: there is no such model, or it is not here and may not be fetched.
        UsageError, DoesNotFit, GemmaEdgeError, Interrupted: as ``store.ensure``.
    """
    name = pinned_name(options)
    if catalog.kind_of(name) not in ("size", "remote"):
        return find_local(name, options.mmproj, settings)
    target = find_target(name, settings)
    if target.note:
        output.note(target.note)
    files = [target.model]
    if with_projector and options.mmproj is None and target.projector is not None:
        files.append(target.projector)
    missing = find_missing(files, settings, context, output)
    if missing:
        check_inputs(target.projector is not None or options.mmproj is not None)
    if missing and not settings.offline:
        agreed = options.store.yes or context.is_on(YES_VARIABLE)
        if not agreed:
            _refuse_unasked(target, missing, options.store, context)
        check_plan(target, agreed)
        missing = ask_sizes(missing, settings, context, output)
        say_missing(target, missing, settings, output)
        if not agreed:
            _ask_first(target, missing, options.store, context, output)
            check_plan(target, True)
    return _as_files(target, fetch(files, settings, context, output), options.mmproj)


def find_local(name: str, mmproj: Path | None, settings: StoreSettings) -> ModelFiles:
    """The bundled model, a path, or the name of a file that was imported.

    Raises:
        ModelError: it is none of these; the hint says what was probably meant.
    """
    imported = settings.import_dir / name
    if catalog.kind_of(name) == "path" and not Path(name).exists() and imported.is_file():
        return catalog.resolve(str(imported), mmproj)
    return catalog.resolve(name, mmproj)


def _as_files(target: Target, paths: list[Path], mmproj: Path | None) -> ModelFiles:
    projector = mmproj.expanduser() if mmproj else None
    if len(paths) > 1:
        projector = paths[1]
    known = target.wanted
    if known is None:
        return ModelFiles(name=target.model.name, model=paths[0], projector=projector)
    return ModelFiles(
        name=known.size.name, title=known.title, good_for=known.size.good_for,
        licence=known.size.licence, image_tokens=known.size.image_tokens,
        model=paths[0], projector=projector,
    )  # fmt: skip


def _refuse_unasked(
    target: Target, missing: Sized, options: StoreOptions, context: Context
) -> None:
    """Gigabytes are fetched only after a yes.

    Raises:
        ModelError: nobody can say it; the hint is the command that fetches it.
    """
    if not can_ask(context):
        raise ModelError(
            f"`{target.asked}` is not on this machine{_how_much(missing)}",
            hint=f"{pull_command(target, options)}, or the same command again with --yes",
        )


def _ask_first(
    target: Target, missing: Sized, options: StoreOptions, context: Context, output: Output
) -> None:
    total = render_bytes(sum(size or 0 for _, size in missing))
    if not confirm(f"download {total}?", context, output, usual=True):
        raise ModelError(
            f"`{target.asked}` was not downloaded",
            hint=f"later: {pull_command(target, options)}",
        )


def pull_command(target: Target, options: StoreOptions) -> str:
    """The command line that fetches this."""
    words = ["gemma-edge", "pull", target.asked]
    if options.models_dir is not None:
        words += ["--models-dir", str(options.models_dir)]
    return shlex.join(words)


def find_missing(
    files: Sequence[RemoteFile], settings: StoreSettings, context: Context, output: Output
) -> Sized:
    """What would be fetched; a file that nobody has hashed yet is read, which takes a while."""
    with show_progress(output, context.clock) as listen:
        return missing_files(files, settings, on_progress=listen)


def ask_sizes(missing: Sized, settings: StoreSettings, context: Context, output: Output) -> Sized:
    """Where the catalogue does not know a size, the hub is asked."""
    with show_progress(output, context.clock) as listen:
        return [
            (file, ask(file, settings, on_progress=listen).size_bytes if size is None else size)
            for file, size in missing
        ]


def say_missing(target: Target, missing: Sized, settings: StoreSettings, output: Output) -> None:
    """Which model, which files, how large, and what the disk has."""
    if target.wanted is not None:
        output.note(f"{target.asked}: {target.title}")
    for file, size in missing:
        output.note(f"  {file.name}  {'size not known' if size is None else render_bytes(size)}")
    folder = settings.models_dir or settings.cache_dir or Path()
    total, free = render_bytes(sum(size or 0 for _, size in missing)), free_bytes(folder)
    left = f", {render_bytes(free)} free" if free is not None else ""
    output.note(f"  {total} to download to {folder}{left}")


def free_bytes(folder: Path) -> int | None:
    """What is free on the disk where this folder is, or will be made; None where that is not to
    be known."""
    for path in (folder, *folder.parents):
        if path.exists():
            try:
                return shutil.disk_usage(path).free
            except OSError:
                return None
    return None


def fetch(
    files: Sequence[RemoteFile], settings: StoreSettings, context: Context, output: Output,
    *, accept: bool = False,
) -> list[Path]:  # fmt: skip
    """The files on disk, whole and checked, with progress."""
    with show_progress(output, context.clock) as listen:
        paths = ensure(files, settings, accept=accept, on_progress=listen)
    return [Path(os.path.abspath(path)) for path in paths]


def read_remote(
    file: RemoteFile, settings: StoreSettings, context: Context, output: Output
) -> tuple[Header, Upstream]:
    """The header of a file on the hub, by parts of it, or as it was read before.

    Raises:
        ModelError: it is not there, or is no GGUF file.
    """
    with show_progress(output, context.clock) as listen:
        upstream = ask(file, settings, on_progress=listen)
        return read_remote_header(upstream, settings, on_progress=listen), upstream


def say_newer(target: Target, settings: StoreSettings, output: Output) -> None:
    """A file that is not the one whose figures stand in the catalogue."""
    if target.wanted is None:
        return
    locks = Locks(settings)
    for file in (target.wanted.model, target.wanted.projector, target.wanted.drafter):
        locked = locks.find(file.repo, file.filename) if file else None
        if file and locked and file.sha256 not in (None, locked[0].sha256):
            output.note(f"{file.filename} is another version than the catalogue was measured with")


def _how_much(missing: Sized) -> str:
    known = [size for _, size in missing if size is not None]
    more = "" if len(known) == len(missing) else " and more"
    return f" ({render_bytes(sum(known))}{more} to download)" if known else ""
