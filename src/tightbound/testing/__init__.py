"""Law suites: what any likelihood, prior, posterior, quantizer, latents and objective must satisfy.

Each raises AssertionError with the law that is broken, and works on a part of your own:

    from tightbound.testing import check_likelihood
    check_likelihood(MyLikelihood())
"""

from tightbound.testing.code_priors import check_code_prior
from tightbound.testing.joint import check_joint_likelihood
from tightbound.testing.likelihoods import check_likelihood
from tightbound.testing.models import check_latents, check_objective
from tightbound.testing.quantizers import check_quantizer
from tightbound.testing.vectors import check_posterior, check_prior

__all__ = [
    "check_code_prior",
    "check_joint_likelihood",
    "check_latents",
    "check_likelihood",
    "check_objective",
    "check_posterior",
    "check_prior",
    "check_quantizer",
]
