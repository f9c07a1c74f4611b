"""Data sets of Hugging Face's `datasets`: map-style, saved, and streams."""

import numpy as np
import pytest
import torch
from PIL import Image

from tightbound.core.domain import BINARY, REAL, Domain
from tightbound.core.errors import InputError
from tightbound.data import Indexed, Limits, open

datasets = pytest.importorskip("datasets", reason="the extra 'stream' is not installed")
datasets.disable_progress_bars()

RNG = np.random.default_rng(0)
N = 50
PIXELS = RNG.integers(0, 256, (N, 6, 5), dtype=np.uint8)
CLASSES = [i % 3 for i in range(N)]
ASIDE = Limits(set_aside=12)
NAMED = datasets.ClassLabel(names=["red", "green", "blue"])


def arrays():
    features = datasets.Features({"image": datasets.Array2D((6, 5), "uint8"), "label": NAMED})
    return datasets.Dataset.from_dict({"image": list(PIXELS), "label": CLASSES}, features=features)


def pictures():
    features = datasets.Features({"image": datasets.Image(), "label": NAMED, "id": datasets.Value("int64")})
    given = {"image": [Image.fromarray(x) for x in PIXELS], "label": CLASSES, "id": list(range(N))}
    return datasets.Dataset.from_dict(given, features=features)


def everything(split):
    return torch.cat([batch.x for batch in split.epoch(7)])


@pytest.mark.parametrize("make", [arrays, pictures])
@pytest.mark.parametrize("limit", [1 << 30, 100])
def test_an_object_and_a_saved_folder(tmp_path, make, limit):
    limits = Limits(memory=limit)
    make().save_to_disk(tmp_path / "saved")
    for source in (make(), tmp_path / "saved"):
        data = open(source, limits=limits)
        assert isinstance(data.train, Indexed)
        assert data.domain == Domain("levels", 256)
        assert torch.equal(everything(data.whole)[:, 0], torch.from_numpy(PIXELS))
        assert data.whole.labels.tolist() == CLASSES
        assert any("red=0, green=1, blue=2" in note for note in data.notes)
    batch = next(data.train.epoch(9, key=(3,)))
    assert torch.equal(batch.x[:, 0], torch.from_numpy(PIXELS)[data.train.rows[batch.index]])
    assert open(tmp_path / "saved", limits=limits).fingerprint == data.fingerprint


def test_splits_as_given(tmp_path):
    whole = arrays()
    both = datasets.DatasetDict(train=whole.select(range(40)), test=whole.select(range(40, N)))
    both.save_to_disk(tmp_path / "saved")
    for limit in (1 << 30, 100):
        data = open(tmp_path / "saved", limits=Limits(memory=limit))
        assert torch.equal(everything(data.test)[:, 0], torch.from_numpy(PIXELS[40:]))
        assert torch.equal(everything(data.train)[:, 0], torch.from_numpy(PIXELS[:40]))
    with pytest.raises(InputError, match="the splits are a, b; needed: 'train'"):
        open(datasets.DatasetDict(a=whole, b=whole))


@pytest.mark.parametrize("limit", [1 << 30, 100])
def test_typed_columns(limit):
    columns = {"a": [None, *RNG.normal(size=N - 1)], "b": [i % 2 == 0 for i in range(N)], "c": CLASSES}
    kinds = {"a": datasets.Value("float32"), "b": datasets.Value("bool"), "c": NAMED}
    data = open(datasets.Dataset.from_dict(columns, features=datasets.Features(kinds)), limits=Limits(memory=limit))
    assert data.domain.columns == (REAL, BINARY, Domain("categories", 3, ("red", "green", "blue")))
    x = everything(data.whole)
    assert x[0, 0].isnan()
    assert x[:, 2].tolist() == CLASSES


@pytest.mark.parametrize("make", [lambda d: d, lambda d: d.to_iterable_dataset()])
@pytest.mark.parametrize("limit", [1 << 30, 100])
def test_a_vector_may_lack_entries(make, limit):
    x = RNG.normal(size=(N, 2))
    x[3, 1] = np.nan
    data = open(make(datasets.Dataset.from_dict({"x": x.tolist()})), limits=Limits(memory=limit, set_aside=12))
    assert data.domain.columns == (REAL, REAL)
    assert np.array_equal(everything(data.whole).numpy(), x.astype(np.float32), equal_nan=True)


def test_a_stream_whose_vectors_lack_entries_from_later_on_is_refused():
    x = RNG.normal(size=(400, 2))
    x[300, 1] = np.nan
    data = open(datasets.Dataset.from_dict({"x": x.tolist()}).to_iterable_dataset(), limits=ASIDE)
    with pytest.raises(InputError, match=r"row 256 and following: 1 value is (NaN|infinite), the first at x\[44, 1\]"):
        everything(data.whole)


def test_a_transform_of_the_users_is_applied():
    data = open(arrays().with_transform(lambda rows: {"x": [np.asarray(r) // 128 for r in rows["image"]]}))
    assert torch.equal(everything(data.whole)[:, 0], torch.from_numpy(PIXELS // 128))


def test_a_stream():
    data = open(arrays().to_iterable_dataset(num_shards=4), limits=ASIDE)
    assert data.shape == (1, 6, 5)
    with pytest.raises(TypeError):
        len(data.train)
    assert torch.equal(everything(data.test)[:, 0], torch.from_numpy(PIXELS[:12]))
    assert torch.equal(everything(data.whole)[:, 0], torch.from_numpy(PIXELS))
    x = torch.cat([b.x for b in data.train.epoch(8, key=(1,))])
    assert sorted(x.flatten(1).tolist()) == sorted(torch.from_numpy(PIXELS[12:]).flatten(1).tolist())
    assert not torch.equal(x[:, 0], torch.from_numpy(PIXELS[12:]))
    both = datasets.IterableDatasetDict(
        train=arrays().select(range(40)).to_iterable_dataset(num_shards=4),
        test=arrays().select(range(40, N)).to_iterable_dataset(),
    )
    data = open(both, limits=ASIDE)
    assert torch.equal(everything(data.test)[:, 0], torch.from_numpy(PIXELS[40:]))
    assert len(everything(data.train)) == 40


def test_a_stream_that_is_empty_short_or_other_than_it_began_is_refused():

    def rows(n, odd=-1):
        for i in range(n):
            yield {"x": [float(i), 0.5] + [1.0] * (i == odd)}

    make = datasets.IterableDataset.from_generator
    with pytest.raises(InputError, match="gave no examples"):
        open(make(rows, gen_kwargs={"n": 0}), limits=ASIDE)
    with pytest.raises(InputError, match="ended after 12 examples; needed: more than 12"):
        open(make(rows, gen_kwargs={"n": 12}), limits=ASIDE)
    with pytest.raises(
        InputError,
        match=r"rows differ in shape: a list of .*row 0, column x has 2 entries, one of .*row 20, column x 3",
    ):
        open(make(rows, gen_kwargs={"n": 30, "odd": 20}), limits=ASIDE)
    data = open(make(rows, gen_kwargs={"n": 700, "odd": 600}), limits=ASIDE)
    with pytest.raises(InputError, match=r"rows differ in shape: .* one of .*row 600, column x 3"):
        everything(data.train)
