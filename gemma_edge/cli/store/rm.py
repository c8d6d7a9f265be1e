"""``gemma-edge rm``: delete model files, after saying what that frees."""

from functools import partial
from typing import Annotated

import typer

from gemma_edge.cli import options as flags
from gemma_edge.cli.asking import can_ask, confirm
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import Job, ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.listing import as_document
from gemma_edge.cli.store.stored import render_count, select
from gemma_edge.cli.store.storing import store_settings
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.store import Removal, list_files, plan_removal, remove
from gemma_edge.units import render_bytes


def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Of `gemma-edge list`: a model or a file.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    models_dir: flags.ModelsDir = None,
    offline: flags.Offline = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:
    """Delete models from this machine. A projector that another model needs stays.

    \b
    gemma-edge rm e4b
    gemma-edge rm hf:owner/repo/file.gguf --yes
    """
    kept = StoreOptions(offline=offline, models_dir=models_dir, yes=yes)
    return partial(run, tuple(names), kept, ShowOptions(json=json, quiet=quiet))


def run(
    names: tuple[str, ...], kept: StoreOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """Plan, say, ask, delete. What a file is to be stays in the lock."""
    output.quiet = show.quiet
    settings = store_settings(kept, context)
    files = list_files(settings)
    removal = plan_removal(select(names, files, settings, sparing=True), settings)
    size = render_bytes(removal.freed_bytes)
    count = render_count(len(removal.files))
    if not kept.yes and not can_ask(context):
        raise UsageError(
            f"deleting {count} frees {size}, and there is no terminal to ask at",
            hint="the same command with --yes",
        )
    for stored in removal.files:
        output.note(f"  {render_bytes(stored.size_bytes)}  {stored.name}")
    agreed = kept.yes or confirm(f"delete {count} and free {size}?", context, output, usual=False)
    if agreed:
        remove(removal)
        output.note(f"{count} deleted, {size} free again")
    else:
        output.note("nothing was deleted")
    if show.json:
        _document(removal, agreed, output)
    return ExitStatus.OK


def _document(removal: Removal, done: bool, output: Output) -> None:
    removed = [as_document(stored) for stored in removal.files] if done else []
    output.document({"removed": removed, "freed_bytes": removal.freed_bytes if done else 0})
