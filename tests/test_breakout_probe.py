"""Ball, paddle and bricks of Breakout in pixels, on the real game and on frames that were spoilt by hand."""

import numpy as np
import pytest

from collectors.games import BREAKOUT
from collectors.rollout import play_episode
from training.breakout_probe import BRICK, GRID, WALL, BreakoutProbe
from training.brick_statistics import brick_tallies, contacts, rises
from training.probes import near, probe_for

RED = (200, 72, 72)


@pytest.fixture(scope="module")
def episode():
    return play_episode(BREAKOUT, "scripted", 1, 700)


@pytest.fixture
def seen(episode):
    return BreakoutProbe().detect(episode.frames)


def test_there_is_a_probe_for_stored_frames_of_this_size_alone():
    assert isinstance(probe_for("breakout"), BreakoutProbe)
    assert isinstance(probe_for("breakout", 104, 80), BreakoutProbe)
    assert probe_for("breakout", 64, 64) is None
    with pytest.raises(ValueError, match=r"BreakoutProbe needs uint8 \[N, 104, 80, 3\], found uint8 \[1, 64, 64, 3\]"):
        BreakoutProbe().detect(np.zeros((1, 64, 64, 3), np.uint8))


def test_ball_and_paddle_are_where_the_memory_says(episode, seen):
    truth = episode.objects
    found = BreakoutProbe().table(seen)
    shown = truth[:, 0, 0] > 0
    assert 0.5 < shown.mean() < 1
    assert (found[shown, 0, 0] == 1).mean() > 0.97  # behind a brick that it has just reached it cannot be seen
    assert (found[~shown, 0, 0] == 0).all()
    both = shown & (found[:, 0, 0] == 1)
    assert np.abs(found[both, 0, 1:] - truth[both, 0, 1:]).max() <= 1
    assert (found[:, 1, 0] == 1).all()
    assert (np.abs(found[:, 1, 1:] - truth[:, 1, 1:]).max(1) <= 2.5).mean() > 0.95
    assert (seen.blobs == 0).all()


def test_every_brick_that_scores_is_missed_and_none_comes_back(episode, seen):
    count = seen.bricks.sum((1, 2))
    assert count[0] == GRID[0] * GRID[1] == 108
    assert np.array_equal(np.diff(count) < 0, episode.rewards > 0)
    assert (episode.rewards > 0).sum() > 5
    assert not rises(seen).any()


def test_the_ball_takes_a_brick_away_whenever_it_turns_at_one(seen):
    probe = BreakoutProbe()
    tallies = brick_tallies(seen, *probe.wall)
    removed, hit = tallies["hit_removes"]
    assert hit.sum() > 5
    assert np.array_equal(removed, hit)
    assert not tallies["bricks_appear"][0].any()
    assert tallies["bricks_appear"][1].sum() == len(seen.balls) - 1


def test_a_wall_that_keeps_its_bricks_is_noticed(episode, seen):
    probe = BreakoutProbe()
    still = episode.frames.copy()
    rows = slice(WALL, WALL + GRID[0] * BRICK[0])
    still[:, rows, 4:76] = np.where(seen.bricks[0].repeat(3, 0).repeat(4, 1)[..., None], still[0, rows, 4:76], 0)
    stubborn = probe.detect(still)
    removed, hit = brick_tallies(stubborn, *probe.wall)["hit_removes"]
    assert hit.sum() > 5
    assert not removed.any()


def test_a_brick_that_comes_back_is_noticed_and_a_new_wall_is_not_one(episode):
    probe = BreakoutProbe()
    gap = episode.frames[:1].copy()
    gap[0, WALL : WALL + 3, 4:12] = 0
    half = gap.copy()
    half[0, WALL : WALL + 3, 4:8] = RED
    assert probe.detect(gap).bricks.sum() == 106
    assert rises(probe.detect(np.concatenate([gap, half, gap]))).tolist() == [False, True, False]
    assert rises(probe.detect(np.concatenate([gap, episode.frames[:1]]))).tolist() == [False, False]
    assert contacts(probe.detect(gap), *probe.wall).tolist() == [False]


def test_two_balls_and_a_broken_paddle(episode, seen):
    frame = int(np.flatnonzero((seen.balls == 1) & (seen.centres[:, 0, 0] > 60))[0])
    spoilt = episode.frames[frame : frame + 1].copy()
    _, x = seen.centres[frame, 0]
    spoilt[0, 55:57, 5 if x > 40 else 70] = RED
    spoilt[0, 94:96, int(seen.player.at[frame])] = 0
    found = BreakoutProbe().detect(spoilt)
    assert (found.balls[0], found.player.pieces[0], found.player.length[0]) == (2, 2, seen.player.length[frame] - 1)
    assert near(BreakoutProbe().detect(episode.frames[frame : frame + 1]), found).all()
    spoilt[0, 60:64, 30:34] = RED
    assert BreakoutProbe().detect(spoilt).blobs.tolist() == [1]
