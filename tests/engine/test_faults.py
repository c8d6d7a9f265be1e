"""The engine's process dies for real, in every way it can; nothing else does."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import pytest

from gemma_edge.cli.output import cancel_on_interrupt
from gemma_edge.engine import process
from gemma_edge.engine.process import (
    MAX_RESTARTS,
    WORKER,
    EarlyProcess,
    RemoteEngine,
    call,
    pack_call,
)
from gemma_edge.engine.protocol import GREEDY, Chunk, Event, Finished, Message, Notice, Request
from gemma_edge.errors import (
    BuildError,
    DoesNotFit,
    EngineError,
    EngineStopped,
    GemmaEdgeError,
    ModelError,
)
from gemma_edge.isolation import Child, ChildBug
from gemma_edge.planning.plan import Account, Ledger, MemoryPart, Plan
from gemma_edge.units import MIB
from tests.engine.conftest import ROOT, answer, demo_plan
from tests.engine.faults import program

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to die by")
HELLO = Request(messages=(Message("user", "Repeat: Stone Harbour Lane"),), sampling=GREEDY)
AGAIN = (
    "the engine stopped (killed, by the system when memory runs out or by somebody); started again"
)
Start = Callable[..., RemoteEngine]


@pytest.fixture
def start() -> Iterator[Start]:
    """Engines that are closed at the end."""
    opened: list[RemoteEngine] = []

    def begin(fault: str, plan: Plan | None = None) -> RemoteEngine:
        opened.append(RemoteEngine(plan or demo_plan(), program=program(fault)))
        return opened[-1]

    yield begin
    for engine in opened:
        engine.close()


def ask(text: str) -> Request:
    return Request(messages=(Message("user", text),), sampling=GREEDY)


def is_gone(pid: int, seconds: float = 5) -> bool:
    """Whether the process ends in time; one that only waits to be reaped has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat")
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_process_that_was_started_before_the_plan_loads_it() -> None:
    early = EarlyProcess()
    assert (pid := early.pid)
    engine = RemoteEngine(demo_plan(), start=process.Start(early))
    try:
        assert (engine.pid, early.take()) == (pid, None)
        assert answer(engine, HELLO)[0].strip().startswith("Stone Harbour")
    finally:
        engine.close()
    assert is_gone(pid)


@posix
def test_one_that_died_while_it_waited_is_replaced() -> None:
    early = EarlyProcess()
    assert (pid := early.pid)
    os.kill(pid, signal.SIGKILL)
    engine = RemoteEngine(demo_plan(), start=process.Start(early))
    try:
        assert engine.pid != pid
        assert engine.info.notes == ()  # nobody notices
    finally:
        engine.close()


def test_one_that_lacks_the_variables_of_a_plan_is_ended() -> None:
    early = EarlyProcess()
    assert (pid := early.pid)
    engine = RemoteEngine(
        replace(demo_plan(), variables=("GGML_UNKNOWN=1",)), start=process.Start(early)
    )
    try:
        assert engine.pid != pid
        assert is_gone(pid)
    finally:
        engine.close()


def test_one_that_nobody_took_ends_with_the_engine() -> None:
    early = EarlyProcess()
    assert (pid := early.pid)
    early.close()
    early.close()
    assert is_gone(pid)


@posix
def test_killed_in_the_middle_of_an_answer(start: Start) -> None:
    engine = start("slow")
    stream = engine.generate(HELLO)
    said = [next(stream), next(stream)]
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineStopped, match="the engine stopped .killed.*; started again"):
        list(stream)
    assert all(isinstance(event, Chunk) for event in said)
    text, finished = answer(engine, HELLO)
    assert text.strip().startswith("Stone Harbour")
    assert finished.reason == "end"


@posix
def test_killed_before_the_first_word_nobody_notices_but_for_a_line(start: Start) -> None:
    engine = start("slow")
    stream = engine.generate(HELLO)
    os.kill(engine.pid, signal.SIGKILL)
    first, *rest = stream
    assert isinstance(first, Notice | Chunk)  # a word may have been on its way
    if isinstance(first, Notice):
        assert first.text.startswith("the engine stopped (killed")
        assert isinstance(rest[-1], Finished)


@posix
def test_killed_between_two_answers_the_second_is_answered(start: Start) -> None:
    engine = start("slow")
    before, _ = answer(engine, HELLO)
    old = engine.pid
    os.kill(old, signal.SIGKILL)
    assert is_gone(old)
    events: list[Event] = list(engine.generate(HELLO))
    notice, *chunks, _ = events
    assert isinstance(notice, Notice)
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, Chunk)) == before
    assert engine.pid != old


@posix
def test_deaths_with_answers_between_them_are_no_row(start: Start) -> None:
    engine = start("chatty")
    for _ in range(MAX_RESTARTS + 1):
        os.kill(engine.pid, signal.SIGKILL)
        *_, finished = engine.generate(HELLO)
        assert isinstance(finished, Finished)


