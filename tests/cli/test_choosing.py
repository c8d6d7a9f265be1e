"""No model was named: what answers, who is asked, and what is learnt from the first answer."""

import json
import threading
from contextlib import nullcontext
from dataclasses import replace

import pytest

from gemma_edge.engine.protocol import Finished
from gemma_edge.errors import EngineError, ExitStatus
from gemma_edge.planning.memory import quick_measure
from gemma_edge.store.measurements import read_measurements
from gemma_edge.store.remote import StoreSettings
from tests.cli.conftest import GAMER, SHAPES, TEXT_MODEL, Online
from tests.scripted import ScriptedEngine

ASK = {"stdin_is_terminal": True, "stderr_is_terminal": True, "environment": {"TERM": "dumb"}}
NOTE = (
    "the bundled demo model answers; this machine would run E4B Q4 QAT (4.8 GiB): "
    "gemma-edge pull e4b\n"
)


def chat(online: Online, *flags: str, **more):
    online.shell.script(["hello"])
    return online.run("chat", "hi", *flags, **more)


@pytest.fixture
def gaming(online: Online) -> Online:
    """A machine that would run E4B, which is what the hub of these tests has."""
    online.shell.hardware = GAMER
    return online


def test_nobody_to_ask_the_demo_model_answers_and_says_what_would_run(gaming: Online):
    ran = chat(gaming)
    assert (ran.stdout, ran.status) == ("hello\n", 0), ran.stderr
    assert ran.stderr.startswith(NOTE + "bundled demo model (made-up invoices")
    assert gaming.hub.requests == []
    assert chat(gaming, "--quiet").stderr == ""


def test_offline_asks_nobody(gaming: Online):
    ran = chat(gaming, "--offline", **ASK)
    assert (ran.stdout, ran.status) == ("hello\n", 0)
    assert "the bundled demo model answers" in ran.stderr
    assert "[Y/n]" not in ran.stderr


def test_at_a_terminal_a_person_is_asked_and_it_is_fetched(gaming: Online):
    ran = chat(gaming, stdin="\n", **ASK)
    assert (ran.stdout, ran.status) == ("hello\n", 0), ran.stderr
    assert "this machine would run E4B Q4 QAT (4.8 GiB): download it?" in ran.stderr
    assert ran.stderr.count("[Y/n]") == 1  # not once more for the files
    assert "\nE4B Q4 QAT on " in ran.stderr


def test_a_no_is_answered_by_the_demo_model(gaming: Online):
    ran = chat(gaming, stdin="n\n", **ASK)
    assert (ran.stdout, ran.status) == ("hello\n", 0), ran.stderr
    assert "bundled demo model (made-up invoices" in ran.stderr
    assert gaming.hub.requests == []


def test_a_yes_from_before_fetches_it(gaming: Online):
    ran = chat(gaming, "--yes")
    assert ran.status == 0, ran.stderr
    assert "\nE4B Q4 QAT on " in ran.stderr


def test_what_is_on_this_machine_answers_at_once(pulled: Online):
    asked = len(pulled.hub.requests)
    ran = chat(pulled)
    assert ran.stderr.startswith("E4B Q4 QAT on the CPU")
    assert len(pulled.hub.requests) == asked


def test_what_is_chosen_is_planned_once(pulled: Online):
    asked, measure = [], quick_measure(pulled.shell.hardware)

    def counted(shape, placement):
        asked.append(placement)
        return measure(shape, placement)

    ran = chat(pulled, open_measure=lambda _: nullcontext(counted))
    assert ran.stderr.startswith("E4B Q4 QAT on the CPU")
    assert len(asked) == 3  # two for the formula of its graph, one for the plan


def test_an_imported_gemma_4_counts_another_model_does_not(online: Online, write_gguf):
    other = write_gguf("gemma-2.gguf", TEXT_MODEL | {"general.architecture": "gemma2"})
    assert online.run("import", str(other)).status == 0
    assert "bundled demo model" in chat(online).stderr
    mine = write_gguf("my-gemma-4.gguf", TEXT_MODEL)
    assert online.run("import", str(mine)).status == 0
    assert "my-gemma-4 on the CPU" in chat(online).stderr


def test_a_named_demo_model_is_not_questioned(gaming: Online):
    ran = chat(gaming, "--model", "demo", **ASK)
    assert ran.stderr.startswith("bundled demo model (made-up invoices")


def test_what_was_pinned_holds_for_the_choice_too(pulled: Online):
    """Nothing is decoded on the CPU where the GPU was asked for."""
    ran = chat(pulled, "--require-gpu")
    assert (ran.stdout, ran.status) == ("", ExitStatus.DOES_NOT_FIT)
    assert "no GPU" in ran.stderr


