"""From wishes to a plan, and which files may stand in one at all."""

from pathlib import Path

import pytest

from gemma_edge import gguf
from gemma_edge.catalog import ModelFiles
from gemma_edge.errors import DoesNotFit, ModelError, ProjectorError
from gemma_edge.fit.pair import check_model, check_pair
from gemma_edge.fit.planning import Wishes, plan
from gemma_edge.gguf import Header
from gemma_edge.hardware import Cpu

CPU = Cpu(6, "6 physical cores")
MODEL = ModelFiles(name="m", model=Path("m.gguf"))
PAIR = ModelFiles(name="m", model=Path("m.gguf"), projector=Path("p.gguf"))


def header(trained=131072, file_bytes=4 << 30):
    metadata = {"general.architecture": "gemma4", "gemma4.context_length": trained}
    return Header(Path("m.gguf"), file_bytes, metadata, ())


@pytest.mark.parametrize(
    ("file_bytes", "asked", "threads"),
    [(4 << 30, None, 6), (3 << 20, None, 1), (3 << 20, 4, 4), (33 << 20, None, 6)],
)
def test_a_tiny_model_gets_one_thread(file_bytes, asked, threads):
    decided = plan(MODEL, header(file_bytes=file_bytes), Wishes(threads=asked), CPU)
    assert decided.threads == threads


@pytest.mark.parametrize(
    ("trained", "asked", "context"),
    [(131072, None, 8192), (2048, None, 2048), (131072, 131072, 131072), (131072, 256, 256),
     (None, None, 4096), (0, None, 4096)],
)  # fmt: skip
def test_context(trained, asked, context):
    assert plan(MODEL, header(trained), Wishes(context_tokens=asked), CPU).context_tokens == context


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        (200000, "200,000 tokens was asked for, the model reads at most 131,072", "--ctx 131072"),
        (100, "100 tokens is too small, the least is 256", "--ctx 256 or more"),
    ],
)
def test_a_context_that_cannot_be_is_refused_with_both_numbers(asked, message, hint):
    with pytest.raises(DoesNotFit, match=message) as caught:
        plan(MODEL, header(), Wishes(context_tokens=asked), CPU)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("files", "image_tokens", "batch"),
    [(MODEL, None, 512), (PAIR, None, 512), (PAIR, 560, 640), (PAIR, 1120, 1152), (PAIR, 70, 512)],
)
def test_a_batch_holds_the_largest_picture(files, image_tokens, batch):
    decided = plan(files, header(), Wishes(image_tokens=image_tokens), CPU)
    assert decided.batch_tokens == batch
    assert decided.batch_tokens >= (image_tokens or 0)


def test_what_is_pinned_is_kept_and_every_choice_has_its_reason():
    decided = plan(PAIR, header(), Wishes(gpu_layers=3, threads=2), CPU)
    assert (decided.gpu_layers, decided.threads) == (3, 2)
    assert decided.reasons == (
        "context 8,192 tokens: the default; the model reads up to 131,072",
        "2 threads: as asked",
        "layers on the GPU: 3",
    )
    free = plan(PAIR, header(), Wishes(), CPU)
    assert (free.gpu_layers, free.threads) == (-1, 6)
    assert free.reasons[1:] == (
        "6 threads: 6 physical cores",
        "layers on the GPU: all that it takes",
    )


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
