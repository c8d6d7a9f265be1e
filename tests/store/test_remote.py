"""How people write a file on the hub."""

import pytest

from gemma_edge.errors import UsageError
from gemma_edge.store.remote import RemoteFile, parse_remote

MIRROR = "https://mirror.example.org/hf"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:o/r/f.gguf", RemoteFile("o/r", "f.gguf")),
        ("hf://o/r/f.gguf", RemoteFile("o/r", "f.gguf")),
        ("HF:o/r/MTP/f.GGUF@v1", RemoteFile("o/r", "MTP/f.GGUF", "v1")),
        ("hf:o/r/f.gguf@refs/pr/3", RemoteFile("o/r", "f.gguf", "refs/pr/3")),
        (
            "https://huggingface.co/o/r/resolve/main/f.gguf?download=true",
            RemoteFile("o/r", "f.gguf"),
        ),
        ("https://huggingface.co/o/r/blob/abc/d/f.gguf", RemoteFile("o/r", "d/f.gguf", "abc")),
        (
            "https://hf.co/o/r/resolve/refs%2Fpr%2F1/f.gguf",
            RemoteFile("o/r", "f.gguf", "refs/pr/1"),
        ),
        (f"{MIRROR}/o/r/resolve/main/f%20g.gguf", RemoteFile("o/r", "f g.gguf")),
        ("hf.co/o/r/blob/main/f.gguf", RemoteFile("o/r", "f.gguf")),
        ("huggingface.co/o/r/resolve/main/f.gguf?download=true", RemoteFile("o/r", "f.gguf")),
        ("http://www.huggingface.co/o/r/blob/main/f.gguf/", RemoteFile("o/r", "f.gguf")),
        ("https://huggingface.co/o/r?show_file_info=d%2Ff.gguf", RemoteFile("o/r", "d/f.gguf")),
    ],
)
def test_names_and_addresses(text: str, expected: RemoteFile) -> None:
    assert parse_remote(text, endpoint=MIRROR) == expected


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:o/r", "hf:o/r/f.bin", "hf:o/f.gguf", "hf:o/r/../f.gguf", "hf:../r/f.gguf",
     "hf:o/r/f.gguf@", "hf:o/r/f.gguf@../x", "hf:o/r//f.gguf", "hf:o/r/a\\b.gguf",
     "hf:o/r/f\n.gguf", "hf:o--o/r/f.gguf", "hf:o/r/f.gguf@a b", "ftp://huggingface.co/o/r",
     "https://huggingface.co/o/r", "https://huggingface.co/o/r/resolve/main/f.zip",
     "https://evil.example.org/o/r/resolve/main/f.gguf", "http:///x", "https://",
     "https://huggingface.co/o/r/resolve/main/..%2F..%2Ff.gguf"],
)  # fmt: skip
def test_what_is_neither_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_remote(text, endpoint=MIRROR)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["hf:o/r", "hf:o/r:Q4_K_M", "https://huggingface.co/o/r", "https://huggingface.co/o/r/",
     "https://huggingface.co/o/r/tree/main/sub", f"{MIRROR}/o/r", "hf.co/o/r:Q8_0"],
)  # fmt: skip
def test_a_repository_is_told_how_to_name_its_files(text: str) -> None:
    with pytest.raises(UsageError, match="names a repository") as caught:
        parse_remote(text, endpoint=MIRROR)
    assert "hf:o/r/FILE.gguf with one of https://huggingface.co/o/r/tree/main" in caught.value.hint


def test_other_weights_are_told_what_llama_cpp_reads() -> None:
    for text in ("hf:o/r/model.safetensors", "https://hf.co/o/r/blob/main/model.safetensors"):
        with pytest.raises(UsageError, match="is no GGUF file") as caught:
            parse_remote(text)
        assert "-GGUF" in caught.value.hint


def test_a_hash_has_to_be_one() -> None:
    with pytest.raises(UsageError, match="is not a sha256"):
        RemoteFile("o/r", "f.gguf", sha256="abc")
