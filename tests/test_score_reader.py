"""Scores read off frames, on real Pong and on scores that were spoilt by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from collectors.games import PONG
from collectors.rollout import play_episode
from training.pong_probe import PongProbe
from training.score_reader import SETTLED, SLOWEST, ScoreReader, score_changes


@pytest.fixture(scope="module")
def episode():
    return play_episode(PONG, "random", 3, 2000)


@pytest.fixture(scope="module")
def reader(episode):
    play = SimpleNamespace(episodes=[0], read=lambda reference: episode)
    return ScoreReader(PongProbe.scores, play)


def test_a_game_of_pong_is_read_from_nil_to_twenty(episode, reader):
    read = reader.read(episode.frames)
    assert read.shape == (len(episode.frames), 2)
    assert read[0].tolist() == [0, 0]
    assert read[:, 0].max() == 20  # the game is over with the next point, which is never shown
    lost = np.cumsum(episode.rewards < 0)
    assert (read[1:, 0] == lost).mean() > 0.95  # the digit and the reward may be a frame apart
    assert score_changes(read, PongProbe.last) == [True] * (len(np.unique(read, axis=0)) - 1)


def test_digits_that_no_real_frame_shows(episode, reader):
    spoilt = episode.frames[:1].copy()
    spoilt[0, 2:6, 10:30] = 255 - spoilt[0, 2:6, 10:30]
    assert reader.read(spoilt).tolist() == [[-1, 0]]


def scores(*runs):
    """Runs of (frames, enemy, player) as a reading."""
    return np.concatenate([np.tile([[enemy, player]], (frames, 1)) for frames, enemy, player in runs])


@pytest.mark.parametrize(
    ("runs", "legal"),
    [
        ([(9, 0, 0), (9, 1, 0), (9, 1, 1)], [True, True]),
        ([(9, 3, 0), (9, 5, 0)], [False]),
        ([(9, 3, 0), (9, 2, 0)], [False]),
        ([(9, 3, 0), (9, 4, 1)], [False]),
        ([(9, 20, 4), (9, 0, 0)], [True]),
        ([(9, 19, 4), (9, 0, 0)], [False]),
        ([(9, 3, 0), (2, -1, 0), (9, 4, 0)], [True]),
        ([(9, 3, 0), (SLOWEST + 1, -1, 0), (9, 4, 0)], [False]),
        ([(9, 3, 0), (2, -1, 0), (9, 3, 0)], [False]),  # came apart and came back
        ([(9, 3, 0), (SETTLED - 1, 7, 0), (9, 4, 0)], [True]),  # too short to count as shown
        ([(9, 3, 0)], []),
        ([(9, -1, 0)], []),
    ],
)
def test_which_changes_are_legal(runs, legal):
    assert score_changes(scores(*runs), last=20) == legal


def test_no_frames_have_no_changes():
    assert score_changes(np.zeros((0, 2), np.int64), last=20) == []
