"""``pull``, and what ``chat``, ``describe`` and ``extract`` fetch by themselves."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from gemma_edge import catalog
from gemma_edge.catalog import CatalogFile
from gemma_edge.errors import ExitStatus
from gemma_edge.units import render_bytes
from tests.cli.conftest import (
    E4B,
    E4B_DRAFTER,
    E4B_MODEL,
    E4B_PROJECTOR,
    PROJECTOR,
    SHAPES,
    TEXT_MODEL,
    Online,
    pin_catalogue,
)
from tests.store.hub import Fault

HF_MODEL = f"hf:{E4B}/{E4B_MODEL}"
SIZE = render_bytes(catalog.wanted("e4b").model.size_bytes or 0)  # the catalogue's word


def masked(text: str) -> str:
    """Without the free space of this disk."""
    return re.sub(r", [\d.]+ \wiB free", ", N free", text)


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by itself."""
    seconds: Iterator[float] = count(0.0, step)
    return lambda: next(seconds)


def test_the_paths_are_the_data_and_all_else_is_said(online: Online):
    ran = online.run("pull", "e4b")
    assert ran.status == 0
    assert ran.stdout == f"{online.path(E4B_MODEL)}\n{online.path(E4B_PROJECTOR)}\n"
    assert masked(ran.stderr) == (
        f"{E4B_MODEL} is another version than the catalogue was measured with\n"
        f"{E4B_PROJECTOR} is another version than the catalogue was measured with\n"
        "e4b: Gemma 4 E4B, Q4 QAT (unsloth)\n"
        f"  {HF_MODEL}  736 B\n"
        f"  hf:{E4B}/{E4B_PROJECTOR}  512 B\n"
        f"  1.2 KiB to download to {online.cache}, N free\n"
    )


def test_what_is_there_is_not_fetched_again(online: Online):
    first = online.run("pull", "e4b")
    asked = len(online.hub.requests)
    again = online.run("pull", "e4b")
    assert again.stdout == first.stdout
    assert again.stderr.startswith("e4b: Gemma 4 E4B, Q4 QAT (unsloth), on this machine\n")
    assert len(online.hub.requests) == asked
    assert online.run("pull", "e4b", "--offline", "--quiet").stderr == ""


def test_json_is_one_document(online: Online):
    ran = online.run("pull", "e4b", "--drafter", "--json", "--quiet")
    assert (ran.stderr, ran.status) == ("", 0)
    rows = json.loads(ran.stdout)["files"]
    names = [f"hf:{E4B}/{name}" for name in (E4B_MODEL, E4B_PROJECTOR, E4B_DRAFTER)]
    assert [row["name"] for row in rows] == names
    for row in rows:
        assert Path(row["path"]).stat().st_size == row["size_bytes"]
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"])
        assert row["revision"] == online.hub.repos[E4B][-1].commit


def test_any_other_file_of_the_hub(online: Online):
    data = online.upload("some.gguf", TEXT_MODEL, repo="me/mine")
    old = online.hub.repos["me/mine"][0].commit
    online.upload("some.gguf", TEXT_MODEL, repo="me/mine", rows=9)
    ran = online.run("pull", f"hf:me/mine/some.gguf@{old}")
    assert ran.status == 0, ran.stderr
    assert Path(ran.stdout.strip()).read_bytes() == data
    size = f"{len(data)} B"
    assert masked(ran.stderr) == (
        f"  hf:me/mine/some.gguf  {size}\n  {size} to download to {online.cache}, N free\n"
    )
    address = f"{online.hub.endpoint}/me/mine/resolve/{old}/some.gguf"
    assert online.run("pull", address).stdout == ran.stdout


