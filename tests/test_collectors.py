"""Real games: what they show, where things are, who plays, and that a seed says it all."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from app.commands.collect import collect as collect_command
from app.commands.inspect import inspect as inspect_command
from collectors import breakout, pong
from collectors.atari import AtariGame
from collectors.behaviours import LONGEST_HOLD, Seen, Sticky, behaviour_named, choose, weights_of
from collectors.games import BREAKOUT, PONG, Actions, game_named
from collectors.inspection import contact_sheet, inspect_dataset
from collectors.rollout import CollectConfig, collect, play_episode
from collectors.shards import Dataset, split_of

SMALL = {"frames": 700, "episode_frames": 150, "shard_frames": 300}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.iterdir() if path.suffix in (".h5", ".json"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pong"
    collect(CollectConfig(**SMALL, workers=1), folder)
    return folder


def shown(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Pixel masks [T, H, W] of the three things within the walls of a 104x80 frame."""
    enemy = (frames == (213, 130, 74)).all(-1)
    ball = (frames == 236).all(-1)
    player = (frames[..., 1] == 186) & (frames[..., 2] <= 92)  # the brighter of paddle and ground, too
    enemy[:, :, 40:] = False
    player[:, :, :40] = False
    masks = {"ball": ball, "player": player, "enemy": enemy}
    for mask in masks.values():
        mask[:, :16] = mask[:, 96:] = False
    return masks


def test_objects_in_memory_agree_with_pixels() -> None:
    episodes = [play_episode(PONG, "scripted", 5, 900), play_episode(PONG, "sticky", 6, 500)]
    frames = np.concatenate([episode.frames for episode in episodes])
    objects = np.concatenate([episode.objects for episode in episodes])
    for index, (name, mask) in enumerate(shown(frames).items()):
        visible, said = mask.any((1, 2)), objects[:, index, 0] > 0
        assert (visible == said).mean() >= 0.99, name
        assert 0.3 < said.mean() <= 1.0, name
        both = visible & said
        for axis, place in ((2, objects[:, index, 1]), (1, objects[:, index, 2])):
            line = mask.any(axis)
            middle = (line.argmax(1) + line.shape[1] - 1 - line[:, ::-1].argmax(1)) / 2
            assert np.abs(middle - place)[both].max() <= 1.0, name


def test_breakout_s_ball_and_paddle_are_where_its_memory_says() -> None:
    episode = play_episode(BREAKOUT, "scripted", 1, 600)
    assert episode.objects is not None
    red = (episode.frames == (200, 72, 72)).all(-1)[:, :, 4:76]
    agreed = 0
    for drawn, (ball, player) in zip(red, episode.objects, strict=True):
        below = np.argwhere(drawn[46:93]) + np.array((46, 4))  # from under the bricks to above the paddle
        if ball[0] and 47 < ball[1] < 92:
            assert np.abs(below.mean(0) - ball[1:]).max() <= 0.5
            agreed += 1
        elif not ball[0]:
            assert not len(below)
        ends = np.flatnonzero(drawn[94])
        assert player[0] == 1
        assert ends[0] + 3.5 <= player[2] <= ends[-1] + 4.5  # half of its length is enough: it shrinks
    assert agreed > 100


def test_breakout_s_player_hits_more_than_luck() -> None:
    scores = {
        name: sum(play_episode(BREAKOUT, name, seed, 2000).rewards.sum() for seed in range(3))
        for name in ("sticky", "scripted")
    }
    assert scores["scripted"] > 5 * scores["sticky"]
    ram = np.zeros(128, np.uint8)
    assert breakout.follow_ball(ram) == breakout.FIRE
    for ball, wanted in ((70, breakout.LEFT), (100, breakout.NOOP), (140, breakout.RIGHT)):
        ram[99], ram[101], ram[72] = ball, 100, 92
        assert breakout.follow_ball(ram) == wanted


