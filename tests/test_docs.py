"""The generator of the README's parts; that they are up to date is ``docs.py --check``."""

import docs
import pytest

from gemma_edge import __version__


def test_what_may_differ_is_masked_and_nothing_else():
    one = (
        "a.pdf: 1 page · m on the CPU, 2 threads: 8k context, 0.1 of 8.0 GiB\n"
        "valid · 1.9 s · 27 tokens\n58 tok/s · first 0.4 s\n     2 threads: 2 physical cores"
    )
    other = (
        one.replace("the CPU, 2 threads", "RTX 4060").replace("1.9", "12.0").replace("58", "0.9")
    )
    other = other.replace("2 threads: 2 physical cores", "1 thread: as asked")
    assert docs.mask(one) == docs.mask(other)
    assert docs.mask(one) != docs.mask(one.replace("27", "28"))


def test_the_changelog_names_this_version():
    assert docs.changelog_version(docs.CHANGELOG.read_text(encoding="utf-8")) == __version__
    assert docs.changelog_version("# Changelog\n## [Unreleased]\n## [1.2.3] - today\n") == "1.2.3"


@pytest.mark.parametrize("name", ["commands", "chat", "statuses", "files"])
def test_parts_are_made_from_the_code(name):
    made = docs.make(name)
    expected = {
        "commands": "--schema SCHEMA", "chat": "/regen", "statuses": "| 130 |", "files": "units.py",
    }  # fmt: skip
    assert expected[name] in made
    assert made.endswith("\n")
