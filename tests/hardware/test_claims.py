"""What processes leave to one another: the arithmetic, the files, and real processes that hold,
die, and start at once."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.hardware import claims
from gemma_edge.hardware.claims import Claim, deciding, leave, outstanding, place_of, read, without
from gemma_edge.hardware.machine import Hardware, Memory
from tests.doctor.machines import GAMING, GIB, LAPTOP, RTX, SLICE

CARD, RAM = RTX.pci_id, "RAM"
BOOT = "import sys; sys.path[:] = sys.argv[1:]; "


def machine(card_gib: float = 8, ram_gib: float = 16, at: float = 0.0) -> Hardware:
    """Free memory, measured at a time."""
    memory = Memory(int(ram_gib * GIB), "free", 32 * GIB)
    device = replace(RTX, free_bytes=int(card_gib * GIB), total_bytes=16 * GIB)
    return replace(LAPTOP, memory=memory, devices=(device,), measured_at=at)


def claim(card_gib: float, at: float, free_gib: float, loaded: float | None = None) -> Claim:
    return Claim(
        pid=1, title="E4B", at=at, loaded=loaded, taken={CARD: int(card_gib * GIB)},
        free={CARD: int(free_gib * GIB)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("others", "free_gib", "at", "left_gib"),
    [
        pytest.param([], 8, 0, 8, id="nobody"),
        pytest.param([claim(5, 1, 8)], 8, 0, 3, id="both looked before either loaded"),
        pytest.param([claim(5, 1, 8)], 6, 2, 3, id="half of it is there"),
        pytest.param([claim(5, 1, 8)], 3, 2, 3, id="all of it is there, and not yet told"),
        pytest.param([claim(5, 1, 8, loaded=2)], 3, 3, 3, id="loaded before we looked"),
        pytest.param([claim(5, 1, 8, loaded=2)], 4, 3, 4, id="loaded, and a browser was closed"),
        pytest.param([claim(5, 1, 8, loaded=3)], 8, 2, 3, id="loaded after we looked"),
        pytest.param([claim(5, 1, 8), claim(2, 2, 8)], 8, 3, 1, id="two, none of them there"),
        pytest.param(
            [claim(5, 1, 8, loaded=3), claim(2, 2, 8)], 3, 4, 1, id="the first is there alone"
        ),
        pytest.param(
            [claim(5, 1, 8), claim(2, 2, 8, loaded=3)], 6, 4, 1, id="the second is there alone"
        ),
        pytest.param([claim(5, 1, 8), claim(2, 2, 8)], 1, 4, 1, id="both there, none told"),
        pytest.param([claim(99, 1, 8)], 8, 0, 0, id="more than there is"),
        pytest.param([claim(5, 1, 8)], 8.5, 2, 3.5, id="somebody else gave memory back"),
    ],
)
def test_what_is_left(others: list[Claim], free_gib: float, at: float, left_gib: float) -> None:
    seen = machine(free_gib, at=at)
    assert leave(seen, others).devices[0].free_bytes == left_gib * GIB
    assert leave(seen, others).memory == seen.memory
    assert without(seen, []) == seen


def test_without_the_others_their_memory_is_free() -> None:
    there = claim(5, 1, 8, loaded=2)
    assert without(machine(3, at=3), [there]).devices[0].free_bytes == 8 * GIB
    assert without(machine(8), [claim(5, 1, 8)]).devices[0].free_bytes == 8 * GIB
    assert without(machine(6, at=2), [claim(5, 1, 8)]).devices[0].free_bytes == 8 * GIB


def test_a_memory_has_one_name_in_all_processes() -> None:
    moved = replace(RTX, name="CUDA1")  # CUDA_VISIBLE_DEVICES of the other process
    assert place_of(moved) == place_of(RTX) == "0000:01:00.0"
    assert place_of(replace(RTX, pci_id="")) == "cuda RTX 4060 Laptop"
    assert place_of(replace(RTX, integrated=True)) == RAM
    assert place_of(SLICE) == ""  # two slices of a card share its place, not their memory
    assert outstanding([claim(5, 1, 8)], replace(GAMING, devices=(SLICE,))) == {}


# The files.

HOLD = BOOT + (
    "from pathlib import Path; from gemma_edge.hardware.claims import *; import os\n"
    "mine = Claim(pid=os.getpid(), title='E4B', at=1.0, taken={{'RAM': {taken}}}, free={{}})\n"
    "with deciding(Path({folder!r})) as desk: held = desk.take(mine)\n"
    "held.use(); print('held', flush=True); sys.stdin.read()"
)
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Real processes that hold a claim in ``tmp_path`` until their stdin ends."""
    running: list[subprocess.Popen[str]] = []

    def begin(taken: int = 7) -> "subprocess.Popen[str]":
        code = HOLD.format(folder=str(tmp_path), taken=taken)
        process = subprocess.Popen(
            [sys.executable, "-c", code, *sys.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        assert process.stdout and process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def test_what_another_process_holds_is_seen_until_it_ends(start: Start, tmp_path: Path) -> None:
    other = start()
    (seen,) = read(tmp_path)
    assert (seen.pid, seen.title, seen.taken) == (other.pid, "E4B", {RAM: 7})
    other.communicate("")
    assert read(tmp_path) == ()
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_process_that_is_killed_holds_nothing(start: Start, tmp_path: Path) -> None:
    other = start()
    other.kill()
    other.wait()
    assert list(tmp_path.glob("*.json"))  # it had no time to remove it
    assert read(tmp_path) == ()
    assert not list(tmp_path.glob("*.json"))


def test_several_at_once_are_all_seen(start: Start, tmp_path: Path) -> None:
    started = [start(taken) for taken in (1, 2, 3)]
    assert {each.pid for each in read(tmp_path)} == {each.pid for each in started}
    assert sum(each.taken[RAM] for each in read(tmp_path)) == 6


def test_our_own_counts_once_it_is_used(tmp_path: Path) -> None:
    mine = Claim(pid=os.getpid(), title="E4B", at=1.0, taken={RAM: 5}, free={})
    with deciding(tmp_path) as desk:
        held = desk.take(mine)
    assert read(tmp_path) == ()  # planned only: the next plan is instead of it
    held.use()
    assert read(tmp_path) == (mine,)
    held.use(replace(mine, loaded=3.0))
    assert read(tmp_path)[0].loaded == 3.0
    held.release()
    held.release()
    assert read(tmp_path) == ()
    held.use()  # the model comes back after another one was refused
    assert len(read(tmp_path)) == 1
    held.release()


def test_a_plan_that_was_never_loaded_gives_way(tmp_path: Path) -> None:
    mine = Claim(pid=os.getpid(), title="E4B", at=1.0, taken={RAM: 5}, free={})
    with deciding(tmp_path) as desk:
        first = desk.take(mine)
    with deciding(tmp_path) as desk:
        second = desk.take(mine)
    assert len(list(tmp_path.glob("*.json"))) == 1
    del first, second  # forgotten without a word
    assert not list(tmp_path.glob("*.json"))


def test_one_decides_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with deciding(tmp_path):
            order.append("second")

    with deciding(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_one_that_never_decides_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "DECIDING_SECONDS", 0.1)
    with deciding(tmp_path), deciding(tmp_path) as desk:
        assert desk.others == ()


def lie(**more: object) -> bytes:
    true = {"format": 1, "pid": 1, "title": "", "at": 1, "taken": {}, "free": {}, "loaded": None}
    return json.dumps(true | more).encode()


LYING = {
    "no JSON": b"\x00\xff",
    "another format": lie(format=2),
    "a list": b"[]",
    "deep": b"[" * 4000,
    "negative": lie(taken={RAM: -5}),
    "huge": lie(taken={RAM: 1e300}),
    "no number": lie(at=float("nan")),
    "true": lie(pid=True),
    "no text": lie(taken=[1]),
    "escapes": lie(title="\x1b[2J"),
    "long": lie(title="x" * 200),
}


def test_a_file_that_does_not_lie_is_read() -> None:
    assert claims._decode(lie()) == Claim(pid=1, title="", at=1.0, taken={}, free={})


@pytest.mark.parametrize("content", LYING.values(), ids=LYING)
def test_a_file_that_lies_is_ignored(start: Start, tmp_path: Path, content: bytes) -> None:
    """Under a lock that holds, or it would be taken for one that was left behind."""
    start()
    (path,) = tmp_path.glob("*.json")
    with path.open("r+b") as file:
        file.write(content.ljust(4096))
    assert read(tmp_path) == ()
    assert leave(machine(), read(tmp_path)) == machine()


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
def test_what_is_no_file_of_ours_is_left_alone(tmp_path: Path) -> None:
    """A link would make us remove, or write, what it points to; a pipe would hold us for ever."""
    folder, name = tmp_path / "running", f"{claims._host()}-{'0' * 15}"
    folder.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (folder / f"{name}1.json").symlink_to(precious)
    os.mkfifo(folder / f"{name}2.json")
    (folder / f"{name}3.json").mkdir()
    (folder / "elsewhere-0000000000000000.json").write_text("of another machine")
    (folder / f"{claims._host()}.lock").symlink_to(precious)
    assert read(folder) == ()
    with deciding(folder) as desk:
        held = desk.take(Claim(pid=os.getpid(), title="", at=1.0, taken={}, free={}))
    held.release()
    assert precious.read_text() == "mine"
    assert len(list(folder.iterdir())) == 5


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "running"
    file.touch()
    with deciding(file) as desk:
        held = desk.take(Claim(pid=os.getpid(), title="", at=1.0, taken={}, free={}))
    held.use(held.claim)
    held.release()
    assert read(file) == ()


def test_a_file_system_without_locks_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_number: int) -> bool:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(claims, "try_lock", refuse)
    with deciding(tmp_path) as desk:
        held = desk.take(Claim(pid=os.getpid(), title="", at=1.0, taken={}, free={}))
    held.use()
    assert read(tmp_path) == ()
    assert not list(tmp_path.glob("*.json")) and not list(tmp_path.glob("*.new"))


def test_a_title_of_a_file_moves_no_cursor(start: Start, tmp_path: Path) -> None:
    bad = Claim(pid=1, title="E4B\x1b[2J" + "x" * 500, at=1.0, taken={}, free={})
    found = claims._decode(claims._encode(bad))
    assert found is not None and found.title.startswith("E4B[2Jxx") and len(found.title) == 100
    assert json.loads(claims._encode(bad))["pid"] == 1
