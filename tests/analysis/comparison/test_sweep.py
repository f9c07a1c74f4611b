"""Models side by side: which is best, which is dominated, and what the picture needs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

import tightbound as tb
from tightbound.analysis import Point, Sweep
from tightbound.core.errors import InputError
from tightbound.report.rate_distortion import rate_distortion


def point(value: float, rate: float | None, distortion: float, **more: Any) -> Point:
    elbo = None if rate is None else -(rate + distortion)
    values = {"rate": rate, "distortion": distortion, "elbo": elbo, **more}
    numbers = {name: {"value": v, "stderr": None if v is None else 0.1} for name, v in values.items()}
    return Point(value, numbers, score=elbo)


def test_best_and_dominated() -> None:
    found = Sweep("beta", (point(0.1, 30, 65), point(1, 10, 80), point(2, 12, 80), point(3, 3, 100), point(4, 10, 80)))
    assert found.best is not None
    assert found.best.value == 1  # the first of equals
    assert [found.dominated(p) for p in found.points] == [False, False, True, False, False]
    assert [p["dominated"] for p in json.loads(json.dumps(found.to_json()))["points"]] == [
        False, False, True, False, False,
    ]  # fmt: skip


def test_the_best_is_by_the_score_whatever_the_numbers_say() -> None:
    first, second = point(1, 10, 80), point(2, 10, 90)
    found = Sweep("beta", (dataclasses.replace(first, score=-9.0), dataclasses.replace(second, score=-8.0)))
    assert found.best is found.points[1]
    unscored = Sweep("beta", (dataclasses.replace(first, score=None),))
    assert unscored.best is None
    assert rate_distortion(unscored).lstrip().startswith(b"<?xml")


def test_a_model_without_a_rate_is_neither_and_has_no_place_in_the_picture() -> None:
    some = Sweep("beta", (point(1, None, 50), point(2, 5, 90)))
    assert some.best is some.points[1]
    assert not any(some.dominated(p) for p in some.points)
    assert rate_distortion(some).lstrip().startswith(b"<?xml")
    none = Sweep("beta", (point(1, None, 50), point(2, None, 60)))
    assert none.best is None
    with pytest.raises(InputError, match="no model of the sweep has a rate"):
        rate_distortion(none)


def test_the_line_of_equal_elbo_goes_through_the_best_with_slope_minus_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn: list[tuple[Any, Any]] = []
    plot = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **k: drawn.append((x, y)) or plot(self, x, y, **k))
    rate_distortion(Sweep("beta", (point(0.1, 30, 65), point(1, 10, 80), point(3, 3, 100))), "png")
    ((x, y),) = drawn
    assert (y[1] - y[0]) / (x[1] - x[0]) == pytest.approx(-1)
    assert x[0] + y[0] == pytest.approx(90)


def test_labels_of_many_points_hide_neither_each_other_nor_points(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))[1])
    pairs = [(r + d, 100 - r + 0.2 * d) for r in (10, 20, 30, 31) for d in (0, 0.7, 1.2)]
    rate_distortion(Sweep("prior", tuple(point(f"mixture({i})", r, d) for i, (r, d) in enumerate(pairs))), "png")
    (figure,) = drawn
    figure.draw_without_rendering()
    (axis,) = figure.axes
    boxes = [text.get_window_extent() for text in axis.texts]
    assert len(boxes) > 5
    assert all(not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    places = axis.transData.transform(pairs)
    assert not any(box.contains(*place) for box in boxes for place in places)


def test_in_python_each_value_is_trained_and_evaluated_on_the_same_data() -> None:
    data = tb.data.open("digits")

    def train(beta: float) -> tb.Trained:
        model = tb.vae(data, latent=2, network="mlp(hidden=(8,))")
        return tb.fit(model, data, tb.objectives.ELBO(beta=beta), steps=40, quiet=True)

    found = tb.sweep(train, [0.01, 100.0], data.test, name="beta", samples=5)
    rates = [p.numbers["rate"]["value"] for p in found.points]
    assert rates[0] > rates[1]
    assert [p.numbers["elbo"]["n"] for p in found.points] == [297, 297]
    assert found.points[0].numbers["mutual_information"]["value"] is not None
    with pytest.raises(InputError, match="two or more"):
        tb.sweep(train, [1.0], data.test)
