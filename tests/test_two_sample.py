"""The two-sample test on clips whose difference is known, and on a world that knows the rules."""

import numpy as np
import pytest
import torch
from toy_pong import ToyPlay, ToyPong

from training.two_sample import HORIZONS, Judge, JudgeConfig, told_apart, two_sample

QUICK = JudgeConfig(kernels=48, stride=1)


def walks(count: int, seed: int, ghost: bool = False, fast: bool = False) -> torch.Tensor:
    """Clips uint8 [N, 16, 1, 24, 24] of a dot that walks; a ghost is a second dot, a fast one takes steps of two."""
    rng = np.random.default_rng(seed)
    clips = np.zeros((count, 16, 1, 24, 24), np.uint8)
    for clip in clips:
        at, way = rng.integers(4, 20, 2), rng.choice([-1, 1], 2) * (1 + fast)
        for frame in clip:
            way = np.where((at + way < 0) | (at + way > 23), -way, way)
            at = at + way
            frame[0, at[0], at[1]] = 255
            if ghost:
                frame[0, 23 - at[0], 23 - at[1]] = 255
    return torch.from_numpy(clips)


def owners(count: int) -> np.ndarray:
    return np.arange(count) // 2


def asked(real: torch.Tensor, other: torch.Tensor):
    judge = Judge(real, QUICK, seed=0)
    return told_apart(judge.look(real), judge.look(other), (owners(len(real)), owners(len(other))))


def test_the_same_kind_cannot_be_told_apart() -> None:
    same = [asked(walks(48, 10 + 2 * seed), walks(48, 11 + 2 * seed)) for seed in range(4)]
    assert np.mean([one.value for one in same]) == pytest.approx(0.5, abs=0.07)
    assert sum(one.low <= 0.5 <= one.high for one in same) >= 3
    assert (same[0].n, same[0].clusters) == (96, 24)


@pytest.mark.parametrize("odd", [{"ghost": True}, {"fast": True}])
def test_what_differs_is_told_apart(odd: dict[str, bool]) -> None:
    """A second ball, and a ball of another speed: what a judge must not overlook."""
    apart = asked(walks(48, 0), walks(48, 2, **odd))
    assert apart.low > 0.9
    assert asked(walks(48, 0), walks(48, 2, **odd)) == apart


def test_clips_of_one_owner_are_never_taught_and_asked() -> None:
    """Every owner has a mark of its own, and the kinds do not differ otherwise: who learns the marks learns nothing."""
    rng = np.random.default_rng(0)
    belongs = np.repeat(np.arange(12), 8)
    marks = 10 * rng.normal(size=(12, 30))
    seen = marks[belongs] + rng.normal(size=(96, 30))
    real, other = belongs % 2 == 0, belongs % 2 == 1
    found = told_apart(seen[real], seen[other], (belongs[real], belongs[other]))
    assert found.value < 0.85  # memory alone would give 1


def test_too_few_owners() -> None:
    seen = np.zeros((8, 3))
    with pytest.raises(ValueError, match="a two-sample test needs clips of 4 episodes, found 1; record more"):
        told_apart(seen, seen, (np.zeros(8, np.int64), np.zeros(8, np.int64)))
    with pytest.raises(ValueError, match="kernels must be at least 1, found 0"):
        JudgeConfig(kernels=0)


def test_worlds_on_play_that_is_known() -> None:
    """A world that snows is found out, one that knows the rules is not."""
    play, small = ToyPlay(episodes=12, steps=60), JudgeConfig(kernels=16, stride=3)
    found = {
        fault: two_sample(ToyPong(fault), play, clips=24, horizons=(1, 20, 500), config=small) for fault in ("snow", "")
    }
    for one in found.values():
        assert (one["length"], one["clips"]) == (16, 24)
        assert set(one["world"]) == set(one["real"]) == set(one["copy"]) == {"1", "20"}  # none is 500 frames long
        assert one["copy"]["20"]["low"] > 0.8
        assert one["real"]["20"]["n"] == 48
    assert found["snow"]["world"]["20"]["low"] > 0.9
    assert found[""]["world"]["20"]["low"] <= 0.5
    snow, right = (found[fault]["frechet"]["20"] for fault in ("snow", ""))
    assert set(snow) == {"world", "real", "copy"}
    assert snow["world"] > 3 * snow["real"]
    assert right["world"] < 1.5 * right["real"]
    few = two_sample(ToyPong(), ToyPlay(episodes=3, steps=60), clips=8, horizons=(1,), config=small)
    assert few["world"] == {}  # fewer episodes than folds: nothing is said
    assert HORIZONS == (16, 64, 256)
