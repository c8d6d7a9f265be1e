"""Xet: the real native client, against a storage on disk; and plain HTTP when it fails."""

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import hf_xet
import pytest
from huggingface_hub import hf_hub_download

from gemma_edge.errors import GemmaEdgeError
from gemma_edge.store.fetch import ensure
from gemma_edge.store.files import list_files, plan_removal, remove, verify
from gemma_edge.store.remote import Progress, RemoteFile, StoreSettings
from tests.store.conftest import FILE, NAME
from tests.store.hub import Fault, Hub
from tests.store.test_faults import DATA, assert_whole

SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def xet_storage(hub: Hub, tmp_path: Path) -> str:
    """The file lies in a Xet storage too; its address."""
    endpoint = f"local://{tmp_path / 'xet-storage'}"
    with hf_xet.XetSession().new_upload_commit(endpoint=endpoint) as commit:
        upload = commit.start_upload_bytes(DATA)
    hub.xet[SHA256] = (upload.result().xet_info.hash, endpoint)
    return endpoint


def test_xet_brings_the_file(
    hub: Hub, make_settings: Callable[..., StoreSettings], xet_storage: str
) -> None:
    assert_whole(ensure([FILE], make_settings(stall_seconds=30)))
    assert hub.count("GET", "/storage/") == 0
    assert hub.count("GET", "/xet/") >= 1


def test_xet_continues_what_plain_http_began(
    hub: Hub, make_settings: Callable[..., StoreSettings], xet_storage: str
) -> None:
    known = hub.xet.copy()
    hub.xet.clear()
    hub.order("storage", Fault(cut_after=1_234_567))
    with pytest.raises(GemmaEdgeError):
        ensure([FILE], make_settings(attempts=1))
    hub.xet.update(known)
    events: list[Progress] = []
    assert_whole(ensure([FILE], make_settings(stall_seconds=30), on_progress=events.append))
    assert events[0].done_bytes == 1_234_567
    assert hub.count("GET", "/storage/") == 1


def test_what_the_library_shares_between_repositories_is_found_and_removed(
    hub: Hub, settings: StoreSettings, xet_storage: str
) -> None:
    """Through Xet the library keeps one copy for all repositories, under Xet's own hash."""
    hub.upload("other/repo", NAME, DATA)
    files = [FILE, RemoteFile("other/repo", NAME)]
    for file in files:
        hf_hub_download(
            file.repo, NAME, cache_dir=settings.cache_dir, endpoint=hub.endpoint, token=False
        )
    asked = len(hub.requests)
    ensure(files, settings)
    assert len(hub.requests) == asked
    assert [verdict.state for verdict in verify(settings)] == ["right", "right"]
    assert settings.cache_dir is not None
    store = [
        path for path in (settings.cache_dir / "blobs").rglob("*") if path.stat().st_size > 1e6
    ]
    assert len(store) == 1
    for freed in (0, len(DATA)):
        plan = plan_removal(list_files(settings)[:1], settings)
        assert plan.freed_bytes == freed
        remove(plan)
    assert not store[0].exists()


def test_xet_that_stalls_is_left_for_plain_http(
    hub: Hub, make_settings: Callable[..., StoreSettings]
) -> None:
    settings = make_settings(stall_seconds=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub.xet[SHA256] = ("ab" * 32, f"http://127.0.0.1:{silent.getsockname()[1]}")
        events: list[Progress] = []
        assert_whole(ensure([FILE], settings, on_progress=events.append))
    assert any("Xet: no byte came for too long; plain HTTP" in event.note for event in events)
    assert hub.sent_bytes == len(DATA)


def test_xet_that_fails_is_left_for_plain_http(
    hub: Hub, settings: StoreSettings, xet_storage: str
) -> None:
    hub.xet[SHA256] = ("ab" * 32, xet_storage)
    events: list[Progress] = []
    assert_whole(ensure([FILE], settings, on_progress=events.append))
    assert any("plain HTTP from here" in event.note for event in events)
