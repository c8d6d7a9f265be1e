"""What the commands of a conversation do, line by line, with an engine that answers a script."""

import json
import sys
import time
from dataclasses import replace

import pytest

from gemma_edge.cli.chat_commands import COMMANDS
from gemma_edge.engine.protocol import Prefill, Sampling
from tests.cli.test_chat import Typist
from tests.scripted import ScriptedEngine


@pytest.fixture
def talk(shell):
    """Runs a conversation of these lines; gives the lines of stderr, of stdout, and the engine."""

    def run(*lines, answers=(), flags=(), **more):
        engine = shell.script(answers, **more)
        typist = Typist(*lines, EOFError)
        world = {"environment": {"NO_COLOR": "1"}, "width": 200, "ask": typist}
        ran = shell.run("chat", *flags, terminal=True, **world)
        assert ran.status == 0, ran.stderr
        assert typist.lines == []
        return ran.stderr.splitlines(), ran.stdout, engine

    return run


def asked(engine: ScriptedEngine) -> list[list[str]]:
    return [[message.text for message in request.messages] for request in engine.requests]


def test_every_command_is_in_the_help_and_says_something_alone(talk):
    told, _, _ = talk("/help")
    for command in COMMANDS:
        assert any(line.startswith(command.usage) and command.help in line for line in told)
    for command in COMMANDS:
        if command.name not in ("exit", "paste", "model"):
            told, _, _ = talk(f"/{command.name}")
            assert len(told) > 1, command.name


def test_set(talk):
    told, _, engine = talk(
        "/set", "/set temperature 0.25", "/set top_k=9", "/set seed 7", "/set stop \\nEnd",
        "/set max_tokens 2", "/set top_p 1.5", "/set temprature 1", "hi",
        "/set temperature default", "/set stop default", "/set max_tokens default", "again",
        answers=["one two three", "four"],
    )  # fmt: skip
    assert "temperature  1 (the model's own)" in told
    assert "temperature  0.25 (the model's own: 1)" in told
    assert "error: `1.5` is not a number from 0 to 1" in told
    assert "error: there is no setting `temprature`" in told
    first, second = engine.requests
    assert first.sampling == Sampling(temperature=0.25, top_k=9, seed=7)
    assert (first.stop, first.max_tokens) == (("\nEnd",), 2)
    assert second.sampling == Sampling(top_k=9, seed=7)
    assert (second.stop, second.max_tokens) == ((), None)
    assert "? the answer stopped after 2 tokens; it is not complete" in told
    assert "/continue goes on" in told


def test_think_with_a_budget(talk):
    told, _, engine = talk(
        "/think 300", "hi", "/think on", "hi", "/think off", "hi", answers=["a", "b", "c"]
    )
    assert "thinking up to 300 tokens before each answer" in told
    assert [(r.think, r.max_thought_tokens) for r in engine.requests] == [
        (True, 300), (True, None), (False, None),
    ]  # fmt: skip


def test_undo_edit_and_regen(talk):
    _, stdout, engine = talk(
        "first", "/undo", "second", "/regen", "/edit third", "/edit", "fourth",
        answers=["1", "2", "3", "4", "5"],
    )  # fmt: skip
    assert stdout == "1\n2\n3\n4\n5\n"
    assert asked(engine) == [["first"], ["second"], ["second"], ["third"], ["fourth"]]


def test_files_named_in_other_words_go_along_at_once(talk, tmp_path):
    path = tmp_path / "more.txt"
    path.write_text("disk full\n")
    _, _, engine = talk(
        "first", "/edit", f"and {path}", f"/edit or {path}", "no more", answers=["1", "2", "3", "4"]
    )
    texts = [request.messages[-1].text for request in engine.requests]
    assert ["disk full" in text for text in texts] == [False, True, True, False]


@pytest.mark.parametrize(
    ("between", "prompt"), [("/clear", ["second"]), ("/help", ["first", "1", "second"])]
)
def test_a_command_ends_the_change_of_the_last_question(talk, between, prompt):
    told, _, engine = talk("first", "/edit", between, "second", answers=["1", "2"])
    assert "the next message takes the place of the last question" in told
    assert asked(engine)[-1] == prompt


def test_what_would_be_ignored_is_refused(talk):
    told, _, engine = talk("one", "two", "/undo 2", "three", answers=["1", "2", "3"])
    assert "error: /undo takes nothing after it" in told
    assert asked(engine)[-1] == ["one", "1", "two", "2", "three"]


def test_a_summary_that_was_not_taken_is_no_answer_to_go_on_with(talk):
    told, _, _ = talk("one", "two", "/compact", answers=["1", "2", "word " * 5000])
    assert any("came to no end" in line and "as before" in line for line in told)
    assert "/continue goes on" not in told


def test_numbers_are_shown_as_they_are(talk):
    told, _, _ = talk("/set seed 123456789", "/set top_k 1234567")
    assert "seed         123456789" in told
    assert "top_k        1234567 (the model's own: 64)" in told


