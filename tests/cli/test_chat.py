"""Chat: one-shot, piped, in a loop; every rendering of the same answer."""

import json
import re
import signal

import pytest

from gemma_edge.engine.protocol import GREEDY, Sampling
from gemma_edge.errors import ExitStatus
from tests.cli.conftest import GAMER

LOADED = "model on the CPU, 1 thread: 32k context, 0.3 of 8.0 GiB\n"
# Room for the pictures that a conversation keeps.
LOADED_TO_TALK = "model on the CPU, 1 thread: 32k context, 0.7 of 8.0 GiB"


def test_one_shot(shell, check):
    engine = shell.script(["Hello there.", "Hello there."])
    for argv in (("chat", "hi"), ("chat", "-p", "hi")):
        check(*argv, stdout="Hello there.\n", stderr=LOADED + "5 of 8,192\n")
    assert [message.text for message in engine.requests[0].messages] == ["hi"]
    assert engine.requests[0].sampling == Sampling()


def test_quiet_and_json(shell, check):
    shell.script(["Hi you."] * 2)
    check("chat", "hi", "--quiet", stdout="Hi you.\n")
    ran = shell.run("chat", "hi", "--json", "--quiet")
    *chunks, finished = map(json.loads, ran.stdout.splitlines())
    assert chunks == [
        {"event": "chunk", "text": "Hi ", "channel": "answer"},
        {"event": "chunk", "text": "you.", "channel": "answer"},
    ]
    assert finished["event"] == "finished"
    assert finished["reason"] == "end"
    assert finished["usage"]["generated_tokens"] == 2


def test_piped_text_comes_before_the_question(shell, check):
    engine = shell.script(["The disk."] * 3)
    told = {"stdout": "The disk.\n", "stderr": ""}
    check("chat", "-p", "what failed?", "--quiet", stdin="disk full\r\nbye\n", **told)
    check("chat", "--quiet", stdin="what failed?\n", **told)
    check("chat", "-p", "what failed?", "--quiet", stdin="", **told)
    texts = [request.messages[-1].text for request in engine.requests]
    assert texts == ["disk full\nbye\n\nwhat failed?", "what failed?", "what failed?"]


def test_thoughts_go_to_stderr(shell, check):
    shell.script([("let me see", "42")])
    check(
        "chat", "6 x 7", "--think", stdout="42\n", stderr=LOADED + "let me see\n9 of 8,192\n"
    )  # fmt: skip


def test_flags_reach_the_engine(shell, tmp_path):
    engine = shell.script(["yes"])
    shell.hardware = GAMER
    (tmp_path / "role.txt").write_text("You are a pirate.\n", encoding="utf-8")
    ran = shell.run(
        "chat", "hi", "--system", f"@{tmp_path / 'role.txt'}", "--temperature", "0", "--think",
        "--max-tokens", "9", "--ctx", "1k", "--gpu-layers", "3", "--threads", "3",
    )  # fmt: skip
    assert ran.status == 0
    (request,) = engine.requests
    assert [(message.role, message.text) for message in request.messages] == [
        ("system", "You are a pirate."),
        ("user", "hi"),
    ]
    assert (request.sampling, request.think, request.max_tokens) == (GREEDY, True, 9)
    (plan,) = shell.plans
    assert (plan.context_tokens, plan.gpu_layers, plan.threads) == (1024, 3, 3)


def test_an_answer_that_is_cut_says_so(shell, check):
    shell.script(["one two three four"])
    check(
        "chat", "count", "--max-tokens", "2",
        stdout="one two \n",
        stderr=LOADED + "5 of 8,192\n? the answer stopped after 2 tokens; it is not complete\n",
        status=ExitStatus.RESULT,
    )  # fmt: skip


def test_bytes_that_are_no_text_are_shown_as_such(shell):
    engine = shell.script(["Yes."])
    shell.run("chat", "caf\udce9?", "--system", "\udcff")  # as Python gives b"\xe9" in argv
    assert [message.text for message in engine.requests[0].messages] == ["\ufffd", "caf\ufffd?"]


def test_no_question_and_no_terminal(check):
    check(
        "chat",
        status=ExitStatus.USAGE,
        stderr="error: there is no question, and no terminal to ask at\n"
        'hint: gemma-edge chat -p "TEXT", or pipe text in\n',
    )


def test_json_needs_a_question_even_at_a_terminal(shell):
    assert shell.run("chat", "--json", terminal=True).status == ExitStatus.USAGE


def test_binary_stdin_and_a_missing_system_file(shell, check, tmp_path):
    ran = shell.run("chat", "-p", "what?", stdin=b"\0\1\2")
    assert (ran.status, ran.stdout) == (ExitStatus.INPUT, "")
    assert ran.stderr.startswith("error: stdin is not text")
    ran = shell.run("chat", "hi", "--system", f"@{tmp_path / 'nowhere.txt'}")
    assert ran.status == ExitStatus.INPUT
    assert "nowhere.txt does not exist" in ran.stderr


