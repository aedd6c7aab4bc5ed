"""The clockwork of play with a clock that a test turns: what is due when, what waits, what is late."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from test_app_doubles import CountingWorld, clips

from app.engine import SPEEDS, Engine
from app.session import Session
from models.world import Sampling


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(clock: Clock, fps: float = 10.0, **options) -> Engine:
    return Engine(Session(CountingWorld(), clips(), start=0), fps=fps, clock=clock, **options)


def run(engine: Engine, clock: Clock, seconds: float, turns_a_second: int = 60, action: int | None = 1) -> None:
    for _ in range(round(seconds * turns_a_second)):
        clock.now += 1.0 / turns_a_second
        engine.turn(lambda: action)


def test_steps_come_at_the_games_own_rate_whatever_the_loops_is(clock):
    for turns in (30, 60, 240):
        engine = made(clock)
        run(engine, clock, 5.0, turns)
        assert abs(engine.dreamed - 50) <= 1
        assert engine.late == 0


def test_without_a_rate_every_turn_is_a_step(clock):
    engine = made(clock, fps=0)
    run(engine, clock, 1.0)
    assert engine.dreamed == 60


def test_slow_and_fast_motion(clock):
    engine = made(clock)
    assert engine.faster(-1) == 0.5
    run(engine, clock, 4.0)
    assert abs(engine.dreamed - 20) <= 1
    engine.faster(2)
    run(engine, clock, 4.0)
    assert abs(engine.dreamed - 100) <= 2
    assert [engine.faster(9), engine.faster(-99)] == [SPEEDS[-1], SPEEDS[0]]


def test_a_long_pause_is_not_caught_up_on(clock):
    engine = made(clock)
    run(engine, clock, 1.0)
    engine.paused = True
    run(engine, clock, 60.0)
    before = engine.dreamed
    assert engine.resting
    engine.paused = False
    run(engine, clock, 1.0)
    assert abs(engine.dreamed - before - 10) <= 2


def test_single_steps_in_a_pause(clock):
    engine = made(clock)
    engine.single()
    run(engine, clock, 1.0)
    assert (engine.dreamed, engine.paused) == (1, True)


def test_waiting_for_a_key_dreams_nothing_and_then_at_once(clock):
    engine = made(clock)
    run(engine, clock, 2.0, action=None)
    assert engine.dreamed == 0
    clock.now += 0.001
    engine.turn(lambda: 3)
    assert list(engine.session.history) == [3]


def test_backwards_twice_as_fast_and_on_from_there(clock):
    engine = made(clock)
    shown = [engine.session.frame]
    for _ in range(100):
        run(engine, clock, 0.1, 10, action=2)
        shown.append(engine.session.frame)
    assert engine.session.steps == 100
    engine.run_back()
    run(engine, clock, 2.0)
    back = engine.cursor
    assert back is not None
    assert abs(100 - back - 40) <= 2
    assert np.array_equal(engine.frame, shown[back])
    assert engine.session.steps == 100
    told: list[int] = []
    engine.release(told.append)
    assert (told, engine.session.steps, engine.cursor) == ([back], back, None)
    run(engine, clock, 1.0, 10, action=2)
    assert np.array_equal(engine.session.frame, shown[engine.session.steps])


def test_backwards_stops_at_the_beginning(clock):
    engine = made(clock)
    run(engine, clock, 1.0)
    engine.run_back()
    run(engine, clock, 10.0)
    assert engine.cursor == 0
    engine.release()
    assert engine.session.steps == 0


def test_letting_go_at_once_changes_nothing(clock):
    engine = made(clock)
    run(engine, clock, 1.0)
    take = engine.session.take
    engine.run_back()
    engine.release()
    assert engine.session.take is take


def test_hurried_steps_come_at_once_and_in_a_pause(clock):
    engine = made(clock)
    engine.paused = True
    engine.hurry([4, 4, 5])
    for _ in range(5):
        engine.turn(lambda: 1)
    assert list(engine.session.history) == [4, 4, 5]


def test_a_slow_step_shows_the_old_picture_is_late_and_blocks_no_turn(clock):
    gate = threading.Event()

    class Slow(CountingWorld):
        def step(self, state, action, rng=None):
            assert gate.wait(10)
            return super().step(state, action, rng)

    engine = Engine(Session(Slow(), clips()), fps=10.0, threaded=True, clock=clock)
    try:
        before = engine.frame
        run(engine, clock, 1.0)
        assert (engine.dreamed, engine.thinking) == (0, True)
        assert engine.frame is before
        gate.set()
        engine.wait(10)
        engine.turn(lambda: 1)
        assert (engine.dreamed, engine.late) == (1, 1)
        assert not np.array_equal(engine.frame, before)
    finally:
        gate.set()
        engine.close()


def test_dials_turned_while_a_step_is_thought_make_it_anew(clock):
    engine = made(clock, fps=0, threaded=True)
    try:
        engine.session.set_sampling(Sampling(steps=2))
        thought = engine.session.think(2)
        engine.session.set_sampling(Sampling(steps=3))
        assert not engine.session.accept(thought)
        engine.session.step(2)
        engine.session.step(2)
        shown = engine.session.frame.copy()
        engine.session.branch(0)
        assert engine.session.sampling == Sampling(steps=3)
        engine.session.step(2)
        engine.session.step(2)
        assert np.array_equal(engine.session.frame, shown)
    finally:
        engine.close()


def test_an_error_in_the_thread_reaches_the_loop(clock):
    class Broken(CountingWorld):
        def step(self, state, action, rng=None):
            raise ValueError("a world that breaks")

    engine = Engine(Session(Broken(), clips()), fps=0, clock=clock, threaded=True)
    try:

        def two_turns() -> None:  # it comes out in this turn or in the next
            engine.turn(lambda: 1)
            engine.settle()
            engine.turn(lambda: 1)

        with pytest.raises(ValueError, match="a world that breaks"):
            two_turns()
    finally:
        engine.close()


def test_in_a_thread_the_dream_is_the_same(clock):
    plain, threaded = made(clock, fps=0), made(clock, fps=0, threaded=True)
    try:
        for action in (2, 2, 3, 6, 0):
            plain.turn(lambda action=action: action)
            threaded.turn(lambda action=action: action)
            threaded.settle()
        assert threaded.dreamed == plain.dreamed == 5
        assert np.array_equal(plain.frame, threaded.frame)
    finally:
        threaded.close()


def test_work_that_takes_longer_stops_the_dream_until_it_is_done(clock):
    engine = made(clock, threaded=True)
    gate, told = threading.Event(), []
    try:
        engine.work(lambda: gate.wait(10), told.append)
        with pytest.raises(RuntimeError, match="one piece of work at a time"):
            engine.work(lambda: None, told.append)
        run(engine, clock, 1.0)
        assert (engine.busy, engine.dreamed) == (True, 0)
        gate.set()
        engine.wait(10)
        engine.turn(lambda: None)
        assert (engine.busy, told) == (False, [True])
    finally:
        gate.set()
        engine.close()


def test_no_step_beyond_the_limit(clock):
    engine = made(clock, fps=0)
    engine.limit = 3
    for _ in range(10):
        engine.turn(lambda: 0)
    assert engine.dreamed == 3
