"""Headers of files that are still on the hub."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge import gguf
from gemma_edge.errors import ModelError
from gemma_edge.store.hub import (
    KEPT_FROM_BYTES,
    ask,
    find_kept_header,
    read_local_header,
    read_remote_header,
)
from gemma_edge.store.remote import RemoteFile, StoreSettings
from tests.store.hub import Fault, Hub

MODEL = RemoteFile("owner/some-model-GGUF", "folder/model.gguf")


@pytest.fixture
def local(hub: Hub, write_gguf: Callable[..., Path]) -> Path:
    """The file on the hub, as it is here: 4 MB of weights behind 0.1 MB of header."""
    path = write_gguf(
        "model.gguf",
        {
            "general.architecture": "gemma4",
            "gemma4.attention.head_count_kv": [8, 2],
            "general.sampling.temp": 0.5,
            "nothing": float("inf"),
            "tokenizer.ggml.add_bos_token": True,
            "tokenizer.ggml.tokens": ["t"] * 10_000,
        },
        [("token_embd.weight", (1024, 1024), 0), ("output_norm.weight", (32,), 0)],
    )
    hub.upload(MODEL.repo, MODEL.filename, path.read_bytes())
    return path


def same(header: gguf.Header, path: Path) -> bool:
    return replace(header, path=path) == gguf.read_header(path)


def test_a_header_is_read_in_parts_and_kept_by_commit(
    hub: Hub, settings: StoreSettings, local: Path
) -> None:
    upstream = ask(MODEL, settings)
    header = read_remote_header(upstream, settings)
    assert same(header, local)
    assert header.path.name == "model.gguf"
    assert hub.sent_bytes < 300_000 < local.stat().st_size
    sent = hub.sent_bytes
    assert read_remote_header(upstream, settings) == header
    assert read_remote_header(upstream, replace(settings, offline=True)) == header
    assert hub.sent_bytes == sent


def test_another_upload_is_read_again(
    hub: Hub, settings: StoreSettings, local: Path, write_gguf: Callable[..., Path]
) -> None:
    read_remote_header(ask(MODEL, settings), settings)
    other = write_gguf("other.gguf", {"general.architecture": "clip"})
    hub.upload(MODEL.repo, MODEL.filename, other.read_bytes())
    assert same(read_remote_header(ask(MODEL, settings), settings), other)


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"format": 0}', '{"format": 1}', "\0"])
def test_what_is_kept_and_damaged_is_read_again(
    hub: Hub, settings: StoreSettings, local: Path, damage: str
) -> None:
    upstream = ask(MODEL, settings)
    read_remote_header(upstream, settings)
    (kept,) = (settings.data_dir / "headers").rglob("*.json")
    kept.write_text(damage, encoding="utf-8")
    assert same(read_remote_header(upstream, settings), local)
    assert kept.read_text(encoding="utf-8") != damage


def test_a_cut_line_goes_on(hub: Hub, settings: StoreSettings, local: Path) -> None:
    hub.order("storage", Fault(cut_after=30_000), Fault(503))
    assert same(read_remote_header(ask(MODEL, settings), settings), local)


def test_what_is_no_gguf_is_refused_and_not_kept(hub: Hub, settings: StoreSettings) -> None:
    hub.upload(MODEL.repo, MODEL.filename, b"<html>" * 1000)
    with pytest.raises(ModelError, match="is not a GGUF file"):
        read_remote_header(ask(MODEL, settings), settings)
    assert not (settings.data_dir / "headers").exists()


def test_offline_reads_only_what_was_kept(hub: Hub, settings: StoreSettings, local: Path) -> None:
    upstream = ask(MODEL, settings)
    asked = len(hub.requests)
    with pytest.raises(ModelError, match="--offline"):
        read_remote_header(upstream, replace(settings, offline=True))
    assert len(hub.requests) == asked


def test_a_disk_that_takes_nothing_is_no_error(
    hub: Hub, make_settings: Callable[..., StoreSettings], local: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    settings = make_settings(data_dir=blocked)
    assert same(read_remote_header(ask(MODEL, settings), settings), local)


def test_what_was_read_is_found_without_asking(
    hub: Hub, settings: StoreSettings, local: Path, write_gguf: Callable[..., Path]
) -> None:
    assert find_kept_header(MODEL, settings) is None
    first = ask(MODEL, settings)
    header = read_remote_header(first, settings)
    asked = len(hub.requests)
    assert find_kept_header(MODEL, settings) == header
    assert find_kept_header(replace(MODEL, revision=first.commit), settings) == header
    assert find_kept_header(replace(MODEL, revision="f" * 40), settings) is None
    assert find_kept_header(replace(MODEL, filename="other.gguf"), settings) is None
    assert len(hub.requests) == asked


def test_a_large_file_on_disk_is_parsed_once_and_again_when_it_changed(
    settings: StoreSettings, write_gguf: Callable[..., Path]
) -> None:
    path = write_gguf("large.gguf", {"general.architecture": "gemma4"})
    assert read_local_header(path, settings).architecture == "gemma4"
    assert not (settings.data_dir / "headers").exists()  # small ones are not worth it
    with path.open("r+b") as file:
        file.truncate(KEPT_FROM_BYTES + 1)  # a hole
    header = read_local_header(path, settings)
    (kept,) = (settings.data_dir / "headers").rglob("*.json")
    kept.write_text(kept.read_text(encoding="utf-8").replace("gemma4", "gemma5"), encoding="utf-8")
    assert read_local_header(path, settings).architecture == "gemma5"  # it came from there
    assert header.architecture == "gemma4"
    with path.open("r+b") as file:
        file.truncate(KEPT_FROM_BYTES + 2)
    assert read_local_header(path, settings).architecture == "gemma4"
