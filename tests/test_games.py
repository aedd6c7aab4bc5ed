"""Every family of games keeps the same promises: a seed says it all, and a moment can be gone back to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from app.commands.games import games as games_command
from app.real import LiveGame, RealWorld
from collectors import machines
from collectors.atari import minimal_action_names
from collectors.behaviours import Seen, Sticky, weights_of
from collectors.games import PROCGEN_GAMES, ROWS, Actions, Game, families, game_ids, game_named
from collectors.inspection import inspect_dataset
from collectors.machines import MAKERS, NO_RAM, Machine, Restorable, installed, make_machine, versions_of
from collectors.manifest import read_manifest
from collectors.rollout import CollectConfig, collect, play_episode
from collectors.shards import Dataset
from training.windows import open_datasets

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
EVERY = ["pong", "ms_pacman", *PROCGEN_GAMES, "cartpole-swingup", "cheetah-run", "humanoid-walk", "walker-walk"]
EVERY += ["cart_pole", "mountain_car", "pendulum"]


def machine_of(name: str) -> tuple[Game, Machine]:
    game = game_named(name)
    if not installed(game.maker):
        pytest.skip(MAKERS[game.maker].install)
    return game, make_machine(game)


def play(machine: Machine, actions: list) -> tuple[np.ndarray, list[float], list[bool]]:
    """Frames, rewards and ends of these actions, as far as the game goes."""
    frames, rewards, ends = [machine.frame], list[float](), list[bool]()
    for action in actions:
        frame, reward, end = machine.step(action)
        frames.append(frame)
        rewards.append(reward)
        ends.append(end)
        if end:
            break
    return np.stack(frames), rewards, ends


def drawn(game: Game, count: int, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    return [game.actions.draw(rng) for _ in range(count)]


@pytest.mark.parametrize("name", EVERY)
def test_a_machine_keeps_its_promises(name: str) -> None:
    game, machine = machine_of(name)
    steps = 12 if game.maker == "control" else 40
    actions = drawn(game, steps)
    first = machine.reset(4)
    assert (first.dtype, first.shape) == (np.uint8, (game.height, game.width, 3))
    assert first.std() > 1
    np.testing.assert_array_equal(first, machine.frame)
    once = play(machine, actions)
    machine.reset(6)
    play(machine, actions[::-1])
    machine.reset(4)
    again = play(machine, actions)
    np.testing.assert_array_equal(once[0], again[0])
    assert once[1:] == again[1:]
    assert len(np.unique(once[0].reshape(len(once[0]), -1), axis=0)) > 3  # things move
    assert machine.ram.shape == ((128,) if game.maker == "atari" else (0,))
    assert (machine.objects is not None) == bool(game.object_names)


@pytest.mark.parametrize("name", [name for name in EVERY if game_named(name).maker != "gymnasium"])
def test_a_snapshot_brings_the_moment_back_in_any_machine(name: str) -> None:
    game, machine = machine_of(name)
    assert isinstance(machine, Restorable)
    machine.reset(1)
    play(machine, drawn(game, 6))
    snapshot, now = machine.snapshot(), machine.frame
    assert isinstance(snapshot, bytes)
    after = drawn(game, 10 if game.maker == "control" else 40, seed=1)
    expected = play(machine, after)
    other = make_machine(game)
    assert isinstance(other, Restorable)
    other.reset(2)
    for there in (machine, other):
        np.testing.assert_array_equal(there.restore(snapshot), now)
        found = play(there, after)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1:] == expected[1:]
    for spoilt in (snapshot[:-1], snapshot[:40] + b"\x01" + snapshot[41:] + b"x", b""):
        with pytest.raises(ValueError, match=f"the snapshot is damaged or not of '{name}'"):
            machine.restore(spoilt)


def test_a_snapshot_of_another_game_is_refused() -> None:
    machine_of("coinrun")
    coinrun, maze = make_machine(game_named("coinrun")), make_machine(game_named("maze"))
    assert isinstance(coinrun, Restorable)
    assert isinstance(maze, Restorable)
    coinrun.reset(0)
    with pytest.raises(ValueError, match="not of 'maze'"):
        maze.restore(coinrun.snapshot())


@pytest.mark.parametrize("name", PROCGEN_GAMES)
def test_procgen_plays_what_its_own_wheel_plays(name: str) -> None:
    machine_of(name)
    pytest.importorskip("gym3")
    from procgen import ProcgenGym3Env

    played = 0
    for level in (0, 7, 2**31 - 3):
        theirs = ProcgenGym3Env(num=1, env_name=name, num_levels=1, start_level=level, num_threads=0, rand_seed=3)
        ours = make_machine(game_named(name))
        frames, expected = [ours.reset(level)], [theirs.observe()[1]["rgb"][0]]
        rewards, gained = list[float](), list[float]()
        for action in drawn(game_named(name), 60):
            theirs.act(np.array([action]))
            reward, seen, new = theirs.observe()
            if new[0]:
                break
            frame, mine, _ = ours.step(action)
            frames.append(frame)
            expected.append(seen["rgb"][0])
            rewards.append(mine)
            gained.append(float(reward[0]))
        np.testing.assert_array_equal(np.stack(frames), np.stack(expected))
        assert rewards == gained
        played += len(frames) - 1
    assert played > 60


def test_a_level_of_procgen_ends_with_its_own_last_frame() -> None:
    game, _ = machine_of("dodgeball")
    ended = [play_episode(game, "random", seed, 2000) for seed in range(4)]
    ended = [episode for episode in ended if episode.ends[-1]]
    assert ended
    for episode in ended:
        assert not episode.ends[:-1].any()
        np.testing.assert_array_equal(episode.frames[-1], episode.frames[-2])
        assert (episode.frames[-1] != episode.frames[0]).any()


def test_where_the_player_of_coinrun_is() -> None:
    """Told only where it is asked for, and as the game moves: a runner speeds up, a jump is a parabola."""
    machine_of("coinrun")
    assert make_machine(game_named("coinrun")).objects is None
    with pytest.raises(ValueError, match="nobody can tell where things are in 'maze'; leave --labels out"):
        game_named("maze", labels=True)
    machine = make_machine(game_named("coinrun", labels=True))
    pixel = 64 / 13  # a tile
    for level in (3, 1_000_003):
        machine.reset(level)
        places = [machine.objects]
        for action in [7] * 6 + [8] + [7] * 6:
            machine.step(action)
            places.append(machine.objects)
        path = np.stack([place[0] for place in places if place is not None])
        assert path[:, 0].all()
        np.testing.assert_allclose(path[0, 1:], ((64 - 1.5787) * pixel, 1.5 * pixel), atol=0.01)
        right, down = np.diff(path[:, 2]), np.diff(path[:, 1])
        assert (np.diff(right[:6]) > 0).all()  # until it is at full speed
        assert (np.abs(down[:6]) < 0.01).all()
        np.testing.assert_allclose(down[6], -1.5 * pixel, atol=0.01)
        np.testing.assert_allclose(np.diff(down[6:11]), 0.2 * pixel, atol=0.01)


def test_levels_of_procgen_differ() -> None:
    _, machine = machine_of("coinrun")
    assert len({machine.reset(level).tobytes() for level in range(8)}) == 8


def test_procgen_in_another_size() -> None:
    machine_of("coinrun")
    large, small = (make_machine(game_named("coinrun", size)).reset(3) for size in (None, (32, 32)))
    assert small.shape == (32, 32, 3)
    shrunk = large.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(shrunk - small).max() <= 1


@pytest.mark.parametrize("name", ["cartpole-swingup", "cheetah-run", "humanoid-walk", "walker-walk"])
def test_rows_of_control_name_the_joints_in_order(name: str) -> None:
    game, _ = machine_of(name)
    from dm_control import suite

    environment = suite.load(*name.split("-"))
    model, bounds = environment.physics.model, environment.action_spec()
    assert tuple(model.id2name(index, "actuator") for index in range(model.nu)) == game.action_names
    assert (bounds.minimum == -1).all()
    assert (bounds.maximum == 1).all()
    assert game.fps == pytest.approx(1 / (environment.control_timestep() * game.frame_skip))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("coinrun", "coinrun"),
        ("procgen:coinrun", "coinrun"),
        ("procgen:procgen-coinrun-v0", "coinrun"),
        ("CoinRun", "coinrun"),
        ("walker-walk", "walker-walk"),
        ("dm_control/walker-walk-v0", "walker-walk"),
        ("control:Walker Walk", "walker-walk"),
        ("CartPole-v1", "cart_pole"),
        ("gym:Pendulum-v1", "pendulum"),
        ("ALE/Pong-v5", "pong"),
        ("ale:pong", "pong"),
    ],
)
def test_names(name: str, found: str) -> None:
    assert game_named(name).id == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("coinrum", "unknown game 'coinrum'; did you mean coinrun"),
        ("walkerwlk", "did you mean walker-walk"),
        ("procgen:pong", "unknown game 'procgen:pong'; "),
        ("maze_craze", "unknown game 'maze_craze'; "),
        ("nes:mario", "unknown family 'nes' in 'nes:mario'; known: atari, control, gymnasium, procgen"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        game_named(name)


def test_every_game_has_a_name_of_its_own() -> None:
    ids = [known for family in families() for known in game_ids(family)]
    assert len(ids) == len(set(ids)) == len(game_ids()) > 120
    assert len(game_ids("atari")) == 104
    assert len({"".join(filter(str.isalnum, known)) for known in ids}) == len(ids)
    assert set(MAKERS) == set(families())
    assert len([row for row in ROWS if row.maker == "procgen"]) == 16


@pytest.mark.parametrize("rom", ["freeway", "video_checkers", "ms_pacman", "asteroids", "alien"])
def test_the_table_of_actions_is_what_the_emulator_says(rom: str) -> None:
    assert game_named(rom).action_names == minimal_action_names(rom)


@pytest.mark.benchmark
def test_the_whole_table_of_actions_is_what_the_emulator_says() -> None:
    for rom in game_ids("atari"):
        assert game_named(rom).action_names == minimal_action_names(rom), rom


def test_a_game_of_atari_owes_nothing_to_the_one_before() -> None:
    game, machine = machine_of("breakout")
    actions = drawn(game, 300)
    for seed in (4, 5):
        play(machine, [machine.reset(seed), *actions][1:])
    machine.reset(6)
    found = play(machine, actions)
    alone = make_machine(game)
    alone.reset(6)
    expected = play(alone, actions)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1:] == expected[1:]


def test_only_atari_has_frames_to_merge() -> None:
    with pytest.raises(ValueError, match="'coinrun' has no raw frames to merge"):
        game_named("coinrun", pooled=2)


def test_a_family_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "installed", lambda family: False)
    with pytest.raises(
        ValueError, match=r"'coinrun' needs the package procgen, .*pip install procgen-mirror==0\.10\.7"
    ):
        make_machine(game_named("coinrun"))
    with pytest.raises(ValueError, match="pip install dm-control"):
        versions_of(game_named("walker-walk"))


@pytest.mark.parametrize(
    ("name", "action"), [("coinrun", 15), ("coinrun", -1), ("cart_pole", 2), ("pong", np.zeros(1))]
)
def test_wrong_ids_are_refused(name: str, action: object) -> None:
    _, machine = machine_of(name)
    machine.reset(0)
    with pytest.raises(ValueError, match=r"is outside \[0, "):
        machine.step(action)  # type: ignore[arg-type]


@pytest.mark.parametrize("action", [np.array([2.0]), np.array([np.nan]), np.zeros(2), 7])
def test_wrong_vectors_are_refused(action: object) -> None:
    _, machine = machine_of("pendulum")
    machine.reset(0)
    with pytest.raises(ValueError, match=r"action must be 1 numbers in \[-1, 1\], found"):
        machine.step(action)  # type: ignore[arg-type]


def test_continuous_players() -> None:
    pendulum = game_named("pendulum")
    assert set(weights_of("mix", pendulum)) == {"random", "sticky"}
    player = Sticky(Actions(3, continuous=True))
    player.reset(np.random.default_rng(0))
    seen = Seen(np.zeros((8, 8, 3), np.uint8), NO_RAM)
    actions = np.stack([player.act(seen) for _ in range(2000)])
    assert actions.dtype == np.float32
    assert -1 <= actions.min() < -0.95
    assert 0.95 < actions.max() <= 1
    assert (np.diff(actions, axis=0) == 0).all(1).mean() > 0.6  # held


def test_continuous_actions_are_recorded_and_read_and_refused_by_training(tmp_path: Path) -> None:
    config = CollectConfig(game="pendulum", frames=90, episode_frames=40, shard_frames=60, workers=1)
    manifest = collect(config, tmp_path)
    assert (manifest.continuous, manifest.action_names) == (True, ("torque",))
    assert read_manifest(tmp_path) == manifest
    with Dataset.open(tmp_path) as data:
        facts = inspect_dataset(data)
        found = [data.read(ref) for ref in data.episodes]
        part = data.read(data.episodes[1], 3, 9)
    expected = play_episode(game_named("pendulum"), "mix", 1, 40)
    assert found[1].actions.dtype == np.float32
    np.testing.assert_array_equal(found[1].actions, expected.actions)
    np.testing.assert_array_equal(found[1].frames, expected.frames)
    np.testing.assert_array_equal(part.actions, expected.actions[3:8])
    assert [episode.steps for episode in found] == [40, 40, 10]
    pushed = np.concatenate([episode.actions for episode in found])
    assert facts["actions"] == {}
    assert facts["controls"]["torque"]["std"] == pytest.approx(float(pushed.std()), abs=1e-3)
    with pytest.raises(ValueError, match="holds continuous actions, 1 numbers a step; worlds are learned from games"):
        open_datasets((tmp_path,))
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"continuous": true', '"continuous": false'))
    with pytest.raises(ValueError, match=r"column 'actions' must be int64 \[\d+\], found float32"):
        Dataset.open(tmp_path)


def test_levels_come_again_with_other_luck(tmp_path: Path) -> None:
    machine_of("coinrun")
    config = CollectConfig(
        game="coinrun",
        frames=280,
        episode_frames=40,
        shard_frames=100,
        seed=20,
        levels=3,
        behaviour="random",
        workers=1,
    )
    assert collect(config, tmp_path / "whole").levels == 3
    with Dataset.open(tmp_path / "whole") as data:
        assert [ref.seed for ref in data.episodes] == [20, 21, 22, 20, 21, 22, 20]
        first, again = data.read(data.episodes[0]), data.read(data.episodes[3])
    np.testing.assert_array_equal(first.frames[0], again.frames[0])
    assert (first.actions != again.actions).any()
    cut = json.loads((tmp_path / "whole" / "manifest.json").read_text())
    cut |= {"complete": False, "shards": cut["shards"][:2]}
    (tmp_path / "cut").mkdir()
    for shard in cut["shards"]:
        (tmp_path / "cut" / shard["file"]).write_bytes((tmp_path / "whole" / shard["file"]).read_bytes())
    (tmp_path / "cut" / "manifest.json").write_text(json.dumps(cut))
    collect(config, tmp_path / "cut")
    for path in (tmp_path / "whole").glob("*.*"):
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_real_game_of_any_family_is_a_world() -> None:
    machine_of("coinrun")
    live, machine = LiveGame(game_named("coinrun"), 4), make_machine(game_named("coinrun"))
    np.testing.assert_array_equal(live.frame, machine.reset(4))
    for action in drawn(game_named("coinrun"), 20):
        np.testing.assert_array_equal(live.step(action), machine.step(action)[0])
    with pytest.raises(ValueError, match="'pendulum' is not played with keys"):
        RealWorld(game_named("pendulum"))
    with pytest.raises(ValueError, match="'cart_pole' cannot go back to a moment"):
        RealWorld(game_named("cart_pole"))


def test_the_command_lists_games() -> None:
    found = CliRunner().invoke(games_command, ["--family", "procgen"])
    assert found.exit_code == 0
    lines = found.output.splitlines()
    assert [line.split()[0] for line in lines[:16]] == list(PROCGEN_GAMES)
    assert "64x64" in lines[0]
    assert "16 games; record one with: dreamcade collect bigfish" in found.output
    found = CliRunner().invoke(games_command, ["walk", "--json"])
    rows = {row["id"]: row for row in json.loads(found.output)}
    assert {"walker-walk", "humanoid-walk"} <= set(rows)
    assert rows["walker-walk"]["continuous"]
    assert rows["walker-walk"]["actions"][0] == "right_hip"
    for arguments, message in ((["--family", "nes"], "unknown family 'nes'"), (["zzz"], "no game has 'zzz'")):
        assert message in str(CliRunner().invoke(games_command, arguments).exception)
