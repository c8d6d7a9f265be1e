"""``gemma-edge path``: where a model's file is, or where all of them are."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gemma_edge import catalog
from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import Job, ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.fetching import fetch, find_missing, pull_command
from gemma_edge.cli.store.stored import select
from gemma_edge.cli.store.storing import store_settings
from gemma_edge.cli.store.targets import find_target
from gemma_edge.errors import ExitStatus, ModelError
from gemma_edge.store import StoreSettings, list_files


def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A model; without one, the store's folders."),
    ] = None,
    projector: Annotated[
        bool, typer.Option("--projector", help="The model's projector instead.")
    ] = False,
    models_dir: flags.ModelsDir = None,
    offline: flags.Offline = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:
    """Print the path of a model that is on this machine, for other programs. Fetches nothing.

    \b
    llama-server -m "$(gemma-edge path e4b)" --mmproj "$(gemma-edge path e4b --projector)"
    gemma-edge path
    """
    kept = StoreOptions(offline=offline, models_dir=models_dir)
    show = ShowOptions(json=json, quiet=quiet)
    return partial(run, name, projector, kept, show)


def run(  # noqa: PLR0913, PLR0917  (the world, the wish, and where)
    name: str | None, projector: bool, kept: StoreOptions, show: ShowOptions,
    context: Context, output: Output,
) -> ExitStatus:  # fmt: skip
    """A path that is printed leads to a file with the hash that it has to have."""
    output.quiet = show.quiet
    settings = store_settings(kept, context)
    if name is None:
        return _folders(settings, show, output)
    path = find_path(name, projector, kept, context, output)
    if show.json:
        output.document({"path": str(path)})
    else:
        output.data(str(path))
    return ExitStatus.OK


def find_path(
    name: str, projector: bool, kept: StoreOptions, context: Context, output: Output
) -> Path:
    """The file of a model on this machine; nothing is fetched.

    Raises:
        ModelError: it is not here; the hint is the command that fetches it.
        UsageError: the name can mean several.
    """
    settings = replace(store_settings(kept, context), offline=True)
    kind = catalog.kind_of(name)
    if kind == "bundled":
        files = catalog.resolve(name)
        found = files.projector if projector else files.model
    elif kind in ("size", "remote"):
        target = find_target(name, settings)
        wanted = target.projector if projector else target.model
        if wanted is not None and find_missing([wanted], settings, context, output):
            what = f"the projector of `{name}`" if projector else f"`{name}`"
            raise ModelError(f"{what} is not on this machine", hint=pull_command(target, kept))
        found = fetch([wanted], settings, context, output)[0] if wanted else None
    else:
        found = None if projector else select([name], list_files(settings), settings)[0].path
    if found is None:
        raise ModelError(f"nothing is known of a projector of `{name}`", hint="gemma-edge list")
    return found


def _folders(settings: StoreSettings, show: ShowOptions, output: Output) -> ExitStatus:
    folders = {
        "cache": settings.cache_dir,
        "models": settings.models_dir,
        "imported": settings.import_dir,
        "data": settings.data_dir,
        "lock": settings.user_lock,
        "project_lock": settings.project_lock,
    }
    if show.json:
        output.document({key: str(path) if path else None for key, path in folders.items()})
    else:
        rows = [(key.replace("_", " "), str(path)) for key, path in folders.items() if path]
        output.table(rows)
    return ExitStatus.OK
