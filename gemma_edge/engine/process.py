"""The parent's end of one engine process: start it, speak, learn how it died, end it."""

import contextlib
import subprocess
import sys
import threading
from collections import deque
from typing import Any

from gemma_edge.engine.album import Album
from gemma_edge.engine.ladder import Death, parse_death
from gemma_edge.engine.wire import Call, Failed, Sender, read_message
from gemma_edge.errors import EngineError

# The child imports exactly what the parent would, and nothing of the working folder.
WORKER = "import sys; sys.path[:] = sys.argv[1:]; from gemma_edge.engine.worker import main; main()"

_KEPT_LINES = 60
_QUIT_SECONDS = 2.0
# A process that closed its pipe is dying; only one that writes a core file takes longer.
_DEATH_SECONDS = 10.0


class EngineProcess:
    """One process. ``program`` is Python code; tests pass another to make it fail on purpose.

    Raises:
        EngineError: it cannot be started.
    """

    def __init__(self, program: str = WORKER) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=-1,
                start_new_session=True,  # Ctrl-C at the terminal is not for it
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
                | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise EngineError(
                f"the engine's process could not be started ({error.strerror or error})",
                hint="free some memory, or try again",
            ) from None
        assert self._process.stdin and self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._sender = Sender(self._stdin.fileno())
        self._album = Album()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listener = threading.Thread(target=self._keep_lines, daemon=True)
        self._listener.start()
        self._number = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def call(self, name: Any, argument: object = None) -> Any:
        """Send one call and wait for the first thing that comes back.

        Raises:
            EOFError: the process died.
            GemmaEdgeError: what the worker raised.
        """
        self.send(name, argument)
        return self.receive()

    def send(self, name: Any, argument: object = None) -> None:
        """Send one call; a process that is gone shows at the next ``receive``."""
        self._number += 1
        self._sender.send(Call(self._number, name, argument))

    def receive(self) -> Any:
        """What comes next for the last call; raises like ``call``."""
        if self._stdout.closed:
            raise EOFError
        message = read_message(self._stdout, self._album)
        if isinstance(message, Failed):
            if message.trace:
                message.error.__cause__ = _WorkerTrace(message.trace)
            raise message.error
        return message

    def cancel(self) -> None:
        """Ask the running call to stop. Safe from a signal handler and from another thread."""
        self._sender.interject(Call(self._number, "cancel"))

    def death(self) -> Death:
        """Why it is gone; called after an EOFError."""
        try:
            status = self._process.wait(_DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self.close()
        return parse_death(status, tuple(self._lines))

    def close(self) -> None:
        """End it, at once. Idempotent."""
        self._sender.stop()
        with contextlib.suppress(OSError):
            self._stdin.close()  # the worker ends by itself
        try:
            self._process.wait(_QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(_QUIT_SECONDS)
        self._stdout.close()

    def _keep_lines(self) -> None:
        """What native code writes before it dies says why."""
        assert self._process.stderr
        with self._process.stderr as stream:
            for line in stream:
                self._lines.append(line.decode("utf-8", "replace"))


class _WorkerTrace(Exception):
    """Where a bug in the worker stands; shown as the cause of the error here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