def test_coinrun_s_player_gets_further_than_luck() -> None:
    row = game_named("coinrun", labels=True)
    furthest = {
        name: [play_episode(row, name, seed, 150).objects[:, 0, 2].max() for seed in range(6)]
        for name in ("sticky", "scripted")
    }
    assert sum(furthest["scripted"]) > 1.5 * sum(furthest["sticky"])


def test_ball_keeps_its_brightness() -> None:
    episode = play_episode(PONG, "scripted", 3, 300)
    inside = episode.frames[:, 16:96, 20:60].reshape(-1, 3)
    colours = {tuple(colour) for colour in np.unique(inside, axis=0).tolist()}
    assert colours == {(144, 72, 17), (236, 236, 236)}


def test_snapshot_brings_the_moment_back() -> None:
    machine = AtariGame(PONG)
    machine.reset(4)
    for action in (2, 2, 3, 0, 5):
        machine.step(action)
    snapshot, now = machine.snapshot(), machine.frame
    first = [machine.step(action)[0] for action in (2, 3, 3, 4)]
    np.testing.assert_array_equal(AtariGame(PONG).restore(snapshot), now)
    machine.restore(snapshot)
    again = [machine.step(action)[0] for action in (2, 3, 3, 4)]
    np.testing.assert_array_equal(np.stack(first), np.stack(again))
    with pytest.raises(ValueError, match=r"action 6 is outside \[0, 6\)"):
        machine.step(6)


def test_actions_move_the_paddle() -> None:
    episode = play_episode(PONG, "sticky", 1, 400)
    moved = np.diff(episode.objects[:, 1, 1])
    assert moved[np.isin(episode.actions, (2, 4))].mean() < -1
    assert moved[np.isin(episode.actions, (3, 5))].mean() > 1


def test_episodes_differ_by_seed_and_repeat_by_seed() -> None:
    one, same, other = (play_episode(PONG, "mix", seed, 60) for seed in (11, 11, 12))
    np.testing.assert_array_equal(one.frames, same.frames)
    np.testing.assert_array_equal(one.actions, same.actions)
    assert not np.array_equal(one.actions, other.actions)


def test_games_by_name() -> None:
    assert game_named("ALE/Pong-v5") is PONG
    breakout = game_named("ALE/Breakout-v5")
    assert (breakout.id, breakout.native, breakout.downscale) == ("breakout", "ALE/Breakout-v5", "nearest")
    assert breakout.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert game_named("MsPacman").id == game_named("ms_pacman").id == "ms_pacman"
    assert game_named("pong", (84, 64)).downscale == "area"
    episode = play_episode(game_named("freeway", (64, 48)), "mix", 0, 20)
    assert episode.frames.shape == (21, 64, 48, 3)
    assert episode.objects is None


def test_objects_follow_the_stored_size() -> None:
    large, small = (play_episode(game_named("pong", size), "sticky", 2, 80) for size in (None, (52, 40)))
    np.testing.assert_array_equal(large.actions, small.actions)
    seen = large.objects[:, 1, 0] > 0
    np.testing.assert_allclose((large.objects[seen, 1, 1:] + 0.5) / 2 - 0.5, small.objects[seen, 1, 1:], atol=0.26)


def test_sticky_holds_one_to_eight_steps_evenly() -> None:
    player = Sticky(Actions(1000))  # so many actions that two holds in a row are hardly ever the same
    player.reset(np.random.default_rng(0))
    seen = Seen(np.zeros((8, 8, 3), np.uint8), np.zeros(128, np.uint8))
    actions = np.array([player.act(seen) for _ in range(40_000)])
    holds = np.diff(np.flatnonzero(np.diff(actions)))
    shares = np.bincount(holds, minlength=LONGEST_HOLD + 1)[1 : LONGEST_HOLD + 1] / len(holds)
    np.testing.assert_allclose(shares, 1 / LONGEST_HOLD, atol=0.012)


