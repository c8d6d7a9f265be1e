"""``gemma-edge list``: which model files are on this machine."""

from functools import partial
from typing import Any

from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import Job, ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.fetching import free_bytes
from gemma_edge.cli.store.stored import count_bytes, label, render_count
from gemma_edge.cli.store.storing import store_settings
from gemma_edge.errors import ExitStatus
from gemma_edge.store import StoredFile, list_files
from gemma_edge.units import render_bytes

DAY_SECONDS = 86_400


def command(
    models_dir: flags.ModelsDir = None,
    offline: flags.Offline = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:
    """List the model files on this machine: size, last use, name.

    \b
    gemma-edge list
    gemma-edge list --json
    """
    kept = StoreOptions(offline=offline, models_dir=models_dir)
    return partial(run, kept, ShowOptions(json=json, quiet=quiet))


def run(kept: StoreOptions, show: ShowOptions, context: Context, output: Output) -> ExitStatus:
    """Whatever the store finds, our own downloads or not."""
    output.quiet = show.quiet
    settings = store_settings(kept, context)
    files = list_files(settings)
    if show.json:
        output.document({"files": [as_document(stored) for stored in files]})
        return ExitStatus.OK
    if not files:
        output.note("no model is on this machine yet; gemma-edge models shows what there is")
        return ExitStatus.OK
    now = context.now()
    output.table(
        [
            (render_bytes(stored.size_bytes), render_age(now - stored.last_used), *_what(stored))
            for stored in files
        ]
    )
    folder = settings.models_dir or settings.cache_dir
    free = free_bytes(folder) if folder else None
    left = f", {render_bytes(free)} free" if free is not None else ""
    output.note(f"{render_count(len(files))}, {render_bytes(count_bytes(files))}{left}")
    return ExitStatus.OK


def as_document(stored: StoredFile) -> dict[str, Any]:
    """A file as plain data."""
    return {
        "name": stored.name,
        "model": label(stored) or None,
        "path": str(stored.path),
        "where": stored.where,
        "revision": stored.commit or None,
        "size_bytes": stored.size_bytes,
        "last_used": stored.last_used,
        "sha256": stored.sha256,
    }


def render_age(seconds: float) -> str:
    """In days: disks note a use no more exactly."""
    days = int(seconds // DAY_SECONDS)
    if days <= 0:
        return "today"
    return "yesterday" if days == 1 else f"{days} days ago"


def _what(stored: StoredFile) -> tuple[str, str]:
    return label(stored) or ("incomplete" if stored.where == "incomplete" else ""), stored.name
