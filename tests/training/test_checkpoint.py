"""Checkpoint files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tightbound.core.errors import InputError
from tightbound.training import checkpoint


def test_a_checkpoint_keeps_tensors_and_scalars(tmp_path: Path) -> None:
    shared = torch.randn(3, 4)
    tensors = {
        "a": shared, "tied": shared, "view": shared[:, 1], "transposed": shared.T, "whole": torch.arange(3),
        "half": torch.randn(5).bfloat16(), "nothing": torch.empty(0), "number": torch.tensor(2.5),
    }  # fmt: skip
    scalars = {"step": 3, "value": 0.1 + 0.2, "none": None, "sums": {"n": 1e300}, "word": "é\n"}
    checkpoint.save(tmp_path / "c.safetensors", tensors, scalars)
    got, numbers = checkpoint.load(tmp_path / "c.safetensors")
    assert numbers == scalars
    assert got.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (got[name].dtype, got[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(got[name], tensor)


def test_every_altered_byte_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    """In the weights, and in the header, which holds the step and the names."""
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, {"model/weight": torch.randn(6)}, {"step": 1234, "best_value": -0.25})
    body = path.read_bytes()
    unnoticed = []
    for position in range(len(body)):
        path.write_bytes(body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :])
        try:
            checkpoint.load(path)
        except InputError as error:
            assert "damaged" in str(error)  # noqa: PT017
        else:
            unnoticed.append(position)
    shown = "".join(chr(body[i]) for i in unnoticed)
    assert not unnoticed, f"{len(unnoticed)} bytes may change unnoticed: {shown!r}"


def test_every_truncation_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, {"weight": torch.randn(6)}, {"step": 1})
    body = path.read_bytes()
    for size in range(len(body)):
        path.write_bytes(body[:size])
        with pytest.raises(InputError, match="damaged"):
            checkpoint.load(path)
