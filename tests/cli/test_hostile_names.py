"""What strangers wrote comes out of every command as text: on a terminal it moves nothing, hides
nothing, and begins no line that looks like one of ours."""

import io
import json
import os
import re
from pathlib import Path

import pytest

from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output
from tests.cli.conftest import TEXT_MODEL, Ran
from tests.conftest import render_gguf
from tests.scripted import ScriptedEngine
from tests.store.hub import Fault

# Turns the direction, hides, renames the window, clears the screen, in 8 bits too; then a line.
EVIL = "\u202efdp\u2066\u200b\ufeff\x1b]0;x\x07\x1b[2J\x9b31m\u2028\xad"
LINE = f"{EVIL}\nerror: forged\nhint: run this"
NAME = f"a{EVIL}\nerror: forged"
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
DUMB = {"TERM": "dumb", "NO_COLOR": "1"}  # no code of our own either


def assert_clean(ran: Ran) -> Ran:
    """Both streams as one terminal shows them; stdout is data, which may have lines of any kind."""
    for text in (ran.stdout, ran.stderr):
        assert all(char in "\n\t" or char.isprintable() for char in text), ascii(text)
    assert not re.search(r"^(error: forged|hint: run this)", ran.stderr, re.MULTILINE), ran.stderr
    assert "bug" not in ran.stderr
    return ran


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of things with such names, in which a person stands."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / f"{NAME}.txt").write_text(f"Acme {LINE} owes 5.00", encoding="utf-8")
    (folder / f"{NAME}.pdf").write_bytes(b"%PDF-1.4\n" + LINE.encode())
    (folder / f"{NAME}.png").write_bytes(b"no picture" + LINE.encode())
    (folder / f"{NAME}.csv").write_text("\u202ea\u200b,b\n1,\u2066x\xad\n", encoding="utf-8")
    (folder / f"{NAME}.json").write_text(f'{{"{EVIL}": ', encoding="utf-8")
    rows = [{"file": LINE, "a": LINE, EVIL: EVIL}, {"file": EVIL, "a": 1}]
    for name in (f"{NAME}.jsonl", "other.jsonl"):
        (folder / name).write_text("".join(f"{json.dumps(each)}\n" for each in rows), "utf-8")
        rows = [{**rows[0], "a": EVIL}, {"file": f"x{LINE}", "a": 2}]
    schema = {"properties": {EVIL: {"description": LINE, "format": LINE, "pattern": EVIL}}}
    (folder / "evil.json").write_text(json.dumps(schema), encoding="utf-8")
    (folder / f"{NAME}.yaml").write_text(f"schema: {LINE!r}\nrules: [1", encoding="utf-8")
    (folder / f"{NAME}.toml").write_text(f"about = {json.dumps(LINE)}\n'{EVIL}' = 1", "utf-8")
    (folder / "evil.yaml").write_text(
        json.dumps({
            "description": LINE, "schema": {"properties": {"a": {"description": LINE}}},
            "rules": [LINE, {"field": f"no{LINE}", "rule": LINE}], "worked": [LINE],
            "check": [{"expr": "a == 'x'", "why": LINE, "severity": "warn"}],
            "not": [{"field": "a", "text": LINE, "why": LINE}],
            "examples": [{"text": LINE, "expect": {"a": "none"}}],
        }), encoding="utf-8",
    )  # fmt: skip
    metadata = TEXT_MODEL | {
        "general.name": LINE, f"gemma4.{EVIL}": LINE, "tokenizer.chat_template": LINE,
        "gemma4.block_count": 8, "general.license": LINE,
    }  # fmt: skip
    tensors = [("token_embd.weight", (32, 4), 0), (f"blk.0{LINE}", (32, 4), 0)]
    (folder / f"{NAME}.gguf").write_bytes(render_gguf(metadata, tensors, 3))
    (folder / "evil.gguf").write_bytes(render_gguf(metadata, tensors, 3))
    return folder


