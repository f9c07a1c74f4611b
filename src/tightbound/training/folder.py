"""The folder of a run."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tightbound.core.errors import InputError
from tightbound.core.files import to_json, unwritable, write_atomic
from tightbound.core.launch import job

SECOND_STAGE = "prior"  # the stage that trains the prior after the rest, in checkpoints, metrics and noise keys
_LOCK = ".lock"  # a FileLock, which ends with the process that holds it, however that ends
_COMPLETE, _FILES = "complete", "files.json"  # folder of complete files that replace the run's, and their list


class RunFolder:
    """Folder of a run, with config.yaml, run.json, model.json, metrics, checkpoints, analysis, figures, report.html.

    Args:
        path: Path of the folder.
        temporary: Whether the folder is deleted with the trained model, so that no message should name it.
    """

    def __init__(self, path: str | Path, *, temporary: bool = False) -> None:
        self.path, self.temporary = Path(path), temporary
        self._known: list[tuple[int, ...]] | None = None

    def __str__(self) -> str:
        return "this model" if self.temporary else f"the run {str(self.path)!r}"

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run.

        Raises:
            InputError: If the folder is missing or is not a run.
        """
        folder = cls(path)
        if not folder.path.is_dir():
            raise InputError(f"there is no run {str(path)!r}; train one first, with run={str(path)!r}")
        if not folder.model_file.is_file():
            raise InputError(f"{str(path)!r} is not a run: it has no {folder.model_file.name}")
        folder.settle()
        return folder

    @property
    def config_file(self) -> Path:
        """File of the configuration."""
        return self.path / "config.yaml"

    @property
    def model_file(self) -> Path:
        """File that describes the components, from which the model is rebuilt."""
        return self.path / "model.json"

    @property
    def run_file(self) -> Path:
        """File of the provenance: versions, seed, data, command, hardware."""
        return self.path / "run.json"

    @property
    def evaluation_file(self) -> Path:
        """File of the evaluation of the run's best weights on its own test data."""
        return self.analysis_file("evaluate")

    def analysis_file(self, name: str) -> Path:
        """Return the file of an analysis ("diagnosis", "quality", ...) of the run's own data."""
        return self.path / "analysis" / f"{name}.json"

    @property
    def report_file(self) -> Path:
        """File of the report page."""
        return self.path / "report.html"

    @property
    def aside(self) -> RunFolder:
        """Subfolder for files that replace the run's own when they are complete."""
        return RunFolder(self.path / "unfinished", temporary=self.temporary)

    @property
    def begun_file(self) -> Path:
        """File in an `aside` folder that records the training that was begun there."""
        return self.path / "begun.json"

    def remember(self) -> None:
        """Remember which weights the run holds, for `check_current`."""
        self._known = self._present()

    def check_current(self) -> None:
        """Check that the weights are those of the last `remember`, so that what is said of them is true of the run.

        Raises:
            InputError: If another process has trained the run since then.
        """
        if self._known not in (None, self._present()):
            raise InputError(f"the weights of {self} have changed since they were loaded; load the run again")

    def _present(self) -> list[tuple[int, ...]]:
        files = (self.checkpoint(name, stage) for name in ("best", "last") for stage in ("", SECOND_STAGE))
        about = (file.stat() for file in files if file.is_file())
        return [(each.st_ino, each.st_size, each.st_mtime_ns) for each in about]

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes from writing the weights and answers of this run.

        If the body fails before there is a run, a new folder is removed.

        Raises:
            InputError: If another process is training in the folder, or it cannot be written.
        """
        from filelock import FileLock, Timeout

        new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK, timeout=1)  # an answer is written in less
            lock.acquire()
        except Timeout:
            raise InputError(
                f"another process is training in {str(self.path)!r}; wait until it ends, or pass another folder as run="
            ) from None
        except OSError as error:
            raise unwritable(self.path, error) from error
        try:
            with lock:
                yield
        except BaseException:
            if new and not self.model_file.is_file():
                shutil.rmtree(self.path, ignore_errors=True)
            raise
        finally:
            lock.release()

    def accept(self, new: RunFolder) -> None:
        """Replace the run's files by those of an `aside` folder, all or none.

        Files that the folder lacks stay, except for checkpoints of later stages; results about the run are deleted. If
        the process is killed in between, the next opening of the run completes the replacement.
        """
        new.begun_file.unlink()
        files = [str(file.relative_to(new.path)) for file in sorted(new.path.rglob("*")) if file.is_file()]
        write_atomic(new.path / _FILES, to_json(files))
        new.path.replace(self.path / _COMPLETE)
        self.settle()

    def settle(self) -> None:
        """Complete a replacement that `accept` began; several processes may do so at once."""
        complete = self.path / _COMPLETE
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # there is no list, or not any more
            names = set(json.loads((complete / _FILES).read_text(encoding="utf-8")))
            self.outdate()
            for file in self.path.glob("checkpoints/*/*.safetensors"):
                if file.relative_to(self.path).as_posix() not in names:
                    file.unlink(missing_ok=True)
            for name in sorted(names):
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # another process has moved it
                    (complete / name).replace(self.path / name)
            (complete / _FILES).unlink(missing_ok=True)
        shutil.rmtree(complete, ignore_errors=True)

    def checkpoint(self, name: str, stage: str = "") -> Path:
        """Return the file of checkpoint "last" or "best" of a stage ("" is the first), or "start" of a later stage."""
        return self.path / "checkpoints" / stage / f"{name}.safetensors"

    def check_free(self, overwrite: bool = False) -> None:
        """Check that a run may begin here.

        Raises:
            InputError: If the folder is not empty, unless it holds a run to overwrite.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{str(self.path)!r} is a file; pass a folder as run=")
        if self.path.is_dir() and any(each.name != _LOCK for each in self.path.iterdir()):
            if not self.model_file.is_file():
                raise InputError(f"the folder {str(self.path)!r} is not empty and holds no run; pass another as run=")
            if not overwrite:
                raise InputError(
                    f"the run {str(self.path)!r} exists; pass resume= to continue it, overwrite= to replace it, or "
                    "another folder as run="
                )

    def empty(self) -> None:
        """Delete the checkpoints and metrics of an earlier run."""
        self.settle()
        for file in (*self.path.glob("checkpoints/**/*.safetensors"), *self.path.glob("metrics.*")):
            file.unlink()

    def forget_later_stages(self) -> None:
        """Delete the checkpoints of all stages except the first, but keep their initial weights."""
        for file in self.path.glob("checkpoints/*/*.safetensors"):
            if file.stem != "start":
                file.unlink()

    def outdate(self) -> None:
        """Delete results about earlier weights: evaluation, analyses, report, figures, latent samplers."""
        samplers = self.path.glob("checkpoints/sampler-*/*")
        results = (*self.path.glob("analysis/*"), *self.path.glob("figures/*"))
        for file in (self.report_file, *results, *samplers):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.aside.path, ignore_errors=True)

    def describe(self, config: Mapping[str, Any], model: Any, run: Mapping[str, Any]) -> None:
        """Write config.yaml, model.json and run.json."""
        import yaml

        write_atomic(self.config_file, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        write_atomic(self.run_file, to_json(dict(run)))
        write_atomic(self.model_file, to_json(model))

    def read(self, file: Path) -> Any:
        """Read a JSON file of the run.

        Raises:
            InputError: If the file is missing or damaged.
        """
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"cannot read {str(file)!r} ({reason}); the run is damaged") from error
        needed = {self.run_file: {"data", "settings"}, self.evaluation_file: {"estimates"}}
        if not isinstance(value, dict) or not needed.get(file, set()) <= set(value):
            raise InputError(f"cannot read {str(file)!r} (tightbound did not write it); the run is damaged")
        return value

    def begun_by(self, job: str | None) -> bool:
        """Return whether this call of torchrun (see `core.launch.job`) began or resumed the run in this folder."""
        if job is None or not self.model_file.is_file():
            return False
        known = self.read(self.run_file)
        return job in (known.get("job"), *(resumed.get("job") for resumed in known.get("resumed", ())))

    def metrics(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl, with one row per epoch of a stage."""
        file = self.path / "metrics.jsonl"
        if not file.is_file():
            return []
        try:
            return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
        except ValueError as error:
            raise InputError(f"cannot read {str(file)!r} ({error}); the run is damaged") from error

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write metrics.jsonl and metrics.csv."""
        write_atomic(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path / "metrics.csv", table.getvalue())


def unused(base: str | Path) -> Path:
    """Return `base`, or the first of base-2, base-3, ... that does not exist."""
    base = Path(base)
    candidates = (base.with_name(f"{base.name}-{i}") if i > 1 else base for i in range(1, 1_000_000))
    return next(path for path in candidates if not path.exists())


_version = functools.cache(version)  # cached, since finding a version reads files, and it stays the same


def provenance() -> dict[str, Any]:
    """Return the versions, command and hardware of this process."""
    import torch

    from tightbound.core.world import size

    packages = ("tightbound", "torch", "numpy", "safetensors")
    return {
        "job": job(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "hardware": {
            "machine": platform.machine(),
            "system": platform.platform(),
            "threads": torch.get_num_threads(),
            "processes": size(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }
