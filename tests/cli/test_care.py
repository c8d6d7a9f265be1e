"""Keeping house: ``verify``, ``rm``, ``path``, ``import``."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus
from tests.cli.conftest import E4B, E4B_MODEL, E4B_PROJECTOR, TEXT_MODEL, Online

HF_MODEL, HF_PROJECTOR = f"hf:{E4B}/{E4B_MODEL}", f"hf:{E4B}/{E4B_PROJECTOR}"
MODEL, USAGE = ExitStatus.MODEL, ExitStatus.USAGE


def refused(ran, status: ExitStatus, message: str, hint: str) -> None:
    assert (ran.stdout, ran.status) == ("", status), ran.stderr
    assert ran.stderr.splitlines() == [f"error: {message}", f"hint: {hint}"]


# verify


def test_verify_reads_everything(pulled: Online):
    ran = pulled.run("verify")
    assert (ran.stdout, ran.status) == (
        f"right  as the lock says  {HF_MODEL}\nright  as the lock says  {HF_PROJECTOR}\n", 0
    )  # fmt: skip
    assert ran.stderr == "2 files, 1.2 KiB read\n"


def test_verify_finds_one_wrong_byte(pulled: Online):
    path = pulled.path(E4B_MODEL).resolve()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    ran = pulled.run("verify")
    assert ran.status == MODEL
    assert f"wrong                    {HF_MODEL}\n" in ran.stdout
    assert ran.stderr == (
        f"? {pulled.path(E4B_MODEL)} has been changed or damaged\n"
        f"  expected sha256 {hashlib.sha256(data).hexdigest()}\n"
        f"  found    sha256 {hashlib.sha256(data[:-1] + b'x').hexdigest()}\n"
        "error: 1 of 2 files cannot be trusted\n"
        f"hint: gemma-edge rm {HF_MODEL}, then gemma-edge pull {HF_MODEL}\n"
    )
    states = json.loads(pulled.run("verify", "--json").stdout)["files"]
    assert [each["state"] for each in states] == ["wrong", "right"]
    assert pulled.run("verify", E4B_PROJECTOR).status == 0  # only what was named
    assert pulled.run("rm", HF_MODEL, "--yes").status == 0  # the hint, word for word
    assert pulled.run("pull", HF_MODEL).status == 0
    assert pulled.run("verify").status == 0


def test_verify_on_a_terminal_and_of_nothing(online: Online):
    assert online.run("verify").stderr == "0 files, 0 B read\n"
    online.run("pull", "e4b")
    ran = online.run("verify", terminal=True)
    assert ran.stdout.count("right") == 2
    refused(online.run("verify", "12b"), MODEL, "`12b` is not on this machine",
            "gemma-edge list shows what is")  # fmt: skip


# rm


def test_rm_says_what_it_frees_and_asks(pulled: Online):
    at_terminal = {"stdin_is_terminal": True, "stderr_is_terminal": True, "width": 200}
    ran = pulled.run("rm", "e4b", stdin="\n", **at_terminal)
    assert (ran.stdout, ran.status) == ("", 0)
    assert f"  736 B  {HF_MODEL}\n" in ran.stderr
    assert "delete 2 files and free 1.2 KiB? [y/N] nothing was deleted\n" in ran.stderr.replace(
        "[y/N] \n", "[y/N] "
    )
    assert pulled.path(E4B_MODEL).exists()
    ran = pulled.run("rm", "e4b", stdin="y\n", **at_terminal)
    assert ran.stderr.endswith("2 files deleted, 1.2 KiB free again\n")
    assert pulled.run("list", "--json").stdout == '{\n  "files": []\n}\n'
    assert list(pulled.cache.rglob("blobs/*")) == []


def test_rm_without_a_terminal_needs_a_yes(pulled: Online):
    refused(pulled.run("rm", "e4b"), USAGE,
            "deleting 2 files frees 1.2 KiB, and there is no terminal to ask at",
            "the same command with --yes")  # fmt: skip
    assert pulled.path(E4B_MODEL).exists()
    removed = json.loads(pulled.run("rm", "e4b", "--yes", "--json", "--quiet").stdout)
    assert removed["freed_bytes"] == 736 + 512
    assert len(removed["removed"]) == 2


def test_rm_of_a_model_that_is_gone_but_for_its_projector(pulled: Online):
    assert pulled.run("rm", HF_MODEL, "--yes").status == 0
    assert "1 file deleted, 512 B free again\n" in pulled.run("rm", "e4b", "--yes").stderr


def test_rm_keeps_a_projector_that_another_model_needs(online: Online):
    repo = "unsloth/gemma-4-E4B-it-GGUF"
    for name in ("gemma-4-E4B-it-Q6_K.gguf", "gemma-4-E4B-it-Q8_0.gguf", "mmproj-F16.gguf"):
        online.upload(name, {**TEXT_MODEL, "general.name": name}, repo=repo)
    assert online.run("pull", "e4b:q6", "e4b:q8").status == 0
    assert online.run("rm", "e4b:q6", "--yes").stderr.splitlines()[-1].startswith("1 file deleted")
    assert online.run("rm", "e4b:q8", "--yes").stderr.splitlines()[-1].startswith("2 files deleted")


@pytest.mark.parametrize(
    ("name", "status", "message", "hint"),
    [
        ("demo", USAGE, "`demo` is part of gemma-edge, not of the store",
         "gemma-edge list shows those"),
        ("e4b:q8", MODEL, "`e4b:q8` is not on this machine", "did you mean e4b? gemma-edge list"),
        ("e5b", MODEL, "`e5b` is not on this machine", "did you mean e4b? gemma-edge list"),
        ("zzz", MODEL, "there is no model `zzz`", "there are e2b, e4b, 12b, 26b-a4b, 31b"),
        ("other.gguf", MODEL, "`other.gguf` is not on this machine",
         "gemma-edge list shows what is"),
        ("mmproj-BF16.gguf", USAGE, "`mmproj-BF16.gguf` can mean several files",
         f"hf:me/mine/{E4B_PROJECTOR} or {HF_PROJECTOR}"),
        ("", MODEL, "there is no model ``", "there are e2b, e4b, 12b, 26b-a4b, 31b"),
    ],
)  # fmt: skip
def test_rm_of_what_cannot_be_meant(pulled, name, status, message, hint):
    pulled.upload(E4B_PROJECTOR, TEXT_MODEL, repo="me/mine")
    pulled.run("pull", f"hf:me/mine/{E4B_PROJECTOR}")
    refused(pulled.run("rm", name, "--yes"), status, message, hint)
    assert len(json.loads(pulled.run("list", "--json").stdout)["files"]) == 3


def test_a_repository_and_a_path_name_files_too(pulled: Online):
    assert pulled.run("verify", E4B).stdout.count("right") == 2
    assert pulled.run("verify", str(pulled.path(E4B_MODEL))).stdout.count("right") == 1


# path


def test_path_of_a_model(pulled: Online, folder: Path):
    asked = len(pulled.hub.requests)
    assert pulled.run("path", "e4b").stdout == f"{pulled.path(E4B_MODEL)}\n"
    assert pulled.run("path", "e4b", "--projector").stdout == f"{pulled.path(E4B_PROJECTOR)}\n"
    assert json.loads(pulled.run("path", HF_MODEL, "--json").stdout) == {
        "path": str(pulled.path(E4B_MODEL))
    }
    assert Path(pulled.run("path", "demo", "--projector").stdout.strip()).is_file()
    refused(pulled.run("path", "12b"), MODEL, "`12b` is not on this machine",
            "gemma-edge pull 12b")  # fmt: skip
    refused(pulled.run("path", "nope"), MODEL, "there is no model `nope`",
            "there are e2b, e4b, 12b, 26b-a4b, 31b")  # fmt: skip
    refused(pulled.run("path", f"{HF_PROJECTOR}", "--projector"), MODEL,
            f"nothing is known of a projector of `{HF_PROJECTOR}`", "gemma-edge list")  # fmt: skip
    assert len(pulled.hub.requests) == asked


def test_path_of_the_store(online: Online, folder: Path):
    (folder / "gemma-edge.lock").write_text("version = 1\n", encoding="utf-8")
    data = online.shell.home / ".local/share/gemma-edge"
    ran = online.run("path")
    assert ran.stdout == (
        f"cache         {online.cache}\n"
        f"imported      {data / 'models'}\n"
        f"data          {data}\n"
        f"lock          {data / 'gemma-edge.lock'}\n"
        f"project lock  {folder / 'gemma-edge.lock'}\n"
    )
    assert json.loads(online.run("path", "--json").stdout)["models"] is None


def test_a_projects_lock_is_kept(online: Online, folder: Path):
    (folder / "gemma-edge.lock").write_text("version = 1\n", encoding="utf-8")
    assert online.run("pull", "e4b").status == 0
    assert E4B_MODEL in (folder / "gemma-edge.lock").read_text(encoding="utf-8")
    (folder / "gemma-edge.lock").write_text("nonsense", encoding="utf-8")
    ran = online.run("pull", "e4b")
    assert ran.status == ExitStatus.INPUT
    assert "is not a lock file" in ran.stderr


def test_a_folders_lock_is_named_and_needs_a_word(online: Online, folder: Path):
    """Without a terminal one line names the flag; at one it is a question, whose usual answer is
    no."""
    assert online.run("pull", "e4b").status == 0
    own, lock = (
        online.shell.home / ".local/share/gemma-edge/gemma-edge.lock",
        folder / "gemma-edge.lock",
    )
    entries = own.read_text(encoding="utf-8")
    lock.write_text(re.sub(r'sha256 = "\w{8}', 'sha256 = "00000000', entries), encoding="utf-8")
    ran = online.run("path", "e4b")
    assert (ran.status, ran.stdout) == (USAGE, "")
    assert ran.stderr.startswith(f"error: {lock} decides what {HF_MODEL} is: sha256 00000000")
    assert "\nhint: --trust-lock" in ran.stderr
    assert ran.stderr.count("\n") == 2
    assert online.run("path", "e4b", "--trust-lock").status == MODEL  # those bytes are not here
    ran = online.run("path", "e4b", stdin="\n", terminal=True)
    assert "trust that file? [y/N]" in ran.stderr
    assert ran.stdout.strip().endswith(E4B_MODEL)
    assert own.read_text(encoding="utf-8") == entries


# import


def test_import_and_use_it(online: Online):
    target = online.shell.home / ".local/share/gemma-edge/models/model.gguf"
    ran = online.run("import", str(online.shell.model))
    assert ran.stdout == f"{target}\n"
    assert ran.stderr == (
        "model.gguf: 768 B, now a name for --model: gemma-edge chat --model model.gguf\n"
    )
    assert target.read_bytes() == online.shell.model.read_bytes()
    online.shell.script(["hello"])
    assert online.run("chat", "hi", "--model", "model.gguf").stdout == "hello\n"
    assert online.shell.plans[-1].model == target
    assert online.run("path", "model.gguf").stdout == f"{target}\n"
    assert online.run("rm", "model.gguf", "--yes").status == 0
    assert not target.exists()


def test_import_refuses_what_is_no_whole_model(online: Online, folder: Path):
    (folder / "cut.gguf").write_bytes(online.shell.model.read_bytes()[:-100])
    (folder / "text.gguf").write_text("hello", encoding="utf-8")
    for name, message in (
        ("cut.gguf", "`cut.gguf` is cut off"),
        ("text.gguf", "`text.gguf` is not a GGUF file"),
        ("nowhere.gguf", "there is no file `nowhere.gguf`"),
        (".", "`.` is a folder"),
    ):
        ran = online.run("import", name)
        assert (ran.stdout, ran.status) == ("", MODEL)
        assert message in ran.stderr
        assert "\nhint: " in ran.stderr
