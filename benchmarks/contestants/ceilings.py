"""Lower limits of a training step: its products alone, and its optimizer alone.

The products of a step are those of each layer: forward, gradient of its weights, and gradient of its input but for
the first layer; each from tensors that are there already into ones that are there already, as far as torch allows it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from harness import worker
from nets import NETS, Net
from torch import Tensor, nn

Work = Callable[[], object]
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def layers_of(net: Net, batch_size: int) -> list[tuple[Any, Tensor, Tensor]]:
    """Return each layer that multiplies, with an input and an output, in the order of a step."""
    found: list[tuple[Any, Tensor, Tensor]] = []

    def keep(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        found.append((layer, given[0], out))

    networks = (net.encoder(), net.decoder())
    for layer in (m for network in networks for m in network.modules()):
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(keep)
    with torch.no_grad():
        networks[0](torch.rand(batch_size, *net.shape))
        networks[1](torch.randn(batch_size, net.latent))
    return found


def linear(weight: Tensor, x: Tensor, gradient: Tensor, first: bool) -> tuple[list[Work], float]:
    """Return forward and backward of a linear layer, (B, in) and (B, out), and their floating-point operations."""
    out, to_weight, to_input = torch.empty_like(gradient), torch.empty_like(weight), torch.empty_like(x)
    works: list[Work] = [
        lambda: torch.mm(x, weight.t(), out=out),
        lambda: torch.mm(gradient.t(), x, out=to_weight),
        lambda: torch.mm(gradient, weight, out=to_input),
    ]
    return works[: 2 if first else 3], 2.0 * len(x) * weight.numel() * (2 if first else 3)


def convolution(layer: Any, weight: Tensor, x: Tensor, gradient: Tensor, first: bool) -> tuple[list[Work], float]:
    """Return the same for a convolution or a transposed one."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    geometry = (layer.stride, layer.padding, layer.dilation, transposed, layer.output_padding, layer.groups)
    ask = [not first, True, False]
    works: list[Work] = [
        lambda: torch.ops.aten.convolution(x, weight, None, *geometry),
        lambda: torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, ask),
    ]
    small = x if transposed else gradient  # each of its pixels meets the whole kernel
    flops = 2.0 * len(x) * math.prod(small.shape[2:]) * weight.numel()
    return works, flops * (2 if first else 3)


@dataclass(frozen=True)
class Layer:
    """A layer that multiplies."""

    name: str
    works: list[Work]
    flops: float


def products(net: Net, batch_size: int, kind: torch.dtype, channels_last: bool) -> list[Layer]:
    """Return the products of a step, layer by layer."""
    found = []
    for i, (layer, x, out) in enumerate(layers_of(net, batch_size)):
        x, weight, gradient = (t.detach().to(kind) for t in (x, layer.weight, torch.randn_like(out)))
        if isinstance(layer, nn.Linear):
            works, flops = linear(weight, x, gradient, first=i == 0)
        else:
            if channels_last:
                x, weight, gradient = (t.to(memory_format=torch.channels_last) for t in (x, weight, gradient))
            works, flops = convolution(layer, weight, x, gradient, first=i == 0)
        found.append(Layer(f"{type(layer).__name__} {'x'.join(map(str, weight.shape))}", works, flops))
    return found


def optimizer(net: Net) -> tuple[Work, int]:
    """Return a step of fused Adam on parameters of this size, and the bytes that it moves: four read, three written."""
    parameters = [*net.encoder().parameters(), *net.decoder().parameters()]
    for p in parameters:
        p.grad = torch.randn_like(p) * 1e-3
    return torch.optim.Adam(parameters, fused=True).step, 7 * 4 * sum(p.numel() for p in parameters)


def copying(number: int) -> Work:
    """Return a copy that moves this many bytes: half are read, half written."""
    source = torch.ones(number // 8)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def square(kind: torch.dtype, size: int) -> tuple[list[Work], float]:
    """Return the product of two square matrices, which is near the machine's best rate."""
    a, b, out = (torch.randn(size, size).to(kind) for _ in range(3))
    return [lambda: torch.mm(a, b, out=out)], 2.0 * size**3


def prepare(options: dict[str, Any]) -> worker.Turn:
    torch.set_num_threads(options["threads"])
    torch.manual_seed(0)
    net, batch_size = NETS[options["net"]], options["batch_size"]
    layers = {
        (precision, last): products(net, batch_size, kind, last)
        for precision, kind in TYPES.items()
        for last in ((False, True) if options["channels_last"] else (False,))
    }
    adam, moved = optimizer(net)
    copy = copying(moved)

    def limits(steps: int, size: int) -> worker.Answer:
        rows = []
        for (precision, last), each in layers.items():
            name = f"products, {precision}" + (", channels-last" if last else "")
            seconds = a_step([work for layer in each for work in layer.works], steps)
            rows.append({"name": name, "seconds": seconds, "flops": sum(layer.flops for layer in each)})
        rows += [{"name": name, "seconds": a_step([work], steps), "bytes": moved}
                 for name, work in (("Adam", adam), ("copy", copy))]  # fmt: skip
        for precision, kind in TYPES.items():
            works, flops = square(kind, size)
            rows.append({"name": f"{size}^3, {precision}", "seconds": a_step(works, 1), "flops": flops})
        return {"limits": rows}

    def by_layer(steps: int) -> worker.Answer:
        rows = [
            {"name": layer.name, "precision": precision, "channels_last": last, "flops": layer.flops,
             "seconds": a_step(layer.works, steps)}
            for (precision, last), each in layers.items() for layer in each
        ]  # fmt: skip
        return {"layers": rows}

    def turn(request: dict[str, Any]) -> worker.Answer:
        if request["what"] == "layers":
            return by_layer(request["steps"])
        return limits(request["steps"], request["size"])

    return turn


def a_step(works: list[Work], steps: int) -> float:
    """Return the seconds of a call, after one that does not count."""
    for work in works:
        work()
    began = time.perf_counter()
    for _ in range(steps):
        for work in works:
            work()
    return (time.perf_counter() - began) / steps


if __name__ == "__main__":
    worker.serve(prepare)
