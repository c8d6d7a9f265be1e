"""Commands that load again: another model, a larger context. The conversation goes along."""

from dataclasses import replace

from gemma_edge.cli.chat.start import Wish
from gemma_edge.cli.chat.talk import Talk
from gemma_edge.cli.options import AUTO
from gemma_edge.errors import DoesNotFit, UsageError
from gemma_edge.units import parse_tokens


def switch_model(talk: Talk, value: str) -> None:
    """Go on with another model; alone: which one this is."""
    if not value:
        talk.output.note(talk.loaded.prepared.render(talk.engine.info))
        talk.output.note("/model NAME goes on with another; `gemma-edge models` lists them")
        return
    options = replace(
        talk.loaded.options, model=value, quant=None, mmproj=None, gpu_layers=None,
        cpu_expert_layers=None,
    )  # fmt: skip
    _reload(talk, Wish(options=options, sight="possible"))


def resize(talk: Talk, value: str) -> None:
    """A context of so many tokens, if the plan has memory for it; alone: what it is."""
    info = talk.engine.info
    if not value:
        talk.output.note(
            f"{info.context_tokens:,} tokens; this model was trained for "
            f"{info.trained_context_tokens:,}"
        )
        return
    try:
        tokens = parse_tokens(value)
    except ValueError:
        raise UsageError(f"`{value}` is not a number of tokens", hint="/ctx 16k") from None
    used = talk.session.meter().used_tokens
    if tokens <= used:
        raise DoesNotFit(
            f"the conversation takes {used:,} tokens, more than {tokens:,}",
            hint="/compact, /drop, or a larger number",
        )
    options = replace(talk.loaded.options, context_tokens=tokens)
    if options.model == AUTO:  # the same one, whatever would be the best for that size
        options = replace(options, model=talk.loaded.prepared.wanted, quant=None)
    try:
        _reload(talk, Wish(options=options, sight="possible"))
    except DoesNotFit as error:
        error.hint = error.hint.replace("--ctx ", "/ctx ")
        raise


def _reload(talk: Talk, wish: Wish) -> None:
    for sentence in talk.reload(wish):
        talk.output.note(sentence)
    info = talk.engine.info
    talk.output.note(talk.loaded.prepared.render(info))
    for note in info.notes:
        talk.output.note(note)
    if talk.session.history.exchanges:
        talk.output.note("the conversation is read again while you type")
