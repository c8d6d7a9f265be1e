"""Children that really crash, hang, lie and die; the parent is told why, in words."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gemma_edge import isolation
from gemma_edge.errors import GemmaEdgeError, InputError
from gemma_edge.isolation import (
    END,
    Child,
    ChildBug,
    ChildMessage,
    ChildStopped,
    Frame,
    Limits,
    Spares,
)
from gemma_edge.units import MIB

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to die by")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def start(name: str, *arguments: str, **more) -> Child:
    return Child(f"tests.isolation.programs:{name}", *arguments, **more)


def stopped(child: Child, header: dict, *parts: bytes) -> ChildStopped:
    """How it ends on a request."""
    with child, pytest.raises(ChildStopped) as caught:
        list(child.stream(header, *parts))
    return caught.value


def is_gone(pid: int, seconds: float = 5) -> bool:
    """Whether the process ends in time, with all its threads; one that only waits to be reaped has
    ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            about = Path(f"/proc/{pid}")
            if about.exists() and len(os.listdir(about / "task")) == 1:
                state = (about / "stat").read_text().rpartition(")")[2].split()[0]
                if state == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def echo() -> Iterator[Child]:
    with start("echo", "with", "arguments") as child:
        yield child


# messages


def test_a_message_comes_back_as_it_was(echo):
    said = {"text": "ä \ud800 \0\n", "number": 1.5, "list": [None, True, {"a": []}]}
    numbers = array("f", [1.0, 2.5])
    reply = echo.call(said, b"", bytes(range(256)), memoryview(numbers))
    assert reply.header == {**said, "arguments": ["with", "arguments"]}
    assert reply.parts == (numbers.tobytes(), bytes(range(256)), b"")


def test_large_parts_travel_in_both_directions(echo):
    large = os.urandom(1 << 20) * 40
    assert echo.call({}, large, b"small").parts == (b"small", large)


def test_requests_may_be_ahead_of_their_answers(echo):
    for number in range(300):
        echo.send({"number": number}, bytes(1000))
    for number in range(300):
        assert echo.receive().header["number"] == number
        assert echo.receive() is None


def test_an_answer_of_many_messages():
    with start("count") as child:
        assert [reply.header["number"] for reply in child.stream({"most": 50})] == list(range(50))
        assert list(child.stream({"most": 0})) == []
        assert child.call({"most": 0}) == ChildMessage({})
        with pytest.raises(ChildStopped, match="more than one answer"):
            child.call({"most": 2})


def test_nothing_that_it_prints_is_taken_for_a_message():
    with start("noisy") as child:
        assert child.call({"a": 1}, b"xyz").parts == (b"xyz",)


