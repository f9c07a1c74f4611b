"""Law suites that every component must pass, tightbound's own and yours.

Each function raises AssertionError with the law that is broken:

    from tightbound.testing import check_likelihood
    check_likelihood(MyLikelihood())

| function                 | argument                                                                          |
|--------------------------|-----------------------------------------------------------------------------------|
| `check_likelihood`       | a likelihood of independent elements, constructed without a network and shape=()  |
| `check_joint_likelihood` | a likelihood that couples elements, with at most 4096 values of x, and its domain  |
| `check_prior`            | a prior; if it needs contexts or an encoder, small ones are made                  |
| `check_posterior`        | a posterior with its network, or without one                                      |
| `check_latents`          | latents, and the shape of the encoder's input; returns missing optional methods   |
| `check_quantizer`        | a quantizer with a small codebook                                                 |
| `check_code_prior`       | a code prior on a grid small enough to enumerate all code indices                 |
| `check_objective`        | an objective; a small model is made unless you pass one                           |
"""

from tightbound.testing.code_priors import check_code_prior
from tightbound.testing.joint import check_joint_likelihood
from tightbound.testing.latents import check_latents
from tightbound.testing.likelihoods import check_likelihood
from tightbound.testing.objectives import check_objective
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
