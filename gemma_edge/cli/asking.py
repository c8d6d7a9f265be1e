"""A question that only a person at a terminal can answer."""

from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output


def can_ask(context: Context) -> bool:
    """Whether somebody sees a question and can answer it."""
    return context.stdin_is_terminal and context.stderr_is_terminal


def confirm(question: str, context: Context, output: Output, *, usual: bool) -> bool:
    """Yes or no, asked on stderr; an empty line is the ``usual`` answer, no line is a no."""
    choices = "[Y/n]" if usual else "[y/N]"
    while True:
        output.ask(f"{question} {choices} ")
        line = context.stdin.readline()
        if not line:
            output.note("")
            return False
        word = line.strip().lower()
        if not word:
            return usual
        if word in ("y", "yes", "n", "no"):
            return word.startswith("y")
