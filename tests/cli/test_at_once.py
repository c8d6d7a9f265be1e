"""Several documents at once: the same rows in the same order as one after another, whatever happens
to one of them."""

import json
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.cli.context import Context
from gemma_edge.cli.main import main
from gemma_edge.errors import DoesNotFit, EngineStopped, ExitStatus
from gemma_edge.planning.plan import Plan, Speed
from gemma_edge.planning.speed import pays_at_once
from tests.cli.conftest import GAMER
from tests.cli.test_extract_batch import lines
from tests.scripted import ScriptedEngine

ASK = ("--schema", "vendor, total num")
COUNT = 8


@pytest.fixture
def folder(tmp_path):
    """Bills of 0 to 7."""
    made = tmp_path / "bills"
    made.mkdir()
    for number in range(COUNT):
        (made / f"{number}.txt").write_text(f"Acme\nTotal {number}.00\n")
    return made


class Clerks(ScriptedEngine):
    """Answers several at once, each about its own document, and remembers how many there were."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.now = self.most = 0

    def generate(self, request):
        number = int(re.search(r"Total (\d)", request.messages[0].text)[1])
        return self.work(number, request)

    def work(self, number, request):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.wait(number)
        with self.lock:
            self.now -= 1
        clerk = ScriptedEngine([f'{{"vendor": "Acme", "total": {number}}}'])
        events = clerk.generate(request)
        if self._cancelled:
            clerk.cancel()
        yield from events

    def wait(self, number):
        time.sleep(0.05)


class Backwards(Clerks):
    """The last of those that were begun together ends first."""

    def __init__(self) -> None:
        super().__init__()
        self.done = [threading.Event() for _ in range(COUNT + 1)]

    def wait(self, number):
        if number % 4 < 3:
            assert self.done[number + 1].wait(20)
        self.done[number].set()


def totals(records):
    return [(Path(each["file"]).name, each["data"]["total"]) for each in records]


def test_they_are_answered_at_once_and_come_in_order(shell, folder):
    shell.engine = Backwards()
    ran = shell.run("extract", str(folder), *ASK, "--at-once", "4")
    assert ran.status == 0, ran.stderr
    assert totals(lines(ran.stdout)) == [(f"{number}.txt", number) for number in range(COUNT)]
    assert shell.engine.most == 4
    assert shell.plans[0].sequences == 4
    assert "context for 4 at once" in ran.stderr


def test_as_many_as_memory_pays_for(shell, folder):
    """On a GPU."""
    shell.engine, shell.hardware = Clerks(), GAMER
    ran = shell.run("extract", str(folder), *ASK, "--at-once", "auto")
    assert (ran.status, shell.plans[0].sequences) == (0, 8)
    few = [str(folder / f"{number}.txt") for number in range(3)]
    shell.run("extract", *few, *ASK, "--at-once", "auto")
    assert shell.plans[1].sequences == 2  # no more than there are
    shell.run("extract", str(folder), *ASK, "--at-once", "auto", "--ctx", "8k")
    assert shell.plans[2].sequences == 4  # each has room for a page
    shell.run("extract", str(folder), *ASK, "--at-once", "64")
    assert shell.plans[3].sequences == 8
    parts = [sum(part.size_bytes for part in plan.ledger.account("RAM").parts)
             for plan in (shell.plans[1], shell.plans[0])]  # fmt: skip
    assert parts[0] < parts[1]


def test_a_processor_answers_one_after_another_unless_it_is_asked_for_more(shell, folder):
    """A batch costs it as much as its answers by themselves, or more."""
    shell.engine = Clerks()
    for count, wanted in (("auto", 1), ("4", 4)):
        ran = shell.run("extract", str(folder), *ASK, "--at-once", count)
        assert (ran.status, shell.plans[-1].sequences, shell.engine.most) == (0, wanted, wanted)


@pytest.mark.parametrize(
    ("speed", "pays"),
    [
        (None, False),
        (
            Speed(tokens_per_second=10.0, measured=False, reason="", read_tokens_per_second=900.0),
            False,
        ),
        (Speed(tokens_per_second=10.0, measured=True, reason=""), False),
        (
            Speed(tokens_per_second=10.0, measured=True, reason="", read_tokens_per_second=50.0),
            False,
        ),
        (
            Speed(tokens_per_second=10.0, measured=True, reason="", read_tokens_per_second=200.0),
            True,
        ),
    ],
)
def test_a_processor_that_reads_far_faster_than_it_writes(speed, pays):
    on_cpu = Plan(
        model=Path("a.gguf"), context_tokens=4096, batch_tokens=512, threads=2, speed=speed
    )
    assert pays_at_once(on_cpu, 30) is pays
    for placed, expected in ((31, True), (12, pays)):
        plan = replace(on_cpu, gpu_layers=placed, devices=("CUDA0",))
        assert pays_at_once(plan, 30) is expected


def test_the_plan_has_its_price(shell):
    said = [shell.run("plan", "--at-once", count, "--json") for count in ("1", "8")]
    ledgers = [json.loads(each.stdout)["ledger"][-1]["parts"] for each in said]
    one, eight = ({part["name"]: part["size_bytes"] for part in parts} for parts in ledgers)
    assert one["output"] * 8 == eight["output"]
    assert one["drafts"] < eight["drafts"]
    assert "32k context for 8 at once" in shell.run("plan", "--at-once", "8").stdout


@pytest.mark.parametrize("text", ["0", "65", "many", "-1"])
def test_what_is_no_number_of_documents_is_refused(shell, folder, text):
    ran = shell.run("extract", str(folder), *ASK, f"--at-once={text}", "--at-once", text)
    assert ran.status == ExitStatus.USAGE
    assert "is not `auto`, nor a number from 1 to 64" in ran.stderr


def test_a_bad_one_is_one_line_at_its_place_and_the_rest_goes_on(shell, folder):
    class Odd(Clerks):
        def wait(self, number):
            super().wait(number)
            if number == 2:
                raise DoesNotFit("it is too long")
            if number == 4:
                raise ZeroDivisionError("nobody foresaw it")

    (folder / "0b.pdf").write_bytes(b"%PDF-1.4 nothing")
    shell.engine = Odd()
    ran = shell.run("extract", str(folder), *ASK, "--at-once", "4")
    records = lines(ran.stdout)
    assert [Path(each["file"]).name for each in records] == sorted(
        path.name for path in folder.iterdir()
    )
    wrong = {Path(each["file"]).name: each["error"] for each in records if "error" in each}
    assert set(wrong) == {"0b.pdf", "2.txt", "4.txt"}
    assert "a bug in gemma-edge: ZeroDivisionError" in wrong["4.txt"]
    told = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert [name for line in told for name in wrong if name in line] == sorted(wrong)
    assert ran.stderr.splitlines()[-1].startswith("9 files: 6 documents extracted, 3 failed")


def test_one_whose_engine_stopped_is_asked_again(shell, folder):
    class Dying(Clerks):
        died = False

        def wait(self, number):
            super().wait(number)
            if number == 3 and not self.died:
                self.died = True
                raise EngineStopped("the engine stopped (SIGKILL); started again")

    shell.engine = Dying()
    ran = shell.run("extract", str(folder), *ASK, "--at-once", "4")
    assert ran.status == 0
    assert totals(lines(ran.stdout)) == [(f"{number}.txt", number) for number in range(COUNT)]
    assert ran.stderr.count("asking again") == 1


def test_ctrl_c_keeps_what_is_there_and_the_next_run_does_the_rest(shell, folder, tmp_path):
    class Pressed(Clerks):
        stopped = threading.Event()
        behind = (threading.Event(), threading.Event())

        def work(self, number, request):
            if number == 2 and not self.stopped.is_set():
                assert all(each.wait(20) for each in self.behind)
                time.sleep(0.5)  # from their last word to their record
                signal.raise_signal(signal.SIGINT)
                assert self.stopped.wait(20)
            elif number > 4 and not self.stopped.is_set():
                assert self.stopped.wait(20)
            try:
                yield from super().work(number, request)
            finally:
                if number in (3, 4):
                    self.behind[number - 3].set()

        def cancel(self):
            super().cancel()
            self.stopped.set()

    out = tmp_path / "out.jsonl"
    shell.engine = Pressed()
    ran = shell.run("extract", str(folder), *ASK, "--at-once", "4", "--out", str(out))
    assert ran.status == ExitStatus.INTERRUPTED
    first = [name for name, _ in totals(lines(out.read_text()))]
    assert first[:2] == ["0.txt", "1.txt"]
    assert "2.txt" not in first
    assert set(first) >= {"3.txt", "4.txt"}  # they were there
    shell.engine = Clerks()
    ran = shell.run("extract", str(folder), *ASK, "--at-once", "4", "--out", str(out))
    assert ran.status == 0
    assert sorted(totals(lines(out.read_text()))) == [(f"{n}.txt", n) for n in range(COUNT)]


def test_each_has_its_page_beside_it(shell, folder, tmp_path):
    shell.engine = Clerks()
    pages = tmp_path / "pages"
    ran = shell.run("extract", str(folder), *ASK, "--at-once", "4", "--html", str(pages))
    assert ran.status == 0, ran.stderr
    assert len(list(pages.iterdir())) == COUNT


def test_the_bundled_model_says_the_same_about_each(tmp_path):
    """20 documents, with a recipe's common beginning, one at a time and four at once."""
    folder = tmp_path / "letters"
    folder.mkdir()
    names = ("Acme", "Globex", "Initech", "Umbrella", "Hooli")
    for number in range(20):
        name = names[number % 5]
        (folder / f"{number:02}.txt").write_text(
            f"{name} Ltd.\nInvoice {100 + number}\nDate 2024-03-{number + 1:02}\n"
            f"Total {number + 3}.{number:02} EUR\n"
        )
    found = []
    for count in ("1", "4"):
        out = tmp_path / f"{count}.jsonl"
        argv = ["extract", str(folder), "-s", "vendor, invoice, total num", "--model", "demo"]
        argv += ["--offline", "--out", str(out), "--at-once", count, "--evidence", "inline"]
        status = main(argv, Context.from_process())
        assert status in (ExitStatus.OK, ExitStatus.RESULT)
        records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert len(records) == 20
        found.append([{**each, "seconds": 0, "evidence": _places(each)} for each in records])
    assert found[0] == found[1]


def _places(record):
    """Where its values stand; how sure the model was differs by the noise between batches."""
    return [{**each, "confidence": 0} for each in record["evidence"]]
