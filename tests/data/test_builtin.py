"""Built-in sets and the cache: published splits, corruption, no network, whole writes."""

import gzip
import hashlib
import io
import os
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.data import BUILTINS, builtin, cache, open
from tightbound.data.names import GRIDS

REAL_CACHE = os.environ.get("TIGHTBOUND_DATA", "")


def needs(name):
    present = REAL_CACHE and (Path(REAL_CACHE) / name).is_dir()
    return pytest.mark.skipif(not present, reason=f"TIGHTBOUND_DATA names no folder that holds {name}")


def test_digits():
    data = open("digits")
    assert data.builtin
    assert (len(data.train), len(data.test), data.shape) == (1500, 297, (1, 8, 8))
    assert data.domain == Domain("levels", 17)
    assert data.whole is data.test
    batch = next(data.train.epoch(1500))
    assert batch.x.dtype == torch.uint8
    assert batch.x.max() == 16
    assert torch.bincount(batch.label).tolist() == [145, 149, 135, 161, 144, 158, 151, 156, 152, 149]
    assert open("digits", domain="real").domain.kind == "real"
    assert data.fingerprint == open("digits").fingerprint


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs(n)) for n in ("mnist", "fashion-mnist")])
def test_idx_sets(name):
    data = open(name)
    assert (len(data.train), len(data.test), data.shape) == (60_000, 10_000, (1, 28, 28))
    assert torch.bincount(data.test.labels).sum() == 10_000
    first = data.train.labels[:5].tolist()
    assert first == {"mnist": [5, 0, 4, 1, 9], "fashion-mnist": [9, 0, 0, 3, 0]}[name]
    batch = next(data.test.epoch(10, key=(0,)))
    assert batch.x.shape == (10, 1, 28, 28)
    assert torch.equal(batch.label, data.test.labels[batch.index])


@needs("frey-faces")
def test_frey_faces():
    data = open("frey-faces")
    assert (len(data.train), len(data.test), data.shape) == (1765, 200, (1, 28, 20))
    assert sorted(torch.cat([data.train.rows, data.test.rows]).tolist()) == list(range(1965))
    assert data.train.labels is None


def test_every_name_can_be_read():
    assert set(BUILTINS) == {*builtin.READERS, *GRIDS}
    assert all("train" in line and "test" in line for line in BUILTINS.values())


IMAGES = np.random.default_rng(0).integers(0, 256, (8, 28, 28), dtype=np.uint8)


def payloads():
    x, y = IMAGES.tobytes(), bytes(range(8))
    cut = 6 * 784
    return {
        "train-images-idx3-ubyte.gz": b"\0" * 16 + x[:cut],
        "train-labels-idx1-ubyte.gz": b"\0" * 8 + y[:6],
        "t10k-images-idx3-ubyte.gz": b"\0" * 16 + x[cut:],
        "t10k-labels-idx1-ubyte.gz": b"\0" * 8 + y[6:],
    }


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """An empty cache, and digests of a tiny set in place of those of MNIST."""
    monkeypatch.setenv("TIGHTBOUND_DATA", str(tmp_path))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in payloads().items()}
    monkeypatch.setitem(builtin._DIGESTS, "mnist", digests)
    return tmp_path / "mnist"


def fill(folder):
    folder.mkdir(exist_ok=True)
    for name, data in payloads().items():
        (folder / name).write_bytes(gzip.compress(data))


class Response(io.BytesIO):
    def __init__(self, content, length=None):
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content) if length is None else length)}


def serve(monkeypatch, answer):
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        assert timeout == 20
        return answer(address)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


def offline(address):
    raise urllib.error.URLError("no network")


def test_a_cache_is_read_without_a_network(tiny, monkeypatch):
    fill(tiny)
    assert serve(monkeypatch, offline) == []
    read = builtin.READERS["mnist"]()
    assert np.array_equal(read.x[:, 0], IMAGES)
    assert read.labels.tolist() == list(range(8))


