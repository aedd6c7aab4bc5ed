"""How far a picture is from the truth, what codes tell, and how sure each figure is.

Frames are uint8 [..., C, H, W]; every picture metric answers one number a frame, never one pooled
over frames. Code metrics work on flat int64 arrays. `interval` puts a bootstrap around any ratio.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PSNR_CAP = 100.0
"""Decibels given to identical frames, whose PSNR is infinite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A measured number with its 95 % bootstrap interval. `n` things measured, in `clusters` independent groups.

    All three values are None where nothing could be measured.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int

    def decibels(self) -> Figure:
        """A ratio as 10 log10 of itself."""
        value, low, high = (None if x is None else float(10 * np.log10(x)) for x in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)

    def data(self) -> dict[str, float | int | None]:
        """As plain JSON, rounded to six digits."""

        def short(number: float | None) -> float | None:
            return None if number is None else float(f"{number:.6g}")

        return {
            "value": short(self.value),
            "low": short(self.low),
            "high": short(self.high),
            "n": self.n,
            "clusters": self.clusters,
        }


def mse(truth: Tensor, guess: Tensor) -> Tensor:
    """Mean squared error of each frame on a scale of 0 to 1. uint8 [..., C, H, W] twice → float [...]."""
    _same(truth, guess)
    difference = (truth.to(torch.float32) - guess.to(torch.float32)) / 255.0
    return difference.square().flatten(-3).mean(-1)


