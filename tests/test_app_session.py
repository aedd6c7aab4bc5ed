"""A session is a deterministic, bounded playthrough; controllers choose reproducibly; names lead to the best id."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_app_doubles import CONTEXT, HEIGHT, WIDTH, CountingWorld, PlainWorld, clips, spec

from app import controllers, threads, timeline
from app.controllers import Human, RandomHeld, Script
from app.names import ActionNames
from app.session import Session, dream
from app.timeline import Origin
from models.world import Sampling, WorldSpec


def frames(seed: int, actions: list[int]) -> list[np.ndarray]:
    return list(dream(Session(CountingWorld(), clips(), seed=seed), actions))


def test_same_seed_and_actions_same_frames_and_other_luck_differs():
    actions = [2, 3, 6, 0, 0]
    first, again, other = frames(5, actions), frames(5, actions), frames(6, actions)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first[1:], other[1:], strict=True))


def test_every_action_makes_exactly_one_step():
    shown = frames(0, [0] * 7)
    assert [int(frame[0, 39, 2]) for frame in shown] == list(range(8))


def test_reset_goes_back_and_reseed_does_not():
    play = Session(CountingWorld(), clips(), seed=3, start=1)
    begin = play.frame.copy()
    run = [play.step(2).copy() for _ in range(4)]
    play.reseed(8)
    assert (play.steps, play.seed) == (4, 8)
    play.reset(seed=3)
    assert (play.steps, play.start, list(play.history)) == (0, 1, [])
    assert np.array_equal(play.frame, begin)
    assert all(np.array_equal(frame, play.step(2)) for frame in run)
    play.reset(start=2)
    assert play.start == 2
    assert not np.array_equal(play.frame, begin)


def test_rehearsing_changes_nothing():
    with_it, without = Session(CountingWorld(), clips(), seed=1), Session(CountingWorld(), clips(), seed=1)
    assert with_it.rehearse() > 0.0
    assert np.array_equal(with_it.step(3), without.step(3))
    assert with_it.steps == 1


def test_going_back_and_doing_the_same_gives_the_same():
    play = Session(CountingWorld(), clips(), seed=1)
    keys = [action for action in (2, 3, 6, 1, 5, 0, 2) for _ in range(30)]
    shown = list(dream(play, keys))
    first = play.take
    play.branch(57)
    assert (play.steps, play.take.parent, play.last_action) == (57, first, keys[56])
    assert np.array_equal(play.frame, shown[57])
    again = list(dream(play, keys[57:]))
    assert all(np.array_equal(a, b) for a, b in zip(shown[57:], again, strict=True))
    assert list(play.history) == keys
    assert all(np.array_equal(play.peek(step), shown[step]) for step in range(0, 211, 7))
    play.branch(100)
    other = play.step(6).copy()
    assert not np.array_equal(other, shown[101])
    play.enter(first.number)
    assert np.array_equal(play.frame, shown[-1])
    assert len(play.takes) == 3


def test_dials_and_seed_are_remembered_with_the_step_they_were_turned_at():
    play = Session(CountingWorld(), clips(), seed=1, sampling=Sampling(steps=2))
    shown = [play.step(2).copy() for _ in range(5)]
    play.reseed(9)
    play.set_sampling(Sampling(steps=3))
    shown += [play.step(2).copy() for _ in range(5)]
    play.branch(7)
    assert (play.seed, play.sampling) == (9, Sampling(steps=3))
    play.branch(3)
    assert (play.seed, play.sampling) == (1, Sampling(steps=2))
    assert np.array_equal(play.step(2), shown[3])
    assert play.take.story().dials[0][1].seed == 1


def test_a_past_of_any_length_and_any_number_of_takes_stays_small():
    play = Session(CountingWorld(), clips())
    for _ in range(3000):
        play.step(1)
    assert len(play.take.states) <= timeline.MOST_STATES
    kept = sorted(play.take.states)
    assert kept[0] == 0
    assert kept[-1] == 3000
    assert kept[-2] >= 3000 - timeline.EVERY
    for turn in range(3 * timeline.MOST_TAKES):
        play.branch(play.steps - 20)
        for _ in range(30):
            play.step(turn % 8)
    assert len(play.takes) == timeline.MOST_TAKES
    assert len(play.history) == play.steps == 3000 + 3 * timeline.MOST_TAKES * 10
    assert play.oldest == 0
    before = play.frame.copy()
    keys = play.history[-400:]
    play.branch(play.steps - 400)
    for key in keys:
        play.step(key)
    assert np.array_equal(play.frame, before)


def test_a_thought_that_comes_too_late_is_dropped():
    play = Session(CountingWorld(), clips())
    late = play.think(2)
    play.step(3)
    shown = play.frame.copy()
    assert not play.accept(late)
    assert (play.steps, list(play.history)) == (1, [3])
    assert np.array_equal(play.frame, shown)


def test_begin_anew_from_other_frames_keeps_the_past():
    play = Session(CountingWorld(), clips(), start=0)
    shown = [play.step(2).copy() for _ in range(6)]
    play.begin(Origin(clips()[2], "paint"))
    assert (play.steps, play.history) == (6, b"")
    assert np.array_equal(play.peek(3), shown[2])
    assert not np.array_equal(play.frame, shown[5])
    play.step(1)
    assert torch.equal(play.recent(4)[:3], clips()[2])
    assert np.array_equal(play.recent(2)[1].permute(1, 2, 0), play.frame)


def test_dials_and_uncertainty_are_abilities():
    play = Session(CountingWorld(), clips(), sampling=Sampling(steps=2, temperature=0.5))
    assert play.sampling == Sampling(steps=2, temperature=0.5)
    assert play.uncertainty() is None  # nothing was dreamed yet
    play.step(0)
    assert play.uncertainty().shape == (6, 5)
    plain = Session(PlainWorld(), clips())
    plain.step(0)
    assert plain.sampling is None
    assert plain.uncertainty() is None
    with pytest.raises(ValueError, match="no sampling dials"):
        plain.set_sampling(Sampling())


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([], "no start frames"),
        ([torch.zeros(2, 3, HEIGHT, WIDTH, dtype=torch.uint8)], "has 2 frames but 'block' needs a context of 3"),
        ([torch.zeros(CONTEXT, 3, 9, WIDTH, dtype=torch.uint8)], "must be uint8"),
        ([torch.zeros(CONTEXT, 3, HEIGHT, WIDTH)], "found torch.float32"),
    ],
)
def test_unfit_start_clips_are_named(starts, message):
    with pytest.raises(ValueError, match=message):
        Session(CountingWorld(), starts)


def test_steps_and_starts_out_of_range_are_named():
    play = Session(CountingWorld(), clips())
    with pytest.raises(ValueError, match=r"action 8 is outside \[0, 8\)"):
        play.step(8)
    with pytest.raises(ValueError, match=r"start 3 is outside \[0, 3\)"):
        play.reset(start=3)


def test_grey_worlds_are_shown_in_three_channels():
    class Grey(PlainWorld):
        def render(self, state):
            return super().render(state)[:, :1]

    grey = spec()
    world = Grey(WorldSpec(game="g", height=HEIGHT, width=WIDTH, channels=1, context=3, actions=grey.actions))
    play = Session(world, [clip[:, :1] for clip in clips()])
    assert play.step(0).shape == (HEIGHT, WIDTH, 3)


def test_random_actions_are_held_and_reproducible():
    def draw(seed: int) -> list[int]:
        chance = RandomHeld(8, seed)
        return [chance.act() for _ in range(400)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert set(draw(1)) == set(range(8))
    changes = 1 + sum(a != b for a, b in zip(draw(1), draw(1)[1:], strict=False))
    assert 400 / 8 * 0.7 < changes < 400 / 2  # held 4.5 frames in the mean


def test_a_script_gives_its_list():
    script = Script([3, 1])
    assert [script.act(), script.act()] == [3, 1]


def test_actions_from_text_and_files(tmp_path):
    (tmp_path / "a.txt").write_text("0, 1\n2 3\n")
    np.save(tmp_path / "a.npy", np.array([4, 5]))
    np.savez(tmp_path / "a.npz", actions=np.array([6]), frames=np.zeros(2))
    assert controllers.choose("0,1,7", 8, 0, None) == [0, 1, 7]
    assert controllers.choose("0,1,7", 8, 0, 2) == [0, 1]
    assert controllers.choose(str(tmp_path / "a.txt"), 8, 0, None) == [0, 1, 2, 3]
    assert controllers.choose(str(tmp_path / "a.npy"), 8, 0, None) == [4, 5]
    assert controllers.choose(str(tmp_path / "a.npz"), 8, 0, None) == [6]
    assert len(controllers.choose("random", 8, 0, None)) == 300


@pytest.mark.parametrize(
    ("text", "frames", "message"),
    [
        ("0,1,2,9", None, r"^action 9 at position 3 is outside \[0, 8\)$"),
        ("0,-1", None, r"^action -1 at position 1 is outside \[0, 8\)$"),
        ("", None, "list of actions is empty"),
        (" , ", None, "list of actions is empty"),
        ("1,2", 3, "--frames 3 needs 3 actions, found 2"),
        ("0,--1", None, "'--1' at position 1 of --actions is not an action id"),
    ],
)
def test_bad_actions_are_one_clear_line(text, frames, message):
    with pytest.raises(ValueError, match=message):
        controllers.choose(text, 8, 0, frames)


def test_bad_action_files_are_one_clear_line(tmp_path):
    (tmp_path / "a.txt").write_text("0 up")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "c.npz").write_bytes(b"not a zip")
    np.save(tmp_path / "d.npy", np.zeros((2, 2)))
    for name, message in [("a.txt", "'up' at position 1"), ("b.txt", "not a text file"), ("c.npz", "cannot read")]:
        with pytest.raises(ValueError, match=message):
            controllers.parse(str(tmp_path / name))
    with pytest.raises(ValueError, match="must be integers"):
        controllers.parse(str(tmp_path / "d.npy"))
    with pytest.raises(FileNotFoundError, match="actions file not found: nowhere"):
        controllers.parse("nowhere.txt")


def test_names_lead_to_the_id_that_means_it_most():
    names = ActionNames(spec())
    assert names.find("UP") == 2  # 0.91 x 0.15 > 0.60 x 0.10
    assert names.find("DOWN") == 3  # 0.88 x 0.20 > 0.90 x 0.05
    assert names.find("RIGHT") is None
    assert names.idle == 0  # 0.81 x 0.20 > 0.97 x 0.10
    assert names.title(2) == "UP"
    assert "UNUSED" not in names.distinct()


def test_without_a_table_there_are_only_numbers():
    names = ActionNames(spec(table=False))
    assert (names.find("UP"), names.idle, names.title(4), names.distinct()) == (None, 0, "latent 4", [])


def test_worlds_of_real_actions_need_no_table():
    real = WorldSpec(game="x", height=8, width=8, actions=("FIRE", "NOOP", "up", "UPRIGHT", "RIGHT"))
    names = ActionNames(real)
    assert (names.idle, names.find("UP")) == (1, 2)
    assert names.chord(["RIGHT", "UP"]) == 3
    assert names.chord(["LEFT", "RIGHT"]) == 4
    table = replace(
        spec().table, labels=("STILL", "MIXED", "DOWN", "MIXED", "UP"), agreement=(1.0,) * 5, usage=(0.2,) * 5
    )
    found = ActionNames(replace(real, table=table))
    assert (found.idle, found.find("DOWN"), found.find("UP")) == (1, 2, 2)  # its own names go before what they do


def test_held_keys_the_last_one_wins_and_a_tap_counts_once():
    human = Human(ActionNames(spec()))
    assert human.act() == 0
    assert human.press("UP")
    assert human.press(6)
    assert human.act() == 6
    human.release(6)
    assert human.act() == 2
    human.release("UP")
    assert human.act() == 0
    human.press(5)
    human.release(5)  # between two frames
    assert [human.act(), human.act()] == [5, 0]
    assert not human.press("RIGHT")
    assert human.act() == 0


def test_threads_are_chosen_by_the_clock_and_given_up_when_slow(monkeypatch):
    before = torch.get_num_threads()
    try:
        seen: list[int] = []

        def rehearse() -> float:
            seen.append(torch.get_num_threads())
            return 0.02 if seen[-1] == 1 else 0.9

        monkeypatch.setattr(threads, "_idle_seconds", lambda: 0.0)  # a system that does not tell
        monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
        best, took = threads.settle(rehearse)
        assert (best, torch.get_num_threads(), seen.count(2)) == (1, 1, 1)
        assert took == pytest.approx({1: 20.0, 2: 900.0})
        assert threads.settle(lambda: 0.02 / torch.get_num_threads())[0] == 2
        monkeypatch.setattr(threads, "_idle_seconds", lambda: 5.0)  # nothing was idle meanwhile
        assert threads.settle(rehearse) == (1, {1: pytest.approx(20.0)})
        watch = threads.Watch(2, 20.0)
        assert [watch.saw(ms) for ms in (25, 900, 900, 20, 900, 900, 900, 900, 900)].count(True) == 1
        assert watch.threads == 1
    finally:
        torch.set_num_threads(before)
