"""Law of forms: every method takes what `open` takes, gives the same numbers, and returns the form that was given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch.utils.data import DataLoader, TensorDataset

import tightbound as tb
from tightbound.core.domain import COUNTS, REAL, Domain
from tightbound.core.errors import InputError
from tightbound.data.form import Form, as_array

R = np.random.default_rng(0)
PIXELS = R.integers(0, 256, (20, 5, 6, 3))
CONTENTS = {  # what the model is built for; floating-point numbers, except where whole numbers say more
    "real": R.normal(1e3, 50, (20, 4)).astype("f4"),
    "unit": R.random((20, 4)).astype("f4"),
    "binary": (R.random((20, 6)) < 0.4).astype("f4"),
    "missing": np.where(R.random((20, 4)) < 0.2, np.nan, R.normal(size=(20, 4))).astype("f4"),
    "whole columns": np.stack([R.integers(1, 3, 40), R.integers(0, 90, 40), R.integers(0, 5000, 40)], 1).astype("f4"),
    "wide levels": R.integers(0, 17, (20, 64)).astype("f4"),
    "wide counts": R.integers(0, 5000, (20, 64)).astype("f4"),
    "levels": R.integers(0, 17, (20, 5, 6)).astype("f4"),
    "pixels": PIXELS.astype("u1"),
    "shares": (PIXELS / 255).astype("f4"),
    "shares, channels first": (PIXELS / 255).astype("f4").transpose(0, 3, 1, 2),
    "windows": R.normal(size=(20, 7, 3)).astype("f4"),
}


TABLES = ("whole columns", "wide levels", "wide counts")


def built(x: Any) -> tb.VAE:
    return tb.VAE.for_data(x, latent=2, network="mlp(hidden=(4,))")


def loss_of(trained: tb.Trained, x: Any) -> float:
    assert isinstance(trained.model, tb.VAE)
    return trained.model.loss(x, seed=0).item()


@pytest.fixture(scope="module")
def models() -> dict[str, tb.Trained]:
    return {name: tb.Trained(built(x)) for name, x in CONTENTS.items()}


def exact(x: np.ndarray, folder: Path) -> Iterator[tuple[str, Any]]:
    """Forms of the same numbers."""
    f4 = np.array(x, "f4")
    tensor = torch.from_numpy(f4)
    yield "list", x.tolist()
    yield from (("list of arrays", list(f4)), ("list of tensors", list(tensor)), ("objects", f4.astype(object)))
    yield from ((dtype, f4.astype(dtype)) for dtype in ("f8", ">f4", ">f8", "longdouble"))
    yield "Fortran order", np.asfortranarray(f4)
    yield "negative strides", f4[::-1].copy()[::-1]
    yield "masked, with no entry masked", np.ma.masked_array(f4)
    frozen = f4.copy()
    frozen.setflags(write=False)
    yield "read only", frozen
    if not np.isnan(x).any() and np.array_equal(f4, np.rint(f4)):
        for dtype in ("i2", ">i2", "u2", "i4", "u4", ">u4", "i8", ">i8", "u8"):
            yield dtype, f4.astype(dtype)
        yield from ((str(dtype), tensor.to(dtype)) for dtype in (torch.int16, torch.int64))
        if f4.max() <= 255:  # larger numbers do not fit
            yield from (("u1", f4.astype("u1")), ("torch.uint8", tensor.byte()))
            yield from (("float16", f4.astype("f2")), ("half", tensor.half()), ("bfloat16", tensor.bfloat16()))
        if f4.max() == 1:
            yield from (("bool", f4 == 1), ("torch.bool", tensor == 1))
    yield from (("float32", tensor), ("float64", tensor.double()), ("gradient", tensor.clone().requires_grad_()))
    yield from (("strided", torch.stack([tensor, tensor], -1)[..., 0]), ("sparse", tensor.to_sparse()))
    if x.ndim == 4:
        yield "channels last", tensor.to(memory_format=torch.channels_last)
    yield "dataset", TensorDataset(tensor)
    if not np.isnan(x).any():  # missing entries are for tables, and a loader is none
        yield from ((f"batches of {n}", DataLoader(TensorDataset(tensor), batch_size=n)) for n in (1, 7, 20))
    if x.ndim == 2:
        yield "compressed rows", tensor.to_sparse_csr()
        yield "sparse matrix", scipy.sparse.csr_matrix(f4)
        frame = pd.DataFrame(f4, columns=[f"c{i}" for i in range(x.shape[1])])
        frame.to_csv(folder / "x.csv", index=False)
        yield from (("frame", frame), ("csv", str(folder / "x.csv")))
    np.save(folder / "x.npy", f4)
    np.savez(folder / "x.npz", x=f4)
    yield from (("npy", str(folder / "x.npy")), ("npz", folder / "x.npz"))


@pytest.mark.filterwarnings("ignore:.*[Ss]parse.*")
@pytest.mark.parametrize("name", CONTENTS)
def test_every_form_gives_the_same_numbers(name: str, models: dict[str, tb.Trained], tmp_path: Path) -> None:
    trained, x = models[name], CONTENTS[name]
    codes, bound = trained.encode(x), trained.evaluate(x, samples=2)["elbo"].value
    rebuilt, loss = trained.reconstruct(x), loss_of(trained, x)
    assert rebuilt.shape == x.shape
    for turn, (form, given) in enumerate(exact(x, tmp_path), list(CONTENTS).index(name)):
        assert torch.allclose(trained.encode(given), codes, atol=1e-6, rtol=1e-6), form
        if turn % 2:  # so that each meets each form, with half of the contents
            assert trained.evaluate(given, samples=2)["elbo"].value == pytest.approx(bound, rel=1e-6), form
        else:
            again = trained.reconstruct(given)
            assert again.shape == x.shape, form
            assert torch.allclose(again, rebuilt, rtol=1e-5), form
        if isinstance(given, np.ndarray | torch.Tensor):
            assert loss_of(trained, given) == pytest.approx(loss, rel=1e-5), form


@pytest.mark.filterwarnings("ignore:.*[Ss]parse.*")
@pytest.mark.parametrize(
    "name", ["real", "binary", "whole columns", "wide levels", "wide counts", "levels", "shares", "windows"]
)
def test_a_model_is_the_same_whatever_the_form_of_its_data(
    name: str, models: dict[str, tb.Trained], tmp_path: Path
) -> None:
    first = models[name].model
    for form, given in exact(CONTENTS[name], tmp_path):
        if form in ("u1", "torch.uint8"):
            continue  # bytes are pixels of 256 levels
        if form == "sparse matrix" and name in ("whole columns", "wide levels"):
            assert built(given).observation.source == COUNTS  # whole numbers of a sparse matrix
            continue
        if name in TABLES and (form == "dataset" or form.startswith("batches")):
            continue  # some examples cannot tell what columns hold
        model = built(given)
        assert (model.shape, model.observation.source) == (first.shape, first.observation.source), form
        assert model.layout == first.layout, form


def test_results_have_the_form_of_what_was_given(models: dict[str, tb.Trained]) -> None:
    trained, pixels = models["shares"], CONTENTS["pixels"]
    shares, levels = trained.reconstruct(CONTENTS["shares"]), trained.reconstruct(pixels)
    assert shares.max() <= 1
    assert torch.allclose(shares * 255, levels)
    first = trained.reconstruct(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    assert torch.equal(first, levels.movedim(-1, 1))
    ends = trained.interpolate(pixels[0], pixels[1], steps=3)
    assert torch.allclose(ends[[0, 2]], levels[:2], rtol=1e-5)
    for drawn in (trained.sample(3), trained.sample(3, draw=True), trained.decode(torch.zeros(3, 2))):
        assert drawn.shape == (3, 5, 6, 3)  # as the training data
        assert 0 <= drawn.min() <= drawn.max() <= 1
    assert models["levels"].sample(3).shape == (3, 5, 6)
    assert models["windows"].sample(3).shape == (3, 7, 3)


def test_a_saved_run_keeps_the_form(tmp_path: Path) -> None:
    x = CONTENTS["shares"]
    trained = tb.fit(built(x), x, run=tmp_path / "run", steps=1, quiet=True)
    assert torch.equal(tb.load(tmp_path / "run").sample(4), trained.sample(4))


@pytest.mark.parametrize("layout", ["chw", "hwc", "hw"])
@pytest.mark.parametrize("shares", [False, True])
def test_a_form_is_undone(layout: Any, shares: bool) -> None:
    form, domain = Form(layout, shares), Domain("levels", 256)
    x = torch.from_numpy(R.integers(0, 256, (2, 3, 1, 5, 6))).double()
    assert torch.allclose(form.take(form.give(x, domain), domain), x)
    assert Form.of(form.give(x[0], domain), (1, 5, 6), domain) in (form, Form("chw", shares))


def test_masked_and_missing_entries_are_missing() -> None:
    masked = np.ma.masked_array(np.arange(6).reshape(3, 2), mask=np.array([[0, 1], [0, 0], [0, 0]], bool))
    for given in (masked, np.array([[0, None], [2, 3], [4, 5]], dtype=object)):
        x = as_array(given)
        assert x.dtype.kind == "f"
        assert np.argwhere(np.isnan(x)).tolist() == [[0, 1]]
    with pytest.raises(InputError, match="Python objects"):
        tb.data.open(np.array([["a", 1.0]], dtype=object))


def test_large_unsigned_numbers_do_not_wrap() -> None:
    assert as_array(np.array([2**64 - 1], np.uint64)).tolist() == [float(2**64 - 1)]
    assert as_array(np.array([2**63 - 1], np.uint64)).tolist() == [2**63 - 1]


def test_half_precision_shares_are_levels() -> None:
    """A share of 255 is held to within 0.06 of a level in float16; numbers in between are no shares."""
    x = CONTENTS["shares"].astype("f2")
    assert tb.data.open(x).domain == Domain("levels", 256)
    assert tb.data.open(R.random((20, 4)).astype("f2")).domain.kind == "unit"
    assert torch.equal(next(tb.data.open(x).whole.epoch(20)).x, torch.from_numpy(PIXELS.transpose(0, 3, 1, 2)).byte())


def test_whole_numbers_of_pictures_are_levels() -> None:
    assert tb.data.open(CONTENTS["levels"]).domain == Domain("levels", 17)
    assert tb.data.open(PIXELS.astype("f8")).domain == Domain("levels", 256)
    assert tb.data.open(np.minimum(PIXELS, 200)).domain == Domain("levels", 256)
    assert tb.data.open(PIXELS - 1.0).domain == REAL


def test_dark_pictures_of_floating_point_levels_stay_levels() -> None:
    """Levels that are all 0 or 1 look like shares; they are read as the training data held them, and returned so."""
    levels = R.integers(0, 256, (20, 5, 6)).astype("f4")
    dark = R.integers(0, 2, (4, 5, 6))
    trained = tb.Trained(built(levels))
    assert torch.equal(trained.encode(dark.astype("f4")), trained.encode(dark))
    assert torch.equal(trained.reconstruct(dark.astype("f4")), trained.reconstruct(dark))
    shares = tb.Trained(built(levels / 255))
    assert shares.reconstruct(np.zeros((2, 5, 6))).max() <= 1
