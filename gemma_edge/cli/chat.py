"""``gemma-edge chat``: one answer to a question, or a conversation in the terminal."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gemma_edge.chat.session import Session
from gemma_edge.cli import options as flags
from gemma_edge.cli.chat_loop import Loop
from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import read_pictures, read_piped, read_value, whole_text
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.loading import Sight, open_engine, prepare
from gemma_edge.cli.options import Job, ModelOptions, ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import conclude, render_status, stream_json, stream_text
from gemma_edge.engine.protocol import Engine, Event, Sampling
from gemma_edge.errors import ExitStatus, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """What the command line asks of a chat. ``question`` empty means a conversation, or stdin."""

    question: str = ""
    system: str = ""
    think: bool = False
    images: tuple[Path, ...] = ()
    sampling: Sampling = Sampling()
    max_tokens: int | None = None


@flags.takes_model
def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="A question; without one, a conversation."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="The same as TEXT.")
    ] = None,
    system: Annotated[
        str, typer.Option(metavar="TEXT|@FILE", help="Who the model is to be.", show_default=False)
    ] = "",
    think: Annotated[bool, typer.Option("--think", help="Think before answering.")] = False,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", "-i", metavar="FILE", help="An image to look at; repeatable."),
    ] = None,
    temperature: flags.Temperature = None,
    top_p: flags.TopP = None,
    top_k: flags.TopK = None,
    min_p: flags.MinP = None,
    seed: flags.Seed = None,
    max_tokens: flags.MaxTokens = None,
    *,
    placed: ModelOptions,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:
    """Talk. Without a question it is a conversation; piped text comes before the question.

    \b
    gemma-edge chat
    gemma-edge chat "hello"
    cat log.txt | gemma-edge chat -p "what failed?"
    gemma-edge chat --image cat.jpg "what is this?"
    """
    if text is not None and prompt is not None:
        raise UsageError("the question is there twice", hint="TEXT or -p TEXT, not both")
    chat = ChatOptions(
        question=prompt if prompt is not None else text or "",
        system=system,
        think=think,
        images=tuple(image or ()),
        sampling=Sampling(
            temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=seed
        ),
        max_tokens=max_tokens,
    )
    return partial(run, chat, placed, ShowOptions(json=json, quiet=quiet))


def run(
    chat: ChatOptions, model: ModelOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """Read what is asked, load, answer; a conversation only where somebody sits at a terminal."""
    output.quiet = show.quiet
    question = _question(chat, context, output)
    if not question and (show.json or not context.stdin_is_terminal):
        raise UsageError(
            "there is no question, and no terminal to ask at",
            hint='gemma-edge chat -p "TEXT", or pipe text in',
        )
    system = read_value(chat.system, output)
    unseen: Sight = "unused" if question else "possible"  # a conversation may come to /image
    sight: Sight = "needed" if chat.images else unseen
    prepared = prepare(model, context, output, sight=sight, images=chat.images)
    pictures = read_pictures(chat.images, prepared.image_tokens, output)
    if not question:
        output.note(f"{prepared.render()} · /help")  # at once: it loads while the person types
    with open_engine(prepared, context, output, wait=bool(question)) as engine:
        session = Session(
            engine, system, chat.think, sampling=chat.sampling, max_tokens=chat.max_tokens
        )
        if question:
            output.note(prepared.render(engine.info))
            return _answer_once(session.say(question, pictures), engine, output, show.json)
        return Loop(
            session=session,
            engine=engine,
            context=context,
            output=output,
            image_tokens=prepared.image_tokens,
            pending=pictures,
        ).run()


def _question(chat: ChatOptions, context: Context, output: Output) -> str:
    """Piped text first, then what is asked about it."""
    parts = (read_piped(context, output).strip("\n"), whole_text(chat.question))
    return "\n\n".join(part for part in parts if part.strip())


def _answer_once(
    events: Iterator[Event], engine: Engine, output: Output, as_json: bool
) -> ExitStatus:
    stream = stream_json if as_json else stream_text
    with cancel_on_interrupt(engine):
        finished = stream(events, output)
    output.status(render_status(finished, engine.info))
    return conclude(finished, output)
