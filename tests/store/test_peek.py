"""A look at the hub without a download: what is there, and a few bytes of it."""

from collections.abc import Callable

import pytest

from gemma_edge.errors import GemmaEdgeError, ModelError
from gemma_edge.store.hub import ask, read_part
from gemma_edge.store.remote import RemoteFile, StoreSettings
from tests.store.conftest import FILE, NAME, REPO, content
from tests.store.hub import Fault, Hub
from tests.store.test_faults import DATA
from tests.store.test_lock import SHA256


def test_what_is_there_now(hub: Hub, settings: StoreSettings) -> None:
    old = ask(FILE, settings)
    assert (old.commit, old.size_bytes, old.sha256) == (
        hub.repos[REPO][0].commit,
        len(DATA),
        SHA256,
    )
    hub.upload(REPO, NAME, content(1000, seed=6))
    assert ask(FILE, settings).size_bytes == 1000
    assert ask(RemoteFile(REPO, NAME, old.commit), settings).sha256 == SHA256
    assert hub.sent_bytes == 0


@pytest.mark.parametrize(
    ("start", "count"), [(0, 10), (0, 300_000), (1_000, 70_000), (2_000_000, 1_000), (3_000_000, 5)]
)
def test_parts_are_exact_and_no_more_is_sent(
    hub: Hub, settings: StoreSettings, start: int, count: int
) -> None:
    part = read_part(ask(FILE, settings), start, count, settings)
    assert part == DATA[start : start + count]
    assert hub.sent_bytes == len(part)


def test_a_cut_part_goes_on(hub: Hub, settings: StoreSettings) -> None:
    hub.order("storage", Fault(cut_after=100_000), Fault(503))
    assert read_part(ask(FILE, settings), 0, 250_000, settings) == DATA[:250_000]
    assert hub.sent_bytes == 250_000


def test_a_server_without_parts_is_said(hub: Hub, settings: StoreSettings) -> None:
    hub.order("storage", Fault(ignore_range=True))
    with pytest.raises(GemmaEdgeError, match="no part of"):
        read_part(ask(FILE, settings), 0, 10, settings)


def test_offline_asks_nobody(hub: Hub, make_settings: Callable[..., StoreSettings]) -> None:
    upstream = ask(FILE, make_settings())
    asked, offline = len(hub.requests), make_settings(offline=True)
    for attempt in (lambda: ask(FILE, offline), lambda: read_part(upstream, 0, 9, offline)):
        with pytest.raises(ModelError, match="--offline"):
            attempt()
    assert len(hub.requests) == asked
