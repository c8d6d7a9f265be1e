"""Ctrl-C, kill -9, a full disk, two pulls at once; and no socket when offline."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gemma_edge.store.fetch import ensure
from gemma_edge.store.remote import RemoteFile, StoreSettings
from tests.store.conftest import FILE, NAME, REPO, ROOT, content
from tests.store.hub import Fault, Hub
from tests.store.test_faults import assert_whole, files_of

Run = Callable[..., "subprocess.Popen[str]"]
SIZE = 2_000_123
IN_FLIGHT = 512 << 10  # what the server has handed to the system when the client dies

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")


def wait_for_start(child: "subprocess.Popen[str]") -> None:
    """Until the first bytes are on disk, and a little more."""
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line == "started\n", child.communicate()
    time.sleep(0.2)


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_that_is_stopped_goes_on_from_there(
    hub: Hub, settings: StoreSettings, run_pull: Run, number: signal.Signals
) -> None:
    hub.always["storage"] = Fault(bytes_per_second=1e6)
    child = run_pull()
    wait_for_start(child)
    child.send_signal(number)
    _, err = child.communicate(timeout=10)
    if number == signal.SIGINT:
        assert child.returncode == 130
        assert err.startswith("stopped; ")
        assert "goes on from there" in err
    (partial,) = files_of(settings)
    kept = partial.stat().st_size
    assert 0 < kept < SIZE
    hub.always.clear()
    assert_whole(ensure([FILE], settings))
    assert hub.requests[-1][2]["range"] == f"bytes={kept}-"
    assert hub.sent_bytes <= SIZE + IN_FLIGHT


@posix
def test_ctrl_c_while_nothing_comes_is_answered_at_once(hub: Hub, run_pull: Run) -> None:
    hub.always["storage"] = Fault(stall_after=300_000)
    child = run_pull(stall_seconds=60)
    wait_for_start(child)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    assert child.returncode == 130
    assert time.monotonic() - began < 4


@posix
def test_a_full_disk_is_said_and_gone_on_from(
    hub: Hub, settings: StoreSettings, run_pull: Run
) -> None:
    child = run_pull(limit_bytes=1_200_000)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 5, err
    assert "is full" in err
    assert "still to come" in err
    (partial,) = files_of(settings)
    assert partial.stat().st_size == 1_200_000
    assert_whole(ensure([FILE], settings))
    assert hub.requests[-1][2]["range"] == "bytes=1200000-"


def test_two_pulls_at_once_do_the_work_once(
    hub: Hub, settings: StoreSettings, run_pull: Run
) -> None:
    hub.always["storage"] = Fault(bytes_per_second=1.5e6)
    children = [run_pull(), run_pull()]
    results = [child.communicate(timeout=30) for child in children]
    assert [child.returncode for child in children] == [0, 0], results
    paths = {Path(out.splitlines()[-1]) for out, _ in results}
    assert len(paths) == 1
    assert_whole(list(paths))
    assert hub.sent_bytes == SIZE
    assert hub.count("GET", "/storage/") == 1


def test_a_pull_beside_the_librarys_own_shares_its_lock(
    hub: Hub, settings: StoreSettings, run_pull: Run
) -> None:
    """What `hf download` is fetching is waited for, and found."""
    hub.always["storage"] = Fault(bytes_per_second=2e6)
    code = (
        "import sys; from huggingface_hub import hf_hub_download\n"
        "print(hf_hub_download(sys.argv[1], sys.argv[2], cache_dir=sys.argv[3]))"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, REPO, NAME, str(settings.cache_dir)],
        env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while not hub.count("GET", "/storage/") and time.monotonic() < deadline:
        time.sleep(0.02)
    (mine,) = ensure([FILE], settings)
    out, _ = other.communicate(timeout=30)
    assert Path(out.strip()) == mine
    assert_whole([mine])
    assert hub.count("GET", "/storage/") == 1


NO_SOCKETS = """
import sys
def forbid(event, arguments):
    if event == "socket.__new__" and arguments[1] == 1:
        return  # AF_UNIX: an engine that stays for the next command
    if event == "socket.connect" and arguments[0].family == 1:
        return
    if event in ("socket.__new__", "socket.getaddrinfo", "socket.connect"):
        sys.stderr.write(f"SOCKET {event}\\n")
        raise PermissionError(f"a socket was opened: {event}")
sys.addaudithook(forbid)
"""


def test_offline_opens_no_socket(
    hub: Hub, settings: StoreSettings, run_pull: Run, tmp_path: Path
) -> None:
    """Sockets are forbidden in the process and in every Python it starts."""
    ensure([FILE], settings)
    (tmp_path / "ban").mkdir()
    (tmp_path / "ban" / "sitecustomize.py").write_text(NO_SOCKETS)
    ban = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "ban"), str(ROOT)])}
    asked = len(hub.requests)
    there = run_pull(ban, offline=True)
    out, err = there.communicate(timeout=30)
    assert there.returncode == 0, err
    assert_whole([Path(out.strip().splitlines()[-1])])
    missing = run_pull(ban, offline=True, files=[[REPO, "other.gguf"], [REPO, "third.gguf"]])
    _, err = missing.communicate(timeout=30)
    assert missing.returncode == 4
    assert "SOCKET" not in err
    assert f"is set: hf:{REPO}/other.gguf, hf:{REPO}/third.gguf\n" in err
    assert len(hub.requests) == asked
    online = run_pull(ban, files=[[REPO, "other.gguf"]], attempts=1)  # the ban does ban
    assert "SOCKET" in online.communicate(timeout=30)[1]


def test_what_is_there_needs_no_socket_either(
    hub: Hub, settings: StoreSettings, run_pull: Run
) -> None:
    ensure([FILE], settings)
    asked = len(hub.requests)
    ensure([FILE], settings)
    assert len(hub.requests) == asked


def test_the_store_is_loaded_without_the_library() -> None:
    """The hub is imported when a file has to be fetched, not before."""
    code = (
        "import sys, gemma_edge.store\n"
        "print(sorted({'huggingface_hub', 'hf_xet', 'httpx2', 'socket', 'filelock'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_the_librarys_offline_switch_is_obeyed(run_pull: Run) -> None:
    child = run_pull({"HF_HUB_OFFLINE": "1"})
    _, err = child.communicate(timeout=30)
    assert child.returncode == 4
    assert "HF_HUB_OFFLINE" in err


def test_two_files_that_end_together_are_both_locked(
    hub: Hub, settings: StoreSettings, run_pull: Run
) -> None:
    from gemma_edge.store.lock import read_lock

    names = [f"part-{number}.gguf" for number in range(3)]
    for number, name in enumerate(names):
        hub.upload(REPO, name, content(50_000, seed=number))
    children = [run_pull(files=[[REPO, name]]) for name in names]
    for child in children:
        assert child.communicate(timeout=30)[1] == ""
    assert {file for _, file in read_lock(settings.user_lock)} == set(names)
    assert RemoteFile(REPO, names[0]).name.startswith("hf:")
