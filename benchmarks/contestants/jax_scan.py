"""A hand-written epoch in JAX: data on the device, one `lax.scan` over the batches, Adam written out, one call."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
from harness import worker
from jax import lax, random  # pyright: ignore[reportMissingImports]


def read(file: str) -> list[Any]:
    """Return weights (in, out) and biases of each layer, from those of torch."""
    with np.load(file) as arrays:
        flat = [jnp.asarray(array.T) for array in arrays.values()]
    return list(zip(flat[::2], flat[1::2], strict=True))


def loss_of(layers: list[Any], raw: Any, key: Any) -> Any:
    """Return the loss of images (B, 784), uint8, in nats per example."""
    x = raw.astype(jnp.float32) / 255
    h = x
    for w, b in layers[:2]:
        h = jax.nn.relu(h @ w + b)
    mu, log_variance = jnp.split(h @ layers[2][0] + layers[2][1], 2, axis=1)
    h = mu + jnp.exp(0.5 * log_variance) * random.normal(key, mu.shape)
    for w, b in layers[3:5]:
        h = jax.nn.relu(h @ w + b)
    logits = h @ layers[5][0] + layers[5][1]
    reconstruction = (jnp.maximum(logits, 0) - logits * x + jnp.log1p(jnp.exp(-jnp.abs(logits)))).sum()
    kl = -0.5 * (1 + log_variance - mu**2 - jnp.exp(log_variance)).sum()
    return (reconstruction + kl) / len(raw)


def adam(layers: Any, first: Any, second: Any, gradients: Any, step: Any, lr: float) -> tuple[Any, Any, Any]:
    """Take a step of Adam (Kingma and Ba 2015), with torch's constants."""
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    scale, rest = lr / (1 - 0.9**step), 1 / jnp.sqrt(1 - 0.999**step)
    layers = jax.tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) * rest + 1e-8), layers, first, second)
    return layers, first, second


@partial(jax.jit, static_argnames=("batch_size", "lr"), donate_argnames="state")
def epoch(state: Any, data: Any, key: Any, batch_size: int, lr: float) -> tuple[Any, Any]:
    """Return the state and the mean loss per example; the last batch is smaller."""
    order_key, noise_key = random.split(key)
    order = random.permutation(order_key, len(data))
    full = len(data) // batch_size

    def step(state: Any, given: tuple[Any, Any]) -> tuple[Any, Any]:
        rows, i = given
        layers, first, second, count = state
        loss, gradients = jax.value_and_grad(loss_of)(layers, data[rows], random.fold_in(noise_key, i))
        return (*adam(layers, first, second, gradients, count + 1.0, lr), count + 1.0), loss * len(rows)

    batches = order[: full * batch_size].reshape(full, batch_size)
    state, losses = lax.scan(step, state, (batches, jnp.arange(full)))
    total = losses.sum()
    if full * batch_size < len(data):
        state, last = step(state, (order[full * batch_size :], full))
        total += last
    return state, total / len(data)


def prepare(options: dict[str, Any]) -> worker.Turn:
    data, key = jnp.asarray(np.load(options["data"]).reshape(-1, 784)), random.key(options["seed"])
    layers = read(options["start"])
    state = (layers, *(jax.tree.map(jnp.zeros_like, layers) for _ in range(2)), jnp.zeros(()))
    epochs = 0

    def turn(request: dict[str, Any]) -> worker.Answer:
        nonlocal state, epochs

        def one() -> worker.Answer:
            nonlocal state
            state, loss = epoch(state, data, random.fold_in(key, epochs), options["batch_size"], options["lr"])
            return {"loss": float(jax.block_until_ready((loss, state))[0])}

        if request["what"] == "epoch":
            epochs += 1
            return worker.timed(one)
        np.savez(request["file"], *(np.asarray(p).T for layer in state[0] for p in layer))
        return {}

    return turn


if __name__ == "__main__":
    worker.serve(prepare)
