"""What the picture of a game that scrolls tells of the player: its steps, its habits, and whether it obeys."""

import numpy as np
import pytest

from training.action_table import Track
from training.motion_statistics import error, motion_heard, motion_tallies, obedience, player_moves, scrolls

STEPS = np.array([[0, 2], [0, 2], [-3, 2], [-1, 0], [2, 0], [2, -2], [0, -2], [0, 2], [0, 0], [0, 0]])  # down, right
PATH = np.concatenate([[[0, 0]], STEPS.cumsum(0)])


def filmed() -> np.ndarray:
    """A landscape seen by a camera that goes along with the player: uint8 [11, 64, 64, 3]."""
    rng = np.random.default_rng(0)
    land = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8).repeat(5, 0).repeat(5, 1)
    return np.stack([land[16 + y : 80 + y, 16 + x : 80 + x] for y, x in PATH])


def test_the_player_goes_where_the_picture_comes_from() -> None:
    frames = filmed()
    found = player_moves(frames)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1:], STEPS, atol=0.1)
    np.testing.assert_allclose(player_moves(frames[4:], frames[3]), STEPS[3:], atol=0.1)
    assert scrolls(frames)
    assert not scrolls(frames[:1].repeat(11, 0))
    assert not scrolls(frames[:1])


def test_habits_are_counted_where_they_are() -> None:
    moved = np.concatenate([[[np.nan, np.nan]], STEPS]).astype(np.float32)
    rates = {name: hits.sum() / of.sum() for name, (hits, of) in motion_tallies(moved).items()}
    assert rates == pytest.approx(
        {
            "player_stands": 0.2, "player_goes": 0.6, "player_rises": 0.2, "player_falls": 0.2, "player_turns": 0.1,
            "pace": 2.0,
        }
    )  # fmt: skip
    for hits, of in motion_tallies(moved).values():
        assert hits.shape == of.shape == (11,)
        assert not of[0]


def test_obedience_is_to_the_names_of_the_codes() -> None:
    moved = np.concatenate([[[np.nan, np.nan]], STEPS]).astype(np.float32)
    names = np.array(("STILL", "RIGHT", "LEFT", "MIXED"))[[1, 1, 1, 0, 0, 2, 1, 1, 0, 3]]
    found = {
        name: (int(hits.sum()), int(of.sum()))
        for name, (hits, of) in obedience(names, motion_heard(moved, rows=False)).items()
    }
    assert found["obeys_move"] == (5, 6)  # one RIGHT went left
    assert found["obeys_still"] == (3, 3)
    assert found["obeys_by_chance"][0] < 5
    jumps = np.array(("STILL", "UP"))[[0, 0, 1, 1, 0, 0, 0, 0, 1, 0]]
    told = obedience(jumps, motion_heard(moved, rows=True))
    assert (int(told["obeys_move"][0].sum()), int(told["obeys_move"][1].sum())) == (2, 3)
    assert int(told["obeys_still"][0].sum()) == 5  # STILL is about falling there, not about running


def test_the_error_is_told_beside_it() -> None:
    places = np.concatenate([np.ones((11, 1, 1)), PATH[:, None] + 100.0], axis=2).astype(np.float32)
    play = Track(
        codes=np.zeros(10, np.int64), actions=np.zeros(10, np.int64), objects=places, names=("player",), episode=0
    )
    found = error([play, play], [player_moves(filmed())] * 2, seed=0)
    assert found is not None
    assert found["within_half_pixel"]["value"] == 1
    assert found["median_pixels"] < 0.1
    wrong = error([play], [player_moves(filmed()[::-1])], seed=0)
    assert wrong is not None
    assert wrong["within_half_pixel"]["value"] < 0.5
    assert error([], [], seed=0) is None
