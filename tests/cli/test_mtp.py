"""``--draft mtp``: the drafter is found or fetched with its model, checked, planned, and shown."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemma_edge.engine import load
from gemma_edge.errors import ExitStatus
from gemma_edge.hardware.machine import Memory
from gemma_edge.store.measurements import Measurement, record_measurement
from gemma_edge.store.remote import StoreSettings
from tests.cli.conftest import E4B, E4B_DRAFTER, E4B_MODEL, LAPTOP, TEXT_MODEL, Online, Shell
from tests.cli.test_chat import Typist
from tests.conftest import WriteGguf

DRAFTER = Path(__file__).parents[1] / "models" / "assistant-random-Q8_0.gguf"
SIZES = {
    "attention.key_length": 32, "attention.key_length_swa": 16, "attention.sliding_window": 64,
    "attention.head_count": 4, "block_count": 8,
}  # fmt: skip
MODEL = TEXT_MODEL | {f"gemma4.{key}": value for key, value in SIZES.items()} | {
    "gemma4.attention.head_count_kv": 2,
    "gemma4.attention.sliding_window_pattern": [True, True, True, False] * 2,
}  # fmt: skip
GUESSES: dict[str, Any] = {
    "general.architecture": "gemma4-assistant",
    **{f"gemma4-assistant.{key}": value for key, value in SIZES.items()},
    "gemma4-assistant.block_count": 4,
    "gemma4-assistant.nextn_predict_layers": 4,
    "gemma4-assistant.embedding_length_out": 128,
}


def parts(text: str) -> set[str]:
    ledger = json.loads(text)["ledger"]
    return {part["name"] for account in ledger for part in account["parts"]}


@pytest.fixture
def local(shell: Shell, folder: Path, write_gguf: WriteGguf) -> Path:
    """A model that may have a drafter, alone in its folder."""
    (folder / "mine").mkdir()
    path = folder / "mine" / "model.gguf"
    path.write_bytes(write_gguf("whole.gguf", MODEL).read_bytes())
    return path


def beside(model: Path, write_gguf: WriteGguf, name: str = "mtp.gguf", **changes: Any) -> Path:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    path = model.parent / name
    path.write_bytes(write_gguf("drafter.gguf", GUESSES | named).read_bytes())
    return path


def test_one_that_lies_beside_the_model(
    shell: Shell, local: Path, write_gguf: WriteGguf
) -> None:  # fmt: skip
    drafter = beside(local, write_gguf)
    ran = shell.run("plan", str(local), "--draft", "mtp", "--json", model=False)
    assert ran.status == 0, ran.stderr
    assert json.loads(ran.stdout)["drafter"] == str(drafter)
    assert "drafter" in parts(ran.stdout)
    for more in ((), ("--draft", "lookup"), ("--draft", "auto"), ("--draft", "off")):
        ran = shell.run("plan", str(local), "--json", *more, model=False)
        assert json.loads(ran.stdout)["drafter"] is None
        assert "drafter" not in parts(ran.stdout)
    shell.script(["hello"] * 4)
    for flags in (("--draft", "mtp"), ("--drafter", str(drafter))):  # naming one asks for it
        assert shell.run("chat", "hi", "--model", str(local), *flags, model=False).status == 0
        assert shell.plans[-1].drafter == drafter
        assert shell.plans[-1].draft == "lookup"
    assert shell.run("chat", "hi", "--model", str(local), model=False).status == 0
    assert shell.plans[-1].drafter is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general__architecture": "gemma4"}, "is no drafter but `gemma4`"),
        ({"general__architecture": "qwen4-assistant"}, "cannot guess for `gemma4`"),
        ({"gemma4-assistant__embedding_length_out": 256}, "a width of 256, `model.gguf` has 128"),
        ({"gemma4-assistant__vocab_size": 8}, "a vocabulary of 8, `model.gguf` has 4"),
        ({"gemma4-assistant__nextn_predict_layers": 2}, "is damaged"),
        ({"gemma4-assistant__attention__key_length": 64}, "made for keys of 64"),
        ({"gemma4-assistant__attention__key_length_swa": 8}, "made for keys in a window of 8"),
        ({"gemma4-assistant__attention__head_count": 3}, "its 3 heads cannot share 2 pairs"),
    ],
)
def test_another_models_drafter(
    shell: Shell, local: Path, write_gguf: WriteGguf, changes: dict[str, Any], message: str
) -> None:
    path = beside(local, write_gguf, **changes)
    for command in (("plan", str(local)), ("chat", "hi", "--model", str(local))):
        ran = shell.run(*command, "--drafter", str(path), model=False)
        assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
        assert ran.stderr.startswith("error: `mtp.gguf` ") and message in ran.stderr
        assert "hint: --drafter takes" in ran.stderr
        ran = shell.run(*command, "--draft", "mtp", model=False)  # what does not fit is none
        assert ran.status == ExitStatus.MODEL
        assert "there is no drafter for `model.gguf`" in ran.stderr
    assert shell.plans == []


def test_a_model_that_ends_otherwise_has_none(
    shell: Shell, local: Path, write_gguf: WriteGguf
) -> None:  # fmt: skip
    path = beside(local, write_gguf)
    other = MODEL | {"gemma4.attention.sliding_window_pattern": [True, False, True, True] * 2}
    local.write_bytes(write_gguf("other.gguf", other).read_bytes())
    ran = shell.run("plan", str(local), "--drafter", str(path), model=False)
    assert ran.status == ExitStatus.MODEL and "ends otherwise" in ran.stderr


def test_what_cannot_be(shell: Shell, local: Path, write_gguf: WriteGguf) -> None:
    first = beside(local, write_gguf)
    run = ("chat", "hi", "--model", str(local))
    cut = local.parent / "cut.gguf"
    cut.write_bytes(first.read_bytes()[:-100])
    for flags, message, status in (
        (("--drafter", str(cut)), "cut.gguf` is cut off", ExitStatus.MODEL),
        (("--drafter", "no.gguf"), "there is no file `no.gguf`", ExitStatus.MODEL),
        (("--drafter", str(first), "--draft", "off"), "and --draft off", ExitStatus.USAGE),
        (("--draft", "eagle"), "--draft", ExitStatus.USAGE),
    ):
        ran = shell.run(*run, *flags, model=False)
        assert (ran.stdout, ran.status) == ("", status), ran.stderr
        assert message in ran.stderr
    second = beside(local, write_gguf, "second.gguf")
    ran = shell.run(*run, "--draft", "mtp", model=False)
    assert "`model.gguf` has several drafters" in ran.stderr
    assert f"hint: --drafter {first} or {second}" in ran.stderr


def huge(write_gguf: WriteGguf, row: int) -> bytes:
    """The head of a drafter with a tensor of two rows so long; its file is then grown by a hole."""
    rows = [("token_embd.weight", (32, 4), 0), ("blk.0.attn_q.weight", (1 << 16, 2), 0)]
    data = write_gguf("big.gguf", GUESSES, rows).read_bytes()
    return data.replace((1 << 16).to_bytes(8, "little"), row.to_bytes(8, "little"))


def test_where_it_does_not_fit_the_hint_goes_on_without(
    shell: Shell, local: Path, write_gguf: WriteGguf
) -> None:
    shell.hardware = replace(LAPTOP, memory=Memory(3 << 30, "3.0 GiB are available"))
    path, size = beside(local, write_gguf), 3 << 30
    path.write_bytes(huge(write_gguf, size // 8))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    run = ("plan", str(local), "--ctx", "512")
    ran = shell.run(*run, "--drafter", str(path), model=False)
    assert ran.status == ExitStatus.DOES_NOT_FIT, ran.stderr
    assert "hint: --draft lookup" in ran.stderr
    assert shell.run(*run, "--draft", "lookup", model=False).status == 0


# ----------------------------------------------------------------------------
# Without a word: where it was measured that it pays, it is here, and it takes nothing away.


def measured(shell: Shell, model: Path, times: float) -> None:
    settings = StoreSettings(data_dir=shell.home / ".local" / "share" / "gemma-edge")
    run = Measurement(
        device="CPU", backend="cpu", version="0", weights=f"{model.name}:{model.stat().st_size}",
        placement="cpu:1", moe=False, tokens_per_second=20.0, predicted_tokens_per_second=20.0,
        drafter_times=times,
    )  # fmt: skip
    assert record_measurement(settings, run) == ""


@pytest.mark.parametrize("times", [0.9, 1.05, 1.3])
def test_one_that_was_found_to_pay_is_used(
    shell: Shell, local: Path, write_gguf: WriteGguf, times: float
) -> None:
    drafter = beside(local, write_gguf)
    measured(shell, local, times)
    shell.script(["hello"] * 4)
    pays = times > 1.1
    ran = shell.run("plan", str(local), "--explain", model=False)
    assert (f"{drafter.name} guesses words ahead, as it paid here" in ran.stdout) == pays
    run = ("chat", "hi", "--model", str(local))
    assert shell.run(*run, model=False).status == 0
    assert shell.plans[-1].drafter == (drafter if pays else None)
    for mode in ("lookup", "off"):
        assert shell.run(*run, "--draft", mode, model=False).status == 0
        assert shell.plans[-1].drafter is None
    drafter.unlink()
    assert shell.run(*run, model=False).status == 0
    assert shell.plans[-1].drafter is None


def test_one_that_pays_takes_nothing_away(
    shell: Shell, local: Path, write_gguf: WriteGguf
) -> None:  # fmt: skip
    shell.hardware = replace(LAPTOP, memory=Memory(3 << 30, "3.0 GiB are available"))
    path, size = beside(local, write_gguf), 3 << 30
    path.write_bytes(huge(write_gguf, size // 8))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    measured(shell, local, 1.5)
    shell.script(["hello"])
    ran = shell.run("plan", str(local), "--explain", model=False)
    assert ran.status == 0, ran.stderr
    assert "there is no memory for it" in ran.stdout
    assert shell.run("chat", "hi", "--model", str(local), model=False).status == 0
    assert shell.plans[-1].drafter is None


# ----------------------------------------------------------------------------
# Of the catalogue.


@pytest.fixture
def hub(online: Online) -> Online:
    online.upload(E4B_MODEL, MODEL)
    online.upload(E4B_DRAFTER, GUESSES)
    return online


def test_it_is_fetched_with_its_model_when_it_is_asked_for(hub: Online) -> None:
    hub.shell.script(["hello"] * 4)
    assert hub.run("chat", "hi", "--model", "e4b", "--yes").status == 0
    assert not hub.path(E4B_DRAFTER).exists() and hub.shell.plans[-1].drafter is None
    ran = hub.run("chat", "hi", "--model", "e4b", "--draft", "mtp", "--offline")
    assert ran.status == ExitStatus.MODEL and E4B_DRAFTER in ran.stderr
    ran = hub.run("chat", "hi", "--model", "e4b", "--draft", "mtp", "--yes")
    assert ran.status == 0, ran.stderr
    assert hub.shell.plans[-1].drafter == hub.path(E4B_DRAFTER)
    ran = hub.run("plan", "e4b", "--draft", "mtp", "--json")
    assert json.loads(ran.stdout)["drafter"] == str(hub.path(E4B_DRAFTER))
    assert "drafter" in parts(ran.stdout)


def test_models_tell_whether_it_is_here(hub: Online) -> None:
    assert hub.run("pull", "e4b").status == 0
    assert "on disk\n" in hub.run("models", "e4b", width=200).stdout
    assert hub.run("pull", "e4b", "--drafter").status == 0
    assert "on disk, with drafter\n" in hub.run("models", "e4b", width=200).stdout


def test_it_is_planned_before_it_is_here(hub: Online) -> None:
    alone = hub.run("plan", "e2b", "--json")
    both = hub.run("plan", "e2b", "--json", "--draft", "mtp")
    assert "drafter" not in parts(alone.stdout) and "drafter" in parts(both.stdout)
    assert hub.hub.requests == []
    ran = hub.run("plan", "e2b:qat-q4_0", "--draft", "mtp")
    assert ran.status == ExitStatus.MODEL and "no drafter for `e2b:qat-q4_0`" in ran.stderr


def test_one_of_another_repository_is_refused(hub: Online) -> None:
    hub.upload("other.gguf", GUESSES, repo="me/mine")
    for name in ("e4b", "hf:me/mine/other.gguf"):
        assert hub.run("pull", name).status == 0
    other = hub.path("other.gguf", "me/mine")
    ran = hub.run("chat", "hi", "--model", "e4b", "--drafter", str(other))
    assert ran.status == ExitStatus.MODEL
    assert f"hf:{E4B}/{E4B_MODEL}` is of another repository" in ran.stderr


# ----------------------------------------------------------------------------
# For real: the bundled model with a drafter of random weights, in the engine's own process.


def test_the_whole_way(shell: Shell, folder: Path) -> None:
    run = ("chat", "who are you?", "--model", "demo", "--json", "--temperature", "0")
    said = []
    for flags in (("--draft", "off"), ("--drafter", str(DRAFTER))):
        ran = shell.run(*run, *flags, model=False, load=load)
        assert ran.status == 0, ran.stderr
        events = [json.loads(line) for line in ran.stdout.splitlines()]
        said.append("".join(each.get("text", "") for each in events))
    assert said[0] == said[1]
    usage = events[-1]["usage"]
    assert 0 < usage["guessed_tokens"] <= usage["drafted_tokens"]
    assert usage["guess_seconds"] > 0


def test_show_and_stats_tell_of_it(shell: Shell, folder: Path) -> None:
    typist = Typist("who are you?", "/show model", "/stats", EOFError)
    run = ("chat", "--model", "demo", "--temperature", "0", "--drafter", str(DRAFTER))
    ran = shell.run(*run, model=False, terminal=True, ask=typist, load=load, width=200)
    assert f"{DRAFTER.name} guesses words ahead" in ran.stderr
    assert re.search(r"guessed +\d+ of them by the drafter, \d+ of them said, in \d", ran.stderr)


@pytest.mark.parametrize("flag", ["--drafter", "--lora", "--mmproj", "--model"])
def test_a_hint_names_the_flag_that_named_the_file(
    shell: Shell, local: Path, tmp_path: Path, flag: str
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no model")
    model = () if flag == "--model" else ("--model", str(local))
    for path in (text, tmp_path):
        ran = shell.run("chat", "hi", *model, flag, str(path), model=False)
        assert ran.status == ExitStatus.MODEL
        hint = ran.stderr.partition("hint: ")[2]
        assert flag in hint and ("--model" in hint) == (flag == "--model")
