"""Recorded play: what a data set says of dreams, what a tape keeps, and that one can train on it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_app_doubles import CountingWorld, clips, spec
from test_shards import counting, edit, make_dataset

from app import tape as tape_module
from app.cli import main
from app.commands.inspect import inspect as inspect_command
from app.session import Session, dream
from app.subjects import dreamed, likely_actions, real
from app.tape import TWENTY, Tape
from collectors.atari import AtariGame
from collectors.drafts import publish
from collectors.episode import Episode
from collectors.games import PONG, game_named
from collectors.inspection import inspect_dataset
from collectors.manifest import read_manifest
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset, split_of
from collectors.writing import write_shard
from models.checkpoint import load_starts, load_world, read_card
from training.windows import Windows, open_datasets

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("latent 0", "latent 1", "latent 2")


def with_latents(episode: Episode, world: str = "") -> Episode:
    """The same play with latent actions -1, 0, 1, 2, -1, … and, of a world, as its dream."""
    latent = np.arange(episode.steps) % 4 - 1
    return replace(episode, latent=latent, source="dream" if world else "real", world=world)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """The counting data set again: every episode with latent actions, some dreamed by two worlds."""
    folder, episodes = make_dataset(tmp_path / "mixed")
    worlds = ("", "aa", "aa", "", "bb")
    episodes = [with_latents(episode, world) for episode, world in zip(episodes, worlds, strict=True)]
    shards = (write_shard(folder, 0, episodes[:3], 0), write_shard(folder, 1, episodes[3:], 3))
    manifest = replace(read_manifest(folder), shards=shards, latent_names=NAMES)
    publish(folder / "manifest.json", manifest.to_json().encode())
    return folder


def test_what_is_not_said_is_not_written(tmp_path: Path) -> None:
    """Data sets without latent actions and dreams are what they were before there were any."""
    folder, _ = make_dataset(tmp_path)
    body = json.loads((folder / "manifest.json").read_text())
    assert list(body) == [
        *("format", "kind", "game", "height", "width", "fps", "frame_skip", "pooled", "action_names", "object_names"),
        *("behaviour", "seed", "episode_frames", "shard_frames", "frames_requested", "versions", "complete", "shards"),
    ]
    assert list(body["shards"][0]) == [
        *("file", "sha256", "frames", "steps", "episodes", "first_episode", "seeds", "behaviours")
    ]
    with h5py.File(folder / "00000.h5") as file:
        assert sorted(file) == ["actions", "ends", "frames", "objects", "rewards", "starts"]
    with Dataset.open(folder) as data:
        assert data.read(data.episodes[1]).latent is None
        assert {(ref.source, ref.world) for ref in data.episodes} == {("real", "")}


def test_latents_and_sources_come_back(mixed: Path) -> None:
    with Dataset.open(mixed) as data:
        assert [(ref.source, ref.world) for ref in data.episodes] == [
            *(("real", ""), ("dream", "aa"), ("dream", "aa"), ("real", ""), ("dream", "bb"))
        ]
        assert data.manifest.dreamed == 3
        for ref in data.episodes:
            for start in range(0, ref.frames - 1, 3):
                part = data.read(ref, start, ref.frames)
                np.testing.assert_array_equal(part.latent, np.arange(start, ref.steps) % 4 - 1)
                assert (part.source, part.world) == (ref.source, ref.world)
        assert data.manifest == read_manifest(mixed)
        facts = inspect_dataset(data)
    assert facts["sources"] == {"real": 2, "dream": 3}
    assert facts["worlds"] == ["aa", "bb"]
    latent = np.concatenate([np.arange(steps) % 4 - 1 for steps in (5, 40, 1, 17, 30)])
    assert facts["latents"] == {name: int((latent == code).sum()) for code, name in enumerate(NAMES)}


def test_inspect_tells_of_dreams(mixed: Path, tmp_path: Path) -> None:
    found = CliRunner().invoke(inspect_command, [str(mixed), "--verify"])
    assert found.exit_code == 0
    assert "3 of 5 episodes were dreamed, by world aa, bb" in found.output
    assert "latent actions:\n  latent 0" in found.output
    plain = CliRunner().invoke(inspect_command, [str(make_dataset(tmp_path / "plain")[0])])
    assert "dreamed" not in plain.output
    assert "latent" not in plain.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent": np.zeros(4, np.int64)}, r"latent must be int64 \[5\], found int64 \[4\]"),
        ({"latent": np.zeros(5, np.int32)}, r"latent must be int64 \[5\], found int32 \[5\]"),
        ({"latent": np.full(5, -2)}, "latent must be ids, or -1 for unknown, found -2"),
        ({"source": "guess"}, "source must be one of real, dream, found 'guess'"),
    ],
)
def test_episodes_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(counting(0, 5, 0), **changes)


@pytest.mark.parametrize(
    ("field", "value"), [("sources", ["real"]), ("sources", ["real", "dream", "cake"]), ("worlds", ["a", "b"])]
)
def test_sources_that_do_not_fit_are_refused(mixed: Path, field: str, value: list[str]) -> None:
    shards = json.loads((mixed / "manifest.json").read_text())["shards"]
    edit(mixed, shards=[{**shards[0], field: value}, shards[1]])
    with pytest.raises(ValueError, match=r"00000.h5 should name real or dream and a world for each episode"):
        Dataset.open(mixed)


@pytest.mark.parametrize("names", [7, ["a", 3]])
def test_names_of_latents_are_checked(mixed: Path, names: object) -> None:
    edit(mixed, latent_names=names)
    with pytest.raises(ValueError, match="latent_names"):
        Dataset.open(mixed)


def test_latents_outside_their_names_are_refused(mixed: Path) -> None:
    edit(mixed, latent_names=list(NAMES[:2]))
    with pytest.raises(ValueError, match=r"latent action 2 is outside \[-1, 2\)"):
        Dataset.open(mixed)
    with h5py.File(mixed / "00000.h5", "r+") as file:
        file["latent"][3] = -5
    edit(mixed, latent_names=list(NAMES))
    with pytest.raises(ValueError, match=r"latent action -5 is outside \[-1, 3\)"):
        Dataset.open(mixed)
    with h5py.File(mixed / "00000.h5", "r+") as file:
        del file["latent"]
    with pytest.raises(ValueError, match="has no column 'latent'"):
        Dataset.open(mixed)


def test_windows_can_leave_out_what_was_dreamed(mixed: Path, tmp_path: Path) -> None:
    data = Dataset.open(mixed)
    windows = Windows([data], "all")
    assert [ref.seed for _, ref in windows.real().episodes] == [0, 3]
    assert windows.real().frames == 24
    assert windows.frames == 98
    only = copy_of_dreams(windows)
    assert len(only.real().episodes) == 3  # better dreams than nothing
    other = make_dataset(tmp_path / "other")[0]
    edit(other, action_names=[f"to {number}" for number in range(255)] + ["elsewhere"])
    with pytest.raises(ValueError, match=r"other has the actions to 0, .*; actions must agree") as caught:
        open_datasets((mixed, other))
    assert "\n" not in str(caught.value)


def copy_of_dreams(windows: Windows) -> Windows:
    only = Windows(windows.datasets, "all")
    only.episodes = [(dataset, ref) for dataset, ref in only.episodes if ref.source == "dream"]
    return only


class Watched:
    """A tape on a session of the counting world, with all that it said."""

    def __init__(self, tmp_path: Path, **options: object) -> None:
        self.said: list[str] = []
        self.session = Session(CountingWorld(), clips(), seed=3, start=0, world_id="feed")
        self.tape = Tape(tmp_path / "datasets", dreamed(self.session.world.spec), say=self.said.append, **options)

    def play(self, *actions: int) -> list[np.ndarray]:
        shown = []
        for action in actions:
            shown.append(self.session.step(action))
            self.tape.follow(self.session)
        return shown

    def read(self) -> list[Episode]:
        assert self.tape.folder is not None
        with Dataset.open(self.tape.folder) as data:
            data.verify()
            return [data.read(ref) for ref in data.episodes]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_dream_on_tape_is_what_was_seen_and_pressed(watched: Watched) -> None:
    watched.play(1, 1)
    watched.tape.toggle()
    watched.tape.follow(watched.session)
    first, keys = watched.session.frame, (2, 3, 6, 0, 5)
    shown = [first, *watched.play(*keys)]
    assert (watched.tape.recording, watched.tape.steps, watched.tape.state) == (True, 5, "REC 0:00")
    watched.tape.toggle()
    (episode,) = watched.read()
    np.testing.assert_array_equal(episode.frames, np.stack(shown))
    assert episode.latent.tolist() == list(keys)
    assert (episode.behaviour, episode.source, episode.world) == ("human", "dream", "feed")
    assert not episode.rewards.any()
    assert not episode.ends.any()
    name = watched.tape.folder.name
    assert name.startswith("block-played-")
    assert watched.said == [f"recording into {name}", f"recorded 5 steps into {name}"]
    manifest = read_manifest(watched.tape.folder)
    assert (manifest.steps, manifest.frames_requested, manifest.complete, manifest.dreamed) == (5, 5, True, 1)
    assert manifest.latent_names == watched.session.world.spec.actions
    assert watched.tape.state == ""


def test_without_a_tape_running_nothing_is_kept(watched: Watched, tmp_path: Path) -> None:
    watched.play(1, 2, 3)
    watched.tape.cut()
    watched.tape.stop()
    assert not (tmp_path / "datasets").exists()
    watched.tape.toggle()
    assert watched.tape.folder.is_dir()
    watched.tape.toggle()
    assert watched.said[-1] == "nothing was recorded"
    assert list((tmp_path / "datasets").iterdir()) == []


def test_every_jump_begins_a_new_episode(watched: Watched) -> None:
    session = watched.session
    watched.tape.start()
    watched.tape.follow(session)
    watched.play(*[2] * 6)
    session.branch(3)
    watched.play(3, 3, 3)
    session.reset(start=1)
    watched.play(6, 6, 6, 6)
    session.enter(1)
    watched.play(0, 0)
    session.begin(session.take.origin, step=None)
    session.world_id = "cafe"
    watched.play(5, 5)
    watched.tape.stop()
    found = watched.read()
    assert [episode.latent.tolist() for episode in found] == [[2] * 6, [3, 3], [6, 6, 6], [0], [5]]
    assert [episode.world for episode in found] == ["feed"] * 4 + ["cafe"]
    for episode in found:
        counts = episode.frames[:, 0, 39, 2].astype(int)
        assert np.diff(counts).tolist() == [1] * episode.steps  # each frame came of the one before it
    assert [int(episode.frames[0, 0, 39, 2]) for episode in found] == [0, 4, 1, 7, 1]


def test_steps_between_two_looks_are_not_lost(watched: Watched) -> None:
    watched.tape.start()
    watched.tape.follow(watched.session)
    shown = [watched.session.frame, *(watched.session.step(action) for action in (1, 2, 3))]
    watched.tape.follow(watched.session)
    watched.tape.follow(watched.session)
    watched.tape.stop()
    (episode,) = watched.read()
    assert episode.latent.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(episode.frames, np.stack(shown))


def test_real_actions_of_a_dream_are_the_likely_ones_in_time(tmp_path: Path) -> None:
    table = spec().table
    # latent 0 and 7 never met a button, 2 mostly UP, at a lag of two; at lag 0 everything is NOOP
    counts = tuple((0, 9) if code in (2, 5) else (4, 1) if code in (1, 3) else (0, 0) for code in range(8))
    late = replace(table, counts=(table.counts[0], table.counts[0], counts), best_lag=2)
    world = CountingWorld(replace(spec(), table=late))
    assert likely_actions(world.spec, ("NOOP", "UP")) == (0, 0, 1, 0, 0, 1, 0, 0)
    subject = dreamed(world.spec)
    assert (subject.action_names, subject.lag) == (("NOOP", "UP"), 2)
    session, made = Session(world, clips(), start=0), Tape(tmp_path, subject)
    made.start()
    made.follow(session)
    for action in (0, 2, 2, 3, 1, 5):
        session.step(action)
        made.follow(session)
    made.stop()
    with Dataset.open(made.folder) as data:
        assert data.read(data.episodes[0]).actions.tolist() == [1, 0, 0, 1, 1, 1]
        assert data.read(data.episodes[0]).latent.tolist() == [0, 2, 2, 3, 1, 5]


def test_subjects_name_real_actions_as_far_as_they_are_known() -> None:
    bare = dreamed(spec(table=False))
    assert (bare.action_names, bare.likely, bare.lag) == (("NOOP",), (0,) * 8, 0)
    pong = dreamed(replace(spec(table=False), game="pong", actions=("LEFT", "latent 1", "NOOP")))
    assert pong.action_names == PONG.action_names
    assert pong.likely == (3, 0, 0)
    assert (pong.frame_skip, pong.pooled, pong.source) == (4, 1, "dream")
    assert real(PONG).object_names == ("ball", "player", "enemy")


def test_long_play_is_written_in_bounded_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, shard_steps=40)
    when: list[int] = []
    write = tape_module.write_shard

    def noted(*arguments: object) -> object:
        when.append(watched.tape.steps)
        return write(*arguments)

    monkeypatch.setattr(tape_module, "write_shard", noted)
    watched.tape.start()
    watched.tape.follow(watched.session)
    shown = [watched.session.frame, *watched.play(*[1] * 95)]
    assert when == [40, 80]
    assert sum(episode.steps for episode in watched.read()) == 80  # readable while the tape runs
    watched.tape.stop()
    found = watched.read()
    assert [episode.steps for episode in found] == [40, 40, 15]
    for episode, first in zip(found, (0, 40, 80), strict=True):
        np.testing.assert_array_equal(episode.frames, np.stack(shown[first : first + episode.steps + 1]))
    assert watched.tape.state == ""


def test_of_twenty_episodes_one_is_for_validation_and_one_for_tests(watched: Watched) -> None:
    watched.tape.start()
    for _ in range(TWENTY):
        watched.session.reset()
        watched.tape.follow(watched.session)
        watched.play(1)
    watched.tape.stop()
    seeds = [episode.seed for episode in watched.read()]
    splits = [split_of(seed, "block") for seed in seeds]
    assert len(set(seeds)) == TWENTY
    assert [index for index, split in enumerate(splits) if split == "validation"] == [9]
    assert [index for index, split in enumerate(splits) if split == "test"] == [19]


def test_tapes_of_one_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda form: "20260102-030405")
    tapes = [Tape(tmp_path, dreamed(spec())) for _ in range(3)]
    for one in tapes:
        one.start()
        one.start()
    assert [one.folder.name for one in tapes] == [f"block-played-20260102-030405{end}" for end in ("", "-2", "-3")]


def test_a_full_disk_stops_the_tape_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, shard_steps=10)
    watched.tape.start()
    watched.tape.follow(watched.session)
    watched.play(*[1] * 15)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        watched.play(*[1] * 10)
    assert not watched.tape.recording
    assert watched.tape.state == ""
    assert watched.said[-1] == watched.tape.error
    assert watched.tape.error.startswith("recording stopped: cannot write ")
    assert "no space left on the disk" in watched.tape.error
    assert "\n" not in watched.tape.error
    assert [episode.steps for episode in watched.read()] == [10]
    assert sorted(path.name for path in watched.tape.folder.iterdir()) == ["00000.h5", "manifest.json"]
    old = watched.tape.folder
    watched.tape.toggle()
    watched.tape.follow(watched.session)
    watched.play(2)
    watched.tape.toggle()
    assert watched.tape.folder != old
    assert (watched.tape.error, [episode.steps for episode in watched.read()]) == ("", [1])


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "datasets").write_text("a file")
    watched = Watched(tmp_path)
    watched.tape.toggle()
    assert not watched.tape.recording
    assert watched.said == [f"cannot write {tmp_path / 'datasets'}: file exists"]


def test_another_kind_of_world_ends_the_recording(watched: Watched) -> None:
    watched.tape.start()
    watched.play(1, 1)
    watched.session.world = CountingWorld(replace(spec(table=False), actions=("a", "b")))
    watched.tape.follow(watched.session)
    assert "another world is played" in watched.tape.error
    assert not watched.tape.recording


KILLED = """
import sys, numpy as np
from app.subjects import real
from app.tape import Tape
from pathlib import Path
from collectors.games import Game
game = Game(id="made", native="", rom="", title="", height=8, width=8, action_names=("NOOP",))
tape = Tape(Path(sys.argv[1]), real(game), shard_steps=20)
tape.start()
frames = [np.full((8, 8, 3), number % 256, np.uint8) for number in range(100_000)]
tape.begin(frames[0])
for number, frame in enumerate(frames[1:], start=1):
    tape.add(frame, action=0, reward=number)
    if number == 70:
        print("on", flush=True)
