"""A look at the hub without a download: what is there, and a few bytes of it."""

from collections.abc import Callable

import pytest

from gemma_edge.errors import GemmaEdgeError, ModelError
from gemma_edge.store.fetch import ensure
from gemma_edge.store.hub import ask, read_part
from gemma_edge.store.remote import RemoteFile, StoreSettings
from tests.store.conftest import FILE, NAME, REPO, content
from tests.store.hub import Fault, Hub
from tests.store.test_faults import DATA, assert_whole
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


FLOOD = 600_000_000


@pytest.mark.parametrize("where", ["storage", "resolve"])
@pytest.mark.parametrize("encoding", [{}, {"Content-Encoding": "identity"}])
def test_no_more_is_taken_than_was_asked_for(
    hub: Hub, settings: StoreSettings, where: str, encoding: dict[str, str]
) -> None:
    """Behind a part without a length, and in the body of a redirect."""
    upstream = ask(FILE, settings)
    hub.order(where, Fault(flood=FLOOD, headers=encoding))
    assert read_part(upstream, 1_000, 64 << 10, settings) == DATA[1_000 : 1_000 + (64 << 10)]
    assert hub.sent_bytes < 32 << 20  # what the sockets of both sides hold


@pytest.mark.parametrize(("status", "kind"), [(500, GemmaEdgeError), (404, ModelError)])
def test_the_text_of_an_error_is_not_read(
    hub: Hub, settings: StoreSettings, status: int, kind: type[GemmaEdgeError]
) -> None:
    upstream = ask(FILE, settings)
    flood = Fault(status, headers={"Content-Type": "application/json"}, flood=FLOOD)
    hub.order("resolve", *[flood] * 9)
    with pytest.raises(kind):
        read_part(upstream, 0, 10, settings)
    assert hub.sent_bytes < 128 << 20


def test_a_compressed_part_is_not_unpacked(hub: Hub, settings: StoreSettings) -> None:
    upstream = ask(FILE, settings)
    bomb = Fault(flood=FLOOD, headers={"Content-Encoding": "gzip"})
    hub.order("storage", *[bomb] * 9)
    with pytest.raises(GemmaEdgeError, match="compressed"):
        read_part(upstream, 0, 10, settings)
    assert hub.sent_bytes < 128 << 20


def test_a_file_that_does_not_end_is_cut(hub: Hub, settings: StoreSettings) -> None:
    hub.order("storage", Fault(flood=FLOOD))
    assert_whole(ensure([FILE], settings))
    assert hub.sent_bytes < 32 << 20


def test_redirects_end(hub: Hub, settings: StoreSettings) -> None:
    upstream = ask(FILE, settings)
    again = f"{hub.endpoint}/{REPO}/resolve/{upstream.commit}/{NAME}"
    hub.always["resolve"] = Fault(headers={"Location": again})
    with pytest.raises(GemmaEdgeError, match="redirects without end"):
        read_part(upstream, 0, 10, settings)


@pytest.mark.parametrize("size", ["9" * 30, "-5", "1e3", "²", "9" * 5000])
def test_a_size_that_none_can_be_is_no_answer(hub: Hub, settings: StoreSettings, size: str) -> None:
    hub.always["resolve"] = Fault(headers={"X-Linked-Size": size.encode("utf-8").decode("latin-1")})
    with pytest.raises(ModelError, match="is not a hub"):
        ask(FILE, settings)


def test_what_the_hub_warns_of_is_not_written_to_the_terminal(
    hub: Hub, settings: StoreSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    warning = {"X-HF-Warning": "topic; \x1b]0;mine\x07 run this"}
    hub.always["resolve"] = Fault(headers=warning)
    ask(FILE, settings)
    assert "run this" not in "".join(capfd.readouterr())


def test_offline_asks_nobody(hub: Hub, make_settings: Callable[..., StoreSettings]) -> None:
    upstream = ask(FILE, make_settings())
    asked, offline = len(hub.requests), make_settings(offline=True)
    for attempt in (lambda: ask(FILE, offline), lambda: read_part(upstream, 0, 9, offline)):
        with pytest.raises(ModelError, match="--offline"):
            attempt()
    assert len(hub.requests) == asked
