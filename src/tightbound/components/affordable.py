"""Raise an error for a component that memory cannot hold, before its memory is allocated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from tightbound.core.errors import InputError
from tightbound.core.limits import gigabytes, memory, trainable

_MAKERS = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.randn, torch.rand, torch.eye, torch.arange, torch.linspace,
}  # fmt: skip


class Affordable(TorchFunctionMode):
    """Context manager that counts each tensor of a component before it is made.

    Args:
        what: Name of the component for error messages.
        most: Maximum number of bytes; None: as many as this machine can train.
        tensors: Maximum number of tensors; building more takes longer than a minute.

    Raises:
        InputError: If the component needs more.
    """

    def __init__(self, what: str, most: float | None = None, tensors: int = 10_000) -> None:
        super().__init__()
        self.what, self.most, self.tensors = what, trainable() if most is None else most, tensors
        self.made, self.size = 0, 0.0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count the tensor that a function makes, and call the function."""
        kwargs = dict(kwargs or {})
        if func in _MAKERS and kwargs.get("device") != "meta":
            self._count(func, args, {**kwargs, "device": "meta", "generator": None})
        return func(*args, **kwargs)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        """Report a list of layers that is too long for memory like a tensor that is too large."""
        super().__exit__(kind, error, traceback)
        if isinstance(error, MemoryError):
            raise self._refused("more layers than memory holds") from None

    def _count(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        try:
            planned = func(*args, **{name: value for name, value in kwargs.items() if value is not None})
        except RuntimeError as error:
            if "overflow" in str(error):
                raise self._refused("more memory than any machine has") from None
            return  # the call itself raises a clearer error
        self.made, self.size = self.made + 1, self.size + planned.nbytes
        if self.size > self.most:
            raise self._refused(f"more than {gigabytes(4 * self.size)} of memory")
        if self.made > self.tensors:
            raise InputError(f"{self.what} has more than {self.tensors:,} layers and groups; lower their number")

    def _refused(self, needed: str) -> InputError:
        return InputError(
            f"training {self.what} needs {needed}, and this machine has {gigabytes(memory())}; "
            "lower latent=, or the sizes and counts in network= and in other components"
        )
