"""Files that a message names, in all the spellings that people and their file managers use."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from gemma_edge.cli.chat_commands import is_command
from gemma_edge.cli.inputs import find_files, first_name, missed_files, name_files
from gemma_edge.cli.prompt import ChatCompleter
from gemma_edge.errors import ExitStatus
from tests.cli.test_chat import Typist
from tests.scripted import ScriptedEngine

posix = pytest.mark.skipif(os.name == "nt", reason="links as POSIX has them")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = ("cat.jpg", "my cat (1).jpg", "bill.pdf", "notes.txt", "it's.png", "猫.png")
    for name in (*names, "two.png", "two.png.jpg"):
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
        # as terminals paste what is dropped on them: GNOME, macOS, kitty, Windows
        (r"'{home}/it'\''s.png' ", ["it's.png"], "it's.png"),
        ("'{home}/it'\"'\"'s.png'", ["it's.png"], "it's.png"),
        (r"{home}/it\'s.png", ["it's.png"], "it's.png"),
        (r"'{home}/cat.jpg' '{home}/it'\''s.png'", ["cat.jpg", "it's.png"], "cat.jpg it's.png"),
        # as people write them
        ("what is in `cat.jpg`?", ["cat.jpg"], "what is in cat.jpg?"),
        ("`{home}/my cat (1).jpg`", ["my cat (1).jpg"], "my cat (1).jpg"),
        ("(cat.jpg) [cat.jpg] <cat.jpg>", ["cat.jpg"] * 3, "(cat.jpg) [cat.jpg] <cat.jpg>"),
        ("![a cat](./cat.jpg)", ["cat.jpg"], "![a cat](cat.jpg)"),
        ("\u201ccat.jpg\u201d, \u2018{home}/cat.jpg\u2019", ["cat.jpg"] * 2, "cat.jpg, cat.jpg"),
        ("\u201e{home}/my cat (1).jpg\u201c \u00abcat.jpg\u00bb", ["my cat (1).jpg", "cat.jpg"],
         "my cat (1).jpg cat.jpg"),
        ("see cat.jpg.", ["cat.jpg"], "see cat.jpg."),
        ("cat.jpg… cat.jpg; cat.jpg!", ["cat.jpg"] * 3, "cat.jpg… cat.jpg; cat.jpg!"),
        ("@cat.jpg who?", ["cat.jpg"], "@cat.jpg who?"),
        ("file=cat.jpg", ["cat.jpg"], "file=cat.jpg"),
        ("my cat (1).jpg", ["my cat (1).jpg"], "my cat (1).jpg"),
        ("is my cat (1).jpg nice?", ["my cat (1).jpg"], "is my cat (1).jpg nice?"),
        # among letters that are written without spaces
        ("请看cat.jpg里有什么", ["cat.jpg"], "请看cat.jpg里有什么"),
        ("请看{home}/cat.jpg，谢谢", ["cat.jpg"], "请看cat.jpg，谢谢"),
        ("这是猫.png吗？", ["猫.png"], "这是猫.png吗？"),
        ("「cat.jpg」を見て。cat.jpg。", ["cat.jpg"] * 2, "「cat.jpg」を見て。cat.jpg。"),
        ("{home}/cat.jpgは何ですか", ["cat.jpg"], "cat.jpgは何ですか"),
        ("（{home}/猫.png）", ["猫.png"], "（猫.png）"),
        # several, and names that go on
        ("cat.jpg,{home}/cat.jpg;~/it's.png", ["cat.jpg", "cat.jpg", "it's.png"],
         "cat.jpg,cat.jpg;it's.png"),
        ("FILE://{home}/cat.jpg, file:{home}/cat.jpg", ["cat.jpg"] * 2, "cat.jpg, cat.jpg"),
        ("{home}/two.png.jpg", ["two.png.jpg"], "two.png.jpg"),
        ("two.png", ["two.png"], "two.png"),
        (r".\cat.jpg and My Pictures\a dog.PNG", ["cat.jpg", "a dog.PNG"],
         "cat.jpg and a dog.PNG"),
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
        "xcat.jpg", "cat.jpg2", "cat.jpg_old", "my-cat.jpg", "other/cat.jpg", "cat.jpg.bak",
        "a.png " * 600, "/" * 3000 + "a.png", "看" * 1500 + ".png", "'`\"([" * 500 + ".png",
    ],
)  # fmt: skip
def test_not_meant(home, message):
    assert find_files(message.format(home=home), home) == ()


@pytest.mark.parametrize(
    ("message", "missed"),
    [
        ("what is in {home}/dog.jpg?", ["{home}/dog.jpg"]),
        ("~/dog.png and ./dog.png, dog.png.", ["~/dog.png", "./dog.png", "dog.png"]),
        (r"C:\Users\me\dog.png", [r"C:\Users\me\dog.png"]),
        ("file:///tmp/dog%201.png", ["file:///tmp/dog%201.png"]),
        ("看~/dog.png。", ["~/dog.png"]),
        ("`dog.webp` (dog.gif)", ["dog.webp", "dog.gif"]),
        ("{home}/no.pdf, no.pdf", ["{home}/no.pdf"]),  # the second is only talked about
        ("https://example.org/cat.jpg?", ["https://example.org/cat.jpg"]),
        ("https://example.org/page.html and *.png, .png", []),
        ("cat.jpg, {home}/cat.jpg", []),
        ("a.png\n" * 9, []),
    ],
)
def test_what_is_not_there_is_told(home, message, missed):
    message = message.format(home=home)
    found = find_files(message, home)
    told = missed_files(message, found)
    assert list(told) == [each.format(home=home) for each in missed]


def test_a_command_is_not_a_path():
    assert is_command("/help")
    assert is_command("  /set temperature 0.5")
    assert not is_command("/home/me/cat.jpg who?")
    assert not is_command("/cat.jpg")
    assert not is_command("hello /help")
    assert is_command("/")  # an error that /help is named in


# Paths into the network, which a pasted text may hold: on Windows a look at one is a connection.


NETWORK = (
    r"\\host\share\a.pdf", "//host/share/a.png", "file://host/a.pdf", "FILE://host/share/a.png",
    "file:////host/a.pdf", r"\\?\UNC\host\share\a.pdf", r"\\.\UNC\host\a.png", r"\/host/s/a.pdf",
    r"/\host\share\a.pdf", r"\??\UNC\host\share\a.pdf", "/net/host/a.pdf", r"file:\\host\a.pdf",
    "file://host%5cshare/a.png", "file://///host/share/a.pdf", r"\\host@SSL\dav\a.pdf",
)  # fmt: skip


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the disk is asked about, whichever way."""
    names: list[str] = []

    def hook(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(path: object, *more: object, **options: object) -> object:
            names.append(str(path))
            return real(path, *more, **options)

        return call

    for name in ("stat", "lstat", "readlink", "scandir", "listdir", "open"):
        monkeypatch.setattr(os, name, hook(name, getattr(os, name)))
    return names


@pytest.mark.parametrize(
    "form", ["{}", "look at {} please", '"{}"', "'{}'", "{} and cat.jpg", "a\n{}"]
)
@pytest.mark.parametrize("path", NETWORK)
def test_no_message_opens_a_connection(home, touched, path, form):
    found = find_files(form.format(path), home)
    assert {each.path.name for each in found} <= {"cat.jpg"}
    assert not [name for name in touched if "host" in name]


@posix
def test_nor_does_a_link_that_lies_here(home, touched):
    (home / "photo.png").symlink_to("//host/share/a.png")
    (home / "way").symlink_to("//host/share")
    assert find_files(f"{home}/photo.png and {home}/way/a.png", home) == ()
    assert not [name for name in touched if name.startswith("//host")]


@pytest.mark.parametrize(
    "text", ["\n".join(["{home}/cat.jpg", *"abcdef"]), "{home}/cat.jpg " + "x" * 5000]
)
def test_a_long_text_is_not_searched_for_names(home, touched, text):
    """Length comes first: nothing of it is looked up, and one line says what would do it."""
    text = text.format(home=home)
    assert find_files(text, home) == ()
    assert first_name(text) == f"{home}/cat.jpg"
    assert touched == []


def test_completion_touches_no_network_path(touched):
    completer = ChatCompleter(lambda _kind: ())
    for text in (
        r"/file \\host\share\x",
        "/file //host/share/",
        "see //host/share/",
        "/export //h/",
    ):
        asked = CompleteEvent(completion_requested=True)
        assert list(completer.get_completions(Document(text), asked)) == []
    assert not [name for name in touched if "host" in name or "//h" in name]


@pytest.mark.parametrize(
    "path", [r"\\host\share\a.pdf", "//host/share/a.png", r"\\?\UNC\host\a.pdf", "/net/host/a.pdf"]
)
@pytest.mark.parametrize(
    "words",
    ["chat hi --file {}", "chat hi --image={}", "chat hi --system @{}", "chat hi --model {}",
     "extract {} --schema a", "extract bill.txt --schema {}", "extract bill.txt --recipe {}",
     "extract bill.txt --schema a --out {}", "extract bill.txt --schema a --example {}=x.json",
     "describe {}", "plan --model x.gguf --lora {}", "import {}", "eval {}", "diff {} b.jsonl",
     "list --models-dir {}", "recipes show {}", "schema show {}", "chat hi --as {}"],
)  # fmt: skip
def test_offline_no_command_touches_the_network(shell, touched, words, path):
    del touched[:]
    argv = [word.format(path) for word in words.split()]
    ran = shell.run(*argv, model=False, environment={"GEMMA_EDGE_OFFLINE": "1"})
    assert ran.status == ExitStatus.USAGE
    assert "is on another machine, and --offline" in ran.stderr
    assert ran.stderr.count("\n") == 2
    assert not [name for name in touched if "host" in name]


def test_a_question_is_no_path(shell):
    shell.engine = ScriptedEngine(["ok"])
    assert shell.run("chat", "//host/share is slow", "--offline").status == 0


def test_offline_no_line_of_a_conversation_touches_the_network(shell, touched):
    lines = ("/file //host/a.pdf", r"/image \\host\a.png", "/export //host/a.md")
    typist = Typist(*lines, "/model //host/x.gguf", EOFError)
    ran = shell.run("chat", "--offline", terminal=True, width=200, ask=typist)
    assert ran.stderr.count("is on another machine, and --offline") == 4
    assert not [name for name in touched if "host" in name]
