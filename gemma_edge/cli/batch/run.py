"""Files one after another, read ahead of the model: what goes wrong with one is that one's, and
the exit status is that of the worst."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gemma_edge.cli.batch.progress import Going
from gemma_edge.cli.batch.reading_ahead import read_ahead
from gemma_edge.cli.batch.sources import Source
from gemma_edge.errors import (
    ExitStatus,
    GemmaEdgeError,
    InputError,
    Interrupted,
    UsageError,
)

# No answer is worse than one that is not whole; what is wrong with all is worst.
_SEVERITY = (
    ExitStatus.OK, ExitStatus.RESULT, ExitStatus.INPUT, ExitStatus.USAGE, ExitStatus.DOES_NOT_FIT,
    ExitStatus.MODEL, ExitStatus.FAILED, ExitStatus.INTERRUPTED,
)  # fmt: skip
Content = TypeVar("Content")


@dataclass(slots=True)
class Counts:
    """How it went: ``done`` now, ``kept`` from before, ``failed``; ``lost`` lost detail."""

    done: int = 0
    kept: int = 0
    failed: int = 0
    lost: int = 0
    status: ExitStatus = ExitStatus.OK

    def worsen(self, status: ExitStatus) -> None:
        """Remember the worst."""
        self.status = max(self.status, status, key=_SEVERITY.index)


def go_through(  # noqa: PLR0913, PLR0917  (the steps of a batch, and what they count)
    sources: Sequence[Source],
    read: Callable[[Source], Content],
    use: Callable[[Source, Content], None],
    fail: Callable[[Source, GemmaEdgeError], None],
    jobs: int,
    going: Going,
    counts: Counts,
) -> None:
    """Read each source in a thread and use it here, until the last or until someone stops it.
    ``use`` raises what is wrong with one file, and that goes to ``fail``; what is wrong with all
    of them is raised."""
    try:
        for source, content in read_ahead(read, sources, jobs):
            kept = counts.kept
            try:
                use(source, content())
            except (InputError, UsageError) as error:
                fail(source, error)
            going.step(failed=counts.failed, kept=counts.kept > kept)
    except (Interrupted, KeyboardInterrupt):
        counts.worsen(ExitStatus.INTERRUPTED)
