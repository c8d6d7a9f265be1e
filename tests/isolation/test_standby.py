"""Children on standby: real processes that stay, are found, taken, left and ended."""

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gemma_edge import standby
from gemma_edge.isolation import Child, ChildStopped, Malformed, read_frame
from gemma_edge.standby import Unsafe, folder_of, secure, sockets, statuses, stop, use

PROGRAM = "tests.isolation.programs:stays"
KEY = "0123456789abcdef"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the child names a Unix socket")


def until(holds: Callable[[], object]) -> None:
    """Wait for what has to come."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket; whatever stays in it is ended."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        path = Path(made) / "own"
        yield path
        for each in statuses(path):
            stop(each, busy=True)


def start(folder: Path, seconds: float = 3600, scarce: Path | None = None) -> Child:
    child = Child(PROGRAM)
    told = {"folder": str(folder), "seconds": seconds, "scarce": str(scarce) if scarce else ""}
    assert child.call({"stay": told}).header == {"problem": ""}
    return child


def take(folder: Path, **more: Any) -> standby.Standby | None:
    return use(folder, KEY, lambda status: status.about["kind"] == "a test", **more)


def pids(folder: Path) -> list[int]:
    return [each.pid for each in statuses(folder)]


def test_who_comes_next_finds_what_was_there(folder: Path) -> None:
    child = start(folder)
    child.call({"remember": "a word"})
    assert [each.busy for each in statuses(folder)] == [True]  # with the one that started it
    assert take(folder) is None
    child.leave()
    until(lambda: not next(statuses(folder)).busy)
    for _ in range(2):
        found = take(folder)
        assert found is not None
        assert found.pid == child.pid
        assert found.call({"recall": True}, b"x" * 5_000_000).header == {"word": "a word"}
        assert take(folder) is None  # one at a time
        found.close()
        until(lambda: not next(statuses(folder)).busy)
    assert use(folder, KEY, lambda _status: False) is None  # what does not fit is not taken
    assert use(folder, "f" * 16, lambda _status: True) is None
    assert not next(statuses(folder)).busy


def test_only_its_owner_may_open_it(folder: Path) -> None:
    start(folder).leave()
    (path,) = sockets(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_ISSOCK(path.stat().st_mode)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_is_alone_with_nothing_of_its_starter(folder: Path) -> None:
    os.environ["A_SECRET_TOKEN"] = "of nobody's business"
    try:
        child = start(folder)
    finally:
        del os.environ["A_SECRET_TOKEN"]
    proc, pid = Path(f"/proc/{child.pid}"), child.pid
    child.leave()
    until(lambda: not next(statuses(folder)).busy)
    assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
    opened = [os.readlink(proc / "fd" / str(number)) for number in range(3)]
    assert opened == [os.devnull] * 3
    assert not [each for each in (proc / "fd").iterdir() if "pipe" in os.readlink(each)]
    assert b"A_SECRET_TOKEN" not in (proc / "environ").read_bytes()
    assert re.search(r"core file size +0 ", (proc / "limits").read_text())


def test_it_ends_when_its_time_is_over(folder: Path) -> None:
    child = start(folder, seconds=0.2)
    assert child.call({"recall": True}).header == {"word": ""}  # not while somebody is there
    child.leave()
    until(lambda: not lives(child.pid))
    assert sockets(folder) == []


def test_how_long_it_waits_is_said_by_who_used_it_last(folder: Path) -> None:
    child = start(folder, seconds=-1)
    child.leave()
    until(lambda: not next(statuses(folder)).busy)
    assert next(statuses(folder)).ends_seconds is None  # for ever
    found = take(folder, seconds=3600)
    assert found is not None
    found.close()
    until(lambda: next(statuses(folder)).ends_seconds)
    assert (next(statuses(folder)).ends_seconds or 0) > 3000
    found = take(folder, seconds=0)
    assert found is not None
    found.close()
    until(lambda: not lives(child.pid))


def test_after_a_private_use_it_is_gone(folder: Path) -> None:
    child = start(folder)
    child.leave()
    until(lambda: not next(statuses(folder)).busy)
    found = take(folder, private=True)
    assert found is not None
    assert lives(child.pid)
    found.close()
    until(lambda: not lives(child.pid))


def test_it_ends_where_memory_is_scarce(folder: Path, tmp_path: Path) -> None:
    scarce = tmp_path / "scarce"
    child = start(folder, scarce=scarce)
    scarce.touch()
    assert child.call({"recall": True}).header == {"word": ""}  # it is needed
    child.leave()
    until(lambda: not lives(child.pid))


def test_it_ends_when_nobody_can_find_it(folder: Path) -> None:
    """The folder of a session is removed at its end."""
    child = start(folder)
    child.leave()
    until(lambda: not next(statuses(folder)).busy)
    sockets(folder)[0].unlink()
    until(lambda: not lives(child.pid))


def test_what_is_asked_by_one_that_is_killed_is_given_up(folder: Path) -> None:
    start(folder).leave()
    until(lambda: not next(statuses(folder)).busy)
    code = (
        "import sys, time; sys.path[:] = sys.argv[2:]; from pathlib import Path;"
        "from gemma_edge.standby import use;"
        f"it = use(Path(sys.argv[1]), {KEY!r}, bool); it.send({{'endless': True}});"
        "it.receive(); print('there', flush=True); time.sleep(3600)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *sys.path], stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"there\n"
    assert next(statuses(folder)).busy
    other.kill()
    other.wait()
    other.stdout.close()
    until(lambda: not next(statuses(folder)).busy)
    found = take(folder)
    assert found is not None
    assert found.call({"recall": True}).header == {"word": "interrupted"}
    found.close()


def test_the_one_that_started_it_may_be_killed_too(folder: Path) -> None:
    code = (
        "import sys, time; sys.path[:] = sys.argv[2:]; from pathlib import Path;"
        "from tests.isolation.test_standby import start;"
        "start(Path(sys.argv[1])); print('there', flush=True); time.sleep(3600)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *sys.path], stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"there\n"
    other.kill()
    other.wait()
    other.stdout.close()
    until(lambda: not next(statuses(folder)).busy)


def test_an_interrupt_ends_the_answer_and_not_the_process(folder: Path) -> None:
    start(folder).leave()
    until(lambda: not next(statuses(folder)).busy)
    found = take(folder)
    assert found is not None
    found.send({"endless": True})
    assert found.receive() is not None
    found.interrupt()
    while found.receive() is not None:
        pass
    assert found.call({"recall": True}).header == {"word": "interrupted"}
    found.close()


def test_one_that_is_killed_is_noticed_and_forgotten(folder: Path) -> None:
    child = start(folder)
    child.leave()
    until(lambda: not next(statuses(folder)).busy)
    found = take(folder)
    assert found is not None
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ChildStopped):
        found.call({"recall": True})
    assert len(sockets(folder)) == 1  # it could not remove it
    assert take(folder) is None
    assert sockets(folder) == []


def test_a_signal_that_ends_a_session_ends_it(folder: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        child = start(folder)
        child.leave()
        os.kill(child.pid, number)
        until(lambda pid=child.pid: not lives(pid))
    assert pids(folder) == []


def test_it_ends_when_it_is_told_to(folder: Path) -> None:
    child = start(folder)
    status = next(statuses(folder))
    assert not stop(status)  # somebody uses it
    assert lives(child.pid)
    assert stop(status, busy=True)
    until(lambda: not lives(child.pid))
    child.close()
    assert stop(status)  # it is gone already
    other = start(folder)
    other.leave()
    until(lambda: not next(statuses(folder)).busy)
    found = take(folder)
    assert found is not None
    found.end()
    until(lambda: not lives(other.pid))


def test_after_a_bug_nobody_finds_it(folder: Path) -> None:
    child = start(folder)
    with pytest.raises(Exception, match="unforeseen"):
        child.call({"bug": True})
    child.leave()
    until(lambda: not lives(child.pid))


def test_what_others_left_in_its_place_is_no_child(folder: Path) -> None:
    secure(folder, make=True)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(folder / f"{KEY}.1.sock"))
    left.close()
    (folder / f"{KEY}.2.sock").write_text("a file")
    (folder / f"{KEY}.3.sock").symlink_to(folder / "nothing")
    (folder / "README").write_text("not ours")
    silent = socket.socket(socket.AF_UNIX)  # it never answers
    silent.bind(str(folder / f"{KEY}.4.sock"))
    silent.listen()
    assert take(folder) is None
    silent.close()
    assert take(folder) is None
    assert sorted(each.name for each in folder.iterdir()) == ["README"]


def test_who_says_nothing_or_nonsense_is_let_go(folder: Path) -> None:
    child = start(folder)
    (path,) = sockets(folder)
    for said in (
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 100,
        b"\0\0\0\0\0\0\0\xff\xff\xff\xff" * 9,
    ):
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(path))
            other.sendall(said)
            other.shutdown(socket.SHUT_WR)
            other.settimeout(60)
            with contextlib.suppress(ConnectionError):
                while other.recv(1 << 16):
                    pass
    assert pids(folder) == [child.pid]
    stop(next(statuses(folder)), busy=True)
    child.close()


def test_a_folder_that_others_may_open_is_not_used(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(Unsafe, match="others may open"):
        secure(folder, make=True)
    assert sockets(folder) == []
    child = Child(PROGRAM)
    said = child.call({"stay": {"folder": str(folder), "seconds": 1, "scarce": ""}})
    assert "others may open" in said.header["problem"]
    child.leave()
    until(lambda: not lives(child.pid))  # it does not stay
    folder.rmdir()
    folder.symlink_to("/tmp")
    with pytest.raises(Unsafe, match="no folder"):
        secure(folder, make=True)
    folder.unlink()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="gives a folder away")
def test_a_folder_of_somebody_else_is_not_used(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)
    with pytest.raises(Unsafe, match="somebody else"):
        secure(folder)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="becomes somebody else")
def test_somebody_else_is_not_let_in(folder: Path) -> None:
    """Where the folder would let them in."""
    folder.parent.chmod(0o755)
    folder.mkdir(mode=0o755)
    path = folder / f"{KEY}.1.sock"
    listener = standby._SocketListener(path)
    path.chmod(0o777)
    code = (
        "import os, socket, sys; os.setuid(int(sys.argv[2]));"
        "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    )
    for user, is_let_in in ((12345, False), (0, True)):
        accepted = accept(listener)
        subprocess.run([sys.executable, "-c", code, str(path), str(user)], check=True)
        until(lambda found=accepted: found)
        assert isinstance(accepted[0], PermissionError) is not is_let_in
        if is_let_in:
            accepted[0].close()
    listener._socket.close()


def test_where_the_sockets_are(tmp_path: Path) -> None:
    session, own, temporary = Path("/run/user/1000"), Path("/home/me/own"), Path("/tmp")
    assert folder_of(session, own, temporary) == session / "gemma-edge"
    assert folder_of(None, own, temporary) == own / "standby"
    deep = Path("/home") / ("long" * 20)
    found = folder_of(None, deep, temporary)
    assert found.parent == temporary
    assert found.name.startswith(f"gemma-edge-{os.getuid()}-")
    assert folder_of(None, deep / "other", temporary) != found


@pytest.mark.parametrize(
    ("meminfo", "pressure", "scarce"),
    [
        ("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB", "", False),
        ("MemTotal: 16000000 kB\nMemAvailable: 700000 kB", "", True),
        ("MemTotal: 1000000 kB\nMemAvailable: 200000 kB", "", True),
        ("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB", "some avg10=35.10 avg60=9", True),
        ("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB", "some avg10=0.00 avg60=9", False),
        ("nonsense", "nonsense", False),
        (None, None, False),
    ],
)
def test_when_memory_is_scarce(
    tmp_path: Path, meminfo: str | None, pressure: str | None, scarce: bool
) -> None:
    (tmp_path / "pressure").mkdir()
    for name, said in (("meminfo", meminfo), ("pressure/memory", pressure)):
        if said is not None:
            (tmp_path / name).write_text(said)
    assert standby._is_scarce_on_linux(tmp_path) is scarce


# Windows has named pipes. The same code on Unix sockets, as far as it goes there.


@pytest.fixture
def pipe(folder: Path) -> Iterator[tuple[Any, Path]]:
    secure(folder, make=True)
    path = folder / f"{KEY}.1.pipe"
    listener = standby._PipeListener(path, str(folder / "address"))
    yield listener, path
    listener._listener.close()


def accept(listener: Any) -> list[Any]:
    found: list[Any] = []

    def wait() -> None:
        try:
            found.append(listener.accept())
        except OSError as error:
            found.append(error)

    threading.Thread(target=wait, daemon=True).start()
    return found


def test_messages_through_a_pipe_that_takes_whole_ones(pipe: tuple[Any, Path]) -> None:
    listener, path = pipe
    accepted = accept(listener)
    client = standby._connect(path)
    until(lambda: accepted)
    (server,) = accepted
    server.wait(0)
    client.wait(0)
    parts = (b"a" * 3_000_000, b"", memoryview(b"b"))
    sends = threading.Thread(target=client.writer.send, args=(0, 7, {"x": 1}, parts))
    sends.start()
    frame = read_frame(server.stream, 1 << 30)
    assert (frame.number, frame.header) == (7, {"x": 1})
    assert frame.parts == (b"a" * 3_000_000, b"", b"b")
    sends.join()
    server.writer.interject(1, 7)
    assert read_frame(client.stream, 1 << 30)[:2] == (1, 7)
    client.close()
    with pytest.raises((EOFError, Malformed)):
        read_frame(server.stream, 1 << 30)
    server.close()
    server.writer.send(0, 8, {}, ())  # to nobody, which is no error


def test_who_does_not_know_the_secret_is_not_let_in(pipe: tuple[Any, Path]) -> None:
    listener, path = pipe
    told = json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(json.dumps(told | {"secret": "00" * 32}))
    accepted = accept(listener)
    with pytest.raises(ConnectionRefusedError):
        standby._connect(path)
    until(lambda: accepted)
    assert isinstance(accepted[0], PermissionError)
    path.write_text("nonsense")
    with pytest.raises(ConnectionRefusedError):
        standby._connect(path)
