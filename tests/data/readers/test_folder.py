"""Folders of images: sizes, modes, classes, broken files, and lazy decoding."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tightbound.core.domain import BINARY, UNIT, Domain
from tightbound.core.errors import InputError
from tightbound.data import ArraySplit, Limits, MappedSplit, open

RNG = np.random.default_rng(0)


def pixels(height=6, width=5, channels=0):
    shape = (height, width, channels) if channels else (height, width)
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return array


def everything(data):
    return next(data.whole.epoch(len(data.whole))).x


@pytest.fixture(params=[1 << 30, 10], ids=["memory", "lazy"])
def limits(request):
    return Limits(memory=request.param)


def test_gray_images_in_the_order_of_their_names(tmp_path, limits):
    expected = np.stack([save(tmp_path / f"{i:02}.png", pixels()) for i in range(12)])
    data = open(tmp_path, limits=limits)
    assert isinstance(data.whole, ArraySplit if limits.memory > 10 else MappedSplit)
    assert data.shape == (1, 6, 5)
    assert data.domain == Domain("levels", 256)
    assert np.array_equal(everything(data)[:, 0], expected)
    assert data.whole.names[3] == "03.png"
    assert [data.test.names[0]] == [f"{data.test.rows[0]:02}.png"]
    assert data.train.labels is None
    assert data.fingerprint.startswith("sha256:")
    batch = next(data.train.epoch(4, key=(1,)))
    assert np.array_equal(batch.x[:, 0], expected[data.train.rows[batch.index]])


def test_color_images(tmp_path, limits):
    expected = np.stack([save(tmp_path / f"{i}.png", pixels(channels=3)) for i in range(4)])
    assert np.array_equal(everything(open(str(tmp_path), limits=limits)), expected.transpose(0, 3, 1, 2))
    assert open(tmp_path, gray=True, limits=limits).shape == (1, 6, 5)


def test_mixed_modes_are_read_as_color(tmp_path, limits):
    gray = save(tmp_path / "a.png", pixels())
    save(tmp_path / "b.png", pixels(channels=3))
    save(tmp_path / "c.png", pixels(channels=4))
    data = open(tmp_path, limits=limits)
    assert data.shape == (3, 6, 5)
    assert np.array_equal(everything(data)[0], np.stack([gray] * 3))
    assert any("mixed" in note for note in data.notes)
    assert any("transparency" in note for note in data.notes)


def test_mixed_sizes_are_refused_and_resized_on_demand(tmp_path, limits):
    save(tmp_path / "a.png", pixels(6, 5))
    save(tmp_path / "b.png", pixels(8, 9))
    message = r"a.png is 6x5, b.png is 8x9, height x width\); use resize=\(HEIGHT, WIDTH\)"
    with pytest.raises(InputError, match=message):
        open(tmp_path, limits=limits)
    data = open(tmp_path, resize=(16, 8), limits=limits)
    assert data.shape == (1, 16, 8)
    assert everything(data).shape == (2, 1, 16, 8)
    with pytest.raises(InputError, match="height and a width"):
        open(tmp_path, resize=(0, 8), limits=limits)


def test_sub_folders_are_classes(tmp_path, limits):
    for i, kind in enumerate(("dog", "cat", "dog", "emu")):
        save(tmp_path / kind / "deep" / f"{i}.png", pixels())
    data = open(tmp_path, limits=limits)
    assert data.whole.labels.tolist() == [0, 1, 1, 2]
    assert "labels: cat=0, dog=1, emu=2" in data.notes
    assert data.whole.names[0] == "cat/deep/1.png"
    assert next(data.whole.epoch(4)).label.tolist() == [0, 1, 1, 2]
    save(tmp_path / "root.png", pixels())
    assert open(tmp_path, limits=limits).whole.labels is None


def test_labels_given_by_hand(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", pixels())
    assert open(tmp_path, labels=[3, 1, 0, 2]).whole.labels.tolist() == [3, 1, 0, 2]
    assert len({open(tmp_path, labels=y).fingerprint for y in (None, [3, 1, 0, 2], [0, 1, 2, 3])}) == 3
    with pytest.raises(InputError, match="names a column"):
        open(tmp_path, labels="kind")


def test_unreadable_files_are_counted_and_named(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png", pixels(40, 40))
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    (tmp_path / "empty.jpg").touch()
    whole = io.BytesIO()
    Image.fromarray(pixels(40, 40)).save(whole, "png")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:200])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".DS_Store").touch()
    data = open(tmp_path)
    assert data.whole.names == ["0.png", "1.png", "2.png"]
    assert len(everything(data)) == 3
    [note] = [note for note in data.notes if "unreadable" in note]
    assert note.startswith("3 unreadable files skipped: ")
    assert all(name in note for name in ("bad.png", "empty.jpg", "cut.png"))
    assert "1 other files left out" in data.notes


def test_a_broken_file_read_lazily_is_named(tmp_path):
    for i in range(100):
        save(tmp_path / f"{i:02d}.png", pixels(40, 40))
    content = (tmp_path / "02.png").read_bytes()  # none of the files by which the others are judged
    (tmp_path / "02.png").write_bytes(content[:200])
    data = open(tmp_path, limits=Limits(memory=10))
    with pytest.raises(InputError, match=r"02\.png cannot be decoded: .*; remove it") as caught:
        list(data.whole.epoch(1))
    assert "\n" not in str(caught.value)


def test_black_and_white_images_are_binary(tmp_path, limits):
    for i in range(3):
        Image.fromarray(pixels() > 127).save(tmp_path / f"{i}.png")
    data = open(tmp_path, limits=limits)
    assert data.domain == BINARY
    assert set(everything(data).unique().tolist()) == {0, 1}


def test_overrides(tmp_path, limits):
    expected = np.stack([save(tmp_path / f"{i}.png", pixels() // 2) for i in range(3)])
    data = open(tmp_path, domain="unit", limits=limits)
    assert data.domain == UNIT
    assert np.allclose(everything(data)[:, 0], expected / 255)
    assert open(tmp_path, levels=128, limits=limits).domain == Domain("levels", 128)
    with pytest.raises(InputError, match=r"outside integers 0\.\.63"):
        everything(open(tmp_path, levels=64, limits=limits))


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        open(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"none of 1 images can be read, such as bad\.png"):
        open(tmp_path)
    save(tmp_path / "deep.png", RNG.integers(0, 60_000, (5, 5), dtype=np.uint16))
    with pytest.raises(InputError, match="more than 8 bits"):
        open(tmp_path)
    (tmp_path / "deep.png").unlink()
    save(tmp_path / "one.png", pixels())
    with pytest.raises(InputError, match="has 1 example"):
        open(tmp_path)


def test_the_fingerprint_follows_the_pixels(tmp_path, limits):
    save(tmp_path / "a.png", pixels())
    save(tmp_path / "b.png", pixels())
    first = open(tmp_path, limits=limits).fingerprint
    assert open(tmp_path, limits=limits).fingerprint == first
    save(tmp_path / "c.png", pixels())
    assert open(tmp_path, limits=limits).fingerprint != first
    assert torch.equal(everything(open(tmp_path, limits=limits)), everything(open(tmp_path, limits=limits)))
