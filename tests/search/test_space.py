"""Options that vary: how they are written, what is drawn from them, and how runs are named."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import FixedTrial

from tightbound.components import parse
from tightbound.config import Config
from tightbound.core.errors import InputError
from tightbound.search.space import Dimension, Range, configured, grid, space_of


def draw(field: str, *words: str, **params: Any) -> str:
    return Dimension(field, words).draw(FixedTrial({k.replace("__", "."): v for k, v in params.items()}))  # pyright: ignore[reportArgumentType]


def test_ranges_in_components_are_drawn_by_the_name_of_their_argument() -> None:
    word = "vamp(components=int(2, 8))"
    assert draw("prior", "normal", word, prior=word, prior__vamp__components=5) == "vamp(components=5)"
    assert draw("prior", "normal", word, prior="normal") == "normal"
    schedule = "linear(uniform(0, 1), steps=int(10, 30))"
    assert draw("beta", schedule, beta__linear__0=0.51236, beta__linear__steps=20) == "linear(0.5124, steps=20)"
    assert draw("lr", "log(0.25, 0.75)", lr=0.75) == "0.75"


def test_extremes_are_words_and_both_ends_of_ranges() -> None:
    assert Dimension("latent", ("4", "int(2, 64)")).extremes() == ("4", "2", "64")


@pytest.mark.parametrize("text", ["log(0, 1)", "uniform(1, 1)", "uniform(1)", "int(1, 2.5)", "int(0, 3, log=True)",
                                  "int(1, 9, step=2)", "log('a', 2)"])  # fmt: skip
def test_ranges_without_proper_limits_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        Range.of(parse(text))


def test_a_component_with_the_name_of_a_range_is_none() -> None:
    assert Range.of(parse("uniform")) is None
    assert Range.of(parse("uniform()")) is None


REFUSED = [
    ({"beta": [1]}, "two or more"),
    ({}, "two or more"),
    ({"beta": ["1", "1.0"]}, "beta=1 was given twice"),
    ({"latent": "uniform(2, 8)"}, r"int\(2, 64\)"),
    ({"levels": [2, 17]}, "levels= cannot vary"),
    ({"betta": [2, 17]}, "did you mean 'beta'"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_values_that_cannot_be_swept_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        space_of(values)


def test_values_are_read_by_the_type_of_their_option() -> None:
    values = {"latent": "8", "lr": "1e-2", "beta": "0.5", "start_at_data": "False", "ema": "None", "epochs": "3"}
    config = configured(Config(steps=100), values)
    assert (config.latent, config.lr, config.beta, config.start_at_data) == (8, 0.01, "0.5", False)
    assert (config.ema, config.epochs, config.steps) == (None, 3, None)
    for field, word in (("latent", "2.5"), ("lr", "fast"), ("start_at_data", "maybe")):
        with pytest.raises(InputError, match=f"{field}={word} was given; needed: "):
            configured(Config(), {field: word})


def test_a_grid_has_every_combination_by_name() -> None:
    found = grid(space_of({"beta": [0.5, 1], "prior": ["vamp(3)", "vamp[3]", "normal"]}))
    assert len(found) == 6
    assert found["beta-0.5_prior-normal"] == {"beta": "0.5", "prior": "normal"}
    assert list(found.values())[1] == {"beta": "0.5", "prior": "vamp[3]"}


def test_a_run_keeps_its_name_when_values_are_added() -> None:
    long = [f"mixture(components={n}{'0' * 120})" for n in range(1, 4)]
    few, more = (list(grid(space_of({"beta": betas, "prior": long}))) for betas in ((1, 2), (0, 1, 2, 3)))
    assert few == more[3:9]
    assert len(set(more)) == 12
    assert max(map(len, more)) <= 120


@pytest.mark.parametrize("field", ["lr", "batch_size", "epochs", "latent"])
def test_an_option_that_may_be_auto_is_swept_with_it(field: str) -> None:
    assert getattr(configured(Config(), {field: "auto"}), field) == "auto"
    assert getattr(configured(Config(), {field: "3"}), field) == 3
    with pytest.raises(InputError, match=f"{field}=fast was given; needed: an? [a-z]+ or 'auto'"):
        configured(Config(), {field: "fast"})