@posix
def test_every_step_down_after_a_death_is_told(start: Start) -> None:
    ladder = (demo_plan(batch_tokens=128), demo_plan(batch_tokens=64))
    engine = start("gap", replace(demo_plan(), fallbacks=ladder))
    assert engine.info.notes == ()
    os.kill(engine.pid, signal.SIGKILL)
    told = [event.text for event in engine.generate(HELLO) if isinstance(event, Notice)]
    assert told == [f"{AGAIN} with ubatch 128", f"{AGAIN} with ubatch 64"]


@posix
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_request_that_kills_every_engine_is_given_up(start: Start, when: str) -> None:
    engine = start("fragile")
    stops = 0
    with pytest.raises(EngineError, match="SIGABRT") as last:
        for _ in range(2 * MAX_RESTARTS):
            try:
                list(engine.generate(ask(f"SIGABRT {when}")))
            except EngineStopped:
                stops += 1
    assert not isinstance(last.value, EngineStopped)
    assert stops == (0 if when == "before" else MAX_RESTARTS)
    assert engine.count(HELLO).total_tokens  # and the next is there again


@posix
def test_an_illegal_instruction_in_an_answer_is_not_tried_again(start: Start) -> None:
    engine = start("fragile")
    with pytest.raises(BuildError, match="this processor refuses") as refused:
        list(engine.generate(ask("SIGILL after")))
    assert "doctor --fix" in refused.value.hint


@posix
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGFPE"])
def test_code_that_dies_at_its_first_decode_is_not_started_again(start: Start, name: str) -> None:
    engine = start("fragile")
    first = engine.pid
    with pytest.raises(BuildError) as refused:
        list(engine.generate(ask(f"{name} before")))
    assert "doctor --fix" in refused.value.hint
    assert engine.pid == first
    with pytest.raises(BuildError):
        engine.count(HELLO)


@posix
def test_code_that_has_answered_is_started_again(start: Start) -> None:
    engine = start("fragile")
    assert answer(engine, ask("SIGSEGV never"))[1].reason == "end"
    with pytest.raises(EngineStopped):
        list(engine.generate(ask("SIGSEGV after")))
    with pytest.raises(EngineError, match="the engine stopped .SIGSEGV") as last:
        list(engine.generate(ask("SIGSEGV before")))
    assert not isinstance(last.value, BuildError)


@posix
@pytest.mark.parametrize(
    ("fault", "error", "message", "hint"),
    [
        ("illegal", BuildError, "an instruction that this processor refuses", "doctor --fix"),
        ("segfault", BuildError, "stopped before its first answer .SIGSEGV", "doctor --fix"),
        ("abort", EngineError, r"SIGABRT: ggml-cuda.cu:97: GGML_ASSERT\(batch > 0\) failed", "doc"),
        ("killed", DoesNotFit, "does not fit in memory: killed", "--ctx"),
        ("bug", ChildBug, "ValueError: a bug that is one", ""),
    ],
)
def test_a_load_that_dies(
    start: Start, fault: str, error: type[Exception], message: str, hint: str
) -> None:
    engine = start(fault)
    with pytest.raises(error, match=message) as raised:
        engine.info  # noqa: B018
    if isinstance(raised.value, GemmaEdgeError):
        assert hint in raised.value.hint
    with pytest.raises(error, match=message):
        engine.generate(HELLO)


@posix
def test_a_load_that_is_killed_takes_the_next_plan(start: Start) -> None:
    small = demo_plan(batch_tokens=64)
    engine = start("killed", replace(demo_plan(), fallbacks=(demo_plan(batch_tokens=128), small)))
    assert engine.info.notes == (f"{AGAIN} with ubatch 128", f"{AGAIN} with ubatch 64")
    assert engine.info.plan == small
    assert answer(engine, HELLO)[1].reason == "end"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to RLIMIT_AS")
def test_memory_that_the_system_refuses_takes_the_next_plan_or_says_so(start: Start) -> None:
    """A context of 4 GiB under a real limit of half a GiB."""
    large = replace(demo_plan(), context_tokens=1 << 21, ledger=_ledger(64 * MIB))
    engine = start("limited", replace(large, fallbacks=(demo_plan(),)))
    (note,) = engine.info.notes
    assert "insufficient memory" in note
    assert "started again with context 2,048" in note
    assert answer(engine, HELLO)[1].reason == "end"
    alone = start("limited", large)
    with pytest.raises(DoesNotFit, match=r"insufficient memory.*planned RAM 64.0 MiB of 8.0 GiB"):
        alone.info  # noqa: B018


def _ledger(kv_bytes: int) -> Ledger:
    part = MemoryPart(name="KV global", size_bytes=kv_bytes)
    return Ledger(
        accounts=(Account(place="RAM", title="main memory", budget_bytes=8 << 30, parts=(part,)),)
    )


