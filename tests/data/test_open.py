"""Arrays and files: what is inferred, and what is refused."""

import gzip
import hashlib

import numpy as np
import pytest
import torch

from tightbound.core.domain import BINARY, REAL, UNIT, WHOLE, Domain
from tightbound.core.errors import InputError
from tightbound.data import Limits, open

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (12, 6, 5), dtype=np.uint8)


def values(data):
    return next(data.whole.epoch(len(data.whole))).x


@pytest.mark.parametrize(
    ("x", "domain", "dtype"),
    [
        (GRAY, Domain("levels", 256), torch.uint8),
        (GRAY % 2, BINARY, torch.uint8),
        (GRAY % 2 == 0, BINARY, torch.uint8),
        ((GRAY % 2).astype(np.float64), BINARY, torch.uint8),
        ((GRAY % 17).astype(np.int64), Domain("levels", 17), torch.uint8),
        ((GRAY * np.int64(3)), Domain("levels", int(GRAY.max()) * 3 + 1), torch.int32),
        (GRAY.astype(np.int16) - 100, REAL, torch.float32),
        (GRAY.astype(np.int64) * 1000, REAL, torch.float32),
        ((GRAY / 255).astype(np.float32), Domain("levels", 256), torch.uint8),
        (GRAY / 255, Domain("levels", 256), torch.uint8),
        (RNG.random((9, 4)), UNIT, torch.float32),
        ((GRAY / 255).astype(np.float16), Domain("levels", 256), torch.uint8),
        (RNG.normal(size=(9, 4)), REAL, torch.float32),
        ((GRAY % 17).astype(np.float32), Domain("levels", 17), torch.uint8),
    ],
)
def test_domain_is_inferred_and_said(x, domain, dtype):
    data = open(x)
    stored = values(data)
    assert data.domain == domain
    assert stored.dtype == dtype
    scale = 255 if domain.levels == 256 and x.dtype.kind == "f" else 1
    given = x.reshape(stored.shape).astype(np.float64)
    assert np.allclose(
        stored.numpy(), given * scale, rtol=1e-6, atol=0.1 if x.dtype == np.float16 else 1e-3 if scale > 1 else 1e-7
    )
    assert any(str(domain) in note or "uint8" in note for note in data.notes)


@pytest.mark.parametrize(
    ("x", "declared", "domain"),
    [
        (GRAY % 17, {"levels": 17}, Domain("levels", 17)),
        ((GRAY % 17).astype(float), {"levels": 17}, Domain("levels", 17)),
        ((GRAY % 17) / 16, {"levels": 17}, Domain("levels", 17)),
        (GRAY, {"domain": "real"}, REAL),
        (GRAY % 2, {"domain": "real"}, REAL),
        (GRAY / 255, {"domain": "unit"}, UNIT),
        (GRAY % 2, {"levels": 256}, Domain("levels", 256)),
    ],
)
def test_overrides(x, declared, domain):
    data = open(x, **declared)
    assert data.domain == domain
    assert any("as declared" in note for note in data.notes)


def test_scaled_levels_come_back_exactly():
    assert torch.equal(values(open((GRAY % 17) / 16, levels=17))[:, 0], torch.from_numpy(GRAY % 17))


