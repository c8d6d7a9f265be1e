"""Several gemma-edge on one machine: real processes with a machine that has room for one of them,
for one and a smaller one, or for both."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gemma_edge
from gemma_edge.app import load as app
from gemma_edge.app.request import ModelRequest
from gemma_edge.errors import DoesNotFit
from gemma_edge.hardware.machine import Build, Cpu, Hardware, Memory
from tests.doctor.machines import RTX

MIB = 1 << 20
MARGIN = 2048 * MIB  # is left free
ONE = 107 * MIB  # what the bundled model takes beside it


def machine(more: int, *devices: Any) -> Hardware:
    return Hardware(
        system="linux", cpu=Cpu(2, "2 cores"), build=Build(version="1"), devices=devices,
        memory=Memory(MARGIN + more, "free", 8192 * MIB),
    )  # fmt: skip


def open_one(more: int, *, real: bool, wait: float = 60.0) -> None:
    """The program of the other processes: each line of stdin is a step, each of stdout an event."""

    def tell(**event: Any) -> None:
        print(json.dumps(event), flush=True)

    app.WAIT_SECONDS = wait
    runtime = gemma_edge.library_runtime(offline=True, note=lambda text: tell(note=text))
    runtime = replace(runtime, detect=lambda: machine(more))
    if not real:
        runtime = replace(runtime, load=lambda plan: Still(plan))
    tell(pid=os.getpid())
    sys.stdin.readline()
    try:
        prepared = app.prepare(ModelRequest(model="demo"), runtime, vision="unused")
    except DoesNotFit as error:
        tell(refused=error.message, hint=error.hint)
        return
    engine = app.load(prepared, runtime)
    plan = engine.info.plan
    assert plan is not None and plan.ledger is not None
    own = plan.ledger.account("RAM")
    taken = sum(p.size_bytes for p in own.parts if p.name != "margin" and not p.reclaimable)
    tell(batch=plan.batch_tokens, taken=taken)
    sys.stdin.readline()
    engine.close()
    tell(closed=True)
    sys.stdin.readline()


class Still:
    """An engine that is loaded by saying so."""

    def __init__(self, plan: Any) -> None:
        self.info = type("Info", (), {"plan": plan, "notes": ()})()

    def close(self) -> None: ...


class Other:
    """One such process."""

    def __init__(self, home: Path, more: int, **how: Any) -> None:
        code = (
            "import sys; sys.path[:] = sys.argv[1:]; import tests.test_beside as t; "
            f"t.open_one({more}, **{how!r})"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *sys.path], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=dict(os.environ) | {"XDG_DATA_HOME": str(home), "HOME": str(home),
                                    "LOCALAPPDATA": str(home)},
        )  # fmt: skip
        self.pid = self.hear()["pid"]

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        event: dict[str, Any] = json.loads(self.process.stdout.readline())
        return event


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Other]]:
    others: list[Other] = []

    def begin(more: int, **how: Any) -> Other:
        others.append(Other(tmp_path, more, **how))
        return others[-1]

    yield begin
    for each in others:
        each.process.kill()
        each.process.communicate()


def test_the_second_steps_down_and_says_so(start: Callable[..., Other]) -> None:
    """Real models; when the first ends, a third has all of the memory again."""
    more = 2 * ONE - 6 * MIB
    first = start(more, real=True)
    first.go()
    whole = first.hear()
    second = start(more, real=True)
    second.go()
    note = second.hear()["note"]
    assert note.startswith(f"beside gemma-edge {first.pid} (")
    assert " MiB of main memory): ubatch " in note
    less = second.hear()
    assert whole["batch"] == 512 > less["batch"]
    assert whole["taken"] + less["taken"] <= more
    for each in (first, second):
        each.go()
        assert each.hear() == {"closed": True}  # the model is freed, the process lives on
    third = start(more, real=False)
    third.go()
    assert third.hear() == whole


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_the_second_waits_until_the_first_is_gone(start: Callable[..., Other]) -> None:
    more = ONE + 40 * MIB  # not even the smallest fits beside it
    first = start(more, real=False)
    first.go()
    whole = first.hear()
    second = start(more, real=False)
    second.go()
    assert second.hear()["note"].startswith(f"waiting for memory that gemma-edge {first.pid} (")
    first.process.kill()
    assert second.hear() == whole


def test_one_that_does_not_end_is_named(start: Callable[..., Other]) -> None:
    more = ONE + 40 * MIB
    first = start(more, real=False)
    first.go()
    first.hear()
    second = start(more, real=False, wait=0.3)
    second.go()
    assert "waiting" in second.hear()["note"]
    told = second.hear()
    assert "does not fit" in told["refused"]
    assert told["hint"].startswith(f"gemma-edge {first.pid} (")


def test_what_does_not_fit_alone_is_not_waited_for(start: Callable[..., Other]) -> None:
    first = start(ONE + 40 * MIB, real=False)
    first.go()
    first.hear()
    second = start(-512 * MIB, real=False)
    second.go()
    assert "does not fit" in second.hear()["refused"]


def test_two_that_start_at_once_do_not_take_the_same_memory(start: Callable[..., Other]) -> None:
    """Both look before either has taken anything: one comes first, the other takes what is left."""
    more = 2 * ONE - 6 * MIB
    both = [start(more, real=False) for _ in range(2)]
    for each in both:
        each.go()
    plans = []
    for each in both:
        event = each.hear()
        plans.append(each.hear() if "note" in event else event)
    assert sorted(each["batch"] for each in plans) == [128, 512]
    assert sum(each["taken"] for each in plans) <= more


def test_with_room_for_both_nothing_is_said(start: Callable[..., Other]) -> None:
    both = [start(4096 * MIB, real=False) for _ in range(2)]
    for each in both:
        each.go()
        assert each.hear()["batch"] == 512


def test_a_card_is_left_to_the_one_that_planned_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first has loaded, NVML still says that all of it is free."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    notes: list[str] = []
    runtime = gemma_edge.library_runtime(offline=True, note=notes.append)
    seen = machine(4096 * MIB, replace(RTX, free_bytes=900 * MIB))
    runtime = replace(runtime, detect=lambda: seen, load=Still, open_measure=_by_formula)
    asked = ModelRequest(model="demo")
    first = app.load(app.prepare(asked, runtime, vision="unused"), runtime)
    assert first.info.plan is not None and first.info.plan.devices == ("CUDA0",)
    second = app.prepare(asked, runtime, vision="unused")
    assert second.plan.devices == ()
    assert len(notes) == 1
    assert notes[0].startswith(f"beside gemma-edge {os.getpid()} (")
    assert "of RTX 4060 Laptop): the CPU alone" in notes[0]
    assert gemma_edge.plan("demo", runtime=runtime).devices == ()
    app.tell_others(runtime)
    assert notes[1].startswith(f"planned beside gemma-edge {os.getpid()} (")
    first.close()
    app.tell_others(runtime)
    assert len(notes) == 2
    assert app.prepare(asked, runtime, vision="unused").plan.devices == ("CUDA0",)


def test_a_plan_that_somebody_overtook_is_stepped_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between planning and loading lies what was asked of a person, or a download."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    notes: list[str] = []
    more = 2 * ONE - 6 * MIB
    runtime = gemma_edge.library_runtime(offline=True, note=notes.append)
    runtime = replace(runtime, detect=lambda: machine(more), load=Still)
    slow, fast = (
        app.prepare(ModelRequest(model="demo"), runtime, vision="unused") for _ in range(2)
    )
    first = app.load(fast, runtime)
    second = app.load(slow, runtime)
    assert first.info.plan is not None and first.info.plan.batch_tokens == 512
    assert second.info.plan is not None and second.info.plan.batch_tokens == 128
    assert notes[0].startswith(f"gemma-edge {os.getpid()} (")
    assert notes[0].endswith("came first: ubatch 128")
    first.close()
    second.close()


def _by_formula(_pretended: object) -> Any:
    from contextlib import nullcontext

    from gemma_edge.planning.memory import quick_measure

    return nullcontext(quick_measure(machine(0, RTX)))
