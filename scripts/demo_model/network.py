"""Gemma 4 in miniature, in PyTorch: the graph of llama.cpp's ``gemma4``, E2B style.

Layers 0 to 4 own their keys and values; the layers above reuse those of the last sliding and the
last global one. So only places whose next token is wanted need to pass through the upper half,
which is what makes training on long documents cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_model.bf16 import NATIVE, Linear, attention
from demo_model.norm import rms
from demo_model.sequences import WINDOW, Batch, Block
from demo_model.vision import Vision, VisionConfig

SOFTCAP = 30.0


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the language model; ``pattern`` names each layer sliding (S) or global (G)."""

    vocab: int = 2048
    width: int = 160
    pattern: str = "SSGSG" + "SGSG"
    own_kv: int = 5
    heads: int = 4
    kv_heads: int = 2
    head_dim_sliding: int = 32
    head_dim_global: int = 64
    ff_own: int = 320
    ff_shared: int = 640
    window: int = WINDOW
    per_layer: int = 32
    context: int = 8192
    rope_base_sliding: float = 1e4
    rope_base_global: float = 1e6
    rotated_share: float = 0.25
    """Share of a global layer's head that is rotated (p-RoPE)."""

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.pattern)

    def head_dim(self, layer: int) -> int:
        """Width of one head in a layer."""
        return self.head_dim_sliding if self.pattern[layer] == "S" else self.head_dim_global

    def ff(self, layer: int) -> int:
        """Width of a layer's feed-forward part."""
        return self.ff_own if layer < self.own_kv else self.ff_shared


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, half-split (NEOX) order; ``x`` is [B, L, heads, dim]."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


STEP = 128 if NATIVE else 1
"""What queries and keys of a block are padded to a multiple of: each new size of a product is
compiled anew."""


