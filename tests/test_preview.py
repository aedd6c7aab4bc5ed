"""Small live dreams: what comes first, how fast they move, how many stay, and that nobody ever waits for them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_app_doubles import HEIGHT, WIDTH, CountingWorld, PlainWorld, clips

from app import library, preview
from app.places import HOUSE
from app.preview import Previews


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders of counting worlds; `odd` cannot be opened, `empty` brought no start clips."""
    made = {}
    for name in ("a", "b", "c", "d", "odd", "empty"):
        made[name] = tmp_path / name
        made[name].mkdir()
        (made[name] / "model.safetensors").write_bytes(b"weights")

    def load_world(folder: Path, device: str) -> PlainWorld:
        if folder.name == "odd":
            raise ValueError(f"{folder}/model.safetensors is damaged: header too large")
        return CountingWorld()

    def load_starts(folder: Path) -> list[torch.Tensor]:
        if folder.name == "empty":
            raise FileNotFoundError("no start frames here")
        return clips()[1:]

    monkeypatch.setattr(library.checkpoint, "load_world", load_world)
    monkeypatch.setattr(library.checkpoint, "load_starts", load_starts)
    return made


def step_of(frame) -> int:
    """The counting world writes its step into the blue of a corner."""
    return int(frame[0, -1, 2])


def work(previews: Previews, until: float, now: float = 0.0) -> int:
    """Let time pass without a thread. Returns the number of turns."""
    turns = 0
    while now <= until:
        now += max(previews.turn(now), 1e-9)
        turns += 1
        assert turns < 10_000
    return turns


