"""The golden table is what the planner decides today."""

from tests.planning import golden


def test_the_table_is_what_is_decided():
    written = golden.PATH.read_text(encoding="utf-8")
    assert golden.render() == written, (
        "python -m tests.planning.golden writes it; read the difference"
    )
