"""A conversation that is not open yet: its journal is chosen, nothing is planned."""

from gemma_edge.cli.chat.keeping import choose_journal, with_its_model
from gemma_edge.cli.chat.show import Show
from gemma_edge.cli.chat.start import Wish
from gemma_edge.cli.chat.talk import Talk
from gemma_edge.cli.chat.wishes import ChatWishes
from gemma_edge.cli.context import Context
from gemma_edge.cli.loading.loading import Sight
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output


def new_talk(wishes: ChatWishes, model: ModelOptions, context: Context, output: Output) -> Talk:
    """For ``Loop``.

    Raises:
        InputError: there is no conversation to go on with, or it is open elsewhere.
    """
    journal = choose_journal(wishes, context)
    model = with_its_model(model, journal, output.note)
    sight: Sight = "needed" if wishes.images else "possible"  # a conversation may come to /image
    return Talk(
        context=context,
        output=output,
        show=Show(context, output, plain=wishes.plain),
        wishes=wishes,
        journal=journal,
        wish=Wish(options=model, sight=sight, images=wishes.images),
    )
