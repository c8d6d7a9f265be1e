"""The conversation in a terminal: read a line, answer it or carry out its ``/command``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from gemma_edge.chat.session import KEPT, Session
from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import parse_path, read_pictures, read_value, whole_text
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import conclude, render_status, stream_text
from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import Engine, Event, Finished
from gemma_edge.errors import EngineStopped, ExitStatus, GemmaEdgeError, ProjectorError, UsageError

SIGN = "› "

HELP = """\
/image FILE         an image for the next message
/system TEXT|@FILE  who the model is to be; alone: shows it
/think on|off       think before each answer
/clear              forget what was said
/exit               leave, as Ctrl-D does
Ctrl-C              stop an answer, clear a line, leave"""


@dataclass(slots=True, kw_only=True)
class Loop:
    """A session at a terminal. ``image_tokens`` is the budget of a picture, ``pending`` are the
    pictures that go with the next message, ``met`` says that the model is known to be loaded."""

    session: Session
    engine: Engine
    context: Context
    output: Output
    image_tokens: int
    pending: tuple[Picture, ...] = ()
    met: bool = False

    def run(self) -> ExitStatus:
        """Until Ctrl-D, ``/exit``, or Ctrl-C twice at the prompt."""
        interrupted = False
        while True:
            try:
                line = self._read_line().strip()
            except EOFError:
                self.output.note("")
                return ExitStatus.OK
            except KeyboardInterrupt:
                self.output.note("")
                if interrupted:
                    return ExitStatus.INTERRUPTED
                interrupted = True
                self.output.note("Ctrl-C again leaves, so does Ctrl-D")
                continue
            interrupted = False
            if line in ("/exit", "/quit"):
                return ExitStatus.OK
            if line:
                self._meet()
                self._carry_out(line)

    def _meet(self) -> None:
        """Wait for the model, which was loading while the first line was typed. Without a model
        there is no conversation: what loading raises ends it."""
        for note in () if self.met else self.engine.info.notes:
            self.output.note(note)
        self.met = True

    def _read_line(self) -> str:
        if self.context.ask is not None:
            return self.context.ask(self.output.prompt(SIGN))
        self.output.ask(SIGN)
        line = self.context.stdin.readline()
        if not line:
            raise EOFError
        return line

    def _carry_out(self, line: str) -> None:
        """One bad line is told and the conversation goes on."""
        try:
            if line.startswith("/"):
                self._command(line)
            else:
                self._answer(line)
        except GemmaEdgeError as error:
            self.output.error(error.message, error.hint)

    def _answer(self, line: str) -> None:
        events = self.session.say(whole_text(line), self.pending)
        with cancel_on_interrupt(self.engine):
            finished = self._stream(events)
        self.pending = ()
        if conclude(finished, self.output) is ExitStatus.INTERRUPTED:
            self.output.note("stopped; what was said is kept")
        self.output.status(render_status(finished, self.engine.info))

    def _stream(self, events: Iterator[Event]) -> Finished:
        """Show an answer; one whose engine dies is asked for again. The engine counts how often
        and at last refuses, so this ends."""
        while True:
            try:
                return stream_text(events, self.output)
            except EngineStopped as stop:
                self.output.note(f"{stop.message}, {KEPT}")
                events = self.session.say_again()

    def _command(self, line: str) -> None:
        name, _, value = line.partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "/help": self._help,
            "/image": self._image,
            "/system": self._system,
            "/think": self._think,
            "/clear": self._clear,
        }
        if name in commands:
            commands[name](value.strip())
            return
        near = get_close_matches(name, [*commands, "/exit"], n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"there is no command `{name}`", hint=f"{guess}/help lists them")

    def _help(self, _value: str) -> None:
        self.output.note(HELP)

    def _image(self, value: str) -> None:
        if not self.engine.info.vision:
            raise ProjectorError(
                "this model was loaded without a projector, it sees no images", hint="--mmproj FILE"
            )
        self.pending += read_pictures([parse_path(value)], self.image_tokens, self.output)

    def _system(self, value: str) -> None:
        if value:
            self.session.system = read_value(value, self.output)
        self.output.note(f"system: {self.session.system or 'none'}")

    def _think(self, value: str) -> None:
        if value not in ("", "on", "off"):
            raise UsageError(f"`{value}` is neither on nor off", hint="/think on, /think off")
        self.session.think = value == "on" if value else not self.session.think
        self.output.note("thinking before each answer" if self.session.think else "not thinking")

    def _clear(self, _value: str) -> None:
        self.session.clear()
        self.pending = ()
        self.output.note("cleared")