def test_continue_drop_compact_and_clear(talk):
    long = "two " * 30
    told, stdout, engine = talk(
        "one", "/continue", long, "/drop", "three", "/compact", "four", "/clear", "five", "/drop",
        "/drop", answers=["a ", "b", "c", "d", "they said things", "e", "f"],
    )  # fmt: skip
    assert "they said things\n" in stdout
    assert "the oldest question left the context; the session file keeps all" in told
    assert [texts[-1] for texts in asked(engine)[:4]] == ["one", "a ", long.strip(), "three"]
    assert "one" not in asked(engine)[3]
    four = next(texts for texts in asked(engine) if texts[-1] == "four")
    assert "they said things" in four[0]
    assert long.strip() not in four
    assert asked(engine)[-1] == ["five"]
    assert "error: there is nothing to drop" in told


def test_a_message_that_does_not_fit_is_refused_with_numbers_and_choices(talk):
    told, _, engine = talk("short", "word " * 30, "shorter", answers=["a", "b"], context_tokens=24)
    assert any("holds 24" in line and "too many" in line for line in told)
    assert "hint: /compact, /drop, or less text" in told
    assert asked(engine) == [["short"], ["short", "a", "shorter"]]


def test_the_context_that_would_hold_it_is_named_where_the_model_can(shell):
    class Small(ScriptedEngine):
        @property
        def info(self):
            return replace(super().info, trained_context_tokens=131072)

    shell.engine = Small(["a"], context_tokens=24)
    typist = Typist("word " * 3000, EOFError)
    ran = shell.run("chat", terminal=True, ask=typist, width=200, environment={"NO_COLOR": "1"})
    assert "hint: /ctx 4k if there is memory for it, or less text" in ran.stderr.splitlines()


def test_a_file_goes_along_whole_and_its_tokens_are_told_first(talk, tmp_path):
    path = tmp_path / "log of today.txt"
    path.write_text("disk full\nbye now\n")
    told, _, engine = talk(
        f"/file {path}", "what failed?", f"and in '{path}'?", "no more", answers=["a", "b", "c"]
    )
    size = next(line for line in told if line.startswith("log of today.txt: "))
    assert told.index(size) < told.index(next(line for line in told if " of 8,192" in line))
    texts = [request.messages[-1].text for request in engine.requests]
    assert "disk full\nbye now" in texts[0]
    assert texts[0].endswith("what failed?")
    assert "disk full" in texts[1]
    assert texts[1].endswith("and in log of today.txt?")
    assert texts[2] == "no more"


