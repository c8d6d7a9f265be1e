"""Write the trained network as the two GGUF files that llama.cpp loads."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from torch import nn

from demo_model.network import SOFTCAP, Demo, TextConfig
from demo_model.norm import EPS
from demo_model.tokenizer import SPECIALS, VISIBLE, Tokenizer
from demo_model.vision import VisionConfig

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
POSITION_ROWS = 1024
"""Rows of the position table in the file: llama.cpp aborts on a side of more patches than rows."""
AUTHOR, LICENSE = "gemma-edge", "Apache-2.0"
RENAMED = {"patch_embd": "v.patch_embd", "position_embd": "v.position_embd",
           "input_projection": "mm.input_projection"}  # fmt: skip


def describe(writer: gguf.GGUFWriter, kind: str, name: str, text: str, file_type: int) -> None:
    """Say in the file what it is."""
    writer.add_type(kind)
    writer.add_name(name)
    writer.add_description(text)
    writer.add_author(AUTHOR)
    writer.add_license(LICENSE)
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """Tokens, merges, control ids and the chat template."""
    kinds = []
    for token in tokenizer.vocab:
        if token in VISIBLE:
            kinds.append(gguf.TokenType.USER_DEFINED)
        elif token in SPECIALS:
            kinds.append(gguf.TokenType.CONTROL)
        elif token.startswith("<0x"):
            kinds.append(gguf.TokenType.BYTE)
        elif token.startswith("<unused"):
            kinds.append(gguf.TokenType.UNUSED)
        else:
            kinds.append(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gemma4")
    writer.add_token_list([token.encode() for token in tokenizer.vocab])
    writer.add_token_scores([-1000.0] * len(tokenizer.vocab))
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges])
    ids = tokenizer.ids
    writer.add_pad_token_id(ids["<pad>"])
    writer.add_eos_token_id(ids["<eos>"])
    writer.add_bos_token_id(ids["<bos>"])
    writer.add_unk_token_id(ids["<unk>"])
    writer.add_mask_token_id(ids["<mask>"])
    writer.add_add_space_prefix(False)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE.read_text(encoding="utf-8"))


def add_text_sizes(writer: gguf.GGUFWriter, c: TextConfig, kv_heads: int | list[int]) -> None:
    """The hyperparameters of a language model, ``kv_heads`` one for all layers or one for each."""
    arch = writer.arch
    writer.add_block_count(c.layers)
    writer.add_context_length(c.context)
    writer.add_embedding_length(c.width)
    writer.add_feed_forward_length([c.ff(i) for i in range(c.layers)])
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(c.head_dim_global)
    writer.add_value_length(c.head_dim_global)
    writer.add_key_length_swa(c.head_dim_sliding)
    writer.add_value_length_swa(c.head_dim_sliding)
    writer.add_rope_dimension_count(c.head_dim_global)
    writer.add_rope_dimension_count_swa(c.head_dim_sliding)
    writer.add_rope_freq_base(c.rope_base_global)
    writer.add_float32(f"{arch}.rope.freq_base_swa", c.rope_base_sliding)
    writer.add_layer_norm_rms_eps(EPS)
    writer.add_final_logit_softcapping(SOFTCAP)
    writer.add_sliding_window(c.window)
    writer.add_sliding_window_pattern([kind == "S" for kind in c.pattern])
    writer.add_shared_kv_layers(c.layers - c.own_kv)
    writer.add_embedding_length_per_layer_input(c.per_layer)


def add_sampling(writer: gguf.GGUFWriter) -> None:
    """Gemma 4's recommended sampling."""
    writer.add_float32("general.sampling.temp", 1.0)
    writer.add_int32("general.sampling.top_k", 64)
    writer.add_float32("general.sampling.top_p", 0.95)