def wait_for(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_first_a_still_then_a_dream(folders):
    previews = Previews(folders)
    previews.watch(["a", "b"], "b")
    assert previews.frame("b") is None
    assert previews.turn(0.0) == 0.0
    assert previews.frame("a") is None  # the selected one comes first
    assert previews.frame("b").shape == (HEIGHT, WIDTH, 3)
    assert (previews.frame("b") == 10).all()  # the first start clip
    assert previews.loaded == ()
    previews.turn(0.0)
    assert (previews.frame("a") == 10).all()
    previews.turn(0.0)
    assert previews.loaded == ("b",)
    previews.turn(0.0)
    assert previews.loaded == ("b", "a")
    work(previews, until=0.01)
    assert [step_of(previews.frame(name)) for name in "ba"] == [1, 1]


def test_the_selected_one_moves_fastest_and_unseen_ones_rest(folders):
    previews = Previews(folders, most=4)
    previews.watch(["a", "b", "c"], "a")
    work(previews, until=10.0)
    assert 70 <= step_of(previews.frame("a")) <= 82  # 8 a second
    assert 19 <= step_of(previews.frame("b")) <= 22
    before, unseen = step_of(previews.frame("a")), step_of(previews.frame("c"))
    previews.watch(["a", "b"], "b")
    work(previews, until=20.0, now=10.0)
    assert 16 <= step_of(previews.frame("a")) - before <= 22
    assert step_of(previews.frame("b")) >= 90
    assert step_of(previews.frame("c")) == unseen


def test_few_worlds_stay_loaded_and_the_others_keep_their_picture(folders):
    previews, seen = Previews(folders, most=2), set()
    for now, selected in enumerate("abcdab"):
        previews.watch(["a", "b", "c", "d"], selected)
        work(previews, until=now + 0.99, now=float(now))
        assert selected in previews.loaded
        seen.add(len(previews.loaded))
        assert previews.world(selected) is not None
    assert seen == {2}
    assert previews.world("d") is None
    assert step_of(previews.frame("d")) > 1


def test_a_world_that_cannot_be_opened_says_why_and_stops_nothing(folders):
    previews = Previews(folders)
    previews.watch(["odd", "empty", "a"], "odd")
    work(previews, until=1.0)
    assert previews.problem("odd") == "model.safetensors is damaged: header too large"
    assert (previews.frame("odd") == 10).all()  # what it would have begun with
    assert previews.problem("empty") == "no start frames here"
    assert previews.frame("empty") is None
    assert previews.problem("a") == ""
    assert step_of(previews.frame("a")) >= 2


def test_a_world_that_breaks_while_it_dreams_becomes_a_problem(folders, monkeypatch):
    previews = Previews(folders)
    previews.watch(["a"], "a")
    work(previews, until=0.5)

    def broken(self, state, action, rng=None):
        raise RuntimeError("numbers ran out")

    monkeypatch.setattr(CountingWorld, "step", broken)
    work(previews, until=1.0, now=0.5)
    assert previews.problem("a") == "numbers ran out"
    assert previews.loaded == ()
    assert previews.frame("a") is not None
    assert previews.turn(2.0) == preview.IDLE_S


def test_a_heavy_world_stays_a_still(folders, monkeypatch):
    monkeypatch.setattr(preview, "HEAVIEST", 6)
    previews = Previews(folders)
    previews.watch(["a"], "a")
    work(previews, until=1.0)
    assert (previews.loaded, previews.problem("a")) == ((), "")
    assert (previews.frame("a") == 10).all()


def test_a_slow_world_leaves_time_for_the_rest(folders, monkeypatch):
    times = iter([0.0, 0.5])
    previews = Previews(folders)
    previews.watch(["a"], "a")
    for _ in range(2):
        previews.turn(0.0)
    with monkeypatch.context() as clock:
        clock.setattr(preview.time, "perf_counter", lambda: next(times))
        previews.turn(0.0)
    assert previews._dreams["a"].due == 0.5 / preview.SHARE


def test_a_dream_begins_anew_from_the_next_start(folders, monkeypatch):
    monkeypatch.setattr(preview, "LENGTH", 5)
    dream = preview.Daydream(CountingWorld(), clips(), seed=1)
    steps = [step_of(dream.step()) for _ in range(13)]
    assert steps == [1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1]
    assert dream._begun == 3


def test_a_name_that_nobody_knows_is_left_out(folders):
    previews = Previews(folders)
    previews.watch(["nobody", "a"], "nobody")
    work(previews, until=0.2)
    assert (previews.frame("nobody"), previews.problem("nobody")) == (None, "")
    assert step_of(previews.frame("a")) == 1
    previews.watch([], "")
    assert previews.turn(9.0) == preview.IDLE_S


def test_nobody_waits_while_a_world_is_loaded(folders, monkeypatch):
    began, go_on = threading.Event(), threading.Event()

    def slow(folder: Path, device: str) -> PlainWorld:
        began.set()
        assert go_on.wait(20.0)
        return CountingWorld()

    monkeypatch.setattr(library.checkpoint, "load_world", slow)
    previews = Previews(folders)
    previews.start()
    previews.watch(["a", "b"], "a")
    assert began.wait(10.0)
    start = time.perf_counter()
    for _ in range(100):
        previews.watch(["a", "b"], "b")
        previews.watch(["a", "b"], "a")
        assert previews.frame("a") is not None
        assert previews.problem("a") == ""
        assert previews.world("a") is None
    assert time.perf_counter() - start < 0.2
    start = time.perf_counter()
    previews.close()
    assert time.perf_counter() - start < 1.1
    go_on.set()
    assert wait_for(lambda: not previews._thread.is_alive())
    assert previews.loaded == ("a",)  # and no other one after that


def test_the_shipped_world_dreams_in_the_background():
    previews = Previews({"pong": HOUSE / "assets" / "worlds" / "pong"})
    previews.start()
    previews.watch(["pong"], "pong")
    try:
        assert wait_for(lambda: previews.frame("pong") is not None)
        still = previews.frame("pong")
        assert still.shape == (104, 80, 3)
        assert wait_for(lambda: previews.world("pong") is not None, 30.0)
        assert wait_for(lambda: not np.array_equal(previews.frame("pong"), still), 30.0)
        assert previews.problem("pong") == ""
    finally:
        start = time.perf_counter()
        previews.close()
    assert time.perf_counter() - start < 1.0
    assert not previews._thread.is_alive()
    assert previews.world("pong").spec.game == "pong"


def test_closing_what_was_never_started_is_no_mistake(folders):
    Previews(folders).close()
