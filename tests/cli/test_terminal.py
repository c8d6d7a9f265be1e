"""A real terminal: typing, Ctrl-C, leaving, and what a dumb one gets."""

import sys

import pytest

from gemma_edge.errors import ExitStatus

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from tests.cli.terminals import CTRL_C, CTRL_D


def test_ctrl_c_in_an_answer_stops_it_and_ctrl_d_leaves(terminal):
    chat = terminal()
    chat.wait_for_line()
    chat.enter("count")
    chat.wait_for("1 2 3 ")
    chat.type(CTRL_C)
    stopped = chat.wait_for("stopped; what was said is kept")
    assert "150" not in stopped
    chat.wait_for_line()
    chat.enter("go on")
    chat.wait_for("second answer")
    chat.wait_for_line()
    chat.type(CTRL_D)
    assert chat.end() == ExitStatus.OK
    assert "closed" in chat.page


def test_ctrl_c_at_the_prompt_clears_the_line_and_twice_leaves(terminal):
    chat = terminal()
    chat.wait_for_line()
    chat.type("never sent")
    chat.wait_for("never sent")
    chat.type(CTRL_C)
    chat.wait_for("Ctrl-C again leaves, so does Ctrl-D")
    chat.wait_for_line()
    chat.type(CTRL_C)
    assert chat.end() == ExitStatus.INTERRUPTED
    assert "closed" in chat.page
    assert "1 2 3" not in chat.page


def test_an_ascii_terminal_gets_ascii(terminal):
    chat = terminal(PYTHONIOENCODING="ascii", TERM="dumb")
    chat.wait_for_line()
    chat.enter("/exit")
    assert chat.end() == ExitStatus.OK
    assert chat.raw.isascii()
    assert "\x1b" not in chat.raw
