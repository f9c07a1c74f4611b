"""Parquet files: typed columns, arrays and pictures, in memory and row group by row group."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tightbound.core.domain import BINARY, REAL, UNIT, WHOLE, Domain, as_domain
from tightbound.core.errors import InputError
from tightbound.data import Limits, open
from tightbound.data.splits.groups import GroupedSplit

RNG = np.random.default_rng(0)
N = 97
WORDS = np.array(["red", "green", "blue"])[RNG.integers(0, 3, N)]
COLUMNS = {
    "height": [None if i % 10 == 3 else float(v) for i, v in enumerate(RNG.normal(size=N))],
    "smokes": RNG.integers(0, 2, N).astype(bool),
    "color": pa.array([None if i == 5 else w for i, w in enumerate(WORDS)]),
    "visits": RNG.integers(0, 9, N),
}
PIXELS = RNG.integers(0, 256, (N, 1, 6, 5), dtype=np.uint8)
CLASSES = np.arange(N) % 4


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def arrays_table():
    flat = pa.array(PIXELS.reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(flat, 5), 6)
    return pa.table({"pixels": column, "label": CLASSES})


def pictures_table():
    return pa.table({"image": [png(x[0]) for x in PIXELS], "label": CLASSES, "id": np.arange(N)})


def written(path, table, group=10):
    pq.write_table(table, path, row_group_size=group)
    return path


STREAMED = Limits(memory=1000, window=1)  # no data are small enough to be held


def everything(split):
    return torch.cat([batch.x for batch in split.epoch(7)])


def test_typed_columns_are_read_as_those_of_a_text_table_are(tmp_path):
    data = open(written(tmp_path / "people.parquet", pa.table(COLUMNS)))
    text = ["height,smokes,color,visits"]
    for i in range(N):
        height, color = COLUMNS["height"][i], COLUMNS["color"][i].as_py()
        text.append(
            f"{'' if height is None else height},{int(COLUMNS['smokes'][i])},{color or ''},{COLUMNS['visits'][i]}"
        )
    (tmp_path / "people.csv").write_text("\n".join(text))
    same = open(tmp_path / "people.csv")
    assert data.domain == same.domain
    assert data.domain.columns == (REAL, BINARY, Domain("categories", 3, ("blue", "green", "red")), WHOLE)
    assert torch.equal(everything(data.whole).nan_to_num(-9), everything(same.whole).nan_to_num(-9))
    assert data.header == same.header


def test_a_streamed_table_is_the_same_data(tmp_path):
    path = written(tmp_path / "people.parquet", pa.table(COLUMNS))
    held = open(path, kinds={"visits": "counts"})
    read = open(path, kinds={"visits": "counts"}, limits=Limits(memory=1000))
    assert read.domain == held.domain
    assert torch.equal(everything(read.whole).nan_to_num(-9), everything(held.whole).nan_to_num(-9))
    assert torch.equal(everything(read.test).nan_to_num(-9), everything(held.test).nan_to_num(-9))
    assert [n for n in held.notes if n.startswith("missing")] == [n for n in read.notes if n.startswith("missing")]
    assert any("row group" in note for note in read.notes)


@pytest.mark.parametrize(
    ("columns", "domain"),
    [
        ({"a": RNG.random(N), "b": RNG.random(N)}, UNIT),
        ({"a": RNG.normal(size=N), "b": -np.arange(N)}, REAL),
        ({"a": RNG.normal(size=N), "b": np.arange(N)}, Domain("mixed", columns=(REAL, WHOLE))),
        (
            {"a": np.arange(N) % 3, "b": np.arange(N) % 17},
            Domain("mixed", columns=(as_domain(("values", (0, 1, 2))), WHOLE)),
        ),
        ({"a": np.arange(N) % 2 == 0, "b": np.arange(N) % 3 == 0}, BINARY),
        ({"a": (np.arange(N) % 200).astype(np.uint8), "b": np.zeros(N, np.uint8)}, Domain("levels", 256)),
    ],
)
def test_plain_numbers_have_one_domain_in_memory_and_streamed(tmp_path, columns, domain):
    path = written(tmp_path / "plain.parquet", pa.table(columns))
    held = open(path)
    read = open(path, limits=Limits(memory=100))
    assert held.domain == read.domain == domain
    assert torch.equal(everything(held.whole), everything(read.whole))
    assert torch.allclose(everything(read.whole)[:, 0].double(), torch.tensor(columns["a"]).double())


def vectors(values):
    return np.asarray(values).reshape(N, 4)


PLACE = np.arange(4 * N)
VECTORS = {
    "missing, as NaN": (vectors(np.where(PLACE % 43 == 0, np.nan, RNG.normal(size=4 * N))), {}, "mixed"),
    "missing once, late": (vectors(np.where(PLACE == 4 * 71, np.nan, RNG.normal(size=4 * N))), {}, "mixed"),
    "missing levels": (vectors(np.where(PLACE == 9, np.nan, PLACE % 5)), {"levels": 5}, "mixed"),
    "binary but for one": (vectors(np.where(PLACE == 9, 7, PLACE % 2)), {}, "mixed"),
    "whole but for one": (vectors(np.where(PLACE == 9, 7.5, PLACE % 2)), {}, "mixed"),
}


@pytest.mark.parametrize("case", VECTORS)
def test_a_column_of_vectors_is_the_same_in_memory_and_streamed(tmp_path, case):
    x, options, kind = VECTORS[case]
    path = written(tmp_path / "x.parquet", pa.table({"x": list(x), "label": CLASSES}))
    held = open(path, **options)
    read = open(path, **options, limits=Limits(memory=400))
    assert any("as they are needed" in note for note in read.notes)
    assert read.domain.kind == kind
    assert read.domain == held.domain
    assert torch.equal(everything(read.whole).nan_to_num(-9), everything(held.whole).nan_to_num(-9))
    assert np.array_equal(everything(read.whole).numpy(), x.astype(np.float32), equal_nan=True)
    for way in ("missing:", "values:"):
        mine, theirs = ([n for n in data.notes if n.startswith(way)] for data in (read, held))
        assert mine == theirs


@pytest.mark.parametrize("table", [arrays_table, pictures_table])
@pytest.mark.parametrize("limit", [1 << 30, 2500])
def test_arrays_and_pictures_in_a_column(tmp_path, table, limit):
    data = open(written(tmp_path / "x.parquet", table()), limits=Limits(memory=limit))
    assert data.shape == (1, 6, 5)
    assert data.domain == Domain("levels", 256)
    assert torch.equal(everything(data.whole), torch.from_numpy(PIXELS))
    assert torch.equal(data.whole.labels, torch.from_numpy(CLASSES))
    batch = next(data.train.epoch(9, key=(3,)))
    assert torch.equal(batch.label, data.train.labels[batch.index])
    assert torch.equal(batch.x, torch.from_numpy(PIXELS)[data.train.rows[batch.index]])


def test_pictures_are_resized_where_that_is_asked(tmp_path):
    path = written(tmp_path / "x.parquet", pictures_table())
    assert open(path, resize=(4, 4)).shape == (1, 4, 4)
    with pytest.raises(InputError, match=r"resize= applies to encoded images, such as .*, and .* holds none"):
        open(written(tmp_path / "y.parquet", arrays_table()), resize=(4, 4))


def test_the_order_is_a_permutation_that_depends_on_the_key_and_mixes_row_groups(tmp_path):
    data = open(written(tmp_path / "x.parquet", arrays_table()), limits=STREAMED)
    first = [b.index for b in data.train.epoch(8, key=("order", 1))]
    assert sorted(torch.cat(first).tolist()) == list(range(len(data.train)))
    again = [b.index for b in data.train.epoch(8, key=("order", 1))]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], next(data.train.epoch(8, key=("order", 2))).index)
    groups = data.train.rows[torch.cat(first)] // 10
    assert len(groups[:18].unique()) == 2  # two groups are held together
    assert groups.unique_consecutive().numel() > len(groups.unique())  # and their rows mixed


@pytest.mark.parametrize("start", [0, 1, 5, 30])
def test_a_streamed_epoch_goes_on_anywhere_and_is_shared(tmp_path, start):
    split = open(written(tmp_path / "x.parquet", arrays_table()), limits=STREAMED).train
    whole = list(split.epoch(8, key=(1,)))
    rest = list(split.epoch(8, key=(1,), start=start))
    assert len(rest) == len(whole[start:])
    assert all(torch.equal(a.x, b.x) for a, b in zip(rest, whole[start:], strict=True))
    parts = [list(split.epoch(8, key=(1,), rank=rank, world=3)) for rank in range(3)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([part.x for part in shares]), batch.x)


def test_no_more_row_groups_are_held_than_a_window_needs():
    live, most, loaded = set(), [], []

    class Group:
        def __init__(self, number):
            self.number = number
            loaded.append(number)
            live.add(number)
            most.append(len(live))

        def __call__(self, places):
            return np.full((len(places), 1), self.number, np.uint8)

        def __del__(self):
            live.discard(self.number)

    split = GroupedSplit(Group, [10] * 10, (1,), np.dtype(np.uint8), 2)
    assert sum(map(len, split.epoch(4, key=(1,)))) == 100
    assert sorted(loaded) == list(range(10))  # each group is read once
    assert max(most) <= 3  # a batch may lie in two windows


def test_a_folder_of_files_split_by_their_names(tmp_path):
    table = arrays_table()
    for name, part in (("test-0", table[60:]), ("train-1", table[40:60]), ("train-0", table[:40])):
        written(tmp_path / f"{name}.parquet", part)
    data = open(tmp_path)
    assert len(data.train) == 60
    assert torch.equal(everything(data.train), torch.from_numpy(PIXELS[:60]))
    assert torch.equal(everything(data.test), torch.from_numpy(PIXELS[60:]))


def test_other_files_beside_a_split_do_not_mix_it_up(tmp_path):
    table = arrays_table()
    for name, part in (("test-0", table[60:]), ("train-0", table[:60]), ("metadata", table[:5])):
        written(tmp_path / f"{name}.parquet", part)
    data = open(tmp_path)
    assert (len(data.train), len(data.test)) == (60, N - 60)
    assert "left out: files with other names, metadata.parquet" in data.notes


def test_folders_of_folders_are_read_but_for_hidden_ones(tmp_path):
    table = arrays_table()
    for name, part in (("year=1", table[:60]), ("year=2", table[60:]), ("_delta_log", table[:1]), (".tmp", table[:1])):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "part-0.parquet", part)
    data = open(tmp_path)
    assert torch.equal(everything(data.whole), torch.from_numpy(PIXELS))
    assert "left out: the values in the names of folders, year=1, year=2" in data.notes


def test_the_fingerprint_of_streamed_data_is_of_the_content_not_of_its_place(tmp_path):
    a = written(tmp_path / "x.parquet", arrays_table())
    (tmp_path / "b").mkdir()
    b = written(tmp_path / "b" / "x.parquet", arrays_table())
    assert open(a, limits=STREAMED).fingerprint == open(b, limits=STREAMED).fingerprint
    written(b, pa.table({"pixels": arrays_table()["pixels"], "label": CLASSES[::-1]}))
    assert open(a, limits=STREAMED).fingerprint != open(b, limits=STREAMED).fingerprint


LISTS = pa.array([[1.0, 2.0]] * 3 + [[1.0]])
REFUSED = {
    "shapes": (
        {"x": LISTS},
        {},
        r"rows differ in shape: a list of .*row 0, column x has 2 entries, one of .*row 3, column x 1",
    ),
    "null": ({"x": pa.array([[1.0], None, [2.0]])}, {}, "row 1, column x is null"),
    "inner": ({"x": pa.array([[1.0], [None], [2.0]])}, {}, "row 1, column x is null, or holds a null"),
    "maps": ({"a": [1.0, 2.0], "m": [{"k": 1}, {"k": 2}]}, {}, r"columns m \(struct"),
    "several": ({"a": LISTS[:3], "b": LISTS[:3]}, {}, "2 columns of arrays or images, a, b"),
    "no label": ({"a": [1.0, 2.0], "b": [1, 2]}, {"labels": "c"}, "no column 'c'"),
    "no labels at all": ({"x": LISTS[:3]}, {"labels": "c"}, "no column 'c'; known: x"),
    "labels of maps": (
        {"x": LISTS[:2], "label": [{"k": 1}, {"k": 2}]},
        {"labels": "label"},
        r"column label \(struct.*\) cannot hold labels",
    ),
    "unlabeled": ({"a": [1.0, 2.0], "b": [1, None]}, {"labels": "b"}, "column b: row 2 has no label"),
    "empty": ({"a": pa.array([], pa.float64())}, {}, "has no rows"),
    "nothing": ({"a": [1.0, 2.0], "b": pa.nulls(2)}, {}, r"column 2 \(b\) has no values"),
    "picture": ({"image": [png(PIXELS[0, 0]), b"no picture"]}, {}, "row 1 cannot be decoded as an image"),
    "sizes": ({"image": [png(PIXELS[0, 0]), png(PIXELS[0, 0][:3])]}, {}, "differ in size"),
    "kinds": ({"x": LISTS[:3]}, {"kinds": {"x": "real"}}, "kinds are for the columns of a table"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_clear_line(tmp_path, case):
    columns, options, message = REFUSED[case]
    path = written(tmp_path / "x.parquet", pa.table(columns))
    with pytest.raises(InputError, match=message) as caught:
        open(path, **options)
    assert "\n" not in str(caught.value)


def test_columns_of_one_name_are_refused(tmp_path):
    path = written(tmp_path / "x.parquet", pa.table([pa.array([1.0, 2.0])] * 2, names=["a", "a"]))
    with pytest.raises(InputError, match="duplicate field names"):
        open(path)


def test_a_damaged_file_and_other_columns_are_named(tmp_path):
    path = written(tmp_path / "a.parquet", arrays_table())
    written(tmp_path / "b.parquet", pictures_table())
    with pytest.raises(InputError, match=r"b\.parquet and .*a\.parquet differ in their columns; column image"):
        open(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"a\.parquet cannot be read as Parquet"):
        open(path)
    with pytest.raises(InputError, match="there is no file"):
        open(tmp_path / "absent.parquet")


def test_a_row_group_too_large_to_be_held_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"a row group takes .* row_group_size"):
        open(written(tmp_path / "x.parquet", arrays_table(), group=N), limits=Limits(memory=1000))


def test_a_value_beyond_what_was_judged_is_refused_as_it_is_read(tmp_path):
    x = np.tile(RNG.integers(0, 2, 6), (N, 1)).astype(np.int64)
    x[2, 0] = 7  # none of the rows by which the data are judged
    rows = pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(x.reshape(-1), 2), 3)
    path = written(tmp_path / "x.parquet", pa.table({"x": rows}))
    data = open(path, domain="binary", limits=STREAMED)
    with pytest.raises(InputError, match=r"row 0 and following: values lie in 0\.\.7, outside binary"):
        everything(data.whole)
