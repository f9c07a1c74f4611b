"""One model, trained by several processes: `torchrun --nproc-per-node 2 distributed.py`, or `python distributed.py`."""

import os

import tightbound as tb

data = tb.data.open("digits")
model = tb.VAE.for_data(data, latent=8)
trained = tb.fit(model, data, run="runs/distributed", epochs=3, overwrite=True, quiet=True)  # joins the processes
bound = trained.evaluate(data, samples=20)["iwae"]  # each process computes its share, and all get the result

if os.environ.get("RANK", "0") == "0":  # all processes run the whole script: print once
    print(trained.weights)
    print("bound on log p(x):", bound)
