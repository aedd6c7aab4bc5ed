"""The two-sample test on clips whose difference is known, and on a world that knows the rules."""

import numpy as np
import pytest
import torch
from toy_pong import ToyPlay, ToyPong

from training.two_sample import HORIZONS, JudgeConfig, told_apart, two_sample

QUICK = JudgeConfig(steps=40, batch=6, width=4, lr=5e-3)


def walks(count: int, ghost: bool, seed: int) -> torch.Tensor:
    """Clips uint8 [N, 16, 1, 24, 24] of a dot that walks; a ghost leaves another dot behind now and then."""
    rng = np.random.default_rng(seed)
    clips = np.zeros((count, 16, 1, 24, 24), np.uint8)
    for clip in clips:
        at, way = rng.integers(4, 20, 2), rng.choice([-1, 1], 2)
        for frame in clip:
            way = np.where((at + way < 0) | (at + way > 23), -way, way)
            at = at + way
            frame[0, at[0], at[1]] = 255
            if ghost:
                frame[0, 23 - at[0], 23 - at[1]] = 255
    return torch.from_numpy(clips)


def owners(count: int, first: int = 0) -> np.ndarray:
    return first + np.arange(count) // 2


def test_the_same_kind_cannot_be_told_apart_and_another_can():
    real, more, other = walks(48, False, 0), walks(48, False, 1), walks(48, True, 2)
    same = told_apart(real, more, (owners(48), owners(48, 100)), QUICK)
    assert same.low <= 0.5 <= same.high
    assert (same.n, same.clusters) == (96, 48)
    apart = told_apart(real, other, (owners(48), owners(48, 100)), QUICK)
    assert apart.low > 0.9
    assert told_apart(real, other, (owners(48), owners(48, 100)), QUICK) == apart


def test_clips_of_one_owner_are_never_taught_and_asked():
    """Every owner has a mark of its own, and the kinds do not differ otherwise: who learns the marks learns nothing."""
    rng = np.random.default_rng(0)
    marks = rng.integers(0, 256, (12, 1, 1, 24, 24), dtype=np.uint8)
    belongs = np.repeat(np.arange(12), 8)
    clips = torch.from_numpy(np.broadcast_to(marks[belongs], (96, 16, 1, 24, 24)).copy())
    real, other = np.flatnonzero(belongs % 2 == 0), np.flatnonzero(belongs % 2 == 1)
    found = told_apart(clips[real], clips[other], (belongs[real], belongs[other]), QUICK)
    assert found.value < 0.85  # memory alone would give 1


def test_too_few_owners():
    real = walks(8, False, 0)
    with pytest.raises(ValueError, match="a two-sample test needs 4 episodes or dreams of each kind, found 1"):
        told_apart(real, real, (np.zeros(8, np.int64), np.arange(8)), QUICK)
    with pytest.raises(ValueError, match="batch must be at least 1, found 0"):
        JudgeConfig(batch=0)


def test_a_world_that_snows_is_found_out():
    play = ToyPlay(episodes=6, steps=60)
    found = two_sample(ToyPong("snow"), play, dreams=8, horizons=(1, 4), config=JudgeConfig(steps=12, batch=4, width=2))
    assert set(found) == {"length", "dreams", "clips", "world", "real", "copy"}
    assert (found["length"], found["dreams"], found["clips"]) == (16, 8, 8)
    assert set(found["world"]) == {"1", "4"}
    assert found["world"]["1"]["value"] > 0.8
    assert found["real"]["n"] == 16
    assert HORIZONS == (16, 64, 256)
