"""Says which tests are left out, because what they read is not in the repository."""

from pathlib import Path

import pytest

from tests import shared


@pytest.mark.parametrize(
    ("path", "what"),
    [
        (shared.VOCABULARY, "the tests on Gemma 4's own vocabulary; they run on the bundled one"),
        (shared.SCHEMAS, "the tests on 500 real schemas; they run on tests/data/schemas.json"),
    ],
    ids=lambda each: each.name if isinstance(each, Path) else "",
)
def test_what_is_read_from_outside_is_here(path: Path, what: str) -> None:
    if not path.exists():
        pytest.skip(f"left out: {what}")