def test_a_refused_message_keeps_its_files_for_the_next_try(talk, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("word " * 20)
    _, _, engine = talk(f"/file {path}", "many " * 60, "few", answers=["a"], context_tokens=64)
    assert "word word" in engine.requests[0].messages[-1].text
    assert len(engine.requests) == 1


def test_an_image_by_its_path_in_the_message(talk, tmp_path):
    image = pytest.importorskip("PIL.Image").new("RGB", (480, 480), "red")
    image.save(tmp_path / "red square.png")
    told, _, engine = talk(f"what is {tmp_path}/red square.png ?", "and?", answers=["a", "b"])
    assert "red square.png 480x480, 100 tokens" in told
    assert engine.requests[0].messages[-1].text == "what is red square.png ?"
    assert [len(m.pictures) for m in engine.requests[1].messages] == [1, 0, 0]


def test_an_image_of_a_refused_message_does_not_go_along_twice(talk, tmp_path):
    pytest.importorskip("PIL.Image").new("RGB", (480, 480)).save(tmp_path / "a.png")
    message = f"what is {tmp_path}/a.png ?"
    _, _, engine = talk(message + " word" * 100, message, answers=["a"], context_tokens=128)
    assert [len(request.messages[-1].pictures) for request in engine.requests] == [1]


class Patient(ScriptedEngine):
    """Reads a conversation for as long as nobody wants anything else."""

    stopped = 0

    def warm(self, request):
        self._cancelled = False
        while not self._cancelled:
            yield Prefill(1, 2)
            time.sleep(0.005)
        self.stopped += 1
        yield from super().warm(request)


def test_what_is_read_between_two_messages_makes_nobody_wait(shell):
    shell.engine = engine = Patient(["a", "b"])
    began = time.monotonic()
    typist = Typist("one", "/stats", "two", EOFError)
    ran = shell.run("chat", terminal=True, ask=typist, width=200, environment={"NO_COLOR": "1"})
    assert (ran.status, ran.stdout) == (0, "a\nb\n")
    assert engine.stopped == 3  # by each of the lines that came after, and by leaving
    assert time.monotonic() - began < 10
    assert [m.text for m in engine.warmed[-1].messages] == ["one", "a", "two", "b"]


def test_no_eyes(talk, tmp_path):
    pytest.importorskip("PIL.Image").new("RGB", (48, 48)).save(tmp_path / "a.png")
    told, _, engine = talk(f"/image {tmp_path}/a.png", f"see {tmp_path}/a.png", vision=False)
    assert told.count("error: this model was loaded without a projector, it sees no images") == 2
    assert engine.requests == []


def test_ctx_loads_again_and_the_conversation_goes_along(talk, shell):
    told, _, engine = talk("/ctx", "one", "/ctx 16k", "two", "/ctx x", answers=["a", "b"])
    assert "8,192 tokens; this model was trained for 8,192" in told
    assert [plan.context_tokens for plan in shell.plans] == [32768, 16384]
    assert asked(engine) == [["one"], ["one", "a", "two"]]
    assert "error: `x` is not a number of tokens" in told


def test_a_context_that_memory_has_no_room_for_is_refused_and_the_old_one_stays(talk, shell):
    told, _, engine = talk("one", "/ctx 100000k", "two", answers=["a", "b"])
    assert any(line.startswith("error: ") for line in told)
    assert [plan.context_tokens for plan in shell.plans] == [32768, 32768]
    assert asked(engine) == [["one"], ["one", "a", "two"]]


def test_another_model_and_one_that_there_is_not(talk, shell, write_gguf):
    other = write_gguf(
        "other.gguf",
        {"general.architecture": "gemma4", "gemma4.context_length": 4096,
         "gemma4.embedding_length": 64, "gemma4.block_count": 4},
    )  # fmt: skip
    told, _, engine = talk(
        "one", f"/model {other}", "two", "/model nosuch", "three", answers=["a", "b", "c"]
    )
    assert [plan.model.name for plan in shell.plans] == ["model.gguf", "other.gguf", "other.gguf"]
    assert asked(engine)[2] == ["one", "a", "two", "b", "three"]
    assert any("nosuch" in line for line in told if line.startswith("error: "))


def test_stats_and_show(talk):
    told, _, _ = talk(
        "/system Be terse.", "a b c", "/stats", "/show system", "/show messages", "/show nothing",
        answers=["d e"],
    )  # fmt: skip
    assert "context      13 of 8,192 tokens: 7 text, 0 images, 6 template" in told
    assert told.count("system: Be terse.") == 2
    assert "› a b c" in told
    assert "error: there is no `nothing` to show" in told


def test_export_refuses_to_overwrite(talk, tmp_path):
    markdown, document = tmp_path / "talk.md", tmp_path / "talk.json"
    markdown.write_text("mine")
    told, _, _ = talk(
        "what is *it*?", f"/export {markdown}", f"/export {tmp_path}/new.md", f"/export {document}",
        "/export", answers=["this"],
    )  # fmt: skip
    assert markdown.read_text() == "mine"
    assert any("is there already" in line for line in told)
    assert "what is *it*?" in (tmp_path / "new.md").read_text("utf-8")
    (turn,) = json.loads(document.read_text("utf-8"))["turns"]
    assert (turn["question"], turn["answer"]) == ("what is *it*?", "this")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the tool")
@pytest.mark.parametrize(("works", "how"), [("cat > {}", "with wl-copy"), ("exit 1", "OSC 52")])
def test_copy_takes_the_tool_of_the_desktop_if_it_works(shell, tmp_path, works, how):
    tool, copied = tmp_path / "wl-copy", tmp_path / "copied"
    tool.write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin; {works.format(copied)}\n")
    tool.chmod(0o755)
    shell.script(["日本 **tea**"])
    world = {"NO_COLOR": "1", "WAYLAND_DISPLAY": "wayland-0", "PATH": str(tmp_path)}
    typist = Typist("hi", "/copy", EOFError)
    ran = shell.run("chat", terminal=True, ask=typist, environment=world, width=200)
    assert how in ran.stderr
    assert copied.exists() == ("wl-copy" in how)
    assert not copied.exists() or copied.read_text("utf-8") == "日本 **tea**"


def test_copy_asks_the_terminal_where_there_is_no_tool(shell):
    engine = shell.script(["say:\n```py\nx = 1\n```\n"])
    typist = Typist("hi", "/copy", "/copy code", "/copy all", EOFError)
    ran = shell.run(
        "chat", terminal=True, ask=typist,
        environment={"NO_COLOR": "1", "SSH_TTY": "/dev/pts/1"}, width=200,
    )  # fmt: skip
    assert len(engine.requests) == 1
    assert "\x1b]52;c;c2F5OgpgYGBweQp4ID0gMQpgYGAK\x07" in ran.stderr
    assert "\x1b]52;c;eCA9IDEK\x07" in ran.stderr
    assert "6 characters copied by the terminal (OSC 52), if it allows that" in ran.stderr
    assert "error: `all` cannot be copied" in ran.stderr


def test_what_a_pasted_text_names_is_told_and_not_attached(talk, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("seven crates")
    pasted = "\n".join([f"read {notes}", *"abcde"])
    told, _, engine = talk(pasted, pasted.removesuffix("\ne"), answers=["a", "b"])
    assert f"{notes} in so long a text is not attached; /file does" in told
    long, short = (request.messages[-1].text for request in engine.requests)
    assert long == pasted
    assert "seven crates" in short
