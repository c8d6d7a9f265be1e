"""Files that a message names, in all the spellings that people and their file managers use."""

from pathlib import Path

import pytest

from gemma_edge.cli.chat_commands import is_command
from gemma_edge.cli.inputs import find_files, name_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("cat.jpg", "my cat (1).jpg", "bill.pdf", "notes.txt", "it's.png", "猫.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "My Pictures").mkdir()
    (tmp_path / "My Pictures" / "a dog.PNG").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("message", "names", "left"),
    [
        ("what is in cat.jpg?", ["cat.jpg"], "what is in cat.jpg?"),
        ("{home}/cat.jpg", ["cat.jpg"], "cat.jpg"),
        ("'{home}/my cat (1).jpg' who?", ["my cat (1).jpg"], "my cat (1).jpg who?"),
        ('look: "{home}/my cat (1).jpg".', ["my cat (1).jpg"], "look: my cat (1).jpg."),
        (r"{home}/my\ cat\ \(1\).jpg who?", ["my cat (1).jpg"], "my cat (1).jpg who?"),
        ("{home}/my cat (1).jpg who?", ["my cat (1).jpg"], "my cat (1).jpg who?"),
        ("{home}/My Pictures/a dog.PNG, and why", ["a dog.PNG"], "a dog.PNG, and why"),
        ("~/cat.jpg and ~/bill.pdf", ["cat.jpg", "bill.pdf"], "cat.jpg and bill.pdf"),
        ("file://{home}/my%20cat%20(1).jpg", ["my cat (1).jpg"], "my cat (1).jpg"),
        ("file://localhost{home}/cat.jpg ?", ["cat.jpg"], "cat.jpg ?"),
        ('"{home}/it\'s.png"', ["it's.png"], "it's.png"),
        ("./猫.png だれ", ["猫.png"], "猫.png だれ"),
        ("compare cat.jpg\n{home}/My Pictures/a dog.PNG", ["cat.jpg", "a dog.PNG"],
         "compare cat.jpg\na dog.PNG"),
        ("./notes.txt says?", ["notes.txt"], "notes.txt says?"),
    ],
)  # fmt: skip
def test_found(home, message, names, left):
    message = message.format(home=home)
    found = find_files(message, home)
    assert [each.path.name for each in found] == names
    assert all(each.path.is_file() for each in found)
    assert name_files(message, found) == left


@pytest.mark.parametrize(
    "message",
    [
        "what does notes.txt mean in bill.pdf?",  # talked about, not handed over
        "dog.jpg is not here",
        "{home} is a folder",
        "it's about 'quotes' and \"more\"",
        "a/b and 1/2, x < y, \\alpha",
        "https://example.org/cat.jpg",
        "\0" * 9 + "cat.jpgx",
        "x" * 5000 + ".jpg",
        "'" * 50 + '"' * 51,
    ],
)
def test_not_meant(home, message):
    assert find_files(message.format(home=home), home) == ()


def test_a_command_is_not_a_path():
    assert is_command("/help")
    assert is_command("  /set temperature 0.5")
    assert not is_command("/home/me/cat.jpg who?")
    assert not is_command("/cat.jpg")
    assert not is_command("hello /help")
    assert is_command("/")  # an error that /help is named in
