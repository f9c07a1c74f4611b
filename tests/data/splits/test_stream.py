"""Streams: shuffle buffer, resuming, sharing."""

import numpy as np
import pytest
import torch

from tightbound.data import Limits
from tightbound.data.splits.stream import Part, Stream, StreamSplit


def numbers(size, part):
    """Return 0, 1, ..., in parts of one size, as a stream."""

    def parts(seed, skip):
        for at in range(skip, size, part):
            x = np.arange(at, min(at + part, size), dtype=np.float32)
            yield Part(x[:, None], x.astype(np.int64))

    return Stream(parts, "numbers")


@pytest.mark.parametrize("part", [1, 7, 40, 1000])
def test_a_shuffle_buffer_permutes_by_the_key_alone_and_goes_on_anywhere(part):
    split = StreamSplit(numbers(203, part), (1,), skip=3, limits=Limits(buffer=25))
    whole = list(split.epoch(8, key=(1,)))
    order = torch.cat([b.label for b in whole])
    assert sorted(order.tolist()) == list(range(3, 203))
    assert [len(b) for b in whole] == [8] * 25
    assert all(torch.equal(b.x[:, 0].long(), b.label) for b in whole)
    assert torch.equal(order, torch.cat([b.label for b in split.epoch(8, key=(1,))]))
    assert not torch.equal(order, torch.cat([b.label for b in split.epoch(8, key=(2,))]))
    assert torch.equal(torch.cat([b.label for b in split.epoch(8)]), torch.arange(3, 203))
    rest = list(split.epoch(8, key=(1,), start=9))
    assert all(torch.equal(a.x, b.x) and torch.equal(a.index, b.index) for a, b in zip(rest, whole[9:], strict=True))
    parts = [list(split.epoch(8, key=(1,), rank=rank, world=3)) for rank in range(3)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([each.x for each in shares]), batch.x)