@linux
def test_what_is_printed_before_it_begins_is_skipped(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('a tool that says hello')", encoding="ascii")
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    with start("surroundings", environment=variables, trusted=True) as child:
        assert str(tmp_path) in child.call({}).header["path"]


def test_a_message_that_is_too_large_ends_it():
    said = stopped(start("echo", limits=Limits(message_bytes=1000)), {}, bytes(1001))
    assert re.fullmatch(r"it sent a message of \d+ B; 1000 B are read", str(said))


@posix
@pytest.mark.parametrize(
    "noise",
    [b"\xff" * 400, b"hello\n" * 99, b"\2\0\0\1\0\0\0\2\0\0\0[]", b"\2\0\0\1\0\0\0\2\0\0\0x{"],
)
def test_what_is_no_message_ends_it(noise):
    assert str(stopped(start("liar"), {}, noise)).startswith("it sent a message ")


# surroundings


def test_it_gets_no_secret_and_nothing_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("json", "struct", "gemma_edge"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)", encoding="ascii")
    variables = {
        **os.environ, "HF_TOKEN": "secret", "GEMMA_EDGE_PDF_PASSWORD": "secret",
        "LLAMA_API_KEY": "secret", "CUDA_VISIBLE_DEVICES": "0", "PYTHONPATH": str(tmp_path),
    }  # fmt: skip
    with start("surroundings", environment=variables) as child:
        found = child.call({}).header
    assert "secret" not in found["variables"].values()
    assert found["variables"]["CUDA_VISIBLE_DEVICES"] == "0"
    assert not {"", ".", str(tmp_path)} & set(found["path"])
    assert found["flags"]


@linux
def test_it_inherits_no_open_file(tmp_path):
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        with start("surroundings") as child:
            files = child.call({}).header["files"]
    assert len(files) <= 6  # 0 to 2, the channel's two, the folder that is being listed


def test_the_code_of_a_person_sees_what_that_person_sees(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with start("surroundings", environment={**os.environ, "MY_TOKEN": "x"}, trusted=True) as child:
        found = child.call({}).header
    assert found["variables"]["MY_TOKEN"] == "x"
    assert found["path"][-1] == str(tmp_path)


DEVICES = ("GGML_CUDA_NO_PINNED", "CUDA_VISIBLE_DEVICES", "VK_ICD_FILENAMES", "XAUTHORITY")
SURROUNDINGS = ("PATH", "SystemRoot", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "HOME")
SECRETS = {
    "HF_TOKEN": "x", "HF_HUB_TOKEN": "x", "HUGGING_FACE_HUB_TOKEN": "x", "NVIDIA_API_KEY": "x",
    "AWS_PROFILE": "x", "AWS_SECRET_ACCESS_KEY": "x", "GOOGLE_APPLICATION_CREDENTIALS": "x",
    "GEMMA_EDGE_PDF_PASSWORD": "x", "HTTPS_PROXY": "http://me:x@proxy", "https_proxy": "http://p",
    "SLURM_JWT": "x", "LLAMA_ARG_MODEL_URL": "https://me:x@hub/model", "LLAMA_AUTH": "x",
    "PYTHONPATH": "x", "SSH_AUTH_SOCK": "x", "CI_JOB": "x",
}  # fmt: skip


@pytest.mark.parametrize("decodes", [True, False])
def test_only_what_a_child_may_need_is_passed_on(decodes: bool, monkeypatch):
    started = []

    def start(_program, _arguments, variables, _trusted):
        started.append(variables)
        raise GemmaEdgeError("seen")

    monkeypatch.setattr(isolation, "_start", start)
    variables = {**SECRETS, **dict.fromkeys((*DEVICES, *SURROUNDINGS), "/some/where")}
    with pytest.raises(GemmaEdgeError, match="seen"):
        Child("a:b", environment=variables, decodes=decodes)
    wanted = {*SURROUNDINGS, "MALLOC_ARENA_MAX"} if decodes else {*SURROUNDINGS, *DEVICES}
    assert set(started[0]) == wanted


def test_a_process_that_cannot_be_started(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(GemmaEdgeError, match="a process for a:b could not be started .No such"):
        Child("a:b")


# how it ends


@posix
@pytest.mark.parametrize(
    ("how", "cause", "reason"),
    [
        ("SIGSEGV", "crash", "SIGSEGV"),
        ("SIGABRT", "crash", "SIGABRT"),
        ("SIGILL", "instruction", "an instruction that this processor refuses"),
        ("SIGKILL", "memory", "killed, by the system when memory runs out or by somebody"),
        ("words", "crash", "SIGABRT: ggml.c:97: GGML_ASSERT(batch > 0) failed"),
        ("exit", "crash", "status 7"),
    ],
)
def test_the_cause_of_death_is_told(how: str, cause: str, reason: str):
    said = stopped(start("fail"), {"how": how})
    assert (said.death.cause, str(said)) == (cause, reason)


def test_it_is_told_again_to_whoever_asks_again():
    child = start("fail")
    assert "status 7" in str(stopped(child, {"how": "exit"}))
    assert "status 7" in str(stopped(child, {"how": "nothing"}))
    child.close()


def test_a_program_that_cannot_begin():
    assert str(stopped(start("unready"), {})) == "status 1: ImportError: no such library"
    assert "no_such" in str(stopped(start("no_such_function"), {}))


def test_what_it_raises_is_raised_here_and_it_lives_on():
    with start("fail") as child:
        with pytest.raises(InputError, match="the file is damaged") as refused:
            child.call({"how": "error"})
        assert refused.value.hint == "copy it again"
        with pytest.raises(ChildBug, match="ValueError: nobody foresaw it") as bug:
            child.call({"how": "bug"})
        assert "programs.py" in str(bug.value.__cause__)
        assert child.call({"how": "well"}).header == {"how": "well"}


def test_a_request_has_its_time():
    started = time.monotonic()
    said = stopped(start("fail", limits=Limits(seconds=1.5)), {"how": "hang"})
    assert (said.death.cause, str(said)) == ("timeout", "it took longer than 1.5 s")
    assert time.monotonic() - started < 10


def test_time_is_for_each_message():
    with start("count", limits=Limits(seconds=2)) as child:
        assert len(list(child.stream({"most": 12, "pause": 0.2}))) == 12
        child.send({"most": 2, "pause": 60})
        assert child.receive().header == {"number": 0}
        with pytest.raises(ChildStopped, match="longer than 0.1 s"):
            child.receive(0.1)


def test_the_time_is_also_for_what_is_sent():
    """A child that never reads: the pipe is full, and nobody waits for ever."""
    with start("fail", limits=Limits(seconds=1)) as child:
        os.kill(child.pid, signal.SIGSTOP) if os.name == "posix" else pytest.skip("no SIGSTOP")
        child.send({"how": "well"}, bytes(1 << 22))
        with pytest.raises(ChildStopped, match="longer than 1 s"):
            child.receive()


@posix
def test_the_processor_is_limited():
    said = stopped(start("fail", limits=Limits(cpu_seconds=1)), {"how": "loop"})
    assert said.death.cause == "timeout"


@linux
def test_memory_is_limited_by_the_system():
    with start("hungry", limits=Limits(memory_bytes=300 * MIB)) as child:
        assert child.call({"bytes": MIB}).header == {"taken": MIB}
        said = stopped(child, {"bytes": 400 * MIB})
    assert (said.death.cause, str(said)) == ("memory", "out of memory: MemoryError")


class Watched(Child):
    """As on a system that limits no memory."""

    system_limits_memory = False


@linux
def test_or_by_this_process():
    limits = Limits(memory_bytes=100 * MIB)
    with Watched("tests.isolation.programs:hungry", limits=limits) as child:
        assert child.call({"bytes": MIB, "pause": 0.3}).header == {"taken": MIB}
        said = stopped(child, {"bytes": 200 * MIB, "pause": 30})
    assert (said.death.cause, str(said)) == ("memory", "out of memory: more than 100.0 MiB")


@linux
def test_and_where_a_job_of_windows_does_not_hold_it(monkeypatch):
    """As where another program put this process into a job that takes no others."""
    monkeypatch.setattr(isolation, "_contain", lambda *_: isolation._WindowsJob(0, is_whole=False))
    with start("hungry", limits=Limits(memory_bytes=100 * MIB)) as child:
        said = stopped(child, {"bytes": 200 * MIB, "pause": 30})
    assert (said.death.cause, str(said)) == ("memory", "out of memory: more than 100.0 MiB")


@posix
def test_too_little_memory_even_to_begin():
    assert stopped(start("echo", limits=Limits(memory_bytes=1 << 20)), {}).death.reason


@posix
def test_files_are_written_only_where_that_is_allowed(tmp_path):
    path = tmp_path / "file"
    refused = start("writer", str(path), limits=Limits(may_write_files=False))
    with refused, pytest.raises(ChildBug, match="File too large"):
        refused.call({})
    with start("writer", str(path)) as child:
        child.call({})
    assert path.read_text() == "written"


@linux
def test_no_core_file_is_written():
    with start("echo") as child:
        child.call({})
        limits = Path(f"/proc/{child.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 ", limits)


# several at once


def numbers_of(exchange):
    """What it says until its end."""
    found = []
    while (message := exchange.receive()) is not None:
        found.append(message.header["number"])
    return found


def test_each_thread_gets_its_own_answer():
    with start("turns") as child, ThreadPoolExecutor(8) as threads:
        most = [300, 1, 50, 0, 200, 7, 100, 30]
        asked = [child.ask_apart({"most": each}) for each in most]
        assert child.call({"most": 0}) == ChildMessage({})  # in between
        found = list(threads.map(numbers_of, asked))
        assert found == [list(range(each)) for each in most]
        assert child.is_idle


def test_answers_that_give_way_are_given_by_turns():
    with start("turns") as child:
        long, short = (child.ask_apart({"most": each}) for each in (100_000, 3))
        assert numbers_of(short) == [0, 1, 2]
        assert not child.is_idle
        long.interrupt()
        assert len(numbers_of(long)) < 90_000


def test_one_that_is_interrupted_ends_alone():
    with start("turns") as child:
        asked = [child.ask_apart({"most": 2000, "pause": 0.0005}) for _ in range(3)]
        for each in asked[:2]:
            each.receive()
            each.interrupt()
        assert [len(numbers_of(each)) < 1900 for each in asked] == [True, True, False]


def test_one_that_leaves_lets_another_read(monkeypatch):
    """Two answers end at once: the one that read for all goes before the other has even woken."""
    with start("turns") as child:
        own, second, third = (child.ask_apart({"most": 0}) for _ in range(3))
        ends = [Frame(END, each._number, {}, ()) for each in (second, own, third)]
        waiting = [threading.Thread(target=numbers_of, args=[each], daemon=True)
                   for each in (second, third)]  # fmt: skip

        def read_next():
            if len(ends) == 3:
                for each in waiting:
                    each.start()
                while not (second._inbox._waits and third._inbox._waits):
                    time.sleep(0.001)
                sys.setswitchinterval(60)  # from here on this thread alone runs, until it waits
            return ends.pop(0)

        monkeypatch.setattr(child, "_next", read_next)
        interval = sys.getswitchinterval()
        try:
            assert own.receive() is None
        finally:
            sys.setswitchinterval(interval)
        for each in waiting:
            each.join(10)
        assert not any(each.is_alive() for each in waiting)


def test_its_end_is_told_to_all_that_wait():
    with start("turns") as child, ThreadPoolExecutor(4) as threads:
        asked = [child.ask_apart({"most": 100_000}) for _ in range(3)]
        asked.append(child.ask_apart({"dies": True}))
        for waiting in [threads.submit(numbers_of, each) for each in asked]:
            with pytest.raises(ChildStopped, match="status 3"):
                waiting.result()


# interrupts and ends


def test_an_interrupt_ends_an_answer_early():
    with start("count") as child:
        numbers = child.stream({"most": 10_000, "pause": 0.01})
        next(numbers)
        child.interrupt()
        assert len(list(numbers)) < 9_000
        assert len(list(child.stream({"most": 3}))) == 3  # the next one is whole


def test_an_interrupt_that_overtakes_its_request_counts():
    with start("count") as child:
        child._number += 1
        child.interrupt()
        child._number -= 1
        assert list(child.stream({"most": 10_000})) == []


def test_an_interrupt_of_the_answer_before_does_not_count():
    with start("count") as child:
        list(child.stream({"most": 1}))
        child.interrupt()
        assert len(list(child.stream({"most": 50}))) == 50


@posix
def test_interrupts_from_a_signal_handler_while_it_is_written_to():
    """The handler runs in the middle of a write: nothing is torn, nothing waits for ever."""
    with start("echo") as child:
        before = signal.signal(signal.SIGALRM, lambda *_: child.interrupt())
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            for _ in range(60):
                assert len(child.call({}, bytes(1 << 20)).parts[0]) == 1 << 20
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def test_an_exception_in_the_middle_of_a_message_ends_it():
    with start("count") as child:
        child.send({"most": 1, "pause": 60})
        child.receive()

        class Stop(BaseException):
            pass

        def stop(*_: object) -> None:
            raise Stop

        before = signal.signal(signal.SIGALRM, stop) if os.name == "posix" else pytest.skip("posix")
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(Stop):
                child.receive()
        finally:
            signal.signal(signal.SIGALRM, before)
        with pytest.raises(ChildStopped, match="it was ended"):
            child.receive()


def test_closing_from_another_thread_wakes_who_waits():
    child = start("fail")
    child.send({"how": "hang"})
    threading.Timer(0.3, child.close).start()
    with pytest.raises(ChildStopped, match="it was ended"):
        child.receive()
    child.close()


def test_closing_ends_it_at_once_whatever_it_does():
    child = start("fail")
    child.send({"how": "hang"})
    started = time.monotonic()
    child.close()
    child.close()
    assert time.monotonic() - started < 2
    assert is_gone(child.pid, 0.1)


@posix
def test_what_it_started_ends_with_it():
    with start("parent") as child:
        answer = child.stream({})
        pid = next(answer).header["pid"]
        with pytest.raises(ChildStopped, match="status 3"):
            next(answer)
    assert is_gone(pid)


@posix
@pytest.mark.parametrize("how", ["hang", "loop", "well"])
def test_none_is_left_when_the_parent_is_killed(how: str):
    code = (
        "import time\n"
        "from gemma_edge.isolation import Child\n"
        "child = Child('tests.isolation.programs:fail')\n"
        "child.call({'how': 'well'})\n"
        f"child.send({{'how': {how!r}}}); print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert parent.stdout
    with parent.stdout:
        child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert is_gone(child)


# children that are kept


def test_many_questions_pay_for_one_start():
    spares = Spares(lambda: start("echo"))
    with spares.borrow() as first:
        first.call({"a": 1})
        with spares.borrow() as second:
            assert second.pid != first.pid  # in use
            second.call({"a": 2})
    pids = {first.pid, second.pid}
    for _ in range(3):
        with spares.borrow() as child:
            assert child.pid in pids
            assert child.call({"b": 1}).header == {"b": 1, "arguments": []}
    spares.close()
    assert all(map(is_gone, pids))


def test_one_that_is_not_idle_is_not_kept():
    spares = Spares(lambda: start("fail"))
    with spares.borrow() as refused:
        with pytest.raises(InputError):
            refused.call({"how": "error"})
        assert refused.is_idle  # it said what is wrong with a file, no more
    for how in ("bug", "exit", "SIGKILL"):
        with spares.borrow() as child, pytest.raises((ChildBug, ChildStopped)):
            child.call({"how": how})
        assert not child.is_idle
        assert is_gone(child.pid)
    with pytest.raises(KeyError), spares.borrow() as child:
        child.send({"how": "hang"})
        raise KeyError
    assert is_gone(child.pid)
    with spares.borrow() as child:
        child.call({"how": "well"})
    os.kill(child.pid, signal.SIGKILL) if os.name == "posix" else child.close()
    assert is_gone(child.pid)
    with spares.borrow() as other:
        assert other.call({"how": "well"}).header == {"how": "well"}
    spares.close()


def test_one_that_nobody_needs_is_ended(monkeypatch):
    monkeypatch.setattr(isolation, "_IDLE_SECONDS", 0.1)
    spares = Spares(lambda: start("echo"))
    spares.begin()
    spares.begin()
    (child,) = spares._idle
    assert is_gone(child.pid, 20)
    with spares.borrow() as another:
        assert another.pid != child.pid
    spares.close()


def test_a_child_imports_little():
    """It is started for every document: 0.1 s, most of it Python's own start."""
    code = "import gemma_edge.isolation, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(ROOT)!r}); {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    heavy = {"subprocess", "dataclasses", "inspect", "ctypes", "pathlib", "logging", "typer"}
    assert not heavy & set(done.stdout.split())
