"""Names and paths of models, as people write them."""

import shlex
from pathlib import Path

import pytest

from gemma_edge import catalog
from gemma_edge.catalog import CatalogFile
from gemma_edge.errors import ModelError


def test_the_bundled_model():
    files = catalog.resolve("demo")
    assert files.bundled
    assert files.model.is_file()
    assert files.projector is not None
    assert files.projector.is_file()
    assert files.image_tokens == 130
    assert files.good_for
    assert files.licence
    assert "demo" in catalog.names()


def test_a_path_is_taken_as_it_is():
    files = catalog.resolve("some/where/gemma-4-E4B-it-Q4_0.gguf", Path("mmproj.gguf"))
    assert files.name == "gemma-4-E4B-it-Q4_0"
    assert (files.model, files.projector) == (
        Path("some/where/gemma-4-E4B-it-Q4_0.gguf"),
        Path("mmproj.gguf"),
    )
    assert not files.bundled
    assert files.image_tokens == catalog.DEFAULT_IMAGE_TOKENS


def test_a_projector_replaces_the_bundled_one():
    assert catalog.resolve("demo", Path("other.gguf")).projector == Path("other.gguf")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("e2b", "E2B"),
        ("E4B", "E4B"),
        ("4b", "called E4B in Gemma 4"),
        ("gemma4:e4b", "E4B"),
        ("gemma-4-12b-it", "12B"),
        ("26b", "26B-A4B"),
        ("gemma-4-26B-A4B", "26B-A4B"),
        ("27b", "a size of Gemma 3; the nearest of Gemma 4 is 31B"),
        ("Gemma 4 31B", "31B"),
    ],
)
def test_sizes_are_known_by_the_names_people_use(name, what):
    with pytest.raises(ModelError, match="not a file on this machine") as caught:
        catalog.resolve(name)
    assert what in caught.value.message
    assert (
        f"gemma-edge pull {shlex.quote(name)} fetches it; --model PATH takes" in caught.value.hint
    )


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("demmo", "there is no model `demmo`", "did you mean `demo`?"),
        ("e4bb", "there is no model `e4bb`", "did you mean `e4b`?"),
        ("qwen", "there is no model `qwen`", "--model PATH"),
        ("hf:owner/repo/file.gguf", "is a file on a hub", "--model PATH"),
        ("https://example.org/file.gguf", "is a file on a hub", "--model PATH"),
    ],
)
def test_unknown_names(name, message, hint):
    with pytest.raises(ModelError, match=message) as caught:
        catalog.resolve(name)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "size", "quant"),
    [
        ("e4b", "e4b", "qat-ud-q4_k_xl"),
        ("4b", "e4b", "qat-ud-q4_k_xl"),
        ("gemma-4-26b", "26b-a4b", "qat-ud-q4_k_xl"),
        ("moe", "26b-a4b", "qat-ud-q4_k_xl"),
        ("27b-a4b", "26b-a4b", "qat-ud-q4_k_xl"),
        ("gemma4b", "e4b", "qat-ud-q4_k_xl"),
        ("gemma4:e2b", "e2b", "qat-ud-q4_k_xl"),
        ("31b-q6", "31b", "q6_k"),
        ("e4b:q8", "e4b", "q8_0"),
        ("E4B Q4 QAT", "e4b", "qat-ud-q4_k_xl"),
        ("e4b google", "e4b", "qat-q4_0"),
        ("e4b:q4_0", "e4b", "qat-q4_0"),
        ("26b-q6_k", "26b-a4b", "ud-q6_k"),
        ("26b iq4", "26b-a4b", "ud-iq4_xs"),
        ("12b 6bit", "12b", "q6_k"),
        ("12b-q4-k-m", "12b", "q4_k_m"),
        ("31b unsloth q3", "31b", "ud-q3_k_xl"),
        ("google/gemma-4-E4B-it", "e4b", "qat-ud-q4_k_xl"),
        ("unsloth/gemma-4-E4B-it-GGUF:UD-Q4_K_XL", "e4b", "ud-q4_k_xl"),
        ("google/gemma-4-12B-it-qat-q4_0-gguf", "12b", "qat-q4_0"),
        ("hf.co/unsloth/gemma-4-E4B-it-GGUF:Q8_0", "e4b", "q8_0"),
        ("hf:unsloth/gemma-4-E4B-it-GGUF:Q8_0", "e4b", "q8_0"),
        ("unsloth/gemma-4-E4B-it-GGUF", "e4b", "ud-q4_k_xl"),  # of this repository, not of -qat
        ("unsloth/gemma-4-E4B-it-GGUF/", "e4b", "ud-q4_k_xl"),
        ("https://huggingface.co/unsloth/gemma-4-E4B-it-GGUF", "e4b", "ud-q4_k_xl"),
        ("https://huggingface.co/unsloth/gemma-4-E4B-it-GGUF/", "e4b", "ud-q4_k_xl"),
        ("http://www.huggingface.co/unsloth/gemma-4-E4B-it-GGUF/tree/main", "e4b", "ud-q4_k_xl"),
        ("https://hf.co/google/gemma-4-12B-it-qat-q4_0-gguf/tree/main/", "12b", "qat-q4_0"),
        ("HF.co/unsloth/gemma-4-E4B-it-GGUF?library=ollama", "e4b", "ud-q4_k_xl"),
        ("hf://ggml-org/gemma-4-E2B-it-GGUF", "e2b", "q8_0"),
        ("ollama run gemma4:e4b", "e4b", "qat-ud-q4_k_xl"),
        ("ollama run hf.co/unsloth/gemma-4-E4B-it-GGUF:Q4_K_M", "e4b", "q4_k_m"),
        ("llama-server -hf ggml-org/gemma-4-E2B-it-GGUF:Q8_0", "e2b", "q8_0"),
        ("https://ollama.com/library/gemma4:31b", "31b", "qat-ud-q4_k_xl"),
        ("gemma4:e4b-it-q8_0", "e4b", "q8_0"),
        ("gemma-4-26B-A4B-it-Q8_0", "26b-a4b", "q8_0"),
    ],
)
def test_what_a_name_stands_for(name, size, quant):
    found = catalog.wanted(name)
    assert (found.size.name, found.quant.name) == (size, quant)
    assert catalog.kind_of(name) == "size"
    assert (found.model, found.projector) == (found.quant.model, found.quant.projector)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("e4b", ""),
        ("12b dense", ""),
        ("4b dense", "`4b dense` is called E4B in Gemma 4: 4.5B effective, 8B in all"),
        ("E4B MoE", "E4B is dense with per-layer embeddings; only 26B-A4B is a mixture of experts"),
        ("31b mixture of experts", "31B is dense; only 26B-A4B is a mixture of experts"),
        ("26b dense", "26B-A4B is a mixture of experts; 31B is the dense one"),
        ("27B dense", "`27B dense` is a size of Gemma 3; the nearest of Gemma 4 is 31B"),
        ("27b moe", "`27b moe` is called 26B-A4B in Gemma 4"),
        ("unsloth/gemma-4-E4B-it-GGUF:Q8_0", ""),
        ("ggml-org/gemma-4-E4B-it-GGUF:Q8_0", "the catalogue has no such GGUF of ggml-org/"),
        ("google/gemma-4-E4B-it", "the catalogue has no such GGUF of google/gemma-4-E4B-it"),
        ("google/gemma-4-E4B", "`google/gemma-4-E4B` is the base model; -it, which answers"),
        ("e4b-base", "`e4b-base` is the base model; -it, which answers, is taken"),
        ("gemma-4-31b-pt", "`gemma-4-31b-pt` is the base model"),
    ],
)
def test_a_name_that_is_not_quite_right_is_told_what_it_is(name, note):
    said = catalog.wanted(name).note
    assert said.startswith(note)
    assert bool(said) == bool(note)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("e4b-q3", "Gemma 4 E4B has no quant `q3`", "e4b:NAME with one of qat-ud-q4_k_xl, "),
        (
            "hf.co/unsloth/gemma-4-E4B-it-GGUF:IQ4_XS",
            "no quant `iq4-xs`",
            "hf:owner/repo/file.gguf",
        ),
        ("unsloth/gemma-3-4b-it-GGUF", "is Gemma 3", "the nearest of Gemma 4: e4b"),
        ("unsloth/Qwen3-8B-GGUF", "there is no model", "there are e2b"),
        ("31b:q5_0", "Gemma 4 31B has no quant `q5-0`", "q5_k_m"),
        ("gemma-3-27b", "`gemma-3-27b` is Gemma 3", "the nearest of Gemma 4: 26b-a4b"),
        ("gemma3:4b", "is Gemma 3", "e4b"),
        ("gemma-3n-e4b", "is Gemma 3n", "e4b"),
        ("gemma3", "is Gemma 3", "--model PATH"),
        ("70b", "there is no model `70b`", "did you mean `31b`?"),
        ("28b", "there is no model", "did you mean `26b-a4b`?"),
        ("gemma4", "there is no model `gemma4`", "there are e2b, e4b, 12b, 26b-a4b, 31b"),
        ("gemma4:latest", "does not say which size", "without --model the best one"),
        ("ollama run gemma4", "does not say which size", "e2b, e4b, 12b"),
        ("Gemma 4 it", "does not say which size", "e2b, e4b, 12b"),
        ("", "there is no model", "there are e2b"),
        ("x" * 5000, "there is no model", "there are e2b"),
    ],
)
def test_names_that_stand_for_nothing(name, message, hint):
    with pytest.raises(ModelError) as caught:
        catalog.wanted(name)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_kinds_of_names(tmp_path):
    here = tmp_path / "26b"
    here.mkdir()
    for text, kind in {
        "demo": "bundled",
        "hf:owner/repo/file.gguf@main": "remote",
        "HF:owner/repo/file.gguf": "remote",
        "hf:unsloth/gemma-4-E4B-it-GGUF/gemma-4-E4B-it-Q8_0.gguf": "remote",
        "https://hf-mirror.example/owner/repo/resolve/main/file.gguf": "remote",
        "model.gguf": "path",
        "./e4b": "path",
        "C:\\models\\e4b": "path",
        str(here): "path",
        "owner/gemma-4-E4B-it": "path",
        "https://huggingface.co/owner/gemma-4-E4B-it": "remote",
        "hf.co/owner/repo/blob/main/file.gguf": "remote",
        "https://huggingface.co/unsloth/gemma-4-E4B-it-GGUF?show_file_info=f.gguf": "remote",
        "google/gemma-4-E4B-it": "size",
        "unsloth/gemma-4-E4B-it-GGUF/gemma-4-E4B-it-Q8_0.gguf": "path",
        "e4b": "size",
        "e4b-q3": "size",
        "gemma-3-4b": "unknown",
        "qwen": "unknown",
        "a\0b": "unknown",
        "": "unknown",
    }.items():
        assert catalog.kind_of(text) == kind, text


