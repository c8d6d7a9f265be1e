"""``gemma-edge chat``: one answer to a question, or a conversation in the terminal."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gemma_edge.app.load import VisionMode, open_engine, prepare
from gemma_edge.app.request import AUTO
from gemma_edge.chat.journal import Attachment
from gemma_edge.cli.context import Context, history_path
from gemma_edge.cli.conversation import (
    ChatWishes,
    Opener,
    Show,
    Talk,
    Wish,
    choose_journal,
    leave,
    open_session,
    wake,
    with_its_model,
)
from gemma_edge.cli.inputs import read_pictures, read_piped, read_value
from gemma_edge.cli.options import (
    FetchFlags,
    Job,
    MaxTokens,
    ModelFlags,
    ModelOptions,
    SamplingFlags,
    ShowFlags,
    argument,
    build,
    option,
    whole_text,
)
from gemma_edge.cli.output import Output, cancel_on_interrupt
from gemma_edge.cli.runtime import open_runtime
from gemma_edge.cli.streaming import conclude, render_status, stream_json
from gemma_edge.cli.terminal import Asker, Left, hush, unfenced
from gemma_edge.engine.protocol import Engine, Event, Finished, Sampling
from gemma_edge.errors import ExitStatus, GemmaEdgeError, UsageError

if TYPE_CHECKING:
    from gemma_edge.chat.persona import Persona


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionFlags:
    """What is said, and to whom."""

    text: Annotated[str | None, argument("TEXT", "A question; without one, a conversation.")] = None
    prompt: Annotated[
        str | None, option("--prompt", "-p", metavar="TEXT", help="The same as TEXT.")
    ] = None
    persona: Annotated[
        str,
        option(
            "--as",
            metavar="NAME",
            help="A persona: a system prompt with its settings; NAME or a TOML file.",
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFlags:
    """How it is answered, and what becomes of it: fields of ``ChatWishes``."""

    system: Annotated[
        str, option("--system", metavar="TEXT|@FILE", help="Who the model is to be.")
    ] = ""
    think: Annotated[bool, option("--think", help="Think before answering.")] = False
    think_tokens: Annotated[
        int | None,
        option("--think-tokens", metavar="N", min=1, help="Think, for N tokens at most."),
    ] = None
    images: Annotated[
        tuple[Path, ...],
        option("--image", "-i", metavar="FILE", help="An image to look at; repeatable."),
    ] = ()
    files: Annotated[
        tuple[Path, ...],
        option("--file", "-f", metavar="FILE", help="A file to read, whole; repeatable."),
    ] = ()
    resume: Annotated[
        bool, option("--continue", "-c", help="Go on with the last conversation.")
    ] = False
    session: Annotated[
        str,
        option("--session", metavar="NAME", help="Go on with this conversation, or begin it."),
    ] = ""
    private: Annotated[bool, option("--private", help="Write nothing of it to the disk.")] = False
    plain: Annotated[bool, option("--plain", help="Show Markdown as it was written.")] = False
    stop: Annotated[
        tuple[str, ...],
        option("--stop", metavar="TEXT", help="End the answer before TEXT; repeatable."),
    ] = ()
    max_tokens: MaxTokens = None
    sampling: SamplingFlags


def command(
    said: QuestionFlags, asked: ChatFlags, model: ModelFlags, store: FetchFlags, show: ShowFlags
) -> Job:
    """Talk. Without a question it is a conversation; piped text comes before the question.

    \b
    gemma-edge chat
    gemma-edge chat "hello"
    cat log.txt | gemma-edge chat -p "what failed?"
    gemma-edge chat --image cat.jpg "what is this?"
    gemma-edge chat -c
    """
    if said.text is not None and said.prompt is not None:
        raise UsageError("the question is there twice", hint="TEXT or -p TEXT, not both")
    if asked.private and (asked.resume or asked.session):
        raise UsageError("a private conversation is not kept", hint="--private or --session")
    if asked.resume and asked.session:
        raise UsageError("two conversations to go on with", hint="-c or --session NAME, not both")
    wishes = build(
        ChatWishes,
        asked,
        question=said.prompt if said.prompt is not None else said.text or "",
        think=asked.think or asked.think_tokens is not None,
        sampling=build(Sampling, asked.sampling),
    )
    return partial(run, wishes, said.persona, build(ModelOptions, model, store=store), show)


def run(  # noqa: PLR0913, PLR0917  (the wish, in parts, and the world)
    wishes: ChatWishes,
    persona: str,
    model: ModelOptions,
    show: ShowFlags,
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
        return answer_once(wishes, model, context, output, as_json=show.json)

    return converse(wishes, model, context, output)


def _question(wishes: ChatWishes, context: Context, output: Output) -> str:
    """Piped text first, then what is asked about it."""
    parts = (read_piped(context, output).strip("\n"), whole_text(wishes.question))
    return "\n\n".join(part for part in parts if part.strip())


def _find_persona(name: str, context: Context) -> "Persona":
    from gemma_edge.chat.persona import load_persona  # noqa: PLC0415  (only --as needs it)
    from gemma_edge.cli.context import personas_dir  # noqa: PLC0415

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


# ----------------------------------------------------------------------------
# One question and its answer: for a command line, a pipe, a program.


def answer_once(
    wishes: ChatWishes, model: ModelOptions, context: Context, output: Output, *, as_json: bool
) -> ExitStatus:
    """Answer ``wishes.question``; only where a session was named it is kept."""
    kept = wishes.session or wishes.resume
    journal = choose_journal(wishes, context) if kept else None
    request = with_its_model(model, journal, output.note)
    sight: VisionMode = (
        "needed" if wishes.images else "possible" if kept or wishes.files else "unused"
    )
    runtime = open_runtime(model.store, context, output)
    prepared = prepare(request, runtime, vision=sight, images=wishes.images)
    pictures = read_pictures(wishes.images, prepared.image_tokens, output)
    with open_engine(prepared, runtime) as engine:
        session = open_session(engine, prepared.wanted, wishes, journal)
        output.note(prepared.render(engine.info))
        for note in session.history.notes:
            output.note(note)
        wake(session, output.note)
        opener = Opener(
            session, engine, output, prepared.image_tokens,
            prepared.plan.image_tokens or prepared.image_tokens,
        )  # fmt: skip
        files: tuple[Attachment, ...] = ()
        for path in wishes.files:
            read, pages = opener.file(path)
            files, pictures = files + read, pictures + pages
        finished = _show(
            session.say(wishes.question, pictures, files), engine, context, output, as_json,
            plain=wishes.plain,
        )  # fmt: skip
        output.status(render_status(finished, engine.info))
        status = conclude(finished, output)
        leave(session, context, output.note)
        return status


def _show(  # noqa: PLR0913  (an answer and how it is to look)
    events: Iterator[Event], engine: Engine, context: Context, output: Output, as_json: bool,
    *, plain: bool,
) -> Finished:  # fmt: skip
    with cancel_on_interrupt(engine):
        if as_json:
            return stream_json(events, output)
        return Show(context, output, plain=plain, folds=False).answer(events, output)


# ----------------------------------------------------------------------------
# A conversation that is not open yet: its journal is chosen, nothing is planned.


def new_talk(wishes: ChatWishes, model: ModelOptions, context: Context, output: Output) -> Talk:
    """For ``Loop``.

    Raises:
        InputError: there is no conversation to go on with, or it is open elsewhere.
    """
    journal = choose_journal(wishes, context)
    request = with_its_model(model, journal, output.note)
    sight: VisionMode = (
        "needed" if wishes.images else "possible"
    )  # a conversation may come to /image
    return Talk(
        context=context,
        output=output,
        runtime=open_runtime(model.store, context, output),
        show=Show(context, output, plain=wishes.plain),
        wishes=wishes,
        journal=journal,
        wish=Wish(request=request, sight=sight, images=wishes.images),
    )


# ----------------------------------------------------------------------------
# The conversation in a terminal: read a message, answer it or carry out its `/command`. The first
# line is there before anything that answers it is imported, planned or loaded: `begin` does that
# in a thread, behind the line.


SIGN = "› "
_LOOK_SECONDS = 0.05
_LEAVE_SECONDS = 2.0  # for planning to end by itself; then the process ends under it


class Loop:
    """``make`` gives the conversation, not yet open; ``asker`` where its messages come from, and
    is set before ``run``."""

    asker: Asker

    def __init__(self, make: "Callable[[], Talk]", context: Context, output: Output) -> None:
        self._make = make
        self._context = context
        self._output = output
        self._talk: Talk | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def run(self) -> ExitStatus:
        """Until Ctrl-D, ``/exit``, or Ctrl-C twice at the prompt."""
        try:
            return self._converse()
        finally:
            self._close()

    def begin(self) -> None:
        """Plan and load behind the line, which is on the screen now."""
        self._thread = threading.Thread(target=self._plan, daemon=True)
        self._thread.start()

    def status(self) -> str:
        """The quiet line under the one that is typed."""
        if self._talk is None or not self._talk.arrived:
            return self._output.cut("looking at this machine …")
        return self._talk.status()

    @property
    def talk(self) -> "Talk":
        """The conversation, open. Without a model there is none: what planning or loading raises
        ends it."""
        self._wait()
        if self._error is not None:
            raise self._error
        talk = self._talk = self._talk or self._make()
        if not talk.arrived:
            talk.arrive(behind_prompt=False)
            talk.tell()
            talk.settle()
        talk.settling.check()
        return talk

    def _wait(self) -> None:
        """For the thread that plans; Ctrl-C is noticed."""
        if self._thread is None or not self._thread.is_alive():
            return
        self._output.draw("looking at this machine …")
        with hush(self._context):
            while self._thread.is_alive():
                self._thread.join(_LOOK_SECONDS)

    def _converse(self) -> ExitStatus:
        interrupted = False
        while True:
            try:
                text = self._read()
            except EOFError:
                return ExitStatus.OK
            except KeyboardInterrupt:
                if interrupted:
                    return ExitStatus.INTERRUPTED
                interrupted = True
                self._output.note("Ctrl-C again leaves, so does Ctrl-D")
                if self._talk is not None:
                    self._talk.amending = False
                continue
            interrupted = False
            if text.strip() and not self._carry_out(text):
                return ExitStatus.OK

    def _read(self) -> str:
        draft = ""
        if self._talk is not None:
            draft, self._talk.draft = self._talk.draft, ""
        while True:
            if self._talk is not None:
                self._talk.tell()
            try:
                return whole_text(self.asker.ask(SIGN, draft))
            except Left as left:
                draft = left.draft
                self._meet(draft)

    def _meet(self, draft: str) -> None:
        """Wait for the model; where there is none, what was typed is not lost."""
        try:
            _ = self.talk
        except (GemmaEdgeError, KeyboardInterrupt):
            if draft.strip():
                self.asker.remember(draft)
            raise

    def _plan(self) -> None:
        """In a thread."""
        try:
            talk = self._talk = self._make()
            talk.settling.changed = self._changed
            if talk.arrive(behind_prompt=True):
                talk.settle()
                self._changed()
                return
        except BaseException as error:  # noqa: BLE001  (raised where it is waited for)
            self._error = error
        self.asker.leave()

    def _changed(self) -> None:
        """From a thread: something to tell, or another status."""
        talk = self._talk
        assert talk is not None
        if talk.settling.failed:
            self.asker.leave()
        elif talk.notes:
            self.asker.interject(talk.tell)
        else:
            self.asker.refresh()

    def _carry_out(self, text: str) -> bool:
        """False ends the conversation. One bad message is told and it goes on."""
        from gemma_edge.cli.chat_commands import (  # noqa: PLC0415  (behind the prompt)
            Leave,  # noqa: PLC0415
            carry_out,
            is_command,
        )

        try:
            talk = self.talk
            with hush(self._context):
                if talk.settling.pending:
                    self._output.draw("loading …")
                _ = talk.engine.info
        except KeyboardInterrupt:
            if self._talk is not None:
                self._talk.draft = text
            return True
        talk.tell()
        try:
            if is_command(text):
                carry_out(talk, text)
            else:
                with hush(self._context):
                    talk.say(unfenced(text.strip()))
        except Leave:
            return False
        except GemmaEdgeError as error:
            self._output.error(error.message, error.hint)
        except KeyboardInterrupt:
            self._output.note("stopped")
        talk.settle()
        return True

    def _close(self) -> None:
        """Whatever happened, what was said is kept and the model is freed."""
        if self._thread is not None:
            self._thread.join(_LEAVE_SECONDS)
        if self._talk is None:
            return
        try:
            self._talk.leave()
        except GemmaEdgeError:
            return  # it ended for this very reason
        finally:
            self._talk.close()


# ----------------------------------------------------------------------------
# A conversation in the terminal, opened: the prompt first, everything else behind it.


def converse(
    wishes: ChatWishes, model: ModelOptions, context: Context, output: Output
) -> ExitStatus:
    """Until the person leaves. At a terminal that can be drawn on the prompt is there before the
    model is; a conversation to go on with is found before."""

    def make() -> "Talk":

        return new_talk(wishes, model, context, output)

    if not _can_draw(context, output):
        from gemma_edge.cli.terminal import LineAsker  # noqa: PLC0415  (only here)

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
    from gemma_edge.cli.prompt import (
        ChatCompleter,  # noqa: PLC0415  (prompt_toolkit: 0.1 s)
        Prompter,  # noqa: PLC0415
    )

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
        from gemma_edge.chat.sessions import list_journals  # noqa: PLC0415
        from gemma_edge.cli.context import sessions_dir  # noqa: PLC0415

        return [each.name for each in list_journals(sessions_dir(context))]
    return ()
