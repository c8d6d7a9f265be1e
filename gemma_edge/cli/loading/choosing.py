"""No model was named: the best one on this machine, else the one that it would run if it were
fetched, else the bundled one."""

import shlex
from dataclasses import replace

from gemma_edge.cli.asking import can_ask, confirm
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.plan.candidates import Stock
from gemma_edge.cli.plan.planning import Planner
from gemma_edge.cli.plan.words import brief_title
from gemma_edge.cli.store.fetching import YES_VARIABLE
from gemma_edge.cli.store.targets import name_of, offered_quants
from gemma_edge.errors import DoesNotFit
from gemma_edge.fit.candidate import Candidate, Wishes
from gemma_edge.store import StoreSettings
from gemma_edge.units import render_bytes

BUNDLED = "demo"


def choose(  # noqa: PLR0913, PLR0917  (the wish, the machine, and the world)
    options: ModelOptions,
    wishes: Wishes,
    planner: Planner,
    settings: StoreSettings,
    context: Context,
    output: Output,
) -> ModelOptions:
    """The options with a model in them. A quant that was named holds for all sizes.

    Raises:
        ModelError: no size has the quant that was named.
    """
    stock = Stock(settings)
    found = best_here(stock, options, wishes, planner)
    if found is not None:
        return replace(options, model=_name_on_disk(found), quant=None)
    found = _best(stock.quants(offered_quants(options)), wishes, planner)
    if found is None:
        output.note("no Gemma 4 fits on this machine as asked; the bundled demo model answers")
        return replace(options, model=BUNDLED, quant=None)
    size = "" if found.download_bytes is None else f" ({render_bytes(found.download_bytes)})"
    agreed = options.store.yes or context.is_on(YES_VARIABLE)
    if not settings.offline and not agreed and can_ask(context):
        agreed = confirm(
            f"this machine would run {brief_title(found)}{size}: download it? "
            "no: the demo model answers",
            context, output, usual=True,
        )  # fmt: skip
    if agreed and not settings.offline:
        kept = replace(options.store, yes=True)
        return replace(options, model=found.name, quant=None, store=kept)
    output.note(
        f"the bundled demo model answers; this machine would run {brief_title(found)}{size}: "
        f"gemma-edge pull {shlex.quote(found.name)}"
    )
    return replace(options, model=BUNDLED, quant=None)


def best_here(
    stock: Stock, options: ModelOptions, wishes: Wishes, planner: Planner
) -> Candidate | None:
    """The best of those on this machine, which answers before any other is fetched; None where
    none fits."""
    here = [each for each in stock.on_disk() if _is_offered(each, options)]
    return _best(here, wishes, planner)


def _best(candidates: list[Candidate], wishes: Wishes, planner: Planner) -> Candidate | None:
    """The one that the plan takes; None where none fits."""
    if not candidates:
        return None
    try:
        plan = planner.plan(candidates, wishes)
    except DoesNotFit:
        return None
    return next(each for each in candidates if each.name == plan.name)


def _is_offered(candidate: Candidate, options: ModelOptions) -> bool:
    """Whether it is of the quant that was named."""
    if options.quant is None:
        return True
    return candidate.name in {name_of(*pair) for pair in offered_quants(options)}


def _name_on_disk(candidate: Candidate) -> str:
    """A name of the catalogue brings its projector along; another file goes by its path."""
    return candidate.name if candidate.size_name else str(candidate.model_path)