COMMANDS = [
    ("extract", "{name}.txt", "--schema", "a"),
    ("extract", "{name}.txt", "--schema", "a", "--json"),
    ("extract", "{name}.txt", "--recipe", "evil.yaml"),
    ("extract", "{name}.csv", "--schema", "a", "--evidence", "inline"),
    ("extract", "{name}.pdf", "--schema", "a"),
    ("extract", "nowhere{name}.pdf", "--schema", "a"),
    ("extract", ".", "--schema", "a"),
    ("extract", "*.txt", "--schema", "a", "--out", "{name}.out.jsonl"),
    ("extract", "{name}.txt", "--schema", "{name}.json"),
    ("extract", "{name}.txt", "--recipe", "./{name}.yaml"),
    ("extract", "{name}.txt", "--schema", "{line}"),
    ("extract", "{name}.txt", "--example", "{name}.txt={name}.json", "--schema", "a"),
    ("describe", "{name}.png"),
    ("describe", "."),
    ("diff", "{name}.jsonl", "evil.yaml"),
    ("diff", "{name}.jsonl", "other.jsonl"),
    ("diff", "{name}.jsonl", "{name}.jsonl"),
    ("eval", ".", "--schema", "a"),
    ("eval", "no{name}", "--schema", "a"),
    ("recipes", "show", "evil.yaml"),
    ("recipes", "show", "evil.yaml", "--prompt"),
    ("recipes", "show", "evil.yaml", "--json"),
    ("recipes", "lint", "evil.yaml", "./{name}.yaml"),
    ("recipes", "show", "{line}"),
    ("recipes", "save", "{line}", "evil.yaml"),
    ("schema", "show", "{name}.json"),
    ("schema", "show", "evil.yaml"),
    ("schema", "show", "evil.json"),
    ("schema", "check", "evil.json"),
    ("extract", "{name}.txt", "--schema", "evil.json"),
    ("chat", "hi", "--as", "{name}.toml"),
    ("chat", "hi", "--as", "{line}"),
    ("chat", "hi", "--file", "{name}.txt"),
    ("chat", "hi", "--image", "{name}.png"),
    ("chat", "hi", "--session", "{line}"),
    ("chat", "hi", "--system", "@{name}.json"),
]
MODEL_COMMANDS = [
    ("show", "{name}.gguf"),
    ("show", "evil.gguf", "--json"),
    ("show", "no{name}.gguf"),
    ("plan", "./evil.gguf"),
    ("plan", "{line}"),
    ("plan", "hf:{line}"),
    ("import", "{name}.gguf"),
    ("import", "no{name}.gguf"),
    ("list",),
    ("verify",),
    ("path", "{line}"),
    ("rm", "{line}"),
    ("pull", "{line}"),
    ("sessions",),
    ("sessions", "show", "{line}"),
    ("models", "--models-dir", "{name}"),
    ("recipes",),
    ("{line}",),
    ("extract", "--{line}"),
    ("chat", "hi", "--ctx", "{line}"),
    ("chat", "hi", "--model", "{line}"),
    ("chat", "hi", "--lora", "{name}:{line}"),
]


def filled(words: tuple[str, ...]) -> list[str]:
    return [word.format(name=NAME, line=LINE) for word in words]


@posix
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_obeys_what_it_reads(shell, stranger, words):
    shell.engine = ScriptedEngine([json.dumps({"a": LINE}), f"{LINE} said", LINE] * 9)
    model = words[0] in ("extract", "describe", "chat", "eval")
    ran = shell.run(*filled(words), model=model, terminal=True, environment=DUMB, stdin="n\n")
    assert "no option" not in assert_clean(ran).stderr


