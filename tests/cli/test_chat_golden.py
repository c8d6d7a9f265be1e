"""A whole session as a page: what a person sees is reviewed like any other text."""

import sys

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from tests.cli.golden_chat import PAGE, play


@pytest.mark.slow
def test_a_whole_session_looks_as_it_was_agreed(tmp_path):
    assert play(tmp_path) == PAGE.read_text("utf-8")
