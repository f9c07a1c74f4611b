"""The loop of one stage: steps, epochs, validation, checkpoints."""

from __future__ import annotations

import copy
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tightbound.components import make
from tightbound.config import Settings
from tightbound.core import world
from tightbound.core.errors import CompositionError, InputError, NonFinite
from tightbound.core.interfaces import Trainable
from tightbound.core.memory import keep_freed
from tightbound.core.noise import key_seed, seeded
from tightbound.core.schedules import Knobs, Progress
from tightbound.core.terms import Terms
from tightbound.data import Split
from tightbound.objectives.base import Objective
from tightbound.training import checkpoint, parallel
from tightbound.training.fastest import choose, go_on
from tightbound.training.folder import RunFolder
from tightbound.training.monitor import Interrupted, Monitor, StopFlag, stopped
from tightbound.training.optim import GroupOptimizer, MovingAverage
from tightbound.training.parallel import Share, shares
from tightbound.training.step import Computed, Step, Stepper, Way, not_finite
from tightbound.training.tally import Tally, summarize


@dataclass(frozen=True)
class Stage:
    """One part of a run: what trains, on what, towards what."""

    trains: Trainable
    data: Split
    objective: Objective
    validation: Split | None = None
    name: str = ""  # "" is the first; it enters the noise keys, the metrics and the checkpoints' folder
    settings: Settings | None = None  # None: the run's


