"""Prior x posterior x likelihood x objective, from objects: trained, saved, loaded and continued."""

import tempfile

from sklearn.datasets import load_digits
from torch import nn

import tightbound as tb

x = load_digits().images.reshape(-1, 1, 8, 8).astype(int)  # (1797, 1, 8, 8), levels 0 to 16
shape, latent = (1, 8, 8), 8

encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.SiLU())
decoder = nn.Sequential(nn.Linear(latent, 128), nn.SiLU(), nn.Linear(128, 2 * 64))
latents = tb.Flat(tb.priors.Flow(latent), tb.posteriors.DiagonalNormal(shape, latent, encoder))
likelihood = tb.likelihoods.DiscretizedLogistic(shape, latent, decoder, levels=17)
model = tb.VAE(latents, likelihood, tb.likelihoods.Levels(17))

with tempfile.TemporaryDirectory() as folder:
    run = f"{folder}/composed"
    objective = tb.objectives.ELBO(beta=tb.Linear(share=0.5))
    trained = tb.fit(model, x, objective, epochs=2, run=run, quiet=True)
    loaded = tb.load(run, model=model)  # the networks are mine, so a run cannot rebuild them
    longer = tb.fit(loaded.model, x, objective, epochs=3, run=run, resume=True, quiet=True)
    print(longer.evaluate(x[:200], samples=50)["iwae"])