def test_scripted_player_goes_where_the_ball_is() -> None:
    ram = np.zeros(128, np.uint8)
    assert pong.follow_ball(ram) == pong.NOOP
    for ball, wanted in ((60, pong.RIGHT), (180, pong.LEFT), (127, pong.NOOP)):
        ram[54], ram[51] = ball, 120
        assert pong.follow_ball(ram) == wanted
    player = behaviour_named("scripted", PONG)
    player.reset(np.random.default_rng(0))
    ram[54] = 60
    actions = [player.act(Seen(np.zeros((8, 8, 3), np.uint8), ram)) for _ in range(4000)]
    assert 0.35 < np.mean(np.array(actions) == pong.RIGHT) < 0.7  # holds by chance are longer than moves


def test_weights() -> None:
    freeway = game_named("freeway")
    assert weights_of("mix", PONG) == pytest.approx({"random": 0.4, "sticky": 0.3, "scripted": 0.3})
    assert weights_of("mix", freeway) == pytest.approx({"random": 4 / 7, "sticky": 3 / 7})
    assert weights_of("random:1,sticky:3", PONG) == {"random": 0.25, "sticky": 0.75}
    rng = np.random.default_rng(0)
    drawn = [choose(weights_of("mix", PONG), rng) for _ in range(3000)]
    assert drawn.count("random") / 3000 == pytest.approx(0.4, abs=0.03)
    with pytest.raises(
        ValueError, match="no scripted player for 'freeway'; games that have one: pong, breakout, coinrun"
    ):
        weights_of("scripted", freeway)


def test_workers_do_not_change_a_byte(recorded: Path, tmp_path: Path) -> None:
    collect(CollectConfig(**SMALL, workers=2), tmp_path / "two")
    assert digests(tmp_path / "two") == digests(recorded)
    assert len(digests(recorded)) == 4  # three shards and the manifest


def test_exactly_the_frames_asked_for(recorded: Path) -> None:
    with Dataset.open(recorded) as data:
        assert data.manifest.steps == 700
        assert data.manifest.complete
        assert [ref.steps for ref in data.episodes] == [150, 150, 150, 150, 100]
        assert [ref.seed for ref in data.episodes] == [0, 1, 2, 3, 4]
        data.verify()


def test_inspect_counts_right(recorded: Path) -> None:
    with Dataset.open(recorded) as data:
        facts = inspect_dataset(data)
        actions = np.concatenate([data.read(ref).actions for ref in data.episodes])
        rewards = {ref.seed: data.read(ref).rewards.sum() for ref in data.episodes}
        assert contact_sheet(data, rows=2, columns=3).shape == (2 * 106, 3 * 82, 3)
    assert list(facts["actions"].values()) == np.bincount(actions, minlength=6).tolist()
    assert sum(row["mean"] * row["episodes"] for row in facts["returns"].values()) == pytest.approx(
        sum(rewards.values()), abs=0.01
    )
    assert (facts["episodes"], facts["frames"], sum(facts["splits"].values())) == (5, 705, 5)


def test_commands(recorded: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    found = CliRunner().invoke(inspect_command, [str(recorded), "--verify", "--sheet", str(sheet)])
    assert found.exit_code == 0
    assert "700 transitions (complete), 705 frames, 5 episodes" in found.output
    assert sheet.read_bytes().startswith(b"\x89PNG")
    again = ["pong", "--frames", "700", "--episode-frames", "150", "--shard-frames", "300", "--out", str(recorded)]
    found = CliRunner().invoke(collect_command, again)
    assert found.exit_code == 0
    assert "already complete" in found.output


def test_split_is_stable_and_has_the_right_shares() -> None:
    splits = [split_of(seed, "pong") for seed in range(4000)]
    assert splits.count("train") / 4000 == pytest.approx(0.9, abs=0.02)
    assert splits.count("validation") / 4000 == pytest.approx(0.05, abs=0.015)
    assert splits[:3] == [split_of(0, "pong"), split_of(1, "pong"), split_of(2, "pong")]
    assert splits != [split_of(seed, "breakout") for seed in range(4000)]
