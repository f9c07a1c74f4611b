"""State of a sweep: an Optuna study in the sweep's folder, shared by all processes that work on it.

Optuna's journal file records the runs, and a process holds a file lock for the run that it trains. The operating system
releases the lock however the process ends, so that another process can continue the run.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from tightbound.core.errors import InputError
from tightbound.core.noise import key_seed
from tightbound.search.space import Space, grid

Kind = Literal["grid", "random", "tpe"]
State = Literal["unfinished", "done", "pruned", "failed"]
_JOURNAL, _LOCKS = "study.log", "locks"


@dataclass(frozen=True)
class Search:
    """Search strategy, which determines the runs of a sweep.

    Args:
        kind: "grid" (all combinations), "random" (random draws) or "tpe" (draws guided by earlier runs).
        space: Options that vary.
        trials: Number of runs of a random or TPE search.
        seed: Random seed of the draws.

    References:
        Algorithms for hyper-parameter optimization (Bergstra et al. 2011), Section 4: the tree-structured Parzen
        estimator (TPE).
    """

    kind: Kind
    space: Space
    trials: int
    seed: int

    @property
    def names(self) -> list[str]:
        """Names of the runs, in order of their start."""
        return list(grid(self.space)) if self.kind == "grid" else [f"trial-{i:03}" for i in range(self.trials)]

    def sampler(self, index: int) -> optuna.samplers.BaseSampler:
        """Return the sampler of one run, seeded by the run's index, so that any process draws the same values."""
        kind = optuna.samplers.TPESampler if self.kind == "tpe" else optuna.samplers.RandomSampler
        return kind(seed=key_seed("search", self.seed, index) % 2**32)

    def values(self, name: str, trial: Trial) -> dict[str, str]:
        """Return the values of a run."""
        return grid(self.space)[name] if self.kind == "grid" else {d.field: d.draw(trial) for d in self.space}


@dataclass(frozen=True)
class Record:
    """Record of one run in the study."""

    name: str
    values: Mapping[str, str]
    state: State
    score: float | None  # larger is better; None: the run cannot be chosen
    reason: str | None  # why it was pruned or failed
    number: int  # number of the trial in the study


