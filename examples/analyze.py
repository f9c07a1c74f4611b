"""Diagnose a model, apply the remedy, and compare before with after."""

import tightbound as tb

data = tb.data.open("digits")
options = {"latent": 8, "network": "mlp(hidden=(64,))", "seed": 0}
trained = tb.fit(tb.VAE.for_data(data, **options), data, "elbo(beta=20.0)", epochs=5, quiet=True)

diagnosis = trained.diagnose()
print("\n".join(diagnosis.sentences))
print("remedy:", diagnosis.remedy)

print(trained.quality(n_samples=200, features="pca")["frechet"])

better = tb.train(data, **{**options, "objective": "elbo(beta=20.0)", "epochs": 5, **diagnosis.remedy}, quiet=True)
print(tb.compare([trained, better], data, samples=20))