@pytest.mark.parametrize(
    ("x", "declared", "message"),
    [
        (GRAY, {"levels": 17}, r"values lie in \d+\.\.\d+, outside integers 0\.\.16"),
        (GRAY, {"domain": "binary"}, "outside binary"),
        (GRAY, {"domain": "unit"}, "rescale"),
        (RNG.random((9, 4)), {"levels": 256}, "not all are multiples of 1/255"),
        (RNG.random((9, 4)), {"domain": "binary"}, "not all are integers"),
        (RNG.random((9, 4)) * 9, {"levels": 10}, "not all are integers"),
        (-RNG.random((9, 4)), {"domain": "unit"}, r"outside numbers in \[0, 1\]"),
        (GRAY, {"domain": "binry"}, "did you mean 'binary'"),
        (GRAY, {"levels": 1}, "from 2 to 65536"),
        (GRAY, {"levels": 2.5}, "from 2 to 65536"),
        (GRAY, {"levels": 256, "domain": "real"}, "give one of them"),
        (GRAY, {"test": 0.0}, "above 0 and below 1"),
        (GRAY, {"resize": (4, 4)}, "resize= applies to encoded images, .* and an array holds none"),
        (GRAY, {"gray": True}, "gray= applies to encoded images"),
        (GRAY, {"labels": [1, 2]}, r"labels have shape \(2,\), but there are 12 examples"),
        (np.arange(5.0), {}, r"use x\[:, None\]"),
        (np.float64(3), {}, "at least one axis"),
        (np.zeros((2, 1, 1, 1, 1)), {}, "rank 5"),
        (np.zeros((0, 4)), {}, r"is empty: its shape is \(0, 4\)"),
        (np.zeros((4, 0)), {}, "is empty"),
        (np.array([[1], ["a"]], dtype=object), {}, "Python objects"),
        (np.array([["a", "b"]]), {}, "strings"),
        (np.zeros((3, 3), complex), {}, "complex"),
        (np.zeros((3, 3), "M8[s]"), {}, "dates"),
        (
            np.array([[1.0, np.nan], [np.inf, 2.0]]),
            {},
            r"column 1 \(index 0\) has 1 infinite value, the first in row 2",
        ),
        (np.array([[1.0, np.nan], [2.0, np.nan]]), {}, r"column 2 \(index 1\) has no values; leave it out"),
        (
            np.full((2, 2, 2), np.nan),
            {},
            r"8 values are NaN, the first at x\[0, 0, 0, 0\]; correct or leave out such examples",
        ),
        (np.array([[1e300], [0.0]]), {}, "beyond the range of float32"),
        (np.linspace(1.7e12, 1.7e12 + 86400, 50)[:, None], {}, "subtract an offset"),  # milliseconds of a day
        ([[1, 2], [3]], {}, "rows of different lengths"),
        ({"a": 1}, {}, "the dictionary holds no arrays"),
        (None, {}, "NoneType"),
        ("mnis", {}, "did you mean 'mnist'"),
        ("MNIST", {}, "did you mean 'mnist'"),
        ("/no/such/place", {}, "neither a file"),
        ("digits", {"labels": [1]}, "has its own"),
        ("digits", {"levels": 16}, "outside"),
        ("sprites", {"domain": "unit"}, "leave out levels"),
    ],
)
def test_refusals_are_one_clear_line(x, declared, message):
    with pytest.raises(InputError, match=message) as caught:
        open(x, **declared)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ((6, 5), (5,)),
        ((6, 5, 4), (1, 5, 4)),
        ((6, 3, 5, 4), (3, 5, 4)),
        ((6, 5, 4, 3), (3, 5, 4)),
        ((6, 5, 4, 1), (1, 5, 4)),
        ((6, 5, 4, 4), (4, 5, 4)),
        ((6, 1, 28, 3), (1, 28, 3)),
        ((6, 2, 5, 5), (2, 5, 5)),
    ],
)
def test_shapes(given, shape):
    x = RNG.integers(0, 256, given, dtype=np.uint8)
    data = open(x)
    assert data.shape == shape
    expected = x.reshape(6, *shape) if shape[0] == given[1] or len(given) < 4 else np.moveaxis(x, -1, 1)
    assert np.array_equal(values(data), expected)
    assert any(str(given) in note for note in data.notes)


def test_tensors_and_labels():
    data = open(torch.rand(20, 3, requires_grad=True), labels=np.arange(20) % 3)
    assert data.train.labels.dtype == torch.int64
    assert torch.equal(data.test.labels, torch.tensor([0, 1, 2] * 7)[data.test.rows])
    words = open(RNG.random((4, 2)), labels=["dog", "cat", "dog", "cat"])
    assert words.whole.labels.tolist() == [1, 0, 1, 0]
    assert "labels: cat=0, dog=1" in words.notes


