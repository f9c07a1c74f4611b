"""Numbers that could be levels or shares of the highest level mean what they meant in the training data."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import tightbound as tb
from tightbound.core.domain import UNIT, Domain, as_domain
from tightbound.core.errors import InputError
from tightbound.data import open
from tightbound.data.given import examples, training_data
from tightbound.inference.reopen import run_data
from tightbound.training.folder import RunFolder

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (12, 6, 5), dtype=np.uint8)
DARK = RNG.integers(0, 2, (3, 6, 5), dtype=np.uint8)  # levels 0 and 1
SHARES, WHOLE = GRAY / 255, GRAY.astype(np.float32)
TRAINED = {
    "shares": training_data(SHARES),
    "integers": training_data(GRAY),
    "floats": training_data(WHOLE, levels=256),
}


def read(source, trained):
    data = TRAINED[trained]
    return torch.cat([batch.x for batch in examples(source, data.domain, data.shape).epoch(7)])[:, 0].double().numpy()


def npy(x, folder):
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


FORMS = {
    "array": lambda x, _: x,
    "tensor": lambda x, _: torch.from_numpy(x),
    "list": lambda x, _: x[:, None].tolist(),
    "data set": lambda x, _: TensorDataset(torch.from_numpy(x)),
    "loader": lambda x, _: DataLoader(TensorDataset(torch.from_numpy(x)), 2),
    "file": npy,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_of_0_and_1_mean_what_floats_meant_in_training(form, kind, tmp_path):
    source = FORMS[form](DARK.astype(kind), tmp_path)
    assert np.array_equal(read(source, "shares"), DARK * 255)
    assert np.array_equal(read(source, "floats"), DARK)
    with pytest.raises(InputError, match=r"0 or 1.* integers 0\.\.255 .*give integers.*multiply by 255"):
        read(source, "integers")


@pytest.mark.parametrize("form", [form for form in FORMS if form != "list"])
@pytest.mark.parametrize("trained", TRAINED)
def test_integers_are_levels(form, trained, tmp_path):
    for kind in (np.uint8, np.int64):
        for x in (GRAY, DARK):
            assert np.array_equal(read(FORMS[form](x.astype(kind), tmp_path), trained), x)


@pytest.mark.parametrize("trained", TRAINED)
def test_floats_that_can_be_read_in_one_way_alone_are_read_so(trained):
    assert np.array_equal(read(SHARES[:2], trained), GRAY[:2])
    assert np.array_equal(read(WHOLE[:2], trained), GRAY[:2])
    for level in (0, 51, 255):  # constant images, and one image
        if level < 255 or trained == "shares":
            assert (read(np.full((1, 6, 5), level / 255), trained) == level).all()
        assert (read(np.full((1, 6, 5), float(level)), trained) == level).all()
    for wrong in (SHARES / 2, SHARES * 2, -DARK.astype(float)):
        with pytest.raises(InputError, match=r"not all are|outside integers 0\.\.255"):
            read(wrong, trained)


@pytest.mark.parametrize("trained", TRAINED)
def test_booleans_are_no_levels(trained):
    for source in (DARK > 0, torch.from_numpy(DARK > 0)):
        with pytest.raises(InputError, match=r"holds booleans; needed: integers 0\.\.255.*multiply"):
            read(source, trained)


def test_validation_and_more_training_data_are_read_like_the_first():
    data = training_data(SHARES, validation=DARK.astype(float), test=GRAY[:2])
    assert data.validation.batch(torch.arange(3)).x.max() == 255
    model = tb.VAE.for_data(data, latent=1)
    assert training_data(DARK.astype(float), like=model).train.batch(torch.arange(3)).x.max() == 255
    assert training_data(DARK, like=model).train.batch(torch.arange(3)).x.max() == 1


def test_bytes_are_no_numbers_in_0_1_where_these_were_floats():
    domain = training_data(RNG.random((9, 6, 5))).domain
    assert domain == UNIT
    for source in (DARK, torch.from_numpy(DARK), TensorDataset(torch.from_numpy(DARK))):
        with pytest.raises(InputError, match=r"uint8.*floating-point.*divide .* by 255"):
            examples(source, domain, (1, 6, 5))
    with pytest.raises(InputError, match=r"outside numbers in \[0, 1\]"):
        examples(GRAY, domain, (1, 6, 5))
    assert examples(DARK.astype(float), domain, (1, 6, 5)).batch(torch.arange(3)).x.max() == 1
    declared = training_data(DARK, domain="unit")
    assert examples(DARK, declared.domain, (1, 6, 5)).batch(torch.arange(3)).x.max() == 1


@pytest.mark.parametrize(("options", "high"), [({}, 1), ({"domain": "unit"}, 1), ({"levels": 256}, 255)])
def test_black_and_white_images_reach_the_highest_level(tmp_path, options, high):
    for i, x in enumerate(DARK):
        Image.fromarray(255 * x).convert("1").save(tmp_path / f"{i}.png")
    x = open(tmp_path, **options).whole.batch(torch.arange(3)).x
    assert np.array_equal(x[:, 0].numpy(), DARK * high)


def test_a_column_of_levels_keeps_its_meaning():
    table = np.array([[0.5, 3.0], [np.nan, 0.0], [1.0, 2.0], [0.0, 1.0]])
    data = training_data(table, kinds=[("levels", 3), ("levels", 4)])
    known = tuple(as_domain(column.literal) for column in data.domain.columns)  # as a run records them
    row = examples([[1.0, 1.0]], Domain("mixed", columns=known), (2,)).batch(torch.arange(1)).x
    assert row.tolist() == [[2, 1]]


def test_numbers_in_place_of_words_and_bytes_in_a_column_of_numbers_are_what_they_are():
    frame = pd.DataFrame({"word": list("xyz"), "share": [0.25, 0.5, 1.0]})
    data = training_data(frame, kinds={"share": "unit"})
    for kind in (np.float64, np.uint8):
        codes = pd.DataFrame({"word": np.array([1, 0], kind), "share": np.array([1, 0], kind)})
        rows = examples(codes, data.domain, (2,), data.schema).batch(torch.arange(2)).x
        assert rows.tolist() == [[1, 1], [0, 0]]


def test_opened_data_of_another_domain_are_refused():
    data = TRAINED["shares"]
    with pytest.raises(InputError, match=r"x holds binary values.*made for integers 0\.\.255.*opened from"):
        examples(open(DARK.astype(float)), data.domain, data.shape)
    assert len(examples(open(GRAY // 2, levels=200), data.domain, data.shape)) == 1


@pytest.fixture(scope="module", params=["", "likelihood='bernoulli'", "observation='levels(dequantize=True)'"])
def run(request, tmp_path_factory):
    chosen = eval(f"dict({request.param})")
    chosen |= {"likelihood": "gaussian"} if "observation" in chosen else {}
    model = tb.VAE.for_data(SHARES, latent=2, network="mlp(hidden=(4,))", **chosen)
    folder = tmp_path_factory.mktemp("runs") / "run"
    return tb.fit(model, SHARES, run=folder, epochs=1, quiet=True), folder


def test_a_run_remembers_what_floats_meant(run, tmp_path):
    trained, folder = run
    black_and_white = DARK.astype(np.float32)
    data = run_data(trained.model, RunFolder(folder), str(npy(black_and_white, tmp_path)))
    assert data.whole.batch(torch.arange(3)).x.max() == 255
    expected = trained.encode(255 * DARK)
    assert not torch.equal(expected, trained.encode(DARK))
    for same in (trained, tb.load(folder)):
        assert torch.equal(same.encode(black_and_white), expected)
        assert torch.allclose(255 * same.reconstruct(black_and_white), trained.reconstruct(255 * DARK))
        ends = torch.from_numpy(black_and_white[:2, None])
        assert torch.allclose(255 * same.interpolate(*ends), same.interpolate(*(255 * ends)))
        drawn = same.sample(4, draw=True)
        assert drawn.max() <= 1  # results are shares as well, and can be given back
        assert same.encode((255 * drawn).round() / 255).shape == (4, 2)


def test_a_loss_reads_tensors_like_the_training_data():
    model = tb.VAE.for_data(SHARES, latent=2, network="mlp(hidden=(4,))")
    levels = torch.from_numpy(GRAY[:, None])
    expected = model.loss(levels, seed=0)
    assert torch.equal(model.loss(torch.from_numpy(SHARES[:, None]).float(), seed=0), expected)
    assert torch.equal(model.loss(levels.float(), seed=0), expected)
    white = torch.ones(2, 1, 6, 5)
    assert torch.equal(model.loss(white, seed=0), model.loss(255 * white, seed=0))
    with pytest.raises(InputError, match="not all are multiples of 1/255"):
        model.loss(levels / 300, seed=0)