def psnr(truth: Tensor, guess: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each frame, dB: 10 log10(1 / mse), at most PSNR_CAP. [..., C, H, W] → [...]."""
    return _decibels(mse(truth, guess))


def moving_mask(before: Tensor, truth: Tensor) -> Tensor:
    """Where the true frame differs from the true frame before it, grown by one pixel: bool [..., H, W].

    Only the truth decides, so that every row of a table is scored on the same pixels.
    """
    _same(before, truth)
    changed = (before != truth).any(-3)  # [..., H, W]
    flat = changed.reshape(-1, 1, *changed.shape[-2:]).to(torch.float32)
    return functional.max_pool2d(flat, 3, stride=1, padding=1).reshape(changed.shape) > 0


def masked_mse(truth: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over a mask bool [..., H, W], scale 0 to 1: float [...]; NaN where the mask is empty."""
    _same(truth, guess)
    squares = ((truth.to(torch.float32) - guess.to(torch.float32)) / 255.0).square().mean(-3)  # [..., H, W]
    area = mask.flatten(-2).sum(-1)
    return (squares * mask).flatten(-2).sum(-1) / torch.where(area > 0, area, torch.nan)


def moving_psnr(before: Tensor, truth: Tensor, guess: Tensor) -> Tensor:
    """PSNR over the moving pixels (see `moving_mask`), dB: [...]; NaN for a frame in which nothing moved."""
    return _decibels(masked_mse(truth, guess, moving_mask(before, truth)))


def ssim(truth: Tensor, guess: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of each frame: [..., C, H, W] uint8 → float [...].

    Gaussian window 11×11, σ 1.5, no padding, K1 0.01, K2 0.03, population moments, mean over channels.
    """
    _same(truth, guess)
    height, width = truth.shape[-2:]
    if height < 11 or width < 11:
        raise ValueError(f"ssim needs frames of at least 11x11 pixels, found {height}x{width}")
    x, y = (frames.reshape(-1, height, width).to(torch.float32) / 255.0 for frames in (truth, guess))
    maps = torch.cat([x, y, x * x, y * y, x * y])
    maps = _blur(height, maps.device) @ maps @ _blur(width, maps.device).T  # [5 * frames * C, H - 10, W - 10]
    mean_x, mean_y, square_x, square_y, product = maps.chunk(5)
    spread_x, spread_y = square_x - mean_x.square(), square_y - mean_y.square()
    covariance = product - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x.square() + mean_y.square() + c1) * (spread_x + spread_y + c2)
    return (above / below).mean((1, 2)).reshape(*truth.shape[:-3], -1).mean(-1)


def around(places: ArrayLike, frames: Tensor, side: int = 15) -> Tensor:
    """Squares of `side` pixels round (y, x), moved where they would stick out: [N, 2] and [N, C, H, W] →
    [N, C, side, side], N above 0. Of frames that are smaller, as much as there is.

    What a picture metric tells of them it tells of the small thing in their middle, which weighs nothing in the whole.
    """
    height, width = frames.shape[-2:]
    side = min(side, height, width)
    corners = np.asarray(places).round().astype(np.int64) - side // 2
    corners = corners.clip(0, (height - side, width - side))
    return torch.stack([frame[:, y : y + side, x : x + side] for frame, (y, x) in zip(frames, corners, strict=True)])


def run_lengths(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each entry of bool [N], how long the run of true entries that ends there is: int64 [N]."""
    index = np.arange(1, len(mask) + 1)
    return np.asarray(index - np.maximum.accumulate(np.where(mask, 0, index)), np.int64)


def interval(totals: ArrayLike, counts: ArrayLike, *, n: int | None = None, seed: int = 0) -> Figure:
    """Ratio of sums, sum(totals) / sum(counts), with a cluster bootstrap over the first axis.

    totals, counts: float [clusters], one entry a clip or a block of play; a cluster whose count is
    0 takes no part. n: what to report as the number of things measured; the sum of counts if None.
    """
    above, below = np.asarray(totals, np.float64), np.asarray(counts, np.float64)
    return balanced_interval(above[:, None], below[:, None], n=n, seed=seed)


def balanced_interval(hits: ArrayLike, totals: ArrayLike, *, n: int | None = None, seed: int = 0) -> Figure:
    """Mean over columns of the ratio of sums (balanced accuracy if columns are classes), bootstrap over rows.

    hits, totals: float [clusters, columns]. Percentiles 2.5 and 97.5 of 1,000 seeded draws of as
    many clusters, with replacement (Efron 1979); columns that are empty in a draw are left out of it.
    """
    above, below = np.asarray(hits, np.float64), np.asarray(totals, np.float64)
    used = (below > 0).any(1)
    above, below = above[used], below[used]
    count = round(float(below.sum())) if n is None else n
    clusters = len(below)
    if clusters == 0:
        return Figure(value=None, low=None, high=None, n=0, clusters=0)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=1000).astype(np.float64)
    value = _mean_ratio(above.sum(0, keepdims=True), below.sum(0, keepdims=True))[0]
    low, high = np.percentile(_mean_ratio(draws @ above, draws @ below), [2.5, 97.5])
    return Figure(value=float(value), low=float(low), high=float(high), n=count, clusters=clusters)


def mean_interval(values: ArrayLike, *, seed: int = 0) -> Figure:
    """Mean of one value a clip with its bootstrap interval; NaN values are left out."""
    numbers = np.asarray(values, np.float64).reshape(-1)
    known = np.isfinite(numbers)
    return interval(np.where(known, numbers, 0.0), known, seed=seed)


def code_usage(codes: Ints, size: int) -> Floats:
    """Share of each of `size` codes: float [size], sums to one (all zero without codes)."""
    counts = np.bincount(codes, minlength=size).astype(np.float64)
    return np.asarray(counts / max(counts.sum(), 1.0), np.float64)


def perplexity(usage: Floats) -> float:
    """exp(entropy) of a distribution: how many codes are in even use."""
    positive = usage[usage > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def mutual_information(counts: ArrayLike) -> float:
    """Mutual information, nats, of a table of counts [rows, columns]; 0 for an empty one."""
    joint = np.asarray(counts, np.float64)
    if joint.sum() == 0:
        return 0.0
    joint = joint / joint.sum()
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return max(0.0, float((joint[seen] * np.log(joint[seen] / apart[seen])).sum()))


def normalized_mutual_information(counts: ArrayLike) -> float:
    """2 I / (H_rows + H_columns) of a table of counts: 0 independent, 1 the same up to names (Strehl & Ghosh 2002)."""
    joint = np.asarray(counts, np.float64)
    joint = joint / max(joint.sum(), 1.0)
    entropy = sum(np.log(perplexity(joint.sum(axis))) for axis in (0, 1))
    return 0.0 if entropy <= 0 else 2 * mutual_information(joint) / float(entropy)


def count_table(codes: Ints, classes: Ints, rows: int, columns: int) -> Ints:
    """How often each code met each class: int64 [rows, columns]."""
    return np.bincount(codes * columns + classes, minlength=rows * columns).reshape(rows, columns).astype(np.int64)


def majority_map(codes: Ints, classes: Ints, rows: int, columns: int) -> Ints:
    """The class that each code mostly stands for: int64 [rows]; a code never seen gets the most common class."""
    counts = count_table(codes, classes, rows, columns)
    common = int(counts.sum(0).argmax())
    return np.where(counts.sum(1) > 0, counts.argmax(1), common).astype(np.int64)


def balanced_accuracy(truth: Ints, guess: Ints, columns: int) -> float:
    """Mean over the classes present of the share that was named rightly; NaN without any."""
    totals = np.bincount(truth, minlength=columns)
    hits = np.bincount(truth[truth == guess], minlength=columns)
    present = totals > 0
    return float((hits[present] / totals[present]).mean()) if present.any() else float("nan")


def crossed_accuracy(codes: Ints, classes: Ints, clusters: Ints, half: Ints, rows: int, *, seed: int = 0) -> Figure:
    """Balanced accuracy of code → class, the majority map fitted on one half and scored on the other, both ways.

    codes, classes, clusters (which block of play), half (0 or 1, by episode): int64 [n] each.
    Columns of the bootstrap are (half, class), so that both halves and all classes weigh the same.
    """
    columns = int(classes.max()) + 1 if len(classes) else 1
    blocks = int(clusters.max()) + 1 if len(clusters) else 0
    hits, totals = np.zeros((2, blocks, 2 * columns))
    for side in (0, 1):
        test = half == side
        chosen = majority_map(codes[~test], classes[~test], rows, columns)
        right = test & (chosen[codes] == classes)
        column = classes + side * columns
        np.add.at(totals, (clusters[test], column[test]), 1)
        np.add.at(hits, (clusters[right], column[right]), 1)
    return balanced_interval(hits, totals, seed=seed)


def _blur(size: int, device: torch.device) -> Tensor:
    """The Gaussian window of `ssim` along one axis as a band matrix [size - 10, size]: faster on a CPU than conv2d."""
    offsets = torch.arange(11, dtype=torch.float32, device=device) - 5
    kernel = torch.exp(-offsets.square() / (2 * 1.5**2))
    band = torch.zeros(size - 10, size, device=device)
    for row in range(size - 10):
        band[row, row : row + 11] = kernel / kernel.sum()
    return band


def _decibels(error: Tensor) -> Tensor:
    return (-10.0 * torch.log10(error.clamp_min(1e-30))).clamp_max(PSNR_CAP)


def _mean_ratio(above: Floats, below: Floats) -> Floats:
    """[draws, columns] twice → mean over the columns that are not empty, [draws]; 0 where all are."""
    full = below > 0
    ratios = np.where(full, above / np.where(full, below, 1.0), 0.0)
    return np.asarray(ratios.sum(1) / np.maximum(full.sum(1), 1), np.float64)


def _same(truth: Tensor, guess: Tensor) -> None:
    if truth.shape != guess.shape or truth.ndim < 3:
        found = f"{list(truth.shape)} and {list(guess.shape)}"
        raise ValueError(f"frames must have one shape [..., C, H, W], found {found}")
