"""A likelihood, a prior and an objective of my own, checked by the laws that the built-in ones obey."""

import torch
from sklearn.datasets import load_wine

import tightbound as tb
from tightbound.testing import check_likelihood, check_objective, check_prior


class Gumbel(tb.likelihoods.ElementwiseLikelihood):
    """Gumbel density with location and log-scale from the decoder."""

    domains = ("real",)
    outputs = 2

    def distribution(self, raw):  # (..., 2, *shape) -> batch shape (..., *shape)
        location, log_scale = raw.unbind(-1 - len(self.shape))
        return torch.distributions.Gumbel(location, log_scale.clamp(-25, 25).exp(), validate_args=False)

    def fit_marginals(self, x):  # (N, *shape) -> (2, *shape): parameters to start training at
        scale = x.std(0, correction=0).clamp_min(1e-2) * 6**0.5 / torch.pi
        return torch.stack([x.mean(0) - 0.5772 * scale, scale.log()])


class Wide(tb.priors.Prior):
    """Normal prior with standard deviation 2."""

    def __init__(self, latent):
        super().__init__(latent)

    def forward(self, context=None):
        base = torch.distributions.Normal(torch.zeros(self.latent), torch.full((self.latent,), 2.0))
        return torch.distributions.Independent(base, 1)


class HalfRate(tb.objectives.Objective):
    """ELBO with half the rate."""

    def __call__(self, terms, knobs):  # nats per example (B,), to be maximized
        return terms.log_likelihood.mean(0) - 0.5 * sum(group.rate().mean(0).sum(-1) for group in terms.latents)


check_likelihood(Gumbel())
check_prior(Wide(3))
check_objective(HalfRate())

x = load_wine().data  # (178, 13) real columns
model = tb.VAE.for_data(x, latent=4, likelihood=Gumbel, prior=Wide)  # built with the sizes they need
trained = tb.fit(model, x, HalfRate(), epochs=3, quiet=True)
print(trained.evaluate(x, samples=50)["elbo"])
