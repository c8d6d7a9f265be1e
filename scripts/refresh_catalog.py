#!/usr/bin/env python3
"""Measure the files of the catalogue again: revision, size, hash, architecture and width.

    python scripts/refresh_catalog.py [--write] [SIZE ...]

Asks the hub (HF_ENDPOINT, HF_TOKEN and proxies as huggingface_hub takes them) for the files that
part one of each models/SIZE.toml names and the others that stand in part two, reads the first
64 KiB of each, and prints what differs from part two. ``--write`` replaces part two; part one,
which people write, is never touched. All files of a repository have one revision, which stays as
it is while none of them changes. Exit status 1: something could not be measured.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from gemma_edge import catalog, gguf
from gemma_edge.catalog import CatalogFile
from gemma_edge.errors import GemmaEdgeError
from gemma_edge.store.hub import ask, read_part
from gemma_edge.store.remote import RemoteFile, StoreSettings

MARKER = "# Measured by scripts/refresh_catalog.py, which replaces all that follows."
FACTS = ("source", "revision", "size_bytes", "sha256", "architecture", "width")
WIDTH_KEYS = {  # what has to be the model's hidden size
    "clip": "clip.vision.projection_dim",
    "gemma4-assistant": "gemma4-assistant.embedding_length_out",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size, print the differences, write them if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help="e4b ...; all of them without")
    parser.add_argument("--write", action="store_true", help="replace the measured part")
    parser.add_argument("--folder", type=Path, default=catalog.models_folder())
    options = parser.parse_args(arguments)
    paths = [options.folder / f"{name}.toml" for name in options.sizes]
    complete = True
    for path in paths or sorted(options.folder.glob("*.toml")):
        if not path.is_file():
            parser.error(f"there is no {path}")
        complete &= refresh(path, write=options.write)
    return 0 if complete else 1


def refresh(path: Path, *, write: bool) -> bool:
    """One TOML file; False if something in it could not be measured."""
    size = catalog.read_size(path)
    if size is None:  # the bundled model
        return True
    fresh: list[CatalogFile] = []
    complete = True
    for file in size.files:
        try:
            fresh.append(measure(file))
        except GemmaEdgeError as error:
            complete = False
            fresh.append(file)
            print(f"{path.name}: {file.name}: {error.message}", file=sys.stderr)
    fresh = keep_revisions(size.files, fresh)
    lines = [line for pair in zip(size.files, fresh, strict=True) for line in differences(*pair)]
    print(f"{path.name}:" if lines or not complete else f"{path.name}: nothing changed")
    for line in lines:
        print(line)
    if write and lines:
        replace_measured(path, fresh)
    return complete


def measure(file: CatalogFile) -> CatalogFile:
    """What the hub has now under this name, at its newest commit.

    Raises:
        GemmaEdgeError: it is not there, or the network failed.
    """
    commit, listing = list_repo(file.repo)
    if file.filename not in listing:
        raise GemmaEdgeError("the repository has no such file")
    size_bytes, sha256 = listing[file.filename]
    architecture, width = read_kind(RemoteFile(file.repo, file.filename, commit))
    return replace(
        file, source="hub", revision=commit, size_bytes=size_bytes, sha256=sha256,
        architecture=architecture, width=width,
    )  # fmt: skip


def keep_revisions(old: Sequence[CatalogFile], new: Sequence[CatalogFile]) -> list[CatalogFile]:
    """The measured files, those of a repository where nothing changed at the revision they had: a
    model, its projector and its drafter are of one commit."""
    pairs = list(zip(old, new, strict=True))
    moved = {after.repo for before, after in pairs if after is not before and _moved(before, after)}
    return [
        after if after.repo in moved else replace(after, revision=before.revision)
        for before, after in pairs
    ]


def _moved(before: CatalogFile, after: CatalogFile) -> bool:
    same = (before.size_bytes, before.sha256) == (after.size_bytes, after.sha256)
    return not (before.pinned and same)


@cache
def list_repo(repo: str) -> tuple[str, dict[str, tuple[int, str | None]]]:
    """The newest commit, and size and LFS hash of every file at it."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx2  # the library's HTTP client
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(library_name="gemma-edge")
    try:
        commit = api.model_info(repo).sha
        tree = list(api.list_repo_tree(repo, recursive=True, revision=commit))
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx2.HTTPError) as error:
        raise GemmaEdgeError(" ".join(str(error).split()) or type(error).__name__) from error
    if not commit:
        raise GemmaEdgeError("the hub names no commit")
    files = (entry for entry in tree if isinstance(entry, RepoFile))
    return commit, {each.path: (each.size, each.lfs.sha256 if each.lfs else None) for each in files}


def read_kind(file: RemoteFile) -> tuple[str | None, int | None]:
    """Architecture and width, from the header."""
    with tempfile.TemporaryDirectory() as folder:
        settings = StoreSettings(data_dir=Path(folder))
        upstream = ask(file, settings)

        @cache
        def read(start: int, count: int) -> bytes:
            return read_part(upstream, start, count, settings)

        def find(key: str) -> object:
            return gguf.parse_metadata(read, upstream.size_bytes, file.name, [key]).get(key)

        architecture = find("general.architecture")
        if not isinstance(architecture, str):
            return None, None
        width = find(WIDTH_KEYS.get(architecture, f"{architecture}.embedding_length"))
    return architecture, width if isinstance(width, int) else None


def differences(old: CatalogFile, new: CatalogFile) -> Iterator[str]:
    """The file's name and a line for each fact that changed; nothing for none."""
    changed = [fact for fact in FACTS if getattr(old, fact) != getattr(new, fact)]
    if changed:
        yield f"  {old.name}"
    for fact in changed:
        yield f"    {fact:12} {shown(getattr(old, fact))} -> {shown(getattr(new, fact))}"


def shown(value: object) -> str:
    """A fact as people read it."""
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def replace_measured(path: Path, files: Sequence[CatalogFile]) -> None:
    """Write part two again, in the order of part one, which stays byte for byte."""
    part_one = path.read_text(encoding="utf-8").partition(MARKER)[0].rstrip("\n")
    text = f"{part_one}\n\n{MARKER}\n{''.join(render(file) for file in files)}"
    fresh = path.with_suffix(".toml.new")
    fresh.write_text(text, encoding="utf-8", newline="\n")
    fresh.replace(path)


def render(file: CatalogFile) -> str:
    """One table of part two, without what is not known."""
    lines = [f'\n[measured."{file.name}"]']
    for fact in FACTS:
        value = getattr(file, fact)
        if value is not None:
            lines.append(f"{fact} = {f'{value:_}' if isinstance(value, int) else quote(value)}")
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def quote(text: str) -> str:
    """A TOML string; a header may say anything about its architecture."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    sys.exit(main())
