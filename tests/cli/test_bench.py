"""``gemma-edge bench``: what is measured, how it is shown and shared, what plans learn of it, and
the sentence at its end."""

import io
import json
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from gemma_edge.app.bench import (
    MUCH,
    Figure,
    ModelBench,
    advise,
    explain_difference,
    was_disturbed,
)
from gemma_edge.app.runtime import load_engine
from gemma_edge.engine.protocol import (
    Chunk,
    EngineInfo,
    Event,
    Finished,
    Request,
    Timings,
    Usage,
)
from gemma_edge.errors import EngineError, ExitStatus
from gemma_edge.planning.plan import ALL_LAYERS, Allocated, Plan, Speed
from tests.cli.conftest import GAMER, TEXT_MODEL, Ran, Shell
from tests.cli.test_demo_end_to_end import gemma_edge
from tests.cli.test_mtp import DRAFTER, GUESSES, MODEL
from tests.scripted import ScriptedEngine

ROOT = Path(__file__).parents[2]


class Paced(ScriptedEngine):
    """Reads at 1,000 and writes at ``speed`` tokens a second, twice as fast what drafts bring:
    ``copies`` of a text that it is to repeat; ``pays`` times as fast a story with its drafter. The
    answer of the number ``fails`` does."""

    def __init__(
        self, speed: float, *, copies: float = 0.75, pays: float = 1.0, fails: int = 0, **more
    ) -> None:
        super().__init__(speed=speed, **{"vision": False} | more)
        self.copies, self.pays, self.fails, self.filled = copies, pays, fails, 0

    def generate(self, request: Request) -> Iterator[Event]:
        self.requests.append(request)
        if len(self.requests) == self.fails:
            raise EngineError("the card fell off the bus", hint="gemma-edge doctor")
        tokens = self.count(request).total_tokens
        made = request.max_tokens or 1
        is_copy = made > 1 and request.constraint is None
        is_story = request.messages[0].text.startswith("Tell a story")
        usage = Usage(
            prompt_tokens=tokens, cached_tokens=0, evaluated_tokens=tokens, generated_tokens=made,
            accepted_tokens=int(made * (0.5 if is_story else self.copies)) if is_copy else 0,
            forced_tokens=made // 2 if request.constraint else 0,
        )  # fmt: skip
        reading = tokens / 1000
        timings = Timings(
            prompt_seconds=reading, first_token_seconds=reading + 0.01,
            decode_seconds=made / self._speed / (self.pays if is_story else 2),
            mask_seconds=0.00003 * (made - made // 2) if request.constraint else 0.0,
        )  # fmt: skip
        return iter([Chunk("x", "answer"), Finished("length", usage, timings)])

    def measure(self, tokens: int = 32, *, filled: bool = False) -> float:
        self.filled += filled
        return self._speed * (0.9 if filled else 1)


class Stopped(Paced):
    """Ctrl-C comes when its answer of that number begins."""

    def __init__(self, speed: float, at: int) -> None:
        super().__init__(speed)
        self.at, self.measured = at, 0

    def generate(self, request: Request) -> Iterator[Event]:
        if len(self.requests) + 1 == self.at:
            signal.raise_signal(signal.SIGINT)
        return super().generate(request)

    def measure(self, tokens: int = 32, *, filled: bool = False) -> float:
        self.measured += 1
        return super().measure(tokens, filled=filled)


@pytest.fixture
def models(shell: Shell, write_gguf) -> list[str]:
    """Two more files of models."""
    facts = TEXT_MODEL | {"gemma4.block_count": 8}
    return [str(write_gguf(name, facts)) for name in ("small.gguf", "large.gguf")]


def run(shell: Shell, *words: str, engines: dict[str, object] | None = None, **more) -> Ran:
    """With an engine for each file, by the beginning of its name."""
    if engines is not None:
        made = engines

        def load(plan: Plan):
            shell.plans.append(plan)
            return made[plan.model.stem]

        more["load"] = load
    return shell.run("bench", *words, model=False, **more)


def document(ran: Ran) -> dict:
    return json.loads(ran.stdout)


PAIR = {"small": lambda: Paced(40.0), "large": lambda: Paced(10.0)}


def pair() -> dict[str, object]:
    return {name: make() for name, make in PAIR.items()}


# ----------------------------------------------------------------------------
# What is measured.


def test_each_model_is_measured_in_turn(shell, models):
    engines = pair()
    ran = run(shell, *models, "--json", engines=engines)
    assert ran.status == 0, ran.stderr
    said = document(ran)
    assert [each["model"] for each in said["models"]] == ["small.gguf", "large.gguf"]
    for each, speed in zip(said["models"], (40.0, 10.0), strict=True):
        medians = {name: figure["median"] for name, figure in each["figures"].items()}
        assert medians["write_tokens_per_second"] == speed
        assert medians["filled_tokens_per_second"] == pytest.approx(0.9 * speed)
        assert medians["copy_tokens_per_second"] == pytest.approx(2 * speed)
        assert medians["json_tokens_per_second"] == pytest.approx(2 * speed)
        assert medians["read_tokens_per_second"] == pytest.approx(1000)
        assert medians["mask_seconds_per_token"] == pytest.approx(0.00003)
        assert 0 < medians["first_token_seconds"] < 0.1
        assert {len(f["rounds"]) for name, f in each["figures"].items() if "load" not in name} == {
            5
        }
        assert each["copied_share"] == pytest.approx(0.75, abs=0.01)
        assert each["read_tokens"] > 3000
        assert each["kept"]
    assert engines["small"].filled == 5


def test_nothing_is_answered_from_a_cache(shell, models):
    """Every prompt is read anew, and no round repeats a text or a picture of another."""
    engine = Paced(40.0, vision=True)
    flags = ("--mmproj", str(shell.projector))
    assert run(shell, models[0], *flags, engines={"small": engine}).status == 0
    assert all(each.fresh for each in engine.requests)
    rounds = [each for each in engine.requests if "large city" not in each.messages[0].text][1:]
    seen = [(each.messages[0].text, *(p.digest for p in each.messages[0].pictures))
            for each in rounds]  # fmt: skip
    assert len(seen) == len(set(seen)) == 5 * 4  # read, copy, JSON, picture
    assert sum(len(each.messages[0].pictures) for each in rounds) == 5


def test_a_slow_model_reads_and_writes_less(shell, models):
    fast, slow = Paced(40.0), Paced(0.5)
    said = document(
        run(shell, *models, "--quick", "--json", engines={"small": fast, "large": slow})
    )
    quick = document(run(shell, models[0], "--quick", "--json", engines={"small": Paced(40.0)}))
    assert said["length"] == "quick"
    assert {len(figure["rounds"]) for name, figure in said["models"][0]["figures"].items()
            if "load" not in name} == {2}  # fmt: skip
    assert said["models"][0]["read_tokens"] == quick["models"][0]["read_tokens"] < 600
    asked = [each.max_tokens for each in fast.requests if each.constraint]
    assert asked == [120, 120]  # what it writes in 3 seconds
    assert [each.max_tokens for each in slow.requests if each.constraint] == [32, 32]


def test_a_model_that_does_not_copy_says_so(shell, models):
    ran = run(shell, models[0], engines={"small": Paced(40.0, copies=0.0)})
    assert ran.status == 0
    assert "writes a copy" not in ran.stdout
    assert "copying is left out, it did not repeat the text" in ran.stdout


def test_without_drafts_nothing_is_copied(shell, models):
    ran = run(shell, models[0], "--draft", "off", "--json", engines={"small": Paced(40.0)})
    assert "copy_tokens_per_second" not in document(ran)["models"][0]["figures"]
    assert document(ran)["models"][0]["plan"]["draft"] == "off"


@pytest.mark.parametrize(
    ("share", "said"),
    [(100, "as planned"), (103, "3.0 % more than planned"), (90, "10.0 % less than planned")],
)
def test_memory_is_held_against_the_plan(shell, models, share, said):
    """By llama.cpp's own report, and by what the driver has less of."""
    shell.hardware = GAMER
    looks: list[int] = []

    class Reporting(Paced):
        @property
        def info(self) -> EngineInfo:
            accounts = shell.plans[-1].ledger.accounts
            parts = ("weights", "KV global", "KV window", "compute", "output")
            rows = [Allocated(each.place, part.name, part.size_bytes * share // 100)
                    for each in accounts for part in each.parts
                    if part.name in parts and not part.reclaimable]  # fmt: skip
            return replace(super().info, allocated=tuple(rows))

    def detect(_environment):
        looks.append(len(shell.plans))
        card = replace(GAMER.devices[0], free_bytes=(7 << 30) - len(shell.plans) * (5 << 30))
        return replace(GAMER, devices=(card,))

    more = {"engines": {"small": Reporting(40.0)}, "detect_hardware": detect}
    ran = run(shell, models[0], "--markdown", **more)
    assert looks == [0, 0, 1]  # to plan, before and after the load
    (row,) = [line for line in ran.stdout.splitlines() if line.startswith("| small")]
    assert f"{said}; the driver counts 5.0 GiB |" in row


@pytest.mark.parametrize(
    ("pays", "said"),
    [(1.6, "makes answers 1.6 times as fast; it is used from now on"),
     (0.8, "does not pay here, 0.8 times as fast; --draft lookup")],
)  # fmt: skip
def test_a_drafter_is_judged(shell, write_gguf, pays, said):
    model = write_gguf("small.gguf", MODEL)
    write_gguf("mtp.gguf", GUESSES)
    line = (str(model), "--draft", "mtp", "--json")
    ran = run(shell, *line, engines={"small": Paced(40.0, pays=pays)})
    (row,) = document(ran)["models"]
    assert row["plan"]["drafter"]
    assert row["figures"]["guessed_tokens_per_second"]["median"] == pytest.approx(40 * pays)
    assert row["guessed_share"] == 0.5
    assert any(said in each for each in row["remarks"])
    ran = run(shell, *line[:1], "--json", engines={"small": Paced(40.0, pays=pays)})
    (plain,) = document(ran)["models"]
    assert plain["plan"]["drafter"] == ("guessed_tokens_per_second" in plain["figures"])
    assert plain["plan"]["drafter"] == (pays > 1)
    ran = run(shell, *line[:1], "--json", "--draft", "lookup", engines={"small": Paced(40.0)})
    assert not document(ran)["models"][0]["plan"]["drafter"]


# ----------------------------------------------------------------------------
# What fails, and what is stopped.


def test_what_cannot_be_measured_is_said_and_the_rest_goes_on(shell, models):
    engines = {"small": Paced(40.0, fails=5), "large": Paced(10.0)}
    lines = ("e4b", "nowhere.gguf", *models, "31b:q8_0")
    ran = run(shell, *lines, engines=engines)
    assert ran.status == 0
    assert "large" in ran.stdout and "answers at" in ran.stdout
    said = ran.stderr.splitlines()
    assert "? e4b: `e4b` is not on this machine (4.8 GiB to download)" in said
    assert any(line.startswith("? nowhere.gguf: there is no file") for line in said)
    assert "? small: the card fell off the bus" in said
    assert any("gemma-edge pull e4b" in line for line in said)
    rows = document(run(shell, *lines, "--json", engines=engines | {"small": Paced(40.0, fails=5)}))
    assert [bool(each["problem"]) for each in rows["models"]] == [True, True, True, False, True]
    assert rows["models"][2]["figures"]["write_tokens_per_second"]["median"] == 40.0
    assert len(shell.plans) == 4  # what is not here was never loaded


def test_where_nothing_could_be_measured_the_first_problem_counts(shell):
    ran = run(shell, "nowhere.gguf", "e4b")
    assert (ran.status, len(shell.plans)) == (ExitStatus.MODEL, 0)
    assert "answers at" not in ran.stdout
    ran = run(shell, "demo", "--ctx", "512k")
    assert ran.status == ExitStatus.DOES_NOT_FIT


def test_nothing_is_downloaded_without_a_yes(online):
    asked = len(online.hub.requests)
    ran = online.run("bench", "e4b", terminal=True, ask=lambda _sign: "y")
    assert ran.status == ExitStatus.MODEL
    assert "gemma-edge pull e4b" in ran.stderr + ran.stdout
    assert not any("/resolve/" in each for each in map(str, online.hub.requests[asked:]))


def test_ctrl_c_keeps_what_was_measured(shell, models):
    small = Stopped(40.0, at=6)  # after the sizes and a round of four
    ran = run(shell, *models, "--json", engines={"small": small, "large": Paced(10.0)})
    assert ran.status == ExitStatus.INTERRUPTED
    (row,) = document(ran)["models"]
    assert (row["problem"], row["kept"]) == ("stopped", True)
    assert row["figures"]["write_tokens_per_second"]["rounds"] == [40.0, 40.0]
    assert row["figures"]["read_tokens_per_second"]["rounds"] == [pytest.approx(1000)]
    assert [plan.model.stem for plan in shell.plans] == ["small"]  # the next one is left alone
    assert small.measured == 4  # sizes, a round with both, one more: none at the end


def test_ctrl_c_before_anything_was_measured(shell, models):
    def stop(_plan: Plan):
        signal.raise_signal(signal.SIGINT)

    ran = run(shell, *models, load=stop)
    assert (ran.stdout, ran.status) == ("", ExitStatus.INTERRUPTED)
    assert "before anything was measured" in ran.stderr


@pytest.mark.parametrize(
    ("line", "error", "status"),
    [
        ("demo --model demo", "models are there twice", 2),
        ("demo --all", "--all and a model do not go together", 2),
        ("demo --json --markdown", "--json and --markdown do not go together", 2),
        ("demo --plot speed.pdf", "--plot draws no `.pdf`", 2),
        ("demo --plot speed", "--plot draws no `speed`", 2),
        ("demo --plot no/such/speed.svg", "is in a folder that is not there", 3),
        ("--all", "no Gemma 4 is on this machine", 4),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_measured(shell, line, error, status):
    ran = run(shell, *line.split())
    assert (ran.stdout, ran.status, shell.plans) == ("", status, [])
    said, way_out = ran.stderr.splitlines()
    assert said.startswith("error: ") and error in said
    assert way_out.startswith("hint: ")


def test_a_folder_that_takes_no_plot_costs_the_plot_alone(shell, models, tmp_path):
    place = tmp_path / "speed.svg"

    class Occupying(Paced):
        def close(self) -> None:
            place.mkdir(exist_ok=True)

    ran = run(shell, models[0], "--plot", str(place), engines={"small": Occupying(40.0)})
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert "answers at" in ran.stdout
    assert "error: " in ran.stderr and "speed.svg cannot be written" in ran.stderr


def test_all_are_those_of_the_store(pulled):
    pulled.shell.engine = Paced(40.0)
    ran = pulled.run("bench", "--all", "--json")
    assert [each["model"] for each in json.loads(ran.stdout)["models"]] == ["e4b"]


# ----------------------------------------------------------------------------
# How it is shown.


def test_the_page_has_a_table_bars_and_the_sentence(shell, models):
    ran = run(shell, *models, engines=pair())
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("gemma-edge ") and "llama.cpp 0.3.36" in lines[0]
    (writes,) = [line for line in lines if line.startswith("  writes  ") and "tok/s" in line]
    assert re.search(r"writes +40\.0 tok/s ±0 % +10\.0 tok/s ±0 %$", writes)
    assert "80.0 tok/s ±0 %, 74 %" in ran.stdout
    bars = [line for line in lines if "█" in line]
    full = {line.split("█")[0].split()[-1]: line.count("█") for line in bars
            if line.split()[-1] in ("40.0", "10.0")}  # fmt: skip
    assert full["small"] == 4 * full["large"] > 0
    said = "small answers at 30 words a second, large at 8"
    assert re.fullmatch(said.replace("30", r"\d+").replace("8", r"\d+") + ": choose small here.*",
                        lines[-1])  # fmt: skip
    assert "gemma-edge plan counts with these speeds" in ran.stderr


@pytest.mark.parametrize("width", [50, 80])
def test_it_fits_the_terminal_and_has_no_colours(shell, models, width):
    for more in ({"terminal": True, "environment": {"NO_COLOR": "1"}}, {}):
        ran = run(shell, *models, engines=pair(), width=width, **more)
        page = ran.stdout if not more else ran.stdout + ran.stderr
        assert ran.status == 0
        assert "\x1b" not in page
        table = [line for line in page.splitlines() if "tok/s" in line or "█" in line]
        assert max(map(len, table)) <= width
        rows = [line for line in table if line.startswith("  writes  ") and "tok/s" in line]
        assert len(rows) == (1 if width == 80 else 2)  # side by side, or below each other


def test_quiet_leaves_the_result(shell, models):
    ran = run(shell, models[0], "--quiet", engines={"small": Paced(40.0)})
    assert ran.stderr == ""
    assert "answers at" in ran.stdout


def test_ascii_where_nothing_else_can_be_shown(shell, models):
    ran = run(shell, models[0], engines={"small": Paced(40.0)}, encoding="ascii")
    assert "##" in ran.stdout
    assert "\\u2588" not in ran.stdout


def test_plots_are_pictures_with_a_bar_a_figure(shell, models, tmp_path):
    svg, png = tmp_path / "speed.svg", tmp_path / "speed.PNG"
    for place in (svg, png):
        ran = run(shell, *models, "--plot", str(place), engines=pair())
        assert ran.status == 0, ran.stderr
        assert f"drawn into {place}" in ran.stderr
    tree = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
    inside = "{http://www.w3.org/2000/svg}"
    texts = [each.text for each in tree.iter(f"{inside}text")]
    assert {"gemma-edge bench", "small", "large", "40.0", "10.0"} <= set(texts)
    assert any(text and "choose small here" in text for text in texts)
    drawn = [each for each in tree.iter(f"{inside}rect") if each.get("height") == "14.0"]
    bars = [each for each in drawn if each.get("fill") in ("#0072b2", "#e69f00")]
    figures = 6  # read, write, filled, copy, JSON, first word
    assert len(bars) == 2 * figures
    with Image.open(png) as image:
        image.load()
        assert image.format == "PNG"
        assert image.width == 2 * int(tree.get("width"))
        assert image.height == 2 * int(tree.get("height"))
        colours = {colour for _, colour in image.getcolors(1 << 20)}
    assert {(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0xFF, 0xFF, 0xFF)} <= colours


def test_a_name_in_a_plot_is_text(shell, write_gguf, tmp_path):
    name = 'a<b>&"c"'
    model = write_gguf("model2.gguf", TEXT_MODEL | {"gemma4.block_count": 8})
    odd = model.rename(tmp_path / f"{name}.gguf")
    place = tmp_path / "speed.svg"
    ran = run(shell, str(odd), "--plot", str(place), engines={name: Paced(40.0)})
    assert ran.status == 0, ran.stderr
    texts = [each.text for each in ElementTree.fromstring(place.read_text("utf-8")).iter()]
    assert f"gemma-edge bench: {name}" in texts
    assert any(text and text.startswith(f"{name} answers at") for text in texts)


def test_markdown_has_a_row_a_model(shell, models):
    ran = run(shell, *models, "e4b", "--markdown", engines=pair())
    rows = [line for line in ran.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert len({row.count("|") for row in rows}) == 1
    head = [cell.strip() for cell in rows[0].split("|")]
    small = dict(zip(head, (cell.strip() for cell in rows[2].split("|")), strict=True))
    assert small["model"] == "small"
    assert small["writes"] == "40.0 tok/s ±0 %"
    assert "not on this machine" in rows[4]
    assert "choose small here" in ran.stdout.splitlines()[-1]


def test_what_is_shared_names_no_folder_and_no_address(shell, models, tmp_path):
    """Nor does a picture of it; the person at the terminal is told all."""
    far = "RPC0[192.168.7.9:50052]"
    card = replace(GAMER.devices[0], title=far, backend="rpc")
    shell.hardware = replace(GAMER, devices=(card,), variables=(f"LIB={tmp_path}",))
    damaged = tmp_path / "anna" / "damaged.gguf"
    damaged.parent.mkdir()
    damaged.write_bytes(b"GGUF")
    lines = (*models, str(damaged), str(tmp_path / "nowhere.gguf"))
    plot = tmp_path / "speed.svg"
    for form in ("--json", "--markdown"):
        ran = run(shell, *lines, form, "--plot", str(plot), engines=pair())
        assert ran.status == 0, ran.stderr
        for text in (ran.stdout, plot.read_text(encoding="utf-8")):
            for secret in (str(tmp_path), tmp_path.name, "anna", "192.168.7.9", "LIB="):
                assert secret not in text
        assert "damaged.gguf" in ran.stdout
        assert "anna" in ran.stderr


def test_json_says_what_was_measured_on_which_machine(shell, models):
    shell.hardware = GAMER
    said = document(run(shell, models[0], "--json", "--quiet", engines={"small": Paced(40.0)}))
    assert set(said) == {
        "gemma_edge", "python", "build", "machine", "length", "busy_programs", "models", "advice",
    }  # fmt: skip
    assert said["build"]["llama_cpp_python"] == "0.3.36"
    (device,) = said["machine"]["devices"]
    assert (device["title"], device["driver"]) == ("RTX 4060 Laptop", "580.65")
    (row,) = said["models"]
    assert row["plan"]["devices"] == ["CUDA0"]
    assert "variables" not in row["plan"]
    assert row["expected"]["measured"] is False
    for figure in row["figures"].values():
        assert figure["low"] <= figure["median"] <= figure["high"]


# ----------------------------------------------------------------------------
# What plans learn.


def planned(shell: Shell, model: str) -> dict:
    ran = shell.run("plan", model, "--json", "--quiet", model=False)
    return json.loads(ran.stdout)["speed"]


def test_the_next_plan_counts_with_what_was_measured(shell, models):
    assert not planned(shell, models[0])["measured"]
    run(shell, models[0], "--quick", engines={"small": Paced(40.0)})
    found = planned(shell, models[0])
    assert (found["measured"], found["tokens_per_second"]) == (True, 40.0)
    assert found["read_tokens_per_second"] == pytest.approx(1000)
    page = shell.run("plan", models[0], model=False).stdout
    assert "40 tok/s, measured on this machine" in page
    assert "read 1,000 tokens of a prompt a second" in page
    said = document(run(shell, models[0], "--json", engines={"small": Paced(20.0)}))
    assert said["models"][0]["expected"] == {"tokens_per_second": 40.0, "measured": True}
    assert "40 it had when it was measured before" in said["models"][0]["remarks"][0]
    assert planned(shell, models[0])["tokens_per_second"] == 20.0


def test_what_other_programs_slowed_down_is_shown_and_not_kept(shell, models):
    before = planned(shell, models[0])["tokens_per_second"]
    slow = before / MUCH / 2
    ran = run(shell, models[0], engines={"small": Paced(slow)}, busy_programs=lambda: 3)
    assert "3 other programs wanted a core; it is not kept" in " ".join(ran.stdout.split())
    assert "counts with these speeds" not in ran.stderr
    assert not planned(shell, models[0])["measured"]
    run(shell, models[0], engines={"small": Paced(slow)})
    assert planned(shell, models[0])["tokens_per_second"] == slow


# ----------------------------------------------------------------------------
# The sentences.

QUALITY = {"e2b": 1, "e4b": 2, "12b": 3, "26b": 4}
SHORT = {"e2b": "E2B", "e4b": "E4B", "12b": "12B", "26b": "26B-A4B", "x": "x", "y": "y"}


def row(size: str, speed: float, **more) -> ModelBench:
    quality = (QUALITY[size],) if size in QUALITY else ()
    figures = {"write_tokens_per_second": Figure((speed,))} if speed else {}
    facts = {"name": size, "title": f"{SHORT[size]} Q4 QAT", "short": SHORT[size]}
    return ModelBench(**{"figures": figures, "quality": quality} | facts | more)


@pytest.mark.parametrize(
    ("speeds", "sentence"),
    [
        ({"12b": 12, "26b": 4},
         "12B answers at 9 words a second, 26B-A4B at 3: "
         "choose 12B here, 26B-A4B is slower than one reads"),
        ({"e4b": 61, "26b": 19},
         "E4B answers at 46 words a second, 26B-A4B at 14: "
         "choose 26B-A4B where answers matter, E4B (3.2 times as fast) for speed"),
        ({"e4b": 140, "12b": 70},
         "E4B answers at 105 words a second, 12B at 52: "
         "choose 12B here; E4B is 2.0 times as fast, but nobody reads so fast"),
        ({"12b": 20, "26b": 40},
         "12B answers at 15 words a second, 26B-A4B at 30: "
         "choose 26B-A4B here, the better one loses no time"),
        ({"12b": 40, "26b": 38},
         "12B answers at 30 words a second, 26B-A4B at 28: "
         "choose 26B-A4B here, the better one loses no time"),
        ({"12b": 2, "26b": 0.8},
         "12B answers at 1.5 words a second, 26B-A4B at 0.6: "
         "all are slower than one reads; choose 12B here, or a smaller model"),
        ({"x": 10, "y": 30},
         "x answers at 8 words a second, y at 22: choose y here, it is the faster one"),
        ({"e4b": 60}, "E4B answers at 45 words a second: faster than anyone reads along"),
        ({"12b": 8}, "12B answers at 6 words a second: fast enough to read along"),
        ({"26b": 4},
         "26B-A4B answers at 3 words a second: slower than one reads; a smaller model answers "
         "sooner (gemma-edge plan --all)"),
        ({"12b": 12, "26b": 0},
         "12B answers at 9 words a second: fast enough to read along"),
        ({"12b": 0}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_the_advice_follows_from_the_numbers(speeds, sentence):
    assert advise([row(name, speed) for name, speed in speeds.items()]) == sentence


def test_three_models_and_two_that_are_too_slow():
    said = advise([row("e4b", 30), row("12b", 4), row("26b", 5)])
    assert said.endswith("choose E4B here, 12B and 26B-A4B are slower than one reads")


def test_models_of_one_size_are_told_apart():
    rows = [row("12b", 12, name="12b"), row("12b", 6, name="12b:q8_0", title="12B Q8")]
    assert advise(rows).startswith("12B Q4 QAT answers at 9 words a second, 12B Q8 at 4: choose")
    twins = advise([row("12b", 12), row("12b", 12)])
    assert twins.startswith("12b (1) answers at 9 words a second, 12b (2) at 9")


def test_the_miniature_is_no_choice():
    demo = row("x", 900, bundled=True)
    assert "says nothing about Gemma 4" in advise([demo])
    assert advise([demo, row("e4b", 60)]) == advise([row("e4b", 60)])


def test_words_are_those_of_the_models_own_tokens():
    assert advise([row("e4b", 60, words_per_token=0.5)]).startswith("E4B answers at 30 words")


ON_GPU = Plan(
    model=Path("x"), context_tokens=8192, batch_tokens=512, devices=("CUDA0",),
    gpu_layers=ALL_LAYERS,
)  # fmt: skip
ON_CPU = replace(ON_GPU, devices=(), gpu_layers=0)


def expected(rate: float, *, measured: bool = False) -> Speed:
    return Speed(tokens_per_second=rate, measured=measured, reason="")


@pytest.mark.parametrize(
    ("speed", "before", "plan", "busy", "said"),
    [
        (60, expected(70), ON_GPU, None, ""),
        (60, expected(89), ON_GPU, 4, ""),
        (30, expected(60), ON_CPU, None, "30 tok/s, 60 were expected: main memory is slower"),
        (30, expected(60), ON_CPU, 1, "another program wanted a core; it is not kept"),
        (9, expected(60, measured=True), ON_CPU, None, "9.0 tok/s, 60 it had when it was measured"),
        (90, expected(40), ON_CPU, None, "the estimate was too careful; a larger model may do"),
        (90, expected(40, measured=True), ON_CPU, None, "the machine had less to do than then"),
    ],
)
def test_a_difference_is_said_with_what_it_means(speed, before, plan, busy, said):
    found = explain_difference(row("e4b", speed, expected=before, plan=plan), busy)
    assert (said in found) if said else found == ""


def test_a_difference_of_the_miniature_means_nothing():
    assert (
        explain_difference(row("x", 9, expected=expected(60), plan=ON_CPU, bundled=True), 3) == ""
    )


@pytest.mark.parametrize(
    ("speed", "busy", "disturbed"),
    [(30, 2, True), (30, None, False), (30, 0, False), (50, 2, False)],
)
def test_what_was_disturbed(speed, busy, disturbed):
    assert was_disturbed(row("e4b", speed, expected=expected(60)), busy) == disturbed


# ----------------------------------------------------------------------------
# The bundled model, really.


def test_the_bundled_model_is_measured_and_plans_know_it(shell):
    """With llama.cpp; the machine is a made-up one, so that nothing else runs on it."""
    ran = run(shell, "demo", "--quick", "--json", load=load_engine)
    assert ran.status == 0, ran.stderr
    (demo,) = document(ran)["models"]
    assert set(demo["figures"]) >= {
        "read_tokens_per_second", "write_tokens_per_second", "filled_tokens_per_second",
        "json_tokens_per_second", "first_token_seconds", "first_image_seconds",
        "mask_seconds_per_token",
    }  # fmt: skip
    assert 400 < demo["read_tokens"] < 700
    assert demo["figures"]["mask_seconds_per_token"]["median"] > 0
    found = planned(shell, "demo")
    assert found["measured"]
    median = demo["figures"]["write_tokens_per_second"]["median"]
    assert found["tokens_per_second"] == pytest.approx(median, rel=1e-4)


def test_a_drafter_is_measured(shell):
    line = ("demo", "--quick", "--draft", "mtp", "--drafter", str(DRAFTER), "--json")
    ran = run(shell, *line, load=load_engine)
    assert ran.status == 0, ran.stderr
    (demo,) = document(ran)["models"]
    assert demo["plan"]["drafter"]
    assert demo["figures"]["guessed_tokens_per_second"]["median"] > 0
    assert any("its drafter" in each for each in demo["remarks"])


def test_as_a_person_runs_it(tmp_path):
    plot = tmp_path / "speed.png"
    world = {"XDG_DATA_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    ran = gemma_edge("bench", "--quick", "--plot", str(plot), "--markdown", **world)
    assert ran.returncode == 0, ran.stderr
    (row_of_demo,) = [line for line in ran.stdout.splitlines() if "bundled demo model |" in line]
    assert "as planned" in row_of_demo
    assert "says nothing about Gemma 4" in ran.stdout
    with Image.open(io.BytesIO(plot.read_bytes())) as image:
        assert image.format == "PNG"
