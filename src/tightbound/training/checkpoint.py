"""Checkpoints: safetensors files with scalars as JSON in the header. Nothing is ever unpickled."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tightbound.core.errors import InputError
from tightbound.core.files import write_atomic


def save(path: Path, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
    """Write tensors and scalars to one file, atomically."""
    from safetensors.torch import save as to_bytes

    whole: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        # safetensors does not accept tensors that share memory (tied weights)
        whole[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    text = json.dumps(dict(scalars))
    write_atomic(path, to_bytes(whole, metadata={"tightbound": text, "crc32": _checksum(whole, text)}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and scalars of a checkpoint.

    Raises:
        InputError: If the file is missing, truncated or altered.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        body = path.read_bytes()
        tensors = from_bytes(body)
        header = json.loads(body[8 : 8 + struct.unpack("<Q", body[:8])[0]])["__metadata__"]
        if header["crc32"] != _checksum(tensors, header["tightbound"]):
            raise ValueError("its contents do not match its checksum")
        return tensors, json.loads(header["tightbound"])
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {str(path)!r} ({error.strerror})") from error
    except (SafetensorError, ValueError, KeyError, TypeError, struct.error) as error:
        raise InputError(
            f"the checkpoint {str(path)!r} is damaged ({error}); load another checkpoint of the run, or train again"
        ) from error


def _checksum(tensors: Mapping[str, Tensor], scalars: str) -> str:
    """Return a checksum of the tensors' names, types, shapes and contents, and of the scalars."""
    crc = zlib.crc32(scalars.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        if tensor.numel():
            crc = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, crc)
    return str(crc)


def into(model: nn.Module, tensors: Mapping[str, Tensor], path: Path, aside: Collection[str] = ()) -> None:
    """Load weights into a model, and convert the model to their type.

    Args:
        model: The model.
        tensors: The weights, by name.
        path: The checkpoint that they come from, for error messages.
        aside: Names of tensors to leave unchanged.

    Raises:
        InputError: If the weights belong to another model.
    """
    try:
        model.to(next((t.dtype for t in tensors.values() if t.is_floating_point()), None))
        state = model.state_dict()
        own = {name: tensor for name, tensor in state.items() if name in aside}
        placed = {name: placed_as(state[name], t) if name in state else t for name, t in tensors.items()}
        model.load_state_dict({**placed, **own})
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[-1].split())
        raise InputError(f"the checkpoint {str(path)!r} belongs to another model ({reason})") from error


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add "prefix/" to the names of tensors."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with "prefix/", with the prefix removed."""
    start = f"{prefix}/"
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def placed_as(own: Tensor, tensor: Tensor) -> Tensor:
    """Return `tensor` on the device and in the memory format of `own`."""
    return torch.empty_like(own, dtype=tensor.dtype).copy_(tensor) if own.shape == tensor.shape else tensor
