"""What the hub, the network and the disk refuse: one error each, and nothing broken left."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma_edge.errors import DoesNotFit, GemmaEdgeError, ModelError
from gemma_edge.store.fetch import ensure
from gemma_edge.store.remote import RemoteFile, StoreSettings
from tests.store.conftest import FILE, NAME, REPO
from tests.store.hub import Fault, Hub
from tests.store.test_faults import assert_whole, files_of

Make = Callable[..., StoreSettings]


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        (Fault(401), "without an account (status 401)", "HF_TOKEN"),
        (Fault(403), "to this account (status 403)", "accept its terms"),
        (Fault(403, "GatedRepo"), "to this account", f"https://huggingface.co/{REPO}"),
        (Fault(404, "RepoNotFound"), f"there is no repository {REPO}", "check the name"),
        (Fault(404, "EntryNotFound"), f"there is no file hf:{REPO}/{NAME}", f"{REPO}/tree/main"),
        (Fault(404, "RevisionNotFound"), "has no revision main", "newest"),
        (Fault(200, headers={"X-Nothing": "1"}), "is not a hub", "HF_ENDPOINT"),
    ],
)
def test_a_refusal_is_a_model_error_with_a_way_out(
    hub: Hub, settings: StoreSettings, fault: Fault, message: str, hint: str
) -> None:
    hub.order("resolve", fault)
    with pytest.raises(ModelError) as caught:
        ensure([FILE], settings)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert files_of(settings) == []


def test_other_statuses_are_reported_as_they_are(hub: Hub, settings: StoreSettings) -> None:
    hub.order("resolve", Fault(418))
    with pytest.raises(GemmaEdgeError, match="status 418"):
        ensure([FILE], settings)


def test_a_revision_that_does_not_exist_is_named(settings: StoreSettings) -> None:
    with pytest.raises(ModelError, match="has no revision v9"):
        ensure([RemoteFile(REPO, NAME, "v9")], settings)


def test_the_token_goes_to_the_hub_and_not_to_the_storage(hub: Hub, make_settings: Make) -> None:
    hub.required_token = "hf_right"
    with pytest.raises(ModelError, match="refused the token"):
        ensure([FILE], make_settings(token="hf_wrong"))
    assert_whole(ensure([FILE], make_settings(token="hf_right")))
    for _, path, headers in hub.requests:
        assert ("authorization" in headers) == ("/resolve/" in path)


def test_nothing_else_is_asked_or_told(hub: Hub, settings: StoreSettings) -> None:
    """One question and one download; no telemetry, and no machine in the user agent."""
    ensure([FILE], settings)
    assert [method for method, _, _ in hub.requests] == ["HEAD", "GET", "GET"]
    for _, _, headers in hub.requests:
        names = [part.split("/")[0].strip() for part in headers["user-agent"].split(";")]
        assert names == ["gemma-edge", "hf_hub", "python"]


def test_a_dead_proxy_is_an_error_with_a_hint(run_pull: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # never listens
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
        variables = {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
        child = run_pull(variables, attempts=2)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 1, err
    assert "did not come through" in err
    assert "HTTPS_PROXY" in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_a_proxy_nobody_speaks_to_is_an_error(run_pull: Any, proxy: str) -> None:
    child = run_pull({"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "", "no_proxy": ""})
    _, err = child.communicate(timeout=30)
    assert child.returncode == 1, err
    assert "Traceback" not in err
    assert "HTTPS_PROXY" in err


def test_an_address_without_a_server_is_given_up(make_settings: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(GemmaEdgeError, match="did not come through") as caught:
            ensure([FILE], make_settings(endpoint=endpoint, attempts=2))
    assert "HF_ENDPOINT" in caught.value.hint


@pytest.mark.parametrize("endpoint", ["ftp://127.0.0.1", "127.0.0.1:1", "http://[::bad"])
def test_an_address_that_is_none_is_an_error(make_settings: Make, endpoint: str) -> None:
    with pytest.raises(GemmaEdgeError) as caught:
        ensure([FILE], make_settings(endpoint=endpoint, attempts=2))
    assert caught.value.hint


def test_a_folder_that_cannot_be_made_is_an_error(make_settings: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GemmaEdgeError, match="cannot be used") as caught:
        ensure([FILE], make_settings(cache_dir=tmp_path / "file" / "cache"))
    assert "--models-dir" in caught.value.hint


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_without_permission_is_an_error(make_settings: Make, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(GemmaEdgeError, match="cannot be used"):
        ensure([FILE], make_settings(cache_dir=tmp_path / "closed" / "cache"))


def test_a_disk_too_small_is_said_before_the_first_byte(hub: Hub, settings: StoreSettings) -> None:
    hub.order("resolve", Fault(headers={"X-Linked-Size": str(1 << 60)}))
    with pytest.raises(DoesNotFit, match="GiB are still to come, .* are free .* 64.0 MiB are kept"):
        ensure([FILE], settings)
    assert hub.sent_bytes == 0
    assert files_of(settings) == []


def test_an_etag_that_is_a_path_is_refused(hub: Hub, settings: StoreSettings) -> None:
    hub.order("resolve", Fault(headers={"X-Linked-Etag": '"../../../evil"'}))
    with pytest.raises(ModelError, match="is not a hub"):
        ensure([FILE], settings)


def test_an_empty_file_is_a_file(hub: Hub, settings: StoreSettings) -> None:
    hub.upload(REPO, "empty.gguf", b"")
    assert_whole(ensure([RemoteFile(REPO, "empty.gguf")], settings), b"")
