"""``gemma-edge import``: take model files from elsewhere in among the store's."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gemma_edge import gguf
from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import Job, ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.listing import as_document
from gemma_edge.cli.store.progress import show_progress
from gemma_edge.cli.store.storing import store_settings
from gemma_edge.errors import ExitStatus
from gemma_edge.store import import_file
from gemma_edge.units import render_bytes


def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="A GGUF file; it stays where it is.")
    ],
    models_dir: flags.ModelsDir = None,
    offline: flags.Offline = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:
    """Copy GGUF files from elsewhere into the store, checked and locked. Prints where they are.

    \b
    gemma-edge import /media/stick/gemma-4-E4B.gguf
    gemma-edge chat --model gemma-4-E4B.gguf
    """
    kept = StoreOptions(offline=offline, models_dir=models_dir)
    return partial(run, tuple(files), kept, ShowOptions(json=json, quiet=quiet))


def run(
    files: tuple[Path, ...], kept: StoreOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """The headers first: a truncated file is told before gigabytes are copied."""
    output.quiet = show.quiet
    settings = store_settings(kept, context)
    sources = [file.expanduser() for file in files]
    for source in sources:
        gguf.read_header(source)
    with show_progress(output, context.clock) as listen:
        taken = [import_file(source, settings, on_progress=listen) for source in sources]
    for stored in taken:
        output.note(
            f"{stored.file}: {render_bytes(stored.size_bytes)}, "
            f"now a name for --model: gemma-edge chat --model {stored.file}"
        )
    if show.json:
        output.document({"files": [as_document(stored) for stored in taken]})
    else:
        for stored in taken:
            output.data(str(stored.path))
    return ExitStatus.OK
