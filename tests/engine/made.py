"""Small GGUF files of other models, made here: their vocabularies, and a recurrent one."""

from collections.abc import Mapping, Sequence
from typing import Any

# tokenizer.ggml.token_type (llama.h, llama_token_type)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
LETTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789<>[]|/\\_:.,!\"'-#"


def vocabulary(
    marks: Mapping[str, int], *, space: bool = False, template: str = ""
) -> dict[str, Any]:
    """The metadata of a SentencePiece vocabulary of letters, bytes and ``marks`` of these kinds.
    ``space``: llama.cpp puts a space before every text."""
    rows = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    rows += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    rows += [(letter, NORMAL) for letter in LETTERS]
    rows += [(text, kind) for text, kind in marks.items() if text not in dict(rows)]
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [text for text, _ in rows],
        "tokenizer.ggml.scores": [-float(place) for place in range(len(rows))],
        "tokenizer.ggml.token_type": [kind for _, kind in rows],
        "tokenizer.ggml.add_space_prefix": space,
        "tokenizer.ggml.add_bos_token": False,
    }
    return metadata | ({"tokenizer.chat_template": template} if template else {})


WIDTH, STATE = 8, 4  # of the recurrent model


def mamba() -> tuple[dict[str, Any], Sequence[tuple[str, tuple[int, ...], int]]]:
    """Metadata and tensors (src/models/mamba.cpp) of a model that has a state and no cells."""
    metadata = vocabulary({}) | {"general.architecture": "mamba"}
    numbers = {
        "context_length": 512, "embedding_length": WIDTH, "feed_forward_length": 0,
        "attention.head_count": 0, "block_count": 1, "ssm.conv_kernel": 4,
        "ssm.inner_size": 2 * WIDTH, "ssm.state_size": STATE, "ssm.time_step_rank": 1,
    }  # fmt: skip
    metadata |= {f"mamba.{key}": unsigned(value) for key, value in numbers.items()}
    metadata["mamba.attention.layer_norm_rms_epsilon"] = 1e-5
    inner, tokens = 2 * WIDTH, len(metadata["tokenizer.ggml.tokens"])
    shapes = {
        "token_embd.weight": (WIDTH, tokens), "output_norm.weight": (WIDTH,),
        "blk.0.attn_norm.weight": (WIDTH,), "blk.0.ssm_in.weight": (WIDTH, 2 * inner),
        "blk.0.ssm_conv1d.weight": (4, inner), "blk.0.ssm_conv1d.bias": (inner,),
        "blk.0.ssm_x.weight": (inner, 1 + 2 * STATE), "blk.0.ssm_dt.weight": (1, inner),
        "blk.0.ssm_dt.bias": (inner,), "blk.0.ssm_a": (STATE, inner), "blk.0.ssm_d": (inner,),
        "blk.0.ssm_out.weight": (inner, WIDTH),
    }  # fmt: skip
    return metadata, [(name, shape, 0) for name, shape in shapes.items()]


def unsigned(value: int) -> bytes:
    """As llama.cpp wants the numbers of a model: of the type u32, with the type before it."""
    return (4).to_bytes(4, "little") + value.to_bytes(4, "little")