def test_a_read_only_cache_can_be_read(tiny):
    fill(tiny)
    tiny.chmod(0o555)
    try:
        assert len(builtin.READERS["mnist"]().x) == 8
    finally:
        tiny.chmod(0o755)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rubbish", "is corrupt"),
        (b"", "does not hold the published data"),
        (gzip.compress(payloads()["t10k-images-idx3-ubyte.gz"])[:-9], "is corrupt"),
        (gzip.compress(b"something else"), "does not hold the published data"),
    ],
    ids=["rubbish", "empty", "truncated", "other data"],
)
def test_a_corrupt_file_is_named(tiny, content, message):
    fill(tiny)
    path = tiny / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open("mnist")
    assert str(path) in str(caught.value)
    assert "delete it" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_network_files_and_folder_are_named(tiny, monkeypatch):
    fill(tiny)
    (tiny / "t10k-images-idx3-ubyte.gz").unlink()
    (tiny / "train-images-idx3-ubyte.gz").unlink()
    asked = serve(monkeypatch, offline)
    with pytest.raises(InputError) as caught:
        open("mnist")
    text = str(caught.value)
    assert "put train-images-idx3-ubyte.gz, t10k-images-idx3-ubyte.gz into" in text
    assert str(tiny) in text
    assert "TIGHTBOUND_DATA" in text
    assert "no network" in text
    assert "\n" not in text
    assert len(asked) == 2


def test_fetched_files_are_verified_and_kept(tiny, monkeypatch):
    asked = serve(monkeypatch, lambda address: Response(gzip.compress(payloads()[address.rsplit("/", 1)[1]])))
    assert np.array_equal(builtin.READERS["mnist"]().x[:, 0], IMAGES)
    assert len(asked) == 4
    assert sorted(p.name for p in tiny.iterdir()) == sorted(payloads())
    builtin.READERS["mnist"]()
    assert len(asked) == 4


def test_the_next_mirror_is_tried(tiny, monkeypatch):
    def answer(address):
        if "ossci" in address:
            return Response(b"<html>log in to the hotel</html>")
        return Response(gzip.compress(payloads()[address.rsplit("/", 1)[1]]))

    asked = serve(monkeypatch, answer)
    assert len(builtin.READERS["mnist"]().x) == 8
    assert len(asked) == 8


def test_a_download_that_ends_early_leaves_nothing(tiny, monkeypatch):
    serve(monkeypatch, lambda address: Response(b"\x1f\x8b", length=99))
    with pytest.raises(InputError, match="connection ended after 2 of 99 bytes"):
        open("mnist")
    assert not tiny.exists() or list(tiny.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(tiny, monkeypatch, error):
    serve(monkeypatch, lambda address: Response(gzip.compress(payloads()[address.rsplit("/", 1)[1]])))

    def replace(source, target):
        raise error

    monkeypatch.setattr("os.replace", replace)
    with pytest.raises((InputError, KeyboardInterrupt)):
        open("mnist")
    assert list(tiny.iterdir()) == []


def test_frey_faces_are_converted(tmp_path, monkeypatch):
    from scipy.io import savemat

    monkeypatch.setenv("TIGHTBOUND_DATA", str(tmp_path))
    faces = np.random.default_rng(0).integers(0, 256, (1965, 28, 20), dtype=np.uint8)
    monkeypatch.setattr(builtin, "_FREY", hashlib.sha256(faces.tobytes()).hexdigest())
    file = io.BytesIO()
    savemat(file, {"ff": faces.reshape(1965, 560).T})
    asked = serve(monkeypatch, lambda address: Response(file.getvalue()))
    data = open("frey-faces")
    assert asked == ["https://cs.nyu.edu/~roweis/data/frey_rawface.mat"]
    assert (len(data.train), len(data.test)) == (1765, 200)
    assert np.array_equal(data.test.base.batch(torch.arange(3)).x[:, 0], faces[:3])
    assert (tmp_path / "frey-faces" / "frey_faces.npz").is_file()
    serve(monkeypatch, lambda address: Response(b"rubbish"))
    (tmp_path / "frey-faces" / "frey_faces.npz").unlink()
    with pytest.raises(InputError, match=r"put frey_faces\.npz into"):
        open("frey-faces")


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TIGHTBOUND_DATA", "~/somewhere")
    assert cache.cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("TIGHTBOUND_DATA")
    assert cache.cache_folder().name == "tightbound"
