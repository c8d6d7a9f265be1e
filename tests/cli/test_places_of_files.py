"""Files as people name them on a command line: in the home folder, as addresses, on the web."""

import shutil
from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus
from tests.cli.conftest import SHAPES

WEB = ("https://example.org/a.png", "HTTP://example.org/a", "ftp://example.org/a.pdf")


@pytest.fixture
def home(shell) -> Path:
    pictures = shell.home / "my pictures"
    pictures.mkdir(parents=True)
    shutil.copy(SHAPES, pictures / "a b.png")
    (pictures / "bill.txt").write_text("Acme\nTotal 5.50\n")
    (pictures / "schema.json").write_text('{"type": "object", "properties": {"total": {}}}')
    (pictures / "me.toml").write_text('system = "You are me."\n')
    return pictures


def test_a_tilde_that_no_shell_has_read(shell, home, tmp_path):
    """bash leaves `--image=~/x` as it is, and zsh `@~/x`."""
    shell.script(["ok"] * 2)
    folder = "~/my pictures"
    ran = shell.run(
        "chat", "hi", f"--image={folder}/a b.png", f"--file={folder}/bill.txt",
        f"--as={folder}/me.toml",
    )  # fmt: skip
    assert ran.status == 0, ran.stderr
    (request,) = shell.engine.requests
    assert request.messages[0].text == "You are me."
    assert request.messages[-1].pictures and "Acme" in request.messages[-1].text
    assert shell.run("describe", f"{folder}/a b.png").status == 0
    shell.script(['{"total": null}'] * 2)
    ran = shell.run(
        "extract", f"{folder}/bill.txt", f"--schema={folder}/schema.json",
        f"--out={folder}/o.jsonl", f"--html={folder}/pages", f"--save-recipe={folder}/mine.yaml",
    )  # fmt: skip
    assert (home / "o.jsonl").exists() and (home / "pages").is_dir(), ran.stderr
    assert (home / "mine.yaml").exists()
    ran = shell.run("extract", f"{folder}/bill.txt", f"--recipe={folder}/mine.yaml")
    assert ran.status == 0, ran.stderr
    ran = shell.run("chat", "hi", f"--lora={folder}/none.gguf:0.5")
    assert f"{home}/none.gguf" in ran.stderr


def test_an_address_of_a_file(shell, home):
    address = f"file://{home}/a%20b.png".replace(" ", "%20")
    bill = f"FILE://localhost{home}/bill.txt"
    for argv in (("describe", address), ("chat", "hi", "--image", address, "--file", bill)):
        shell.script(["ok"])
        ran = shell.run(*argv)
        assert (ran.status, ran.stdout) == (0, "ok\n"), ran.stderr
        assert shell.engine.requests[0].messages[-1].pictures[0].name == "a b.png"
    shell.script(['{"total": null}'])
    assert shell.run("extract", bill, "--schema", "total").status == 0
    ran = shell.run("describe", "file:///nowhere/x.png")
    assert (ran.status, "/nowhere/x.png" in ran.stderr) == (ExitStatus.INPUT, True)


@pytest.mark.parametrize("address", WEB)
@pytest.mark.parametrize(
    "words",
    ["describe {}", "extract {}", "extract {} --schema a", "chat hi --image {}",
     "chat hi --file={}", "describe a.png {}", "eval {}", "import {}"],
)  # fmt: skip
def test_nothing_of_the_web_is_fetched_and_that_is_said(shell, words, address):
    model = not words.startswith(("eval", "import"))
    ran = shell.run(*(word.format(address) for word in words.split()), model=model)
    assert ran.status == ExitStatus.INPUT
    assert ran.stderr == (
        f"error: {address} is on the web, and gemma-edge fetches nothing but models\n"
        "hint: download it, and name the file\n"
    )


def test_a_question_that_names_a_file_is_told_that_it_is_not_looked_at(shell, home, monkeypatch):
    monkeypatch.chdir(home)
    shell.script(["ok"] * 3)
    ran = shell.run("chat", "what is in 'a b.png'?")
    assert "a b.png is only named: --image a b.png" in ran.stderr
    ran = shell.run("chat", "what is in https://example.org/cat.png?")
    assert "https://example.org/cat.png is on the web: it is not fetched" in ran.stderr
    assert "only named" not in shell.run("chat", "a b c", "--image", "a b.png").stderr
