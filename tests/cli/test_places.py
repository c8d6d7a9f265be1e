"""Folders and switches, by platform and environment; how times are said."""

import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from gemma_edge.app.runtime import cache_dir, store_settings
from gemma_edge.cli.context import Context, data_dir
from gemma_edge.cli.streaming import render_seconds
from gemma_edge.units import render_age
from tests.cli.conftest import DAY


def context(**more) -> Context:
    base = {"stdin": StringIO(), "stdout": StringIO(), "stderr": StringIO(), "environment": {}}
    return Context(**(base | {"home": Path("/home/ada"), "platform": "linux"} | more))


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "/home/ada/.local/share/gemma-edge"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/gemma-edge"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/home/ada/.local/share/gemma-edge"),
        ("darwin", {}, "/home/ada/Library/Application Support/gemma-edge"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/gemma-edge"),
        ("win32", {}, "/home/ada/AppData/Local/gemma-edge"),
    ],
)
def test_our_folder(platform: str, environment: dict[str, str], expected: str):
    found = data_dir(context(platform=platform, environment=environment))
    assert found == Path(expected)


@pytest.mark.parametrize(
    "environment",
    [{}, {"HF_HOME": "/a"}, {"HF_HUB_CACHE": "/b"}, {"XDG_CACHE_HOME": "/c"},
     {"HF_HOME": "/a", "HUGGINGFACE_HUB_CACHE": "/d"}, {"HF_HUB_CACHE": "~/e"}],
)  # fmt: skip
def test_the_cache_is_the_librarys(environment: dict[str, str], tmp_path: Path):
    """Its own word, in a process of its own."""
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    variables = {"HOME": str(tmp_path), "PATH": "", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True,
                          text=True, check=True)  # fmt: skip
    ours = cache_dir(environment, tmp_path)
    assert str(ours) == done.stdout.strip()


def test_switches_of_the_environment():
    for text, expected in (("1", True), ("true", True), ("0", False), ("", False), ("off", False)):
        settings = store_settings({"GEMMA_EDGE_OFFLINE": text}, Path("/home/ada"))
        assert settings.offline is expected


def test_how_times_are_said():
    assert [render_age(days * DAY) for days in (-1, 0.5, 1.5, 12)] == [
        "today", "today", "yesterday", "12 days ago"
    ]  # fmt: skip
    assert [render_seconds(seconds) for seconds in (5, 75, 3723)] == ["0:05", "1:15", "1:02:03"]
