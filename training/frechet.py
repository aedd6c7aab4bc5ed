"""How far the clips of a dream are from real ones, as a Fréchet distance over random kernels.

The distance between the Gaussians that fit two sets of features best (Dowson and Landau 1982), as in FID (arXiv
1706.08500) and FVD (arXiv 1812.01717), but over what a `Judge` sees with random kernels, where real play varies most.
It may be compared with its own controls, real play and standing still, and with nothing that was published.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = 16
"""Of the features' principal components; more cannot be told from as few clips as a scorecard has."""


def frechet(real: NDArray[np.float64], other: NDArray[np.float64], most: int = DIRECTIONS) -> float:
    """Fréchet distance of features [N, F] and [M, F], in units of the spread of `real`: 0 where they are alike.

    most: principal components of `real` that are looked at. Raises ValueError where either has fewer than two clips.
    """
    if min(len(real), len(other)) < 2:
        raise ValueError(f"a Fréchet distance needs two clips of each kind, found {len(real)} and {len(other)}")
    mean, spread = real.mean(0), real.std(0)
    used = spread > 1e-12
    known, asked = ((part[:, used] - mean[used]) / spread[used] for part in (real, other))
    size = max(1, int(used.sum()))
    ways = np.linalg.svd(known, full_matrices=False)[2][: min(most, len(real) - 1)]
    return distance(*(part @ ways.T / np.sqrt(size) for part in (known, asked)))


def distance(known: NDArray[np.float64], asked: NDArray[np.float64]) -> float:
    """Fréchet distance of the Gaussians that fit features [N, F] and [M, F], as they are."""
    apart = known.mean(0) - asked.mean(0)
    one, two = (np.atleast_2d(np.cov(part, rowvar=False)) for part in (known, asked))
    root = _root(one)
    shared = np.sqrt(np.linalg.eigvalsh(root @ two @ root).clip(0)).sum()
    return float(max(0.0, apart @ apart + np.trace(one) + np.trace(two) - 2 * shared))


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    found: NDArray[np.float64] = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return found
