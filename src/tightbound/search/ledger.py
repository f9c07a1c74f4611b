"""Who trains what: records of trials in a folder, and locks that the system lifts when their process dies.

Any number of processes, on any machines that share the folder, go by it. Free of torch.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from filelock import FileLock, Timeout

from tightbound.core.errors import InputError
from tightbound.core.files import to_json, write_atomic

State = Literal["begun", "done", "pruned", "failed"]
Settings = Callable[[Mapping[str, str]], Mapping[str, Any]]  # values -> all options


@dataclass(frozen=True)
class Trial:
    """One run of a search."""

    name: str  # of its folder
    values: Mapping[str, str]  # by option, as the command line writes them
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
    plan: Mapping[str, Any]  # what processes must agree on

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

    def agree(self, search: Search, values: Mapping[str, str], settings: Settings) -> None:
        """Begins a search, or joins it.

        Arguments:
            search: Its plan must be that of the folder.
            values: One point of it.
            settings: All options at such a point; they must be what they were when the search began.

        Raises:
            InputError: the folder holds another one.
        """
        file = self._records / "plan.json"
        with self.claims():
            before = _read(file, {"plan", "values", "settings"}, "delete it, and the same command writes it anew")
            if before is None:
                write_atomic(file, to_json({"plan": search.plan, "values": values, "settings": settings(values)}))
                return
            changed = _changed(before["plan"], search.plan)[:1]
            # at the point where it began: what is asked for may hold other values
            changed = changed or _changed(before["settings"], settings(before["values"]))
        if changed:
            raise InputError(
                f"the folder {str(self.folder)!r} holds another search ({'; '.join(changed)}); name another by --run, "
                "or replace its runs with --overwrite"
            )

    def trials(self, names: Sequence[str]) -> list[Trial]:
        """Those of these names that have begun.

        Raises:
            InputError: a record that cannot be read.
        """
        return [trial for name in names if (trial := self._trial(name)) is not None]

    def _trial(self, name: str) -> Trial | None:
        remedy = f"delete it and the folder {str(self.run(name))!r}, and the same command trains that run anew"
        found = _read(self._record(name), {f.name for f in dataclasses.fields(Trial)}, remedy)
        return None if found is None else Trial(**found)

    def write(self, trial: Trial) -> None:
        """Records a trial."""
        write_atomic(self._record(trial.name), to_json(dataclasses.asdict(trial)))

    @contextmanager
    def claims(self) -> Iterator[None]:
        """One process at a time."""
        with self._locked("claims", wait=True):
            yield

    @contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """Holds a trial, so that no other process trains it; False where another does."""
        with self._locked(name, wait=False) as mine:
            yield mine

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
                    trial = self._trial(name)
                    if trial is None:
                        trial = search.propose(number)
                        self.write(trial)
                    if not trial.over:
                        holding.push(attempt.pop_all())
                        return trial
        return None

    def busy(self, names: Sequence[str]) -> list[str]:
        """Those that a process holds now."""
        with self.claims():
            return self._busy(names)

    def _busy(self, names: Sequence[str]) -> list[str]:
        found = []
        for name in names:
            with self.held(name) as free:
                found += [] if free else [name]
        return found

    def forget(self, names: Sequence[str]) -> None:
        """Deletes trials, records and runs.

        Raises:
            InputError: where a process trains one of them; nothing is deleted.
        """
        with self.claims():
            self._forget(names)

    def forget_all(self, names: Sequence[str]) -> None:
        """Deletes all that is recorded here, and trials of these names, recorded or not."""
        with self.claims():
            known = {file.stem for file in self._records.glob("*.json")} - {"plan"}
            self._forget([*names, *sorted(known.difference(names))])
            (self._records / "plan.json").unlink(missing_ok=True)

    def _forget(self, names: Sequence[str]) -> None:
        if busy := self._busy(names):
            raise InputError(f"another process trains {busy[0]!r} of {str(self.folder)!r}; stop it first")
        for name in names:
            self._record(name).unlink(missing_ok=True)
            if (self.run(name) / "model.json").is_file():
                shutil.rmtree(self.run(name))

    def _record(self, name: str) -> Path:
        return self._records / f"{name}.json"

    @contextmanager
    def _locked(self, name: str, *, wait: bool) -> Iterator[bool]:
        lock = FileLock(self._records / f"{name}.lock", blocking=wait)
        try:
            self._records.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            raise InputError(
                f"cannot lock runs in {str(self._records)!r} ({error.strerror}); name another folder by --run"
            ) from error
        try:
            yield True
        finally:
            lock.release()


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, in words."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name} was {before.get(name)} and is {now.get(name)}" for name in names]


def _read(file: Path, names: set[str], remedy: str) -> dict[str, Any] | None:
    """A record with entries of these names; None where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {str(file)!r} ({reason}); {remedy}") from error
    if not isinstance(found, dict) or set(found) != names:
        raise InputError(f"cannot read {str(file)!r} (it is not what tightbound wrote); {remedy}")
    return found
