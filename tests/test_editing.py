"""Episodes are taken out of a data set whole or not at all, and a recording that goes on knows of it."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_shards import counting, make_dataset

from app.commands.collect import collect as collect_command
from app.commands.inspect import inspect as inspect_command
from collectors import editing
from collectors.drafts import only_writer, publish
from collectors.editing import drop_episodes
from collectors.manifest import Dropped, read_manifest
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset, EpisodeRef
from collectors.writing import write_shard

SIX = {"frames": 120, "episode_frames": 20, "shard_frames": 40}  # six episodes of Pong, two a shard


def refs_of(folder: Path, *numbers: int) -> list[EpisodeRef]:
    with Dataset.open(folder) as data:
        return [data.episodes[number] for number in numbers]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def first_numbers(folder: Path) -> list[tuple[int, int]]:
    """(the seed, the first pixel) of every episode, read through everything that is checked."""
    with Dataset.open(folder) as data:
        data.verify()
        return [(ref.seed, int(data.read(ref).frames[0, 0, 0, 0])) for ref in data.episodes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data")[0]


def test_what_stays_is_bit_for_bit_what_it_was(folder: Path) -> None:
    episodes = make_dataset(folder)[1]
    untouched = (folder / "00001.h5").read_bytes()
    edited = drop_episodes(folder, refs_of(folder, 1))
    assert edited == read_manifest(folder)
    assert (folder / "00001.h5").read_bytes() == untouched
    assert sorted(contents(folder)) == ["00001.h5", "00002.h5", "manifest.json"]
    assert [(shard.file, shard.first_episode) for shard in edited.shards] == [("00002.h5", 0), ("00001.h5", 2)]
    assert edited.dropped == (Dropped(seed=1, steps=40),)
    assert (edited.steps, edited.recorded_steps, edited.episodes, edited.recorded_episodes) == (53, 93, 4, 5)
    with Dataset.open(folder) as data:
        data.verify()
        for ref, episode in zip(data.episodes, [episodes[0], *episodes[2:]], strict=True):
            found = data.read(ref)
            for name in ("frames", "actions", "rewards", "ends", "objects"):
                np.testing.assert_array_equal(getattr(found, name), getattr(episode, name), name)
            assert (found.seed, found.behaviour) == (episode.seed, "counting")


def test_a_shard_without_episodes_goes_and_its_number_is_used_again(folder: Path) -> None:
    before = first_numbers(folder)
    drop_episodes(folder, refs_of(folder, 0, 1, 2))
    assert first_numbers(folder) == before[3:]
    assert [shard.file for shard in read_manifest(folder).shards] == ["00001.h5"]
    drop_episodes(folder, refs_of(folder, 1))
    assert first_numbers(folder) == [before[3]]
    assert [shard.file for shard in read_manifest(folder).shards] == ["00000.h5"]
    assert [episode.seed for episode in read_manifest(folder).dropped] == [0, 1, 2, 4]


def test_progress_counts_the_shards_that_are_rewritten(folder: Path) -> None:
    said: list[tuple[int, int]] = []
    drop_episodes(folder, refs_of(folder, 0, 4), progress=lambda done, total: said.append((done, total)))
    assert said == [(0, 2), (1, 2), (2, 2)]


def test_nothing_to_drop_changes_nothing(folder: Path) -> None:
    before = contents(folder)
    assert drop_episodes(folder, []) == read_manifest(folder)
    assert contents(folder) == before


def test_what_is_refused_changes_nothing(folder: Path) -> None:
    before, all_of_them = contents(folder), refs_of(folder, 0, 1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"all 5 episodes of .* would be dropped; delete the folder instead"):
        drop_episodes(folder, all_of_them)
    with pytest.raises(ValueError, match=r"episode 0 of shard 0 with seed 9 is not in data set .*; open it again"):
        drop_episodes(folder, [replace(all_of_them[0], seed=9)])
    other = replace(read_manifest(folder), complete=False)
    with pytest.raises(ValueError, match=r"was changed since it was opened; open it again"):
        drop_episodes(folder, all_of_them[:1], expected=other)
    with (
        only_writer(folder),
        pytest.raises(OSError, match=r"another process is recording into .*data; wait until it is done"),
    ):
        drop_episodes(folder, all_of_them[:1])
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in"):
        drop_episodes(folder / "nowhere", all_of_them[:1])
    assert not (folder / "nowhere").exists()
    assert contents(folder) == before


def test_damage_gets_no_new_checksum(folder: Path) -> None:
    content = bytearray((folder / "00000.h5").read_bytes())
    content[-1] ^= 0xFF
    (folder / "00000.h5").write_bytes(content)
    before = contents(folder)
    gone = EpisodeRef(shard=0, index=1, seed=1, behaviour="counting", start=6, frames=41)
    with pytest.raises(ValueError, match=r"00000\.h5 (has sha256|is truncated or damaged)"):
        drop_episodes(folder, [gone])
    assert contents(folder) == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("good", [0, 1, 2])
def test_a_full_disk_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, good: int) -> None:
    """Both shards are written anew, then the manifest: whichever of the three fails, nothing has changed."""
    before, gone, real, calls = contents(folder), refs_of(folder, 0, 4), getattr(os, call), [0]

    def fill(*arguments: object) -> object:
        calls[0] += 1
        if calls[0] > good * (2 if call == "fsync" else 1):  # a file is synced, and then its folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(os, call, fill)
    with pytest.raises(OSError, match=r"cannot write .*: no space left on the disk; make room") as caught:
        drop_episodes(folder, gone)
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert contents(folder) == before
    assert not list(folder.glob(".draft-*"))
    drop_episodes(folder, gone)
    assert [seed for seed, _ in first_numbers(folder)] == [1, 2, 3]


class Killed(BaseException):
    """Stands for a process that ends here and now: nothing after it is done."""


@pytest.mark.parametrize(("step", "left"), [("publish", [0, 1, 2, 3, 4]), ("_remove_unlisted", [1, 2, 3])])
def test_a_crash_leaves_the_old_set_or_the_new_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, left: list[int]
) -> None:
    gone, calls = refs_of(folder, 0, 4), [0]
    real_removal = editing._remove_unlisted

    def die(*arguments: object) -> None:
        raise Killed

    def die_late(*arguments: object) -> None:
        calls[0] += 1
        if calls[0] > 1:
            raise Killed
        real_removal(*arguments)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(editing, "_remove_unlisted", die_late)
    if step == "publish":
        monkeypatch.setattr(editing, "publish", die)
    with pytest.raises(Killed):
        drop_episodes(folder, gone)
    monkeypatch.undo()
    assert len(list(folder.glob("*.h5"))) == 4  # the old shards and the new ones
    assert [seed for seed, _ in first_numbers(folder)] == left
    drop_episodes(folder, refs_of(folder, 1))
    assert len(list(folder.glob("*.h5"))) == 2  # what the crash left behind is gone
    assert [seed for seed, _ in first_numbers(folder)] == [left[0], *left[2:]]


def test_a_folder_keeps_what_is_not_a_shard(folder: Path) -> None:
    (folder / "notes.h5").write_bytes(b"mine")
    (folder / "00007.txt").write_bytes(b"mine")
    drop_episodes(folder, refs_of(folder, 0))
    assert {"notes.h5", "00007.txt"} <= set(contents(folder))


def test_manifests_without_drops_do_not_mention_them_and_bad_ones_are_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    assert "dropped" not in json.loads(path.read_text())
    drop_episodes(folder, refs_of(folder, 1))
    good = json.loads(path.read_text())
    assert good["dropped"] == [{"seed": 1, "steps": 40}]
    for bad, message in (
        ("x", "'dropped' is missing or of the wrong type"),
        ([3], "a dropped episode should be an object, found int"),
        ([{"seed": 1}], "'steps' is missing or of the wrong type"),
        ([{"seed": 1, "steps": 0}], "'steps' must be a whole number of at least 1, found 0"),
    ):
        path.write_text(json.dumps({**good, "dropped": bad}))
        with pytest.raises(ValueError, match=message):
            Dataset.open(folder)


def test_dropping_and_going_on_is_the_same_as_going_on_and_dropping(tmp_path: Path) -> None:
    config = CollectConfig(**SIX, workers=1)
    one, two = tmp_path / "one", tmp_path / "two"
    collect(config, one)
    drop_episodes(one, refs_of(one, 0, 3))

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 100:  # two shards are there, the fifth episode waits for its sixth
            raise Stop

    with pytest.raises(Stop):
        collect(config, two, stop)
    assert read_manifest(two).episodes == 4
    drop_episodes(two, refs_of(two, 0, 3))
    counted: list[tuple[int, int]] = []
    collect(config, two, lambda done, total: counted.append((done, total)))
    assert counted == [(80, 120), (100, 120), (120, 120)]
    left, right = read_manifest(one), read_manifest(two)
    assert right.complete
    assert [shard.sha256 for shard in left.shards] == [shard.sha256 for shard in right.shards]
    assert left.dropped == right.dropped
    with Dataset.open(two) as data:
        data.verify()
        assert [ref.seed for ref in data.episodes] == [1, 2, 4, 5]


def test_the_commands_say_what_was_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "pong"
    collect(CollectConfig(**SIX, workers=1), folder)
    drop_episodes(folder, refs_of(folder, 2))
    before = contents(folder)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SIX.items()]
    said = CliRunner().invoke(collect_command, ["pong", *options, "--out", str(folder)])
    assert said.exit_code == 0
    assert "already complete, 100 transitions in 5 episodes, pong; episodes dropped by hand: 1" in said.output
    assert contents(folder) == before
    said = CliRunner().invoke(inspect_command, [str(folder), "--verify"])
    assert said.exit_code == 0
    assert "dropped by hand: episodes 1, transitions 20" in said.output
    assert "every shard matches its sha256" in said.output
    said = CliRunner().invoke(inspect_command, [str(folder), "--json"])
    assert json.loads(said.output)["dropped"] == {"episodes": 1, "steps": 20}


def test_one_episode_a_shard(tmp_path: Path) -> None:
    """Shards of one episode: a drop removes files and writes none."""
    folder = make_dataset(tmp_path / "data")[0]
    shards = tuple(write_shard(folder, index, [counting(10 * index, 5, index)], index) for index in range(3))
    manifest = replace(read_manifest(folder), shards=shards, frames_requested=15)
    publish(folder / "manifest.json", manifest.to_json().encode())
    drop_episodes(folder, refs_of(folder, 1))
    assert sorted(contents(folder)) == ["00000.h5", "00002.h5", "manifest.json"]
    assert first_numbers(folder) == [(0, 0), (2, 20)]
