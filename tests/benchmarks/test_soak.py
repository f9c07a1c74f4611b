"""The verdict of the soak, and one of its rounds."""

from __future__ import annotations

from pathlib import Path

import pytest


def rounds(per_hour: float, files: int = 9) -> list[object]:
    import soak

    wave = (0.0, 0.4, -0.3, 0.1)
    return [
        soak.Usage(36.0 * i, 460 + per_hour * i / 100 + wave[i % 4], 9 if i < 150 else files, 2, 0) for i in range(200)
    ]


def test_growth_of_memory_or_files_is_seen() -> None:
    import soak

    flat, said = soak.verdict(rounds(0.0))
    assert flat
    assert "(flat)" in said
    grows, said = soak.verdict(rounds(20.0))
    assert not grows
    assert "memory +20.0" in said
    leaks, said = soak.verdict(rounds(0.0, files=10))
    assert not leaks
    assert "files grew" in said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the schedule of beta depends on the length:UserWarning")
def test_a_round_repeats_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import soak

    monkeypatch.chdir(tmp_path)
    assert len(soak.soak(0.3, tmp_path)) >= 1
