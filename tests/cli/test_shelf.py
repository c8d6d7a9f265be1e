"""What is on this machine and what there is: ``models``, ``list``, ``show``."""

import hashlib
import json
import os
import re
import time
from pathlib import Path

import pytest

from gemma_edge import catalog
from gemma_edge.app.models import name_of
from gemma_edge.errors import ExitStatus
from gemma_edge.units import render_bytes
from tests.cli.conftest import DAY, E4B, E4B_MODEL, E4B_PROJECTOR, TEXT_MODEL, Online, Shell
from tests.store.hub import Fault

HF_MODEL, HF_PROJECTOR = f"hf:{E4B}/{E4B_MODEL}", f"hf:{E4B}/{E4B_PROJECTOR}"
MODEL, USAGE = ExitStatus.MODEL, ExitStatus.USAGE


def refused(ran, status: ExitStatus, message: str, hint: str) -> None:
    assert (ran.stdout, ran.status) == ("", status), ran.stderr
    assert ran.stderr.splitlines() == [f"error: {message}", f"hint: {hint}"]


# models


def test_models_shows_every_size_with_its_quants(pulled: Online):
    ran = pulled.run("models")
    assert ran.status == 0
    lines = ran.stdout.splitlines()
    assert "Gemma 4 E4B · 7.5B parameters, 4.5B active · 131,072 tokens of context" in lines
    # The model on disk is a few bytes that the tests made; the others are as the catalogue says.
    assert re.search(r"\n  e4b                 Q4 QAT    3.9 GiB   CPU, .*, on disk\n", ran.stdout)
    assert "  12b:q8_0            Q8        11.8 GiB  no" in lines  # of 8 GiB
    assert re.search(r"\n  e2b:q6_k            Q6                  CPU, \d+k, ~.*/s\n", ran.stdout)
    assert "8.0 GiB are available" in ran.stderr
    for size in catalog.sizes():
        for quant in size.quants:
            assert any(line.split()[:1] == [name_of(size, quant)] for line in lines)


def test_models_shows_every_size_that_is_known(online: Online):
    rows = {line.split()[0]: line for line in online.run("models").stdout.splitlines() if line}
    for size in catalog.sizes():
        for quant in size.quants:
            known = quant.model.size_bytes
            shown = re.search(r"  ([\d.]+ GiB)  ", rows[name_of(size, quant)])
            assert (shown and shown[1]) == (known and render_bytes(known))


def test_each_name_that_models_shows_means_that_quant():
    for size in catalog.sizes():
        for quant in size.quants:
            found = catalog.wanted(name_of(size, quant))
            assert (found.size, found.quant, found.note) == (size, quant, "")


def test_models_of_the_bundled_one(shell: Shell):
    ran = shell.run("models", "demo", model=False)
    assert (ran.status, ran.stderr) == (0, "")
    assert "part of gemma-edge" in ran.stdout


def test_models_of_one_size(online: Online):
    ran = online.run("models", "27b")
    assert ran.stdout.startswith("Gemma 4 31B · 30.7B parameters · 262,144 tokens of context\n")
    assert ran.stderr.startswith("`27b` is a size of Gemma 3")
    assert online.run("models", "demo").stdout.startswith("bundled demo model\n")
    refused(online.run("models", "e5b"), MODEL, "there is no model `e5b`", "did you mean `e4b`?")


def test_models_as_json(pulled: Online):
    document = json.loads(pulled.run("models", "--json", "--quiet").stdout)
    assert document["bundled"] == ["demo"]
    e4b = next(each for each in document["models"] if each["name"] == "e4b")
    first = e4b["quants"][0]
    assert (first["name"], first["default"], first["model"]["on_disk"]) == ("e4b", True, True)
    assert not first["drafter"]["on_disk"]
    assert (first["fits"]["class"], first["fits"]["context_tokens"]) == ("cpu", 32_768)
    assert e4b["quants"][-1]["fits"]["class"] == "no"
    assert first["model"]["name"] == HF_MODEL


def test_models_fits_60_columns_of_a_terminal(online: Online):
    ran = online.run("models", terminal=True, width=60)
    assert max(map(len, ran.stdout.splitlines())) < 60


# list


def test_list(pulled: Online):
    pulled.run("import", str(pulled.shell.model))
    for path in pulled.cache.rglob("*"):
        if path.is_file():
            touch(path, 19_997.5 * DAY)
    touch(pulled.shell.home / ".local/share/gemma-edge/models/model.gguf", 20_000.0 * DAY)
    ran = pulled.run("list")
    assert ran.stdout == (
        f"736 B  2 days ago  e4b            {HF_MODEL}\n"
        f"512 B  2 days ago  e4b projector  {HF_PROJECTOR}\n"
        "768 B  today                      model.gguf\n"
    )
    assert re.fullmatch(r"3 files, 2\.0 KiB, [\d.]+ \wiB free\n", ran.stderr)
    rows = json.loads(pulled.run("list", "--json").stdout)["files"]
    assert [row["model"] for row in rows] == ["e4b", "e4b projector", None]
    assert rows[0]["path"] == str(pulled.path(E4B_MODEL))


def touch(path: Path, seconds: float) -> None:
    os.utime(path, (seconds, seconds))


