"""The conversation in a terminal: read a message, answer it or carry out its ``/command``.

The first line is there before anything that answers it is imported, planned or loaded: ``begin``
does that in a thread, behind the line.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import whole_text
from gemma_edge.cli.output import Output
from gemma_edge.cli.terminal.asker import Asker, Left, unfenced
from gemma_edge.cli.terminal.hush import hush
from gemma_edge.errors import ExitStatus, GemmaEdgeError

if TYPE_CHECKING:
    from gemma_edge.cli.chat.talk import Talk

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
        from gemma_edge.cli.chat import table as chat_table  # noqa: PLC0415  (behind the prompt)
        from gemma_edge.cli.chat.command import Leave  # noqa: PLC0415

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
            if chat_table.is_command(text):
                chat_table.carry_out(talk, text)
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
