"""Optuna's study: it advises what to try next, and which trials to give up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tightbound.core.errors import InputError
from tightbound.search.ledger import State
from tightbound.search.space import Range

if TYPE_CHECKING:
    import optuna

FILE = "study.db"  # in the folder of the runs, where no other storage is named


class Study:
    """A study in a database, which any number of processes share.

    Arguments:
        storage: Optuna's URL of it; None: study.db in the folder, an SQLite file.
        folder: Of the runs; the study is called by its name.
        prune: Give up a trial whose best value so far is below the median of the others' at that epoch, from the fifth
            epoch on, once five trials have ended.

    Raises:
        InputError: Optuna is not installed, or the storage cannot be opened.
    """

    def __init__(self, folder: Path, storage: str | None = None, *, prune: bool = False) -> None:
        try:
            import optuna
        except ImportError as error:
            raise InputError(
                "--search tpe, --prune and --storage need optuna; pip install 'tightbound[search]'"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._name = folder.resolve().name
        self._storage = storage or f"sqlite:///{folder.resolve() / FILE}"
        self._own = None if storage else folder / FILE
        self._pruner = optuna.pruners.MedianPruner(5, 5) if prune else optuna.pruners.NopPruner()
        self._prunes = prune
        self._begun: dict[int, tuple[optuna.trial.Trial, int]] = {}  # by number, and the last epoch that was reported
        self._optuna = optuna

    @cached_property
    def _study(self) -> optuna.Study:
        """Made where there is none."""
        if self._own is not None:
            self._own.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._optuna.create_study(
                study_name=self._name, storage=self._storage, direction="maximize", pruner=self._pruner,
                load_if_exists=True,
            )  # fmt: skip
        except Exception as error:
            raise InputError(f"cannot open the storage {self._storage!r} ({type(error).__name__}); "
                             "needed: an SQLAlchemy URL, such as sqlite:///study.db") from error  # fmt: skip

    def agree(self, plan: Mapping[str, Any]) -> None:
        """Makes the study, or joins it; by one process at a time.

        Raises:
            InputError: one of this name is of another search.
        """
        before = self._study.user_attrs.get("plan")
        if before is None:
            self._study.set_user_attr("plan", dict(plan))
        elif before != plan:
            raise InputError(
                f"the storage {self._storage!r} holds a study {self._name!r} of another search; call the folder by "
                "another name (--run), or replace the study with --overwrite"
            )

    def forget(self) -> None:
        """Deletes the study."""
        if self._own is not None:
            self._own.unlink(missing_ok=True)
        else:
            self._optuna.delete_study(study_name=self._study.study_name, storage=self._storage)
        self.__dict__.pop("_study", None)

    def ask(self, name: str, seed: int) -> tuple[int, Asked]:
        """A new trial, and what draws its values."""
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed % 2**32)
        trial = self._study.ask()
        trial.set_user_attr("run", name)
        return trial.number, Asked(trial)

    def begin(self, name: str, values: Mapping[str, str]) -> int:
        """A new trial, whose values are given."""
        trial = self._study.ask()
        for key, value in {"run": name, **values}.items():
            trial.set_user_attr(key, value)
        return trial.number

    def hopeless(self, number: int, epoch: int, value: float) -> bool:
        """Takes what a trial reached; whether to give it up."""
        if not self._prunes:
            return False
        if number not in self._begun:  # perhaps begun by another process
            recorded = self._study.get_trials(deepcopy=False)[number]
            self._begun[number] = self._optuna.trial.Trial(self._study, recorded._trial_id), recorded.last_step or 0
        trial, last = self._begun[number]
        if epoch > last:  # a run that was resumed may say it again
            trial.report(value, epoch)
        return trial.should_prune()

    def tell(self, number: int, state: State, value: float | None) -> None:
        """How a trial ended."""
        kinds = self._optuna.trial.TrialState
        kind = {"done": kinds.COMPLETE, "pruned": kinds.PRUNED}.get(state, kinds.FAIL)
        if kind is kinds.COMPLETE and (value is None or not math.isfinite(value)):
            kind = kinds.FAIL
        self._study.tell(number, value if kind is kinds.COMPLETE else None, kind, skip_if_finished=True)


@dataclass(frozen=True)
class Asked:
    """Draws what a trial of the study advises."""

    trial: optuna.Trial

    def choice(self, name: str, options: Sequence[str]) -> str:
        """One of these."""
        return self.trial.suggest_categorical(name, options)

    def number(self, name: str, within: Range) -> float:
        """A number of this range."""
        if within.whole:
            return self.trial.suggest_int(name, int(within.low), int(within.high), log=within.log)
        return self.trial.suggest_float(name, within.low, within.high, log=within.log)
