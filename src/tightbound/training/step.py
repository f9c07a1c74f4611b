"""What one step computes, and the ways to compute it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tightbound.core.interfaces import Trainable
from tightbound.core.noise import DrawnNoise, Noise, RecordedNoise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms
from tightbound.objectives.base import Loss, Objective
from tightbound.training.tally import Summary, summarize

Computed = tuple[tuple[Tensor, ...], Summary]


class Step(nn.Module):
    """The losses of a batch, and what metrics take of it.

    Arguments:
        model: What is trained.
        objective: Towards what.
    """

    def __init__(self, model: Trainable, objective: Objective) -> None:
        super().__init__()
        self.model, self._objective = model, objective
        self.precision = "fp32"  # "bf16": networks under autocast

    def terms(self, batch: Batch, noise: Noise, knobs: Knobs) -> Terms:
        """Those of a raw batch."""
        device = batch.x.device.type
        cast = torch.autocast(device, dtype=torch.bfloat16) if self.precision == "bf16" else nullcontext()
        with cast:
            return self.model(batch, self._objective.samples, noise, knobs)

    def forward(self, batch: Batch, noise: Noise, knobs: Knobs, losses: Sequence[Loss]) -> Computed:
        """The losses, 0-d; the first is that which metrics show, without what the model asks for beside it."""
        terms = self.terms(batch, noise, knobs)
        values = tuple(loss(terms, knobs) for loss in losses)
        first = values[0].detach() if values else None
        if first is not None and terms.penalty is not None:
            first = first - terms.penalty.detach().mean()
        return values, summarize(terms, first)


def networks(model: nn.Module) -> list[nn.Module]:
    """Those of its parts, the outer before the inner."""
    found = [getattr(part, "network", None) for part in model.modules()]
    return [network for network in dict.fromkeys(found) if isinstance(network, nn.Module)]


def not_finite(terms: Terms) -> list[str]:
    """The names of what is NaN or infinite somewhere."""
    named = [("log-likelihood", terms.log_likelihood)]
    for i, group in enumerate(terms.latents):
        where = f" of group {i}" if len(terms.latents) > 1 else ""
        named += [(f"KL{where}", group.kl), (f"log prior{where}", group.log_prior)]
        named += [(f"log posterior{where}", group.log_posterior), (f"latent sample{where}", group.z)]
    return [name for name, t in named if t is not None and not torch.isfinite(t).all()]


@dataclass(frozen=True)
class Way:
    """How steps are computed; a run keeps to one, so that it resumes to the same bits."""

    compile: str = "no"  # "step": all of it as one graph; "networks": each network of the model
    channels_last: bool = False  # memory format of convolutions
    precision: str = "fp32"  # or "bf16": networks under autocast

    @property
    def words(self) -> str:
        """For who waits."""
        compiled = {"no": "eager", "step": "compiled", "networks": "networks compiled"}[self.compile]
        return ", ".join([compiled, *["channels-last"] * self.channels_last, self.precision])


class Stepper:
    """Computes steps in one way.

    Arguments:
        step: What is computed.
        wrap: Puts what joins processes (DDP) around the module that is called.
    """

    def __init__(self, step: Step, wrap: Callable[[nn.Module], nn.Module] = lambda module: module) -> None:
        self.step, self.way = step, Way()
        self._graph = _Graph(step)
        self._called = wrap(self._graph)  # once: batches differ in form between processes, which must call the same
        self._planned: tuple[Any, RecordedNoise] | None = None  # of batches like this, the draws
        self._changed: list[nn.Module] = []  # networks whose forward was replaced

    def __call__(self, batch: Batch, noise: Noise, knobs: Knobs, losses: Sequence[Loss]) -> Computed:
        """See `Step.forward`; a batch that is not like the first of a compiled step is computed without."""
        if self.way.compile != "step" or self._planned is None or self._planned[0] != _form(batch):
            return self._called(batch, noise, knobs, losses)
        return self._called(batch, self._planned[1].repeat(noise), knobs, losses)

    @property
    def plannable(self) -> bool:
        """Whether the draws of a batch like the one that was planned can be made before its step."""
        return self._planned is not None and self._planned[1].plain

    def take(self, way: Way) -> Way:
        """Computes so from now on."""
        self.close()
        self.way, self.step.precision = way, way.precision
        if way.channels_last:
            self._format(torch.channels_last)
        if way.compile == "networks":
            from torch._functorch import config

            config.donated_buffer = False  # buffers of a graph of which several losses are taken are needed again
            self._changed = networks(self.step.model)
            for network in self._changed:
                network.forward = torch.compile(network.forward)  # Module.compile does nothing on torch's own
        if way.compile == "step":
            self._graph.compile_step()
        return way

    def plan(self, batch: Batch, noise: Noise, knobs: Knobs, losses: Sequence[Loss]) -> Computed:
        """Computes a step, and notes which draws a batch like this needs."""
        recorded = RecordedNoise(noise)
        self._planned = (_form(batch), recorded)
        return self.step(batch, recorded, knobs, losses)

    def close(self) -> None:
        """Leaves the model as it was."""
        for network in self._changed:
            del network.forward
        if self.way.channels_last:
            self._format(torch.contiguous_format)
        self._changed, self.way = [], Way()

    def _format(self, form: torch.memory_format) -> None:
        for parameter in self.step.model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=form)


class _Graph(nn.Module):
    """A step as it is or, where its draws are given, as one compiled graph."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def compile_step(self) -> None:
        """Makes the graph anew."""
        step = self.step

        def run(batch: Batch, draws: list[Tensor], knobs: Knobs, losses: Sequence[Loss]) -> Computed:
            return step(batch, DrawnNoise(draws), knobs, losses)

        self._run = torch.compile(run, fullgraph=True, dynamic=False)

    def forward(self, batch: Batch, noise: Noise | list[Tensor], knobs: Knobs, losses: Sequence[Loss]) -> Computed:
        """See `Step.forward`."""
        if isinstance(noise, list):
            return self._run(batch, noise, knobs, losses)
        return self.step(batch, noise, knobs, losses)


def _form(batch: Batch) -> Any:
    """What a compiled step is made for."""
    return [(t.shape, t.dtype) if t is not None else None for t in vars(batch).values()]
