"""Numbers with their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

Z = 1.959963984540054  # 97.5% quantile of the standard normal distribution
_LARGE = 1e15  # numbers at least this large are shown with an exponent

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def __getattr__(name: str) -> Any:
    """Return `Array`; numpy is imported when it is first needed, so that `--help` stays fast."""
    if name != "Array":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import numpy as np

    return np.ndarray[Any, Any]


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error, or one number per latent dimension, group or codebook.

    A value that is not finite becomes missing, and the reason says so.

    Attributes:
        value: The value, a list of values, or None if it does not exist.
        stderr: Standard error of each value; None if it is unknown.
        n: Number of examples.
        unit: Unit, such as "nats".
        estimator: How the value was computed.
        target: What it estimates, such as the quantity that a bound bounds.
        samples: Latent samples per example; None if that does not apply.
        reason: Why there is no value or no standard error, or a caveat about the value.
        description: What the number is, in one line.
        at: Where each value of a curve lies, such as numbers of samples; None unless the values are a curve.
    """

    value: float | list[float] | None
    stderr: float | list[float] | None
    n: int
    unit: str
    estimator: str
    target: str
    samples: int | None = None
    reason: str | None = None
    description: str = ""
    at: list[float] | None = None

    def __post_init__(self) -> None:
        if self.value is not None and not all(map(math.isfinite, _values(self.value))):
            object.__setattr__(self, "reason", f"the estimate is not finite ({self.value})")
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "stderr", None)

    @classmethod
    def missing(cls, reason: str, *, n: int, unit: str, target: str, **facts: Any) -> Self:
        """Return an estimate without a value, and the reason why it has none."""
        facts |= {"estimator": "none", "reason": reason}
        return cls(None, None, n=n, unit=unit, target=target, **facts)

    def __str__(self) -> str:
        if self.value is None:
            return f"missing: {self.reason}"
        if isinstance(self.value, list):
            if not self.value:
                return "none"
            return f"{min(self.value):.3g} to {max(self.value):.3g} {self.unit} ({len(self.value)} values)"
        error = self.stderr if isinstance(self.stderr, float) else None
        return f"{with_error(self.value, error)} {self.unit} (n = {self.n:,})"


def value_text(estimate: Estimate, few: int = 5) -> str:
    """Return the value with its standard error, to two digits of the error; of more than `few` values, the range."""
    value, stderr = estimate.value, estimate.stderr
    if value is None:
        return "-"
    if isinstance(value, list):
        span = ", ".join(f"{v:.2f}" for v in value)
        span = span if len(value) <= few else f"{min(value):.2f} to {max(value):.2f}"
        return f"{span} (± {max(stderr):.2f})" if isinstance(stderr, list) else span
    error = stderr if isinstance(stderr, float) else None
    if estimate.unit == "dimensions":
        return f"{value:.0f}" + (f" ± {error:.1f}" if error is not None and error >= 0.05 else "")
    return with_error(value, error)


def percent(estimate: Estimate) -> str:
    """Return a share with its standard error as a percentage."""
    if estimate.value is None:
        return "-"
    return with_error(100 * scalar(estimate), None if estimate.stderr is None else 100 * scalar_error(estimate))


def mean(x: Array, **facts: Any) -> Estimate:
    """Return the mean over examples of x (N,) or (N, L), with its standard error.

    Examples whose values are not finite are left out, unless all are such; the reason of the estimate says how many.
    """
    import numpy as np

    finite = np.isfinite(x).reshape(len(x), -1).all(1)
    left_out = len(x) - int(finite.sum())
    if 0 < left_out < len(x):
        x = x[finite]
        said = f"leaves out {left_out:,} example{'s' * (left_out > 1)} whose value is not finite"
        facts["reason"] = "; ".join(filter(None, (facts.get("reason"), said)))
    return estimate(x.mean(0), mean_error(x) if len(x) > 1 else None, n=len(x), **facts)


def mean_error(x: Array) -> Any:
    """Return the standard error of the mean over examples of x (N,) or (N, L).

    It is sd / sqrt(N), widened for few examples and skewed values so that the mean ± 1.96 errors covers: by the
    quantile of Student's t over 1.96, and by 1 + 2 g^2 / N with the sample skewness g. Hall's expansion of the
    coverage has a factor of 1.1 and the skewness of the population, of which a small sample shows too little.

    References:
        Inverting an Edgeworth expansion (Hall 1983), https://doi.org/10.1214/aos/1176346162
    """
    import numpy as np
    from scipy.special import stdtrit

    n = len(x)
    with np.errstate(invalid="ignore", over="ignore"):  # the estimate says that it is not finite
        error, centered = x.std(0, ddof=1) / math.sqrt(n), x - x.mean(0)
        scaled = centered / np.maximum(x.std(0), np.finfo(float).tiny)
        return error * (stdtrit(n - 1, 0.975) / Z) * (1 + 2 * (scaled**3).mean(0) ** 2 / n)


