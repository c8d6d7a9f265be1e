"""``gemma-edge chat``: one answer to a question, or a conversation in the terminal."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemma_edge.cli import options as flags
from gemma_edge.cli.chat.wishes import ChatWishes
from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import read_piped, read_value, whole_text
from gemma_edge.cli.options import AUTO, Job, ModelOptions, ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.engine.protocol import Sampling
from gemma_edge.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from gemma_edge.chat.persona import Persona


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
    persona: Annotated[
        str,
        typer.Option(
            "--as", metavar="NAME", show_default=False,
            help="A persona: a system prompt with its settings; NAME or a TOML file.",
        ),
    ] = "",
    think: Annotated[bool, typer.Option("--think", help="Think before answering.")] = False,
    think_tokens: Annotated[
        int | None,
        typer.Option("--think-tokens", metavar="N", min=1, help="Think, for N tokens at most."),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", "-i", metavar="FILE", help="An image to look at; repeatable."),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", metavar="FILE", help="A file to read, whole; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--continue", "-c", help="Go on with the last conversation.")
    ] = False,
    session: Annotated[
        str,
        typer.Option(
            "--session", metavar="NAME", show_default=False,
            help="Go on with this conversation, or begin it.",
        ),
    ] = "",
    private: Annotated[
        bool, typer.Option("--private", help="Write nothing of it to the disk.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Show Markdown as it was written.")
    ] = False,
    temperature: flags.Temperature = None,
    top_p: flags.TopP = None,
    top_k: flags.TopK = None,
    min_p: flags.MinP = None,
    seed: flags.Seed = None,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", metavar="TEXT", help="End the answer before TEXT; repeatable."),
    ] = None,
    max_tokens: flags.MaxTokens = None,
    *,
    placed: ModelOptions,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:  # fmt: skip
    """Talk. Without a question it is a conversation; piped text comes before the question.

    \b
    gemma-edge chat
    gemma-edge chat "hello"
    cat log.txt | gemma-edge chat -p "what failed?"
    gemma-edge chat --image cat.jpg "what is this?"
    gemma-edge chat -c
    """
    if text is not None and prompt is not None:
        raise UsageError("the question is there twice", hint="TEXT or -p TEXT, not both")
    if private and (resume or session):
        raise UsageError("a private conversation is not kept", hint="--private or --session")
    if resume and session:
        raise UsageError("two conversations to go on with", hint="-c or --session NAME, not both")
    wishes = ChatWishes(
        question=prompt if prompt is not None else text or "",
        system=system,
        think=think or think_tokens is not None,
        think_tokens=think_tokens,
        images=tuple(image or ()),
        files=tuple(file or ()),
        sampling=Sampling(
            temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=seed
        ),
        stop=tuple(stop or ()),
        max_tokens=max_tokens,
        resume=resume,
        session=session,
        private=private,
        plain=plain,
    )
    return partial(run, wishes, persona, placed, ShowOptions(json=json, quiet=quiet))


def run(  # noqa: PLR0913, PLR0917  (the wish, in parts, and the world)
    wishes: ChatWishes,
    persona: str,
    model: ModelOptions,
    show: ShowOptions,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Read what is asked, load, answer; a conversation only where somebody sits at a terminal."""
    output.quiet = show.quiet
    question = _question(wishes, context, output)
    if not question and (show.json or not context.stdin_is_terminal):
        raise UsageError(
            "there is no question, and no terminal to ask at",
            hint='gemma-edge chat -p "TEXT", or pipe text in',
        )
    if persona:
        wishes, model = _as_persona(_find_persona(persona, context), wishes, model)
    wishes = replace(wishes, question=question, system=read_value(wishes.system, output))
    if question:
        from gemma_edge.cli.chat.once import answer_once  # noqa: PLC0415  (only this way needs it)

        return answer_once(wishes, model, context, output, as_json=show.json)
    from gemma_edge.cli.chat.open import converse  # noqa: PLC0415  (what the prompt needs)

    return converse(wishes, model, context, output)


def _question(wishes: ChatWishes, context: Context, output: Output) -> str:
    """Piped text first, then what is asked about it."""
    parts = (read_piped(context, output).strip("\n"), whole_text(wishes.question))
    return "\n\n".join(part for part in parts if part.strip())


def _find_persona(name: str, context: Context) -> "Persona":
    from gemma_edge.chat.persona import load_persona  # noqa: PLC0415  (only --as needs it)
    from gemma_edge.cli.folders import personas_dir  # noqa: PLC0415

    return load_persona(name, [personas_dir(context)])


def _as_persona(
    persona: "Persona", wishes: ChatWishes, model: ModelOptions
) -> tuple[ChatWishes, ModelOptions]:
    """What the flags leave open, the persona says."""
    own, asked = persona.sampling, wishes.sampling
    sampling = replace(
        own,
        **{
            name: value
            for name in ("temperature", "top_p", "top_k", "min_p", "seed")
            if (value := getattr(asked, name)) is not None
        },
    )
    wishes = replace(
        wishes,
        system=wishes.system or persona.system,
        think=wishes.think or bool(persona.think),
        sampling=sampling,
        max_tokens=persona.max_tokens if wishes.max_tokens is None else wishes.max_tokens,
    )
    if persona.model and model.model == AUTO:
        model = replace(model, model=persona.model)
    return wishes, model
