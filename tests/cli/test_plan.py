"""``gemma-edge plan``: pages on recorded machines, JSON, refusals, and what it may not do."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus
from gemma_edge.gguf import read_header
from gemma_edge.hardware.detect import parse_recording
from tests.cli.conftest import E4B_MODEL, GAMER, LAPTOP, PROJECTOR, TEXT_MODEL, Online, Ran
from tests.cli.golden_pages import FOLDER, PAGES, render, run
from tests.hardware.machines import NAMES, load

MADE_UP = ("plan", "--vram", "8GiB", "--ram", "16GiB", "--device", "RTX 4060", "--json", "--quiet")


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_as_it_was_last_read(name: str, tmp_path: Path):
    written = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert render(name, tmp_path) == written, "python -m tests.cli.golden_pages writes it"


@pytest.mark.parametrize("machine", NAMES)
def test_every_machine_gets_pages_that_fit_60_columns(machine: str, tmp_path: Path):
    hardware = parse_recording(load(machine))
    for line in ("", "plan", "plan --all", "models"):
        screen, status = run(hardware, line, tmp_path)
        long = [row for row in screen.splitlines() if len(row) > 60]
        allowed = {ExitStatus.OK, ExitStatus.DOES_NOT_FIT} if line == "plan" else {ExitStatus.OK}
        assert (status in allowed, long[1:]) == (True, []), f"{line}: {screen}"


def as_json(ran: Ran) -> dict:
    return json.loads(ran.stdout)


def test_json_says_everything_in_bytes_and_tokens(shell):
    plan = as_json(shell.run(*MADE_UP, model=False))
    assert (plan["fits"], plan["size"], plan["on_disk"], plan["exact"]) == (
        True,
        "12b",
        False,
        False,
    )
    placement = plan["placement"]
    assert placement["devices"] == ["CUDA0"]
    assert placement["layers_on_gpu"] == placement["layers"] == 48
    assert placement["context_tokens"] >= 8192
    for account in plan["ledger"]:
        assert account["total_bytes"] == sum(part["size_bytes"] for part in account["parts"])
        assert account["fits"] and account["total_bytes"] <= account["budget_bytes"]
    assert [account["place"] for account in plan["ledger"]] == ["CUDA0", "RAM"]
    assert plan["ledger"][1]["budget_bytes"] == 16 << 30
    assert not plan["speed"]["measured"]
    assert plan["reasons"]
    assert {each["size"] for each in plan["alternatives"]} >= {"e2b", "e4b"}
    assert plan["hardware"]["devices"][0]["title"] == "RTX 4060"


def test_a_computer_is_planned_as_itself_and_what_was_chosen_is_said(shell):
    ran = shell.run("plan", "--device", "Mac mini M4", "--json", model=False)
    plan = json.loads(ran.stdout)
    (device,) = plan["hardware"]["devices"]
    assert (device["title"], device["backend"], device["integrated"]) == ("Apple M4", "metal", True)
    assert plan["hardware"]["memory"]["total_bytes"] == 16 << 30
    assert "Apple M4 is planned with 16 GB, its least" in ran.stderr
    several = ("--device", "RTX 3090", "--device", "RTX 3060 12GB", "--json", "--quiet")
    devices = as_json(shell.run("plan", *several, model=False))["hardware"]["devices"]
    assert [each["title"] for each in devices] == ["RTX 3090", "RTX 3060"]


def test_a_number_of_threads_changes_no_model(shell):
    usual = as_json(shell.run("plan", "--json", "--quiet", model=False))
    many = as_json(shell.run("plan", "--threads", "9999", "--json", "--quiet", model=False))
    assert many["model"] == usual["model"]
    assert many["speed"]["tokens_per_second"] == usual["speed"]["tokens_per_second"]
    assert many["placement"]["threads"] == 4
    assert "4 of the 9999 asked for: 2 physical cores" in " ".join(many["reasons"])


def test_json_of_the_matrix(shell):
    shell.hardware = GAMER
    rows = as_json(shell.run("plan", "--all", "--json", "--quiet", model=False))["rows"]
    by_name = {row["model"]: row for row in rows}
    assert by_name["e4b"]["class"] == "gpu"
    assert by_name["26b-a4b"]["class"] == "experts"
    assert by_name["26b-a4b"]["placement"]["cpu_expert_layers"] > 0
    assert by_name["31b:q8_0"]["class"] == "no"
    assert "GiB" in by_name["31b:q8_0"]["reason"]


def test_what_was_pinned_is_kept(shell):
    shell.hardware = GAMER
    flags = ("--ctx", "16k", "--kv", "q8_0", "--cpu-experts", "25", "--no-vision", "--threads", "3")
    plan = as_json(shell.run("plan", "26b", *flags, "--json", "--quiet", model=False))
    placement = plan["placement"]
    assert (placement["context_tokens"], placement["kv_type"]) == (16_384, "q8_0")
    assert (placement["cpu_expert_layers"], placement["threads"]) == (25, 3)
    assert (placement["image_tokens"], plan["projector"]) == (0, None)


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("31b:q8_0", "GiB", "--"),
        ("e4b --ctx 256k", "262,144 tokens was asked for", "--ctx 131072"),
        ("e4b --require-gpu", "no GPU", "--require-gpu"),
        ("e2b --min-speed 5000", "5000", "--min-speed"),
        ("e4b --gpu-layers 7", "no GPU", "--gpu-layers 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_numbers(shell, line, error, hint):
    ran = shell.run("plan", *line.split(), model=False)
    assert (ran.stdout, ran.status) == ("", ExitStatus.DOES_NOT_FIT), ran.stderr
    said, way_out = ran.stderr.splitlines()
    assert said.startswith("error: ") and error in said
    assert way_out.startswith("hint: ") and hint in way_out


def test_nothing_fits_is_explained_and_is_a_document(shell):
    ran = shell.run("plan", "31b:q8_0", "--explain", model=False)
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert ran.stdout.lstrip().startswith("tried ")
    ran = shell.run("plan", "31b:q8_0", "--json", "--quiet", model=False)
    document = json.loads(ran.stdout)
    assert (ran.status, document["fits"]) == (ExitStatus.DOES_NOT_FIT, False)
    assert document["rungs"] and document["message"] in ran.stderr


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("e4b --model e2b", "the model is there twice"),
        ("model.gguf --quant q8", "--quant chooses among those of the catalogue"),
        ("e4b --quant q7", "Gemma 4 E4B has no quant `q7`"),
        ("--vram lots", "`lots` is not a size, like 8GiB or 512MiB"),
        ("--vram 8192", "`8192` is not a size, like 8GiB or 512MiB"),
        ("--vram 8GiB --vram 12GiB", "--vram is there 2 times: 8.0 GiB and 12.0 GiB"),
        ("--device 3060 --vram 8GiB --vram 12GiB", "--vram is there 2 times"),
        ("--ram 8GiB --ram 16GiB", "--ram is there 2 times"),
        ("--device ThinkPad", "no card or computer `ThinkPad` is known"),
        ("e4b --kv q4_0", "`q4_0` is none of f16, q8_0"),
        ("e5b", "there is no model `e5b`"),
    ],
)
def test_what_cannot_be_meant(shell, line, error):
    ran = shell.run("plan", *line.split(), model=False)
    assert ran.stdout == ""
    assert error in ran.stderr
    assert "hint: " in ran.stderr


def test_a_file_and_the_bundled_model(shell):
    ran = shell.run("plan", str(shell.model), "--mmproj", str(shell.projector), model=False)
    assert ran.stdout.startswith("model (768 B) on the CPU\n")
    ran = shell.run("plan", "demo", model=False)
    assert ran.stdout.startswith("bundled demo model (3.9 MiB) on the CPU\n")
    assert ran.stderr == ""  # its own header: nothing is estimated from the catalogue


# Headers from the hub, and what is on disk.


def big(online: Online) -> None:
    """A header whose weights are not there: the hub has the real dimensions of nothing."""
    online.upload(E4B_MODEL, TEXT_MODEL | {"gemma4.block_count": 42}, rows=100_000)


def test_without_a_header_the_catalogue_has_to_do_and_no_socket_is_opened(online: Online):
    ran = online.run("plan", "e4b")
    assert ran.status == 0
    assert "weights estimated from the catalogue; gemma-edge plan e4b --headers" in ran.stderr
    assert online.hub.requests == []


def test_a_header_is_read_once_and_then_it_is_exact(online: Online):
    big(online)
    ran = online.run("plan", "e4b", "--headers", "--json", "--quiet")
    plan = json.loads(ran.stdout)
    assert (plan["exact"], plan["on_disk"]) == (True, False)
    assert plan["weights_bytes"] > 12_000_000
    assert online.hub.sent_bytes < 1_000_000
    asked = len(online.hub.requests)
    assert json.loads(online.run("plan", "e4b", "--json", "--quiet").stdout) == plan
    assert online.run("plan", "e4b", "--headers", "--offline").status == 0
    assert len(online.hub.requests) == asked


def test_offline_fetches_no_header(online: Online):
    ran = online.run("plan", "e4b", "--headers", "--offline")
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    assert "--offline (or HF_HUB_OFFLINE) is set" in ran.stderr
    assert online.hub.requests == []


def test_a_file_of_the_hub_that_nobody_knows_is_planned_by_its_header(online: Online):
    online.upload("mine.gguf", TEXT_MODEL, "me/mine", rows=500_000)
    ran = online.run("plan", "hf:me/mine/mine.gguf")
    assert ran.stdout.startswith("hf:me/mine/mine.gguf (61.0 MiB) on the CPU\n")
    assert online.hub.sent_bytes < 1_000_000


def test_what_is_on_disk_is_planned_by_its_own_header(pulled: Online):
    plan = json.loads(pulled.run("plan", "e4b", "--json", "--quiet", "--offline").stdout)
    assert (plan["exact"], plan["on_disk"]) == (True, True)
    assert plan["file"] == str(pulled.path(E4B_MODEL))
    assert plan["weights_bytes"] == read_header(pulled.path(E4B_MODEL)).file_bytes


# Before a download.


def test_a_context_beyond_the_model_is_refused_before_the_download(online: Online):
    ran = online.run("chat", "hi", "--model", "e4b", "--ctx", "256k", "--yes")
    assert (ran.stdout, ran.status) == ("", ExitStatus.DOES_NOT_FIT)
    assert "262,144 tokens was asked for" in ran.stderr
    assert not any(online.cache.rglob("*.gguf"))
    assert online.hub.sent_bytes < 10_000


def test_what_does_not_fit_by_its_own_header_is_not_downloaded(online: Online):
    online.shell.hardware = replace(
        LAPTOP, memory=replace(LAPTOP.memory, available_bytes=2200 << 20)
    )  # of which 2 GiB are kept free
    big(online)
    ran = online.run("chat", "hi", "--model", "e4b", "--yes")
    assert (ran.stdout, ran.status) == ("", ExitStatus.DOES_NOT_FIT), ran.stderr
    assert "GiB" in ran.stderr
    assert not any(online.cache.rglob("*.gguf"))
    assert online.hub.sent_bytes < 1_000_000


def test_an_estimate_refuses_nobody(online: Online):
    """By the catalogue E4B needs more than this; the file that the hub has is a small one."""
    small = replace(LAPTOP.memory, available_bytes=2700 << 20)
    online.shell.hardware = replace(LAPTOP, memory=small)
    assert online.run("plan", "e4b").status == ExitStatus.DOES_NOT_FIT
    online.shell.script(["hello"])
    ran = online.run(
        "chat", "hi", "--model", "e4b", stdin="y\n", stdin_is_terminal=True,
        stderr_is_terminal=True,
    )  # fmt: skip
    assert (ran.stdout, ran.status) == ("hello\n", 0), ran.stderr


def test_the_bundled_projector_is_no_model(shell, write_gguf):
    wrong = write_gguf("wrong.gguf", PROJECTOR)
    ran = shell.run("plan", str(wrong), model=False)
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    assert "is a projector" in ran.stderr
