"""The generator of the README and of docs/; that they are up to date is ``docs.py --check``."""

import re

import pytest

import docs
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


@pytest.mark.parametrize("name", docs.PARTS)
def test_parts_are_made_from_the_code(name):
    made = docs.make(name)
    expected = {
        "commands": "--schema SCHEMA", "chat": "/regen", "statuses": "| 130 |", "files": "units.py",
        "packages": "| `engine/` |", "dimensions": "| E2B | 35 |", "cache": "| 5,420 |",
        "walk": "extract_document",
    }  # fmt: skip
    assert expected[name] in made
    assert made.endswith("\n")


def test_a_program_is_shown_with_what_it_prints(tmp_path):
    program = tmp_path / "library.py"
    program.write_text("from gemma_edge import units\n\nprint(units.__name__)\n", encoding="utf-8")
    made = docs.make(f"python {program}")
    assert made.startswith("```python\nfrom gemma_edge import units\n")
    assert made.endswith(f"$ python {program}\ngemma_edge.units\n```\n")


def test_only_what_differs_is_stale():
    part = "<!-- generated: statuses -->\n{}<!-- end -->\n"
    fresh, stale = docs.renew(part.format("old\n"))
    assert stale == ["statuses"]
    assert docs.renew(fresh) == (fresh, [])


def test_links_between_the_pages_lead_somewhere():
    for page in docs.PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text("utf-8")):
            other = page.parent / target if target else page
            assert other.exists(), f"{page.name}: {target}"
            headings = re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings]
            assert not anchor or anchor in anchors, f"{page.name}: {target}#{anchor}"


SOURCES = [
    path for folder in ("gemma_edge", "models", "scripts", "tests")
    for path in (docs.ROOT / folder).rglob("*") if path.suffix in (".py", ".toml")
]  # fmt: skip
# ``ggml's docs/gguf.md`` is another project's.
CITED = re.compile(r"(?<!ggml's )\bdocs/(\w+\.md)(?:,(?:\s|#)+\"([^\"\n]+)\")?")


def test_what_the_code_cites_is_there():
    for path in SOURCES:
        for page, heading in CITED.findall(path.read_text("utf-8")):
            text = (docs.ROOT / "docs" / page).read_text("utf-8")
            assert not heading or f"\n## {heading}\n" in text, f"{path}: {page}, {heading}"
