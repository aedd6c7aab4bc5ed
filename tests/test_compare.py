"""Real and dreamed side by side: who follows whom, when a dream is lost, and what the figures mean."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from block_compare import BUTTONS, BlockGame, BlockWorld, ReadingWorld, drawn, spec, start, top_of
from test_app_doubles import CountingWorld, clips

from app.closeness import difference, moving_psnr
from app.compare import GAP, Comparison, Mode, panes
from app.drift import drifts, summary
from app.matching import Buttons, button_for, code_for, ways
from app.names import ActionNames
from app.real import LiveGame, RealGame, RecordedGame
from app.session import Session
from collectors.episode import Episode
from collectors.games import PONG, game_named
from collectors.rollout import play_episode
from collectors.shards import Dataset
from models import checkpoint
from models.world import WorldSpec

SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "worlds" / "pong"
UP, DOWN, STILL = 2, 0, 1  # codes of the block
NOOP, FIRE, RIGHT, LEFT = range(4)  # its buttons


def side_by_side(real: RealGame | None = None, world: BlockWorld | None = None, **options) -> Comparison:
    return Comparison(Session(world or ReadingWorld(), [start()]), real or BlockGame(), **options)


def recording(buttons: list[int]) -> Episode:
    game = BlockGame()
    frames = [game.frame, *(game.step(button) for button in buttons)]
    steps = len(buttons)
    return Episode(
        frames=np.stack(frames),
        actions=np.array(buttons, np.int64),
        rewards=np.zeros(steps, np.float32),
        ends=np.zeros(steps, np.bool_),
    )


@pytest.fixture(scope="module")
def pong() -> WorldSpec:
    return checkpoint.from_json(WorldSpec, checkpoint.read_card(SHIPPED)["spec"], "spec")


# codes and buttons


def test_codes_of_the_shipped_pong_have_buttons(pong):
    found = {label: set() for label in pong.table.labels}
    for code, label in enumerate(pong.table.labels):
        found[label].add(PONG.action_names[button_for(pong, code, PONG.action_names)])
    assert (found["UP"], found["DOWN"], found["STILL"]) == ({"RIGHT"}, {"LEFT"}, {"NOOP"})
    codes = [pong.table.labels[code_for(pong, button, PONG.action_names)] for button in range(6)]
    assert codes == ["STILL", "STILL", "UP", "DOWN", "UP", "DOWN"]
    assert ways(pong, PONG.action_names) == {"UP": "RIGHT", "DOWN": "LEFT"}


def test_buttons_understand_the_directions_that_the_world_knows(pong):
    names = Buttons(pong, PONG.action_names)
    assert names.idle == 0
    assert [names.find(label) for label in ("UP", "DOWN", "RIGHT", "LEFT", "FIRE")] == [2, 3, 2, 3, 1]
    assert names.chord(["UP", "FIRE"]) == 4  # RIGHTFIRE
    assert names.chord(["FIRE", "DOWN"]) == 5
    assert names.title(4) == "RIGHTFIRE"


def test_a_button_with_the_name_of_the_code_comes_first():
    made = spec()
    assert [button_for(made, code, ("UP", "NOOP", "DOWN")) for code in range(3)] == [2, 1, 0]
    assert [button_for(made, code, BUTTONS) for code in range(4)] == [LEFT, NOOP, RIGHT, NOOP]
    assert [code_for(made, button, BUTTONS) for button in range(4)] == [STILL, STILL, UP, DOWN]
    assert code_for(made, 0, ("JUMP",)) == ActionNames(made).idle


def test_without_a_table_nothing_goes_with_a_code():
    bare = WorldSpec(game="bare", height=8, width=8, actions=("latent 0", "latent 1"))
    for match in (button_for, code_for):
        with pytest.raises(ValueError, match="world 'bare' has no table of what its codes do"):
            match(bare, 1, BUTTONS)
    real = WorldSpec(game="real", height=8, width=8, actions=BUTTONS)
    assert [button_for(real, action, BUTTONS) for action in range(4)] == [0, 1, 2, 3]
    assert [code_for(real, action, BUTTONS) for action in range(4)] == [0, 1, 2, 3]


# who follows whom


def test_codes_the_dream_does_what_the_real_game_does():
    beside = side_by_side()
    assert beside.hears.labels == BUTTONS
    for button in [RIGHT, RIGHT, LEFT, NOOP, LEFT, LEFT, LEFT, FIRE, RIGHT, NOOP]:
        turn = beside.turn(button)
        assert np.array_equal(turn.dream, turn.real)
        assert (turn.button, turn.psnr) == (button, 100.0)
    assert bytes(beside.session.history) == bytes([STILL, UP, UP, DOWN, STILL, DOWN, DOWN, DOWN, STILL, UP])
    assert (beside.turns, beside.since, beside.syncs, beside.hold.held) == (10, 10, 1, None)
    assert [math.isnan(point.moving) for point in beside.curve] == [code == STILL for code in beside.session.history]
    assert {point.moving for point in beside.curve if not math.isnan(point.moving)} == {100.0}


def test_copying_the_frame_at_the_sync_is_the_baseline():
    beside = side_by_side()
    turns = [beside.turn(RIGHT) for _ in range(8)]
    for before, turn in pairwise(turns):
        assert turn.copy == moving_psnr(before.real, turn.real, drawn(20), drawn(20))
    assert (beside.hold.held, beside.copy_hold.held) == (None, 1)
    assert np.array_equal(turns[0].difference, difference(turns[0].real, turns[0].dream))


def test_keys_both_answer_at_once_though_the_console_is_late():
    beside = side_by_side(mode=Mode.KEYS)
    assert beside.delay == 1
    assert beside.hears.labels == ("DOWN", "STILL", "UP", "UNUSED")
    for code in [UP, UP, DOWN, STILL, DOWN, UP]:
        turn = beside.turn(code)
        assert np.array_equal(turn.dream, turn.real)
    assert beside.real.pressed[-6:] == [RIGHT, RIGHT, LEFT, NOOP, LEFT, RIGHT]
    assert bytes(beside.session.history) == bytes([STILL, UP, UP, DOWN, STILL, DOWN])
    at_once = side_by_side(mode=Mode.KEYS, delay=0)
    tops = [(top_of(turn.dream), top_of(turn.real)) for turn in map(at_once.turn, [UP, UP, STILL])]
    assert tops == [(18, 20), (16, 18), (16, 16)]


def test_lead_the_real_game_comes_after():
    beside = side_by_side(mode=Mode.LEAD)
    turns = [beside.turn(code) for code in [UP, UP, DOWN, UP, STILL]]
    assert [top_of(turn.dream) for turn in turns] == [18, 16, 18, 16, 16]
    assert [top_of(turn.real) for turn in turns] == [20, 18, 16, 18, 16]
    assert [turn.button for turn in turns] == [RIGHT, RIGHT, LEFT, RIGHT, NOOP]


def test_without_a_key_both_idle():
    for mode in Mode:
        beside = side_by_side(mode=mode)
        turn = beside.turn()
        assert (turn.button, turn.code) == (NOOP, STILL)


def test_a_recording_is_followed_whatever_one_asks_for():
    buttons = [NOOP, NOOP, RIGHT, RIGHT, LEFT, RIGHT, NOOP, LEFT]
    for mode in (Mode.CODES, Mode.KEYS):
        beside = side_by_side(RecordedGame(recording(buttons), BUTTONS), mode=mode)
        assert beside.modes == [Mode.CODES, Mode.KEYS]
        turns = [beside.turn(LEFT if mode is Mode.CODES else DOWN) for _ in range(6)]
        assert [turn.button for turn in turns] == buttons[2:]
        assert all(np.array_equal(turn.real, turn.dream) for turn in turns)
        assert beside.over
        with pytest.raises(ValueError, match="the recorded episode is over after 6 turns"):
            beside.turn()
    with pytest.raises(ValueError, match="mode lead is not possible: a recorded episode cannot follow a dream; possib"):
        side_by_side(RecordedGame(recording(buttons), BUTTONS), mode=Mode.LEAD)
    with pytest.raises(ValueError, match="the real game is over after 2 frames but 'block' needs 3"):
        side_by_side(RecordedGame(recording(buttons[:1]), BUTTONS))


def test_a_world_that_cannot_read_has_no_mode_codes():
    with pytest.raises(
        ValueError, match=r"mode codes is not possible: .* cannot read its actions off real frames; pos"
    ):
        side_by_side(world=BlockWorld())
    beside = side_by_side(world=BlockWorld(), mode=Mode.KEYS)
    assert beside.modes == [Mode.KEYS, Mode.LEAD]
    with pytest.raises(ValueError, match="possible: keys, lead"):
        beside.set_mode(Mode.CODES)
    assert beside.mode is Mode.KEYS


def test_a_world_of_real_actions_is_told_the_buttons():
    named = WorldSpec(game="block", height=48, width=40, context=3, actions=("LEFT", "NOOP", "RIGHT", "FIRE"))

    class Reordered(BlockGame):
        actions = named.actions

        def step(self, action: int):
            return super().step(BUTTONS.index(named.actions[action]))

    for mode in Mode:
        beside = Comparison(Session(BlockWorld(named), [start()]), Reordered(lag=0), mode=mode)
        for action in [2, 2, 0, 1, 2]:
            turn = beside.turn(action)
            assert (turn.code, turn.button) == (action, action)
            assert np.array_equal(turn.real, turn.dream)
        beside.resync()
        assert torch.equal(beside.session.take.origin.actions, torch.tensor([1, 2]))


# lost and found


def test_a_deaf_dream_is_lost_and_resync_finds_it_again():
    beside = side_by_side(world=ReadingWorld(deaf=True))
    for _ in range(8):
        turn = beside.turn(RIGHT)
    assert (beside.hold.held, list(beside.spans), beside.syncs) == (1, [1], 1)
    assert not np.array_equal(turn.dream, turn.real)
    beside.resync()
    assert np.array_equal(beside.session.frame, beside.real.frame)
    assert (beside.since, beside.syncs, beside.hold.held, beside.turns) == (0, 2, None, 8)
    assert beside.session.take.origin.why == "sync"
    assert beside.session.steps == 8


def test_auto_puts_it_back_each_time():
    beside = side_by_side(world=ReadingWorld(deaf=True), auto=True)
    pressed = ([LEFT] * 9 + [RIGHT] * 9) * 3
    since = [beside.turn(button).since for button in pressed]
    assert beside.syncs == 1 + len(beside.spans) > 5
    assert since.count(1) == beside.syncs - (beside.since == 0)
    assert beside.median_held == statistics.median(beside.spans)
    assert len(beside.curve) == len(pressed)


def test_a_game_that_is_over_begins_anew_with_its_dream():
    game = BlockGame(length=12)
    beside = side_by_side(game)
    for turn in range(20):
        seen = beside.turn(RIGHT)
        assert np.array_equal(seen.real, seen.dream), turn
    assert (game.games, beside.syncs, beside.turns, beside.since) == (2, 2, 20, 10)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"action 4 is outside \[0, 4\)"):
        side_by_side().turn(4)

    class Small(BlockGame):
        @property
        def frame(self):
            return super().frame[:8, :8]

    with pytest.raises(ValueError, match=r"'block' dreams frames of \[48, 40, 3\], the real game has \[8, 8, 3\]"):
        side_by_side(Small())


def test_a_world_with_luck_is_the_same_twice():
    def run(seed: int) -> list[np.ndarray]:
        session = Session(CountingWorld(), clips(), seed=seed)
        beside = Comparison(session, BlockGame(), mode=Mode.KEYS)
        return [beside.turn(code).dream for code in (2, 3, 3, 6)]

    assert all(np.array_equal(a, b) for a, b in zip(run(1), run(1), strict=True))
    assert not np.array_equal(run(1)[-1], run(2)[-1])


def test_the_panes_stand_side_by_side():
    turn = side_by_side().turn(RIGHT)
    shown = panes(turn)
    assert shown.shape == (48, 3 * 40 + 2 * GAP, 3)
    assert np.array_equal(shown[:, :40], turn.real)
    assert np.array_equal(shown[:, 40 + GAP : 80 + GAP], turn.dream)
    assert np.array_equal(shown[:, -40:], turn.difference)


# many stretches at once


def test_many_stretches_at_once_are_what_one_by_one_is():
    rng = np.random.default_rng(2)
    stretches = [recording([int(b) for b in rng.integers(0, 4, 30)]) for _ in range(3)]
    for deaf in (False, True):
        found = drifts(ReadingWorld(deaf=deaf), stretches)
        for stretch, drift in zip(stretches, found, strict=True):
            beside = side_by_side(RecordedGame(stretch, BUTTONS), ReadingWorld(deaf=deaf))
            turns = [beside.turn() for _ in range(28)]
            assert drift.dream == pytest.approx([turn.moving for turn in turns], nan_ok=True)
            assert drift.copy == pytest.approx([turn.copy for turn in turns], nan_ok=True)
            assert drift.held("dream") == beside.hold.held
            assert drift.held("copy") == beside.copy_hold.held


def test_a_dream_without_a_fault_outlives_shuffled_codes():
    rng = np.random.default_rng(3)
    stretches = [recording([int(b) for b in rng.integers(0, 4, 60)]) for _ in range(8)]
    figures = summary(drifts(ReadingWorld(), stretches))
    assert (figures["stretches"], figures["frames"], figures["threshold"], figures["patience"]) == (8, 58, 15.0, 3)
    assert (figures["dream"]["median"], figures["dream"]["never_lost"]) == (58, 8)
    assert figures["dream"]["mean_db"] == 100.0
    assert figures["shuffled"]["median"] < 20
    assert figures["copy"]["median"] < 20
    assert figures["times_shuffled"] == round(58 / figures["shuffled"]["median"], 2)
    assert drifts(ReadingWorld(), stretches) == drifts(ReadingWorld(), stretches)


def test_stretches_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"one length of 4 frames or more, found \[5, 6\]"):
        drifts(ReadingWorld(), [recording([0] * 4), recording([0] * 5)])
    with pytest.raises(ValueError, match=r"found \[3\]"):
        drifts(ReadingWorld(), [recording([0] * 2)])


def test_the_shipped_world_stays_nearer_than_without_its_codes():
    torch.set_num_threads(1)
    world = checkpoint.load_world(SHIPPED)
    play = play_episode(PONG, "sticky", 11, 130)
    stretches = [
        Episode(
            frames=play.frames[at : at + 29],
            actions=play.actions[at : at + 28],
            rewards=play.rewards[at : at + 28],
            ends=play.ends[at : at + 28],
        )
        for at in (40, 70, 100)
    ]
    found = drifts(world, stretches, seed=1)
    figures = summary(found)
    assert figures["dream"]["mean_db"] > figures["shuffled"]["mean_db"] + 3
    assert figures["dream"]["mean_db"] > figures["copy"]["mean_db"] + 3
    session = Session(world, checkpoint.load_starts(SHIPPED), seed=1)
    beside = Comparison(session, RecordedGame(stretches[0], PONG.action_names))
    turns = [beside.turn() for _ in range(25)]
    assert [turn.copy for turn in turns] == pytest.approx(found[0].copy, nan_ok=True)
    assert np.nanmean([turn.moving for turn in turns]) > figures["shuffled"]["mean_db"]
    assert {turn.button for turn in turns} == set(play.actions[43:68].tolist())


def test_the_real_game_goes_on_tape_with_what_it_was_read_as(tmp_path: Path) -> None:
    world = checkpoint.load_world(SHIPPED)
    session = Session(world, checkpoint.load_starts(SHIPPED), world_id="abc")
    comparison = Comparison(session, LiveGame(game_named("pong"), 3))
    said: list[str] = []
    comparison.toggle_tape(tmp_path, said.append)
    shown = [comparison.real.frame]
    turns = [comparison.turn(number % 6) for number in range(12)]
    comparison.close()
    assert said[-1].startswith("recorded 12 steps into pong-played-")
    (folder,) = tmp_path.iterdir()
    with Dataset.open(folder) as data:
        data.verify()
        (ref,) = data.episodes
        episode = data.read(ref)
        assert data.manifest.latent_names == world.spec.actions
        assert data.manifest.dreamed == 0
    assert (ref.source, ref.behaviour) == ("real", "human")
    np.testing.assert_array_equal(episode.frames, np.stack(shown + [turn.real for turn in turns]))
    assert episode.actions.tolist() == [number % 6 for number in range(12)]
    assert episode.latent is not None
    assert episode.latent.tolist() == [turn.code for turn in turns]
    assert episode.objects is not None
    assert episode.objects.shape == (13, 3, 3)


def test_a_recording_is_not_recorded_again(tmp_path: Path) -> None:
    comparison = Comparison(Session(ReadingWorld(), [start()]), BlockGame())
    said: list[str] = []
    comparison.toggle_tape(tmp_path, said.append)
    assert said == ["this is a recording already"]
    assert comparison.tape is None
