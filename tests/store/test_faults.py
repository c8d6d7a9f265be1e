"""A bad network: the file is right or absent, and what was there is not fetched again."""

import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gemma_edge.errors import GemmaEdgeError, ModelError
from gemma_edge.store.fetch import ensure
from gemma_edge.store.hub import TryAgain, explain_status
from gemma_edge.store.remote import Progress, RemoteFile, StoreSettings
from tests.store.conftest import FILE, NAME, REPO, content
from tests.store.hub import Fault, Hub

Make = Callable[..., StoreSettings]
DATA = content(2_000_123)


def files_of(settings: StoreSettings) -> list[Path]:
    """Every file in the cache but locks and refs."""
    assert settings.cache_dir is not None
    return [p for p in settings.cache_dir.glob("models--*/*/**/*") if p.is_file()
            and p.parent.name != "refs"]  # fmt: skip


def assert_whole(paths: list[Path], data: bytes = DATA) -> None:
    """One file, and its bytes."""
    assert [path.read_bytes() == data for path in paths] == [True]


def cut_lengths(seed: int) -> list[int]:
    """How many bytes each of 14 connections gives when 13 cuts lie at random offsets."""
    cuts = sorted(random.Random(seed).sample(range(1, len(DATA)), 13))
    return [end - start for start, end in zip([0, *cuts], [*cuts, len(DATA)], strict=True)]


def test_thirteen_cuts_in_one_run_lose_no_byte(hub: Hub, settings: StoreSettings) -> None:
    hub.order("storage", *(Fault(cut_after=length) for length in cut_lengths(1)[:-1]))
    assert_whole(ensure([FILE], settings))
    assert hub.sent_bytes == len(DATA)
    assert hub.count("GET", "/storage/") == 14


def test_thirteen_cuts_in_thirteen_runs_lose_no_byte(hub: Hub, make_settings: Make) -> None:
    settings = make_settings(attempts=1)
    hub.order("storage", *(Fault(cut_after=length) for length in cut_lengths(2)[:-1]))
    for _ in range(13):
        with pytest.raises(GemmaEdgeError, match="are kept"):
            ensure([FILE], settings)
        assert all(path.name.endswith(".incomplete") for path in files_of(settings))
    assert_whole(ensure([FILE], settings))
    assert hub.sent_bytes == len(DATA)


def test_a_connection_that_stalls_is_given_up_and_continued(hub: Hub, make_settings: Make) -> None:
    hub.order("storage", Fault(stall_after=500_000))
    events: list[Progress] = []
    began = time.monotonic()
    assert_whole(ensure([FILE], make_settings(stall_seconds=1), on_progress=events.append))
    assert 1 <= time.monotonic() - began < 9
    assert hub.sent_bytes == len(DATA)
    assert any("no byte came" in event.note for event in events)


def test_retry_after_is_obeyed(hub: Hub, settings: StoreSettings) -> None:
    hub.order("resolve", Fault(429, headers={"Retry-After": "1"}))
    hub.order("storage", Fault(429, headers={"RateLimit": '"resolvers";r=0;t=1'}))
    began = time.monotonic()
    assert_whole(ensure([FILE], settings))
    assert 2 <= time.monotonic() - began < 10


def test_a_wait_nobody_sits_through_is_an_error_that_says_how_long(
    hub: Hub, settings: StoreSettings
) -> None:
    hub.order("resolve", Fault(429, headers={"Retry-After": "3600"}))
    with pytest.raises(GemmaEdgeError, match="60 minutes") as caught:
        ensure([FILE], settings)
    assert caught.value.exit_status == 1
    assert "HF_TOKEN" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0), ("55", 55.0), ("007", 7.0), ("²", None), ("٣", None), ("1e999", None),
        ("-1", None), ("+1", None), ("1.5", None), ("1_000", None), ("", None), ("nan", None),
        ("inf", None), ("9" * 400, 1e9), ("9" * 5000, 1e9), ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0), ("Thu, 01 Jan 2036 00:00:00 GMT", 1e9),
        ("Thu, 99 Xyz 99999 99:99:99 GMT", None),
        ("soon", None), ("Fri, 31 Dec 9999 23:59:59 -9999", None), ("\x1b[2J", None),
    ],
)  # fmt: skip
def test_only_a_number_or_a_date_says_how_long_to_wait(text: str, seconds: float | None) -> None:
    answer = SimpleNamespace(status_code=429, headers={"retry-after": text})
    failure = explain_status(answer, FILE, has_token=False, now=1000.0)
    assert isinstance(failure, TryAgain)
    assert failure.wait_seconds == seconds
    if text.isascii() and text.isdigit():
        answer.headers = {"ratelimit": f'"api";r=0;t={text}'}
        limited = explain_status(answer, FILE, has_token=False, now=1000.0)
        assert isinstance(limited, TryAgain)
        assert limited.wait_seconds == (seconds if len(text) < 1000 else None)


@pytest.mark.parametrize("wait", ["9" * 400, "Thu, 01 Jan 2099 00:00:00 GMT"])
def test_a_wait_of_years_is_said_in_words(hub: Hub, settings: StoreSettings, wait: str) -> None:
    hub.order("resolve", Fault(429, headers={"Retry-After": wait}))
    with pytest.raises(GemmaEdgeError, match="more than a day"):
        ensure([FILE], settings)


def test_a_burst_of_server_errors_is_sat_out(hub: Hub, settings: StoreSettings) -> None:
    hub.order("resolve", Fault(500), Fault(502), Fault(503))
    hub.order("storage", Fault(cut_after=1_000_000), Fault(504), Fault(500), Fault(503))
    assert_whole(ensure([FILE], settings))
    assert hub.sent_bytes == len(DATA)


