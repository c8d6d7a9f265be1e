"""scripts/refresh_catalog.py against a server that answers as the hub does."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import refresh_catalog

from gemma_edge import catalog
from tests.store.hub import Hub

ROOT = Path(__file__).parent.parent
REPO = "owner/gemma-4-E9B-it-GGUF"
PART_ONE = """\
# Gemma 4 E9B, by hand: "quotes", a \\u00fc, and a comment that stays.
name = "e9b"
title = "Gemma 4 E9B"
good_for = "tests"
licence = "Apache-2.0"
kind = "dense"
parameters = 9
active_parameters = 9
layers = 1
width = 64
context_tokens = 8_192
modalities = ["text"]
image_tokens = 280
called = {}
claims = {}

[dimensions]
heads = 1
kv_heads_window = 1
kv_heads_global = 1
feed_forward = 64
window_tokens = 512
global_every = 1
projector_bytes = 1

[[quants]]
name = "q8_0"
title = "Q8"
source = "owner"
qat = false
bits = 8
repo = "owner/gemma-4-E9B-it-GGUF"
model = "model.gguf"
projector = "mmproj.gguf"
drafter = "MTP/drafter.gguf"
"""


@dataclass
class Refresh:
    """One catalogue of one size, and the script run on it."""

    hub: Hub
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "e9b.toml"

    def run(self, *arguments: str, offline: str = "0") -> "subprocess.CompletedProcess[str]":
        script = str(ROOT / "scripts" / "refresh_catalog.py")
        variables = os.environ | {
            "HF_ENDPOINT": self.hub.endpoint, "HF_HUB_OFFLINE": offline, "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "utf-8", "HF_HOME": str(self.folder / "home"),
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, script, "--folder", str(self.folder), *arguments],
            env=variables, capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip


@pytest.fixture
def refresh(tmp_path: Path, write_gguf: Callable[..., Path]) -> Iterator[Refresh]:
    files = {
        "model.gguf": {"general.architecture": "gemma4", "gemma4.embedding_length": 64},
        "mmproj.gguf": {"general.architecture": "clip", "clip.vision.projection_dim": 64},
        "MTP/drafter.gguf": {
            "general.architecture": "gemma4-assistant",
            "gemma4-assistant.embedding_length": 32,
            "gemma4-assistant.embedding_length_out": 64,
        },
    }
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "e9b.toml").write_text(PART_ONE, encoding="utf-8")
    (folder / "demo.toml").write_text('name = "demo"\n', encoding="utf-8")
    with Hub() as hub:
        for name, metadata in files.items():
            hub.upload(REPO, name, write_gguf("made.gguf", metadata).read_bytes())
        yield Refresh(hub, folder)


def test_the_difference_is_shown_and_nothing_written(refresh: Refresh) -> None:
    done = refresh.run()
    assert done.returncode == 0, done.stderr
    commit = refresh.hub.repos[REPO][-1].commit
    assert f"  {REPO}/MTP/drafter.gguf" in done.stdout
    assert f"    revision     ? -> {commit}" in done.stdout
    assert "    architecture ? -> gemma4-assistant" in done.stdout
    assert done.stdout.count("    width        ? -> 64") == 3
    assert refresh.path.read_text(encoding="utf-8") == PART_ONE


def test_what_is_written_is_what_the_hub_has_and_part_one_stays(refresh: Refresh) -> None:
    assert refresh.run("--write", "e9b").returncode == 0
    text = refresh.path.read_text(encoding="utf-8")
    assert text.startswith(PART_ONE)
    assert text[len(PART_ONE) :].startswith(f"\n{refresh_catalog.MARKER}\n")
    size = catalog.read_size(refresh.path)
    assert size is not None
    newest = refresh.hub.repos[REPO][-1]
    for file in size.files:
        data = newest.files[file.filename]
        assert (file.revision, file.size_bytes) == (newest.commit, len(data))
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        assert file.width == size.width
        assert file.pinned
    kinds = [file.architecture for file in size.files]
    assert kinds == ["gemma4", "clip", "gemma4-assistant"]
    again = refresh.run("--write")
    assert again.stdout == "e9b.toml: nothing changed\n"
    assert refresh.path.read_text(encoding="utf-8") == text


def test_a_new_upload_moves_the_revision_of_its_repository(
    refresh: Refresh, write_gguf: Callable[..., Path]
) -> None:
    refresh.run("--write")
    before = catalog.read_size(refresh.path)
    fresh = write_gguf(
        "fresh.gguf", {"general.architecture": "gemma4", "gemma4.embedding_length": 65}
    )
    commit = refresh.hub.upload(REPO, "model.gguf", fresh.read_bytes())
    done = refresh.run("--write")
    assert "    width        64 -> 65" in done.stdout
    assert done.stdout.count("    revision ") == 3
    assert done.stdout.count("    sha256 ") == 1
    after = catalog.read_size(refresh.path)
    assert before is not None
    assert after is not None
    assert {file.revision for file in after.files} == {commit}
    assert [replace(file, revision=None) for file in after.files[1:]] == [
        replace(file, revision=None) for file in before.files[1:]
    ]


def test_a_commit_that_changes_no_file_moves_nothing(refresh: Refresh) -> None:
    refresh.run("--write")
    refresh.hub.upload(REPO, "README.md", b"new words")
    assert refresh.run("--write").stdout == "e9b.toml: nothing changed\n"


def test_the_others_are_read_again_too(refresh: Refresh, write_gguf: Callable[..., Path]) -> None:
    """A file that no quant takes stands in part two alone."""
    other = write_gguf("o.gguf", {"general.architecture": "clip", "clip.vision.projection_dim": 64})
    refresh.hub.upload(REPO, "mmproj-F16.gguf", other.read_bytes())
    table = f'[measured."{REPO}/mmproj-F16.gguf"]\nsource = "manifests"\nsize_bytes = 7\n'
    refresh.path.write_text(f"{PART_ONE}\n{refresh_catalog.MARKER}\n\n{table}", encoding="utf-8")
    done = refresh.run("--write")
    assert "    source       manifests -> hub" in done.stdout
    size = catalog.read_size(refresh.path)
    assert size is not None
    (file,) = size.others
    assert (file.size_bytes, file.source) == (other.stat().st_size, "hub")
    assert file.pinned


def test_what_is_not_on_the_hub_is_said_and_kept(refresh: Refresh) -> None:
    text = PART_ONE.replace('"mmproj.gguf"', '"gone.gguf"')
    measured = f'\n{refresh_catalog.MARKER}\n\n[measured."{REPO}/gone.gguf"]\nsize_bytes = 7\n'
    refresh.path.write_text(text + measured, encoding="utf-8")
    done = refresh.run("--write")
    assert done.returncode == 1
    assert f"e9b.toml: {REPO}/gone.gguf: the repository has no such file" in done.stderr
    size = catalog.read_size(refresh.path)
    assert size is not None
    assert [file.size_bytes for file in size.files if file.filename == "gone.gguf"] == [7]
    assert size.files[0].pinned


def test_a_hub_without_the_repository_is_one_line_a_file(refresh: Refresh) -> None:
    refresh.hub.repos.clear()
    done = refresh.run("--write")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"e9b.toml: {REPO}/") for line in lines)
    assert catalog.read_size(refresh.path) is not None


def test_offline_is_one_line_a_file_and_changes_nothing(refresh: Refresh) -> None:
    done = refresh.run("--write", offline="1")
    assert (done.returncode, done.stdout) == (1, "e9b.toml:\n")
    assert [line[:10] for line in done.stderr.splitlines()] == ["e9b.toml: "] * 3
    assert refresh.path.read_text(encoding="utf-8") == PART_ONE


def test_a_file_that_is_no_gguf_is_one_line(refresh: Refresh) -> None:
    refresh.hub.upload(REPO, "model.gguf", b"<html>" * 50_000)
    done = refresh.run()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "model.gguf` is not a GGUF file" in line


def test_a_size_that_does_not_exist_is_a_usage_error(refresh: Refresh) -> None:
    done = refresh.run("e10b")
    assert done.returncode == 2
    assert "there is no " in done.stderr


def test_text_from_a_header_cannot_leave_its_string() -> None:
    assert refresh_catalog.quote('a"\n[x]\\') == '"a\\"?[x]\\\\"'