@pytest.mark.parametrize(
    ("name", "start", "said"),
    [
        ("page.gguf", b"\n<!DOCTYPE html><html>", "is not a GGUF file but a web page"),
        ("pointer.gguf", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("tensors.gguf", b"\x80\0\0\0\0\0\0\0{\"__metadata__\":", "safetensors"),
        ("old.gguf", b"tjgg\x03\0\0\0", "format of 2023"),
        ("any.gguf", b"any text", "is not a GGUF file"),
        ("big.gguf", b"GGUF\0\0\0\x03", "is a big-endian GGUF file"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_before_it_is_fetched(
    online: Online, name: str, start: bytes, said: str
):
    online.hub.upload("me/mine", name, start + bytes(3_000_000))
    for command in (("pull",), ("chat", "hi", "--yes", "--model")):
        ran = online.run(*command, f"hf:me/mine/{name}", "--quiet")
        assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL), ran.stderr
        error, hint = ran.stderr.splitlines()
        assert error.startswith(f"error: hf:me/mine/{name} is not fetched: ") and said in error
        assert hint.startswith("hint: https://huggingface.co/me/mine/tree/main")
    assert online.hub.sent_bytes < 1_000_000
    assert not [each for each in online.cache.rglob("*") if each.is_file()]


def test_an_empty_file_is_refused_before_it_is_fetched(online: Online):
    online.hub.upload("me/mine", "empty.gguf", b"")
    ran = online.run("pull", "hf:me/mine/empty.gguf")
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    assert "error: hf:me/mine/empty.gguf is not fetched: `empty.gguf` is empty\n" in ran.stderr


@pytest.mark.parametrize("number", [1, 3])
def test_a_part_of_a_split_model_is_refused_before_anybody_is_asked(online: Online, number: int):
    ran = online.run("pull", f"hf:me/mine/big-0000{number}-of-00003.gguf")
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    assert f"is part {number} of 3 of a split model" in ran.stderr
    assert "hint: take a quant that is one file" in ran.stderr
    assert online.hub.requests == []


def test_plain_files_where_somebody_wants_them(online: Online, folder: Path):
    for flags, more in (
        (("--models-dir", "plain"), {}),
        ((), {"environment": {"GEMMA_EDGE_MODELS_DIR": "plain"}}),
    ):
        ran = online.run("pull", "e4b", *flags, **more)
        plain = folder / "plain" / E4B
        assert ran.stdout == f"{plain / E4B_MODEL}\n{plain / E4B_PROJECTOR}\n"


def test_the_bundled_model_is_there(online: Online):
    ran = online.run("pull", "demo")
    assert ran.stderr == "demo is part of gemma-edge, there is nothing to fetch\n"
    assert Path(ran.stdout.strip()).is_file()
    assert online.hub.requests == []


def test_lines_now_and_then_without_a_terminal(online: Online):
    online.hub.always["storage"] = Fault(bytes_per_second=5_000)
    online.upload("slow.gguf", TEXT_MODEL, repo="me/mine", rows=40)
    ran = online.run("pull", "hf:me/mine/slow.gguf", clock=ticking(11.0))
    assert ran.status == 0
    assert re.search(r"^slow.gguf: \d+ % of 5\.\d KiB", ran.stderr, re.MULTILINE), ran.stderr


def test_what_happens_is_told_once(online: Online):
    online.hub.order("resolve", Fault(503), Fault(429, headers={"Retry-After": "0"}))
    ran = online.run("pull", "e4b")
    assert ran.status == 0
    assert "status 503" in ran.stderr
    assert "limits how often it is asked" in ran.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_bars_on_a_terminal(online: Online, encoding: str):
    ran = online.run("pull", "e4b", terminal=True, width=60, encoding=encoding)
    assert ran.status == 0
    assert len(ran.stdout.split()) == 2
    assert "\x1b[" in ran.stderr
    assert "mmproj-BF16.gguf" in ran.stderr
    dumb = online.run("pull", "e4b", terminal=True, environment={"TERM": "dumb"})
    assert "\x1b[" not in dumb.stderr


def test_ctrl_c_says_how_to_go_on(online: Online):
    def pressed() -> float:
        if online.hub.sent_bytes:
            raise KeyboardInterrupt
        return 0.0

    ran = online.run("pull", "e4b", clock=pressed)
    assert (ran.stdout, ran.status) == ("", ExitStatus.INTERRUPTED)
    assert ran.stderr.endswith("the same command goes on from there\n")
    assert online.run("pull", "e4b").status == 0


def test_a_change_upstream_is_refused_until_it_is_accepted(online: Online):
    assert online.run("pull", HF_MODEL).status == 0
    (online.path(E4B_MODEL)).unlink()
    new = online.upload(E4B_MODEL, TEXT_MODEL, rows=8)
    del online.hub.repos[E4B][:-1]
    ran = online.run("pull", HF_MODEL)
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    assert "expected sha256" in ran.stderr
    hint = ran.stderr.splitlines()[-1].partition("gemma-edge ")[2]
    accepted = online.run(*hint.split())
    assert accepted.status == 0, accepted.stderr
    assert Path(accepted.stdout.splitlines()[0]).read_bytes() == new


# Pins: the real catalogue, whose files no hub of a test can have, and one with the test's own.


@pytest.fixture
def pinned(online: Online, monkeypatch: pytest.MonkeyPatch) -> Online:
    """The catalogue pins what the hub has now."""
    newest = online.hub.repos[E4B][-1]

    def pin(file: CatalogFile) -> CatalogFile:
        data = newest.files.get(file.filename) if file.repo == E4B else None
        if data is None:
            return file
        sha256 = hashlib.sha256(data).hexdigest()
        return replace(file, revision=newest.commit, size_bytes=len(data), sha256=sha256)

    pin_catalogue(monkeypatch, pin)
    return online


def test_a_changed_file_is_refused_in_one_line_before_it_is_downloaded(online: Online, monkeypatch):
    pin_catalogue(monkeypatch)
    model = catalog.wanted("e4b").model
    ran = online.run("pull", "e4b")
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    error, hint = ran.stderr.splitlines()
    assert error.startswith(f"error: {HF_MODEL} has changed on the hub: it is not what the cat")
    assert f"expected sha256 {model.sha256} ({SIZE}), upstream sha256 " in error
    assert f"(736 B, revision {online.hub.repos[E4B][-1].commit})" in error
    assert hint.endswith(f"gemma-edge pull {HF_MODEL} --accept-change")
    assert online.hub.sent_bytes == 0
    online.shell.script(["hello"])
    for argv in (("chat", "hi", "--yes", "--model", "e4b"), ("pull", HF_MODEL)):
        assert online.run(*argv).stderr == ran.stderr
    accepted = online.run(*hint.partition("gemma-edge ")[2].split())
    assert accepted.status == 0, accepted.stderr
    again = online.run("pull", "e4b")
    assert (again.stdout, again.status) == (accepted.stdout, 0)
    assert online.run("chat", "hi", "--model", "e4b").stdout == "hello\n"
    online.path(E4B_MODEL).unlink()  # what was accepted comes again, whatever the catalogue says
    assert online.run("pull", "e4b").stdout == accepted.stdout


def test_nobody_is_asked_about_a_file_that_has_changed(online: Online, monkeypatch):
    pin_catalogue(monkeypatch)
    ran = online.run(
        "chat", "hi", "--model", "e4b", stdin="y\n", stdin_is_terminal=True,
        stderr_is_terminal=True, environment={"TERM": "dumb"},
    )  # fmt: skip
    assert ran.status == ExitStatus.MODEL
    assert "has changed on the hub" in ran.stderr
    assert "[Y/n]" not in ran.stderr


def test_a_header_is_read_of_what_the_catalogue_knows_alone(online: Online, monkeypatch):
    pin_catalogue(monkeypatch)
    note = f"{E4B_MODEL} is another version than the catalogue was measured with\n"
    planned = online.run("plan", "e4b", "--headers")
    assert planned.status == 0, planned.stderr
    assert note in planned.stderr
    assert online.hub.sent_bytes == 0
    shown = online.run("show", "e4b")
    assert shown.status == 0
    assert note in shown.stderr
    assert "size           736 B" in shown.stdout


def test_a_pinned_file_comes_at_its_revision_and_a_newer_one_is_told(pinned: Online):
    old = pinned.hub.repos[E4B][-1].commit
    pinned.upload(E4B_MODEL, TEXT_MODEL, rows=8)
    ran = pinned.run("pull", "e4b")
    assert ran.status == 0, ran.stderr
    assert [Path(line).parent.name for line in ran.stdout.splitlines()] == [old, old]
    told = f"{E4B_MODEL} was replaced on the hub; the catalogue's version is fetched"
    assert f"{told}, --accept-change takes the new one\n" in ran.stderr
    assert ran.stderr.count("was replaced") == 1
    newest = pinned.run("pull", "e4b", "--accept-change")
    assert newest.stdout.splitlines()[0] == str(pinned.path(E4B_MODEL))
    assert f"{E4B_MODEL} is another version than the catalogue was measured with" in newest.stderr


def test_the_same_bytes_at_another_commit_are_no_change(pinned: Online):
    pinned.hub.upload(E4B, "README.md", b"more words")
    del pinned.hub.repos[E4B][:-1]
    ran = pinned.run("pull", "e4b")
    assert ran.status == 0, ran.stderr
    assert "version" not in ran.stderr


def test_a_projector_that_is_named_alone_is_pinned_too(pinned: Online):
    pinned.upload(E4B_PROJECTOR, PROJECTOR, rows=3)
    del pinned.hub.repos[E4B][:-1]
    ran = pinned.run("pull", f"hf:{E4B}/{E4B_PROJECTOR}")
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    assert f"{E4B_PROJECTOR} has changed on the hub" in ran.stderr


def test_a_projector_comes_from_the_commit_of_its_model(pinned: Online, folder: Path):
    """The model was accepted at a later commit; since then the projector has changed again."""
    Image.new("RGB", (64, 64)).save(folder / "red.png")
    pinned.upload(E4B_PROJECTOR, PROJECTOR, rows=3)
    pinned.upload(E4B_MODEL, TEXT_MODEL, rows=8)
    accepted = pinned.hub.repos[E4B][-1].commit
    assert pinned.run("pull", "e4b", "--accept-change").status == 0
    for path in (pinned.cache, pinned.shell.home / ".local/share/gemma-edge/gemma-edge.lock"):
        forget(path, E4B_PROJECTOR)
    pinned.upload(E4B_PROJECTOR, PROJECTOR, rows=5)
    pinned.shell.script(["red"])
    ran = pinned.run("describe", "red.png", "--model", "e4b", "--yes")
    assert ran.status == 0, ran.stderr
    plan = pinned.shell.plans[-1]
    assert plan.projector is not None
    assert {plan.model.parent.name, plan.projector.parent.name} == {accepted}


def test_without_a_pin_a_projector_comes_from_the_commit_of_its_model_too(
    online: Online, folder: Path
):
    Image.new("RGB", (64, 64)).save(folder / "red.png")
    online.shell.script(["hello", "red"])
    assert online.run("chat", "hi", "--model", "e4b", "--yes").status == 0
    online.upload(E4B_PROJECTOR, PROJECTOR, rows=5)
    assert online.run("describe", "red.png", "--model", "e4b", "--yes").status == 0
    plan = online.shell.plans[-1]
    assert plan.projector == online.path(E4B_PROJECTOR, version=-2)
    assert plan.model.parent == plan.projector.parent


def forget(path: Path, name: str) -> None:
    """As if a file had never been fetched: neither in the cache nor in the lock."""
    if path.is_dir():
        for each in path.rglob(name):
            each.resolve().unlink()
            each.unlink()
    else:
        head, *entries = path.read_text(encoding="utf-8").split("[[file]]")
        kept = [entry for entry in entries if f'"{name}"' not in entry]
        path.write_text("[[file]]".join([head, *kept]), encoding="utf-8")


def test_of_two_projectors_the_one_of_the_models_commit_is_taken(pinned: Online):
    pinned.run("pull", "e4b", "--quiet")
    first = pinned.hub.repos[E4B][-1].commit
    pinned.upload(E4B_PROJECTOR, PROJECTOR, rows=3)
    fetched = pinned.run("pull", f"hf:{E4B}/{E4B_PROJECTOR}", "--accept-change")
    assert fetched.status == 0, fetched.stderr
    document = json.loads(pinned.run("plan", "e4b", "--json", "--quiet").stdout)
    assert f"/{first}/{E4B_MODEL}" in document["file"]
    assert f"/{first}/{E4B_PROJECTOR}" in document["projector"]


@pytest.mark.parametrize(
    ("argv", "status", "message", "hint"),
    [
        ("nope", ExitStatus.MODEL, "there is no model `nope`", "there are e2b, e4b"),
        ("e5b", ExitStatus.MODEL, "there is no model `e5b`", "did you mean `e4b`?"),
        ("./x.gguf", ExitStatus.USAGE, "`./x.gguf` is a path", "gemma-edge import FILE"),
        ("hf:a/b", ExitStatus.USAGE, "names a repository, not a GGUF file", "hf:a/b/FILE.gguf"),
        ("hf:me/no/x.gguf", ExitStatus.MODEL, "there is no repository me/no", "check the name"),
        ("https://a.b/c/d/resolve/main/x.gguf", ExitStatus.USAGE, "a.b is not the hub", "HF_ENDP"),
        ("e4b --offline", ExitStatus.MODEL, "--offline (or HF_HUB_OFFLINE) is set", "import FILE"),
        ("e4b --accept-change --offline", ExitStatus.USAGE, "--offline is set", "leave out one"),
        ("e4b --models-dir taken", ExitStatus.FAILED, "cannot be used", "--models-dir"),
    ],
)
def test_wrong_input(online, folder, argv, status, message, hint):  # noqa: PLR0917
    (folder / "taken").touch()
    ran = online.run("pull", *argv.split())
    assert (ran.stdout, ran.status) == ("", status), ran.stderr
    lines = ran.stderr.splitlines()
    assert message in ran.stderr
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert lines[-1].startswith("hint: ")
    assert hint in lines[-1]
    assert online.hub.sent_bytes == 0


# What chat, describe and extract do by themselves.


def test_without_a_terminal_nobody_downloads_unasked(online: Online):
    ran = online.run("chat", "hi", "--model", "e4b")
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    assert ran.stderr == (
        f"error: `e4b` is not on this machine ({SIZE} to download)\n"
        "hint: gemma-edge pull e4b, or the same command again with --yes\n"
    )
    assert online.hub.requests == []
    ran = online.run("chat", "hi", "--model", "e4b", "--models-dir", "my models")
    assert "hint: gemma-edge pull e4b --models-dir 'my models', or" in ran.stderr


@pytest.mark.parametrize(("flags", "environment"), [(["--yes"], {}), ([], {"GEMMA_EDGE_YES": "1"})])
def test_a_yes_from_before(online: Online, flags: list[str], environment: dict[str, str]):
    online.shell.script(["hello"])
    ran = online.run("chat", "hi", "--model", "e4b", *flags, environment=environment)
    assert (ran.stdout, ran.status) == ("hello\n", 0), ran.stderr
    assert "e4b: Gemma 4 E4B, Q4 QAT (unsloth)\n" in ran.stderr
    assert "E4B Q4 QAT on the CPU, 1 thread: " in ran.stderr
    assert online.shell.plans[0].model.name == E4B_MODEL
    assert not online.path(E4B_PROJECTOR).exists()  # no picture will come


def test_a_picture_needs_the_projector(online: Online, folder: Path):
    Image.new("RGB", (64, 64)).save(folder / "red.png")
    online.shell.script(["red"])
    ran = online.run("describe", "red.png", "--model", "e4b", "--yes", "--quiet")
    assert (ran.stdout, ran.stderr) == ("red\n", "")
    assert online.path(E4B_PROJECTOR).exists()
    assert online.shell.plans[0].projector == online.path(E4B_PROJECTOR)


def test_a_picture_that_cannot_be_read_costs_no_download(online: Online):
    for argv in (("describe", "nowhere.png"), ("chat", "hi", "--image", "nowhere.png")):
        ran = online.run(*argv, "--model", "e4b", "--yes")
        assert (ran.stdout, ran.status) == ("", ExitStatus.INPUT)
        assert ran.stderr.startswith("error: nowhere.png does not exist\n")
    ran = online.run("chat", "hi", "--model", "e4b", "--yes", "--mmproj", "nowhere.gguf")
    assert ran.stderr.startswith("error: there is no file `nowhere.gguf`\n")
    assert online.hub.requests == []


def test_what_cannot_be_used_is_not_downloaded(online: Online):
    online.upload("drafter.gguf", {"general.architecture": "gemma4-assistant"}, "me/mine", 500_000)
    ran = online.run("chat", "hi", "--model", "hf:me/mine/drafter.gguf", "--yes")
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    assert "error: `drafter.gguf` is a drafter" in ran.stderr
    assert online.hub.sent_bytes < 1_000_000
    ran = online.run("describe", SHAPES, "--model", "hf:me/mine/x.gguf", "--yes")
    assert ran.stderr == (
        "error: `hf:me/mine/x.gguf` is not in the catalogue, which would know its projector\n"
        "hint: --mmproj FILE; gemma-edge pull hf:owner/repo/mmproj.gguf fetches it\n"
    )


@pytest.mark.parametrize("answer", ["\n", "y\n", "what?\nYES\n"])
def test_a_person_is_asked_and_says_yes(online: Online, answer: str):
    online.shell.script(["hello"])
    ran = online.run(
        "chat", "hi", "--model", HF_MODEL, stdin=answer, stdin_is_terminal=True,
        stderr_is_terminal=True, environment={"TERM": "dumb"},
    )  # fmt: skip
    assert (ran.stdout, ran.status) == ("hello\n", 0), ran.stderr
    assert "download 736 B? [Y/n] " in ran.stderr


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_a_person_is_asked_and_says_no(online: Online, answer: str):
    ran = online.run(
        "chat", "hi", "--model", "e4b:q8", stdin=answer, stdin_is_terminal=True,
        stderr_is_terminal=True, width=200,
    )  # fmt: skip
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)


def test_a_no_has_a_way_back(online: Online):
    ran = online.run(
        "chat", "hi", "--model", "e4b", stdin="n\n", stdin_is_terminal=True,
        stderr_is_terminal=True, environment={"TERM": "dumb"},
    )  # fmt: skip
    assert "error: `e4b` was not downloaded\nhint: later: gemma-edge pull e4b\n" in ran.stderr
    assert online.hub.sent_bytes == 0


@pytest.mark.parametrize(
    "switch",
    [["--offline"], {"GEMMA_EDGE_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "true"}],
)
def test_offline_asks_neither_person_nor_hub(online: Online, switch):
    flags, environment = (switch, {}) if isinstance(switch, list) else ([], switch)
    ran = online.run("chat", "hi", "--model", "e4b", "--yes", *flags, environment=environment)
    assert (ran.stdout, ran.status) == ("", ExitStatus.MODEL)
    assert "--offline (or HF_HUB_OFFLINE) is set" in ran.stderr
    assert online.hub.requests == []


def test_a_name_that_is_not_quite_right_is_explained(online: Online):
    ran = online.run("chat", "hi", "--model", "27b")
    assert ran.stderr.startswith("`27b` is a size of Gemma 3; the nearest of Gemma 4 is 31B")
    assert "error: `27b` is not on this machine" in ran.stderr
