"""Recover the counts of pbmc68k_reduced from normalized logarithms: python cells_counts.py FILE.h5ad OUT.npz."""

from __future__ import annotations

import sys
import warnings

import numpy as np


def counts(logarithms: np.ndarray) -> np.ndarray:
    """Return counts (N, D) from log1p(count * factor of the cell); the smallest number of a cell corresponds to 1.

    Raises:
        SystemExit: If the numbers are not logarithms of this form.
    """
    scaled = np.expm1(logarithms.astype(np.float64))
    quotients = scaled / np.where(scaled > 1e-9, scaled, np.inf).min(1, keepdims=True)
    whole = np.rint(quotients)
    if (abs(quotients - whole) > 0.002 * np.maximum(whole, 25)).any():
        sys.exit("the numbers are not logarithms of normalized counts")
    return whole.astype(np.int32)


def main(source: str, out: str) -> None:
    import anndata  # pyright: ignore[reportMissingImports]

    warnings.simplefilter("ignore")
    cells = anndata.read_h5ad(source)
    np.savez(out, x=counts(cells.raw.X.toarray()), types=np.array(cells.obs["bulk_labels"].astype(str), str))


if __name__ == "__main__":
    main(*sys.argv[1:])
