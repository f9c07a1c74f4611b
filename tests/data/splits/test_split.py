"""The order, skipping, sharding and seeding of epochs, on every kind of split."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from tightbound.core.errors import InputError
from tightbound.data import ArraySplit, Limits, MappedSplit, open
from tightbound.data.builtin.sprites import Sprites
from tightbound.data.readers.torch_data import LOOKED_AT

X = np.arange(53 * 4, dtype=np.float32).reshape(53, 4)
Y = torch.arange(53) * 10


def fetch(indices):
    return X[indices], Y[torch.from_numpy(indices)]


SPLITS = {
    "array": ArraySplit(X, Y),
    "mapped": MappedSplit(fetch, 53, (4,)),
    "workers": MappedSplit(fetch, 53, (4,), workers=1),
    "subset": ArraySplit(np.concatenate([X - 1, X]), torch.cat([Y - 1, Y])).subset(np.arange(53, 106)),
    "nested": ArraySplit(np.repeat(X, 2, 0), Y.repeat_interleave(2))
    .subset(np.arange(0, 106))
    .subset(np.arange(0, 106, 2)),
}


@pytest.fixture(params=SPLITS)
def split(request):
    return SPLITS[request.param]


def flat(lists):
    return [item for part in lists for item in part]


def indices(batches):
    return [batch.index.tolist() for batch in batches]


def test_an_epoch_is_a_permutation_with_matching_rows_and_labels(split):
    batches = list(split.epoch(8, key=(0, 3)))
    assert [len(b) for b in batches] == [8] * 6 + [5]
    assert sorted(flat(indices(batches))) == list(range(53))
    for batch in batches:
        assert torch.equal(batch.x, torch.from_numpy(X)[batch.index])
        assert torch.equal(batch.label, Y[batch.index])


def test_order_is_a_pure_function_of_the_key(split):
    first = indices(split.epoch(8, key=(0, 3)))
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert indices(split.epoch(8, key=(0, 3))) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert indices(split.epoch(8, key=(0, 4))) != first
    assert flat(indices(split.epoch(7, key=(0, 3)))) == flat(first)


def test_natural_order_without_a_key(split):
    assert flat(indices(split.epoch(8))) == list(range(53))


@pytest.mark.parametrize("start", [0, 1, 6, 7, 9])
def test_start_is_the_tail_of_the_epoch(split, start):
    assert indices(split.epoch(8, key=(1,), start=start)) == indices(split.epoch(8, key=(1,)))[start:]


@settings(deadline=None, max_examples=60)
@given(batch=st.integers(1, 60), world=st.integers(1, 9), start=st.integers(0, 5))
def test_ranks_share_each_global_batch_in_order(batch, world, start):
    split = SPLITS["subset"]
    whole = indices(split.epoch(batch, key=(2,), start=start))
    parts = [indices(split.epoch(batch, key=(2,), start=start, rank=r, world=world)) for r in range(world)]
    assert all(len(p) == len(whole) for p in parts)
    assert [flat(step) for step in zip(*parts, strict=True)] == whole
    for step in zip(*parts, strict=True):
        assert max(map(len, step)) - min(map(len, step)) <= 1


def test_skipped_batches_are_not_read():
    read = []
    split = MappedSplit(lambda i: (read.extend(i.tolist()), fetch(i))[1], 53, (4,))
    list(split.epoch(8, start=5))
    assert min(read) == 40


def test_bad_epochs_are_refused(split):
    for arguments in (
        {"batch_size": 0},
        {"batch_size": 4, "start": -1},
        {"batch_size": 4, "rank": 2, "world": 2},
    ):
        with pytest.raises(InputError):
            split.epoch(**arguments)


def test_subset_positions_are_checked():
    with pytest.raises(InputError, match=r"positions must lie in 0\.\.52"):
        SPLITS["array"].subset([1, 53])


def test_names_follow_a_subset():
    split = ArraySplit(X, names=[f"{i}.png" for i in range(53)])
    assert split.subset([5, 2]).names == ["5.png", "2.png"]


def test_an_error_in_a_worker_is_one_line():
    def broken(indices):
        raise InputError("a.png: cannot be decoded; remove it")

    with pytest.raises(InputError) as caught:
        list(MappedSplit(broken, 9, (1,), workers=1).epoch(3))
    assert str(caught.value) == "a.png: cannot be decoded; remove it"


def test_splits_are_disjoint_complete_and_stable():
    data = open("digits")
    rows = [data.train.rows, data.test.rows]
    assert sorted(torch.cat(rows).tolist()) == list(range(1797))
    pinned = hashlib.sha256(torch.cat(rows).numpy().astype("<i8").tobytes()).hexdigest()
    order = np.random.default_rng(0).permutation(1797)
    assert pinned == hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()
    assert pinned[:16] == "14b7f6bc58ce844e"


def test_array_split_is_disjoint_complete_and_stable():
    data = open(np.random.default_rng(0).normal(size=(100, 3)))
    train, test = data.train.rows.tolist(), data.test.rows.tolist()
    assert len(test) == 10
    assert test == sorted(test)
    assert sorted(train + test) == list(range(100))
    assert test == [5, 16, 20, 36, 52, 72, 82, 90, 93, 94]
    assert len(data.whole) == 100


def test_held_out_comes_from_the_training_data_alone():
    data = open("digits")
    train, validation = data.held_out(100)
    rows = torch.cat([train.rows, validation.rows])
    assert len(validation) == 100
    assert sorted(rows.tolist()) == sorted(data.train.rows.tolist())
    assert torch.equal(data.held_out(100)[1].rows, validation.rows)
    assert not torch.equal(data.held_out(100, seed=1)[1].rows, validation.rows)
    assert data.held_out(0) == (data.train, None)
    for bad in (1500, 2000, -1):
        with pytest.raises(InputError, match="training split has 1500"):
            data.held_out(bad)


class Named(torch.utils.data.Dataset):
    def __init__(self, keys):
        self.keys = keys

    def __len__(self):
        return 20

    def __getitem__(self, i):
        values = dict(zip(self.keys, (torch.full((1, 2, 2), i / 40), i), strict=True))
        return values | {"other": 0}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.rand(20, 3, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("keys", [("x", "y"), ("image", "label"), ("input", "target")])
def test_loader_of_mappings(keys):
    data = open(DataLoader(Named(keys), batch_size=8))
    batches = list(data.train.epoch(8))
    assert [len(b) for b in batches] == [8, 8, 4]
    assert torch.cat([b.label for b in batches]).tolist() == list(range(20))
    assert torch.cat([b.index for b in batches]).tolist() == list(range(20))
    assert data.shape == (1, 2, 2)
    assert len(data.train) == 20


def test_loader_of_mappings_without_data_is_refused():
    with pytest.raises(InputError, match="keys pixels, y, other; name the data 'x'"):
        open(DataLoader(Named(("pixels", "y")), batch_size=8))


@pytest.mark.parametrize("labeled", [False, True])
def test_loader_of_tensors(labeled):
    x = torch.rand(30, 3)
    data = open(DataLoader(TensorDataset(x, torch.arange(30)) if labeled else TensorDataset(x), batch_size=7))
    batches = list(data.train.epoch(99, start=1))
    assert torch.equal(torch.cat([b.x for b in batches]), x[7:])
    assert (batches[0].label is not None) == labeled
    assert batches[0].index.tolist() == list(range(7, 14))
    assert data.fingerprint.startswith("none: ")


@pytest.mark.parametrize("own", [False, True])
def test_a_shuffling_loader_repeats_for_a_key_and_leaves_generators_alone(own):
    generator = torch.Generator().manual_seed(9) if own else None
    loader = DataLoader(TensorDataset(torch.arange(40.0)[:, None]), batch_size=8, shuffle=True, generator=generator)
    data = open(loader)
    state = [g.get_state() for g in (torch.default_generator, *([generator] if own else []))]

    def epoch(key, **arguments):
        out = []
        for batch in data.train.epoch(8, key=key, **arguments):
            torch.rand(3)  # the consumer draws too
            out.append(batch.x[:, 0].tolist())
        return out

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(data.train.epoch(8, key=(0,)))
    assert torch.equal(torch.rand(3), expected)
    if own:
        assert torch.equal(generator.get_state(), state[1])
    first = epoch((0,))
    torch.manual_seed(1)
    assert epoch((0,)) == first
    assert epoch((1,)) != first
    assert epoch((0,), start=2) == first[2:]
    halves = [epoch((0,), rank=r, world=2) for r in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == first


def test_a_pair_of_loaders():
    x = torch.rand(30, 3)
    data = open((DataLoader(TensorDataset(x[:20]), 8), DataLoader(TensorDataset(x[20:]), 8)))
    assert (len(data.train), len(data.test)) == (20, 10)
    assert not any("one loader" in note for note in data.notes)
    with pytest.raises(InputError, match="no random access"):
        data.held_out(3)
    assert data.held_out(0) == (data.train, None)


def test_a_single_loader_says_that_its_test_data_were_trained_on():
    data = open(DataLoader(TensorDataset(torch.rand(30, 3)), 8, drop_last=True))
    assert any("data trained on" in note for note in data.notes)
    assert any("drop_last" in note for note in data.notes)
    assert len(data.train) == 24 == sum(len(b) for b in data.train.epoch(8))


def test_a_stream_has_no_length():
    data = open(DataLoader(Stream(), batch_size=8))
    assert sum(len(b) for b in data.train.epoch(8)) == 20
    with pytest.raises(TypeError):
        len(data.train)


def test_a_later_batch_that_breaks_the_inference_is_refused():
    x = torch.cat([torch.zeros(LOOKED_AT, 3), torch.full((8, 3), 0.5)])
    data = open(DataLoader(TensorDataset(x), 512))
    assert data.domain.kind == "binary"
    with pytest.raises(InputError, match="not all are integers"):
        list(data.train.epoch(8))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (DataLoader(TensorDataset(torch.rand(5, 3)), 8, drop_last=True), "gives no batch"),
        (DataLoader(TensorDataset(torch.rand(5, 3)), batch_size=None), "batch size"),
        ([DataLoader(TensorDataset(torch.rand(5, 3)))] * 3, "3 loaders were given"),
        (
            (DataLoader(TensorDataset(torch.rand(5, 3))), DataLoader(TensorDataset(torch.rand(5, 4)))),
            r"shape \(3,\), the test loader \(4,\)",
        ),
        (Stream(), r"wrap it: DataLoader"),
        (DataLoader([("a",), ("b",)], batch_size=2), "numbers|arrays"),
    ],
)
def test_loaders_that_cannot_be_used(source, message):
    with pytest.raises(InputError, match=message) as caught:
        open(source)
    assert "\n" not in str(caught.value)


def test_small_data_sets_are_materialized():
    data = open(Named(("image", "label")), test=0.25)
    assert isinstance(data.whole, ArraySplit)
    assert data.whole.labels.tolist() == list(range(20))
    assert (len(data.train), len(data.test)) == (15, 5)


def test_large_data_sets_are_read_when_needed():
    data = open(Named(("image", "label")), limits=Limits(memory=64))
    assert isinstance(data.whole, MappedSplit)
    assert any("too large for memory" in note for note in data.notes)
    batches = list(data.train.epoch(5, key=(0,)))
    for batch in batches:
        rows = data.train.rows[batch.index]
        assert batch.label.tolist() == rows.tolist()
        assert torch.allclose(batch.x[:, 0, 0, 0], rows / 40)
    assert [len(b) for b in data.test.epoch(5, rank=0, world=4)] == [0]


def test_data_sets_of_mixed_shapes_are_refused():
    items = [torch.rand(3), torch.rand(4)]

    class Mixed(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return items[i]

    with pytest.raises(InputError, match=r"example 0 has shape \(3,\) but example 1 has \(4,\)"):
        open(Mixed())


def test_pictures_of_pillow_are_data():
    from PIL import Image

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return Image.new("RGB", (5, 6), (i, 10, 20)), i

    data = open(Pictures())
    assert data.shape == (3, 6, 5)
    assert data.whole.batch(torch.tensor([3])).x[0, :, 0, 0].tolist() == [3, 10, 20]


def test_names_need_no_torch():
    code = "import sys, tightbound.data.builtin; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sprites_are_a_split_like_any_other():
    split = Sprites().subset(np.arange(0, 737_280, 40_000))
    batch = next(split.epoch(4, key=(0,)))
    assert torch.equal(Sprites().index_of(batch.label), split.rows[batch.index])


KILLED = """
import os, signal
import numpy as np
from tightbound.core.errors import ReaderLost
from tightbound.data import MappedSplit

def fetch(indices):
    if how == "killed" and indices[0] >= 40:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "interrupted" and indices[0] == 40:
        os.kill(os.getpid(), signal.SIGINT)  # a terminal signals all of its processes
    return np.zeros((len(indices), 1), np.float32), None

if __name__ == "__main__":
    for how in ("killed", "interrupted"):
        try:
            print(sum(map(len, MappedSplit(fetch, 400, (1,), workers=2).epoch(4))))
        except ReaderLost as error:
            print(error)
"""


def test_a_killed_reader_is_said_in_one_line_and_ctrl_c_is_left_to_the_process_that_trains(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600, check=False)
    killed, interrupted = done.stdout.splitlines()
    assert killed.startswith("a data-loading process was killed")
    assert interrupted == "400"
    assert "Traceback" not in done.stderr


def test_a_batch_may_be_asked_for_that_is_larger_than_any_number_of_examples():
    split = ArraySplit(np.zeros((5, 2), np.float32), None)
    assert [len(batch) for batch in split.epoch(10**30, key=(0,))] == [5]
