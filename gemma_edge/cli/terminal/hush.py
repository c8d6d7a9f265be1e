"""While a model answers, typed keys are not echoed into its answer; they wait for the next line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gemma_edge.cli.context import Context

if sys.platform == "win32":

    @contextmanager
    def hush(_context: Context) -> Iterator[None]:
        """Windows echoes no keys by itself."""
        yield

else:

    @contextmanager
    def hush(context: Context) -> Iterator[None]:
        """Inside, a terminal shows no keys and hands on each at once; Ctrl-C stays a signal."""
        import termios  # noqa: PLC0415  (POSIX alone has it)

        try:
            number = context.stdin.fileno()
            before = termios.tcgetattr(number)
        except (OSError, ValueError, termios.error):  # no terminal, or none that can be asked
            yield
            return
        quiet = termios.tcgetattr(number)
        quiet[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(number, termios.TCSADRAIN, quiet)
        try:
            yield
        finally:
            termios.tcsetattr(number, termios.TCSADRAIN, before)