def share(hits: Array, **facts: Any) -> Estimate:
    """Return the share of the examples that are hits (N,), booleans, with its standard error; see `share_error`."""
    return estimate(hits.mean(), share_error(hits.mean(), len(hits)), n=len(hits), **facts)


def share_error(value: Any, n: int) -> Any:
    """Return the standard error of a share of n examples.

    The share ± 1.96 errors reaches as far as Wilson's interval, so that no hit among few examples is not certainty.

    References:
        Probable inference, the law of succession, and statistical inference (Wilson 1927),
        https://doi.org/10.1080/01621459.1927.10502953
    """
    center = (value + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (value * (1 - value) / n + Z**2 / (4 * n**2)) ** 0.5
    return (abs(center - value) + half) / Z


def resampled_error(value: float, again: Array) -> float:
    """Return the standard error of a value from values of bootstrap resamples (R,).

    It is their standard deviation, widened so that the value ± 1.96 errors reaches as far as the farther of their 2.5%
    and 97.5% quantiles. If the resampled values are skewed, as for a share beyond a quantile, a value that comes out
    too small has too small a standard deviation, too.

    References:
        An introduction to the bootstrap (Efron and Tibshirani 1993), Section 13.3
    """
    import numpy as np

    low, high = np.quantile(again, [0.025, 0.975])
    return max(float(again.std(ddof=1)), (float(high) - value) / Z, (value - float(low)) / Z)


def _values(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def estimate(value: Any, stderr: Any, **facts: Any) -> Estimate:
    """Return an estimate from NumPy values; its reason says so if a single example allows no standard error."""
    import numpy as np

    plain = [None if v is None else np.asarray(v, dtype=float).tolist() for v in (value, stderr)]
    if value is not None and stderr is None:
        facts["reason"] = facts.get("reason") or "no standard error: one example"
    return Estimate(plain[0], plain[1], **facts)


def spread(mu: Array, variance: Array, **facts: Any) -> Estimate:
    """Return sqrt(Var mu + E sigma^2) per dimension, from (N, L) each; standard error by the delta method."""
    import numpy as np

    n = len(mu)
    center, second = mu.mean(0), (mu**2 + variance).mean(0)
    value = np.sqrt(np.maximum(second - center**2, 0))
    influence = (mu**2 + variance - second - 2 * center * (mu - center)) / (2 * np.maximum(value, 1e-12))
    return estimate(value, mean_error(influence) if n > 1 else None, n=n, **facts)


def ratio(x: Array, y: Array, **facts: Any) -> Estimate:
    """Return the mean of x over the mean of y, (N,) each, paired; standard error by the delta method."""
    value = x.mean() / y.mean()
    return estimate(value, mean_error(x - value * y) / abs(y.mean()) if len(x) > 1 else None, n=len(x), **facts)


def active_units(mu: Array, threshold: float = 0.01, **facts: Any) -> Estimate:
    """Return the number of dimensions with Var_x(mu) above the threshold, from mu (N, L).

    The standard error treats each variance's sampling error as Gaussian: sqrt(sum p (1 - p)), where p is the
    probability that the dimension is active.

    References:
        Importance weighted autoencoders (Burda et al. 2016), Section 5.2, https://arxiv.org/abs/1509.00519
    """
    import numpy as np

    n = len(mu)
    deviation = (mu - mu.mean(0)) ** 2
    variance = deviation.mean(0) * n / max(n - 1, 1)
    if n == 1:
        return Estimate(None, None, n, reason="a variance needs at least two examples", **facts)
    error = np.maximum(mean_error(deviation), 1e-300)
    p = np.array([0.5 * math.erfc((threshold - v) / (e * math.sqrt(2))) for v, e in zip(variance, error, strict=True)])
    return estimate(float((variance > threshold).sum()), math.sqrt((p * (1 - p)).sum()), n=n, **facts)


def with_error(value: float, stderr: float | None) -> str:
    """Return a value and its standard error as text, to two digits of the error."""
    if stderr is None or not stderr > 1e-12 * abs(value):  # a smaller error is mere rounding
        return f"{value:.4g}" if stderr is None else f"{value:g}"
    if max(abs(value), stderr) >= _LARGE:
        return f"{value:.3g} ± {stderr:.2g}"
    places = max(0, 1 - math.floor(math.log10(stderr)))
    return f"{value:.{places}f} ± {stderr:.{places}f}"


def scalar(number: Estimate) -> float:
    """Return the value of an estimate that is one number; NaN, which fails every comparison, if there is none."""
    return number.value if isinstance(number.value, float) else math.nan


def scalar_error(number: Estimate) -> float:
    """Return the standard error of an estimate that is one number; NaN if there is none."""
    return number.stderr if isinstance(number.stderr, float) else math.nan
