"""What ``gemma-edge plan`` does: candidates, a machine, a plan, and the page or the document."""

import shlex

from gemma_edge.cli.context import Context
from gemma_edge.cli.loading.choosing import best_here
from gemma_edge.cli.options import AUTO, ModelOptions, ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.plan.candidates import Stock
from gemma_edge.cli.plan.document import as_document, as_failure, as_rows
from gemma_edge.cli.plan.offering import fetch_headers, offer
from gemma_edge.cli.plan.page import show_matrix, show_plan, show_rungs
from gemma_edge.cli.plan.plan import PlanOptions
from gemma_edge.cli.plan.planning import open_planner, wishes_of
from gemma_edge.cli.plan.words import brief_title
from gemma_edge.cli.store.storing import store_settings
from gemma_edge.errors import ExitStatus
from gemma_edge.fit.planning import NothingFits
from gemma_edge.hardware import Hardware, pretend


def run(
    asked: PlanOptions, model: ModelOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """Headers from disk or from what the catalogue knows; no weights are read."""
    output.quiet = show.quiet
    settings = store_settings(model.store, context)
    if asked.headers:
        fetch_headers(model, settings, context, output)
    stock = Stock(settings)
    wishes = wishes_of(model, vision=None)
    with open_planner(context, settings, output, _pretend(asked, context)) as planner:
        candidates = offer(model, stock, settings, context, output)
        by_name = {each.name: each for each in candidates}
        if asked.every:
            rows = planner.matrix(candidates, wishes)
            if show.json:
                output.document(as_rows(rows, planner.hardware))
            else:
                show_matrix(rows, planner.hardware, output)
            return ExitStatus.OK
        try:
            plan = planner.plan(candidates, wishes)
        except NothingFits as error:
            if show.json:
                output.document(as_failure(error, planner.hardware))
            elif asked.explain:
                show_rungs(error.rungs, output)
            raise
        if show.json:
            output.document(as_document(plan, by_name, planner.hardware))
            return ExitStatus.OK
        show_plan(plan, by_name, planner.hardware, context.width, output, explain=asked.explain)
        chosen = by_name[plan.name]
        if model.model == AUTO and not chosen.on_disk and not asked.pretends:
            here = best_here(stock, model, wishes, planner)
            if here is not None:
                output.note(
                    f"{brief_title(chosen)} is not on this machine: gemma-edge pull "
                    f"{shlex.quote(chosen.name)}; until then {brief_title(here)} answers"
                )
    return ExitStatus.OK


def _pretend(asked: PlanOptions, context: Context) -> Hardware | None:
    """The machine that somebody thought up, on the ground of this one."""
    if not asked.pretends:
        return None
    base = context.detect_hardware(context.environment)
    return pretend(asked.vram_bytes, asked.ram_bytes, asked.device, base)