def test_the_smallest_data_set_has_both_splits():
    for test in (0.01, 0.5, 0.99):
        data = open(RNG.random((2, 3)), test=test)
        assert (len(data.train), len(data.test)) == (1, 1)


def test_fingerprint_depends_on_content_shape_and_dtype():
    prints = {open(x).fingerprint for x in (GRAY, GRAY + 1, GRAY.reshape(12, 30), GRAY.astype(np.int32) * 2)}
    assert len(prints) == 4
    assert open(GRAY).fingerprint == open(torch.from_numpy(GRAY)).fingerprint
    assert all(p.startswith("sha256:") for p in prints)


def test_npy(tmp_path):
    np.save(tmp_path / "a.npy", GRAY)
    data = open(tmp_path / "a.npy")
    assert data.name == "a"
    assert np.array_equal(values(data)[:, 0], GRAY)
    assert open(str(tmp_path / "a.npy")).fingerprint == data.fingerprint


@pytest.mark.parametrize("x", [GRAY, GRAY / 255, np.stack([GRAY] * 3, -1)], ids=["bytes", "floats", "channels last"])
def test_large_npy_is_mapped_and_gives_the_same(tmp_path, x):
    np.save(tmp_path / "a.npy", x)
    small = open(tmp_path / "a.npy")
    large = open(tmp_path / "a.npy", limits=Limits(memory=100))
    assert isinstance(large.whole.x.base, np.memmap)
    assert any("memory-mapped" in note for note in large.notes)
    assert large.domain == small.domain
    for a, b in zip(small.train.epoch(4, key=(0,)), large.train.epoch(4, key=(0,)), strict=True):
        assert a.x.dtype == b.x.dtype
        assert torch.equal(a.x, b.x)


@pytest.mark.parametrize("key", ["x", "data", "images", "anything"])
def test_npz(tmp_path, key):
    np.savez(tmp_path / "a.npz", **{key: GRAY, "y": np.arange(12)})
    data = open(tmp_path / "a.npz")
    assert np.array_equal(values(data)[:, 0], GRAY)
    assert data.whole.labels.tolist() == list(range(12))


def test_npz_with_its_own_split(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=GRAY[:9], x_test=GRAY[9:], y_train=np.arange(9), y_test=np.arange(9, 12))
    data = open(tmp_path / "a.npz")
    assert (len(data.train), len(data.test)) == (9, 3)
    assert data.test.labels.tolist() == [9, 10, 11]
    assert np.array_equal(next(data.test.epoch(3)).x[:, 0], GRAY[9:])
    assert any("as given" in note for note in data.notes)


