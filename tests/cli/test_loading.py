"""A model that takes a while to load: how far it is, on a terminal only."""

import os
import re
from pathlib import Path

import pytest

from gemma_edge.app.runtime import ModelLoading
from gemma_edge.cli.streaming import render_loading
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.engine.process import RemoteEngine, call
from gemma_edge.engine.protocol import Loading
from gemma_edge.isolation import Child
from gemma_edge.planning.plan import Plan
from tests.cli.conftest import SHAPES, Shell
from tests.engine.conftest import DEMO, demo_plan
from tests.engine.faults import program

INVOICE = str(Path(SHAPES).with_name("invoice.pdf"))
BAR = re.compile(r"loading (\S.*?), ([\d.]+ \w+) ([━╌]{12}) (\d+) %")


def gradually(plan: Plan) -> RemoteEngine:
    """Two seconds, with a hundred words on how far it is."""
    return RemoteEngine(plan, program=program("gradual"))


@pytest.mark.parametrize(
    "command",
    [("chat", "-p", "hi"), ("describe", SHAPES), ("extract", INVOICE, "--schema", "vendor")],
    ids=lambda command: command[0],
)
def test_a_bar_while_a_model_loads(shell: Shell, command: tuple[str, ...]):
    ran = shell.run(*command, terminal=True, width=100, load=gradually)
    shown = [int(found[4]) for found in BAR.finditer(ran.stderr)]
    assert shown == sorted(shown) and 0 < shown[0] < shown[-1] <= 100
    assert 3 < len(shown) < 40  # ten a second, and none in the first half
    assert re.search(r"\d %, 0:0\d left · once for all answers", ran.stderr)
    after = ran.stderr.rpartition("once for all answers")[2]
    assert re.match(r"(\x1b\[0m)?\r +\r", after)  # it is taken away


@pytest.mark.parametrize(
    "more", [{}, {"terminal": True, "environment": {"TERM": "dumb"}}], ids=["pipe", "dumb"]
)
def test_no_bar_where_nothing_can_be_drawn_over(shell: Shell, more: dict):
    ran = shell.run("chat", "-p", "hi", load=gradually, **more)
    assert (ran.stdout, "loading" in ran.stderr) == ("hello\n", False)


def test_no_bar_for_a_quick_load(shell: Shell):
    shell.script(["hello"])
    assert "loading" not in shell.run("chat", "-p", "hi", terminal=True).stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a pty")
def test_a_bar_in_a_conversation(terminal):
    chat = terminal(SLOW_LOAD="gradual", columns=100)
    chat.wait_for_line()
    chat.enter("hi")
    chat.wait_for("once for all answers")
    chat.wait_for("hello")
    assert "loading" not in chat.page
    chat.wait_for_line()
    chat.type("\x04")  # Ctrl-D
    assert chat.end() == 0


@pytest.mark.parametrize(
    ("share", "seconds", "said"),
    [
        (None, 3.2, "loading E4B Q4 QAT, 4.2 GiB ╌╌╌╌╌╌╌╌╌╌╌╌ 3 s · once for all answers"),
        (0.0, 3.2, "loading E4B Q4 QAT, 4.2 GiB ╌╌╌╌╌╌╌╌╌╌╌╌ 3 s · once for all answers"),
        (0.5, 30.0, "loading E4B Q4 QAT, 4.2 GiB ━━━━━━╌╌╌╌╌╌ 50 %, 0:30 left · once for all an"),
        (1.0, 61.0, "loading E4B Q4 QAT, 4.2 GiB ━━━━━━━━━━━━ 100 %, a first look at all of it "),
    ],
)
def test_the_line(share: float | None, seconds: float, said: str):
    event = ModelLoading("E4B Q4 QAT", int(4.2 * (1 << 30)), Loading(share, seconds))
    assert render_loading(event).startswith(said)


def test_an_engine_tells_how_far_it_is():
    engine = gradually(demo_plan())
    shares = []
    try:
        while (progress := engine.loading(0.05)) is not None:
            shares.append(progress.share)
        assert engine.info.name == "scripted"
    finally:
        engine.close()
    known = [share for share in shares if share is not None]
    assert known == sorted(known)
    assert len(set(known)) > 5


def test_who_did_not_ask_gets_the_answer_alone():
    with Child(*program("gradual")) as process:
        assert call(process, "load", demo_plan()).name == "scripted"


def test_llama_cpp_counts_the_weights():
    shares: list[float] = []
    LlamaModel(Path(DEMO), tell=shares.append).close()
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert len(shares) > 10
