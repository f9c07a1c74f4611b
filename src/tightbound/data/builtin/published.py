"""The built-in data sets as raw arrays with their published splits."""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tightbound.core.domain import Domain
from tightbound.data.builtin.cache import cached


@dataclass(frozen=True)
class Published:
    """A built-in data set: x (N, C, H, W) uint8, labels (N,) or None, and the rows of its two splits."""

    x: np.ndarray
    labels: np.ndarray | None
    train: np.ndarray
    test: np.ndarray
    domain: Domain
    note: str


def _digits() -> Published:
    x, y = (part.copy() for part in _digits_read())
    order = np.random.default_rng(0).permutation(1797)
    note = "split: 1,500 train and 297 test by a fixed permutation"
    return Published(x, y, order[:1500], order[1500:], Domain("levels", 17), note)


@functools.cache
def _digits_read() -> tuple[np.ndarray, np.ndarray]:
    """Return x and labels, read from scikit-learn's text file once in a process."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return np.asarray(x).astype(np.uint8).reshape(-1, 1, 8, 8), np.asarray(y)


_DIGESTS = {  # of the decompressed files
    "mnist": {
        "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
_MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
}


def _idx(name: str) -> Published:
    """Read a data set like MNIST: four IDX files, whose headers take 16 and 8 bytes."""
    images, labels, test_images, test_labels = cached(_DIGESTS[name], name, _MIRRORS[name], gzip.decompress)
    x = np.frombuffer(images[16:] + test_images[16:], np.uint8).reshape(-1, 1, 28, 28)
    y = np.frombuffer(labels[8:] + test_labels[8:], np.uint8)
    rows = np.arange(len(x))
    note = "split: the published 60,000 train and 10,000 test"
    return Published(x, y, rows[:60_000], rows[60_000:], Domain("levels", 256), note)


_FREY = "2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"  # of the pixels


def _frey() -> Published:
    [pixels] = cached(
        {"frey_faces.npz": _FREY},
        "frey-faces",
        ("https://cs.nyu.edu/~roweis/data/",),
        _frey_pixels,
        sources={"frey_faces.npz": "frey_rawface.mat"},
        convert=frey_npz,
    )
    order = np.random.default_rng(0).permutation(1965)
    x = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 20)
    note = "split: 1,765 train and 200 test by a fixed permutation"
    return Published(x, None, order[:1765], order[1765:], Domain("levels", 256), note)


def _frey_pixels(content: bytes) -> bytes:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return np.ascontiguousarray(file["images"]).tobytes()


def frey_npz(content: bytes) -> bytes:
    """Convert the published MATLAB file, `ff` (560, 1965) an image per column, to .npz."""
    from scipy.io import loadmat

    try:
        images = loadmat(io.BytesIO(content))["ff"].T.reshape(-1, 28, 20).astype(np.uint8)
    except Exception as error:
        raise OSError(f"frey_rawface.mat was not understood: {error}") from None
    out = io.BytesIO()
    np.savez_compressed(out, images=images)
    return out.getvalue()


READERS: dict[str, Callable[[], Published]] = {
    "digits": _digits,
    "mnist": lambda: _idx("mnist"),
    "fashion-mnist": lambda: _idx("fashion-mnist"),
    "frey-faces": _frey,
}