def test_a_file_of_the_hub_is_recognised_with_what_belongs_to_it():
    known = catalog.known_file("unsloth/gemma-4-E4B-it-GGUF", "gemma-4-E4B-it-UD-Q4_K_XL.gguf")
    assert known is not None
    assert known.model.size_bytes == 5_126_306_944
    assert known.projector.filename == "mmproj-F16.gguf"
    assert known.title == "Gemma 4 E4B, Q4 (unsloth)"
    assert catalog.known_file("unsloth/gemma-4-E4B-it-GGUF", "mmproj-F16.gguf") is None
    assert catalog.known_file("owner/repo", "file.gguf") is None


def test_a_hash_without_a_revision_is_no_pin():
    assert not CatalogFile(repo="a/b", filename="c.gguf", sha256="0" * 64).pinned
    assert CatalogFile(repo="a/b", filename="c.gguf", sha256="0" * 64, revision="1" * 40).pinned


def test_one_size_by_its_name():
    assert catalog.size("12b").title == "Gemma 4 12B"
    assert catalog.size("12b").summary == "Gemma 4 12B (dense, 48 layers)"
    with pytest.raises(ModelError, match="no size `4b`"):
        catalog.size("4b")


@pytest.mark.parametrize("name", ["e4b", "E4B", "gemma-4-e4b", "gemma4:e4b", "31b:q6", "demo"])
def test_no_file_of_a_folder_takes_an_official_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    assert catalog.kind_of(name) in ("size", "bundled")
    assert catalog.kind_of(f"./{name}") == "path"


def test_no_folder_takes_a_repositorys_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "gemma-4-E4B-it").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    assert catalog.kind_of("google/gemma-4-E4B-it") == "size"
