"""Strokes land where they are put, are clipped, can be taken back, and reach the dream."""

from __future__ import annotations

import numpy as np
import pytest
from test_app_doubles import CountingWorld, clips

from app.painting import Box, Canvas
from app.session import Session

RED = (200, 0, 0)


def blank() -> Canvas:
    return Canvas(np.zeros((12, 10, 3), np.uint8))


def test_a_line_goes_from_pixel_to_pixel():
    canvas = blank()
    canvas.draw((1, 1), (1, 6), RED)
    assert canvas.changed.sum() == 6
    assert canvas.changed[1, 1:7].all()
    assert canvas.pick(1, 3) == RED
    canvas.draw((8, 8), (11, 9), RED, size=3)
    assert canvas.changed[10:12, 8:10].all()


def test_what_lies_outside_is_cut_off():
    canvas = blank()
    canvas.draw((-5, -5), (-3, -3), RED, size=2)
    assert not canvas.changed.any()
    canvas.draw((0, 0), (0, 0), RED, size=5)
    assert canvas.changed.sum() == 9
    with pytest.raises(ValueError, match="pixel 12, 0 is outside the frame of 12x10"):
        canvas.pick(12, 0)


def test_strokes_are_taken_back_one_by_one():
    canvas = blank()
    for row in (2, 4):
        canvas.remember()
        canvas.draw((row, 0), (row, 9), RED)
    assert canvas.undo()
    assert canvas.changed.any(axis=1).nonzero()[0].tolist() == [2]
    assert canvas.undo()
    assert not canvas.changed.any()
    assert not canvas.undo()


def test_a_stamp_copies_a_region_and_is_cut_at_the_edge():
    canvas = blank()
    canvas.draw((2, 2), (3, 2), RED, size=2)
    ball = canvas.copy(Box(2, 2, 5, 4))
    assert ball.shape == (3, 2, 3)
    canvas.stamp(ball, 9, 7)
    assert np.array_equal(canvas.frame[8:11, 6:8], ball)
    canvas.stamp(ball, 0, 0)
    assert np.array_equal(canvas.frame[0:2, 0:1], ball[1:3, 1:2])
    canvas.stamp(ball, 40, 40)
    with pytest.raises(ValueError, match="nothing to copy"):
        canvas.copy(Box(20, 20, 22, 22))


def test_what_was_painted_is_in_every_frame_that_the_dream_goes_on_from():
    session = Session(CountingWorld(), clips())
    shown = [session.step(2).copy() for _ in range(5)]
    before = session.recent(3)
    canvas = Canvas(session.frame)
    canvas.draw((40, 3), (41, 3), RED, size=2)
    origin = canvas.origin(session)
    assert origin.why == "paint"
    assert origin.clip.shape == before.shape
    painted = (origin.clip != before).any(dim=1)
    assert all(np.array_equal(one, canvas.changed) for one in painted.numpy())
    session.begin(origin)
    assert session.take.origin is origin
    assert np.array_equal(session.peek(4), shown[3])
    assert session.steps == 5
