"""``gemma-edge verify``: read every model file again and compare its sha256."""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer

from gemma_edge import store
from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import Job, ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.progress import show_progress
from gemma_edge.cli.store.stored import count_bytes, render_count, select
from gemma_edge.cli.store.storing import store_settings
from gemma_edge.errors import ExitStatus, ModelError
from gemma_edge.store import Verdict, list_files
from gemma_edge.units import render_bytes

BAD = ("wrong", "unreadable")
_SAID_BY = {"lock": "as the lock says", "hub": "as the hub says", "": "nothing to compare with"}


def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Of `gemma-edge list`; without any, all of them."),
    ] = None,
    models_dir: flags.ModelsDir = None,
    offline: flags.Offline = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:
    """Prove that model files are what they were: every byte is read again. Status 4 if one is not.

    \b
    gemma-edge verify
    gemma-edge verify e4b
    """
    kept = StoreOptions(offline=offline, models_dir=models_dir)
    return partial(run, tuple(names or ()), kept, ShowOptions(json=json, quiet=quiet))


def run(
    names: tuple[str, ...], kept: StoreOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """Opens no connection: the lock and the cache know what each file has to be."""
    output.quiet = show.quiet
    settings = store_settings(kept, context)
    files = [stored for stored in list_files(settings) if stored.where != "incomplete"]
    if names:
        files = select(names, files, settings)
    with show_progress(output, context.clock) as listen:
        verdicts = list(store.verify(settings, files=files, on_progress=listen))
    if show.json:
        output.document({"files": [_as_document(verdict) for verdict in verdicts]})
    elif verdicts:
        output.table([_row(verdict) for verdict in verdicts])
    bad = [verdict for verdict in verdicts if verdict.state in BAD]
    for verdict in bad:
        output.problem(_reason(verdict))
    if bad:
        again = bad[0].name
        raise ModelError(
            f"{len(bad)} of {render_count(len(verdicts))} cannot be trusted",
            hint=f"gemma-edge rm {again}"
            + (f", then gemma-edge pull {again}" if again.startswith("hf:") else ""),
        )
    output.note(f"{render_count(len(files))}, {render_bytes(count_bytes(files))} read")
    return ExitStatus.OK


def _row(verdict: Verdict) -> tuple[str, str, str]:
    said = "" if verdict.state in BAD else _SAID_BY[verdict.said_by]
    return verdict.state, said, verdict.name


def _reason(verdict: Verdict) -> str:
    if verdict.state == "unreadable":
        return f"{verdict.path} cannot be read: {verdict.reason}"
    return (
        f"{verdict.path} has been changed or damaged\n"
        f"expected sha256 {verdict.expected}\n"
        f"found    sha256 {verdict.sha256}"
    )


def _as_document(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "path": str(verdict.path)}
