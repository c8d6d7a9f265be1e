"""The exact size of a prompt before a context is planned: the vocabulary alone, in a process."""

from types import TracebackType

from gemma_edge.engine.loading import died
from gemma_edge.engine.process import WORKER, EngineProcess
from gemma_edge.engine.protocol import Counter, PromptCount, Request
from gemma_edge.errors import GemmaEdgeError
from gemma_edge.fit.plan import Plan


class RemoteCounter:
    """A ``Counter`` in another process. It starts at once; the first count waits for it."""

    def __init__(self, plan: Plan, *, program: str = WORKER) -> None:
        self._process = EngineProcess(program)
        self._process.send("open_counter", plan)
        self._opened = False
        self._refused: GemmaEdgeError | None = None

    def count(self, request: Request) -> PromptCount:
        """Exact prompt size; nothing is evaluated."""
        try:
            if not self._opened:
                self._open()
            count: PromptCount = self._process.call("count", request).value
        except EOFError:
            raise died(self._process.death()) from None
        return count

    def _open(self) -> None:
        """Wait until it is ready; why it is not is known from then on."""
        if self._refused is not None:
            raise self._refused
        try:
            self._process.receive()
        except GemmaEdgeError as error:
            self._refused = error
            raise
        self._opened = True

    def close(self) -> None:
        """End the process. Idempotent."""
        self._process.close()

    def __enter__(self) -> Counter:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
