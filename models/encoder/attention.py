"""Attention (Vaswani et al. 2017) as the epipolar transformer uses it."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """One query looks at the samples of its own epipolar lines.

    Keys and values are linear in the samples, so the projections are moved to where there is less
    to project: ``q . (K s) = (K^T q) . s`` and ``sum_s a_s (V s) = V sum_s a_s s``. The result is
    the same up to rounding; the work and the memory of keys and values, num_samples times those
    of the queries, are gone.
    """

    def __init__(self, d: int, num_heads: int, d_head: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner = num_heads * d_head
        self.q = nn.Linear(d, inner, bias=False)
        self.kv = nn.Linear(d, 2 * inner, bias=False)
        self.out = nn.Linear(inner, d)

    def forward(
        self,
        queries: Float[Tensor, "ray channel"],
        samples: Float[Tensor, "ray sample channel"],
    ) -> tuple[Float[Tensor, "ray channel"], Float[Tensor, "ray head sample"]]:
        """What the queries take from the samples, and the weights with which they do."""
        heads = {"head": self.num_heads}
        key, value = rearrange(self.kv.weight, "(kind head d) c -> kind head d c", kind=2, **heads)
        query = rearrange(self.q(queries), "ray (head d) -> ray head d", **heads)
        query = query * key.shape[1] ** -0.5
        towards = einsum(query, key, "ray head d, head d c -> ray head c")
        weights = torch.matmul(towards, samples.mT).softmax(-1)
        seen = torch.matmul(weights, samples)
        seen = einsum(seen, value, "ray head c, head d c -> ray head d")
        return self.out(rearrange(seen, "ray head d -> ray (head d)")), weights


class SelfAttention(nn.Module):
    """Tokens of one picture look at each other."""

    def __init__(self, d: int, num_heads: int, d_head: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(d, 3 * num_heads * d_head, bias=False)
        self.out = nn.Linear(num_heads * d_head, d)

    def forward(
        self, tokens: Float[Tensor, "image token channel"]
    ) -> Float[Tensor, "image token channel"]:
        """What every token takes from the others."""
        qkv = rearrange(
            self.qkv(tokens),
            "image token (kind head d) -> kind image head token d",
            kind=3,
            head=self.num_heads,
        )
        seen = F.scaled_dot_product_attention(*qkv)
        out: Tensor = self.out(rearrange(seen, "image head token d -> image token (head d)"))
        return out


class SelfAttentionBlock(nn.Module):
    """Self-attention, then a perceptron; each normalises its input and adds its output."""

    def __init__(self, d: int, num_heads: int, d_head: int, d_mlp: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d)
        self.attention = SelfAttention(d, num_heads, d_head)
        self.norm2 = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, d_mlp)
        self.fc2 = nn.Linear(d_mlp, d)

    def forward(
        self, tokens: Float[Tensor, "image token channel"]
    ) -> Float[Tensor, "image token channel"]:
        """The tokens after this block."""
        tokens = tokens + self.attention(self.norm1(tokens))
        hidden: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(tokens))))
        return tokens + hidden
