"""Forms in which people hold examples: types of arrays, the order of axes, and shares in place of levels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.core.model import Layout
from tightbound.data import encoding


def as_array(source: Any) -> np.ndarray[Any, Any]:
    """Return an array, tensor, list or sparse matrix as a dense NumPy array of a type that torch knows.

    Masked entries become NaN, and Python's numbers (also None, as NaN) become floating-point numbers.

    Raises:
        InputError: If the rows of a list have different lengths, or a tensor has no values.
    """
    if isinstance(source, Tensor):
        x = as_tensor(source).detach()
        try:
            return x.cpu().numpy()
        except NotImplementedError:
            raise InputError(
                f"the tensor is on the device {x.device.type!r}, without values; pass one with values"
            ) from None
    if hasattr(source, "toarray") and hasattr(source, "nnz"):  # a sparse matrix of SciPy
        source = source.toarray()
    if np.ma.is_masked(source):
        encoding.check_exact(source.compressed(), "the array")
        source = source.astype(np.result_type(source.dtype, np.float32)).filled(np.nan)
    try:
        x = np.asarray(source)
    except ValueError:
        raise InputError("the list holds rows of different lengths; make them equal") from None
    if isinstance(source, list) and x.dtype == np.float64 and np.abs(x).max(initial=0) > encoding.MAX_WHOLE:
        x = np.asarray(source, object)  # NumPy rounds whole numbers beyond 64 bits
    if x.dtype.kind == "O" and not any(isinstance(value, str | bytes) for value in x.flat):
        encoding.check_exact(np.array([value for value in x.flat if isinstance(value, int)], object), "the array")
        with suppress(TypeError, ValueError):
            x = x.astype(np.float64)
    kept = _KEPT.get(x.dtype.newbyteorder("=").str, x.dtype.newbyteorder("="))
    if kept == np.int64 and x.dtype.kind == "u" and x.max(initial=0) > np.iinfo(np.int64).max:
        encoding.check_exact(x.ravel(), "the array")
        kept = np.dtype(np.float64)
    x = x.astype(kept, copy=False)
    usable = all(stride >= 0 for stride in x.strides) and (x.flags.writeable or isinstance(x, np.memmap))
    return x if usable else x.copy()  # torch knows no negative strides, and warns of arrays that are read only


_KEPT = {  # types that torch does not know, or for which it lacks operations
    np.dtype(given).str: np.dtype(kept)
    for given, kept in (
        (np.longdouble, np.float64),
        (np.uint16, np.int32),
        (np.uint32, np.int64),
        (np.uint64, np.int64),
    )
}


def as_tensor(source: Any) -> Tensor:
    """Return an array, tensor or list as a dense tensor of a type that NumPy knows.

    Raises:
        InputError: If a tensor is nested.
    """
    if not isinstance(source, Tensor):
        return torch.as_tensor(as_array(source))
    if source.is_nested:
        raise InputError("the tensor is nested, so that its rows may differ in length; pass one of equal rows, padded")
    x = source.dequantize() if source.is_quantized else source
    x = (x if x.layout is torch.strided else x.to_dense()).resolve_conj().resolve_neg()
    return x.float() if x.is_floating_point() and x.dtype not in _FLOATS else x


_FLOATS = (torch.float16, torch.float32, torch.float64)


def channels_first(x: np.ndarray, name: str) -> tuple[np.ndarray, str, Layout]:
    """Return a view of x (N, ...) as (N, D) or (N, C, H, W), a note on how its shape was read, and its layout.

    Raises:
        InputError: If there are too few or too many axes.
    """
    given = f"shape: {x.shape}"
    if x.ndim < 2:
        raise InputError(
            f"{name} has shape {x.shape}; it needs at least one axis after the first, which counts the examples: "
            "use x[:, None] for examples of one number, or x[None] for a single example"
        )
    if x.ndim > 4:
        raise InputError(
            f"{name} has shape {x.shape}, rank {x.ndim}; at most 4 axes are allowed, (N, C, H, W): "
            "use x.reshape(len(x), -1) for flat examples"
        )
    if x.ndim == 2:
        return x, f"{given}, read as {x.shape[0]} examples of {x.shape[1]} numbers", "chw"
    if x.ndim == 3:
        return x[:, None], f"{given}, read as {x.shape[0]} images (1, H, W)", "hw"
    if x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        return x.transpose(0, 3, 1, 2), f"{given}, read as (N, H, W, C); channels moved to the front", "hwc"
    return x, f"{given}, read as (N, C, H, W)", "chw"


@dataclass(frozen=True)
class Form:
    """Form in which examples were given, and in which results that are examples are returned.

    Args:
        layout: Order of the axes of one example.
        shares: Whether levels are held as shares of the highest one.
    """

    layout: Layout = "chw"
    shares: bool = False

    @classmethod
    def of(cls, x: Any, shape: tuple[int, ...], domain: Domain) -> Self | None:
        """Return the form of an array or tensor (N, ...); None: x is neither, or holds examples of another shape.

        Args:
            x: Examples.
            shape: Shape of one example as a model takes it.
            domain: Domain of the model's raw data.
        """
        if not isinstance(x, Tensor | np.ndarray):
            return None
        x = as_array(x)
        own = tuple(x.shape[1:])
        found: Layout | None = "chw" if own == shape else None
        if len(shape) == 3 and found is None:
            found = "hwc" if own == (*shape[1:], shape[0]) else "hw" if shape[0] == 1 and own == shape[1:] else None
        if found is None:
            return None
        floats = domain.kind == "levels" and x.dtype.kind == "f" and encoding.unclear(x, domain)
        return cls(found, floats and encoding.infer(x, domain)[0].domain.given == "shares")

    def give(self, x: Tensor, domain: Domain) -> Tensor:
        """Return stored values (..., *shape) in this form."""
        _, arrange = _AXES[self.layout]
        return arrange(x / _tops(x, domain, self.shares))

    def take(self, x: Tensor, domain: Domain) -> Tensor:
        """Return examples of this form as values that are stored, (..., *shape), without rounding them."""
        to_front, _ = _AXES[self.layout]
        x = to_front(x)
        return x * _tops(x, domain, self.shares)


_AXES: dict[Layout, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {  # to "chw", and back
    "chw": (lambda x: x, lambda x: x),
    "hwc": (lambda x: x.movedim(-1, -3), lambda x: x.movedim(-3, -1)),
    "hw": (lambda x: x.unsqueeze(-3), lambda x: x.squeeze(-3)),
}


def _tops(x: Tensor, domain: Domain, shares: bool) -> Tensor | float:
    """Return what shares are shares of: the highest level, in each column of a mixed table, or 1."""
    if domain.kind == "mixed":
        return x.new_tensor([own.high if own.given == "shares" else 1.0 for own in domain.columns])
    return domain.high if shares else 1
