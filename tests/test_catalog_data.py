"""Every file of every size in models/*.toml is well-formed and belongs where it stands."""

import re

import pytest

from gemma_edge import catalog
from gemma_edge.catalog import find_size
from gemma_edge.store.remote import RemoteFile

SIZES = catalog.sizes()
QUANTS = [(size, quant) for size in SIZES for quant in size.quants]
FILES = [(size, file) for size in SIZES for file in size.files]
MODALITIES = {"text", "image", "video", "audio"}
BYTES_A_WEIGHT = {3: (0.35, 0.62), 4: (0.45, 0.80), 5: (0.6, 0.9), 6: (0.75, 1.0), 8: (1.0, 1.15)}


def ids(value):
    return getattr(value, "name", None)


def test_the_sizes_of_gemma_4_the_smallest_first():
    assert [size.name for size in SIZES] == ["e2b", "e4b", "12b", "26b-a4b", "31b"]
    assert [size.layers for size in SIZES] == [35, 42, 48, 30, 60]
    assert [size.width for size in SIZES] == [1536, 2560, 3840, 2816, 5376]


@pytest.mark.parametrize("size", SIZES, ids=ids)
def test_what_people_choose(size):
    assert size.licence == "Apache-2.0"
    assert size.kind in ("dense", "ple", "moe")
    assert size.active_parameters <= size.parameters
    assert (size.active_parameters == size.parameters) == (size.kind == "dense")
    assert size.context_tokens in (131_072, 262_144)
    assert set(size.modalities) <= MODALITIES
    assert ("audio" in size.modalities) == (size.name in ("e2b", "e4b", "12b"))
    assert size.image_tokens in (70, 140, 280, 560, 1120)
    assert size.good_for
    assert size.default.name == "qat-ud-q4_k_xl"
    assert size.default.source == "unsloth"
    assert size.default.drafter is not None
    names = [quant.name for quant in size.quants]
    assert len(names) == len(set(names))
    assert "qat-q4_0" in names
    assert {4, 5, 6, 8} <= {quant.bits for quant in size.quants}


@pytest.mark.parametrize(("size", "quant"), QUANTS, ids=ids)
def test_quants(size, quant):
    assert catalog.choose_quant(size, quant.name) is quant
    assert catalog.wanted(f"{size.name}:{quant.name}").quant is quant
    assert catalog.wanted(f"Gemma 4 {size.name.upper()} {quant.name.upper()}").quant is quant
    assert catalog.known_file(quant.model.repo, quant.model.filename).quant is quant
    assert quant.projector is not None
    assert quant.qat == ("-qat" in quant.model.repo)
    assert quant.source == quant.model.repo.partition("/")[0]
    for file in quant.files:
        assert file.repo == quant.model.repo
    if size.kind == "ple":
        assert quant.bits >= 4  # fewer break the E models
    if quant.quality is not None:
        assert quant.quality.measure
        assert 0 <= quant.quality.value < 1
        assert quant.quality.source
    if quant.model.size_bytes is not None:
        least, most = BYTES_A_WEIGHT[quant.bits]
        assert least < quant.model.size_bytes / size.parameters < most


@pytest.mark.parametrize(("size", "file"), FILES, ids=ids)
def test_files(size, file):
    RemoteFile(file.repo, file.filename, file.revision, file.size_bytes, file.sha256)
    assert file.filename.endswith(".gguf")
    assert not re.search(r"-\d{5}-of-\d{5}|imatrix", file.filename)
    digits = size.name.partition("-")[0]
    assert digits in file.repo.lower().replace("-a4b", "").split("gemma-4-")[1]
    assert file.revision is None or re.fullmatch("[0-9a-f]{40}", file.revision)
    assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert file.pinned == (file.revision is not None and file.sha256 is not None)
    assert file.width == size.width  # a projector's projection_dim is the text's width


def test_roles_are_told_apart():
    for _, quant in QUANTS:
        assert quant.model.architecture == "gemma4"
        assert quant.projector.architecture == "clip"
        assert "mmproj" in quant.projector.filename
        assert not re.search("mmproj|mtp|assistant", quant.model.filename, re.IGNORECASE)
        if quant.drafter is not None:
            assert quant.drafter.architecture == "gemma4-assistant"
            assert "mtp" in quant.drafter.filename.lower()


def test_sizes_in_bytes_are_plausible():
    for size, quant in QUANTS:
        if quant.projector.size_bytes is not None:
            assert 0.1e9 < quant.projector.size_bytes < 1.3e9
        if quant.drafter is not None and quant.drafter.size_bytes is not None:
            assert quant.drafter.size_bytes < 0.05 * size.parameters


def test_no_file_or_hash_stands_twice():
    names = [file.name for _, file in FILES]
    hashes = [file.sha256 for _, file in FILES if file.sha256]
    assert len(names) == len(set(names))
    assert len(hashes) == len(set(hashes))


def test_every_measured_table_belongs_to_a_repository_of_a_quant():
    for size in SIZES:
        repos = {quant.model.repo for quant in size.quants}
        assert {file.repo for file in size.others} <= repos
        assert not {file.name for file in size.others} & {
            file.name for quant in size.quants for file in quant.files
        }


def test_the_pins():
    pinned = [file for _, file in FILES if file.pinned]
    assert len(pinned) == 63
    assert len({file.repo for file in pinned}) == 16
    assert len({(file.repo, file.revision) for file in pinned}) == 16
    for _, file in FILES:
        assert file.source in {None, "hub", "manifests", "older manifests"}
        assert (file.source is None) == (file.size_bytes is None and file.sha256 is None)
        assert file.pinned == (file.revision is not None)
    for size in SIZES:
        assert all(file.pinned and file.size_bytes for file in size.default.files)


def test_projector_and_drafter_are_of_the_models_repository_and_revision():
    for size, quant in QUANTS:
        assert {file.repo for file in quant.files} == {quant.model.repo}
        assert len({file.revision for file in quant.files if file.pinned}) <= 1
        if quant.source == "unsloth":
            assert quant.drafter is not None
            assert quant.drafter.filename.lower() == f"mtp-gemma-4-{size.name}-it.gguf"
            assert quant.drafter.pinned
    qat, ptq = (catalog.wanted(name).drafter for name in ("e4b", "e4b:q8"))
    assert qat.filename == ptq.filename
    assert (qat.size_bytes, ptq.size_bytes) == (59_678_016, 98_653_248)


@pytest.mark.parametrize("size", SIZES, ids=ids)
def test_every_name_and_every_claim_resolves(size):
    for name, said in {size.name: "", **size.called}.items():
        found = find_size(name)
        assert found.size is size
        assert (said in found.note) and bool(said) == bool(found.note)
        assert catalog.wanted(name).quant is size.default
    for word, truth in size.claims.items():
        assert catalog.wanted(f"{size.name} {word}").note == truth
    assert not any(name in other.called for name in size.called for other in SIZES if other != size)
