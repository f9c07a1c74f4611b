"""Causal attention, and the transformer."""

from __future__ import annotations

import pytest
import torch

from tightbound.core.errors import InputError
from tightbound.nn.attention import CausalAttention, KeyValueCache, position_features
from tightbound.nn.transformer import CausalTransformer


def test_attention_is_a_softmax_over_earlier_keys() -> None:
    torch.manual_seed(0)
    attention = CausalAttention(3, 5, 6, 2).double()
    queries, keys = torch.randn(2, 4, 3).double(), torch.randn(2, 4, 5).double()
    found = attention(queries, keys)
    k, v = (keys @ attention.key_value.weight.T).chunk(2, -1)
    q = attention.query(queries)
    for i in range(4):
        read = []
        for head in (slice(0, 3), slice(3, 6)):
            scores = (q[:, i, None, head] * k[:, : i + 1, head]).sum(-1) / 3**0.5
            read.append((scores.softmax(-1)[..., None] * v[:, : i + 1, head]).sum(1))
        assert torch.allclose(found[:, i], attention.out(torch.cat(read, -1)), atol=1e-12)


def test_cached_attention_equals_one_pass() -> None:
    torch.manual_seed(0)
    attention = CausalAttention(3, 5, 6, 2).double()
    queries, keys = torch.randn(2, 7, 3).double(), torch.randn(2, 7, 5).double()
    with torch.no_grad():
        kept, found = KeyValueCache(attention, 2, 7, queries), []
        for i in range(7):
            kept.append(keys[:, i])
            found.append(kept.attend(queries[:, i]))
        assert torch.allclose(torch.stack(found, 1), attention(queries, keys), atol=1e-12)


def test_transformer_is_causal_and_equal_step_by_step() -> None:
    torch.manual_seed(0)
    net = CausalTransformer(8, 2, 2).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
        x = torch.randn(3, 6, 8).double()
        out, step = net(x), net.steps(3, 6, x)
        assert torch.allclose(torch.stack([step(x[:, i]) for i in range(6)], 1), out, atol=1e-12)
    dependence = torch.autograd.functional.jacobian(lambda x: net(x).square().sum((0, 2)), x).abs().sum((1, 3))
    assert torch.equal(dependence > 0, torch.ones(6, 6).tril().bool())


def test_position_features_are_distinct() -> None:
    at = position_features(16, 16, torch.zeros(1))
    assert at.shape[0] == 256
    assert (torch.cdist(at, at) + 9 * torch.eye(256)).min() > 0.01


def test_heads_must_divide_the_hidden_size() -> None:
    with pytest.raises(InputError, match="hidden = 8 is not a multiple of heads = 3"):
        CausalTransformer(8, 2, 3)
