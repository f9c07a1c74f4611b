"""Maximum mean discrepancy between two samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tightbound.core.errors import InputError, number, suggestion

# functions of the distance, measured in widths
KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "rbf": lambda r: (-r.square()).exp(),
    "imq": lambda r: 1 / (1 + r.square()),
    "laplacian": lambda r: (-r).exp(),
}
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(
    x: Tensor, y: Tensor, kernel: str = "imq", width: float | None = None, scales: tuple[float, ...] = SCALES
) -> Tensor:
    """Return an unbiased scalar estimate of the squared discrepancy between the distributions of x and y.

    Its expectation is zero if the distributions are equal, so it may be negative. The kernel is the mean over `scales`
    of k(r), where r^2 = |x - y|^2 / (scale width), and is at most 1.

    Args:
        x: First sample (n, L).
        y: Second sample (m, L).
        kernel: "rbf" exp(-r^2), "imq" 1 / (1 + r^2), or "laplacian" exp(-r).
        width: Squared length scale; None: 2 L, the mean of |z - z'|^2 for draws from N(0, I).
        scales: Factors of the width.

    Raises:
        InputError: If the kernel is unknown, or a sample has fewer than two rows.

    References:
        A kernel two-sample test (Gretton et al. 2012), Eq. 3, https://jmlr.org/papers/v13/gretton12a.html;
        the mean over scales of imq: the code of Wasserstein auto-encoders (Tolstikhin et al. 2018), Section 4,
            https://arxiv.org/abs/1711.01558
    """
    check_kernel(kernel, width)
    if min(len(x), len(y)) < 2:
        raise InputError(f"the samples have {len(x)} and {len(y)} rows; pass at least two rows in each")
    width = 2.0 * x.shape[-1] if width is None else width
    # the product form x.x + y.y - 2 x.y would lose small distances
    across = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    lengths = [(scale * width) ** 0.5 for scale in scales]
    within_x, within_y, between = (
        torch.stack([KERNELS[kernel](distance / length).mean() for length in lengths]).mean()
        for distance in (torch.pdist(x), torch.pdist(y), across)
    )
    return within_x + within_y - 2 * between


def check_kernel(kernel: str, width: float | None) -> None:
    """Raise InputError if the kernel is unknown or the width is not positive."""
    if kernel not in KERNELS:
        raise InputError(f"kernel = {kernel!r} is unknown; {suggestion(str(kernel), KERNELS)}")
    if width is not None:
        number("width", width, above=0)
