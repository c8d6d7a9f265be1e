"""Names and paths of models, as people write them."""

from pathlib import Path

import pytest

from gemma_edge import catalog
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
    with pytest.raises(ModelError, match="downloading it is not there yet") as caught:
        catalog.resolve(name)
    assert what in caught.value.message
    assert "--model PATH takes a GGUF file" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("demmo", "there is no model `demmo`", "did you mean `demo`?"),
        ("e4bb", "there is no model `e4bb`", "did you mean `e4b`?"),
        ("qwen", "there is no model `qwen`", "--model PATH"),
        ("hf:owner/repo/file.gguf", "would have to be downloaded", "--model PATH"),
        ("https://example.org/file.gguf", "would have to be downloaded", "--model PATH"),
    ],
)
def test_unknown_names(name, message, hint):
    with pytest.raises(ModelError, match=message) as caught:
        catalog.resolve(name)
    assert hint in caught.value.hint
