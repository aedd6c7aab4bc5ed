"""How soon the player answers what is pressed."""

from dataclasses import replace

import numpy as np
import pytest

from training.action_table import Track, table_of
from training.response import Heard, buttons, response, since_press

PRESSED = np.array(["LEFT", "LEFT", "RIGHT", "RIGHT", "RIGHT", "RIGHT", "RIGHT", "STILL", "RIGHT", "LEFT"])
WENT = np.array([-3, -5, -1, 4, 8, 8, 8, 1, -4, 0], np.float32)  # a pixel on after the turn, RIGHT once not heard


def did(told: np.ndarray | None = None) -> Heard:
    seen = np.ones(len(WENT), np.bool_) if told is None else told
    return Heard({"LEFT": -WENT, "RIGHT": WENT}, WENT, seen)


def test_steps_are_counted_from_the_press() -> None:
    assert since_press(PRESSED).tolist() == [1, 2, 1, 2, 3, 4, 5, 1, 1, 1]
    assert since_press(PRESSED[:0]).tolist() == []


def test_a_paddle_with_inertia_answers_from_the_second_step_on() -> None:
    found = response([did()], [PRESSED], seed=0)
    assert found is not None
    shares = {step: (one["value"], one["n"]) for step, one in found.items()}
    assert shares == {"1": (0.25, 4), "2": (1.0, 2), "3": (1.0, 1), "4": (1.0, 2), "all": (pytest.approx(6 / 9), 9)}


def test_what_cannot_be_seen_is_not_counted() -> None:
    blind = did(np.arange(len(WENT)) < 2)
    found = response([blind], [PRESSED], seed=0)
    assert found is not None
    assert (found["all"]["n"], found["3"]["value"]) == (2, None)
    assert response([did(np.zeros(len(WENT), np.bool_))], [PRESSED], seed=0) is None
    assert response([did()], [np.full(len(WENT), "MIXED")], seed=0) is None


def test_buttons_are_called_by_what_they_do_once_they_are_held() -> None:
    rng = np.random.default_rng(0)
    actions = np.repeat(rng.integers(0, 4, 200), 3)  # 0 stands, 1 left, 2 right, 3 whatever
    way = np.select([actions == 1, actions == 2, actions == 3], [-2, 2, rng.choice([-2, 2], len(actions))], 0)
    way[::3] = np.roll(way, 1)[::3]  # at first everything goes on as before
    places = np.zeros((len(way) + 1, 1, 3), np.float32)
    places[:, 0] = np.stack([np.ones(len(way) + 1), np.zeros(len(way) + 1), np.append(0, way.cumsum())], axis=1)
    play = Track(codes=np.zeros(len(way), np.int64), actions=actions, objects=places, names=("player",), episode=0)
    assert buttons([play], None, 5) == ("STILL", "LEFT", "RIGHT", "MIXED", "MIXED")
    real = replace(play, codes=actions)
    told = table_of([real], tuple("ABCDE"), 5, buttons=True)
    assert told.labels == ("STILL", "LEFT", "RIGHT", "MIXED", "UNUSED")
    assert told.agreement[:3] == (1.0, 1.0, 1.0)
    assert table_of([real], tuple("ABCDE"), 5).agreement[1] < 0.9  # a code would have to go there at once
