"""Random-weight relatives of the demo model for tests.

A mixture of experts in the style of 26B-A4B (global layers whose values are their keys, no
per-layer embeddings) with its projector, and a ``gemma4-assistant`` drafter for the demo model.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from demo_model import export
from demo_model.network import TextConfig
from demo_model.tokenizer import Tokenizer
from demo_model.vision import VisionConfig

NOTE = "Random weights, for tests only."
MOE = TextConfig(
    width=64, pattern="SSSSSG", own_kv=6, heads=2, kv_heads=2, head_dim_sliding=32,
    head_dim_global=64, ff_own=64, ff_shared=64, window=64, per_layer=0,
)  # fmt: skip
GLOBAL_KV_HEADS, EXPERTS, EXPERTS_USED, EXPERT_FF = 1, 8, 2, 32
DRAFTER_WIDTH, DRAFTER_FF = 64, 64
"""The drafter's width must differ from the target's: llama.cpp refuses it otherwise."""
EYE = VisionConfig(width=32, ff=32, layers=2, heads=1)


class Dice:
    """Random tensors with the spread that keeps activations in range."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def matrix(self, *shape: int) -> np.ndarray:
        """Normal values; variance 1 / columns."""
        return self.rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)

    @staticmethod
    def ones(size: int, value: float = 1.0) -> np.ndarray:
        """A constant vector."""
        return np.full(size, value, np.float32)


def _attention(dice: Dice, c: TextConfig, index: int, own: bool) -> dict[str, np.ndarray]:
    """A layer's attention; global layers of the mixture have no values of their own."""
    dim, sliding = c.head_dim(index), c.pattern[index] == "S"
    out = {
        "attn_norm": dice.ones(c.width),
        "attn_q": dice.matrix(c.heads * dim, c.width),
        "attn_q_norm": dice.ones(dim, dim**-0.25),
        "attn_output": dice.matrix(c.width, c.heads * dim),
        "post_attention_norm": dice.ones(c.width, 0.4),
        "layer_output_scale": dice.ones(1),
    }
    if own:
        heads = c.kv_heads if sliding else GLOBAL_KV_HEADS
        out["attn_k"] = dice.matrix(heads * dim, c.width)
        out["attn_k_norm"] = dice.ones(dim, dim**-0.25)
        if sliding:
            out["attn_v"] = dice.matrix(heads * dim, c.width)
    return out


def _feed_forward(dice: Dice, width: int, ff: int) -> dict[str, np.ndarray]:
    """A layer's dense part."""
    return {
        "ffn_norm": dice.ones(width),
        "ffn_gate": dice.matrix(ff, width),
        "ffn_up": dice.matrix(ff, width),
        "ffn_down": dice.matrix(width, ff),
        "post_ffw_norm": dice.ones(width, 0.4),
    }


def _experts(dice: Dice, width: int) -> dict[str, np.ndarray]:
    """A layer's experts with their router."""
    return {
        "ffn_gate_inp": dice.matrix(EXPERTS, width),
        "ffn_gate_up_exps": dice.matrix(EXPERTS, 2 * EXPERT_FF, width),
        "ffn_down_exps": dice.matrix(EXPERTS, width, EXPERT_FF),
        "post_ffw_norm_1": dice.ones(width),
        "post_ffw_norm_2": dice.ones(width),
        "pre_ffw_norm_2": dice.ones(width),
    }


def _put_layer(writer: gguf.GGUFWriter, index: int, tensors: dict[str, np.ndarray]) -> None:
    for name, values in tensors.items():
        kind = Type.F32 if name == "ffn_gate_inp" else Type.Q8_0
        export.put(writer, f"blk.{index}.{name}.weight", values, kind)


def write_moe(tokenizer: Tokenizer, path: Path) -> None:
    """The mixture of experts."""
    dice, c = Dice(26), MOE
    writer = gguf.GGUFWriter(path, "gemma4")
    export.describe(writer, "model", "gemma-edge random mixture", NOTE,
                    gguf.LlamaFileType.MOSTLY_Q8_0)  # fmt: skip
    export.add_text_sizes(
        writer, c, [c.kv_heads if k == "S" else GLOBAL_KV_HEADS for k in c.pattern]
    )
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(EXPERTS_USED)
    writer.add_expert_feed_forward_length(EXPERT_FF)
    export.add_sampling(writer)
    export.add_vocabulary(writer, tokenizer)
    factors = export.rope_factors(c.head_dim_global, c.rotated_share)
    export.put(writer, "rope_freqs.weight", factors, Type.F32)
    export.put(writer, "token_embd.weight", dice.matrix(c.vocab, c.width), Type.Q8_0)
    export.put(writer, "output_norm.weight", dice.ones(c.width), Type.F32)
    for i in range(c.layers):
        layer = _attention(dice, c, i, True) | _feed_forward(dice, c.width, c.ff_own)
        _put_layer(writer, i, layer | _experts(dice, c.width))
        export.put(writer, f"blk.{i}.ffn_gate_inp.scale", dice.ones(c.width), Type.F32)
        export.put(writer, f"blk.{i}.ffn_down_exps.scale", dice.ones(EXPERTS), Type.F32)
    export.finish(writer)