def test_a_part_is_listed_and_can_be_removed(online: Online):
    online.upload("big.gguf", TEXT_MODEL, repo="me/mine", rows=20_000)
    online.hub.always["storage"] = Fault(bytes_per_second=500_000)

    def pressed() -> float:
        if online.hub.sent_bytes > 300_000:
            raise KeyboardInterrupt
        return 0.0

    assert online.run("pull", "hf:me/mine/big.gguf", clock=pressed, now=time.time).status == 130
    (row,) = json.loads(online.run("list", "--json").stdout)["files"]
    assert (row["where"], row["name"].rpartition("/")[0]) == ("incomplete", "hf:me/mine")
    assert "  incomplete  hf:me/mine/" in online.run("list").stdout
    assert "on disk" not in online.run("models").stdout
    assert online.run("verify").stderr == "0 files, 0 B read\n"
    assert online.run("rm", row["name"], "--yes").status == 0
    assert json.loads(online.run("list", "--json").stdout) == {"files": []}


def test_plain_files_are_listed_shown_and_removed(online: Online, folder: Path):
    plain = ("--models-dir", "plain")
    assert online.run("pull", "e4b", *plain).status == 0
    assert "e4b projector" in online.run("list", *plain).stdout
    assert online.run("verify", *plain).stdout.count("right") == 2
    path = folder / "plain" / E4B / E4B_MODEL
    assert online.run("path", "e4b", *plain).stdout == f"{path}\n"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(online.run("show", "e4b", "--json", *plain).stdout)["sha256"] == sha256
    assert online.run("rm", "e4b", "--yes", *plain).status == 0
    assert not path.exists()
    assert online.run("path", "e4b").status == MODEL  # nothing of it was in the cache


def test_an_empty_list_says_what_to_do(online: Online):
    ran = online.run("list")
    assert ran.stdout == ""
    assert ran.stderr.startswith("no model is on this machine yet; gemma-edge models")
    assert json.loads(online.run("list", "--json").stdout) == {"files": []}


# show


def test_show_a_file_in_the_cache(pulled: Online):
    path = pulled.path(E4B_MODEL)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    asked = len(pulled.hub.requests)
    for name in ("e4b", HF_MODEL, str(path)):
        ran = pulled.run("show", name, "--offline")
        assert ran.stdout == (
            f"file           {path}\n"
            "size           736 B (736 bytes)\n"
            f"sha256         {sha256}\n"
            "architecture   gemma4\n"
            "context        131,072 tokens\n"
            "chat template  none\n"
            "tensors\n"
            "  F32  1  512 B\n"
            "metadata\n"
            "  general.architecture     gemma4\n"
            "  gemma4.context_length    131072\n"
            "  gemma4.embedding_length  128\n"
        )
    assert len(pulled.hub.requests) == asked


def test_show_a_file_on_the_hub_by_its_header(online: Online):
    data = online.upload(E4B_MODEL, TEXT_MODEL, rows=100_000)  # 12 MB of weights
    ran = online.run("show", "e4b", "--json")
    assert ran.status == 0, ran.stderr
    shown = json.loads(ran.stdout)
    assert shown["file"] == f"{HF_MODEL}@{online.hub.repos[E4B][-1].commit}"
    assert shown["sha256"] == hashlib.sha256(data).hexdigest()
    assert shown["metadata"]["gemma4.context_length"] == 131072
    assert shown["tensors"] == [{"type": "F32", "count": 1, "size_bytes": 12_800_000}]
    assert online.hub.sent_bytes < 1_000_000
    assert list(online.cache.rglob("*.gguf")) == []


def test_show_the_bundled_model_and_an_imported_one(online: Online):
    assert "architecture   gemma4\n" in online.run("show", "demo").stdout
    online.run("import", str(online.shell.model))
    ran = online.run("show", "model.gguf")
    assert f"\nsha256         {hashlib.sha256(online.shell.model.read_bytes()).hexdigest()}\n" in (
        ran.stdout
    )


def test_show_what_a_hostile_file_says(online: Online, write_gguf):
    path = write_gguf("worse.gguf", {"general.architecture": "a\x1b[2J"})
    ran = online.run("show", str(path))
    assert (ran.status, "\x1b" in ran.stderr) == (4, False)
    assert '`general.architecture` is "a?[2J"' in ran.stderr
    odd = {"general.architecture": "odd", "x": float("inf"), "long": "é" * 100}
    path = write_gguf("odd.gguf", odd | {"t": "two\nlines", "list": [1, 2, 3]})
    ran = online.run("show", str(path))
    assert "\x1b" not in ran.stdout
    assert "architecture   odd\n" in ran.stdout
    assert f"  long                  {'é' * 52}… (100 characters)\n" in ran.stdout
    assert "  t                     two\\nlines\n" in ran.stdout
    assert json.loads(online.run("show", str(path), "--json").stdout)["metadata"]["x"] == "inf"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.gguf", "there is no file `nowhere.gguf`"),
        ("text.gguf", "`text.gguf` is not a GGUF file"),
        ("nope", "there is no model `nope`"),
        ("hf:me/no/x.gguf", "there is no repository me/no"),
    ],
)
def test_show_what_is_none(online: Online, folder: Path, name: str, message: str):
    (folder / "text.gguf").write_text("hello", encoding="utf-8")
    ran = online.run("show", name)
    assert (ran.stdout, ran.status) == ("", MODEL)
    assert ran.stderr.startswith(f"error: {message}")
    assert ran.stderr.splitlines()[1].startswith("hint: ")
