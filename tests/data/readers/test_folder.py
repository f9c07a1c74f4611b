"""Folders of images: sizes, modes, classes, broken files, and lazy decoding."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tightbound import VAE
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
    assert any("transparent pixels are seen on white" in note for note in data.notes)


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
    (tmp_path / "bad.png").unlink()
    save(tmp_path / "deep.png", RNG.integers(0, 60_000, (6, 5), dtype=np.uint16))
    save(tmp_path / "flat.png", pixels())
    with pytest.raises(InputError, match=r"deep\.png has 16 bits per pixel, and others have 8; convert them alike"):
        open(tmp_path)
    (tmp_path / "deep.png").unlink()
    (tmp_path / "flat.png").unlink()
    save(tmp_path / "one.png", pixels())
    with pytest.raises(InputError, match="has 1 example; at least 2 are needed"):
        VAE.for_data(open(tmp_path))


def test_the_fingerprint_follows_the_pixels(tmp_path, limits):
    save(tmp_path / "a.png", pixels())
    save(tmp_path / "b.png", pixels())
    first = open(tmp_path, limits=limits).fingerprint
    assert open(tmp_path, limits=limits).fingerprint == first
    save(tmp_path / "c.png", pixels())
    assert open(tmp_path, limits=limits).fingerprint != first
    assert torch.equal(everything(open(tmp_path, limits=limits)), everything(open(tmp_path, limits=limits)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, limits, orientation):
    upright = np.kron(np.array([[0, 80], [160, 240], [40, 200]]), np.ones((8, 8))).astype(np.uint8)
    held = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T}
    held |= {6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, 3)}  # as a camera held it
    for i in range(2):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(tmp_path / f"{i}.jpg", np.ascontiguousarray(held[orientation]), exif=exif, quality=100)
    data = open(tmp_path, limits=limits)
    assert data.shape == (1, 24, 16)
    assert np.abs(everything(data)[0, 0].numpy().astype(int) - upright).max() < 9
    assert any("EXIF" in note for note in data.notes) == (orientation > 1)
    assert open(tmp_path, resize=(12, 8), limits=limits).shape == (1, 12, 8)


def test_content_in_the_alpha_channel_is_seen_on_a_background(tmp_path, limits):
    alpha = [pixels() for _ in range(3)]
    for i, a in enumerate(alpha):
        save(tmp_path / f"{i}.png", np.dstack([np.zeros((6, 5, 3), np.uint8), a]))  # black glyphs
    x = everything(open(tmp_path, limits=limits))
    assert np.array_equal(x[:, 0], 255 - np.stack(alpha))
    red = everything(open(tmp_path, background="red", limits=limits))
    assert np.array_equal(red[:, 0], x[:, 0])
    assert not red[:, 1].any()
    with pytest.raises(InputError, match=r"every value of the training data is 0.*pass another background="):
        VAE.for_data(open(tmp_path, background="black", limits=limits))
    with pytest.raises(InputError, match="background='rad' is no color"):
        open(tmp_path, background="rad")


def test_palettes_and_gray_images_with_transparency(tmp_path, limits):
    for i in range(2):
        image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
        image.save(tmp_path / f"{i}.png", transparency=1)
    x = everything(open(tmp_path, limits=limits))
    assert x[0].permute(1, 2, 0).tolist() == [[[255, 0, 0], [255] * 3], [[0, 0, 255], [255] * 3]]
    (tmp_path / "gray").mkdir()
    for i in range(2):
        save(tmp_path / "gray" / f"{i}.png", np.array([[[9, 255], [9, 0]]], np.uint8))
    gray = open(tmp_path / "gray", limits=limits)
    assert gray.shape == (1, 1, 2)
    assert everything(gray)[0].tolist() == [[[9, 255]]]


def test_images_of_16_bits_keep_all_levels(tmp_path, limits):
    expected = np.stack([save(tmp_path / f"{i}.png", RNG.integers(0, 60_000, (6, 5), np.uint16)) for i in range(3)])
    data = open(tmp_path, limits=limits)
    assert data.domain == Domain("levels", 65_536)
    assert np.array_equal(everything(data)[:, 0], expected)
    assert np.allclose(everything(open(tmp_path, domain="unit", limits=limits))[:, 0], expected / 65_535)
    assert open(tmp_path, resize=(3, 3), limits=limits).shape == (1, 3, 3)


def test_other_modes_look_as_a_person_sees_them(tmp_path):
    for i in range(2):
        Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / f"{i}.tif")
    assert everything(open(tmp_path))[0, :, 0, 0].tolist() == [255, 0, 0]
    (tmp_path / "gif").mkdir()
    frames = [Image.new("L", (4, 4), color) for color in (10, 200)]
    for i in range(2):
        frames[0].save(tmp_path / "gif" / f"{i}.gif", save_all=True, append_images=frames[1:])
    data = open(tmp_path / "gif")
    assert set(everything(data).unique().tolist()) == {10}
    assert any("several frames" in note for note in data.notes)


@pytest.mark.parametrize("above", ["", "archive/"])
@pytest.mark.parametrize(
    "names", [("train", "test", "val"), ("Training", "testing", "Valid"), ("train2017", "test_set", "validation")]
)
def test_folders_called_train_and_test_are_a_split(tmp_path, limits, names, above):
    train, test, validation = names
    for part, count in ((train, 4), (test, 2), (validation, 3)):
        for kind in "xy":
            for i in range(count):
                save(tmp_path / above / part / kind / f"{i}.png", pixels())
    data = open(tmp_path, limits=limits)
    assert [len(part) for part in (data.train, data.test, data.validation)] == [8, 4, 6]
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    assert data.test.names[0] == f"{above}{test}/x/0.png"
    assert data.validation.names[-1] == f"{above}{validation}/y/2.png"
    assert "labels: x=0, y=1" in data.notes
    assert any("split: by the names of the folders, train, test, validation" in note for note in data.notes)
    assert data.held_out(1)[1] is data.validation


def test_a_folder_for_validation_alone_serves_for_testing(tmp_path):
    for i in range(6):
        save(tmp_path / ("train" if i < 4 else "val") / f"{i}.png", pixels())
    save(tmp_path / "extra" / "0.png", pixels())
    data = open(tmp_path)
    assert data.test.names == ["val/4.png", "val/5.png"]
    assert data.validation is None
    assert any("left out: folders with other names, extra" in note for note in data.notes)
    assert len(data.whole) == 6


def test_a_class_called_train_is_no_split(tmp_path):
    for i, kind in enumerate(("bus", "train", "car")):
        save(tmp_path / kind / f"{i}.png", pixels())
    assert open(tmp_path).whole.labels.tolist() == [0, 1, 2]


def test_a_broken_file_leaves_the_split_as_it_is(tmp_path):
    for i in range(6):
        save(tmp_path / ("train" if i < 4 else "test") / f"{i}.png", pixels(40, 40))
    content = (tmp_path / "train" / "0.png").read_bytes()
    (tmp_path / "train" / "0.png").write_bytes(content[:200])
    data = open(tmp_path)
    assert data.train.names == ["train/1.png", "train/2.png", "train/3.png"]
    assert data.test.names == ["test/4.png", "test/5.png"]
