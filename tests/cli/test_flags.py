"""How flags are declared, and what becomes of words: each flag once, each action with a page."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest

from gemma_edge.cli.flags import Job, build, expand, option
from gemma_edge.cli.main import COMMANDS, load_command
from gemma_edge.errors import ExitStatus


def pages():
    """Every command and every action, by the words that name it."""
    for name in COMMANDS:
        command = load_command(name)
        yield name, command
        for action, inside in getattr(command, "commands", {}).items():
            yield f"{name} {action}", inside


PAGES = dict(pages())


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_action_has_a_page_of_its_own(shell, name):
    ran = shell.run(*name.split(), "--help", model=False)
    assert (ran.status, ran.stderr) == (ExitStatus.OK, "")
    assert ran.stdout.startswith(f"Usage: gemma-edge {name} ")
    assert PAGES[name].help.split("\n")[0][:40] in ran.stdout


@pytest.mark.parametrize("name", PAGES)
def test_a_flag_appears_once(name):
    flags = [flag for each in PAGES[name].params for flag in (*each.opts, *each.secondary_opts)
             if flag.startswith("-")]  # fmt: skip
    assert sorted(flags) == sorted(set(flags))
    assert "--help" in flags


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_about_a_command_is_how_its_page_begins(name):
    help_text = " ".join(load_command(name).help.split())
    assert help_text.startswith(COMMANDS[name].summary.rstrip("."))


def test_commands_stand_under_titles(shell):
    page = shell.run("--help", model=False).stdout
    for title in {each.title for each in COMMANDS.values()}:
        assert f"\n{title}:\n" in page


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("schema", "`schema` needs one of show, check", "gemma-edge schema --help"),
        ("schema chek x", "there is no command `schema chek`", "did you mean check?"),
        ("recipes --jsn", "there is no option `--jsn`", "did you mean --json?"),
        ("sessions rm", "missing argument `NAME`", "gemma-edge sessions rm --help"),
        ("describe a.jpg --jobs 1.5", "`1.5` is not a whole number", "describe --help"),
        ("describe a.jpg --jobs 99", "`99` has to be at least 1 and at most 32", "--help"),
        ("describe a.jpg --kv q4_0", "`q4_0` is none of f16, q8_0", "describe --help"),
        ("extract eval bills", "`eval` is a command beside extract", "gemma-edge eval --help"),
        ("extract diff a b", "`diff` is a command beside extract", "a folder of that name is"),
    ],
)
def test_what_cannot_be_carried_out_as_written(shell, words, message, hint):
    ran = shell.run(*words.split(), model=False)
    assert (ran.status, ran.stdout) == (ExitStatus.USAGE, "")
    assert message in ran.stderr
    assert hint in ran.stderr


def test_a_folder_may_be_called_like_a_command(shell, tmp_path, monkeypatch):
    (tmp_path / "eval").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "eval has no document" in shell.run("extract", "./eval", "-s", "a").stderr


@pytest.mark.parametrize("words", ["recipes", "recipes list", "recipes --quiet list"])
def test_the_usual_action_needs_no_name(shell, words):
    assert "invoice" in shell.run(*words.split(), model=False).stdout


@dataclass(frozen=True, kw_only=True)
class Inner:
    often: Annotated[tuple[str, ...], option("--often", help="Repeatable.")] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    once: Annotated[int, option("--once", help="A number.")] = 1
    inner: Inner


@dataclass(kw_only=True)
class Wanted:
    once: int
    often: tuple[str, ...]
    given: str = field(default="")


def test_a_command_takes_flags_whole_and_a_request_takes_them_by_name():
    def command(flags: Outer) -> Job:
        return build(Wanted, flags.inner, once=flags.once, given="so")  # type: ignore[return-value]

    found = expand(command)(once=2, often=["a", "b"], show_help=False)
    assert found == Wanted(once=2, often=("a", "b"), given="so")


def test_a_flag_that_a_request_has_no_field_for_is_not_lost():
    with pytest.raises(TypeError, match="inner"):
        build(Wanted, Outer(inner=Inner()), often=())