class Loop:
    """Trains one stage.

    Arguments:
        stage: What trains.
        settings: How, unless the stage says.
        folder: Where checkpoints and metrics go.
        device: Where the model is.
        quiet: Show no progress.
    """

    def __init__(self, stage: Stage, settings: Settings, folder: RunFolder, device: torch.device, quiet: bool) -> None:
        keep_freed()
        settings = stage.settings or settings
        self.stage, self.settings, self.folder, self.device = stage, settings, folder, device
        self.model, self.objective = stage.trains, stage.objective
        parallel.check_parallel(self.objective, settings)
        parallel.replicated(self.model)
        if parallel.in_shares(settings):
            self.model = copy.deepcopy(self.model)  # the whole one takes the weights when all are trained
        step = Step(self.model, self.objective)
        if parallel.in_shares(settings):
            parallel.shard(step)
        self.schedules = {**self.model.schedules, **self.objective.schedules}
        self.per_epoch = self._steps_an_epoch()
        self.total = settings.steps or settings.epochs * self.per_epoch
        self.epochs = math.ceil(self.total / self.per_epoch)
        with seeded(key_seed("objective", settings.seed, stage.name)):
            self.objective.prepare(self.model, self.stage.data.size)
        if self.objective.networks is not None:
            self.objective.networks.to(device)
        decay = make("decay", settings.schedule)
        self.optimizers = [
            GroupOptimizer(group, self.model, settings, decay) for group in self.objective.parameter_groups(self.model)
        ]
        self.single = len(self.optimizers) == 1 and self.optimizers[0].trains_all
        if parallel.in_shares(settings) and not self.single:
            raise CompositionError(
                f"objective '{self.objective.name}' trains parts of the model by losses of their own, and a model in "
                "shares has one; use parallel 'ddp'"
            )
        self.stepper = Stepper(step)
        self.way: Way | None = None  # how steps are computed, once that is settled
        self._measured: Mapping[str, float] | None = None  # milliseconds by way; None: it is not settled
        aside = self.model.aside
        # the live tensors themselves: a memory format gives parameters other storage, which views would not follow
        state = {name: t for name, t in self.model.state_dict(keep_vars=True).items() if name not in aside}
        # buffers, such as the vectors of a spectral norm, follow the weights and are not averaged
        averaged = {name: state[name] for name, _ in self.model.named_parameters() if name in state}
        self.ema = MovingAverage(averaged.items(), settings.ema) if settings.ema is not None else None
        self._state = state
        self.step = self.epoch = self.batch = 0  # steps taken, epochs completed, batches of this epoch
        self.tally = Tally()  # of this epoch
        self.seconds = 0.0
        self.best: dict[str, Tensor] | None = None
        self.best_value, self.best_epoch, self.stale = -math.inf, 0, 0
        self._saved = time.monotonic()
        self._quiet = quiet or world.rank() > 0

    def _steps_an_epoch(self) -> int:
        try:
            return self.stage.data.steps(self.settings.batch_size)
        except TypeError:
            if self.settings.steps is None:
                raise InputError("the data are a stream of unknown length; say how long to train with steps") from None
            return self.settings.steps

    def run(
        self, rows: list[dict[str, Any]], flag: StopFlag, on_epoch: Callable[[Mapping[str, Any]], object] | None = None
    ) -> list[dict[str, Any]]:
        """Trains to the end from where the loop stands; `rows` are the metrics so far.

        Raises:
            NonFinite: a term of the loss became NaN or infinite; the last checkpoint is intact.
            Interrupted: after a signal; a checkpoint was written.
        """
        monitor = Monitor(self.total, self.step, self.epochs, self._quiet, self.stage.name)
        try:
            self.settle()
            monitor.tell(self._measured or {})
            while self.unfinished:
                partial = not self.run_epoch(rows, flag, monitor)
                if partial:  # the run ends within an epoch: more steps must be able to go on from here
                    self.save(rows)
                rows.append(self.finish_epoch())
                monitor.epoch(rows[-1])
                if partial:
                    self._save_metrics(rows)
                stop, due = self._news(flag)
                if not partial and (self.step >= self.total or self._out_of_patience() or due or stop is not None):
                    self.save(rows)
                if on_epoch is not None:
                    on_epoch(rows[-1])
                if stop is not None:
                    raise self._interrupted(stop)
        finally:
            monitor.close()
            self.stepper.close()
        world.barrier()  # what was written can be read by all
        return rows

    @property
    def unfinished(self) -> bool:
        """Whether there is anything left to do."""
        return (self.step < self.total or self.batch > 0) and not self._out_of_patience()

    def _out_of_patience(self) -> bool:
        return self.settings.patience is not None and self.stale >= self.settings.patience

    def run_epoch(self, rows: list[dict[str, Any]], flag: StopFlag, monitor: Monitor) -> bool:
        """Trains to the end of the epoch, or of the run; whether all of the epoch's data were seen."""
        self.model.train()
        began = time.perf_counter()
        key = ("order", self.settings.seed, self.stage.name, self.epoch)
        for batch in shares(self.stage.data, self.settings.batch_size, self.device, key=key, start=self.batch):
            if self.step >= self.total:
                self.seconds += time.perf_counter() - began
                return False
            self._train_step(batch)
            monitor.step()
            stop, due = self._news(flag)
            if stop is not None or due:
                self.seconds, began = self.seconds + time.perf_counter() - began, time.perf_counter()
                self.save(rows)
            if stop is not None:
                raise self._interrupted(stop)
        self.seconds += time.perf_counter() - began
        return True

    def _news(self, flag: StopFlag) -> tuple[signal.Signals | None, bool]:
        """The signal that came, and whether a checkpoint is due: the same for all processes."""
        return flag.agreed(world.rank() == 0 and time.monotonic() - self._saved > self.settings.checkpoint_seconds)

    def _interrupted(self, by: signal.Signals) -> Interrupted:
        stage = f" of stage {self.stage.name!r}" if self.stage.name else ""
        return stopped(by, f"after step {self.step} of {self.total}{stage}", self.folder)

    def _train_step(self, batch: Share) -> None:
        progress = Progress(self.step, self.epoch, self.total)
        knobs = Knobs.at(self.schedules, progress)
        due = [optimizer for optimizer in self.optimizers if optimizer.group.due(self.step)]
        noise = batch.noise("train", self.settings.seed, self.stage.name, self.epoch, self.step)
        with noise.default():
            losses, summary = self.stepper(batch.data, noise, knobs, [optimizer.group.loss for optimizer in due])
            self._backward(due, losses, batch.weight)
        norms = [("gradient norm", norm) for optimizer in due if (norm := optimizer.clip()) is not None]
        found = self.tally.add(batch.n, summary)
        for what, value in (*found.items(), *((name, norm.item()) for name, norm in norms)):
            if not math.isfinite(value):
                raise NonFinite(self._what_went_bad(batch, knobs, what, value))
        for optimizer in due:  # all gradients were taken at the same parameters
            optimizer.step(progress)
        self.step += 1
        self.batch += 1
        if self.ema is not None:
            self.ema.update(self._state, self.step)

    def _backward(self, due: Sequence[GroupOptimizer], losses: Sequence[Tensor], weight: float) -> None:
        """Gradients of a share's losses, averaged over processes."""
        for optimizer, loss in zip(due, losses, strict=True):
            keep, everywhere = optimizer is not due[-1], parallel.in_shares(self.settings)
            optimizer.backward(loss if weight == 1 else loss * weight, keep=keep, everywhere=everywhere)
            if world.size() > 1 and not self.single:
                parallel.average_gradients(optimizer.group.params)

    def settle(self) -> None:
        """Settles, once, how steps are computed: as before an interruption; else as asked, or what is fastest."""
        if self._measured is not None or not self.unfinished:
            return
        self._measured = {}
        self.model.train()
        open_ways = self.settings.compile != "off" or self.settings.precision == "auto"
        overlap = world.size() > 1 and self.single and not parallel.in_shares(self.settings)
        if not open_ways and not overlap:
            self.way = self.stepper.take(Way(precision=self.settings.precision))
            return
        key = ("order", self.settings.seed, self.stage.name, 0)
        batch = next(shares(self.stage.data, self.settings.batch_size, self.device, key=key))
        knobs = Knobs.at(self.schedules, Progress(0, 0, self.total))
        losses = [optimizer.group.loss for optimizer in self.optimizers]
        own = [] if self.objective.networks is None else self.objective.networks.buffers()
        buffers = [(buffer, buffer.clone()) for buffer in (*self.model.buffers(), *own)]

        def run(how: Callable[..., Computed]) -> Computed:
            noise = batch.noise("settle")
            with noise.default():
                computed = world.at_once(lambda: how(batch.data, noise, knobs, losses))  # gradients are waited for
                self._backward(self.optimizers, computed[0], batch.weight)
            return computed

        if overlap:
            run(self.stepper.step)
            unused = any(p.grad is None for p in self.model.parameters() if p.requires_grad)
            self.stepper = Stepper(self.stepper.step, lambda module: parallel.overlapping(module, unused))
        if self.single and self.settings.compile != "off":  # only then may a step become one graph
            run(self.stepper.plan)
        if self.way is not None:
            go_on(self.stepper, self.settings, self.way, lambda: run(self.stepper))
        else:
            rest = self.total - self.step
            self._measured = choose(self.stepper, self.settings, lambda: run(self.stepper), rest)
        self.way = self.stepper.way
        for buffer, before in buffers:
            buffer.copy_(before)
        for p in self.model.parameters():
            p.grad = None
        for optimizer in self.optimizers:
            optimizer.arrange()

    def finish_epoch(self) -> dict[str, Any]:
        """Closes the epoch's sums and validates; gives its metrics."""
        progress = Progress(self.step, self.epoch, self.total)
        row: dict[str, Any] = {"stage": self.stage.name, "epoch": self.epoch + 1, "step": self.step}
        row |= {"seconds": self.seconds, **self.tally.metrics("train", self.model), **self._baselines()}
        row |= {name: schedule(progress) for name, schedule in self.schedules.items()}
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, Tally()
        held_out = self._held_out(self.stage.validation or self.stage.data, whole=True)
        self.objective.end_epoch(terms for _, terms in held_out)
        if self.objective.networks is not None:
            parallel.replicated(self.objective.networks)  # what it made of them: hosts may differ in the last bit
        if self.stage.validation is not None:
            row |= self._validate(self.stage.validation)
            value = -row["validation_loss"]
            if not self.objective.has_best_epoch:
                self.best_epoch = self.epoch
            elif value > self.best_value:
                self.best_value, self.best_epoch, self.stale = value, self.epoch, 0
                self.best = {name: t.detach().clone() for name, t in self.weights().items()}
            else:
                self.stale += 1
        return row

    def _baselines(self) -> dict[str, float | None]:
        """What the loss stands beside."""
        row: dict[str, float | None] = {}
        for name, nats in self.model.baselines.items():
            row |= {f"{name}_loss": -nats, f"{name}_bits_per_{self.model.unit}": self.model.bits(nats)}
        return row

    def weights(self) -> dict[str, Tensor]:
        """What is evaluated: the average of the weights where there is one, else the weights."""
        return {**self._state, **(self.ema.average if self.ema is not None else {})}

    @contextmanager
    def _evaluated_weights(self) -> Iterator[None]:
        """Puts the averaged weights into the model for a while."""
        if self.ema is None:
            yield
            return
        live = {name: t.detach().clone() for name, t in self._state.items()}
        self.model.load_state_dict(self.weights(), strict=False)  # what is set aside stays
        try:
            yield
        finally:
            self.model.load_state_dict(live, strict=False)

    @torch.no_grad()
    def _validate(self, split: Split) -> dict[str, Any]:
        """The objective with its schedules at their end, on fixed noise."""
        tally, knobs = Tally(), Knobs.final(self.schedules)
        with self._evaluated_weights():
            for n, terms in self._held_out(split):
                tally.add(n, summarize(terms, -self.objective(terms, knobs).mean()))
        return tally.metrics("validation", self.model)

    @torch.no_grad()
    def _held_out(self, split: Split, whole: bool = False) -> Iterator[tuple[int, Terms]]:
        """Terms of a split's batches, and how many of their data count, on fixed noise, in eval mode. What looks at
        batches as a `whole` has them so, in each process."""
        knobs = Knobs.final(self.schedules)
        self.model.eval()
        for i, batch in enumerate(shares(split, max(self.settings.batch_size, 500), self.device, whole=whole)):
            noise = batch.noise("validation", self.settings.seed, self.stage.name, i)
            with noise.default():
                yield batch.n, self.stepper.step.terms(batch.data, noise, knobs)

    def _what_went_bad(self, batch: Share, knobs: Knobs, what: str, value: float) -> str:
        noise = batch.noise("train", self.settings.seed, self.stage.name, self.epoch, self.step)
        with torch.no_grad(), noise.default():
            terms = self.stepper.step.terms(batch.data, noise, knobs)
        bad = dict.fromkeys(name for names in world.gathered(not_finite(terms)) for name in names)
        remedy = f"lower the learning rate (now --lr {self.settings.lr:g}) or set --clip 100"
        if self.settings.clip is not None:
            remedy = f"lower the learning rate (now --lr {self.settings.lr:g}) or --clip {self.settings.clip:g}"
        return (
            f"the {what} became {value} at step {self.step} (epoch {self.epoch + 1}); "
            f"the term that went bad: {', '.join(bad) or what}; {remedy}; nothing after the last checkpoint is kept"
        )

    def _save_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Writes the metrics, and the best weights where they are new."""
        if world.rank() == 0:
            self.folder.write_metrics(rows)
        if self.best is not None:
            facts = {"epoch": self.best_epoch, "value": self.best_value, "averaged": self.ema is not None}
            best, self.best = checkpoint.whole(self.best), None
            if world.rank() == 0:
                checkpoint.save(self.folder.checkpoint("best", self.stage.name), best, facts)

    def save(self, rows: list[dict[str, Any]]) -> None:
        """Writes the metrics, the best weights and the state from which `resume` continues to the same bits."""
        self._save_metrics(rows)
        tensors = checkpoint.prefixed("model", self._state)
        if self.ema is not None:
            tensors |= checkpoint.prefixed("ema", self.ema.average)
        if self.objective.networks is not None:
            tensors |= checkpoint.prefixed("objective", self.objective.networks.state_dict())
        for i, optimizer in enumerate(self.optimizers):
            tensors |= checkpoint.prefixed(f"optimizer{i}", optimizer.state())
        tensors |= checkpoint.prefixed("codes", self.tally.state())
        scalars = {
            "best_epoch": self.best_epoch,
            "best_value": self.best_value if math.isfinite(self.best_value) else None,
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": self.tally.sums,
            "seconds": self.seconds,
            "stale": self.stale,
            "way": None if self.way is None else vars(self.way),
        }
        tensors = checkpoint.whole(tensors)
        if world.rank() == 0:
            checkpoint.save(self.folder.checkpoint("last", self.stage.name), tensors, scalars)
        self._saved = time.monotonic()

    def resume(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Takes the last checkpoint's state, if there is one; gives the metrics up to it."""
        path = self.folder.checkpoint("last", self.stage.name)
        if not path.is_file():
            return [row for row in rows if row["stage"] != self.stage.name]
        tensors, scalars = checkpoint.load(path)
        if scalars["step"] > self.total:
            raise InputError(
                f"the run has taken {scalars['step']} steps and {self.total} were asked for; "
                "ask for more epochs or steps"
            )
        checkpoint.into(self.model, checkpoint.under("model", tensors), path, self.model.aside)
        if self.ema is not None:
            averages = checkpoint.under("ema", tensors)
            self.ema.average = {n: checkpoint.placed_as(self._state[n], t) for n, t in averages.items()}
        if self.objective.networks is not None:
            checkpoint.into(self.objective.networks, checkpoint.under("objective", tensors), path)
        for i, optimizer in enumerate(self.optimizers):
            optimizer.load_state(checkpoint.under(f"optimizer{i}", tensors))
        for name in ("step", "epoch", "batch", "seconds", "stale", "best_epoch"):
            setattr(self, name, scalars[name])
        self.tally.load(scalars["sums"], checkpoint.under("codes", tensors))
        self.way = None if scalars.get("way") is None else Way(**scalars["way"])
        self.best_value = -math.inf if scalars["best_value"] is None else scalars["best_value"]
        return [row for row in rows if row["stage"] != self.stage.name or row["epoch"] <= self.epoch]
