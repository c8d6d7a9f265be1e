"""Notice a model that says the same thing over and over inside a constrained answer. Pure.

A grammar keeps such an answer valid but cannot end it: digits, rows and words may go on for ever.
Small and quantized models fall into it (extract.md section 3).
"""

LONGEST_PERIOD = 32  # tokens; a row of a table is seldom shorter than it repeats by chance
REPEATED = 256  # tokens that must fit one period before it counts


class Repetition:
    """Fed with every token; ``found`` once the last ``REPEATED`` tokens are one cycle."""

    def __init__(self) -> None:
        self._tokens: list[int] = []

    def add(self, tokens: list[int]) -> None:
        """These tokens were said."""
        self._tokens += tokens
        del self._tokens[: -(REPEATED + LONGEST_PERIOD)]

    @property
    def found(self) -> bool:
        """Is the tail a cycle of at most ``LONGEST_PERIOD`` tokens?"""
        said = self._tokens
        if len(said) < REPEATED + LONGEST_PERIOD:
            return False
        tail = said[-REPEATED:]
        return any(
            said[-1] == said[-1 - period] and tail == said[-REPEATED - period : -period]
            for period in range(1, LONGEST_PERIOD + 1)
        )
