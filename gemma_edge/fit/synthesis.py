"""The header of a file that is not here, from the catalogue's facts: every tensor that llama.cpp's
``gemma4`` loader asks for (src/models/gemma4.cpp), in the types of the quant's recipe.

Dimensions and metadata are exact, so KV cache and compute buffers are; the weights are those of
the recipe, scaled to the file's size where the catalogue knows it. ``Shape.exact`` says so.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gemma_edge.catalog import Dimensions, Quant, Size
from gemma_edge.gguf import TENSOR_TYPES, Header, Tensor, Value

VOCABULARY_TOKENS = 262_144  # of every Gemma 4 (gemma4.md, section 1)
HEAD_WINDOW, HEAD_GLOBAL = 256, 512  # values a head, the same in all sizes (fit.md 3.1)
HEADER_BYTES = 15_825_000  # before the tensors: Google's five QAT files less their tensors
_BLOCKS = {name: (values, size) for _, (name, values, size) in TENSOR_TYPES.items()}

# Vision towers: width, inner width, layers (gemma4.md, section 1). 12B has none.
_SMALL_TOWER, _LARGE_TOWER = (768, 3072, 16), (1152, 4304, 27)
_TOWERS: dict[str, tuple[int, ...]] = {"e2b": _SMALL_TOWER, "e4b": _SMALL_TOWER, "12b": ()}

# (layers, embeddings, the layers' more important matrices) by the quant's name without "ud-" and
# "qat-". Of the K mixtures llama-quant.cpp gives attn_v and ffn_down of about half the layers more.
_RECIPES = {
    "q3_k_xl": ("Q3_K", "Q6_K", "Q4_K"),
    "q4_0": ("Q4_0", "Q6_K", "Q4_0"),
    "q4_k_m": ("Q4_K", "Q6_K", "Q6_K"),
    "q4_k_xl": ("Q4_K", "Q6_K", "Q6_K"),
    "q5_k_m": ("Q5_K", "Q6_K", "Q6_K"),
    "q6_k": ("Q6_K", "Q6_K", "Q6_K"),
    "q8_0": ("Q8_0", "Q8_0", "Q8_0"),
}
_BY_BITS = {3: "q3_k_xl", 4: "q4_k_m", 5: "q5_k_m", 6: "q6_k", 8: "q8_0"}


def synthesize(size: Size, quant: Quant) -> Header:
    """The header of one quant of one size, for ``parse_shape(..., exact=False)``."""
    tensors = tuple(_place(list(_tensors(size, _recipe(quant)))))
    used = HEADER_BYTES + sum(tensor.size_bytes for tensor in tensors)
    known = quant.model.size_bytes
    if known:
        factor = (known - HEADER_BYTES) / (used - HEADER_BYTES)
        tensors = tuple(
            replace(each, size_bytes=round(each.size_bytes * factor)) for each in tensors
        )
    return Header(Path(quant.model.filename), known or used, _metadata(size), tensors)


def synthesize_projector(size: Size, quant: Quant) -> Header | None:
    """The header of its projector, with one tensor as large as all of them; None without one."""
    file = quant.projector
    if file is None:
        return None
    file_bytes = file.size_bytes or size.dimensions.projector_bytes
    metadata: dict[str, Value] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.vision.projection_dim": size.width,
    }
    tower = _TOWERS.get(size.name, _LARGE_TOWER)
    keys = ("embedding_length", "feed_forward_length", "block_count")
    metadata.update((f"clip.vision.{k}", v) for k, v in zip(keys, tower, strict=False))
    whole = Tensor("v.blk.0.ffn_up.weight", (file_bytes // 2,), "F16", file_bytes, 0)
    return Header(Path(file.filename), file_bytes, metadata, (whole,))


def _recipe(quant: Quant) -> tuple[str, str, str]:
    name = quant.name.removeprefix("qat-").removeprefix("ud-")
    if quant.qat and name == "q4_k_xl":  # llama.cpp calls that file Q4_0 (gemma4.md 2.2)
        return "Q4_0", "Q4_0", "Q4_0"
    return _RECIPES.get(name) or _RECIPES[_BY_BITS[quant.bits]]


def _kinds(size: Size) -> list[bool]:
    """For every layer whether it has a window."""
    every = size.dimensions.global_every
    return [(index + 1) % every != 0 for index in range(size.layers)]


def _metadata(size: Size) -> dict[str, Value]:
    facts = size.dimensions
    windows = _kinds(size)
    kv_heads = tuple(facts.kv_heads_window if w else facts.kv_heads_global for w in windows)
    own: dict[str, Value] = {
        "block_count": size.layers,
        "context_length": size.context_tokens,
        "embedding_length": size.width,
        "feed_forward_length": tuple(_feed_forward(size, index) for index in range(size.layers)),
        "attention.head_count": facts.heads,
        # One number where all layers have as many, as llama.cpp's converter writes it.
        "attention.head_count_kv": kv_heads if len(set(kv_heads)) > 1 else kv_heads[0],
        "attention.key_length": HEAD_GLOBAL,
        "attention.value_length": HEAD_GLOBAL,
        "attention.key_length_swa": HEAD_WINDOW,
        "attention.value_length_swa": HEAD_WINDOW,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.sliding_window": facts.window_tokens,
        "attention.sliding_window_pattern": tuple(windows),
        "attention.shared_kv_layers": facts.shared_kv_layers,
        "embedding_length_per_layer_input": facts.per_layer_width,
        "final_logit_softcapping": 30.0,
        "rope.dimension_count": HEAD_GLOBAL,
        "rope.dimension_count_swa": HEAD_WINDOW,
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4,
        "vocab_size": VOCABULARY_TOKENS,
    }
    if facts.experts:
        own["expert_count"] = facts.experts
        own["expert_used_count"] = facts.experts_used
        own["expert_feed_forward_length"] = facts.expert_feed_forward
    named = {f"gemma4.{key}": value for key, value in own.items()}
    return {"general.architecture": "gemma4", "general.name": size.title, **named}


def _feed_forward(size: Size, index: int) -> int:
    facts: Dimensions = size.dimensions
    shared = index >= size.layers - facts.shared_kv_layers
    return facts.feed_forward_shared if shared and facts.feed_forward_shared else facts.feed_forward


Row = tuple[str, tuple[int, ...], str]


def _tensors(size: Size, recipe: tuple[str, str, str]) -> Iterator[Row]:
    layers, embeddings, _ = recipe
    facts, width = size.dimensions, size.width
    yield "rope_freqs.weight", (HEAD_GLOBAL // 2,), "F32"
    yield "token_embd.weight", (width, VOCABULARY_TOKENS), embeddings
    if facts.per_layer_width:
        all_layers = facts.per_layer_width * size.layers
        yield "per_layer_token_embd.weight", (all_layers, VOCABULARY_TOKENS), embeddings
        # llama-quant.cpp leaves it as it is
        yield "per_layer_model_proj.weight", (width, all_layers), "BF16"
        yield "per_layer_proj_norm.weight", (facts.per_layer_width,), "F32"
    yield "output_norm.weight", (width,), "F32"
    for index, window in enumerate(_kinds(size)):
        for name, shape, kind in _layer(size, index, window, recipe):
            yield f"blk.{index}.{name}", shape, kind


def _layer(size: Size, index: int, window: bool, recipe: tuple[str, str, str]) -> Iterator[Row]:
    facts, width = size.dimensions, size.width
    kind, _, _ = recipe
    better = recipe[2] if _use_more_bits(index, size.layers) else kind
    head = HEAD_WINDOW if window else HEAD_GLOBAL
    keys = head * (facts.kv_heads_window if window else facts.kv_heads_global)
    yield "attn_q.weight", (width, head * facts.heads), kind
    yield "attn_output.weight", (head * facts.heads, width), kind
    yield "attn_q_norm.weight", (head,), "F32"
    # The published E models hold keys and values of the sharing layers too, unused
    # (llama.cpp: "unused tensor"); the loader counts them as optional.
    if index < size.layers - facts.shared_kv_layers:
        yield "attn_k.weight", (width, keys), kind
        yield "attn_k_norm.weight", (head,), "F32"
        if window or not facts.keys_are_values:
            yield "attn_v.weight", (width, keys), better
    forward = _feed_forward(size, index)
    yield "ffn_gate.weight", (width, forward), kind
    yield "ffn_up.weight", (width, forward), kind
    yield "ffn_down.weight", (forward, width), _whole_blocks(better, forward)
    for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
        yield f"{name}.weight", (width,), "F32"
    yield "layer_output_scale.weight", (1,), "F32"
    if facts.per_layer_width:
        yield "inp_gate.weight", (width, facts.per_layer_width), kind
        yield "proj.weight", (facts.per_layer_width, width), kind
        yield "post_norm.weight", (width,), "F32"
    if facts.experts:
        yield from _experts(size, kind, better)


def _experts(size: Size, kind: str, better: str) -> Iterator[Row]:
    facts, width = size.dimensions, size.width
    inner, count = facts.expert_feed_forward, facts.experts
    yield "ffn_gate_inp.weight", (width, count), "F32"
    yield "ffn_gate_inp.scale", (width,), "F32"
    yield "ffn_gate_up_exps.weight", (width, 2 * inner, count), kind
    yield "ffn_down_exps.weight", (inner, width, count), _whole_blocks(better, inner)
    yield "ffn_down_exps.scale", (count,), "F32"
    for name in ("post_ffw_norm_1", "post_ffw_norm_2", "pre_ffw_norm_2"):
        yield f"{name}.weight", (width,), "F32"


def _use_more_bits(index: int, layers: int) -> bool:
    """llama-quant.cpp, ``use_more_bits``."""
    eighth = layers // 8
    return index < eighth or index >= 7 * layers // 8 or (index - eighth) % 3 == 2  # noqa: PLR2004


def _whole_blocks(kind: str, row: int) -> str:
    """A K type has blocks of 256; llama-quant.cpp takes another type for other rows."""
    instead = {"Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
    return kind if row % _BLOCKS[kind][0] == 0 else instead[kind]


def _place(rows: list[Row]) -> Iterator[Tensor]:
    offset = HEADER_BYTES
    for name, shape, kind in rows:
        values, size = _BLOCKS[kind]
        size_bytes = math.prod(shape) // values * size
        yield Tensor(name, shape, kind, size_bytes, offset)
        offset += -(-size_bytes // 32) * 32
