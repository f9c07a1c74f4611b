"""Who trains what: records of trials in a folder, and locks that the system lifts when their process dies.

Any number of processes, on any machines that share the folder, go by it. Free of torch.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from filelock import FileLock, Timeout

from tightbound.core.errors import InputError
from tightbound.core.files import to_json, write_atomic

State = Literal["begun", "done", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One run of a search."""

    name: str  # of its folder
    values: Mapping[str, str]  # by option, as the command line writes them
    settings: Mapping[str, Any]  # all options, to tell whether another command is of the same search
    state: State = "begun"
    reason: str | None = None  # why it was pruned or failed, in a line
    advised: int | None = None  # its number in the study

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train."""
        return self.state != "begun"

    def ended(self, state: State, reason: str | None = None) -> Trial:
        """The same with its end."""
        return dataclasses.replace(self, state=state, reason=reason)


class Search(Protocol):
    """What trials there are."""

    names: Sequence[str]
    plan: Mapping[str, Any]  # what processes must agree on; empty: nothing

    def propose(self, number: int) -> Trial:
        """A trial that has not begun; called by one process at a time."""
        ...


class Ledger:
    """The records of a search.

    Arguments:
        folder: Where its runs are; the records are in its folder `trials`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._records = folder, folder / "trials"

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.folder / name

    def agree(self, search: Search) -> None:
        """Begins a search, or joins it.

        Raises:
            InputError: the folder holds another one.
        """
        file = self._records / "plan.json"
        before = _read(file) or {}
        changed = [
            f"{name} was {before.get(name)} and is {search.plan.get(name)}"
            for name in {**before, **search.plan}
            if before.get(name) != search.plan.get(name)
        ]
        if changed and (before or self.trials(search.names)):
            raise InputError(
                f"the folder {str(self.folder)!r} holds another search ({'; '.join(changed)}); name another by --run, "
                "or replace its runs with --overwrite"
            )
        if search.plan and not before:
            write_atomic(file, to_json(dict(search.plan)))

    def trials(self, names: Sequence[str]) -> list[Trial]:
        """Those of these names that have begun."""
        found = (_read(self._records / f"{name}.json") for name in names)
        return [Trial(**record) for record in found if record is not None]

    def write(self, trial: Trial) -> None:
        """Records a trial."""
        write_atomic(self._records / f"{trial.name}.json", to_json(dataclasses.asdict(trial)))

    @contextmanager
    def claims(self) -> Iterator[None]:
        """One process at a time."""
        with self._lock("claims"):
            yield

    @contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """Holds a trial, so that no other process trains it; False where another does."""
        lock = self._lock(name)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @contextmanager
    def claimed(self, search: Search) -> Iterator[Trial | None]:
        """Holds the first trial that is not over and that nobody trains, whoever began it; None: there is none."""
        with ExitStack() as holding:
            yield self._claim(search, holding)

    def _claim(self, search: Search, holding: ExitStack) -> Trial | None:
        with self.claims():
            for number, name in enumerate(search.names):
                with ExitStack() as attempt:
                    if not attempt.enter_context(self.held(name)):
                        continue
                    trial = next(iter(self.trials([name])), None)
                    if trial is None:
                        trial = search.propose(number)
                        self.write(trial)
                    if not trial.over:
                        holding.push(attempt.pop_all())
                        return trial
        return None

    def busy(self, names: Sequence[str]) -> list[str]:
        """Those that a process trains now."""
        found = []
        for trial in self.trials(names):
            if not trial.over:
                with self.held(trial.name) as free:
                    found += [] if free else [trial.name]
        return found

    def forget(self, names: Sequence[str]) -> None:
        """Deletes trials, records and runs.

        Raises:
            InputError: where a process trains one of them; nothing is deleted.
        """
        if busy := self.busy(names):
            raise InputError(f"another process trains {busy[0]!r} of {str(self.folder)!r}; stop it first")
        for name in names:
            (self._records / f"{name}.json").unlink(missing_ok=True)
            if (self.run(name) / "model.json").is_file():
                shutil.rmtree(self.run(name))

    def forget_all(self, names: Sequence[str]) -> None:
        """Deletes all that is recorded here, and trials of these names, recorded or not."""
        known = {file.stem for file in self._records.glob("*.json")} - {"plan"}
        self.forget([*names, *sorted(known.difference(names))])
        (self._records / "plan.json").unlink(missing_ok=True)

    def _lock(self, name: str) -> FileLock:
        self._records.mkdir(parents=True, exist_ok=True)
        return FileLock(self._records / f"{name}.lock")


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(file)!r} ({error}); the search is damaged") from error
