"""Fréchet distances of sets whose distance is known."""

import numpy as np
import pytest

from training.frechet import frechet


def cloud(n: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=(n, 4)) + shift


def test_of_a_set_to_itself_is_nothing() -> None:
    real = cloud(200, 0)
    assert frechet(real, real) == pytest.approx(0, abs=1e-9)
    assert frechet(real, cloud(200, 1)) < 0.05


def test_of_gaussians_as_the_formula_says() -> None:
    """Mean square distance of the means plus that of the spreads, per feature."""
    real = cloud(20_000, 0)
    assert frechet(real, cloud(20_000, 1, shift=3.0)) == pytest.approx(9, rel=0.03)
    assert frechet(real, cloud(20_000, 1, scale=3.0)) == pytest.approx(4, rel=0.05)
    assert frechet(real, cloud(20_000, 1, shift=1.0, scale=2.0)) == pytest.approx(2, rel=0.05)


def test_units_do_not_matter() -> None:
    real, other = cloud(500, 0), cloud(500, 1, shift=1.0)
    units = np.array([1.0, 100.0, 0.01, 7.0])
    assert frechet(real * units, other * units) == pytest.approx(frechet(real, other))


def test_what_never_varies_is_left_out_and_one_clip_is_not_enough() -> None:
    real = np.concatenate([cloud(50, 0), np.ones((50, 3))], axis=1)
    assert np.isfinite(frechet(real, real[:20]))
    with pytest.raises(ValueError, match="needs two clips of each kind, found 50 and 1"):
        frechet(real, real[:1])
