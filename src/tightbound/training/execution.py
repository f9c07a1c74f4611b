"""Computation of one training step, and its execution mode: eager or compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tightbound.core.errors import OtherFailed, first_line
from tightbound.core.latents import Trainable
from tightbound.core.noise import DrawnNoise, Noise, RecordedNoise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms
from tightbound.objectives.base import Loss, Objective
from tightbound.training.tally import Summary, summarize

Computed = tuple[tuple[Tensor, ...], Summary]


class Step(nn.Module):
    """Module that computes the losses of a batch, and a summary for the metrics.

    Args:
        model: The model in training.
        objective: Objective to maximize.
        precision: "bf16" runs the networks under autocast.
    """

    def __init__(self, model: Trainable, objective: Objective, precision: str = "fp32") -> None:
        super().__init__()
        self.model, self._objective, self._precision = model, objective, precision
        self._compiled: Callable[..., Computed] | None = None

    def forward(self, batch: Batch, noise: Noise | list[Tensor], knobs: Knobs, losses: Sequence[Loss]) -> Computed:
        """Return the scalar losses and the summary, whose loss is the first one without the model's penalty.

        Args:
            batch: Raw data.
            noise: Source of the draws, or a list of draws made in advance, which a compiled step takes.
            knobs: Values of the schedules.
            losses: Functions of the terms and the knobs.
        """
        if self._compiled is not None and isinstance(noise, list):
            return self._compiled(batch, noise, knobs, losses)
        assert isinstance(noise, Noise)
        with self._cast(batch):
            terms = self.model(batch, self._objective.samples, noise, knobs)
        values = tuple(loss(terms, knobs) for loss in losses)
        first = values[0].detach() if values else None
        if first is not None and terms.penalty is not None:
            first = first - terms.penalty.detach().mean()
        return values, summarize(terms, first)

    def terms(self, batch: Batch, noise: Noise, knobs: Knobs) -> Terms:
        """Return the terms of a raw batch."""
        with self._cast(batch):
            return self.model(batch, self._objective.samples, noise, knobs)

    def compile(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Compile the step as one graph that takes its draws as inputs."""

        def run(batch: Batch, draws: list[Tensor], knobs: Knobs, losses: Sequence[Loss]) -> Computed:
            return self.forward(batch, DrawnNoise(draws), knobs, losses)

        self._compiled = torch.compile(run, fullgraph=True, dynamic=False)

    def _cast(self, batch: Batch) -> AbstractContextManager[Any]:
        if self._precision != "bf16":
            return nullcontext()
        return torch.autocast(batch.x.device.type, dtype=torch.bfloat16)


class Executor:
    """Executor of a step, eager or compiled.

    A step is compiled as one graph if all its draws can be made in advance (random generators cannot be traced);
    otherwise each network of the model is compiled separately. The model must not be used elsewhere until `close`.

    Args:
        step: Step to compute.

    Attributes:
        call: Function that computes a step: `step`, or a wrapper that connects it to other processes.
        compiled: "step", "networks" or "no".
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.call: Callable[..., Computed] = step
        self.compiled: Literal["step", "networks", "no"] = "no"
        self._planned: tuple[Any, RecordedNoise] | None = None  # form of a batch, and the draws that it needs
        self._networks: list[nn.Module] = []  # networks whose forward was replaced

    def draws(self, batch: Batch, noise: Noise) -> Noise | list[Tensor]:
        """Return the noise for `call`: draws made in advance if the step was compiled for such batches."""
        if self.compiled != "step" or self._planned is None or self._planned[0] != _form(batch):
            return noise
        return self._planned[1].repeat(noise)

    def plan(self, batch: Batch, noise: Noise, knobs: Knobs, losses: Sequence[Loss]) -> Computed:
        """Compute a step, and record the draws that batches of this form need."""
        recorded = RecordedNoise(noise)
        self._planned = (_form(batch), recorded)
        return self.step(batch, recorded, knobs, losses)

    def compile(self, run: Callable[[], object]) -> str | None:
        """Compile as much as possible, the same in all processes; return why nothing was compiled, or None.

        Args:
            run: Function that computes a step, forward and backward, as a trial.
        """
        from torch._dynamo.exc import TorchDynamoException

        reason = "it has no networks"
        whole = self._planned is not None and self._planned[1].plain
        self._format(torch.channels_last)
        for compile_ in (*[self._compile_step] * whole, *[self._compile_networks] * bool(networks(self.step.model))):
            compile_()
            try:
                run()
            except (TorchDynamoException, OtherFailed) as error:  # such as code that cannot be traced, or no compiler
                reason = first_line(error)
                self._undo()
            else:
                return None
        self._format(torch.contiguous_format)
        return reason

    def _compile_step(self) -> None:
        self.step.compile()
        self.compiled = "step"

    def _compile_networks(self) -> None:
        from torch._functorch import config

        config.donated_buffer = False  # several losses may use one graph, whose buffers are then needed again
        self._networks, self.compiled = networks(self.step.model), "networks"
        for network in self._networks:
            network.forward = torch.compile(network.forward)  # Module.compile does nothing on torch's own modules

    def _undo(self) -> None:
        for network in self._networks:
            del network.forward
        self._networks, self.compiled = [], "no"

    def close(self) -> None:
        """Restore the model to its state before compilation."""
        if self.compiled != "no":
            self._undo()
            self._format(torch.contiguous_format)

    def _format(self, form: torch.memory_format) -> None:
        for parameter in self.step.model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=form)


def networks(model: nn.Module) -> list[nn.Module]:
    """Return the networks of the model, outermost first."""
    found = [getattr(module, "network", None) for module in model.modules()]
    return [network for network in dict.fromkeys(found) if isinstance(network, nn.Module)]


def not_finite(terms: Terms) -> list[str]:
    """Return the names of the terms that contain NaN or infinity."""
    named = [("log-likelihood", terms.log_likelihood)]
    for i, group in enumerate(terms.latents):
        where = f" of group {i}" if len(terms.latents) > 1 else ""
        named += [(f"KL{where}", group.kl), (f"log prior{where}", group.log_prior)]
        named += [(f"log posterior{where}", group.log_posterior), (f"latent sample{where}", group.z)]
    return [name for name, t in named if t is not None and not torch.isfinite(t).all()]


def _form(batch: Batch) -> Any:
    """Return the shapes and types of a batch, which a compiled step depends on."""
    return [(t.shape, t.dtype) if t is not None else None for t in vars(batch).values()]
