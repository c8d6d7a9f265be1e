"""From flags, the context and the terminal to the ``Runtime`` that the use cases take."""

from functools import partial

from gemma_edge.app.runtime import Runtime, is_on, store_settings
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import REMEMBER_VARIABLE, FetchFlags, StoreFlags
from gemma_edge.cli.output import Output, can_ask, cancel_on_interrupt, confirm
from gemma_edge.cli.streaming import show_aside, show_progress

YES_VARIABLE = "GEMMA_EDGE_YES"


def open_runtime(options: StoreFlags, context: Context, output: Output) -> Runtime:
    """Made once a run: the machine is detected once, and asked where a person can answer."""
    return Runtime(
        store=store_settings(
            context.environment, context.home, platform=context.platform,
            models_dir=options.models_dir, offline=options.offline, clock=context.now,
        ),
        note=output.note,
        on_event=partial(show_aside, output=output),
        cancelling=cancel_on_interrupt,
        progress=lambda: show_progress(output, context.clock),
        confirm=(
            (lambda question: confirm(question, context, output, usual=True))
            if can_ask(context) else None
        ),
        models_dir=options.models_dir,
        remember=context.is_on(REMEMBER_VARIABLE),
        agreed=isinstance(options, FetchFlags) and options.yes
        or is_on(context.environment, YES_VARIABLE),
        clock=context.clock,
        load=context.load,
        open_counter=context.open_counter,
        detect=partial(context.detect_hardware, context.environment),
        open_measure=context.open_measure,
        busy_programs=context.busy_programs,
    )  # fmt: skip
