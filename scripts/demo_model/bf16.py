"""Products in bfloat16 where a processor has instructions for it: they take a third of the time.
Without them they would take a hundred times as long, and everything stays float32."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NATIVE: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
NARROW = torch.bfloat16 if NATIVE else torch.float32
"""The type of a product's factors."""
ROWS = 512 if NATIVE else 1
"""What the rows of a product are padded to a multiple of: each new size is compiled anew."""


def _padded(x: Tensor) -> Tensor:
    """Rows [n, width] as ``NARROW``, with rows of zeros behind them."""
    if len(x) % ROWS == 0:
        return x.to(NARROW)
    out = torch.empty(-(-len(x) // ROWS) * ROWS, x.shape[1], dtype=NARROW)
    out[: len(x)] = x
    out[len(x) :] = 0
    return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        rows, narrow = _padded(x), weight.to(NARROW)
        ctx.save_for_backward(rows, narrow)
        return (rows @ narrow.t())[: len(x)]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        rows, narrow = ctx.saved_tensors
        grad = _padded(grads[0])
        return (grad @ narrow)[: len(grads[0])], grad.t() @ rows


class Linear(nn.Linear):
    """A linear layer without bias: weights are kept in float32, the product is ``NARROW``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [..., inputs] of any type as ``NARROW`` [..., outputs]."""
        out: Tensor = _Product.apply(x.flatten(0, -2), self.weight)
        return out.view(*x.shape[:-1], -1)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        scores = q @ k.mT
        shares = torch.softmax(scores if bias is None else scores.add_(bias), -1).to(NARROW)
        out = shares @ v
        ctx.save_for_backward(q, k, v, shares, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, shares, out = ctx.saved_tensors
        grad = grads[0].contiguous()
        steeper = grad @ v.mT
        steeper.sub_((grad * out).sum(-1, keepdim=True)).mul_(shares)
        return steeper @ k.to(NARROW), steeper.mT @ q.to(NARROW), shares.mT @ grad, None


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """``softmax(q @ k.T + bias) @ v`` as ``NARROW``; ``q`` and ``k`` [B, heads, L, dim] and their
    scores are float32, because what is copied is chosen by them; ``v`` is ``NARROW``. Where all are
    float32, PyTorch's own goes through memory less often."""
    if not NATIVE:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    out: Tensor = _Attention.apply(q, k, v, bias)
    return out
