"""Completion as a shell asks for it: what is offered, and that real shells can read it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_edge.cli.completion import VARIABLE
from gemma_edge.errors import ExitStatus


def refuse(*_given):
    raise AssertionError("completing detects nothing and loads nothing")


@pytest.fixture
def offered(shell):
    """What bash is offered for the last of some words."""

    def complete(*words: str) -> list[str]:
        environment = {
            VARIABLE: "complete_bash",
            "COMP_WORDS": "\n".join(["gemma-edge", *words]),
            "COMP_CWORD": str(len(words)),
        }
        ran = shell.run(
            model=False, environment=environment, detect_hardware=refuse, load=refuse,
            open_measure=refuse,
        )  # fmt: skip
        assert (ran.status, ran.stderr) == (ExitStatus.OK, "")
        return ran.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["ex"], {"extract"}),
        (["--v"], {"--version"}),
        (["chat", "--mod"], {"--model", "--models-dir"}),
        (["chat", "--model", "e4"], {"e4b", "e4b:q8_0"}),
        (["chat", "--model", "=", "e4b", ":", "q8"], {"q8_0"}),
        (["pull", "dem"], {"demo"}),
        (["extract", "a.pdf", "-r", "inv"], {"invoice"}),
        (["extract", "a.pdf", "--vision", ""], {"auto", "always", "never"}),
        (["recipes", ""], {"list", "show", "save", "lint"}),
        (["recipes", "show", "inv"], {"invoice"}),
        (["schema", "t"], {"types", "test"}),
    ],
)
def test_what_is_offered(offered, words, some):
    assert set(offered(*words)) >= some


def test_files_are_left_to_the_shell(offered):
    assert offered("extract", "") == []


def test_a_persons_own_names(shell, offered):
    shell.run("recipes", "save", "our-bills", "invoice", model=False)
    shell.script(["leaves"])
    shell.run("chat", "what is tea?", "--session", "tea")
    assert "our-bills" in offered("recipes", "lint", "")
    assert offered("sessions", "rm", "t") == ["tea"]


@pytest.mark.parametrize(
    ("shell_name", "wanted"),
    [
        ("zsh", '_arguments \'*: :(("extract":"Read documents into JSON."))\''),
        ("fish", "extract\tRead documents into JSON."),
    ],
)
def test_what_a_name_means(shell, shell_name, wanted):
    asked = {VARIABLE: f"complete_{shell_name}", "_TYPER_COMPLETE_ARGS": "gemma-edge ext"}
    assert shell.run(model=False, environment=asked).stdout.strip() == wanted


def real(shell: str, script: str, tmp_path: Path) -> str:
    """What a real shell prints, where ``gemma-edge`` is the one that is tested."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    program = tmp_path / "bin" / "gemma-edge"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gemma_edge "$@"\n', "utf-8")
    program.chmod(0o755)
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [shell, "-c", script], env=environment, capture_output=True, text=True, timeout=120,
        check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a real bash")
def test_bash_installs_and_completes(tmp_path):
    script = """
    gemma-edge --install-completion 2>/dev/null && . ~/.bashrc
    COMP_WORDS=(gemma-edge recipes show inv) COMP_CWORD=3
    _gemma_edge_completion gemma-edge
    echo "${COMPREPLY[@]}"
    """
    assert real("bash", script, tmp_path) == "invoice\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a real zsh")
def test_zsh_understands_its_script(tmp_path):
    script = """
    autoload -U compinit && compinit -u -D
    eval "$(gemma-edge --show-completion)"
    _arguments() { echo "$@"; }
    words=(gemma-edge recip) CURRENT=2
    _gemma_edge_completion
    """
    assert '"recipes":' in real("zsh", script, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="a real fish")
def test_fish_understands_its_script(tmp_path):
    script = "gemma-edge --show-completion | source; complete -C 'gemma-edge recip'"
    assert real("fish", script, tmp_path).startswith("recipes\t")
