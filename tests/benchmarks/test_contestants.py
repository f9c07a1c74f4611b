"""That the contestants in the product's environment compute the same: the same weights, loss, data and optimizer."""

import sys

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def contestants(monkeypatch, benchmarks):
    monkeypatch.syspath_prepend(str(benchmarks / "contestants"))
    with torch.random.fork_rng(devices=()):
        yield
    for name in ("nets", "ours", "by_hand", "lesson"):
        sys.modules.pop(name, None)


def trained(name, options, tmp_path, epochs):
    """Losses of epochs of one batch, whose order changes nothing, and the weights after them."""
    __import__(name)
    turn = sys.modules[name].prepare(options)
    losses = [turn({"what": "epoch"})["loss"] for _ in range(epochs)]
    file = tmp_path / f"{name}.npz"
    turn({"what": "weights", "file": str(file)})
    with np.load(file) as arrays:
        return losses, list(arrays.values())


@pytest.mark.parametrize(("net", "scale", "others"), [("mlp", 255, ["by_hand", "lesson"]), ("conv", 1, ["by_hand"])])
def test_contestants_do_the_same_work(net, scale, others, tmp_path):
    from nets import NETS, read_weights, save_start, save_weights

    n, epochs = 16, 3
    x = np.random.default_rng(0).integers(0, scale + 1, (n, *NETS[net].shape), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    start = str(tmp_path / "start.npz")
    save_start(start, net, seed=0)
    weights = read_weights(start)
    encoder = len(list(NETS[net].encoder().parameters()))
    weights[encoder - 1][NETS[net].latent :] = -40  # log-variances so low that draws are the means, whatever the noise
    save_weights(start, weights)
    options = {
        "net": net, "data": str(tmp_path / "x.npy"), "scale": scale, "start": start,
        "batch_size": n, "lr": 1e-3, "seed": 0, "threads": torch.get_num_threads(),
    }  # fmt: skip
    losses, weights = trained("ours", options, tmp_path, epochs)
    assert losses[0] > losses[-1]
    for other in others:
        found, moved = trained(other, options, tmp_path, epochs)
        assert found == pytest.approx(losses, rel=1e-5)
        for a, b in zip(weights, moved, strict=True):
            # a hundredth of a step of Adam, whose steps follow the sign of gradients that are rounding alone
            assert np.abs(a - b).mean() < 1e-5
