"""Several files at once: threads fetch and tell, the calling thread listens."""

from gemma_edge.store.progress import Listener
import queue
import threading
from collections.abc import Callable, Sequence

from gemma_edge.store.download import Upstream
from gemma_edge.store.progress import Meter, Progress
from gemma_edge.store.remote import RemoteFile
from gemma_edge.store.shelf import Found

_LEAVE_SECONDS = 1.0  # a thread that waits for a byte cannot be woken; what it has is on disk


class Crew:
    """The threads of one run. ``stop`` ends all of them within a chunk."""

    def __init__(
        self,
        work: Callable[[Upstream], Found],
        meters: Sequence[Meter],
        listen: Listener,
        stop: threading.Event,
    ) -> None:
        self._work, self._listen, self._stop = work, listen, stop
        self._meters = meters
        self._events: queue.Queue[Progress | tuple[RemoteFile, Found | BaseException]]
        self._events = queue.Queue()
        for meter in meters:
            meter.listen = self._events.put  # from here on other threads measure

    def run(self, upstreams: Sequence[Upstream], parallel: int) -> dict[RemoteFile, Found]:
        """All of them; the first error ends the others and is raised here, as Ctrl-C does."""
        jobs: queue.Queue[Upstream] = queue.Queue()
        for upstream in upstreams:
            jobs.put(upstream)
        threads = [
            threading.Thread(target=self._take, args=(jobs,), daemon=True, name="fetch")
            for _ in range(max(1, min(parallel, len(upstreams))))
        ]
        for thread in threads:
            thread.start()
        try:
            return self._listen_for(len(upstreams))
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(_LEAVE_SECONDS)

    def _listen_for(self, count: int) -> dict[RemoteFile, Found]:
        found: dict[RemoteFile, Found] = {}
        while len(found) < count:
            try:
                event = self._events.get(timeout=0.2)  # Windows delivers Ctrl-C in between
            except queue.Empty:
                for meter in self._meters:
                    meter.tick()
                continue
            if isinstance(event, Progress):
                self._listen(event)
                continue
            file, result = event
            if isinstance(result, BaseException):
                raise result
            found[file] = result
        return found

    def _take(self, jobs: "queue.Queue[Upstream]") -> None:
        while not self._stop.is_set():
            try:
                upstream = jobs.get_nowait()
            except queue.Empty:
                return
            result: Found | BaseException
            try:
                result = self._work(upstream)
            except BaseException as error:  # noqa: BLE001  (raised again in the calling thread)
                result = error
            self._events.put((upstream.file, result))
