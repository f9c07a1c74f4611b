"""The optimizer steps of a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tightbound.components import make
from tightbound.config import Settings
from tightbound.core import world
from tightbound.core.errors import InputError, NonFinite
from tightbound.core.latents import Trainable
from tightbound.core.noise import Key, Noise, key_seed, seeded
from tightbound.core.schedules import Constant, Knobs, Progress, Schedule
from tightbound.core.schema import UNNAMED
from tightbound.core.terms import Batch
from tightbound.data import Split
from tightbound.data.augment import augmentations, augmented
from tightbound.objectives.base import Objective
from tightbound.training import checkpoint, parallel
from tightbound.training.budget import Budget
from tightbound.training.execution import Computed, Executor, Step, not_finite
from tightbound.training.far import farthest
from tightbound.training.optim import GroupOptimizer, MovingAverage
from tightbound.training.parallel import Share, shares
from tightbound.training.suited import Suited
from tightbound.training.tally import Summary, Tally


@dataclass(frozen=True)
class Stage:
    """Part of a run that trains a model on data with an objective.

    Attributes:
        trains: The model.
        data: Training data.
        objective: Objective to maximize.
        validation: Data for choosing the best epoch; None: the last weights are used.
        name: Name of the stage in noise keys, metrics and the checkpoints' folder; "" is the first stage.
        settings: Training options; None: those of the run.
    """

    trains: Trainable
    data: Split
    objective: Objective
    validation: Split | None = None
    name: str = ""
    settings: Settings | None = None


class Trainer:
    """Trainer that takes the optimizer steps of one stage.

    Args:
        stage: The model, its data and its objective.
        settings: Training options.
        device: Device of the model.

    Attributes:
        model: The model in training.
        step, epoch, batch: Number of steps taken, epochs completed, and batches seen in the current epoch.
        budget: What decides how long training takes.
        total: Number of steps of the run, as schedules see it.
        tally: Sums over the current epoch.
        seconds: Time spent on steps, over all epochs.
    """

    def __init__(self, stage: Stage, settings: Settings, device: torch.device) -> None:
        self.model, self.objective = stage.trains, stage.objective
        settings = Suited.to(self.model, settings)
        self.stage, self.settings, self.device = stage, settings, device
        parallel.check_divisible(self.objective, settings)
        parallel.replicated(self.model)
        self._augmentations = augmentations(settings.augment, stage.data)
        self.executor = Executor(Step(self.model, self.objective, settings.precision))
        self.schedules = {**self.model.schedules, **self.objective.schedules}
        self.budget = self._budget(settings)
        self.total = self.budget.total
        with seeded(key_seed("objective", settings.seed, stage.name)):
            self.objective.prepare(self.model, stage.data.size)
        if self.objective.networks is not None:
            self.objective.networks.to(device)
        self.decay: Schedule = make("decay", self.budget.schedule)
        self.optimizers = [
            GroupOptimizer(group, self.model, settings, self.decay)
            for group in self.objective.parameter_groups(self.model)
        ]
        self._single = len(self.optimizers) == 1 and self.optimizers[0].trains_all
        self._overlaps = world.size() > 1 and self._single and settings.accumulate == 1  # see `parallel.overlapping`
        aside = self.model.trained_later
        # hold the tensors themselves: a change of memory format gives parameters new storage, and views keep the old
        self.live = {name: t for name, t in self.model.state_dict(keep_vars=True).items() if name not in aside}
        # buffers, such as the vectors of a spectral norm, follow the weights and are not averaged
        averaged = {name: self.live[name] for name, _ in self.model.named_parameters() if name in self.live}
        self.ema = MovingAverage(averaged.items(), settings.ema) if settings.ema is not None else None
        self.step = self.epoch = self.batch = 0
        self.tally = Tally()
        self.seconds = 0.0
        self._prepared = False

    def _steps_per_epoch(self) -> int:
        try:
            return self.stage.data.steps(self.settings.batch_size)
        except TypeError:
            if self.settings.steps is None:
                raise InputError(
                    "the data are a stream of unknown length; pass the length of training as steps="
                ) from None
            return self.settings.steps

    def _budget(self, settings: Settings) -> Budget:
        judged = self.stage.validation is not None and self.objective.has_best_epoch
        steady = all(isinstance(schedule, Constant) for schedule in self.schedules.values())
        return Budget(settings, self._steps_per_epoch(), judged, steady)

    @property
    def progress(self) -> Progress:
        """The progress of the stage."""
        return Progress(self.step, self.epoch, self.total, self.budget.decays)

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.budget.over(self.step)

    def changed_schedules(self, before: Settings) -> list[str]:
        """List the schedules that took other values in the steps so far than with the present total.

        Args:
            before: The settings of these steps, perhaps with fewer epochs or steps.
        """
        per_epoch = self._steps_per_epoch()
        totals = (self._budget(before).total, self.total)
        past = range(0, self.step, max(1, self.step // 200))
        return [
            name
            for name, schedule in {"lr": self.decay, **self.schedules}.items()
            if any(len({schedule(Progress(step, step // per_epoch, total)) for total in totals}) > 1 for step in past)
        ]

    def batches(self) -> Iterator[Share]:
        """Yield the remaining batches of the current epoch, in the order keyed by (seed, stage, epoch)."""
        key = ("order", self.settings.seed, self.stage.name, self.epoch)
        return shares(self.stage.data, self.settings.batch_size, self.device, key=key, start=self.batch)

    def take_step(self, batch: Share) -> dict[str, float]:
        """Take an optimizer step.

        Returns:
            Sums over the global batch, by name; "n" is its size.

        Raises:
            NonFinite: If a term of the loss or the norm of a gradient became NaN or infinite.
        """
        knobs = Knobs.at(self.schedules, self.progress)
        if self._augmentations:
            noise = batch.noise("augment", *self._key)
            batch = replace(batch, data=augmented(batch.data, self._augmentations, noise))
        due = [optimizer for optimizer in self.optimizers if optimizer.group.due(self.step)]
        losses, summaries = [optimizer.group.loss for optimizer in due], list[Summary]()
        buffers = self._buffers() if self.settings.accumulate > 1 else []
        for i, (part, noise) in enumerate(self._parts(batch, self._noise(batch))):
            if i > 0:
                _restore(buffers)  # so that all parts are computed with the same state
            weight = batch.weight * len(part) / len(batch.data)
            with noise.default():
                values, summary = self.executor.call(part, self.executor.draws(part, noise), knobs, losses)
                self._backward(due, values, weight, add=i > 0)
            summaries.append(summary)
        if world.size() > 1 and not self._overlaps:
            for optimizer in due:
                parallel.average_gradients(optimizer.group.params)
        return self._update(batch, due, knobs, Summary.joined(summaries))

    def _update(self, batch: Share, due: Sequence[GroupOptimizer], knobs: Knobs, summary: Summary) -> dict[str, float]:
        """Check the numbers of a batch, and let the optimizers take a step; see `take_step`."""
        progress = self.progress
        norms = [("gradient norm", norm) for optimizer in due if (norm := optimizer.clip()) is not None]
        found = self.tally.add(batch.n, summary)
        for name, value in (*found.items(), *((name, norm.item()) for name, norm in norms)):
            if not math.isfinite(value):
                raise NonFinite(self._diagnosis(batch, knobs, name, value))
        for optimizer in due:  # after all gradients were computed at the same parameters
            optimizer.step(progress)
        self.step += 1
        self.batch += 1
        if self.ema is not None:
            self.ema.update(self.live, self.step)
        return found

    def _noise(self, batch: Share) -> Noise:
        return batch.noise("train", *self._key)

    @property
    def _key(self) -> tuple[Key, ...]:
        return self.settings.seed, self.stage.name, self.epoch, self.step

    def _parts(self, batch: Share, noise: Noise) -> list[tuple[Batch, Noise]]:
        """Return the parts of a batch that are computed one after the other, with their noise."""
        parts = batch.data.divided(self.settings.accumulate)
        return list(zip(parts, noise.divided([len(part) for part in parts]), strict=True))

    def _backward(
        self, due: Sequence[GroupOptimizer], losses: Sequence[Tensor], weight: float = 1, *, add: bool = False
    ) -> None:
        for optimizer, loss in zip(due, losses, strict=True):
            keep = optimizer is not due[-1]
            optimizer.backward(loss if weight == 1 else loss * weight, keep=keep, add=add)

    def _buffers(self) -> list[tuple[Tensor, Tensor]]:
        """Return the buffers of the model and of the objective's networks, with copies."""
        own = [] if self.objective.networks is None else self.objective.networks.buffers()
        return [(buffer, buffer.clone()) for buffer in (*self.model.buffers(), *own)]

    def prepare(self) -> None:
        """Compile the step and connect it to other processes, if requested, without changing the state.

        Raises:
            InputError: If compile=True and nothing can be compiled.
        """
        if self._prepared or not (self.settings.compile or self._overlaps):
            return
        self._prepared = True
        self.model.train()
        key = ("order", self.settings.seed, self.stage.name, 0)
        batch = next(shares(self.stage.data, self.settings.batch_size, self.device, key=key))
        knobs = Knobs.at(self.schedules, Progress(0, 0, self.total))
        losses = [optimizer.group.loss for optimizer in self.optimizers]
        buffers = self._buffers()

        def run(compute: Callable[..., Computed]) -> None:
            part, noise = self._parts(batch, batch.noise("settle"))[0]
            with noise.default():
                found = world.at_once(lambda: compute(part, noise, knobs, losses))  # gradients are waited for
                self._backward(self.optimizers, found[0])

        executor = self.executor
        if self._overlaps:
            run(executor.step)
            unused = any(p.grad is None for p in self.model.parameters() if p.requires_grad)
            executor.call = parallel.overlapping(executor.step, unused)
        if self.settings.compile:
            if self._single:  # otherwise a step cannot be one graph
                run(executor.plan)
            reason = executor.compile(
                lambda: run(lambda x, noise, *rest: executor.call(x, executor.draws(x, noise), *rest))
            )
            if reason is not None:
                raise InputError(f"nothing of this model can be compiled here ({reason}); leave out compile=")
        _restore(buffers)
        for p in self.model.parameters():
            p.grad = None
        for optimizer in self.optimizers:
            optimizer.arrange()

    @property
    def validated(self) -> bool:
        """Whether validation follows the current epoch."""
        return self.finished or (self.epoch + 1) % self.budget.passes == 0

    def finish_pass(self) -> None:
        """End an epoch without validation; its sums are added to those of the next epoch."""
        self.epoch, self.batch = self.epoch + 1, 0

    def finish_epoch(self) -> dict[str, Any]:
        """End the epoch, and return its metrics."""
        progress = self.progress
        row: dict[str, Any] = {"stage": self.stage.name, "epoch": self.epoch + 1, "step": self.step}
        row |= {"seconds": self.seconds, **self.tally.metrics("train", self.model)}
        for name, nats in self.model.baselines.items():  # shown beside the loss
            row |= {f"{name}_loss": -nats, f"{name}_bits_per_{self.model.unit}": self.model.bits(nats)}
        row |= {name: schedule(progress) for name, schedule in self.schedules.items()}
        self.finish_pass()
        self.tally = Tally()
        return row

    def weights(self) -> dict[str, Tensor]:
        """Return the weights to evaluate: the averaged ones if there are any, else the current ones."""
        return {**self.live, **(self.ema.average if self.ema is not None else {})}

    def go_back(self, weights: Mapping[str, Tensor]) -> None:
        """Load weights that `weights` returned before."""
        self.model.load_state_dict(weights, strict=False)  # weights of later stages stay
        if self.ema is not None:
            self.ema.average = {n: checkpoint.placed_as(t, weights[n]) for n, t in self.ema.average.items()}

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Put the weights to evaluate into the model, for the duration of a block."""
        if self.ema is None:
            yield
            return
        live = {name: t.detach().clone() for name, t in self.live.items()}
        self.model.load_state_dict(self.weights(), strict=False)  # weights of later stages stay
        try:
            yield
        finally:
            self.model.load_state_dict(live, strict=False)

    def _diagnosis(self, batch: Share, knobs: Knobs, name: str, value: float) -> str:
        noise = self._noise(batch)
        with torch.no_grad(), noise.default():
            terms = self.executor.step.terms(batch.data, noise, knobs)
        bad = dict.fromkeys(term for terms in world.gathered(not_finite(terms)) for term in terms)
        far = farthest(self.stage.data, getattr(self.model, "schema", UNNAMED).columns)
        first = f"{far}: correct or leave out this example if it is an error, or " if far else ""
        return (
            f"the {name} became {value} at step {self.step} (epoch {self.epoch + 1}); terms that are not finite: "
            f"{', '.join(bad) or name}; {first}{self.remedies}"
        )

    @property
    def remedies(self) -> str:
        """Advice for a loss that is not finite."""
        clip = "set clip=100" if self.settings.clip is None else f"clip= (now {self.settings.clip:g})"
        rate = "the learning rate" if callable(self.settings.optimizer) else f"lr= (now {self.settings.lr:g})"
        return f"lower {rate} or {clip}"

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and scalars from which training continues exactly."""
        tensors = checkpoint.prefixed("model", self.live)
        if self.ema is not None:
            tensors |= checkpoint.prefixed("ema", self.ema.average)
        if self.objective.networks is not None:
            tensors |= checkpoint.prefixed("objective", self.objective.networks.state_dict())
        optimizers = []
        for i, optimizer in enumerate(self.optimizers):
            own, rest = optimizer.state()
            tensors |= checkpoint.prefixed(f"optimizer{i}", own)
            optimizers.append(rest)
        tensors |= checkpoint.prefixed("codes", self.tally.state())
        scalars = {name: getattr(self, name) for name in ("step", "epoch", "batch", "seconds")}
        return tensors, {**scalars, **self.budget.state(), "sums": self.tally.sums, "optimizers": optimizers}

    def load(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any], path: Path) -> None:
        """Restore the state that `state` returned, from the checkpoint at this path.

        Raises:
            InputError: If more steps were taken than requested, or the model or the optimizer differs.
        """
        if scalars["step"] > self.total and not self.budget.open:
            raise InputError(
                f"the run has taken {scalars['step']} steps, and {self.total} were requested; "
                "pass more epochs= or steps="
            )
        checkpoint.into(self.model, checkpoint.under("model", tensors), path, self.model.trained_later)
        if self.ema is not None:
            averages = checkpoint.under("ema", tensors)
            self.ema.average = {n: checkpoint.placed_as(self.live[n], t) for n, t in averages.items()}
        if self.objective.networks is not None:
            checkpoint.into(self.objective.networks, checkpoint.under("objective", tensors), path)
        for i, (optimizer, rest) in enumerate(zip(self.optimizers, scalars["optimizers"], strict=True)):
            optimizer.load_state(checkpoint.under(f"optimizer{i}", tensors), rest)
        for name in ("step", "epoch", "batch", "seconds"):
            setattr(self, name, scalars[name])
        self.budget.load(scalars)
        self.tally.load(scalars["sums"], checkpoint.under("codes", tensors))


def _restore(buffers: Iterable[tuple[Tensor, Tensor]]) -> None:
    for buffer, before in buffers:
        buffer.copy_(before)


def mean_metrics(found: Mapping[str, float]) -> dict[str, float]:
    """Return the means of a batch's sums, with the names of an epoch's metrics."""
    return {f"train_{name}": value / found["n"] for name, value in found.items() if name != "n"}
