"""The settings of a run."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import get_type_hints

import pytest

import tightbound as tb
from tightbound.config import Config, FitOptions, Settings
from tightbound.core.errors import InputError


def test_the_typed_options_of_fit_are_the_settings() -> None:
    assert list(get_type_hints(FitOptions)) == [field.name for field in dataclasses.fields(Settings)]
    options = get_type_hints(FitOptions, include_extras=True)
    settings = get_type_hints(Settings)  # without placeholders
    assert {name: str(kind) for name, kind in options.items()} == {name: str(settings[name]) for name in options}


def test_settings_need_neither_torch_nor_the_command_line_library() -> None:
    code = "import sys, tightbound.config; print([name for name in ('torch', 'tyro') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["lr", "encoder_lr", "decoder_lr", "prior_lr", "eps", "weight_decay"])
def test_rates_of_an_optimizer_given_as_a_function_belong_in_it(name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}= cannot be combined with an optimizer"):
        Settings.of({"optimizer": lambda params: None, name: 0.5})


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(InputError, match="optimizer = 'sgd'; needed: 'adam', 'adamw', or a function"):
        Settings.of({"optimizer": "sgd"})


def test_a_run_records_where_its_files_are_whatever_folder_it_is_asked_from(tmp_path, monkeypatch):
    from tightbound.recipes.composing import recorded

    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").touch()
    for given, place in (("t.csv", tmp_path / "t.csv"), ("s-{0..9}.tar", tmp_path / "s-{0..9}.tar")):
        assert recorded(Config(data=given))["data"] == str(place)
    for given in ("digits", "https://host/s-{0..9}.tar"):
        assert recorded(Config(data=given))["data"] == given


def test_seeds_have_any_size_but_are_whole() -> None:
    rows = [[0.5, 1.5], [2.5, 0.25]]
    first, second = (tb.VAE.for_data(rows, latent=1, seed=seed).state_dict().values() for seed in (10**30, 10**30 + 1))
    assert any(not a.equal(b) for a, b in zip(first, second, strict=True))
    for seed in (-1, 1.5):
        with pytest.raises(InputError, match=r"seed = .*; needed: a whole number of at least 0"):
            tb.VAE.for_data(rows, latent=1, seed=seed)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["lr", "batch_size"])
def test_none_does_not_stand_for_auto(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} = None; needed: a"):
        Settings(**{name: None})
    assert getattr(Settings(), name) == "auto"


@pytest.mark.parametrize("share", [None, "many", True, 0, 1.0, float("nan")])
def test_the_share_to_test_on_is_a_number(share: object) -> None:
    with pytest.raises(InputError, match=r"test = .*; needed: a finite number above 0 and below 1"):
        tb.data.open([[0.5, 1.5], [2.5, 0.25]], test=share)  # pyright: ignore[reportArgumentType]