def put(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: Type) -> None:
    """Add a tensor; what cannot be quantized row by row stays F32."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim < 2 or (kind == Type.Q8_0 and values.shape[-1] % 32):
        kind = Type.F32
    if kind == Type.F32:
        writer.add_tensor(name, values)
    elif kind == Type.F16:
        writer.add_tensor(name, values.astype(np.float16))
    else:
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def rope_factors(head_dim: int, rotated_share: float) -> np.ndarray:
    """Frequency divisors of the global layers: 1 where a pair turns, huge where it stays."""
    turning = int(head_dim * rotated_share / 2)
    return np.array([1.0] * turning + [1e30] * (head_dim // 2 - turning), dtype=np.float32)


def finish(writer: gguf.GGUFWriter) -> None:
    """Write everything to the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """The module's parameters under GGUF-like names: matrices and vectors end in ``.weight``."""
    out = {}
    for name, value in module.state_dict().items():
        name = name if name.endswith(".weight") else name + ".weight"
        out[name] = value.detach().to(torch.float32).numpy()
    return out


def write_text(model: Demo, tokenizer: Tokenizer, path: Path, kind: Type = Type.Q8_0) -> None:
    """The language model."""
    fresh = path.with_suffix(".new")
    writer = gguf.GGUFWriter(fresh, "gemma4")
    types = {Type.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0, Type.F32: gguf.LlamaFileType.ALL_F32}
    describe(
        writer, "model", "gemma-edge demo",
        "A tiny model of Gemma 4's architecture, trained from scratch on random made-up data: "
        "documents to JSON, small talk, pictures of shapes. A demo and test model only.",
        types[kind],
    )  # fmt: skip
    add_text_sizes(writer, model.config, model.config.kv_heads)
    add_sampling(writer)
    add_vocabulary(writer, tokenizer)
    c = model.config
    put(writer, "rope_freqs.weight", rope_factors(c.head_dim_global, c.rotated_share), Type.F32)
    for name, values in _arrays(model).items():
        if not name.startswith("vision."):
            put(writer, name, values, kind)
    finish(writer)
    fresh.replace(path)


def add_vision_sizes(writer: gguf.GGUFWriter, c: VisionConfig, text_width: int) -> None:
    """The hyperparameters of the vision tower."""
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_vision_projector_type(gguf.VisionProjectorType.GEMMA4V)
    writer.add_vision_projection_dim(text_width)
    writer.add_vision_image_size(224)
    writer.add_vision_patch_size(c.patch)
    writer.add_vision_embedding_length(c.width)
    writer.add_vision_feed_forward_length(c.ff)
    writer.add_vision_block_count(c.layers)
    writer.add_vision_head_count(c.heads)
    writer.add_vision_image_mean([0.0, 0.0, 0.0])
    writer.add_vision_image_std([1.0, 1.0, 1.0])
    writer.add_vision_attention_layernorm_eps(EPS)
    # Without this clip.cpp falls back to quick GELU, which Gemma 4 does not use.
    writer.add_vision_use_gelu(True)


def vision_arrays(model: Demo) -> dict[str, np.ndarray]:
    """The vision tower's tensors under the names and in the shapes of ``gemma4v``."""
    c = model.vision.config
    out = {}
    for name, values in _arrays(model.vision).items():
        first = name.split(".")[0]
        name = name.replace(first, RENAMED.get(first, "v." + first), 1)
        if first == "patch_embd":
            values = values.reshape(c.width, 3, c.patch, c.patch)
        if first == "position_embd":
            values = np.pad(values, ((0, 0), (0, POSITION_ROWS - c.sides), (0, 0)), mode="edge")
        out[name] = values
    return out


def write_projector(model: Demo, path: Path, kind: Type = Type.F16) -> None:
    """The vision tower with its projection."""
    fresh = path.with_suffix(".new")
    writer = gguf.GGUFWriter(fresh, "clip")
    types = {Type.F16: gguf.LlamaFileType.MOSTLY_F16, Type.F32: gguf.LlamaFileType.ALL_F32}
    describe(writer, "mmproj", "gemma-edge demo vision",
             "The vision tower of the gemma-edge demo model: sees simple coloured shapes.",
             types[kind])  # fmt: skip
    add_vision_sizes(writer, model.vision.config, model.config.width)
    for name, values in vision_arrays(model).items():
        put(writer, name, values, kind)
    finish(writer)
    fresh.replace(path)
