"""A simulated device: its tensors hold real values, computed on the CPU.

Operations that an accelerator would refuse are refused. It has no float64, like MPS, and its type
is "meta", which torch accepts on every machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from tightbound.core.numerics import NO_FLOAT64

DEVICE = torch.device("meta")
MOVES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)


class WrongDevice(RuntimeError):
    """Tensors of two devices in one operation, a dtype that the device lacks, or a generator of another device."""


class Held(Tensor):
    """A tensor on the device."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Held:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = Tensor._make_wrapper_subclass(cls, held.shape, device=DEVICE, **layout)  # type: ignore[attr-defined]
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Numbers can be fetched from any device."""
        return self.held.tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"on the stand-in device: {self.held}"


class StandIn(TorchDispatchMode):
    """A mode in which tensors can be created on the device and moved there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Generator(torch.Generator):
    """A generator of the simulated device.

    Operations get another object with the same seed, whose highest bit, on which no draw depends, tells the device.
    """

    mark: int

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls)
        made.mark = int(torch.device(device) == DEVICE) << 63
        return made.manual_seed(made.initial_seed())

    def manual_seed(self, seed: int) -> _Generator:
        super().manual_seed(seed | self.mark)
        return self


class _Autocast(torch.autocast):
    """The result of the CPU, on the simulated device."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [*_tensors(args), *_tensors(kwargs.values())]
    held = [x for x in tensors if isinstance(x, Held)]
    on_device = bool(held)
    if func not in MOVES:
        foreign = [x for x in tensors if not isinstance(x, Held) and x.dim()]  # numbers go with any device
        if held and foreign:
            raise WrongDevice(f"{func}: a tensor {tuple(foreign[0].shape)} on the CPU with one on the device")
    if func is MOVES[0]:
        on_device = isinstance(args[0], Held)
    if (asked := kwargs.get("device")) is not None:
        on_device, kwargs = torch.device(asked) == DEVICE, {**kwargs, "device": torch.device("cpu")}
    generator = kwargs.get("generator")
    if generator is not None and generator.initial_seed() >> 63 != on_device:
        raise WrongDevice(f"{func}: a generator of another device than what it fills")
    found = func(*_mapped(_plain, args), **{name: _mapped(_plain, x) for name, x in kwargs.items()})
    if not on_device:
        return found
    known = {id(x.held): x for x in held}  # what was changed in place stays itself

    def made(x: Tensor) -> Tensor:
        if x.dtype in (torch.float64, torch.complex128):
            raise WrongDevice(f"{func}: float64, which MPS has not")
        return known[id(x)] if id(x) in known else Held(x)

    return _mapped(made, found)


def _tensors(given: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among arguments of an operation, which nest in lists and tuples alone."""
    for x in given:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, list | tuple):
            yield from _tensors(x)


def _mapped(change: Callable[[Tensor], Tensor], x: Any) -> Any:
    """Return an argument or result of an operation with its tensors changed."""
    if isinstance(x, list | tuple):
        return type(x)([_mapped(change, each) for each in x])
    return change(x) if isinstance(x, Tensor) else x


def _plain(x: Tensor) -> Tensor:
    return x.held if isinstance(x, Held) else x


@contextlib.contextmanager
def stand_in() -> Iterator[torch.device]:
    """Yield the device; functions of torch that know its own devices by name work with it for a while."""
    tensor, as_tensor = torch.tensor, torch.as_tensor

    def made(by: Any) -> Any:
        return lambda data, *, device=None, **kw: by(data, **kw) if device is None else by(data, **kw).to(device)

    with pytest.MonkeyPatch.context() as patch, StandIn(), torch.autograd.set_multithreading_enabled(False):
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(torch, "autocast", _Autocast)
        patch.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else contextlib.nullcontext())
        patch.setattr(torch, "tensor", made(tensor))  # which would make them empty
        patch.setattr(torch, "as_tensor", made(as_tensor))
        NO_FLOAT64.add(DEVICE.type)
        try:
            yield DEVICE
        finally:
            NO_FLOAT64.remove(DEVICE.type)


def on_cpu(value: Any) -> Any:
    """Move all tensors to the CPU, after the device is gone."""
    return tree_map(lambda x: x.held if isinstance(x, Held) else x, value)
