"""The gallery, the map of latent codes, training curves and code indices, on models whose answers are known."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tightbound as tb
from tightbound.analysis.figures import Bars, Figure, Heatmap, Histograms, Lines, Pictures, Scatter
from tightbound.analysis.result import Result
from tightbound.core.errors import CompositionError, InputError
from tightbound.pages.charts import drawn

MLP = "mlp(hidden=(8,))"


def untrained(data: tb.data.Data, metrics: Any = (), **components: Any) -> tb.Trained:
    components = {"latent": 3, "network": MLP, **components}
    return tb.Trained(tb.VAE.for_data(data, **components), data, metrics=metrics)


def named(result: Result) -> dict[str, Figure]:
    again = Result.from_json(json.loads(json.dumps(result.to_json(), allow_nan=False)))
    assert [figure.name for figure in again.figures] == [figure.name for figure in result.figures]
    for figure in again.figures:
        assert drawn(figure).startswith(b"\x89PNG" if figure.is_picture else b"<?xml")
    return {figure.name: figure for figure in again.figures}


def size(figure: Figure) -> tuple[int, int]:
    (panel,) = figure.panels
    assert isinstance(panel, Pictures)
    return Image.open(io.BytesIO(panel.png)).size


@pytest.fixture(scope="module")
def digits() -> tb.data.Data:
    return tb.data.open("digits")


def test_small_images_are_enlarged_to_the_width_of_a_page(digits: tb.data.Data) -> None:
    figures = named(untrained(digits).gallery())
    assert list(figures) == ["samples", "reconstructions", "interpolation"]
    for figure in figures.values():
        assert 850 <= size(figure)[0] <= 900
    assert size(figures["samples"])[1] == pytest.approx(5 * 75, abs=8)  # five rows of images of about 70 pixels


def test_a_model_that_completes_examples_shows_completions(digits: tb.data.Data) -> None:
    figures = named(untrained(digits, context="visible(columns=(0, 0.5))").gallery())
    assert figures["samples"].title == "Completions"


def test_samples_say_what_they_are_decoded_from(digits: tb.data.Data) -> None:
    quantized = "quantized(quantizer='vq(codebook_size=5)')"
    captions = {
        "prior p(z)": untrained(digits),
        "plain autoencoder": untrained(digits, posterior="point"),
        "labels of test examples": untrained(digits, context="labels"),
        "no code prior has been trained": untrained(digits, latents=quantized, network="auto"),
    }
    for words, trained in captions.items():
        figures = named(trained.gallery())
        assert words in figures["samples"].caption
        assert ("interpolation" in figures) == ("code prior" not in words)


def test_a_table_shows_the_distribution_of_each_column() -> None:
    random = np.random.default_rng(0)
    x = np.stack([random.normal(3, 2, 300), random.integers(0, 3, 300), random.poisson(2, 300)], 1)
    x[::7, 0] = np.nan
    data = tb.data.open(x, kinds=["real", ("categories", ["a", "b", "c"]), "counts"])
    (figure,) = named(untrained(data).gallery()).values()
    number, words, counts = figure.panels
    assert isinstance(number, Histograms)
    assert np.isfinite(number.series["data"]).all()
    assert isinstance(words, Bars)
    assert isinstance(counts, Bars)
    shares = np.bincount(x[:, 1].astype(int)) / 300
    assert dict(zip(words.labels, words.series["data"], strict=True)) == pytest.approx(
        dict(zip("abc", shares, strict=True))
    )
    assert counts.labels == [str(i) for i in range(len(counts.labels))]
    for panel in (words, counts):
        assert sum(panel.series["data"]) == pytest.approx(1) == sum(panel.series["samples"])


def test_examples_that_are_no_images_or_tables_are_rejected() -> None:
    data = tb.data.open(np.random.default_rng(0).normal(size=(20, 2, 5, 5)).astype(np.float32))
    with pytest.raises(CompositionError, match="images or tables"):
        untrained(data).gallery()


def test_the_map_shows_principal_axes_by_class(digits: tb.data.Data) -> None:
    trained = untrained(digits)
    result = trained.latent_space(max_examples=100)
    (panel,) = named(result)["latent-space"].panels
    assert isinstance(panel, Scatter)
    assert list(panel.series) == [str(digit) for digit in range(10)]
    points = np.concatenate([np.reshape(each, (-1, 2)) for each in panel.series.values()])
    assert len(points) == 100
    assert points[:, 0].var() >= points[:, 1].var()
    assert abs(np.corrcoef(points.T)[0, 1]) < 1e-3
    plain = trained.latent_space(next(digits.require_test().epoch(50)).x)
    (panel,) = plain.figures[0].panels
    assert isinstance(panel, Scatter)
    assert list(panel.series) == ["examples"]


ROW: dict[str, Any] = {"epoch": 1, "step": 11, "train_loss": 8.0, "validation_loss": 8.1, "train_reconstruction": 7.0,
                       "train_kl": 1.0}  # fmt: skip


def test_training_curves_have_a_figure_for_each_stage(digits: tb.data.Data) -> None:
    rows = [ROW, {**ROW, "epoch": 2, "train_kl": 2.0}]
    rows += [{"stage": "prior", **ROW, "train_kl": 0.0, "uniform_loss": 9.0}]
    result = untrained(digits, metrics=rows).training_curves()
    figures = named(result)
    assert list(figures) == ["training", "training-prior"]
    assert [panel.title for panel in figures["training"].panels] == ["loss", "-E log p(x|z)", "KL(q || p)"]
    (panel,) = figures["training-prior"].panels
    assert isinstance(panel, Lines)
    assert panel.series == {"train": [8.0], "validation": [8.1], "uniform": [9.0]}
    assert panel.dashed == ["uniform"]
    with pytest.raises(InputError, match="no training metrics"):
        untrained(digits).training_curves()


def test_a_kl_divergence_that_is_constant_is_left_out(digits: tb.data.Data) -> None:
    result = untrained(digits, metrics=[ROW, {**ROW, "epoch": 2}]).training_curves()
    assert [panel.title for panel in result.figures[0].panels] == ["loss", "-E log p(x|z)"]


def test_the_first_epochs_do_not_set_the_scale(digits: tb.data.Data) -> None:
    rows = [{"epoch": i, "step": i, "train_loss": 1000.0 if i == 0 else 10.0 - 0.1 * i} for i in range(20)]
    (panel,) = untrained(digits, metrics=rows).training_curves().figures[0].panels
    assert isinstance(panel, Lines)
    assert panel.high is not None
    assert panel.high < 20


@pytest.fixture(scope="module")
def levels() -> tb.Trained:
    """Two levels of code indices, 4 x 4 and 2 x 2, with a prior that is not uniform."""
    x = np.random.default_rng(0).integers(0, 17, (40, 8, 8), dtype=np.uint8)
    trained = untrained(
        tb.data.open(x, levels=17, test=0.5), latent=4, network="resnet(halvings=(1,1), hidden=8, inner=4, blocks=1)",
        latents="quantized(quantizer='vq(codebook_size=5)')", prior="pixelcnn(hidden=4, layers=1)",
    )  # fmt: skip
    second = trained.model.latents.second_stage
    assert second is not None
    second.enable()
    torch.manual_seed(0)
    for p in second.parameters():
        torch.nn.init.normal_(p, 0, 0.5)
    return trained


def test_code_usage_counts_each_index_and_adds_up_the_price(levels: tb.Trained) -> None:
    result = levels.code_usage()
    figures = named(result)
    assert list(figures) == ["code-indices", "code-usage", "top-level", "code-prices"]
    high, low = figures["code-usage"].panels  # the highest level first
    indices = levels.code_indices(levels.data.require_test())
    for panel, own in zip((low, high), indices, strict=True):
        assert isinstance(panel, Bars)
        shares = np.sort(np.bincount(own.flatten(), minlength=5))[::-1] * 5 / own.numel()
        assert panel.series["uses"] == pytest.approx(shares)
    assert [row[0] for row in result.tables[0].rows] == ["level 2", "level 1"]
    rate = levels.evaluate(samples=1)["rate"].value
    prices = [panel.values for panel in figures["code-prices"].panels if isinstance(panel, Heatmap)]
    assert sum(np.sum(each) for each in prices) == pytest.approx(rate, rel=1e-5)


def test_a_uniform_prior_has_no_prices(digits: tb.data.Data) -> None:
    trained = untrained(digits, latents="quantized(quantizer='vq(codebook_size=5)')", network="auto")
    assert list(named(trained.code_usage(max_examples=60))) == ["code-indices", "code-usage"]


def test_each_kind_of_latent_has_its_own_picture(digits: tb.data.Data, levels: tb.Trained) -> None:
    with pytest.raises(CompositionError, match=r"latent_space\(\)"):
        untrained(digits).code_usage()
    for ask in (levels.latent_space, levels.paths):
        with pytest.raises(CompositionError, match=r"code_usage\(\)"):
            ask()