def test_an_address_of_the_storage_that_expires_is_asked_for_again(
    hub: Hub, settings: StoreSettings
) -> None:
    hub.order("storage", Fault(cut_after=1_000_000), Fault(403), Fault(404))
    assert_whole(ensure([FILE], settings))
    assert hub.sent_bytes == len(DATA)


def test_a_server_that_stays_down_is_given_up(hub: Hub, settings: StoreSettings) -> None:
    hub.order("storage", Fault(cut_after=1_000_000))
    hub.always["storage"] = Fault(503)
    with pytest.raises(GemmaEdgeError, match=r"status 503.*976.6 KiB of 1.9 MiB are kept"):
        ensure([FILE], settings)
    del hub.always["storage"]
    assert_whole(ensure([FILE], settings))
    assert hub.sent_bytes == len(DATA)


def test_a_wrong_byte_is_never_returned(hub: Hub, settings: StoreSettings) -> None:
    hub.order("storage", Fault(flip_at=1_234_567))
    with pytest.raises(ModelError, match="damaged") as caught:
        ensure([FILE], settings)
    assert caught.value.message.count("sha256") == 2
    assert caught.value.exit_status == 4
    assert files_of(settings) == []
    assert_whole(ensure([FILE], settings))


def test_a_wrong_byte_from_an_earlier_run_is_found_and_fetched_again(
    hub: Hub, make_settings: Make
) -> None:
    hub.order("storage", Fault(flip_at=5_000, cut_after=1_000_000))
    with pytest.raises(GemmaEdgeError):
        ensure([FILE], make_settings(attempts=1))
    events: list[Progress] = []
    assert_whole(ensure([FILE], make_settings(), on_progress=events.append))
    assert any("was damaged" in event.note for event in events)


def test_a_reupload_between_two_ranges_does_not_mix(hub: Hub, settings: StoreSettings) -> None:
    """The commit that was asked first stays the one that is fetched."""
    old = hub.repos[REPO][0].commit

    def reupload() -> None:
        hub.upload(REPO, NAME, content(2_100_000, seed=2))

    hub.order("storage", Fault(cut_after=1_000_000, then=reupload))
    (path,) = ensure([FILE], settings)
    assert len(hub.repos[REPO]) == 2
    assert_whole([path])
    assert path.parent.name == old
    assert hub.sent_bytes == len(DATA)


def test_a_mirror_that_replaces_a_commits_file_between_two_ranges_is_noticed(
    hub: Hub, settings: StoreSettings
) -> None:
    """No mirror should do it; then what is there now is fetched whole, or refused if locked."""
    new = content(1_900_000, seed=3)

    def replace() -> None:
        hub.repos[REPO][0].files[NAME] = new

    hub.order("storage", Fault(cut_after=1_000_000, then=replace))
    assert_whole(ensure([FILE], settings), new)
    assert len(files_of(settings)) == 2  # blob and link, no partial file


def test_the_catalogues_hash_holds_when_a_mirror_replaces_the_file(
    hub: Hub, settings: StoreSettings
) -> None:
    file = RemoteFile(REPO, NAME, sha256=hashlib.sha256(DATA).hexdigest())

    def replace() -> None:
        hub.repos[REPO][0].files[NAME] = content(1_900_000, seed=3)

    hub.order("storage", Fault(cut_after=1_000_000, then=replace))
    with pytest.raises(ModelError, match="the catalogue") as caught:
        ensure([file], settings)
    assert caught.value.message.count("sha256") == 2
    assert "--accept-change" in caught.value.hint
    assert files_of(settings) == []


def test_a_server_without_ranges_starts_over(hub: Hub, settings: StoreSettings) -> None:
    hub.order("storage", Fault(cut_after=500_000), Fault(ignore_range=True))
    assert_whole(ensure([FILE], settings))
    assert hub.sent_bytes >= len(DATA)


def test_a_server_without_ranges_that_always_cuts_is_given_up(
    hub: Hub, settings: StoreSettings
) -> None:
    hub.always["storage"] = Fault(cut_after=1_500_000, ignore_range=True)
    with pytest.raises(GemmaEdgeError, match="cannot continue a file"):
        ensure([FILE], settings)


def test_a_partial_file_that_is_too_long_is_not_believed(hub: Hub, make_settings: Make) -> None:
    settings = make_settings(attempts=1)
    hub.order("storage", Fault(cut_after=500_000))
    with pytest.raises(GemmaEdgeError):
        ensure([FILE], settings)
    (partial,) = files_of(settings)
    partial.write_bytes(b"x" * (len(DATA) + 1))
    assert_whole(ensure([FILE], settings))


def test_several_files_at_once_tell_their_progress(hub: Hub, settings: StoreSettings) -> None:
    hub.upload(REPO, "mmproj-F16.gguf", content(900_000, seed=5))
    hub.always["storage"] = Fault(bytes_per_second=4e6)
    files = [FILE, RemoteFile(REPO, "mmproj-F16.gguf"), FILE]
    events: list[Progress] = []
    first, second, third = ensure(files, settings, on_progress=events.append)
    assert first == third
    assert [first.stat().st_size, second.stat().st_size] == [len(DATA), 900_000]
    for file, size in ((FILE, len(DATA)), (files[1], 900_000)):
        mine = [event for event in events if event.file == file.name]
        assert mine[-1].state == "done"
        assert mine[-1].done_bytes == mine[-1].total_bytes == size
        done = [event.done_bytes for event in mine if event.state == "downloading"]
        assert done == sorted(done)
        measured = [event for event in mine if event.bytes_per_second]
        assert measured
        assert all(event.eta_seconds is not None for event in measured)
