"""``gemma-edge plan``: what would run on a machine, where every MiB goes, how fast, and why."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import typer

from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import AUTO, Job, ModelOptions, ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the command line asks of a plan. ``vram_bytes``, ``ram_bytes`` and ``device`` make up a
    machine that is not this one; ``headers`` fetches those that are not here."""

    every: bool = False
    explain: bool = False
    headers: bool = False
    vram_bytes: int | None = None
    ram_bytes: int | None = None
    device: str | None = None

    @property
    def pretends(self) -> bool:
        """Whether the plan is for another machine."""
        return (self.vram_bytes, self.ram_bytes, self.device) != (None, None, None)


@flags.takes_model
def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME|PATH", help="A model; without one, the best of all."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every size and quant: where it would run, how fast.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="What was tried, why it fell, what was detected.")
    ] = False,
    headers: Annotated[
        bool,
        typer.Option("--headers", help="Fetch headers (15 MB a model) to be exact, not estimate."),
    ] = False,
    vram: Annotated[
        int | None,
        typer.Option("--vram", metavar="SIZE", parser=flags.parse_size,
                     help="For a machine whose GPU has so much memory, like 8GiB."),
    ] = None,
    ram: Annotated[
        int | None,
        typer.Option("--ram", metavar="SIZE", parser=flags.parse_size,
                     help="For a machine with so much main memory."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="TITLE", help='For a machine with a "RTX 4060".'),
    ] = None,
    *,
    placed: ModelOptions,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:  # fmt: skip
    """Say what would run: which model, where every MiB goes, how fast, and why. Loads nothing.

    \b
    gemma-edge plan
    gemma-edge plan 26b --ctx 64k --explain
    gemma-edge plan --all
    gemma-edge plan --vram 8GiB --ram 16GiB --device "RTX 4060"
    """
    if name is not None and placed.model != AUTO:
        raise UsageError("the model is there twice", hint="NAME or --model NAME, not both")
    asked = PlanOptions(
        every=every, explain=explain, headers=headers, vram_bytes=vram, ram_bytes=ram,
        device=device,
    )  # fmt: skip
    placed = replace(placed, model=name or placed.model)
    return partial(run, asked, placed, ShowOptions(json=json, quiet=quiet))


def run(
    asked: PlanOptions, model: ModelOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """Plan, and show it."""
    from gemma_edge.cli.plan.run import run as plan_and_show  # noqa: PLC0415  (40 ms of imports)

    return plan_and_show(asked, model, show, context, output)
