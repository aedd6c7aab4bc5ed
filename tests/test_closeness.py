"""How near a picture is to another, and for how many frames it stays there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from block_compare import drawn

from app.closeness import Hold, difference, held, moving_mask, moving_psnr, psnr
from collectors.games import PONG
from collectors.rollout import play_episode
from training import metrics


def test_the_figures_are_those_of_the_scorecard():
    frames = play_episode(PONG, "sticky", 1, 60).frames
    rng = np.random.default_rng(0)
    noisy = np.clip(frames + rng.integers(-40, 40, frames.shape), 0, 255).astype(np.uint8)
    real, guess = (torch.from_numpy(value.transpose(0, 3, 1, 2).copy()) for value in (frames, noisy))
    before, truth, other = real[:-1], real[1:], guess[1:]
    whole = [psnr(a, b) for a, b in zip(frames[1:], noisy[1:], strict=True)]
    assert whole == pytest.approx(metrics.psnr(truth, other).tolist(), abs=1e-3)
    changed = (before != truth).any(1) | (guess[:-1] != other).any(1)
    moving = [moving_psnr(frames[t], frames[t + 1], noisy[t], noisy[t + 1]) for t in range(60)]
    decibels = -10.0 * metrics.masked_mse(truth, other, changed).log10()
    assert moving == pytest.approx(decibels.tolist(), abs=1e-3)
    assert psnr(frames[0], frames[0]) == float(metrics.psnr(real[0], real[0])) == 100.0
    assert math.isnan(moving_psnr(frames[0], frames[0], noisy[0], noisy[0]))
    with pytest.raises(ValueError, match=r"frames must have one shape \[H, W, 3\]"):
        psnr(frames[0], frames[0, :5])


def test_moving_pixels_are_those_that_the_game_or_the_dream_changes():
    blank = np.zeros((5, 6, 3), np.uint8)
    here, there = blank.copy(), blank.copy()
    here[1, 2], there[3, 4] = 255, 255
    assert np.argwhere(moving_mask(blank, here, blank, here)).tolist() == [[1, 2]]
    assert np.argwhere(moving_mask(blank, here, blank, there)).tolist() == [[1, 2], [3, 4]]
    assert moving_psnr(blank, here, blank, here) == 100.0
    assert moving_psnr(blank, here, blank, blank) == moving_psnr(blank, here, blank, there) == pytest.approx(0.0)
    assert moving_psnr(blank, blank, blank, there) == pytest.approx(0.0)  # what only the dream moves counts too
    assert math.isnan(moving_psnr(blank, blank, there, there))


def test_the_difference_is_bright_where_they_differ_and_nowhere_else():
    real, guess = drawn(20), drawn(22)
    shown = difference(real, guess)
    apart = (real != guess).any(-1)
    assert (shown[apart] == (240, 180, 41)).all()
    assert shown[~apart].max() < 70
    assert apart.sum() == 4 * 8


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([20.0] * 9, None),
        ([20.0] * 4 + [10.0] * 5, 4),
        ([10.0] * 5 + [20.0] * 9, 0),  # what comes later does not matter
        ([20.0] * 4 + [10.0] * 2, None),  # not three yet
        ([20.0, 10.0, 10.0, 15.0] + [14.9] * 5, 4),  # a frame at the threshold breaks the run
        ([20.0, 10.0, math.nan, 10.0, math.nan, 10.0, 20.0], 1),  # still frames do not count
        ([math.nan] * 3 + [10.0] * 5, 3),
    ],
)
def test_held_are_the_frames_before_three_bad_ones_in_a_row(scores, expected):
    assert held(scores) == expected
    hold = Hold()
    told = [hold.saw(score) for score in scores]
    assert hold.frames == len(scores)
    assert sum(told) == (expected is not None)