def as_bias(mask: Tensor, step: int = 1) -> Tensor:
    """What is added to scores [queries, keys], both padded: 0 where a token is looked at, else
    minus infinity. Queries of the padding look at everything."""
    queries, keys = mask.shape[-2:]
    shape = (*mask.shape[:-2], -(-queries // step) * step, -(-keys // step) * step)
    bias = torch.zeros(shape)
    bias[..., keys:] = -torch.inf
    bias[..., :queries, :keys].masked_fill_(~mask, -torch.inf)
    return bias


@dataclass
class View:
    """What a kind of layer looks at: its rotary angles, and either a whole ``mask`` or each
    example's ``blocks``, their lists of keys and their masks."""

    angles: tuple[Tensor, Tensor]
    mask: Tensor
    blocks: list[list[Block]]
    keys: list[list[list[int]]]
    biases: list[list[Tensor]]


def attend(q: Tensor, k: Tensor, v: Tensor, view: View) -> Tensor:
    """Attention [B, heads, L, dim]. Blocks look only where their path goes: a fraction of what a
    whole mask costs where a document is asked several times."""
    if not view.blocks:
        return attention(q, k, v, as_bias(view.mask))
    out = []
    for i, some in enumerate(view.blocks):
        sizes = [block.size for block in some]
        rest = q.shape[2] - sum(sizes)
        queries, keys, values = (each[i : i + 1].split([*sizes, rest], dim=2) for each in (q, k, v))
        parts = []
        for query, path, bias in zip(queries, view.keys[i], view.biases[i], strict=False):
            size, room = query.shape[2], bias.shape
            key, value = (
                F.pad(each, (0, 0, 0, room[1] - each.shape[2]))
                for each in (torch.cat([some[at] for at in path], 2) for some in (keys, values))
            )
            query = F.pad(query, (0, 0, 0, room[0] - size))
            parts.append(attention(query, key, value, bias)[:, :, :size])
        out.append(torch.cat([*parts, values[0].new_zeros(queries[-1].shape)], 2))
    return torch.cat(out)


class Layer(nn.Module):
    """One decoder layer; without its own keys and values where ``owns`` is false."""

    def __init__(self, config: TextConfig, index: int) -> None:
        super().__init__()
        d, dim = config.width, config.head_dim(index)
        self.sliding = config.pattern[index] == "S"
        self.owns = index < config.own_kv
        self.heads, self.kv_heads, self.dim = config.heads, config.kv_heads, dim
        self.attn_norm = nn.Parameter(torch.ones(d))
        self.attn_q = Linear(d, config.heads * dim)
        self.attn_q_norm = nn.Parameter(torch.full((dim,), dim**-0.25))
        if self.owns:
            self.attn_k = Linear(d, config.kv_heads * dim)
            self.attn_v = Linear(d, config.kv_heads * dim)
            self.attn_k_norm = nn.Parameter(torch.full((dim,), dim**-0.25))
        self.attn_output = Linear(config.heads * dim, d)
        self.post_attention_norm = nn.Parameter(torch.full((d,), 0.4))
        self.ffn_norm = nn.Parameter(torch.ones(d))
        self.ffn_gate = Linear(d, config.ff(index))
        self.ffn_up = Linear(d, config.ff(index))
        self.ffn_down = Linear(config.ff(index), d)
        self.post_ffw_norm = nn.Parameter(torch.full((d,), 0.4))
        self.inp_gate = Linear(d, config.per_layer)
        self.proj = Linear(config.per_layer, d)
        self.post_norm = nn.Parameter(torch.full((d,), 0.2))
        self.layer_output_scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def keys_values(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values of normed input ``x``, each [B, heads, L, dim]."""
        shape = (*x.shape[:2], self.kv_heads, self.dim)
        k = rotate(rms(self.attn_k(x).view(shape), self.attn_k_norm), *angles)
        v = rms(self.attn_v(x).view(shape))
        repeat = self.heads // self.kv_heads
        return (
            k.transpose(1, 2).repeat_interleave(repeat, 1),
            v.transpose(1, 2).repeat_interleave(repeat, 1),
        )

    def forward(
        self, x: Tensor, per_layer: Tensor, view: View, shared: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Hidden states after this layer, and the keys and values it used."""
        normed = rms(x, self.attn_norm)
        q = self.attn_q(normed).view(*x.shape[:2], self.heads, self.dim)
        q = rotate(rms(q, self.attn_q_norm), *view.angles).transpose(1, 2)
        k, v = shared if shared is not None else self.keys_values(normed, view.angles)
        out = attend(q, k, v, view)
        out = self.attn_output(out.transpose(1, 2).flatten(2))
        x = x + rms(out, self.post_attention_norm)
        normed = rms(x, self.ffn_norm)
        out = F.gelu(self.ffn_gate(normed), approximate="tanh") * self.ffn_up(normed)
        x = x + rms(self.ffn_down(out), self.post_ffw_norm)
        out = F.gelu(self.inp_gate(x), approximate="tanh") * per_layer
        return x + rms(self.proj(out), self.post_norm), (k, v)


class Demo(nn.Module):
    """Language model and vision tower."""

    def __init__(self, config: TextConfig, vision: VisionConfig) -> None:
        super().__init__()
        self.config = config
        d, wide = config.width, config.layers * config.per_layer
        self.token_embd = nn.Parameter(torch.randn(config.vocab, d) * d**-0.5)
        self.per_layer_token_embd = nn.Parameter(
            torch.randn(config.vocab, wide) * config.per_layer**-0.5
        )
        self.per_layer_model_proj = Linear(d, wide)
        self.per_layer_proj_norm = nn.Parameter(torch.ones(config.per_layer))
        self.blk = nn.ModuleList(Layer(config, i) for i in range(config.layers))
        self.output_norm = nn.Parameter(torch.ones(d))
        self.vision = Vision(vision, d)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
        self._look_back()

    @torch.no_grad()
    def _look_back(self) -> None:
        """Begin with two heads in each of the first two layers that see the token before and the
        one before that. Copying is built on such heads, and finding them takes most of a training
        that is this short. A direction that all embeddings share makes their queries and keys the
        same everywhere, so that rotation alone decides."""
        c = self.config
        same = F.normalize(torch.randn(c.width), dim=0)
        self.token_embd.add_(0.7 * same)
        half, sharp = c.head_dim_sliding // 2, 5
        rates = c.rope_base_sliding ** (-torch.arange(sharp) / half)
        for layer in self.blk[:2]:
            dim = layer.dim
            heads = layer.attn_q.weight.view(c.heads, dim, c.width)
            keys = layer.attn_k.weight.view(c.kv_heads, dim, c.width)
            for distance in (1, 2):
                q = torch.zeros(dim)
                q[:sharp] = torch.cos(distance * rates)
                q[half : half + sharp] = -torch.sin(distance * rates)
                heads[distance - 1].mul_(0.3).add_(1.2 * torch.outer(q, same))
            k = torch.zeros(dim)
            k[:sharp] = 1
            keys[0].mul_(0.3).add_(1.2 * torch.outer(k, same))
            for start in (0, half):
                layer.attn_q_norm[start : start + sharp] *= 2.5

    def angles(self, positions: Tensor, sliding: bool) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B, L, 1, dim / 2] of a kind of layer."""
        c = self.config
        dim = c.head_dim_sliding if sliding else c.head_dim_global
        base = c.rope_base_sliding if sliding else c.rope_base_global
        rates = base ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)
        if not sliding:
            rates[int(dim * c.rotated_share / 2) :] = 0.0
        turned = (positions[..., None].float() * rates)[:, :, None]
        return turned.cos(), turned.sin()

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Token embeddings with images put in, the per-layer inputs, and the pooled images."""
        c = self.config
        x = F.embedding(batch.ids, self.token_embd) * c.width**0.5
        pooled = []
        for places, pictures in zip(batch.image_places, batch.pictures, strict=True):
            features, soft = self.vision(pictures)
            pooled.append(features)
            x = x.index_put(places, soft.flatten(0, 1).float())
        shape = (*batch.ids.shape, c.layers, c.per_layer)
        table = F.embedding(batch.ids, self.per_layer_token_embd) * c.per_layer**0.5
        context = self.per_layer_model_proj(x) * c.width**-0.5
        context = rms(context.view(shape), self.per_layer_proj_norm)
        return x, (context + table.view(shape)) * 2**-0.5, pooled

    def forward(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Logits [B, Q, vocab] at ``batch.places``, and the pooled image features."""
        x, per_layer, pooled = self.embed(batch)
        views = {kind: self._view(batch, kind) for kind in "GS"}
        kept: dict[str, tuple[Tensor, Tensor]] = {}
        for i, layer in enumerate(self.blk):
            kind = self.config.pattern[i]
            if i == self.config.own_kv:
                x, per_layer, views = self._pick(batch.places, x, per_layer, views)
            shared = None if layer.owns else kept[kind]
            x, kept[kind] = layer(x, per_layer[:, :, i], views[kind], shared)
        logits = F.linear(rms(x, self.output_norm), self.token_embd)
        return SOFTCAP * torch.tanh(logits / SOFTCAP), pooled

    def _view(self, batch: Batch, kind: str) -> View:
        """What the layers of a kind look at."""
        sliding = kind == "S"
        some = batch.blocks
        return View(
            self.angles(batch.positions, sliding),
            (self._sliding(batch) if sliding else batch.seen)[:, None],
            some,
            [[each.near if sliding else each.far for each in blocks] for blocks in some],
            [[as_bias(each.near_mask if sliding else each.far_mask, STEP) for each in blocks]
             for blocks in some],
        )  # fmt: skip

    def _sliding(self, batch: Batch) -> Tensor:
        """Who sees whom in sliding layers: the window, and images both ways."""
        near = batch.positions[:, :, None] - batch.positions[:, None, :] < self.config.window
        if batch.together is None:
            return batch.seen & near
        return (batch.seen | batch.together) & near

    @staticmethod
    def _pick(
        places: Tensor, x: Tensor, per_layer: Tensor, views: dict[str, View]
    ) -> tuple[Tensor, Tensor, dict[str, View]]:
        """Everything of the lower half at ``places`` [B, Q] only."""
        rows = torch.arange(len(places))[:, None]
        picked = {}
        for kind, view in views.items():
            cos, sin = view.angles
            mask = view.mask[rows, 0, places][:, None]
            picked[kind] = View((cos[rows, places], sin[rows, places]), mask, [], [], [])
        return x[rows, places], per_layer[rows, places], picked
