"""Every metric against a value worked out by hand."""

import math

import numpy as np
import pytest
import torch

from training import metrics, rollouts


def picture(value: int, *lead: int) -> torch.Tensor:
    return torch.full((*lead, 3, 12, 14), value, dtype=torch.uint8)


def test_psnr_of_a_constant_error():
    truth, guess = picture(0, 2), picture(51, 2)  # 51 / 255 = 0.2, mse 0.04
    assert metrics.mse(truth, guess) == pytest.approx([0.04, 0.04])
    assert metrics.psnr(truth, guess) == pytest.approx([10 * math.log10(25)] * 2, abs=1e-4)


def test_psnr_is_a_frame_at_a_time_and_capped():
    truth = picture(0, 2, 2)
    guess = truth.clone()
    guess[1, 1] = 255
    assert metrics.psnr(truth, guess).tolist() == [[100.0, 100.0], [100.0, 0.0]]


def test_frames_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape .* found \[3, 12, 14\] and \[1, 3, 12, 14\]"):
        metrics.psnr(picture(0), picture(0, 1))


def test_moving_pixels_are_the_changed_ones_grown_by_one():
    before, truth = picture(0, 1), picture(0, 1)
    truth[0, 1, 5, 6] = 255
    mask = metrics.moving_mask(before, truth)
    rows, columns = np.nonzero(mask[0].numpy())
    assert mask.sum() == 9
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 6, 5, 7)
    # one of 27 values is wrong by one: mse 1 / 27
    assert metrics.moving_psnr(before, truth, before) == pytest.approx([10 * math.log10(27)], abs=1e-4)
    assert metrics.psnr(truth, before)[0] > 27  # the whole frame hides it
    assert metrics.moving_psnr(before, before, truth).isnan().all()


def test_ssim_of_equal_constant_and_opposite_pictures():
    assert metrics.ssim(picture(7, 2), picture(7, 2)) == pytest.approx([1.0, 1.0])
    assert metrics.ssim(picture(0, 1), picture(255, 1)) == pytest.approx([1e-4 / (1 + 1e-4)], rel=1e-3)


def test_ssim_of_one_window_by_the_formula():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 11, 11))
    tensors = [torch.from_numpy(v.astype(np.uint8)).expand(1, 3, 11, 11) for v in (x, y)]
    g = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    w = np.outer(g, g) / g.sum() ** 2
    a, b = x / 255, y / 255
    ma, mb = (w * a).sum(), (w * b).sum()
    va, vb, cov = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum(), (w * (a - ma) * (b - mb)).sum()
    want = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    assert metrics.ssim(*tensors) == pytest.approx([want], abs=1e-5)


def test_interval_is_a_ratio_of_sums_and_knows_when_it_is_sure():
    sure = metrics.interval([2, 4, 6], [4, 8, 12])
    assert (sure.value, sure.low, sure.high, sure.n, sure.clusters) == (0.5, 0.5, 0.5, 24, 3)
    pooled = metrics.interval([0, 9], [1, 9])
    assert pooled.value == pytest.approx(0.9)  # not 0.5, the mean of the ratios
    nothing = metrics.interval([0.0], [0.0])
    assert nothing.data() == {"value": None, "low": None, "high": None, "n": 0, "clusters": 0}


def test_interval_has_the_width_of_the_standard_error():
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = metrics.mean_interval(values, seed=3)
    error = values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert found == metrics.mean_interval(values, seed=3)
    assert found != metrics.mean_interval(values, seed=4)
    with_gap = metrics.mean_interval([1.0, np.nan, 3.0])
    assert (with_gap.value, with_gap.n) == (2.0, 2)


def test_usage_and_perplexity():
    usage = metrics.code_usage(np.array([0, 0, 1, 3]), 4)
    assert usage.tolist() == [0.5, 0.25, 0, 0.25]
    assert metrics.perplexity(usage) == pytest.approx(2**1.5)
    assert metrics.perplexity(np.full(8, 1 / 8)) == pytest.approx(8)
    assert metrics.perplexity(np.array([1.0, 0.0])) == pytest.approx(1)


def test_information_between_codes_and_classes():
    assert metrics.mutual_information([[5, 0], [0, 5]]) == pytest.approx(math.log(2))
    assert metrics.mutual_information([[4, 4], [2, 2]]) == pytest.approx(0)
    assert metrics.normalized_mutual_information([[5, 0], [0, 5]]) == pytest.approx(1)
    assert metrics.normalized_mutual_information([[4, 4], [2, 2]]) == pytest.approx(0)
    # four codes, two for each class: I = log 2, H = log 4 and log 2, so 2/3
    assert metrics.normalized_mutual_information([[1, 0], [1, 0], [0, 1], [0, 1]]) == pytest.approx(2 / 3)


def test_balanced_accuracy_weighs_classes_alike():
    truth, guess = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])
    assert metrics.balanced_accuracy(truth, guess, 3) == 0.5  # class 2 is absent


def test_majority_map_gives_unseen_codes_the_common_class():
    codes, classes = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 0, 2, 1, 1])
    assert metrics.majority_map(codes, classes, 3, 3).tolist() == [1, 1, 1]


def test_crossed_accuracy_is_fitted_on_the_other_half():
    half = np.array([0] * 4 + [1] * 4)
    codes = np.array([0, 1, 0, 1] * 2)
    same = metrics.crossed_accuracy(codes, np.array([0, 1, 0, 1] * 2), half, half, 2)
    assert same.value == 1
    flipped = metrics.crossed_accuracy(codes, np.array([0, 1, 0, 1, 1, 0, 1, 0]), half, half, 2)
    assert flipped.value == 0  # each half alone would score 1


def test_squares_are_round_their_things_and_stay_inside() -> None:
    frames = torch.zeros(3, 1, 40, 30, dtype=torch.uint8)
    for frame, (y, x) in zip(frames, PLACES, strict=True):
        frame[0, y, x] = 255
    squares = metrics.around(PLACES, frames)
    assert squares.shape == (3, 1, 15, 15)
    found = [tuple(int(at) for at in (square[0] == 255).nonzero()[0]) for square in squares]
    assert found == [(7, 7), (0, 2), (14, 14)]
    assert metrics.around(PLACES, frames[..., :12, :]).shape == (3, 1, 12, 12)


PLACES = ((20, 15), (0, 2), (39, 29))


def test_what_is_gone_is_seen_round_it_and_hardly_in_the_whole() -> None:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.integers(0, 256, (4, 3, 84, 84), dtype=np.uint8))
    truth[..., 30:50, 30:50] = 200
    guess = truth.clone()
    truth[..., 38:42, 38:42] = 230  # light on light, and lost
    objects = np.zeros((4, 2, 3), np.float32)
    objects[:3, 0] = (1, 39.5, 39.5)
    told = rollouts.score_things(("player", "ball"), objects, truth, guess)
    assert set(told) == {"player_psnr", "player_ssim"}  # no frame shows a ball
    assert told["player_ssim"].shape == (3,)
    assert (told["player_ssim"] < 0.5).all()
    assert (told["player_psnr"] < metrics.psnr(truth, guess)[:3].numpy() - 10).all()
    assert metrics.ssim(truth, guess).min() > 0.95
    assert not rollouts.score_things((), None, truth, guess)