def garbage(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"", "not a .npy file"),
        ("a.npy", b"rubbish" * 50, "not a .npy file"),
        ("a.npz", b"rubbish" * 50, "not a .npz file"),
        ("a.npz", b"", "not a .npz file"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0", "not text"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"a,b\n", "header but no rows"),
        ("a.csv.gz", b"rubbish", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"1,2\n3,4\n" * 99, mtime=0)[:-9], "cannot be read"),
        ("a.csv", b"1,2\n3,4\n5,six\n", r"column 2 \(index 1\): 'six' in line 3 is not a number"),
        ("a.csv", b"age,size\n1,2\n\n3,x\n", r"column 2 \(size\): 'x' in line 4 is not a number.*'size': 'categories'"),
        ("a.csv", b"1,2\n3,4,5\n", "the first row has 2 cells, line 2 has 3"),
        ("a.csv", b"1,2\n3\n", "the first row has 2 cells, line 2 has 1"),
        ("a.csv", b"1,2\n3,inf\n", "1 value is infinite, .* replace the values by NaN"),
        ("a.doc", b"1,2\n", "no known kind"),
        ("a", b"1,2\n", "no suffix"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        open(garbage(tmp_path / name, content))
    assert str(tmp_path / name) in str(caught.value) or "NaN" in message
    assert "\n" not in str(caught.value)


def test_truncated_arrays(tmp_path):
    np.save(tmp_path / "a.npy", GRAY)
    np.savez(tmp_path / "a.npz", x=GRAY)
    for limit in (1 << 30, 10):
        for name in ("a.npy", "a.npz"):
            path = tmp_path / name
            with pytest.raises(InputError, match=r"cannot be read|not a \.npz file"):
                open(garbage(tmp_path / f"cut-{name}", path.read_bytes()[:-60]), limits=Limits(memory=limit))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_pickles_are_refused_unread(tmp_path):
    objects = np.array([[Bomb()], [Bomb()]], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError, match="pickled Python objects"):
            open(tmp_path / name)


def test_npz_refusals(tmp_path):
    np.savez(tmp_path / "two.npz", a=GRAY, b=GRAY)
    with pytest.raises(InputError, match="holds the arrays a, b; name the data 'x'"):
        open(tmp_path / "two.npz")
    np.savez(tmp_path / "odd.npz", x_train=GRAY, x_test=GRAY[:, 1:])
    with pytest.raises(InputError, match="x_train is uint8"):
        open(tmp_path / "odd.npz")
    np.savez(tmp_path / "none.npz", x_train=GRAY, x_test=GRAY[:0])
    with pytest.raises(InputError, match="both need examples"):
        open(tmp_path / "none.npz")


TABLE = RNG.normal(size=(8, 3)).round(3)


@pytest.mark.parametrize(
    ("name", "delimiter", "header"),
    [("a.csv", ",", ""), ("a.csv", ",", "a,b,c\n"), ("a.tsv", "\t", "a\tb\tc\n"), ("a.csv", ";", "a;b;c\n")],
)
def test_tables(tmp_path, name, delimiter, header):
    text = header + "".join(delimiter.join(map(str, row)) + "\n" for row in TABLE)
    data = open(garbage(tmp_path / name, b"\xef\xbb\xbf" + text.encode()))
    assert data.domain == REAL
    assert np.allclose(values(data), TABLE)
    packed = open(garbage(tmp_path / (name + ".gz"), gzip.compress(text.encode())))
    assert packed.fingerprint == data.fingerprint


def test_table_integers_are_whole_unless_declared(tmp_path):
    path = garbage(tmp_path / "a.csv", b"1,2\n3,4\n0,5\n")
    assert open(path).domain == Domain("mixed", columns=(WHOLE, WHOLE))
    assert open(path, levels=6).domain == Domain("levels", 6)


def test_a_column_of_labels(tmp_path):
    path = garbage(tmp_path / "a.csv", b'"x","kind",y\n1.5,cat,2\n3,"dog",4\n0.5,cat,1\n')
    data = open(path, labels="kind")
    assert data.shape == (2,)
    assert data.whole.labels.tolist() == [0, 1, 0]
    words = open(path)
    assert words.domain.columns[1].words == ("cat", "dog")
    with pytest.raises(InputError, match="did you mean 'kind'"):
        open(path, labels="kinds")


def test_arrays_larger_than_a_part_of_a_pass_are_judged_as_a_whole():
    x = np.zeros((5, 1 << 20), np.float16)  # a part holds 4 of the 5 rows
    x[4, 3] = np.inf
    with pytest.raises(InputError, match=r"1 value is (NaN|infinite), the first at x\[4, 3\]"):
        open(x)
    x[4, 3] = 0.5
    assert open(x).domain == UNIT


def test_array_fingerprint_is_pinned():
    stored = np.arange(6, dtype=np.uint8).reshape(3, 2)
    expected = hashlib.sha256(b"uint8 (3, 2)" + stored.tobytes()).hexdigest()
    assert open(stored).fingerprint == f"sha256:{expected}"


def test_what_the_system_says_of_a_path_is_one_line():
    with pytest.raises(InputError, match=r"'aaa.*' cannot be read: File name too long"):
        open("a" * 300)
