"""A conversation in the terminal, opened: the prompt first, everything else behind it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gemma_edge.cli.chat.loop import Loop
from gemma_edge.cli.chat.wishes import ChatWishes
from gemma_edge.cli.context import Context
from gemma_edge.cli.folders import history_path
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus

if TYPE_CHECKING:
    from gemma_edge.cli.chat.talk import Talk
    from gemma_edge.cli.terminal.asker import Asker


def converse(
    wishes: ChatWishes, model: ModelOptions, context: Context, output: Output
) -> ExitStatus:
    """Until the person leaves. At a terminal that can be drawn on the prompt is there before the
    model is; a conversation to go on with is found before."""

    def make() -> "Talk":
        from gemma_edge.cli.chat.new import new_talk  # noqa: PLC0415  (behind the prompt)

        return new_talk(wishes, model, context, output)

    if not _can_draw(context, output):
        from gemma_edge.cli.terminal.line_asker import LineAsker  # noqa: PLC0415  (only here)

        loop = Loop(make, context, output)
        loop.asker = LineAsker(context, output)
        _ = loop.talk
        return loop.run()
    if wishes.resume or wishes.session:
        talk = make()
        loop = Loop(lambda: talk, context, output)
    else:
        loop = Loop(make, context, output)
    loop.asker = _prompter(loop, wishes, context, output)
    return loop.run()


def _can_draw(context: Context, output: Output) -> bool:
    known = context.size is not None and context.ask is None
    return known and context.stdin_is_terminal and output.draws_somewhere


def _prompter(loop: Loop, wishes: ChatWishes, context: Context, output: Output) -> "Asker":
    from gemma_edge.cli.terminal.completion import ChatCompleter  # noqa: PLC0415  (prompt_toolkit: 0.1 s)
    from gemma_edge.cli.terminal.prompter import Prompter  # noqa: PLC0415

    assert context.size is not None
    return Prompter(
        context.stderr if context.stderr_is_terminal else context.stdout,
        context.size,
        history=None if wishes.private else history_path(context),
        completer=ChatCompleter(lambda kind: _names(kind, context)),
        status=loop.status,
        shown=loop.begin,
        colour=output.colours,
    )


def _names(kind: str, context: Context) -> Iterable[str]:
    """What there is of a kind, for completion."""
    if kind == "model":
        from gemma_edge import catalog  # noqa: PLC0415  (when Tab asks)

        return [*(size.name for size in catalog.sizes()), "demo"]
    if kind == "session":
        from gemma_edge.chat.shelf import list_journals  # noqa: PLC0415
        from gemma_edge.cli.folders import sessions_dir  # noqa: PLC0415

        return [each.name for each in list_journals(sessions_dir(context))]
    return ()