def test_ctrl_c_stops_an_answer_and_keeps_what_was_said(shell, check, interrupting):
    before = signal.getsignal(signal.SIGINT)
    shell.engine = interrupting(["one two three"])
    check(
        "chat", "count",
        stdout="one \n", stderr=LOADED + "4 of 8,192\n", status=ExitStatus.INTERRUPTED,
    )  # fmt: skip
    assert signal.getsignal(signal.SIGINT) is before


class Typist:
    """Lines as a person types them at a terminal with line editing; an exception is a key."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.signs = []

    def __call__(self, sign):
        self.signs.append(sign)
        line = self.lines.pop(0)
        if isinstance(line, type):
            raise line
        return line


def converse(shell, *lines, **more):
    typist = Typist(*lines)
    settings = {"environment": {"NO_COLOR": "1"}, "width": 60, "ask": typist} | more
    return shell.run("chat", terminal=True, **settings), typist


def status_line(text):
    return text.rjust(59) + "\n"


def settled(stderr):
    """Without the line that is drawn and wiped where the first message comes before the model."""
    return re.sub(r"loading …\r *\r", "", stderr)


def test_a_conversation(shell):
    engine = shell.script(["Hello.", "You said hi."])
    ran, typist = converse(shell, "hi", "", "what did I say?", EOFError)
    assert ran.status == 0
    assert ran.stdout == "Hello.\nYou said hi.\n"
    assert settled(ran.stderr) == (
        "model on the CPU, 1 thread: 32k context, 0.7 of 8.0 GiB ·\n  /help\n"
        + status_line("4 of 8,192")
        + status_line("15 of 8,192")
    )
    assert typist.signs == ["› "] * 4
    assert [message.text for message in engine.requests[1].messages] == [
        "hi", "Hello.", "what did I say?",
    ]  # fmt: skip


def test_commands_of_the_loop(shell, tmp_path):
    engine = shell.script([("hm", "Aye.")])
    ran, _ = converse(
        shell,
        "/help", "/think", "/think off", "/think on", "/think maybe", "/system",
        "/system Be terse.", "/sytem x", "/image", "/image nowhere.png", "hello", "/clear", "/exit",
    )  # fmt: skip
    assert ran.status == 0
    assert ran.stdout == "Aye.\n"
    for line in (
        "/image FILE|-         an image for the next message, as a",
        "thinking before each answer",
        "not thinking",
        "error: `maybe` is neither on nor off, nor a number of",
        "system: none",
        "system: Be terse.",
        "error: there is no command `/sytem`",
        "hint: did you mean /system? /help lists them",
        "error: no file was named",
        "error: nowhere.png does not exist",
        "hm",
        "cleared",
    ):
        assert line in ran.stderr.splitlines(), line
    (request,) = engine.requests
    assert request.think
    assert request.messages[0].text == "Be terse."


def test_an_image_goes_with_the_next_message_only(shell, tmp_path):
    image = pytest.importorskip("PIL.Image").new("RGB", (480, 480), "red")
    image.save(tmp_path / "red square.png")
    engine = shell.script(["Red.", "Yes."])
    ran, _ = converse(
        shell, f'/image "{tmp_path / "red square.png"}"', "colour?", "sure?", EOFError
    )
    assert ran.status == 0
    assert "red square.png 480x480, 100 tokens" in ran.stderr.splitlines()
    sent = [[len(message.pictures) for message in r.messages] for r in engine.requests]
    assert sent == [[1], [1, 0, 0]]


def test_an_error_in_the_loop_leaves_the_conversation_as_it_was(shell):
    engine = shell.script(["Fine."], context_tokens=20)
    ran, _ = converse(shell, "word " * 30, "short", EOFError)
    assert ran.status == 0
    told = " ".join(ran.stderr.split())
    assert "error: this message takes 32 tokens, and the context holds 20: 13 too many" in told
    assert [len(request.messages) for request in engine.requests] == [1]


def test_ctrl_c_at_the_prompt_clears_and_twice_leaves(shell):
    shell.script(["Hello."])
    ran, typist = converse(shell, KeyboardInterrupt, "hi", KeyboardInterrupt, KeyboardInterrupt)
    assert ran.status == ExitStatus.INTERRUPTED
    assert typist.lines == []
    assert ran.stdout == "Hello.\n"


def test_ctrl_c_in_an_answer_keeps_it_in_the_conversation(shell, interrupting):
    shell.engine = engine = interrupting(["one two three", "four"])
    ran, _ = converse(shell, "count", "go on", EOFError)
    assert ran.status == 0
    assert ran.stdout == "one \nfour\n"
    assert "stopped; what was said is kept" in ran.stderr.splitlines()
    assert [message.text for message in engine.requests[1].messages] == ["count", "one ", "go on"]


def test_without_line_editing_the_prompt_is_on_stderr(shell):
    shell.script(["Hello."])
    ran = shell.run(
        "chat", stdin="hi\n", terminal=True, encoding="ascii", environment={"TERM": "dumb"}
    )
    assert ran.status == 0
    assert ran.stdout == "Hello.\n"
    assert ran.stderr.startswith(f"{LOADED_TO_TALK} - /help\n> ")
