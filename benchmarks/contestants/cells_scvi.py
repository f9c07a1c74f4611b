"""scvi-tools 1.4.2: scVI with default options and a negative binomial likelihood, on CPU."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import anndata  # pyright: ignore[reportMissingImports]
import numpy as np
import scvi  # pyright: ignore[reportMissingImports]
import torch
from harness import worker
from scipy import sparse


def prepare(options: dict[str, Any]) -> worker.Turn:
    torch.set_num_threads(options["threads"])
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)
    x = np.load(options["data"])["x"].astype(np.float32)

    def turn(request: dict[str, Any]) -> worker.Answer:
        scvi.settings.seed = request["seed"]
        every, train, test = (
            anndata.AnnData(sparse.csr_matrix(x[rows])) for rows in (slice(None), request["train"], request["test"])
        )
        scvi.model.SCVI.setup_anndata(train)
        model = scvi.model.SCVI(train, n_latent=options["latent"], gene_likelihood="nb")
        how = {
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "logger": False,
            "default_root_dir": worker.scratch(),
        }
        answer = worker.timed(lambda: model.train(max_epochs=options["epochs"], train_size=1.0, **how))
        np.save(request["out"], model.get_latent_representation(every))
        bound = model.get_marginal_ll(test, n_mc_samples=options["samples"], return_mean=True)
        return {**answer, "nll": -float(bound)}

    return turn


if __name__ == "__main__":
    worker.serve(prepare)
