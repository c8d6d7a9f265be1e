"""Which files may stand in a plan at all."""

import pytest

from gemma_edge import gguf
from gemma_edge.errors import ModelError, ProjectorError
from gemma_edge.planning.model import check_model, check_pair


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general.architecture": "clip"}, "is a projector"),
        ({"general.architecture": "gemma4", "general.type": "mmproj"}, "is a projector"),
        ({"general.type": "imatrix"}, "an importance matrix"),
        ({"general.architecture": "x", "imatrix.datasets": ["a"]}, "an importance matrix"),
        ({"general.architecture": "gemma4", "general.type": "adapter"}, "a LoRA adapter"),
        ({"general.architecture": "gemma4-assistant"}, "a drafter"),
        ({"general.architecture": "gemma-embedding"}, "an embedding model"),
        ({"a": 1}, "without `general.architecture`"),
        ({"general.architecture": "gemma4", "split.no": 1}, "part 2 of a split model"),
    ],
)
def test_other_kinds_of_gguf_are_refused_by_name(write_gguf, metadata, message):
    with pytest.raises(ModelError, match=message) as caught:
        check_model(gguf.read_header(write_gguf("a.gguf", metadata)))
    assert caught.value.hint


def test_a_vocabulary_is_no_model_and_other_architectures_are(write_gguf):
    with pytest.raises(ModelError, match="without weights"):
        path = write_gguf("v.gguf", {"general.architecture": "gemma4"}, [])
        check_model(gguf.read_header(path))
    for architecture in ("gemma3", "llama", "qwen3"):
        check_model(gguf.read_header(write_gguf("m.gguf", {"general.architecture": architecture})))


def test_pairs(write_gguf):
    text = {"general.architecture": "gemma4", "gemma4.embedding_length": 2560}
    sight = {
        "general.architecture": "clip",
        "clip.has_vision_encoder": True,
        "clip.vision.projection_dim": 2560,
    }
    model = gguf.read_header(write_gguf("m.gguf", text))
    check_pair(model, gguf.read_header(write_gguf("p.gguf", sight)))
    for change, message in (
        ({"clip.vision.projection_dim": 1536}, "made for a width of 1536, `m.gguf` has 2560"),
        ({"clip.has_vision_encoder": False}, "no vision encoder"),
        ({"general.architecture": "gemma4"}, "is not a projector but a model"),
    ):
        with pytest.raises(ProjectorError, match=message) as caught:
            check_pair(model, gguf.read_header(write_gguf("p.gguf", sight | change)))
        assert caught.value.hint
