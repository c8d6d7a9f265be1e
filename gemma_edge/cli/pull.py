"""``gemma-edge pull``: fetch models and what belongs to them; their paths are the data."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from gemma_edge import catalog
from gemma_edge.app.models import (
    Target,
    ask_sizes,
    fetch,
    find_missing,
    find_target,
    say_missing,
    say_newer,
)
from gemma_edge.app.runtime import Runtime
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import Job, ShowFlags, StoreFlags, argument, option
from gemma_edge.cli.output import Output
from gemma_edge.cli.runtime import open_runtime
from gemma_edge.errors import ExitStatus
from gemma_edge.store.lock import Locks
from gemma_edge.store.remote import RemoteFile, StoreSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFlags:
    """What is to be fetched; ``accept`` takes what is upstream now, whatever the lock says."""

    names: Annotated[
        tuple[str, ...], argument("NAME", "Of `gemma-edge models`, or hf:owner/repo/file.gguf.")
    ]
    drafter: Annotated[
        bool, option("--drafter", help="The drafter too, which guesses words ahead.")
    ] = False
    accept: Annotated[
        bool, option("--accept-change", help="Take what is on the hub now, and lock that.")
    ] = False


def command(asked: PullFlags, store: StoreFlags, show: ShowFlags) -> Job:
    """Download a model and its projector, checked and resumable. Prints where the files are.

    \b
    gemma-edge pull e4b
    gemma-edge pull 31b-q6 --drafter
    gemma-edge pull hf:owner/repo/file.gguf@revision
    """
    return partial(run, asked, store, show)


def run(
    asked: PullFlags, kept: StoreFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """All names are understood before anything is fetched; then all files at once."""
    output.quiet = show.quiet
    runtime = open_runtime(kept, context, output)
    settings = runtime.store
    bundled = [name for name in asked.names if catalog.kind_of(name) == "bundled"]
    names = dict.fromkeys(name for name in asked.names if name not in bundled)
    targets = [find_target(name, settings) for name in names]
    for name in bundled:
        output.note(f"{name} is part of gemma-edge, there is nothing to fetch")
    _announce(targets, asked, runtime)
    files = list(dict.fromkeys(file for target in targets for file in _files(target, asked)))
    paths = fetch(files, runtime, accept=asked.accept)
    for target in targets:
        say_newer(target, runtime)
    rows = [_bundled_row(name) for name in bundled]
    rows += [_row(file, path, settings) for file, path in zip(files, paths, strict=True)]
    if show.json:
        output.document({"files": rows})
    else:
        for row in rows:
            output.data(row["path"])
    return ExitStatus.OK


def _files(target: Target, asked: PullFlags) -> list[RemoteFile]:
    drafter = target.drafter if asked.drafter else None
    return [file for file in (target.model, target.projector, drafter) if file is not None]


def _announce(targets: list[Target], asked: PullFlags, runtime: Runtime) -> None:
    """What comes, from where, how much; before the first byte."""
    for target in targets:
        if target.note:
            runtime.note(target.note)
        if asked.drafter and target.drafter is None:
            runtime.note(f"{target.asked}: there is no drafter for it")
        if asked.accept:
            runtime.note(f"{target.asked}: {target.title}, whatever is on the hub now")
            continue
        missing = find_missing(_files(target, asked), runtime)
        if not missing:
            runtime.note(f"{target.asked}: {target.title}, on this machine")
        elif not runtime.store.offline:
            missing = ask_sizes(missing, runtime)
            say_missing(target, missing, runtime)


def _row(file: RemoteFile, path: Path, settings: StoreSettings) -> dict[str, Any]:
    locked = Locks(settings).find(file.repo, file.filename)
    return {
        "name": file.name,
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "sha256": locked[0].sha256 if locked else None,
        "revision": locked[0].revision if locked else None,
    }


def _bundled_row(name: str) -> dict[str, Any]:
    path = catalog.resolve(name).model
    size_bytes = path.stat().st_size
    return {"name": name, "path": str(path), "size_bytes": size_bytes, "sha256": None,
            "revision": None}  # fmt: skip
