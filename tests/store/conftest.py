"""A hub, the settings that lead to it, and a file to fetch."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gemma_edge.store.remote import RemoteFile, StoreSettings
from tests.store.hub import Hub

REPO, NAME = "owner/some-model-GGUF", "some-model-Q4_0.gguf"
FILE = RemoteFile(REPO, NAME)
ROOT = Path(__file__).parents[2]


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that begin as a GGUF file does."""
    return b"GGUF" + random.Random(seed).randbytes(size - 4)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """With one file of 2 MB and some bytes."""
    with Hub() as server:
        server.upload(REPO, NAME, content(2_000_123))
        yield server


@pytest.fixture
def make_settings(hub: Hub, tmp_path: Path) -> Callable[..., StoreSettings]:
    """Settings with little patience; each keyword replaces one."""

    def make(**changes: object) -> StoreSettings:
        base: dict[str, object] = {
            "data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache",
            "endpoint": hub.endpoint, "stall_seconds": 10, "backoff_seconds": 0.01,
        }  # fmt: skip
        return StoreSettings(**(base | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def settings(make_settings: Callable[..., StoreSettings]) -> StoreSettings:
    """The usual ones."""
    return make_settings()


@pytest.fixture
def run_pull(hub: Hub, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts one pull as a process; ``variables`` are added to its environment."""

    def run(variables: dict[str, str] | None = None, **changes: object) -> "subprocess.Popen[str]":
        options: dict[str, object] = {
            "files": [[REPO, NAME]], "data_dir": str(tmp_path / "data"),
            "cache_dir": str(tmp_path / "cache"), "endpoint": hub.endpoint,
            "stall_seconds": 5, "backoff_seconds": 0.01,
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "tests.store.pull", json.dumps(options | changes)],
            cwd=ROOT, env={**os.environ, **(variables or {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return run
