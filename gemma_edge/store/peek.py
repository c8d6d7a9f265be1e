"""What the hub has under a name, and a few bytes of it, without fetching the file: for a size
before a download, a header by range requests, a comparison with the lock."""

import threading

from gemma_edge.errors import GemmaEdgeError
from gemma_edge.store.progress import Listener
from gemma_edge.store.download import Upstream, stream_http
from gemma_edge.store.failures import Changed, StartOver, TryAgain, not_while_offline
from gemma_edge.store.patience import Patience, ask_patiently
from gemma_edge.store.progress import Meter
from gemma_edge.store.remote import RemoteFile
from gemma_edge.store.settings import StoreSettings


def ask(
    file: RemoteFile, settings: StoreSettings, *, on_progress: Listener | None = None
) -> Upstream:
    """What is there now at ``file.revision`` (the newest where that is None): commit, size, hash.

    Raises:
        ModelError: it is not there, or not for this account, or ``settings.offline``.
        GemmaEdgeError: the network failed.
    """
    if settings.offline:
        raise not_while_offline([file.name])
    patience = _patience(file, settings, on_progress)
    return ask_patiently(file, file.revision or "main", settings, patience)


def read_part(
    upstream: Upstream, start: int, count: int, settings: StoreSettings, *,
    on_progress: Listener | None = None,
) -> bytes:  # fmt: skip
    """Bytes ``start`` to ``start + count``, fewer where the file ends before.

    Raises:
        ModelError: ``settings.offline``.
        GemmaEdgeError: the network failed, or the server cannot send parts.
    """
    if settings.offline:
        raise not_while_offline([upstream.file.name])
    patience = _patience(upstream.file, settings, on_progress)
    end = min(start + count, upstream.size_bytes)
    part = bytearray()
    while start + len(part) < end:
        try:
            for chunk in stream_http(upstream, start + len(part), settings, end=end):
                part += chunk
                patience.progressed()
        except TryAgain as failure:
            patience.wait(failure)
        except (StartOver, Changed) as failure:
            raise GemmaEdgeError(
                f"no part of {upstream.file.name} can be read ({failure})",
                hint="pull the whole file instead",
            ) from None
    return bytes(part[: end - start])


def _patience(file: RemoteFile, settings: StoreSettings, on_progress: Listener | None) -> Patience:
    meter = Meter(file.name, on_progress or (lambda _: None), settings.clock)
    return Patience(settings, meter, threading.Event())