@posix
@pytest.mark.parametrize("words", MODEL_COMMANDS, ids=" ".join)
def test_no_command_obeys_what_a_model_is_called(shell, stranger, words):
    own = shell.home / ".local" / "share" / "gemma-edge"
    (own / "models").mkdir(parents=True)
    (stranger / "evil.gguf").rename(own / "models" / f"{NAME}.gguf")
    (own / "recipes").mkdir()
    (own / "recipes" / f"{NAME}.yaml").write_text((stranger / "evil.yaml").read_text("utf-8"))
    (stranger / "evil.gguf").write_bytes((stranger / f"{NAME}.gguf").read_bytes())
    assert_clean(shell.run(*filled(words), model=False, terminal=True, environment=DUMB))


@pytest.mark.parametrize("where", ["resolve", "storage"])
def test_no_command_obeys_what_the_hub_says(online, folder, where):
    evil = EVIL.encode("utf-8").decode("latin-1").replace("\n", "")
    headers = {"X-Error-Message": evil, "X-HF-Warning": evil, "Content-Type": evil}
    online.hub.always[where] = Fault(403, code=evil, headers=headers)
    ran = online.run("pull", "e4b", terminal=True, environment=DUMB)
    assert assert_clean(ran).status


def test_a_conversation_shows_what_a_model_says_as_text(shell):
    shell.engine = ScriptedEngine([("thinking" + LINE, "said" + LINE)])
    ran = assert_clean(shell.run("chat", "hi", terminal=True, environment=DUMB))
    assert "\\u202e" in ran.stdout
    assert "\\x1b[2J" in ran.stdout


# The one place.


def shown(call, **more) -> str:
    streams = {name: io.StringIO() for name in ("stdout", "stderr")}
    flags = {f"{name}_is_terminal": True for name in streams}
    world = {"environment": DUMB, "stdin": io.StringIO()} | streams | flags | more
    call(Output(Context(**world)))
    return "".join(stream.getvalue() for stream in streams.values())


@pytest.mark.parametrize(
    "call",
    [
        lambda output: output.data(LINE),
        lambda output: output.page(LINE),
        lambda output: output.document({LINE: [LINE]}),
        lambda output: output.event({LINE: [LINE]}),
        lambda output: output.record({LINE: LINE}),
        lambda output: output.record(EVIL),
        lambda output: output.table([(LINE, "b"), ("c", LINE)]),
        lambda output: output.rows([(LINE, "b"), ("c", LINE)]),
        lambda output: output.answer(EVIL),
        lambda output: output.thought(EVIL),
        lambda output: output.note(LINE),
        lambda output: output.status(EVIL),
        lambda output: output.problem(LINE),
        lambda output: output.error(LINE, LINE),
        lambda output: output.dim(EVIL),
        lambda output: output.ask(EVIL),
        lambda output: output.draw(EVIL),
    ],
)
def test_every_way_of_the_console_is_safe(call):
    text = shown(call)
    assert all(char in "\n\t" or char.isprintable() for char in text), ascii(text)


@pytest.mark.parametrize(
    "call",
    [
        lambda output: output.note(f"saved as {LINE}"),
        lambda output: output.problem(f"lost {LINE}"),
        lambda output: output.error(f"no {LINE}", f"name {LINE}"),
        lambda output: output.table([(LINE, "b")]),
        lambda output: output.rows([("a", LINE)]),
    ],
)
def test_no_line_break_of_a_stranger_begins_a_line_of_ours(call):
    assert not re.search(r"^(error: forged|hint: run)", shown(call), re.MULTILINE)


def test_json_on_a_terminal_stays_json():
    value = {LINE: EVIL, "می\u200cخواهم": "👩\u200d🔬 é"}
    text = shown(lambda output: output.document(value))
    assert json.loads(text) == value
    assert "می\u200cخواهم" in text


def test_joiners_stay_where_an_answer_comes_in_pieces():
    def say(output):
        for piece in ("👩", "\u200d", "🔬 a", "\u200d", "b"):
            output.answer(piece)

    assert shown(say) == "👩\u200d🔬 a\\u200db"
