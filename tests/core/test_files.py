"""Writing files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import tree
from tightbound.core.files import write_atomic


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new/deep/a.txt"
    write_atomic(file, "one")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            write_atomic(file, "two")
    assert tree(tmp_path) == {"new": None, "new/deep": None, "new/deep/a.txt": b"one"}
    write_atomic(file, b"three")
    assert file.read_bytes() == b"three"
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
