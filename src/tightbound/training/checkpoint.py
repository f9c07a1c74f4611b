"""Checkpoints: tensors in safetensors, scalars as JSON in its header; nothing is unpickled, ever."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.files import write_atomic


def save(path: Path, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
    """Writes both to one file, under a temporary name that is then renamed."""
    from safetensors.torch import save as to_bytes

    whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    # clones: safetensors refuses tensors that share memory (tied weights)
    seen: set[int] = set()
    for name, tensor in whole.items():
        if tensor.data_ptr() in seen:
            whole[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    body = to_bytes(whole)
    payload = memoryview(body)[8 + struct.unpack("<Q", body[:8])[0] :]
    header = {"tightbound": json.dumps(dict(scalars)), "crc32": str(zlib.crc32(payload))}
    write_atomic(path, to_bytes(whole, metadata=header))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and scalars of a checkpoint.

    Raises:
        InputError: where the file is missing, truncated or altered.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        body = path.read_bytes()
        tensors = from_bytes(body)
        size = 8 + struct.unpack("<Q", body[:8])[0]
        header = json.loads(body[8:size])["__metadata__"]
        if int(header["crc32"]) != zlib.crc32(memoryview(body)[size:]):
            raise ValueError("its contents do not match its checksum")
        return tensors, json.loads(header["tightbound"])
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {str(path)!r} ({error.strerror})") from error
    except (SafetensorError, ValueError, KeyError, TypeError, struct.error) as error:
        raise InputError(
            f"the checkpoint {str(path)!r} is damaged ({error}); load another one of the run, or train again"
        ) from error


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under `prefix/`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `prefixed`."""
    start = f"{prefix}/"
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