class Study:
    """Study in a folder, which is created if there is none.

    Args:
        folder: Folder of the sweep.
        prune: Stop a run whose best value so far is below the median of the other runs at the same epoch, from the
            fifth epoch on and after five runs have ended.

    Raises:
        InputError: The folder cannot be written or locked, or its journal is damaged.
    """

    def __init__(self, folder: Path, *, prune: bool = False) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._folder, self._prune = folder, prune
        try:
            (folder / _LOCKS).mkdir(parents=True, exist_ok=True)
            self._exclusive = self._lock("claims", wait=True)
            with self._exclusive:
                # unlike Optuna's own locks, a FileLock does not outlive a process that was killed
                lock: Any = self._lock("journal", wait=True)
                journal = JournalFileBackend(str(folder / _JOURNAL), lock_obj=lock)
                self._study = optuna.create_study(
                    study_name="sweep",
                    storage=optuna.storages.JournalStorage(journal),
                    direction="maximize",
                    pruner=optuna.pruners.MedianPruner(5, 5) if prune else optuna.pruners.NopPruner(),
                    load_if_exists=True,
                )
        except OSError as error:
            raise InputError(f"cannot write or lock {str(folder)!r} ({error.strerror}); choose another run=") from error
        except ValueError as error:
            raise InputError(
                f"cannot read {str(folder / _JOURNAL)!r} ({error}); delete it, or replace the sweep with overwrite="
            ) from error

    def agree(self, plan: Mapping[str, Any]) -> None:
        """Record the plan of the sweep, or check that it equals the recorded one.

        Raises:
            InputError: The folder holds a different sweep.
        """
        with self._exclusive:
            before = self._study.user_attrs.get("plan")
            if before is None:
                self._study.set_user_attr("plan", dict(plan))
                return
        changed = [name for name in {**before, **plan} if before.get(name) != plan.get(name)]
        if changed:
            raise InputError(
                f"the folder {str(self._folder)!r} holds another sweep ({changed[0]} was {before.get(changed[0])} and "
                f"is now {plan.get(changed[0])}); choose another run=, or replace the sweep with overwrite="
            )

    def records(self) -> dict[str, Record]:
        """Return the runs that have begun, by name."""
        replaced = self._study.user_attrs.get("replaced", [])
        found = [t for t in self._study.get_trials(deepcopy=False) if t.number not in replaced]
        return {t.user_attrs["run"]: _record(t) for t in found if "run" in t.user_attrs}

    @contextmanager
    def claimed(self, search: Search) -> Iterator[tuple[Record, bool] | None]:
        """Lock the first unfinished run that no other process is training.

        Yields:
            The run and whether it had begun before, or None if there is no such run.
        """
        with ExitStack() as held:
            yield self._claim(search, held)

    def _claim(self, search: Search, held: ExitStack) -> tuple[Record, bool] | None:
        with self._exclusive:
            known = self.records()
            for index, name in enumerate(search.names):
                if name in known and known[name].state != "unfinished":
                    continue
                try:
                    held.enter_context(self._lock(name))
                except Timeout:
                    continue  # another process is training it
                if name in known:
                    return known[name], True
                self._study.sampler = search.sampler(index)
                trial = self._study.ask()
                trial.set_user_attr("values", search.values(name, trial))
                trial.set_user_attr("run", name)  # set last, since a trial without it does not count
                return self.records()[name], False
        return None

    def reached(self, record: Record, epoch: int, value: float) -> bool:
        """Record the value that a run reached at an epoch; return whether to prune the run."""
        if not self._prune:
            return False
        trial = self._trial(record)
        if epoch not in self._study.get_trials(deepcopy=False)[record.number].intermediate_values:
            trial.report(value, epoch)
        return trial.should_prune()

    def finish(self, record: Record, state: State, score: float | None, reason: str | None) -> None:
        """Record how a run ended."""
        trial = self._trial(record)
        trial.set_user_attr("reason", reason)
        trial.set_user_attr("state", state)
        if state == "done" and score is not None:
            self._study.tell(record.number, score)
        else:
            self._study.tell(record.number, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)

    def forget_failed(self) -> None:
        """Delete the runs that failed, so that they are trained again."""
        with self._exclusive:
            failed = [record for record in self.records().values() if record.state == "failed"]
            before: Sequence[int] = self._study.user_attrs.get("replaced", [])
            self._study.set_user_attr("replaced", [*before, *(record.number for record in failed)])
            for record in failed:
                delete_run(self._folder / record.name)

    def _trial(self, record: Record) -> Trial:
        return Trial(self._study, self._study.get_trials(deepcopy=False)[record.number]._trial_id)

    def _lock(self, name: str, *, wait: bool = False) -> FileLock:
        return FileLock(self._folder / _LOCKS / f"{name}.lock", blocking=wait)


def delete_sweep(folder: Path, names: Collection[str]) -> None:
    """Delete the study in a folder (readable or not) with its runs, and the runs with these names.

    Raises:
        InputError: Another process is training one of the runs.
    """
    known = [file.stem for file in (folder / _LOCKS).glob("*.lock") if file.stem not in ("claims", "journal")]
    for name in {*known, *names}:
        try:
            if name in known:
                with FileLock(folder / _LOCKS / f"{name}.lock", blocking=False):
                    pass
        except Timeout:
            raise InputError(f"another process is training {name!r} in {str(folder)!r}; stop it first") from None
    for name in {*known, *names}:
        delete_run(folder / name)
    (folder / _JOURNAL).unlink(missing_ok=True)


def delete_run(path: Path) -> None:
    """Delete a folder if it is a run."""
    if (path / "model.json").is_file():
        shutil.rmtree(path)


def _record(trial: optuna.trial.FrozenTrial) -> Record:
    attributes = trial.user_attrs
    over = trial.state.is_finished()
    state = attributes.get("state", "failed") if over else "unfinished"
    score = trial.value if trial.state == TrialState.COMPLETE else None
    return Record(attributes["run"], attributes["values"], state, score, attributes.get("reason"), trial.number)