def write_eye(path: Path, text_width: int) -> None:
    """A projector for a text model of the given width."""
    dice, c = Dice(4), EYE
    writer = gguf.GGUFWriter(path, "clip")
    export.describe(writer, "mmproj", "gemma-edge random vision", NOTE,
                    gguf.LlamaFileType.MOSTLY_F16)  # fmt: skip
    export.add_vision_sizes(writer, c, text_width)
    table = 0.02 * dice.rng.normal(size=(2, export.POSITION_ROWS, c.width))
    export.put(writer, "v.position_embd.weight", table, Type.F16)
    patch = dice.matrix(c.width, 3 * c.patch**2).reshape(c.width, 3, c.patch, c.patch)
    export.put(writer, "v.patch_embd.weight", patch, Type.F16)
    export.put(writer, "mm.input_projection.weight", dice.matrix(text_width, c.width), Type.F16)
    dim = c.width // c.heads
    for i in range(c.layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            export.put(writer, f"v.blk.{i}.{name}.weight", dice.matrix(c.width, c.width), Type.F16)
        for name in ("attn_q_norm", "attn_k_norm"):
            export.put(writer, f"v.blk.{i}.{name}.weight", dice.ones(dim, dim**-0.25), Type.F32)
        for name in ("ln1", "attn_post_norm", "ln2", "ffn_post_norm"):
            export.put(writer, f"v.blk.{i}.{name}.weight", dice.ones(c.width, 0.5), Type.F32)
        for name, shape in (("ffn_gate", (c.ff, c.width)), ("ffn_up", (c.ff, c.width)),
                            ("ffn_down", (c.width, c.ff))):  # fmt: skip
            export.put(writer, f"v.blk.{i}.{name}.weight", dice.matrix(*shape), Type.F16)
    export.finish(writer)


def write_drafter(tokenizer: Tokenizer, target: TextConfig, path: Path) -> None:
    """A four-layer drafter that reads the target's keys and values."""
    dice, c = Dice(2), target
    writer = gguf.GGUFWriter(path, "gemma4-assistant")
    export.describe(writer, "model", "gemma-edge random drafter", NOTE,
                    gguf.LlamaFileType.MOSTLY_Q8_0)  # fmt: skip
    small = TextConfig(
        width=DRAFTER_WIDTH, pattern="SSSG", own_kv=0, heads=c.heads, kv_heads=c.kv_heads,
        head_dim_sliding=c.head_dim_sliding, head_dim_global=c.head_dim_global, ff_own=DRAFTER_FF,
        ff_shared=DRAFTER_FF, window=c.window, per_layer=0,
    )  # fmt: skip
    export.add_text_sizes(writer, small, small.kv_heads)
    writer.add_uint32("gemma4-assistant.embedding_length_out", target.width)
    writer.add_uint32("gemma4-assistant.nextn_predict_layers", small.layers)
    export.add_vocabulary(writer, tokenizer)
    factors = export.rope_factors(small.head_dim_global, small.rotated_share)
    export.put(writer, "rope_freqs.weight", factors, Type.F32)
    export.put(writer, "token_embd.weight", dice.matrix(small.vocab, small.width), Type.Q8_0)
    export.put(writer, "output_norm.weight", dice.ones(small.width), Type.F32)
    pre, post = dice.matrix(small.width, 2 * target.width), dice.matrix(target.width, small.width)
    export.put(writer, "nextn.pre_projection.weight", pre, Type.Q8_0)
    export.put(writer, "nextn.post_projection.weight", post, Type.Q8_0)
    for i in range(small.layers):
        layer = _attention(dice, small, i, False)
        _put_layer(writer, i, layer | _feed_forward(dice, small.width, DRAFTER_FF))
    export.finish(writer)


def write_all(tokenizer: Tokenizer, folder: Path) -> None:
    """All three files."""
    folder.mkdir(parents=True, exist_ok=True)
    write_moe(tokenizer, folder / "moe-random-Q8_0.gguf")
    write_eye(folder / "moe-random-mmproj-F16.gguf", MOE.width)
    write_drafter(tokenizer, TextConfig(), folder / "assistant-random-Q8_0.gguf")
