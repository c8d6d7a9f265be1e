"""One object decides how things look: the same call, side by side, on every kind of terminal."""

import io

import pytest

from gemma_edge.cli.context import Context
from gemma_edge.cli.output import Output


def world(encoding="utf-8", terminal=True, **more):
    streams = {
        name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")
    }
    flags = {f"{name}_is_terminal": terminal for name in ("stdout", "stderr")}
    settings = (
        {"environment": {}, "stdin": io.StringIO(), "platform": "linux"} | streams | flags | more
    )
    return Context(**settings)


def shown(call, quiet=False, **more):
    """What one call writes: (stdout, stderr)."""
    context = world(**more)
    output = Output(context)
    output.quiet = quiet
    call(output)
    return tuple(
        stream.buffer.getvalue().decode(stream.encoding)
        for stream in (context.stdout, context.stderr)
    )


@pytest.mark.parametrize(
    ("call", "colour", "plain", "ascii_", "quiet"),
    [
        pytest.param(
            lambda output: output.note("E4B · 32 tokens – ready"),
            ("", "E4B · 32 tokens – ready\n"),
            ("", "E4B · 32 tokens – ready\n"),
            ("", "E4B - 32 tokens - ready\n"),
            ("", ""),
            id="note",
        ),
        pytest.param(
            lambda output: output.error("no file `a`", "name one"),
            ("", "\x1b[31merror: \x1b[0mno file `a`\n\x1b[1mhint: \x1b[0mname one\n"),
            ("", "error: no file `a`\nhint: name one\n"),
            ("", "error: no file `a`\nhint: name one\n"),
            ("", "\x1b[31merror: \x1b[0mno file `a`\n\x1b[1mhint: \x1b[0mname one\n"),
            id="error",
        ),
        pytest.param(
            lambda output: output.thought("hm"),
            ("", "\x1b[2mhm\x1b[0m"),
            ("", "hm"),
            ("", "hm"),
            ("", ""),
            id="thought",
        ),
        pytest.param(
            lambda output: output.data("é ✔"),
            ("é ✔\n", ""),
            ("é ✔\n", ""),
            ("\\xe9 \\u2714\n", ""),
            ("é ✔\n", ""),
            id="data",
        ),
        pytest.param(
            lambda output: output.document({"name": "Café"}),
            ('{\n  "name": "Café"\n}\n', ""),
            ('{\n  "name": "Café"\n}\n', ""),
            ('{\n  "name": "Caf\\u00e9"\n}\n', ""),
            ('{\n  "name": "Café"\n}\n', ""),
            id="document",
        ),
        pytest.param(
            lambda output: output.status("9 tok/s · 3"),
            ("", "\x1b[2m                            9 tok/s · 3\x1b[0m\n"),
            ("", "                            9 tok/s · 3\n"),
            ("", "                            9 tok/s - 3\n"),
            ("", ""),
            id="status",
        ),
    ],
)
def test_renderings(call, colour, plain, ascii_, quiet):
    assert shown(call, width=40) == colour
    assert shown(call, width=40, environment={"NO_COLOR": "1"}) == plain
    assert shown(call, width=40, environment={"TERM": "dumb"}) == plain
    assert shown(call, width=40, environment={"NO_COLOR": "1"}, encoding="ascii") == ascii_
    assert shown(call, width=40, quiet=True) == quiet


def test_an_old_windows_console_gets_no_colours():
    def call(output):
        output.error("no")

    for told, coloured in (({}, False), ({"WT_SESSION": "1"}, True), ({"TERM": "xterm"}, True)):
        _, err = shown(call, platform="win32", environment=told)
        assert ("\x1b" in err) == coloured


def test_notes_fold_at_60_columns_on_a_terminal_only():
    text = "error lines of many words are broken at spaces so that a narrow terminal stays readable"
    plain = {"environment": {"NO_COLOR": "1"}, "width": 60}
    _, folded = shown(lambda output: output.error(text, "short"), **plain)
    assert max(map(len, folded.splitlines())) < 60
    assert folded.splitlines()[1].startswith("       ")
    assert folded.replace("\n       ", " ") == f"error: {text}\nhint: short\n"
    _, whole = shown(lambda output: output.error(text), terminal=False, width=60)
    assert whole == f"error: {text}\n"


def test_control_characters_reach_a_pipe_but_not_a_terminal():
    attack = "a\x1b]0;owned\x07b\tc\nd"
    assert shown(lambda output: output.answer(attack))[0] == "a\\x1b]0;owned\\x07b\tc\nd"
    assert shown(lambda output: output.answer(attack), terminal=False)[0] == attack
    assert "\x1b" not in shown(lambda output: output.note(attack), terminal=False)[1]


def test_thought_and_answer_never_share_a_line():
    def call(output):
        output.thought("hm")
        output.answer("yes")
        output.status("3 of 8")

    out, err = shown(call, environment={"NO_COLOR": "1"}, width=20)
    assert out == "yes\n"
    assert err == "hm\n" + "3 of 8".rjust(19) + "\n"
