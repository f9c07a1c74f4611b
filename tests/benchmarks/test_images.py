"""The sets and figures of benchmarks/images.py."""

import numpy as np
import pytest
from PIL import Image


def drawings(n, size=4):
    from harness.image_sets import Drawing

    x = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return [Drawing(f"drawing-{i}", "ab"[i % 2], pixels) for i, pixels in enumerate(x)]


def test_a_set_has_each_image_once_and_a_tenth_for_testing(tmp_path):
    from harness.image_sets import Drawing, write

    made = drawings(20)
    twice = [*made, *(Drawing(f"again-{d.name}", "c", d.pixels) for d in made)]
    write(tmp_path / "set", iter(twice))
    files = sorted((tmp_path / "set").rglob("*.png"))
    assert sorted(file.stem for file in files) == sorted(d.name for d in made)
    assert len(list((tmp_path / "set" / "test").rglob("*.png"))) == 2
    kept = {file.stem: np.asarray(Image.open(file)) for file in files}
    assert all((kept[d.name] == d.pixels).all() for d in made)
    assert {file.parent.name for file in files} == {"a", "b"}
    assert [file.name for file in tmp_path.iterdir()] == ["set"]


def test_the_split_follows_names_and_not_their_order():
    from harness.image_sets import split_by_name

    made = drawings(40)
    tests = [{d.name for d, part in split_by_name(each) if part == "test"} for each in (made, made[::-1])]
    assert tests[0] == tests[1]
    assert len(tests[0]) == 4


def test_transparent_pixels_become_white():
    from harness.image_sets import on_white

    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.paste((0, 100, 0, 255), (0, 0, 2, 4))
    halved = on_white(image, 2)
    assert halved.tolist() == [[[0, 100, 0], [255, 255, 255]]] * 2


def test_options_are_split_at_keys_and_keep_quotes():
    from images import parse_options

    text = "network=resnet(hidden=32, inner=16) likelihood=discretized-logistic(scale='shared') lr=1e-3 latent=32"
    assert parse_options(text) == {
        "network": "resnet(hidden=32, inner=16)",
        "likelihood": "discretized-logistic(scale='shared')",
        "lr": 1e-3,
        "latent": 32,
    }
    with pytest.raises(SystemExit, match="KEY=VALUE"):
        parse_options("latent")


def test_figures_of_a_shifted_copy_and_of_half_a_set():
    from images import compared

    real = np.random.default_rng(0).normal(size=(200, 3))
    same = compared([real, real], [real, real])
    assert same["pixels"].value == pytest.approx(0, abs=1e-9)
    assert same["recall"].value == 1
    far = compared([real + 100, real], [real, real])
    assert far["pixels"].value == pytest.approx(3 * 100**2)
    assert far["recall"].value == far["precision"].value == 0
    assert far["features"].value == pytest.approx(0, abs=1e-9)


def test_a_sheet_has_rows_of_eight(tmp_path):
    from images import save_sheet

    x = np.arange(16, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 3, 3), np.uint8)
    save_sheet(tmp_path, "a set", "net(wide=2)", x)
    sheet = np.asarray(Image.open(tmp_path / "a-set-net-wide-2.png"))
    assert sheet.shape == (12, 48)
    assert sheet[0, 0] == 0
    assert sheet[6, 6] == 9
