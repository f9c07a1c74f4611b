"""Read YAML, and write atomically: a reader sees the old file or the new one, never a part. Does not import torch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tightbound.core.errors import InputError


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name in the same folder, and rename it at the end.

    Raises:
        InputError: If the disk is full or the folder cannot be written. The temporary file is removed, and an existing
            file of that name is unchanged.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def unwritable(path: Path, error: OSError) -> InputError:
    """Return the error for a file or folder that the system does not let be written."""
    return InputError(f"cannot write {str(path)!r} ({error.strerror}); free space there or choose another folder")


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file atomically; see `atomic` for errors."""
    data = content.encode() if isinstance(content, str) else content
    with atomic(path) as file:
        file.write(data)


def to_json(value: Any) -> str:
    """Return strict JSON (no NaN), indented."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises:
        InputError: If there is no such file, or it is not YAML or not a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InputError(f"cannot read the config {str(path)!r} ({reason}); pass the path of a YAML file") from error
    except yaml.YAMLError as error:
        where = str(error).replace("\n", " ")
        raise InputError(f"{str(path)!r} is not YAML ({where})") from error
    if not isinstance(values, dict):
        raise InputError(f"{str(path)!r} must hold `name: value` lines, like the config.yaml of a run")
    return values
