"""What the catalogue promises of a file: one revision, one size, one hash; and what if not."""

import hashlib
from collections.abc import Callable

import pytest

from gemma_edge.errors import ModelError
from gemma_edge.store.fetch import ask_hub, ensure
from gemma_edge.store.lock import read_lock
from gemma_edge.store.remote import RemoteFile, StoreSettings
from tests.store.conftest import FILE, NAME, REPO, content
from tests.store.hub import Hub
from tests.store.test_faults import DATA, assert_whole, files_of

Make = Callable[..., StoreSettings]
SHA256 = hashlib.sha256(DATA).hexdigest()
NEW = content(1_000_000, seed=9)
GONE = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def pinned(hub: Hub) -> RemoteFile:
    """As the catalogue knows the file that the hub has."""
    return RemoteFile(REPO, NAME, hub.repos[REPO][0].commit, len(DATA), SHA256)


def refused(file: RemoteFile, settings: StoreSettings) -> str:
    """The one line that a change is told in, by the question and by the download."""
    with pytest.raises(ModelError) as asked:
        ask_hub([file], settings)
    with pytest.raises(ModelError) as caught:
        ensure([file], settings)
    assert (asked.value.message, asked.value.hint) == (caught.value.message, caught.value.hint)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(f"{file.name} has changed on the hub")
    assert caught.value.hint.endswith(f"gemma-edge pull {file.name} --accept-change")
    assert files_of(settings) == []
    return caught.value.message


def test_a_pin_holds_when_the_hub_moves_on(
    hub: Hub, settings: StoreSettings, pinned: RemoteFile
) -> None:
    hub.upload(REPO, NAME, NEW)
    assert ask_hub([pinned], settings)[pinned].size_bytes == len(DATA)
    assert hub.sent_bytes == 0
    assert_whole(ensure([pinned], settings))


def test_a_changed_hash_at_the_same_revision(
    hub: Hub, settings: StoreSettings, pinned: RemoteFile
) -> None:
    hub.repos[REPO][0].files[NAME] = NEW
    said = refused(pinned, settings)
    assert f"expected sha256 {SHA256} (1.9 MiB)" in said
    assert f"upstream sha256 {hashlib.sha256(NEW).hexdigest()} (976.6 KiB" in said
    assert hub.sent_bytes == 0


def test_a_changed_size_where_the_hub_tells_no_hash(
    hub: Hub, settings: StoreSettings, pinned: RemoteFile
) -> None:
    hub.lfs = False
    hub.repos[REPO][0].files[NAME] = NEW
    said = refused(pinned, settings)
    assert "(1.9 MiB), upstream sha256 not said (976.6 KiB" in said
    assert hub.sent_bytes == 0


def test_the_same_size_where_the_hub_tells_no_hash_is_fetched_and_proven(
    hub: Hub, settings: StoreSettings, pinned: RemoteFile
) -> None:
    hub.lfs = False
    assert_whole(ensure([pinned], settings))
    other = RemoteFile(REPO, "other.gguf", None, len(DATA), SHA256)
    hub.upload(REPO, "other.gguf", content(len(DATA), seed=4))
    with pytest.raises(ModelError, match="came in damaged"):
        ensure([other], settings)


def test_a_revision_that_is_gone_with_the_same_bytes_in_the_newest(
    hub: Hub, settings: StoreSettings
) -> None:
    gone = RemoteFile(REPO, NAME, GONE, len(DATA), SHA256)
    (path,) = ensure([gone], settings)
    assert_whole([path])
    assert read_lock(settings.user_lock)[REPO, NAME].revision == hub.repos[REPO][0].commit


def test_a_revision_that_is_gone_with_other_bytes_and_how_to_go_on(
    hub: Hub, settings: StoreSettings
) -> None:
    gone = RemoteFile(REPO, NAME, GONE, len(DATA), SHA256)
    hub.upload(REPO, NAME, NEW)
    del hub.repos[REPO][0]
    refused(gone, settings)
    assert_whole(ensure([gone], settings, accept=True), NEW)
    hub.upload(REPO, NAME, content(3_000, seed=5))
    asked = len(hub.requests)
    assert_whole(ensure([gone], settings), NEW)
    assert len(hub.requests) == asked
    for path in files_of(settings):
        path.unlink()
    assert_whole(ensure([gone], settings), NEW)  # what was accepted, at its own commit


def test_accepting_takes_the_newest_not_the_pin(
    hub: Hub, settings: StoreSettings, pinned: RemoteFile
) -> None:
    hub.upload(REPO, NAME, NEW)
    assert_whole(ensure([pinned], settings, accept=True), NEW)


def test_a_file_that_is_gone(hub: Hub, settings: StoreSettings, pinned: RemoteFile) -> None:
    for version in hub.repos[REPO]:
        del version.files[NAME]
    with pytest.raises(ModelError) as caught:
        ensure([pinned], settings)
    assert caught.value.message.startswith(f"there is no file {FILE.name}")
    assert f"huggingface.co/{REPO}/tree/" in caught.value.hint


def test_a_revision_that_a_person_named_is_not_replaced(hub: Hub, settings: StoreSettings) -> None:
    with pytest.raises(ModelError, match=f"has no revision {GONE}"):
        ensure([RemoteFile(REPO, NAME, GONE)], settings)
    assert hub.count("HEAD", "/main/") == 0


def test_a_persons_own_file_is_the_newest_and_nothing_is_held_against_it(
    hub: Hub, make_settings: Make
) -> None:
    own = RemoteFile("me/mine", "mine.gguf", size_bytes=7)
    for seed in (6, 7):
        data = content(5_000, seed)
        hub.upload("me/mine", "mine.gguf", data)
        fresh = make_settings(data_dir=make_settings().data_dir / str(seed), cache_dir=None)
        fresh = make_settings(data_dir=fresh.data_dir, cache_dir=fresh.data_dir / "cache")
        assert_whole(ensure([own], fresh), data)