def test_the_plan_says_where_another_one_would_answer(pulled: Online):
    """The plan looks at all, a chat takes the best that is here."""
    big = replace(GAMER.devices[0], total_bytes=24 << 30, free_bytes=23 << 30)
    pulled.shell.hardware = replace(GAMER, devices=(big,))
    note = "is not on this machine: gemma-edge pull 26b-a4b; until then E4B Q4 QAT answers\n"
    assert note in pulled.run("plan").stderr
    assert chat(pulled).stderr.startswith("E4B Q4 QAT on ")
    for flags in (("26b",), ("--vram", "24GiB"), ("--quant", "q8")):
        assert "until then" not in pulled.run("plan", *flags).stderr
    pulled.shell.hardware = GAMER
    assert "until then" not in pulled.run("plan").stderr


@pytest.mark.parametrize("command", [("plan",), ("chat", "hi", "--yes", "--model")])
def test_a_branch_of_the_hub_is_planned_by_the_header_at_its_commit(online: Online, command):
    online.upload("mine.gguf", TEXT_MODEL, repo="me/mine")
    online.shell.script(["hello"])
    ran = online.run(*command, "hf:me/mine/mine.gguf@main")
    assert ran.status == 0, ran.stderr


def test_a_quant_that_was_named_narrows_the_choice(gaming: Online):
    assert "would run" in chat(gaming, "--quant", "q8").stderr
    assert "Q4" not in chat(gaming, "--quant", "q8").stderr


def test_images_and_no_vision_do_not_go_together(pulled: Online):
    ran = pulled.run("describe", SHAPES, "--no-vision")
    assert (ran.stdout, ran.status) == ("", ExitStatus.USAGE)


# Speed.


class Clocked(ScriptedEngine):
    """Answers at 20 tokens a second."""

    def generate(self, request):
        for event in super().generate(request):
            if isinstance(event, Finished):
                seconds = event.usage.generated_tokens / 20
                event = replace(event, timings=replace(event.timings, decode_seconds=seconds))
            yield event


class Dumb(ScriptedEngine):
    """Cannot be measured."""

    def measure(self, tokens=32, *, filled=False):
        raise EngineError("no")


def kept(shell):
    speeds, note = read_measurements(
        StoreSettings(data_dir=shell.home / ".local" / "share" / "gemma-edge")
    )
    assert note == ""
    return [round(each.tokens_per_second, 3) for each in speeds]


def test_a_long_answer_is_a_measurement(shell):
    shell.engine = Clocked(["word " * 40])
    assert shell.run("chat", "hi").status == 0
    assert kept(shell) == [20]
    plan = json.loads(
        shell.run("plan", str(shell.model), "--mmproj", str(shell.projector), "--no-vision",
                  "--json", "--quiet", model=False).stdout
    )  # fmt: skip
    assert (plan["speed"]["measured"], plan["speed"]["tokens_per_second"]) == (True, 20)
    shell.engine = Clocked(["word " * 40], speed=99)
    assert shell.run("chat", "hi").status == 0
    assert kept(shell) == [20]  # once is enough


def test_after_a_short_answer_the_engine_is_measured(shell):
    shell.engine = Clocked(["yes"], speed=33)
    assert shell.run("chat", "hi").status == 0
    assert kept(shell) == [33]


def test_an_engine_that_cannot_be_measured_is_no_error(shell):
    shell.engine = Dumb(["yes"])
    ran = shell.run("chat", "hi")
    assert (ran.stdout, ran.status) == ("yes\n", 0)
    assert kept(shell) == []


@pytest.mark.parametrize("system", ["win32", "linux"])
def test_a_run_that_spilled_is_asked_about_and_not_kept(shell, system):
    """The same speed is a measurement where nothing spills without an error."""
    shell.hardware = replace(GAMER, system=system)
    shell.engine = Clocked(["word " * 40])
    ran = shell.run("chat", "hi")
    assert (ran.status, kept(shell)) == (0, [] if system == "win32" else [20])
    asked = [line for line in ran.stderr.splitlines() if "did video memory spill" in line]
    assert len(asked) == (system == "win32")
    assert all("20.0 tok/s" in line and "--ctx" in line for line in asked)


def test_the_bundled_model_teaches_nothing(shell):
    shell.engine = Clocked(["word " * 40], speed=33)
    assert shell.run("chat", "hi", "--model", "demo", model=False).status == 0
    assert kept(shell) == []


def test_a_fallback_that_was_loaded_is_what_is_said(shell):
    """The plan of the engine, not the one that was asked for."""

    class Smaller(ScriptedEngine):
        @property
        def info(self):
            (plan,) = shell.plans
            return replace(super().info, plan=replace(plan, context_tokens=8192))

    shell.engine = Smaller(["yes"])
    assert "8k context" in shell.run("chat", "hi").stderr


def test_a_conversation_does_not_wait_for_the_engine(shell):
    """The prompt is there before anything of the engine is asked."""

    prompted = threading.Event()

    class Loading(ScriptedEngine):
        @property
        def info(self):
            if not prompted.wait(5):
                raise EngineError("nobody was asked for a message while it loaded")
            return super().info

    def leave(_sign: str) -> str:
        prompted.set()
        raise EOFError

    shell.engine = Loading()
    ran = shell.run("chat", terminal=True, ask=leave, environment={"NO_COLOR": "1"}, width=120)
    assert ran.status == 0
    assert ran.stderr.startswith("model on the CPU")
