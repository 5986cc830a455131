import pytest
import torch
from einops import rearrange

from bayes_splat.models.encoder.attention import CrossAttention, SelfAttention, SelfAttentionBlock


def test_cross_attention_is_the_ordinary_one():
    """Keys and values computed for every sample, as the definition says."""
    torch.manual_seed(0)
    attention = CrossAttention(8, num_heads=2, d_head=3).requires_grad_(False)
    queries, samples = torch.randn(5, 8), torch.randn(5, 7, 8)
    key, value = attention.kv(samples).chunk(2, dim=-1)
    query = rearrange(attention.q(queries), "ray (head d) -> ray head 1 d", head=2)
    key, value = (
        rearrange(t, "ray sample (head d) -> ray head sample d", head=2) for t in (key, value)
    )
    weights = (query @ key.mT * 3**-0.5).softmax(-1)
    expected = attention.out(rearrange(weights @ value, "ray head 1 d -> ray (head d)"))
    made, found = attention(queries, samples)
    assert made == pytest.approx(expected, abs=1e-6)
    assert found == pytest.approx(weights[:, :, 0], abs=1e-6)


def test_order_of_samples_does_not_matter():
    torch.manual_seed(0)
    attention = CrossAttention(8, num_heads=2, d_head=3).requires_grad_(False)
    queries, samples = torch.randn(5, 8), torch.randn(5, 7, 8)
    assert attention(queries, samples.flip(1))[0] == pytest.approx(
        attention(queries, samples)[0], abs=1e-6
    )


def test_self_attention_is_the_ordinary_one():
    torch.manual_seed(0)
    attention = SelfAttention(8, num_heads=2, d_head=3).requires_grad_(False)
    tokens = torch.randn(2, 5, 8)
    query, key, value = (
        rearrange(t, "image token (head d) -> image head token d", head=2)
        for t in attention.qkv(tokens).chunk(3, dim=-1)
    )
    weights = (query @ key.mT * 3**-0.5).softmax(-1)
    expected = attention.out(
        rearrange(weights @ value, "image head token d -> image token (head d)")
    )
    assert attention(tokens) == pytest.approx(expected, abs=1e-6)


def test_a_block_with_silent_ends_changes_nothing():
    block = SelfAttentionBlock(8, 2, 3, 16).requires_grad_(False)
    for layer in (block.attention.out, block.fc2):
        layer.weight.zero_()
        layer.bias.zero_()
    tokens = torch.randn(2, 5, 8)
    assert torch.equal(block(tokens), tokens)
    block.fc2.bias.fill_(1.0)
    assert torch.equal(block(tokens), tokens + 1.0)
