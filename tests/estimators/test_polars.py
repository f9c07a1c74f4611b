"""Data frames of polars, where it is installed."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest
from sklearn.compose import make_column_transformer

import tightbound as tb
from tightbound.sklearn import VAE, VAEImputer, VAEOutlierDetector, VAESynthesizer

pl: Any = pytest.importorskip("polars")
N = 60
R = np.random.default_rng(0)
ONCE: dict[str, Any] = {"network": "mlp(hidden=(4,))", "max_epochs": 1, "samples": 2, "random_state": 0}
START = datetime.datetime(2024, 1, 1)
DAYS = [START + datetime.timedelta(days=int(day)) for day in R.integers(0, 90, N)]
FRAME: Any = pl.DataFrame(
    {
        "x": R.normal(size=N),
        "visits": R.integers(0, 60, N),
        "change": pl.Series(R.integers(-50, 50, N), dtype=pl.Int16),
        "city": R.choice(["Oslo", "Rome"], N),
        "size": pl.Series(R.choice(["s", "l"], N), dtype=pl.Enum(["s", "m", "l"])),
        "kind": pl.Series(R.choice(["u", "v"], N), dtype=pl.Categorical),
        "member": R.random(N) > 0.5,
        "born": [day.date() for day in DAYS],
        "seen": pl.Series(DAYS).dt.replace_time_zone("Europe/Berlin"),
        "for": [datetime.timedelta(hours=int(hour)) for hour in R.integers(0, 90, N)],
        "cost": pl.Series(R.normal(size=N).round(2).tolist(), dtype=pl.Decimal(10, 2)),
        "price": R.choice(["$1.50", "$2.75"], N),
    }
)
GAPS = FRAME.with_columns(
    [pl.when(pl.Series(R.random(N) < 0.2)).then(None).otherwise(pl.col(c)).alias(c) for c in FRAME.columns]
)


def test_codes_are_a_data_frame_on_request() -> None:
    vae = VAE(2, output="mean+std", **ONCE).set_output(transform="polars").fit(GAPS)
    codes = vae.transform(GAPS)
    assert isinstance(codes, pl.DataFrame)
    assert codes.columns == ["vae0", "vae1", "vae0_std", "vae1_std"]
    assert np.array_equal(codes.to_numpy(), vae.set_output(transform="default").transform(GAPS))
    assert vae.sample(3).columns == FRAME.columns
    both = make_column_transformer((VAE(1, **ONCE), ["x", "city"]), remainder="passthrough")
    assert both.set_output(transform="polars").fit_transform(FRAME[:, :4]).columns == [
        "vae__vae0", "remainder__visits", "remainder__change",
    ]  # fmt: skip


def test_gaps_are_filled_in_the_types_of_the_columns() -> None:
    imputer = VAEImputer(2, **ONCE).set_output(transform="polars").fit(GAPS)
    for filled in (imputer.transform(GAPS), *imputer.draws(GAPS, 1)):
        assert filled.schema == GAPS.schema
        assert sum(filled.null_count().row(0)) == 0
        known = GAPS.select(pl.all().is_not_null())
        assert all(
            new == old
            for name in FRAME.columns
            for new, old, there in zip(filled[name], GAPS[name], known[name], strict=True)
            if there
        )
    marked = VAEImputer(2, add_indicator=True, **ONCE).set_output(transform="polars").fit_transform(GAPS[:, :2])
    assert marked.columns == ["x", "visits", "missingindicator_x", "missingindicator_visits"]


@pytest.mark.parametrize("frame", [FRAME, GAPS])
def test_synthetic_rows_have_the_types_of_the_columns(frame: Any) -> None:
    synthesizer = VAESynthesizer(2, **ONCE).fit(frame)
    rows = synthesizer.sample(30)
    assert rows.schema == frame.schema
    assert set(rows["city"]) <= {"Oslo", "Rome", None}
    assert set(synthesizer.sample(5, given={"city": "Rome"})["city"]) == {"Rome"}


def test_rows_are_scored_as_those_of_other_data_frames() -> None:
    numbers = GAPS.select("x", "visits")
    detector = VAEOutlierDetector(2, calibration_fraction=0.2, **ONCE).fit(GAPS)
    assert detector.p_values(GAPS).shape == (N,)
    assert np.array_equal(
        VAEOutlierDetector(2, **ONCE).fit(numbers).score_samples(numbers),
        VAEOutlierDetector(2, **ONCE).fit(numbers.to_numpy()).score_samples(numbers.to_numpy()),
    )


def test_a_lazy_data_frame_is_refused_in_one_line() -> None:
    with pytest.raises(tb.TightboundError, match=r"X is a LazyFrame, .* pass X\.collect\(\)"):
        VAE(2, **ONCE).fit(FRAME.lazy())
