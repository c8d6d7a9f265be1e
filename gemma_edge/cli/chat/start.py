"""Planning and loading behind the first prompt: a person types while the machine is looked at.

What has to be asked (a download) ends the attempt in the background and is done again where the
person can answer; what is refused is told when it comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_edge.cli.asking import can_ask
from gemma_edge.cli.context import Context
from gemma_edge.cli.loading.loading import Prepared, Sight, load, prepare
from gemma_edge.cli.loading.timing import Timed
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.fetching import YES_VARIABLE


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is loading, or loaded, and the plan and the wish that it came from."""

    prepared: Prepared
    engine: Timed
    options: ModelOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What ``prepare`` needs to know. ``images`` are those that the first message shows."""

    options: ModelOptions
    sight: Sight
    images: Sequence[Path] = ()

    def load(self, context: Context, output: Output) -> Loaded:
        """Here and now; what has to be asked is asked.

        Raises:
            GemmaEdgeError: as ``prepare``.
        """
        prepared = prepare(self.options, context, output, sight=self.sight, images=self.images)
        return Loaded(prepared, load(prepared, context, output), self.options)

    def load_unasked(self, context: Context, told: "Told") -> Loaded | None:
        """The same from a thread, in silence. None where a person has to be asked: nothing is
        fetched without a yes, and its progress needs the screen.

        Raises:
            GemmaEdgeError: as ``prepare``.
        """
        if not can_ask(context):  # then a yes was given before, or it is refused
            return self.load(context, told)
        store = replace(self.options.store, yes=False)
        unasked = replace(self, options=replace(self.options, store=store))
        world = {key: value for key, value in context.environment.items() if key != YES_VARIABLE}
        try:
            loaded = unasked.load(replace(context, environment=world), told)
        except _Asked:
            return None
        return replace(loaded, options=self.options)


class _Asked(Exception):
    """A question came up where nobody can answer."""


class Told(Output):
    """Keeps notes for later; a question ends the attempt."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Kept."""
        self.notes.append(text)

    def draw(self, text: str) -> None:
        """There is nowhere to draw."""

    @property
    def draws(self) -> bool:
        """Nothing is drawn over."""
        return False

    def ask(self, sign: str) -> None:
        """Nobody can answer."""
        raise _Asked(sign)
