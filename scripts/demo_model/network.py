"""Gemma 4 in miniature, in plain PyTorch: the graph of llama.cpp's ``gemma4``, E2B style.

Layers 0 to 4 own their keys and values; the layers above reuse those of the last sliding and the
last global one. So only places whose next token is wanted need to pass through the upper half,
which is what makes training on long documents cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_model.norm import rms
from demo_model.sequences import Batch
from demo_model.vision import Vision, VisionConfig

SOFTCAP = 30.0


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the language model; ``pattern`` names each layer sliding (S) or global (G)."""

    vocab: int = 1024
    width: int = 160
    pattern: str = "SSGSG" + "SGSG"
    own_kv: int = 5
    heads: int = 4
    kv_heads: int = 2
    head_dim_sliding: int = 32
    head_dim_global: int = 64
    ff_own: int = 320
    ff_shared: int = 640
    window: int = 128
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


class Layer(nn.Module):
    """One decoder layer; without its own keys and values where ``owns`` is false."""

    def __init__(self, config: TextConfig, index: int) -> None:
        super().__init__()
        d, dim = config.width, config.head_dim(index)
        self.sliding = config.pattern[index] == "S"
        self.owns = index < config.own_kv
        self.heads, self.kv_heads, self.dim = config.heads, config.kv_heads, dim
        self.attn_norm = nn.Parameter(torch.ones(d))
        self.attn_q = nn.Linear(d, config.heads * dim, bias=False)
        self.attn_q_norm = nn.Parameter(torch.full((dim,), dim**-0.25))
        if self.owns:
            self.attn_k = nn.Linear(d, config.kv_heads * dim, bias=False)
            self.attn_v = nn.Linear(d, config.kv_heads * dim, bias=False)
            self.attn_k_norm = nn.Parameter(torch.full((dim,), dim**-0.25))
        self.attn_output = nn.Linear(config.heads * dim, d, bias=False)
        self.post_attention_norm = nn.Parameter(torch.full((d,), 0.4))
        self.ffn_norm = nn.Parameter(torch.ones(d))
        self.ffn_gate = nn.Linear(d, config.ff(index), bias=False)
        self.ffn_up = nn.Linear(d, config.ff(index), bias=False)
        self.ffn_down = nn.Linear(config.ff(index), d, bias=False)
        self.post_ffw_norm = nn.Parameter(torch.full((d,), 0.4))
        self.inp_gate = nn.Linear(d, config.per_layer, bias=False)
        self.proj = nn.Linear(config.per_layer, d, bias=False)
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
        self,
        x: Tensor,
        per_layer: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        shared: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Hidden states after this layer, and the keys and values it used."""
        normed = rms(x, self.attn_norm)
        q = self.attn_q(normed).view(*x.shape[:2], self.heads, self.dim)
        q = rotate(rms(q, self.attn_q_norm), *angles).transpose(1, 2)
        k, v = shared if shared is not None else self.keys_values(normed, angles)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
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
        self.per_layer_model_proj = nn.Linear(d, wide, bias=False)
        self.per_layer_proj_norm = nn.Parameter(torch.ones(config.per_layer))
        self.blk = nn.ModuleList(Layer(config, i) for i in range(config.layers))
        self.output_norm = nn.Parameter(torch.ones(d))
        self.vision = Vision(vision, d)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)

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
            x = x.index_put(places, soft.flatten(0, 1))
        shape = (*batch.ids.shape, c.layers, c.per_layer)
        table = F.embedding(batch.ids, self.per_layer_token_embd) * c.per_layer**0.5
        context = self.per_layer_model_proj(x) * c.width**-0.5
        context = rms(context.view(shape), self.per_layer_proj_norm)
        return x, (context + table.view(shape)) * 2**-0.5, pooled

    def forward(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Logits [B, Q, vocab] at ``batch.places``, and the pooled image features."""
        x, per_layer, pooled = self.embed(batch)
        masks = {"G": batch.seen[:, None], "S": self._sliding(batch)[:, None]}
        angles = {kind: self.angles(batch.positions, kind == "S") for kind in "SG"}
        kept: dict[str, tuple[Tensor, Tensor]] = {}
        for i, layer in enumerate(self.blk):
            kind = self.config.pattern[i]
            if i == self.config.own_kv:
                x, per_layer, masks, angles = self._pick(batch.places, x, per_layer, masks, angles)
            shared = None if layer.owns else kept[kind]
            x, kept[kind] = layer(x, per_layer[:, :, i], angles[kind], masks[kind], shared)
        logits = F.linear(rms(x, self.output_norm), self.token_embd)
        return SOFTCAP * torch.tanh(logits / SOFTCAP), pooled

    def _sliding(self, batch: Batch) -> Tensor:
        """Who sees whom in sliding layers: the window, and images both ways."""
        near = batch.positions[:, :, None] - batch.positions[:, None, :] < self.config.window
        if batch.together is None:
            return batch.seen & near
        return (batch.seen | batch.together) & near

    @staticmethod
    def _pick(
        places: Tensor,
        x: Tensor,
        per_layer: Tensor,
        masks: dict[str, Tensor],
        angles: dict[str, tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor, dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
        """Everything of the lower half at ``places`` [B, Q] only."""
        rows = torch.arange(len(places))[:, None]
        picked = {kind: mask[rows, 0, places][:, None] for kind, mask in masks.items()}
        turned = {kind: (c[rows, places], s[rows, places]) for kind, (c, s) in angles.items()}
        return x[rows, places], per_layer[rows, places], picked, turned
