"""The action table of a world whose codes are known: names, lag, moves, usage."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_pong import DOWN, STILL, UP, ToyPlay, ToyPong

from training.action_table import Track, directions, displacement, infer_codes, measure_action_table, table_of
from training.pong_probe import PongProbe
from training.windows import Windows


class Counting:
    """Reads as the code of a change the number of the frame after it; the frame's pixels are its number."""

    def __init__(self):
        self.longest = 0

    def infer_actions(self, frames):
        self.longest = max(self.longest, frames.shape[1])
        return frames[:, 1:, 0, 0, 0].to(torch.int64)


@pytest.mark.parametrize(("steps", "history", "stride"), [(1, 3, 4), (7, 3, 4), (8, 0, 4), (100, 3, 32), (50, 5, 7)])
def test_codes_of_overlapping_chunks_are_in_their_place(steps, history, stride):
    frames = np.arange(steps + 1, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    world = Counting()
    codes = infer_codes(world, frames, history=history, stride=stride, batch=3)
    assert codes.tolist() == list(range(1, steps + 1))
    assert world.longest <= history + stride + 1


def test_every_code_has_its_history():
    class Past:
        def infer_actions(self, frames):  # how many frames came before the change
            return torch.arange(1, frames.shape[1]).expand(frames.shape[0], -1)

    codes = infer_codes(Past(), np.zeros((60, 8, 8, 3), np.uint8), history=4, stride=6)
    assert (codes >= np.minimum(np.arange(1, 60), 5)).all()


def test_the_table_of_a_known_world():
    table = measure_action_table(ToyPong(), ToyPlay(lag=1), probe=PongProbe())
    assert table.labels == ("STILL", "UP", "DOWN")
    assert table.agreement == (1.0, 1.0, 1.0)
    assert table.best_lag == 1
    assert len(table.counts) == len(table.mutual_information) == 4
    assert np.argmax(table.mutual_information) == 1
    assert table.real_actions == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert np.sum(table.counts[0]) == 4 * 240
    assert np.sum(table.counts[3]) == 4 * 237
    assert sum(table.usage) == pytest.approx(1)
    assert table.moves[UP]["player"] == pytest.approx((-3, 0), abs=0.2)
    assert table.moves[DOWN]["player"] == pytest.approx((3, 0), abs=0.2)
    assert table.moves[STILL]["player"] == (0, 0)
    assert set(table.moves[UP]) == {"ball", "player", "enemy"}


@pytest.mark.parametrize("lag", [0, 1, 2, 3])
def test_the_lag_is_found(lag):
    table = measure_action_table(ToyPong(), ToyPlay(lag=lag, episodes=2), probe=PongProbe())
    assert table.best_lag == lag


def test_without_recorded_objects_the_probe_serves():
    recorded = measure_action_table(ToyPong(), ToyPlay(episodes=2), probe=PongProbe())
    seen = measure_action_table(ToyPong(), ToyPlay(episodes=2, objects=False), probe=PongProbe())
    assert seen == recorded


def test_without_objects_codes_bear_the_names_of_buttons():
    table = measure_action_table(ToyPong(), ToyPlay(objects=False, game="a game without a probe"))
    assert table.labels == ("NOOP", "RIGHT", "LEFT")
    assert all(0.6 < share <= 1 for share in table.agreement)
    assert table.agreement[UP] == 1  # it moves up only if the button for it was pressed
    assert table.moves == ({}, {}, {})


def test_training_windows_over_two_data_sets_serve_as_well():
    first, second = ToyPlay(episodes=2), ToyPlay(episodes=3)
    table = measure_action_table(ToyPong(), Windows([first, second], "all"))
    assert np.sum(table.counts[0]) == 5 * 240
    assert table.labels == ("STILL", "UP", "DOWN")


def still_track(path, visible=None, codes=None):
    objects = np.zeros((len(path), 1, 3), np.float32)
    objects[:, 0, 0] = 1 if visible is None else visible
    objects[:, 0, 1] = path
    steps = len(path) - 1
    codes = np.zeros(steps, np.int64) if codes is None else np.array(codes)
    return Track(codes=codes, actions=np.zeros(steps, np.int64), objects=objects, names=("player",), episode=0)


def test_directions_have_a_threshold_of_half_a_pixel():
    classes, told = directions(still_track([50, 50.5, 51.2, 50.6, 50.2]), None)
    assert classes.tolist() == [0, 2, 1, 0]
    assert told.all()


def test_hidden_players_and_players_at_the_wall_are_not_told():
    track = still_track([50, 52, 54, 56, 58], visible=[1, 1, 0, 1, 1])
    assert directions(track, None)[1].tolist() == [True, False, False, True]
    assert displacement(track, "player")[0][:, 0].tolist() == [2, 0, 0, 2]
    walled = still_track([18, 22, 26, 84, 88, 92])
    assert directions(walled, PongProbe())[1].tolist() == [False, False, True, False, False]


def test_agreement_is_a_share_a_mixed_code_and_an_unused_one_say_so():
    path = [50, 47, 44, 44, 41]  # up, up, still, up
    table = table_of([still_track(path, codes=[1, 1, 1, 0])], ("A",), 3)
    assert table.labels == ("UP", "MIXED", "UNUSED")
    assert table.agreement == pytest.approx((1, 2 / 3, 0))
    assert table.usage == (0.25, 0.75, 0)
    assert table.moves[1]["player"] == (-2, 0)


def test_what_a_code_does_at_the_wall_counts_for_its_name():
    walled = still_track([30, 27, 24, 21, 18, 18, 18], codes=[0, 0, 0, 0, 0, 0])  # four up, then stopped by the wall
    assert table_of([walled], ("A",), 1).labels == ("MIXED",)
    free = still_track([30, 27, 24, 21, 18, 18], codes=[0, 0, 0, 0, 0])
    assert table_of([free], ("A",), 1).labels == ("UP",)


def test_a_code_that_goes_up_at_the_wall_alone_is_not_called_up():
    steps = [(92, 88, 0), (91, 86, 0), (92, 87, 0), (50, 50, 0), (90, 86, 0)]  # off the wall, and once in the field
    plays = [still_track([before, after], codes=[code]) for before, after, code in steps]
    assert table_of(plays, ("A",), 1).labels == ("UP",)
    told = table_of(plays, ("A",), 1, probe=PongProbe())
    assert told.labels == ("MIXED",)
    assert told.agreement == (0.0,)
    at_the_wall = plays[:3]  # never seen elsewhere: what it does there is all that is known
    assert table_of(at_the_wall, ("A",), 1, probe=PongProbe()).labels == ("UP",)


def test_a_player_who_moves_sideways_goes_left_and_right():
    track = still_track([50, 50, 50])
    objects = np.array([[[1, 90, 20]], [[1, 90, 24]], [[1, 90, 20]]], np.float32)
    table = table_of([replace(track, objects=objects, codes=np.array([0, 1]))], ("A",), 2)
    assert table.labels == ("RIGHT", "LEFT")


def test_lags_with_a_gap_are_refused():
    with pytest.raises(ValueError, match=r"without a gap, found \(0, 2\)"):
        table_of([still_track([50, 50])], ("A",), 1, lags=(0, 2))