"""


def test_killed_while_recording_all_whole_shards_stay(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    time.sleep(0.2)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (folder,) = tmp_path.iterdir()
    with Dataset.open(folder) as data:
        data.verify()
        assert data.manifest.complete
        assert data.manifest.steps >= 60
        rewards = np.concatenate([data.read(ref).rewards for ref in data.episodes])
        np.testing.assert_array_equal(rewards, np.arange(1, len(rewards) + 1))


def test_a_real_game_on_tape(tmp_path: Path) -> None:
    """The same steps as the emulator made, with its rewards and its objects."""
    machine, made = AtariGame(PONG), Tape(tmp_path, real(PONG))
    made.start()
    frames, objects = [machine.reset(5)], [machine.objects]
    made.begin(frames[0], seed=5, objects=objects[0])
    keys = [(3 * step) % 6 for step in range(60)]
    rewards = []
    for key in keys:
        frame, reward, end = machine.step(key)
        made.add(frame, action=key, reward=reward, end=end, objects=machine.objects)
        frames.append(frame)
        objects.append(machine.objects)
        rewards.append(reward)
    made.stop()
    with Dataset.open(made.folder) as data:
        (ref,) = data.episodes
        episode = data.read(ref)
        assert (ref.seed, ref.behaviour, ref.source, ref.world) == (5, "human", "real", "")
        assert data.manifest.latent_names == ()
        assert data.manifest.fps == game_named("pong").fps
    np.testing.assert_array_equal(episode.frames, np.stack(frames))
    np.testing.assert_array_equal(episode.objects, np.stack(objects))
    assert episode.actions.tolist() == keys
    assert episode.rewards.tolist() == rewards
    assert episode.latent is None


def test_a_real_game_that_ends_is_cut_there(tmp_path: Path) -> None:
    blank = np.zeros((104, 80, 3), np.uint8)
    made = Tape(tmp_path, replace(real(PONG), object_names=()))
    made.start()
    made.begin(blank)
    made.add(blank, action=1, reward=1.0)
    made.add(blank, action=2, end=True)
    made.add(blank, action=3)  # nothing was begun
    made.begin(blank)
    made.add(blank, action=4)
    made.stop()
    with Dataset.open(made.folder) as data:
        found = [data.read(ref) for ref in data.episodes]
    assert [episode.actions.tolist() for episode in found] == [[1, 2], [4]]
    assert [episode.ends.tolist() for episode in found] == [[False, True], [False]]


def test_collected_and_dreamed_play_train_one_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped world is played, the play joins real play of the game, and a world that learns from both plays."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    pong = ROOT / "assets" / "worlds" / "pong"
    session = Session(load_world(pong), load_starts(pong), seed=1, world_id="feed")
    made = Tape(tmp_path / "saves" / "datasets", dreamed(session.world.spec))
    made.toggle()
    made.follow(session)
    for step in range(60):
        session.step(step // 8 % 8)
        made.follow(session)
    made.toggle()
    played, real_play = made.folder, tmp_path / "real"
    collect(CollectConfig(frames=300, episode_frames=100, shard_frames=200, workers=1), real_play)

    def dreamcade(*words: object) -> str:
        capsys.readouterr()
        status = main([str(word) for word in words])
        told = capsys.readouterr()
        assert status == 0, told.err
        return told.err

    small = ("--size", "tiny", "--threads", 1, "--autocast", "off")
    where = ("--run", tmp_path / "run", "--out", tmp_path / "world")
    warned = dreamcade("train", "pong", "--data", real_play, "--data", played, *small, *where)
    assert f"warning: {played}: 1 of 1 episodes were dreamed; what a dream gets wrong is learned too" in warned
    assert f"warning: {real_play}" not in warned

    facts = read_card(tmp_path / "world")["facts"]
    assert [item["frames"] for item in facts["data"]] == [303, 61]
    assert facts["train_frames"] == 364
    world = load_world(tmp_path / "world")
    assert world.spec.table.real_actions == PONG.action_names
    assert sum(map(sum, world.spec.table.counts[0])) == 300  # codes are named by real play alone
    with Dataset.open(real_play) as data:
        seen = {frame.tobytes() for ref in data.episodes for frame in data.read(ref).frames}
    starts = load_starts(tmp_path / "world")
    assert all(frame.tobytes() in seen for frame in torch.cat(starts).permute(0, 2, 3, 1).contiguous().numpy())
    one, two = (list(dream(Session(world, starts, seed=2), [1, 2, 3])) for _ in range(2))
    assert [frame.shape for frame in one] == [(104, 80, 3)] * 4
    np.testing.assert_array_equal(one, two)

    measure = ("evaluate", tmp_path / "world", "--data", played, "--split", "all", "--clips", 2, "--dreams", 1)
    warned = dreamcade(*measure, "--dream-frames", 10, "--json", tmp_path / "card.json")
    assert f"warning: {played}: 1 of 1 episodes were dreamed; this does not measure the real game" in warned
    assert json.loads((tmp_path / "card.json").read_text())["data"]["frames"] == 61
