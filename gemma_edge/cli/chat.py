"""``gemma-edge chat``: one answer to a question, or a conversation in the terminal."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gemma_edge.app.chat import Chat, ChatRequest
from gemma_edge.app.request import ModelRequest
from gemma_edge.chat.persona import load_persona
from gemma_edge.cli.chat_commands import (
    ChatTerminal,
    Leave,
    carry_out,
    is_command,
    recall,
    render_missed,
    render_session,
)
from gemma_edge.cli.completion import model_names, persona_names, session_names
from gemma_edge.cli.context import Context, history_path, personas_dir, sessions_dir
from gemma_edge.cli.flags import argument, build, option
from gemma_edge.cli.inputs import find_files, missed_files, read_offered, read_piped, read_value
from gemma_edge.cli.options import (
    EngineFlags,
    MaxTokens,
    ModelFlags,
    RememberFlags,
    SamplingFlags,
    ShowFlags,
    whole_text,
)
from gemma_edge.cli.output import Output, cancel_on_interrupt
from gemma_edge.cli.streaming import AnswerDisplay, conclude, open_runtime, render_status
from gemma_edge.cli.terminal import Asker, Left, no_echo, unfenced
from gemma_edge.documents.document import IMAGE_SUFFIXES, shown
from gemma_edge.engine.protocol import Sampling
from gemma_edge.errors import DoesNotFit, ExitStatus, GemmaEdgeError, UsageError
from gemma_edge.records import dataclass
from gemma_edge.trust import is_web

if TYPE_CHECKING:
    from gemma_edge.cli.prompt import Prompter

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionFlags:
    """What is said, to whom, and how the answer looks."""

    text: Annotated[
        str | None,
        argument("TEXT", "A question; - reads it from stdin; without one, a conversation."),
    ] = None
    prompt: Annotated[
        str | None, option("--prompt", "-p", metavar="TEXT", help="The same as TEXT.")
    ] = None
    persona: Annotated[
        str,
        option(
            "--as",
            metavar="NAME",
            complete=persona_names,
            help="A persona: a system prompt with its settings; NAME or a TOML file.",
        ),
    ] = ""
    plain: Annotated[bool, option("--plain", help="Show Markdown as it was written.")] = False
    model: ModelFlags
    keeping: RememberFlags
    store: EngineFlags
    show: ShowFlags


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFlags:
    """How it is answered, and what becomes of it: fields of ``ChatRequest``."""

    system: Annotated[
        str, option("--system", metavar="TEXT|@FILE", help="Who the model is to be.")
    ] = ""
    think: Annotated[bool, option("--think", help="Think before answering.")] = False
    max_thought_tokens: Annotated[
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
        str | None,
        option(
            "--session",
            metavar="NAME",
            complete=session_names,
            help="Go on with the conversation of this very name, or begin it.",
        ),
    ] = None
    private: Annotated[bool, option("--private", help="Write nothing of it to the disk.")] = False
    stop: Annotated[
        tuple[str, ...],
        option("--stop", metavar="TEXT", help="End the answer before TEXT; repeatable."),
    ] = ()
    max_tokens: MaxTokens = None
    sampling: SamplingFlags


def command(said: QuestionFlags, asked: ChatFlags, context: Context, output: Output) -> ExitStatus:
    """Talk. Without a question it is a conversation.

    Text that is piped in comes before the question. Stdin is left alone where it is the caller's
    own, as in a `while read` loop, and where it says nothing for 10 seconds; - as TEXT reads it to
    its end whatever it is, and </dev/null says that there is none.

    \b
    gemma-edge chat
    gemma-edge chat "hello"
    cat log.txt | gemma-edge chat -p "what failed?"
    gemma-edge chat - -p "what failed?" < log.txt
    gemma-edge chat --image cat.jpg "what is this?"
    gemma-edge chat -c
    """
    if said.text not in (None, STDIN) and said.prompt is not None:
        raise UsageError("the question is there twice", hint="TEXT or -p TEXT, not both")
    if asked.session == "":  # a variable of a shell that is not set
        raise UsageError("the session has no name", hint="--session NAME")
    if asked.private:
        _refuse_keeping(said, asked)
    if asked.resume and asked.session:
        raise UsageError("two conversations to go on with", hint="-c or --session NAME, not both")
    request = build(
        ChatRequest,
        asked,
        model=build(ModelRequest, said.model, said.keeping),
        think=True if asked.think or asked.max_thought_tokens is not None else None,
        sampling=build(Sampling, asked.sampling),
    )
    typed = whole_text((said.text if said.prompt is None else said.prompt) or "")
    typed = "" if typed == STDIN else typed
    if said.text == STDIN and context.stdin_is_terminal:
        raise UsageError("`-` reads stdin, and stdin is a terminal", hint="pipe text in")
    read = read_offered if typed.strip() and said.text != STDIN else read_piped
    piped = read(context, output).strip("\n")  # before what is asked about it
    question = "\n\n".join(part for part in (piped, typed) if part.strip())
    if not question and (said.show.json or not context.stdin_is_terminal):
        raise UsageError(
            "there is no question, and no terminal to ask at",
            hint='gemma-edge chat -p "TEXT", or pipe text in',
        )
    if said.persona:
        request = replace(request, persona=load_persona(said.persona, [personas_dir(context)]))
    request = replace(request, system=read_value(request.system, output), single=bool(question))
    runtime = open_runtime(said.store, context, output, private=asked.private)
    chat = Chat(request, runtime, sessions_dir(context))
    display = AnswerDisplay(
        context, output, plain=said.plain, folds=not question, as_json=said.show.json
    )
    terminal = ChatTerminal(context=context, output=output, chat=chat, display=display)
    terminal.tell()
    if question:
        _tell_named(typed, terminal)
        return _answer_once(terminal, question)
    return Loop(terminal).run()


def _refuse_keeping(said: QuestionFlags, asked: ChatFlags) -> None:
    """What is private leaves nothing."""
    if asked.resume or asked.session:
        raise UsageError("a private conversation is not kept", hint="--private or --session")
    if said.keeping.remember:
        raise UsageError("nothing is kept of a private conversation", hint="no --remember")
    if said.store.keep_alive:
        problem = "nothing of a private conversation stays in memory"
        raise UsageError(problem, hint="--private or --keep-alive")


def _tell_named(typed: str, terminal: ChatTerminal) -> None:
    """A question on a command line is a text: what it names is not looked at, and that is said."""
    found = find_files(typed, terminal.context.home)
    for name in filter(is_web, missed_files(typed, found)):
        terminal.note(render_missed(name))
    for each in found:
        flag = "--image" if each.path.suffix.lower() in IMAGE_SUFFIXES else "--file"
        if each.path not in (*terminal.chat.images, *terminal.chat.files):
            terminal.note(f"{shown(each.path.name)} is only named: {flag} {shown(each.path)}")


def _answer_once(terminal: ChatTerminal, question: str) -> ExitStatus:
    """One question and its answer: for a command line, a pipe, a program."""
    output, chat = terminal.output, terminal.chat
    with chat:
        conversation = chat.open()
        terminal.tell()
        output.note(chat.prepared.render(chat.engine.info))
        about = render_session(conversation)
        terminal.note(*filter(None, (about, *conversation.history.notes)))
        try:
            with cancel_on_interrupt(chat.engine):
                finished = terminal.display.show(conversation.say(question))
        except DoesNotFit as error:
            if error.hint.startswith("/"):  # a command, which cannot be typed here
                error.hint = terminal.choices(question, once=True) or "--ctx N, or less text"
            raise
        output.status(render_status(finished, chat.engine.info))
        status = conclude(finished, output)
        terminal.note(*chat.leave())
        chat.engine.learn()
        return status


# The conversation in a terminal: read a message, answer it or carry out its `/command`. Where a
# line can be drawn it is there before the model is: `Chat.begin` plans and loads behind it.


SIGN = "› "


class Loop:
    """Asks for messages until the person leaves."""

    def __init__(self, terminal: ChatTerminal) -> None:
        self._terminal = terminal
        self._chat, self._output = terminal.chat, terminal.output
        self._chat.changed = self._changed
        self._introduced = False
        self._asker = Asker(terminal.context, terminal.output)

    def run(self) -> ExitStatus:
        """Until Ctrl-D, ``/exit``, or Ctrl-C twice at the prompt."""
        try:
            if _can_draw(self._terminal.context, self._output):
                self._asker = self._prompter()
            else:
                self._wait()
            return self._converse()
        finally:
            self._close()

    def _wait(self) -> None:
        """For the conversation; without a model there is none: what planning or loading raises
        ends it."""
        if self._chat.planning:
            self._output.draw("looking at this machine …")
        with no_echo(self._terminal.context) if self._chat.planning else nullcontext():
            self._chat.join()
        self._chat.wait()
        self._terminal.tell()

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
                self._terminal.amending = False
                continue
            interrupted = False
            if text.strip() and not self._carry_out(text):
                return ExitStatus.OK

    def _read(self) -> str:
        draft, self._terminal.draft = self._terminal.draft, ""
        while True:
            self._terminal.tell()
            try:
                return whole_text(self._asker.ask(SIGN, draft))
            except Left as left:
                draft = left.draft
                self._meet(draft)

    def _meet(self, draft: str) -> None:
        """Wait for the model; where there is none, what was typed is not lost."""
        try:
            self._wait()
        except (GemmaEdgeError, KeyboardInterrupt):
            if draft.strip():
                self._asker.remember(draft)
            raise

    def _changed(self) -> None:
        """From any thread: something to tell, or another status."""
        if self._chat.opened and not self._introduced:
            self._introduced = True
            self._chat.notes.append(f"{self._chat.prepared.render()} · /help")
            self._chat.notes += recall(self._chat.conversation)
        if self._chat.needs_person:
            self._asker.leave()
        elif self._chat.notes:
            self._asker.interject(self._terminal.tell)
        else:
            self._asker.refresh()

    def _carry_out(self, text: str) -> bool:
        """False ends the conversation. One bad message is told and it goes on."""
        terminal = self._terminal
        try:
            self._wait()
            with no_echo(terminal.context):
                if self._chat.conversation.pending:
                    self._output.draw("loading …")
                    self._chat.watch()
                _ = self._chat.engine.info
        except KeyboardInterrupt:
            terminal.draft = text
            return True
        terminal.tell()
        try:
            if is_command(text):
                carry_out(terminal, text)
                terminal.offer_again()
            else:
                with no_echo(terminal.context):
                    terminal.say(unfenced(text.strip()))
        except Leave:
            return False
        except GemmaEdgeError as error:
            self._output.error(error.message, error.hint)
            if terminal.draft or terminal.refused:
                self._asker.forget()
        except KeyboardInterrupt:
            self._output.note("stopped")
        self._chat.conversation.start_prefill()
        return True

    def _close(self) -> None:
        """Whatever happened, what was said is kept and the model is freed."""
        with self._chat:
            try:
                self._terminal.note(*self._chat.leave())
            except GemmaEdgeError:
                return  # it ended for this very reason

    def _prompter(self) -> "Prompter":
        from gemma_edge.cli.prompt import ChatCompleter, Prompter  # noqa: PLC0415  (0.1 s)

        context = self._terminal.context
        assert context.size is not None
        return Prompter(
            context.stderr if context.stderr_is_terminal else context.stdout,
            context.size,
            history=None if self._chat.private else history_path(context),
            completer=ChatCompleter(lambda kind: _names(kind, context)),
            status=self._terminal.status,
            shown=self._chat.begin,
            colour=self._output.colours,
        )


def _can_draw(context: Context, output: Output) -> bool:
    known = context.size is not None and context.ask is None
    return known and context.stdin_is_terminal and output.draws_somewhere


def _names(kind: str, context: Context) -> list[str]:
    """What Tab offers."""
    names = {"model": model_names, "session": session_names}.get(kind)
    return [name for name, _ in names(context)] if names else []