def test_a_ledger_that_lies_is_told_with_both_numbers(start: Start) -> None:
    engine = start("chatty", replace(demo_plan(), ledger=_ledger(900 * MIB)))
    (note, *_) = [note for note in engine.info.notes if "KV global" in note]
    assert "predicted 900 MiB" in note
    assert "allocated" in note


def test_a_file_that_is_no_model(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match=r"weights.gguf cannot be loaded: .+") as refused:
        start("chatty", replace(demo_plan(), model=path)).info  # noqa: B018
    assert refused.value.hint


def test_a_kind_that_llama_cpp_does_not_know_needs_a_newer_one(start: Start, write_gguf) -> None:
    facts = {f"gemma9.{key}": 8 for key in ("block_count", "context_length", "embedding_length")}
    path = write_gguf("new.gguf", {"general.architecture": "gemma9"} | facts)
    with pytest.raises(ModelError, match="unknown model architecture: 'gemma9'") as refused:
        start("chatty", replace(demo_plan(), model=path)).info  # noqa: B018
    assert f"llama-cpp-python {version('llama-cpp-python')}" in refused.value.message
    assert "pip install --upgrade llama-cpp-python" in refused.value.hint
    assert "download" not in refused.value.hint


def test_the_process_ends_at_once_even_while_it_reads() -> None:
    process = Child(*WORKER)
    call(process, "load", demo_plan())
    process.send(*pack_call("generate", ask("word " * 900)))
    process.receive()
    started = time.monotonic()
    process.close()
    assert time.monotonic() - started < 1.5
    assert is_gone(process.pid)


@posix
def test_no_process_is_left_when_the_parent_is_killed() -> None:
    code = (
        "import time\n"
        "from gemma_edge.engine import load\n"
        "from tests.engine.conftest import demo_plan\n"
        "engine = load(demo_plan()); print(engine.pid, flush=True); time.sleep(60)"
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


def test_closing_while_it_loads_leaves_nothing(start: Start) -> None:
    engine = start("chatty")
    engine.close()
    with pytest.raises(EngineError):
        engine.info  # noqa: B018
    engine.close()


def test_cancelled_while_a_long_prompt_is_read(start: Start) -> None:
    engine = start("slow", demo_plan(context_tokens=8192, batch_tokens=64))
    stream = engine.generate(ask("word " * 3500))
    engine.cancel()
    *_, finished = stream
    assert isinstance(finished, Finished)
    assert finished.reason == "cancelled"
    assert finished.usage.evaluated_tokens < finished.usage.prompt_tokens
    assert answer(engine, HELLO)[1].reason == "end"


def test_ctrl_c_while_it_loads_ends_the_wait(start: Start) -> None:
    engine = start("sleepy")
    ended = threading.Event()

    def press() -> None:
        while not ended.wait(0.02):
            engine.cancel()

    presser = threading.Thread(target=press)
    presser.start()
    (finished,) = engine.generate(HELLO)
    ended.set()
    presser.join()
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.usage.prompt_tokens) == ("cancelled", 0)


LINES = ("generate", "_answer", "_ask_until_accepted", "__init__", "send", "interject", "interrupt")


def press_between_lines(engine: RemoteEngine, press: int) -> tuple[Finished, bool]:
    """An answer during which Ctrl-C comes before the line that is the ``press``-th to be run; and
    whether there were so many."""
    seen = 0

    def at_call(frame: FrameType, _event: str, _argument: object) -> Callable[..., object] | None:
        ours = frame.f_code.co_filename.endswith(("process.py", "isolation.py"))
        return at_line if ours and frame.f_code.co_name in LINES else None

    def at_line(_frame: FrameType, event: str, _argument: object) -> Callable[..., object]:
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == press:
                signal.raise_signal(signal.SIGINT)
        return at_line

    with cancel_on_interrupt(engine):
        sys.settrace(at_call)
        try:
            stream = engine.generate(ask("long"))
            first = next(stream)  # nothing new comes after it
        finally:
            sys.settrace(None)
        *_, finished = first, *stream
    assert isinstance(finished, Finished)
    return finished, seen >= press


def test_ctrl_c_between_two_lines_is_neither_lost_nor_sent_to_another_answer(start: Start) -> None:
    engine = start("endless")
    assert engine.info
    press = 0
    while True:
        press += 1
        finished, pressed = press_between_lines(engine, press)
        assert answer(engine, ask("short"))[1].reason == "end", press
        if not pressed:
            break
        assert finished.reason == "cancelled", press
    assert press > 20, "the test can fail"


def test_what_waits_for_its_turn_is_cancelled_too(start: Start) -> None:
    engine = start("endless")
    first = engine.generate(ask("long"))
    next(first)
    reasons: list[str] = []

    def wait() -> None:
        *_, finished = engine.generate(ask("long"))
        assert isinstance(finished, Finished)
        reasons.append(finished.reason)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while len(engine._asked) < 2:
        time.sleep(0.01)
    engine.cancel()
    *_, finished = first
    waiting.join()
    assert isinstance(finished, Finished)
    assert (finished.reason, reasons) == ("cancelled", ["cancelled"])
